"""Confidence intervals of what a study measured over repetitions, and minima that lie between rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float


def bootstrap(
    statistic: Callable[..., Any], *samples: Float[np.ndarray, "repetitions ..."], coverage: float = 0.95
) -> tuple[float, float]:
    """A percentile bootstrap interval of a statistic of repetitions, which are resampled together.

    Arguments:
        statistic: `statistic(*samples)`, a number; it sees resampled repetitions along the leading axis.
        samples: what was measured, with one leading axis of repetitions (seeds, splits) each, all of one length; what
            belongs to one repetition stays together, so differences are paired.
        coverage: probability of the interval, in (0, 1); approximate.

    Returns:
        (low, high), from 2,000 resamples with a fixed seed: the same samples give the same interval.

    Example:
        >>> import numpy as np
        >>> low, high = bootstrap(np.mean, np.array([1.0, 2.0, 3.0, 4.0]))
        >>> low < 2.5 < high
        True

    Source: Efron, 1979.
    """
    count = len(samples[0])
    rows = np.random.default_rng(0).integers(count, size=(2000, count))
    values = [statistic(*(sample[row] for sample in samples)) for row in rows]
    low, high = np.quantile(values, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)


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


def best_rate(rates: Float[np.ndarray, " rates"], losses: Float[np.ndarray, " rates"]) -> float:
    """The rate of least loss, between rates: the vertex of the parabola through the lowest three, on log axes.

    Arguments:
        rates: positive, increasing, evenly spaced in their logarithms.
        losses: at each rate, positive.

    Returns:
        The rate; that of the lowest loss where it lies at an end, or beside a loss that is not finite.

    Example:
        >>> import numpy as np
        >>> rates = np.array([0.01, 0.1, 1.0, 10.0])
        >>> round(best_rate(rates, np.exp((np.log10(rates) + 0.3) ** 2)), 6) == round(10**-0.3, 6)
        True
    """
    best = int(np.argmin(losses))
    around = np.log(losses[max(best - 1, 0) : best + 2])
    if len(around) < 3 or not np.isfinite(around).all():
        return float(rates[best])
    left, middle, right = around
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    return float(rates[best] * (rates[best + 1] / rates[best]) ** shift)
