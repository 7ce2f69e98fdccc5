"""A metric of a table, as what judges compare: one row per configuration, and what did not finish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ... import _checks
from ...minimize import UNFINISHED, Status
from ...problems._metric import Direction
from ..spec.space import CONFIGURATION, is_absent
from ..table.axes import axes_of, hyperparameters
from ..table.direction import SIGNS, direction_of, refuse_incomparable
from ..table.ends import at_the_end
from ..table.seeds import NOT_COMPARED

if TYPE_CHECKING:
    import xarray

_GAPS = (Status.NOT_RUN, Status.INTERRUPTED)  # what the same call of a stored sweep would still run


class Scores(NamedTuple):
    """A metric of a table, one row per configuration, lower being better.

    Attributes:
        values: the metric; infinite where the trial is non-finite or diverged.
        measured: the metric as it is in the table; NaN where it is no number.
        ran: whether the trial was run to its end, neither left out, interrupted nor of a configuration that was pruned.
        failed: whether it ended non-finite, diverged or stalled.
        begun: number of trials that were run, pruned ones included.
        configs: the configurations.
        direction: "max" if higher is better; the values here then have the opposite sign, `sign`.
    """

    values: np.ndarray
    measured: np.ndarray
    ran: np.ndarray
    failed: np.ndarray
    begun: int
    configs: list[dict[str, Any]]
    direction: Direction

    @property
    def sign(self) -> int:
        """What the table's metric was multiplied with."""
        return SIGNS[self.direction]


def scores_of(table: xarray.Dataset, metric: str, direction: Direction | None = None) -> Scores:
    """The metric of every configuration and seed.

    Raises:
        TypeError, ValueError: no table of a sweep, the metric is unknown, has no `seed` axis or no direction, or no
            trial was run.
    """
    if not hasattr(table, "data_vars"):
        way = ": pass its to_dataset()" if hasattr(table, "to_dataset") else ""
        raise TypeError(f"table must be the xarray.Dataset of a sweep, got {type(table).__name__}{way}")
    if "status" not in table or "seed" not in table.dims:
        raise ValueError(
            f"table must come from sweep, with `status` and a `seed` axis; it holds {', '.join(map(str, table))}"
        )
    refuse_incomparable(table, metric)
    scores = measured_scores(table, metric, direction)
    if not scores.ran.any():
        raise ValueError(f"no trial of this sweep was run to its end{why_unfinished(table)}")
    return scores


def why_unfinished(table: xarray.Dataset) -> str:
    """How many trials were interrupted, did not begin or were pruned, and what to do; nothing where all were run."""
    counts = {status: int((table["status"] == status).sum()) for status in UNFINISHED}
    words = {Status.INTERRUPTED: "interrupted", Status.NOT_RUN: "not begun", Status.PRUNED: "pruned"}
    parts = [f"{counts[status]} {word}" for status, word in words.items() if counts[status]]
    way = ". With a store the same call resumes it" if unfinished(table) else ""
    return f": {', '.join(parts)} of {table['status'].size} trials{way}" if parts else ""


def with_gaps(table: xarray.Dataset) -> np.ndarray:
    """Which configurations, as the rows of `Scores`, lack a trial that was interrupted or did not begin."""
    status = table["status"].transpose(*axes_of(table), "seed").values.reshape(-1, table.sizes["seed"])
    return np.asarray(np.isin(status, _GAPS).any(axis=1))


def unfinished(*tables: xarray.Dataset) -> int:
    """How many trials were interrupted or did not begin."""
    return sum(int(np.isin(one["status"], _GAPS).sum()) for one in tables)


def warnings_of(unfinished: int) -> list[str]:
    """The line of a result that some trials are missing from."""
    return [f"warning: the sweep was interrupted, and {unfinished} of its trials did not finish"] * bool(unfinished)


def measured_scores(table: xarray.Dataset, metric: str, direction: Direction | None) -> Scores:
    """The same of any metric that is measured, comparable or not, and whether or not a trial was run."""
    table = at_the_end(table)
    axes = axes_of(table)
    real = [str(name) for name in table if table[name].dtype.kind != "c" and name not in NOT_COMPARED]
    comparable = [name for name in real if {*table[name].dims} == {*axes, "seed"}]
    _checks.choice("metric", metric, comparable)
    better = direction_of(table, metric, direction)
    status = table["status"].transpose(*axes, "seed").values.reshape(-1, table.sizes["seed"])
    measured = SIGNS[better] * table[metric].transpose(*axes, "seed").values.reshape(status.shape).astype(float)
    ran = ~np.isin(status, UNFINISHED)
    begun = int((status != Status.NOT_RUN).sum())
    if "pruned_at" in table:  # of a pruned configuration all seeds are, also those that failed before
        ran &= np.isnan(table["pruned_at"].transpose(*axes).values.reshape(-1, 1))
    lost = np.isin(status, (Status.NON_FINITE, Status.DIVERGED)) | ~np.isfinite(measured)
    values = np.where(lost, np.inf, measured)
    measured = np.where((status == Status.NON_FINITE) | ~np.isfinite(measured), np.nan, measured)
    return Scores(values, measured, ran, status >= Status.NON_FINITE, begun, _configurations(table, axes), better)


def _configurations(table: xarray.Dataset, axes: list[str]) -> list[dict[str, Any]]:
    """The hyperparameters of every row: values of the axes, or of the coordinates along a list of points."""
    if not axes:
        return [{}]  # of one run, or of a sweep's slice
    if axes == [CONFIGURATION]:
        names = hyperparameters(table)
        columns = [_whole(table[name].values) for name in names]
    else:
        names = axes
        columns = [column.ravel() for column in np.meshgrid(*(table[axis].values for axis in axes), indexing="ij")]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [{name: value for name, value in zip(names, row, strict=True) if not is_absent(value)} for row in rows]


def _whole(values: np.ndarray) -> np.ndarray:
    """Integers that the NaN of an absent one made floats of, as integers again: one may be the length of something."""
    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values[:0]
    if len(present) == len(values) or not len(present) or (present != np.floor(present)).any():
        return values
    return np.array([value if np.isnan(value) else int(value) for value in values], object)
