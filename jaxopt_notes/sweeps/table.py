"""From what a pass of trials returns to columns, and from a table back to parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import _checks
from .._numerics import storable
from ..minimize import end_status
from ..problems import Problem
from .engine import lane_shapes
from .layout import Columns, Layout, inner_dims
from .plan import Plan
from .space import CONFIGURATION

if TYPE_CHECKING:
    import xarray


def columns_of(plan: Plan, trials: dict[str, Any]) -> Columns:
    """The columns of a table: the final status in place of the loop's own, and parameters by their paths."""
    baseline = np.inf if plan.problem.baseline is None else plan.problem.baseline
    status, initial, final = (jnp.asarray(trials[name]) for name in ("status", "initial_loss", "final_loss"))
    judged = {**trials}
    judged["status"] = np.asarray(end_status(status, initial, final, baseline, judged.pop("unmoved", None)))
    params = judged.pop("params", None)
    named = [] if params is None else named_leaves(params)
    return {name: storable(np.asarray(column)) for name, column in (*judged.items(), *named)}


def no_trials(plan: Plan, keep_params: bool) -> Columns:
    """The columns of no trials, so that a sweep stopped before its first chunk still has every variable."""
    one = jax.tree.map(lambda leaf: leaf[0], plan.initial)
    measured = jax.eval_shape(plan.evaluate, plan.evaluate_constants, one, plan.problem.data, plan.problem.test_data)
    lanes = lane_shapes(plan)
    names = ("loss", "grad_norm", "update_norm")
    columns = {name: np.zeros((0, plan.group.entries), getattr(lanes, name).dtype) for name in names}
    columns |= {name: np.zeros(0, like.dtype) for name, like in measured.items()}
    columns |= {"initial_loss": np.zeros(0, measured["final_loss"].dtype)}
    counted = ("status", "stopped_at", "skipped") if plan.group.skip else ("status", "stopped_at")
    columns |= {name: np.zeros(0, np.int32) for name in counted}
    if keep_params:
        columns |= {name: np.zeros((0, *leaf.shape), leaf.dtype) for name, leaf in named_leaves(one)}
    return {name: storable(column) for name, column in columns.items()}


def chunk_table(layout: Layout, first: int, columns: Columns) -> xarray.Dataset:
    """Some trials as a table, flat along `trial`, with hyperparameters and seed as coordinates along it."""
    import xarray

    trials = np.arange(first, first + len(columns["status"]))
    places = np.unravel_index(trials, (*map(len, layout.axes.values()), len(layout.seeds)))
    points = zip([*layout.axes, "seed"], [*layout.axes.values(), layout.seeds], places, strict=True)
    along = {name: ("trial", np.asarray(values)[place]) for name, values, place in points}
    steps = {
        name: ("step", np.asarray(values), {"units": units}) for name, (values, units) in layout.coordinates.items()
    }
    variables = {
        name: (("trial", *inner_dims(name, values)), values, layout.attrs_of(name)) for name, values in columns.items()
    }
    return xarray.Dataset(variables, {"trial": trials, **along, **steps}, layout.attributes)


def named_leaves(params: PyTree) -> list[tuple[str, Any]]:
    """(name of the variable, leaf) of every leaf; names are paths without "/", told apart by number where equal."""
    named: dict[str, Any] = {}
    for i, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(params)):
        inside = jax.tree_util.keystr(path, simple=True, separator=".").replace("/", "_")
        name = f"params.{inside}" if inside else "params"
        named[f"{name}#{i}" if name in named else name] = leaf
    return list(named.items())


def end_point(table: xarray.Dataset, problem: Problem, **selection: Any) -> PyTree:
    """The parameters at the end of one trial of a sweep that kept them: those that its `final_loss` was measured at.

    For a method whose result is not its iterate these are its evaluation parameters.

    Arguments:
        table: from `sweep(..., keep_params=True)`.
        problem: the same problem; it gives the structure of the parameters.
        selection: one value for every axis and `seed`; of numbers the nearest of the grid is taken. Of a space
            that is a list of points `configuration`, its number, or as many of its hyperparameters as single it out.

    Returns:
        The parameters as a pytree.

    Raises:
        TypeError: a tree of several families. ValueError: the table has no parameters, an axis is unknown or missing,
            or the values fit no configuration or several.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01, 0.05]), steps=10,
        ...                   keep_params=True, progress=False)
        >>> jon.end_point(table, valley, learning_rate=0.05, seed=0).shape
        (2,)
    """
    _checks.one_table("end_point", table)
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    paths = [path for path, _ in named_leaves(shapes)]
    if any(path not in table for path in paths):
        raise ValueError("this table holds no parameters: run sweep(..., keep_params=True)")
    table, selection = _located(table, selection)
    dims = [str(dim) for dim in table["final_loss"].dims]
    for name in selection:
        _checks.choice("axis", name, dims)
    missing = [dim for dim in dims if dim not in selection]
    if missing:
        raise ValueError(f"end_point needs one value for {', '.join(missing)}; the axes are {', '.join(dims)}")
    if selection["seed"] not in table["seed"]:
        raise ValueError(f"seed must be one of {table['seed'].values.tolist()}, got {selection['seed']}")
    trial = table[paths].sel(seed=selection.pop("seed"))
    trial = trial.isel({name: _place(name, table[name].values, value) for name, value in selection.items()})
    # By the names of their dims, which a transposed table has in another order.
    stored = {
        name: trial[name].transpose(*(f"{name}_{axis}" for axis in range(len(shape.shape))))
        for name, shape in named_leaves(shapes)
    }
    leaves = [jnp.asarray(stored[name].values, shape.dtype) for name, shape in named_leaves(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _place(name: str, known: np.ndarray, value: Any) -> int:
    """The position of the nearest number, or of the choice with this label."""
    if known.dtype.kind in "fi" and name != CONFIGURATION:
        return int(np.argmin(abs(known - value)))
    if value not in known.tolist():
        raise ValueError(f"{name} must be one of {known.tolist()}, got {value!r}")
    return known.tolist().index(value)


def _located(table: xarray.Dataset, selection: dict[str, Any]) -> tuple[xarray.Dataset, dict[str, Any]]:
    """The selection by dims: of a list of points, by `configuration` alone."""
    columns = [str(name) for name, values in table.coords.items() if values.dims == (CONFIGURATION,) != (name,)]
    wanted = {name: value for name, value in selection.items() if name in columns}
    if CONFIGURATION not in table.dims:
        return table, selection
    for name in selection:
        _checks.choice("axis", name, [*columns, CONFIGURATION, "seed"])
    if not wanted:
        return table, selection
    fits = np.ones(table.sizes[CONFIGURATION], bool)
    for name, value in wanted.items():
        known = table[name].values
        fits &= (
            np.isclose(known, value, rtol=1e-6, atol=0.0, equal_nan=True) if known.dtype.kind == "f" else known == value
        )
    if fits.sum() != 1:
        words = ", ".join(f"{name}={value}" for name, value in wanted.items())
        raise ValueError(f"{words} fits {fits.sum()} configurations; give more of {', '.join(columns)}")
    others = {name: value for name, value in selection.items() if name not in columns}
    return table, others | {CONFIGURATION: table[CONFIGURATION].values[fits].item()}
