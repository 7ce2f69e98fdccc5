"""A pruned sweep, rung by rung: the survivors are packed together and run on.

Which ones survive is a `Rule` of `pruners`; `ladder` takes them from rung to rung.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...minimize import HISTORIES, Status
from ..compute.engine import Leg
from ..compute.state import State
from ..table.decisions import Decisions
from ..table.direction import SIGNS
from ..table.ends import last_look
from ..table.layout import Columns
from ..table.seeds import middle
from .ladder import Ladder
from .pruners import Rule


class Climb(NamedTuple):
    """A pruned sweep on its way from rung to rung.

    Attributes:
        ladder: what takes the trials from rung to rung.
        rule: what decides.
    """

    ladder: Ladder
    rule: Rule

    def to_the_end(self, note: Callable[[Decisions], object]) -> tuple[Columns, Decisions]:
        """Run rung by rung: the columns of all trials, and the decisions, each passed to `note` when it is made."""
        plan, bar = self.ladder.engine.plan, self.ladder.bar
        seeds, rungs = len(plan.seeds), self.rule.pruner.decide_at(plan.steps)
        alive = np.ones(len(plan.space), bool)
        decisions = Decisions([], [], [np.nan] * len(alive))
        state: State | None = None
        columns: Columns = {}
        for rung, until in enumerate([*rungs, plan.steps]):
            if bar:
                bar.expect(seeds * _steps_expected(self.rule, rungs, decisions, plan.steps))
            trials = _trials_of(alive, seeds)
            may_stay = _MayStay(self.rule, decisions, until, alive)
            measured, waiting = self.ladder.to_rung(trials, Leg(until, state, keep=until < plan.steps), rung, may_stay)
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


class _MayStay(NamedTuple):
    """Which trials may still stay at a rung, given what the first of them measure; a mask over all trials."""

    rule: Rule
    before: Decisions
    step: int
    alive: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        return "status", self.rule.pruner.metric

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
    for name in columns.keys() & HISTORIES.keys():
        columns[name][np.arange(columns[name].shape[1]) > last[:, None]] = np.nan
