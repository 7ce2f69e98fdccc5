"""From a point close to a zero of the gradient to a proof: a radius, the eigenvalues, and what they mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._interval import Interval, down, up
from ._krawczyk import Differentiable, Tested, approximate_inverse, krawczyk, narrowed
from ._matrices import ball, eigenvalues

_STEPS, _HESSIANS = 60, 12  # of Newton's method, at most
_DECADES = 12  # of the largest parameter, down to which the largest cube with one zero is looked for
_MANY = 30  # parameters, beyond which that takes too long
_WIDER = (2.0, 8.0, 64.0, 1e3, 1e5, 1e7, 1e9)  # times the reach of a test at the point itself


class Proof(NamedTuple):
    """What is proved of each of some boxes, arrays with one row per point.

    Attributes:
        point: close to the critical point, (points, n).
        lower, upper: the box that holds exactly one critical point.
        radius: largest distance of that point from `point` in one coordinate.
        bounds: of the eigenvalues of the Hessian there, (points, n, 2), ascending.
        index: number of eigenvalues below zero; -1 where a sign is not proved.
        loss: bounds of the value there, (points, 2).
        defined: whether the function is known to be defined and twice differentiable all over the box.
        lower_of_zero, upper_of_zero: the smaller box that holds the critical point.
    """

    point: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    radius: np.ndarray
    bounds: np.ndarray
    index: np.ndarray  # type: ignore[assignment]
    loss: np.ndarray
    defined: np.ndarray
    lower_of_zero: np.ndarray
    upper_of_zero: np.ndarray


def proofs(function: Differentiable, alone: Interval, image: Interval) -> Proof:
    """What follows for boxes `alone`, each with exactly one zero, which lies in `image`."""
    zero, curvature = narrowed(
        function, Interval(np.maximum(alone.lower, image.lower), np.minimum(alone.upper, image.upper))
    )
    point = np.clip(0.5 * zero.lower + 0.5 * zero.upper, zero.lower, zero.upper)
    radius = np.maximum(up(zero.upper - point), up(point - zero.lower)).max(1, initial=0.0)
    eigen = eigenvalues(curvature)
    below, above = eigen.upper < 0, eigen.lower > 0
    index = np.where((below | above).all(1), below.sum(1), -1)
    _, defined = function.value_on(alone)
    loss, _ = function.value_on(zero)
    return Proof(
        point,
        alone.lower,
        alone.upper,
        radius,
        np.stack([eigen.lower, eigen.upper], -1),
        index,
        np.stack([loss.lower, loss.upper], -1),
        defined,
        zero.lower,
        zero.upper,
    )


def refined(function: Differentiable, start: np.ndarray) -> np.ndarray:
    """Newton's method in floating point from one point, until steps are no longer than rounding explains.

    The Hessian is taken anew only where the last one no longer shortens the steps.
    """
    point, last, inverse, taken = start, np.inf, None, 0
    for _ in range(_STEPS):
        slope = ball(function.slope_on(Interval(point[None])))
        if inverse is None:
            curvature = ball(function.curvature_on(Interval(point[None]))).middle
            taken += 1
            if not np.isfinite(curvature).all() or taken > _HESSIANS:
                return point
            inverse = approximate_inverse(curvature)[0]
        step, noise = inverse @ slope.middle[0], np.abs(inverse) @ slope.radius[0]
        length = float(np.linalg.norm(step))
        if not np.isfinite(length) or (np.abs(step) <= 2 * noise).all():
            return point
        point, slow, last = point - step, length > 0.1 * last, length
        if slow:
            inverse = None
    return point


def tested_around(function: Differentiable, point: np.ndarray) -> tuple[Interval, Tested] | Tested:
    """A box around the point with exactly one zero, with its test; without one, the last test that failed.

    The image of the point itself is as wide as rounding and the distance to the zero make it, so boxes of a few times
    that size are tried, smallest first: no unit of the parameters is assumed.
    """
    thin = krawczyk(function, Interval(point[None]), point[None])
    reach = np.maximum(np.abs(thin.image.upper - point), np.abs(point - thin.image.lower))
    largest = reach.max(initial=0.0)
    if not np.isfinite(largest):
        return thin
    reach = np.maximum(reach, 2.0**-20 * largest)
    tested = thin
    for factor in _WIDER:
        box = Interval(down(point - factor * reach), up(point + factor * reach))
        tested = krawczyk(function, box, point[None])
        if tested.alone[0]:
            return _grown(function, point, box, tested)
    return tested


def _grown(function: Differentiable, point: np.ndarray, box: Interval, tested: Tested) -> tuple[Interval, Tested]:
    """The largest cube tried that holds the box and exactly one zero: there is no other in all of it."""
    narrow = float(np.maximum(box.upper - point, point - box.lower).max(initial=0.0))
    scale = float(np.abs(point).max(initial=0.0)) or 1.0
    decades = range(1, 1 + (_DECADES if function.size <= _MANY else 0))
    for radius in [*(scale * 10.0**-k for k in decades), 100 * narrow, 4 * narrow]:
        cube = Interval(down(point - radius)[None], up(point + radius)[None])
        if radius > narrow and (wider := krawczyk(function, cube, point[None])).alone[0]:
            return cube, wider
    return box, tested
