"""Tables of a report: rows of cells as text, numbers with their full value for sorting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray

from ..plots._medians import quartiles
from ..plots._tables import axis_names, judged, metrics
from ..sweeps.judge.best import hyperparameters
from ..sweeps.spec.space import is_absent
from ..sweeps.table.direction import SIGNS
from ._entries import Entry

BEST = "★ best"
MOST_ROWS = 500  # a longer table is slow to read and to sort; all numbers are in the JSON


class Median(float):
    """A number over seeds: infinite where failure reaches, NaN where nothing ran."""


class Share(float):
    """A number that a table shows in per cent."""


class Cell(NamedTuple):
    """What a cell shows; a number also has the `value` to sort by, "" where there is none."""

    text: str
    value: str | None = None


class Grid(NamedTuple):
    """A table: its caption, columns, rows of cells, which row is marked, and words before it."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    marked: list[bool]
    sortable: bool = False
    heading: str = ""
    note: str = ""


def grid_of(rows: Sequence[Mapping[str, object]], caption: str, **options: Any) -> Grid:
    """A table whose columns are the keys of the rows."""
    columns = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    cells = [[cell(row.get(column, "")) for column in columns] for row in rows]
    return Grid(caption, columns, cells, [row.get("") == BEST for row in rows], **options)


def cell(value: Any) -> Cell:
    """A value as a cell."""
    if np.ndim(value) == 0 and hasattr(value, "item"):  # a number of NumPy or JAX
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value))
    form = ".1%" if isinstance(value, Share) else ".4g" if isinstance(value, float) else ","
    text = format(value, form).replace(".0%", "%")
    if isinstance(value, Median):
        text = {"inf": "failed", "-inf": "failed", "nan": "not run"}.get(text, text)
    return Cell(text, str(float(value)) if math.isfinite(value) else "")


def configurations(entry: Entry) -> Grid:
    """A sortable table of configurations: the winner, then by median, then those that failed, then those not run.

    It also shows every other metric whose direction the table declares.
    """
    name, table, winner = entry.name, entry.table, entry.winner
    axes = axis_names(table)
    known = [metric for metric in judged(table) if metric != "initial_loss"]
    summary = {metric: quartiles(table, metric).transpose(*axes) for metric in known}
    by, median = summary.pop(entry.metric), f"median {entry.metric.replace('_', ' ')}"
    further = {metric: one.middle for metric, one in summary.items()}
    names = hyperparameters(table)
    rows: list[dict[str, Any]] = []
    for index in np.ndindex(by.middle.shape):
        at = dict(zip(axes, index, strict=True))
        values = {one: _plain(table, one, at) for one in names}
        config = {one: value for one, value in values.items() if not is_absent(value)}
        mark = BEST if winner and config == winner.config else "tied" if winner and config in winner.ties else ""
        row: dict[str, Any] = {"": mark, **{one: config.get(one, "") for one in names}}
        row |= {median: Median(by.middle[index])}
        row |= {"lower quartile": Median(by.lower[index]), "upper quartile": Median(by.upper[index])}
        row |= {"seeds failed": Share(by.failed[index])}
        rows.append(row | {f"median {one.replace('_', ' ')}": Median(each[index]) for one, each in further.items()})
    sign = SIGNS[entry.direction]
    rows.sort(key=lambda row: (row[""] != BEST, math.isnan(row[median]), sign * row[median]))
    note = "A failed seed counts as worse than any number, so “failed” stands where at least half of the seeds failed."
    unknown = [metric for metric in metrics(table) if metric not in judged(table)]
    if unknown:
        note += f" Left out, as the table does not declare whether higher or lower is better: {', '.join(unknown)}."
    if len(rows) > MOST_ROWS:
        note += f" The first {MOST_ROWS} of {len(rows):,} are shown; the JSON in this page has all."
    caption, said = f"Configurations of {name}", {"heading": "Configurations", "note": note}
    return grid_of(rows[:MOST_ROWS], caption, sortable=True, **said)


def _plain(table: xarray.Dataset, name: str, at: Mapping[str, int]) -> Any:
    """The value of a hyperparameter at a configuration, as Python has it; its place where an axis has no values."""
    if name not in table.coords:
        return at[name]
    values = table[name]
    return values.isel({dim: place for dim, place in at.items() if dim in values.dims}).item()
