"""Pairs of methods on the same seeds: which differ, by how much, and how sure that is."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .. import _checks
from ..problems._metric import SIGNS, Direction
from ..sweeps.judge.best import best, families_of
from ..sweeps.judge.scores import scores_of
from ..sweeps.table.direction import common_direction
from ..sweeps.table.seeds import parted

if TYPE_CHECKING:
    import xarray

_EXACT = 14  # seeds up to which all signs are tried
_SIGNS = 20_000  # drawn for more


def sign_flip_test(
    differences: Float[np.ndarray, "*others seeds"] | Sequence[float],
) -> Float[np.ndarray, "*others"] | np.floating:
    """The two-sided p-value of paired differences whose sign would be a coin toss if nothing differed.

        p = share of all 2^n choices of signs with |mean of the signed differences| >= |mean|

    Exact for up to 14 seeds. Beyond that it is the share among 20,000 fixed draws, the data included. With n
    seeds p is at least 2^(1 - n): 8 seeds give 0.0078 at best, and 0.001 needs 11.

    Arguments:
        differences: one per seed along the last axis, finite.

    Returns:
        The p-value of each row of differences, in (0, 1].

    Example:
        >>> from jaxopt_notes.race import sign_flip_test
        >>> float(sign_flip_test([1.0, 2.0, 1.5, 0.5]))
        0.125

    Source: Fisher, 1935; Pitman, 1937.
    """
    differences = np.asarray(differences, float)
    count = differences.shape[-1]
    if count <= _EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = np.random.default_rng(0).choice([-1, 1], (_SIGNS, count))
        signs[0] = 1
    sums = np.abs(differences @ signs.T)
    seen = np.abs(differences.sum(axis=-1, keepdims=True))
    return (sums >= seen * (1 - 1e-12)).mean(axis=-1)


def holm(p: Float[np.ndarray, " tests"] | Sequence[float]) -> Float[np.ndarray, " tests"]:
    """p-values adjusted for their number: the chance of any wrong claim among all that are below a level is the level.

        p_(i) <- max over j <= i of min(1, (m - j + 1) p_(j)),     p_(1) <= ... <= p_(m)

    Arguments:
        p: the p-values of m tests, in any order.

    Returns:
        The adjusted p-values, in the same order.

    Example:
        >>> from jaxopt_notes.race import holm
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]

    Source: Holm, 1979.
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.maximum.accumulate(np.minimum(1.0, factors * p[order]))
    return adjusted[np.argsort(order, kind="stable")]


def compare(
    tree: xarray.DataTree | Mapping[str, xarray.Dataset],
    metric: str = "final_loss",
    *,
    direction: Direction | None = None,
    report_seeds: int | None = None,
) -> xarray.Dataset:
    """Compare the best of several families in pairs, on seeds that chose none of them.

    Each family's configuration with the best median over some seeds is chosen, and compared by the others, seed by
    seed: a seed has the same start and the same order of data in all families. The p-value is that of
    `sign_flip_test`, adjusted by `holm` for the number of pairs.

    It is a test of these configurations, not of the methods, as it ignores the luck of tuning. Two searches of one
    method find configurations that do differ, and any paired test over seeds reports that. In 10,000 races of a method
    against itself a paired t-test of the tuned configurations named a winner in 20 % at the level 0.05. To learn which
    method is better use `race`: its test counts that luck and named a winner in 0.5 %.

    Arguments:
        tree: of a sweep of several families, or name -> table, all with the same seeds.
        metric: a variable over the configurations and `seed`.
        direction: "max" or "min"; as the metric declares it when None.
        report_seeds: how many seeds, the last ones, compare; half of them when None. The others choose.

    Returns:
        A Dataset over `pair`, of all pairs of families (`first`, `second`): `difference` of the means, first minus
        second, in units of the metric; `effect`, that in standard deviations of the paired differences; `p` and
        `p_adjusted`; and `better`, the name of the better one.

    Raises:
        TypeError, ValueError: as `best`; fewer than two families, other seeds, a failed run among those compared.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> families = {"slow": (jon.gradient_descent, jon.grid(learning_rate=[0.01])),
        ...             "fast": (jon.gradient_descent, jon.grid(learning_rate=[0.09]))}
        >>> tree = jon.sweep(valley, families, steps=20, seeds=4, progress=False)
        >>> jon.compare(tree).better.values.tolist()
        ['fast']

    Source: Demsar, 2006, of comparing in pairs; Bouthillier et al., 2021, of seeds as samples.
        The shares of false winners: `scripts/bench/race_calibration.py`.
    """
    import xarray

    if not isinstance(tree, Mapping):
        raise TypeError(f"tree must be of a sweep of several families, or name -> table, got {type(tree).__name__}")
    families: dict[str, Any] = families_of(tree) if hasattr(tree, "children") else dict(tree)
    if len(families) < 2:
        raise ValueError(f"tree must hold at least two families to compare, got {', '.join(families) or 'none'}")
    direction = common_direction(families.values(), metric, direction)
    values = {name: _reported(name, table, metric, direction, report_seeds) for name, table in families.items()}
    if len({tuple(seeds) for _, seeds in values.values()}) > 1:
        raise ValueError("all families must have the same seeds, as they are compared seed by seed")
    pairs = list(itertools.combinations(values, 2))
    differences = np.array([values[first][0] - values[second][0] for first, second in pairs])
    mean = differences.mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.where(mean == 0, 0.0, mean / differences.std(axis=1, ddof=1))
    p = np.asarray(sign_flip_test(differences))
    gaps = SIGNS[direction] * mean
    better = [(first if gap < 0 else second) if gap else "" for (first, second), gap in zip(pairs, gaps, strict=True)]
    variables = {
        "difference": ("pair", mean),
        "effect": ("pair", effect),
        "p": ("pair", p),
        "p_adjusted": ("pair", holm(p)),
        "better": ("pair", better),
    }
    names = {"first": ("pair", [pair[0] for pair in pairs]), "second": ("pair", [pair[1] for pair in pairs])}
    count = len(next(iter(values.values()))[1])
    return xarray.Dataset(variables, names, {"metric": metric, "direction": direction, "seeds": count})


def _reported(
    name: str, table: xarray.Dataset, metric: str, direction: Direction, report: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The metric of the best configuration at the seeds that did not choose it, and these seeds."""
    seeds = table["seed"].values
    if len(seeds) < 4:
        raise ValueError(f"seed must have at least 4 entries, some to choose by and some to compare, got {len(seeds)}")
    count = len(seeds) // 2 if report is None else _checks.count("report_seeds", report, low=2)
    _, reporting = parted(seeds, count)
    chosen = best(table, metric, direction=direction, report_seeds=count).config
    scores = scores_of(table, metric, direction)
    row = scores.configs.index(chosen)
    values = scores.measured[row, reporting] * scores.sign
    if not np.isfinite(values).all():
        raise ValueError(f"the best configuration of {name}, {chosen}, failed from a seed that compares: no difference")
    return values, seeds[reporting]
