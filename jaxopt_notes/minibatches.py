"""Minibatches: streams of example indices as pure functions of (key, step).

A stream names its batch size and how one epoch is ordered. `indices` computes each epoch's order once and cuts it into
batches, so a step costs a gather, not a shuffle. An epoch has `examples // batch_size` steps; what is left over sits
the epoch out (with reshuffling, other examples each time).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PyTree

from . import _checks


class Minibatches(NamedTuple):
    """A stream of minibatches: `order(key, epoch, examples)` gives the example indices of an epoch, in order."""

    batch_size: int
    order: Callable[[Key[Array, ""], Int[Array, ""], int], Int[Array, " examples"]]


def reshuffle(batch_size: int) -> Minibatches:
    """Every epoch visits the examples once, in a fresh random order.

    Arguments:
        batch_size: examples per step, at least 1 and at most the number of examples.

    Raises:
        TypeError, ValueError: `batch_size` is not a positive integer.

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> stream = jon.minibatches.reshuffle(2)
        >>> epoch = jon.minibatches.indices(stream, jax.random.key(0), 0, 3, examples=6)
        >>> sorted(epoch.ravel().tolist())
        [0, 1, 2, 3, 4, 5]
    """
    return Minibatches(_checks.count("batch_size", batch_size), _reshuffled)


def shuffle_once(batch_size: int) -> Minibatches:
    """Every epoch visits the examples once, in one random order drawn at the start.

    The examples left over by incomplete batches are the same in every epoch, so they are never seen.

    Arguments:
        batch_size: examples per step, at least 1 and at most the number of examples.

    Raises:
        TypeError, ValueError: `batch_size` is not a positive integer.

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> two = jon.minibatches.indices(jon.minibatches.shuffle_once(2), jax.random.key(0), 0, 6, examples=6)
        >>> two[:3].tolist() == two[3:].tolist()
        True
    """
    return Minibatches(_checks.count("batch_size", batch_size), _shuffled_once)


def random(batch_size: int) -> Minibatches:
    """Every batch is drawn with replacement: an epoch sees about 63 % of the examples.

    Arguments:
        batch_size: examples per step, at least 1 and at most the number of examples.

    Raises:
        TypeError, ValueError: `batch_size` is not a positive integer.

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> drawn = jon.minibatches.indices(jon.minibatches.random(10), jax.random.key(0), 0, 100, examples=1000)
        >>> 600 < len(set(drawn.ravel().tolist())) < 660
        True
    """
    return Minibatches(_checks.count("batch_size", batch_size), _drawn)


def _shuffled_once(key, epoch, examples):
    return jax.random.permutation(key, examples)


def _drawn(key, epoch, examples):
    return jax.random.randint(jax.random.fold_in(key, epoch), (examples,), 0, examples)


def _reshuffled(key, epoch, examples):
    return jax.random.permutation(jax.random.fold_in(key, epoch), examples)


def steps_per_epoch(minibatches: Minibatches, examples: int) -> int:
    """Steps in which an epoch visits the examples, the incomplete last batch left out."""
    return examples // minibatches.batch_size


def check_batch_size(batch_size: int, examples: int) -> int:
    """Return `batch_size` if it is an integer in [1, examples]."""
    batch_size = _checks.count("batch_size", batch_size)
    if batch_size > examples:
        raise ValueError(f"batch_size must be at most the number of examples, {examples}; got {batch_size}")
    return batch_size


def indices(
    minibatches: Minibatches, key: Key[Array, ""], first_step: Int[Array, ""] | int, steps: int, examples: int
) -> Int[Array, "steps batch"]:
    """Example indices of the batches of steps `first_step, ..., first_step + steps - 1`.

    Arguments:
        minibatches: the stream.
        key: the stream's key; the result depends on it and on the step alone.
        first_step: first step, may be traced.
        steps: number of steps, static.
        examples: number of examples in the data, static.
    """
    check_batch_size(minibatches.batch_size, examples)
    per_epoch = steps_per_epoch(minibatches, examples)
    first_step = jnp.asarray(first_step, jnp.int32)
    first_epoch = first_step // per_epoch
    epochs = first_epoch + jnp.arange((steps + per_epoch - 2) // per_epoch + 1, dtype=jnp.int32)
    orders = jax.vmap(lambda epoch: minibatches.order(key, epoch, examples))(epochs)
    rows = orders[:, : per_epoch * minibatches.batch_size].reshape(-1, minibatches.batch_size)
    return jax.lax.dynamic_slice_in_dim(rows, first_step - first_epoch * per_epoch, steps)


def batch_shapes(data: PyTree, batch_size: int) -> PyTree:
    """Shapes and dtypes of one batch of `data`."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *jnp.shape(leaf)[1:]), jnp.result_type(leaf)), data
    )


def gather(data: PyTree, rows: Int[Array, " batch"]) -> PyTree:
    """The examples `rows` of every leaf of `data`."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), data)
