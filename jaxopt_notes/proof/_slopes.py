"""Derivatives of a tape, as further nodes of it: the gradient backwards, and the Hessian backwards from each entry.

The derivatives are taken of the function itself. A rule that a program brings along for its own derivative is not used,
so a wrong one cannot spoil a proof.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ._tape import Node, Tape


def _constant_times(tape: Tape, factor: float, a: Node) -> Node:
    return tape.multiply(tape.constant(factor), a)


def _one_minus_square(tape: Tape, node: Node) -> Node:
    return tape.subtract(tape.constant(1.0), tape.square(node))


def _of_power(tape: Tape, node: Node, a: Node) -> Node:
    exponent = tape.nodes[node][2]
    return _constant_times(tape, float(exponent), tape.power(a, exponent - 1))


def _of_arc(tape: Tape, a: Node) -> Node:
    return tape.inverse(tape.sqrt(_one_minus_square(tape, a)))


def _of_erf(tape: Tape, a: Node) -> Node:
    scale = _constant_times(tape, 2.0, tape.inverse(tape.sqrt(tape.pi())))
    return tape.multiply(scale, tape.exp(tape.negative(tape.square(a))))


# For a node f(a), the derivative with respect to a.
_SLOPES: Final[dict[str, Callable[[Tape, Node, Node], Node]]] = {
    "negative": lambda tape, node, a: tape.constant(-1.0),
    "inverse": lambda tape, node, a: tape.negative(tape.square(node)),
    "square": lambda tape, node, a: _constant_times(tape, 2.0, a),
    "power": _of_power,
    "sqrt": lambda tape, node, a: tape.inverse(_constant_times(tape, 2.0, node)),
    "exp": lambda tape, node, a: node,
    "log": lambda tape, node, a: tape.inverse(a),
    "sin": lambda tape, node, a: tape.plain("cos", a),
    "cos": lambda tape, node, a: tape.negative(tape.plain("sin", a)),
    "tanh": lambda tape, node, a: _one_minus_square(tape, node),
    "softplus": lambda tape, node, a: tape.logistic(a),
    "asin": lambda tape, node, a: _of_arc(tape, a),
    "acos": lambda tape, node, a: tape.negative(_of_arc(tape, a)),
    "atan": lambda tape, node, a: tape.inverse(tape.add(tape.constant(1.0), tape.square(a))),
    "erf": lambda tape, node, a: _of_erf(tape, a),
    "absolute": lambda tape, node, a: tape.plain("sign", a),
    "sign": lambda tape, node, a: tape.plain("kink", a),
    "step": lambda tape, node, a: tape.plain("kink", a),
    "equal": lambda tape, node, a: tape.plain("kink", a),
    "kink": lambda tape, node, a: tape.plain("kink", a),
}


def slopes(tape: Tape, node: Node, backward: Node) -> list[tuple[Node, Node]]:
    """(operand, what flows back to it) of a node that `backward` flows back to."""
    name, *parts = tape.nodes[node]
    if name in ("constant", "variable", "pi", "anything"):
        return []
    if name == "add":
        return [(part, backward) for part in parts]
    if name == "multiply":
        a, b = parts
        return [(a, tape.multiply(backward, b)), (b, tape.multiply(backward, a))]
    if name == "maximum":
        a, b = parts
        first = tape.above(a, b, at_equality=True)
        return [(a, tape.multiply(backward, first)), (b, tape.multiply(backward, tape.negation(first)))]
    if name == "select":
        where, inside, outside = parts
        jump = tape.multiply(backward, tape.subtract(inside, outside))
        zero = tape.constant(0.0)
        return [
            (where, jump),
            (inside, tape.select(where, backward, zero)),
            (outside, tape.select(where, zero, backward)),
        ]
    return [(parts[0], tape.multiply(backward, _SLOPES[name](tape, node, parts[0])))]


def gradient(tape: Tape, output: Node, size: int) -> list[Node]:
    """The derivatives of a node with respect to the first `size` variables."""
    flows: dict[Node, Node] = {output: tape.constant(1.0)}
    zero = tape.constant(0.0)
    varies = _varying(tape, output)
    for node in range(output, -1, -1):
        flow = flows.get(node)
        if flow is None or flow == zero or node not in varies:
            continue
        for operand, share in slopes(tape, node, flow):
            if operand in varies:
                flows[operand] = tape.add(flows[operand], share) if operand in flows else share
    return [flows.get(tape.variable(i), zero) for i in range(size)]


def hessian(tape: Tape, slope: list[Node]) -> list[list[Node]]:
    """The rows of second derivatives on and below the diagonal, of the entries of a gradient."""
    return [gradient(tape, entry, len(slope))[: i + 1] for i, entry in enumerate(slope)]


def _varying(tape: Tape, output: Node) -> set[Node]:
    """The nodes that depend on a variable."""
    varies: set[Node] = set()
    for node in tape.needed([output]):
        if tape.nodes[node][0] == "variable" or any(part in varies for part in tape.operands(node)):
            varies.add(node)
    return varies
