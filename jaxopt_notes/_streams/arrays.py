"""What a source gives, as arrays on the host."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree


def arrays_of(batch: Any) -> PyTree:
    """A batch or an example with its leaves as arrays; lists of numbers are leaves too."""
    return jax.tree.map(_array, batch, is_leaf=_is_numbers)


def _array(leaf: Any) -> np.ndarray:
    values = np.asarray(leaf)
    if values.dtype.kind in "OUS":
        raise TypeError(f"data must give arrays of numbers, got {type(leaf).__name__} {leaf!r}")
    return values


def _is_numbers(value: Any) -> bool:
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    return isinstance(value, list) and all(isinstance(one, (int, float, np.number)) for one in value)


def length_of(source: Any) -> int:
    """The number of items, at least one."""
    if len(source) < 1:
        raise ValueError("data must hold at least one item, got none")
    return len(source)
