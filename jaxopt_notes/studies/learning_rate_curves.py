"""Loss curves by learning rate: low, good, high and too high, where the data can be fitted and where noise limits.

Three problems: digits by a network that fits them; digits with a fifth of their labels random, by a network, in
batches of 32 as the lecture names them; and the same by softmax regression, in batches of 4. The last is convex, for
which the lecture itself says that low rates are fine: what it says of deep learning is judged by the two networks.

Sources: the picture of loss curves in CS 182 lecture 4 and the CS 231n notes; Bottou, Curtis and Nocedal, 2018 (noise).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import problems, schedules
from ..diagnose import diagnose
from ..minimize import Status
from ..optimizers import gradient_descent
from ..sweeps import grid, sweep
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size
from .noisy_softmax import noisy_network, noisy_softmax

if TYPE_CHECKING:
    import optax
    import xarray
    from jaxtyping import Array, Key

    from ..plots import Figure
    from ..problems import Problem

RATES = 0.01 * 2.0 ** np.arange(11)  # 0.01 to 10
SEEDS = {"small": 6, "full": 12}
STEPS = {"small": (640, 320, 2560), "full": (2560, 5120, 10240)}  # of each problem
BATCH = (64, 32, 4)
PARTS = (1 / 32, 1 / 8, 1.0)  # of the steps, at which the loss is measured
CHANCE = math.log(10)  # the loss of one who guesses among ten digits
TIMES = 8  # a low rate is so many times smaller, with so many times the steps
PROBLEMS = ("digits", "noisy_network", "noisy")
WHERE = {"digits": "on digits", "noisy_network": "on noisy labels by a network", "noisy": "on noisy labels, convex"}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Descend at many rates on digits, and on digits with noisy labels by a network and by softmax regression.

    Arguments:
        key: of the starts and the order of the data.
        size: steps and seeds.

    Returns:
        Dataset over `problem`, `learning_rate`, `seed`: the loss on all training data after a share of the steps
        (`until`), the curve of the minibatch `loss` over `entry`, the `status` and the name that `diagnose` gives.
    """
    import xarray

    parts = []
    tried = (problems.digits_mlp(hidden=32), noisy_network(hidden=32), noisy_softmax())
    for problem, steps, batch_size in zip(tried, STEPS[size], BATCH, strict=True):
        table = _table(problem, steps, batch_size, SEEDS[size], key)
        whole = table.isel(until=-1)
        named = diagnose(whole.drop_vars("until"))
        assert isinstance(named, xarray.Dataset)  # of a table; of one run it would be a Diagnosis
        loss = whole.loss.values  # (learning_rate, seed, step)
        parts.append(
            xarray.Dataset(
                {
                    "final_loss": table.final_loss,
                    "status": whole.status,
                    "loss": (("learning_rate", "seed", "entry"), loss),
                    "diagnosis": (("learning_rate", "seed"), named.diagnosis.values.astype(str)),
                    "steps": steps,
                }
            ).assign_coords(until=list(PARTS))
        )
    return xarray.concat(parts, "problem").assign_coords(problem=list(PROBLEMS))


def _table(problem: Problem, steps: int, batch_size: int, seeds: int, key: Key[Array, ""]) -> xarray.Dataset:
    """A sweep in which the rate falls to 0 after a while, so that the final loss is the one at that step."""

    def stopped(learning_rate: Array, until: Array) -> optax.GradientTransformation:
        return gradient_descent(schedules.piecewise([until], [learning_rate, 0.0]))

    space = grid(learning_rate=RATES, until=[steps * part for part in PARTS])
    return sweep(
        problem,
        stopped,
        space,
        seeds=seeds,
        steps=steps,
        batch_size=batch_size,
        every=steps // 80,
        key=key,
        progress=False,
    )


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge the picture of loss curves.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims for each problem: which rate leads early, what a low one costs, the largest, and what `diagnose` returns.
    """
    return [claim for name in PROBLEMS for claim in _claims_of(dataset.sel(problem=name), name)]


def _finals(table: xarray.Dataset, part: float) -> np.ndarray:
    """Losses after a part of the steps, (seeds, rates), infinite where the run failed."""
    loss = table.final_loss.sel(until=part).where(table.status < Status.NON_FINITE, np.inf)
    return loss.transpose("seed", "learning_rate").values


def _best(losses: np.ndarray) -> int:
    return int(np.argmin(np.median(losses, axis=0)))


def _claims_of(table: xarray.Dataset, name: str) -> list[Claim]:
    # On noisy labels the network has not levelled off in these steps, so that the end of the picture is not reached.
    picture = [] if name == "noisy_network" else _early_and_late(table, name)
    # What the lecture says of deep learning and not of convex problems.
    largest = [] if name == "noisy" else [_largest(table, name)]
    return [*picture, *_low_rates(table, name), *largest, _diagnosis(table, name, WHERE[name])]


def _early_and_late(table: xarray.Dataset, name: str) -> list[Claim]:
    """Which rate leads early, and where it ends."""
    early, end = _finals(table, PARTS[0]), _finals(table, PARTS[-1])
    leader, good = (float(table.learning_rate[_best(losses)]) for losses in (early, end))
    ahead = lambda a, b: float(_best(a) - _best(b))
    worse = lambda a, b: float(np.median(b[:, _best(a)] - b[:, _best(b)]))
    fitted = ": where the data can be fitted no noise holds the large rates up." if name == "digits" else "."
    return [
        Claim(
            f"high_leads_early_{name}",
            f"The rate that leads after 1/32 of the steps is larger than the one that wins in the end, {WHERE[name]}.",
            ahead(early, end),
            low=1.0,
            interval=bootstrap(ahead, early, end),
            unit="doublings",
            conditions=f"{leader:.2g} leads, {good:.2g} wins{fitted}",
        ),
        Claim(
            f"leader_ends_worse_{name}",
            f"The rate that leads early ends at a higher loss, {WHERE[name]}.",
            worse(early, end),
            low=1e-6,  # where the leader wins it is 0
            interval=bootstrap(worse, early, end),
            unit="more loss",
            conditions=f"{leader:.2g} leads, {good:.2g} wins.",
        ),
    ]


def _low_rates(table: xarray.Dataset, name: str) -> list[Claim]:
    """What a rate costs that is too low, at equal steps and with as many times more."""
    eighth, end = _finals(table, PARTS[1]), _finals(table, PARTS[-1])
    rates, whole, where = table.learning_rate.values, int(table.steps), WHERE[name]
    fast, slow = _best(eighth), _best(eighth) - int(math.log2(TIMES))
    longer, equal = end[:, slow] - eighth[:, fast], eighth[:, slow] - eighth[:, fast]
    pair = f"{rates[slow]:.2g} for {whole} steps against {rates[fast]:.2g} for {whole // TIMES}."
    stuck = Claim(
        f"low_ends_worse_{name}",
        f"A low rate gets stuck: it ends higher even with as many times the steps as it is smaller, {where}.",
        float(np.median(longer)),
        low=0.0,
        interval=bootstrap(np.median, longer),
        unit="more loss",
        conditions=f"Not here: {pair} It ends higher at equal steps only.",
    )
    return [
        Claim(
            f"low_is_slow_{name}",
            f"At equal steps a rate {TIMES} times smaller ends higher, {where}.",
            float(np.median(equal)),
            low=0.0,
            interval=bootstrap(np.median, equal),
            unit="more loss",
        ),
        Claim(
            f"low_with_steps_{name}",
            f"A rate {TIMES} times smaller with {TIMES} times the steps ends no higher, {where}.",
            float(np.median(longer)),
            high=0.0,
            interval=bootstrap(np.median, longer),
            unit="more loss",
            conditions=pair,
        ),
        *([] if name == "noisy" else [stuck]),  # the lecture says it of deep learning
    ]


def _largest(table: xarray.Dataset, name: str) -> Claim:
    end, rates = _finals(table, PARTS[-1]), table.learning_rate.values
    stable = rates[np.flatnonzero((table.status < Status.NON_FINITE).all("seed").values)[-1]]
    share = lambda losses: float(rates[_best(losses)] / stable)
    return Claim(
        f"largest_is_best_{name}",
        f"The largest rate that works is the best, within a factor of 2, {WHERE[name]}.",
        share(end),
        low=0.5,
        interval=bootstrap(share, end),
        unit="of the largest rate that ends below its start, for every seed",
        conditions=f"{rates[_best(end)]:.2g} is best; up to {stable:.2g} every seed ends below its start.",
    )


def _diagnosis(table: xarray.Dataset, name: str, where: str) -> Claim:
    """How often `diagnose` names the smallest, the best and the largest rate as the picture does.

    Where a network dies at a large rate its curve is flat at the loss of chance: either name is right.
    """
    ends = table.final_loss.sel(until=1.0).values / CHANCE
    hits = []
    for i, word in {0: "low", _best(_finals(table, 1.0)): "good", len(RATES) - 1: "diverging"}.items():
        names = table.diagnosis.values[i]
        flat = np.isin(names, ("plateau", "diverging"))
        hits.append(np.select([ends[i] >= 1.1, ends[i] >= 0.95], [names == "diverging", flat], names == word))
    right = np.stack(hits, axis=1).astype(float)
    return Claim(
        f"diagnosed_{name}",
        "The curves of the smallest, the best and the largest rate are named low, good and diverging (or plateau, "
        f"where they end at the loss of chance), {where}.",
        float(right.mean()),
        low=0.9,
        interval=bootstrap(np.mean, right),
        unit="of the seeds and rates",
        conditions="Curves of single batches, named as a sweep: with the final losses and the rates beside each.",
    )


def figure(dataset: xarray.Dataset) -> Figure:
    """The curves of four rates on each problem, and the loss by rate early and late.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, axes = plots.panels(2, len(PROBLEMS), size=(5.2, 3.95))
    titles = ("Digits", "Noisy, network", "Noisy, convex")
    for column, name in enumerate(PROBLEMS):
        table = dataset.sel(problem=name)
        curves, late = axes[column], axes[len(PROBLEMS) + column]
        good, leader = _best(_finals(table, 1.0)), _best(_finals(table, PARTS[0]))
        chosen = {
            "low": max(good - 4, 0),
            "good": good,
            "leads early": leader,
            "too high": min(good + 4, len(RATES) - 1),
        }
        entries = np.linspace(0, int(table.steps), table.sizes["entry"])
        if leader == good:
            del chosen["leads early"]
        for (label, i), look in zip(chosen.items(), plots.distinct_styles(len(chosen)), strict=True):
            loss = table.loss.isel(learning_rate=i).rolling(entry=7, center=True, min_periods=1).mean().median("seed")
            curves.semilogy(entries, loss, look.linestyle, color=look.color, label=f"{label}, {RATES[i]:.2g}")
        curves.set(xlabel="step", ylabel="loss of the minibatch")
        plots.legend_below(curves)
        wins = f"{RATES[leader]:.2g} leads early, {RATES[good]:.2g} wins"
        if leader == good:
            wins = f"{RATES[good]:.2g} leads early and wins"
        plots.set_title(curves, f"{titles[column]}: {wins}", f"running means, median of {dataset.sizes['seed']} seeds")
        plots.describe(curves, f"Four rates {WHERE[name]}: {wins}.")
        for part, look in zip(PARTS, plots.ordered_styles(3), strict=True):
            losses = np.median(_finals(table, part), axis=0)
            losses = np.where(np.isfinite(losses), losses, np.nan)
            label = f"after {round(part * int(table.steps)):,} steps"
            late.loglog(RATES, losses, look.linestyle, marker=look.marker, color=look.color, label=label)
            late.plot(RATES[np.nanargmin(losses)], np.nanmin(losses), "k*", markersize=11)
        late.set(xlabel="learning rate", ylabel="loss on all training data")
        plots.legend_below(late)
        rates = [float(RATES[_best(_finals(table, part))]) for part in PARTS]
        best = ", ".join(f"{rate:.2g}" for rate in rates)
        moved = "rises" if rates[-1] > rates[0] else "falls" if rates[-1] < rates[0] else "stays"
        plots.set_title(late, f"With more steps the best rate {moved}", f"stars: {best}")
        plots.describe(late, f"Loss by learning rate {WHERE[name]}: with more steps the best rate is {best}.")
    plots.round_ticks(*axes)
    return drawn
