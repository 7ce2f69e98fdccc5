"""Test functions with known minima."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _checks
from .problem import Problem


def quadratic(eigenvalues: Float[Array, " n"] | list[float], start: Float[Array, " n"] | None = None) -> Problem:
    """The quadratic f(x) = 1/2 sum_i L_i x_i^2, whose Hessian has the given eigenvalues.

    Arguments:
        eigenvalues: L, any finite numbers; negative ones make a saddle, zeros a flat direction. Shape (n,).
        start: where runs begin; all ones when None. Shape (n,).

    Raises:
        TypeError, ValueError: an entry is not a finite number, or the shapes differ.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> float(valley.full_loss(valley.init(None)))
        10.5
    """
    _checks.number("eigenvalues", eigenvalues)
    curvatures = jnp.asarray(eigenvalues, float)
    if curvatures.ndim != 1 or curvatures.size == 0:
        raise ValueError(f"eigenvalues must be a list of at least one number, got shape {curvatures.shape}")
    begin = jnp.ones_like(curvatures) if start is None else jnp.asarray(start, float)
    if begin.shape != curvatures.shape:
        raise ValueError(f"start must have the shape of eigenvalues, {curvatures.shape}, got {begin.shape}")

    def loss(x):
        return 0.5 * jnp.sum(curvatures.astype(x.dtype) * x**2)

    return Problem(loss, begin, name="quadratic")


def rosenbrock(dimension: int = 2, start: Float[Array, " n"] | None = None) -> Problem:
    """Rosenbrock's curved valley f(x) = sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2.

    The minimum is 0 at (1, ..., 1); in two dimensions the only critical point, with Hessian eigenvalues 0.3994 and
    1001.6.

    Arguments:
        dimension: n, at least 2.
        start: where runs begin, shape (n,); (-1.2, 1, -1.2, 1, ...) when None.

    Raises:
        TypeError, ValueError: `dimension` is not an integer of at least 2, or `start` has another shape.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> float(jon.problems.rosenbrock().full_loss(jnp.ones(2)))
        0.0

    Source: Rosenbrock, 1960.
    """
    dimension = _checks.count("dimension", dimension, low=2)
    begin = jnp.resize(jnp.array([-1.2, 1.0]), (dimension,)) if start is None else jnp.asarray(start, float)
    if begin.shape != (dimension,):
        raise ValueError(f"start must have shape ({dimension},), got {begin.shape}")

    def loss(x):
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    return Problem(loss, begin, name="rosenbrock")
