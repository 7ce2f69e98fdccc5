"""What tables need is imported while programs compile.

Importing xarray takes some tenths of a second, and more than twice as long where dask is installed, which xarray looks
for when it makes its first array. XLA compiles outside of Python's lock, so the import can use another core meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading

import numpy as np


@functools.cache
def import_tables() -> threading.Thread:
    """Begin to import what tables need, once, in a thread of its own; the thread."""
    # A daemon, so that a script that fails does not wait for it.
    thread = threading.Thread(target=_import, name="import xarray", daemon=True)
    thread.start()
    # A child would inherit the lock of a module whose import no thread of its own finishes.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=thread.join)
    return thread


def _import() -> None:
    # What fails here fails again where the table is made, and is raised there.
    with contextlib.suppress(Exception):
        import xarray

        xarray.Dataset({"loss": ("step", np.zeros(1))})
