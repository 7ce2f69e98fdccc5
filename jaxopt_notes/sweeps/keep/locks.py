"""The lock of a store: one writer of everything, or several of a share each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..._digests import StoreError, set_aside

SECONDS_TO_LOOK = 10.0  # to wait for another's lock: it is held for a moment, or as long as a sweep runs


def locked(folder: Path, share: str, repair: bool) -> Any:
    """The lock of a writer of everything, or of one share, which the operating system releases when this process ends.

    Raises:
        StoreError: another process is writing. OSError: the folder cannot be written.
    """
    path = folder / f"lock{share}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if repair and os.path.lexists(path) and not path.is_file():
            set_aside(path)
        # Its own lock before a look at the others: of two that begin at once each then sees the other, and at worst
        # both give up. In the other order both could pass.
        lock = _acquired(folder, f"lock{share}", 0.0)
    except OSError as error:
        reason = f"a sweep cannot write its store: {error.strerror or error}; open_sweep only reads one"
        raise OSError(error.errno, reason, str(folder)) from error
    # A writer of everything and writers of shares exclude each other. Several shares look at one file by turns.
    others = ["lock"] if share else sorted(path.name for path in folder.glob("lock-*"))
    try:
        for other in others:
            _acquired(folder, other, SECONDS_TO_LOOK if share else 0.0).release()
    except StoreError:
        lock.release()
        raise
    return lock


def _acquired(folder: Path, name: str, seconds: float) -> Any:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise StoreError(
            f"another process is writing {folder}; wait for it, or read the store with open_sweep"
        ) from None
    return lock
