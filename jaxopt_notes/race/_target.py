"""When a mean over seeds is below a target with a stated certainty, at one step for all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from .. import _checks
from ..problems._metric import SIGNS, Direction
from ..sweeps.table.axes import axes_of
from ..sweeps.table.direction import direction_of, refuse_incomparable

if TYPE_CHECKING:
    import xarray

_STEPS = ("evaluation_step", "step")


def reaches(
    values: Float[np.ndarray, "*others seeds"] | Sequence[float],
    target: float,
    *,
    level: float = 0.001,
    sigma: float | None = None,
) -> Bool[np.ndarray, "*others"]:
    """Whether values of several seeds show that their mean lies below a target.

        (target - mean) sqrt(n) >= z sigma,     z the (1 - level) quantile of the normal distribution

    With `sigma` None it is that of the values, and z the quantile of Student's t with n - 1 degrees of freedom.

    Arguments:
        values: one per seed along the last axis; NaN or infinity, a run that failed, is never below.
        target: what is to be reached.
        level: in (0, 0.5], the chance of a wrong yes if the mean is at the target.
        sigma: > 0, the standard deviation over seeds, if it is known.

    Returns:
        Whether the mean is shown to be below the target, for every row of seeds.

    Raises:
        ValueError: one seed and no `sigma`; an argument out of its range.

    Example:
        >>> from jaxopt_notes.race import reaches
        >>> bool(reaches([3.2741, 3.2744, 3.2739], 3.28, sigma=0.0013))
        True

    Source: the optimization track of modded-nanogpt (Jordan et al., 2026); Student, 1908.
    """
    import scipy.stats

    values = np.asarray(values, float)
    level = float(_checks.number("level", level, low=0.0, high=0.5))
    if level == 0:
        raise ValueError("level must be above 0, got 0")
    count = values.shape[-1]
    if sigma is None:
        if count < 2:
            raise ValueError("one seed shows no spread: give sigma, or run more seeds")
        spread = np.std(values, axis=-1, ddof=1)
        quantile = scipy.stats.t.ppf(1 - level, count - 1)
    else:
        spread = float(_checks.number("sigma", sigma, low=0.0))
        quantile = scipy.stats.norm.ppf(1 - level)
    with np.errstate(invalid="ignore"):
        margin = (target - values.mean(axis=-1)) * np.sqrt(count)
        return np.asarray((margin >= quantile * spread) & np.isfinite(values).all(axis=-1))


def time_to_target(
    table: xarray.Dataset,
    target: float,
    metric: str = "loss",
    *,
    direction: Direction | None = None,
    level: float = 0.001,
    sigma: float | None = None,
) -> xarray.Dataset:
    """The first step at which the mean over the seeds is shown to have reached a target, for every configuration.

        (target - mean) sqrt(n) >= z sigma

    All seeds stop at the same step: the best moment of each seed would be luck. A configuration that never reaches the
    target has the step NaN (it is censored at the last one). The level is that of each step by itself; to state one
    result, choose the step with some seeds and test it with others.

    Arguments:
        table: of a sweep.
        target: of the metric.
        metric: a curve: a variable over the configurations, `seed`, and `step` or `evaluation_step`.
        direction: "max" or "min"; as the metric declares it when None.
        level: in (0, 0.5], of the one-sided test at each step.
        sigma: > 0, the standard deviation over seeds, if it is known; that of the seeds at each step when None.

    Returns:
        A Dataset over the configurations: `step`, `mean` (there, or at the last step), `reached`.

    Raises:
        TypeError, ValueError: the metric is no curve over seeds, or has no direction; one seed and no `sigma`.

    Example:
        >>> import jaxopt_notes as jon
        >>> space = jon.grid(learning_rate=[0.01, 0.09])
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, space, steps=50, seeds=3, progress=False)
        >>> jon.time_to_target(table, 0.1, sigma=1e-3).step.values.tolist()
        [nan, 13.0]

    Source: the optimization track of modded-nanogpt (Jordan et al., 2026); AlgoPerf, Dahl et al., 2023.
    """
    import xarray

    if not hasattr(table, "data_vars"):
        raise TypeError(f"table must be the xarray.Dataset of a sweep, got {type(table).__name__}")
    curves = [str(name) for name in table if "seed" in table[name].dims and {*_STEPS} & {*map(str, table[name].dims)}]
    _checks.choice("metric", metric, curves)
    refuse_incomparable(table, metric)
    better = direction_of(table, metric, direction)
    along = next(name for name in _STEPS if name in table[metric].dims)
    axes = axes_of(table)
    values = SIGNS[better] * table[metric].transpose(*axes, along, "seed").values.astype(float)
    hits = reaches(values, SIGNS[better] * target, level=level, sigma=sigma)
    reached = hits.any(axis=-1)
    place = np.where(reached, hits.argmax(axis=-1), hits.shape[-1] - 1)
    mean = np.take_along_axis(values.mean(axis=-1), place[..., None], axis=-1)[..., 0]
    steps = np.where(reached, table[along].values[place], np.nan)
    variables = {"step": (axes, steps), "mean": (axes, SIGNS[better] * mean), "reached": (axes, reached)}
    attributes = {"metric": metric, "target": target, "level": level, "seeds": table.sizes["seed"]}
    coordinates = {name: one for name, one in table.coords.items() if {*one.dims} <= {*axes}}
    return xarray.Dataset(variables, coordinates, attributes)


def target_steps(
    tables: Mapping[str, xarray.Dataset],
    target: float,
    metric: str,
    direction: Direction,
    tuning: Bool[np.ndarray, " seeds"],
    scoring: Bool[np.ndarray, " seeds"],
    level: float,
) -> tuple[dict[str, float], dict[str, float]]:
    """The step at which each method reaches a target, NaN if it does not, and the mean at which it comes nearest.

    The configuration is the one whose mean over the tuning seeds reaches the target first. The mean is over the scoring
    seeds, infinite if one of them failed.

    Raises:
        ValueError: the metric is no curve.
    """
    steps, nearest, sign = {}, {}, SIGNS[direction]
    for name, table in tables.items():
        curve = metric if {*_STEPS} & {*map(str, table[metric].dims)} else "loss"
        if curve == "loss" and metric != "final_loss":
            raise ValueError(
                f"a target needs a curve: of metric='final_loss' that of the training loss, or give evaluate_every and "
                f"a metric of the validation data; {metric} is measured at the end alone"
            )
        along = next(dim for dim in _STEPS if dim in table[curve].dims)
        values = sign * table[curve].transpose(*axes_of(table), along, "seed").values.astype(float)
        values = np.nan_to_num(values, nan=np.inf, posinf=np.inf).reshape(-1, *values.shape[-2:])
        tuned = values[..., tuning].mean(axis=-1)
        hits = tuned <= sign * target
        first = np.where(hits.any(axis=-1), hits.argmax(axis=-1), hits.shape[-1])
        chosen = int(np.lexsort((tuned.min(axis=-1), first))[0])
        reached = reaches(values[chosen][:, scoring], sign * target, level=level)
        steps[name] = float(table[along].values[reached.argmax()]) if reached.any() else np.nan
        nearest[name] = float(sign * values[chosen][:, scoring].mean(axis=-1).min())
    return steps, nearest
