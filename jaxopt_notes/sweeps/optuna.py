"""Optuna asks and learns; every batch of its trials is one sweep, so one compiled program serves the whole study."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np
import optax
from jaxtyping import Array, Key

from .. import _checks
from ..minimize import Status
from ..problems import Problem
from .points import trials as points_of
from .run import sweep
from .select import higher_is_better, middle
from .space import Space

if TYPE_CHECKING:
    import xarray
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

OWNER, RESULT, RETRIES, STUDY = (f"jaxopt_notes.{name}" for name in ("owner", "result", "retries", "definition"))
MOST_RETRIES = 3  # of a trial whose process was killed: it may be the trial that kills


def optimize(
    study: Study,
    problem: Problem,
    optimizer: Callable[..., optax.GradientTransformation],
    distributions: Mapping[str, BaseDistribution],
    *,
    trials: int,
    batch: int = 64,
    steps: int,
    seeds: int | Sequence[int] = 1,
    batch_size: int | None = None,
    metric: str = "final_loss",
    key: Key[Array, ""] | None = None,
    width: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    repair: Literal["dead", "all", "none"] = "dead",
    progress: bool = True,
) -> None:
    """Let an Optuna study choose configurations, and run them a batch at a time as one vmapped program.

    A batch of trials is asked for, run as one `sweep`, and told. All batches have one shape, so there is one
    compilation per study. Any sampler and storage will do; TPE wants `constant_liar=True`, so that a batch spreads. The
    value told is the median of the metric over the seeds. A trial that is non-finite from half of its seeds or more has
    no value and is told as FAIL; one that diverged but stayed finite is told with the bad value it has, from which
    samplers learn. The values of the seeds and the share that failed are in its `user_attrs["jaxopt_notes.result"]`.

    A killed process leaves its batch RUNNING. The next call tells those trials as FAIL and asks for their parameters
    again, at most 3 times, so the same call goes on where it stopped.

    Arguments:
        study: from `optuna.create_study`, in the direction of the metric.
        problem: what to minimise.
        optimizer: a function from numbers to an (init, update) pair.
        distributions: name of a hyperparameter -> `optuna.distributions.FloatDistribution(1e-4, 1, log=True)`, ...
        trials: how many trials the study is to have in the end, repaired ones not counted.
        batch: trials asked for at a time.
        steps, seeds, batch_size, key, width, devices, progress: as in `sweep`. The study remembers the width, on which
            floats depend.
        metric: a metric of the sweep at the end of every trial.
        repair: which RUNNING trials of earlier calls to repair: those of "dead" processes of this machine, or "all",
            also of other machines, when no other process works on this study; or "none".

    Raises:
        TypeError, ValueError: as `sweep`; the study has several objectives or the wrong direction, or it was begun with
            another definition. KeyboardInterrupt: after what is finished was told.

    Example:
        >>> import optuna, jaxopt_notes as jon
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True))
        >>> space = {"learning_rate": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True)}
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> jon.optuna.optimize(study, valley, jon.momentum, space, trials=16, batch=8, steps=50, progress=False)
        >>> len(study.trials), study.best_value < 0.1
        (16, True)

    Source: Optuna's ask-and-tell interface; Akiba et al., 2019.
    """
    trials, batch = _checks.count("trials", trials), _checks.count("batch", batch)
    _checks.choice("repair", repair, ("dead", "all", "none"))
    _check_direction(study, metric)
    definition = {
        **{"problem": problem.name, "optimizer": _checks.name_of(optimizer), "metric": metric, "steps": steps},
        **{"seeds": list(range(seeds)) if isinstance(seeds, int) else [int(seed) for seed in seeds]},
        **{"batch_size": batch_size},
    }
    width = _remembered(study, definition, width)
    if repair != "none":
        _repair(study, everyone=repair == "all")
    more = True
    while more and (left := trials - _ended(study)) > 0:
        asked = [_ask(study, distributions) for _ in range(min(batch, left))]
        try:
            space, rows = _points([trial.params for trial in asked])
            table = sweep(
                problem,
                optimizer,
                space,
                seeds=seeds,
                steps=steps,
                every=steps,
                batch_size=batch_size,
                key=key,
                width=width,
                devices=devices,
                progress=progress,
            )
            values, status = _values(table, metric)
        except BaseException:
            for trial in asked:
                _tell(study, trial)
            raise
        # Of every later batch, however few its trials; choices make groups, of which each had its own.
        width = width or max(int(one) for one in str(table.attrs["width"]).split(","))
        study.set_user_attr(STUDY, {**definition, "width": width})
        more = all(
            [_tell_result(study, trial, values[row], status[row]) for trial, row in zip(asked, rows, strict=True)]
        )
        if (status == Status.NOT_RUN).any():
            _repair(study, everyone=False)
            raise KeyboardInterrupt


def _points(params: Sequence[Mapping[str, Any]]) -> tuple[Space, list[int]]:
    """The space of the different configurations, and the row of each asked one; samplers may repeat themselves."""
    keys = [tuple(one.items()) for one in params]
    unique = list(dict.fromkeys(keys))
    columns = {name: [dict(one)[name] for one in unique] for name in params[0]}
    return points_of(columns), [unique.index(one) for one in keys]


def _ask(study: Study, distributions: Mapping[str, BaseDistribution]) -> Trial:
    trial = study.ask(dict(distributions))
    trial.set_user_attr(OWNER, [platform.node(), os.getpid()])
    return trial


def _values(table: xarray.Dataset, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The metric and the status of every configuration and seed; NaN where the run was non-finite."""
    _checks.choice("metric", metric, [str(name) for name in table if table[name].dims == table["status"].dims])
    values, status = table[metric].values.astype(float), table["status"].values
    return np.where(status == Status.NON_FINITE, np.nan, values), status


def _tell_result(study: Study, trial: Trial, values: np.ndarray, status: np.ndarray) -> bool:
    """Tell the median over the seeds, or a failure; a trial that did not run to its end is left RUNNING."""
    if (status == Status.NOT_RUN).any():
        return True
    shown = [float(value) if np.isfinite(value) else None for value in values]
    trial.set_user_attr(RESULT, {"values": shown, "failed": float((status >= Status.NON_FINITE).mean())})
    return _tell(study, trial, _median(study, shown))


def _median(study: Study, values: Sequence[float | None]) -> float | None:
    """The median over the seeds, None being infinitely bad; None if the median is."""
    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    told = middle(np.array([np.inf if value is None else sign * value for value in values]))
    return sign * told if np.isfinite(told) else None


def _tell(study: Study, trial: Trial | FrozenTrial, value: float | None = None) -> bool:
    """Tell a value, or FAIL without one; whether the sampler wants more trials."""
    from optuna.trial import TrialState

    try:
        study.tell(trial.number, value, state=TrialState.FAIL if value is None else None)
    except RuntimeError:
        # A sampler that has no more to suggest calls `study.stop`, which knows only Optuna's own loop.
        if not study.get_trials(deepcopy=False)[trial.number].state.is_finished():
            raise
        return False
    return True


def _ended(study: Study) -> int:
    """Trials that have a result, or failed for good."""
    from optuna.trial import TrialState

    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return sum(
        trial.state != TrialState.FAIL or RESULT in trial.user_attrs or trial.user_attrs.get(RETRIES, 0) >= MOST_RETRIES
        for trial in ended
    )


def _repair(study: Study, *, everyone: bool) -> None:
    """Tell the RUNNING trials of processes that are gone as FAIL, and ask for their parameters again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        if owner is None or not (everyone or _is_gone(*owner)):
            continue
        if RESULT in trial.user_attrs:  # killed between writing the result and telling it
            _tell(study, trial, _median(study, trial.user_attrs[RESULT]["values"]))
            continue
        retries = trial.user_attrs.get(RETRIES, 0)
        if retries < MOST_RETRIES:
            study.enqueue_trial(trial.params, user_attrs={RETRIES: retries + 1})
        _tell(study, trial)


def _is_gone(machine: str, pid: int) -> bool:
    """Whether the owner of a trial tells no more: a dead process of this machine, or an earlier batch of this one."""
    if machine != platform.node():
        return False
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _remembered(study: Study, definition: dict[str, Any], width: int | None) -> int | None:
    """The width of the study's earlier batches, if this call goes on with the same definition."""
    known = study.user_attrs.get(STUDY)
    if known is None:
        return width
    now = definition if width is None else {**definition, "width": width}
    changed = [
        f"{name}: {known.get(name)} there, {value} now" for name, value in now.items() if known.get(name) != value
    ]
    if changed:
        raise ValueError(f"the study was begun with another definition; {'; '.join(changed)}: use another study")
    return known["width"]


def _check_direction(study: Study, metric: str) -> None:
    """The study must have one objective, in the direction of the metric."""
    if len(study.directions) > 1:
        raise ValueError(f"study must have one objective, got {len(study.directions)}")
    wanted = "maximize" if higher_is_better(metric) else "minimize"
    if study.direction.name.lower() != wanted:
        raise ValueError(
            f"study must {wanted} {metric!r}, got the direction {study.direction.name.lower()}; make it with "
            f"optuna.create_study(direction={wanted!r})"
        )
