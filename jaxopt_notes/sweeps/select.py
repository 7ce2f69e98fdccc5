"""`best`: the winner of a sweep, with what the seeds can and cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _checks
from ..minimize import Status

if TYPE_CHECKING:
    import xarray

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Best:
    """The winning configuration of a sweep.

    Attributes:
        config: its hyperparameters.
        metric: what was compared; lower is better, except for accuracies.
        median: median of the metric over the seeds.
        interval: (low, high) around the median of the seeds' distribution.
        coverage: probability that an interval made this way covers that median; 0.95 or more with six seeds or more,
            and with fewer what the smallest and largest seed reach.
        seeds: number of seeds that ran.
        failed: share of the seeds that ended non-finite, diverged or stalled.
        ties: the other configurations that the paired seeds cannot tell from it, best first.
        edges: one sentence per axis on whose end the winner sits.
        trials_failed: share of all trials of the sweep that failed.
    """

    config: dict[str, float]
    metric: str
    median: float
    interval: tuple[float, float]
    coverage: float
    seeds: int
    failed: float
    ties: list[dict[str, float]]
    edges: list[str]
    trials_failed: float

    def __str__(self) -> str:
        lines = []
        if self.failed >= 0.5:
            lines.append("no configuration succeeded from most of its seeds; the least bad:")
        interval = f", {self.coverage:.1%} interval [{self.interval[0]:.4g}, {self.interval[1]:.4g}]"
        seeds = f"{self.seeds} seeds{interval}" if self.seeds > 1 else "1 seed, which gives no interval"
        lines.append(f"{_words(self.config)}: median {self.metric} {self.median:.4g} over {seeds}")
        lines.append(f"failed seeds: {self.failed:.0%} of this configuration, {self.trials_failed:.0%} of all trials")
        if self.ties:
            shown = "; ".join(_words(tie) for tie in self.ties[:3]) + ("; ..." if len(self.ties) > 3 else "")
            others = "1 other configuration" if len(self.ties) == 1 else f"{len(self.ties)} other configurations"
            lines.append(f"cannot be told from {others} by these seeds: {shown}")
        if self.coverage < CONFIDENCE:
            lines.append(f"fewer than 6 seeds tell no two configurations apart at {CONFIDENCE:.0%}: run at least 6")
        lines.extend(f"warning: {edge}" for edge in self.edges)
        return "\n".join(lines)


def _words(config: dict[str, float]) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in config.items())


def best(table: xarray.Dataset, metric: str = "final_loss") -> Best:
    """The configuration with the best median of a metric over paired seeds, and how sure that is.

    A non-finite trial counts as infinitely bad, whatever loss it froze at; a NaN is never compared. The interval is the
    pair of order statistics that covers the median with at least 95 %, which assumes nothing of the distribution.
    Another configuration ties unless the same interval of the paired differences lies above 0. Each is compared on its
    own, without correction for their number, and the winner's own median is optimistic, being the lowest of many.

    Arguments:
        table: from `sweep`; trials that did not run are left out.
        metric: a variable over the axes and `seed`. The lowest wins, or the highest if the name ends in "accuracy".

    Returns:
        A `Best`; `print` it for the answer in words.

    Raises:
        ValueError: the metric is unknown or has no `seed` axis, or no trial was run.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01, 0.09, 0.2]), steps=50,
        ...                   progress=False)
        >>> jon.best(table).config
        {'learning_rate': 0.09}
    """
    if "status" not in table or "seed" not in table.dims:
        raise ValueError(
            f"table must come from sweep, with `status` and a `seed` axis; it holds {', '.join(map(str, table))}"
        )
    axes = [str(dim) for dim in table["status"].dims if dim != "seed"]
    comparable = [
        str(name) for name in table if table[name].dims == (*axes, "seed") and name not in ("status", "stopped_at")
    ]
    _checks.choice("metric", metric, comparable)
    status = table["status"].transpose(*axes, "seed").values.reshape(-1, table.sizes["seed"])
    sign = -1 if higher_is_better(metric) else 1
    values = sign * table[metric].transpose(*axes, "seed").values.reshape(status.shape).astype(float)
    ran = status != Status.NOT_RUN
    if not ran.any():
        raise ValueError("no trial of this sweep was run")
    values = np.where((status == Status.NON_FINITE) | ~np.isfinite(values), np.inf, values)
    failed = status >= Status.NON_FINITE
    # Only whole configurations compete: a median over fewer seeds would be compared unfairly.
    whole = ran.all(axis=1)
    whole = whole if whole.any() else ran.any(axis=1)
    medians = np.array([middle(row[r]) if w else np.inf for row, r, w in zip(values, ran, whole, strict=True)])
    candidates = np.flatnonzero(whole)
    # Among equal medians (all infinite, say) the one that failed least, then the lowest mean of what is finite.
    order = sorted(candidates, key=lambda c: (medians[c], failed[c].mean(), _finite_mean(values[c])))
    winner = order[0]
    seeds = ran[winner]
    low, high, coverage = median_interval(values[winner][seeds])
    ties = [c for c in order[1:] if not _told_apart(values[c][seeds & ran[c]], values[winner][seeds & ran[c]])]
    configs = _configurations(table, axes)
    return Best(
        config=configs[winner],
        metric=metric,
        median=sign * float(medians[winner]),
        interval=(low, high) if sign > 0 else (-high, -low),
        coverage=coverage,
        seeds=int(seeds.sum()),
        failed=float(failed[winner][seeds].mean()),
        ties=[configs[c] for c in ties],
        edges=_edges(table, axes, configs[winner]),
        trials_failed=float(failed[ran].mean()),
    )


def higher_is_better(metric: str) -> bool:
    """Whether a larger value of the metric is the better one: so for accuracies."""
    return metric.endswith("accuracy")


def median_interval(sample: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """The narrowest symmetric pair of order statistics that covers the median with at least `confidence`.

    With n values the pair (k-th smallest, k-th largest) covers with 1 - 2 P(Binomial(n, 1/2) < k). When even the
    extremes do not reach `confidence` they are returned with the coverage they have.

    Returns:
        (low, high, coverage).

    Source: Thompson, 1936.
    """
    from scipy.stats import binom

    ordered = np.sort(sample)
    n = len(ordered)
    best_k = max((k for k in range(1, (n + 1) // 2 + 1) if 1 - 2 * binom.cdf(k - 1, n, 0.5) >= confidence), default=1)
    coverage = max(0.0, 1 - 2 * binom.cdf(best_k - 1, n, 0.5))
    return float(ordered[best_k - 1]), float(ordered[n - best_k]), float(coverage)


def _told_apart(other: np.ndarray, winner: np.ndarray) -> bool:
    """Whether the paired differences show, with the confidence asked for, that `other` is worse."""
    both_failed = np.isinf(other) & np.isinf(winner)
    difference = np.where(both_failed, 0.0, other) - np.where(both_failed, 0.0, winner)
    if len(difference) == 0:
        return False
    low, _, coverage = median_interval(difference)
    return bool(low > 0 and coverage >= CONFIDENCE)


def middle(row: np.ndarray) -> float:
    """The median; infinite when either of the two middle values is."""
    ordered = np.sort(row)
    middle = ordered[(len(row) - 1) // 2 : len(row) // 2 + 1]
    return float(middle.mean()) if np.isfinite(middle).all() else float(middle[-1])


def _finite_mean(row: np.ndarray) -> float:
    finite = row[np.isfinite(row)]
    return float(finite.mean()) if len(finite) else np.inf


def _configurations(table: xarray.Dataset, axes: list[str]) -> list[dict[str, float]]:
    mesh = np.meshgrid(*(table[axis].values for axis in axes), indexing="ij")
    columns = [values.ravel() for values in mesh]
    return [{axis: float(value) for axis, value in zip(axes, row, strict=True)} for row in zip(*columns, strict=True)]


def _edges(table: xarray.Dataset, axes: list[str], config: dict[str, float]) -> list[str]:
    """Where the winner sits on an end of the grid that could be extended; no hyperparameter goes below 0."""
    sentences: list[Any] = []
    for axis in axes:
        values = table[axis].values
        if len(values) < 2:
            continue
        if config[axis] == values.max():
            sentences.append(f"{axis}={config[axis]:.4g} is the largest of the grid; a larger one may be better")
        elif config[axis] == values.min() and config[axis] != 0:
            sentences.append(f"{axis}={config[axis]:.4g} is the smallest of the grid; a smaller one may be better")
    return sentences
