"""What a folder is for: a sweep of one program, of groups, or of families, as a record that is written before it runs.

On disk a sweep of groups is a folder with `groups.json` and the store of each in `group-000`, `group-001`, ...; one of
families has `families.json` and a folder for each. `folders` only reads them; the store of one program is in `store`.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import jax

from ..._digests import StoreError, read_json, set_aside, write_json
from .extension import extends_groups
from .folders import ANEW, holds_results, is_written, part_of, parts_in, place_of, records_in

FORMAT = 1


def claim(
    store: Path | None, name: str, record: dict[str, Any] | None, repair: bool = False, extend: bool = False
) -> None:
    """Write what a folder is for, or compare with the record that is there. A record without results is replaced.

    With `repair` a record that cannot be read is set aside, and so is one of another kind without results. With
    `extend` a record of groups may have more points than the one there.

    Raises:
        StoreError: the folder holds another sweep.
    """
    if store is None:
        return
    others, path = [other for other in records_in(store) if other != name], store / name
    # Nothing came of what is there and nobody is at work on it, so it may be replaced. Of several processes of
    # `jax.distributed` another one may be about to begin; then nothing is.
    free = not holds_results(store) and not is_written(store) and jax.process_count() == 1
    for other in others:
        if not free and not (repair and _is_stray(store, other, name)):
            raise StoreError(f"{store} holds another kind of sweep, with a {other}; choose another folder")
        if repair:
            set_aside(store / other)
        else:
            (store / other).unlink()
    if record is None:
        return
    # As it will be read again, with lists in place of tuples.
    now = json.loads(json.dumps({"format": FORMAT, **record, "part_of": part_of(store)}))
    there = None if free and path.is_file() else _there(path, repair)
    if there is not None:
        # As text, since the NaN of an absent hyperparameter equals nothing.
        changed = [part for part in {**there, **now} if json.dumps(there.get(part)) != json.dumps(now.get(part))]
        if not changed:
            return
        # A folder that was moved into another sweep, or out of one, is itself unchanged: only its place is written
        # anew.
        if changed != ["part_of"] and not (extend and extends_groups(there, now)):
            if not (repair and ("part_of" in changed or _parts_say(store, now))):
                lines = [f"  {part}: {there.get(part)} there, {now.get(part)} now" for part in changed]
                hint = f"{store} holds another sweep; finish it as it was defined, or choose another folder"
                if extend:
                    hint += " (extend=True adds points of the choices there, and new choices after them)"
                raise StoreError("\n".join([hint, *lines]))
            set_aside(path)
    store.mkdir(parents=True, exist_ok=True)
    write_json(path, now)


def _there(path: Path, repair: bool) -> dict[str, Any] | None:
    """The record that is there; one that cannot be read is set aside with `repair`."""
    try:
        return read_json(path, ANEW)
    except FileNotFoundError:
        return None
    except StoreError:
        if not repair:
            raise
        set_aside(path)
        return None


def _is_stray(store: Path, other: str, name: str) -> bool:
    """Whether the record of another kind must be wrong: the wanted one is there too, or its parts are missing."""
    pattern = {"manifest.json": "chunk-*", "groups.json": "group-*", "families.json": "*/*.json"}[other]
    return os.path.lexists(store / name) or not any(store.glob(pattern))


def place_in(folder: Path) -> str | None:
    """The recorded place of a folder in a sweep of groups or families; None if it cannot be read."""
    for name in records_in(folder):
        with contextlib.suppress(StoreError, FileNotFoundError):
            return read_json(folder / name, ANEW).get("part_of", "")
    return None


def _parts_say(store: Path, record: dict[str, Any]) -> bool:
    """Whether a group or family on disk was recorded as part of the sweep of this record."""
    return any(place_in(store / part) == place_of(record, part) for part in parts_in(record))
