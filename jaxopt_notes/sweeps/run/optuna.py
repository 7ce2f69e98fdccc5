"""Optuna asks and learns; every batch of its trials is one sweep, so one compiled program serves the whole study."""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree

from ... import _checks
from ...minimize import UNFINISHED, Status
from ...problems import Problem
from ...problems._metric import Direction
from ..spec.points import trials as points_of
from ..spec.space import Space, labels_of
from ..table.columns import no_trials
from ..table.direction import check_comparable, declared_direction
from ..table.layout import loss_axes
from ..table.seeds import NOT_COMPARED, middle
from .plan import SweepPlan
from .plan import plan as make_plan
from .reading import check_reading
from .sweep import sweep

if TYPE_CHECKING:
    import xarray
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

OWNER, RESULT, RETRIES, STUDY = (f"jaxopt_notes.{name}" for name in ("owner", "result", "retries", "definition"))
MOST_RETRIES = 3  # of a trial whose process was killed: it may be the trial that kills
_LIVE: set[tuple[str, int]] = set()  # (study, number) of the trials that this process, in any thread, will report
_LIVE_LOCK = threading.Lock()  # held while a trial is asked for, so that no other thread sees it before it is here


def optimize(
    study: Study,
    problem: Problem | Callable[..., Problem],
    optimizer: Callable[..., optax.GradientTransformation],
    distributions: Mapping[str, BaseDistribution],
    *,
    trials: int,
    batch: int = 64,
    steps: int,
    seeds: int | Sequence[int] = 1,
    batch_size: int | None = None,
    data: Any = None,
    metric: str = "final_loss",
    direction: Direction | None = None,
    key: Key[Array, ""] | None = None,
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None = None,
    skip_non_finite: int = 0,
    width: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    repair: Literal["dead", "all", "none"] = "dead",
    progress: bool = True,
) -> None:
    """Let an Optuna study choose configurations, and run them a batch at a time as one vmapped program.

    A batch of trials is asked for, run as one `sweep`, and its results are passed to `study.tell`. All batches have one
    shape, so there is one compilation per study. Any sampler and storage will do; TPE wants `constant_liar=True`, so
    that a batch spreads. The value of a trial is the median of the metric over the seeds. A trial that is non-finite
    from half of its seeds or more has no value and becomes FAIL; one that diverged but stayed finite keeps its bad
    value, from which samplers learn. Its `user_attrs["jaxopt_notes.result"]` holds the `values` of the seeds, the share
    that `failed`, and in `columns` whatever else the sweep's table has for every seed, such as `final_loss`.

    A killed process leaves its batch RUNNING. The next call marks those trials as FAIL and asks for their parameters
    again, at most 3 times, so the same call resumes where it stopped. The study remembers its definition: the problem
    and its data, the distributions, the key, versions and whatever else decides a trial.

    Arguments:
        study: from `optuna.create_study`, in the direction of the metric; made with direction="maximize" it also gives
            the direction of a metric that declares none.
        problem: what to minimise; or a function that makes it, some of whose arguments have distributions.
        optimizer: a function from numbers to an (init, update) pair.
        distributions: name of a hyperparameter -> `optuna.distributions.FloatDistribution(1e-4, 1, log=True)`, ...
        trials: how many trials the study is to have in the end, repaired ones not counted.
        batch: trials asked for at a time.
        steps, seeds, batch_size, key, evaluation_params, skip_non_finite, width, devices, progress: as in `sweep`. The
            study remembers the width, on which floats depend.
        data: as in `sweep`, but no iterator that can be read once, as every batch of trials reads them from the start.
        metric: a metric of the sweep at the end of every trial. Where the loss takes numbers that have distributions,
            as a penalty, it must be one that is comparable: a metric or "validation_loss", as in `best`.
        direction: "max" or "min"; when None as the problem declares the metric (`maximize`). Losses are minimised.
        repair: which RUNNING trials of earlier calls to repair: those of "dead" processes of this machine, or "all",
            also of other machines and those without an owner, if no other process works on this study; or
            "none". Trials that another thread of this process is running are left alone.

    Raises:
        TypeError, ValueError: before a trial is asked for, as `sweep`; the study has several objectives or the wrong
            direction, or it was begun with another definition (every difference is named); the metric is a loss that
            takes numbers which have distributions. KeyboardInterrupt: after the finished trials were reported.

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
    _checks.boolean("progress", progress)
    # One record, at the end: a study has no use for histories.
    options: dict[str, Any] = {"seeds": seeds, "steps": steps, "every": steps, "batch_size": batch_size, "key": key}
    options |= {"data": data, "evaluation_params": evaluation_params, "skip_non_finite": skip_non_finite}
    space = points_of(_examples(distributions))
    plan = make_plan(problem, optimizer, space, **options, width=width, devices=devices)
    check_reading(plan.specification.options.source, stored=False, sent=False, again="a study")
    definition = _definition(plan, problem, distributions, metric)
    _check_comparable(plan, distributions, metric)
    _check_direction(study, plan.groups[0].problem, metric, direction)
    width = _remembered(study, definition, width)
    if repair != "none":
        _repair(study, everyone=repair == "all")
    more = True
    while more and (left := trials - _ended(study)) > 0:
        asked: list[Trial] = []
        try:
            for _ in range(min(batch, left)):
                asked.append(_ask(study, distributions))
            space, rows = _points([trial.params for trial in asked])
            plan = plan.over(space, width)
            table = sweep(plan, progress=progress)
            values, status = _values(table, metric)
            columns = _columns(table)
            if width is None:
                # Of every later batch, however few its trials; choices make groups, and each had a width of its own.
                width = max(group.width for group in plan.groups)
                study.set_user_attr(STUDY, {**definition, "width": width})
        # After Ctrl-C too: a trial left RUNNING would wait for the repair of a later call.
        except BaseException:
            for trial in asked:
                _tell(study, trial)
            _forget(study, asked)
            raise
        try:
            more = all(
                [
                    _tell_result(study, trial, values[row], status[row], {name: v[row] for name, v in columns.items()})
                    for trial, row in zip(asked, rows, strict=True)
                ]
            )
        finally:
            _forget(study, asked)
        if np.isin(status, UNFINISHED).any():
            _repair(study, everyone=False)
            raise KeyboardInterrupt


def _definition(plan: SweepPlan, problem: Any, distributions: Any, metric: str) -> dict[str, Any]:
    """What decides the trials of a study as data, from a plan of a few points of its space.

    Raises:
        ValueError: an unknown metric.
    """
    first = plan.groups[0]
    columns = no_trials(first, keep="")
    _checks.choice("metric", metric, [n for n, v in columns.items() if v.ndim == 1 and n not in NOT_COMPARED])
    # Axes and choices change from batch to batch, and `every` follows from the steps.
    identity = {name: value for name, value in first.identity.items() if name not in ("axes", "every", "choices")}
    name = problem.name if isinstance(problem, Problem) else _checks.name_of(problem)
    described = {name: _described(one) for name, one in distributions.items()}
    whole = {"problem": name, "metric": metric, **identity, "distributions": described}
    return json.loads(json.dumps(whole))  # as a storage returns it


def _examples(distributions: Any) -> dict[str, list[Any]]:
    """A few points of the space, which have every choice and of each number one inside its range."""
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    if not isinstance(distributions, Mapping) or not distributions:
        raise TypeError(f"distributions must map names to optuna.distributions.*, got {distributions!r}")
    values: dict[str, list[Any]] = {}
    for name, one in distributions.items():
        if not isinstance(one, BaseDistribution):
            raise TypeError(
                f"distributions[{name!r}] must come from optuna.distributions, for example FloatDistribution(1e-4, 1.0)"
                f", got {one!r}; jon.sample() is what takes the distributions of scipy.stats"
            )
        if isinstance(one, CategoricalDistribution):
            values[name] = list(one.choices)
        elif isinstance(one, FloatDistribution) and one.step is None:
            values[name] = [float(np.sqrt(one.low * one.high)) if one.log else (one.low + one.high) / 2]
        else:
            values[name] = [one.low]  # type: ignore[attr-defined]
    rows = range(max(map(len, values.values())))
    return {name: [column[row % len(column)] for row in rows] for name, column in values.items()}


def _described(distribution: BaseDistribution) -> str:
    choices = getattr(distribution, "choices", None)
    return repr(distribution) if choices is None else f"CategoricalDistribution({labels_of(choices)})"


def _points(params: Sequence[Mapping[str, Any]]) -> tuple[Space, list[int]]:
    """The space of the different configurations, and the row of each asked one; samplers may repeat themselves."""
    keys = [tuple(one.items()) for one in params]
    unique = list(dict.fromkeys(keys))
    columns = {name: [dict(one)[name] for one in unique] for name in params[0]}
    return points_of(columns), [unique.index(one) for one in keys]


def _ask(study: Study, distributions: Mapping[str, BaseDistribution]) -> Trial:
    with _LIVE_LOCK:
        trial = study.ask(dict(distributions))
        _LIVE.add((study.study_name, trial.number))
    trial.set_user_attr(OWNER, [platform.node(), os.getpid()])
    return trial


def _forget(study: Study, asked: Sequence[Trial]) -> None:
    """These trials were reported, or will be repaired."""
    with _LIVE_LOCK:
        _LIVE.difference_update((study.study_name, trial.number) for trial in asked)


def _values(table: xarray.Dataset, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The metric and the status of every configuration and seed; NaN where the run was non-finite."""
    _checks.choice("metric", metric, [str(name) for name in table if table[name].dims == table["status"].dims])
    values, status = table[metric].values.astype(float), table["status"].values
    return np.where(status == Status.NON_FINITE, np.nan, values), status


def _columns(table: xarray.Dataset) -> dict[str, np.ndarray]:
    """What the table has for every configuration and seed."""
    one_each = {str(name): one for name, one in table.data_vars.items() if one.dims == table["status"].dims}
    return {name: one.values for name, one in one_each.items() if one.dtype.kind in "iuf"}


def _tell_result(
    study: Study, trial: Trial, values: np.ndarray, status: np.ndarray, columns: Mapping[str, np.ndarray]
) -> bool:
    """Report the median over the seeds, or a failure. A trial that did not run to its end is left RUNNING."""
    if np.isin(status, UNFINISHED).any():
        return True
    shown = _plain(values)
    result = {"values": shown, "failed": float((status >= Status.NON_FINITE).mean())}
    # Before `tell`: after a kill in between, the repair reports this result.
    trial.set_user_attr(RESULT, {**result, "columns": {name: _plain(column) for name, column in columns.items()}})
    return _tell(study, trial, _median(study, shown))


def _plain(values: np.ndarray) -> list[float | None]:
    """Numbers as storages take them; None of one that is not finite."""
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _median(study: Study, values: Sequence[float | None]) -> float | None:
    """The median over the seeds, None being infinitely bad; None if the median is."""
    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    told = middle(np.array([np.inf if value is None else sign * value for value in values]))
    return sign * told if np.isfinite(told) else None


def _tell(study: Study, trial: Trial | FrozenTrial, value: float | None = None) -> bool:
    """Report a value, or FAIL without one; returns whether the sampler wants more trials."""
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
    """Mark the RUNNING trials of dead processes as FAIL, and ask for their parameters again."""
    from optuna.trial import TrialState

    with _LIVE_LOCK:
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        running = [trial for trial in running if (study.study_name, trial.number) not in _LIVE]
    for trial in running:
        owner = trial.user_attrs.get(OWNER)  # None if asked for elsewhere, or if a kill came before it was set
        if not everyone and (owner is None or not _is_gone(*owner)):
            continue
        if RESULT in trial.user_attrs:  # killed between writing the result and reporting it
            _tell(study, trial, _median(study, trial.user_attrs[RESULT]["values"]))
            continue
        retries = trial.user_attrs.get(RETRIES, 0)
        # Asked for again before it is marked as failed. A kill in between repeats a configuration; in the other order
        # it would be lost.
        if retries < MOST_RETRIES:
            study.enqueue_trial(trial.params, user_attrs={RETRIES: retries + 1})
        _tell(study, trial)


def _is_gone(machine: str, pid: int) -> bool:
    """Whether a trial that is not live here has lost its owner: a dead process of this machine, or this one."""
    if machine != platform.node():
        return False
    if pid == os.getpid():
        return True
    try:
        # Signal 0 is not delivered; it only shows whether the process exists. One of another user exists too.
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _remembered(study: Study, definition: dict[str, Any], width: int | None) -> int | None:
    """The width of the study's earlier batches, if this call has the same definition, which is recorded."""
    known = study.user_attrs.get(STUDY, {**definition, "width": None})
    there = known.get("width")
    now = {**definition, "width": there if width is None or there is None else width}
    changed = [
        f"{name}: {known.get(name)} there, {now.get(name)} now"
        for name in dict.fromkeys([*now, *known])
        if json.dumps(known.get(name)) != json.dumps(now.get(name))  # as text, since a NaN equals nothing
    ]
    if changed:
        raise ValueError(f"the study was begun with another definition; {'; '.join(changed)}: use another study")
    if there is None:
        study.set_user_attr(STUDY, {**definition, "width": width})
    return there or width


def _check_comparable(plan: SweepPlan, distributions: Mapping[str, BaseDistribution], metric: str) -> None:
    """Refuse a loss that takes numbers of its own whose distributions hold more than one value.

    Raises:
        ValueError: naming the numbers, and what to compare by.
    """
    own = dict.fromkeys(name for group in plan.groups for name in loss_axes(group))
    check_comparable(metric, [name for name in own if not distributions[name].single()])


def _check_direction(study: Study, problem: Problem, metric: str, direction: Direction | None) -> None:
    """The study must have one objective, and the direction of the metric.

    A study that maximises was made so on purpose, which gives a direction to a metric without one. Minimising is the
    default and gives none.
    """
    if len(study.directions) > 1:
        raise ValueError(f"study must have one objective, got {len(study.directions)}")
    told: Direction = "max" if study.direction.name == "MAXIMIZE" else "min"
    try:
        wanted = declared_direction(problem, metric, direction)
    except ValueError:
        if direction is not None or told == "min":
            raise
        return
    if told != wanted:
        words = {"max": "maximize", "min": "minimize"}
        raise ValueError(
            f"study must {words[wanted]} {metric!r}, got the direction {words[told]}; make it with "
            f"optuna.create_study(direction={words[wanted]!r}), or pass direction={told!r}"
        )
