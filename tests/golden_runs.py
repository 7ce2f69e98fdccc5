"""Our optimizers on the recorded gradients of tests/golden, and how far they are from the other library's paths."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from golden_rows import (
    DIGITS_EVERY,
    DIGITS_STRIDE,
    LOOKALIKES,
    OWN_STEPS,
    RECIPES,
    ROWS,
    SCHEDULE_ROWS,
    STEPS,
    Row,
    ScheduleRow,
)

import jaxopt_notes as jon
from jaxopt_notes._partials import as_pytree

FOLDER = Path(__file__).parent / "golden"
NAMES = {"jon": jon, "jnp": jnp, "optax": optax}
exec(RECIPES, NAMES)

FLOAT64, FLOAT32 = 1e-12, 2e-6  # bounds on what `deviation` measures

ALL_ROWS = [row for rows in ROWS.values() for row in rows]

Parts = dict[str, np.ndarray]  # the parts of a path that are compared: points along the leading axis


class Deviation(NamedTuple):
    """How far one run is from its reference: fed recorded gradients, and on its own gradients."""

    row: Row
    scheduled: bool
    fed: float
    own: float
    bound: float

    @property
    def agrees(self) -> bool:
        return self.fed <= self.bound and self.own <= self.bound


def runs_of(rows: Iterable[Row]) -> list[tuple[Row, bool]]:
    return [(row, scheduled) for row in rows for scheduled in row.schedules]


@functools.cache
def load(name: str) -> Parts:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


@functools.cache
def deviations(dtype: type) -> dict[str, list[Deviation]]:
    """Method -> how far each of its runs is from the library that it reproduces, whose path is in float64."""
    return {method: [compare(*run, dtype) for run in runs_of(rows)] for method, rows in ROWS.items()}


def compare(row: Row, scheduled: bool, dtype: type) -> Deviation:
    golden = optax_paths()[row.key(scheduled)] if row.library == "optax" else fixture(row, scheduled)
    ours = our_paths(dtype)[row.our_call(scheduled)]
    apart = {part: deviation(path, golden[part], together=row.library == "numpy") for part, path in ours.items()}
    # A solve in float32 loses its rounding times the condition number, whoever does it.
    conditions = [float(value) for part, value in golden.items() if part.endswith("condition")]
    bound = FLOAT64 if dtype == np.float64 else max([FLOAT32, *(value * 2.0**-24 for value in conditions)])
    own = [value for part, value in apart.items() if part.endswith("own")]
    fed = [value for part, value in apart.items() if not part.endswith("own")]
    return Deviation(row, scheduled, float(np.max(fed)), float(np.max(own)), bound)  # numpy's max keeps a NaN


def deviation(ours: np.ndarray, golden: np.ndarray, together: bool = False) -> float:
    """The largest difference of two paths, in units of the farthest that the path has been from zero so far.

    Each coordinate is measured alone, so one that has not left zero must not leave it in ours: any difference there is
    infinite. Steps that cancel leave the rounding of float64, which is no difference: 2^-50 of the whole path's reach.
    Newton's methods mix the coordinates, which are measured together.
    """
    apart, reach = np.abs(ours - golden), np.abs(golden)
    apart = np.where(apart <= 2.0**-50 * np.max(reach, axis=0), 0, apart)
    if together:
        apart, reach = (np.max(values, axis=1, keepdims=True) for values in (apart, reach))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.max(np.where(apart == 0, 0, apart / np.maximum.accumulate(reach, axis=0))))


@functools.cache
def schedule_deviations(dtype: type) -> dict[ScheduleRow, float]:
    """The largest difference of each pair of schedules over all steps, in units of the largest rate."""
    with jax.enable_x64(dtype == np.float64), jax.numpy_dtype_promotion("standard"):
        schedules = [eval(row.ours, NAMES) for row in SCHEDULE_ROWS]
        ours = jax.jit(lambda steps: [jax.vmap(schedule)(steps) for schedule in schedules])(np.arange(STEPS))
    apart = {}
    for row, rates in zip(SCHEDULE_ROWS, ours, strict=True):
        golden = load(row.library)[row.theirs]
        apart[row] = float(np.max(np.abs(np.asarray(rates, float) - golden)) / np.max(golden))
    return apart


def fixture(row: Row, scheduled: bool) -> Parts:
    start = row.key(scheduled) + " "
    return {key.removeprefix(start): array for key, array in load(row.library).items() if key.startswith(start)}


@functools.cache
def our_paths(dtype: type) -> dict[str, Parts]:
    """What every call of ours does in `dtype`. One compiled program for the first-order methods, one for Newton's."""
    runs = runs_of(ALL_ROWS + LOOKALIKES if dtype == np.float64 else ALL_ROWS)  # lookalikes are seen in float64 alone
    calls = dict.fromkeys(row.our_call(scheduled) for row, scheduled in runs)
    newton = [call for call in calls if "newton" in call]
    return first_order_paths([call for call in calls if call not in newton], dtype) | newton_paths(newton, dtype)


@functools.cache
def optax_paths() -> dict[str, Parts]:
    runs = [run for run in runs_of(ALL_ROWS) if run[0].library == "optax"]
    found = first_order_paths([row.their_call(scheduled) for row, scheduled in runs], np.float64)
    return {row.key(scheduled): found[row.their_call(scheduled)] for row, scheduled in runs}


def first_order_paths(calls: list[str], dtype: type) -> dict[str, Parts]:
    recorded = load("gradients")
    fed = np.concatenate([recorded[name].astype(dtype) for name in ("quadratic", "rosenbrock", "digits")], axis=1)
    with jax.enable_x64(dtype == np.float64), jax.numpy_dtype_promotion("standard"):
        made = [as_pytree(eval(call, NAMES)) for call in calls]
        arrays = (jnp.asarray(values, dtype) for values in (fed, recorded["quadratic_matrix"], recorded["own_start"]))
        outputs = jax.device_get(follow(made, *arrays))
    found = [(summed(updates), own[: OWN_STEPS + 1].astype(float)) for updates, own in zip(*outputs, strict=True)]
    cut = [{"fed": fed[:, :8], "digits": fed[::DIGITS_EVERY, 8::DIGITS_STRIDE], "own": own} for fed, own in found]
    return dict(zip(calls, cut, strict=True))


def newton_paths(calls: list[str], dtype: type) -> dict[str, Parts]:
    recorded = load("gradients")
    starts, nowhere = recorded["own_start"], np.zeros((STEPS, 6))
    problems = {
        "saddle": (nowhere, recorded["quadratic"], starts[:6]),
        "rosenbrock": (recorded["rosenbrock_points"], recorded["rosenbrock"], starts[6:]),
    }
    found: dict[str, Parts] = {call: {} for call in calls}
    with jax.enable_x64(dtype == np.float64), jax.numpy_dtype_promotion("standard"):
        made = [as_pytree(eval(call, NAMES)) for call in calls]
        arrays = jax.tree.map(lambda values: jnp.asarray(values, dtype), (problems, recorded["saddle_matrix"]))
        outputs = jax.device_get(follow_newton(made, *arrays))
    for name, runs in outputs.items():
        for path, (updates, own) in zip(found.values(), runs, strict=True):
            path |= {f"{name} fed": summed(updates), f"{name} own": own[: OWN_STEPS + 1].astype(float)}
    return found


def summed(updates: np.ndarray) -> np.ndarray:
    """Where updates lead from zero, added up in float64: what counts is the update, not what float32 points lose."""
    return np.cumsum(np.concatenate([np.zeros_like(updates[:1]), updates]), axis=0, dtype=np.float64)


@jax.jit
def follow(optimizers, fed, matrix, own_start):
    """The updates of runs fed recorded gradients from zero, and the points of runs that take their own gradients.

    Both are entries of one array, as every rule is elementwise: first those fed, then six numbers of the quadratic and
    two of Rosenbrock's function.
    """
    feeds, runs = fed.shape[1], len(optimizers)

    def own_loss(x):
        return 0.5 * x[:6] @ matrix @ x[:6] + jon.problems.rosenbrock().loss(x[6:])

    def step(carry, recorded):
        params, states = carry
        slopes = jax.vmap(jax.grad(own_loss))(params[:, feeds:])
        grads = jnp.concatenate([jnp.broadcast_to(recorded, (runs, feeds)), slopes], axis=1)
        moved = [tx.update(g, s, x) for tx, g, s, x in zip(optimizers, grads, states, params, strict=True)]
        updates = jnp.stack([update for update, _ in moved])
        return (params + updates, [state for _, state in moved]), (updates[:, :feeds], params[:, feeds:])

    start = jnp.concatenate([jnp.zeros_like(fed[0]), own_start])
    states = [optimizer.init(start) for optimizer in optimizers]
    _, outputs = jax.lax.scan(step, (jnp.tile(start, (runs, 1)), states), fed)
    return [output.swapaxes(0, 1) for output in outputs]


@jax.jit
def follow_newton(optimizers, problems, matrix):
    """As `follow`, but fed recorded gradients at recorded points, since a step needs the Hessian there."""
    losses = {"saddle": lambda x: 0.5 * x @ matrix @ x, "rosenbrock": jon.problems.rosenbrock().loss}

    def run(optimizer, loss, points, grads, start):
        def update(grad, state, point):
            return optimizer.update(grad, state, point, value_fn=loss)

        def step(carry, recorded):
            (own, state), (point, grad) = carry, recorded
            both = jnp.stack([grad, jax.grad(loss)(own)]), jnp.stack([point, own])
            updates, state = jax.vmap(update, (0, None, 0), (0, None))(both[0], state, both[1])
            return (own + updates[1], state), (updates[0], own)

        return jax.lax.scan(step, (start, optimizer.init(start)), (points, grads))[1]

    return {name: [run(tx, losses[name], *arrays) for tx in optimizers] for name, arrays in problems.items()}
