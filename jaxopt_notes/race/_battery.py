"""The battery of tasks, run: which methods pass what, and after how many trials of random search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from .. import _checks
from ..minimize import Status
from ..problems import Task, battery
from ..sweeps import Space, sweep
from ..sweeps.table.axes import axes_of
from ._profile import METHOD

if TYPE_CHECKING:
    import xarray

TASK = "task"
Counts = Int[np.ndarray, "..."] | Sequence[int] | int
Method = tuple[Callable[..., optax.GradientTransformation], Space]


def run_battery(
    methods: Mapping[str, Method],
    tasks: Mapping[str, Task] | None = None,
    *,
    seeds: int = 1,
    key: Key[Array, ""] | None = None,
    progress: bool = True,
) -> xarray.Dataset:
    """Run methods with spaces of hyperparameters on every task, and count the configurations that pass.

    A configuration passes a task if, from every seed, its run ends finite with the metric at most the threshold. Each
    task and method is one sweep, with one compiled program.

    Arguments:
        methods: name -> (optimizer, space), as for several families of a sweep. Spaces of one size, drawn at random,
            make the counts of several methods comparable.
        tasks: name -> `Task`; the whole `battery()` when None.
        seeds: of every configuration.
        key: root of all randomness; `jax.random.key(0)` when None.
        progress: show a progress bar on standard error.

    Returns:
        A Dataset over `task` and `optimizer`: `passes`, how many configurations pass; `best`, the lowest metric of any
        run that ended finite; `trials_half` and `trials_most`, the trials of random search after which one has passed
        with a chance of 50 % and 90 % (`trials_to_pass`); infinity where none passes. Over `optimizer`: `trials`, the
        number of configurations. Over `task`: `group` and `threshold`.

    Raises:
        TypeError, ValueError: no method or no task, or as `sweep`.

    Example:
        >>> import jaxopt_notes as jon
        >>> from jaxopt_notes.race import run_battery
        >>> space = jon.grid(learning_rate=[0.001, 0.01, 0.1])
        >>> methods = {"descent": (jon.gradient_descent, space), "adam": (jon.adam, space)}
        >>> tasks = {"plateau": jon.problems.battery()["plateau"]}
        >>> run_battery(methods, tasks, progress=False).passes.values.tolist()
        [[0, 1]]

    Source: the form is that of HeavyBall's diagnostic benchmark, 2026.
    """
    import tqdm
    import xarray

    tasks = battery() if tasks is None else tasks
    for name, given in (("methods", methods), ("tasks", tasks)):
        if not given:
            raise ValueError(f"{name} must hold at least one entry")
    shape = (len(tasks), len(methods))
    passes, best = np.zeros(shape, int), np.full(shape, np.nan)
    with tqdm.tqdm(total=passes.size, disable=not progress) as bar:
        for row, task in enumerate(tasks.values()):
            for column, (optimizer, space) in enumerate(methods.values()):
                passes[row, column], best[row, column] = _count(task, optimizer, space, seeds, key)
                bar.update()
    trials = np.array([len(space) for _, space in methods.values()])
    variables = {
        "passes": ((TASK, METHOD), passes),
        "best": ((TASK, METHOD), best),
        "trials_half": ((TASK, METHOD), trials_to_pass(passes, trials, 0.5)),
        "trials_most": ((TASK, METHOD), trials_to_pass(passes, trials, 0.9)),
        "trials": (METHOD, trials),
        "group": (TASK, [task.group for task in tasks.values()]),
        "threshold": (TASK, [task.threshold for task in tasks.values()]),
    }
    return xarray.Dataset(variables, {TASK: list(tasks), METHOD: list(methods)}, {"seeds": seeds})


def _count(
    task: Task,
    optimizer: Callable[..., optax.GradientTransformation],
    space: Space,
    seeds: int,
    key: Key[Array, ""] | None,
) -> tuple[int, float]:
    """How many configurations pass, and the lowest metric."""
    table = sweep(
        task.problem,
        optimizer,
        space,
        seeds=seeds,
        steps=task.steps,
        every=task.steps,
        record=["loss"],
        batch_size=task.batch_size,
        key=key,
        progress=False,
    )
    finite = (table["status"] != Status.NON_FINITE) & np.isfinite(table[task.metric])
    lowest = table[task.metric].where(finite).min()
    return int(passed(table, task).sum()), float(lowest)


def passed(table: xarray.Dataset, task: Task) -> Bool[np.ndarray, " configurations"]:
    """Whether each configuration of a sweep passes a task from every seed.

    Arguments:
        table: of a sweep of the task's problem.
        task: of the battery.

    Returns:
        A truth value for every configuration, in the order of the axes of the table.

    Raises:
        ValueError: the table has no column of the task's metric.

    Example:
        >>> import jaxopt_notes as jon
        >>> from jaxopt_notes.race import passed
        >>> task = jon.problems.battery()["plateau"]
        >>> table = jon.sweep(task.problem, jon.adam, jon.grid(learning_rate=[0.001, 0.1]), steps=task.steps,
        ...                   progress=False)
        >>> passed(table, task).tolist()
        [False, True]
    """
    _checks.choice("metric", task.metric, [str(name) for name in table])
    order = (*axes_of(table), "seed")
    values, status = (table[name].transpose(*order).values for name in (task.metric, "status"))
    # A run that stopped before its first infinity rests at a finite point, and has not passed.
    reached = (values <= task.threshold) & (status >= Status.COMPLETED) & (status != Status.NON_FINITE)
    return reached.all(axis=-1).ravel()


def chance_of_pass(passes: Counts, trials: Counts, budget: int) -> Float[np.ndarray, "..."]:
    """The chance that at least one of k configurations passes, drawn without replacement from those tried.

        P_k = 1 - C(n - p, k) / C(n, k)

    Arguments:
        passes: p, how many of the configurations pass.
        trials: n, how many were tried.
        budget: k, in [1, n], how many are drawn.

    Returns:
        P_k in [0, 1].

    Raises:
        TypeError, ValueError: a number is out of range.

    Example:
        >>> from jaxopt_notes.race import chance_of_pass
        >>> round(float(chance_of_pass(1, 4, 2)), 3)
        0.5

    Source: Dodge et al., 2019, as `expected_best` of the values 0 and 1.
    """
    passes, trials = np.broadcast_arrays(*_counts(passes, trials))
    budget = _checks.count("budget", budget, high=int(trials.min()))
    # Of integers of any size, so that the quotient is rounded once.
    fails = [
        math.comb(int(n - p), budget) / math.comb(int(n), budget) for p, n in zip(passes.flat, trials.flat, strict=True)
    ]
    return np.asarray(1 - np.array(fails, float).reshape(passes.shape))


def trials_to_pass(passes: Counts, trials: Counts, chance: float = 0.5) -> Float[np.ndarray, "..."]:
    """The fewest trials of random search after which a configuration has passed with at least this chance.

        min {k : 1 - C(n - p, k) / C(n, k) >= chance}

    Arguments:
        passes: p, how many of the configurations pass.
        trials: n, how many were tried.
        chance: in (0, 1].

    Returns:
        k in [1, n] as floats; infinity where p = 0.

    Raises:
        TypeError, ValueError: a number is out of range.

    Example:
        >>> from jaxopt_notes.race import trials_to_pass
        >>> trials_to_pass([0, 1, 10, 100], 100).tolist()
        [inf, 50.0, 7.0, 1.0]

    Source: as `chance_of_pass`.
    """
    chance = float(_checks.scalar("chance", chance, low=0.0, high=1.0))
    if chance == 0:
        raise ValueError("chance must be above 0, got 0")
    passes, trials = np.broadcast_arrays(*_counts(passes, trials))

    def fewest(p: int, n: int) -> float:
        if p == 0:
            return math.inf
        remaining = 1.0
        for k in range(1, n + 1):
            remaining *= (n - p - k + 1) / (n - k + 1)
            if 1 - remaining >= chance - 1e-12:
                return k
        return n

    found = [fewest(int(p), int(n)) for p, n in zip(passes.ravel(), trials.ravel(), strict=True)]
    return np.array(found, float).reshape(passes.shape)


def _counts(passes: object, trials: object) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of integers, 0 <= passes <= trials."""
    counted = []
    for name, value in (("passes", passes), ("trials", trials)):
        array = np.asarray(value)
        if array.dtype.kind not in "iu":
            raise TypeError(f"{name} must be integers, got {value!r}")
        counted.append(array)
    if (counted[0] < 0).any() or (counted[0] > counted[1]).any():
        raise ValueError(f"passes must be between 0 and trials, got {passes!r} of {trials!r}")
    return counted[0], counted[1]
