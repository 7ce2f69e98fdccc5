"""Step size in narrow valleys: what is too small, good, large, and too large, and what sets the thresholds.

    x_{k+1} = x_k - lr A x_k,      q'x_k = (1 - lr lambda)^k q'x_0    along an eigenvector q of A

So a component shrinks iff lr < 2/lambda and changes sign at every step iff lr > 1/lambda; the best rate of all is
2/(lambda_min + lambda_max), and one step lands higher iff lr > 2 g'g / g'Ag.

Sources: Cauchy, 1847; Polyak, 1987, section 1.4; the valleys of Zhang, Lipton, Li and Smola, 2023, and Levine, 2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .. import landscape, problems
from ..minimize import Run, Status, minimize
from ..optimizers import gradient_descent
from ._machinery.claim import Claim, worst_ratio
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

VALLEYS = ("parabola", "bowl", "stretched_bowl", "tilted_canyon", "trough")
STEPS = 2400
NEAR = np.linspace(0.9905, 1.0095, 20)  # of a predicted threshold, half a grid step away from the threshold itself
SMALL = np.geomspace(0.002, 0.05, 6)  # of 1/lambda
SHOWN = {"small": 0.1, "good": 0.5, "large": 0.97, "too large": 1.02}  # of 2/lambda
DRAWN = {"small": 30, "good": 30, "large": 30, "too large": 10}  # steps, which stay inside the frame
FRAME = np.linspace(-5.5, 5.5, 89), np.linspace(-5.0, 3.5, 69)
DIMENSION = 10
SEEDS = {"small": 8, "full": 128}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Descend in every valley of the lectures, and in random ones, at rates around the predicted thresholds.

    Arguments:
        key: draws the random valleys and their starts.
        size: 8 random valleys or 128.

    Returns:
        Dataset over `valley` and the rate relative to a prediction: the growth of the top component, its sign flips,
        the loss after one step; steps needed at small rates; the contraction at the best rate; paths for the figure.
    """
    import xarray

    with jax.enable_x64(True):
        matrices, slopes, starts, top = _valleys()
        largest = np.linalg.eigvalsh(matrices)[:, -1]
        lanes = lambda relative, scale: relative * scale[:, None]
        gradients = np.einsum("vij,vj->vi", matrices, starts) + slopes
        one_step = 2 * np.sum(gradients**2, 1) / np.einsum("vi,vij,vj->v", gradients, matrices, gradients)
        rates = {
            "stable": lanes(NEAR, 2 / largest),
            "flipping": lanes(NEAR, 1 / largest),
            "lower": lanes(NEAR, one_step),
            "small": lanes(SMALL, 1 / largest),
            "shown": lanes(np.array(list(SHOWN.values())), 2 / largest),
            "best": (2 / np.where(matrices[:, 0, 0] > 0, np.linalg.eigvalsh(matrices).sum(1), largest))[:, None],
        }
        runs = _descend(matrices, slopes, starts, np.concatenate(list(rates.values()), axis=1))
        ends = np.cumsum([part.shape[1] for part in rates.values()])
        parts = {name: slice(end - rates[name].shape[1], end) for name, end in zip(rates, ends, strict=True)}
        paths = np.asarray(runs.params_path)
        component = np.einsum("vrsi,vi->vrs", paths, top)
        loss = np.asarray(runs.loss)
        distance = np.linalg.norm(paths, axis=-1)
        shown = component[:, parts["shown"]]
        canyon = VALLEYS.index("tilted_canyon")
        drawn = landscape.plane(problems.tilted_canyon(), x=FRAME[0], y=FRAME[1])
        floor = _descend(
            matrices[2:3], slopes[2:3], np.array([[-5.0, 0.0]]), lanes(NEAR, 2 / np.linalg.eigvalsh(matrices)[2:3, 0])
        )
        return xarray.Dataset(
            {
                "growth": (("valley", "near"), abs(component[:, parts["stable"], 200] / component[:, :1, 0])),
                "flips": (("valley", "near"), _flips(component[:, parts["flipping"]])),
                "one_step": (("valley", "near"), (loss[:, parts["lower"], 1] - loss[:, parts["lower"], 0])),
                "needed": (("valley", "rate"), _needed(component[:, parts["small"]])),
                "reach": (("valley", "shown"), abs(shown).max(-1) / abs(shown[..., 0])),
                "contraction": ("valley", distance[:, -1, 100] / distance[:, -1, 0]),
                "advance": ("shown", (paths[-1, parts["shown"], 400, 0] - starts[-1, 0]) / (400 * rates["shown"][-1])),
                "without_component": ("near", np.asarray(floor.final_loss / floor.initial_loss)[0]),
                "random_growth": (("seed", "near"), _random(key, SEEDS[size])),
                "cycle": ("step", _cycle()),
                "x_path": (("shown", "step"), paths[canyon, parts["shown"], :31, 0]),
                "y_path": (("shown", "step"), paths[canyon, parts["shown"], :31, 1]),
                "loss": (("y", "x"), drawn.loss.values),
            },
            {
                "valley": list(VALLEYS),
                "near": NEAR,
                "rate": SMALL,
                "shown": list(SHOWN),
                "relative_rate": ("shown", list(SHOWN.values())),
                "x": drawn.x.values,
                "y": drawn.y.values,
            },
            {"condition": float(largest[canyon] / np.linalg.eigvalsh(matrices)[canyon, 0]), "seeds": SEEDS[size]},
        )  # fmt: skip


def _valleys() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Matrix, slope at 0, start and top eigenvector of every valley; the parabola gets a second, flat axis."""
    valleys = [problems.CATALOGUE[name]() for name in VALLEYS]
    begin = [np.asarray(valley.init(None)) for valley in valleys]

    @jax.jit
    def derivatives(points: list[Array]) -> list[tuple[Array, Array]]:
        return [
            (jax.hessian(valley.loss)(point), jax.grad(valley.loss)(point))
            for valley, point in zip(valleys, points, strict=True)
        ]

    matrices, slopes, starts = np.zeros((5, 2, 2)), np.zeros((5, 2)), np.zeros((5, 2))
    for i, (matrix, slope) in enumerate(derivatives([np.zeros_like(start) for start in begin])):
        n = begin[i].size
        matrices[i, :n, :n], slopes[i, :n], starts[i, :n] = matrix, slope, begin[i]
    return matrices, slopes, starts, np.linalg.eigh(matrices)[1][:, :, -1]


def _quadratic(x: Float[Array, " n"], matrix: Float[Array, "n n"], slope: Float[Array, " n"]) -> Float[Array, ""]:
    return 0.5 * x @ (matrix @ x) + slope @ x


def _descend(matrices: np.ndarray, slopes: np.ndarray, starts: np.ndarray, rates: np.ndarray) -> Run:
    """Gradient descent in every valley at every one of its rates, one program; axes: valley, rate."""

    def one(matrix: Array, slope: Array, start: Array, rate: Array) -> Run:
        return minimize(
            _quadratic, start, gradient_descent(rate), steps=STEPS, args=(matrix, slope), record_params=True
        )

    each_rate = jax.vmap(one, (None, None, None, 0))
    return jax.jit(jax.vmap(each_rate))(*map(jnp.asarray, (matrices, slopes, starts, rates)))


def _needed(component: np.ndarray) -> np.ndarray:
    """Steps until a hundredth of the component is left."""
    return np.argmax(abs(component) < 0.01 * abs(component[..., :1]), axis=-1)


def _flips(component: np.ndarray) -> np.ndarray:
    """Share of the first 20 steps at which the component changes sign; what has sunk into rounding does not count."""
    component = component[..., :21]
    above = abs(component) > 1e-10 * abs(component[..., :1])
    change = (component[..., 1:] * component[..., :-1] < 0) & above[..., 1:]
    return change.sum(-1) / np.maximum(above[..., 1:].sum(-1), 1)


def _random(key: Key[Array, ""], seeds: int) -> np.ndarray:
    """Whether descent in random valleys of ten dimensions fails, by the status of the run."""
    from scipy.stats import ortho_group

    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    eigenvalues = 10 ** rng.uniform(-2, 2, (seeds, DIMENSION))
    turns = ortho_group.rvs(DIMENSION, size=seeds, random_state=rng).reshape(-1, DIMENSION, DIMENSION)
    matrices = np.einsum("sij,sj,skj->sik", turns, eigenvalues, turns)
    rates = NEAR * 2 / eigenvalues.max(1, keepdims=True)

    def one(matrix: Array, start: Array, rate: Array) -> Array:
        arguments = (matrix, jnp.zeros(DIMENSION))
        return minimize(_quadratic, start, gradient_descent(rate), steps=STEPS, args=arguments).status

    lanes = (jnp.asarray(matrices), jnp.asarray(rng.normal(size=(seeds, DIMENSION))), jnp.asarray(rates))
    status = jax.jit(jax.vmap(jax.vmap(one, (None, None, 0))))(*lanes)
    return np.isin(np.asarray(status), [Status.DIVERGED, Status.NON_FINITE]).astype(int)


def _cycle() -> np.ndarray:
    """The last steps in the double well at a rate 5 % above the bound of its lower minimum."""
    well = problems.double_well()
    assert well.facts is not None
    bottom = float(well.facts.minima[0].point[0])
    rate = 1.05 * 2 / (3 * bottom**2 - 1)
    path = minimize(
        well.loss, jnp.asarray([bottom + 0.01]), gradient_descent(rate), steps=STEPS, record_params=True
    ).params_path
    return np.asarray(path)[-31:, 0]


def _threshold(near: np.ndarray, beyond: np.ndarray) -> float:
    """The middle between the last rate below the threshold and the first beyond it; NaN where they interleave."""
    first = int(np.argmax(beyond))
    if not beyond.any() or beyond.all() or not beyond[first:].all():
        return float("nan")
    return float(near[first - 1 : first + 1].mean())


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about the step size.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: thresholds of divergence, of swinging and of one step; speed at small and at the best rate; what a
        too large rate leads to; and what swinging costs in a sloping trough.
    """
    return [*_threshold_claims(dataset), *_speed_claims(dataset), *_swing_claims(dataset)]


def _threshold_claims(dataset: xarray.Dataset) -> list[Claim]:
    near = dataset.near.values
    stable = [_threshold(near, row > 1) for row in dataset.growth.values]
    flips = [_threshold(near, row > 0.5) for row in dataset.flips.values]
    one_step = [_threshold(near, row > 0) for row in dataset.one_step.values]
    random = [_threshold(near, row > 0) for row in dataset.random_growth.values]
    return [
        Claim(
            "threshold",
            "In every valley of the lectures descent converges iff the rate is below 2/lambda_max.",
            worst_ratio(stable), 0.99, 1.01, unit="of 2/lambda_max, worst valley",
            conditions="For a start with a component along the top eigenvector, on a quadratic.",
        ),
        Claim(
            "random_threshold",
            "So it is in random valleys of ten dimensions.",
            worst_ratio(random), 0.99, 1.01, unit="of 2/lambda_max, worst valley",
        ),
        Claim(
            "without_component",
            "A start without a component along the top eigenvector diverges only above 2/lambda of the next one.",
            _threshold(near, dataset.without_component.values > 1), 0.99, 1.01, unit="of 2/lambda_min",
            conditions="In the stretched bowl, 20 times the usual bound; its axes are exact, so rounding adds none.",
        ),
        Claim(
            "swings",
            "The run swings from wall to wall at every step iff the rate is above 1/lambda_max.",
            worst_ratio(flips), 0.99, 1.01, unit="of 1/lambda_max, worst valley",
        ),
        Claim(
            "one_step_higher",
            "One step overshoots so far that it lands higher iff the rate is above 2 g'g/g'Ag.",
            worst_ratio(one_step), 0.99, 1.01, unit="of 2 g'g/g'Ag, worst valley",
            conditions="At least 2/lambda_max; so a step ten times a good one need not land higher.",
        ),
    ]  # fmt: skip


def _speed_claims(dataset: xarray.Dataset) -> list[Claim]:
    left = float(dataset.contraction.sel(valley="tilted_canyon"))
    predicted = ((dataset.condition - 1) / (dataset.condition + 1)) ** 100
    slope = [float(np.polyfit(np.log(dataset.rate.values), np.log(row), 1)[0]) for row in dataset.needed.values]
    return [
        Claim(
            "small_is_slow",
            "At small rates the number of steps grows as 1/rate.",
            worst_ratio([-value for value in slope]), 0.95, 1.05, unit="power of 1/rate, worst valley",
        ),
        Claim(
            "slower_and_slower",
            "At the best rate, 2/(lambda_min + lambda_max), a hundred steps leave ((K - 1)/(K + 1))^100 of the way.",
            left / predicted, 0.99, 1.01, unit="of the prediction",
            conditions=f"In the canyon, K = {dataset.condition:g}: {left:.1%} is left, and every step takes the same "
            "share of it, so the minimum is never reached exactly.",
        ),
    ]  # fmt: skip


def _swing_claims(dataset: xarray.Dataset) -> list[Claim]:
    reach = dataset.reach.sel(shown="too large").values
    cycle = dataset.cycle.values
    return [
        Claim(
            "swings_widen",
            "In a quadratic valley a too large rate never settles: every swing is lr lambda_max - 1 times the last.",
            float(np.max(abs(reach ** (1 / STEPS) / (2 * SHOWN["too large"] - 1) - 1))), high=1e-6,
            unit="away from it in proportion, worst valley",
            conditions=f"2 % above the bound, {STEPS:,} steps: so it leaves. Where the walls steepen it stays; see "
            "swings_in_a_well.",
        ),
        Claim(
            "swings_in_a_well",
            "In a well that steepens, a rate just above 2/f'' swings between the same two points without end.",
            float(abs(cycle[-1] - cycle[-2])), 0.01, 4.0, unit="between the two points",
            conditions=f"Double well, 5 % above the bound; second points agree to {abs(cycle[-1] - cycle[-3]):.0e}.",
        ),
        Claim(
            "swinging_costs_nothing",
            "In a sloping trough descent advances by the rate per step, whether it swings or not.",
            float(np.max(abs(dataset.advance.values - 1))), high=1e-9,
            unit="away from it in proportion, worst rate",
            conditions="So it is the bound 2/K on the rate that makes the trough slow, not the swinging below it.",
        ),
    ]  # fmt: skip


def figure(dataset: xarray.Dataset) -> Figure:
    """Four rates in the canyon, and how the swing of each valley grows around the bound.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, axes = plots.panels(2, 2, size=(5.6, 3.4))
    says = {
        "small": "Too small: creeps down the wall",
        "good": "Good: straight to the floor, then slow",
        "large": "Large: swings from wall to wall",
        "too large": "Too large: every swing is wider",
    }
    low, high = dataset.loss.values.min(), dataset.loss.values.max()
    levels = low + np.geomspace(1e-3, 1, 12) * (high - low)
    for ax, name in zip(axes, SHOWN, strict=True):
        one = dataset.sel(shown=name).isel(step=slice(DRAWN[name] + 1))
        ax.contour(dataset.x, dataset.y, dataset.loss, levels=levels, cmap="viridis", linewidths=0.7, alpha=0.7)
        ax.plot(one.x_path, one.y_path, "o-", color="black", markersize=2.5, linewidth=0.9)
        ax.plot(one.x_path[0], one.y_path[0], "o", color="white", markeredgecolor="black", markersize=8)
        ax.plot(0, 0, "*", color="white", markeredgecolor="black", markersize=13)
        ax.set(xlim=dataset.x[[0, -1]], ylim=dataset.y[[0, -1]], xlabel="x", ylabel="y")
        rate = f"rate {float(one.relative_rate):g} × 2/λₘₐₓ"
        plots.set_title(ax, says[name], f"{rate}; {DRAWN[name]} steps from the ring, minimum at the star")
        left = float(np.hypot(one.x_path[-1], one.y_path[-1]))
        plots.describe(
            ax, f"Canyon with {rate}: {says[name].lower()}; after {DRAWN[name]} steps {left:.2g} from the minimum."
        )
    return drawn
