"""The task of a complete search, and what of its findings is one point, one place, inside or outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ._box import lists_as_arrays
from ._certify import Proof
from ._function import Function
from ._interval import Interval
from ._point import Point


@dataclass(frozen=True)
class Task:
    """What is asked."""

    function: Function
    lower: Point
    upper: Point
    periods: np.ndarray
    finest: float
    history: bool


def periods_of(period: Any, like: Point) -> np.ndarray:
    if period is None:
        return np.full(like.size, np.inf)
    leaves = jax.tree.leaves(period)
    if len(leaves) == 1 and np.ndim(leaves[0]) == 0:
        periods = np.full(like.size, float(leaves[0]))
    else:
        given = Point("period", jax.tree.map(np.asarray, lists_as_arrays(period)))
        if given.shapes != like.shapes:
            raise ValueError(f"period must be a number or of the shapes of the box, {like.shapes}, got {given.shapes}")
        periods = given.vector
    if not (periods > 0).all():
        raise ValueError(f"period must be above 0, got {period}")
    return periods


def rows(proof: Proof, rows: np.ndarray) -> Proof:
    return Proof(*(part[rows] for part in proof))


def distinct(proof: Proof, task: Task) -> tuple[Proof, Interval]:
    """Each critical point once, and places where two boxes may or may not hold the same one.

    A point on the side that two boxes share is found in both. Two are the same if one's range lies where the other is
    proved to be alone, and different if their ranges do not touch.
    """
    import scipy.spatial

    count = len(proof.index)
    none = Interval(np.zeros((0, task.function.size)))
    if count < 2:
        return proof, none
    point = _wrapped(proof.point, task)
    reach = 4 * float(proof.radius.max()) + 1e-12 * float(np.abs(point).max())
    tree = scipy.spatial.cKDTree(_scaled(point, task), boxsize=_boxsize(task))
    drop, unsure = np.zeros(count, bool), np.zeros(count, bool)
    for i, j in sorted(tree.query_pairs(reach, p=np.inf)):
        shift = _shift(proof.point[j] - proof.point[i], task)
        low, high = proof.lower_of_zero[j] - shift, proof.upper_of_zero[j] - shift
        if (low > proof.upper_of_zero[i]).any() or (high < proof.lower_of_zero[i]).any():
            continue
        same = (low > proof.lower[i]).all() and (high < proof.upper[i]).all()
        drop[j] = True
        unsure[j] |= not same
    return rows(proof, ~drop), Interval(proof.lower_of_zero[unsure], proof.upper_of_zero[unsure])


def _shift(difference: np.ndarray, task: Task) -> np.ndarray:
    """Whole periods between two points."""
    periodic = np.isfinite(task.periods)
    periods = np.where(periodic, task.periods, 1.0)
    return np.where(periodic, np.rint(difference / periods) * periods, 0.0)


def _wrapped(point: np.ndarray, task: Task) -> np.ndarray:
    periodic = np.isfinite(task.periods)
    periods = np.where(periodic, task.periods, 1.0)
    lower = task.lower.vector
    return np.where(periodic, lower + np.mod(point - lower, periods), point)


def _scaled(point: np.ndarray, task: Task) -> np.ndarray:
    """Positions as the tree wants them: periodic ones in [0, period)."""
    periodic = np.isfinite(task.periods)
    offset = np.where(periodic, point - task.lower.vector, point)
    return np.where(periodic, np.minimum(offset, np.nextafter(np.where(periodic, task.periods, 1), 0)), offset)


def _boxsize(task: Task) -> np.ndarray | None:
    periodic = np.isfinite(task.periods)
    return np.where(periodic, task.periods, 0.0) if periodic.any() else None


def inside(proof: Proof, task: Task) -> Proof:
    """The points that may be in the box: boxes were enlarged. Along what repeats there is a copy of them inside."""
    slack = np.where(np.isfinite(task.periods), 1e-9 * task.periods, 0.0)
    outside = (proof.upper_of_zero < task.lower.vector - slack) | (proof.lower_of_zero > task.upper.vector + slack)
    return rows(proof, np.asarray(~outside.any(1)))


def places(boxes: Interval, task: Task) -> Interval:
    """Undecided boxes that touch, as one place each."""
    import scipy.sparse
    import scipy.spatial

    count = len(boxes.lower)
    if count < 2:
        return boxes
    span = np.where(task.upper.vector > task.lower.vector, task.upper.vector - task.lower.vector, 1.0)
    middle, width = (boxes.lower + boxes.upper) / (2 * span), ((boxes.upper - boxes.lower) / span).max()
    pairs = scipy.spatial.cKDTree(middle).query_pairs(1.01 * width, p=np.inf, output_type="ndarray")
    graph = scipy.sparse.coo_matrix((np.ones(len(pairs)), tuple(pairs.T)), shape=(count, count))
    number, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
    lower, upper = np.full((number, boxes.shape[1]), np.inf), np.full((number, boxes.shape[1]), -np.inf)
    np.minimum.at(lower, label, boxes.lower)
    np.maximum.at(upper, label, boxes.upper)
    return Interval(lower, upper)
