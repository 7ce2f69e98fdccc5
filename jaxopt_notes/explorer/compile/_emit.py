"""Statements of JavaScript, in loops: what is computed twice is computed once, as far outside as it can be.

Every expression is pure. Its value has a name, a `Local`, in the outermost block in which all that it is made of is
known. What nothing reads is not printed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ._blocks import Access, Block, Local, Node, Store
from ._fuse import fuse

SHORT = 8  # turns up to which an innermost loop is written out
Number = bool | int | float
Atom = Any  # a number, a Local, or a pair of them for 64 bits: Python has no recursive types that help here
Index = tuple[Any, ...]


def text(atom: Atom) -> str:
    """A number or a name, as JavaScript."""
    if isinstance(atom, (Local, Store)):
        return atom.name
    if isinstance(atom, (bool, np.bool_)):
        return "true" if atom else "false"
    if isinstance(atom, float):
        if math.isfinite(atom):
            written = (
                repr(int(atom))
                if atom.is_integer() and abs(atom) < 1e15 and (atom or 1 / _signed(atom) > 0)
                else repr(atom)
            )
        else:
            written = "NaN" if math.isnan(atom) else "Infinity" if atom > 0 else "-Infinity"
    else:
        written = str(int(atom))
    return f"({written})" if written.startswith("-") else written


def _signed(zero: float) -> float:
    return math.copysign(1.0, zero)


def known(*atoms: Atom) -> bool:
    """Whether all are numbers at the time of compiling."""
    return all(isinstance(atom, (bool, int, float)) for atom in atoms)


def _key(atom: Atom) -> Any:
    return id(atom) if isinstance(atom, (Local, Store)) else text(atom)


class Emitter:
    """Writes one function."""

    def __init__(self) -> None:
        self.once = Block()  # what depends on no argument is computed when the module is loaded
        self.top = Block()
        self.stack = [self.once, self.top]
        self.module: list[str] = []
        self.stores: list[Store] = []
        self.roots: list[Node] = []  # statements that are printed whether or not anything reads what they write
        self._count = 0

    def name(self, letter: str) -> str:
        """A name that nothing has yet."""
        self._count += 1
        made = f"{letter}{_short(self._count)}"
        return self.name(letter) if made in _RESERVED else made

    # ------------------------------------------------------------------------------------------------- expressions

    def local(self, template: str, *operands: Atom) -> Local:
        """The value of an expression, computed once, outside of the loops that it does not depend on."""
        level = max((self._level(operand) for operand in operands), default=0)
        level = max([level, *(depth for depth, block in enumerate(self.stack) if block.keeps)])
        key = (template, *map(_key, operands))
        for block in self.stack[: level + 1]:
            if key in block.seen:
                return block.seen[key]
        block = self.stack[level]
        made = Local(self.name("v"), block)
        made.node = Node(template, operands, block, made)
        block.nodes.append(made.node)
        block.seen[key] = made
        return made

    def _level(self, operand: Atom) -> int:
        if not isinstance(operand, (Local, Store)):
            return 0
        return self.stack.index(operand.block)  # a ValueError here is a value used after its loop has ended

    def plus(self, a: Any, b: Any) -> Any:
        """The sum of two indices."""
        if known(a, b):
            return a + b
        return b if known(a) and a == 0 else a if known(b) and b == 0 else self.local("{0}+{1}", a, b)

    def minus(self, a: Any, b: Any) -> Any:
        """The difference of two indices."""
        return a - b if known(a, b) else a if known(b) and b == 0 else self.local("{0}-{1}", a, b)

    def times(self, a: Any, b: int) -> Any:
        """An index times a number."""
        return a * b if known(a) else 0 if b == 0 else a if b == 1 else self.local("{0}*{1}", a, b)

    def flat(self, index: Index, shape: Sequence[int]) -> Any:
        """The place of an element in a row-major array."""
        place: Any = 0
        for i, n in zip(index, shape, strict=True):
            place = self.plus(self.times(place, n), i)
        return place

    def unflat(self, place: Any, shape: Sequence[int]) -> Index:
        """The index of an element from its place."""
        index: list[Any] = []
        for axis, n in reversed(list(enumerate(shape))):
            if known(place):
                index.append(place % n)
                place //= n
            else:
                first = axis == 0
                index.append(0 if n == 1 else place if first else self.local("{0}%{1}", place, n))
                place = place if n == 1 or first else self.local("{0}/{1}|0", place, n)
        return tuple(reversed(index))

    def clamped(self, index: Any, most: int) -> Any:
        """An index moved into 0 ... most, as XLA moves it."""
        if most == 0:
            return 0
        return min(max(index, 0), most) if known(index) else self.local("Math.min(Math.max({0},0),{1})", index, most)

    def load(self, store: Store, index: Index, shape: Sequence[int]) -> Local:
        """An element of a typed array."""
        found = self.local("{0}[{1}]", store, self.flat(index, shape))
        if found.node is not None:
            found.node.access = Access(store, index, tuple(shape))
        return found

    # -------------------------------------------------------------------------------------------------- statements

    def save(self, store: Store, index: Index, shape: Sequence[int], value: Atom) -> None:
        """Write an element of a typed array."""
        self.do("{0}[{1}]={2}", store, self.flat(index, shape), value, writes=store)
        store.writers[-1].access = Access(store, index, tuple(shape))

    def do(self, template: str, *operands: Atom, writes: Store | Sequence[Store] = ()) -> None:
        """A statement that writes; without `writes` it is printed always."""
        stores = (writes,) if isinstance(writes, Store) else tuple(writes)
        for operand in operands:
            self._level(operand)
        node = Node(template, operands, self.stack[-1], writes=stores)
        self.stack[-1].nodes.append(node)
        for store in stores:
            store.writers.append(node)
        if not stores:
            self.roots.append(node)

    @contextmanager
    def inside(self, head: str, *operands: Atom, keeps: bool = False) -> Iterator[Block]:
        """Open a block. It is appended where it ends, so that what is hoisted out of it comes before."""
        block = Block(head, operands, keeps, parent=self.stack[-1])
        self.stack.append(block)
        yield block
        self.stack.pop()
        self.stack[-1].nodes.append(block)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Write what runs once, when the module is loaded."""
        stack, self.stack = self.stack, [self.once]
        try:
            yield
        finally:
            self.stack = stack

    @contextmanager
    def loop(self, count: int) -> Iterator[Local]:
        """A loop over 0 ... count - 1."""
        name = self.name("i")
        with self.inside("for(let {0}=0;{0}<{1};{0}++)") as block:
            block.counter, block.count = Local(name, block), count
            yield block.counter

    def loops(self, shape: Sequence[int], body: Callable[[Index], None], index: Index = ()) -> None:
        """Nested loops over all indices of a shape; a short innermost one is written out.

        Each of its turns then knows its place, so that what is kept by name is read by name.
        """
        if not shape:
            body(index)
        elif len(shape) == 1 and shape[0] <= SHORT and any(isinstance(i, Local) for i in index):
            for place in range(shape[0]):
                body((*index, place))
        elif shape[0] == 1:
            self.loops(shape[1:], body, (*index, 0))
        else:
            with self.loop(shape[0]) as i:
                self.loops(shape[1:], body, (*index, i))

    def variable(self, start: Atom) -> Store:
        """A variable that a loop will change, declared here; `read` reads it."""
        store = Store(self.name("c"), self.stack[-1])
        self.stores.append(store)
        self.do("let {0}={1}", store, start, writes=store)
        return store

    def assign(self, store: Store, value: Atom) -> None:
        """Give a variable another value."""
        self.do("{0}={1}", store, value, writes=store)

    def read(self, store: Store) -> Local:
        """What a variable holds at this moment; the name stays with that value."""
        made = Local(self.name("v"), self.stack[-1])
        made.node = Node("{0}", (store,), self.stack[-1], made)
        self.stack[-1].nodes.append(made.node)
        return made

    def buffer(self, size: int) -> Store:
        """A typed array that lives as long as the module."""
        store = Store(self.name("B"), self.stack[-1], size=size)
        self.stores.append(store)
        return store

    # ---------------------------------------------------------------------------------------------------- printing

    def printed(self, results: Sequence[Any]) -> tuple[list[str], list[str]]:
        """The lines that the results depend on: those that run once, and those of every call."""
        fuse(self.once)
        fuse(self.top)
        waiting: list[Any] = [*results, *self.roots]
        while waiting:
            item = waiting.pop()
            if isinstance(item, Local):
                waiting += [item.node] if item.node else []
                waiting += _heads(item.block)
            elif isinstance(item, Store):
                waiting += [writer for writer in item.writers if not writer.live]
            elif isinstance(item, Node) and not item.live:
                item.live = True
                waiting += item.operands
                waiting += _heads(item.block)
        return list(_lines(self.once)), list(_lines(self.top))

    def arrays(self) -> Iterator[str]:
        """The declarations of the typed arrays that are used, after `printed`."""
        for store in self.stores:
            if store.size is not None and any(writer.live for writer in store.writers):
                yield f"const {store.name}=new Float64Array({store.size});"


def _heads(block: Block | None) -> list[Any]:
    """What the blocks around something need, each block once."""
    found: list[Any] = []
    while block is not None and not block.live:
        block.live = True
        found += block.operands
        block = block.parent
    return found


def _lines(block: Block) -> Iterator[str]:
    for node in block.nodes:
        if isinstance(node, Block):
            if node.live:
                operands = node.operands if node.counter is None else (node.counter, node.count)
                yield node.head.format(*map(text, operands)) + "{"
                yield from _lines(node)
                yield "}"
        elif node.live:
            written = node.template.format(*map(text, node.operands))
            yield f"{'const ' + node.local.name + '=' if node.local else ''}{written};"


_RESERVED = frozenset({"var", "void", "if", "in", "is", "case", "catch", "class", "const"})
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _short(number: int) -> str:
    written = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        written = _DIGITS[digit] + written
    return written
