"""Arrays of a program that is being written: a shape, and the expression of any of its elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._blocks import Block, Store
from ._emit import Atom, Emitter, Index, known, text

SMALL = 16  # elements up to which every one has a name of its own
UNROLLED = 16  # terms up to which a sum is written out


class Refused(NotImplementedError):
    """A program that is not written in JavaScript: an operation, or a use of one, has no rule."""


@dataclass
class Value:
    """An array.

    Attributes:
        shape, dtype: as in JAX; a key has the dtype of its keys and is a pair of words.
        get: the element at an index.
        cheap: whether asking for an element twice costs no more than asking once.
        store: the typed array that holds it in row-major order, if one does.
        update: (array, part, corner) of an array that is another one but for a part.
    """

    shape: tuple[int, ...]
    dtype: Any
    get: Callable[[Index], Atom]
    cheap: bool = True
    store: Store | None = None
    update: tuple[Value, Value, list[Any]] | None = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


def kind(dtype: Any) -> str:
    """How an element is held: "b", "i", "u", "f" as one number, "wide" and "key" as two words of 32 bits."""
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return "key"
    if dtype == np.uint64:
        return "wide"
    found = np.dtype(dtype).kind
    if found not in "biuf" or np.dtype(dtype).itemsize == 2:
        raise Refused(f"numbers of type {np.dtype(dtype).name} have no rule in JavaScript")
    return found


def is_paired(dtype: Any) -> bool:
    """Whether an element is two words."""
    return kind(dtype) in ("wide", "key")


class Writer(Emitter):
    """An emitter that knows arrays.

    Attributes:
        calls_out: whether the program calls functions that it is given.
    """

    calls_out = False

    def constant(self, array: Any) -> Value:
        """An array that is known: its numbers are written into the program."""
        if not isinstance(array, np.ndarray):
            return self._keys(array)
        if kind(array.dtype) == "wide":
            pairs = np.empty(array.shape, object)
            for at in np.ndindex(array.shape):
                pairs[at] = divmod(int(array[at]), 2**32)
            return self.scalars(pairs, array.dtype)
        if array.size <= SMALL:
            atoms = np.empty(array.shape, object)
            for at in np.ndindex(array.shape):
                atoms[at] = array[at].item()
            return self.scalars(atoms, array.dtype)
        numbers = [text(item.item()) for item in array.flat]
        if len(set(numbers)) == 1:
            same = array.flat[0].item()
            return Value(array.shape, array.dtype, lambda at: same)
        held = self.table(numbers, "Float64Array")

        def get(at: Index) -> Atom:
            if known(*at):
                return array[at].item()
            read = self.load(held, at, array.shape)
            return self.local("{0}===1", read) if array.dtype == bool else read

        return Value(array.shape, array.dtype, get)

    def table(self, items: Sequence[str], of: str) -> Store:
        """A typed array of numbers that are known."""
        held = Store(self.name("K"), self.once)
        numbers = ",".join({"true": "1", "false": "0"}.get(item, item.strip("()")) for item in items)
        self.module.append(f"const {held.name}=new {of}([{numbers}]);")
        return held

    def _keys(self, array: Any) -> Value:
        if not jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            raise Refused(f"a constant of type {array.dtype} has no rule in JavaScript")
        words = np.asarray(jax.random.key_data(array))
        pairs = np.empty(array.shape, object)
        for at in np.ndindex(array.shape):
            pairs[at] = tuple(int(word) for word in words[at])
        return self.scalars(pairs, array.dtype)

    def scalars(self, atoms: np.ndarray, dtype: Any) -> Value:
        """An array whose elements all have names."""

        def get(at: Index) -> Atom:
            if known(*at):
                return atoms[at]
            place, items = self.flat(at, atoms.shape), list(atoms.flat)
            if is_paired(dtype):
                return tuple(self._chosen(place, [item[word] for item in items]) for word in (0, 1))
            return self._chosen(place, items)

        return Value(atoms.shape, dtype, get)

    def _chosen(self, place: Atom, items: list[Atom]) -> Atom:
        """One of a few atoms, by a place that is known when the program runs."""
        if len({text(item) for item in items}) == 1:
            return items[0]
        tests = "".join(f"{{0}}==={i}?{{{i + 1}}}:" for i in range(len(items) - 1))
        return self.local(f"{tests}{{{len(items)}}}", place, *items)

    def settled(self, value: Value) -> Value:
        """The same array, computed once: into names, or into a typed array."""
        if value.store is not None:
            return value
        if value.size <= SMALL:
            atoms = np.empty(value.shape, object)
            for at in np.ndindex(value.shape):
                atoms[at] = value.get(at)
            return self.scalars(atoms, value.dtype)
        return self.stored(value)

    def stored(self, value: Value) -> Value:
        """The same array in a typed array, whatever its size; a new one unless it lies in one."""
        if value.store is not None:
            return value
        if value.update is not None:
            return self._updated(value)
        if is_paired(value.dtype):
            halves = [self.stored(self._word(value, word)) for word in (0, 1)]
            return Value(value.shape, value.dtype, lambda at: tuple(half.get(at) for half in halves))
        store = self.buffer(value.size)
        before = len(self.stack[-1].nodes)
        self.fill(store, value)
        self._moved_outside(store, before)
        return self.held(store, value.shape, value.dtype)

    def readable(self, value: Value) -> Value:
        """The same array, whose elements may be asked for."""
        return value if value.update is None else self.settled(value)

    def _updated(self, value: Value) -> Value:
        """A copy with another part."""
        assert value.update is not None
        old, part, corner = value.update
        store = self.buffer(value.size)
        self.fill(store, old)
        self.fill_part(store, value.shape, part, corner)
        return self.held(store, value.shape, value.dtype)

    def fill_part(
        self, store: Store, shape: Sequence[int], part: Value, corner: Sequence[Any], steps: Sequence[int] | None = None
    ) -> None:
        """Write an array into a larger one, from a corner on, every so many elements."""
        strides = [1] * len(corner) if steps is None else steps

        def put(at: Index) -> None:
            where = tuple(self.plus(self.times(i, s), b) for i, s, b in zip(at, strides, corner, strict=True))
            self.save(store, where, shape, self.number(part, at))

        if part.size <= SMALL:
            for at in np.ndindex(*part.shape):
                put(at)
        else:
            self.loops(part.shape, put)

    def _word(self, value: Value, word: int) -> Value:
        return Value(value.shape, np.dtype(np.uint32), lambda at: value.get(at)[word], value.cheap)

    def number(self, value: Value, at: Index) -> Atom:
        """An element as a typed array holds it: a truth value is 1 or 0."""
        atom = value.get(at)
        if is_paired(value.dtype) or np.dtype(value.dtype) != bool:
            return atom
        return int(atom) if isinstance(atom, bool) else self.local("+{0}", atom)

    def fill(self, store: Store, value: Value) -> None:
        """Write all elements into a typed array."""

        def put(at: Index) -> None:
            self.save(store, at, value.shape, self.number(value, at))

        if value.size <= SMALL:
            for at in np.ndindex(value.shape):
                put(at)
        else:
            self.loops(value.shape, put)

    def held(self, store: Store, shape: tuple[int, ...], dtype: Any) -> Value:
        """The array that a typed array holds from here on."""
        truth = np.dtype(dtype) == bool

        def get(at: Index) -> Atom:
            read = self.load(store, at, shape)
            return self.local("{0}===1", read) if truth else read

        return Value(shape, dtype, get, store=store)

    def _moved_outside(self, store: Store, before: int) -> None:
        """Move the loop that fills a typed array out of the loops that it does not depend on."""
        written = self.stack[-1].nodes[before:]
        if len(written) != 1 or not isinstance(written[0], Block):
            return
        block = written[0]
        level = max(
            self._needed(block, store), *(depth for depth, outer in enumerate(self.stack) if outer.keeps or not depth)
        )
        if level < len(self.stack) - 1:
            self.stack[-1].nodes.pop()
            self.stack[level].nodes.append(block)
            block.parent = store.block = self.stack[level]

    def _needed(self, block: Block, store: Store) -> int:
        """The depth of the innermost open block that something inside a closed one depends on."""
        depths = [0]
        for node in block.nodes:
            if isinstance(node, Block):
                depths.append(self._needed(node, store))
            for operand in node.operands:
                if operand is not store and hasattr(operand, "block") and operand.block in self.stack:
                    depths.append(self.stack.index(operand.block))
        return max(depths)

    def fold(self, start: Atom, shape: Sequence[int], step: Callable[[Atom | None, Index], Atom]) -> Atom:
        """Reduce over all indices of a shape; `step` is given None before the first where the sum is written out."""
        if math.prod(shape) <= UNROLLED:
            total: Atom = None
            for at in np.ndindex(*shape):
                total = step(total, at)
            return start if total is None else total
        store = self.variable(start)
        self.loops(shape, lambda at: self.assign(store, step(self.read(store), at)))
        return self.read(store)

    def at(self, value: Value, index: Index) -> Atom:
        """An element of an array whose axes of length 1 stand for any length."""
        return value.get(tuple(0 if n == 1 else i for i, n in zip(index, value.shape, strict=True)))
