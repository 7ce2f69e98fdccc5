"""The tables of several groups as one: laid out over the axes of the whole space."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._numerics import scale_of
from ..spec.group import Grouping
from ..spec.space import CONFIGURATION, EVALUATION_STEP, labels_of
from .direction import LOSS_AXES
from .layout import NOT_RUN, spread_of

if TYPE_CHECKING:
    import xarray

_Variable = tuple[tuple[Any, ...], np.ndarray, dict[str, Any]]  # dims, values, attributes
_ADDED = ("segment_programs", "wall_seconds", "trials_finished")


def record_of(grouping: Grouping) -> dict[str, Any]:
    """What joining needs to know, as plain data."""
    space = grouping.space
    columns = {name: labels_of(v.tolist()) for name, v in (space.points or space.axes).items()}
    listed = {CONFIGURATION: list(range(len(space)))}
    return {
        "axes": listed if space.points else columns,
        "points": columns if space.points else {},
        "rows": [group.rows.tolist() for group in grouping.groups],
    }


def among_all(
    on_chunk: Callable[[xarray.Dataset], object], record: Mapping[str, Any], rows: np.ndarray, seeds: int
) -> Callable[[xarray.Dataset], object]:
    """`on_chunk` for a chunk of a group, which it gets as one of the whole sweep, with the hyperparameters of all."""
    shape = tuple(map(len, record["axes"].values()))

    def called(chunk: xarray.Dataset) -> object:
        configuration, seed = np.divmod(chunk["trial"].values, seeds)
        row = rows[configuration]
        places = dict(zip(record["axes"], np.unravel_index(row, shape), strict=True))
        whole = chunk.drop_vars([name for name, values in chunk.coords.items() if values.dims == ("trial",)])
        along = _along_axes(record).items()
        coordinates: dict[str, Any] = {
            name: ("trial", values[places[dim]], attributes) for name, (dim, values, attributes) in along
        }
        coordinates |= {"seed": ("trial", chunk["seed"].values), "trial": row * seeds + seed}
        return on_chunk(whole.assign_coords(coordinates))

    return called


def _along_axes(record: Mapping[str, Any]) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    """Name -> (dim, values, attributes) of every axis and hyperparameter."""
    found = {}
    for part, scale in (("axes", scale_of), ("points", spread_of)):
        for name, listed in record[part].items():
            values = np.asarray(listed)
            attributes = {"scale": scale(values)} if values.dtype.kind in "fi" else {}
            found[name] = (name if part == "axes" else CONFIGURATION, values, attributes)
    return found


def joined(record: Mapping[str, Any], tables: Sequence[xarray.Dataset | None]) -> xarray.Dataset:
    """One table of all groups; a group without a table counts as not run."""
    import xarray

    axes = record["axes"]
    # There are fewer tables than groups after an interruption.
    there = [(rows, table) for rows, table in zip(record["rows"], tables, strict=False) if table is not None]
    there = _with_all(_with_all(_with_all(there, "rung"), "step"), EVALUATION_STEP)
    variables = {name: _variable(name, there, axes) for name in _names(table.data_vars for _, table in there)}
    coordinates: dict[str, Any] = dict(_along_axes(record))
    for name in _names(table.coords for _, table in there):
        if name not in coordinates and name != CONFIGURATION and CONFIGURATION not in _dims(name, there):
            coordinates[name] = _coordinate(name, there, axes)
    attributes = _attributes([table for _, table in there], len(record["rows"]))
    return xarray.Dataset(variables, coordinates, attributes)


def _with_all(there: list[tuple[Any, xarray.Dataset]], dim: str) -> list[tuple[Any, xarray.Dataset]]:
    """The tables with the labels of all along a dim, NaN where one has none.

    A group that was interrupted has decided fewer times; at equal epochs larger batches take fewer steps.
    """
    labels = [table[dim].values.tolist() for _, table in there if dim in table.dims]
    if all(one == labels[0] for one in labels):
        return there
    every = sorted({label for one in labels for label in one})
    return [(rows, _along(table, dim, every) if dim in table.dims else table) for rows, table in there]


def _along(table: xarray.Dataset, dim: str, labels: list[Any]) -> xarray.Dataset:
    whole = table.reindex({dim: labels})
    if dim != EVALUATION_STEP:
        return whole
    # What is measured at the end of a run stays so: after it the last look repeats, as it does for a run that stopped.
    ended = whole[dim] > table[dim].values[-1]
    last = table.isel({dim: -1}, drop=True)
    curves = {name: whole[name] for name, values in table.data_vars.items() if dim in values.dims}
    return whole.assign({name: curve.where(~ended, last[name]) for name, curve in curves.items()})


def _names(parts: Iterable[Iterable[Any]]) -> list[str]:
    return list(dict.fromkeys(str(name) for part in parts for name in part))


def _dims(name: str, there: Sequence[tuple[Any, xarray.Dataset]]) -> tuple[Any, ...]:
    return next(table[name].dims for _, table in there if name in table.variables)


def _variable(name: str, there: Sequence[tuple[Any, xarray.Dataset]], axes: Mapping[str, Any]) -> _Variable:
    """A variable of all groups over the axes of the space; trials of groups that lack it have what is not run."""
    parts = [(rows, table[name].variable) for rows, table in there if name in table.variables]
    whole = _spread([(rows, part.values) for rows, part in parts], axes, NOT_RUN.get(name, np.nan))
    return (*axes, *parts[0][1].dims[1:]), whole, _alike(part.attrs for _, part in parts)


def _coordinate(name: str, there: Sequence[tuple[Any, xarray.Dataset]], axes: Mapping[str, Any]) -> _Variable:
    """A coordinate of all groups: unchanged if it is the same in all, otherwise over the axes that it depends on."""
    parts = [(rows, table[name].variable) for rows, table in there if name in table.variables]
    first, attributes = parts[0][1], _alike(part.attrs for _, part in parts)
    if len(parts) == len(there) and all(part.equals(first) for _, part in parts):  # type: ignore[no-untyped-call]
        return first.dims, first.values, attributes
    repeated = [(rows, np.broadcast_to(part.values, (len(rows), *part.shape))) for rows, part in parts]
    whole = _spread(repeated, axes, np.nan)
    dims = [*axes]
    for axis in axes:
        # An axis along which nothing changes is left out: epochs that differ between batch sizes are then a coordinate
        # along `batch_size` and `step` alone.
        place = dims.index(axis)
        one = whole.take([0], place)
        if np.array_equal(whole, np.broadcast_to(one, whole.shape), equal_nan=whole.dtype.kind == "f"):
            whole, dims = one.squeeze(place), [dim for dim in dims if dim != axis]
    return (*dims, *first.dims), whole, attributes


def _spread(parts: Sequence[tuple[Any, np.ndarray]], axes: Mapping[str, Any], absent: float) -> np.ndarray:
    """The rows of all groups, laid out along the axes; `absent` where no group has any."""
    shape = tuple(map(len, axes.values()))
    rows = np.concatenate([np.asarray(rows, int) for rows, _ in parts])
    values = np.concatenate([part for _, part in parts])
    # Where nothing is absent, integers and texts keep their dtype.
    if len(rows) == np.prod(shape, dtype=int):
        whole = np.empty_like(values)
    else:
        countless = values.dtype.kind in "iub" and np.isnan(absent)  # an integer cannot be NaN
        whole = np.full((np.prod(shape, dtype=int), *values.shape[1:]), absent, float if countless else values.dtype)
    whole[rows] = values
    return whole.reshape(*shape, *values.shape[1:])


def _alike(parts: Iterable[Mapping[Any, Any]]) -> dict[str, Any]:
    """The attributes that are equal in all of them."""
    first, *others = map(dict, parts)
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _attributes(tables: Sequence[xarray.Dataset], groups: int) -> dict[str, Any]:
    """The attributes that all tables have, as a text of the values where they differ; sums of counts; the groups."""
    attributes: dict[str, Any] = {}
    for name in _names(table.attrs for table in tables):
        said = [table.attrs[name] for table in tables if name in table.attrs]
        if name in _ADDED:
            attributes[name] = sum(said)
        elif len(said) == len(tables):
            alike = all(one == said[0] for one in said)
            attributes[name] = said[0] if alike else ", ".join(dict.fromkeys(map(str, said)))
    numbers = [name for table in tables for name in table.attrs.get(LOSS_AXES, "").split(", ") if name]
    attributes |= {LOSS_AXES: ", ".join(dict.fromkeys(numbers))} if numbers else {}
    fingerprints = "".join(table.attrs["fingerprint"] for table in tables)
    attributes["fingerprint"] = hashlib.sha256(fingerprints.encode()).hexdigest()
    attributes["groups"] = groups
    if any("interrupted" in table.attrs for table in tables):
        attributes["interrupted"] = 1
    narrowed = [table.attrs["narrowed_to"] for table in tables if "narrowed_to" in table.attrs]
    return attributes | ({"narrowed_to": min(narrowed)} if narrowed else {})
