"""`save` and `load`: whole tables as NetCDF files with a digest, every column read back as it was.

Here and not in `table`, which knows no files: a table is checked for links into other files as a chunk is.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._columns import DTYPE, KEY_IMPL, is_extension, is_key, restored, stored
from ..._digests import StoreError, open_digested, write_digested
from .chunks import check_here

if TYPE_CHECKING:
    import xarray

_MARKS = {DTYPE: "restore_dtype", KEY_IMPL: "restore_key_impl"}  # in a file; a table may have the others itself
_FIX = "only another copy helps; xarray.open_dataset reads what there is, unchecked"


def save(table: xarray.Dataset | xarray.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write a table as a NetCDF file with a digest, which `load` checks and reads back exactly.

    Other programs open it like any NetCDF file. They see bfloat16 and float8 as float32, int4 as int8, and random keys
    as integers.

    The file is made in memory, written under a temporary name, flushed to the disk and renamed, so half of it
    is never read.

    Arguments:
        table: from `sweep`, or any other Dataset.
        path: the file; folders are made.

    Returns:
        The path written.

    Raises:
        OSError: the file cannot be written, for example because the disk is full; no part of it is left. TypeError: not
            a table, or a column that a file cannot hold exactly, which is named.

    Example:
        >>> import tempfile, jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01]), steps=5, progress=False)
        >>> jon.save(table, tempfile.mkdtemp() + "/valley.nc").name
        'valley.nc'
    """
    if not hasattr(table, "to_netcdf"):
        way = ": pass its to_dataset()" if hasattr(table, "to_dataset") else ""
        raise TypeError(f"table must be an xarray.Dataset or DataTree, got {type(table).__name__}{way}")
    # In memory first, as chunks are: a file that HDF5 cannot finish stays open there and later ends the process.
    whole = io.BytesIO()
    _all_encoded(table).to_netcdf(whole, engine="h5netcdf")
    return write_digested(Path(path), lambda temporary: temporary.write_bytes(whole.getvalue()))


def load(path: str | os.PathLike[str]) -> Any:
    """Read a table that `save` wrote, every column as it was, after its digest was checked.

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

    path = Path(path)
    if path.is_dir():
        raise StoreError(
            f"{path} cannot be read (it is not a regular file but a folder); open_sweep reads a stored sweep"
        )
    with open_digested(path, _FIX, bare=True) as opened:
        with h5py.File(opened, "r") as file:
            _check_all(file)
        opened.seek(0)
        with xarray.open_datatree(opened, engine="h5netcdf") as tree:
            tables = {node.path: _decoded(node.to_dataset(inherit=False).load()) for node in tree.subtree}
    return tables["/"] if len(tables) == 1 else xarray.DataTree.from_dict(tables)


def _check_all(group: Any, around: frozenset[Any] = frozenset()) -> None:
    """Refuse what HDF5 would read from elsewhere, and groups that hold themselves.

    Raises:
        ValueError: there is such a member.
    """
    import h5py

    for name in group:
        check_here(group, name)
        if isinstance(group[name], h5py.Group):
            # A hard link may lead back up, and walking down would not end.
            if group[name] in {*around, group}:
                raise ValueError(f"its group {name!r} holds itself")
            _check_all(group[name], around | {group})


def _all_encoded(table: xarray.Dataset | xarray.DataTree) -> xarray.Dataset | xarray.DataTree:
    """The table with columns that NetCDF files hold.

    Raises:
        TypeError: a column that they cannot hold value for value; it is named.
    """
    import xarray

    if isinstance(table, xarray.Dataset):
        return _encoded(table)
    parts = {node.path: _encoded(node.to_dataset(inherit=False)) for node in table.subtree}
    return xarray.DataTree.from_dict(parts, name=table.name)


def _encoded(table: xarray.Dataset) -> xarray.Dataset:
    changed: dict[Any, Any] = {}
    for name, variable in table.variables.items():
        _check_column(name, variable)
        if is_key(variable.data) or is_extension(variable.dtype):
            values, marks = stored(variable.data)
            words = [f"{name}_words"] * (values.ndim - variable.ndim)
            named = {_MARKS[mark]: text for mark, text in marks.items()}
            changed[name] = ((*variable.dims, *words), values, variable.attrs | named)
    # Nor as the file it came from was encoded, such as in a narrower dtype.
    return table.drop_encoding().assign(changed)


def _decoded(table: xarray.Dataset) -> xarray.Dataset:
    changed: dict[Any, Any] = {}
    for name, variable in table.variables.items():
        marks = {mark: variable.attrs[attribute] for mark, attribute in _MARKS.items() if attribute in variable.attrs}
        if marks:
            values = restored(variable.values, marks)
            kept = {name: value for name, value in variable.attrs.items() if name not in _MARKS.values()}
            changed[name] = (variable.dims[: values.ndim], values, kept)
    return table.drop_encoding().assign(changed)


def _check_column(name: Any, variable: xarray.Variable) -> None:
    """Refuse a column that a file would change, such as one that mixes texts with None or numbers."""
    if is_key(variable.data) or is_extension(variable.dtype) or variable.dtype.kind not in "VO":
        return
    if variable.dtype.kind == "V":
        raise TypeError(f"column {name!r} has dtype {variable.dtype}, which NetCDF files cannot hold: save its fields")
    kinds = {type(value).__name__ for value in variable.values.ravel()}
    if len(kinds) > 1 or not kinds <= {"str", "bytes", "bool", "int", "float"}:
        raise TypeError(
            f"column {name!r} holds objects ({', '.join(sorted(kinds))}), which NetCDF files cannot; give it one "
            f"dtype, for example table[{name!r}].astype(str)"
        )
