"""Confidence intervals of what a study measured over independent repetitions."""

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
