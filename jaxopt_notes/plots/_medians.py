"""Medians over the seeds, in which failure is worse than any number, and which configuration of them is the best."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from .. import _checks
from ..minimize import Status
from ..problems._metric import Direction
from ..sweeps.judge.best import places
from ..sweeps.table.direction import SIGNS, SUPERLATIVES, direction_of
from ..sweeps.table.ends import at_the_end
from . import _tables as tables


def quartiles(table: xr.Dataset, metric: str, direction: Direction | None = None) -> xr.Dataset:
    """Lower quartile, median and upper quartile over seeds, where a failed trial counts as worse than any number.

    So a configuration most of whose seeds failed has an infinite median, and cannot look good by the few that did not.

    Arguments:
        table: the Dataset of a sweep.
        metric: one of `_tables.metrics`.
        direction: "max" or "min", which value is the better; as the table declares when None.

    Returns:
        Dataset of `lower, middle, upper, failed, place` over the axes, `middle` being the median: infinite where
        failure reaches, NaN where nothing ran; `failed` is the share of the seeds run, `place` that in the ranking of
        `best`, 0 of the winner and NaN of what does not compete. `attrs["direction"]` is the direction.

    Raises:
        ValueError: unknown metric, or one that does not declare its direction.

    Example:
        >>> table = xr.Dataset({"final_loss": ("seed", [1.0, 2.0, 9.0]), "status": ("seed", [0, 0, 4])})
        >>> float(quartiles(table, "final_loss").middle), float(quartiles(table, "final_loss").upper)
        (2.0, inf)
    """
    _checks.choice("metric", metric, tables.metrics(table))
    better, table = direction_of(table, metric, direction), at_the_end(table)
    sign = float(SIGNS[better])
    ran = table.status != Status.NOT_RUN
    cost = sign * table[metric].astype(float)
    cost = cost.where(~tables.failed(table) & cost.notnull(), np.inf).where(ran)
    values = np.sort(cost.transpose(..., "seed").values, axis=-1)  # NaN, not run, comes last
    count = np.sum(~np.isnan(values), axis=-1)
    dims = [axis for axis in cost.dims if axis != "seed"]
    low, middle, high = (_sorted_quantile(values, count, q) for q in (0.25, 0.5, 0.75))
    if sign < 0:
        low, middle, high = -high, -middle, -low
    share = tables.failed(table).sum("seed") / ran.sum("seed").where(ran.any("seed"))
    coords = {axis: table[axis] for axis in dims if axis in table.coords}
    found = xr.Dataset({"lower": (dims, low), "middle": (dims, middle), "upper": (dims, high)}, coords)
    place = places(table, metric, better)
    return found.assign(failed=share, place=(place.dims, place.values)).assign_attrs(direction=better)


def starred(summary: xr.Dataset, shown: Any = True) -> dict[str, int] | None:
    """The configuration that a star marks: of those with a finite median the one that `best` ranks first.

    Arguments:
        summary: the result of `quartiles`.
        shown: which configurations are drawn at all.

    Returns:
        Axis name to position; None where there is none.

    Example:
        >>> data = {"final_loss": (("beta", "seed"), [[2.0], [1.0]]), "status": (("beta", "seed"), [[0], [0]])}
        >>> starred(quartiles(xr.Dataset(data), "final_loss"))
        {'beta': 1}
    """
    place = summary.place.where(np.isfinite(summary.middle) & shown)
    if not place.notnull().any():
        return None
    return {str(axis): int(position) for axis, position in place.argmin(...).items()}


def star_means(summary: xr.Dataset) -> str:
    """What a star marks, in words: the lowest median, or the lowest of those that finished where some did not.

    Arguments:
        summary: the result of `quartiles`.

    Returns:
        Words for a legend.

    Example:
        >>> data = {"final_loss": (("beta", "seed"), [[2.0], [1.0]]), "status": (("beta", "seed"), [[0], [-4]])}
        >>> star_means(quartiles(xr.Dataset(data), "final_loss"))
        'lowest median that finished'
    """
    words = f"{SUPERLATIVES[summary.attrs['direction']]} median"
    unfinished = bool((np.isfinite(summary.middle) & summary.place.isnull()).any())
    return f"{words} that finished" if unfinished else words


def without_star(summary: xr.Dataset) -> str:
    """Why no configuration has a star.

    Arguments:
        summary: the result of `quartiles`.

    Returns:
        A sentence.

    Example:
        >>> data = {"final_loss": (("beta", "seed"), [[2.0], [1.0]]), "status": (("beta", "seed"), [[-1], [-1]])}
        >>> without_star(quartiles(xr.Dataset(data), "final_loss"))
        'No trial has run.'
    """
    if not summary.middle.notnull().any():
        return "No trial has run."
    if summary.place.isnull().all():
        return "No configuration ran to its end."
    whole = not summary.place.isnull().any()
    return "Every configuration failed." if whole else "Every configuration that ran to its end failed."


def _sorted_quantile(values: np.ndarray, count: Any, q: float) -> np.ndarray:
    """Linear quantile of the first `count` entries along the last axis; numpy's own makes NaN out of infinities."""
    position = q * np.maximum(count - 1, 0)
    below = np.floor(position).astype(int)
    part = position - below
    above = np.minimum(below + 1, values.shape[-1] - 1)
    lower, upper = (np.take_along_axis(values, i[..., None], -1)[..., 0] for i in (below, above))
    with np.errstate(invalid="ignore"):  # 0 * inf in the branch that is not taken
        return np.where((part == 0) | (lower == upper), lower, lower * (1 - part) + upper * part)


def best_over(summary: xr.Dataset, axes: list[str]) -> xr.Dataset:
    """Keep, for each remaining configuration, the entry along `axes` that `best` ranks first; if none, the best median.

    Arguments:
        summary: the result of `quartiles`, which says what is better.
        axes: the axes to remove; none returns `summary`.

    Returns:
        Dataset without `axes`.

    Example:
        >>> dims, status = ("beta", "eps", "seed"), [[[0], [0]], [[0], [-1]]]
        >>> table = xr.Dataset({"final_loss": (dims, [[[3.0], [1.0]], [[2.0], [0.0]]]), "status": (dims, status)})
        >>> best_over(quartiles(table, "final_loss"), ["eps"]).middle.values.tolist()
        [1.0, 2.0]
    """
    if not axes:
        return summary
    flat = summary.stack(_others=axes, create_index=False)
    cost = (SIGNS[summary.attrs["direction"]] * flat.middle).fillna(np.inf)
    place = flat.place.where(np.isfinite(flat.middle), np.inf).fillna(np.inf)
    first = place.argmin("_others").where(np.isfinite(place).any("_others"), cost.argmin("_others"))
    return flat.isel(_others=first).drop_vars(axes, errors="ignore")
