"""Where finished chunks are kept while a sweep runs: in memory, and with a store on disk as well.

What a running sweep keeps and looks up is here, with or without a store; the files are in `store`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ..._digests import StoreError, set_aside
from ..._warnings import warn
from ..compute.state import State
from ..table.decisions import Decisions
from ..table.layout import Columns, Layout
from .extension import IdentityOf
from .signals import Stop
from .store import Store

SECONDS_PER_CHECKPOINT = 60.0

Pass = tuple[list[int], State | None]  # chunks that run side by side, and their state
Taker = Callable[[Callable[[], State]], None]
Rung = tuple[Columns, State | None]  # what some trials measure at a rung, and their state


class Shelf:
    """Finished chunks in memory, and with a store also on disk, where those of earlier processes are.

    The columns of all trials are allocated at once but written chunk by chunk, so what is not run takes no memory.
    """

    def __init__(self, layout: Layout, devices: int, store: Store | None = None, stop: Stop | None = None) -> None:
        self.layout, self._devices, self._store = layout, devices, store
        self._stop = Stop(gentle=True) if stop is None else stop
        self._columns = layout.allocated()
        self._kept: set[int] = set()
        self._interrupted: set[int] = set()  # chunks whose trials, as far as they got, are in memory only
        self._lanes: int | None = None

    @property
    def is_stored(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    def _finished(self) -> set[int]:
        return self._kept if self._store is None else {*self._kept, *self._store.finished()}

    def unfinished(self, chunks: Iterable[int]) -> list[int]:
        """The chunks among these that are not kept yet."""
        finished = self._finished()
        return [chunk for chunk in chunks if chunk not in finished]

    def missing(self, chunks: Iterable[int]) -> Iterator[Pass]:
        """The chunks among these that are still to run, at most one per device at a time, with their checkpoints.

        Chunks with checkpoints of the same step run together.
        """
        to_run = self.unfinished(chunks)
        saved = {chunk: self._store and self._store.begin(chunk, self.layout.owner) for chunk in to_run}
        steps = {chunk: one.step if one else 0 for chunk, one in saved.items()}
        # One pass has one step to start from. The furthest come first, as they are the soonest to be finished for good.
        for step in sorted(set(steps.values()), reverse=True):
            alike = [chunk for chunk in to_run if steps[chunk] == step]
            for i in range(0, len(alike), self._devices):
                self._stop.check()
                if self._stop.interrupted:
                    raise KeyboardInterrupt
                together = alike[i : i + self._devices]
                known = [one for one in (saved[chunk] for chunk in together) if one]
                yield together, State.joined(known) if known else None

    def checkpoint(self, chunks: Sequence[int]) -> Taker | None:
        """A function to call between the segments of these chunks; None without a store.

        It saves their state once a minute, and when SIGTERM or Ctrl-C has arrived.
        """
        store, owner = self._store, self.layout.owner
        if store is None:
            return None
        last = time.monotonic()
        counts = [len(self.layout.trials_of(chunk)) for chunk in chunks]

        def take(taken: Callable[[], State]) -> None:
            nonlocal last
            # Written before the check below raises: closing the shelf waits for the disk, so the state of this moment
            # is kept.
            if self._stop.requested or self._stop.interrupted or time.monotonic() - last >= SECONDS_PER_CHECKPOINT:
                for chunk, state in zip(chunks, taken().parts(counts), strict=True):
                    store.write_carry(chunk, state, owner)
                last = time.monotonic()
            self._stop.check()

        return take

    def put(self, chunk: int, columns: Columns, end: State | None = None) -> None:
        """Keep a finished chunk and write it in the background; from a worker that wrote it, only a summary arrives.

        With `end`, the state of its trials at the end, more steps can be added to a store.
        """
        # Only some columns, so a worker has written the chunk itself, and its file is the one to read.
        if columns.keys() != self.layout.columns.keys():
            assert self._store is not None
            self._store.reported.add(chunk)
            return
        for name, column in self.chunk_in(self._columns, chunk).items():
            column[...] = columns[name]
        self._kept.add(chunk)
        if self._store is not None:
            if end is not None:
                self._store.write_end(chunk, end, self.layout.owner)
            self._store.write(chunk, columns, self.layout)

    def interrupted(self) -> bool:
        """Whether Ctrl-C arrived."""
        return self._stop.interrupted

    def put_interrupted(self, chunk: int, columns: Columns) -> None:
        """Keep what a chunk measures that was stopped on the way, in memory only: it is not finished."""
        for name, column in self.chunk_in(self._columns, chunk).items():
            column[...] = columns[name]
        self._interrupted.add(chunk)

    def trials_interrupted(self) -> int:
        """Number of trials that were stopped on the way."""
        return sum(len(self.layout.trials_of(chunk)) for chunk in self._interrupted)

    def chunk_in(self, columns: Columns, chunk: int) -> Columns:
        """The trials of a chunk among those of all."""
        trials = self.layout.trials_of(chunk)
        return {name: column[trials.start : trials.stop] for name, column in columns.items()}

    def chunk(self, chunk: int) -> Columns:
        """The columns of a chunk that is kept, read from its file if a worker wrote it."""
        if chunk in self._kept or self._store is None:
            return self.chunk_in(self._columns, chunk)
        return self._store.chunk(chunk, self.layout)

    def holds(self, chunk: int) -> bool:
        """Whether a chunk is kept. One that a worker wrote may have been deleted since."""
        return chunk in self._kept or chunk in self._finished()

    def trials_finished(self) -> int:
        """Number of trials kept."""
        if self._store is not None:
            self._store.flush()
        return self.layout.known + sum(len(self.layout.trials_of(chunk)) for chunk in self._finished())

    def columns(self) -> Columns:
        """The columns of all trials."""
        files = {} if self._store is None else self._store.finished()
        for name, values in ({} if self._store is None else self._store.known()).items():
            self._columns[name][: self.layout.known] = values
        # Also files of chunks that this sweep does not have: reading one reports that it belongs to another sweep.
        for chunk in sorted({*range(self.layout.chunks), *files} - self._kept - self._interrupted):
            there = self._store.chunk(chunk, self.layout) if self._store and chunk in files else None
            for name, column in self.chunk_in(self._columns, chunk).items():
                column[...] = self.layout.not_run(name) if there is None else there[name]
        return self._columns

    def warn_if_deleted(self) -> None:
        """Warn if files written while the sweep ran are gone. Call it after closing the shelf."""
        if self._store is None:
            return
        written, there = {*self._kept, *self._store.reported}, self._store.finished()
        lost = [chunk for chunk in sorted(written) if chunk not in there]
        if lost or not os.path.lexists(self._store.folder / "manifest.json"):
            lack = f"{len(lost)} of the {len(written)} chunks that were written there" if lost else "its manifest"
            returned = [chunk for chunk in lost if chunk in self._kept]
            rest = "" if len(returned) == len(lost) else f", but for {len(lost) - len(returned)} that workers wrote"
            warn(
                f"{self._store.folder} was deleted or changed while the sweep ran: it lacks {lack}. The table that is "
                f"returned has all that was computed{rest}; jon.save(table, path) keeps it"
            )

    def narrowed(self, lanes: int) -> None:
        """Record, without delay, that memory ran out and chunks run with this many lanes per device."""
        self._lanes = min(lanes, self._lanes or lanes)
        if self._store is not None:
            self._store.note_lanes(lanes)

    def lanes(self) -> int | None:
        """The fewest lanes per device that chunks ran with, in earlier processes too; None if memory never ran out."""
        return self._lanes if self._store is None else self._store.noted_lanes()

    def put_rung(self, rung: int, chunk: int, columns: Columns, state: State | None) -> None:
        """Write a chunk of a pruned sweep at a rung, so that a kill costs one pass."""
        if self._store is not None:
            self._store.write_rung(rung, chunk, columns, state, self.layout.owner)

    def rung(self, rung: int, chunk: int, ends: bool) -> Rung | None:
        """A chunk at a rung, if an earlier process has taken it there; `ends` at the last rung."""
        return None if self._store is None else self._store.rung(rung, chunk, self.layout.owner, ends)

    def put_decisions(self, decisions: Decisions) -> None:
        """Write what a pruner decided, before the chunks that follow from it."""
        if self._store is not None:
            self._store.write_decisions(decisions)

    def decisions(self) -> Decisions | None:
        """What a pruner decided in a stored sweep; None until its last decision."""
        found = None if self._store is None else self._store.decisions()
        return None if found is None else Decisions(*found)

    def forget_rungs(self) -> None:
        """Remove what was kept between rungs, once the chunks are on disk."""
        if self._store is not None:
            self._store.forget_rungs()

    def close(self) -> None:
        """Wait for the disk and release the lock."""
        if self._store is not None:
            try:
                self._store.flush()
            finally:
                self._store.close()


def open_shelf(
    store: Store,
    identity: dict[str, Any],
    layout: Layout,
    devices: int,
    *,
    repair: bool,
    share: str = "",
    stop: Stop | None = None,
    earlier: IdentityOf | None = None,
) -> Shelf:
    """Become the writer of a store, or of a share of it, and check that it holds this sweep and nothing broken.

    Arguments:
        store: the store.
        identity: what decides a trial of this sweep, part by part.
        layout: the layout of its table.
        devices: how many chunks run at a time.
        repair: set aside files that are broken or belong to another sweep.
        share: the name of the share that this process writes; empty for all of it.
        stop: whether the process was asked to end.
        earlier: the identity of the same sweep with some seeds and fewer steps, if it may extend the one in the store.
    """
    # The lock comes first: whether the folder holds this sweep may only be decided while nobody else can write there.
    store.lock(share, repair)
    try:
        added = {"width": layout.width, "variables": sorted(layout.columns)}
        known = None if earlier is None else lambda *fewer: {**earlier(*fewer), **added}
        layout = store.create({**identity, **added}, layout, repair, known)
        for path, reason in store.unreadable(layout):
            if not repair:
                raise StoreError(reason)
            set_aside(path)
    # After Ctrl-C too, as a notebook lives on and would keep the folder locked.
    except BaseException:
        store.close()
        raise
    return Shelf(layout, devices, store, stop)
