"""From an engine's results to the columns of a table: names, dtypes, the final status.

The only module that knows both the engine's results and a table's columns.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._columns import is_key, named_leaves
from ...minimize import Status, end_status
from ..compute.group_plan import GroupPlan
from ..compute.placed import ends_of
from ..spec.options import Keep
from .layout import KEPT, Columns, stored_column


def columns_of(plan: GroupPlan, finished: dict[str, Any]) -> Columns:
    """The columns of a table from what an engine returns: the final status, and parameters by their paths."""
    baseline = np.inf if plan.problem.baseline is None else plan.problem.baseline
    status, initial, final = (finished[name] for name in ("status", "initial_loss", "final_loss"))
    judged = {**finished}
    # It decides between `completed` and `stuck`, and is no column of its own.
    unmoved = judged.pop("unmoved", None)
    with np.errstate(invalid="ignore", over="ignore"):  # an infinite loss less its rounding is NaN, and no end
        judged["status"] = end_status(status, initial, final, baseline, unmoved, xp=np)
    kept = {name: judged.pop(name) for name in KEPT if name in judged}
    named = [column for name, tree in kept.items() for column in named_leaves(tree, name)]
    return {name: stored_column(name, column) for name, column in (*judged.items(), *named)}


def interrupted_columns(plan: GroupPlan, finished: dict[str, Any], step: int) -> Columns:
    """The columns of trials that were stopped on the way, at this step; those that had ended keep their status."""
    columns = columns_of(plan, finished)
    # One with fewer steps of its own rests since then.
    runs = (finished["status"] == Status.COMPLETED) & (finished["stopped_at"] == step)
    columns["status"] = np.where(runs, np.int32(Status.INTERRUPTED), columns["status"])
    for name in plan.static.record:
        columns[name] = columns[name].copy()
        columns[name][:, step // plan.static.every + 1 :] = np.nan
    return columns


def no_trials(plan: GroupPlan, keep: Keep) -> Columns:
    """The columns of no trials, in their own dtypes; with them a sweep that ran no chunk has every variable."""
    lanes = plan.shapes.lanes(plan.width)  # of the width that runs, so that its trace serves here too
    measured = plan.evaluate.output()
    columns = {name: np.zeros((0, plan.static.entries), lanes.histories[name].dtype) for name in plan.static.record}
    columns |= {name: np.zeros(0, like.dtype) for name, like in measured.items()}
    if lanes.watched is not None:
        curves = lanes.watched.curves.items()
        columns |= {name: np.zeros((0, len(curve)), curve.dtype) for name, curve in curves}
        columns["best_step"] = np.zeros(0, np.int32)
    columns |= {"initial_loss": np.zeros(0, measured["final_loss"].dtype)}
    counted = ("status", "stopped_at", "skipped") if plan.static.skip else ("status", "stopped_at")
    columns |= {name: np.zeros(0, np.int32) for name in counted}
    if keep:
        kept = {"params": lanes.carry.params, "aux": lanes.carry.aux}
        kept |= ends_of(plan, lanes.carry) if keep == "params+state" else {}
        named = [column for name, tree in kept.items() for column in named_leaves(tree, name)]
        columns |= {name: _none_of(leaf) for name, leaf in named}
    return columns


def _none_of(leaf: Any) -> Any:
    """No values of a leaf that has one for each lane."""
    if is_key(leaf):
        return jnp.empty((0, *leaf.shape[1:]), leaf.dtype)
    return np.zeros((0, *leaf.shape[1:]), leaf.dtype)
