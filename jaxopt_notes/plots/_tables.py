"""What figures and reports read from the Dataset of a sweep: axes, metrics, failures, and all of it in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from .. import _checks
from ..minimize import Status
from ..problems._metric import LOSSES
from ..sweeps.table.axes import axes_of, in_order
from ..sweeps.table.direction import said_direction
from ..sweeps.table.ends import at_the_end
from ..sweeps.table.seeds import NOT_COMPARED

LABELS = {
    "loss": "training loss",
    "final_loss": "final training loss",
    "initial_loss": "initial training loss",
    "final_accuracy": "training accuracy (share correct)",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy (share correct)",
}


def check_table(table: Any) -> xr.Dataset:
    """Return `table`, with its dims in the order of `sweep`, if it is the Dataset of a sweep with at least one trial.

    Arguments:
        table: what a caller passed.

    Returns:
        The same Dataset: the axes in the order of the coordinates, `seed`, and whatever else it has.

    Raises:
        TypeError: it is not a Dataset. ValueError: it has no `final_loss` over `seed`, no `status`, or an empty axis.

    Example:
        >>> check_table(xr.Dataset())
        Traceback (most recent call last):
        ValueError: table must be the Dataset of a sweep with variables final_loss and status; it has none
    """
    _checks.one_table("a figure", table)
    if not isinstance(table, xr.Dataset):
        raise TypeError(f"table must be the xarray.Dataset of a sweep, got {type(table).__name__}")
    if "final_loss" not in table or "status" not in table:
        found = ", ".join(map(str, table.data_vars)) or "none"
        raise ValueError(f"table must be the Dataset of a sweep with variables final_loss and status; it has {found}")
    if "seed" not in table.final_loss.dims:
        raise ValueError(f"table.final_loss must have a seed axis, got axes {table.final_loss.dims}")
    empty = [str(axis) for axis in table.final_loss.dims if table.sizes[axis] == 0]
    if empty:
        raise ValueError(f"table has no entry along {', '.join(empty)}; there is nothing to show")
    return in_order(table, "final_loss")


def axis_names(table: xr.Dataset) -> list[str]:
    """Names of the hyperparameter axes, in the order of the table's coordinates.

    Arguments:
        table: the Dataset of a sweep.

    Returns:
        For example ["learning_rate", "beta"].

    Example:
        >>> axis_names(xr.Dataset({"final_loss": (("learning_rate", "seed"), np.ones((2, 3)))}))
        ['learning_rate']
    """
    return axes_of(table, "final_loss")


def select(table: xr.Dataset, fixed: Mapping[str, Any]) -> xr.Dataset:
    """The part of the table at given values of its axes, in ascending order: a number drops the axis, a list keeps it.

    Arguments:
        table: the Dataset of a sweep.
        fixed: axis name to value or list of values, which must be in the table to within float32 rounding.

    Returns:
        Dataset.

    Raises:
        ValueError: no such axis, or no such value on it.

    Example:
        >>> table = xr.Dataset({"final_loss": (("beta", "seed"), np.ones((2, 3)))}, {"beta": [0.0, 0.9]})
        >>> dict(select(table, {"beta": 0.9}).sizes)
        {'seed': 3}
    """
    positions: dict[str, Any] = {}
    for name, value in fixed.items():
        _checks.choice("axis", name, axis_names(table))
        found = [_position(name, table[name].values, one) for one in np.ravel(value)]
        positions[name] = found[0] if np.ndim(value) == 0 else found
    part = table.isel(positions)
    return part.sortby([axis for axis in axis_names(part) if axis in part.coords])


def _position(name: str, grid: np.ndarray, value: Any) -> int:
    if grid.dtype.kind not in "iuf":  # booleans and texts
        texts = [str(one) for one in grid]
        _checks.choice(f"value of {name}", str(value), texts)
        return texts.index(str(value))
    grid, value = grid.astype(float), float(value)
    nearest = int(np.argmin(np.abs(grid - value)))
    if not np.isclose(grid[nearest], value, rtol=1e-5, atol=1e-12):
        accepted = ", ".join(f"{one:.6g}" for one in grid)
        raise ValueError(
            f"{name}={value:g} is not in the table; the nearest is {grid[nearest]:.6g}, accepted: {accepted}"
        )
    return nearest


def squeeze(table: xr.Dataset, fixed: Mapping[str, Any], *, keep: str = "") -> tuple[xr.Dataset, dict[str, Any]]:
    """Drop the axes of length 1.

    Arguments:
        table: the Dataset of a sweep.
        fixed: what is already held fixed; its lists are left out.
        keep: an axis to keep whatever its length.

    Returns:
        The smaller Dataset, and everything held fixed: axis name to number.

    Example:
        >>> table = xr.Dataset({"final_loss": (("beta", "seed"), np.ones((1, 3)))}, {"beta": [0.9]})
        >>> squeeze(table, {})[1]
        {'beta': 0.9}
    """
    single = {axis: table[axis].values[0] for axis in axis_names(table) if table.sizes[axis] == 1 and axis != keep}
    numbers = {name: value for name, value in fixed.items() if np.ndim(value) == 0}
    single, numbers = ({name: _plain(value) for name, value in part.items()} for part in (single, numbers))
    return table.squeeze(list(single), drop=True), {**numbers, **single}


def metrics(table: xr.Dataset) -> list[str]:
    """Variables with one real number per trial that a figure can show.

    Arguments:
        table: the Dataset of a sweep.

    Returns:
        For example ["final_loss", "test_accuracy"].

    Example:
        >>> metrics(xr.Dataset({"final_loss": ("seed", [1.0]), "status": ("seed", [0])}))
        ['final_loss']
    """
    hidden, table = NOT_COMPARED, at_the_end(table)
    trials = {*table.final_loss.dims}
    shown = [str(name) for name, one in table.data_vars.items() if one.dtype.kind != "c" and name not in hidden]
    return [name for name in shown if {*table[name].dims} == trials]


def judged(table: xr.Dataset) -> list[str]:
    """The metrics whose direction the table declares, `final_loss` first.

    Arguments:
        table: the Dataset of a sweep.

    Returns:
        For example ["final_loss", "test_accuracy"].

    Example:
        >>> judged(xr.Dataset({"final_loss": ("seed", [1.0]), "final_score": ("seed", [0.5])}))
        ['final_loss']
    """
    known = [name for name in metrics(table) if name in LOSSES or said_direction(table[name])]
    return sorted(known, key=lambda name: name != "final_loss")


def failed(table: xr.Dataset) -> xr.DataArray:
    """Which trials failed: non-finite, diverged or stalled.

    Arguments:
        table: the Dataset of a sweep.

    Returns:
        Booleans over (axes..., seed).

    Example:
        >>> failed(xr.Dataset({"status": ("seed", [-1, 0, 4])})).values.tolist()
        [False, False, True]
    """
    return table.status >= Status.NON_FINITE


def status_counts(table: xr.Dataset) -> dict[str, int]:
    """How many trials ended with each status; those that no trial has are left out.

    Arguments:
        table: the Dataset of a sweep.

    Returns:
        Status text to number of trials.

    Example:
        >>> status_counts(xr.Dataset({"status": ("seed", [0, 0, 5])}))
        {'completed': 2, 'diverged': 1}
    """
    codes = table.status.values
    counts = {
        status.name.lower().replace("non_", "non-").replace("_", " "): int(np.sum(codes == status)) for status in Status
    }
    return {text: count for text, count in counts.items() if count}


def configuration(values: Mapping[str, Any]) -> str:
    """A configuration in words.

    Arguments:
        values: axis name to number, or to the text or boolean of a choice.

    Returns:
        For example "learning_rate=0.1, beta=0.9".

    Example:
        >>> configuration({"learning_rate": 0.1, "beta": 0.9})
        'learning_rate=0.1, beta=0.9'
    """
    return ", ".join(f"{name}={_text(_plain(value))}" for name, value in values.items())


def _plain(value: Any) -> Any:
    """A float, or else what it is in Python: a boolean, a text."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, bool | str) else float(value)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def scale_of(table: xr.Dataset, axis: str) -> str:
    """The scale an axis asks for.

    Arguments:
        table: the Dataset of a sweep.
        axis: a coordinate; its `attrs["scale"]` decides.

    Returns:
        "log" if it says so and every value is positive, else "linear".

    Example:
        >>> scale_of(xr.Dataset(coords={"eps": ("eps", [1e-8, 1e-4], {"scale": "log"})}), "eps")
        'log'
    """
    asked = table[axis].attrs.get("scale") == "log" and table[axis].dtype.kind in "iuf"
    return "log" if asked and bool((table[axis] > 0).all()) else "linear"


def label(metric: str) -> str:
    """What a metric is called on an axis.

    Arguments:
        metric: a variable's name.

    Returns:
        Its label with its unit; the name itself for a variable of the user's.

    Example:
        >>> label("final_loss")
        'final training loss'
    """
    return LABELS.get(metric, metric.replace("_", " "))


def spread(table: xr.Dataset) -> str:
    """What line and band of a figure stand for.

    Arguments:
        table: the Dataset of a sweep.

    Returns:
        Words.

    Example:
        >>> spread(xr.Dataset({"final_loss": ("seed", [1.0, 2.0])}))
        'median and quartiles of 2 seeds'
    """
    return f"median and quartiles of {table.sizes['seed']} seeds" if table.sizes["seed"] > 1 else "1 seed"


def named(name: str, fixed: Mapping[str, Any]) -> str:
    """A name with what is held fixed.

    Arguments:
        name: for example an optimizer's.
        fixed: axis name to number.

    Returns:
        For example "adam, b1=0.9".

    Example:
        >>> named("adam", {"b1": 0.9})
        'adam, b1=0.9'
    """
    return ", ".join(part for part in (name, configuration(fixed)) if part)


def heading(table: xr.Dataset, fixed: Mapping[str, Any]) -> str:
    """What the table is about: optimizer, problem, and what is held fixed.

    Arguments:
        table: the Dataset of a sweep.
        fixed: axis name to number.

    Returns:
        For example "momentum on digits_mlp, beta=0.9"; of runs that name neither, how many they are.

    Example:
        >>> heading(xr.Dataset(attrs={"optimizer": "adam", "problem": "digits"}), {"b1": 0.9})
        'adam on digits, b1=0.9'
        >>> heading(xr.Dataset({"final_loss": ("seed", [0.1])}), {})
        'one run'
    """
    what = " on ".join(str(table.attrs[key]) for key in ("optimizer", "problem") if key in table.attrs)
    return named(what or ("one run" if table.final_loss.size == 1 else "runs"), fixed)
