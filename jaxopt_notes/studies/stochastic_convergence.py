"""Where stochastic gradient descent ends: the floor of a constant rate, and which decay of the rate converges.

Examples f_i(x) = h_i (x - a_i)^2 / 2, drawn one at a time; with h = 1 and a_i of mean 0 and variance 1 the excess
m_t = E x_t^2 under the rates lr_t obeys m' = (1 - lr_t)^2 m + lr_t^2 exactly. So

    constant rate     m -> lr / (2 - lr),    heavy ball    m -> lr (1 + beta) / ((1 - beta) (2 (1 + beta) - lr))
    lr_t = c / t      m ~ t^-min(2 c, 1), with c in units of 1 / curvature

Sources: Robbins and Monro, 1951; Polyak and Juditsky, 1992 (rates c/t); Moulines and Bach, 2011 (their finite-time
bounds); Ma, Bassily and Belkin, 2018 (the linear rate where the noise vanishes at the optimum).
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from ..minibatches import random
from ..minimize import Run, minimize
from ..optimizers import gradient_descent, momentum
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

SEEDS = {"small": 1000, "full": 4000}
EXAMPLES = 1000
STEPS = 4000
EVERY = 20
TARGETS = (0.1, 0.01, 0.001)  # of the first excess
START = 3.0
RATES = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.3])
BETA = 0.9


class Schedule(NamedTuple):
    """The rate scale (shift + t)^-power factor^t, heavy ball's beta, and if examples agree (1 or 0)."""

    scale: float
    power: float = 0.0
    shift: float = 1.0
    factor: float = 1.0
    beta: float = 0.0
    start: float = START
    agreeing: float = 0.0

    def rates(self) -> Float[np.ndarray, " steps"]:
        """The rate of every step."""
        step = np.arange(STEPS)
        return self.scale * (self.shift + step) ** -self.power * self.factor**step


SCHEDULES = {
    "constant": Schedule(0.1),
    "too slow, t^-0.1": Schedule(0.1, power=0.1),
    "t^-0.5": Schedule(0.1, power=0.5),
    **{f"{c:g}/t": Schedule(c, power=1.0, shift=10 * c) for c in (0.1, 0.25, 0.5, 1.0, 2.0)},
    "too fast, 0.95^t": Schedule(0.1, factor=0.95),
}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Descend a noisy parabola from many seeds, with constant and decaying rates.

    Arguments:
        key: draws the examples and their order.
        size: 1,000 or 4,000 seeds.

    Returns:
        Dataset with the floors x^2 of constant rates by `seed`, with and without a heavy ball; the excess along `step`
        for every `schedule`, measured, by groups of seeds, and predicted; and the distance on examples without noise
        at the optimum beside gradient descent.
    """
    import xarray

    floors = [Schedule(rate, beta=beta, start=0.0) for beta, rates in _floor_rates().items() for rate in rates]
    schedules = [*floors, *SCHEDULES.values(), Schedule(0.1, agreeing=1.0)]
    lanes = jax.tree.map(lambda *numbers: np.array(numbers, np.float32), *schedules)
    rates = np.stack([schedule.rates() for schedule in schedules])
    noise_key, curvature_key, order_key = jax.random.split(key, 3)
    noise, curvature = jax.random.normal(noise_key, (EXAMPLES,)), jax.random.uniform(curvature_key, (EXAMPLES,))
    data = (noise - noise.mean()) / noise.std(), curvature / curvature.mean()
    path = np.asarray(_descend(lanes, rates, jax.random.split(order_key, SEEDS[size]), data), float)
    start, rate = jnp.asarray(START), gradient_descent(0.1)
    descent = minimize(_loss, start, rate, steps=200, data=data, args=(0.0,), record_params=True)
    squares = path**2
    ends = squares[:, : len(floors), STEPS // EVERY // 4 :].mean(2)
    steps = np.arange(STEPS // EVERY + 1) * EVERY
    means = squares[:, len(floors) : -1].reshape(20, -1, len(SCHEDULES), len(steps)).mean(1)
    return xarray.Dataset(
        {
            "floor": (
                ("seed", "beta", "rate"),
                ends.reshape(-1, 2, len(RATES)),
            ),
            "learning_rate": (("beta", "rate"), np.stack(list(_floor_rates().values()))),
            "excess": (("group", "schedule", "step"), means),
            "first_step": (("descent", "target"), _first_steps()),
            "predicted": (("schedule", "step"), np.stack([_predict(one)[::EVERY] for one in SCHEDULES.values()])),
            "agreeing_distance": ("step", np.median(np.abs(path[:, -1]), axis=0)),
            "descent_distance": ("descent_step", np.abs(descent.params_path)),
        },
        {"beta": [0.0, BETA], "schedule": list(SCHEDULES), "step": steps, "rate": RATES}
        | {"descent": ["full", "stochastic"], "target": list(TARGETS)},
        {"seeds": SEEDS[size], "examples": EXAMPLES},
    )


def _floor_rates() -> dict[float, np.ndarray]:
    """The rates by beta, equal lr/(1 - beta) above each other; the largest of the heavy ball are also rates without."""
    return {0.0: RATES, BETA: RATES * (1 - BETA)}


def _loss(x: Float[Array, ""], batch: tuple[Array, Array], agreeing: Any) -> Float[Array, ""]:
    """Parabolas of one curvature about different points, or where they agree, of different ones about 0."""
    noise, curvature = batch
    return jnp.mean(jnp.where(agreeing, curvature * x**2, (x - noise) ** 2)) / 2


@jax.jit
def _descend(
    lanes: Schedule, rates: Float[Array, "lanes steps"], keys: Key[Array, " seeds"], data: PyTree
) -> Float[Array, "seeds lanes entries"]:
    """Where every schedule is along its run; all schedules of a seed see the same examples."""

    def one(key: Key[Array, ""], lane: Schedule, rates: Float[Array, " steps"]) -> Float[Array, " entries"]:
        run: Run = minimize(
            _loss, lane.start, momentum(lambda step: rates[step], lane.beta), steps=STEPS, every=EVERY, data=data,
            minibatches=random(1), key=key, args=(lane.agreeing,), record_params=True,
        )  # fmt: skip
        return run.params_path

    return jax.vmap(lambda key: jax.vmap(partial(one, key))(lanes, rates))(keys)


def _predict(schedule: Schedule) -> np.ndarray:
    """The exact mean of x^2 after every step."""
    excess = [schedule.start**2]
    for rate in schedule.rates():
        excess.append((1 - rate) ** 2 * excess[-1] + rate**2)
    return np.array(excess)


def _first_steps() -> np.ndarray:
    """By the exact law, the first step at which the excess is down to each target: of descent, of the best decay."""
    descent = START**2 * (1 - 0.1) ** (2 * np.arange(STEPS))
    decaying = [_predict(schedule) for name, schedule in SCHEDULES.items() if name != "constant"]
    below = lambda excess, target: excess <= target * START**2
    first = [
        min(int(np.argmax(below(one, target))) for one in decaying if below(one, target).any()) for target in TARGETS
    ]
    return np.array([[int(np.argmax(below(descent, target))) for target in TARGETS], first])


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about the end of a stochastic descent.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: the floors of constant rates, what each decay of the rate does, and the speed beside gradient descent.
    """
    return [*_floor_claims(dataset), *_decay_claims(dataset), *_speed_claims(dataset)]


def _floor_claims(dataset: xarray.Dataset) -> list[Claim]:
    floor, rates = dataset.floor.values, dataset.rate.values  # seeds, betas, rates
    slope = lambda sample: _slope(rates, sample[:, 0].mean(0))
    # The heavy ball's rates 0.01 and 0.02 are the 4th and 5th of its row, and the 1st and 2nd of plain descent.
    equal = lambda sample: sample[:, 1, 3].mean() / sample[:, 0, 0].mean() * (1 - BETA)
    effective = lambda sample: sample[:, 1, 0].mean() / sample[:, 0, 0].mean()
    apart = float(floor[:, 1, -1].mean() / floor[:, 0, -1].mean())
    return [
        Claim(
            "floor_slope",
            "At a constant rate the excess stops at a floor proportional to the rate: slope 1 on log axes.",
            slope(floor),
            0.9,
            1.1,
            bootstrap(slope, floor),
            conditions="For lr x curvature from 0.01 to 0.3; the floor is lr/(2 - lr) exactly.",
        ),
        Claim(
            "heavy_ball_equal_rate",
            f"At the same rate the heavy ball's floor is 1/(1 - beta) = {1 / (1 - BETA):.0f} times as high.",
            equal(floor),
            0.9,
            1.1,
            bootstrap(equal, floor),
            unit="of 1/(1 - beta)",
        ),
        Claim(
            "heavy_ball_equal_effective_rate",
            "At the same lr/(1 - beta) the heavy ball's floor is the same: it averages no noise away.",
            effective(floor),
            0.9,
            1.1,
            bootstrap(effective, floor),
            unit="of the floor without momentum",
            conditions=f"At small rates; {apart:.2f} at lr x curvature 0.3, where the heavy ball's is lower.",
        ),
    ]


def _decay_claims(dataset: xarray.Dataset) -> list[Claim]:
    def fall(name: str, first: int, last: int) -> tuple[float, tuple[float, float]]:
        """The slope of the excess on log axes between two steps."""
        values = dataset.excess.sel(schedule=name, step=slice(first, last))
        steps, groups = values.step.values, values.values
        statistic = lambda sample: _slope(steps, sample.mean(0))
        return statistic(groups), bootstrap(statistic, groups)

    decade = (STEPS // 10, STEPS)

    def measured(name: str, sentence: str, schedule: str, low: float, high: float, conditions: str = "") -> Claim:
        slope, interval = fall(schedule, *decade)
        return Claim(name, sentence, slope, low, high, interval, "slope of log excess in the last decade", conditions)

    decaying = ["t^-0.5", *(name for name in SCHEDULES if name.endswith("/t"))]
    slowest = max(decaying, key=lambda name: fall(name, *decade)[0])
    fast = dataset.excess.sel(schedule="too fast, 0.95^t")
    reached = fast.sel(step=STEPS).mean().item()
    predicted = dataset.predicted.sel(schedule="too fast, 0.95^t", step=STEPS).item()
    return [
        measured(
            "converges_for_many_rates",
            f"On a convex problem stochastic descent converges for many rates that decay: {', '.join(decaying)}.",
            slowest,
            -np.inf,
            -0.1,
            f"Of the slowest, {slowest}. A constant rate ends on its floor (see floor_slope).",
        ),
        measured(
            "decay_converges",
            "With the rate c/t and c x curvature = 2, above 1/2, it does converge: the excess falls as 1/t.",
            "2/t",
            -1.1,
            -0.9,
            f"The start is forgotten as t^-2c: at c = 1 that shows, with a slope of {fall('1/t', *decade)[0]:.2f}.",
        ),
        *(
            measured(
                f"needs_half_{c:g}".replace(".", "_"),
                f"With the rate c/t and c x curvature = {c:g}, below 1/2, the excess falls as t^-{2 * c:g} only.",
                f"{c:g}/t",
                -2 * c - 0.05,
                -2 * c + 0.05,
                "The full 1/t needs c x curvature above 1/2, in the flattest direction.",
            )
            for c in (0.1, 0.25)
        ),
        Claim(
            "too_fast_stalls",
            "A rate that decays too fast stalls away from the optimum: ten times the steps change nothing.",
            reached / fast.sel(step=STEPS // 10).mean().item(),
            0.99,
            1.01,
            unit="of the excess ten times earlier",
            conditions=f"Whenever the sum of the rates is finite; here it is 2, and the excess stays at {reached:.3g} "
            f"(predicted {predicted:.3g}) from {START**2:g}.",
        ),
        measured(
            "too_slow",
            "A rate that decays too slowly, as t^-0.1, hardly converges: the excess falls no faster than the rate.",
            "too slow, t^-0.1",
            -0.2,
            0.0,
            "It would arrive, for any power up to 1, but the excess is about half the rate of the moment.",
        ),
    ]


def _speed_claims(dataset: xarray.Dataset) -> list[Claim]:
    ratio = (dataset.first_step.sel(descent="stochastic") / dataset.first_step.sel(descent="full")).values
    by_target = ", ".join(f"{each:.2g} times to {target:g}" for each, target in zip(ratio, TARGETS, strict=True))
    examples = int(dataset.first_step.sel(descent="full")[-1]) * dataset.examples
    per_step = _log_rate(dataset.agreeing_distance.values[:6]) / EVERY
    per_step_gd = _log_rate(dataset.descent_distance.values[: 5 * EVERY])
    return [
        Claim(
            "as_fast_as_descent",
            "With a decaying rate stochastic descent converges about as fast as gradient descent, in at most twice the "
            "steps.",
            float(ratio[-1]),
            high=2.0,
            interval=(float(ratio.min()), float(ratio.max())),
            unit="times the steps",
            conditions=f"The accuracy decides: {by_target} of the first excess, which falls as 1/t and not "
            f"geometrically. But the {int(dataset.first_step.sel(descent='stochastic')[-1])} steps are gradients of as "
            f"many examples, those of gradient descent of {examples:,}.",
        ),
        Claim(
            "as_fast_where_examples_agree",
            "Where the examples agree at the optimum, stochastic descent converges geometrically, at a constant rate "
            "and as fast per step as gradient descent.",
            per_step / per_step_gd,
            0.9,
            1.1,
            unit="of gradient descent's log rate",
        ),
    ]


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _log_rate(distances: np.ndarray) -> float:
    return float(np.polyfit(np.arange(len(distances)), np.log(distances), 1)[0])


def figure(dataset: xarray.Dataset) -> Figure:
    """The floors against the rate, and the excess along time for every decay of the rate.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, right) = plots.panels(1, 2, size=(5.6, 4.45))
    labels = {0.0: "descent", BETA: f"heavy ball, β = {BETA}"}
    looks = [plots.style_of(name) for name in ("gradient_descent", "momentum")]
    for (beta, label), look in zip(labels.items(), looks, strict=True):
        rate = dataset.learning_rate.sel(beta=beta).values
        grid = np.geomspace(rate[0], rate[-1], 50)
        law = grid * (1 + beta) / ((1 - beta) * (2 * (1 + beta) - grid))
        left.loglog(grid, law, color=look.color, linestyle=look.linestyle)
        left.plot(rate, dataset.floor.sel(beta=beta).mean("seed"), look.marker, color=look.color, label=label)
    left.set(xlabel="learning rate × curvature", ylabel="floor of the excess")
    plots.legend_below(left)
    plots.set_title(left, "A constant rate ends on a floor", "marks: measured; lines: the exact law")
    plots.describe(
        left,
        "Floors are proportional to the rate; the heavy ball's lies ten times higher at the same rate, and equally "
        "high at the same rate/(1 - beta).",
    )
    steps = dataset.step.values[1:]
    looks = plots.distinct_styles(dataset.sizes["schedule"])
    for schedule, look in zip(dataset.schedule.values, looks, strict=True):
        excess = dataset.excess.sel(schedule=schedule).mean("group").values[1:]
        label = re.sub(r"([\d.t]+)\^(-?[\d.t]+)", r"$\1^{\2}$", str(schedule))
        right.loglog(steps, excess, color=look.color, linestyle=look.linestyle, label=label)
        right.loglog(steps, dataset.predicted.sel(schedule=schedule)[1:], color="0.3", linewidth=0.5)
    right.set(xlabel="step", ylabel="excess E x²")
    plots.legend_below(right, title="learning rate", math=True)
    plots.round_ticks(left, right)
    plots.set_title(right, "Only 1/t of the right scale reaches 1/t", "thin: exact prediction")
    plots.describe(
        right,
        "A constant rate and 0.95^t end flat, t^-0.1 nearly so, c/t falls as t^-2c for c below 1/2 and as 1/t above.",
    )
    return drawn
