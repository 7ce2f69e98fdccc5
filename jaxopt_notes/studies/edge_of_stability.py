"""Edge of stability: full-batch training raises the sharpness to the limit of the learning rate, and stays there.

    descent 2/a,     heavy ball 2 (1 + b)/a,     Adam 2 (1 + b1)/((1 - b1) a) = 38/a, of the preconditioned Hessian

Sources: Cohen, Kaur, Li, Kolter and Talwalkar, 2021; Cohen et al., 2022 (Adam).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..curvature import preconditioner, sharpness, stability_bound
from ..minimize import minimize
from ..optimizers import adam, momentum
from ..problems import digits
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

STEPS = {"small": 1600, "full": 4000}
SEEDS = {"small": 3, "full": 10}
POINTS = 40  # at which the sharpness is measured
WINDOW = 10  # the last of them
EXAMPLES, HIDDEN = 100, 16
BETA = 0.5  # with 0.9 networks as small as these fit the data, or lose their ReLUs, before they reach the limit
NUMBERS = ("learning_rate", "relu", "entropy")


class Lane(NamedTuple):
    """One configuration: the network, its loss, and the rate."""

    name: str
    method: str
    relu: int
    entropy: int
    learning_rate: float

    @property
    def limit(self) -> float:
        """The predicted largest stable sharpness."""
        numbers = {"beta": BETA if self.method == "momentum" else 0.0} if self.method != "adam" else {}
        return float(stability_bound("momentum" if numbers else "adam", 1.0, **numbers)) / self.learning_rate


# Rates for which the limit is above the sharpness at the start and within reach; "slow" is not within reach.
LANES = (
    Lane("descent, tanh", "gradient_descent", 0, 0, 0.2),
    Lane("descent, relu", "gradient_descent", 1, 0, 0.2),
    Lane("heavy ball, tanh", "momentum", 0, 0, 0.15),
    Lane("heavy ball, relu", "momentum", 1, 0, 0.25),
    Lane("slow descent, tanh", "gradient_descent", 0, 0, 0.02),
    Lane("cross-entropy, tanh", "gradient_descent", 0, 1, 0.4),
    Lane("adam, tanh", "adam", 0, 0, 2e-3),
    Lane("adam, relu", "adam", 1, 0, 2e-3),
)


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Train small networks on all of 100 digits at once, and measure the sharpness 40 times on the way.

    Arguments:
        key: of the initial weights.
        size: steps and seeds: 1,600 and 3, or 4,000 and 10.

    Returns:
        Dataset over `lane`, `seed` and `step`: the `loss`, and the `sharpness` as the method sees it, in units of the
        predicted limit.
    """
    import xarray

    every = STEPS[size] // POINTS
    with jax.enable_x64(True):
        train, _ = digits()
        batch = (train.inputs[:EXAMPLES], jax.nn.one_hot(train.labels[:EXAMPLES], 10, dtype=float))
        starts = _starts(key, SEEDS[size])
        kept = [_trained(group, starts, batch, every) for group in (LANES[:-2], LANES[-2:])]
    seen, loss = (np.concatenate([np.asarray(part[i]) for part in kept]) for i in range(2))
    limits = np.array([lane.limit for lane in LANES])
    dims = ("lane", "seed", "step")
    return xarray.Dataset(
        {
            "sharpness": (dims, seen / limits[:, None, None]),
            "loss": (dims, loss),
            "limit": ("lane", limits),
            "learning_rate": ("lane", [lane.learning_rate for lane in LANES]),
        },
        {"lane": [lane.name for lane in LANES], "step": every * np.arange(1, POINTS + 1)},
        {"examples": EXAMPLES, "hidden": HIDDEN, "seeds": SEEDS[size]},
    )


def _loss(params: Any, batch: Any, relu: Array, entropy: Array) -> Float[Array, ""]:
    """Half the squared error or the cross-entropy of a network of one hidden layer, chosen by traced flags."""
    inputs, targets = batch
    (first, first_bias), (second, second_bias) = params
    hidden = inputs @ first + first_bias
    hidden = jnp.where(relu > 0, jax.nn.relu(hidden), jnp.tanh(hidden))
    outputs = hidden @ second + second_bias
    square = 0.5 * jnp.sum((outputs - targets) ** 2, axis=-1)
    cross = -jnp.sum(targets * jax.nn.log_softmax(outputs), axis=-1)
    return jnp.mean(jnp.where(entropy > 0, cross, square))


def _starts(key: Key[Array, ""], seeds: int) -> Any:
    drawn = np.asarray(jax.random.normal(key, (seeds, 64 + 10, HIDDEN), float))
    return (
        (jnp.asarray(drawn[:, :64] / 8), jnp.zeros((seeds, HIDDEN))),
        (jnp.asarray(drawn[:, 64:].transpose(0, 2, 1) / HIDDEN**0.5), jnp.zeros((seeds, 10))),
    )


def _trained(lanes: Sequence[Lane], starts: Any, batch: Any, every: int) -> tuple[Array, Array]:
    """Sharpness and loss of lanes that are one method up to numbers, (lanes, seeds, points)."""

    def follow(start: Any, batch: Any, rate: Array, beta: Array, relu: Array, entropy: Array) -> tuple[Array, Array]:
        optimizer = adam(rate, b2=0.99) if lanes[0].method == "adam" else momentum(rate, beta)

        def point(carry: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
            params, state = carry
            flags = (relu, entropy)
            run = minimize(_loss, params, optimizer, steps=every, data=batch, args=flags, state=state, every=every)
            divisor = preconditioner(optimizer, run.state)
            seen = sharpness(_loss, run.params, batch, *flags, preconditioner=divisor, matvecs=16)
            return (run.params, run.state), (seen, run.final_loss)

        return jax.lax.scan(point, (start, optimizer.init(start)), None, length=POINTS)[1]

    rates, relu, entropy = (jnp.asarray([getattr(lane, name) for lane in lanes], float) for name in NUMBERS)
    betas = jnp.asarray([BETA if lane.method == "momentum" else 0.0 for lane in lanes], float)
    seeds = jax.vmap(follow, (0, None, None, None, None, None))
    every_lane = jax.jit(jax.vmap(seeds, (None, None, 0, 0, 0, 0)))
    return every_lane(starts, batch, rates, betas, relu, entropy)  # type: ignore[no-any-return]


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge where the sharpness settles.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: one per configuration, and what the loss does beyond the limit.
    """
    window = dataset.sharpness.isel(step=slice(-WINDOW, None)).median("step")
    formulas = {"gradient_descent": "2/lr", "momentum": "2 (1 + b)/lr (beta 0.5)", "adam": "38/lr, preconditioned"}

    def settled(lane: Lane, name: str, sentence: str, low: float, high: float, conditions: str = "") -> Claim:
        seeds = window.sel(lane=lane.name).values
        return Claim(
            name, sentence, float(np.median(seeds)), low, high, bootstrap(np.median, seeds), "of the limit", conditions
        )

    at_the_edge = [lane for lane in LANES if not lane.entropy and "slow" not in lane.name]
    slow, entropy = (next(lane for lane in LANES if lane.name.startswith(word)) for word in ("slow", "cross"))
    edge = dataset.sel(lane=[lane.name for lane in at_the_edge])
    beyond = edge.sharpness > 1
    there = edge.loss.isel(step=beyond.argmax("step"))
    falls = (edge.loss.isel(step=-1) / there).where(beyond.any("step")).values
    falls = falls[np.isfinite(falls)]
    return [
        *(
            settled(
                lane,
                lane.name.replace(", ", "_").replace(" ", "_"),
                f"{lane.name.capitalize()}: the sharpness settles within 10 % of {formulas[lane.method]}.",
                0.9,
                1.1,
                f"Squared error, median over the last quarter; the limit is {lane.limit:.3g}.",
            )
            for lane in at_the_edge
        ),
        settled(
            slow,
            "small_rate_stays_below",
            "At a ten times smaller rate it does not get there: the sharpness stays below half of the limit.",
            -np.inf,
            0.5,
            "The limit moves up tenfold, and the sharpness rises only until the loss is fitted; 100,000 steps change "
            "nothing.",
        ),
        settled(
            entropy,
            "cross_entropy",
            "With cross-entropy the sharpness falls again in the end, below half of the limit.",
            -np.inf,
            0.5,
            "Confident predictions flatten that loss.",
        ),
        Claim(
            "falls_beyond_the_limit",
            "Where the sharpness is above the limit the loss still falls in the long run: it ends lower in every run.",
            float(falls.max()) if falls.size else np.nan,
            high=1.0,
            unit=f"of the loss at the first such point, worst of {falls.size} runs",
            conditions="On a quadratic it would diverge; so it does here where the start is well beyond.",
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """Sharpness in units of the limit, and the loss, along training.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, axes = plots.panels(1, 3, size=(5.2, 4.25))
    groups = {
        "Tanh: the sharpness rises to its limit": [0, 2, 6, 4],
        "ReLU: the sharpness rises to its limit": [1, 3, 7],
        "Cross-entropy: the sharpness falls": [5],
    }
    for ax, (title, chosen) in zip(axes, groups.items(), strict=True):
        for i in chosen:
            lane, curves = LANES[i], dataset.sharpness.isel(lane=i)
            look = plots.style_of(lane.method)
            dash = ":" if "slow" in lane.name else "-"
            label = f"{'descent' if lane.entropy else lane.name.split(',')[0]}, rate {lane.learning_rate:g}"
            ax.plot(dataset.step, curves.median("seed"), dash, color=look.color, label=label)
            low, high = curves.min("seed"), curves.max("seed")
            ax.fill_between(dataset.step, low, high, color=look.color, alpha=0.15, linewidth=0)
        ax.axhline(1, color="0.4", linewidth=0.9, linestyle="--")
        ax.set(xlabel="step", ylabel="sharpness / stability limit")
        plots.legend_below(ax)
        plots.set_title(ax, title, f"median and range of {dataset.attrs['seeds']} seeds; dashed: the limit")
    top = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(0, top)
    plots.describe(axes[0], "The sharpness of three methods rises to the limit and stays; at a small rate not.")
    plots.describe(axes[1], "With ReLU too the sharpness of three methods rises to the limit and stays near it.")
    plots.describe(axes[2], "With cross-entropy the sharpness falls to a small share of the limit.")
    return drawn
