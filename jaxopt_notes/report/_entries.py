"""What a report is about: named tables, from a Dataset, a mapping or a tree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import xarray

from .. import _checks
from ..plots._choose import is_sweep
from ..plots._tables import check_table, failed, metrics
from ..problems._metric import Direction, direction_attrs
from ..race import Race
from ..sweeps.judge.best import Best, best
from ..sweeps.table.direction import direction_of
from ..sweeps.table.ends import at_the_end


class Entry(NamedTuple):
    """One table: name, id of its part of the page, whether it is a sweep, and its winner if a trial succeeded.

    The winner of a sweep is chosen by `metric`, in the `direction` that is better.
    """

    name: str
    table: xarray.Dataset
    id: str
    sweep: bool
    winner: Best | None
    metric: str
    direction: Direction


def entries_of(tables: Any, metric: str = "final_loss", direction: Direction | None = None) -> list[Entry]:
    """Every table that holds something, checked.

    Raises:
        TypeError, ValueError: no table, or one that is empty or has nothing to show; it is named.
    """
    named = list(_named(tables))
    if not named:
        raise ValueError("tables must hold at least one Dataset, got none")
    entries = []
    for i, (name, table) in enumerate(named, 1):
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "table"
        sweep, winner, better = is_sweep(table, name), None, direction or "min"
        if sweep:
            table, better = _judged(name, at_the_end(check_table(table)), metric, direction)
            winner = best(table, metric, direction=better) if _any_succeeded(table) else None
        entries.append(Entry(name, table, f"{i}-{slug}", sweep, winner, metric, better))
    return entries


def _judged(
    name: str, table: xarray.Dataset, metric: str, direction: Direction | None
) -> tuple[xarray.Dataset, Direction]:
    """The table with the direction of its metric, and that direction."""
    try:
        _checks.choice("metric", metric, metrics(table))
        better = direction_of(table, metric, direction)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return table.assign({metric: table[metric].assign_attrs(direction_attrs(metric, better))}), better


def _named(tables: Any, prefix: str = "") -> Iterator[tuple[str, xarray.Dataset]]:
    """Names and Datasets, those of a tree under their path."""
    if isinstance(tables, xarray.Dataset):
        yield prefix or str(tables.attrs.get("optimizer", "sweep")), tables
    elif isinstance(tables, xarray.DataTree):
        root = prefix or str(tables.name or "")
        for node in tables.subtree:
            if node.data_vars:
                path = node.relative_to(tables).strip(".")
                yield "/".join(filter(None, [root, path])) or "sweep", node.to_dataset()
    elif isinstance(tables, Mapping):
        for name, table in tables.items():
            yield from _named(table, str(name))
    elif isinstance(tables, Race):
        yield from _named(tables.tree, prefix)
    else:
        accepted = "an xarray.Dataset or DataTree of a sweep, a Race, or a mapping from names to them"
        raise TypeError(f"tables must be {accepted}, got {type(tables).__name__}")


def _any_succeeded(table: xarray.Dataset) -> bool:
    return bool(((table.status >= 0) & ~failed(table)).any())
