"""A long tape on one box: operations of a kind that do not need each other are one operation on arrays.

A network of 500 parameters is a tape of 100,000 numbers, too many to compute one by one in Python. Numbers are put in
levels, each above those that it acts on, and what is done alike on one level is done at once. The Hessian is taken
forwards through the gradient's tape: every number has its derivatives in some directions beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._interval import Interval
from ._lanes import constant, verb
from ._slopes import slopes
from ._tape import Node, Tape

_DIRECTIONS = 64  # at a time, which bounds the memory


class Levels:
    """Some nodes of a tape and, where asked for, their derivatives, on one box.

    Arguments:
        tape: the tape.
        outputs: the nodes.
        size: number of variables.
        derivatives: whether derivatives are asked for.
    """

    def __init__(self, tape: Tape, outputs: Sequence[Node], size: int, derivatives: bool = False) -> None:
        shares = _shares(tape, outputs) if derivatives else {}
        needed = tape.needed([*outputs, *(share for each in shares.values() for _, share in each)])
        place = {node: i for i, node in enumerate(needed)}
        self._size, self._count = size, len(needed)
        self._outputs = np.array([place[node] for node in outputs], int)
        self._variables = [(place[node], tape.nodes[node][1]) for node in needed if tape.nodes[node][0] == "variable"]
        self._constants, level = _constants(tape, needed)
        groups: dict[tuple[int, str, int], list[Node]] = {}
        for node in needed:
            name, *parts = tape.nodes[node]
            if node in self._constants or name == "variable":
                continue
            level[node] = 1 + max(level[part] for part in tape.operands(node))
            groups.setdefault((level[node], name, parts[1] if name == "power" else 0), []).append(node)
        self._known = np.array([place[node] for node in self._constants], int)
        self._groups = [
            (name, exponent, _places(nodes, place), [_places(column, place) for column in _columns(tape, nodes)])
            for (_, name, exponent), nodes in sorted(groups.items())
        ]
        self._rows = _row_groups(shares, level, place)

    def values(self, variables: Sequence[Interval]) -> Interval:
        """The outputs where variable i lies in the single interval `variables[i]`."""
        return Interval(*(side[self._outputs] for side in self._table(variables)))

    def derivatives(self, variables: Sequence[Interval]) -> Interval:
        """The derivatives of the outputs, (outputs, n)."""
        lower, upper = self._table(variables)
        blocks = [self._block(lower, upper, first) for first in range(0, self._size, _DIRECTIONS)]
        return Interval(np.concatenate([b.lower for b in blocks], 1), np.concatenate([b.upper for b in blocks], 1))

    def _table(self, variables: Sequence[Interval]) -> tuple[np.ndarray, np.ndarray]:
        lower, upper = np.empty((2, self._count))
        for i, number in self._variables:
            lower[i], upper[i] = variables[number].lower.item(), variables[number].upper.item()
        if len(self._known):
            lower[self._known] = [float(value.lower) for value in self._constants.values()]
            upper[self._known] = [float(value.upper) for value in self._constants.values()]
        for name, exponent, into, columns in self._groups:
            operands = [Interval(lower[column], upper[column]) for column in columns]
            result = operands[0].power(exponent) if name == "power" else verb(name)(*operands)
            lower[into], upper[into] = result.lower, result.upper
        return lower, upper

    def _block(self, lower: np.ndarray, upper: np.ndarray, first: int) -> Interval:
        """Derivatives in some directions."""
        width = min(_DIRECTIONS, self._size - first)
        rows, rows_too = np.zeros((2, self._count, width))
        for i, number in self._variables:
            if first <= number < first + width:
                rows[i, number - first] = rows_too[i, number - first] = 1.0
        for into, columns in self._rows:
            total: Interval | None = None
            for part, share in columns:
                factor = Interval(lower[share][:, None], upper[share][:, None])
                term = factor * Interval(rows[part], rows_too[part])
                total = term if total is None else total + term
            assert total is not None
            rows[into], rows_too[into] = total.lower, total.upper
        return Interval(rows[self._outputs], rows_too[self._outputs])


def _shares(tape: Tape, outputs: Sequence[Node]) -> dict[Node, list[tuple[Node, Node]]]:
    """For each node that varies, (operand, derivative with respect to it) of those operands that vary."""
    one, varies = tape.constant(1.0), set[Node]()
    shares: dict[Node, list[tuple[Node, Node]]] = {}
    for node in tape.needed(outputs):
        if tape.nodes[node][0] == "variable":
            varies.add(node)
        elif any(part in varies for part in tape.operands(node)):
            varies.add(node)
            shares[node] = [(part, share) for part, share in slopes(tape, node, one) if part in varies]
    return shares


def _constants(tape: Tape, needed: list[Node]) -> tuple[dict[Node, Interval], dict[Node, int]]:
    """The values of nodes that do not vary, and the levels of these and of the variables, 0."""
    constants: dict[Node, Interval] = {}
    level: dict[Node, int] = {}
    for node in needed:
        if tape.nodes[node][0] == "variable":
            level[node] = 0
        elif all(part in constants for part in tape.operands(node)):
            constants[node] = constant(tape, node, constants)
            level[node] = 0
    return constants, level


def _columns(tape: Tape, nodes: list[Node]) -> list[tuple[Node, ...]]:
    """First operands, second operands, ..."""
    return list(zip(*(tape.operands(node) for node in nodes), strict=True))


def _places(nodes: Sequence[Node], place: dict[Node, int]) -> np.ndarray:
    return np.array([place[node] for node in nodes], int)


def _row_groups(shares: dict[Node, list[tuple[Node, Node]]], level: dict[Node, int], place: dict[Node, int]) -> Any:
    """Nodes of one level with as many operands: where they are, and (operand, derivative) of each operand."""
    groups: dict[tuple[int, int], list[Node]] = {}
    for node, each in shares.items():
        groups.setdefault((level[node], len(each)), []).append(node)
    return [
        (
            _places(nodes, place),
            [
                (_places([shares[n][i][0] for n in nodes], place), _places([shares[n][i][1] for n in nodes], place))
                for i in range(count)
            ],
        )
        for (_, count), nodes in sorted(groups.items())
    ]
