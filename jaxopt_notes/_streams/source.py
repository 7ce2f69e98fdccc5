"""What every source has in common: a sample, shapes, and the batches of many steps stacked into windows."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from ..minibatches import batch_shapes
from .arrays import arrays_of

SAMPLE = 1024  # training examples on which the loss is measured at the start and at the end
SAMPLE_BYTES = 2**25
AGAIN = "pass a function that makes it, such as lambda: batches(), and every epoch begins a new one"


class Order(NamedTuple):
    """How examples are drawn: how many at a time, and the key. Sources of ready batches need neither."""

    batch_size: int | None
    key: Key[Array, ""]


class Window(NamedTuple):
    """The batches of some steps, stacked.

    Attributes:
        start: the step of the first batch.
        batches: a pytree of arrays with one leading axis of steps, one more than the window has.
        position: where the source was before the first of them; empty if the step is enough to know.
        after: the same of the last of them, which is the first of the next window.
    """

    start: int
    batches: PyTree
    position: bytes
    after: bytes


class Source:
    """What gives the batches of a sweep; `Rows`, `Sequence` and `Iterated` are its kinds.

    Attributes:
        words: what it is, for tables and errors.
        examples: the number of training examples; 0 if it is not known.
        once: whether it can be read only once.
        positioned: whether a later process can go on reading where this one stopped.
    """

    words: str
    examples: int = 0
    once: bool = False
    positioned: bool = True

    @functools.cached_property
    def sample(self) -> PyTree:
        """Some training examples, always the same, as arrays in memory."""
        raise NotImplementedError

    def check(self, batch_size: int | None) -> None:
        """Refuse a batch size that does not fit. Only examples are drawn; ready batches are what they are."""
        if batch_size is not None:
            raise ValueError(
                f"batch_size={batch_size} needs examples to draw from; data gives {self.words} as they are"
            )

    def shapes(self, batch_size: int | None) -> PyTree:
        """Shapes and dtypes of a batch on the device."""
        return batch_shapes(self.sample, self.size(batch_size))

    def size(self, batch_size: int | None) -> int:
        """Examples of a batch."""
        raise NotImplementedError

    def steps_per_epoch(self, batch_size: int | None) -> int | None:
        """Steps until the source begins again; None if that is not known."""
        return None

    def batches(self, first: int, length: int, order: Order, position: bytes) -> Iterator[tuple[PyTree, bytes]]:
        """The batches from step `first` on, which begins a window, with the position before those that begin one."""
        raise NotImplementedError

    def windows(self, step: int, until: int, length: int, order: Order, position: bytes = b"") -> Iterator[Window]:
        """The batches of the steps from `step` to `until`, and of the one after, in windows of one shape.

        Windows begin at multiples of their length, so they are the same ones wherever a run was cut.

        Arguments:
            step, until: the first step, and the one before which to stop.
            length: steps of a window.
            order: how examples are drawn.
            position: that of the window which holds `step`, where the source has positions and it is known.

        Raises:
            ValueError: the source ends too early, or gives a batch of another shape.
        """
        begin = step - step % length
        source, carried = self.batches(begin, length, order, position), list[tuple[PyTree, bytes]]()
        shapes = self.shapes(order.batch_size)
        for start in range(begin, until, length):
            stack = jax.tree.map(lambda leaf: np.zeros((length + 1, *leaf.shape), leaf.dtype), shapes)
            # No batch is read that no step needs, as the source may end with them.
            count = min(length, until - start) + 1
            read = list[bytes]()
            for batch, where in itertools.islice(itertools.chain(carried, source), count):
                _put(stack, len(read), batch, start + len(read))
                read.append(where)
            if len(read) < count:
                there = start + len(read)
                raise ValueError(
                    f"data ended after {there} batches, and step {there} of {until} needs one more: {until} steps take "
                    f"{until + 1} batches; {AGAIN}"
                )
            self.note(start, count, stack)
            carried = [(batch, where)]
            yield Window(start, stack, read[0], where if count > length else b"")

    def note(self, start: int, count: int, stack: PyTree) -> None:
        """Called with every window that was read."""


def _put(stack: PyTree, at: int, batch: Any, step: int) -> None:
    """Write a batch into its place in a window."""
    wanted, structure = jax.tree.flatten(stack)
    leaves, found = jax.tree.flatten(arrays_of(batch))
    kinds = [(leaf.shape, jnp.result_type(leaf)) for leaf in leaves]
    if str(found) != str(structure) or kinds != [(whole.shape[1:], whole.dtype) for whole in wanted]:
        likes = ", ".join(f"{whole.dtype}{list(whole.shape[1:])}" for whole in wanted)
        given = ", ".join(f"{dtype}{list(shape)}" for shape, dtype in kinds)
        raise ValueError(
            f"all batches of data must be alike: that of step {step} is {given} in {found}, the first was {likes} in "
            f"{structure}. A loader leaves a shorter last batch out with drop_last=True or drop_remainder=True"
        )
    for whole, leaf in zip(wanted, leaves, strict=True):
        whole[at] = leaf
