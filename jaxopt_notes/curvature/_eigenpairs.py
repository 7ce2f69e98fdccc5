"""All eigenpairs of a dense symmetric matrix, without LAPACK where formulas are cheaper than its call."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._numerics import divide


def eigenpairs(hessian: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Eigenvalues, ascending, and eigenvectors in columns; written out for two parameters, where a million calls of
    LAPACK cost more than the sums. The smaller eigenvalue comes from the determinant, and its error is rounding of the
    larger.
    """
    if len(hessian) == 1:
        return hessian[0], jnp.ones_like(hessian)
    if len(hessian) > 2:
        return jnp.linalg.eigh(hessian, symmetrize_input=False)
    a, b, c = hessian[0, 0], hessian[0, 1], hessian[1, 1]
    middle, half = (a + c) / 2, (a - c) / 2
    radius = jnp.hypot(half, b)
    outer = jnp.where(middle >= 0, middle + radius, middle - radius)
    inner = divide(a, outer) * c - divide(b, outer) * b
    double_cosine = jnp.where(radius > 0, divide(half, radius), 1)
    longer = jnp.sqrt((1 + jnp.abs(double_cosine)) / 2)
    shorter = divide(b, radius) / (2 * longer)
    x, y = jnp.where(half >= 0, longer, shorter), jnp.where(half >= 0, shorter, longer)  # of the upper eigenvalue
    # Two that are equal within rounding may come out in the other order.
    values = jnp.stack([jnp.minimum(outer, inner), jnp.maximum(outer, inner)])
    return values, jnp.stack([jnp.stack([-y, x]), jnp.stack([x, y])])
