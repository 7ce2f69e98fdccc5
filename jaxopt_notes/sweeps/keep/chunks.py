"""A chunk of trials as a NetCDF file that names its content, which is checked before it is used.

One file is the concern here; which files a store has is in `store`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ..._digests import StoreError, open_digested, write_digested
from ..table.layout import Columns, Layout

REPAIR = "sweep(..., repair=True) sets it aside and runs its trials again"


def write_chunk(path: Path, chunk: int, columns: Columns, layout: Layout) -> None:
    """Write the columns of a chunk, with its number, its trials, and the fingerprint of the sweep."""
    import h5netcdf

    # In memory first: a file that HDF5 cannot finish, as on a full disk, stays open there and later ends the process.
    whole = io.BytesIO()
    with h5netcdf.File(whole, "w") as file:
        trials = len(columns["status"])
        file.dimensions = {"trial": trials}
        file.attrs.update({**_labels(chunk, layout), "trials": trials})
        for name, column in columns.items():
            inner = [f"{name}_{axis}" for axis in range(column.ndim - 1)]
            for dimension, size in zip(inner, column.shape[1:], strict=True):
                file.dimensions[dimension] = size
            file.create_variable(name, ("trial", *inner), data=column)
    # Not `getbuffer`: a view that an error keeps alive is one that Python 3.13 complains of when it frees the memory.
    write_digested(path, lambda temporary: temporary.write_bytes(whole.getvalue()))


def read_chunk(path: Path, chunk: int, layout: Layout) -> Columns:
    """The columns of a chunk.

    Raises:
        StoreError: the file cannot be read, or holds anything but this chunk of this sweep.
    """
    import h5py

    try:
        with open_digested(path, REPAIR) as opened, h5py.File(opened, "r") as file:
            labels = _labels(chunk, layout)
            there = {name: np.asarray(file.attrs[name]).item() for name in labels}  # HDF5 makes arrays of numbers
            # Apart from the other labels, since a sound file of another sweep should not be reported as unreadable.
            if there["fingerprint"] != labels["fingerprint"]:
                raise StoreError(f"{path} does not belong to this sweep; {REPAIR}")
            if there != labels:
                raise ValueError(f"it holds chunk {there['chunk']} of width {there['width']}")
            columns = {name: _declared(file, name, layout, len(layout.trials_of(chunk))) for name in layout.columns}
            return {name: variable[()] for name, variable in columns.items()}
    except FileNotFoundError:
        raise StoreError(f"{path} cannot be read (it is not there); {REPAIR}") from None


def widths_there(folder: Path) -> list[int]:
    """The widths that the chunks in a folder were written with, of those that can be read."""
    import h5py

    widths = []
    for path in sorted(folder.glob("chunk-*.nc")):
        try:
            with open_digested(path, REPAIR) as opened, h5py.File(opened, "r") as file:
                widths.append(np.asarray(file.attrs["width"]).item())
        except (StoreError, FileNotFoundError):
            continue
    return widths


def _labels(chunk: int, layout: Layout) -> dict[str, Any]:
    """The labels of a chunk's file, which a reader compares."""
    width, fingerprint = (layout.attributes[name] for name in ("width", "fingerprint"))
    return {"chunk": chunk, "width": width, "first": chunk * width, "fingerprint": fingerprint}


def _declared(file: Any, name: str, layout: Layout, trials: int) -> Any:
    """The variable of a column, which has the layout's shape and dtype, so that nothing larger is made.

    Raises:
        ValueError: there is none, it is elsewhere, or another than the layout's.
    """
    check_here(file, name)
    variable, (shape, dtype) = file[name], layout.columns[name]
    declared = tuple(getattr(variable, of, None) for of in ("shape", "dtype"))
    if declared != ((trials, *shape), np.dtype(dtype)):
        raise ValueError(f"its column {name!r} has shape {declared[0]} and dtype {declared[1]}")
    return variable


def check_here(group: Any, name: str) -> None:
    """Refuse a member that HDF5 would read from elsewhere.

    Raises:
        ValueError: there is none of this name, it is a link, or its values are stored in other files.
    """
    import h5py

    # HDF5 follows links into other files, and no digest of this file covers what stands there.
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"its {name!r} is missing or a link")
    member = group[name]
    if isinstance(member, h5py.Dataset) and (member.is_virtual or member.external):
        raise ValueError(f"its {name!r} is stored elsewhere")
