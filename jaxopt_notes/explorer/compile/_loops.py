"""Loops and branches."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ..._jaxpr.listing import Listing, Operation
from ._blocks import Store
from ._emit import Atom, Index
from ._values import SMALL, Refused, Value, Writer, is_paired, kind

Run = Callable[[Listing, Sequence[Value]], list[Value]]


class Carried:
    """One array that a loop changes: variables, or a typed array."""

    def __init__(self, writer: Writer, start: Value) -> None:
        self.writer, self.shape, self.dtype = writer, start.shape, start.dtype
        self.words = (0, 1) if is_paired(self.dtype) else (None,)
        self.small = start.size <= SMALL
        if self.small:
            self.stores = [
                writer.variable(self._part(start.get(at), w)) for at in np.ndindex(*self.shape) for w in self.words
            ]
        else:
            if is_paired(self.dtype):
                raise Refused(f"a loop that changes {start.size} keys has no rule in JavaScript")
            self.stores = [writer.buffer(start.size)]
            writer.fill(self.stores[0], start)

    @staticmethod
    def _part(atom: Atom, word: int | None) -> Atom:
        return atom if word is None else atom[word]

    def here(self) -> Value:
        """What it holds at this place of the program."""
        writer = self.writer
        if not self.small:
            store = self.stores[0]
            seen = Store(store.name, writer.stack[-1], store.writers, store.size)
            return writer.held(seen, self.shape, self.dtype)
        read = [writer.read(store) for store in self.stores]
        atoms = np.empty(self.shape, object)
        step = len(self.words)
        for place, at in enumerate(np.ndindex(*self.shape)):
            atoms[at] = read[place] if step == 1 else tuple(read[2 * place : 2 * place + 2])
        return writer.scalars(atoms, self.dtype)

    def prepared(self, new: Value, changing: Collection[str]) -> Value:
        """What it shall hold next, computed before any of the arrays that are changing is written."""
        if self.small:
            return self.writer.settled(new)
        if (
            new.update is not None
            and new.update[0].store is not None
            and new.update[0].store.name == self.stores[0].name
        ):
            old, part, corner = new.update  # only a part changes
            return replace(new, update=(old, self._copied(part, changing), corner))
        return self.writer.stored(self._copied(new, changing))

    def _copied(self, value: Value, changing: Collection[str]) -> Value:
        """A copy of what lies in an array that is changing; anything else as it is."""
        if value.store is None or value.store.name not in changing:
            return value
        return self.writer.settled(Value(value.shape, value.dtype, value.get, value.cheap))

    def assign(self, new: Value) -> None:
        """Let it hold what was prepared."""
        writer = self.writer
        if new.update is not None:
            writer.fill_part(self.stores[0], self.shape, *new.update[1:])
            return
        if not self.small:
            writer.do("{0}.set({1})", self.stores[0], new.store, writes=self.stores[0])
            return
        atoms = [self._part(new.get(at), w) for at in np.ndindex(*self.shape) for w in self.words]
        for store, atom in zip(self.stores, atoms, strict=True):
            writer.assign(store, atom)


def _assigned(carried: Sequence[Carried], new: Sequence[Value]) -> None:
    changing = {store.name for one in carried for store in one.stores}
    ready = [one.prepared(value, changing) for one, value in zip(carried, new, strict=True)]
    for one, value in zip(carried, ready, strict=True):
        one.assign(value)


def scan(writer: Writer, operation: Operation, run: Run, *values: Value) -> list[Value]:
    """`jax.lax.scan`: one loop; what it stacks is written row by row."""
    params, body = operation.params, operation.params["jaxpr"]
    length, backwards = params["length"], params["reverse"]
    fixed, changing = params["num_consts"], params["num_consts"] + params["num_carry"]
    values = tuple(value if value.cheap else writer.settled(value) for value in values)
    carried = [Carried(writer, value) for value in values[fixed:changing]]
    stacked = operation.shapes[len(carried) :]
    for shape, dtype in zip(stacked, operation.dtypes[len(carried) :], strict=True):
        if is_paired(dtype):
            raise Refused(f"a loop that stacks keys, of shape {shape}, has no rule in JavaScript")
    rows = [writer.buffer(max(math.prod(shape), 1)) for shape in stacked]
    if length:
        with writer.loop(length) as i:
            step = writer.minus(length - 1, i) if backwards else i
            now = [one.here() for one in carried]
            taken = [_row(value, step) for value in values[changing:]]
            outputs = run(body, [*values[:fixed], *now, *taken])
            outputs[len(carried) :] = map(writer.readable, outputs[len(carried) :])
            for store, shape, output in zip(rows, stacked, outputs[len(carried) :], strict=True):
                _write_row(writer, store, shape, step, output)
            _assigned(carried, outputs[: len(carried)])
    ends = [one.here() for one in carried]
    dtypes = operation.dtypes[len(carried) :]
    return [*ends, *(writer.held(s, shape, d) for s, shape, d in zip(rows, stacked, dtypes, strict=True))]


def _row(value: Value, step: Any) -> Value:
    return Value(value.shape[1:], value.dtype, lambda at: value.get((step, *at)), value.cheap)


def _write_row(writer: Writer, store: Store, shape: tuple[int, ...], step: Any, output: Value) -> None:
    def put(at: Index) -> None:
        writer.save(store, (step, *at), shape, writer.number(output, at))

    if output.size <= SMALL:
        for at in np.ndindex(*output.shape):
            put(at)
    else:
        writer.loops(output.shape, put)


def while_loop(writer: Writer, operation: Operation, run: Run, *values: Value) -> list[Value]:
    """`jax.lax.while_loop`."""
    params = operation.params
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    values = tuple(value if value.cheap else writer.settled(value) for value in values)
    carried = [Carried(writer, value) for value in values[second:]]
    with writer.inside("for(;;)"):
        now = [one.here() for one in carried]
        (goes_on,) = run(params["cond_jaxpr"], [*values[:first], *now])
        goes_on = writer.settled(goes_on)
        writer.do("if(!{0})break", _any(writer, goes_on))
        outputs = run(params["body_jaxpr"], [*values[first:second], *now])
        if goes_on.shape:
            outputs = [_where(writer, goes_on, *pair) for pair in zip(map(writer.readable, outputs), now, strict=True)]
        _assigned(carried, outputs)
    return [one.here() for one in carried]


def _any(writer: Writer, truth: Value) -> Atom:
    """Whether any lane goes on."""
    either = lambda total, at: truth.get(at) if total is None else writer.local("{0}||{1}", total, truth.get(at))
    return writer.fold(False, truth.shape, either)


def _where(writer: Writer, truth: Value, new: Value, old: Value) -> Value:
    """`new` in the lanes that go on; those that have ended stay as they are."""

    def get(at: Index) -> Atom:
        goes_on, atoms = truth.get(at[: len(truth.shape)]), (new.get(at), old.get(at))
        if is_paired(old.dtype):
            return tuple(writer.local("{0}?{1}:{2}", goes_on, *pair) for pair in zip(*atoms, strict=True))
        return writer.local("{0}?{1}:{2}", goes_on, *atoms)

    return Value(old.shape, old.dtype, get, cheap=False)


def branch(writer: Writer, operation: Operation, run: Run, which: Value, *values: Value) -> list[Value]:
    """`jax.lax.cond` and `switch`: only the branch that is taken is computed."""
    branches = operation.params["branches"]
    values = tuple(value if value.cheap else writer.settled(value) for value in values)
    atom = which.get(())
    if kind(which.dtype) == "b":
        atom = int(atom) if isinstance(atom, bool) else writer.local("+{0}", atom)
    atom = writer.clamped(atom, len(branches) - 1)
    if isinstance(atom, int):
        return [writer.settled(value) for value in run(branches[atom], values)]
    zeros = [_zeros(shape, dtype) for shape, dtype in zip(operation.shapes, operation.dtypes, strict=True)]
    results = [Carried(writer, zero) for zero in zeros]
    for place, program in enumerate(branches):
        with writer.inside("if({0}===" + str(place) + ")", atom, keeps=True):
            _assigned(results, run(program, values))
    return [one.here() for one in results]


def _zeros(shape: tuple[int, ...], dtype: Any) -> Value:
    zero: Atom = {"f": 0.0, "b": False, "i": 0, "u": 0}.get(kind(dtype), (0, 0))
    return Value(shape, dtype, lambda at: zero)


def linear_solve(writer: Writer, operation: Operation, run: Run, *values: Value) -> list[Value]:
    """A system that comes with its own way to solve it."""
    lengths, programs = operation.params["const_lengths"], operation.params["jaxprs"]
    skipped, count = lengths.matvec + lengths.vecmat, lengths.solve
    solve = programs[2]  # matvec, vecmat, solve, transpose_solve
    right = values[skipped + count + lengths.transpose_solve :]
    return run(solve, [*values[skipped : skipped + count], *right])


def platform(writer: Writer, operation: Operation, run: Run, *_: Value) -> list[Value]:
    """Which of the ways to compute something is taken: that of a CPU."""
    ways = [way is None or "cpu" in way for way in operation.params["platforms"]]
    return [writer.constant(np.array(ways.index(True), np.int32))]


CONTROL: Final[dict[str, Callable[..., list[Value]]]] = {
    "scan": scan,
    "while": while_loop,
    "cond": branch,
    "custom_linear_solve": linear_solve,
    "platform_index": platform,
}
