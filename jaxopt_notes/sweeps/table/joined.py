"""Sweeps of several programs: each group and each family runs as a sweep of its own, and their tables are joined.

On disk a sweep of groups is a folder with `groups.json` and the store of each in `group-000`, `group-001`, ...; one of
families has `families.json` and a folder for each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..._digests import StoreError, read_json, set_aside, write_json
from ..._numerics import scale_of
from ..spec.group import Part, labels_of
from ..keep.folders import ANEW, holds_results, is_store, is_written, part_of, parts_in, place_of, records_in
from .layout import NOT_RUN, spread_of
from ..judge.best import FAMILY
from ..spec.space import CONFIGURATION, Space

if TYPE_CHECKING:
    import xarray

_Variable = tuple[tuple[Any, ...], np.ndarray, dict[str, Any]]  # dims, values, attributes
_ADDED = ("segment_programs", "wall_seconds", "trials_finished")
FORMAT = 1


def sweep_parts(
    sweep: Callable[..., xarray.Dataset], parts: Sequence[Part], space: Any, store: Path | None, options: Any
) -> xarray.Dataset:
    """Run every group with `sweep`, and join the tables; after an interruption the other groups are left out."""
    record = _record(parts, space)
    claim(store, "groups.json", record, options["repair"])
    tables: list[xarray.Dataset] = []
    on_chunk, seeds = options["on_chunk"], options["seeds"]
    count = np.size(seeds) if np.ndim(seeds) else int(seeds)
    for i, part in enumerate(parts):
        folder = None if store is None else store / f"group-{i:03}"
        told = on_chunk and _among_all(on_chunk, record, part.rows, count)
        own = {**options, "batch_size": part.batch_size, "store": folder, "on_chunk": told}
        tables.append(sweep(part.problem, part.optimizer, part.space, **own))
        if "interrupted" in tables[-1].attrs:
            break
    return _joined(record, tables)


def sweep_families(
    sweep: Callable[..., xarray.Dataset], problem: Any, families: Mapping[str, Any], store: Path | None, options: Any
) -> xarray.DataTree:
    """Run every family with `sweep`; the tables become the children of a tree."""
    import xarray

    pairs = dict(check_families(families))
    claim(store, "families.json", {"families": list(pairs)}, options["repair"])
    tables: dict[str, xarray.Dataset] = {}
    for name, (optimizer, space) in pairs.items():
        folder = None if store is None else store / name
        tables[name] = sweep(problem, optimizer, space, store=folder, **options)
        if "interrupted" in tables[name].attrs:
            break
    return xarray.DataTree.from_dict(tables)


def check_families(families: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Space]]]:
    """Names with their pairs (optimizer, space).

    Raises:
        TypeError, ValueError: no family, a name that can be no folder, or no pair.
    """
    if not families:
        raise ValueError('a sweep of families needs at least one, for example {"adam": (jon.adam, grid(...))}')
    for name, pair in families.items():
        if not isinstance(name, str) or not name or set(name) & set('/\\:*?"<>|') or name.startswith("."):
            raise ValueError(f"the name of a family must be a text that can be a folder's name, got {name!r}")
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[1], Space):
            raise TypeError(
                f"family {name!r} must be a pair (optimizer, space), such as (jon.adam, grid(...)); got {pair!r}"
            )
        if FAMILY in pair[1].names:
            raise ValueError(f"axis {FAMILY!r} of family {name!r} is what `best` calls a family; wrap one to rename it")
        yield name, pair


def open_joined(folder: Path, name: str, open_one: Callable[[Path], xarray.Dataset]) -> Any:
    """The table or tree of a stored sweep of groups or families, whose record has this name."""
    import xarray

    record = read_json(folder / name, ANEW)
    parts = {part: folder / part for part in parts_in(record)}
    begun = [part for part, path in parts.items() if is_store(path) or any(path.rglob("chunk-*.nc"))]
    for path in sorted({manifest.parent for manifest in folder.glob("*/*.json")}):
        place = _place(path)  # None of one that cannot be read, as opening it will say
        if (place or (place == "" and path.name in parts)) and place != part_of(path):
            raise StoreError(f"{path} is no part of the sweep in {folder}, or {name} is another's; {ANEW}")
    if "families" in record:
        if not begun:
            raise FileNotFoundError(f"no family of the sweep in {folder} has begun")
        return xarray.DataTree.from_dict({part: open_one(parts[part]) for part in begun})
    if not begun:
        raise FileNotFoundError(f"no group of the sweep in {folder} has begun")
    return _joined(record, [open_one(path) if part in begun else None for part, path in parts.items()])


def claim(store: Path | None, name: str, record: dict[str, Any] | None, repair: bool = False) -> None:
    """Write what a folder holds, or compare with what is there; a sweep of which nothing came makes room.

    With `repair` a record that cannot be read is set aside, and so is one of another kind whose results are not there.

    Raises:
        StoreError: the folder holds another sweep.
    """
    if store is None:
        return
    others, path = [other for other in records_in(store) if other != name], store / name
    free = not holds_results(store) and not is_written(store) and jax.process_count() == 1
    for other in others:
        if not free and not (repair and _is_stray(store, other, name)):
            raise StoreError(f"{store} holds another kind of sweep, with a {other}; choose another folder")
        if repair:
            set_aside(store / other)
        else:
            (store / other).unlink()
    if record is None:
        return
    now = json.loads(json.dumps({"format": FORMAT, **record, "part_of": part_of(store)}))
    there = None if free and path.is_file() else _there(path, repair)
    if there is not None:
        # As text, since the NaN of an absent hyperparameter equals nothing.
        changed = [part for part in {**there, **now} if json.dumps(there.get(part)) != json.dumps(now.get(part))]
        if not changed:
            return
        if changed != ["part_of"]:
            if not (repair and ("part_of" in changed or _parts_say(store, now))):
                lines = [f"  {part}: {there.get(part)} there, {now.get(part)} now" for part in changed]
                hint = f"{store} holds another sweep; finish it as it was defined, or choose another folder"
                raise StoreError("\n".join([hint, *lines]))
            set_aside(path)
    store.mkdir(parents=True, exist_ok=True)
    write_json(path, now)


def _there(path: Path, repair: bool) -> dict[str, Any] | None:
    """The record that is there; one that cannot be read is set aside with `repair`."""
    try:
        return read_json(path, ANEW)
    except FileNotFoundError:
        return None
    except StoreError:
        if not repair:
            raise
        set_aside(path)
        return None


def _is_stray(store: Path, other: str, name: str) -> bool:
    """Whether the record of another kind cannot be right: the wanted one is there, or nothing that it speaks of."""
    pattern = {"manifest.json": "chunk-*", "groups.json": "group-*", "families.json": "*/*.json"}[other]
    return os.path.lexists(store / name) or not any(store.glob(pattern))


def _place(folder: Path) -> str | None:
    """What a folder says of its place in a sweep of groups or families; None where that cannot be read."""
    for name in records_in(folder):
        with contextlib.suppress(StoreError, FileNotFoundError):
            return read_json(folder / name, ANEW).get("part_of", "")
    return None


def _parts_say(store: Path, record: dict[str, Any]) -> bool:
    """Whether a group or family that is there says that it is part of the sweep of this record."""
    return any(_place(store / part) == place_of(record, part) for part in parts_in(record))


def _record(parts: Sequence[Part], space: Space) -> dict[str, Any]:
    """What joining needs to know, as plain data."""
    columns = {name: labels_of(v.tolist()) for name, v in (space.points or space.axes).items()}
    listed = {CONFIGURATION: list(range(len(space)))}
    return {
        "axes": listed if space.points else columns,
        "points": columns if space.points else {},
        "rows": [part.rows.tolist() for part in parts],
    }


def _among_all(
    on_chunk: Callable[[xarray.Dataset], object], record: Mapping[str, Any], rows: np.ndarray, seeds: int
) -> Callable[[xarray.Dataset], object]:
    """Tell of a chunk of a group as of one of the whole sweep: its trials, and the hyperparameters of all groups."""
    shape = tuple(map(len, record["axes"].values()))

    def told(chunk: xarray.Dataset) -> object:
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

    return told


def _along_axes(record: Mapping[str, Any]) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    """Name -> (dim, values, attributes) of every axis and hyperparameter."""
    found = {}
    for part, scale in (("axes", scale_of), ("points", spread_of)):
        for name, listed in record[part].items():
            values = np.asarray(listed)
            attributes = {"scale": scale(values)} if values.dtype.kind in "fi" else {}
            found[name] = (name if part == "axes" else CONFIGURATION, values, attributes)
    return found


def _joined(record: Mapping[str, Any], tables: Sequence[xarray.Dataset | None]) -> xarray.Dataset:
    """One table of all groups; those that have none are not run."""
    import xarray

    axes = record["axes"]
    there = [(rows, table) for rows, table in zip(record["rows"], tables, strict=False) if table is not None]
    there = _with_all_rungs(there)
    variables = {name: _variable(name, there, axes) for name in _names(table.data_vars for _, table in there)}
    coordinates: dict[str, Any] = dict(_along_axes(record))
    for name in _names(table.coords for _, table in there):
        if name not in coordinates and name != CONFIGURATION and CONFIGURATION not in _dims(name, there):
            coordinates[name] = _coordinate(name, there, axes)
    attributes = _attributes([table for _, table in there], len(record["rows"]))
    return xarray.Dataset(variables, coordinates, attributes)


def _with_all_rungs(there: list[tuple[Any, xarray.Dataset]]) -> list[tuple[Any, xarray.Dataset]]:
    """The tables with the rungs of all; a group that was interrupted has decided fewer times."""
    rungs = sorted({rung for _, table in there if "rung" in table.coords for rung in table["rung"].values.tolist()})
    return [(rows, table.reindex(rung=rungs) if "rung" in table.dims else table) for rows, table in there]


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
    """A coordinate of all groups: as each has it if all have one, and otherwise over the axes that it depends on."""
    parts = [(rows, table[name].variable) for rows, table in there if name in table.variables]
    first, attributes = parts[0][1], _alike(part.attrs for _, part in parts)
    if len(parts) == len(there) and all(part.equals(first) for _, part in parts):
        return first.dims, first.values, attributes
    repeated = [(rows, np.broadcast_to(part.values, (len(rows), *part.shape))) for rows, part in parts]
    whole = _spread(repeated, axes, np.nan)
    dims = [*axes]
    for axis in axes:
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
    if len(rows) == np.prod(shape, dtype=int):
        whole = np.empty_like(values)
    else:
        countless = values.dtype.kind in "iub" and np.isnan(absent)  # an integer cannot be NaN
        whole = np.full((np.prod(shape, dtype=int), *values.shape[1:]), absent, float if countless else values.dtype)
    whole[rows] = values
    return whole.reshape(*shape, *values.shape[1:])


def _alike(parts: Iterable[Mapping[Any, Any]]) -> dict[str, Any]:
    """The attributes that all say alike."""
    first, *others = map(dict, parts)
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _attributes(tables: Sequence[xarray.Dataset], groups: int) -> dict[str, Any]:
    """What all tables say, as a list in words where they differ, the sum of what they count, and the groups."""
    attributes: dict[str, Any] = {}
    for name in _names(table.attrs for table in tables):
        said = [table.attrs[name] for table in tables if name in table.attrs]
        if name in _ADDED:
            attributes[name] = sum(said)
        elif len(said) == len(tables):
            alike = all(one == said[0] for one in said)
            attributes[name] = said[0] if alike else ", ".join(dict.fromkeys(map(str, said)))
    fingerprints = "".join(table.attrs["fingerprint"] for table in tables)
    attributes["fingerprint"] = hashlib.sha256(fingerprints.encode()).hexdigest()
    attributes["groups"] = groups
    if any("interrupted" in table.attrs for table in tables):
        attributes["interrupted"] = 1
    narrowed = [table.attrs["narrowed_to"] for table in tables if "narrowed_to" in table.attrs]
    return attributes | ({"narrowed_to": min(narrowed)} if narrowed else {})
