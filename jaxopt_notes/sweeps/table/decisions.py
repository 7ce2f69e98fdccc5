"""What a pruner decided: as plain data, and in a table. How it decides is in `run.pruners`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...problems._metric import direction_attrs

if TYPE_CHECKING:
    import xarray


class Decisions(NamedTuple):
    """The decisions of a pruner, as plain data.

    Attributes:
        rungs: the steps of the decisions so far.
        measured: per rung and configuration the median of the metric over the seeds, the last one known where it was
            pruned before.
        pruned_at: per configuration the step at which it was pruned; NaN for those that were not.
    """

    rungs: list[int]
    measured: list[list[float]]
    pruned_at: list[float]


def add_decisions(table: xarray.Dataset, decisions: Decisions) -> xarray.Dataset:
    """The table with `pruned_at`, and `rung_metric` along `rung`, the steps of the decisions."""
    # The direction belongs to what is ranked here; the metric itself may declare another one that `direction=`
    # overrode.
    known = table.attrs.get("prune_direction")
    axes = [str(dim) for dim in table["status"].dims if dim != "seed"]
    shape = [table.sizes[axis] for axis in axes]
    table = table.assign_coords(rung=("rung", np.asarray(decisions.rungs, int), {"units": "steps"}))
    table["pruned_at"] = (axes, np.array(decisions.pruned_at, float).reshape(shape))
    measured = np.array(decisions.measured, float).reshape(len(decisions.rungs), *shape)
    table["rung_metric"] = (("rung", *axes), measured, {} if known is None else direction_attrs("rung_metric", known))
    return table.assign(rung_metric=table["rung_metric"].transpose(*axes, "rung"))
