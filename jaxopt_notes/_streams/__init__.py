"""Streams: data of a sweep that come in batches from the host, the same ones for all of its lanes.

`source_of` sorts out how what a user passes as `data` is read: by rows, by ready batches, or by iterating. The
`windows` of a source are the batches of many steps, to be placed on the devices at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from .. import _checks
from .batches import Iterated, Sequence
from .rows import Rows
from .source import Order as Order
from .source import Source as Source
from .source import Window as Window


def source_of(data: Any, drawn: bool) -> Source:
    """How data are read that a user gave to a sweep.

    Arguments:
        data: arrays (a pytree of them, but no list), anything with a length and items, an iterable of batches, or a
            function that makes one.
        drawn: whether a batch size was given, so that the items are examples and not batches.

    Raises:
        TypeError: it is nothing of the kind. ValueError: it is empty, or the lengths of its arrays differ.
    """
    leaves = jax.tree.leaves(data, is_leaf=lambda node: isinstance(node, Iterable) and not _holds_arrays(node))
    if leaves and not isinstance(data, list) and all(map(_is_array, leaves)):
        return Rows(data, are_arrays=True)
    if all(hasattr(data, name) for name in ("__len__", "__getitem__")) and not isinstance(data, (str, bytes, dict)):
        return Rows(data, are_arrays=False) if drawn else Sequence(data)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes, dict)):
        return Iterated(data)
    if callable(data) and _checks.takes(data, 0):
        return Iterated(data)
    raise TypeError(
        f"data must be arrays, a data set with a length and items, an iterable of batches, or a function without "
        f"arguments that makes one; got {data!r}"
    )


def _holds_arrays(node: Any) -> bool:
    return isinstance(node, (tuple, list, Mapping))


def _is_array(leaf: Any) -> bool:
    return all(hasattr(leaf, name) for name in ("shape", "dtype", "__getitem__"))
