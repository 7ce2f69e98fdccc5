"""Whether two tuned methods differ: the luck in choosing the configurations, and in the seeds."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .. import _checks
from ._budget import _shares

DEALS = 4000  # drawn, where not all can be summed
RESAMPLES = 1000


class Entry(NamedTuple):
    """What a test needs of a method; of all values the lower is the better.

    Attributes:
        tuning: one value per configuration, by which they are ranked.
        scoring: their values at the seeds that score.
    """

    tuning: Float[np.ndarray, " configurations"]
    scoring: Float[np.ndarray, "configurations seeds"]

    @property
    def ranked(self) -> Float[np.ndarray, "configurations seeds"]:
        """The scoring values in the order of the tuning, best first."""
        return self.scoring[np.argsort(self.tuning, kind="stable")]


def tuned_test(
    first: tuple[Float[np.ndarray, " configurations"], Float[np.ndarray, "configurations seeds"]],
    second: tuple[Float[np.ndarray, " configurations"], Float[np.ndarray, "configurations seeds"]],
    budget: int | None = None,
) -> float:
    """The two-sided p-value of the difference of two tuned methods, the luck of tuning and of the seeds included.

        D = E_k(first) - E_k(second),     E_k = sum_i s_(i) C(n - i, k - 1) / C(n, k)
        p = P(|D* + t std(d) / sqrt(m)| >= |D|)

    s_(i) is the scoring value of the i-th best configuration by tuning. D* is D after all configurations were dealt to
    the two methods at random, which changes nothing if they are one method under two names; t is Student's, with m - 1
    degrees of freedom, and d are the differences at the m scoring seeds. A deal with |D*| >= |D| counts whole. So
    p is at least that of the permutation test of the configurations, which is exact, and at least that of the paired
    t-test of d. Of k = n all deals are summed, otherwise 4,000 are drawn, always the same.

    Arguments:
        first: (tuning, scoring): what each of n configurations reached by the tuning seeds, and its values at the
            scoring seeds; of both the lower is the better, and all are finite.
        second: the same of the other method, with as many configurations and the same scoring seeds.
        budget: k, from 1 to n; n when None.

    Returns:
        p, in (0, 1].

    Raises:
        ValueError: other numbers of configurations or seeds, fewer than two scoring seeds, a value that is not finite.

    Example:
        >>> import numpy as np
        >>> from jaxopt_notes.race import tuned_test
        >>> noise = np.random.default_rng(0).normal(size=(2, 32, 9))
        >>> same = tuned_test((noise[0, :, 0], noise[0, :, 1:]), (noise[1, :, 0], noise[1, :, 1:]))
        >>> better = tuned_test((noise[0, :, 0] - 9, noise[0, :, 1:] - 9), (noise[1, :, 0], noise[1, :, 1:]))
        >>> same > 0.05, better < 0.001
        (True, True)

    Source: Fisher, 1935, of permutations; Student, 1908. Both at once: `scripts/bench/race_calibration.py`.
    """
    one, other = (Entry(np.asarray(tuning, float), np.asarray(scoring, float)) for tuning, scoring in (first, second))
    entries = (one, other)
    shapes = [each.shape for entry in entries for each in entry]
    if (
        len({*shapes}) > 2
        or one.scoring.ndim != 2
        or any(each.scoring.shape[:1] != each.tuning.shape for each in entries)
    ):
        raise ValueError(f"both methods need as many configurations and the same seeds, got shapes {shapes}")
    count, seeds = one.scoring.shape
    if seeds < 2:
        raise ValueError(f"one seed shows no spread: scoring needs at least 2 seeds, got {seeds}")
    if not all(np.isfinite(each).all() for entry in entries for each in entry):
        raise ValueError("all values must be finite: give a failed run the value that it is to count as")
    return difference_test(one, other, count if budget is None else _checks.count("budget", budget, high=count))[1]


def seed_scores(entry: Entry, budget: int) -> Float[np.ndarray, " seeds"]:
    """E_k at every scoring seed."""
    return shares_of(len(entry.tuning), budget) @ entry.ranked


def curve_of(entry: Entry, most: int) -> Float[np.ndarray, " budgets"]:
    """E_1, ..., E_most, the mean over the scoring seeds."""
    return _shares(len(entry.tuning), most) @ entry.ranked.mean(axis=1)


@functools.lru_cache(maxsize=64)
def shares_of(count: int, budget: int) -> Float[np.ndarray, " configurations"]:
    """How often the i-th best of n configurations is the best of k."""
    return _shares(count, budget)[budget - 1]


def difference_test(first: Entry, second: Entry, budget: int, shift: float = 0.0) -> tuple[float, float]:
    """(D, p): the difference E_k(first) - shift - E_k(second), and how probable one so large is by luck."""
    from scipy.special import stdtr

    seeds = first.scoring.shape[1]
    each = seed_scores(first, budget) - shift - seed_scores(second, budget)
    difference = float(each.mean())
    if difference == 0:
        return 0.0, 1.0
    tuning = np.concatenate([first.tuning - shift, second.tuning])
    means = np.concatenate([first.scoring.mean(axis=1) - shift, second.scoring.mean(axis=1)])
    deals, chances, unseen = _deals(len(first.tuning), budget)
    dealt = np.abs(deals(means[np.argsort(tuning, kind="stable")]))
    size = abs(difference) * (1 - 1e-12)
    whole = dealt >= size
    error = each.std(ddof=1) / np.sqrt(seeds)
    # Differences that are equal up to rounding have no error of their own.
    if error > 1e-12 * abs(difference):
        beyond = stdtr(seeds - 1, (dealt - size) / error) + stdtr(seeds - 1, (-dealt - size) / error)
        whole = np.where(whole, 1.0, beyond)
    return difference, float(min(1.0, unseen + chances @ whole))


class _Deals(NamedTuple):
    """Differences of all deals from the mean scores in the order of the tuning, and how probable each deal is.

    Attributes:
        differences: from the scores of 2n configurations, best tuned first, to D* of every deal.
        chances: the probability of each.
        unseen: that of the deal which happened, where it is not among them.
    """

    differences: Callable[[np.ndarray], np.ndarray]
    chances: Float[np.ndarray, " deals"]
    unseen: float


@functools.lru_cache(maxsize=8)
def _deals(count: int, budget: int) -> _Deals:
    """The deals of 2n configurations to two methods.

    Of k = n the difference is that of the best of all and the best that the other method was dealt: the j best went to
    one method, and the next to the other, which C(2n - j - 1, n - j) of C(2n, n) deals do.
    """
    if budget == count:
        ranks = np.arange(1, count + 1)
        total = math.comb(2 * count, count)
        chances = np.array([2 * math.comb(2 * count - j - 1, count - j) / total for j in ranks.tolist()])
        return _Deals(lambda scores: scores[0] - scores[ranks], chances, 0.0)
    random = np.random.default_rng(0)
    mine = random.permuted(np.repeat([[True, False]], count, axis=1).repeat(DEALS, axis=0), axis=1)
    shares = shares_of(count, budget)
    places = np.where(mine, np.cumsum(mine, axis=1), np.cumsum(~mine, axis=1)) - 1
    weights = np.where(mine, shares[places], -shares[places])
    return _Deals(lambda scores: weights @ scores, np.full(DEALS, 1 / (DEALS + 1)), 1 / (DEALS + 1))


def difference_interval(first: Entry, second: Entry, budget: int, level: float) -> tuple[float, float]:
    """All differences that the test does not exclude: those which, taken off the first method, leave p > level."""
    difference, _ = difference_test(first, second, budget)
    means = np.concatenate([first.scoring.mean(axis=1), second.scoring.mean(axis=1)])
    furthest = 4 * (abs(difference) + np.ptp(means) + np.ptp(first.scoring) + np.ptp(second.scoring))

    def end(side: int) -> float:
        def inside(distance: float) -> bool:
            return difference_test(first, second, budget, difference + side * distance)[1] > level

        if furthest == 0:
            return difference
        # The first place outside, looking away from the difference: p need not fall evenly.
        distances = furthest * np.append(0.0, 2.0 ** np.arange(-24, 1))
        outside = next((i for i, distance in enumerate(distances) if not inside(distance)), None)
        if outside is None:
            return side * math.inf
        low, high = distances[max(outside - 1, 0)], distances[outside]
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (middle, high) if inside(middle) else (low, middle)
        return difference + side * high

    return end(-1), end(1)


def band_of(entry: Entry, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle 95 % of E_1, ..., E_most over bootstrap samples of the configurations and of the scoring seeds."""
    random = np.random.default_rng(0)
    count, seeds = entry.scoring.shape
    ranks = np.sort(random.integers(count, size=(RESAMPLES, count)), axis=1)
    drawn = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    means = drawn @ entry.ranked.T
    curves = np.take_along_axis(means, ranks, axis=1) @ _shares(count, most).T
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    return low, high
