"""Pruning: configurations that do worse stop early, and the lanes of the others are packed together.

Between two rungs the remaining trials wait on the host. At a rung every configuration is ranked by the median over its
seeds, without the seeds held out for reporting; all seeds of a configuration are kept or pruned together. The survivors
are packed into as few chunks as they fill and continue in the same compiled program, so a pruned trial takes no more
time.

Here are the rules and their arguments. `rungs` runs a sweep by them, `table.decisions` holds what they decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ... import _checks
from ...minimize import HISTORIES
from ...problems._metric import DIRECTIONS, Direction
from ..compute.group_plan import GroupPlan
from ..table.columns import no_trials
from ..table.direction import SIGNS, check_comparable, declared_direction, known_direction
from ..table.layout import loss_axes
from ..table.seeds import NOT_COMPARED, middle, parted


@runtime_checkable
class Pruner(Protocol):
    """What `sweep(..., prune=)` takes. Its `repr` is what the table records.

    It may have `report_seeds` as `best` takes them, a number or a tuple: seeds that decide nothing; and a `direction`,
    "max" or "min", where the metric declares none or another.
    """

    @property
    def metric(self) -> str:
        """The metric that configurations are compared by."""

    def decide_at(self, steps: int) -> list[int]:
        """The steps after which to decide, ascending, all below `steps`."""

    def survivors(self, medians: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """Which of the configurations `alive` continue. Lower medians are better; those of pruned ones are old.

        It is also called while a rung runs, with infinity for the configurations not measured yet. One that does not
        continue then must not continue later either, because its trials are released.
        """


class _Recorded:
    """Prints what it was made with; seeds that decide nothing only where there are any."""

    def __repr__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in vars(self).items() if value is not None]
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Halving(_Recorded):
    """Successive halving; made by `halving`."""

    factor: float
    rungs: int
    metric: str
    report_seeds: int | tuple[int, ...] | None = None
    direction: Direction | None = None

    def decide_at(self, steps: int) -> list[int]:
        """Steps / factor^k; all must differ and be at least 1."""
        return _distinct(self, steps, [int(steps / self.factor**k) for k in range(self.rungs - 1, 0, -1)])

    def survivors(self, medians: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """The best 1/factor of those alive; of equal ones the earlier."""
        # A quotient that should be whole may come out above by rounding, which `ceil` would make one more.
        keep = max(1, int(np.ceil(alive.sum() / self.factor - 1e-9)))
        ranked = np.argsort(np.where(alive, medians, np.inf), kind="stable")
        ranked = ranked[alive[ranked]]
        return np.isin(np.arange(len(alive)), ranked[:keep])


@dataclass(frozen=True, repr=False)
class MedianStopping(_Recorded):
    """The median rule; made by `median_stopping`."""

    checks: int
    start: float
    metric: str
    report_seeds: int | tuple[int, ...] | None = None
    direction: Direction | None = None

    def decide_at(self, steps: int) -> list[int]:
        """Evenly spaced from `start`; all must differ and be at least 1."""
        fractions = np.linspace(self.start, 1.0, self.checks + 1)[:-1]
        return _distinct(self, steps, [int(fraction * steps) for fraction in fractions])

    def survivors(self, medians: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """Those alive that are no worse than the median of all."""
        return alive & ((medians <= middle(medians)) & np.isfinite(medians) | (medians == medians[alive].min()))


def _distinct(pruner: Any, steps: int, rungs: list[int]) -> list[int]:
    """The rungs, ascending, if each leaves something to decide by and something to save."""
    if rungs[0] < 1 or rungs[-1] >= steps or len(set(rungs)) < len(rungs):
        raise ValueError(
            f"{pruner!r} would decide after {rungs} of {steps} steps, which must be different steps of at least 1: "
            f"take more steps or fewer decisions"
        )
    return rungs


def _report_seeds(given: Any) -> int | tuple[int, ...] | None:
    if given is None:
        return None
    if np.ndim(given) == 0:
        return _checks.count("report_seeds", given)
    if len(given) == 0:
        raise ValueError("report_seeds must be a number of seeds or the seeds themselves, got none")
    return tuple(_checks.count("report_seeds", seed, low=0) for seed in given)


def _direction(given: Any) -> Any:
    return None if given is None else _checks.choice("direction", given, DIRECTIONS)


def halving(
    factor: float = 3,
    rungs: int = 3,
    *,
    metric: str = "final_loss",
    direction: Direction | None = None,
    report_seeds: int | Sequence[int] | None = None,
) -> Halving:
    """Successive halving: after steps / factor^(rungs-1), ..., steps / factor the best 1 / factor continue.

    With factor 3 and 3 rungs all run for a ninth of the steps, a third of them for a third, a ninth for all: 26 % of
    the work. What is slow to start is pruned, so a low learning rate that would win in the end may be lost. The table
    holds what decided; `jaxopt_notes.sweeps.replay` decides again from it, or as another pruner would have.
    Where memory runs out the width halves, as without pruning.

    Arguments:
        factor: one in `factor` configurations continues at each rung, for `factor` times the steps; above 1.
        rungs: how many budgets there are, the full one included; one less decisions.
        metric: what to compare by, measured on the full data at every rung: "final_loss", "test_accuracy", ...
        direction: "max" if the highest continue, "min" if the lowest do; when None as the problem declares the metric
            (`maximize`). Losses are minimised.
        report_seeds: seeds that decide nothing, for `best(table, report_seeds=)`: how many, the last ones of the sweep,
            or which. The table keeps which ones they are.

    Returns:
        What `sweep(..., prune=)` takes.

    Raises:
        TypeError, ValueError: a factor of 1 or less, or fewer than 2 rungs. From `sweep`, before a trial runs: a rung
            of no steps, an unknown metric, or one that does not declare its direction.

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
    held, rungs = _report_seeds(report_seeds), _checks.count("rungs", rungs, low=2)
    return Halving(float(factor), rungs, metric, held, _direction(direction))


def median_stopping(
    checks: int = 4,
    start: float = 0.1,
    *,
    metric: str = "final_loss",
    direction: Direction | None = None,
    report_seeds: int | Sequence[int] | None = None,
) -> MedianStopping:
    """The median rule: at every check stop the configurations that are worse than the median of all.

    Those that were stopped before count with what they had then. So the first check stops about half of the
    configurations, and later ones those that have fallen behind.

    Arguments:
        checks: how many checks there are, evenly spaced.
        start: the first, as a part of the steps in (0, 1).
        metric: what to compare by, measured on the full data at every check.
        direction: "max" or "min", as in `halving`.
        report_seeds: seeds that decide nothing, as in `halving`.

    Returns:
        What `sweep(..., prune=)` takes.

    Raises:
        TypeError, ValueError: a number out of its range. From `sweep`, before a trial runs: checks that fall on one
            step or none, an unknown metric, or one that does not declare its direction.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.median_stopping(checks=3).decide_at(100)
        [10, 40, 70]

    Source: Golovin et al., 2017, section 3.2, with every trial at the same step.
    """
    if not 0 < _checks.scalar("start", start, low=0.0, high=1.0) < 1:
        raise ValueError(f"start must be between 0 and 1, got {start}")
    held, checks = _report_seeds(report_seeds), _checks.count("checks", checks)
    return MedianStopping(checks, float(start), metric, held, _direction(direction))


def check_pruner(pruner: Any, executor: Any, several: bool) -> None:
    """Refuse anything but a pruner, and options that pruning cannot be combined with.

    Raises:
        TypeError, ValueError: naming it.
    """
    if not (hasattr(pruner, "survivors") and hasattr(pruner, "decide_at")):
        raise TypeError(f"prune must come from jon.halving(...) or jon.median_stopping(...), got {pruner!r}")
    if executor is not None or several:
        others = "executor=" if executor is not None else "the other processes of jax.distributed"
        raise ValueError(
            f"prune compares all configurations at every rung, so one process must run them, on all of its devices; "
            f"leave {others} out, or run without prune="
        )


def replay(pruner: Pruner, rungs: list[int], measured: np.ndarray, *, direction: Direction | None = None) -> np.ndarray:
    """When every configuration is pruned, given what was measured: shape (rungs, configurations).

    Arguments:
        pruner: from `halving` or `median_stopping`; also another one, to see what it would have done so far.
        rungs: the steps of the decisions.
        measured: `rung_metric` of a table, NaN as unknown.
        direction: "max" or "min", of what was measured: `table.rung_metric.attrs["direction"]`. When None that of the
            pruner, and losses are minimised.

    Returns:
        Steps, shape (configurations,); NaN for those that are not pruned.

    Raises:
        ValueError: the direction of the metric is unknown.

    Example:
        >>> import numpy as np, jaxopt_notes as jon
        >>> from jaxopt_notes.sweeps import replay
        >>> replay(jon.halving(rungs=2), [30], np.array([[0.3, 0.1, 0.2]])).tolist()
        [30.0, nan, 30.0]
    """
    better = known_direction(pruner.metric, getattr(pruner, "direction", None), direction)
    alive, pruned = np.ones(measured.shape[1], bool), np.full(measured.shape[1], np.nan)
    for step, values in zip(rungs, measured, strict=True):
        survivors = pruner.survivors(np.where(np.isnan(values), np.inf, SIGNS[better] * values), alive)
        pruned[alive & ~survivors] = step
        alive &= survivors
    return pruned


class Rule(NamedTuple):
    """How a plan is pruned.

    Attributes:
        pruner: what decides.
        direction: of its metric.
        deciding: which of the seeds decide.
    """

    pruner: Pruner
    direction: Direction
    deciding: np.ndarray

    def replay(self, rungs: list[int], measured: np.ndarray) -> np.ndarray:
        """`replay` by this rule."""
        return replay(self.pruner, rungs, measured, direction=self.direction)


def rule_of(plan: GroupPlan, pruner: Pruner) -> Rule:
    """The rule for a plan, after checking that the plan has what the pruner needs."""
    # For its error, where there are too few steps to decide after.
    pruner.decide_at(plan.steps)
    columns = no_trials(plan, keep="")
    along = (*HISTORIES, *NOT_COMPARED)
    measured = [name for name in columns if name not in along]
    _checks.choice("metric", pruner.metric, measured)
    _check_looks(plan, pruner)
    varied = [name for name in loss_axes(plan) if len(np.unique(plan.space.columns()[name])) > 1]
    check_comparable(pruner.metric, varied)
    direction = declared_direction(plan.problem, pruner.metric, getattr(pruner, "direction", None))
    return Rule(pruner, direction, parted(plan.seeds, getattr(pruner, "report_seeds", None))[0])


def _check_looks(plan: GroupPlan, pruner: Pruner) -> None:
    """Refuse to decide by the validation data at a step at which they are not looked at."""
    watch, rungs = plan.static.watch, pruner.decide_at(plan.steps)
    if watch is None or pruner.metric not in dict(watch.columns):
        return
    if any(rung % watch.every for rung in rungs):
        fits = math.gcd(plan.steps, *rungs)
        raise ValueError(
            f"{pruner!r} decides after {rungs} steps, and evaluate_every={watch.every} looks at {pruner.metric} at "
            f"others; evaluate_every={fits} fits"
        )
