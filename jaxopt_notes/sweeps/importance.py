"""`importance`: how much of the spread between configurations each hyperparameter explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import _checks
from ..problems.metric import Direction
from .intervals import middle
from .select import hyperparameters, scores_of
from .space import CONFIGURATION, is_number

if TYPE_CHECKING:
    import xarray

FEWEST_POINTS = 16


@dataclass(frozen=True)
class Importance:
    """What share of the variance between configurations each hyperparameter explains.

    Attributes:
        shares: hyperparameter -> share in [0, 1], the largest first.
        rest: what no single one explains: interactions, and of sampled points also chance.
        metric: what was measured.
        scale: "rank" or "value".
        configurations: how many were compared.
        failed: how many of them failed from most of their seeds.
    """

    shares: dict[str, float]
    rest: float
    metric: str
    scale: str
    configurations: int
    failed: int

    def __str__(self) -> str:
        words = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
        of = "ranks" if self.scale == "rank" else "values"
        counted = f" ({self.failed} failed, counted as equally bad)" if self.failed else ""
        return (
            f"variance of the {of} of {self.metric} over {self.configurations} configurations{counted}: {words}; "
            f"together or by chance {self.rest:.0%}"
        )


def importance(
    table: xarray.Dataset, metric: str = "final_loss", *, direction: Direction | None = None, scale: str = "rank"
) -> Importance:
    """How much of the variance of a metric between configurations each hyperparameter explains by itself.

    Of a grid these are the main effects of the functional analysis of variance. With f the metric of a configuration
    and f_a its mean over all other axes at the value x_a, the share of axis a is Var(f_a) / Var(f): an exact sum of
    squares, and the shares add to at most 1. A list of points has no such sums; there the points are put in groups of
    near values of x_a, sqrt(n) of them, and the share is epsilon squared, 1 - (mean square within
    groups) / (mean square of all), which is 0 on average for a hyperparameter that does nothing. Of points that were
    not drawn independently of each other shares may overlap.

    f is the median over the seeds, and by custom its rank: losses spread over decades, and one high value would be all
    of the variance. Configurations whose median is infinite (failed from most seeds) share the worst rank. Those that
    were pruned or not run from every seed are not compared; on a grid that leaves a gap, which is refused.

    Arguments:
        table: from `sweep`.
        metric: a variable over the axes and `seed`.
        direction: "max" or "min", as in `best`: failed trials count as the worst.
        scale: "rank", or "value" for the metric itself, which needs every median to be finite.

    Returns:
        An `Importance`; `print` it for the answer in words.

    Raises:
        TypeError: a tree of several families, whose hyperparameters differ. ValueError: an unknown metric or scale, a
            grid with configurations that were not run to their end, infinite medians with "value", or fewer than 16
            points.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> space = jon.grid(learning_rate=[0.001, 0.01, 0.03], dampening=[0.0, 0.01, 0.02])
        >>> shares = jon.importance(jon.sweep(valley, jon.momentum, space, steps=20, progress=False)).shares
        >>> list(shares), shares["learning_rate"] > 0.8
        (['learning_rate', 'dampening'], True)

    Source: Hoeffding, 1948; Hutter, Hoos and Leyton-Brown, 2014; Kelley, 1935, of epsilon squared.
    """
    _checks.one_table("importance", table)
    _checks.choice("scale", scale, ("rank", "value"))
    scores = scores_of(table, metric, direction)
    whole = scores.ran.all(axis=1)
    medians = np.array([middle(row) for row in scores.values])
    names = hyperparameters(table)
    failed = int(np.isinf(medians[whole]).sum())
    if scale == "value" and failed:
        raise ValueError(f"{failed} configurations failed from most seeds; scale='rank' counts them as equally bad")
    if CONFIGURATION in table["status"].dims:
        if whole.sum() < FEWEST_POINTS:
            raise ValueError(f"a list of points needs at least {FEWEST_POINTS} that were run, got {whole.sum()}")
        values = _ranked(medians[whole], scale)
        shares = {name: _epsilon_squared(_groups(table[name].values[whole]), values) for name in names}
    else:
        if not whole.all():
            raise ValueError(f"a grid needs every configuration run to its end; {(~whole).sum()} were not")
        grid = _ranked(medians, scale).reshape([table.sizes[name] for name in names])
        shares = {name: _main_effect(grid, axis) for axis, name in enumerate(names)}
    ordered = dict(sorted(shares.items(), key=lambda share: -share[1]))
    same = len(np.unique(medians[whole])) < 2
    rest = 0.0 if same else max(0.0, 1.0 - sum(shares.values()))
    return Importance(ordered, rest, metric, scale, int(whole.sum()), failed)


def _ranked(medians: np.ndarray, scale: str) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(medians) if scale == "rank" else medians


def _main_effect(grid: np.ndarray, axis: int) -> float:
    others = tuple(i for i in range(grid.ndim) if i != axis)
    total = float(grid.var())
    return float(grid.mean(axis=others).var()) / total if total > 0 else 0.0


def _groups(column: np.ndarray) -> np.ndarray:
    """Numbers of groups: equal values together, and of many numbers near ones; those that are absent are one group."""
    values, codes = np.unique(column.astype(str), return_inverse=True)
    most = int(np.sqrt(len(column)))
    if len(values) <= most or not all(map(is_number, column.tolist())):
        return codes
    numbers = column.astype(float)
    present = ~np.isnan(numbers)
    cuts = np.quantile(numbers[present], np.linspace(0, 1, most + 1)[1:-1])
    return np.where(present, np.searchsorted(cuts, numbers, side="right"), most)


def _epsilon_squared(groups: np.ndarray, values: np.ndarray) -> float:
    """The share of the variance that lies between groups, less what chance gives."""
    codes = np.unique(groups)
    total = float(((values - values.mean()) ** 2).sum())
    if len(codes) < 2 or len(codes) >= len(values) or total == 0:
        return 0.0
    within = sum(float(((values[groups == c] - values[groups == c].mean()) ** 2).sum()) for c in codes)
    return max(0.0, 1.0 - (within / (len(values) - len(codes))) / (total / (len(values) - 1)))
