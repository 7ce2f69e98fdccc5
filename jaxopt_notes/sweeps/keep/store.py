"""A sweep on disk: a manifest and one NetCDF file per finished chunk, each of which appears whole or not at all.

folder/manifest.json       the layout of the table and the identity of the sweep
folder/chunk-00000.nc      the columns of one chunk, flat along `trial`
folder/carry-00000.npz     the checkpoint of an unfinished chunk, overwritten, removed when the chunk is finished
folder/narrowed.json       the lanes per device that chunks ran with, if memory ran out
folder/rung-00-00000.npz   a chunk of a pruned sweep at a rung, removed when the sweep is finished
folder/decisions.json      what the pruner decided
folder/lock                held while a process writes; lock-0, lock-1, ... while several write a share each

Every file but the locks has a digest, which `_digests` checks before the file is parsed, and names the sweep that it
belongs to, which this module checks. What a folder of several groups or families holds is in `claims`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import mode
from typing import Any

import jax
import numpy as np

from ..._digests import StoreError, read_arrays, read_json, set_aside, write_arrays, write_json
from ..compute.state import State
from ..table.layout import Columns, Layout
from .chunks import read_chunk, widths_there, write_chunk
from .folders import ANEW, holds_results, part_of

FORMAT = 2
SECONDS_TO_LOOK = 10.0  # to wait for another's lock: it is held for a moment, or as long as a sweep runs
_LEAF = "trials."  # before the number of a leaf, whose leading axis is the trial
_POSITION = "position"
_CHUNK = re.compile(r"chunk-(\d{5,})\.nc$")


class Store:
    """The files of one sweep. Opening it reads; `create` and `write` need the lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: Any = None
        self._shared = False
        self._thread: ThreadPoolExecutor | None = None
        self._writes: list[Future[Any]] = []
        self.reported: set[int] = set()  # chunks that workers report as written, which a listing over NFS may lack

    def is_begun(self) -> bool:
        """Whether a sweep was begun here, even if its manifest is gone."""
        return os.path.lexists(self.folder / "manifest.json") or any(self.folder.glob("chunk-*.nc"))

    def manifest(self) -> dict[str, Any]:
        """The manifest on disk."""
        path = self.folder / "manifest.json"
        try:
            found = read_json(path, ANEW)
        except FileNotFoundError:
            if any(self.folder.glob("chunk-*.nc")):
                raise StoreError(f"{self.folder} holds chunks without a manifest; {ANEW}") from None
            raise FileNotFoundError(f"no sweep is stored in {self.folder}: it has no manifest.json") from None
        if found.get("format") != FORMAT:
            raise StoreError(f"{path} has format {found.get('format')}, this version reads {FORMAT}")
        return found

    def layout(self) -> Layout:
        """The layout of the table."""
        return Layout(**self.manifest()["layout"])

    def width(self, repair: bool) -> int:
        """The width of the sweep. With `repair` the manifest may be wrong, so it is the width of most chunks."""
        widths = widths_there(self.folder) if repair else []
        return mode(widths) if widths else self.manifest()["identity"]["width"]

    def lock(self, share: str = "", repair: bool = False) -> None:
        """Become the writer of everything or of one share, and `start`; raise if another process is.

        The operating system releases the lock when this process ends.
        """
        path = self.folder / f"lock{share}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if repair and os.path.lexists(path) and not path.is_file():
                set_aside(path)
            # Its own lock before a look at the others: of two that begin at once each then sees the other, and at worst
            # both give up. In the other order both could pass.
            self._lock = self._acquired(f"lock{share}", 0.0)
        except OSError as error:
            reason = f"a sweep cannot write its store: {error.strerror or error}; open_sweep only reads one"
            raise OSError(error.errno, reason, str(self.folder)) from error
        # A writer of everything and writers of shares exclude each other. Several shares look at one file by turns.
        others = ["lock"] if share else sorted(path.name for path in self.folder.glob("lock-*"))
        try:
            for other in others:
                self._acquired(other, SECONDS_TO_LOOK if share else 0.0).release()
        except StoreError:
            self.close()
            raise
        self._shared = bool(share)
        if not share:  # what a kill left half written; a worker of that process that still writes loses its chunk
            for path in self.folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)
        self.start()

    def start(self) -> None:
        """Open the thread that writes. A worker is given the numbers of its chunks and needs no lock."""
        # One thread, so files are written in the order in which they were given. With two a checkpoint could be written
        # after its chunk, and stay.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    def _acquired(self, name: str, seconds: float) -> Any:
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / name)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            raise StoreError(
                f"another process is writing {self.folder}; wait for it, or read the store with open_sweep"
            ) from None
        return lock

    def create(self, identity: dict[str, Any], layout: Layout, repair: bool = False) -> None:
        """Write the manifest, or compare with the one that is there.

        With `repair` a manifest that cannot be read is set aside. So is one of another sweep if it came from elsewhere:
        its place in a sweep of groups is another one, or there are chunks of this sweep beside it.

        Raises:
            StoreError: the store holds a sweep of another definition; every difference is named.
        """
        path, place = self.folder / "manifest.json", part_of(self.folder)
        there = self._manifest_there(repair)
        if there is not None:
            known = there["identity"]
            changed = [name for name in {**known, **identity} if known.get(name) != identity.get(name)]
            if not changed and there["part_of"] == place:
                return
            if changed and repair and (there["part_of"] != place or self._holds_any(layout)):
                set_aside(path)
            elif changed and (holds_results(self.folder) or self._shared):
                lines = [f"  {name}: {known.get(name)} there, {identity.get(name)} now" for name in changed]
                remedy = f"give width={known['width']}" if changed == ["width"] else "finish it as it was defined"
                hint = f"{self.folder} holds another sweep; {remedy}, or choose another folder"
                raise StoreError("\n".join([hint, *lines]))
            elif changed:  # nothing came of the sweep that is there, as when its first call failed; it makes room
                (self.folder / "narrowed.json").unlink(missing_ok=True)
        write_json(path, {"format": FORMAT, "identity": identity, "layout": layout._asdict(), "part_of": place})

    def _manifest_there(self, repair: bool) -> dict[str, Any] | None:
        path = self.folder / "manifest.json"
        try:
            return self.manifest()
        except FileNotFoundError:
            return None
        except StoreError:
            if not repair:
                raise
            if os.path.lexists(path):
                set_aside(path)
            return None

    def _holds_any(self, layout: Layout) -> bool:
        """Whether there is a chunk of this sweep, finished or not."""
        wrong = dict(self._unreadable_chunks(layout))
        begun = (read_arrays(path, layout.owner) for path in self._begun())
        return any(path not in wrong for path in self.finished().values()) or any(one is not None for one in begun)

    def _begun(self) -> list[Path]:
        return sorted({*self.folder.glob("carry-*.npz"), *self.folder.glob("rung-*.npz")})

    def note_lanes(self, lanes: int) -> None:
        """Record that memory ran out and chunks run with this many lanes."""
        known = self.noted_lanes()
        if known is None or lanes < known:
            self._put(lambda: self._write_note("narrowed.json", lanes=lanes))

    def noted_lanes(self) -> int | None:
        """The fewest lanes that chunks ran with, if fewer than the width."""
        found = self._note("narrowed.json")
        return None if found is None else found["lanes"]

    def finished(self) -> dict[int, Path]:
        """Chunk number to its file."""
        found = ((_CHUNK.match(path.name), path) for path in sorted(self.folder.glob("chunk-*.nc")))
        listed = {int(match[1]): path for match, path in found if match and path == self._path(int(match[1]))}
        reported = {chunk: self._path(chunk) for chunk in self.reported}
        return listed | {chunk: path for chunk, path in reported.items() if os.path.lexists(path)}

    def chunk(self, chunk: int, layout: Layout) -> Columns:
        """The columns of a finished chunk."""
        return read_chunk(self._path(chunk), chunk, layout)

    def write(self, chunk: int, columns: Columns, layout: Layout) -> None:
        """Write a finished chunk in the background; an error of an earlier write is raised here."""
        self._raise_errors()
        self._submit(lambda: self._write(chunk, columns, layout))

    def write_carry(self, chunk: int, saved: State, owner: str) -> None:
        """Write the checkpoint of a chunk, in the background."""
        self._write_arrays(self._carry(chunk), _named(saved), owner)

    def carry(self, chunk: int, owner: str) -> State | None:
        """The checkpoint of a chunk; None if it is missing or cannot be read."""
        file = read_arrays(self._carry(chunk), owner)
        return None if file is None else _state_in(file)

    def write_rung(self, rung: int, chunk: int, columns: Columns, state: State | None, owner: str) -> None:
        """Write what a chunk of a pruned sweep measures at a rung, and its state, in the background."""
        arrays = {f"column.{name}": values for name, values in columns.items()}
        self._write_arrays(self._rung(rung, chunk), arrays if state is None else arrays | _named(state), owner)

    def rung(self, rung: int, chunk: int, owner: str, ends: bool) -> tuple[Columns, State | None] | None:
        """What a chunk measured at a rung and, unless the sweep ends there, its state; None if that is not on disk."""
        file = read_arrays(self._rung(rung, chunk), owner)
        state = None if file is None else _state_in(file)
        if file is None or (state is None and not ends):
            return None
        prefix = "column."
        columns = {name.removeprefix(prefix): values for name, values in file.items() if name.startswith(prefix)}
        return columns, state

    def forget_rungs(self) -> None:
        """Remove what was kept between rungs."""
        self.flush()
        for path in self.folder.glob("rung-*.npz"):
            path.unlink(missing_ok=True)

    def write_decisions(self, decisions: Sequence[Any]) -> None:
        """Write what a pruner decided, before the chunks that follow from it."""
        # At once and not in the background: chunks written later must find their decisions on the disk.
        self._put(lambda: self._write_note("decisions.json", decisions=[list(part) for part in decisions]))

    def decisions(self) -> list[Any] | None:
        """What a pruner decided; None until its last decision."""
        found = self._note("decisions.json")
        return None if found is None else found["decisions"]

    def decisions_with_chunks(self) -> list[Any] | None:
        """The same, required once there are chunks of a pruned sweep, which are written after the decisions.

        Raises:
            StoreError: the decisions cannot be read, or are not there.
        """
        ended = bool(self.finished())
        found = self.decisions()
        if found is None and ended and "prune" in self.layout().attributes:
            raise StoreError(f"{self.folder / 'decisions.json'} is not there, but chunks are; {ANEW}")
        return found

    def _write_note(self, name: str, **values: Any) -> None:
        write_json(self.folder / name, {"format": FORMAT, "owner": self.layout().owner, **values})

    def _note(self, name: str) -> dict[str, Any] | None:
        """The content of a small file beside the manifest; None if there is none."""
        path = self.folder / name
        try:
            found = read_json(path, ANEW)
        except FileNotFoundError:
            return None
        if found.get("owner") != self.layout().owner:
            raise StoreError(f"{path} does not belong to this sweep; {ANEW}")
        return found

    def flush(self) -> None:
        """Wait until everything is on the disk."""
        for write in self._writes:
            write.result()
        self._writes.clear()

    def close(self) -> None:
        """Finish writing, and release the lock."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def unreadable(self, layout: Layout) -> Iterator[tuple[Path, str]]:
        """Files that cannot be read or belong to another sweep, and what is wrong with each.

        Checkpoints are not among them: one that is not sound is ignored, and its chunk begins again.
        """
        yield from self._unreadable_chunks(layout)
        for name, read in (("decisions.json", self.decisions_with_chunks), ("narrowed.json", self.noted_lanes)):
            try:
                read()
            except StoreError as error:
                yield self.folder / name, str(error)
        for path in self._begun():
            if path.is_dir() and not path.is_symlink():  # where a file is to be written
                yield path, f"{path} is a folder; {ANEW}"

    def _unreadable_chunks(self, layout: Layout) -> Iterator[tuple[Path, str]]:
        for chunk, path in self.finished().items():
            try:
                read_chunk(path, chunk, layout)
            except StoreError as error:
                yield path, str(error)

    def _write(self, chunk: int, columns: Columns, layout: Layout) -> None:
        # In this order: a kill in between leaves a checkpoint too many, which is never read, and not a chunk too few.
        write_chunk(self._path(chunk), chunk, columns, layout)
        self._carry(chunk).unlink(missing_ok=True)

    def _write_arrays(self, path: Path, arrays: dict[str, np.ndarray], owner: str) -> None:
        self._submit(lambda: write_arrays(path, arrays, owner))

    def _submit(self, write: Callable[[], object]) -> None:
        assert self._thread is not None
        self._writes.append(self._thread.submit(self._put, write))

    def _put(self, write: Callable[[], object]) -> None:
        """Write, unless the folder was deleted meanwhile: a running sweep continues without its store."""
        if self.folder.is_dir():
            with contextlib.suppress(FileNotFoundError):  # deleted while it was written
                write()

    def _carry(self, chunk: int) -> Path:
        return self.folder / f"carry-{chunk:05}.npz"

    def _rung(self, rung: int, chunk: int) -> Path:
        return self.folder / f"rung-{rung:02}-{chunk:05}.npz"

    def _path(self, chunk: int) -> Path:
        return self.folder / f"chunk-{chunk:05}.nc"

    def _raise_errors(self) -> None:
        for write in [write for write in self._writes if write.done()]:
            self._writes.remove(write)
            write.result()


def kept_width(folder: Path | None, repair: bool, width: Any) -> Any:
    """The width that a store began with, on which floats depend; the requested one if it has not begun.

    It has begun if it, or a group beside it, has results, or if other processes may be writing it.
    """
    if folder is None:
        return width
    whole = folder.parent if folder.name.startswith("group-") else folder
    if not (Store(folder).is_begun() and (holds_results(whole) or jax.process_count() > 1)):
        return width
    try:
        return Store(folder).width(repair)
    except StoreError:
        if not repair:
            raise
        return width  # where it cannot be known any more


def _named(state: State) -> dict[str, np.ndarray]:
    leaves = {f"{_LEAF}{i:03}": leaf for i, leaf in enumerate(state.leaves)}
    position = {_POSITION: np.frombuffer(state.position, np.uint8)} if state.position else {}
    return {"step": np.asarray(state.step), **position, **leaves}


def _state_in(arrays: Mapping[str, np.ndarray]) -> State | None:
    """The state among the arrays of a file; None if there is none, as in files of versions that stored lanes."""
    names = sorted(name for name in arrays if name.startswith(_LEAF))
    position = arrays[_POSITION].tobytes() if _POSITION in arrays else b""
    return State(int(arrays["step"]), [arrays[name] for name in names], position) if names else None
