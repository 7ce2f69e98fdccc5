"""Directions along which a symmetry keeps the loss constant: taken out of the Hessian before it is judged."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .. import _checks
from ._lanczos import euclidean_norm
from ._operators import Product, flatten, like_params

_SHORT = 8  # square roots of eps: the length, beside the longest, from which on a direction is taken for one


class NullSpace(NamedTuple):
    """The span of the given directions.

    Attributes:
        basis: orthonormal columns, zero where a direction depends on the others. Shape (n, m).
        rank: number of columns that are not zero.
        longest: the largest norm of a given direction; infinite if all are zero.
    """

    basis: Float[Array, "n m"]
    rank: Int[Array, ""]
    longest: Float[Array, ""]

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
    if not any(map(_checks.is_traced, leaves)) and not all(np.all(np.isfinite(leaf)) for leaf in leaves):
        raise ValueError("null_directions must be finite, got NaN or infinity among them")
    return jax.tree.map(lambda leaf, param: jnp.asarray(leaf, param.dtype), directions, params)


def null_space(directions: PyTree) -> NullSpace:
    """An orthonormal basis of the span of pytrees stacked along a leading axis.

    A direction, or a combination of directions, that is short beside the others is left out: a turn of a straight
    molecule about its own axis moves nothing. Where the molecule is bent by less than the rounding of the loss can
    show, about sqrt(eps), the turn is a bending mode, and its curvature is not zero.
    """
    rows = jax.vmap(lambda one: flatten(one)[0])(directions)
    norms = jax.vmap(euclidean_norm)(rows)
    longest = jnp.max(norms)
    least = _SHORT * float(jnp.finfo(rows.dtype).eps) ** 0.5
    units = jnp.where((norms > least * longest)[:, None], rows / jnp.where(norms > 0, norms, 1)[:, None], 0)
    # A singular value decomposition, as it also finds combinations of directions that are short, which a QR
    # decomposition would leave among its columns.
    left, sizes, _ = jnp.linalg.svd(units.T, full_matrices=False)
    kept = sizes > least * jnp.max(sizes)
    rank = jnp.sum(kept, dtype=jnp.int32)
    return NullSpace(jnp.where(kept[None, :], left, 0), rank, jnp.where(longest > 0, longest, jnp.inf))


def defect(space: NullSpace, product: Product, key: Any) -> Float[Array, ""]:
    """|H u| for a random unit vector u of the span, which is rounding if the span is in the kernel of H."""
    weights = jax.random.normal(key, (space.basis.shape[1],), space.basis.dtype)
    vector = space.basis @ weights
    norm = euclidean_norm(vector)
    return euclidean_norm(product(vector / jnp.where(norm > 0, norm, 1)))
