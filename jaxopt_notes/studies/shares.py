"""Exact confidence intervals of shares."""

from __future__ import annotations


def exact_interval(successes: int, trials: int, coverage: float = 0.95) -> tuple[float, float]:
    """The exact (Clopper-Pearson) interval of a share that was counted in independent trials.

    Arguments:
        successes: how many, 0 <= successes <= trials.
        trials: of how many, at least 1.
        coverage: probability of the interval, at least; in (0, 1).

    Returns:
        (low, high) in [0, 1].

    Example:
        >>> low, high = exact_interval(0, 100)
        >>> low, round(high, 3)  # the rule of three, with two tails: 3.7 / 100
        (0.0, 0.036)

    Source: Clopper and Pearson, 1934.
    """
    from scipy.stats import binomtest

    found = binomtest(int(successes), int(trials)).proportion_ci(coverage)
    return float(found.low), float(found.high)
