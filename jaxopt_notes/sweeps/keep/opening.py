"""`open_sweep`: the table of a stored sweep, as far as it is finished."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._digests import StoreError, read_json
from ...minimize import Status
from ..table.decisions import Decisions, add_decisions
from ..table.joined import joined
from ..table.layout import build_table
from .claims import place_in
from .folders import ANEW, is_store, part_of, parts_in, records_in
from .shelf import Shelf
from .store import Store

if TYPE_CHECKING:
    import xarray


def open_sweep(folder: str | os.PathLike[str]) -> xarray.Dataset:
    """The table of a stored sweep as far as it is finished, even while another process writes it.

    Arguments:
        folder: what was given to `sweep` as `store`.

    Returns:
        The Dataset that `sweep` returns, or the DataTree for several families. Unfinished trials are NaN with status
        -1, and `attrs["trials_finished"]` counts the others.

    Raises:
        FileNotFoundError: no sweep is stored there. StoreError: a file was changed since it was written, belongs to
            another sweep, or cannot be read. It is named; `sweep(..., repair=True)` makes it again.

    Example:
        >>> import tempfile, jaxopt_notes as jon
        >>> valley, folder = jon.problems.quadratic([1.0, 20.0]), tempfile.mkdtemp() + "/valley"
        >>> options = dict(steps=5, store=folder, progress=False)
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01, 0.02]), **options)
        >>> jon.open_sweep(folder).equals(table)
        True
    """
    table = _opened(Path(folder))
    table.encoding["source"] = str(Path(folder).resolve())  # as xarray notes it of files
    return table


def _opened(folder: Path) -> Any:
    records = records_in(folder)
    if len(records) > 1:
        raise StoreError(f"{folder} holds {' and '.join(records)}, and only one can be right; {ANEW}")
    if records and records[0] != "manifest.json":
        return _open_parts(folder, records[0])
    store = Store(folder)
    layout = store.layout()
    shelf = Shelf(layout, 1, store)
    table = build_table(layout, shelf.columns())
    table.attrs["trials_finished"] = int((table["status"] != Status.NOT_RUN).sum())
    decided = store.decisions_with_chunks()
    if decided is not None:
        table = add_decisions(table, Decisions(*decided))
    lanes = store.noted_lanes()
    return table if lanes is None else table.assign_attrs(narrowed_to=lanes)


def _open_parts(folder: Path, name: str) -> Any:
    """The table or tree of a stored sweep of groups or families, whose record has this name."""
    import xarray

    record = read_json(folder / name, ANEW)
    parts = {part: folder / part for part in parts_in(record)}
    begun = [part for part, path in parts.items() if is_store(path) or any(path.rglob("chunk-*.nc"))]
    for path in sorted({manifest.parent for manifest in folder.glob("*/*.json")}):
        place = place_in(path)  # None of one that cannot be read, which opening it will report
        if (place or (place == "" and path.name in parts)) and place != part_of(path):
            raise StoreError(f"{path} is no part of the sweep in {folder}, or {name} is another's; {ANEW}")
    if "families" in record:
        if not begun:
            raise FileNotFoundError(f"no family of the sweep in {folder} has begun")
        return xarray.DataTree.from_dict({part: open_sweep(parts[part]) for part in begun})
    if not begun:
        raise FileNotFoundError(f"no group of the sweep in {folder} has begun")
    return joined(record, [open_sweep(path) if part in begun else None for part, path in parts.items()])
