"""Where finished chunks are kept while a sweep runs: in memory, or on disk as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from .engine import Checkpoint
from .layout import Columns, Layout
from .plan import Plan
from .store import Store, StoreError

SECONDS_PER_CHECKPOINT = 60.0

Pass = tuple[list[int], Checkpoint | None]
Taker = Callable[[Callable[[], Checkpoint]], None]


class Shelf(Protocol):
    """What `sweep` needs of it."""

    def missing(self) -> Iterator[Pass]:
        """The chunks still to run, at most one per device at a time, and where they had got to."""

    def checkpoint(self, chunks: Sequence[int]) -> Taker | None:
        """What to call between the segments of these chunks."""

    def put(self, chunk: int, columns: Columns) -> None:
        """Keep a finished chunk."""

    def trials_finished(self) -> int:
        """Number of trials kept."""

    def columns(self) -> Columns:
        """The columns of all trials."""

    def close(self) -> None:
        """Finish writing."""


class Memory:
    """Chunks in memory."""

    def __init__(self, layout: Layout, plan: Plan) -> None:
        self._plan, self._columns, self._finished = plan, layout.empty(), 0

    def missing(self) -> Iterator[Pass]:
        """All chunks, in order."""
        return ((chunks, None) for chunks in _passes(range(self._plan.chunks), self._plan.group.mesh.size))

    def checkpoint(self, chunks: Sequence[int]) -> Taker | None:
        """Nothing is kept of a chunk on its way."""
        return None

    def put(self, chunk: int, columns: Columns) -> None:
        """Lay the chunk's trials into the columns."""
        trials = self._plan.trials_of(chunk)
        for name, column in self._columns.items():
            column[trials.start : trials.stop] = columns[name]
        self._finished += len(trials)

    def trials_finished(self) -> int:
        """Number of trials kept."""
        return self._finished

    def columns(self) -> Columns:
        """The columns of all trials."""
        return self._columns

    def close(self) -> None:
        """Nothing to do."""


class Disk:
    """Chunks in a `Store`, those of an earlier process included."""

    def __init__(self, store: Store, layout: Layout, plan: Plan, repair: bool) -> None:
        self._store, self._layout, self._plan = store, layout, plan
        store.lock()
        try:
            store.create({**plan.identity, "width": plan.width, "variables": sorted(layout.columns)}, layout)
            for path, reason in store.unreadable(plan.fingerprint).items():
                if not repair:
                    raise StoreError(reason)
                path.replace(path.with_name(f"{path.name}.bad"))
        except BaseException:
            store.close()
            raise

    def missing(self) -> Iterator[Pass]:
        """The chunks without a file; those that had got to the same step go together."""
        finished = self._store.finished()
        to_run = [chunk for chunk in range(self._plan.chunks) if chunk not in finished]
        saved = {chunk: self._store.carry(chunk, self._plan.fingerprint) for chunk in to_run}
        steps = {chunk: 0 if one is None else one.step for chunk, one in saved.items()}
        for step in sorted(set(steps.values()), reverse=True):
            for chunks in _passes([c for c in to_run if steps[c] == step], self._plan.group.mesh.size):
                yield chunks, _together([saved[chunk] for chunk in chunks])

    def checkpoint(self, chunks: Sequence[int]) -> Taker:
        """Save where the chunks are once a minute."""
        last = time.monotonic()

        def take(taken: Callable[[], Checkpoint]) -> None:
            nonlocal last
            if time.monotonic() - last >= SECONDS_PER_CHECKPOINT:
                self._store.write_carry(chunks, taken(), self._plan.fingerprint)
                last = time.monotonic()

        return take

    def put(self, chunk: int, columns: Columns) -> None:
        """Write the chunk in the background."""
        self._store.write(chunk, self._plan.trials_of(chunk).start, columns, self._plan.fingerprint)

    def trials_finished(self) -> int:
        """Number of trials on disk."""
        self._store.flush()
        return sum(len(self._plan.trials_of(chunk)) for chunk in self._store.finished())

    def columns(self) -> Columns:
        """The columns of all trials, as they stand on disk."""
        return self._store.read(self._layout)[0]

    def close(self) -> None:
        """Wait for the disk and give the lock back."""
        try:
            self._store.flush()
        finally:
            self._store.close()


def _passes(chunks: Sequence[int], devices: int) -> Iterator[list[int]]:
    for i in range(0, len(chunks), devices):
        yield list(chunks[i : i + devices])


def _together(saved: list[Checkpoint | None]) -> Checkpoint | None:
    known = [one for one in saved if one is not None]
    if not known:
        return None
    return Checkpoint(known[0].step, [one.before[0] for one in known], [one.lanes[0] for one in known])
