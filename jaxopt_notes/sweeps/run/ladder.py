"""Trials on their way in legs: run side by side to a step, where they wait on the host, and packed together again.

Which of them go on, and why, is decided elsewhere: `rungs` prunes, `compact` leaves out what has stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from ..compute.engine import Engine, Hooks, Leg
from ..compute.progress import Progress
from ..compute.state import State
from ..keep.shelf import Rung, Shelf
from ..table.columns import columns_of
from ..table.layout import Columns


class Waiting:
    """The trials of a rung that may stay, chunk by chunk; the others are released."""

    def __init__(self) -> None:
        self._held: list[tuple[np.ndarray, State]] = []
        self._limit = 0

    def __len__(self) -> int:
        return sum(len(trials) for trials, _ in self._held)

    def add(self, trials: np.ndarray, state: State) -> None:
        """Hold some trials, whose numbers are above all that are held."""
        self._held.append((trials, state))

    def is_full(self) -> bool:
        """Whether there are twice as many as were left by the last `release`."""
        # Ranking takes time in proportion to what was measured. Done only when the number has doubled, it stays a small
        # part of the rung.
        return len(self) > self._limit

    def release(self, stay: np.ndarray) -> None:
        """Keep those of the trials that may still stay; a mask over all trials of the sweep."""
        kept = [(trials, state, stay[trials]) for trials, state in self._held]
        self._held = [(trials, state) if mask.all() else (trials[mask], state.of(mask)) for trials, state, mask in kept]
        self._limit = 2 * len(self)

    def of(self, trials: np.ndarray) -> State:
        """The states of these trials, in one piece."""
        held = np.concatenate([held for held, _ in self._held])
        if not np.isin(trials, held).all():
            raise RuntimeError("the pruner keeps a configuration that it released before, when fewer were measured")
        return State.joined([state for _, state in self._held]).of(np.searchsorted(held, trials))


@runtime_checkable
class MayStay(Protocol):
    """Which trials may still stay, given what the first of them measure: a mask over all trials."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it looks at."""

    def __call__(self, so_far: Columns) -> np.ndarray:
        """The mask."""


class Ladder(NamedTuple):
    """What takes trials from rung to rung.

    Attributes:
        engine: what runs them.
        shelf: where rungs are kept, so that a kill costs one pass.
        bar: shows the progress.
    """

    engine: Engine
    shelf: Shelf
    bar: Progress | None

    def to_rung(
        self, trials: np.ndarray, leg: Leg, rung: int, may_stay: MayStay | None = None
    ) -> tuple[Columns, Waiting]:
        """Take some trials along a leg, packed into chunks: what is measured there, and their states.

        Trials that cannot stay, as others are better already, are released before the rung is complete.
        """
        plan, columns, waiting = self.engine.plan, list[Columns](), Waiting()
        packed = [slice(first, first + plan.width) for first in range(0, len(trials), plan.width)]
        for first in range(0, len(packed), plan.devices):
            cuts = packed[first : first + plan.devices]
            parts = [trials[cut] for cut in cuts]
            starts = [None if leg.start is None else leg.start.of(cut) for cut in cuts]
            for part, (measured, there) in zip(parts, self._pass(parts, starts, leg, rung, first), strict=True):
                columns.append(measured)
                if there is not None:
                    waiting.add(part, there)
            if may_stay is not None and waiting.is_full():
                done = cuts[-1].stop // len(plan.seeds) * len(plan.seeds)  # of configurations that all seeds measured
                waiting.release(may_stay(joined_columns(columns, may_stay.names, done)))
        return joined_columns(columns, columns[0], None), waiting

    def _pass(
        self, parts: list[np.ndarray], starts: Sequence[State | None], leg: Leg, rung: int, first: int
    ) -> list[Rung]:
        """Some chunks side by side: from the disk, if an earlier process has taken them there."""
        known = [self.shelf.rung(rung, first + i, ends=not leg.keep) for i in range(len(parts))]
        there = [one for one in known if one is not None]
        begun = [start for start in starts if start is not None]
        own = leg._replace(start=State.joined(begun) if begun else None)
        # All or none: what runs side by side is one pass, and takes as long for one chunk as for all.
        if len(there) == len(known):
            if self.bar:
                self.bar.skip((leg.until - (own.start.step if own.start else 0)) * sum(map(len, parts)))
            return there
        finished, state = self.engine.run(parts, own, Hooks(self.bar, narrowed=self.shelf.narrowed))
        states = [None] * len(parts) if state is None else state.parts([len(part) for part in parts])
        ran = [(columns_of(self.engine.plan, one), there) for one, there in zip(finished, states, strict=True)]
        for i, (columns, where) in enumerate(ran):
            self.shelf.put_rung(rung, first + i, columns, where)
        return ran


def joined_columns(columns: Sequence[Columns], names: Iterable[str], trials: int | None) -> Columns:
    """The first trials of some columns in one piece; all of them where None."""
    return {name: np.concatenate([one[name] for one in columns])[:trials] for name in names}
