"""How often the test data of a stored sweep were looked at, counted in a file of its folder."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import filelock

from .folders import is_store, whole_of

LOOKS = "test_looks.jsonl"


def counted_look(folder: str | None, what: dict[str, Any]) -> int | None:
    """Note one look at the test data, and return how many there were; None without a store, or if it cannot be written.

    Two looks at the same values count once: what was known before is no new look. Looks at the families of one sweep
    count together, as all of them are chosen from.

    Arguments:
        folder: the folder of the sweep, or of a family or group of it.
        what: what was looked at, as JSON knows it.
    """
    path = None if folder is None else Path(folder)
    if path is None or not path.is_dir() or not is_store(path):
        return None
    whole = whole_of(path)
    if whole != path:
        what, path = {**what, "part": path.relative_to(whole).as_posix()}, whole
    line = json.dumps(what, sort_keys=True, default=str)
    with contextlib.suppress(OSError, filelock.Timeout):
        with filelock.FileLock(path / f".{LOOKS}.lock", timeout=10):
            known = (path / LOOKS).read_text().splitlines() if (path / LOOKS).exists() else []
            if line not in known:
                known.append(line)
                (path / LOOKS).write_text("\n".join(known) + "\n")
        return len(known)
    return None
