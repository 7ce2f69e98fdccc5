"""Learning-rate decay against a constant rate, where noise limits and where the data can be fitted.

    1/t, exponential, 1/sqrt(t), cosine, a tenth at two drops, nine tenths in a staircase

Sources: Robbins and Monro, 1951; Loshchilov and Hutter, 2017 (cosine); Krizhevsky et al., 2012 (drops).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from .. import problems, schedules
from ..minimize import Status
from ..optimizers import gradient_descent
from ..sweeps import sweep, trials
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size
from .noisy_softmax import noisy_softmax

if TYPE_CHECKING:
    import optax
    import xarray
    from jaxtyping import Array, Key

    from ..plots import Figure
    from ..problems import Problem

KINDS = ("constant", "inverse_time", "inverse_sqrt", "exponential", "cosine", "drops", "staircase")
RATES = {"digits": 0.32 * 2.0 ** np.arange(4), "noisy": 0.16 * 2.0 ** np.arange(4)}
SEEDS = {"small": 6, "full": 12}
STEPS = {"small": {"digits": 640, "noisy": 1440}, "full": {"digits": 2560, "noisy": 7200}}
BATCH = {"digits": 64, "noisy": 4}
DROPPED = {"digits": 0.64, "noisy": 0.32}  # the rate of the runs whose drops are looked at


def schedule_of(kind: Any, initial: Any, steps: int) -> Callable[[Any], Array]:
    """One of `KINDS` by its number, which may be traced; 1/t and 1/sqrt(t) end at a tenth, the others near a hundredth.

    Arguments:
        kind: the number of the schedule in `KINDS`.
        initial: >= 0, the first rate.
        steps: of the run, at least 20.

    Returns:
        A schedule `step -> rate`.

    Example:
        >>> float(schedule_of(5, 1.0, 100)(60)) < 0.11
        True
    """
    every = (
        schedules.constant(initial),
        schedules.inverse_time(initial, 9.0, steps),
        schedules.inverse_sqrt(initial, steps / 99),
        schedules.exponential(initial, 0.01, steps),
        schedules.cosine(initial, steps),
        schedules.piecewise([steps / 2, 3 * steps / 4], [initial, initial / 10, initial / 100]),
        schedules.step_decay(initial, 0.9, steps / 44),
    )
    return lambda step: jnp.stack([jnp.asarray(schedule(step), float) for schedule in every])[jnp.asarray(kind, int)]


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Run every schedule at several first rates, and look at the loss on all data just before and after a drop.

    Arguments:
        key: of the starts and the order of the data.
        size: steps and seeds.

    Returns:
        Dataset over `problem` and `seed`: `final_loss` over `kind` and `rate`, and `drop_loss` over `moment` (before
        the first drop, an epoch after it, before the second, an epoch after it), with and without drops.
    """
    import xarray

    parts = []
    for name in RATES:
        steps = STEPS[size][name]
        problem = problems.digits_mlp(hidden=32) if name == "digits" else noisy_softmax()
        rates, moments = RATES[name], _moments(problem, name, steps)
        points = [{"learning_rate": r, "kind": k, "until": steps} for k in range(len(KINDS)) for r in rates]
        drops = [
            {"learning_rate": DROPPED[name], "kind": k, "until": m} for k in (KINDS.index("drops"), 0) for m in moments
        ]
        table = _table(problem, points + drops, steps, BATCH[name], SEEDS[size], key)
        loss = table.final_loss.where(table.status < Status.NON_FINITE, np.inf).transpose("configuration", "seed")
        count, at = len(points), int(np.argmin(np.abs(rates - DROPPED[name])))
        followed = [KINDS.index("drops") * len(rates) + at, at]
        parts.append(
            xarray.Dataset(
                {
                    "final_loss": (("kind", "rate", "seed"), loss.values[:count].reshape(len(KINDS), len(rates), -1)),
                    "drop_loss": (("dropped", "moment", "seed"), loss.values[count:].reshape(2, 4, -1)),
                    "learning_rate": ("rate", rates),
                    "curve": (("dropped", "seed", "entry"), table.loss.values[followed]),
                    "steps": steps,
                }
            )
        )
    return xarray.concat(parts, "problem").assign_coords(problem=list(RATES), kind=list(KINDS), dropped=[1, 0])


def _moments(problem: Problem, name: str, steps: int) -> list[float]:
    """Just before each drop, and an epoch after it."""
    epoch = problem.examples // BATCH[name]
    return [moment for drop in (steps / 2, 3 * steps / 4) for moment in (drop, drop + epoch)]


def _table(
    problem: Problem, points: list[dict[str, float]], steps: int, batch_size: int, seeds: int, key: Key[Array, ""]
) -> xarray.Dataset:
    """A sweep in which the rate is 0 from `until` on, so that the final loss is the one at that step."""

    def stopped(learning_rate: Array, kind: Array, until: Array) -> optax.GradientTransformation:
        decayed = schedule_of(kind, learning_rate, steps)
        return gradient_descent(lambda step: jnp.where(step < until, decayed(step), 0.0))

    names = ("learning_rate", "kind", "until")
    space = trials({name: [float(point[name]) for point in points] for name in names})
    options: dict[str, Any] = {"seeds": seeds, "steps": steps, "batch_size": batch_size, "every": steps // 40}
    return sweep(problem, stopped, space, key=key, progress=False, **options)


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what decay brings.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: every schedule against the best constant rate on noisy labels, the best of them on digits, and drops.
    """
    noisy, digits = (dataset.sel(problem=name) for name in ("noisy", "digits"))
    decaying = KINDS[1:]
    gains = {kind: _gain(digits, kind) for kind in decaying}
    most = max(gains, key=lambda kind: float(np.median(gains[kind])))
    return [
        *(_decay_claim(noisy, kind) for kind in decaying),
        Claim(
            "decay_helps_digits",
            "Some schedule ends below the best constant rate also on digits, which the network can fit.",
            float(np.median(gains[most])),
            low=0.0,
            interval=bootstrap(np.median, gains[most]),
            unit=f"less loss, {most}",
            conditions="No noise is left to average out there, so a smaller rate is only slower. Best first rates: "
            f"{_best_rate(digits, 'constant'):g} constant, {_best_rate(digits, most):g} with {most.replace('_', ' ')}.",
        ),
        *(_drop_claim(noisy, "noisy", drop) for drop in ("first", "second")),
        _drop_claim(digits, "digits", "first"),
        _late_drop(digits),
    ]


def _gain(table: xarray.Dataset, kind: str) -> np.ndarray:
    """How far a schedule ends below the best constant rate, for every seed, each at its best first rate."""
    losses = table.final_loss.transpose("kind", "rate", "seed")
    constant, decayed = (losses.sel(kind=which).values for which in ("constant", kind))
    return _less(_at_best(constant), _at_best(decayed))


def _less(loss: np.ndarray, than: np.ndarray) -> np.ndarray:
    """By how much the second is less; not at all where both have failed, which is an infinite loss."""
    return np.where(loss == than, 0.0, loss - np.where(loss == than, 0.0, than))


def _at_best(losses: np.ndarray) -> np.ndarray:
    return losses[np.argmin(np.median(losses, axis=-1))]


def _best_rate(table: xarray.Dataset, kind: str) -> float:
    losses = table.final_loss.sel(kind=kind).transpose("rate", "seed").values
    return float(table.learning_rate.values[np.argmin(np.median(losses, axis=-1))])


def _decay_claim(table: xarray.Dataset, kind: str) -> Claim:
    gain = _gain(table, kind)
    return Claim(
        f"{kind}_helps",
        f"On noisy labels the schedule {kind.replace('_', ' ')} ends below the best constant rate.",
        float(np.median(gain)),
        low=0.0,
        interval=bootstrap(np.median, gain),
        unit="less loss",
        conditions=f"Each at its best first rate of {len(RATES['noisy'])}, here {_best_rate(table, kind):.2g}.",
    )


def _drop_claim(table: xarray.Dataset, name: str, drop: str) -> Claim:
    """A drop against going on: within an epoch after it, the run with the drop is below the one without."""
    moment = 1 if drop == "first" else 3
    dropped, constant = table.drop_loss.transpose("dropped", "moment", "seed").values
    gain = _less(constant[moment], dropped[moment])
    before = np.median(dropped[moment - 1] - dropped[moment])
    return Claim(
        f"{drop}_drop_{name}",
        f"An epoch after the {drop} drop to a tenth the loss is below that of the same run without drops, {name}.",
        float(np.median(gain)),
        low=0.0,
        interval=bootstrap(np.median, gain),
        unit="less loss",
        conditions=f"In that epoch it falls by {before:.2g}.",
    )


def _late_drop(table: xarray.Dataset) -> Claim:
    """On digits nothing has levelled off where the drops are: they cost the falling of the run without them."""
    dropped, constant = table.drop_loss.transpose("dropped", "moment", "seed").values
    gain = _less(constant[3], dropped[3])
    fall = np.median(constant[0]) / np.median(constant[3])
    return Claim(
        "late_drop_slows_digits",
        "Where the loss has not levelled off a drop only slows: an epoch after the second the run without is lower.",
        float(np.median(gain)),
        high=0.0,
        interval=bootstrap(np.median, gain),
        unit="less loss with drops",
        conditions=f"On digits, which the network can fit: between the drops the loss without falls to 1/{fall:.2g}.",
    )


def figure(dataset: xarray.Dataset) -> Figure:
    """The final loss of every schedule by its first rate, and runs with and without drops.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, axes = plots.panels(2, 2, size=(5.6, 4.05))
    looks = dict(zip(KINDS[1:], plots.distinct_styles(len(KINDS) - 1), strict=True))
    looks = {KINDS[0]: plots.style_of("gradient_descent")} | looks
    for column, name in enumerate(("noisy", "digits")):
        table, by_rate, curves = dataset.sel(problem=name), axes[column], axes[2 + column]
        for kind, look in looks.items():
            loss = table.final_loss.sel(kind=kind).median("seed")
            style = {"color": "black", "linewidth": 2.4} if kind == "constant" else {"color": look.color}
            label = kind.replace("_", " ")
            by_rate.loglog(table.learning_rate, loss.where(np.isfinite(loss)), look.linestyle, **style, label=label)
        by_rate.set(xlabel="first learning rate", ylabel="final loss on all training data")
        by_rate.set_xticks(table.learning_rate.values, [f"{rate:g}" for rate in table.learning_rate.values])
        by_rate.set_xticks([], minor=True)
        lowest = table.final_loss.median("seed").min("rate").sel(kind=list(KINDS)).values
        best, constant = KINDS[int(np.argmin(lowest))], lowest[KINDS.index("constant")]
        better = int(np.sum(lowest < constant))
        words = "Noisy labels" if name == "noisy" else "Digits"
        title = (
            f"{words}: {better} of {len(KINDS) - 1} schedules end lower"
            if better
            else f"{words}: the constant rate is best"
        )
        plots.set_title(by_rate, title, f"median of {dataset.sizes['seed']} seeds")
        plots.describe(by_rate, f"Final loss by first rate for seven schedules on {name}; lowest is {best}.")
        entries = np.linspace(0, int(table.steps), table.sizes["entry"])
        # Seed by seed, since the noise of the minibatches is that of both runs.
        smooth = table.curve.rolling(entry=5, min_periods=1).mean()
        ratio = smooth.sel(dropped=1) / smooth.sel(dropped=0)
        color = plots.distinct_styles(2)[1].color
        curves.plot(entries, ratio.median("seed"), color=color)
        curves.fill_between(entries, *ratio.quantile([0.25, 0.75], "seed").values, color=color, alpha=0.15, linewidth=0)
        curves.axhline(1, color="0.4", linewidth=0.9)
        for at in (0.5, 0.75):
            curves.axvline(at * int(table.steps), color="0.6", linestyle=":", linewidth=1)
        curves.set(xlabel="step", ylabel="loss with drops / without", yscale="log")
        end = float(ratio.median("seed")[-1])
        subtitle = "rate a tenth from each dotted line on; median and quartiles of pairs"
        plots.set_title(curves, f"{words}: drops end at {end:.2g} times the loss", subtitle)
        plots.describe(curves, f"Loss with drops of the rate over that without on {name}: {end:.2g} times at the end.")
        plots.legend_below(by_rate)
    plots.round_ticks(*axes)
    return drawn
