"""What a report is about: named tables, from a Dataset, a mapping or a tree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import xarray

from ..plots.choose import is_sweep
from ..plots.tables import check_table, failed
from ..sweeps.select import Best, best


class Entry(NamedTuple):
    """One table: name, id of its part of the page, whether it is a sweep, and its winner if a trial succeeded."""

    name: str
    table: xarray.Dataset
    id: str
    sweep: bool
    winner: Best | None


def entries_of(tables: Any) -> list[Entry]:
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
        sweep = is_sweep(table, name)
        winner = best(table) if sweep and _any_succeeded(check_table(table)) else None
        entries.append(Entry(name, table, f"{i}-{slug}", sweep, winner))
    return entries


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
    else:
        raise TypeError(f"tables must be an xarray.Dataset of a sweep, got {type(tables).__name__}")


def _any_succeeded(table: xarray.Dataset) -> bool:
    return bool(((table.status >= 0) & ~failed(table)).any())
