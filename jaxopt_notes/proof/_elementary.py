"""exp, log, sin, cos and tanh of intervals, with errors that are proved.

No vendor proves how accurate its elementary functions are, so these are our own: the argument is reduced by constants
whose products are exact, and a Taylor polynomial is evaluated by Horner's rule. What follows uses u = 2^-53, the
largest relative error of one operation of IEEE 754. Each comment adds up the errors; the constant beside it is what is
granted, at least half as much again. numpy runs one operation at a time and none is contracted into another.

Every other function is evaluated by Arb, see `_special`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ._interval import LARGEST, Interval, down, up

Array = np.ndarray | np.float64

_U: Final = 2.0**-53

# ln 2 and pi / 2 in parts: the leading ones have so few bits that a product with the integers used here is exact.
_LN2: Final = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
_HALF_PI: Final = (
    float.fromhex("0x1.921fb544p+0"),
    float.fromhex("0x1.0b4611a6p-34"),
    float.fromhex("0x1.3198a2e037073p-69"),
)
_FARTHEST_ANGLE: Final = 2.0**20
_LARGEST_EXPONENT, _SMALLEST_EXPONENT = 709.7, -708.0


def _horner(coefficients: list[float], x: Array) -> Array:
    result = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x + coefficient
    return result


_EXP = [1 / math.factorial(n) for n in range(14)]
_SIN = [(-1) ** n / math.factorial(2 * n + 1) for n in range(9)]
_COS = [(-1) ** n / math.factorial(2 * n) for n in range(10)]
_SINH = [1 / math.factorial(2 * n + 1) for n in range(7)]
_COSH = [1 / math.factorial(2 * n) for n in range(8)]
_ATANH = [1 / (2 * n + 1) for n in range(11)]

# exp: x = k ln 2 + r with |r| < 0.35 and |k| < 1025. k LN2[0] is exact (11 + 32 bits); r is off by at most
# u (|x - k LN2[0]| + 3 |k LN2[1]| + |r|) < 0.71 u. The polynomial leaves out 0.35^14 / 14! < 0.05 u; Horner adds at
# most 2.5 u to a value of at least 0.70. Together below 4.4 u of the value. 2^k is exact.
_EXP_ERROR: Final = 8 * _U
# log: x = 2^k m with m in [0.70, 1.42], s = (m - 1) / (m + 1), m - 1 exact, s off by 2 u of itself. The series leaves
# out s^22 / 23 < 0.01 u of itself, and Horner in s^2 < 0.03 adds less than 3 u: log m is off by 6 u of itself. Where
# k is not 0, |log x| >= 0.34 >= |log m|, k LN2[0] is exact, and the sums add 3 u of the result. Below 10 u.
_LOG_ERROR: Final = 16 * _U
# sin and cos: x = k pi/2 + r, |r| < 0.79, |k| < 2^20, k HALF_PI[0] and k HALF_PI[1] exact (20 + 33 bits); three
# differences of at most 0.80 each off by u of themselves: 2.4 u, absolute. Taylor leaves out 1e-19, Horner adds 2 u.
# For k = 0 the argument is exact and sin is off by 4 u of itself.
_WAVE_ERROR: Final = 8 * _U
# tanh: below 0.3 the quotient of two series, 5 u of itself. From there 1 - 2 / (exp(2x) + 1): the quotient, at most
# 0.71, is off by 5.3 u of itself, and the difference is at least 0.29: below 15 u of the result.
_TANH_ERROR: Final = 24 * _U


def _around(value: Array, error: float | Array, relative: bool = True) -> tuple[Array, Array]:
    """Bounds of everything off by `error`, of the value or absolutely; the step covers the rounding of the slack."""
    slack = np.abs(value) * error if relative else np.broadcast_to(error, value.shape)
    return down(value - slack), up(value + slack)


def _exp_near(x: Array) -> Array:
    """exp of numbers in [-708, 709.7], off by less than EXP_ERROR."""
    k = np.rint(x * (1 / math.log(2)))
    r = (x - k * _LN2[0]) - k * _LN2[1]
    return np.ldexp(_horner(_EXP, r), k.astype(np.int32))


def exp(x: Interval) -> Interval:
    """e^x."""
    lower, _ = _around(_exp_near(np.clip(x.lower, _SMALLEST_EXPONENT, _LARGEST_EXPONENT)), _EXP_ERROR)
    _, upper = _around(_exp_near(np.clip(x.upper, _SMALLEST_EXPONENT, _LARGEST_EXPONENT)), _EXP_ERROR)
    lower = np.where(x.lower < _SMALLEST_EXPONENT, 0.0, np.maximum(lower, 0.0))
    return Interval(lower, np.where(x.upper > _LARGEST_EXPONENT, np.inf, upper))


def _log_near(x: Array) -> Array:
    """log of positive finite numbers, off by less than LOG_ERROR."""
    m, k = np.frexp(x)
    small = m < math.sqrt(0.5)
    m, k = np.where(small, 2 * m, m), (k - small).astype(float)
    s = (m - 1) / (m + 1)
    log_m = 2 * s * _horner(_ATANH, s * s)
    return k * _LN2[0] + (k * _LN2[1] + log_m)


def log(x: Interval) -> Interval:
    """The natural logarithm of the part of the interval where there is one; everything where there is none."""
    tiny = 2.0**-1022
    lower, _ = _around(_log_near(np.clip(x.lower, tiny, LARGEST)), _LOG_ERROR)
    _, upper = _around(_log_near(np.clip(x.upper, tiny, LARGEST)), _LOG_ERROR)
    nowhere = ~(x.upper > 0)
    lower = np.where((x.lower < tiny) | nowhere, -np.inf, lower)
    return Interval(lower, np.where(nowhere | (x.upper == np.inf), np.inf, upper))


def _sin_near(x: Array, quarter: int) -> tuple[Array, Array]:
    """sin(x + quarter pi / 2) for |x| up to FARTHEST_ANGLE, off by less than WAVE_ERROR times the second array."""
    k = np.rint(x * (2 / math.pi))
    r = ((x - k * _HALF_PI[0]) - k * _HALF_PI[1]) - k * _HALF_PI[2]
    square = r * r
    sine, cosine = r * _horner(_SIN, square), _horner(_COS, square)
    turn = (k.astype(np.int64) + quarter) & 3
    value = np.where(turn & 1, cosine, sine) * np.where(turn & 2, -1.0, 1.0)
    exact = (k == 0) & (turn & 1 == 0)  # the argument of a sine was not reduced: the error is relative
    return value, np.where(exact, np.abs(r), 1.0)


def _wave(x: Interval, quarter: int) -> Interval:
    """sin(x + quarter pi / 2), whose maxima are where x / 2pi + (quarter - 1) / 4 is whole."""
    limits = -_FARTHEST_ANGLE, _FARTHEST_ANGLE
    near = (x.lower > limits[0]) & (x.upper < limits[1])
    ends = [np.clip(side, *limits) for side in (x.lower, x.upper)]
    near_ends = [_sin_near(end, quarter) for end in ends]
    (lower, upper), (lower_too, upper_too) = (_around(at, _WAVE_ERROR * size, False) for at, size in near_ends)
    # The turns are off by less than 1e-10; where that leaves doubt, the extremum counts as inside.
    first, last = (end * (0.5 / math.pi) + (quarter - 1) / 4 for end in ends)
    top = np.floor(last + 1e-9) >= np.ceil(first - 1e-9)
    bottom = np.floor(last + 0.5 + 1e-9) >= np.ceil(first + 0.5 - 1e-9)
    lower = np.where(near & ~bottom, np.minimum(lower, lower_too), -1.0)
    upper = np.where(near & ~top, np.maximum(upper, upper_too), 1.0)
    return Interval(np.maximum(lower, -1.0), np.minimum(upper, 1.0))


def sin(x: Interval) -> Interval:
    """The sine; [-1, 1] beyond a million."""
    return _wave(x, 0)


def cos(x: Interval) -> Interval:
    """The cosine; [-1, 1] beyond a million."""
    return _wave(x, 1)


def _tanh_near(x: Array) -> Array:
    """tanh, off by less than TANH_ERROR."""
    small = np.clip(x, -0.3, 0.3)
    square = small * small
    inner = small * _horner(_SINH, square) / _horner(_COSH, square)
    size = np.clip(np.abs(x), 0.3, 40.0)
    outer = np.copysign(1 - 2 / (_exp_near(2 * size) + 1), x)
    return np.where(np.abs(x) < 0.3, inner, outer)


def tanh(x: Interval) -> Interval:
    """The hyperbolic tangent."""
    lower, _ = _around(_tanh_near(x.lower), _TANH_ERROR)
    _, upper = _around(_tanh_near(x.upper), _TANH_ERROR)
    return Interval(np.maximum(lower, -1.0), np.minimum(upper, 1.0))


def softplus(x: Interval) -> Interval:
    """log(1 + e^x), which grows with x."""
    lower, upper = Interval(x.lower), Interval(x.upper)

    def bound(at: Interval) -> Interval:
        # For x above 0 as x + log(1 + e^-x), where nothing overflows.
        small = log(exp(Interval(-np.abs(at.lower))) + 1.0)
        return small + Interval(np.maximum(at.lower, 0.0))

    return Interval(np.maximum(bound(lower).lower, 0.0), bound(upper).upper)


PI: Final = Interval(math.pi, np.nextafter(math.pi, 4))
"""pi, which lies just above the double nearest to it."""
