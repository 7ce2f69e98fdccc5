"""The direction in which a metric is better: given where it is compared, or declared with the metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ... import _checks
from ...problems import Problem
from ...problems._metric import DIRECTIONS, LOSSES, PARTS, Direction, directions

if TYPE_CHECKING:
    import xarray

SUPERLATIVES: Mapping[str, str] = {"max": "highest", "min": "lowest"}
SIGNS: Mapping[str, int] = {"max": -1, "min": 1}  # what makes lower better of either


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


def common_direction(tables: Iterable[xarray.Dataset], metric: str, direction: Direction | None = None) -> Direction:
    """The direction that a variable has in all of several tables.

    Raises:
        ValueError: as `direction_of`, or they differ.
    """
    found = {direction_of(table, metric, direction) for table in tables}
    if len(found) > 1:
        raise ValueError(
            f"{metric!r} must have one direction, and some tables say 'max', others 'min': pass direction='max' or "
            f"direction='min'"
        )
    return found.pop()


def declared_direction(problem: Problem, metric: str, direction: Direction | None = None) -> Direction:
    """The direction of a metric of a sweep of this problem: as given, or as the problem declares it.

    Raises:
        ValueError: as `direction_of`.
    """
    return known_direction(metric, directions(problem.metrics, [metric]).get(metric), direction)


def known_direction(metric: str, declared: Any, direction: Direction | None = None) -> Direction:
    """The direction of a metric: as given, else as declared, else "min" for a loss.

    Raises:
        ValueError: as `direction_of`.
    """
    if direction is not None:
        _checks.choice("direction", direction, DIRECTIONS)
        return direction
    if declared is not None or metric in LOSSES:
        return declared or "min"
    part, _, name = metric.partition("_")
    declare = (
        f"declare it with the metric, metrics={{{name!r}: jon.maximize({name})}} or jon.Metric({name}, "
        f"direction='min'), or "
        if part in PARTS and name
        else ""
    )
    raise ValueError(
        f"{metric!r} does not say whether higher or lower is better: {declare}pass direction='max' or direction='min'"
    )
