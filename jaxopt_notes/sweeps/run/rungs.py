"""A pruned sweep, rung by rung: trials wait on the host; the survivors are packed together and run on.

Which ones survive is a `Rule` of `pruners`; this module takes them from rung to rung.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ...minimize import HISTORIES, Status
from ..compute.engine import Engine, Hooks, Leg
from ..compute.progress import Progress
from ..compute.state import State
from ..keep.shelf import Rung, Shelf
from ..table.columns import columns_of
from ..table.decisions import Decisions
from ..table.direction import SIGNS
from ..table.ends import last_look
from ..table.layout import Columns
from ..table.seeds import middle
from .pruners import Rule


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


class Climb(NamedTuple):
    """A pruned sweep on its way from rung to rung.

    Attributes:
        engine: what runs the trials.
        shelf: where rungs are kept, so that a kill costs one pass.
        rule: what decides.
        bar: shows the progress.
    """

    engine: Engine
    shelf: Shelf
    rule: Rule
    bar: Progress | None

    def to_the_end(self, note: Callable[[Decisions], object]) -> tuple[Columns, Decisions]:
        """Run rung by rung: the columns of all trials, and the decisions, each passed to `note` when it is made."""
        plan = self.engine.plan
        seeds, rungs = len(plan.seeds), self.rule.pruner.decide_at(plan.steps)
        alive = np.ones(len(plan.space), bool)
        decisions = Decisions([], [], [np.nan] * len(alive))
        state: State | None = None
        columns: Columns = {}
        for rung, until in enumerate([*rungs, plan.steps]):
            if self.bar:
                self.bar.expect(seeds * _steps_expected(self.rule, rungs, decisions, plan.steps))
            trials = _trials_of(alive, seeds)
            may_stay = _MayStay(self.rule, decisions, until, alive)
            measured, waiting = self._rung(trials, Leg(until, state, keep=until < plan.steps), rung, may_stay)
            for name, values in measured.items():
                # Later rungs overwrite only the trials that are left, so a pruned one keeps what was measured when it
                # was pruned.
                whole = columns.setdefault(name, np.zeros((plan.trials, *values.shape[1:]), values.dtype))
                whole[trials] = values
            if until == plan.steps:
                break
            decisions = _decided(self.rule, decisions, until, alive, _medians(measured, self.rule))
            note(decisions)
            alive = np.isnan(decisions.pruned_at)
            state = waiting.of(_trials_of(alive, seeds))
        _mark(columns, np.repeat(decisions.pruned_at, seeds), plan.static.every)
        return columns, decisions

    def _rung(self, trials: np.ndarray, leg: Leg, rung: int, may_stay: _MayStay) -> tuple[Columns, Waiting]:
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
            if waiting.is_full():
                done = cuts[-1].stop // len(plan.seeds) * len(plan.seeds)  # of configurations that all seeds measured
                waiting.release(may_stay(_joined(columns, ("status", self.rule.pruner.metric), done)))
        return _joined(columns, columns[0], None), waiting

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


class _MayStay(NamedTuple):
    """Which trials may still stay at a rung, given what the first of them measure; a mask over all trials."""

    rule: Rule
    before: Decisions
    step: int
    alive: np.ndarray

    def __call__(self, so_far: Columns) -> np.ndarray:
        medians = _medians(so_far, self.rule)
        unknown = np.full(int(self.alive.sum()) - len(medians), np.nan)  # which count as infinitely bad
        decided = _decided(self.rule, self.before, self.step, self.alive, np.concatenate([medians, unknown]))
        stay = np.isnan(decided.pruned_at)
        stay[np.flatnonzero(self.alive)[len(medians) :]] = True
        return np.repeat(stay, len(self.rule.deciding))


def _trials_of(configurations: np.ndarray, seeds: int) -> np.ndarray:
    """The numbers of the trials of some configurations, given as a mask."""
    return (np.flatnonzero(configurations)[:, None] * seeds + np.arange(seeds)).ravel()


def _steps_expected(rule: Rule, rungs: list[int], decisions: Decisions, steps: int) -> int:
    """Steps of all configurations, those to be decided ranked as they were at the last rung, or in any order."""
    last = decisions.measured[-1] if decisions.measured else list(range(len(decisions.pruned_at)))
    measured = [*decisions.measured, *[last] * (len(rungs) - len(decisions.measured))]
    pruned_at = rule.replay(rungs, np.array(measured, float))
    return int(np.where(np.isnan(pruned_at), steps, pruned_at).sum())


def _joined(columns: Sequence[Columns], names: Iterable[str], trials: int | None) -> Columns:
    """The first trials of some columns in one piece; all of them where None."""
    return {name: np.concatenate([one[name] for one in columns])[:trials] for name in names}


def _medians(columns: Columns, rule: Rule) -> np.ndarray:
    """The median of the metric of every configuration over the seeds that decide, infinitely bad where most failed."""
    sign, deciding = SIGNS[rule.direction], rule.deciding
    values = sign * columns[rule.pruner.metric].astype(float)
    values = values if values.ndim == 1 else last_look(values)
    lost = np.isin(columns["status"], (Status.NON_FINITE, Status.DIVERGED)) | ~np.isfinite(values)
    # Ranked with lower as better, and returned in the sign of the metric, in which decisions are stored and shown.
    of_seeds = np.where(lost, np.inf, values).reshape(-1, len(deciding))[:, deciding]
    return sign * np.array([middle(row) for row in of_seeds])


def _decided(rule: Rule, before: Decisions, step: int, alive: np.ndarray, measured: np.ndarray) -> Decisions:
    last = np.array(before.measured[-1]) if before.measured else np.full(len(alive), np.nan)
    last[alive] = measured
    rungs, values = [*before.rungs, step], [*before.measured, last.tolist()]
    return Decisions(rungs, values, rule.replay(rungs, np.array(values)).tolist())


def _mark(columns: Columns, pruned_at: np.ndarray, every: int) -> None:
    """Give pruned trials their status, unless they failed, and no history after the step at which they were pruned."""
    pruned = ~np.isnan(pruned_at)
    lost = np.isin(columns["status"], (Status.NON_FINITE, Status.DIVERGED))  # which is why they were pruned
    columns["status"][pruned & ~lost] = Status.PRUNED
    last = np.where(pruned, pruned_at // every, np.inf)
    for name in HISTORIES:
        columns[name][np.arange(columns[name].shape[1]) > last[:, None]] = np.nan
