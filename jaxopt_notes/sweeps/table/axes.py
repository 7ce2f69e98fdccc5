"""The axes of a finished table, in one order however its dims are ordered.

For readers of tables that a user may have transposed; `layout` is for making them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..spec.space import CONFIGURATION

if TYPE_CHECKING:
    import xarray


def axes_of(table: xarray.Dataset, variable: str = "status") -> list[str]:
    """The dims of a variable but `seed`, in the order of the table's coordinates, which transposing keeps."""
    order = list(table.coords)
    axes = [str(dim) for dim in table[variable].dims if dim != "seed"]
    return sorted(axes, key=lambda axis: order.index(axis) if axis in order else len(order))


def in_order(table: Any, variable: str = "status") -> Any:
    """The table with its axes first, then `seed`, then whatever else it has, as `sweep` lays it out."""
    return table.transpose(*axes_of(table, variable), "seed", ...)


def hyperparameters(table: xarray.Dataset) -> list[str]:
    """The names of the hyperparameters of a sweep's table, axes or coordinates along `configuration`."""
    axes = axes_of(table)
    if axes != [CONFIGURATION]:
        return axes
    return [str(name) for name, one in table.coords.items() if one.dims == (CONFIGURATION,) and name != CONFIGURATION]
