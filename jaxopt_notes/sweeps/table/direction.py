"""The direction in which a metric is better: given where it is compared, or declared with the metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...problems import Problem
from ...problems._metric import DIRECTIONS, LOSSES, Direction, directions
from ...problems._metric import SIGNS as SIGNS
from ...problems._metric import known_direction as known_direction

if TYPE_CHECKING:
    import xarray

LOSS_AXES = "loss_axes"  # the attribute of a table that names the axes which are numbers of the loss
SUPERLATIVES: Mapping[str, str] = {"max": "highest", "min": "lowest"}


def direction_of(table: xarray.Dataset, metric: str, direction: Direction | None = None) -> Direction:
    """The direction of a variable of a table: as given, else from its attributes, else "min" for a loss.

    Raises:
        ValueError: the direction is unknown (the error shows how to give it), or neither "max" nor "min".
    """
    said = said_direction(table[metric])
    if direction is None and said is not None and said not in DIRECTIONS:
        raise ValueError(f"{metric}.attrs['direction'] must be one of {', '.join(DIRECTIONS)}, got {said!r}")
    return known_direction(metric, said, direction)


def said_direction(variable: xarray.DataArray) -> Any:
    """The declared direction of a variable; None if its attributes were copied from another variable."""
    own = variable.attrs.get("direction_of", variable.name) == variable.name
    return variable.attrs.get("direction") if own else None


def refuse_incomparable(table: xarray.Dataset, metric: str) -> None:
    """Refuse to compare configurations by a loss whose own numbers differ between them.

    Raises:
        ValueError: naming the numbers, and what to compare by.
    """
    refuse_incomparable_tables([table], metric)


def refuse_incomparable_tables(tables: Iterable[xarray.Dataset], metric: str) -> None:
    """The same for the configurations of several tables together.

    Raises:
        ValueError: as `refuse_incomparable`.
    """
    tables = list(tables)
    own = dict.fromkeys(name for table in tables for name in table.attrs.get(LOSS_AXES, "").split(", ") if name)
    values = {
        name: [np.ravel(table.coords[name].values) if name in table.coords else [np.nan] for table in tables]
        for name in own
    }
    check_comparable(metric, [name for name, parts in values.items() if len(np.unique(np.concatenate(parts))) > 1])


def check_comparable(metric: str, loss_axes: Sequence[str]) -> None:
    """The same, given the numbers of the loss that differ.

    Raises:
        ValueError: as `refuse_incomparable`.
    """
    if loss_axes and metric in LOSSES and metric != "validation_loss":
        raise ValueError(
            f"{metric} does not compare these configurations: the loss itself takes {', '.join(loss_axes)}, so "
            f"its values are of different functions. Compare by a metric or by the loss on validation data, as in "
            f"best(table, 'validation_loss'); or measure a loss without them, with Problem(..., evaluate=...)"
        )


def common_direction(tables: Iterable[xarray.Dataset], metric: str, direction: Direction | None = None) -> Direction:
    """The direction that a variable has in all of several tables.

    Raises:
        ValueError: as `direction_of`, or they differ.
    """
    found = {direction_of(table, metric, direction) for table in tables}
    if len(found) > 1:
        raise ValueError(
            f"{metric!r} must have one direction, and some tables have 'max', others 'min': pass direction='max' or "
            f"direction='min'"
        )
    return found.pop()


def declared_direction(problem: Problem, metric: str, direction: Direction | None = None) -> Direction:
    """The direction of a metric of a sweep of this problem: as given, or as the problem declares it.

    Raises:
        ValueError: as `direction_of`.
    """
    return known_direction(metric, directions(problem.metrics, [metric]).get(metric), direction)
