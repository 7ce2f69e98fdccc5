"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file, flush it to the disk, and rename it to `path`; folders are made.

    Raises:
        OSError: it cannot be written, as of a full disk or a read-only folder; the file is named, and nothing is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")  # nobody else's, on whatever machine
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # What HDF5 raises has the number of the system's error, but no file name.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno or errno.EIO, f"{reason}, so this file was not written", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
