"""`race`: run several methods with one budget each, or take their tables, and judge them."""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import optax
from jaxtyping import Array, Key

from .. import _checks
from ..problems import Problem
from ..problems._metric import SIGNS, Direction
from ..sweeps.judge.best import families_of
from ..sweeps.judge.scores import why_unfinished
from ..sweeps.run.sweep import sweep
from ..sweeps.spec.points import trials
from ..sweeps.spec.space import Space
from ..sweeps.table.direction import declared_direction
from ._compare import holm
from ._entrants import Entrant, Scale, Seeds, entrants_of, parted_seeds
from ._luck import band_of, curve_of, difference_interval, difference_test
from ._target import target_steps
from ._verdict import Race

if TYPE_CHECKING:
    import xarray

Method = tuple[Callable[..., optax.GradientTransformation], Space]
_SEEDS = 8
_DECIDED = {"seeds": "tuning_seeds and scoring_seeds", "space": "methods", "optimizer": "methods"}


def race(
    problem: Problem | Callable[..., Problem] | xarray.DataTree | Mapping[str, xarray.Dataset],
    methods: Mapping[str, Method] | None = None,
    *,
    budget: int | None = None,
    tuning_seeds: Seeds | None = None,
    scoring_seeds: Seeds | None = None,
    target: float | None = None,
    metric: str = "final_loss",
    direction: Direction | None = None,
    scale: Scale | None = None,
    level: float = 0.05,
    key: Key[Array, ""] | None = None,
    **options: Any,
) -> Race:
    """Which optimizer is better once all are tuned alike: by how much, how surely, and at which effort of tuning.

        E_k = sum_i s_(i) C(n - i, k - 1) / C(n, k)

    Every method is run at `budget` configurations of its space. The seeds of one part tune: they rank the
    configurations by their median. The seeds of the other part score: s_(i) is their mean at the i-th best. So E_k is
    what one gets who tries k configurations at random and takes the best, by seeds that had no part in the choice. Of
    losses s is the logarithm, as they spread over decades: means are geometric, and methods differ by factors.

    The method with the best E at the whole budget leads. It has beaten another if that is improbable (`level`) for one
    method under two names: by `tuned_test`, which counts the luck of the configurations and of the seeds, adjusted by
    `holm` for all pairs. Otherwise they tie. A method whose tuned configuration is at the edge of its space may win
    but has not lost: a wider space might have made it better, and the verdict names it.

    All methods take the same `steps`, or with `epochs` see the same number of examples. Time is no budget here: where
    steps take unequally long, give each method steps of its own in a race of its own, and report that.

    Arguments:
        problem: what to minimise, as in `sweep`; or what is finished: the tree of a sweep of several families, or
            name -> table.
        methods: name -> (optimizer, space), at least two; the optimizers are ours or optax's. Of a space with more
            configurations than the budget that many are drawn at random, for each method by itself. None of tables.
        budget: trials of tuning, of every method: the number of its configurations. When None all of its space, and
            of tables all configurations; of tables it may be fewer: E_k is then judged from more
            configurations than k, which shows smaller differences.
        tuning_seeds: how many seeds tune, the first ones, or which. When None 8, of tables half.
        scoring_seeds: how many seeds score, the last ones, or which; at least 2. When None 8, of tables half.
        target: a value of the loss, or of a `metric` that is a curve. With it each method is also tuned to reach the
            target early, and its step is reported: the first at which the scoring seeds show, as in
            `time_to_target`, that it is reached. If no method reaches it, the verdict begins with that; the comparison
            by the metric stands.
        metric: what is compared.
        direction: "max" or "min"; as the metric declares it when None.
        scale: "log" or "linear", on which values are averaged and compared; when None "log" of a loss that is nowhere
            negative, "linear" of all else.
        level: in (0, 0.5], the chance of a false winner among methods that are the same.
        key: root of all randomness: starts, data orders, and which configurations are drawn.
        options: of `sweep`, such as `steps`, `epochs`, `batch_size`, `store` (the same call resumes the race),
            `evaluate_every`, `prune` (the scoring seeds decide nothing there), `progress`.

    Returns:
        `Race`: print it for the verdict, `jon.plot` it for the curves; `race.tree` has all runs.

    Raises:
        TypeError, ValueError: as `sweep`; a space with fewer configurations than the budget; fewer than two methods or
            scoring seeds; a seed that would tune and score; tables with unequal budgets or other runs; a metric without
            a direction; a target and a metric that is no curve. An error after the runs has them as its `tree`.

    Example:
        >>> import jax, scipy.stats, jaxopt_notes as jon
        >>> space = jon.sample(32, jax.random.key(1), learning_rate=scipy.stats.loguniform(1e-3, 0.09))
        >>> methods = {"descent": (jon.gradient_descent, space), "adam": (jon.adam, space)}
        >>> start = lambda key: jax.random.normal(key, (2,))
        >>> valley = jon.Problem(lambda x: x[0] ** 2 + 10 * x[1] ** 2, start)
        >>> result = jon.race(valley, methods, tuning_seeds=4, scoring_seeds=8, steps=50, progress=False)
        >>> result.leader, result.winner
        ('descent', 'descent')

    Source: Dodge et al., 2019, and Tang et al., 2020, of the curve; Sivaprasad et al., 2020, of tuning as a cost;
        Dahl et al., 2023, of equal budgets; Bouthillier et al., 2021, of the luck that a comparison must count.
    """
    if scale is not None:
        _checks.choice("scale", scale, ("log", "linear"))
    level = float(_checks.number("level", level, low=0.0, high=0.5))
    if level == 0:
        raise ValueError("level must be above 0, got 0")
    if methods is None:
        if options or key is not None:
            raise TypeError(
                f"{', '.join([*options, *['key'] * (key is not None)])} needs methods: the tables are finished"
            )
        tree = _finished(problem)
    else:
        tree, budget, tuning_seeds, scoring_seeds = _run(
            problem, methods, budget, tuning_seeds, scoring_seeds, target, metric, direction, key, options
        )
    try:
        if methods is not None and len(tree.children) < len(methods):
            raise ValueError("the race was interrupted: the same call with a store resumes it")
        return _judged(tree, budget, tuning_seeds, scoring_seeds, target, metric, direction, scale, level)
    except (TypeError, ValueError) as error:
        if methods is not None:  # the runs are not lost with the verdict
            error.tree = tree  # type: ignore[union-attr]
            error.add_note(
                "The runs are kept as the attribute `tree` of this error: jon.race(error.tree, ...) judges them."
            )
        raise


def _finished(tree: Any) -> Any:
    """The tree of finished tables."""
    import xarray

    if isinstance(tree, Mapping) and not hasattr(tree, "children"):
        return xarray.DataTree.from_dict(dict(tree))
    if not hasattr(tree, "children"):
        raise TypeError(
            f"race needs a problem and methods, name -> (optimizer, space), or the tree of a sweep of several "
            f"families; got {type(tree).__name__} alone"
        )
    return tree


def _run(
    problem: Any,
    methods: Mapping[str, Method],
    budget: int | None,
    tuning: Seeds | None,
    scoring: Seeds | None,
    target: float | None,
    metric: str,
    direction: Direction | None,
    key: Any,
    options: dict[str, Any],
) -> tuple[Any, int, Seeds, Seeds]:
    """The tree of all runs, after what can be refused was refused."""
    for name, instead in _DECIDED.items():
        if name in options:
            raise TypeError(f"race takes {instead} in place of {name}")
    if not isinstance(methods, Mapping) or len(methods) < 2:
        raise ValueError(f"a race needs at least two methods, name -> (optimizer, space), got {methods!r}")
    tuning, scoring = (_SEEDS if seeds is None else seeds for seeds in (tuning, scoring))
    seeds = _all_seeds(tuning, scoring)
    parted_seeds(seeds, tuning, scoring)
    if isinstance(problem, Problem):
        direction = declared_direction(problem, metric, direction)
    if target is not None:
        _checks.number("target", target)
    root = jax.random.key(0) if key is None else _checks.key("key", key)
    families = {name: _drawn(name, one, budget, root) for name, one in methods.items()}
    sizes = {name: len(space) for name, (_, space) in families.items()}
    if len(set(sizes.values())) > 1:
        words = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(
            f"a fair race has one budget for all, and the spaces differ: {words}; give budget={min(sizes.values())}"
        )
    prune = options.get("prune")
    if dataclasses.is_dataclass(prune) and getattr(prune, "report_seeds", ()) is None:  # what decides must not score
        scored = tuple(seeds[parted_seeds(seeds, tuning, scoring)[1]].tolist())
        options = {**options, "prune": dataclasses.replace(prune, report_seeds=scored)}  # type: ignore[type-var]
    tree = sweep(problem, families, seeds=seeds.tolist(), key=root, **options)
    return tree, next(iter(sizes.values())), tuning, scoring


def _all_seeds(tuning: Seeds, scoring: Seeds) -> np.ndarray:
    """The seeds of both parts; those that are counted come one after another."""
    counts = [isinstance(seeds, (int, np.integer)) for seeds in (tuning, scoring)]
    if all(counts):
        tuned, scored = _checks.count("tuning_seeds", tuning), _checks.count("scoring_seeds", scoring)
        if scored < 2:
            raise ValueError(f"scoring_seeds must be at least 2, as one seed shows no spread; got {scored}")
        return np.arange(tuned + scored)
    if any(counts):
        raise TypeError("give tuning_seeds and scoring_seeds both as counts or both as lists of seeds")
    return np.unique(np.concatenate([np.asarray(tuning, int), np.asarray(scoring, int)]))


def _drawn(name: str, method: Any, budget: int | None, root: Any) -> Any:
    """The method with as many configurations of its space as the budget, drawn at random where there are more."""
    if not isinstance(method, tuple) or len(method) != 2 or not isinstance(method[1], Space):
        raise TypeError(
            f"method {name!r} must be a pair (optimizer, space), such as (jon.adam, grid(...)); got {method!r}"
        )
    optimizer, space = method
    if budget is None:
        return method
    budget = _checks.count("budget", budget)
    if len(space) < budget:
        raise ValueError(
            f"budget={budget} is more than the {len(space)} configurations in the space of {name!r}: give it more, as "
            f"with jon.sample({budget}, key, ...), or lower the budget"
        )
    if len(space) == budget:
        return method
    # By its name, so that a method is raced at the same configurations whatever the others are.
    own = jax.random.fold_in(root, zlib.crc32(name.encode()))
    chosen = np.sort(jax.random.permutation(own, len(space))[:budget])
    return optimizer, trials({axis: values[chosen] for axis, values in space.columns().items()})


def _judged(
    tree: Any,
    budget: int | None,
    tuning_seeds: Seeds | None,
    scoring_seeds: Seeds | None,
    target: float | None,
    metric: str,
    direction: Direction | None,
    scale: Scale | None,
    level: float,
) -> Race:
    tables = families_of(tree)
    if len(tables) < 2:
        held = ", ".join(f"{name}{why_unfinished(table)}" for name, table in tables.items())
        raise ValueError(f"a race needs at least two methods, and the tree holds {held}")
    if len({tuple(table["seed"].values.tolist()) for table in tables.values()}) > 1:
        raise ValueError("all methods need the same seeds, as they are compared seed by seed")
    seeds = next(iter(tables.values()))["seed"].values
    tuning, scoring = parted_seeds(seeds, tuning_seeds, scoring_seeds)
    entrants, direction, scale = entrants_of(tables, metric, direction, tuning, scoring, scale)
    count = len(next(iter(entrants.values())).entry.tuning)
    if budget is not None and _checks.count("budget", budget) > count:
        raise ValueError(f"budget={budget} is more than the {count} configurations of the tables")
    budget = count if budget is None else budget
    curves = _curves(entrants, budget, metric, direction, scale)
    steps, nearest = None, None
    if target is not None:
        target = float(_checks.number("target", target))
        steps, nearest = target_steps(tables, target, metric, direction, tuning, scoring, level)
    return Race(
        tree=tree,
        metric=metric,
        direction=direction,
        scale=scale,
        budget=budget,
        tuning_seeds=tuple(seeds[tuning].tolist()),
        scoring_seeds=tuple(seeds[scoring].tolist()),
        level=level,
        curves=curves,
        pairs=_pairs(entrants, curves, direction, level),
        configs={name: one.config for name, one in entrants.items()},
        failed={name: one.failed for name, one in entrants.items()},
        edges={name: one.edges for name, one in entrants.items() if one.edges},
        target=target,
        target_steps=steps,
        target_nearest=nearest,
    )


def _curves(
    entrants: Mapping[str, Entrant], budget: int, metric: str, direction: Direction, scale: Scale
) -> xarray.Dataset:
    """E_k of every method with its band, in units of the metric."""
    import xarray

    sign = SIGNS[direction]
    expected = [curve_of(one.entry, budget) for one in entrants.values()]
    bands = [band_of(one.entry, budget)[::sign] for one in entrants.values()]
    columns = {"expected": expected, "lower": [low for low, _ in bands], "upper": [high for _, high in bands]}
    count = len(next(iter(entrants.values())).entry.tuning)
    return xarray.Dataset(
        {
            name: (("optimizer", "budget"), np.exp(column) if scale == "log" else sign * np.array(column))
            for name, column in columns.items()
        },
        {"optimizer": list(entrants), "budget": np.arange(1, budget + 1)},
        {"metric": metric, "direction": direction, "scale": scale, "configurations": count},
    )


def budgets_of(budget: int) -> list[int]:
    """The powers of 2 below the budget, and the budget."""
    return [2**i for i in range(budget.bit_length()) if 2**i < budget] + [budget]


def _pairs(
    entrants: Mapping[str, Entrant], curves: xarray.Dataset, direction: Direction, level: float
) -> xarray.Dataset:
    """All pairs of methods at a few budgets; the interval only of pairs with the leader, as it takes many tests."""
    import xarray

    sign, budget = SIGNS[direction], curves.sizes["budget"]
    budgets = budgets_of(budget)
    pairs = list(itertools.combinations(entrants, 2))
    tests = np.array(
        [
            [difference_test(entrants[first].entry, entrants[second].entry, k) for k in budgets]
            for first, second in pairs
        ]
    )
    difference, p = tests[..., 0], tests[..., 1]
    adjusted = np.array([holm(column) for column in p.T]).T
    last = difference[:, -1]
    ahead = [first if gap <= 0 else second for (first, second), gap in zip(pairs, last, strict=True)]
    leader = list(entrants)[int(np.argmin(sign * curves["expected"].values[:, -1]))]
    intervals = np.full((len(pairs), 2), np.nan)
    for i, (first, second) in enumerate(pairs):
        if leader in (first, second):
            two = entrants[first].entry, entrants[second].entry
            low, high = difference_interval(*two, budget, level / len(pairs))
            intervals[i] = (low, high) if sign > 0 else (-high, -low)
    sure = adjusted[:, -1] <= level
    loses = [second if gap <= 0 else first for (first, second), gap in zip(pairs, last, strict=True)]
    fair = np.array([not entrants[name].edges for name in loses])
    better = [name if won else "" for name, won in zip(ahead, sure & fair, strict=True)]
    variables = {
        "difference": (("pair", "budget"), sign * difference),
        "p": (("pair", "budget"), p),
        "p_adjusted": (("pair", "budget"), adjusted),
        "lower": ("pair", intervals[:, 0]),
        "upper": ("pair", intervals[:, 1]),
        "fair": ("pair", fair),
        "better": ("pair", better),
    }
    names = {"first": ("pair", [first for first, _ in pairs]), "second": ("pair", [second for _, second in pairs])}
    return xarray.Dataset(variables, {**names, "budget": budgets}, {"level": level})
