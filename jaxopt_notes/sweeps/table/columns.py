"""From an engine's results to the columns of a table: names, dtypes, the final status.

The only module that knows both the engine's results and a table's columns.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._columns import named_leaves
from ...minimize import HISTORIES, end_status
from ..compute.group_plan import GroupPlan
from .layout import Columns, stored_column


def columns_of(plan: GroupPlan, finished: dict[str, Any]) -> Columns:
    """The columns of a table from what an engine returns: the final status, and parameters by their paths."""
    baseline = np.inf if plan.problem.baseline is None else plan.problem.baseline
    status, initial, final = (jnp.asarray(finished[name]) for name in ("status", "initial_loss", "final_loss"))
    judged = {**finished}
    # It decides between `completed` and `stuck`, and is no column of its own.
    unmoved = judged.pop("unmoved", None)
    unmoved = None if unmoved is None else jnp.asarray(unmoved)
    judged["status"] = np.asarray(end_status(status, initial, final, baseline, unmoved))
    params = judged.pop("params", None)
    named = [] if params is None else named_leaves(params, "params")
    return {name: stored_column(name, np.asarray(column)) for name, column in (*judged.items(), *named)}


def no_trials(plan: GroupPlan, keep_params: bool) -> Columns:
    """The columns of no trials, in their own dtypes; with them a sweep that ran no chunk has every variable."""
    one = jax.tree.map(lambda leaf: leaf[0], plan.initial)
    measured = jax.eval_shape(plan.evaluate, plan.evaluate_constants, one, plan.problem.data, plan.problem.test_data)
    histories = plan.shapes.lanes(1).histories
    columns = {name: np.zeros((0, plan.static.entries), histories[name].dtype) for name in HISTORIES}
    columns |= {name: np.zeros(0, like.dtype) for name, like in measured.items()}
    columns |= {"initial_loss": np.zeros(0, measured["final_loss"].dtype)}
    counted = ("status", "stopped_at", "skipped") if plan.static.skip else ("status", "stopped_at")
    columns |= {name: np.zeros(0, np.int32) for name in counted}
    if keep_params:
        columns |= {name: np.zeros((0, *leaf.shape), leaf.dtype) for name, leaf in named_leaves(one, "params")}
    return columns
