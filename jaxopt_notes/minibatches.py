"""Minibatches: streams of example indices as pure functions of (key, step).

A stream names its batch size and how one epoch is ordered. `indices` computes each epoch's order once and cuts it into
batches, so a step costs a gather, not a shuffle. An epoch has `examples // batch_size` steps; what is left over sits
the epoch out (with reshuffling, other examples each time). For data larger than the memory `batches` yields the same
batches from arrays on disk, and `prefetch` reads ahead of the computation.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from . import _checks
from ._host import stacked, taken
from ._host_random import fold_in_on_host, permutations_on_host
from ._jaxpr import is_threefry, quick_options, threefry_words

__all__ = [
    "Minibatches",
    "batches",
    "examples_per_step",
    "full",
    "gather",
    "indices",
    "prefetch",
    "random",
    "reshuffle",
    "shuffle_once",
    "steps_per_epoch",
]


class Minibatches(NamedTuple):
    """A stream of minibatches: `order(key, epoch, examples)` gives the example indices of an epoch, in order."""

    batch_size: int | None  # None is all of them
    order: Callable[[Key[Array, ""], Int[Array, ""], int], Int[Array, " examples"]]


def full() -> Minibatches:
    """Every step sees all examples, in their own order: gradient descent without sampling.

    Returns:
        A stream; `minimize` does the same, without a gather, when `minibatches` is None.

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> jon.minibatches.indices(jon.minibatches.full(), jax.random.key(0), 0, 2, examples=3).tolist()
        [[0, 1, 2], [0, 1, 2]]
    """
    return Minibatches(None, _in_order)


def reshuffle(batch_size: int) -> Minibatches:
    """Every epoch visits the examples once, in a fresh random order.

    Arguments:
        batch_size: examples per step, at least 1 and at most the number of examples.

    Returns:
        The stream, for `minimize(minibatches=)` and `batches`.

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

    Returns:
        The stream, for `minimize(minibatches=)` and `batches`.

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

    Returns:
        The stream, for `minimize(minibatches=)` and `batches`.

    Raises:
        TypeError, ValueError: `batch_size` is not a positive integer.

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> drawn = jon.minibatches.indices(jon.minibatches.random(10), jax.random.key(0), 0, 100, examples=1000)
        >>> 600 < len(set(drawn.ravel().tolist())) < 660
        True
    """
    return Minibatches(_checks.count("batch_size", batch_size), _drawn)


def _in_order(key: Key[Array, ""], epoch: Int[Array, ""] | int, examples: int) -> Int[Array, " examples"]:
    return jnp.arange(examples, dtype=jnp.int32)


def _shuffled_once(key: Key[Array, ""], epoch: Int[Array, ""] | int, examples: int) -> Int[Array, " examples"]:
    return jax.random.permutation(key, examples)


def _drawn(key: Key[Array, ""], epoch: Int[Array, ""] | int, examples: int) -> Int[Array, " examples"]:
    return jax.random.randint(jax.random.fold_in(key, epoch), (examples,), 0, examples)


def _reshuffled(key: Key[Array, ""], epoch: Int[Array, ""] | int, examples: int) -> Int[Array, " examples"]:
    return jax.random.permutation(jax.random.fold_in(key, epoch), examples)


# The same orders by NumPy, of the words of some keys and an epoch for each.
_ON_HOST: dict[Callable[..., Any], Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    _shuffled_once: lambda words, _, examples: permutations_on_host(words, examples),
    _reshuffled: lambda words, epochs, examples: permutations_on_host(fold_in_on_host(words, epochs), examples),
}


def steps_per_epoch(minibatches: Minibatches, examples: int) -> int:
    """Steps in which an epoch visits the examples, the incomplete last batch left out.

    Arguments:
        minibatches: the stream.
        examples: number of examples in the data, at least 1.

    Returns:
        The number of steps.

    Raises:
        ValueError: there is no example, or the batch size is larger than their number.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.minibatches.steps_per_epoch(jon.minibatches.reshuffle(64), examples=1438)
        22
    """
    return examples // examples_per_step(minibatches, examples)


def examples_per_step(minibatches: Minibatches, examples: int) -> int:
    """The batch size of a stream over data of a given size.

    Arguments:
        minibatches: the stream.
        examples: number of examples in the data, at least 1.

    Returns:
        Examples per step: all of them for `full()`.

    Raises:
        ValueError: there is no example, or the batch size is larger than their number.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.minibatches.examples_per_step(jon.minibatches.full(), examples=100)
        100
    """
    if examples < 1:
        raise ValueError(f"examples must be at least 1, got {examples}")
    return examples if minibatches.batch_size is None else check_batch_size(minibatches.batch_size, examples)


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

    Returns:
        Positions of examples, shape (steps, batch).

    Raises:
        ValueError: there is no example, or the batch size is larger than their number.

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> stream = jon.minibatches.reshuffle(2)
        >>> jon.minibatches.indices(stream, jax.random.key(0), first_step=0, steps=3, examples=6).shape
        (3, 2)
    """
    size = examples_per_step(minibatches, examples)
    per_epoch = steps_per_epoch(minibatches, examples)
    first_step = jnp.asarray(first_step, jnp.int32)
    first_epoch = first_step // per_epoch
    epochs = first_epoch + jnp.arange((steps + per_epoch - 2) // per_epoch + 1, dtype=jnp.int32)
    orders = _each(key)(lambda epoch: minibatches.order(key, epoch, examples))(epochs)
    rows = orders[:, : per_epoch * size].reshape(-1, size)
    return jax.lax.dynamic_slice_in_dim(rows, first_step - first_epoch * per_epoch, steps)


def _each(key: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`vmap`, or a loop where `vmap` would draw other numbers than each call alone.

    It would with every generator but JAX's usual one: the order of an epoch would depend on the step at which a call
    begins.
    """
    return jax.vmap if is_threefry(key) else lambda function: functools.partial(jax.lax.map, function)


def batch_shapes(data: PyTree, batch_size: int) -> PyTree:
    """Shapes and dtypes of one batch of `data`."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *jnp.shape(leaf)[1:]), jnp.result_type(leaf)), data
    )


def gather(data: PyTree, rows: Int[Array, " batch"]) -> PyTree:
    """The examples `rows` of every leaf of `data`.

    Arguments:
        data: a pytree of arrays with one leading axis of examples.
        rows: their positions, shape (batch,), as from `indices`.

    Returns:
        A pytree like `data`, with leading axis `batch`.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> jon.minibatches.gather(jnp.arange(6.0), jnp.array([4, 1])).tolist()
        [4.0, 1.0]
    """
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), data)


def batches(data: PyTree, minibatches: Minibatches, key: Key[Array, ""], first_step: int = 0) -> Iterator[PyTree]:
    """The batches of a stream, one after the other and without end, gathered on the host.

    The same examples in the same order as `minimize(..., minibatches=..., key=...)` sees, from arrays that need not fit
    the memory, such as `numpy.memmap`. The order is computed once per epoch; rows of a batch are read in the order of
    their place on disk.

    Arguments:
        data: a pytree of numpy arrays with one leading axis of examples.
        minibatches: the stream, such as `reshuffle(64)`.
        key: key of the stream.
        first_step: the step of the first batch, to go on where a run stopped.

    Returns:
        An iterator of pytrees like `data`, with leading axis `batch_size`.

    Raises:
        TypeError, ValueError: the leading axes differ, or the batch size does not fit.

    Example:
        >>> import jax, numpy as np, jaxopt_notes as jon
        >>> stream = jon.minibatches.batches(np.arange(6.0), jon.minibatches.full(), jax.random.key(0))
        >>> next(stream).tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    examples = _checks.examples("data", data)
    per_epoch = steps_per_epoch(minibatches, examples)
    first_step = _checks.count("first_step", first_step, low=0)
    return _batches(data, minibatches, _checks.key("key", key), first_step, examples, per_epoch)


def _batches(
    data: PyTree, minibatches: Minibatches, key: Any, step: int, examples: int, per_epoch: int
) -> Iterator[PyTree]:
    for rows, back in rows_in_order(minibatches, key, step, examples, per_epoch):
        yield jax.tree.map(lambda leaf, rows=rows, back=back: np.asarray(leaf[rows])[back], data)


def rows_in_order(
    minibatches: Minibatches, key: Any, step: int, examples: int, per_epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of every batch from `step` on, sorted as files are read, and the positions that undo the sorting."""
    while True:
        left = per_epoch - step % per_epoch
        for rows in indices_of_keys(minibatches, stacked([key]), step, left, examples)[0]:
            order = np.argsort(rows)
            yield rows[order], np.argsort(order)
        step += left


def indices_of_keys(
    minibatches: Minibatches, keys: Key[Array, " keys"], first_step: int, steps: int, examples: int
) -> Int[np.ndarray, "keys steps batch"]:
    """What `indices` returns for each of several keys, put together on the host.

    The host draws a permutation in a third of the time that the compiled program takes, and has nothing to compile.
    Other orders, and other generators than JAX's usual one, take a program whose shapes follow from the number of
    examples alone. So it is compiled once, however many keys and steps there are and whatever the size of a batch.
    """
    size, per_epoch = examples_per_step(minibatches, examples), steps_per_epoch(minibatches, examples)
    first_epoch, skipped = divmod(first_step, per_epoch)
    epochs = (skipped + steps - 1) // per_epoch + 1
    key_of, epoch_of = np.divmod(np.arange(len(keys) * epochs), epochs)
    epoch = (first_epoch + epoch_of).astype(np.int32)
    words, on_host = threefry_words(keys), _ON_HOST.get(minibatches.order)
    if words is not None and on_host is not None:
        together = max(1, 2**20 // examples)
        parts = [slice(start, start + together) for start in range(0, len(key_of), together)]
        orders = np.concatenate([on_host(words[key_of[part]], epoch[part], examples) for part in parts])
    else:
        orders = _compiled_orders(minibatches.order, taken(keys, key_of), epoch, examples)
    rows = orders[:, : per_epoch * size].reshape(len(keys), epochs * per_epoch, size)
    return rows[:, skipped : skipped + steps]


def drawn_on_host(minibatches: Minibatches, keys: Key[Array, " keys"]) -> bool:
    """Whether `indices_of_keys` draws without a compiled program: a shuffled stream, by the usual generator of JAX."""
    return minibatches.order in _ON_HOST and threefry_words(keys) is not None


def _compiled_orders(
    order: Callable[..., Array], keys: Key[Array, " orders"], epoch: np.ndarray, examples: int
) -> Int[np.ndarray, "orders examples"]:
    """The orders of some epochs, of a key each."""
    together = max(1, min(16, 2**20 // examples))  # enough for the call to cost little, few enough to waste little
    ordered = []
    for start in range(0, len(epoch), together):
        at = np.minimum(np.arange(start, start + together), len(epoch) - 1)
        ordered.append(_orders(order, examples, is_threefry(keys))(taken(keys, at), epoch[at]))
    return np.concatenate(jax.device_get(ordered))[: len(epoch)]


@functools.lru_cache(maxsize=16)
def _orders(
    order: Callable[..., Array], examples: int, side_by_side: bool
) -> Callable[..., Int[Array, "orders examples"]]:
    """The compiled `(keys, epochs) -> orders` of some epochs."""
    one = lambda drawn: order(*drawn, examples)
    each = jax.vmap(one) if side_by_side else functools.partial(jax.lax.map, one)
    # Whole numbers, which the compiler cannot round in another way. Optimised, they sort in three quarters of the time,
    # which takes a second of compiling.
    return jax.jit(lambda keys, epochs: each((keys, epochs)), compiler_options=quick_options())


def prefetch(iterator: Iterable[PyTree], depth: int = 2) -> Generator[PyTree, None, None]:
    """Read an iterator ahead in a thread, and put its items on the device, while the last one is computed with.

    Arguments:
        iterator: any iterable of pytrees of arrays: `batches`, a generator, a grain or torch loader of numpy arrays.
        depth: items to hold ready, at least 1.

    Returns:
        An iterator of the same items. An error in the source is raised where its item would have come. The thread ends
        when the source does or when the iterator is closed.

    Raises:
        TypeError, ValueError: `iterator` is not iterable, or `depth` is not a positive integer.

    Example:
        >>> import numpy as np, jaxopt_notes as jon
        >>> [int(x.sum()) for x in jon.minibatches.prefetch(np.ones(2) * i for i in range(3))]
        [0, 2, 4]
    """
    if not isinstance(iterator, Iterable):
        raise TypeError(f"iterator must be an iterable of batches, got {iterator!r}")
    return prefetched(iterator, _checks.count("depth", depth), jax.device_put)


def prefetched(iterator: Iterable[Any], depth: int, place: Callable[[Any], Any]) -> Generator[Any, None, None]:
    """As `prefetch`, given what puts an item on the devices, which the thread calls."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    closed = threading.Event()
    # Settings made by a context manager hold for one thread, and without them float64 would arrive as float32.
    settings = {name: getattr(jax.config, f"jax_{name}") for name in ("enable_x64", "threefry_partitionable")}

    def put(kind: str, item: Any = None) -> None:
        while not closed.is_set():
            try:
                ready.put((kind, item), timeout=0.1)
                break
            except queue.Full:
                continue

    def read() -> None:
        with contextlib.ExitStack() as stack:
            for name, value in settings.items():
                stack.enter_context(getattr(jax, name)(value))
            try:
                for item in iterator:
                    if closed.is_set():
                        return
                    put("item", place(item))
                put("end")
            except BaseException as error:
                put("error", error)

    thread = threading.Thread(target=read, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        closed.set()
        thread.join()
