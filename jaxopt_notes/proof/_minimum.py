"""The global minimum over a box: bounds that hold, by branch and bound on the value."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._shown import readable
from ._box import checked_box
from ._function import Function, traced
from ._interval import Interval, up
from ._krawczyk import approximate_inverse
from ._matrices import ball, eigenvalues

_AT_ONCE = 1024


@readable
@dataclass(frozen=True)
class GlobalMinimum:
    """Bounds of the smallest value over a box. `print` shows them in words.

    Attributes:
        lower, upper: the smallest value lies between them; both are infinite if the loss is defined nowhere.
        point: the loss there is at most `upper`; a pytree of doubles.
        places: (lower, upper) of boxes, pytrees with a leading axis; every point of the smallest value is in one.
        complete: whether the bounds are as close as asked for. If not, a limit ended the search, or what is left of
            the box cannot be divided in doubles.
        boxes: number of boxes examined.
    """

    lower: float
    upper: float
    point: PyTree
    places: tuple[PyTree, PyTree]
    complete: bool
    boxes: int

    def __str__(self) -> str:
        if self.lower == np.inf:
            return "the loss is defined nowhere in the box, proved"
        ended = "" if self.complete else "; the search ended before the bounds were as close as asked for"
        return (
            f"the smallest value over the box lies in [{self.lower!r}, {self.upper!r}], proved; {self.point} has at "
            f"most the upper bound ({self.boxes:,} box{'es' * (self.boxes != 1)}{ended})"
        )


@readable
@dataclass(frozen=True)
class MinimumBelow:
    """Whether a loss goes below a value somewhere in a box; true if that is proved.

    Attributes:
        below: True or False if either is proved, None if a limit ended the search before.
        value: asked for.
        lower, upper: the smallest value lies between them.
        point: the loss there is at most `upper`.
        boxes: number of boxes examined.
    """

    below: bool | None
    value: float
    lower: float
    upper: float
    point: PyTree
    boxes: int

    def __bool__(self) -> bool:
        return self.below is True

    def __str__(self) -> str:
        if self.below is None:
            return f"undecided after {self.boxes:,} boxes: the smallest value lies in [{self.lower!r}, {self.upper!r}]"
        if self.below:
            return f"proved: the loss is at most {self.upper!r} at {self.point}, below {self.value!r}"
        return f"proved: the loss is nowhere in the box below {self.value!r}; it is at least {self.lower!r}"


def global_minimum(
    loss: Callable[..., Float[Array, ""]],
    box: tuple[PyTree, PyTree],
    *args: Any,
    tolerance: float = 1e-9,
    boxes: int = 1_000_000,
    seconds: float | None = None,
) -> GlobalMinimum:
    """Bound the smallest value of a loss over a box, its boundary included, with proof.

    Parts of the box are dropped where the loss is above a value that it is known to take, where its gradient points
    out of them, and where it is concave. Where it is strongly convex,

        f(x) >= f(c) - |g(c)|^2 / (2 lambda)     for all x,  lambda > 0 below every eigenvalue of the Hessian

    Arguments:
        loss: `loss(params, *args)`, a real scalar of operations that have a rule; see `jon.proof.supported`.
        box: (lower, upper), pytrees like the parameters.
        args: further arguments of `loss`.
        tolerance: > 0, the width of the bounds at which the search ends, in units of the larger of the value's size
            and the spread of the loss over the first parts of the box.
        boxes: how many parts to examine at most.
        seconds: how long at most; no limit when None.

    Returns:
        `GlobalMinimum`.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.
        NotImplementedError: naming an operation that has no rule.

    Example:
        >>> import jaxopt_notes as jon
        >>> found = jon.proof.global_minimum(lambda x: x**4 - 2 * x**2 + 0.5 * x, (-2.0, 2.0))
        >>> round(float(found.point), 3), found.upper - found.lower < 1e-8
        (-1.057, True)

    Source: Hansen and Walster, 2004.
    """
    tolerance = float(_checks.number("tolerance", tolerance, low=0.0))
    task = _Task(loss, box, args, boxes, seconds)
    task.run(lambda task: task.close(tolerance))
    return GlobalMinimum(
        lower=task.lower,
        upper=task.upper,
        point=task.like.tree(task.best),
        places=(task.like.tree(task.left.lower), task.like.tree(task.left.upper)),
        complete=task.close(tolerance),
        boxes=task.examined,
    )


def prove_minimum_below(
    loss: Callable[..., Float[Array, ""]],
    box: tuple[PyTree, PyTree],
    value: float,
    *args: Any,
    boxes: int = 1_000_000,
    seconds: float | None = None,
) -> MinimumBelow:
    """Prove that a loss goes below `value` somewhere in a box, or that it does not.

    Arguments:
        loss, box, args, boxes, seconds: as in `jon.proof.global_minimum`.
        value: a number.

    Returns:
        `MinimumBelow`, true if the loss goes below the value; `below` is None if a limit ended the search.

    Raises:
        As `jon.proof.global_minimum`.

    Example:
        >>> import jaxopt_notes as jon
        >>> bool(jon.prove_minimum_below(lambda x: x**2 + 1, (-1.0, 1.0), 1.5))
        True
        >>> jon.prove_minimum_below(lambda x: x**2 + 1, (-1.0, 1.0), 0.5).below
        False
    """
    value = float(_checks.number("value", value))
    task = _Task(loss, box, args, boxes, seconds)
    task.run(lambda task: task.upper < value or task.lower >= value)
    below = True if task.upper < value else False if task.lower >= value else None
    return MinimumBelow(below, value, task.lower, task.upper, task.like.tree(task.best), task.examined)


class _Task:
    """A search for the smallest value: what is known of it so far."""

    def __init__(self, loss: Any, box: Any, args: tuple[Any, ...], boxes: int, seconds: float | None) -> None:
        self.like, upper = checked_box(box)
        self._most = _checks.count("boxes", boxes)
        self._seconds = np.inf if seconds is None else float(_checks.number("seconds", seconds, low=0.0))
        self.function: Function = traced(loss, self.like, args)
        self._sides = self.like.vector, upper.vector
        self.left = Interval(self.like.vector[None], upper.vector[None])
        self._bounds = np.array([-np.inf])  # below which the loss does not go in each part that is left
        self._final = np.array([False])  # whether a part cannot be divided
        self._highest = -np.inf  # of the values tried
        self.best, self.upper, self.scale, self.examined = 0.5 * (self.like.vector + upper.vector), np.inf, 0.0, 0

    @property
    def lower(self) -> float:
        """A lower bound of the smallest value."""
        return float(min(self._bounds.min(initial=np.inf), self.upper))

    def run(self, enough: Callable[[_Task], bool]) -> None:
        """Examine the parts with the lowest bounds until that is enough."""
        deadline = time.monotonic() + self._seconds
        with np.errstate(all="ignore"):
            while not self._final.all() and self.examined < self._most and time.monotonic() < deadline:
                urgency = np.where(self._final, np.inf, self._bounds)
                first = np.zeros(len(urgency), bool)
                first[np.argpartition(urgency, min(_AT_ONCE, len(urgency)) - 1)[:_AT_ONCE]] = True
                first &= ~self._final
                batch, bounds = self.left[first], self._bounds[first]
                self._select(~first)
                self.examined += len(bounds)
                self._examine(batch, bounds)
                self._select(self._bounds <= self.upper)
                if enough(self):
                    return

    def _select(self, parts: np.ndarray) -> None:
        self.left, self._bounds, self._final = self.left[parts], self._bounds[parts], self._final[parts]

    def close(self, tolerance: float) -> bool:
        """Whether the bounds are as close as that, in units of the scale."""
        return self.lower == self.upper or self.upper - self.lower <= tolerance * self.scale

    def _examine(self, box: Interval, bounds: np.ndarray) -> None:
        """Bound the loss on boxes, drop those without the smallest value, and divide the others."""
        defined, undefined = self.function.domain_on(box)
        slope = self.function.slope_on(box)
        box, keep = self._moved_to_sides(box, slope, defined)
        keep &= ~undefined
        box, slope, bounds, defined = box[keep], slope[keep], bounds[keep], defined[keep]
        if not len(bounds):
            return
        middle = np.clip(0.5 * box.lower + 0.5 * box.upper, box.lower, box.upper)
        at_middle = self._tried(middle)
        reach = np.maximum(up(box.upper - middle), up(middle - box.lower))
        fall = (slope * Interval(-reach, reach)).total((1,))
        value, _ = self.function.value_on(box)
        bounds = np.fmax(bounds, np.fmax(value.lower, np.where(defined, (at_middle + fall).lower, -np.inf)))
        curvature = self.function.curvature_on(box)
        concave = (np.diagonal(curvature.upper, axis1=1, axis2=2) < 0) & self._interior(box) & (box.lower < box.upper)
        bounds = np.fmax(bounds, np.where(defined, self._convex_bound(box, middle, curvature), -np.inf))
        keep = ~(concave.any(1) & defined) & (bounds <= self.upper)
        sizes = np.where(np.isfinite(slope.magnitude()), slope.magnitude(), 1e300) * (box.upper - box.lower)
        self._divide(box[keep], bounds[keep], sizes[keep])

    def _moved_to_sides(self, box: Interval, slope: Interval, defined: np.ndarray) -> tuple[Interval, np.ndarray]:
        """Where the loss only grows along an axis, its smallest value lies on the lower side, if that is the box's."""
        lower, upper = self._sides
        varies = (box.lower < box.upper) & defined[:, None]
        grows, falls = (slope.lower > 0) & varies, (slope.upper < 0) & varies
        at_lower, at_upper = box.lower <= lower, box.upper >= upper
        keep = ~np.any((grows & ~at_lower) | (falls & ~at_upper), axis=1)
        moved = Interval(np.where(falls, box.upper, box.lower), np.where(grows, box.lower, box.upper))
        return moved, keep

    def _interior(self, box: Interval) -> np.ndarray:
        return (box.lower > self._sides[0]) & (box.upper < self._sides[1])

    def _tried(self, points: np.ndarray) -> Interval:
        """The loss at points; the best point is remembered."""
        value, defined = self.function.value_on(Interval(points))
        known = np.where(defined, value.upper, np.inf)
        best = int(known.argmin())
        if known[best] < self.upper:
            self.upper, self.best = float(known[best]), points[best]
        finite = known[np.isfinite(known)]
        if len(finite):
            self._highest = max(self._highest, float(finite.max()))
            spread = 2 * (0.5 * self._highest - 0.5 * self.upper)
            self.scale = min(max(spread, abs(self.upper)), np.finfo(float).max)
        return value

    def _convex_bound(self, box: Interval, middle: np.ndarray, curvature: Interval) -> np.ndarray:
        """f(c) - |g(c)|^2 / (2 lambda) where the loss is strongly convex along what varies; else minus infinity."""
        size = self.function.size
        fixed = box.lower == box.upper
        across = fixed[:, :, None] | fixed[:, None, :]
        unit = np.broadcast_to(np.eye(size), curvature.shape)
        varied = Interval(np.where(across, unit, curvature.lower), np.where(across, unit, curvature.upper))
        smallest = eigenvalues(varied).lower.min(1)
        convex = smallest > 0
        if not convex.any():
            return np.full(len(middle), -np.inf)
        middle, box = middle[convex], box[convex]
        slope = ball(self.function.slope_on(Interval(middle))).middle * ~fixed[convex]
        inverse = approximate_inverse(ball(varied[convex]).middle)
        centre = np.clip(middle - (inverse @ slope[..., None])[..., 0], box.lower, box.upper)
        centre = np.where(np.isfinite(centre), centre, middle)
        value = self._tried(centre)
        steep = Interval(np.where(fixed[convex], 0.0, self.function.slope_on(Interval(centre)).magnitude()))
        drop = steep.square().total((1,)) * Interval(2 * smallest[convex]).inverse()
        bound = np.full(len(convex), -np.inf)
        bound[convex] = (value - drop).lower
        return bound

    def _divide(self, box: Interval, bounds: np.ndarray, sizes: np.ndarray) -> None:
        """Halves along the axis that changes the loss most; what no double divides is final."""
        middle = 0.5 * box.lower + 0.5 * box.upper
        divisible = (box.lower < middle) & (middle < box.upper)
        final = ~divisible.any(1)
        self._keep(box[final], bounds[final], final=True)
        box, bounds, middle = box[~final], bounds[~final], middle[~final]
        divisible, sizes = divisible[~final], sizes[~final]
        sizes = np.where(sizes > 0, sizes, (box.upper - box.lower) * 1e-300)
        rows, axis = np.arange(len(bounds)), np.where(divisible, sizes, -1.0).argmax(1)
        first, second = box.upper.copy(), box.lower.copy()
        first[rows, axis] = second[rows, axis] = middle[rows, axis]
        self._keep(Interval(box.lower, first), bounds)
        self._keep(Interval(second, box.upper), bounds)

    def _keep(self, box: Interval, bounds: np.ndarray, final: bool = False) -> None:
        self.left = Interval(np.concatenate([self.left.lower, box.lower]), np.concatenate([self.left.upper, box.upper]))
        self._bounds = np.concatenate([self._bounds, bounds])
        self._final = np.concatenate([self._final, np.full(len(bounds), final)])
