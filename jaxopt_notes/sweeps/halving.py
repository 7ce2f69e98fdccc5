"""Pruning: configurations that do worse stop early, and the lanes of the others are packed together.

Between two rungs the trials that are left wait on the host. At a rung every configuration is ranked by the median over
its seeds, and the seeds of a configuration live or die together. The survivors are packed into as few chunks as they
fill, which the same compiled program runs on, so a pruned trial costs no more time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from .. import _checks
from ..minimize import Status
from .decisions import Decisions
from .engine import Checkpoint, run_until
from .layout import Columns
from .plan import Plan
from .progress import Progress
from .select import higher_is_better, middle
from .shelf import Shelf
from .space import listed
from .store import Store
from .table import columns_of


class Pruner(Protocol):
    """What `sweep(..., prune=)` takes."""

    @property
    def metric(self) -> str:
        """The metric that configurations are compared by."""

    def decide_at(self, steps: int) -> list[int]:
        """The steps after which to decide, ascending, all below `steps`."""

    def survivors(self, medians: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """Which of those `alive` go on; lower medians are better, and those of pruned ones are old."""


@dataclass(frozen=True)
class Halving:
    """Successive halving; made by `halving`."""

    factor: float
    rungs: int
    metric: str

    def decide_at(self, steps: int) -> list[int]:
        """Steps / factor^k."""
        rungs = sorted({int(steps / self.factor**k) for k in range(1, self.rungs)} - {0})
        return [step for step in rungs if step < steps]

    def survivors(self, medians: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """The best 1/factor of those alive, the earlier of equal ones."""
        keep = max(1, int(np.ceil(alive.sum() / self.factor - 1e-9)))
        ranked = np.argsort(np.where(alive, medians, np.inf), kind="stable")
        ranked = np.array([c for c in ranked if alive[c]])
        return np.isin(np.arange(len(alive)), ranked[:keep])


@dataclass(frozen=True)
class MedianStopping:
    """The median rule; made by `median_stopping`."""

    checks: int
    start: float
    metric: str

    def decide_at(self, steps: int) -> list[int]:
        """Evenly spaced from `start`."""
        fractions = np.linspace(self.start, 1.0, self.checks + 1)[:-1]
        return sorted({int(fraction * steps) for fraction in fractions} - {0, steps})

    def survivors(self, medians: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """Those alive that are no worse than the median of all."""
        return alive & ((medians <= middle(medians)) & np.isfinite(medians) | (medians == medians[alive].min()))


def halving(factor: float = 3, rungs: int = 3, *, metric: str = "final_loss") -> Halving:
    """Successive halving: after steps / factor^(rungs-1), ..., steps / factor the best 1 / factor go on.

    With factor 3 and 3 rungs all run for a ninth of the steps, a third of them for a third, a ninth for all: 26 % of
    the work. What is slow to start is pruned, so a low learning rate that would win in the end may be lost.

    Arguments:
        factor: which part goes on at each rung, and how much longer; above 1.
        rungs: how many budgets there are, the full one included; one less decisions.
        metric: what to compare by, measured on the full data at every rung: "final_loss", "test_accuracy", ...

    Returns:
        What `sweep(..., prune=)` takes.

    Raises:
        TypeError, ValueError: a factor of 1 or less, or fewer than 2 rungs.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley, space = jon.problems.quadratic([1.0, 20.0]), jon.grid(learning_rate=[0.001, 0.01, 0.05])
        >>> table = jon.sweep(valley, jon.momentum, space, steps=90, prune=jon.halving(), progress=False)
        >>> table.pruned_at.values.tolist(), table.stopped_at.values.ravel().tolist()
        ([10.0, nan, 10.0], [10, 90, 10])

    Source: Jamieson and Talwalkar, 2016.
    """
    if not _checks.scalar("factor", factor, low=1.0) > 1.0:
        raise ValueError(f"factor must be above 1, got {factor}")
    return Halving(float(factor), _checks.count("rungs", rungs, low=2), metric)


def median_stopping(checks: int = 4, start: float = 0.1, *, metric: str = "final_loss") -> MedianStopping:
    """The median rule: at every check stop the configurations that are worse than the median of all.

    Those that were stopped before count with what they had then. So the first check stops about half of the
    configurations, and later ones those that have fallen behind.

    Arguments:
        checks: how many checks there are, evenly spaced.
        start: the first, as a part of the steps in (0, 1).
        metric: what to compare by, measured on the full data at every check.

    Returns:
        What `sweep(..., prune=)` takes.

    Raises:
        TypeError, ValueError: a number out of its range.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.median_stopping(checks=3).decide_at(100)
        [10, 40, 70]

    Source: Golovin et al., 2017, section 3.2, with every trial at the same step.
    """
    if not 0 < _checks.scalar("start", start, low=0.0, high=1.0) < 1:
        raise ValueError(f"start must be between 0 and 1, got {start}")
    return MedianStopping(_checks.count("checks", checks), float(start), metric)


def check_pruner(pruner: Any, executor: Any, several: bool) -> None:
    """Refuse what is no pruner, and what no pruner can be combined with.

    Raises:
        TypeError, ValueError: naming it.
    """
    if not (hasattr(pruner, "survivors") and hasattr(pruner, "decide_at")):
        raise TypeError(f"prune must come from jon.halving(...) or jon.median_stopping(...), got {pruner!r}")
    if executor is not None or several:
        raise ValueError("prune compares all configurations, so one process must run them; leave the others out")


def replay(pruner: Pruner, rungs: list[int], measured: np.ndarray) -> np.ndarray:
    """When every configuration is pruned, given what was measured: shape (rungs, configurations).

    Arguments:
        pruner: from `halving` or `median_stopping`; also another one, to see what it would have done so far.
        rungs: the steps of the decisions.
        measured: `rung_metric` of a table, NaN as unknown.

    Returns:
        Steps, shape (configurations,); NaN for those that are not pruned.
    """
    sign = -1 if higher_is_better(pruner.metric) else 1
    alive, pruned = np.ones(measured.shape[1], bool), np.full(measured.shape[1], np.nan)
    for step, values in zip(rungs, measured, strict=True):
        survivors = pruner.survivors(np.where(np.isnan(values), np.inf, sign * values), alive)
        pruned[alive & ~survivors] = step
        alive &= survivors
    return pruned


class _State(NamedTuple):
    """Trials at a rung on the host: the leaves of the carries and histories with the trial as leading axis."""

    step: int
    before: dict[str, np.ndarray]
    lanes: list[np.ndarray]

    def of(self, trials: np.ndarray) -> _State:
        return _State(self.step, {n: v[trials] for n, v in self.before.items()}, [leaf[trials] for leaf in self.lanes])


def run_pruned(
    plan: Plan,
    shelf: Shelf,
    pruner: Pruner,
    told: list[Decisions],
    *,
    keep_params: bool,
    bar: Progress | None,
    store: Store | None,
) -> Iterator[tuple[int, Columns]]:
    """Run a sweep rung by rung; yields every chunk at the end, and appends to `told` what was decided so far.

    With a store what a rung leaves is kept there until the next rung is over, so a kill costs less than a rung.
    """
    known = None if store is None or shelf.unfinished(range(plan.chunks)) else store.decisions()
    if known is not None:
        told.append(Decisions(*known))
        return
    seeds, rungs = len(plan.seeds), pruner.decide_at(plan.steps)
    alive = np.ones(len(plan.space), bool)
    decisions = Decisions([], [], [np.nan] * len(alive))
    state: _State | None = None
    columns: Columns = {}
    for rung, until in enumerate([*rungs, plan.steps]):
        part = _part(plan, alive)
        results, state = _run_rung(part, state, until, rung, keep_params, bar, store, plan.fingerprint)
        rows = (np.flatnonzero(alive)[:, None] * seeds + np.arange(seeds)).ravel()
        for name, values in results.items():
            whole = columns.setdefault(name, np.zeros((plan.trials, *values.shape[1:]), values.dtype))
            whole[rows] = values
        if until == plan.steps:
            break
        measured = _medians(results, pruner.metric, seeds)
        decisions = _decided(pruner, decisions, until, alive, measured)
        told.append(decisions)
        survive = np.isnan(decisions.pruned_at)
        state = state.of(np.flatnonzero(np.repeat(survive[alive], seeds)))
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


def _run_rung(
    part: Plan,
    state: _State | None,
    until: int,
    rung: int,
    keep_params: bool,
    bar: Progress | None,
    store: Store | None,
    fingerprint: str,
) -> tuple[Columns, _State]:
    """Take all trials of a part to the step `until`; what is measured there, and where they are."""
    columns, states = [], []
    for first in range(0, part.chunks, part.devices):
        chunks = range(first, min(first + part.devices, part.chunks))
        known = [None if store is None else store.rung(rung, chunk, fingerprint) for chunk in chunks]
        if all(one is not None for one in known):
            columns += [_named(one, "column.") for one in known if one is not None]
            states += [_from_disk(one, until) for one in known if one is not None]
            continue
        resume = None if state is None else _packed(part, chunks, state)
        trials, saved = run_until(part, chunks, until, keep_params=keep_params, bar=bar, resume=resume)
        for i, chunk in enumerate(chunks):
            columns.append(columns_of(part, trials[i]))
            states.append(_unpacked(saved, i, len(part.trials_of(chunk))))
            if store is not None:
                store.write_rung(rung, chunk, _to_disk(columns[-1], states[-1]), fingerprint)
    whole = {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}
    before = {name: np.concatenate([one.before[name] for one in states]) for name in states[0].before}
    lanes = [np.concatenate(leaves) for leaves in zip(*(one.lanes for one in states), strict=True)]
    return whole, _State(until, before, lanes)


def _to_disk(columns: Columns, state: _State) -> dict[str, np.ndarray]:
    lanes = {f"lanes.{i:03}": leaf for i, leaf in enumerate(state.lanes)}
    before = {f"before.{name}": values for name, values in state.before.items()}
    return {f"column.{name}": values for name, values in columns.items()} | before | lanes


def _from_disk(arrays: dict[str, np.ndarray], step: int) -> _State:
    lanes = _named(arrays, "lanes.")
    return _State(step, _named(arrays, "before."), [lanes[name] for name in sorted(lanes)])


def _named(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _packed(part: Plan, chunks: range, state: _State) -> Checkpoint:
    """The trials of some chunks as a checkpoint; a short chunk is filled up with its last trial."""
    before, lanes = [], []
    for trials in map(part.trials_of, chunks):
        filled = state.of(np.minimum(trials.start + np.arange(part.width), trials.stop - 1))
        before.append(filled.before)
        lanes.append([*filled.lanes[:-3], *(history.T for history in filled.lanes[-3:])])
    return Checkpoint(state.step, before, lanes)


def _unpacked(saved: Checkpoint, i: int, trials: int) -> _State:
    carry, histories = saved.lanes[i][:-3], saved.lanes[i][-3:]
    # NumPy's files know bfloat16 as two bytes, so it is two bytes from the beginning.
    plain = [leaf.view(f"V{leaf.itemsize}") if leaf.dtype.kind == "V" else leaf for leaf in carry]
    lanes = [*(leaf[:trials] for leaf in plain), *(history.T[:trials] for history in histories)]
    return _State(saved.step, {name: values[:trials] for name, values in saved.before[i].items()}, lanes)


def _medians(columns: Columns, metric: str, seeds: int) -> np.ndarray:
    """The median of the metric over the seeds of every configuration, infinitely bad where most seeds failed."""
    compared = [name for name, v in columns.items() if v.ndim == 1 and name not in ("status", "stopped_at")]
    _checks.choice("metric", metric, compared)
    sign = -1 if higher_is_better(metric) else 1
    values = sign * columns[metric].astype(float)
    lost = np.isin(columns["status"], (Status.NON_FINITE, Status.DIVERGED)) | ~np.isfinite(values)
    return sign * np.array([middle(row) for row in np.where(lost, np.inf, values).reshape(-1, seeds)])


def _decided(pruner: Pruner, before: Decisions, step: int, alive: np.ndarray, measured: np.ndarray) -> Decisions:
    last = np.array(before.measured[-1]) if before.measured else np.full(len(alive), np.nan)
    last[alive] = measured
    rungs, values = [*before.rungs, step], [*before.measured, last.tolist()]
    return Decisions(rungs, values, replay(pruner, rungs, np.array(values)).tolist())


def _mark(columns: Columns, pruned_at: np.ndarray, every: int) -> None:
    """Give pruned trials their status, unless they failed, and no history after the step at which they were pruned."""
    pruned = ~np.isnan(pruned_at)
    lost = np.isin(columns["status"], (Status.NON_FINITE, Status.DIVERGED))  # which is why they were pruned
    columns["status"][pruned & ~lost] = Status.PRUNED
    last = np.where(pruned, pruned_at // every, np.inf)
    for name in ("loss", "grad_norm", "update_norm"):
        columns[name][np.arange(columns[name].shape[1]) > last[:, None]] = np.nan
