"""Held-out data beside the training data: what must be alike, and what differs where measuring them fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

_KINDS: dict[str, Any] = {
    "booleans": jnp.bool_,
    "integers": jnp.integer,
    "real numbers": jnp.floating,
    "complex numbers": jnp.complexfloating,
}


def check_alike(part: str, held: PyTree, data: PyTree) -> None:
    """Refuse what a loss may measure wrongly without an error: another number of axes, or numbers of another kind.

    Raises:
        ValueError: naming the leaf, what it has, and what it has in the training data.
    """
    known = _leaves(data)
    for path, leaf in _leaves(held).items():
        if path not in known:
            continue
        if np.ndim(leaf) != np.ndim(known[path]):
            raise ValueError(
                f"{part}{path} has shape {np.shape(leaf)}, and data{path} {np.shape(known[path])}: both must have as "
                f"many axes, the first of them over the examples"
            )
        kinds = [_kind(one) for one in (leaf, known[path])]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"{part}{path} holds {kinds[0]} ({jnp.result_type(leaf)}), and data{path} holds {kinds[1]} "
                f"({jnp.result_type(known[path])}): both must be of one kind, so cast one of them"
            )


@contextlib.contextmanager
def explained(column: str, part: str, held: PyTree, data: PyTree) -> Iterator[None]:
    """Name a difference between held-out and training data in the error of what could not be measured.

    A loss may take examples of several shapes, so a difference alone is no error.

    Raises:
        ValueError: in place of any error, if there is a difference.
    """
    try:
        yield
    except Exception as error:
        difference = _difference(part, _leaves(held), _leaves(data))
        if not difference:
            raise
        raise ValueError(
            f"{column} cannot be measured: {difference}; the examples of {part} must be like those of data, unless the "
            f"loss and the metrics take both"
        ) from error


def _difference(part: str, held: dict[str, Any], data: dict[str, Any]) -> str:
    """The first leaf whose examples have another shape, or that only one of the two has."""
    if not data:
        return ""
    if list(held) != list(data) and "" in {*held, *data}:
        return f"{part} and data are not of one structure: leaves {_named(held)} and {_named(data)}"
    for path, leaf in held.items():
        if path not in data:
            return f"data has no leaf {path}, and {part} has"
        if np.shape(leaf)[1:] != np.shape(data[path])[1:]:
            return f"{part}{path} has shape {np.shape(leaf)}, and data{path} {np.shape(data[path])}"
    missing = [path for path in data if path not in held]
    return f"{part} has no leaf {missing[0]}, and data has" if missing else ""


def _named(leaves: dict[str, Any]) -> str:
    return ", ".join(path or "one array" for path in leaves)


def _leaves(tree: PyTree) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _kind(leaf: Any) -> str:
    dtype = jnp.result_type(leaf)
    return next((name for name, kind in _KINDS.items() if jnp.issubdtype(dtype, kind)), str(dtype))
