"""A pruned sweep, rung by rung: trials wait on the host, those that stay are packed together and go on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...minimize import Status
from ..table.decisions import Decisions
from ..table.direction import SIGNS
from ..compute.engine import Checkpoint, run_until
from .pruners import Pruner, Rule, rule_of
from ..judge.intervals import middle
from ..table.layout import Columns
from ..compute.group_plan import Plan
from ..compute.progress import Progress
from ..keep.shelf import Shelf
from ..spec.space import listed
from ..keep.store import Store
from ..table.columns import columns_of


class _State(NamedTuple):
    """Trials at a rung on the host: the leaves of the carries and histories with the trial as leading axis."""

    step: int
    lanes: list[np.ndarray]

    def of(self, trials: np.ndarray) -> _State:
        return _State(self.step, [leaf[trials] for leaf in self.lanes])


class _Waiting:
    """The trials of a rung that may go on, chunk by chunk; the others are released."""

    def __init__(self) -> None:
        self._held: list[tuple[np.ndarray, _State]] = []
        self._limit = 0

    def __len__(self) -> int:
        return sum(len(rows) for rows, _ in self._held)

    def add(self, trials: range, state: _State) -> None:
        self._held.append((np.asarray(trials), state))

    def is_full(self) -> bool:
        """Whether there are twice as many as could stay when that was last asked, which takes time."""
        return len(self) > self._limit

    def release(self, stay: np.ndarray) -> None:
        """Keep those of the trials that may still stay."""
        kept = [(rows, state, stay[rows]) for rows, state in self._held]
        self._held = [(rows, state) if mask.all() else (rows[mask], state.of(mask)) for rows, state, mask in kept]
        self._limit = 2 * len(self)

    def of(self, trials: np.ndarray) -> _State:
        """Where these trials are, in one piece."""
        rows = np.concatenate([rows for rows, _ in self._held])
        if not np.isin(trials, rows).all():
            raise RuntimeError("the pruner keeps a configuration that it gave up before, when fewer were measured")
        states = [state for _, state in self._held]
        lanes = [np.concatenate(leaves) for leaves in zip(*(one.lanes for one in states), strict=True)]
        return _State(states[0].step, lanes).of(np.searchsorted(rows, trials))


def run_pruned(
    plan: Plan,
    shelf: Shelf,
    pruner: Pruner,
    told: list[Decisions],
    *,
    keep_params: bool,
    bar: Progress | None,
    store: Store | None,
    owner: str,
) -> Generator[tuple[int, Columns]]:
    """Run a sweep rung by rung; yields every chunk at the end, and appends to `told` what was decided so far.

    With a store what the rungs leave is kept there until the sweep is finished, so a kill costs one pass of chunks;
    `owner` is the sweep that they belong to.
    """
    rule = rule_of(plan, pruner)
    known = None if store is None or shelf.unfinished(range(plan.chunks)) else store.decisions()
    if known is not None and store is not None:
        told.append(Decisions(*known))
        store.forget_rungs()  # which a kill may have left
        return
    seeds, rungs = len(plan.seeds), pruner.decide_at(plan.steps)
    alive = np.ones(len(plan.space), bool)
    decisions = Decisions([], [], [np.nan] * len(alive))
    state: _State | None = None
    columns: Columns = {}
    run = _Rungs(plan, shelf, keep_params, bar, store, owner)
    for rung, until in enumerate([*rungs, plan.steps]):
        if bar:
            bar.expect(seeds * _steps_expected(rule, rungs, decisions, plan.steps))

        def may_stay(
            so_far: Columns, decisions: Decisions = decisions, until: int = until, alive: np.ndarray = alive
        ) -> np.ndarray:
            medians = _medians(so_far, rule)
            unknown = np.full(int(alive.sum()) - len(medians), np.nan)  # which count as infinitely bad
            decided = _decided(rule, decisions, until, alive, np.concatenate([medians, unknown]))
            stay = np.isnan(decided.pruned_at)[alive]
            stay[len(medians) :] = True
            return np.repeat(stay, seeds)

        results, waiting = run.rung(_part(plan, alive), state, until, rung, may_stay)
        rows = (np.flatnonzero(alive)[:, None] * seeds + np.arange(seeds)).ravel()
        for name, values in results.items():
            whole = columns.setdefault(name, np.zeros((plan.trials, *values.shape[1:]), values.dtype))
            whole[rows] = values
        if until == plan.steps:
            break
        decisions = _decided(rule, decisions, until, alive, _medians(results, rule))
        told.append(decisions)
        survive = np.isnan(decisions.pruned_at)
        state = waiting.of(np.flatnonzero(np.repeat(survive[alive], seeds)))
        alive = survive
    _mark(columns, np.repeat(decisions.pruned_at, seeds), plan.group.every)
    if store is not None:
        store.write_decisions(decisions)
    for chunk in shelf.unfinished(range(plan.chunks)):
        trials = plan.trials_of(chunk)
        of_chunk = {name: values[trials.start : trials.stop] for name, values in columns.items()}
        shelf.put(chunk, of_chunk)
        yield chunk, of_chunk
    if store is not None:
        store.forget_rungs()


def _part(plan: Plan, alive: np.ndarray) -> Plan:
    """The same sweep of fewer configurations, at the same width: the same program."""
    if alive.all():
        return plan
    columns = {name: values[alive] for name, values in plan.space.columns().items()}
    return plan.with_space(listed(columns))


def _steps_expected(rule: Rule, rungs: list[int], decisions: Decisions, steps: int) -> int:
    """Steps of all configurations, those to be decided ranked as they were at the last rung, or in any order."""
    last = decisions.measured[-1] if decisions.measured else list(range(len(decisions.pruned_at)))
    measured = [*decisions.measured, *[last] * (len(rungs) - len(decisions.measured))]
    pruned_at = rule.replay(rungs, np.array(measured, float))
    return int(np.where(np.isnan(pruned_at), steps, pruned_at).sum())


class _Rungs(NamedTuple):
    """What all rungs of a sweep share."""

    plan: Plan
    shelf: Shelf
    keep_params: bool
    bar: Progress | None
    store: Store | None
    owner: str

    def rung(
        self, part: Plan, state: _State | None, until: int, rung: int, may_stay: Callable[[Columns], np.ndarray]
    ) -> tuple[Columns, _Waiting]:
        """Take all trials of a part of the plan to the step `until`: what is measured there, and where they are.

        Trials that cannot stay, as others are better already, are released; at the end of the sweep all are.
        """
        columns: list[Columns] = []
        waiting, seeds, ends = _Waiting(), len(part.seeds), until == part.steps
        for first in range(0, part.chunks, part.devices):
            chunks = range(first, min(first + part.devices, part.chunks))
            for chunk, (measured, there) in zip(chunks, self._pass(part, chunks, state, until, rung), strict=True):
                columns.append(measured)
                if not ends:
                    waiting.add(part.trials_of(chunk), there)
            if waiting.is_full():
                done = part.trials_of(chunks[-1]).stop // seeds * seeds  # configurations that all seeds have measured
                waiting.release(may_stay(_joined(columns, ("status", *_metrics(columns[0])), done)))
        return _joined(columns, columns[0], None), waiting

    def _pass(
        self, part: Plan, chunks: range, state: _State | None, until: int, rung: int
    ) -> list[tuple[Columns, _State]]:
        """Some chunks side by side: from the disk, if an earlier process has taken them there."""
        plan, store = self.plan, self.store
        known = [None if store is None else store.rung(rung, chunk, self.owner) for chunk in chunks]
        if all(one is not None for one in known):
            if self.bar:
                steps = until - (0 if state is None else state.step)
                self.bar.skip(steps * sum(len(part.trials_of(chunk)) for chunk in chunks))
            return [(_named(one, "column."), _from_disk(one, until)) for one in known if one is not None]
        resume = None if state is None else _packed(part, chunks, state)
        options: dict[str, Any] = {"keep_params": self.keep_params, "bar": self.bar, "narrowed": self.shelf.narrowed}
        trials, saved = run_until(part, chunks, until, resume=resume, whole=plan, **options)
        ran = []
        for i, chunk in enumerate(chunks):
            ran.append((columns_of(part, trials[i]), _unpacked(saved, i, len(part.trials_of(chunk)))))
            if store is not None:
                store.write_rung(rung, chunk, _to_disk(*ran[-1], ends=until == part.steps), self.owner)
        return ran


def _joined(columns: Sequence[Columns], names: Iterable[str], trials: int | None) -> Columns:
    """The first trials of some columns in one piece; all of them where None."""
    return {name: np.concatenate([one[name] for one in columns])[:trials] for name in names}


def _metrics(columns: Columns) -> list[str]:
    return [name for name, values in columns.items() if values.ndim == 1 and name != "status"]


def _to_disk(columns: Columns, state: _State, ends: bool) -> dict[str, np.ndarray]:
    """Arrays by name; of trials that have ended no carries, from which nobody goes on."""
    named = {f"column.{name}": values for name, values in columns.items()}
    lanes = {f"lanes.{i:03}": leaf for i, leaf in enumerate(state.lanes)}
    return named if ends else named | lanes


def _from_disk(arrays: dict[str, np.ndarray], step: int) -> _State:
    lanes = _named(arrays, "lanes.")
    return _State(step, [lanes[name] for name in sorted(lanes)])


def _named(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _packed(part: Plan, chunks: range, state: _State) -> Checkpoint:
    """The trials of some chunks as a checkpoint; a short chunk is filled up with its last trial."""
    lanes = []
    for trials in map(part.trials_of, chunks):
        filled = state.of(np.minimum(trials.start + np.arange(part.width), trials.stop - 1))
        lanes.append([*filled.lanes[:-3], *(history.T for history in filled.lanes[-3:])])
    return Checkpoint(state.step, lanes)


def _unpacked(saved: Checkpoint, i: int, trials: int) -> _State:
    carry, histories = saved.lanes[i][:-3], saved.lanes[i][-3:]
    lanes = [*(leaf[:trials] for leaf in carry), *(history.T[:trials] for history in histories)]
    return _State(saved.step, lanes)


def _medians(columns: Columns, rule: Rule) -> np.ndarray:
    """The median of the metric of every configuration over the seeds that decide, infinitely bad where most failed."""
    sign, deciding = SIGNS[rule.direction], rule.deciding
    values = sign * columns[rule.pruner.metric].astype(float)
    lost = np.isin(columns["status"], (Status.NON_FINITE, Status.DIVERGED)) | ~np.isfinite(values)
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
    for name in ("loss", "grad_norm", "update_norm"):
        columns[name][np.arange(columns[name].shape[1]) > last[:, None]] = np.nan
