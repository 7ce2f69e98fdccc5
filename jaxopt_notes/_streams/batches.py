"""Sources of ready batches, which are used in their own order: by number, or by iterating."""

from __future__ import annotations

import functools
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .. import _checks
from .arrays import arrays_of, length_of
from .source import AGAIN, SAMPLE, SAMPLE_BYTES, Order, Source


class _Ready(Source):
    """A source of ready batches; the first ones are the sample."""

    def size(self, batch_size: int | None) -> int:
        """Examples of a batch."""
        return self._head[1]

    @functools.cached_property
    def sample(self) -> PyTree:
        """The examples of the first batches."""
        return self._head[0]

    @functools.cached_property
    def _head(self) -> tuple[PyTree, int]:
        """The first batches joined, and the examples of each."""
        found, examples, size = list[PyTree](), 0, 0
        for batch in self._first():
            one = arrays_of(batch)
            if found and str(jax.tree.structure(one)) != str(jax.tree.structure(found[0])):
                break  # which the step that needs it will report
            found.append(one)
            examples += _checks.examples("a batch of data", one)
            size += sum(leaf.nbytes for leaf in jax.tree.leaves(one))
            if examples >= SAMPLE or size >= SAMPLE_BYTES:
                break
        if not found:
            raise ValueError(f"data must give batches, got none from {self.words}")
        length = _checks.examples("a batch of data", found[0])
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *found), length

    def _first(self) -> Iterator[PyTree]:
        raise NotImplementedError


class Sequence(_Ready):
    """Ready batches by number, in their order, again and again."""

    def __init__(self, source: Any) -> None:
        self._source, self._length = source, length_of(source)
        self.words = f"{self._length} batches by number"

    @property
    def examples(self) -> int:  # type: ignore[override]
        """The number of training examples."""
        return self._length * self.size(None)

    def steps_per_epoch(self, batch_size: int | None) -> int | None:
        """Steps until the first batch comes again."""
        return self._length

    def batches(self, first: int, length: int, order: Order, position: bytes) -> Iterator[tuple[PyTree, bytes]]:
        """The batches from step `first` on."""
        return ((self._source[step % self._length], b"") for step in itertools.count(first))

    def _first(self) -> Iterator[PyTree]:
        return (self._source[i] for i in range(self._length))


class Iterated(_Ready):
    """Ready batches from an iterator, in its order; one that can be made anew begins again when it ends."""

    def __init__(self, source: Any) -> None:
        self._source, self.once = source, isinstance(source, Iterator)
        self._begun = False
        self._held: list[PyTree] = []  # what the sample took of an iterator that is read once
        self._seen: dict[tuple[int, int], int] = {}
        name = getattr(source, "__name__", type(source).__name__)
        self.words = f"batches from {'the iterator ' if self.once else ''}{name}"

    @functools.cached_property
    def positioned(self) -> bool:  # type: ignore[override]
        """Whether its iterators have a state, as those of grain."""
        return not self.once and all(hasattr(self._new(), name) for name in ("get_state", "set_state"))

    def batches(self, first: int, length: int, order: Order, position: bytes) -> Iterator[tuple[PyTree, bytes]]:
        """The batches from step `first` on; without a position those before are read and left out."""
        if self.once and self._begun:
            raise ValueError(
                f"data is an iterator, which can be read once, and this sweep needs it again: {AGAIN}; or let width "
                f"be the number of trials per device, so that they all run side by side"
            )
        self._begun = True
        return self._from(first, length, position)

    def _from(self, first: int, length: int, position: bytes) -> Iterator[tuple[PyTree, bytes]]:
        # Without a state the batches before are read again, and have to be the same: `note` checks it.
        begun: Any = itertools.chain(self._held, self._source) if self.once else self._new()
        if position:
            begun.set_state(_unpacked(position))
        step, fresh = first if position else 0, not position
        while True:
            where = self._position(begun, step % length == 0)
            for batch in begun:
                if step >= first:
                    yield batch, where
                step, fresh = step + 1, False
                where = self._position(begun, step % length == 0)
            if self.once:
                return
            if fresh:  # and would be read for ever
                raise ValueError(f"data gave no batch when it was read again, as an iterator that has ended: {AGAIN}")
            begun, fresh = self._new(), True

    def _position(self, begun: Any, wanted: bool) -> bytes:
        return _packed(begun.get_state()) if wanted and self.positioned else b""

    def note(self, start: int, count: int, stack: PyTree) -> None:
        """Compare a window with what was read there before.

        Raises:
            ValueError: the source gives other batches each time, so the trials of a sweep would not be paired.
        """
        if self.once:
            return
        value = 0
        for leaf in jax.tree.leaves(stack):
            value = zlib.crc32(np.ascontiguousarray(leaf[:count]).data.cast("B"), value)
        if self._seen.setdefault((start, count), value) != value:
            raise ValueError(
                f"data gives other batches each time it is read (from step {start} on), and all trials of a sweep must "
                f"see the same: fix its order, pass examples by number, or let width be the number of trials per device"
            )

    def _new(self) -> Iterator[Any]:
        return iter(
            self._source() if callable(self._source) and not isinstance(self._source, Iterable) else self._source
        )

    def _first(self) -> Iterator[PyTree]:
        if not self.once:
            yield from self._new()
            return
        for batch in self._source:
            self._held.append(batch)
            yield batch


def _packed(state: Any) -> bytes:
    """The state of an iterator as bytes."""
    if isinstance(state, bytes):
        return b"b" + state
    try:
        text = json.dumps(state)
    except TypeError:
        text = "null"
    if json.loads(text) != state:
        raise TypeError(f"the get_state() of data must give bytes or plain data as JSON knows it, got {state!r}")
    return b"j" + text.encode()


def _unpacked(position: bytes) -> Any:
    return position[1:] if position[:1] == b"b" else json.loads(position[1:])
