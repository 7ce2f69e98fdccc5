"""Directions along which a symmetry keeps the loss constant: taken out of the Hessian before it is judged."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .lanczos import euclidean_norm
from .operators import Product, flatten, like_params


class NullSpace(NamedTuple):
    """The span of the given directions.

    Attributes:
        basis: orthonormal columns, zero where a direction depends on the others. Shape (n, m).
        rank: number of columns that are not zero.
        shortest: the smallest norm of a given direction that is not zero; infinite if all are.
    """

    basis: Float[Array, "n m"]
    rank: Int[Array, ""]
    shortest: Float[Array, ""]

    def complement(self, vector: Float[Array, "n *columns"]) -> Float[Array, "n *columns"]:
        """What is left of a vector, or of columns, without its part in the span; taken out twice, for rounding."""
        for _ in range(2):
            vector = vector - self.basis @ (self.basis.T @ vector)
        return vector

    def restricted(self, product: Product) -> Product:
        """The product with the Hessian restricted to the complement."""
        return lambda vector: self.complement(product(self.complement(vector)))


def checked_null_directions(directions: PyTree, params: PyTree) -> PyTree:
    """Return the directions if they are a pytree like the parameters with one more axis in front."""
    leaves = jax.tree.leaves(directions)
    lengths = {np.shape(leaf)[0] if np.ndim(leaf) else None for leaf in leaves}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            f"null_directions must have one leading axis of directions in every leaf, got shapes "
            f"{[np.shape(leaf) for leaf in leaves]}"
        )
    if 0 in lengths:
        raise ValueError("null_directions holds no direction; leave it out when there is none")
    like_params("null_directions[0]", jax.tree.map(lambda leaf: leaf[0], directions), params)
    return jax.tree.map(lambda leaf, param: jnp.asarray(leaf, param.dtype), directions, params)


def null_space(directions: PyTree) -> NullSpace:
    """An orthonormal basis of the span of pytrees stacked along a leading axis."""
    rows = jax.vmap(lambda one: flatten(one)[0])(directions)
    norms = jnp.linalg.norm(rows, axis=1)
    units = rows / jnp.where(norms > 0, norms, 1)[:, None]
    left, sizes, _ = jnp.linalg.svd(units.T, full_matrices=False)
    kept = sizes > max(rows.shape) * float(jnp.finfo(rows.dtype).eps) * jnp.max(sizes)
    shortest = jnp.min(jnp.where(norms > 0, norms, jnp.inf))
    return NullSpace(jnp.where(kept[None, :], left, 0), jnp.sum(kept, dtype=jnp.int32), shortest)


def defect(space: NullSpace, product: Product, key: Any) -> Float[Array, ""]:
    """|H u| for a random unit vector u of the span, which is rounding if the span is in the kernel of H."""
    weights = jax.random.normal(key, (space.basis.shape[1],), space.basis.dtype)
    vector = space.basis @ weights
    norm = euclidean_norm(vector)
    return euclidean_norm(product(vector / jnp.where(norm > 0, norm, 1)))
