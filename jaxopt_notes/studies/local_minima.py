"""Local minima: who leaves one, how many there are, and whether they matter for wide networks.

    f(x) = x cos(pi x) on [-1, 2]:   a local minimum at -0.274, a barrier at 0.274, the global minimum at 1.090
    with noise:                      f_i(x) = f(x) + c_i x,   sum of c_i = 0

Full-batch descent at a small rate ends in the basin it starts in. What leaves it is measured here: minibatch noise,
injected noise, momentum, Adam, another start. No derivative at a point tells a local minimum from the global one.

Sources: Zhang, Lipton, Li and Smola, 2023 (the function); Styblinski and Tang, 1990 (2^d minima); Choromanska, Henaff,
Mathieu, Ben Arous and LeCun, 2015 (the histogram by width).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from .. import minibatches, problems
from ..curvature import Kind, classify
from ..minimize import minimize
from ..optimizers import adam, gradient_descent, momentum
from ..projection import project
from .claim import Claim
from .intervals import bootstrap
from .registry import Size
from .shares import exact_interval

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

LOCAL, BARRIER, HIGH = -0.2739, 0.2739, 2.0
LOW = -1.0
RATE, STEPS = 0.05, 1_000
SMALL_RATE = 0.01
LEVELS = (1.0, 2.0, 4.0, 8.0, 16.0)  # standard deviation of the noise in the gradient
DETERMINISTIC = {"descent": (SMALL_RATE, 0.0), "momentum 0.9": (SMALL_RATE, 0.9), "momentum 0.99": (SMALL_RATE, 0.99)}
ADAM_RATES = (0.01, 0.1, 0.3)
TERMS = 64
DIMENSIONS = 6
WIDTHS = (2, 4, 8, 16)
FEATURES, CLASSES, TRAIN = 10, 10, 200
TRAINING = 400
LANES = {"small": 200, "full": 5_000}
SEEDS = {"small": 20, "full": 100}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Try to leave a local minimum, count the minima of a sum over axes, and train networks of several widths.

    Arguments:
        key: draws starts, noise and networks.
        size: 200 trials of every method and 20 networks of every width, or 5,000 and 100.

    Returns:
        Dataset with the numbers of trials that left over `level`, `method` and `rate`, counts over `dimension`, and
        final losses and gradient norms over `width` and `seed`.
    """
    import xarray

    begin, noise, many, nets = jax.random.split(key, 4)
    with jax.enable_x64(True):
        starts = jax.random.uniform(begin, (LANES[size],), minval=LOW, maxval=BARRIER)
        left = _leaving(starts, noise)
        counts, verdicts = _count_minima(many)
        wells = problems.x_cos_pi_x()
        points = jnp.array([LOCAL, 1.0904])[:, None]
        judged = jax.jit(jax.vmap(lambda x: classify(wells.loss, x, polish=4)))(points)
        moved = _from_the_bottom()
    losses = _networks(jax.random.split(nets, SEEDS[size]))
    return xarray.Dataset(
        {
            **{name: (dims, values) for name, (dims, values) in left.items()},
            "minima": ("dimension", counts),
            "not_minima": verdicts,
            "kind": ("well", np.asarray(judged.kind)),
            "value": ("well", np.asarray(judged.loss)),
            "moved": ("bottom_rate", moved),
            **{name: (("width", "seed"), values) for name, values in losses._asdict().items()},
        },
        {
            **{"level": list(LEVELS), "method": list(DETERMINISTIC), "adam_rate": list(ADAM_RATES)},
            **{"dimension": np.arange(1, DIMENSIONS + 1), "width": list(WIDTHS), "bottom_rate": list(BOTTOM_RATES)},
            "well": ["local", "global"],
        },
        {"lanes": LANES[size], "seeds": SEEDS[size]},
    )


def _wave(x: Float[Array, " 1"], term: Any = 0.0) -> Float[Array, ""]:
    return jnp.sum(x * jnp.cos(jnp.pi * x)) + jnp.mean(jnp.asarray(term)) * jnp.sum(x)


def _boxed(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    return project(optimizer, optax.projections.projection_box, lower=LOW, upper=HIGH)


def _leaving(starts: Float[Array, " lanes"], key: Key[Array, ""]) -> dict[str, tuple[Any, Any]]:
    """How many trials from the local basin end in the other one, by what moves them; and of restarts anywhere."""
    data_key, batch_key, inject_key, restart_key = jax.random.split(key, 4)
    terms = jax.random.normal(data_key, (TERMS,))
    terms = (terms - terms.mean()) / terms.std()
    keys = jax.random.split(batch_key, len(starts))

    def end(start: Array, optimizer: optax.GradientTransformation, **how: Any) -> Array:
        return minimize(_wave, start[None], _boxed(optimizer), steps=STEPS, **how).params[0]

    def batches(start: Array, key: Array, level: Array) -> Array:
        return end(start, gradient_descent(RATE), data=level * terms, minibatches=minibatches.random(1), key=key)

    def injected(start: Array, key: Array, level: Array) -> Array:
        return end(start, optax.chain(optax.add_noise(level**2, 0.0, key), gradient_descent(RATE)))

    def still(start: Array, method: Array) -> Array:
        return end(start, momentum(*method))

    def by_adam(start: Array, rate: Array) -> Array:
        return end(start, adam(rate))

    def count(trial: Callable[..., Array], *lanes: Any, values: Any) -> np.ndarray:
        over = jax.vmap(jax.vmap(trial, (*(0 for _ in lanes), None)), (*(None for _ in lanes), 0))
        return np.asarray(jnp.sum(jax.jit(over)(*lanes, jnp.asarray(values)) > BARRIER, axis=1))

    anywhere = jax.random.uniform(restart_key, starts.shape, minval=LOW, maxval=HIGH)
    plain = np.array([DETERMINISTIC["descent"]])
    return {
        "left_by_batches": ("level", count(batches, starts, keys, values=LEVELS)),
        "left_by_injection": (
            "level",
            count(injected, starts, jax.random.split(inject_key, len(starts)), values=LEVELS),
        ),
        "left_still": ("method", count(still, starts, values=list(DETERMINISTIC.values()))),
        "left_by_adam": ("adam_rate", count(by_adam, starts, values=ADAM_RATES)),
        "reached_by_restarts": ((), int(count(still, anywhere, values=np.repeat(plain, 3, 0))[0])),
    }


BOTTOM_RATES = (0.1, 0.25, 0.35, 0.5)


def _from_the_bottom() -> np.ndarray:
    """How far descent moves that starts at the local minimum, to rounding, at rates below and above 2/f''."""
    bottom = problems.x_cos_pi_x()
    assert bottom.facts is not None
    start = jnp.asarray(bottom.facts.minima[1].point)  # the lowest comes first

    def one(rate: Array) -> Array:
        return jnp.max(jnp.abs(minimize(_wave, start, _boxed(gradient_descent(rate)), steps=STEPS).params - start))

    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(BOTTOM_RATES)))


def _count_minima(key: Key[Array, ""]) -> tuple[np.ndarray, int]:
    """The distinct ends of descent on Styblinski-Tang in 1 to 6 dimensions, and how many are not minima by verdict."""

    def loss(x: Array, mask: Array) -> Array:
        return 0.5 * jnp.sum(mask * (x**4 - 16 * x**2 + 5 * x)) + 0.5 * jnp.sum((1 - mask) * x**2)

    starts = jax.random.uniform(key, (4_000, DIMENSIONS), minval=-5.0, maxval=5.0)
    masks = jnp.tril(jnp.ones((DIMENSIONS, DIMENSIONS)))

    @jax.jit
    def descend(starts: Array, mask: Array) -> Array:
        return jax.vmap(lambda x: minimize(loss, x, gradient_descent(0.01), steps=400, args=(mask,)).params)(starts)

    judge = jax.jit(jax.vmap(lambda x: classify(loss, x, masks[-1]).kind))
    counts = []
    for mask in masks:
        ends = np.unique(np.round(np.asarray(descend(starts, mask)) * np.asarray(mask), 4), axis=0)
        counts.append(len(ends))
    last = np.asarray(descend(starts, masks[-1]))
    _, first = np.unique(np.sign(last), axis=0, return_index=True)
    return np.array(counts), int(np.sum(np.asarray(judge(jnp.asarray(last[first]))) != Kind.MINIMUM))


class _Losses(NamedTuple):
    """What training ends with, over width and seed."""

    train_loss: np.ndarray
    test_loss: np.ndarray
    gradient: np.ndarray


def _networks(keys: Key[Array, " seeds"]) -> _Losses:
    """Train networks of one hidden layer on 200 digits; the narrow ones are the widest with units masked away."""
    train, test = problems.digits()
    parts = [(np.asarray(part.inputs), np.asarray(part.labels)) for part in (train, test)]
    middle = parts[0][0].mean(0)
    axes = np.linalg.svd(parts[0][0] - middle, full_matrices=False)[2][:FEATURES].T
    (inputs, labels), held_out = [(jnp.asarray((x - middle) @ axes), jnp.asarray(y)) for x, y in parts]
    inputs, labels = inputs[:TRAIN], labels[:TRAIN]

    def loss(params: Any, inputs: Array, labels: Array, mask: Array) -> Array:
        hidden = jnp.tanh(inputs @ params["in"] + params["bias"]) * mask
        logits = hidden @ params["out"] + params["shift"]
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    def one(key: Key[Array, ""], width: Int[Array, ""]) -> tuple[Array, Array, Array]:
        below, above = jax.random.split(key)
        mask = (jnp.arange(max(WIDTHS)) < width).astype(inputs.dtype)
        params = {
            "in": jax.random.normal(below, (FEATURES, max(WIDTHS))) / np.sqrt(FEATURES),
            "bias": jnp.zeros(max(WIDTHS)),
            "out": jax.random.normal(above, (max(WIDTHS), CLASSES)) / jnp.sqrt(width.astype(inputs.dtype)),
            "shift": jnp.zeros(CLASSES),
        }
        run = minimize(loss, params, adam(0.02), steps=TRAINING, args=(inputs, labels, mask))
        return run.final_loss, loss(run.params, *held_out, mask), run.grad_norm[-1]

    each = jax.jit(jax.vmap(jax.vmap(one, (0, None)), (None, 0)))
    return _Losses(*map(np.asarray, each(keys, jnp.asarray(WIDTHS))))


def _share(name: str, sentence: str, left: Any, lanes: int, *, conditions: str = "", **bound: float) -> Claim:
    """A claim on a share of trials, with its exact interval."""
    ends = exact_interval(int(left), lanes)
    said = f"95 % interval. {conditions}".strip()
    return Claim(name, sentence, int(left) / lanes, interval=ends, unit="of the trials", conditions=said, **bound)


def _spread_ratio(widest: np.ndarray, narrowest: np.ndarray) -> float:
    return float(np.std(widest) / np.std(narrowest))


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures say of local minima.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: who leaves, what a verdict tells, how many minima there are, and the spread of losses by width.
    """
    return [*_who_leaves(dataset), *_what_is_known(dataset), *_by_width(dataset)]


def _who_leaves(dataset: xarray.Dataset) -> list[Claim]:
    lanes = dataset.lanes
    batches, injected = dataset.left_by_batches.values, dataset.left_by_injection.values
    still = dict(zip(dataset.method.values.tolist(), dataset.left_still.values.tolist(), strict=True))
    by_level = ", ".join(f"{n / lanes:.0%} at {level:g}" for level, n in zip(LEVELS, batches, strict=True))
    by_adam = ", ".join(
        f"{n / lanes:.0%} at {rate:g}" for rate, n in zip(ADAM_RATES, dataset.left_by_adam.values, strict=True)
    )
    return [
        _share(
            "descent_stays",
            "Full-batch descent at a small rate stays in the basin of its start.",
            still["descent"], lanes, high=0.05,
        ),
        _share(
            "minibatch_noise_leaves",
            "The noise of minibatches can lead out of a local minimum.",
            batches.max(), lanes, low=0.05,
            conditions=f"By the noise of the gradient at the rate {RATE:g}: {by_level}. Too little never does, and too "
            "much leads back as well.",
        ),
        _share(
            "injected_noise_leaves",
            "Noise added to the gradient does the same.",
            injected.max(), lanes, low=0.05,
        ),
        _share(
            "only_noise_leaves",
            "Only noise leads out of a local minimum.",
            still["momentum 0.99"], lanes, high=0.0,
            conditions="A heavy ball of beta 0.99 rolls out as well, without noise; at 0.9 "
            f"{still['momentum 0.9'] / lanes:.0%} of trials do, and by Adam {by_adam}.",
        ),
        _share(
            "restarts_find_it",
            "A restart anywhere in the box finds the global minimum as often as its basin is wide, 57.5 %.",
            dataset.reached_by_restarts, lanes, low=0.475, high=0.675,
            conditions="So eight restarts miss it one time in a thousand.",
        ),
    ]  # fmt: skip


def _what_is_known(dataset: xarray.Dataset) -> list[Claim]:
    counts, dimension = dataset.minima.values, dataset.dimension.values
    moved, rate = dataset.moved.values, dataset.bottom_rate.values
    local, globally = dataset.value.values
    return [
        Claim(
            "verdict_is_local",
            "No derivative tells a local minimum from the global one: both get the verdict minimum.",
            int(np.sum(dataset.kind.values == Kind.MINIMUM)), 2, 2, unit="of 2",
            conditions=f"Their values are {local:.3f} and {globally:.3f}.",
        ),
        Claim(
            "no_rate_moves_it",
            "At a local minimum the gradient is zero, and descent does not move whatever the rate.",
            float(moved.max()), high=1e-6, unit="moved in 1,000 steps, largest of the rates",
            conditions="In exact arithmetic, or below 2/f'' = 0.31: above it rounding grows at every step "
            f"({', '.join(f'{m:.1g} at {r:g}' for m, r in zip(moved, rate, strict=True))}).",
        ),
        Claim(
            "small_rates_rest",
            "At rates below 2/f'' descent that starts at a local minimum stays.",
            float(moved[rate < 0.3].max()), high=1e-12, unit="moved in 1,000 steps",
        ),
        Claim(
            "exponentially_many",
            "The number of local minima can grow exponentially: Styblinski-Tang has 2^d.",
            int(np.sum(counts != 2**dimension)), 0, 0, unit="dimensions of 1 to 6 with another number",
            conditions=f"Found by descent from 4,000 starts: {', '.join(map(str, counts))}; "
            f"{int(dataset.not_minima)} of the last are no minima by verdict.",
        ),
    ]  # fmt: skip


def _by_width(dataset: xarray.Dataset) -> list[Claim]:
    train, test = dataset.train_loss.values, dataset.test_loss.values
    listed = {
        name: ", ".join(f"{np.std(row):.2g}" for row in rows) for name, rows in (("train", train), ("test", test))
    }
    relative = np.std(train, axis=1) / np.mean(train, axis=1)
    gradient = dataset.gradient.values

    def narrower(name: str, sentence: str, rows: np.ndarray, conditions: str) -> Claim:
        ends = rows[-1], rows[0]
        return Claim(
            name, sentence, _spread_ratio(*ends), high=1.0, interval=bootstrap(_spread_ratio, *ends),
            unit=f"of the spread at width {WIDTHS[0]}", conditions=f"95 % over {dataset.seeds} seeds. {conditions}",
        )  # fmt: skip

    def relative_ratio(widest: np.ndarray, narrowest: np.ndarray) -> float:
        return float(np.std(widest) / np.mean(widest) / (np.std(narrowest) / np.mean(narrowest)))

    return [
        narrower(
            "training_spread_shrinks",
            f"The wider the network, the closer together its final training losses (widths {WIDTHS[0]}, {WIDTHS[-1]}).",
            train, f"Standard deviations by width: {listed['train']}.",
        ),
        narrower(
            "test_spread_shrinks",
            "So are the final test losses, which the histogram of the paper shows.",
            test, f"Standard deviations by width: {listed['test']}.",
        ),
        Claim(
            "relative_spread_shrinks",
            "The training losses come closer together in proportion to their mean, too.",
            float(relative[-1] / relative[0]), high=1.0,
            interval=bootstrap(relative_ratio, train[-1], train[0]), unit="of the relative spread at width 2",
            conditions=f"95 % over seeds. Relative spreads: {', '.join(f'{value:.0%}' for value in relative)}. Wide "
            "networks fit these digits, so their losses go to 0, and the spread with them.",
        ),
        Claim(
            "ends_are_optima",
            "What the histogram shows are local optima: the gradient has vanished where training ends.",
            float(np.median(gradient)), high=1e-6, unit="median gradient norm at the end",
            conditions=f"From {gradient.min():.1g} to {gradient.max():.1g}: training stopped, it did not converge.",
        ),
    ]  # fmt: skip


def figure(dataset: xarray.Dataset) -> Figure:
    """Who leaves the local minimum, and the final losses by width, in training and held out.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, middle, right) = plots.panels(1, 3, size=(5.0, 3.9))
    x = np.linspace(LOW, HIGH, 301)
    left.plot(x, x * np.cos(np.pi * x), color="tab:blue")
    for at, words, place in ((LOCAL, "local", (-0.9, -0.9)), (1.0904, "global", (1.35, -0.9))):
        left.plot(at, at * np.cos(np.pi * at), "o", color="black")
        left.annotate(
            words, (at, at * np.cos(np.pi * at)), xytext=place, arrowprops={"arrowstyle": "-", "color": "0.6"}
        )
    left.set(xlabel="x", ylabel="x cos(pi x)")
    plots.set_title(left, "Two minima, one verdict", "no derivative tells which is which")
    plots.describe(left, "x cos(pi x) on [-1, 2] with its local minimum at -0.27 and its global minimum at 1.09.")
    lanes = dataset.lanes
    looks = {
        "left_by_batches": ("o-", "tab:blue", "minibatch noise"),
        "left_by_injection": ("s--", "tab:orange", "added noise"),
    }
    for name, (mark, color, label) in looks.items():
        counts = dataset[name].values
        ends = np.array([exact_interval(int(n), lanes) for n in counts]).T
        error = abs(ends - counts / lanes)
        middle.errorbar(dataset.level, counts / lanes, error, fmt=mark, color=color, capsize=3, label=label)
    for i, (method, count) in enumerate(zip(dataset.method.values.tolist(), dataset.left_still.values, strict=True)):
        middle.axhline(count / lanes, color=str(0.2 + 0.25 * i), linestyle=":", label=f"{method}, no noise")
    middle.set(
        xscale="log",
        xlabel="noise in the gradient (standard deviation)",
        ylabel="share that leaves",
        ylim=(-0.03, 1.35),
    )
    middle.set_xticks(LEVELS, [f"{level:g}" for level in LEVELS])
    middle.minorticks_off()
    middle.legend(frameon=False, fontsize=8.5, ncols=2, loc="upper center")
    plots.set_title(middle, "Noise leaves, and so does a heavy ball", "with exact 95 % intervals")
    most = int(dataset.left_by_batches.max()) / lanes
    plots.describe(middle, f"Share of trials that leave the local minimum: up to {most:.0%} by minibatch noise.")
    for i, width in enumerate(dataset.width.values):
        for name, color, shift in (("train_loss", "tab:blue", -0.15), ("test_loss", "tab:orange", 0.15)):
            values = dataset[name].sel(width=width).values
            part = {"train_loss": "training", "test_loss": "test"}[name] if i == 0 else None
            right.plot(np.full(len(values), i + shift), values, "_", color=color, markersize=11, alpha=0.7, label=part)
    right.set_xticks(range(len(WIDTHS)), [f"{width}" for width in WIDTHS])
    right.set(yscale="log", xlabel="width", ylabel="final loss")
    right.legend(frameon=False, fontsize=9)
    plots.set_title(right, "Final losses by width", f"{dataset.seeds} starts of every width, one mark each")
    plots.describe(right, "Final training and test losses of networks by width, one mark per start.")
    return drawn
