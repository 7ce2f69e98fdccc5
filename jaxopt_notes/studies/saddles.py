"""Saddles: how long descent takes to leave one, which kinds there are, and who ever stays.

    strict saddle, lambda < 0:    d (1 + lr |lambda|)^k = r          k = log(r/d) / log(1 + lr |lambda|)
    with a heavy ball:            z^2 - (1 + beta + lr |lambda|) z + beta = 0,      k = log(r/d) / log z
    x^3, from -d:                 k = 1/(3 lr d);  from d > 0 descent comes to the saddle and stops

Here d is the distance from the saddle along the way down and r the fixed radius to leave.

Sources: Lee, Simchowitz, Jordan and Recht, 2016 (who stays); Polyak, 1964; Dauphin et al., 2014 (monkey saddle);
Levine, CS 182 lecture 4, 2021, and Zhang, Lipton, Li and Smola, 2023 (the two definitions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .. import landscape, problems
from ..curvature import CriticalPoint, Kind, classify
from ..minimize import minimize
from ..optimizers import gradient_descent, momentum
from ._machinery.claim import Claim, worst_ratio
from ._machinery.intervals import exact_interval
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

RADIUS = 0.5
CURVATURE = -2.0  # of x^2 - y^2 along y
DISTANCES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)
RATES = (0.01, 0.03, 0.1, 0.3)
BETAS = (0.0, 0.5, 0.9, 0.99)
CUBIC_DISTANCES = (0.01, 0.003, 0.001)
CUBIC_RATE = 0.1
STEPS = 4000
STARTS = {"small": 1_000, "full": 50_000}
# As weights of the catalogue's functions in `_blend`, so that one program serves all; x^3 is constant along y.
WEIGHTS = {
    "saddle": (1.0, 0.0, 0.0, 0.0, 0.0),
    "cubic": (0.0, 1.0, 0.0, 0.0, 0.0),
    "monkey_saddle": (0.0, 0.0, 1.0, 0.0, 0.0),
    "cubic_valley": (0.0, 1.0, 0.0, 1.0, 0.0),
    "himmelblau": (0.0, 0.0, 0.0, 0.0, 1.0),
}
JUDGED = ("saddle", "cubic", "monkey_saddle")
DRAWN = ("saddle", "cubic_valley", "monkey_saddle")


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Leave saddles from many distances, rates and momenta, judge them, and descend from random starts.

    Arguments:
        key: draws the starts on Himmelblau's function.
        size: 1,000 starts or 50,000.

    Returns:
        Dataset with steps to leave over `rate`, `beta` and `distance`, those of x^3, verdicts over `function`, the end
        points of random starts by kind, and the fields of the figure.
    """
    import xarray

    with jax.enable_x64(True):
        steps, cubic_steps, cubic_end, ridge_end, shortest = _escapes()
        beside = problems.cubic().loss(jnp.array([CUBIC_DISTANCES[0]]))
        opposite = problems.cubic().loss(jnp.array([-CUBIC_DISTANCES[0]]))
        starts = jax.random.uniform(key, (STARTS[size], 2), minval=-5.0, maxval=5.0)
        verdicts, kinds = _verdicts(starts)
        grid = np.linspace(-1, 1, 21)
        fields = [
            landscape.gradient_field(_blend, jnp.zeros(2), jnp.eye(2), x=grid, y=grid, args=(jnp.array(WEIGHTS[name]),))
            for name in DRAWN
        ]
        drawn = {
            name: (("drawn", "y", "x"), np.stack([field[name].values for field in fields]))
            for name in ("loss", "flow_x", "flow_y")
        }
        judged = {
            name: ("function", np.asarray(getattr(verdicts, name))[: len(JUDGED)])
            for name in ("kind", "index", "positive")
        }
        return xarray.Dataset(
            {
                "steps": (("rate", "beta", "distance"), steps),
                "cubic_steps": ("cubic_distance", cubic_steps),
                "cubic_end": cubic_end,
                "cubic_rises": int(beside > 0),
                "cubic_falls": int(opposite < 0),
                "shortest_step": ("rate", shortest),
                "ridge_end": ridge_end,
                "ends": ("end_kind", np.bincount(kinds, minlength=len(Kind))),
                **judged,
                **drawn,
            },
            {
                **{"rate": list(RATES), "beta": list(BETAS), "distance": list(DISTANCES), "x": grid, "y": grid},
                **{"cubic_distance": list(CUBIC_DISTANCES), "function": list(JUDGED), "drawn": list(DRAWN)},
                "end_kind": [kind.name.lower() for kind in Kind],
            },
        )


def _blend(p: Float[Array, " 2"], weights: Float[Array, " 5"]) -> Float[Array, ""]:
    """A weighted sum of functions of the catalogue and of a valley y^2."""
    terms = [
        problems.saddle().loss(p),
        problems.cubic().loss(p[:1]),
        problems.monkey_saddle().loss(p),
        p[1] ** 2,
        problems.himmelblau().loss(p),
    ]
    return weights @ jnp.stack(terms)


def _escapes() -> tuple[np.ndarray, np.ndarray, float, float, np.ndarray]:
    """Steps to leave x^2 - y^2 and x^3, where those end that can't, and the shortest step; one program."""
    rate, beta, distance = (axis.ravel() for axis in np.meshgrid(RATES, BETAS, DISTANCES, indexing="ij"))
    cubic = len(CUBIC_DISTANCES)
    strict = len(rate)
    starts = np.zeros((strict + cubic + 2, 2))
    starts[:strict] = np.stack([np.full(strict, 0.5), distance], axis=1)
    starts[strict:-2, 0] = -np.array(CUBIC_DISTANCES)
    starts[-2:, 0] = 1.0, 0.9  # on the upper side of x^3, and on the ridge of x^2 - y^2
    names = ["saddle"] * strict + ["cubic"] * (cubic + 1) + ["saddle"]
    rates = np.concatenate([rate, np.full(cubic + 2, CUBIC_RATE)])
    betas = np.concatenate([beta, np.zeros(cubic + 2)])

    def one(start: Array, weights: Array, rate: Array, beta: Array) -> tuple[Array, Array, Array]:
        away = lambda p: jnp.any(jnp.stack([-p[0], jnp.abs(p[1])]) >= RADIUS)
        run = minimize(_blend, start, momentum(rate, beta), steps=STEPS, args=(weights,), metrics=away)
        return run.metrics, run.params, jnp.min(run.grad_norm) / run.grad_norm[0]

    lanes = (starts, np.array([WEIGHTS[name] for name in names]), rates, betas)
    away, ends, shortest = map(np.asarray, jax.jit(jax.vmap(one))(*map(jnp.asarray, lanes)))
    first = np.where(away.any(-1), away.argmax(-1), -1)
    steps = first[:strict].reshape(len(RATES), len(BETAS), len(DISTANCES))
    # Of plain descent from the smallest distance a step is the rate times the gradient.
    smallest = shortest[:strict].reshape(steps.shape)[:, BETAS.index(0.0), -1]
    return steps, first[strict:-2], float(ends[-2, 0]), float(np.hypot(*ends[-1])), smallest


def _verdicts(starts: Float[Array, "starts 2"]) -> tuple[CriticalPoint, np.ndarray]:
    """The verdicts at the known saddles and after them at the ends of descent on Himmelblau's function; their kinds."""
    himmelblau = jnp.array(WEIGHTS["himmelblau"])

    @jax.jit
    @jax.vmap
    def descend(start: Array) -> Array:
        return minimize(_blend, start, gradient_descent(0.005), steps=STEPS // 2, args=(himmelblau,)).params

    ends = descend(starts)
    points = jnp.concatenate([jnp.zeros((len(JUDGED), 2)), ends])
    known = jnp.array([WEIGHTS[name] for name in JUDGED])
    weights = jnp.concatenate([known, jnp.broadcast_to(himmelblau, (len(ends), len(himmelblau)))])
    verdicts = jax.jit(jax.vmap(lambda point, weights: classify(_blend, point, weights)))(points, weights)
    return verdicts, np.asarray(verdicts.kind)[len(JUDGED) :]


def _growth(rate: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """The larger root of z^2 - (1 + beta + lr |lambda|) z + beta."""
    middle = 1 + beta + rate * abs(CURVATURE)
    return (middle + np.sqrt(middle**2 - 4 * beta)) / 2


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about saddles.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: escape times of descent, heavy ball and x^3; verdicts; who stays; the two definitions.
    """
    return [*_escape_claims(dataset), *_cubic_claims(dataset), *_end_claims(dataset), *_kind_claims(dataset)]


def _escape_claims(dataset: xarray.Dataset) -> list[Claim]:
    rate, beta, distance = dataset.rate.values, dataset.beta.values, dataset.distance.values
    far = np.log(RADIUS / distance)
    predicted = far / np.log(_growth(rate[:, None], beta))[..., None]
    ratio = dataset.steps.values / predicted
    long = predicted > 20  # a step more or less is 5 % of the rest
    # A ball that starts at rest loses some steps at first, the same from every distance: look at the difference.
    decades = np.log(distance[0] / distance[-1]) / np.log(_growth(rate[:, None], beta))
    heavy = (dataset.steps.values[..., -1] - dataset.steps.values[..., 0])[:, 1:] / decades[:, 1:]
    faster = dataset.steps.sel(beta=0.0) / dataset.steps.sel(beta=0.9)
    plain = dataset.steps.sel(beta=0.0).values
    multiple = plain[:, -1] / plain[:, 0]
    nearest = faster.sel(distance=1e-12).values
    return [
        Claim(
            "escape_time",
            "Descent leaves a strict saddle after log(r/d)/log(1 + lr |lambda|) steps.",
            worst_ratio(ratio[:, 0][long[:, 0]]), 0.95, 1.05, unit="of the formula, worst rate and distance",
            conditions="So distance costs little: every factor of ten nearer costs the same number of steps more.",
        ),
        Claim(
            "tiny_steps",
            "Near a saddle the gradient vanishes and the steps get tiny, as on a bad plateau: below a thousandth of "
            "the first.",
            float(dataset.shortest_step.max()), high=1e-3, unit="of the first step, shortest on the way, worst rate",
            conditions=f"From {DISTANCES[-1]:g} beside the way into x^2 - y^2. Leaving takes longer by the logarithm "
            f"of that distance only: {multiple.min():.0f} to {multiple.max():.0f} times as long as from "
            f"{DISTANCES[0]:g}. On x^3 it takes 1/d steps (see cubic_escape).",
        ),
        Claim(
            "heavy_ball_escape",
            "A heavy ball needs log(10)/log z steps per factor of ten, z^2 - (1 + beta + lr |lambda|) z + beta = 0.",
            worst_ratio(heavy), 0.95, 1.05, unit="of the formula, worst rate and beta",
            conditions=f"With beta 0.9 it leaves {nearest.min():.1f} to {nearest.max():.1f} times "
            "as fast as descent at the same rate; the slower descent is, the more.",
        ),
    ]  # fmt: skip


def _cubic_claims(dataset: xarray.Dataset) -> list[Claim]:
    cubic = dataset.cubic_steps.values * 3 * CUBIC_RATE * dataset.cubic_distance.values
    return [
        Claim(
            "cubic_escape",
            "From the lower side of x^3 descent leaves after 1/(3 lr d) steps, which does grow as 1/d.",
            worst_ratio(cubic), 0.95, 1.05, unit="of the formula, worst distance",
        ),
        Claim(
            "cubic_never",
            "From the upper side of x^3 descent never gets past: after k steps it is still at 1/(1/d + 3 lr k).",
            float(dataset.cubic_end) * (1 + 3 * CUBIC_RATE * STEPS), 0.95, 1.05, unit="of the formula",
        ),
    ]  # fmt: skip


def _end_claims(dataset: xarray.Dataset) -> list[Claim]:
    ends = dict(zip(dataset.end_kind.values.tolist(), dataset.ends.values.tolist(), strict=True))
    starts = sum(ends.values())
    return [
        Claim(
            "ridge_stays",
            "From exactly on the ridge descent runs into the saddle and stays.",
            float(dataset.ridge_end), high=1e-12, unit="from the saddle",
            conditions="Only in exact arithmetic along an axis: the component that would leave is zero and stays so.",
        ),
        Claim(
            "random_starts_leave",
            "From random starts on Himmelblau's function, which has four saddles, descent ends in a minimum (95 %).",
            ends["minimum"] / starts, 0.99, 1.0, interval=exact_interval(ends["minimum"], starts), unit="of the starts",
            conditions="By the verdict at every end point.",
        ),
    ]  # fmt: skip


def _kind_claims(dataset: xarray.Dataset) -> list[Claim]:
    kinds = dict(zip(dataset.function.values.tolist(), dataset.kind.values.tolist(), strict=True))
    axis_saddles = int(dataset.sel(function="cubic").index) + int(dataset.sel(function="cubic").positive)
    return [
        Claim(
            "degenerate_verdicts",
            "Where second derivatives vanish (x^3, the monkey saddle) the verdict is degenerate, not saddle.",
            sum(kinds[name] == Kind.DEGENERATE for name in ("cubic", "monkey_saddle")), 2, 2, unit="of 2",
        ),
        Claim(
            "strict_verdict",
            "The verdict on x^2 - y^2 is a saddle with one direction down.",
            int(kinds["saddle"] == Kind.SADDLE) * int(dataset.sel(function="saddle").index), 1, 1, unit="direction",
        ),
        Claim(
            "none_in_one_dimension",
            "In one dimension no point goes up along some directions and down along others: x^3 has no such saddle.",
            int(kinds["cubic"] == Kind.SADDLE), 0, 0, unit="such saddle, x^3 at 0",
            conditions="With one direction there are no two of different curvature; the verdict is degenerate.",
        ),
        Claim(
            "one_by_the_other_definition",
            "As a point of zero gradient that is no minimum, x^3 has a saddle in one dimension, at 0.",
            int(kinds["cubic"] == Kind.DEGENERATE) * int(dataset.cubic_rises) * int(dataset.cubic_falls), 1, 1,
            unit="such saddle",
            conditions="The gradient is zero there; the function is lower on one side and higher on the other.",
        ),
        Claim(
            "only_degenerate_in_one_dimension",
            "A saddle in one dimension has no curvature at all: x^3 has no eigenvalue of either sign at 0.",
            axis_saddles, 0, 0, unit="eigenvalues that are not zero",
        ),
    ]  # fmt: skip


def figure(dataset: xarray.Dataset) -> Figure:
    """The flow around three saddles, and the steps it takes to leave them.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, axes = plots.panels(2, 2, size=(5.4, 4.65))
    says = {
        "saddle": ("x² − y²: in along x, out along y", "slow near the middle, dark"),
        "cubic_valley": ("x³ + y²: stuck on one side only", "from the right it stops, from the left it leaves"),
        "monkey_saddle": ("Monkey saddle: three ways down", "no curvature at the middle"),
    }
    for i, (ax, (name, words)) in enumerate(zip(axes, says.items(), strict=False)):
        field = dataset[["loss", "flow_x", "flow_y"]].sel(drawn=name)
        (plots.quiver if i == 0 else plots.streamlines)(field, ax)
        plots.set_title(ax, *words)
        plots.describe(ax, f"{words[0]}; {words[1]}.")
    ax = axes[3]
    one = dataset.steps.sel(rate=0.03)
    for beta, look in ((0.0, plots.style_of("gradient_descent")), (0.9, plots.style_of("momentum"))):
        label = "descent" if beta == 0 else f"heavy ball, β = {beta:g}"
        ax.plot(one.distance, one.sel(beta=beta), look.marker, color=look.color, label=f"x² − y², {label}")
        predicted = np.log(RADIUS / one.distance) / np.log(_growth(np.array(0.03), np.array(beta)))
        ax.plot(one.distance, predicted, look.linestyle, color=look.color, linewidth=1)
    look = plots.style_of("gradient_descent")
    ax.plot(dataset.cubic_distance, dataset.cubic_steps, "^", color=look.color, label="x³, descent")
    line = np.geomspace(3e-4, 0.02, 9)
    ax.plot(line, 1 / (3 * CUBIC_RATE * line), "--", color=look.color, linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="distance d from the saddle", ylabel="steps to leave")
    plots.legend_below(ax)
    plots.round_ticks(ax)
    plots.set_title(ax, "Steps to leave grow as log(1/d), on x³ as 1/d", "marks: measured; lines: the formulas")
    most = int(one.sel(beta=0.0).max())
    plots.describe(ax, f"Steps to leave against distance: up to {most} at a strict saddle, and 1/d at x³.")
    return drawn
