"""What a folder holds (a sweep of one program, of groups or of families), and the sweep that it is a part of.

Questions only, which change nothing on disk; `claims` writes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..._digests import StoreError, digest_of, read_json

RECORDS = ("manifest.json", "groups.json", "families.json")
ANEW = "sweep(..., repair=True) sets it aside and writes it again"


def records_in(folder: Path) -> list[str]:
    """The records in a folder; a sound one has one."""
    return [name for name in RECORDS if os.path.lexists(folder / name)]


def is_store(folder: Path) -> bool:
    """Whether a sweep is stored in a folder, of one program or of several."""
    return bool(records_in(folder))


def holds_results(folder: Path) -> bool:
    """Whether a folder, or one inside it, has anything that a sweep computed."""
    return any(True for pattern in ("chunk-*", "carry-*", "rung-*", "decisions.json") for _ in folder.rglob(pattern))


def is_written(folder: Path) -> bool:
    """Whether a process is writing a sweep in a folder or in one inside it."""
    from filelock import FileLock, Timeout

    for path in folder.rglob("lock*"):
        try:
            # Lock files outlive their processes, so only trying shows whether one is held. It is given back at once.
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            return True
        except OSError:  # no permission to write here, which writing will report
            return False
    return False


def part_of(folder: Path) -> str:
    """A digest of a folder's place in a sweep of groups or families; empty for a sweep of its own."""
    for name in RECORDS[1:]:
        try:
            record = read_json(folder.parent / name, ANEW)
        except (StoreError, OSError):  # another's file of this name, or none
            continue
        if folder.name in parts_in(record):
            return place_of(record, folder.name)
    return ""


def whole_of(folder: Path) -> Path:
    """The folder of the whole sweep that a folder is, or is a part of."""
    while part_of(folder):
        folder = folder.parent
    return folder


def place_of(record: dict[str, Any], part: str) -> str:
    """A digest of a part and the record of the sweep of groups or families that it belongs to."""
    return digest_of({"record": record, "part": part})


def parts_in(record: dict[str, Any]) -> list[str]:
    """The names of the folders of the groups or families of a record."""
    return record["families"] if "families" in record else [f"group-{i:03}" for i in range(len(record["rows"]))]
