"""Tables on disk: NetCDF files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import write_whole

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
    return write_whole(Path(path), lambda temporary: table.to_netcdf(temporary, engine="h5netcdf"))
