"""Arb, in two places: elementary functions that we have not proved ourselves, and whole tapes at any precision.

Arb (Johansson, 2017) computes with balls that hold the exact result; python-flint, the extra `proof`, wraps it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from ._interval import Interval
from ._tape import Node, Tape

MONOTONE: Final = ("asin", "atan", "erf")
FALLING: Final = ("acos",)


class MissingExtra(ImportError):
    """A function, or a precision, needs python-flint."""


def flint() -> Any:
    """The module; raises with what to install."""
    try:
        import flint as module
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error}; Arb needs the extra: pip install 'jaxopt-notes[proof]'") from error
    return module


def has_flint() -> bool:
    """Whether python-flint is installed."""
    try:
        flint()
    except MissingExtra:
        return False
    return True


def special(name: str, x: Interval) -> Interval:
    """A function that grows (or falls) over its domain, number by number."""
    arb = flint().arb
    lower_end, upper_end = (x.upper, x.lower) if name in FALLING else (x.lower, x.upper)

    def bound(side: np.ndarray, upper: bool) -> np.ndarray:
        with _precision(64):
            values = [_end(getattr(arb(float(number)), name)(), upper) for number in np.ravel(side)]
        return np.reshape(values, np.shape(side))

    return Interval(bound(np.asarray(lower_end), False), bound(np.asarray(upper_end), True))


class _precision:
    """Arb's working precision, in bits, for a while."""

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def __enter__(self) -> None:
        context = flint().ctx
        self._before, context.prec = context.prec, self._bits

    def __exit__(self, *error: object) -> None:
        flint().ctx.prec = self._before


precision = _precision


def _end(ball: Any, upper: bool) -> float:
    """A double at or beyond the end of a ball; infinite for a ball that is not finite."""
    if not ball.is_finite():
        return math.inf if upper else -math.inf
    near = float(ball.upper() if upper else ball.lower())
    return float(np.nextafter(near, math.inf if upper else -math.inf))


def ball_of(lower: float, upper: float) -> Any:
    """The ball around [lower, upper]."""
    arb = flint().arb
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return arb(0, math.inf)
    return arb(lower).union(arb(upper))


def interval_of(balls: Sequence[Any]) -> Interval:
    """Doubles around balls."""
    return Interval([_end(ball, False) for ball in balls], [_end(ball, True) for ball in balls])


def evaluate(tape: Tape, outputs: Sequence[Node], variables: Sequence[Any]) -> list[Any]:
    """The outputs in Arb's balls at the working precision."""
    values: dict[Node, Any] = {}
    verbs = _verbs()
    for node in tape.needed(outputs):
        name, *parts = tape.nodes[node]
        if name == "variable":
            values[node] = variables[parts[0]]
        elif name == "power":
            values[node] = _power(values[parts[0]], parts[1])
        elif name == "constant":
            values[node] = flint().arb(parts[0])
        else:
            values[node] = verbs[name](*(values[part] for part in parts))
    return [values[node] for node in outputs]


def _power(x: Any, exponent: int) -> Any:
    """x^n by products: Arb's own power goes through a logarithm, which a ball around 0 does not have."""
    result = x
    for _ in range(exponent - 1):
        result = result * x
    return result


def _verbs() -> dict[str, Callable[..., Any]]:
    arb = flint().arb
    zero, one, everything = arb(0), arb(1), arb(0, math.inf)

    def switched(x: Any, above: Any, below: Any) -> Any:
        return above if x > 0 else below if x < 0 else above.union(below)

    def select(where: Any, inside: Any, outside: Any) -> Any:
        return inside if where > 0 else outside if where < 1 else inside.union(outside)

    verbs: dict[str, Callable[..., Any]] = {
        "anything": lambda: everything,
        "pi": arb.pi,
        "add": lambda x, y: x + y,
        "multiply": lambda x, y: zero if _is_zero(x) or _is_zero(y) else x * y,
        "negative": lambda x: -x,
        "inverse": lambda x: 1 / x,
        "square": lambda x: abs(x) * abs(x),
        "softplus": lambda x: (1 + x.exp()).log(),
        "absolute": abs,
        "sign": lambda x: switched(x, one, -one),
        "step": lambda x: switched(x, one, zero),
        "equal": lambda x: zero if x > 0 or x < 0 else zero.union(one),
        "kink": lambda x: zero if x > 0 or x < 0 else everything,
        "maximum": lambda x, y: x if x > y else y if y > x else x.max(y),
        "select": select,
    }
    for name in ("sqrt", "exp", "log", "sin", "cos", "tanh", "asin", "acos", "atan", "erf"):
        verbs[name] = getattr(arb, name)
    return verbs


def _is_zero(x: Any) -> bool:
    return x == 0
