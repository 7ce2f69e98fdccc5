"""How wide the range of a hyperparameter is within which a method is nearly as good as at its best."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .. import _checks
from .._shown import readable
from ..problems._metric import Direction
from ..sweeps.judge.scores import scores_of, unfinished, warnings_of, why_unfinished, with_gaps
from ..sweeps.table.axes import hyperparameters

if TYPE_CHECKING:
    import xarray

RESAMPLES = 1000


@readable
@dataclass(frozen=True)
class Sensitivity:
    """The range of a hyperparameter within a factor of the best.

    Attributes:
        axis: the hyperparameter.
        decades: log10(high / low), the width of the range.
        interval: (low, high) in decades that covers the width over other seeds, nominally with 95 %.
        low, high: the ends of the range.
        best: where the metric is best.
        factor: how much worse than the best is still in the range.
        clipped: which ends, of "low" and "high", are those of the values that were tried: the range goes further.
        metric: what was measured.
        profile: (value of the hyperparameter, best median of the metric there), in ascending order; infinite where
            most seeds failed, 0 of a metric that is the better the higher.
        unfinished: number of trials that were interrupted or did not begin; the values of the hyperparameter at which
            one is missing do not count.
    """

    axis: str
    decades: float
    interval: tuple[float, float]
    low: float
    high: float
    best: float
    factor: float
    clipped: tuple[str, ...]
    metric: str
    profile: tuple[tuple[float, float], ...] = ()
    unfinished: int = 0

    def __str__(self) -> str:
        least = "at least " if self.clipped else ""
        ends = f" (the {' and '.join(self.clipped)} end was not reached)" if self.clipped else ""
        low, high = self.interval
        seeds = f" (over seeds {low:.2f} to {high:.2f})" if np.isfinite(high) else ""
        answer = (
            f"{self.metric} is within a factor of {self.factor:g} of its best over {least}{self.decades:.2f} decades "
            f"of {self.axis}{seeds}, from {self.low:.3g} to "
            f"{self.high:.3g}, best at {self.best:.3g}{ends}"
        )
        return "\n".join([answer, *warnings_of(self.unfinished)])


def sensitivity(
    table: xarray.Dataset,
    axis: str = "learning_rate",
    *,
    factor: float = 2.0,
    metric: str = "final_loss",
    direction: Direction | None = None,
) -> Sensitivity:
    """The width, in decades, of the range of a hyperparameter in which a metric is within a factor of its best.

        width = log10(high / low),     v(x) <= factor v(best) for all x in [low, high]

    v(x) is the best median over the seeds of all configurations with that x: the other hyperparameters are tuned anew.
    Between two values it is interpolated, log v over log x, so the width does not jump by whole steps of the grid. It
    grows with every finer grid towards the true width. A factor of 2 is half or twice: a metric that is higher when
    better may fall to half of its best. The interval is from a bootstrap of the seeds.

    Arguments:
        table: of a sweep, a grid or points.
        axis: a positive hyperparameter.
        factor: > 1.
        metric: a positive variable over the configurations and `seed`.
        direction: "max" or "min"; as the metric declares it when None.

    Returns:
        `Sensitivity`; print it.

    Raises:
        TypeError, ValueError: as `best`; the axis has fewer than three positive values, or the metric is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxopt_notes as jon
        >>> space = jon.grid(learning_rate=jnp.geomspace(0.001, 0.2, 24))
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, space, steps=50, progress=False)
        >>> jon.sensitivity(table, factor=10.0).clipped
        ()

    Source: Sivaprasad et al., 2020; Wortsman et al., 2023.
    """
    factor = float(_checks.number("factor", factor, low=1.0))
    if factor == 1:
        raise ValueError("factor must be above 1, got 1")
    scores = scores_of(table, metric, direction)
    _checks.choice("axis", axis, hyperparameters(table))
    x = np.array([float(config.get(axis, np.nan)) for config in scores.configs])
    # Where a configuration is missing, the other hyperparameters are not tuned as elsewhere.
    use = scores.ran.all(axis=1) & (x > 0) & ~np.isin(x, x[with_gaps(table)])
    levels = np.unique(x[use])
    if len(levels) < 3:
        raise ValueError(
            f"axis must have at least three positive values at which every trial was run, {axis} has {len(levels)}"
            f"{why_unfinished(table)}"
        )
    values = np.where(np.isfinite(scores.values[use]), scores.values[use] * scores.sign, np.nan)
    if not (values[~np.isnan(values)] > 0).all():
        raise ValueError(f"metric must be positive to be within a factor of its best, {metric} is not everywhere")
    with np.errstate(divide="ignore"):  # a failed run has the logarithm of 0 where higher is better
        logs = scores.sign * np.log(np.where(np.isnan(values), np.inf if scores.sign > 0 else 0.0, values))
    where = np.log10(levels)
    order = np.argsort(x[use], kind="stable")
    logs, first = logs[order], np.searchsorted(x[use][order], levels)

    def profile(logs: np.ndarray) -> np.ndarray:
        return np.minimum.reduceat(np.median(logs, axis=1), first)

    centers = profile(logs)
    low, high, best = _range(where, centers, np.log(factor))
    random = np.random.default_rng(0)
    seeds = logs.shape[1]
    widths = [
        np.subtract(*_range(where, profile(logs[:, random.integers(seeds, size=seeds)]), np.log(factor))[1::-1])
        for _ in range(RESAMPLES if seeds > 1 else 0)
    ]
    interval = tuple(np.quantile(widths, [0.025, 0.975])) if widths else (0.0, np.inf)
    clipped = tuple(name for name, at, end in (("low", low, where[0]), ("high", high, where[-1])) if at == end)
    return Sensitivity(
        axis=axis,
        decades=float(high - low),
        interval=(float(interval[0]), float(interval[1])),
        low=float(10**low),
        high=float(10**high),
        best=float(10**best),
        factor=factor,
        clipped=clipped,
        metric=metric,
        profile=tuple(zip(levels.tolist(), np.exp(scores.sign * centers).tolist(), strict=True)),
        unfinished=unfinished(table),
    )


def _range(where: Float[np.ndarray, " n"], logs: Float[np.ndarray, " n"], allowed: float) -> tuple[float, float, float]:
    """(low, high, best): where `logs` first exceeds its smallest value by `allowed` on either side, and that place."""
    best = int(np.argmin(logs))
    limit = logs[best] + allowed

    def end(order: np.ndarray) -> float:
        for inner, outer in itertools.pairwise(order):
            if logs[outer] > limit:
                share = 0.0 if np.isinf(logs[outer]) else (limit - logs[inner]) / (logs[outer] - logs[inner])
                return float(where[inner] + share * (where[outer] - where[inner]))
        return float(where[order[-1]])

    low, high = end(np.arange(best, -1, -1)), end(np.arange(best, len(where)))
    return low, high, float(where[best])
