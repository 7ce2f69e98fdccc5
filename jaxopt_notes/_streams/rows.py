"""Examples by number: arrays, which need not be in memory, and data sets with a length and items."""

from __future__ import annotations

import functools
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .. import _checks
from ..minibatches import check_batch_size, reshuffle, rows_in_order
from .arrays import arrays_of, length_of
from .source import SAMPLE, SAMPLE_BYTES, Order, Source

ROWS_HELD = 32  # of a map; around each that is read the system may map 2 MB of the file


class Rows(Source):
    """Examples by number: arrays, or anything with a length and items. Every epoch draws them in another order."""

    def __init__(self, source: Any, are_arrays: bool) -> None:
        self._source, self._are_arrays = source, are_arrays
        self.examples = _checks.examples("data", source) if are_arrays else length_of(source)
        self._lists = not are_arrays and _takes_lists(source, self.examples)
        self.words = f"{self.examples} examples by number"

    @functools.cached_property
    def sample(self) -> PyTree:
        """Examples drawn once and for all, in the order of the source, and as many as are needed or fit."""
        one = self._read(np.zeros(1, int))
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(one))
        count = max(1, min(self.examples, SAMPLE, SAMPLE_BYTES // max(1, size)))
        return self._read(np.sort(np.random.default_rng(0).choice(self.examples, count, replace=False)))

    def check(self, batch_size: int | None) -> None:
        """Refuse a batch size that is missing or larger than the number of examples."""
        if batch_size is None:
            raise ValueError(f"batch_size must be given: data are {self.words}")
        check_batch_size(batch_size, self.examples)

    def size(self, batch_size: int | None) -> int:
        """Examples of a batch."""
        assert batch_size is not None
        return batch_size

    def steps_per_epoch(self, batch_size: int | None) -> int | None:
        """Steps in which all examples are seen but those that make no whole batch."""
        return self.examples // self.size(batch_size)

    def batches(self, first: int, length: int, order: Order, position: bytes) -> Iterator[tuple[PyTree, bytes]]:
        """The batches from step `first` on; their order follows from the key."""
        size = self.size(order.batch_size)
        for rows, back in rows_in_order(reshuffle(size), order.key, first, self.examples, self.examples // size):
            yield jax.tree.map(lambda leaf, back=back: leaf[back], self._read(rows)), b""

    def _read(self, rows: np.ndarray) -> PyTree:
        """The examples of some rows, which are sorted."""
        if self._are_arrays:
            return jax.tree.map(lambda leaf: _rows_of(leaf, rows), self._source)
        if self._lists:
            return arrays_of(self._source[rows.tolist()])
        return _stacked([arrays_of(self._source[int(row)]) for row in rows])

    def __getstate__(self) -> dict[str, Any]:
        # A worker opens the file of a map itself: pickled as it is, a map is all of its values.
        closed = jax.tree.map(_closed, self._source) if self._are_arrays else self._source
        return {**self.__dict__, "_source": closed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._are_arrays:
            self._source = jax.tree.map(lambda leaf: leaf.open() if isinstance(leaf, _Closed) else leaf, self._source)


def _takes_lists(source: Any, length: int) -> bool:
    """Whether a data set gives several examples at once for a list of numbers, as Hugging Face's do."""
    try:
        one, two = arrays_of(source[0]), arrays_of(source[[0, length - 1]])
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
        same = str(jax.tree.structure(one)) == str(jax.tree.structure(two))
        return same and all(both.shape == (2, *leaf.shape) for leaf, both in pairs)
    except Exception:  # what a data set raises that knows no lists is its own affair
        return False


def _stacked(examples: list[PyTree]) -> PyTree:
    try:
        return jax.tree.map(lambda *leaves: np.stack(leaves), *examples)
    except ValueError as error:
        raise ValueError(
            f"the items of data must be examples of one shape, to make batches of: {error}. Arrays with one row for "
            f"each example are given as a tuple or a dict, not as a list"
        ) from error


@dataclass(frozen=True)
class _Closed:
    """A map of a file into memory, as what is needed to open it again."""

    filename: str
    dtype: Any
    offset: int
    shape: tuple[int, ...]

    def open(self) -> np.memmap:
        return np.memmap(self.filename, self.dtype, "r", self.offset, self.shape)


def _closed(leaf: Any) -> Any:
    # A part of a map does not know where it begins in the file.
    whole = isinstance(leaf, np.memmap) and isinstance(leaf.base, mmap.mmap) and leaf.flags.c_contiguous
    return _Closed(str(leaf.filename), leaf.dtype, leaf.offset, leaf.shape) if whole and leaf.filename else leaf


def _rows_of(leaf: Any, rows: np.ndarray) -> np.ndarray:
    mapped = _map_of(leaf)
    if mapped is None:
        return np.asarray(leaf[rows])
    # Pages of a map that were read count as memory of this process, up to the size of the file, until they are given
    # back. What the system keeps of the file is read fast again.
    found = np.empty((len(rows), *leaf.shape[1:]), leaf.dtype)
    for first in range(0, len(rows), ROWS_HELD):
        some = slice(first, first + ROWS_HELD)
        found[some] = leaf[rows[some]]
        mapped.madvise(mmap.MADV_DONTNEED)
    return found


def _map_of(leaf: Any) -> mmap.mmap | None:
    """The map that an array is a view of, if its pages can be given back."""
    while leaf is not None and not (isinstance(leaf, np.memmap) and isinstance(leaf.base, mmap.mmap)):
        leaf = getattr(leaf, "base", None)
    # The pages of a private map ("c") hold what was written to it, and nothing else does.
    return None if leaf is None or leaf.mode == "c" or not hasattr(mmap, "MADV_DONTNEED") else leaf.base
