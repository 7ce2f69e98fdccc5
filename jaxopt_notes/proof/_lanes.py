"""A tape on thousands of boxes at once: every node is an array of intervals, one for each box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from . import _elementary as elementary
from ._interval import SMALLEST, Interval, is_subnormal
from ._special import special
from ._tape import SPECIAL, Node, Tape


def _select(where: Interval, inside: Interval, outside: Interval) -> Interval:
    """A condition is 0 or 1, and rounding outward may have moved its bounds."""
    either = inside.hull(outside)
    chosen, other = where.lower > 0, where.upper < 1
    return Interval(
        np.where(chosen, inside.lower, np.where(other, outside.lower, either.lower)),
        np.where(chosen, inside.upper, np.where(other, outside.upper, either.upper)),
    )


def _equal(x: Interval) -> Interval:
    """Also where x is exactly 0 it may be either: a derivative there is that of the numbers around it."""
    return Interval(np.zeros(x.shape), np.where((x.lower <= 0) & (x.upper >= 0), 1.0, 0.0))


def _kink(x: Interval) -> Interval:
    away = (x.lower > 0) | (x.upper < 0)
    return Interval(np.where(away, 0.0, -np.inf), np.where(away, 0.0, np.inf))


_VERBS: Final[dict[str, Callable[..., Interval]]] = {
    "pi": lambda: elementary.PI,
    "anything": lambda: Interval(-np.inf, np.inf),
    "add": lambda x, y: x + y,
    "multiply": lambda x, y: x * y,
    "negative": lambda x: -x,
    "inverse": Interval.inverse,
    "square": Interval.square,
    "sqrt": Interval.sqrt,
    "absolute": Interval.absolute,
    "maximum": Interval.maximum,
    "sign": lambda x: x.where_above(1.0, -1.0),
    "step": lambda x: x.where_above(1.0, 0.0),
    "equal": _equal,
    "kink": _kink,
    "select": _select,
    "exp": elementary.exp,
    "log": elementary.log,
    "sin": elementary.sin,
    "cos": elementary.cos,
    "tanh": elementary.tanh,
    "softplus": elementary.softplus,
}


def verb(name: str) -> Callable[..., Interval]:
    """An operation of a tape on intervals; `power` takes its exponent too."""
    return (lambda x: special(name, x)) if name in SPECIAL else _VERBS[name]


class Lanes:
    """Some nodes of a tape as a straight program: what it computes, in order, and what it may then forget.

    Arguments:
        tape: the tape.
        outputs: the nodes asked for.
    """

    def __init__(self, tape: Tape, outputs: Sequence[Node]) -> None:
        self.outputs = tuple(outputs)
        needed = tape.needed(outputs)
        last = {part: node for node in needed for part in tape.operands(node)}
        dying: dict[Node, list[Node]] = {}
        for part, node in last.items():
            if part not in self.outputs:
                dying.setdefault(node, []).append(part)
        varies: set[Node] = set()
        self._constants: dict[Node, Interval] = {}
        self._steps: list[tuple[Node, Callable[..., Interval] | int, tuple[Node, ...], list[Node]]] = []
        for node in needed:
            name, *parts = tape.nodes[node]
            if name == "variable" or any(part in varies for part in tape.operands(node)):
                varies.add(node)
            if node not in varies:
                self._constants[node] = constant(tape, node, self._constants)
            elif name == "variable":
                self._steps.append((node, parts[0], (), []))
            elif name == "power":
                self._steps.append((node, _power(parts[1]), (parts[0],), dying.get(node, [])))
            else:
                self._steps.append((node, verb(name), tuple(parts), dying.get(node, [])))

    def __len__(self) -> int:
        return len(self._steps)

    def __call__(self, variables: Sequence[Interval]) -> list[Interval]:
        """The outputs where variable i lies in `variables[i]`; those that do not vary have the shape ()."""
        values = dict(self._constants)
        for node, verb, operands, dying in self._steps:
            values[node] = variables[verb] if isinstance(verb, int) else verb(*[values[part] for part in operands])
            for part in dying:
                if part not in self._constants:
                    del values[part]
        return [values[node] for node in self.outputs]


def _power(exponent: int) -> Callable[[Interval], Interval]:
    return lambda x: x.power(exponent)


def constant(tape: Tape, node: Node, values: dict[Node, Interval]) -> Interval:
    """The value of a node that does not vary, from those of its operands."""
    name, *parts = tape.nodes[node]
    if name == "constant":
        value = parts[0]
        return Interval(-np.inf, np.inf) if not np.isfinite(value) else _double(value)
    if name == "power":
        return values[parts[0]].power(parts[1])
    return verb(name)(*[values[part] for part in parts])


def _double(value: float) -> Interval:
    """A double; one so small that a processor may take it for zero is enclosed."""
    return Interval(-SMALLEST, SMALLEST) if is_subnormal(value) else Interval(value)
