"""Where finished chunks are kept while a sweep runs: in memory, or on disk as well."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..._digests import StoreError, set_aside
from ..compute.state import State
from ..table.decisions import Decisions
from ..table.layout import Columns, Layout
from .signals import Stop
from .store import Store

SECONDS_PER_CHECKPOINT = 60.0

Pass = tuple[list[int], State | None]  # chunks that run side by side, and where they are
Taker = Callable[[Callable[[], State]], None]
Rung = tuple[Columns, State | None]  # what some trials measure at a rung, and where they are


class InMemory:
    """Chunks in memory."""

    def __init__(self, layout: Layout, devices: int) -> None:
        self._layout, self._devices, self._columns = layout, devices, layout.empty()
        self._finished: set[int] = set()
        self._lanes: int | None = None

    def unfinished(self, chunks: Iterable[int]) -> list[int]:
        """Those of the chunks that are not kept yet."""
        return [chunk for chunk in chunks if chunk not in self._finished]

    def missing(self, chunks: Iterable[int]) -> Iterator[Pass]:
        """Those of the chunks still to run, at most one per device at a time, and where they had got to."""
        return ((together, None) for together in _passes(self.unfinished(chunks), self._devices))

    def checkpoint(self, chunks: Sequence[int]) -> Taker | None:
        """What to call between the segments of these chunks; nothing is kept of a chunk on its way."""
        return None

    def put(self, chunk: int, columns: Columns) -> None:
        """Keep a finished chunk."""
        trials = self._layout.trials_of(chunk)
        for name, column in self._columns.items():
            column[trials.start : trials.stop] = columns[name]
        self._finished.add(chunk)

    def chunk(self, chunk: int) -> Columns:
        """The columns of a chunk that is kept."""
        trials = self._layout.trials_of(chunk)
        return {name: column[trials.start : trials.stop] for name, column in self._columns.items()}

    def holds(self, chunk: int) -> bool:
        """Whether a chunk is kept."""
        return chunk in self._finished

    def trials_finished(self) -> int:
        """Number of trials kept."""
        return sum(len(self._layout.trials_of(chunk)) for chunk in self._finished)

    def columns(self) -> Columns:
        """The columns of all trials."""
        return self._columns

    def narrowed(self, lanes: int) -> None:
        """Keep that chunks run with so few lanes per device, as memory ran out."""
        self._lanes = min(lanes, self._lanes or lanes)

    def lanes(self) -> int | None:
        """The fewest lanes that chunks ran with, if memory ran out."""
        return self._lanes

    def put_rung(self, rung: int, chunk: int, columns: Columns, state: State | None) -> None:
        """Keep a chunk of a pruned sweep at a rung until the sweep is finished, for a process that takes over."""

    def rung(self, rung: int, chunk: int, ends: bool) -> Rung | None:
        """A chunk at a rung, if an earlier process has taken it there; `ends` where the sweep ends."""
        return None

    def put_decisions(self, decisions: Decisions) -> None:
        """Keep what a pruner decided, before the chunks that it made."""

    def decisions(self) -> Decisions | None:
        """What a pruner decided in a sweep that is finished."""
        return None

    def forget_rungs(self) -> None:
        """Remove what was kept between rungs."""

    def close(self) -> None:
        """Finish writing."""


class Disk:
    """Chunks in a `Store`, those of an earlier process included; those that this one made are in memory as well.

    Its methods are those of `InMemory`.
    """

    def __init__(self, store: Store, layout: Layout, devices: int, stop: Stop | None = None) -> None:
        self._store, self._layout, self._devices = store, layout, devices
        self._kept: dict[int, Columns] = {}
        self._stop = Stop(gentle=True) if stop is None else stop

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
            for together in _passes([c for c in to_run if steps[c] == step], self._devices):
                self._stop.check()
                known = [one for one in (saved[chunk] for chunk in together) if one is not None]
                yield together, State.joined(known) if known else None

    def checkpoint(self, chunks: Sequence[int]) -> Taker:
        """Save where the chunks are once a minute, and when the process is asked to end."""
        last = time.monotonic()
        counts = [len(self._layout.trials_of(chunk)) for chunk in chunks]

        def take(taken: Callable[[], State]) -> None:
            nonlocal last
            if self._stop.requested or time.monotonic() - last >= SECONDS_PER_CHECKPOINT:
                for chunk, state in zip(chunks, taken().parts(counts), strict=True):
                    self._store.write_carry(chunk, state, self._layout.owner)
                last = time.monotonic()
            self._stop.check()

        return take

    def put(self, chunk: int, columns: Columns) -> None:
        """Write the chunk in the background, unless a worker has written it and reports only how it went."""
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
        return sum(len(self._layout.trials_of(chunk)) for chunk in {*self._store.finished(), *self._kept})

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

    def put_rung(self, rung: int, chunk: int, columns: Columns, state: State | None) -> None:
        """Write a chunk at a rung, so that a kill costs one pass."""
        self._store.write_rung(rung, chunk, columns, state, self._layout.owner)

    def rung(self, rung: int, chunk: int, ends: bool) -> Rung | None:
        """A chunk at a rung, if that is on disk."""
        return self._store.rung(rung, chunk, self._layout.owner, ends)

    def put_decisions(self, decisions: Decisions) -> None:
        """Write what a pruner decided."""
        self._store.write_decisions(decisions)

    def decisions(self) -> Decisions | None:
        """What a pruner decided, once that is whole."""
        found = self._store.decisions()
        return None if found is None else Decisions(*found)

    def forget_rungs(self) -> None:
        """Remove what was kept between rungs, when it is on disk what came of them."""
        self._store.forget_rungs()

    def close(self) -> None:
        """Wait for the disk and give the lock back."""
        try:
            self._store.flush()
        finally:
            self._store.close()


Shelf = InMemory | Disk


def open_disk(
    store: Store,
    identity: dict[str, Any],
    layout: Layout,
    devices: int,
    *,
    repair: bool,
    share: str = "",
    stop: Stop | None = None,
) -> Disk:
    """Become the writer of a store, or of a share of it, and make sure that it holds this sweep and nothing broken.

    Arguments:
        store: the store.
        identity: what decides a trial of this sweep, part by part.
        layout: the layout of its table.
        devices: how many chunks run at a time.
        repair: set aside what is broken, and what belongs to another sweep.
        share: the name of the share that this process writes; empty for all of it.
        stop: whether the process was asked to end.
    """
    store.lock(share, repair)
    try:
        store.create({**identity, "width": layout.width, "variables": sorted(layout.columns)}, layout, repair)
        for path, reason in store.unreadable(layout):
            if not repair:
                raise StoreError(reason)
            set_aside(path)
    except BaseException:
        store.close()
        raise
    return Disk(store, layout, devices, stop)


def _passes(chunks: Sequence[int], devices: int) -> Iterator[list[int]]:
    for i in range(0, len(chunks), devices):
        yield list(chunks[i : i + devices])
