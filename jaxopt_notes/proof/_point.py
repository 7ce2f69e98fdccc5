"""A pytree of real numbers as one vector of doubles."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from .. import _checks


def named_columns(points: PyTree, count: int) -> tuple[list[str], np.ndarray]:
    """The name of every parameter by its path, and the values of `count` points as columns of a table."""
    columns = [np.reshape(np.asarray(leaf), (count, math.prod(leaf.shape[1:]))) for leaf in jax.tree.leaves(points)]
    names = [
        f"{jax.tree_util.keystr(path)}{list(index) if index else ''}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(points)
        for index in np.ndindex(leaf.shape[1:])
    ]
    return names, np.concatenate(columns, axis=1)


class Point:
    """A pytree of real numbers as one vector of doubles, and back.

    Arguments:
        name: of the argument, for errors.
        tree: a pytree of real arrays.
    """

    def __init__(self, name: str, tree: PyTree) -> None:
        self.structure: Any
        leaves, self.structure = jax.tree.flatten(_checks.params(name, tree))
        if any(np.iscomplexobj(leaf) for leaf in leaves):
            raise TypeError(f"{name} must hold real numbers, got {tree!r}")
        self.shapes = [np.shape(leaf) for leaf in leaves]
        parts = [np.asarray(leaf, np.float64).ravel() for leaf in leaves]
        self.vector = np.concatenate(parts)
        if not self.vector.size:
            raise ValueError(f"{name} must hold at least one number, got {tree!r}")

    @property
    def size(self) -> int:
        """How many numbers."""
        return self.vector.size

    def tree(self, vector: Any) -> PyTree:
        """Arrays of doubles in the structure of the point; `vector` may have leading axes."""
        vector = np.asarray(vector)
        sizes = [int(np.prod(shape, dtype=int)) for shape in self.shapes]
        parts = np.split(vector, np.cumsum(sizes)[:-1], axis=-1) if sizes else []
        lead = vector.shape[:-1]
        return self.structure.unflatten(
            [np.reshape(part, (*lead, *shape)) for part, shape in zip(parts, self.shapes, strict=True)]
        )
