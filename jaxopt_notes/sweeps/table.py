"""From chunks of trials to a labelled `xarray.Dataset`, and from there back to parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import _checks
from .._version import __version__
from ..minibatches import steps_per_epoch
from ..minimize import Status, end_status
from ..problems import Problem
from .plan import Plan

if TYPE_CHECKING:
    import xarray

_DESCRIPTIONS = {
    "loss": "loss of the step's minibatch, or of the full data without minibatches",
    "grad_norm": "Euclidean norm of the gradient",
    "update_norm": "Euclidean norm of the update that led to the step",
    "initial_loss": "loss on the full training data at the start",
    "final_loss": "loss on the full training data at the end",
    "status": "how the trial ended: " + ", ".join(f"{s.value} {s.name.lower()}" for s in Status),
    "stopped_at": "steps taken",
}
_NOT_RUN = {"status": Status.NOT_RUN, "stopped_at": -1}


def judge(plan: Plan, chunk: dict[str, Any]) -> dict[str, Any]:
    """Replace the loop's own status by the final one, which compares losses on the full data."""
    baseline = np.inf if plan.problem.baseline is None else plan.problem.baseline
    status, initial, final = (jnp.asarray(chunk[name]) for name in ("status", "initial_loss", "final_loss"))
    return {**chunk, "status": np.asarray(end_status(status, initial, final, baseline))}


def build_table(
    plan: Plan, chunks: list[dict[str, Any]], *, wall_seconds: float, segment_programs: int
) -> xarray.Dataset:
    """Lay the trials out along the axes of the space and the seeds; trials that did not run are NaN with status -1."""
    import xarray

    dims = (*plan.space.axes, "seed")
    shape = (*plan.space.shape, len(plan.seeds))
    variables: dict[str, Any] = {}

    def add(name: str, column: list[np.ndarray], *inner: str) -> None:
        done = _storable(np.concatenate(column))
        missing = plan.trials - len(done)
        fill = _NOT_RUN.get(name, np.nan)
        rest = np.full((missing, *done.shape[1:]), fill, done.dtype)
        values = np.concatenate([done, rest]).reshape(*shape, *done.shape[1:])
        attrs = {"long_name": _DESCRIPTIONS[name]} if name in _DESCRIPTIONS else {}
        variables[name] = ((*dims, *inner), values, attrs)

    if not chunks:
        chunks = [_nothing(plan)]
    for name, sample in chunks[0].items():
        if name == "params":
            for path, leaf in _leaves(sample):
                column = [dict(_leaves(chunk["params"]))[path] for chunk in chunks]
                add(path, column, *(f"{path}_{axis}" for axis in range(leaf.ndim - 1)))
        else:
            add(name, [chunk[name] for chunk in chunks], *(["step"] if sample.ndim == 2 else []))
    table = xarray.Dataset(variables, _coordinates(plan), _attributes(plan, wall_seconds, segment_programs))
    for name, values in plan.space.axes.items():
        table[name].attrs["scale"] = scale_of(values)
    return table


def _storable(array: np.ndarray) -> np.ndarray:
    """The array in a type that NetCDF knows; bfloat16 fits float32."""
    standard = array.dtype.kind in "iuf" and array.dtype.name != "bfloat16"
    return array if standard else array.astype(np.float32)


def _nothing(plan: Plan) -> dict[str, Any]:
    """A chunk of no trials, so that a sweep stopped before its first chunk still has every variable."""
    measured = jax.eval_shape(
        plan.evaluate, plan.evaluate_constants, _one(plan.initial), plan.problem.data, plan.problem.test_data
    )
    histories = {name: np.zeros((0, plan.group.entries), np.float32) for name in ("loss", "grad_norm", "update_norm")}
    ends = {name: np.zeros(0, np.int32) for name in _NOT_RUN}
    return {**histories, **{name: np.zeros(0, np.float32) for name in (*measured, "initial_loss")}, **ends}


def _one(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _coordinates(plan: Plan) -> dict[str, Any]:
    steps = np.arange(plan.group.entries) * plan.group.every
    coordinates: dict[str, Any] = {**plan.space.axes, "seed": plan.seeds, "step": ("step", steps, {"units": "steps"})}
    if plan.minibatches is not None:
        epochs = steps / steps_per_epoch(plan.minibatches, plan.problem.examples)
        coordinates["epoch"] = ("step", epochs, {"units": "epochs"})
        coordinates["examples_seen"] = ("step", steps * plan.batch_size, {"units": "examples"})
    return coordinates


def _attributes(plan: Plan, wall_seconds: float, segment_programs: int) -> dict[str, str | int | float]:
    """Strings and numbers only: NetCDF takes nothing else."""
    examples = plan.problem.examples
    known = {} if plan.problem.baseline is None else {"baseline_loss": float(plan.problem.baseline)}
    return {
        "optimizer": _checks.name_of(plan.group.factory),
        "problem": plan.problem.name,
        "steps": plan.steps,
        "batch_size": plan.batch_size,
        "examples": examples,
        "examples_left_out_per_epoch": examples % plan.batch_size if examples else 0,
        **known,
        "key": plan.root_text,
        "fingerprint": plan.fingerprint,
        "precision": ", ".join(sorted({leaf.dtype.name for leaf in jax.tree.leaves(plan.initial)})),
        "width": plan.width,
        "devices": plan.group.mesh.size,
        "platform": plan.group.mesh.devices.flat[0].platform,
        "segment_programs": segment_programs,
        "wall_seconds": round(wall_seconds, 3),
        "version": __version__,
        "jax_version": jax.__version__,
    }


def scale_of(values: np.ndarray) -> str:
    """`log` for a geometric axis of at least three positive values, otherwise `linear`."""
    if len(values) < 3 or (values <= 0).any():
        return "linear"
    ratios = np.diff(np.log(np.sort(values)))
    return "log" if ratios.max() - ratios.min() < 0.5 * ratios.mean() and values.max() > 9 * values.min() else "linear"


def _leaves(params: PyTree) -> list[tuple[str, Any]]:
    """(name of the variable, leaf) of every leaf; names are paths without "/", told apart by number where equal."""
    named: dict[str, Any] = {}
    for i, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(params)):
        inside = jax.tree_util.keystr(path, simple=True, separator=".").replace("/", "_")
        name = f"params.{inside}" if inside else "params"
        named[f"{name}#{i}" if name in named else name] = leaf
    return list(named.items())


def end_point(table: xarray.Dataset, problem: Problem, **selection: float) -> PyTree:
    """The parameters at the end of one trial of a sweep that kept them.

    Arguments:
        table: from `sweep(..., keep_params=True)`.
        problem: the same problem; it gives the structure of the parameters.
        selection: one value for every axis and `seed`; the nearest value of the grid is taken for floats.

    Returns:
        The parameters as a pytree.

    Raises:
        ValueError: the table has no parameters, or an axis is unknown or missing.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01, 0.05]), steps=10,
        ...                   keep_params=True, progress=False)
        >>> jon.end_point(table, valley, learning_rate=0.05, seed=0).shape
        (2,)
    """
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    paths = [path for path, _ in _leaves(shapes)]
    if any(path not in table for path in paths):
        raise ValueError("this table holds no parameters: run sweep(..., keep_params=True)")
    dims = [str(dim) for dim in table["final_loss"].dims]
    for name in selection:
        _checks.choice("axis", name, dims)
    missing = [dim for dim in dims if dim not in selection]
    if missing:
        raise ValueError(f"end_point needs one value for {', '.join(missing)}; the axes are {', '.join(dims)}")
    if selection["seed"] not in table["seed"]:
        raise ValueError(f"seed must be one of {table['seed'].values.tolist()}, got {selection['seed']}")
    trial = table[paths].sel(seed=selection.pop("seed")).sel(selection, method="nearest")
    leaves = [jnp.asarray(trial[name].values, shape.dtype) for name, shape in _leaves(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)
