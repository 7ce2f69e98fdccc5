"""Trees of arrays stacked and indexed on the host, where an operation of JAX would be one more program to compile.

NumPy has no typed random keys, so those are put together from their words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from ._columns import is_key


def stacked(trees: Sequence[PyTree]) -> PyTree:
    """The leaves of several trees of one structure, along a new leading axis."""
    return jax.tree.map(lambda *leaves: _by_numpy(lambda *arrays: np.stack(arrays), *leaves), *trees)


def taken(tree: PyTree, index: Any) -> PyTree:
    """Every leaf indexed along its leading axes, such as `leaf[index]`."""
    return jax.tree.map(lambda leaf: _by_numpy(lambda array: array[index], leaf), tree)


def _by_numpy(function: Callable[..., np.ndarray], *leaves: Any) -> Any:
    if not is_key(leaves[0]):
        return function(*map(np.asarray, leaves))
    words = function(*(np.asarray(jax.random.key_data(leaf)) for leaf in leaves))
    return jax.random.wrap_key_data(jax.device_put(words), impl=jax.random.key_impl(leaves[0]))
