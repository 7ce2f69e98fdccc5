"""`end_point`: from a table back to the parameters of one trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ... import _checks
from ..._columns import is_key, named_leaves, own_dims
from ...minimize import Status
from ...problems import Problem
from ..spec.space import CONFIGURATION

if TYPE_CHECKING:
    import xarray


def end_point(table: xarray.Dataset, problem: Problem, **selection: Any) -> PyTree:
    """The parameters at the end of one trial of a sweep that kept them: those that its `final_loss` was measured at.

    For a method whose result is not its iterate these are its evaluation parameters.

    Arguments:
        table: from `sweep(..., keep="params")`.
        problem: the same problem; it gives the structure of the parameters.
        selection: one value for every axis and `seed`; of numbers the nearest of the grid is taken. Of a space
            that is a list of points `configuration`, its number, or as many of its hyperparameters as single it out.

    Returns:
        The parameters as a pytree; the pair (params, aux) if the loss asks for aux.

    Raises:
        TypeError: a tree of several families. ValueError: the table has no parameters, an axis is unknown or missing,
            the values fit no configuration or several, the trial was not run, or the problem has parameters of another
            shape or dtype.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01, 0.05]), steps=10,
        ...                   keep="params", progress=False)
        >>> jon.end_point(table, valley, learning_rate=0.05, seed=0).shape
        (2,)
    """
    _checks.one_table("end_point", table)
    shapes, aux = problem.start_shapes()
    if not holds(table, shapes, "params") or not holds(table, aux, "aux"):
        raise ValueError("this table holds no parameters: run sweep(..., keep='params')")
    trial = trial_of("end_point", table, selection)
    params, aux = (restored(trial, tree, root) for tree, root in ((shapes, "params"), (aux, "aux")))
    return (params, aux) if problem.asks.aux else params


def holds(table: xarray.Dataset, tree: PyTree, root: str) -> bool:
    """Whether a table has a column for every leaf of a pytree."""
    return all(name in table for name, _ in named_leaves(tree, root))


def trial_of(function: str, table: xarray.Dataset, selection: dict[str, Any]) -> xarray.Dataset:
    """One trial of a table, with its hyperparameters as coordinates without a dim.

    Raises:
        ValueError: an axis is unknown or missing, the values fit no configuration or several, or it was not run.
    """
    table, selection = _located(table, selection)
    dims = [str(dim) for dim in table["final_loss"].dims]
    for name in selection:
        _checks.choice("axis", name, dims)
    missing = [dim for dim in dims if dim not in selection]
    if missing:
        raise ValueError(f"{function} needs one value for {', '.join(missing)}; the axes are {', '.join(dims)}")
    seed = selection.pop("seed")
    if seed not in table["seed"]:
        raise ValueError(f"seed must be one of {table['seed'].values.tolist()}, got {seed}")
    trial = table.sel(seed=seed)
    trial = trial.isel({name: _place(name, table[name].values, value) for name, value in selection.items()})
    if trial["status"] == Status.NOT_RUN:
        raise ValueError("this trial was not run, so it has no end point")
    return trial


def restored(trial: xarray.Dataset, tree: PyTree, root: str) -> PyTree:
    """A pytree out of the columns of a trial whose names begin with `root`, given its shapes and dtypes.

    Raises:
        ValueError: it has another shape or dtype in the table.
    """
    leaves = []
    for name, like in named_leaves(tree, root):
        # By the names of their dims, which a transposed table has in another order.
        values = trial[name].transpose(*own_dims(name, trial[name].ndim)).values
        leaves.append(_leaf(name, values, like))
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def _leaf(name: str, values: np.ndarray, like: Any) -> Array:
    """A leaf of the parameters or of aux from its column, bit for bit, or no leaf."""
    if is_key(like):
        return jax.random.wrap_key_data(
            jnp.asarray(values.astype(np.uint32)), impl=str(jax.random.key_impl(jnp.empty(0, like.dtype)))
        )
    if values.shape != like.shape:
        raise ValueError(f"{name} has shape {values.shape} in the table and {like.shape} in the problem, another one")
    real = values if jnp.issubdtype(like.dtype, jnp.complexfloating) or values.dtype.kind != "c" else values.real
    leaf = real.astype(like.dtype)
    if not np.array_equal(leaf.astype(values.dtype), values, equal_nan=True):
        raise ValueError(
            f"{name} is {values.dtype} in the table, and {like.dtype} in the problem cannot hold its values; make the "
            f"problem as it was for the sweep, for example under jax.enable_x64(True)"
        )
    return jnp.asarray(leaf)


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
            # Within float32: a value as it was printed or computed should find its configuration.
            np.isclose(known, value, rtol=1e-6, atol=0.0, equal_nan=True) if known.dtype.kind == "f" else known == value
        )
    if fits.sum() != 1:
        words = ", ".join(f"{name}={value}" for name, value in wanted.items())
        raise ValueError(f"{words} fits {fits.sum()} configurations; give more of {', '.join(columns)}")
    others = {name: value for name, value in selection.items() if name not in columns}
    return table, others | {CONFIGURATION: table[CONFIGURATION].values[fits].item()}
