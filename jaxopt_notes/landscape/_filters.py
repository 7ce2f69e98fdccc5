"""Filters: the entries of a leaf that make one output, and directions as long as the parameters in each of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

OutputAxis = int | Callable[[str, Any], int | None]
# flax, twice; torch and equinox, also "weight_ih" and "in_proj_weight"
_NAMED = {"kernel": -1, "embedding": -1, "weight": 0}


class Layout(NamedTuple):
    """The axis of a leaf that counts its outputs, and how that was found."""

    axis: int
    found: str


def paths_of(params: PyTree) -> list[str]:
    """The name of every leaf, such as "params/Dense_0/bias"."""
    return [_text(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def layouts(params: PyTree, given: OutputAxis | None) -> list[Layout | None]:
    """The layout of every leaf; None where it is one filter: a bias, and any leaf of fewer than two axes.

    Without `given`: the table of an `equinox.nn.Embedding`; the one axis as long as the vector beside it, which is the
    bias; the convention of the library that names leaves "kernel", "embedding" or "weight"; otherwise the last axis.

    Raises:
        TypeError, ValueError: `given` is no axis, or no axis of some leaf.
    """
    leaves, paths = jax.tree.leaves(params), paths_of(params)
    tables = _equinox_tables(params)

    def layout(path: str, leaf: Any) -> Layout | None:
        name = path[len(_place(path)) :].lstrip("/.")
        if leaf.ndim < 2 or "_bias_" in f"_{name}_":
            return None
        chosen = given(path, leaf) if callable(given) else given
        if chosen is not None:
            return Layout(_checked_axis(chosen, path, leaf), "given")
        if path.startswith(tables):
            return Layout(-1, "equinox.nn.Embedding")
        alike = _axes_like_the_bias(path, leaf, paths, leaves)
        if len(alike) == 1:
            return Layout(_checked_axis(alike[0], path, leaf), "length of the bias")
        for word, axis in _NAMED.items():
            if f"_{word}_" in f"_{name}_":
                return Layout(axis, f"named {word}")
        return Layout(-1, "default")

    return [layout(path, leaf) for path, leaf in zip(paths, leaves, strict=True)]


def described(found: Sequence[Layout | None], paths: Sequence[str]) -> str:
    """Layouts in words: each axis, how it was found, and for which leaves."""
    groups: dict[Layout, list[str]] = {}
    for layout, path in zip(found, paths, strict=True):
        if layout is not None:
            groups.setdefault(layout, []).append(path)
    return "; ".join(
        f"{layout.axis} ({layout.found})" + (f": {_some(names)}" if len(groups) > 1 else "")
        for layout, names in groups.items()
    )


def scaled(
    drawn: Sequence[np.ndarray], leaves: Sequence[np.ndarray], axes: Sequence[int | None]
) -> tuple[list[np.ndarray], list[int]]:
    """Directions orthogonal and as long as the leaves in every filter, and the leaves left out.

    Arguments:
        drawn: random numbers, of every leaf an array of shape (count, *shape).
        leaves: the parameters.
        axes: of every leaf the axis that counts filters; None takes the leaf as a whole.

    Returns:
        The directions, and the numbers of the leaves that are too small for this many directions, also together.
    """
    count = len(drawn[0])
    small = [i for i, leaf in enumerate(leaves) if leaf.size < count]
    made = [
        np.zeros_like(part) if i in small else _scaled(part, leaf, axis)
        for i, (part, leaf, axis) in enumerate(zip(drawn, leaves, axes, strict=True))
    ]
    if sum(leaves[i].size for i in small) < count:
        return made, small
    together = _scaled(
        np.concatenate([drawn[i].reshape(count, -1) for i in small], axis=1),
        np.concatenate([leaves[i].ravel() for i in small]),
        None,
    )
    ends = np.cumsum([leaves[i].size for i in small])[:-1]
    for i, part in zip(small, np.split(together, ends, axis=1), strict=True):
        made[i] = part.reshape(drawn[i].shape)
    return made, []


def orthogonal(rows: np.ndarray, *, unit: bool) -> np.ndarray:
    """Rows made orthogonal in order (Gram-Schmidt, twice), of their own lengths or of length 1; batched in front."""
    done: list[np.ndarray] = []
    for i in range(rows.shape[-2]):
        row = rows[..., i, :]
        length = np.linalg.norm(row, axis=-1, keepdims=True)
        # Two rounds over the earlier rows: one leaves what cancellation made of them.
        for earlier in done * 2:
            squared = np.sum(earlier**2, axis=-1, keepdims=True)
            row = row - np.sum(row * earlier, axis=-1, keepdims=True) / squared * earlier
        done.append(row / np.linalg.norm(row, axis=-1, keepdims=True) * (1.0 if unit else length))
    return np.stack(done, axis=-2)


def _scaled(part: np.ndarray, leaf: np.ndarray, axis: int | None) -> np.ndarray:
    """Directions of one leaf; as a whole too where its filters have fewer entries than there are directions."""
    count = len(part)
    if axis is None or leaf.size // leaf.shape[axis] < count:
        rows = part.reshape(count, -1)
        return (orthogonal(rows, unit=True) * np.linalg.norm(leaf)).reshape(part.shape)
    axis %= leaf.ndim
    filters = np.moveaxis(leaf, axis, 0).reshape(leaf.shape[axis], -1)
    by_filter = np.moveaxis(part, axis + 1, 0)  # (filters, count, ...)
    rows = orthogonal(by_filter.reshape(*by_filter.shape[:2], -1), unit=True)
    rows = rows * np.linalg.norm(filters, axis=1)[:, None, None]
    return np.moveaxis(rows.reshape(by_filter.shape), 0, axis + 1)


def _checked_axis(axis: Any, path: str, leaf: Any) -> int:
    """The axis as -1 if it is the last, and counted from the front otherwise."""
    accepted = "output_axis must be an axis, such as -1 or 0, or a function (path, leaf) -> axis"
    try:
        index = operator.index(axis)
    except TypeError:
        raise TypeError(f"{accepted}; got {axis!r}") from None
    if isinstance(axis, bool) or not -leaf.ndim <= index < leaf.ndim:
        raise ValueError(f"{accepted}; {path or 'the parameters'} of shape {leaf.shape} has no axis {axis!r}")
    return -1 if index % leaf.ndim == leaf.ndim - 1 else index % leaf.ndim


def _axes_like_the_bias(path: str, leaf: Any, paths: Sequence[str], leaves: Sequence[Any]) -> list[int]:
    """The axes as long as the vector in the same place, if that holds one weight and one vector: its bias."""
    place = _place(path)
    beside = [other for name, other in zip(paths, leaves, strict=True) if _place(name) == place]
    vectors = [other for other in beside if other.ndim == 1]
    if len(vectors) != 1 or sum(other.ndim > 1 for other in beside) != 1:
        return []
    return [axis for axis, length in enumerate(leaf.shape) if length == vectors[0].size]


def _place(path: str) -> str:
    """What a leaf is in: "fc1" for "fc1/kernel", and for "fc1.weight" of a state dict."""
    return path[: max(path.rfind("/"), path.rfind("."), 0)]


def _equinox_tables(params: PyTree) -> tuple[str, ...]:
    """Where the tree holds an embedding of equinox, whose table is (number, size) though it is named weight."""
    nodes, _ = jax.tree_util.tree_flatten_with_path(params, is_leaf=_is_equinox_embedding)
    return tuple(f"{_text(path)}/".lstrip("/") for path, node in nodes if _is_equinox_embedding(node))


def _is_equinox_embedding(node: Any) -> bool:
    kind = type(node)
    return kind.__name__ == "Embedding" and kind.__module__.split(".")[0] == "equinox"


def _text(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name or "the parameters" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
