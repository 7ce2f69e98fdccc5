"""A sweep on disk: a manifest and one NetCDF file per finished chunk, written whole or not at all.

folder/manifest.json       the layout of the table and the identity of the sweep
folder/chunk-00000.nc      the columns of one chunk, flat along `trial`
folder/carry-00000.npz     the checkpoint of an unfinished chunk, overwritten, removed when the chunk is finished
folder/end-00000.npz       the states of a chunk's trials at their ends, if the sweep keeps them
folder/generation-1/       the same of a sweep that was extended (`extension`)
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
from collections.abc import Callable, Iterator, Sequence
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
from .extension import LEAF, POSITION, Generation, IdentityOf, check_extends, extended, state_in
from .folders import ANEW, holds_results, part_of
from .locks import locked

FORMAT = 2
_CHUNK = re.compile(r"chunk-(\d{5,})\.nc$")


class Store:
    """The files of one sweep. Opening it reads; `create` and `write` need the lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: Any = None
        self._shared = False
        self._thread: ThreadPoolExecutor | None = None
        self._writes: list[Future[Any]] = []
        self._generation: Generation | None = None
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

    @property
    def generation(self) -> Generation:
        """The files of the sweep, as its manifest has them."""
        if self._generation is None:
            self._generation = Generation(self.folder, self.manifest())
        return self._generation

    @property
    def files(self) -> Path:
        """The folder of the chunks; that of the store itself unless the sweep was extended."""
        try:
            return self.generation.folder
        except (StoreError, FileNotFoundError):
            return self.folder

    def layout(self) -> Layout:
        """The layout of the table."""
        return Layout(**self.manifest()["layout"])

    def known(self) -> Columns:
        """The columns of the trials that were finished before the sweep was extended."""
        return self.generation.known()

    def begin(self, chunk: int, owner: str) -> State | None:
        """The state from which a chunk continues: its checkpoint, or where an earlier sweep ended."""
        return self.carry(chunk, owner) or self.generation.begin(chunk)

    def write_end(self, chunk: int, end: State, owner: str) -> None:
        """Write the states of a chunk's trials at their ends, in the background; before the chunk itself."""
        self._write_arrays(self.generation.end(chunk), _named(end), owner)

    def width(self, repair: bool) -> int:
        """The width of the sweep. With `repair` the manifest may be wrong, so it is the width of most chunks."""
        widths = widths_there(self.folder) if repair else []
        return mode(widths) if widths else self.manifest()["identity"]["width"]

    def lock(self, share: str = "", repair: bool = False) -> None:
        """Become the writer of everything or of one share, and `start`; raise if another process is.

        The operating system releases the lock when this process ends.
        """
        self._lock = locked(self.folder, share, repair)
        self._shared = bool(share)
        if not share:  # what a kill left half written; a worker of that process that still writes loses its chunk
            for path in self.folder.rglob(".*.tmp"):
                path.unlink(missing_ok=True)
        self.start()

    def start(self) -> None:
        """Open the thread that writes. A worker is given the numbers of its chunks and needs no lock."""
        # One thread, so files are written in the order in which they were given. With two a checkpoint could be written
        # after its chunk, and stay.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    def create(
        self, identity: dict[str, Any], layout: Layout, repair: bool = False, earlier: IdentityOf | None = None
    ) -> Layout:
        """Write the manifest, or compare with the one that is there; returns the layout of the store.

        With `repair` a manifest that cannot be read is set aside. So is one of another sweep if it came from elsewhere:
        its place in a sweep of groups is another one, or there are chunks of this sweep beside it. With `earlier`, the
        identity of this sweep with some seeds and fewer steps, the one that is there may be extended.

        Raises:
            StoreError: the store holds a sweep of another definition; every difference is named.
        """
        path, place = self.folder / "manifest.json", part_of(self.folder)
        record = {"format": FORMAT, "identity": identity, "layout": layout._asdict(), "part_of": place}
        there = self._manifest_there(repair)
        if there is not None:
            known = there["identity"]
            changed = [name for name in {**known, **identity} if known.get(name) != identity.get(name)]
            lost = self._set_earlier_aside() if repair and not changed else False
            if not changed and not lost:
                record = {**there, "part_of": place}
            elif lost:
                record = self._extended(record, layout)
            elif repair and (there["part_of"] != place or self._holds_any(layout)):
                set_aside(path)
            elif earlier is not None and holds_results(self.folder):
                check_extends(self.generation, identity, layout, earlier, self.folder)
                self._check_chunks(repair)
                record = self._extended(record, layout)
            elif holds_results(self.folder) or self._shared:
                lines = [f"  {name}: {known.get(name)} there, {identity.get(name)} now" for name in changed]
                remedy = f"give width={known['width']}" if changed == ["width"] else "finish it as it was defined"
                hint = f"{self.folder} holds another sweep; {remedy}, or choose another folder"
                if "seeds" in changed or "axes" in changed or "steps" in changed:
                    hint += " (extend=True adds seeds, points or steps to what is there)"
                raise StoreError("\n".join([hint, *lines]))
            else:  # the sweep there has no result, as when its first call failed, so this one may take the folder
                (self.files / "narrowed.json").unlink(missing_ok=True)
        if record != there:
            write_json(path, record)
            self._generation = None
        self.files.mkdir(exist_ok=True)
        stored = self.generation.layout
        return layout._replace(order=stored.order, known=stored.known, begun=stored.begun)

    def _extended(self, record: dict[str, Any], layout: Layout) -> dict[str, Any]:
        """The manifest of a sweep that has the finished trials of the one there."""
        there = self.generation
        larger, trials = extended(there, layout)
        number = there.number + 1
        while os.path.lexists(self.folder / f"generation-{number}"):  # of a store whose manifest was lost
            number += 1
        earlier = {"manifest": there.manifest, "trials": trials}
        return {**record, "layout": larger._asdict(), "generation": number, "earlier": earlier}

    def _check_chunks(self, repair: bool) -> None:
        """Refuse to build on a chunk that cannot be read; with `repair` it is set aside."""
        for path, reason in self._unreadable_chunks(self.generation.layout):
            if not repair:
                raise StoreError(reason)
            set_aside(path)

    def _set_earlier_aside(self) -> bool:
        """Set chunks of earlier generations aside that cannot be read; returns whether there were any."""
        wrong = self.generation.unreadable()
        for path in wrong:
            set_aside(path)
        return bool(wrong)

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
        return sorted({*self.files.glob("carry-*.npz"), *self.files.glob("rung-*.npz")})

    def note_lanes(self, lanes: int) -> None:
        """Record that memory ran out and chunks run with this many lanes."""
        known = self.noted_lanes()
        if known is None or lanes < known:
            self._put(lambda: self._write_note("narrowed.json", lanes=lanes))

    def noted_lanes(self) -> int | None:
        """The fewest lanes that chunks ran with, if fewer than the width."""
        found = self._note("narrowed.json")
        return self.generation.lanes() if found is None else found["lanes"]

    def finished(self) -> dict[int, Path]:
        """Chunk number to its file."""
        found = ((_CHUNK.match(path.name), path) for path in sorted(self.files.glob("chunk-*.nc")))
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
        return None if file is None else state_in(file)

    def write_rung(self, rung: int, chunk: int, columns: Columns, state: State | None, owner: str) -> None:
        """Write what a chunk of a pruned sweep measures at a rung, and its state, in the background."""
        arrays = {f"column.{name}": values for name, values in columns.items()}
        self._write_arrays(self._rung(rung, chunk), arrays if state is None else arrays | _named(state), owner)

    def rung(self, rung: int, chunk: int, owner: str, ends: bool) -> tuple[Columns, State | None] | None:
        """What a chunk measured at a rung and, unless the sweep ends there, its state; None if that is not on disk."""
        file = read_arrays(self._rung(rung, chunk), owner)
        state = None if file is None else state_in(file)
        if file is None or (state is None and not ends):
            return None
        prefix = "column."
        columns = {name.removeprefix(prefix): values for name, values in file.items() if name.startswith(prefix)}
        return columns, state

    def forget_rungs(self) -> None:
        """Remove what was kept between rungs."""
        self.flush()
        for path in self.files.glob("rung-*.npz"):
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
            raise StoreError(f"{self.files / 'decisions.json'} is not there, but chunks are; {ANEW}")
        return found

    def _write_note(self, name: str, **values: Any) -> None:
        write_json(self.files / name, {"format": FORMAT, "owner": self.layout().owner, **values})

    def _note(self, name: str) -> dict[str, Any] | None:
        """The content of a small file beside the manifest; None if there is none."""
        path = self.files / name
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
                yield self.files / name, str(error)
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
        return self.files / f"carry-{chunk:05}.npz"

    def _rung(self, rung: int, chunk: int) -> Path:
        return self.files / f"rung-{rung:02}-{chunk:05}.npz"

    def _path(self, chunk: int) -> Path:
        return self.files / f"chunk-{chunk:05}.nc"

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
    leaves = {f"{LEAF}{i:03}": leaf for i, leaf in enumerate(state.leaves)}
    position = {POSITION: np.frombuffer(state.position, np.uint8)} if state.position else {}
    return {"step": np.asarray(state.step), **position, **leaves}
