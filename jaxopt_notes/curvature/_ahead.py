"""Whether what the Hessian shows at a point still holds at the critical point nearby, one Newton step ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._numerics import divide
from ._lanczos import euclidean_norm
from ._operators import Product

_CHANGE = 0.25  # of |H|, relative, over a Newton step: at a double root of the gradient it is 1/2, and more beyond
_EXACT = 2  # parameters up to which two products show the whole Hessian


class Probes(NamedTuple):
    """Vectors that feel a change of the Hessian in every direction, in proportion to the eigenvalue there.

    Attributes:
        weights: sqrt(|H| / |eigenvalue|) along every eigenvector; 0 where the eigenvalue is rounding.
        vectors: w = sum_i +-weights_i v_i. One or two rows; of at most two parameters the rows are weights_i v_i.
        images: H w.
    """

    weights: Float[Array, " m"]
    vectors: Float[Array, "probes n"]
    images: Float[Array, "probes n"]


class Ahead(NamedTuple):
    """What the Newton step shows.

    Attributes:
        change: |W (H(x + p) - H(x)) W| for each eigenvector, W = |H|^-1/2: by which share of itself an eigenvalue
            changes over the step.
        settled: where it changes by at most a quarter, rounding apart.
        gradient_norm: at x + p.
        value: at x + p.
    """

    change: Float[Array, " m"]
    settled: Bool[Array, " m"]
    gradient_norm: Float[Array, ""]
    value: Float[Array, ""]


def probe_weights(values: Float[Array, " m"], zero_level: Float[Array, ""], norm: Float[Array, ""]) -> Array:
    """`Probes.weights`; `values` may hold NaN where there is no eigenvalue."""
    counts = jnp.abs(values) > zero_level
    return jnp.where(counts, jnp.sqrt(norm / jnp.where(counts, jnp.abs(values), 1)), 0)


def mixing(eigenvectors: int, parameters: int, probes: int) -> np.ndarray:
    """Coefficients of the probes: each eigenvector alone where two show all, else of about one size and random sign."""
    if parameters <= _EXACT:
        return np.eye(eigenvectors)
    draw = np.random.default_rng(0)
    shape = (probes, eigenvectors)
    return draw.choice([-1.0, 1.0], shape) * draw.uniform(0.75, 1.25, shape)


def look_ahead(
    there: tuple[Float[Array, ""], Float[Array, " n"], Product],
    probes: Probes,
    along: Callable[[Float[Array, " n"]], Float[Array, " m"]],
    norm: Float[Array, ""],
    zero_level: Float[Array, ""],
) -> Ahead:
    """Compare the Hessian at a point with that after a Newton step, by one product for each probe.

    An eigenvalue shows the curvature of the point and not of the critical point, where it changes its sign on the way:
    next to the inflection of x^3 the Hessian is positive on one side. A critical point of the same inertia lies ahead
    if the change is below one half (Newton and Kantorovich). The probes see a change wherever it is, but not its exact
    size, so a quarter is asked for.

    Arguments:
        there: value, gradient and Hessian product after the step.
        probes: at the point.
        along: from a vector to its components along the eigenvectors.
        norm: |H|.
        zero_level: the rounding of H.

    Returns:
        `Ahead`.

    Source: Kantorovich, 1948.
    """
    value, gradient, product = there
    turned = jax.vmap(product)(probes.vectors) - probes.images
    shares = divide(probes.weights, norm)[None]
    changes = jnp.abs(jax.vmap(along)(turned)) * shares
    rounding = zero_level / 4 * jax.vmap(euclidean_norm)(probes.vectors)[:, None] * shares
    settled = jnp.all(changes <= _CHANGE + rounding, axis=0)  # not so if NaN
    return Ahead(jnp.max(changes, axis=0), settled, euclidean_norm(gradient), value)
