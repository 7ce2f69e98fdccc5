"""Functions as plain lists of operations, for files."""

from __future__ import annotations

from typing import Any

from ._function import Function
from ._tape import Tape


def as_json(function: Function) -> dict[str, Any]:
    """The operations that the value and the demands need, each with its operands' numbers in the list."""
    tape = function.tape
    needed = tape.needed([function.output, *(node for _, node in function.demands)])
    place = {node: i for i, node in enumerate(needed)}
    operations: list[list[Any]] = []
    for node in needed:
        name, *parts = tape.nodes[node]
        if name == "constant":
            operations.append([name, parts[0].hex()])
        elif name == "variable":
            operations.append([name, parts[0]])
        else:
            static = parts[1:] if name == "power" else []
            operations.append([name, *(place[part] for part in tape.operands(node)), *static])
    return {
        "size": function.size,
        "operations": operations,
        "value": place[function.output],
        "demands": [[kind, place[node]] for kind, node in function.demands],
    }


def from_json(content: dict[str, Any]) -> Function:
    """The function of such a list, operation by operation, without simplifications."""
    tape = Tape()
    places: list[int] = []
    for name, *parts in content["operations"]:
        if name == "constant":
            places.append(tape.constant(float.fromhex(parts[0])))
        elif name == "variable":
            places.append(tape.variable(parts[0]))
        elif name == "power":
            places.append(tape.plain(name, places[parts[0]], parts[1]))
        else:
            places.append(tape.plain(name, *(places[part] for part in parts)))
    function = Function(tape, places[content["value"]], content["size"])
    function.demands = tuple((kind, places[place]) for kind, place in content["demands"])
    return function
