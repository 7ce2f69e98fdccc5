"""Intervals that are hard to get right, what each operation of a proof makes of them, and what Arb says at 200 bits."""

import ctypes
import math
import mmap
import platform
import threading

import flint
import numpy as np

from jaxopt_notes.proof import _elementary as elementary
from jaxopt_notes.proof import _lanes
from jaxopt_notes.proof._interval import LARGEST, Interval

BITS = 200
arb = flint.arb


def _signs(rng, x):
    return np.where(rng.random(x.shape) < 0.5, x, -x)


def _around(rng, x):
    """Up to three doubles beside each number."""
    steps = rng.integers(-3, 4, x.shape)
    for _ in range(3):
        x = np.nextafter(x, np.where(steps > 0, LARGEST, np.where(steps < 0, -LARGEST, x)))
        steps = steps - np.sign(steps)
    return x


EDGES = np.array(
    [0.0, 0.3, 0.5, 0.70710678118654752, 1.0, 2.0, 20.0, 40.0, 708.0, 709.7, 709.79, 745.2, 2.0**20, 2.0**53]
)
EDGES = np.concatenate([EDGES, [2.0**-1022, 2.0**-1074, 2.0**-1020, LARGEST, 2.0**-511, 2.0**511, 2.0**-26, math.pi]])


def numbers(rng, count, subnormal=True):
    """Doubles of all sizes: ordinary, huge, tiny, beside multiples of pi / 2, beside the edges of the rules."""
    least = -1074 if subnormal else -1000
    kinds = [
        rng.uniform(-10, 10, count),
        _signs(rng, np.ldexp(rng.uniform(0.5, 1, count), rng.integers(least, 1025, count))),
        _signs(rng, np.exp(rng.uniform(-40, 8, count))),
        _signs(rng, _around(rng, rng.integers(0, 700_000, count) * (math.pi / 2))),
        _signs(rng, _around(rng, rng.integers(0, 9, count) * (math.pi / 2))),
        _signs(rng, _around(rng, rng.choice(EDGES, count))),
        1 + _signs(rng, np.exp(rng.uniform(-37, 0, count))),
        rng.integers(-4, 5, count).astype(float),
    ]
    x = np.choose(rng.integers(0, len(kinds), count), kinds)
    x = np.where(np.isfinite(x), x, LARGEST)
    return x if subnormal else np.where(np.abs(x) < 2.0**-1022, 0.0, x)


def intervals(rng, count, subnormal=True):
    """Of no width, a few doubles wide, wide, and without a bound."""
    x, y = numbers(rng, count, subnormal), numbers(rng, count, subnormal)
    with np.errstate(over="ignore"):
        beside = x + np.abs(x) * np.exp(rng.uniform(-36, 1, count))
    kind = rng.integers(0, 8, count)
    y = np.select(
        [kind < 2, kind == 2, kind == 3, kind == 4], [x, _around(rng, x), beside, rng.uniform(-3, 3, count)], y
    )
    y = y if subnormal else np.where(np.abs(y) < 2.0**-1022, 0.0, y)
    lower, upper = np.minimum(x, y), np.maximum(x, y)
    lower = np.where((kind == 7) & (rng.random(count) < 0.3), -np.inf, lower)
    return Interval(lower, np.where((kind == 7) & (rng.random(count) < 0.3), np.inf, upper))


def inside(rng, x):
    """Numbers of each interval: both ends, the middle, and one at random."""
    lower, upper = np.clip(x.lower, -LARGEST, LARGEST), np.clip(x.upper, -LARGEST, LARGEST)
    share = rng.random(x.shape)
    some = np.clip(lower * (1 - share) + upper * share, lower, upper)
    return [lower, upper, np.clip(0.5 * lower + 0.5 * upper, lower, upper), some]


def _either(*values):
    return lambda x: [values[-1]] if x > 0 else [values[0]] if x < 0 else list(values)


def _power(n):
    return lambda x: x**n


# name: (operation on intervals, the same on numbers in Arb, how many operands); a list: every value that may be meant.
RULES = {
    "add": (lambda x, y: x + y, lambda x, y: x + y, 2),
    "subtract": (lambda x, y: x - y, lambda x, y: x - y, 2),
    "multiply": (lambda x, y: x * y, lambda x, y: x * y, 2),
    "divide": (lambda x, y: x / y, lambda x, y: x / y, 2),
    "maximum": (_lanes.verb("maximum"), lambda x, y: x.max(y), 2),
    "hull": (lambda x, y: x.hull(y), lambda x, y: [x, y], 2),
    "negative": (_lanes.verb("negative"), lambda x: -x, 1),
    "inverse": (_lanes.verb("inverse"), lambda x: 1 / x, 1),
    "square": (_lanes.verb("square"), lambda x: x * x, 1),
    "absolute": (_lanes.verb("absolute"), abs, 1),
    "sign": (_lanes.verb("sign"), _either(arb(-1), arb(0), arb(1)), 1),
    "step": (_lanes.verb("step"), _either(arb(0), arb(1)), 1),
    "equal": (_lanes.verb("equal"), _either(arb(0), arb(1), arb(0)), 1),
    "kink": (_lanes.verb("kink"), _either(arb(0), arb(-1e300), arb(1e300), arb(0)), 1),
    "third power": (lambda x: x.power(3), _power(3), 1),
    "seventh power": (lambda x: x.power(7), _power(7), 1),
    "times 3": (lambda x: x * 3.0, lambda x: x * 3, 1),
    "times -0.1": (lambda x: x * -0.1, lambda x: x * arb(-0.1), 1),
    "times 4": (lambda x: x * 4.0, lambda x: x * 4, 1),
    "softplus": (_lanes.verb("softplus"), lambda x: (x if x > 0 else arb(0)) + (-abs(x)).exp().log1p(), 1),
    "log": (_lanes.verb("log"), lambda x: x.log() if x > 0 else arb.nan(), 1),
    "sqrt": (_lanes.verb("sqrt"), arb.sqrt, 1),
}
RULES |= {
    name: (_lanes.verb(name), getattr(arb, name), 1)
    for name in ("exp", "sin", "cos", "tanh", "asin", "acos", "atan", "erf")
}


def wrong(name, count, seed=0, subnormal=True, compute=None):
    """How many results miss a value, the first operands of such, and the widest result of no width in 2^-53 of itself.

    Arguments:
        compute: runs a function and returns what it returns; somewhere else, if it likes.
    """
    rng = np.random.default_rng([seed, *name.encode()])
    rule, exact, arity = RULES[name]
    operands = [intervals(rng, count, subnormal) for _ in range(arity)]

    def run():
        with np.errstate(all="ignore"):
            return rule(*operands)

    result = (compute or (lambda function: function()))(run)
    lower, upper = (np.broadcast_to(side, (count,)).tolist() for side in (result.lower, result.upper))
    misses, examples, before = 0, [], flint.ctx.prec
    flint.ctx.prec = BITS
    try:
        points = [inside(rng, x) for x in operands]
        pairs = list(zip(*points, strict=True))
        if arity == 2:
            pairs += [(points[0][0], points[1][1]), (points[0][1], points[1][0])]
        for columns in pairs:
            for i, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
                value = exact(*map(arb, row))
                for each in value if isinstance(value, list) else [value]:
                    if each < lower[i] or each > upper[i]:
                        misses += 1
                        examples.append((row, lower[i], upper[i]))
        thin = np.flatnonzero(np.logical_and.reduce([x.lower == x.upper for x in operands]))
        size = np.maximum(np.abs(result.lower), np.abs(result.upper))[thin] if result.shape else np.zeros(0)
    finally:
        flint.ctx.prec = before
    with np.errstate(all="ignore"):
        excess = ((result.upper - result.lower)[thin] / size * 2.0**53)[(size > 1e-280) & (size < 1e300)]
    return misses, examples[:3], float(excess.max(initial=0.0))


# name: (function, the same in Arb, what its error is measured by, numbers for which it is meant, the error granted)
NEAR = {
    "exp": (elementary._exp_near, arb.exp, None, lambda rng, n: rng.uniform(-708, 709.7, n), elementary._EXP_ERROR),
    "log": (elementary._log_near, arb.log, None, lambda rng, n: _positive(rng, n), elementary._LOG_ERROR),
    "tanh": (elementary._tanh_near, arb.tanh, None, lambda rng, n: _small(rng, n), elementary._TANH_ERROR),
    "sin": (
        lambda x: elementary._sin_near(x, 0),
        arb.sin,
        "size",
        lambda rng, n: _angles(rng, n),
        elementary._WAVE_ERROR,
    ),
    "cos": (
        lambda x: elementary._sin_near(x, 1),
        arb.cos,
        "size",
        lambda rng, n: _angles(rng, n),
        elementary._WAVE_ERROR,
    ),
}


def _positive(rng, count):
    wide = np.ldexp(rng.uniform(0.5, 1, count), rng.integers(-1021, 1025, count))
    close = np.where(
        rng.random(count) < 0.3, rng.uniform(0.65, 1.5, count), 1 + _signs(rng, np.exp(rng.uniform(-36, -1, count)))
    )
    return np.where(rng.random(count) < 0.3, wide, close)


def _small(rng, count):
    return _signs(
        rng, np.where(rng.random(count) < 0.5, rng.uniform(0, 2, count), np.exp(rng.uniform(-300, 3.6, count)))
    )


def _angles(rng, count):
    """Angles of all sizes, and doubles next to multiples of pi / 2, where the reduction cancels most."""
    worst = _around(rng, np.float64(1 + np.arange(count) % 667_544) * (math.pi / 2))
    usual = np.where(rng.random(count) < 0.5, rng.uniform(0, 2.0**20, count), np.exp(rng.uniform(-40, 3, count)))
    return _signs(rng, np.minimum(np.where(np.arange(count) % 3 > 0, worst, usual), 2.0**20))


def worst_error(name, count, seed=0):
    """The largest error of a function of `_elementary`, and that granted, in 2^-53 of what it is measured by."""
    rng = np.random.default_rng([seed, *name.encode()])
    function, exact, by, points, granted = NEAR[name]
    x = points(rng, count)
    computed = function(x)
    value, size = computed if by else (computed, None)
    worst, before = 0.0, flint.ctx.prec
    flint.ctx.prec = BITS
    try:
        for i, (at, got) in enumerate(zip(x.tolist(), value.tolist(), strict=True)):
            true = exact(arb(at))
            error = abs(arb(got) - true) / (arb(float(size[i])) if by else abs(true)) if at else arb(0)
            worst = max(worst, float(error))
    finally:
        flint.ctx.prec = before
    return worst * 2.0**53, granted * 2.0**53


def where_subnormal_numbers_are_zero(function):
    """What a function returns in a thread that takes numbers below 2^-1022 for zero; None where there is none."""
    if platform.machine() not in ("x86_64", "AMD64") or platform.system() != "Linux":
        return None
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("0fae17c3"))  # ldmxcsr [rdi]; ret
    load = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    outcome = []

    def run():
        mode = ctypes.c_uint32(0x1F80 | 0x8040)  # as usual, and both results and operands are flushed
        load(ctypes.addressof(mode))
        assert np.float64(5e-324) * np.float64(1.0) == 0
        try:
            outcome.append(function())
        except BaseException as error:  # raised again where the test sees it
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
