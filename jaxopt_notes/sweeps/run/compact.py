"""`Compacted`: the runner that leaves out trials which have stopped, and packs the lanes of the others together.

Lanes of one program take their steps together, so one that has stopped costs as much as one that runs. Every so often
the trials wait on the host, as at a rung, and those that still run are packed into as few chunks as they fill. They are
bit-identical to what they would have been in place.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable

import numpy as np

from ..compute.engine import Leg
from ..compute.group_plan import GroupPlan
from ..compute.progress import Progress
from ..compute.state import State
from ..keep.shelf import Shelf
from ..table.layout import Columns
from .here import Here
from .ladder import Ladder


class Compacted(Here):
    """Runs all chunks from stop to stop, and yields them at the end."""

    several = False
    gentle = False

    def run(self, shelf: Shelf, chunks: Iterable[int], bar: Progress | None) -> Generator[tuple[int, Columns]]:
        """Run the sweep in legs of about the patience of a trial; yields every chunk at the end."""
        left = shelf.unfinished(chunks)
        if not left:
            shelf.forget_rungs()  # which a kill may have left
            return
        with self._running(shelf) as engine:
            columns = _to_the_end(Ladder(engine, shelf, bar))
        for chunk in left:
            trials = shelf.layout.numbers_of(chunk)
            of_chunk = {name: values[trials] for name, values in columns.items()}
            shelf.put(chunk, of_chunk)
            yield chunk, of_chunk
        shelf.forget_rungs()


def _to_the_end(ladder: Ladder) -> Columns:
    plan = ladder.engine.plan
    trials, state, columns = np.arange(plan.trials), None, Columns()
    for number, until in enumerate([*_stops(plan), plan.steps]):
        measured, waiting = ladder.to_rung(trials, Leg(until, state, keep=until < plan.steps), number)
        _fill(plan, measured, until)
        for name, values in measured.items():
            whole = columns.setdefault(name, np.zeros((plan.trials, *values.shape[1:]), values.dtype))
            whole[trials] = values
        if until == plan.steps:
            break
        there: State = waiting.of(trials)
        runs = ladder.engine.running(there)
        if not runs.any():
            break
        trials, state = trials[runs], there.of(runs)
        if ladder.bar:
            ladder.bar.skip((plan.steps - until) * int((~runs).sum()))
    return columns


def _stops(plan: GroupPlan) -> list[int]:
    """The steps at which stopped trials are left out: looks that are recorded too, at least the patience apart."""
    watch = plan.static.watch
    assert watch is not None
    assert watch.patience is not None
    # Between two records a trial that stops is recorded later, at a step that it would not be run to.
    every = math.lcm(watch.every, plan.static.every)
    apart = -(-watch.patience // every) * every
    return list(range(apart, plan.steps, apart))


def _fill(plan: GroupPlan, columns: Columns, until: int) -> None:
    """Continue the records of trials beyond their last step, as if they stayed there."""
    last, watch = until // plan.static.every, plan.static.watch
    assert watch is not None
    for name in plan.static.record:
        rows = columns[name]
        rows[:, last + 1 :] = 0 if name == "update_norm" else rows[:, last : last + 1]
    look = -(-until // watch.every)
    for name, _ in watch.columns:
        columns[name][:, look + 1 :] = columns[name][:, look : look + 1]
