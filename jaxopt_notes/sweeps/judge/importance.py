"""`importance`: how much of the spread between configurations each hyperparameter explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ... import _checks
from ..._shown import readable
from ...problems._metric import Direction
from ..spec.space import CONFIGURATION
from ..table.axes import hyperparameters
from ..table.seeds import middle
from .effects import Effect, first_order
from .intervals import CONFIDENCE
from .scores import scores_of, unfinished, warnings_of, why_unfinished

if TYPE_CHECKING:
    import xarray

FEWEST_POINTS = 16
_SHOWN = 12  # shares that are printed
RESAMPLES = 400  # of the seeds of a grid


@readable
@dataclass(frozen=True)
class Importance:
    """What share of the variance between configurations each hyperparameter explains.

    Attributes:
        shares: hyperparameter -> share in [0, 1], the largest first.
        rest: what no single one explains: interactions, and the noise of the seeds.
        metric: what was measured.
        scale: "rank" or "value".
        configurations: how many were compared.
        failed: how many of them failed from most of their seeds.
        intervals: hyperparameter -> (low, high) that covers its share, nominally with 95 %; ordered as `shares`.
        unfinished: number of trials that were interrupted or did not begin; their configurations were not compared.
    """

    shares: dict[str, float]
    rest: float
    metric: str
    scale: str
    configurations: int
    failed: int
    intervals: dict[str, tuple[float, float]]
    unfinished: int = 0

    def __str__(self) -> str:
        """The largest share, then all of them, and what no single hyperparameter explains."""
        of = "ranks" if self.scale == "rank" else "values"
        measured = f"the variance of {self.metric} ({of} of {self.configurations} configurations)"
        largest = next(iter(self.shares), None)
        answer = f"{largest} explains {self.shares[largest]:.0%}" if largest else "no hyperparameter explains any"
        words = [f"{name}: {share:.0%}{_in_brackets(*self.intervals[name])}" for name, share in self.shares.items()]
        lines = [f"{answer} of {measured}", *words[:_SHOWN]]
        if len(words) > _SHOWN:
            lines.append(f"and {len(words) - _SHOWN} more, none above {[*self.shares.values()][_SHOWN]:.0%}")
        lines.append(f"interactions and the noise of the seeds: {self.rest:.0%}")
        if self.failed:
            lines.append(f"failed from most seeds: {self.failed}, counted as equally bad")
        return "\n".join([*lines, *warnings_of(self.unfinished)])


def importance(
    table: xarray.Dataset, metric: str = "final_loss", *, direction: Direction | None = None, scale: str = "rank"
) -> Importance:
    """How much of the variance of a metric between configurations each hyperparameter explains by itself.

    With f the metric of a configuration, the share of hyperparameter a is its first-order Sobol' index

        S_a = Var(E[f | x_a]) / Var(f).

    It counts no interactions, and is not normalised: the shares of independent hyperparameters add to at most 1.

    Of a grid E[f | x_a] is the mean of f over all other axes, and S_a the exact share of the sum of squares in the
    functional analysis of variance. Its interval is of the share that the medians over infinitely many seeds would
    have, from a bootstrap of the seeds; with one seed nothing is known of others and it is the share itself.

    Of a list of points S_a is that of the distribution they were drawn from, and an estimate. By least squares f is
    fitted with functions g_a of the rank of each hyperparameter (indicators of texts, booleans and a few levels), and
    products of such functions of two, chosen by forward selection with the extended BIC. Then

        S_a = (V_a - B_a) / (V_a + Var(f - g_a)),   V_a the variance of g_a over the points,

    where B_a is what the errors of the fitted coefficients add to V_a, tr Cov(c_a) of orthonormal functions (the
    estimate of White, with one error per point). As the others are in the same fit, their effects are no noise; so it
    holds for random, Latin, Sobol' and Halton points alike, and on a linear or logarithmic scale.

    Hyperparameters whose values depend on those of a (chi-squared tests of their first functions, at 0.3 %) are left
    out of the fit of a: their effect through a counts as one of a, and shares may then overlap. A correlation of 0.3
    is found from about 250 points on; a weaker one, or one of fewer points, counts as none.

    The interval is nominally of 95 %, by the delta method. It is widened because even points may add nothing to V_a,
    because a richer g_a may be right, by what neighbours in x_a still have in common, and, where a test is doubtful
    (5 %), by the shares with the other hyperparameter left out.

    For functions of known indices (linear with and without noise, Ishigami's, the g function of Sobol') the bias is
    below 0.03 from 64 points on, and the intervals cover with 90 % or more. With fewer points wavy effects come out too
    small, with wide intervals. A jump, such as where a learning rate starts to fail, loses 0.04 of its share at 64
    points, 0.02 at 256 and 0.01 at 1024; the interval covers that.

    f is the median over the seeds, and by custom its rank: losses spread over decades, and one high value would be all
    of the variance. Configurations whose median is infinite (failed from most seeds) share the worst rank. Those that
    were pruned or not run from every seed are not compared; on a grid that leaves a gap, which is refused. The noise
    that the seeds leave in f is part of its variance, and explained by no hyperparameter.

    Arguments:
        table: from `sweep`.
        metric: a variable over the axes and `seed`.
        direction: "max" or "min", as in `best`: failed trials count as the worst.
        scale: "rank", or "value" for the metric itself, which needs every median to be finite.

    Returns:
        An `Importance`; `print` it for the answer in words.

    Raises:
        TypeError: a tree of several families, whose hyperparameters differ. ValueError: an unknown metric or scale, a
            grid with configurations that were not run to their end (the error names the part without a gap), infinite
            medians with "value", or fewer than 16 points.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> space = jon.grid(learning_rate=[0.001, 0.01, 0.03], dampening=[0.0, 0.01, 0.02])
        >>> shares = jon.importance(jon.sweep(valley, jon.momentum, space, steps=20, progress=False)).shares
        >>> list(shares), shares["learning_rate"] > 0.8
        (['learning_rate', 'dampening'], True)

    Source: Hoeffding, 1948; Sobol', 1993; Hutter, Hoos and Leyton-Brown, 2014, of grids; Sudret, 2008, and Strong,
        Oakley and Brennan, 2014, of fitted surrogates; Chen and Chen, 2008, of the extended BIC; MacKinnon and White,
        1985, of the covariance; Plischke, Borgonovo and Smith, 2013, of shares from given points.
    """
    _checks.one_table("importance", table)
    _checks.choice("scale", scale, ("rank", "value"))
    scores = scores_of(table, metric, direction)
    # Only configurations that ran from every seed: medians over different seeds differ for a reason that no
    # hyperparameter has.
    whole = np.asarray(scores.ran.all(axis=1))
    medians = np.array([middle(row) for row in scores.values])
    names = hyperparameters(table)
    failed = int(np.isinf(medians[whole]).sum())
    if scale == "value" and failed:
        raise ValueError(f"{failed} configurations failed from most seeds; scale='rank' counts them as equally bad")
    if CONFIGURATION in table["status"].dims:
        if whole.sum() < FEWEST_POINTS:
            raise ValueError(
                f"a list of points needs at least {FEWEST_POINTS} that were run from every seed, got {whole.sum()} of "
                f"{len(whole)}{why_unfinished(table)}"
            )
        values = _ranked(medians[whole], scale)
        effects = dict(zip(names, first_order([table[name].values[whole] for name in names], values), strict=True))
    else:
        shape = [table.sizes[name] for name in names]
        if not whole.all():
            raise ValueError(
                f"a grid needs every configuration run to its end, and {(~whole).sum()} of {len(whole)} were not"
                f"{why_unfinished(table)}{_part_that_ran(names, whole.reshape(shape))}"
            )
        exact = _main_effects(_ranked(medians, scale).reshape(shape))
        effects = dict(zip(names, _with_intervals(exact, scores.values, shape, scale), strict=True))
    ordered = dict(sorted(effects.items(), key=lambda effect: -effect[1].share))
    shares = {name: effect.share for name, effect in ordered.items()}
    intervals = {name: (effect.low, effect.high) for name, effect in ordered.items()}
    same = len(np.unique(medians[whole])) < 2
    rest = 0.0 if same else max(0.0, 1.0 - sum(shares.values()))
    return Importance(shares, rest, metric, scale, int(whole.sum()), failed, intervals, unfinished(table))


def _part_that_ran(names: list[str], whole: np.ndarray) -> str:
    """The largest part of a grid without a gap, if leaving out values of one axis gives one."""
    parts = []
    for axis, name in enumerate(names):
        complete = whole.all(axis=tuple(other for other in range(whole.ndim) if other != axis))
        kept = np.flatnonzero(complete).tolist()
        parts.append((len(kept) / whole.shape[axis], name, kept))
    _, name, kept = max(parts)
    return f". The part without a gap is table.isel({name}={kept})" if len(kept) > 1 else ""


def _in_brackets(low: float, high: float) -> str:
    return f" [{low:.0%}, {high:.0%}]" if low < high else ""


def _ranked(medians: np.ndarray, scale: str) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(medians) if scale == "rank" else medians


def _main_effects(grid: np.ndarray) -> np.ndarray:
    """The shares of all axes, exact sums of squares."""
    total = float(grid.var())
    if total == 0:
        return np.zeros(grid.ndim)
    axes = range(grid.ndim)
    return np.array([grid.mean(axis=tuple(other for other in axes if other != a)).var() / total for a in axes])


def _with_intervals(shares: np.ndarray, values: np.ndarray, shape: list[int], scale: str) -> list[Effect]:
    """The shares of a grid with basic bootstrap intervals over the seeds, which correct for the noise that seeds add.

    Few seeds resampled vary too little; the intervals are widened as Student's t is wider than the normal one.

    Source: Davison and Hinkley, 1997, section 5.2; Hesterberg, 2015, of few values.
    """
    from scipy.stats import norm, t

    seeds = values.shape[1]
    if seeds == 1:
        return [Effect(float(share), float(share), float(share)) for share in shares]
    resampled = []
    for drawn in np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds)):
        medians = np.median(values[:, drawn], axis=1)
        if scale == "rank" or np.isfinite(medians).all():
            resampled.append(_main_effects(_ranked(medians, scale).reshape(shape)))
    if not resampled:  # of "value", where every resample has a configuration that failed from most seeds
        return [Effect(float(share), 0.0, 1.0) for share in shares]
    tail = (1 - CONFIDENCE) / 2
    center = np.mean(resampled, axis=0)
    lower, upper = np.quantile(resampled, [tail, 1 - tail], axis=0)
    wider = t.isf(tail, seeds - 1) / norm.isf(tail) * np.sqrt(seeds / (seeds - 1))
    low = np.minimum(shares, 2 * shares - center - wider * (upper - center))
    high = np.maximum(shares, 2 * shares - center + wider * (center - lower))
    limits = np.clip([shares, low, high], 0, 1).T.tolist()
    return [Effect(*limit) for limit in limits]
