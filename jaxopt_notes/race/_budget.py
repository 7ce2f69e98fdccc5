"""The best score after k trials, for every tuning budget k."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .. import _checks
from ..problems._metric import Direction
from ..sweeps.judge.scores import scores_of
from ..sweeps.table.seeds import middle

if TYPE_CHECKING:
    import xarray

RESAMPLES = 1000


def expected_best(
    values: Float[np.ndarray, " n"] | Sequence[float], most: int | None = None
) -> Float[np.ndarray, " budgets"]:
    """The expected smallest of k values drawn from n without replacement, for k = 1, 2, ..., exactly.

        E_k = sum_i v_(i) C(n - i, k - 1) / C(n, k),     v_(1) <= v_(2) <= ... <= v_(n)

    The i-th smallest is the best of k if the other k - 1 come from the n - i larger ones.

    Arguments:
        values: n numbers, in any order.
        most: the largest budget; n when None.

    Returns:
        E_1, E_2, ...: the mean of the values first, and for k = n the smallest.

    Example:
        >>> from jaxopt_notes.race import expected_best
        >>> expected_best([1.0, 2.0, 3.0]).round(3).tolist()
        [2.0, 1.333, 1.0]

    Source: Dodge et al., 2019, with replacement; the exact form Tang et al., 2020.
    """
    ordered = np.sort(np.asarray(values, float))
    if not len(ordered):
        raise ValueError("values must hold at least one number")
    most = len(ordered) if most is None else _checks.count("most", most, high=len(ordered))
    shares = _shares(len(ordered), most)
    # 0 times infinity is 0 here: a value that is never the best does not count.
    return np.where(shares > 0, shares * np.where(shares > 0, ordered, 0.0), 0.0).sum(axis=1)


def _shares(count: int, most: int) -> Float[np.ndarray, "budgets n"]:
    """C(n - i, k - 1) / C(n, k): how often the i-th smallest of n is the best of k."""
    logs = np.array([math.lgamma(i + 1) for i in range(count + 1)])
    budget = np.arange(1, most + 1)[:, None]
    larger = count - np.arange(1, count + 1)  # how many values are larger than each
    enough = larger >= budget - 1
    rest = np.where(enough, larger - (budget - 1), 0)
    log_share = logs[larger] - logs[budget - 1] - logs[rest] - (logs[count] - logs[budget] - logs[count - budget])
    return np.where(enough, np.exp(log_share), 0.0)


def budget_curve(
    table: xarray.Dataset | xarray.DataTree,
    metric: str = "final_loss",
    *,
    direction: Direction | None = None,
    most: int | None = None,
    failed: float | None = None,
) -> xarray.Dataset:
    """The expected value of the best configuration after k trials of random search, for every budget k.

        E_k = sum_i v_(i) C(n - i, k - 1) / C(n, k)

    v are the medians over the seeds of the n configurations in the table, best first. A method that is better only
    after much tuning has another curve than one that is good at once, and a single number hides which is which.

    Arguments:
        table: of a sweep; of several families the tree, and each has its curve.
        metric: a variable over the configurations and `seed`.
        direction: "max" or "min"; as the metric declares it when None.
        most: the largest budget; the number of configurations, of the largest family, when None.
        failed: what a configuration counts that failed from most of its seeds; the worst finite value when None.

    Returns:
        A Dataset over `budget`, and `optimizer` for a tree: `expected`, `lower` and `upper` (the middle 95 % over
        bootstrap samples of the configurations), in units of the metric; NaN beyond a family's number of them.

    Raises:
        TypeError, ValueError: as `best`; no configuration is finite.

    Example:
        >>> import jaxopt_notes as jon
        >>> space = jon.grid(learning_rate=[0.001, 0.01, 0.09])
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, space, steps=50, progress=False)
        >>> curve = jon.budget_curve(table)
        >>> bool(curve.expected[0] > curve.expected[1] > curve.expected[2])
        True

    Source: Dodge et al., 2019; Tang et al., 2020.
    """
    import xarray

    if not hasattr(table, "children"):
        one: Any = table
        return _curve(one, metric, direction, most, failed)
    families = {str(name): child.to_dataset() for name, child in table.children.items()}
    if not families:
        raise ValueError("the tree holds no family of a sweep")
    curves = {name: _curve(child, metric, direction, most, failed) for name, child in families.items()}
    longest = max(curve.sizes["budget"] for curve in curves.values())
    budgets = np.arange(1, longest + 1)
    joined = xarray.concat([curve.reindex(budget=budgets) for curve in curves.values()], dim="optimizer")
    return joined.assign_coords(optimizer=list(curves)).assign_attrs(metric=metric)


def _curve(
    table: xarray.Dataset, metric: str, direction: Direction | None, most: int | None, failed: float | None
) -> xarray.Dataset:
    import xarray

    scores = scores_of(table, metric, direction)
    values = medians(scores.values, scores.ran)
    values = finite(values, None if failed is None else scores.sign * failed, metric)
    most = len(values) if most is None else min(most, len(values))
    random = np.random.default_rng(0)  # one table gives one answer
    draws = values[random.integers(len(values), size=(RESAMPLES, len(values)))]
    resampled = np.sort(draws, axis=1) @ _shares(len(values), most).T
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    sides = (low, high) if scores.sign > 0 else (high, low)
    columns = {"expected": expected_best(values, most), "lower": sides[0], "upper": sides[1]}
    variables = {name: ("budget", scores.sign * column) for name, column in columns.items()}
    attributes = {"metric": metric, "direction": scores.direction, "configurations": len(values)}
    return xarray.Dataset(variables, {"budget": np.arange(1, most + 1)}, attributes)


def medians(values: np.ndarray, ran: np.ndarray) -> np.ndarray:
    """The median of every configuration that was run from all its seeds."""
    whole = ran.all(axis=1)
    whole = whole if whole.any() else ran.any(axis=1)
    return np.array([middle(row[r]) for row, r in zip(values[whole], ran[whole], strict=True)])


def finite(values: np.ndarray, failed: float | None, metric: str) -> np.ndarray:
    """The values with a number in place of infinity."""
    known = values[np.isfinite(values)]
    if not len(known):
        raise ValueError(f"no configuration has a finite {metric}, so there is nothing to compare")
    return np.where(np.isfinite(values), values, known.max() if failed is None else failed)
