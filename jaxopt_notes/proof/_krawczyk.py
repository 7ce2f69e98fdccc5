"""Krawczyk's test: boxes that hold exactly one zero of a gradient, boxes that hold none, and smaller boxes.

    K(X) = x - Y g(x) + (I - Y H(X)) (X - x),     x in X, Y close to the inverse of H

Every zero of g in X lies in K(X). If K(X) lies in the interior of X, there is exactly one. Nothing depends on how
accurate Y is (Krawczyk, 1969; Moore, 1977).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from ._interval import Interval, down, up
from ._matrices import Ball, ball, product


@runtime_checkable
class Differentiable(Protocol):
    """What the test needs of a function: enclosures over boxes, bounds of shape (boxes, n)."""

    size: int

    def slope_on(self, box: Interval) -> Interval:
        """The gradient, (boxes, n)."""

    def curvature_on(self, box: Interval) -> Interval:
        """The Hessian, (boxes, n, n)."""

    def value_on(self, box: Interval) -> tuple[Interval, np.ndarray]:
        """The value, (boxes,), and where the function is known to be defined and smooth all over the box."""


class Tested(NamedTuple):
    """What the test found.

    Attributes:
        image: K(X), which holds every zero in X; everything where nothing is known.
        alone: whether X holds exactly one zero, which lies in the image.
        curvature: H(X).
        middle: the point x.
        slope: g(x).
    """

    image: Interval
    alone: np.ndarray
    curvature: Interval
    middle: np.ndarray
    slope: Interval


def krawczyk(function: Differentiable, box: Interval, middle: np.ndarray | None = None) -> Tested:
    """Krawczyk's test on boxes of shape (boxes, n), around `middle`, the middle of each when None."""
    middle = 0.5 * box.lower + 0.5 * box.upper if middle is None else middle
    curvature = function.curvature_on(box)
    slope = function.slope_on(Interval(middle))
    each, size = ball(curvature), box.shape[-1]
    usable = np.isfinite(each.middle).all((1, 2))
    inverse = approximate_inverse(np.where(usable[:, None, None], each.middle, np.eye(size)))
    reach = np.maximum(up(box.upper - middle), up(middle - box.lower))
    through = product(inverse, each)
    left = Ball(np.eye(size) - through.middle, up(through.radius + 2.0**-51 * (1 + np.abs(through.middle))))
    change = product(left.magnitude(), Ball(reach[..., None], np.zeros_like(reach[..., None])))
    at_slope = ball(slope)
    step = product(inverse, Ball(at_slope.middle[..., None], at_slope.radius[..., None]))
    radius = up(up(step.radius[..., 0] + change.radius[..., 0]) + np.abs(change.middle[..., 0]))
    with np.errstate(invalid="ignore"):
        centre = middle - step.middle[..., 0]
        radius = up(radius + 2.0**-51 * (np.abs(middle) + np.abs(step.middle[..., 0])))
        image = Interval(down(centre - radius), up(centre + radius))
    alone = ((image.lower > box.lower) & (image.upper < box.upper)).all(-1) & usable
    return Tested(image, alone, curvature, middle, slope)


def approximate_inverse(matrices: np.ndarray) -> np.ndarray:
    """Inverses as floating point numbers; of a singular matrix, that of one a little beside it."""
    try:
        return np.linalg.inv(matrices)
    except np.linalg.LinAlgError:
        sizes = np.abs(matrices).max((1, 2), keepdims=True)
        beside = (
            np.where(sizes > 0, sizes, 1.0) * 1e-10 * np.arange(1, matrices.shape[-1] + 1) * np.eye(matrices.shape[-1])
        )
        singular = ~(np.abs(np.linalg.det(matrices)) > 0)
        return np.linalg.inv(np.where(singular[:, None, None], matrices + beside, matrices))


def narrowed(function: Differentiable, box: Interval, rounds: int = 8) -> tuple[Interval, Interval]:
    """Boxes that hold exactly one zero each: smaller boxes around the same zeros, and the Hessian on those."""
    curvature = None
    for _ in range(rounds):
        middle = 0.5 * box.lower + 0.5 * box.upper
        tested = krawczyk(function, box, np.clip(middle, box.lower, box.upper))
        smaller = Interval(np.maximum(box.lower, tested.image.lower), np.minimum(box.upper, tested.image.upper))
        settled = (smaller.upper - smaller.lower) >= 0.5 * (box.upper - box.lower)
        box = smaller
        if settled.all():
            break
    curvature = function.curvature_on(box)
    return box, curvature
