"""Tables on disk: NetCDF files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray


def save(table: xarray.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a table as a NetCDF file, which `xarray.open_dataset(path)` reads back.

    The file is written under a temporary name, flushed to the disk and renamed, so nobody ever reads half of it.

    Arguments:
        table: from `sweep`.
        path: the file; folders are made.

    Returns:
        The path written.

    Raises:
        OSError: the folder cannot be written.

    Example:
        >>> import tempfile, jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01]), steps=5, progress=False)
        >>> jon.save(table, tempfile.mkdtemp() + "/valley.nc").name
        'valley.nc'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        table.to_netcdf(temporary, engine="h5netcdf")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
