"""Tables as NetCDF files, whose every column is read back as it was: dtypes that files lack are stored as others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._columns import DTYPE, KEY_IMPL, is_extension, is_key, restored, stored

if TYPE_CHECKING:
    import xarray

_MARKS = {DTYPE: "restore_dtype", KEY_IMPL: "restore_key_impl"}  # in a file; a table may have the others itself


def open_table(path: str | os.PathLike[str]) -> xarray.Dataset | xarray.DataTree:
    """The table in a file that `save` wrote, in memory, every column as it was.

    `xarray.open_dataset` reads these files too; there columns of bfloat16, float8 and int4 are float32 and int8, and
    random keys are integers.

    Arguments:
        path: the NetCDF file.

    Returns:
        The Dataset, or the DataTree of a file that holds several.

    Raises:
        FileNotFoundError, OSError: there is no such file, or it is no NetCDF file. IsADirectoryError: it is a folder.

    Example:
        >>> import tempfile, jax.numpy as jnp, xarray, jaxopt_notes as jon
        >>> table = xarray.Dataset({"weight": ("entry", jnp.ones(3, jnp.bfloat16))})
        >>> jon.open_table(jon.save(table, tempfile.mkdtemp() + "/weights.nc")).weight.dtype.name
        'bfloat16'
    """
    import xarray

    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; open_sweep reads a stored sweep")
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        tables = {node.path: _decoded(node.to_dataset(inherit=False).load()) for node in tree.subtree}
    return tables["/"] if len(tables) == 1 else xarray.DataTree.from_dict(tables)


def encoded(table: xarray.Dataset | xarray.DataTree) -> xarray.Dataset | xarray.DataTree:
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
    """Refuse what a file would hold as something else: None and numbers among texts, say."""
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
