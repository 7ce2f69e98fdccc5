"""The end of every trial, out of what was measured along its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ..spec.space import BEST_STEP, EVALUATION_STEP

if TYPE_CHECKING:
    import xarray


def at_the_end(table: xarray.Dataset) -> xarray.Dataset:
    """The table with one value per trial in place of every curve: that of the trial's end point.

    The end point is the best step where the sweep kept it (`keep="best"`), else the last one.
    """
    if EVALUATION_STEP not in table.dims:
        return table
    if table.attrs.get("end_point") != "best":
        return table.isel({EVALUATION_STEP: -1}, drop=True)
    # A trial that was not run has no best step; it has no curve either, so any entry is NaN.
    looks, best = table[EVALUATION_STEP].values, table[BEST_STEP].values
    if not np.isin(best[~np.isnan(best)], looks).all():
        raise ValueError(
            f"the looks at which some trials were best are cut from this table, which has {looks.tolist()}"
        )
    places = np.where(np.isnan(best), 0, np.searchsorted(looks, np.nan_to_num(best))).astype(int)
    curves = {name: values for name, values in table.data_vars.items() if EVALUATION_STEP in values.dims}
    where = table[BEST_STEP].copy(data=places)
    ends = {name: values.isel({EVALUATION_STEP: where}).drop_vars(EVALUATION_STEP) for name, values in curves.items()}
    return table.drop_dims(EVALUATION_STEP).assign(ends)


def last_look(values: Float[np.ndarray, "trials looks"]) -> Float[np.ndarray, " trials"]:
    """The value of every trial at the last look that any of them has had."""
    looked = np.flatnonzero(~np.isnan(values).all(axis=0))
    return values[:, looked[-1] if len(looked) else 0]
