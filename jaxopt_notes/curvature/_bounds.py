"""Bounds on the whole spectrum from a few products, and the level below which an eigenvalue is rounding."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _checks
from ._lanczos import Krylov, Ritz

Number = float | Float[Array, ""]


def checked_probability(probability: Number) -> Number:
    """Return `probability` if it is in [0.5, 1)."""
    return _checks.number("probability", probability, low=0.5, high=1.0, open_high=True)


def spectrum_bounds(
    krylov: Krylov, ritz: Ritz, probability: Number = 0.99
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Bounds (lower, upper) that hold every eigenvalue with the given probability over the random start.

    With p(t) = prod_j (t - theta_j)/beta_j the next Lanczos vector is p(A) q_1, a unit vector, so |p(L)| |g| <= 1 for
    the largest eigenvalue L and the component g of q_1 along its eigenvector. A component is below d with probability
    at most d sqrt(2 (n-1)/pi): its density c (1 - g^2)^((n-3)/2) is at most c = Gamma(n/2)/(sqrt(pi) Gamma((n-1)/2)),
    and the ratio of the Gammas at most sqrt((n-1)/2). So L is at most the root t > theta_max of p(t) = 1/d, except with
    that probability; half of it is spent on each end. Costs no product. For n = 2 the density is unbounded but the
    inequality holds for the probabilities accepted here.

    It holds in exact arithmetic; `zero_level` must be added on both sides for rounding.

    Arguments:
        krylov: from a start whose direction is uniform on the sphere, independent of A.
        ritz: the eigenvalues of `krylov`.
        probability: in [0.5, 1), of both bounds together.

    Returns:
        (lower, upper), each at or beyond the extreme Ritz value.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_notes.curvature import lanczos, ritz, spectrum_bounds
        >>> spectrum = jnp.linspace(-1.0, 1.0, 500)
        >>> krylov = lanczos(lambda v: spectrum * v, jax.random.normal(jax.random.key(0), (500,)), 60)
        >>> lower, upper = spectrum_bounds(krylov, ritz(krylov))
        >>> bool(-1.1 < lower <= -1.0 and 1.0 <= upper < 1.1)
        True

    Source: van Dorsselaer, Hochstenbach and van der Vorst, 1999.
    """
    probability = checked_probability(probability)
    valid = jnp.arange(ritz.values.size, dtype=jnp.int32) < ritz.count
    log_betas = jnp.sum(jnp.where(valid, jnp.log(krylov.betas), 0))
    failure = 1 - jnp.asarray(probability, ritz.values.dtype)
    return outermost_roots(ritz.values, valid, log_target(krylov.basis.shape[1], failure, log_betas))


def log_target(n: int, failure: Float[Array, ""], log_betas: Float[Array, ""]) -> Float[Array, ""]:
    """The value of sum_j log|t - theta_j| from which on t is beyond the spectrum, except with probability `failure`."""
    log_odds = 0.5 * math.log(2 * max(n - 1, 1) / math.pi) - jnp.log(failure / 2)
    return jnp.maximum(log_odds, 0) + log_betas


def lies_within(
    low: Float[Array, ""],
    high: Float[Array, ""],
    roots: Float[Array, " m"],
    valid: Bool[Array, " m"],
    target: Float[Array, ""],
) -> Bool[Array, ""]:
    """Whether the bounds from these roots and this target show that the spectrum lies in [low, high]."""

    distances = jnp.maximum(jnp.stack([high - roots, roots - low]), 0)
    # As sums of logarithms: products over hundreds of roots would leave the range of float32. Where a root lies beyond
    # the interval, its logarithm is -inf and nothing is shown.
    return jnp.all(jnp.sum(jnp.where(valid[None, :], jnp.log(distances), 0), axis=1) >= target)


def outermost_roots(
    roots: Float[Array, " m"], valid: Bool[Array, " m"], target: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The bounds themselves: t below and above all valid roots with sum_j log|t - root_j| = target, rounded outward."""
    known = jnp.where(valid, roots, jnp.nan)
    low, high = jnp.nanmin(known), jnp.nanmax(known)
    gaps = jnp.where(valid[None, :], jnp.stack([roots - low, high - roots]), 0)
    count = jnp.maximum(jnp.sum(valid.astype(gaps.dtype)), 1)

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        inner, outer = bracket
        middle = (inner + outer) / 2
        above = jnp.sum(jnp.where(valid[None, :], jnp.log(middle[:, None] + gaps), 0), axis=1) >= target
        return jnp.where(above, inner, middle), jnp.where(above, middle, outer)

    # Each factor is at least the distance s, so the root is at most the m-th root of the right-hand side.
    bracket = jnp.zeros(2, gaps.dtype), jnp.broadcast_to(jnp.exp(target / count), (2,))
    # Sixty halvings use up the 53 bits of float64.
    below, above = jax.lax.fori_loop(0, 60, halve, bracket)[1]
    return low - below, high + above


def zero_level(norm: Number, n: int, dtype: Any, asymmetry: Number = 0.0) -> Float[Array, ""]:
    """The size below which a computed eigenvalue is indistinguishable from zero.

        c eps |H| + asymmetry,     c = 16 + 4 log2(n)

    Rounding errors E move every eigenvalue by at most |E|. On semidefinite matrices and on trained networks in float32
    eigenvalues came out wrong by at most 4 eps |H|, so c leaves a factor of ten and more; it grows slowly with n, as
    sums do. Rounding that a loss adds beyond that shows as |u'Hv - v'Hu|.

    Arguments:
        norm: |H|, >= 0.
        n: number of parameters.
        dtype: the coarsest floating dtype in the computation; eps is 1.2e-7 for float32, 2.2e-16 for float64.
        asymmetry: the measured |u'Hv - v'Hu| for unit vectors u, v, in units of H.

    Returns:
        A scalar in units of H.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import zero_level
        >>> bool(1e-6 < zero_level(1.0, 2, jnp.float32) < 1e-5)
        True

    Source: Weyl, 1912.
    """
    slack = (16 + 4 * math.log2(n)) * float(jnp.finfo(dtype).eps)
    return jnp.asarray(slack * jnp.asarray(norm) + asymmetry)
