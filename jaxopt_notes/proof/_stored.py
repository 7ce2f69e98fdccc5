"""Functions as plain lists of operations, and files that notice when a digit of them was changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from .. import _files
from ._function import Function
from ._tape import ARITHMETIC, ELEMENTARY, SPECIAL, SWITCHES, Tape

_OPERANDS: Final = {
    **dict.fromkeys([*ARITHMETIC, *ELEMENTARY, *SPECIAL, *SWITCHES], 1),
    **{"pi": 0, "anything": 0, "add": 2, "multiply": 2, "maximum": 2, "select": 3},
}
_HIGHEST: Final = 100_000  # exponent


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
    """The function of such a list, operation by operation, without simplifications.

    Raises:
        ValueError: for what is no operation, or acts on what does not come before it.
    """
    tape, size = Tape(), content["size"]
    places: list[int] = []

    def at(place: Any) -> int:
        if not isinstance(place, int) or not 0 <= place < len(places):
            raise ValueError(f"operation {len(places)} acts on {place!r}, and operations before it are meant")
        return places[place]

    for name, *parts in content["operations"]:
        if name == "constant":
            (value,) = parts
            places.append(tape.constant(float.fromhex(value)))
        elif name == "variable":
            (number,) = parts
            if not isinstance(number, int) or not 0 <= number < size:
                raise ValueError(f"variable {number!r} is none of {size}")
            places.append(tape.variable(number))
        elif name == "power":
            operand, exponent = parts
            if not isinstance(exponent, int) or not 0 < exponent < _HIGHEST or exponent % 2 == 0:
                raise ValueError(f"the exponent of a power must be odd and above 0, got {exponent!r}")
            places.append(tape.plain(name, at(operand), exponent))
        elif len(parts) != _OPERANDS[name]:
            raise ValueError(f"{name!r} takes {_OPERANDS[name]} numbers, got {parts!r}")
        else:
            operands = [at(part) for part in parts]
            places.append(tape.demanding(name, *operands))
    for kind, place in content["demands"]:
        tape.demands[str(kind), at(place)] = None
    return Function(tape, at(content["value"]), size)


def write(path: Path, kind: str, content: dict[str, Any]) -> None:
    """Write JSON of a kind with a digest of all of it."""
    content = {"format": kind, **content}
    text = json.dumps(content | {"sha256": digest(content)}, indent=1)
    _files.write_whole(path, lambda temporary: temporary.write_text(text))


def read(path: Path, kinds: tuple[str, ...]) -> dict[str, Any]:
    """The content of a file of one of these kinds that is as it was written."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a certificate: {error}") from error
    if not isinstance(content, dict) or content.get("format") not in kinds:
        raise ValueError(f"{path} is not a certificate of this version ({' or '.join(map(repr, kinds))})")
    if content.get("sha256") != digest(content):
        raise ValueError(f"{path} was changed after it was written: its digest does not match")
    return content


def digest(content: dict[str, Any]) -> str:
    """Of everything else in the file."""
    text = json.dumps({name: value for name, value in content.items() if name != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def hexadecimal(numbers: Any) -> list[str]:
    """Doubles as texts that lose no bit."""
    return [float(number).hex() for number in np.ravel(numbers)]


def doubles(texts: list[str]) -> np.ndarray:
    """The doubles of such texts."""
    return np.array([float.fromhex(text) for text in texts])
