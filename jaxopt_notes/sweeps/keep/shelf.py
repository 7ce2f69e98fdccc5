"""Where finished chunks are kept while a sweep runs: in memory, or on disk as well."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from ..._digests import StoreError, set_aside
from ..compute.engine import Checkpoint
from ..table.layout import Columns, Layout
from .signals import Stop
from .store import Store

SECONDS_PER_CHECKPOINT = 60.0

Pass = tuple[list[int], Checkpoint | None]
Taker = Callable[[Callable[[], Checkpoint]], None]


@runtime_checkable
class Cut(Protocol):
    """How a sweep is cut into chunks: what a shelf needs of a plan, or of its outline."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides a trial, part by part."""

    @property
    def fingerprint(self) -> str:
        """Hash of `identity`."""

    @property
    def width(self) -> int:
        """Trials per chunk."""

    @property
    def trials(self) -> int:
        """Number of trials."""

    @property
    def chunks(self) -> int:
        """Number of chunks."""

    @property
    def devices(self) -> int:
        """How many chunks run at a time."""

    def trials_of(self, chunk: int) -> range:
        """The trials of a chunk."""


@runtime_checkable
class Shelf(Protocol):
    """What `sweep` needs of it."""

    def unfinished(self, chunks: Iterable[int]) -> list[int]:
        """Those of the chunks that are not kept yet."""

    def missing(self, chunks: Iterable[int]) -> Iterator[Pass]:
        """Those of the chunks still to run, at most one per device at a time, and where they had got to."""

    def checkpoint(self, chunks: Sequence[int]) -> Taker | None:
        """What to call between the segments of these chunks."""

    def put(self, chunk: int, columns: Columns) -> None:
        """Keep a finished chunk."""

    def chunk(self, chunk: int) -> Columns:
        """The columns of a chunk that is kept."""

    def holds(self, chunk: int) -> bool:
        """Whether a chunk is kept."""

    def trials_finished(self) -> int:
        """Number of trials kept."""

    def columns(self) -> Columns:
        """The columns of all trials."""

    def narrowed(self, lanes: int) -> None:
        """Keep that chunks run with so few lanes per device, as memory ran out."""

    def lanes(self) -> int | None:
        """The fewest lanes that chunks ran with, if memory ran out."""

    def close(self) -> None:
        """Finish writing."""


class Memory:
    """Chunks in memory."""

    def __init__(self, layout: Layout, cut: Cut) -> None:
        self._cut, self._columns = cut, layout.empty()
        self._finished: set[int] = set()
        self._lanes: int | None = None

    def unfinished(self, chunks: Iterable[int]) -> list[int]:
        """Those of the chunks that are not kept yet."""
        return [chunk for chunk in chunks if chunk not in self._finished]

    def missing(self, chunks: Iterable[int]) -> Iterator[Pass]:
        """The unfinished chunks, in order."""
        return ((together, None) for together in _passes(self.unfinished(chunks), self._cut.devices))

    def checkpoint(self, chunks: Sequence[int]) -> Taker | None:
        """Nothing is kept of a chunk on its way."""
        return None

    def put(self, chunk: int, columns: Columns) -> None:
        """Lay the chunk's trials into the columns."""
        trials = self._cut.trials_of(chunk)
        for name, column in self._columns.items():
            column[trials.start : trials.stop] = columns[name]
        self._finished.add(chunk)

    def chunk(self, chunk: int) -> Columns:
        """The columns of a chunk that is kept."""
        trials = self._cut.trials_of(chunk)
        return {name: column[trials.start : trials.stop] for name, column in self._columns.items()}

    def holds(self, chunk: int) -> bool:
        """Whether a chunk is kept."""
        return chunk in self._finished

    def trials_finished(self) -> int:
        """Number of trials kept."""
        return sum(len(self._cut.trials_of(chunk)) for chunk in self._finished)

    def columns(self) -> Columns:
        """The columns of all trials."""
        return self._columns

    def narrowed(self, lanes: int) -> None:
        """Keep that chunks run with so few lanes per device, as memory ran out."""
        self._lanes = min(lanes, self._lanes or lanes)

    def lanes(self) -> int | None:
        """The fewest lanes that chunks ran with, if memory ran out."""
        return self._lanes

    def close(self) -> None:
        """Nothing to do."""


class Disk:
    """Chunks in a `Store`, those of an earlier process included; those that this one made are in memory as well."""

    def __init__(self, store: Store, layout: Layout, cut: Cut) -> None:
        self._store, self._layout, self._cut = store, layout, cut
        self._kept: dict[int, Columns] = {}
        self.stop = Stop(gentle=True)

    def unfinished(self, chunks: Iterable[int]) -> list[int]:
        """Those of the chunks without a file."""
        finished = self._store.finished()
        return [chunk for chunk in chunks if chunk not in finished]

    def missing(self, chunks: Iterable[int]) -> Iterator[Pass]:
        """The unfinished chunks; those that had got to the same step go together."""
        to_run = self.unfinished(chunks)
        saved = {chunk: self._store.carry(chunk, self._layout.owner) for chunk in to_run}
        steps = {chunk: 0 if one is None else one.step for chunk, one in saved.items()}
        for step in sorted(set(steps.values()), reverse=True):
            for together in _passes([c for c in to_run if steps[c] == step], self._cut.devices):
                self.stop.check()
                yield together, _together([saved[chunk] for chunk in together])

    def checkpoint(self, chunks: Sequence[int]) -> Taker:
        """Save where the chunks are once a minute, and when the process is told to end."""
        last = time.monotonic()

        def take(taken: Callable[[], Checkpoint]) -> None:
            nonlocal last
            if self.stop.requested or time.monotonic() - last >= SECONDS_PER_CHECKPOINT:
                self._store.write_carry(chunks, taken(), self._layout.owner)
                last = time.monotonic()
            self.stop.check()

        return take

    def put(self, chunk: int, columns: Columns) -> None:
        """Write the chunk in the background, unless a worker has written it and tells no more than how it went."""
        if columns.keys() != self._layout.columns.keys():
            self._store.reported.add(chunk)
            return
        self._kept[chunk] = columns
        self._store.write(chunk, columns, self._layout)

    def chunk(self, chunk: int) -> Columns:
        """The columns of a chunk; where a worker made it, from its file."""
        return self._kept[chunk] if chunk in self._kept else self._store.chunk(chunk, self._layout)

    def trials_finished(self) -> int:
        """Number of trials kept."""
        self._store.flush()
        return sum(len(self._cut.trials_of(chunk)) for chunk in {*self._store.finished(), *self._kept})

    def columns(self) -> Columns:
        """The columns of all trials."""
        return self._store.read(self._layout, self._kept)[0]

    def holds(self, chunk: int) -> bool:
        """Whether a chunk is kept; one that a worker wrote may be deleted since."""
        return chunk in self._kept or chunk in self._store.finished()

    def warn_if_deleted(self) -> None:
        """Warn if what was written while the sweep ran is no longer there; to be called when it is closed."""
        written, there = {*self._kept, *self._store.reported}, self._store.finished()
        lost = [chunk for chunk in sorted(written) if chunk not in there]
        if lost or not os.path.lexists(self._store.folder / "manifest.json"):
            lack = f"{len(lost)} of the {len(written)} chunks that were written there" if lost else "its manifest"
            returned = [chunk for chunk in lost if chunk in self._kept]
            rest = "" if len(returned) == len(lost) else f", but for {len(lost) - len(returned)} that workers wrote"
            warnings.warn(
                f"{self._store.folder} was deleted or changed while the sweep ran: it lacks {lack}. The table that is "
                f"returned has all that was computed{rest}; jon.save(table, path) keeps it",
                stacklevel=4,
            )

    def narrowed(self, lanes: int) -> None:
        """Write at once that chunks run with so few lanes per device, as memory ran out."""
        self._store.note_lanes(lanes)

    def lanes(self) -> int | None:
        """The fewest lanes that chunks ran with, also those of an earlier process, if memory ran out."""
        return self._store.noted_lanes()

    def close(self) -> None:
        """Wait for the disk and give the lock back."""
        try:
            self._store.flush()
        finally:
            self._store.close()


def open_disk(store: Store, layout: Layout, cut: Cut, repair: bool, share: str = "") -> Disk:
    """Become the writer of a store, or of a share of it, and make sure that it holds this sweep and nothing broken."""
    store.lock(share, repair)
    try:
        store.create({**cut.identity, "width": cut.width, "variables": sorted(layout.columns)}, layout, repair)
        for path, reason in store.unreadable(layout):
            if not repair:
                raise StoreError(reason)
            set_aside(path)
    except BaseException:
        store.close()
        raise
    return Disk(store, layout, cut)


def _passes(chunks: Sequence[int], devices: int) -> Iterator[list[int]]:
    for i in range(0, len(chunks), devices):
        yield list(chunks[i : i + devices])


def _together(saved: list[Checkpoint | None]) -> Checkpoint | None:
    known = [one for one in saved if one is not None]
    if not known:
        return None
    return Checkpoint(known[0].step, [one.lanes[0] for one in known])
