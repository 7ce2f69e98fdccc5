"""Sweeps of several programs: each group and each family runs as a sweep of its own, and their tables are joined.

On disk a sweep of groups is a folder with `groups.json` and the store of each in `group-000`, `group-001`, ...; one of
families has `families.json` and a folder for each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._files import write_whole
from .._numerics import scale_of
from .choices import Part, labels_of
from .layout import NOT_RUN, spread_of
from .select import FAMILY
from .space import CONFIGURATION, Space
from .store import StoreError, holds_results, is_written

if TYPE_CHECKING:
    import xarray

_ADDED = ("segment_programs", "wall_seconds", "trials_finished")
_FILES = ("manifest.json", "groups.json", "families.json")


def sweep_parts(
    sweep: Callable[..., xarray.Dataset], parts: Sequence[Part], space: Any, store: Path | None, options: Any
) -> xarray.Dataset:
    """Run every group with `sweep`, and join the tables; after an interruption the other groups are left out."""
    record = _record(parts, space)
    claim(store, "groups.json", record)
    tables: list[xarray.Dataset] = []
    for i, part in enumerate(parts):
        folder = None if store is None else store / f"group-{i:03}"
        tables.append(
            sweep(part.problem, part.optimizer, part.space, batch_size=part.batch_size, store=folder, **options)
        )
        if "interrupted" in tables[-1].attrs:
            break
    return _joined(record, tables)


def sweep_families(
    sweep: Callable[..., xarray.Dataset], problem: Any, families: Mapping[str, Any], store: Path | None, options: Any
) -> xarray.DataTree:
    """Run every family with `sweep`; the tables become the children of a tree."""
    import xarray

    pairs = dict(check_families(families))
    claim(store, "families.json", {"families": list(pairs)})
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


def open_joined(folder: Path, open_one: Callable[[Path], xarray.Dataset]) -> Any:
    """The table or tree of a stored sweep of groups or families; None if the folder holds neither."""
    import xarray

    if (folder / "families.json").exists():
        names = _read(folder / "families.json")["families"]
        return xarray.DataTree.from_dict({name: open_one(folder / name) for name in names if begun(folder / name)})
    if not (folder / "groups.json").exists():
        return None
    record = _read(folder / "groups.json")
    groups = [folder / f"group-{i:03}" for i in range(len(record["rows"]))]
    found = [open_one(group) if begun(group) else None for group in groups]
    if not any(table is not None for table in found):
        raise FileNotFoundError(f"no group of the sweep in {folder} has begun")
    return _joined(record, found)


def claim(store: Path | None, name: str, record: dict[str, Any] | None) -> None:
    """Write what a folder holds, or compare with what is there; a sweep of which nothing came makes room.

    Raises:
        StoreError: the folder holds another sweep.
    """
    if store is None:
        return
    others = [other for other in _FILES if other != name and (store / other).exists()]
    path = store / name
    free = not holds_results(store) and not is_written(store) and jax.process_count() == 1
    if others and not free:
        raise StoreError(f"{store} holds another kind of sweep, with a {others[0]}; choose another folder")
    for other in others:
        (store / other).unlink()
    if record is None:
        return
    if path.exists() and not free:
        there, now = _read(path), json.loads(json.dumps(record))
        # As text, since the NaN of an absent hyperparameter equals nothing.
        changed = [part for part in {**there, **now} if json.dumps(there.get(part)) != json.dumps(now.get(part))]
        if changed:
            lines = [f"  {part}: {there.get(part)} there, {now.get(part)} now" for part in changed]
            hint = f"{store} holds another sweep; finish it as it was defined, or choose another folder"
            raise StoreError("\n".join([hint, *lines]))
        return
    store.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: temporary.write_text(json.dumps(record, indent=1)))


def _record(parts: Sequence[Part], space: Space) -> dict[str, Any]:
    """What joining needs to know, as plain data."""
    columns = {name: labels_of(v.tolist()) for name, v in (space.points or space.axes).items()}
    listed = {CONFIGURATION: list(range(len(space)))}
    return {
        "axes": listed if space.points else columns,
        "points": columns if space.points else {},
        "rows": [part.rows.tolist() for part in parts],
    }


def _joined(record: Mapping[str, Any], tables: Sequence[xarray.Dataset | None]) -> xarray.Dataset:
    """One table of all groups; those that have none are not run."""
    import xarray

    axes, points = record["axes"], record["points"]
    shape = tuple(map(len, axes.values()))
    there = [(rows, table) for rows, table in zip(record["rows"], tables, strict=False) if table is not None]
    first = there[0][1]
    variables = {}
    for name in dict.fromkeys(name for _, table in there for name in table.data_vars):
        like = next(table[name] for _, table in there if name in table)
        whole = np.full((int(np.prod(shape)), *like.shape[1:]), NOT_RUN.get(str(name), np.nan), like.dtype)
        for rows, table in there:
            if name in table:
                whole[rows] = table[name].values
        variables[name] = ((*axes, *like.dims[1:]), whole.reshape(*shape, *like.shape[1:]), like.attrs)
    coordinates: dict[str, Any] = {axis: np.asarray(values) for axis, values in axes.items()}
    coordinates |= {name: (CONFIGURATION, np.asarray(values)) for name, values in points.items()}
    for name, values in first.coords.items():
        # Of `epoch` and `examples_seen` there are several where the batch size is an axis.
        if CONFIGURATION not in values.dims and all(table[name].equals(values) for _, table in there if name in table):
            coordinates.setdefault(str(name), values.variable)
    joined = xarray.Dataset(variables, coordinates, _attributes([table for _, table in there], len(record["rows"])))
    for name in points or axes:
        values = joined[name].values
        if values.dtype.kind in "fi":
            joined[name].attrs["scale"] = (spread_of if points else scale_of)(values)
    return joined


def _attributes(tables: Sequence[xarray.Dataset], groups: int) -> dict[str, Any]:
    """What all tables say alike, the sum of what they count, and the groups."""
    first = tables[0].attrs
    attributes = {name: v for name, v in first.items() if all(table.attrs.get(name) == v for table in tables)}
    for name in _ADDED:
        if name in first:
            attributes[name] = sum(table.attrs[name] for table in tables if name in table.attrs)
    fingerprints = "".join(table.attrs["fingerprint"] for table in tables)
    attributes["fingerprint"] = hashlib.sha256(fingerprints.encode()).hexdigest()
    attributes["groups"] = groups
    if any("interrupted" in table.attrs for table in tables):
        attributes["interrupted"] = 1
    narrowed = [table.attrs["narrowed_to"] for table in tables if "narrowed_to" in table.attrs]
    if narrowed:
        attributes["narrowed_to"] = min(narrowed)
    if "width" not in attributes:
        attributes["width"] = ", ".join(str(table.attrs["width"]) for table in tables)
    return attributes


def begun(folder: Path) -> bool:
    """Whether a sweep is stored in a folder, of whatever kind."""
    return any((folder / name).exists() for name in _FILES)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise StoreError(f"{path} cannot be read ({error}); move it away to start anew") from None
