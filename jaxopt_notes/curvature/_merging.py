"""One critical point for all the ends of a search that are the same, or that lie on one continuum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ._search import Field
from ._walks import arrives, dimensions, fades, refined

_ROUNDINGS = 32  # units in the last place of the parameters, times the condition number: ends of one point
_CAP = {4: 1e-4, 8: 1e-7}  # of the region, by the size of the dtype: ends farther apart have to reach each other
_NEAR = 1e-3  # of the region: ends nearer than that may be one point whatever the Hessians there
_FEW, _MANY = 32, 1024  # ends that one compiled call takes
_NEIGHBOURS = 16


class Ends(NamedTuple):
    """Ends of Newton's method that are critical.

    Attributes:
        points: where they are, within one period.
        loss, gradient_norm: there.
        smallest, largest: moduli of the eigenvalues.
        signature: kind, index, number of positive eigenvalues.
        sure: whether every eigenvalue has a sign that holds at the critical point nearby.
    """

    points: Float[np.ndarray, "ends n"]
    loss: Float[np.ndarray, " ends"]
    gradient_norm: Float[np.ndarray, " ends"]
    smallest: Float[np.ndarray, " ends"]
    largest: Float[np.ndarray, " ends"]
    signature: Int[np.ndarray, "ends 3"]
    sure: Bool[np.ndarray, " ends"]

    def at(self, rows: np.ndarray) -> Ends:
        """Some of them."""
        return Ends(*(field[rows] for field in self))


class Families(NamedTuple):
    """What the ends are.

    Attributes:
        label: of every end, the number of its family.
        chosen: the row of the end that stands for each family, that of the smallest gradient.
        dimension: of the continuum that each family lies on; 0 for a point.
        blurred: whether ends joined by a walk differ in signature, or have none that holds.
        escaped: whether it is the far end of a slope that only fades.
    """

    label: Int[np.ndarray, " ends"]
    chosen: Int[np.ndarray, " families"]
    dimension: Int[np.ndarray, " families"]
    blurred: Bool[np.ndarray, " families"]
    escaped: Bool[np.ndarray, " families"]


def families(
    field: Field,
    ends: Ends,
    escaped: Float[np.ndarray, "escaped n"],
    diagonal: float,
    period: Float[np.ndarray, " n"],
    merge: float | None,
) -> Families:
    """Put ends together that are one point.

    Ends of one signature are, if their distance is what rounding makes of a well-conditioned root. All others, and
    those near an end of another signature, are if a walk over critical points leads from one to the other.
    """
    # The best ends first, so that the first of a family is the one to stand for it.
    order = np.argsort(ends.gradient_norm, kind="stable")
    ends = ends.at(order)
    radius = _radius(ends, diagonal) if merge is None else np.full(len(ends.loss), merge)
    first, label = _numbered(_close(ends, radius, period))
    few = ends.at(first)
    dimension, faded = np.zeros(len(first), int), np.zeros(len(first), bool)
    doubtful = _doubtful(few, radius[first], escaped, diagonal, period) | (field.symmetry is not None)
    if doubtful.any():
        rows = np.flatnonzero(doubtful)
        root, dimension[rows], faded[rows] = _linked(field, few.at(rows), escaped, diagonal, period)
        joined = np.arange(len(first))
        joined[rows] = rows[root]
        leaders, number = np.unique(joined, return_inverse=True)
        label = number[label]
        first, dimension, faded = first[leaders], dimension[leaders], faded[leaders]
    else:
        joined = np.arange(len(first))
    different = (ends.signature != ends.signature[first[label]]).any(axis=1)
    several = np.bincount(np.unique(joined, return_inverse=True)[1]) > 1
    # Ends of a simple root have one Hessian; its smallest eigenvalue varies where the ends are those of a multiple one.
    steepest, flattest = np.zeros(len(first)), np.full(len(first), np.inf)
    np.maximum.at(steepest, label, ends.smallest)
    np.minimum.at(flattest, label, ends.smallest)
    doubt = np.bincount(label, weights=different | ~ends.sure, minlength=len(first)) > 0
    doubt |= flattest < steepest / 2
    back = np.empty_like(label)
    back[order] = label
    return Families(back, order[first], dimension, several & doubt, faded)


def _numbered(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of every label, and labels 0, 1, ... in this order."""
    _, first, number = np.unique(label, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[number]


def _radius(ends: Ends, diagonal: float) -> np.ndarray:
    """How far rounding may take an end from its root."""
    eps = np.finfo(ends.points.dtype).eps
    with np.errstate(divide="ignore", invalid="ignore"):
        condition = np.where(ends.sure, ends.largest / ends.smallest, 1)
    radius = _ROUNDINGS * eps * condition * np.linalg.norm(ends.points, axis=1)
    return np.clip(np.nan_to_num(radius), 8 * eps * diagonal, _CAP[ends.points.dtype.itemsize] * diagonal)


def _close(ends: Ends, radius: np.ndarray, period: np.ndarray) -> np.ndarray:
    """Label ends of one signature that are linked by distances of at most the radius."""
    # Converged starts land within rounding of each other: thin them on a grid first, as pairs grow with the square.
    exponent = np.floor(np.log2(radius))
    cells = np.round(ends.points.astype(np.float64) / 2.0 ** exponent[:, None])
    first, cell = _distinct(np.column_stack([ends.signature, exponent, cells]))
    group = np.unique(ends.signature[first], axis=0, return_inverse=True)[1].reshape(-1)
    link = np.arange(len(first))
    for one in np.unique(group):
        rows = np.flatnonzero(group == one)
        link[rows] = rows[_components(ends.points[first[rows]], radius[first[rows]], period)]
    return link[cell]


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of every set of equal rows, and to which set each row belongs, as `np.unique` along an axis.

    Rows are sorted by one number each, which is many times as fast; if two different rows share one, by all of them.
    """
    weights = np.random.default_rng(0).integers(2**63, size=rows.shape[1], dtype=np.uint64)
    numbers = (rows.view(np.uint64) >> np.uint64(3)) * weights
    _, first, inverse = np.unique(np.bitwise_xor.reduce(numbers, axis=1), return_index=True, return_inverse=True)
    if (rows[first[inverse]] != rows).any():
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)


def _components(points: np.ndarray, radius: np.ndarray, period: np.ndarray) -> np.ndarray:
    """For every point the first one that it is linked to."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number = min(_NEIGHBOURS, len(points))
    distance, other = _tree(points, period).query(_wrapped(points, period), k=number)
    distance, other = distance.reshape(len(points), number), other.reshape(len(points), number)
    near = distance <= 2 * np.minimum(radius[:, None], radius[np.minimum(other, len(points) - 1)])
    here, _ = np.nonzero(near)
    links = coo_array((np.ones(len(here)), (here, other[near])), shape=(len(points), len(points)))
    _, label = connected_components(links, directed=False)
    return np.unique(label, return_index=True)[1][label]


def _wrapped(points: np.ndarray, period: np.ndarray) -> np.ndarray:
    """Within [0, period) along what repeats."""
    repeats, points = np.isfinite(period), points.astype(np.float64)
    points[:, repeats] %= period[repeats]
    points[:, repeats] = np.where(points[:, repeats] < period[repeats], points[:, repeats], 0)
    return points


def _tree(points: np.ndarray, period: np.ndarray) -> Any:
    from scipy.spatial import cKDTree

    return cKDTree(_wrapped(points, period), boxsize=np.where(np.isfinite(period), period, 0))


def _doubtful(
    ends: Ends, radius: np.ndarray, escaped: np.ndarray, diagonal: float, period: np.ndarray
) -> Bool[np.ndarray, " ends"]:
    """Which ends may be the same as another one, or no point at all."""
    near = np.maximum(_NEAR * diagonal, _ROUNDINGS * radius)
    doubtful = ~ends.sure
    if len(near) > 1:
        distance, _ = _tree(ends.points, period).query(_wrapped(ends.points, period), k=2)
        doubtful = doubtful | (distance[:, 1] <= near)
    if len(escaped):
        distance, _ = _tree(escaped, period).query(_wrapped(ends.points, period))
        doubtful = doubtful | (distance <= diagonal / 16)
    return doubtful


def _linked(
    field: Field, ends: Ends, escaped: np.ndarray, diagonal: float, period: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every end the one that stands for its family, the dimension of this family, and whether it fades away."""
    dtype = ends.points.dtype
    size, repeats = jnp.asarray(diagonal, dtype), jnp.asarray(period, dtype)
    points, tolerance, blur = _in_chunks(lambda some: refined(field, some, size), ends.points)
    root = np.full(len(points), -1)
    near = diagonal / 16 if field.symmetry is None else np.inf  # images of a point lie anywhere

    def arriving(starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        within = np.maximum(tolerance[starts], tolerance[goals])
        walk = lambda some, to, within: arrives(field, some, to, within, repeats, size)
        return _in_chunks(walk, points[starts], points[goals], within)

    # A loop in Python over the doubtful ends, which are few; each turn compares one of them with all others in one or
    # two compiled calls.
    for leader in range(len(points)):
        if root[leader] >= 0:
            continue
        root[leader] = leader
        # The way to the end that stands for a family may be blocked; that to the nearest one of it is short.
        members = np.flatnonzero((root >= 0) & (root != leader))
        distance, possible = _compared(ends, blur, leader, members, near, diagonal, period)
        members = members[possible][np.argsort(distance[possible], kind="stable")]
        members = members[np.unique(root[members], return_index=True)[1]]
        if len(members):
            open_ways = arriving(np.full_like(members, leader), members)
            root[leader] = root[members[open_ways]].min(initial=leader)
        others = np.flatnonzero(root < 0)
        others = others[_compared(ends, blur, leader, others, near, diagonal, period)[1]]
        if len(others):
            root[others[arriving(others, np.full_like(others, leader))]] = root[leader]
    leaders = np.unique(root)
    dimension, faded = np.zeros(len(points), int), np.zeros(len(points), bool)
    flat = leaders[~ends.sure[leaders]]
    if len(flat):
        follow = lambda some, within: dimensions(field, some, within, size)
        dimension[flat] = _in_chunks(follow, points[flat], tolerance[flat])
    if len(escaped):
        _, to = _tree(escaped, period).query(_wrapped(points[leaders], period))
        look = lambda some, ends, within: fades(field, some, ends, within)
        faded[leaders] = _in_chunks(look, points[leaders], escaped[to], tolerance[leaders])
    return root, dimension, faded


def _compared(
    ends: Ends, blur: np.ndarray, leader: int, others: np.ndarray, near: float, diagonal: float, period: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far others are from one end, and which may be the same: the loss is constant on a continuum, and sure points
    are `near`.
    """
    eps = np.finfo(ends.points.dtype).eps
    loss, one = ends.loss[others], ends.loss[leader]
    hidden = 64 * eps * (np.abs(loss) + np.abs(one)) + blur[others] + blur[leader]
    hidden = hidden + eps * (ends.largest[others] + ends.largest[leader]) * diagonal**2
    gap = ends.points[others].astype(np.float64) - ends.points[leader]
    turns = np.round(gap / period)  # 0 along what does not repeat
    distance = np.linalg.norm(gap - turns * np.where(np.isfinite(period), period, 1), axis=1)
    isolated = ends.sure[others] | ends.sure[leader]
    return distance, (np.abs(loss - one) <= hidden) & (~isolated | (distance <= near))


def _in_chunks(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """Call a compiled function on arrays of any length: of one shape or of two, so that it compiles once or twice."""
    count = len(arrays[0])
    width = _FEW if count <= _FEW else _MANY
    parts = []
    for begin in range(0, count, width):
        # The last chunk is filled up with its last row, and the copies are cut off again below.
        rows = np.minimum(np.arange(begin, begin + width), count - 1)
        parts.append(function(*(jnp.asarray(array[rows]) for array in arrays)))
    if isinstance(parts[0], tuple):
        return tuple(np.concatenate(list(map(np.asarray, column)))[:count] for column in zip(*parts, strict=True))
    return np.concatenate([np.asarray(part) for part in parts])[:count]
