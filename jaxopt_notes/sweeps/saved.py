"""Tables as NetCDF files with a digest: `save` and `load`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._digests import open_digested, write_digested
from .chunks import check_here

if TYPE_CHECKING:
    import xarray

_FIX = "only another copy helps; xarray.open_dataset reads what there is, unchecked"


def save(table: xarray.Dataset | xarray.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a table as a NetCDF file with a digest, which `load` checks; other programs open it as any other.

    The file is made in memory, written under a temporary name, flushed to the disk and renamed, so nobody ever reads
    half of it.

    Arguments:
        table: from `sweep`, or any other Dataset.
        path: the file; folders are made.

    Returns:
        The path written.

    Raises:
        OSError: the file cannot be written, as of a full disk; nothing is there then. TypeError: it is no table.

    Example:
        >>> import tempfile, jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01]), steps=5, progress=False)
        >>> jon.save(table, tempfile.mkdtemp() + "/valley.nc").name
        'valley.nc'
    """
    if not hasattr(table, "to_netcdf"):
        raise TypeError(f"table must be an xarray.Dataset or DataTree, got {type(table).__name__}")
    # In memory first, as chunks are: a file that HDF5 cannot finish stays open there and later ends the process.
    whole = table.to_netcdf(None, engine="h5netcdf")
    return write_digested(Path(path), lambda temporary: temporary.write_bytes(whole))


def load(path: str | os.PathLike[str]) -> Any:
    """Read a table that `save` wrote, after its digest was checked.

    A file without a digest, as other programs and earlier versions write it, is read with a warning.

    Arguments:
        path: the file.

    Returns:
        The Dataset, or the DataTree of a file with groups, in memory.

    Raises:
        FileNotFoundError: there is no such file. StoreError: it was changed since it was written, or cannot be read;
            it is named.

    Example:
        >>> import tempfile, jaxopt_notes as jon
        >>> valley, path = jon.problems.quadratic([1.0, 20.0]), tempfile.mkdtemp() + "/valley.nc"
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01]), steps=5, progress=False)
        >>> jon.load(jon.save(table, path)).equals(table)
        True
    """
    import h5py
    import xarray

    with open_digested(Path(path), _FIX, bare=True) as opened:
        with h5py.File(opened, "r") as file:
            _check_all(file)
        opened.seek(0)
        with xarray.open_datatree(opened, engine="h5netcdf") as tree:
            tree.load()
        return tree if tree.children else tree.to_dataset()


def _check_all(group: Any, around: frozenset[Any] = frozenset()) -> None:
    """Refuse what HDF5 would read from elsewhere, and groups that hold themselves.

    Raises:
        ValueError: there is such a member.
    """
    import h5py

    for name in group:
        check_here(group, name)
        if isinstance(group[name], h5py.Group):
            if group[name] in {*around, group}:
                raise ValueError(f"its group {name!r} holds itself")
            _check_all(group[name], around | {group})
