"""Lanczos: from products with a symmetric matrix to the ends of its spectrum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .. import _checks
from .._numerics import divide

_HIGHEST = jax.lax.Precision.HIGHEST  # reduced-precision products would cost the basis its orthogonality


class Krylov(NamedTuple):
    """What `lanczos` returns: A Q = Q T + beta_m q_{m+1} e_m', with T tridiagonal. Entries from `count` on are zero.

    Attributes:
        alphas: diagonal of T, shape (steps,).
        betas: below the diagonal of T; the last is the norm of what the basis does not capture. Shape (steps,).
        basis: orthonormal rows q_1, ..., q_m, shape (steps, n).
        count: m, the number of basis vectors; less than `steps` when they span an invariant subspace.
        asymmetry: the largest |q_i' A q_j - q_j' A q_i| met: rounding, or a matrix that is not symmetric.
        norm: an upper bound of the norm of T, at most 3 times the norm of A.
    """

    alphas: Float[Array, " steps"]
    betas: Float[Array, " steps"]
    basis: Float[Array, "steps n"]
    count: Int[Array, ""]  # type: ignore[assignment]
    asymmetry: Float[Array, ""]
    norm: Float[Array, ""]


class Ritz(NamedTuple):
    """Eigenvalues of T, ascending, the `count` valid ones first.

    Attributes:
        values: theta_i; an eigenvalue of A lies within `residuals[i]` of it. NaN from `count` on. Shape (steps,).
        coefficients: column i holds the Ritz vector in the basis. Shape (steps, steps).
        residuals: |A y_i - theta_i y_i| = |beta_m s_mi|. NaN from `count` on. Shape (steps,).
        count: number of valid entries.
    """

    values: Float[Array, " steps"]
    coefficients: Float[Array, "steps steps"]
    residuals: Float[Array, " steps"]
    count: Int[Array, ""]  # type: ignore[assignment]

    @property
    def largest(self) -> Float[Array, ""]:
        """The last valid value."""
        return self.values[jnp.maximum(self.count - 1, 0)]


def lanczos(matvec: Callable[[Float[Array, " n"]], Float[Array, " n"]], v0: Float[Array, " n"], steps: int) -> Krylov:
    """Orthonormal basis of span{v, Av, A^2 v, ...} and the tridiagonal matrix of A in it.

        beta_j q_{j+1} = A q_j - alpha_j q_j - beta_{j-1} q_{j-1},     q_1 = v/|v|

    Every new vector is orthogonalised twice against the whole basis, so no copies of converged eigenvalues appear. When
    the basis spans an invariant subspace (low rank, few distinct eigenvalues, v = 0) the rest stays zero and `count`
    says so. One compiled loop; works under `vmap`.

    Arguments:
        matvec: v -> A v, for a symmetric A of shape (n, n); traced once.
        v0: the start v, shape (n,), float32 or float64. For probabilities about the spectrum, normal random numbers.
        steps: number of products; at most n are made. Static.

    Returns:
        `Krylov(alphas, betas, basis, count, asymmetry, norm)`.

    Raises:
        TypeError, ValueError: `v0` is not a vector of float32 or float64, or `steps` not a positive integer.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import lanczos, ritz
        >>> krylov = lanczos(lambda v: jnp.array([1.0, 2.0, 3.0]) * v, jnp.ones(3), 3)
        >>> [round(float(value), 5) for value in ritz(krylov).values]
        [1.0, 2.0, 3.0]

    Source: Lanczos, 1950; two passes after Giraud, Langou and Rozloznik, 2005.
    """
    v0 = jnp.asarray(v0)
    if v0.ndim != 1 or v0.size == 0 or v0.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(f"v0 must be a vector of float32 or float64, got shape {v0.shape} and dtype {v0.dtype}")
    steps = min(_checks.count("steps", steps), v0.size)
    eps = float(jnp.finfo(v0.dtype).eps)

    def step(carry: Any, j: Int[Array, ""]) -> tuple[Any, Any]:
        basis, vector, beta_before, norm, asymmetry = carry
        # One shape for all steps: a product with all rows, those not yet filled being zero, costs more than one with
        # the first j rows, but a scan is compiled once.
        basis = basis.at[j].set(vector)
        image = matvec(vector)
        expected, rest = orthogonalise(basis, image)
        correction, rest = orthogonalise(basis, rest)
        alpha = expected[j] + correction[j]
        beta = euclidean_norm(rest)
        norm = jnp.maximum(norm, beta_before + jnp.abs(alpha) + beta)
        # A is symmetric exactly if q_i' A q_j is alpha_j, beta_{j-1}, and zero further up.
        expected = expected.at[j].set(0).at[j - 1].add(-beta_before)
        asymmetry = jnp.maximum(asymmetry, jnp.max(jnp.abs(expected)))
        # Below this beta the rest is rounding: the basis spans an invariant subspace and all later vectors are zero.
        vector = jnp.where(beta > 10 * eps * norm, divide(rest, beta), 0)
        return (basis, vector, beta, norm, asymmetry), (alpha, beta, jnp.any(basis[j] != 0))

    zero = jnp.zeros((), v0.dtype)
    first = divide(v0, euclidean_norm(v0))
    start = (jnp.zeros((steps, v0.size), v0.dtype), first, zero, zero, zero)
    (basis, _, _, norm, asymmetry), (alphas, betas, used) = jax.lax.scan(step, start, jnp.arange(steps))
    return Krylov(alphas, betas, basis, jnp.sum(used, dtype=jnp.int32), asymmetry, norm)


def ritz(krylov: Krylov) -> Ritz:
    """Eigenvalues and eigenvectors of the tridiagonal matrix, with the residual of each.

    A non-finite matrix gives NaN throughout.

    Arguments:
        krylov: from `lanczos`.

    Returns:
        `Ritz(values, coefficients, residuals, count)`: values ascending, NaN beyond `count`; a residual bounds the
        distance of its value to an eigenvalue.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_notes as jon
        >>> krylov = jon.curvature.lanczos(lambda v: jnp.array([1.0, 2.0, 5.0]) * v, jnp.ones(3), steps=3)
        >>> jon.curvature.ritz(krylov).values.round(4).tolist()
        [1.0, 2.0, 5.0]
    """
    alphas, betas, count = krylov.alphas, krylov.betas, krylov.count
    position = jnp.arange(alphas.size, dtype=jnp.int32)
    valid = position < count
    finite = jnp.all(jnp.isfinite(alphas)) & jnp.all(jnp.isfinite(betas))
    # Unused rows sit beyond the spectrum, uncoupled, so that sorting puts them last and mixes them with nothing.
    beyond = 2 * krylov.norm + jnp.where(krylov.norm > 0, 0, 1).astype(alphas.dtype)
    diagonal = jnp.where(valid, alphas, beyond)
    coupling = jnp.where(valid[1:], betas[:-1], 0)
    tridiagonal = jnp.diag(diagonal) + jnp.diag(coupling, 1) + jnp.diag(coupling, -1)
    values, coefficients = jnp.linalg.eigh(jnp.where(finite, tridiagonal, jnp.eye(alphas.size, dtype=alphas.dtype)))
    last = jnp.maximum(count - 1, 0)
    residuals = jnp.abs(betas[last] * coefficients[last])
    keep = valid & finite
    return Ritz(jnp.where(keep, values, jnp.nan), coefficients, jnp.where(keep, residuals, jnp.nan), count)


def ritz_vector(krylov: Krylov, ritz: Ritz, i: int) -> Float[Array, " n"]:
    """The i-th Ritz vector, a unit vector of shape (n,)."""
    vector = jnp.matmul(ritz.coefficients[:, i], krylov.basis, precision=_HIGHEST)
    return divide(vector, euclidean_norm(vector))


def random_start(key: Key[Array, ""] | None, like: Float[Array, " n"]) -> Float[Array, " n"]:
    """A vector whose direction is uniform on the sphere; `jax.random.key(0)` when `key` is None."""
    return jax.random.normal(checked_key(key), like.shape, like.dtype)


def checked_key(key: Any) -> Any:
    """Return `key` if it is one random key; `jax.random.key(0)` when None."""
    return jax.random.key(0) if key is None else _checks.key("key", key)


def orthogonalise(basis: Float[Array, "steps n"], vector: Float[Array, " n"]) -> tuple[Array, Array]:
    """The components of a vector along orthonormal rows, and what is left of it; zero rows change nothing."""
    coefficients = jnp.matmul(basis, vector, precision=_HIGHEST)
    return coefficients, vector - jnp.matmul(coefficients, basis, precision=_HIGHEST)


def euclidean_norm(vector: Float[Array, " *shape"]) -> Float[Array, ""]:
    """Euclidean norm, also of vectors whose squares would underflow or overflow."""
    # In units of the largest entry, as the square of 1e-20 is 0 in float32. `divide` gives 0 for a vector of zeros.
    largest = jnp.max(jnp.abs(vector))
    return largest * jnp.sqrt(jnp.sum(divide(vector, largest) ** 2))
