"""Better directions than the steepest: Newton's, damped, saddle-free and L-BFGS, in steps and in seconds.

    Newton  -H^-1 g,     damped  -(H + m I)^-1 g,     saddle-free  -|H|^-1 g

Sources: Newton, 1669; Levenberg, 1944; Liu and Nocedal, 1989; Dauphin et al., 2014.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from ..curvature import Kind, classify
from ..landscape import plane
from ..minimize import minimize, minimize_until
from ..optimizers import gradient_descent, momentum, newton, saddle_free_newton
from ..problems import himmelblau, quadratic, rosenbrock
from ._machinery.claim import Claim
from ._machinery.intervals import exact_interval
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

DIMENSION = {"small": 100, "full": 400}
STARTS = {"small": 256, "full": 4096}
CONDITION = 1000.0
DAMPING = 100.0  # above the steepest negative curvature in Himmelblau's box, 63
SEEKERS = ("gradient_descent", "newton", "damped_newton", "saddle_free_newton")


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Solve a valley and Rosenbrock's function, and see where each method ends on a function with saddles.

    Arguments:
        key: rotates the valley and draws the starts.
        size: dimension of the valley and number of starts.

    Returns:
        Dataset with the steps and seconds to a millionth of the first gradient over `solver`, the kind of the end
        point of every start over `seeker`, and paths from one start.
    """
    import xarray

    valley_key, start_key = jax.random.split(key)
    with jax.enable_x64(True):
        steps, seconds, after_one = _solved(valley_key, DIMENSION[size])
        kinds, paths = _sought(start_key, STARTS[size])
        x, y = np.linspace(2.5, 4.1, 41), np.linspace(-0.6, 2.4, 41)
        window = plane(himmelblau(), x=x, y=y).loss.values
        return xarray.Dataset(
            {
                "steps": ("solver", steps),
                "seconds": ("solver", seconds),
                "rosenbrock_steps": ("method", _rosenbrock()),
                "kind": (("seeker", "start"), kinds),
                "path": (("seeker", "step", "axis"), paths),
                "loss": (("y", "x"), window),
            },
            {"solver": list(_solvers()), "seeker": list(SEEKERS), "method": ["gradient_descent", "newton", "lbfgs"]}
            | {"x": x, "y": y, "near_saddle": ("start", np.arange(STARTS[size]) % 2)},
            {"dimension": DIMENSION[size], "condition": CONDITION, "left_after_one_step": after_one},
        )


def _solvers() -> dict[str, Any]:
    """Each at its best for the condition number."""
    root = math.sqrt(CONDITION)
    return {
        "gradient_descent": momentum(2 / (1 + CONDITION), 0.0),
        "momentum": momentum(4 / (1 + root) ** 2, ((root - 1) / (root + 1)) ** 2),
        "lbfgs": optax.lbfgs(),
        "newton": newton(),
    }


def _solved(key: Key[Array, ""], dimension: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Steps and seconds of each method in a valley that lies across the axes, and what one step of Newton's leaves."""
    valley = quadratic(jnp.geomspace(1.0, CONDITION, dimension), key=key)
    start = valley.init(key)
    steps, seconds = [], []
    for solver in _solvers().values():
        for _ in range(2):  # the first call compiles
            began = time.perf_counter()
            run = minimize_until(valley.loss, start, solver, max_steps=20_000, rtol=1e-6, every=1)
            steps_taken = int(run.stopped_at)
            spent = time.perf_counter() - began
        steps.append(steps_taken)
        seconds.append(spent)
    one = minimize(valley.loss, start, newton(), steps=1)
    return np.array(steps), np.array(seconds), float(jnp.linalg.norm(one.params) / jnp.linalg.norm(start))


def _rosenbrock() -> np.ndarray:
    """Steps to a millionth of the first gradient; gradient descent at 1.5 over the curvature at the minimum."""
    problem = rosenbrock()
    start = problem.init(None)
    methods = (gradient_descent(1.5 / 1001.6), newton(), optax.lbfgs())
    runs = [minimize_until(problem.loss, start, method, max_steps=100_000, rtol=1e-6) for method in methods]
    return np.array([int(run.stopped_at) for run in runs])


def _sought(key: Key[Array, ""], starts: int) -> tuple[np.ndarray, np.ndarray]:
    """The kind of the end point of every start on Himmelblau's function, and paths from one start beside a saddle.

    Every other start is near one of the four saddles, the others are anywhere.
    """
    problem = himmelblau()
    drawn = jax.random.uniform(key, (starts, 2), float, -1.0, 1.0)
    assert problem.facts is not None
    saddles = np.stack([known.point for known in problem.facts.critical_points if known.index == 1])
    nearby = saddles[np.arange(starts) % len(saddles)] + 0.2 * drawn
    begin = jnp.where(jnp.arange(starts)[:, None] % 2 == 1, nearby, 5 * drawn)
    begin = begin.at[0].set(saddles[np.argmax(saddles[:, 0])] + jnp.array([0.15, 0.35]))
    methods = (gradient_descent(0.005), newton(), newton(damping=DAMPING), saddle_free_newton())
    verdict = jax.jit(jax.vmap(lambda point: classify(problem.loss, point, gradient_tolerance=1e-6)))

    def seek(start: Array, method: Any, **recorded: int) -> Any:
        return minimize(problem.loss, start, method, record_params=True, **recorded)  # type: ignore[arg-type]

    kinds, paths = [], []
    for method in methods:
        ends = jax.vmap(lambda start, method=method: seek(start, method, steps=1000, every=10))(begin)
        kinds.append(np.asarray(verdict(ends.params).kind))
        paths.append(np.asarray(seek(begin[0], method, steps=20).params_path))
    return np.stack(kinds), np.stack(paths)


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lecture claims about better directions.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: one step on a quadratic, steps and seconds, and where each method ends beside saddles.
    """
    steps, seconds = (
        dict(zip(dataset.solver.values, dataset[name].values, strict=True)) for name in ("steps", "seconds")
    )
    curved = dict(zip(dataset.method.values, dataset.rosenbrock_steps.values, strict=True))
    dimension, condition = dataset.attrs["dimension"], dataset.attrs["condition"]
    valley = f"{dimension} dimensions, condition {condition:g}"
    each = seconds["gradient_descent"] / steps["gradient_descent"]
    return [
        Claim(
            "newton_one_step",
            "One step of Newton's method solves a quadratic.",
            dataset.attrs["left_after_one_step"],
            high=1e-10,
            unit="of the distance is left",
            conditions=valley,
        ),
        Claim(
            "fewer_steps",
            "Momentum and L-BFGS need at least ten times fewer steps in a narrow valley than gradient descent.",
            steps["gradient_descent"] / max(steps["momentum"], steps["lbfgs"]),
            low=10.0,
            unit="times fewer",
            conditions=f"{valley}: {steps['gradient_descent']}, {steps['momentum']} and {steps['lbfgs']} steps.",
        ),
        Claim(
            "curved_valley",
            "In Rosenbrock's curved valley Newton's method needs at least a hundred times fewer steps than descent.",
            curved["gradient_descent"] / curved["newton"],
            low=100.0,
            unit="times fewer",
            conditions=f"{curved['gradient_descent']}, {curved['newton']}; L-BFGS {curved['lbfgs']} steps.",
        ),
        Claim(
            "newton_step_costs",
            "A better direction costs: a step of Newton's takes at least ten times as long as one of descent.",
            seconds["newton"] / steps["newton"] / each,
            low=10.0,
            unit="times as long",
            conditions=f"{dimension} parameters; the cost of a solve grows as the cube of their number.",
        ),
        *_seeker_claims(dataset),
    ]


def _seeker_claims(dataset: xarray.Dataset) -> list[Claim]:
    def share(name: str, sentence: str, seeker: str, kind: Kind, near: int, conditions: str = "") -> Claim:
        ended = dataset["kind"].sel(seeker=seeker).values[dataset.near_saddle.values == near] == kind
        interval = exact_interval(int(ended.sum()), ended.size)
        return Claim(name, sentence, float(ended.mean()), 0.95, 1.0, interval, "of the starts", conditions)

    minimum = Kind.MINIMUM
    return [
        share(
            "newton_attracted",
            "Near a saddle undamped Newton goes to the saddle.",
            "newton",
            Kind.SADDLE,
            1,
            "Within 0.2 of a saddle of Himmelblau's function.",
        ),
        share("descent_leaves", "Near a saddle gradient descent leaves it.", "gradient_descent", minimum, 1),
        share("saddle_free_leaves", "Near a saddle saddle-free Newton leaves it.", "saddle_free_newton", minimum, 1),
        share(
            "saddle_free_minima",
            "From anywhere saddle-free Newton ends in a minimum.",
            "saddle_free_newton",
            minimum,
            0,
        ),
        share(
            "damped_minima",
            "Newton damped above the steepest negative curvature ends in a minimum.",
            "damped_newton",
            minimum,
            0,
            f"Damping {DAMPING:g}, where the least eigenvalue in the box is -63.",
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """Paths beside a saddle, where every start ended, and what the valley cost.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (beside, ends, cost) = plots.panels(1, 3, size=(5.2, 4.65))
    plots.contour(dataset[["loss"]].assign_attrs(scale="log"), beside)
    labels = {name: _words(name) for name in SEEKERS}
    for name in SEEKERS:
        look, path = plots.style_of(name), dataset.path.sel(seeker=name).values
        beside.plot(*path.T, color=look.color, marker=look.marker, markersize=4, linewidth=1.4, label=labels[name])
    beside.set_aspect("auto")
    plots.legend_below(beside)
    plots.set_title(beside, "Newton steps into the saddle", "20 steps each, Himmelblau's function")
    plots.describe(beside, "From a start beside a saddle undamped Newton goes to it; the others go up to the minimum.")
    base = np.zeros(len(SEEKERS))
    for kind, color in ((Kind.MINIMUM, "#0072B2"), (Kind.SADDLE, "#D55E00"), (Kind.MAXIMUM, "#E69F00")):
        part = (dataset["kind"] == kind).where(dataset.near_saddle == 0).mean("start").values
        ends.barh(range(len(SEEKERS)), part, left=base, color=color, label=kind.name.lower())
        base = base + part
    ends.set_yticks(range(len(SEEKERS)), ["\n".join(label.rsplit(" ", 1)) for label in labels.values()])
    ends.set(xlabel="share of the starts", xlim=(0, 1))
    ends.invert_yaxis()
    plots.legend_below(ends)
    astray = (dataset["kind"] != Kind.MINIMUM).where(dataset.near_saddle == 0).mean("start")
    lost = [labels[str(name)] for name in dataset.seeker.values[astray.values > 0]]
    title = "Only Newton undamped misses the minima" if lost == ["Newton"] else "Where each method ends"
    plots.set_title(ends, title, "Himmelblau's function, starts anywhere, with verdicts")
    plots.describe(ends, "Only undamped Newton ends at saddles and maxima; all others end in minima.")
    places = np.arange(dataset.sizes["solver"])
    cost.bar(places - 0.2, dataset.steps, 0.4, color="#0072B2", label="steps")
    cost.bar(places + 0.2, 1e3 * dataset.seconds, 0.4, color="#E69F00", label="milliseconds")
    cost.set_xticks(places, [_words(str(name)).removeprefix("gradient ") for name in dataset.solver.values])
    cost.set_yscale("log")
    cost.set(ylabel="steps, or milliseconds")
    plots.legend_below(cost)
    condition = f"a narrow valley: {dataset.attrs['dimension']} dimensions, condition {dataset.attrs['condition']:,g}"
    names = dataset.solver.values.tolist()
    fewest, fastest = (_words(names[int(np.argmin(dataset[what].values))]) for what in ("steps", "seconds"))
    plots.set_title(cost, f"Fewest steps: {fewest}; least time: {fastest}", condition)
    plots.describe(cost, "Newton needs one step, descent thousands; in milliseconds they differ far less.")
    plots.round_ticks(cost)
    return drawn


def _words(name: str) -> str:
    """A method as a legend writes it."""
    special = {"lbfgs": "L-BFGS", "newton": "Newton", "damped_newton": "damped Newton"}
    return special.get(name, name.replace("saddle_free_newton", "saddle-free Newton").replace("_", " "))
