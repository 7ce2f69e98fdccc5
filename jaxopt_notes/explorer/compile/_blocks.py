"""What a function in JavaScript is made of before it is printed: blocks, statements, names and stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(eq=False, repr=False)
class Block:
    """A loop, a branch, or the function itself.

    Attributes:
        head: how it begins in JavaScript, `{0}` and so on for its operands.
        operands: of the head.
        keeps: whether an expression inside stays inside although it could be computed outside.
        nodes: what it does, in order.
        seen: the locals in it by what they compute.
        parent: the block around it.
        counter, count: of a loop over 0 ... count - 1.
        live: whether it is printed.
    """

    head: str = ""
    operands: tuple[Any, ...] = ()
    keeps: bool = False
    nodes: list[Node | Block] = field(default_factory=list)
    seen: dict[Any, Local] = field(default_factory=dict)
    parent: Block | None = None
    counter: Local | None = None
    count: int = 0
    live: bool = False


@dataclass(eq=False, repr=False)
class Local:
    """A value that has a name: the number that an expression yields, or the counter of a loop."""

    name: str
    block: Block
    node: Node | None = None


@dataclass(eq=False, repr=False)
class Store:
    """Something that is written: a variable of a loop, or a typed array.

    Attributes:
        name: in JavaScript.
        block: from where on it holds what is read from it.
        writers: the statements that write.
        size: of a typed array; None for a variable.
    """

    name: str
    block: Block
    writers: list[Node] = field(default_factory=list)
    size: int | None = None


@dataclass(eq=False, repr=False)
class Node:
    """One statement: `const NAME = EXPRESSION`, or something that is done.

    Attributes:
        template: in JavaScript, with `{0}` and so on for the operands.
        operands: numbers, locals and stores.
        block: where it stands.
        local: the name that it gives.
        writes: what it writes.
        access: the element of a typed array that it reads or writes.
        live: whether it is printed.
    """

    template: str
    operands: tuple[Any, ...]
    block: Block
    local: Local | None = None
    writes: tuple[Store, ...] = ()
    access: Access | None = None
    live: bool = False


class Access(NamedTuple):
    """An element of an array: where it is stored, at which index, and the shape of the array."""

    store: Store
    at: tuple[Any, ...]
    shape: tuple[int, ...]
