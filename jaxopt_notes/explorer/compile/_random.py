"""Random numbers: threefry as JAX counts with it, so that the bits are the same.

Source: Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"; the order of counters is that of JAX with
`jax_threefry_partitionable`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from ..._jaxpr.listing import Operation
from ._emit import Atom, Index
from ._moves import Rule
from ._values import SMALL, Refused, Value, Writer


def _words(writer: Writer, key: Atom, high: Atom, low: Atom) -> tuple[Atom, Atom]:
    """Two words of 32 bits from a key and a counter."""
    return (
        writer.local("R.first({0},{1},{2},{3})", *key, high, low),
        writer.local("R.second({0},{1},{2},{3})", *key, high, low),
    )


def _counted(writer: Writer, operation: Operation, keys: Value, one_word: bool) -> list[Value]:
    """A word or a pair for every place after the axes of the keys."""
    lead, shape = len(keys.shape), operation.shapes[0]

    def get(at: Index) -> Atom:
        counter = writer.flat(at[lead:], shape[lead:])
        pair = _words(writer, keys.get(at[:lead]), 0, counter)
        return writer.local("({0}^{1})>>>0", *pair) if one_word else pair

    return [Value(shape, operation.dtypes[0], get, cheap=False)]


def _split(writer: Writer, operation: Operation, keys: Value) -> list[Value]:
    return _counted(writer, operation, keys, one_word=False)


def _bits(writer: Writer, operation: Operation, keys: Value) -> list[Value]:
    width = operation.params["bit_width"]
    if width not in (32, 64):
        raise Refused(f"'random_bits' of {width} bits has no rule in JavaScript")
    return _counted(writer, operation, keys, one_word=width == 32)


def _seed(writer: Writer, operation: Operation, seeds: Value) -> list[Value]:
    _is_threefry(operation)
    wide = np.dtype(seeds.dtype).itemsize == 8

    def get(at: Index) -> Atom:
        seed = seeds.get(at)
        if isinstance(seed, int):
            high, low = divmod(seed % 2**64 if wide else seed % 2**32, 2**32)
            return high, low
        above: Atom = writer.local("Math.floor({0}/4294967296)>>>0", seed) if wide else 0
        return above, writer.local("{0}>>>0", seed)

    return [Value(operation.shapes[0], operation.dtypes[0], get, cheap=False)]


def _fold_in(writer: Writer, operation: Operation, keys: Value, data: Value) -> list[Value]:
    def get(at: Index) -> Atom:
        return _words(writer, writer.at(keys, at), 0, writer.local("{0}>>>0", writer.at(data, at)))

    return [Value(operation.shapes[0], operation.dtypes[0], get, cheap=False)]


def _wrap(writer: Writer, operation: Operation, words: Value) -> list[Value]:
    _is_threefry(operation)
    words = words if words.cheap else writer.settled(words)
    return [Value(operation.shapes[0], operation.dtypes[0], lambda at: (words.get((*at, 0)), words.get((*at, 1))))]


def _is_threefry(operation: Operation) -> None:
    name = getattr(operation.params.get("impl"), "name", "threefry2x32")
    if name != "threefry2x32":
        raise Refused(
            f"random numbers of the kind {name!r} have no rule in JavaScript; use threefry2x32, JAX's default"
        )


def _unwrap(writer: Writer, operation: Operation, keys: Value) -> list[Value]:
    keys = writer.settled(keys) if math.prod(keys.shape) <= SMALL else keys

    def get(at: Index) -> Atom:
        pair = keys.get(at[:-1])
        return pair[at[-1]] if isinstance(at[-1], int) else writer.local("{0}===0?{1}:{2}", at[-1], *pair)

    return [Value(operation.shapes[0], operation.dtypes[0], get, cheap=False)]


def _threefry(writer: Writer, operation: Operation, *words: Value) -> list[Value]:
    def pair(at: Index) -> tuple[Atom, Atom]:
        first, second, high, low = (writer.at(word, at) if word.shape else word.get(()) for word in words)
        return _words(writer, (first, second), high, low)

    made: list[Any] = [lambda at, half=half: pair(at)[half] for half in (0, 1)]
    return [
        Value(shape, dtype, get, cheap=False)
        for shape, dtype, get in zip(operation.shapes, operation.dtypes, made, strict=True)
    ]


RANDOM: Final[dict[str, Rule]] = {
    "random_split": _split,
    "random_bits": _bits,
    "random_seed": _seed,
    "random_fold_in": _fold_in,
    "random_wrap": _wrap,
    "random_unwrap": _unwrap,
    "threefry2x32": _threefry,
}
