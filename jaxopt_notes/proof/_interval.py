"""Intervals of doubles that hold every real number they stand for, whatever rounding does.

The bounds are numpy arrays. IEEE 754 rounds +, -, x, / and the square root to nearest, so the exact result lies within
half a unit in the last place of the computed one, and one step outward on either side encloses it. The step is a
multiplication and two additions, because numpy's `nextafter` is a call of the C library for every number. It covers
results that are flushed to zero too: some libraries make the processor flush what is below 2^-1022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

EPSILON: Final = 2.0**-52  # two roundings to nearest
FLUSHED: Final = 2.0**-1020  # more than what is lost when numbers below 2^-1022 become zero
LARGEST: Final = np.finfo(float).max
SMALLEST: Final = 2.0**-1022  # what is below it, some processors take for zero

Array = np.ndarray | np.float64 | float


def up(x: Any) -> Any:
    """An upper bound of every real number that rounds to `x`; infinity for NaN.

    For |x| in [2^e, 2^(e+1)) the unit in the last place is 2^(e-52) and |x| 2^-52 is no less, so the sum is at least
    the next double. Below 2^-970 the product may lose its last bits, and FLUSHED exceeds them.
    """
    return np.fmin(x + (np.abs(x) * EPSILON + FLUSHED), np.inf)


def down(x: Any) -> Any:
    """A lower bound of every real number that rounds to `x`; minus infinity for NaN."""
    return np.fmax(x - (np.abs(x) * EPSILON + FLUSHED), -np.inf)


def is_subnormal(x: Any) -> Any:
    """Whether doubles are below 2^-1022 and not zero, from their bits: a comparison may take them for zero."""
    bits = np.asarray(x, np.float64).view(np.int64) & 0x7FFF_FFFF_FFFF_FFFF
    return (bits > 0) & (bits < 1 << 52)


class Interval:
    """An array of intervals [lower, upper]; infinite bounds stand for everything beyond the doubles.

    The arithmetic is that of sets of real numbers: a result holds f(x, y) for all real x and y in the operands at which
    f is defined. 0 x infinity is 0, as an infinite bound is not itself a number of the set.
    """

    __array_ufunc__ = None
    __slots__ = ("lower", "upper")

    def __init__(self, lower: Any, upper: Any = None) -> None:
        self.lower = np.asarray(lower, float)
        self.upper = self.lower if upper is None else np.asarray(upper, float)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return np.broadcast_shapes(self.lower.shape, self.upper.shape)

    def __repr__(self) -> str:
        return f"Interval({self.lower}, {self.upper})"

    def __getitem__(self, where: Any) -> Interval:
        return Interval(self.lower[where], self.upper[where])

    def moved(self, move: Callable[[Any], Any]) -> Interval:
        """The same intervals elsewhere: `move` rearranges arrays and computes nothing."""
        return Interval(move(self.lower), move(self.upper))

    def __neg__(self) -> Interval:
        return Interval(-self.upper, -self.lower)

    def __add__(self, other: Any) -> Interval:
        other = interval(other)
        return Interval(down(self.lower + other.lower), up(self.upper + other.upper))

    def __sub__(self, other: Any) -> Interval:
        other = interval(other)
        return Interval(down(self.lower - other.upper), up(self.upper - other.lower))

    def __mul__(self, other: Any) -> Interval:
        other = interval(other)
        first, second = (other, self) if self._is_number() else (self, other)
        if second._is_number():
            return first.scaled(float(second.lower))
        with np.errstate(invalid="ignore"):
            products = [x * y for x in (first.lower, first.upper) for y in (second.lower, second.upper)]
        if not all(np.isfinite(product).all() for product in products):
            products = [np.where(np.isnan(product), 0.0, product) for product in products]
        least = np.minimum(np.minimum(products[0], products[1]), np.minimum(products[2], products[3]))
        most = np.maximum(np.maximum(products[0], products[1]), np.maximum(products[2], products[3]))
        return Interval(down(least), up(most))

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Any) -> Interval:
        return interval(other) - self

    def __truediv__(self, other: Any) -> Interval:
        return self * interval(other).inverse()

    def _is_number(self) -> bool:
        return self.lower.ndim == 0 and self.lower is self.upper and bool(np.isfinite(self.lower))

    def scaled(self, factor: float) -> Interval:
        """The product with one double; exact for powers of two from 1 on."""
        if factor == 0:
            return Interval(np.zeros(self.shape))
        lower, upper = (self.lower, self.upper) if factor > 0 else (self.upper, self.lower)
        with np.errstate(over="ignore"):
            lower, upper = lower * factor, upper * factor
        exact = abs(factor) >= 1 and np.frexp(factor)[0] in (0.5, -0.5)
        if exact:  # what overflows is no longer a bound from the inner side
            return Interval(np.minimum(lower, LARGEST), np.maximum(upper, -LARGEST))
        return Interval(down(lower), up(upper))

    def inverse(self) -> Interval:
        """1 / x; everything where the interval holds 0."""
        one_sign = (self.lower > 0) | (self.upper < 0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            lower, upper = down(1 / self.upper), up(1 / self.lower)
        return Interval(np.where(one_sign, lower, -np.inf), np.where(one_sign, upper, np.inf))

    def magnitude(self) -> np.ndarray:
        """The largest |x|."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    def mignitude(self) -> np.ndarray:
        """The smallest |x|."""
        return np.fmax(0.0, np.maximum(self.lower, -self.upper))

    def square(self) -> Interval:
        """x^2."""
        with np.errstate(over="ignore"):
            least, most = self.mignitude(), self.magnitude()
            return Interval(np.maximum(down(least * least), 0.0), up(most * most))

    def power(self, exponent: int) -> Interval:
        """x^n for odd n > 0, which grows with x."""
        return Interval(_odd_power(self.lower, exponent, away=False), _odd_power(self.upper, exponent, away=True))

    def absolute(self) -> Interval:
        """|x|."""
        return Interval(self.mignitude(), self.magnitude())

    def maximum(self, other: Any) -> Interval:
        """max(x, y)."""
        other = interval(other)
        return Interval(np.maximum(self.lower, other.lower), np.maximum(self.upper, other.upper))

    def hull(self, other: Any) -> Interval:
        """The smallest interval that holds both."""
        other = interval(other)
        return Interval(np.minimum(self.lower, other.lower), np.maximum(self.upper, other.upper))

    def sqrt(self) -> Interval:
        """The square root of the part of the interval where there is one; everything where there is none."""
        with np.errstate(invalid="ignore"):
            lower, upper = np.sqrt(np.maximum(self.lower, 0.0)), np.sqrt(self.upper)
        nowhere = ~(self.upper >= 0)
        return Interval(np.where(nowhere, -np.inf, np.maximum(down(lower), 0.0)), np.where(nowhere, np.inf, up(upper)))

    def where_above(self, inside: Any, outside: Any) -> Interval:
        """`inside` where x > 0, `outside` where x < 0, both where the interval holds 0 or is not known."""
        inside, outside = interval(inside), interval(outside)
        either = inside.hull(outside)
        above, below = self.lower > 0, self.upper < 0
        return Interval(
            np.where(above, inside.lower, np.where(below, outside.lower, either.lower)),
            np.where(above, inside.upper, np.where(below, outside.upper, either.upper)),
        )

    def total(self, axes: Sequence[int]) -> Interval:
        """The sum along axes, whatever the order in which numpy adds.

        n numbers added in any order are off by at most (n - 1) u / (1 - (n - 1) u) times the sum of their sizes, u =
        2^-53 (Higham, 2002, section 4.2); the sum of sizes is itself rounded.
        """
        count = int(np.prod([self.shape[axis] for axis in axes], dtype=np.int64))
        if count == 0:
            return Interval(np.zeros([n for axis, n in enumerate(self.shape) if axis not in axes]))
        share = 2 * (count + 2) * 2.0**-53

        def bound(side: np.ndarray, sign: int) -> np.ndarray:
            side = np.broadcast_to(side, self.shape)
            with np.errstate(invalid="ignore", over="ignore"):
                computed, sizes = side.sum(tuple(axes)), np.abs(side).sum(tuple(axes))
                slack = share * sizes + count * FLUSHED
            return up(computed + slack) if sign > 0 else down(computed - slack)

        return Interval(bound(self.lower, -1), bound(self.upper, 1))


def interval(x: Any) -> Interval:
    """`x` itself, or the doubles in it as intervals of no width."""
    return x if isinstance(x, Interval) else Interval(x)


def stacked(intervals: Sequence[Interval], axis: int = 0, shape: tuple[int, ...] | None = None) -> Interval:
    """Intervals side by side along a new axis, each brought to `shape` first."""
    shape = np.broadcast_shapes(*(each.shape for each in intervals)) if shape is None else shape
    return Interval(
        np.stack([np.broadcast_to(each.lower, shape) for each in intervals], axis),
        np.stack([np.broadcast_to(each.upper, shape) for each in intervals], axis),
    )


def _odd_power(x: np.ndarray, exponent: int, away: bool) -> np.ndarray:
    """x^n, from above where `away`: |x|^n is rounded away from zero on one side of zero and towards it on the other."""
    size = np.abs(x)
    outward = (x >= 0) == away
    result = size
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(exponent - 1):
            product = result * size
            result = np.where(outward, up(product), np.maximum(down(product), 0.0))
    return np.where(x >= 0, result, -result)
