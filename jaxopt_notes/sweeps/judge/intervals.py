"""Intervals: what a few seeds show about a median or a mean, and about the difference of two configurations."""

from __future__ import annotations

import functools
import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np

from ..table.seeds import middle

CONFIDENCE = 0.95
RESAMPLES = 4000


def median_interval(sample: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The narrowest symmetric pair of order statistics that covers the median with at least `confidence`.

    With n values the pair (k-th smallest, k-th largest) covers with 1 - 2 P(Binomial(n, 1/2) < k). When even the
    extremes do not reach `confidence` they are returned with the coverage they have.

    Returns:
        (low, high, coverage).

    Source: Thompson, 1936.
    """
    ordered = np.sort(sample)
    k, coverage = _order(len(ordered), confidence)
    return float(ordered[k - 1]), float(ordered[len(ordered) - k]), coverage


@functools.cache
def _order(n: int, confidence: float) -> tuple[int, float]:
    """(k, coverage) of the narrowest pair (k-th smallest, k-th largest) of n values."""
    # 2^n P(Binomial(n, 1/2) < k) for k = 1, 2, ..., in whole numbers: importing scipy.stats takes half a second.
    below = itertools.accumulate(math.comb(n, k) for k in range(max(1, (n + 1) // 2)))
    coverages = [float(1 - Fraction(2 * count, 2**n)) for count in below]
    best_k = max((k for k, coverage in enumerate(coverages, 1) if coverage >= confidence), default=1)
    return best_k, max(0.0, coverages[best_k - 1])


def center_of(by: str) -> Any:
    """The function that takes the median or the mean of values."""
    return middle if by == "median" else lambda values: float(np.mean(values))


def most_coverage(seeds: int) -> float:
    """The probability that the extremes of this many values enclose their median; no interval inside does better."""
    return 1 - 2.0 ** (1 - seeds)


def interval_of(sample: np.ndarray, by: str, interval: str) -> tuple[float, float, float]:
    """(low, high, coverage) around the median or mean of a sample."""
    if interval == "order":
        return median_interval(sample)
    low, high = _bootstrap(sample[:, None], by)[:, 0]
    return float(low), float(high), min(CONFIDENCE, most_coverage(len(sample)))


def _bootstrap(samples: np.ndarray, by: str) -> np.ndarray:
    """The 2.5 % and 97.5 % quantiles of the difference, last column minus first, or of the only column, resampled."""
    n = len(samples)
    # Always the same resamples, so that one table gives one answer.
    drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    with np.errstate(invalid="ignore"):  # infinite values average to infinite ones, or cancel
        centers = (np.median if by == "median" else np.mean)(samples[drawn], axis=1)
        statistic = centers if centers.shape[1] == 1 else centers[:, 1:] - centers[:, :1]
    tail = (1 - CONFIDENCE) / 2
    # Two infinite values differ by NaN: both configurations failed, so neither is better. And as an infinite value
    # cannot be interpolated, the quantile is one of the values.
    statistic = np.where(np.isnan(statistic), 0.0, statistic)
    return np.quantile(statistic, [tail, 1 - tail], axis=0, method="closest_observation")


def told_apart(other: np.ndarray, winner: np.ndarray, by: str, interval: str) -> bool:
    """Whether the paired differences show, with the confidence asked for, that `other` is worse."""
    if len(other) == 0:
        return False
    if interval == "bootstrap":
        low = _bootstrap(np.stack([winner, other], axis=1), by)[0, 0]
        return bool(low > 0 and most_coverage(len(other)) >= CONFIDENCE)
    both_failed = np.isinf(other) & np.isinf(winner)
    difference = np.where(both_failed, 0.0, other) - np.where(both_failed, 0.0, winner)
    low, _, coverage = median_interval(difference)
    return bool(low > 0 and coverage >= CONFIDENCE)


def finite_mean(row: np.ndarray) -> float:
    """The mean of what is finite; infinite where nothing is."""
    finite = row[np.isfinite(row)]
    return float(finite.mean()) if len(finite) else np.inf
