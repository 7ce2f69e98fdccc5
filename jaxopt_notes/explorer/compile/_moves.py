"""Operations that move elements and compute nothing, as functions of an index."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ..._jaxpr.listing import Operation
from ._emit import Atom, Index, known
from ._values import SMALL, Value, Writer

Rule = Callable[..., list[Value]]


def _moved(operation: Operation, source: Value, where: Callable[[Index], Index]) -> list[Value]:
    """The array whose element at an index is that of the source elsewhere."""
    return [Value(operation.shapes[0], operation.dtypes[0], lambda at: source.get(where(at)), source.cheap)]


def _broadcast(writer: Writer, operation: Operation, x: Value, *_: Value) -> list[Value]:
    axes = operation.params["broadcast_dimensions"]
    # An element that many others are copies of is computed once.
    x = x if x.cheap or x.size == math.prod(operation.shapes[0]) else writer.settled(x)
    return _moved(operation, x, lambda at: tuple(0 if n == 1 else at[d] for d, n in zip(axes, x.shape, strict=True)))


def _reshape(writer: Writer, operation: Operation, x: Value, *_: Value) -> list[Value]:
    shape = operation.shapes[0]
    if x.store is not None:
        return [writer.held(x.store, shape, operation.dtypes[0])]
    if [n for n in x.shape if n != 1] != [n for n in shape if n != 1]:
        x = x if x.size <= SMALL or x.cheap else writer.settled(x)
        if x.store is not None:
            return [writer.held(x.store, shape, operation.dtypes[0])]
        return _moved(operation, x, lambda at: writer.unflat(writer.flat(at, shape), x.shape))

    def where(at: Index) -> Index:
        kept = iter([i for i, n in zip(at, shape, strict=True) if n != 1])
        return tuple(0 if n == 1 else next(kept) for n in x.shape)

    return _moved(operation, x, where)


def _transpose(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    order = operation.params["permutation"]
    return _moved(operation, x, lambda at: tuple(at[order.index(d)] for d in range(len(order))))


def _slice(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    starts = operation.params["start_indices"]
    strides = operation.params["strides"] or (1,) * len(starts)

    def where(at: Index) -> Index:
        return tuple(writer.plus(writer.times(i, s), b) for i, b, s in zip(at, starts, strides, strict=True))

    return _moved(operation, x, where)


def _rev(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    axes = operation.params["dimensions"]

    def where(at: Index) -> Index:
        return tuple(writer.minus(x.shape[d] - 1, i) if d in axes else i for d, i in enumerate(at))

    return _moved(operation, x, where)


def _tile(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    def where(at: Index) -> Index:
        pairs = zip(at, x.shape, strict=True)
        return tuple(i % n if known(i) else 0 if n == 1 else writer.local("{0}%{1}", i, n) for i, n in pairs)

    return _moved(operation, x, where)


def _joined(writer: Writer, operation: Operation, *parts: Value) -> list[Value]:
    axis = operation.params["dimension"]
    ends = np.cumsum([part.shape[axis] for part in parts]).tolist()
    pieces = [(end - part.shape[axis], end, part) for end, part in zip(ends, parts, strict=True) if part.shape[axis]]
    if math.prod(operation.shapes[0]) <= SMALL:

        def get(at: Index) -> Atom:
            if not known(at[axis]):
                return together.get(at)
            begin, _, part = next(piece for piece in pieces if at[axis] < piece[1])
            return part.get((*at[:axis], at[axis] - begin, *at[axis + 1 :]))

        whole = Value(operation.shapes[0], operation.dtypes[0], get, cheap=all(part.cheap for part in parts))
        together = writer.settled(whole)
        return [together]
    store = writer.buffer(math.prod(operation.shapes[0]))
    for begin, _, part in pieces:
        corner = [0] * axis + [begin] + [0] * (len(part.shape) - axis - 1)
        writer.fill_part(store, operation.shapes[0], part, corner)
    return [writer.held(store, operation.shapes[0], operation.dtypes[0])]


def _stack(writer: Writer, operation: Operation, *parts: Value) -> list[Value]:
    axis = operation.params["axis"]

    def wider(part: Value) -> Value:
        shape = (*part.shape[:axis], 1, *part.shape[axis:])
        return Value(shape, part.dtype, lambda at: part.get((*at[:axis], *at[axis + 1 :])), part.cheap)

    return _joined(writer, replace(operation, params={"dimension": axis}), *map(wider, parts))


def _split(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    axis, begin, parts = operation.params["axis"], 0, []
    x = x if x.cheap else writer.settled(x)
    for size, shape, dtype in zip(operation.params["sizes"], operation.shapes, operation.dtypes, strict=True):

        def get(at: Index, begin: int = begin) -> Atom:
            return x.get((*at[:axis], writer.plus(at[axis], begin), *at[axis + 1 :]))

        parts.append(Value(shape, dtype, get, x.cheap))
        begin += size
    return parts


def _unstack(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    axis = operation.params["axis"]
    x = x if x.cheap else writer.settled(x)

    def row(i: int) -> Value:
        return Value(operation.shapes[i], operation.dtypes[i], lambda at: x.get((*at[:axis], i, *at[axis:])), x.cheap)

    return [row(i) for i in range(len(operation.shapes))]


def _pad(writer: Writer, operation: Operation, x: Value, fill: Value) -> list[Value]:
    config, shape, dtype = operation.params["padding_config"], operation.shapes[0], operation.dtypes[0]
    if math.prod(shape) <= SMALL:
        atoms = np.full(shape, None, object)
        for at in np.ndindex(*shape):
            places = [(i - low, 1 + inner) for i, (low, _, inner) in zip(at, config, strict=True)]
            inside = all(p >= 0 and p % s == 0 and p // s < n for (p, s), n in zip(places, x.shape, strict=True))
            atoms[at] = x.get(tuple(p // s for p, s in places)) if inside else fill.get(())
        return [writer.scalars(atoms, dtype)]
    if any(low < 0 or high < 0 for low, high, _ in config):
        return [_cropped(writer, operation, x, fill)]
    store = writer.buffer(math.prod(shape))
    writer.do("{0}.fill({1})", store, fill.get(()), writes=store)
    writer.fill_part(store, shape, x, [low for low, _, _ in config], [1 + inner for _, _, inner in config])
    return [writer.held(store, shape, dtype)]


def _cropped(writer: Writer, operation: Operation, x: Value, fill: Value) -> Value:
    """A padding with negative numbers: with what remains of it when those are 0, cut."""
    config = operation.params["padding_config"]
    grown = [(max(low, 0), max(high, 0), inner) for low, high, inner in config]
    shape = tuple(
        low + high + max(0, n + (n - 1) * inner) for n, (low, high, inner) in zip(x.shape, grown, strict=True)
    )
    padded = replace(operation, shapes=(shape,), params={"padding_config": grown})
    whole = _pad(writer, padded, x, fill)[0]
    cut = [max(-low, 0) for low, _, _ in config]
    return Value(
        operation.shapes[0],
        operation.dtypes[0],
        lambda at: whole.get(tuple(writer.plus(i, c) for i, c in zip(at, cut, strict=True))),
        whole.cheap,
    )


def _iota(writer: Writer, operation: Operation, *_: Value) -> list[Value]:
    axis, dtype = operation.params["dimension"], operation.dtypes[0]

    def get(at: Index) -> Atom:
        return float(at[axis]) if known(at[axis]) and np.dtype(dtype).kind == "f" else at[axis]

    return [Value(operation.shapes[0], dtype, get)]


def _empty(writer: Writer, operation: Operation) -> list[Value]:
    """An array that will be written before it is read."""
    return [writer.constant(np.zeros(operation.shapes[0], operation.dtypes[0]))]


# ----------------------------------------------------------------------------------------- places known when it runs


def _begin(writer: Writer, starts: Sequence[Value], shape: Sequence[int], sizes: Sequence[int]) -> list[Any]:
    """Where a slice begins: negative starts count from the end, and all are moved inside."""
    return [writer.clamped(s.get(()), n - size) for s, n, size in zip(starts, shape, sizes, strict=True)]


def _dynamic_slice(writer: Writer, operation: Operation, x: Value, *starts: Value) -> list[Value]:
    x = x if x.cheap else writer.settled(x)
    begin = _begin(writer, starts, x.shape, operation.params["slice_sizes"])
    return _moved(operation, x, lambda at: tuple(writer.plus(b, i) for b, i in zip(begin, at, strict=True)))


def _dynamic_update(writer: Writer, operation: Operation, x: Value, new: Value, *starts: Value) -> list[Value]:
    begin, shape, dtype = _begin(writer, starts, x.shape, new.shape), operation.shapes[0], operation.dtypes[0]
    if x.size <= SMALL:
        atoms = np.empty(shape, object)
        for at in np.ndindex(*shape):
            atom = x.get(at)
            for inner in np.ndindex(*new.shape):
                where = [writer.plus(b, i) for b, i in zip(begin, inner, strict=True)]
                tests = [(w, i) for w, i in zip(where, at, strict=True) if not known(w)]
                if all(not known(w) or w == i for w, i in zip(where, at, strict=True)):
                    atom = _replaced(writer, tests, new.get(inner), atom)
            atoms[at] = atom
        return [writer.scalars(atoms, dtype)]
    # What a loop changes a part of is changed where it is, so the copy waits until it is known to be needed.
    x, new = writer.settled(x), writer.settled(new)

    def get(at: Index) -> Atom:
        raise AssertionError("an array with a replaced part is read before it is stored")

    return [Value(shape, dtype, get, cheap=False, update=(x, new, begin))]


def _replaced(writer: Writer, tests: list[tuple[Atom, int]], new: Atom, old: Atom) -> Atom:
    """`new` where all tests hold, and else `old`."""
    if not tests:
        return new
    holds = writer.local(
        "&&".join(f"{{{2 * k}}}==={{{2 * k + 1}}}" for k in range(len(tests))), *(a for t in tests for a in t)
    )
    if isinstance(new, tuple):
        return tuple(writer.local("{0}?{1}:{2}", holds, n, o) for n, o in zip(new, old, strict=True))
    return writer.local("{0}?{1}:{2}", holds, new, old)


def _gather(writer: Writer, operation: Operation, x: Value, where: Value) -> list[Value]:
    dims, sizes = operation.params["dimension_numbers"], operation.params["slice_sizes"]
    mode = str(operation.params.get("mode"))
    filled = "FILL_OR_DROP" in mode
    x, where = (value if value.cheap else writer.settled(value) for value in (x, where))
    kept = [d for d in range(len(x.shape)) if d not in (*dims.collapsed_slice_dims, *dims.operand_batching_dims)]
    fill = operation.params.get("fill_value")
    if filled and fill is None:
        kind = np.dtype(operation.dtypes[0])
        fill = {"f": np.nan, "b": True}.get(kind.kind) if kind.kind in "fb" else _least(kind)

    def get(at: Index) -> Atom:
        batch = [i for d, i in enumerate(at) if d not in dims.offset_dims]
        inner = dict(zip(kept, [at[d] for d in dims.offset_dims], strict=True))
        index: list[Any] = [inner.get(d, 0) for d in range(len(x.shape))]
        for d, b in zip(dims.operand_batching_dims, dims.start_indices_batching_dims, strict=True):
            index[d] = batch[b]
        outside = []
        for k, d in enumerate(dims.start_index_map):
            start, room = where.get((*batch, k)), x.shape[d] - sizes[d]
            begin = writer.clamped(start, room)
            if filled and not (known(start) and start == begin):
                outside.append((start, begin))
            index[d] = writer.plus(begin, index[d])
        found = x.get(tuple(index))
        return _replaced(writer, outside, found, fill) if outside else found

    return [Value(operation.shapes[0], operation.dtypes[0], get, cheap=False)]


def _least(dtype: np.dtype[Any]) -> int:
    """What JAX fills in for an integer that is outside: the smallest one, or the largest without a sign."""
    bounds = np.iinfo(dtype)
    return int(bounds.min if dtype.kind == "i" else bounds.max)


MOVES: Final[dict[str, Rule]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "expand_dims": _reshape,
    "squeeze": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "rev": _rev,
    "tile": _tile,
    "concatenate": _joined,
    "stack": _stack,
    "split": _split,
    "unstack": _unstack,
    "pad": _pad,
    "iota": _iota,
    "empty": _empty,
    "empty2": _empty,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update,
    "gather": _gather,
    "optimization_barrier": lambda writer, operation, *values: list(values),
}
