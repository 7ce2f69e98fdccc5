"""Newton steps towards the critical point nearby, of whatever index."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._hoist import Program
from .._kept import PerProgram
from .._numerics import divide
from .bounds import zero_level
from .lanczos import euclidean_norm, lanczos, ritz
from .operators import flatten, matrix, second_order

_HALVINGS = 6  # of a step that does not lower |g|
_DECREASE = 1e-4  # share of the promised fall of |g| that a step has to bring


def halved(
    gradient_at: Callable[[Array], Array],
    point: Float[Array, " n"],
    gradient: Float[Array, " n"],
    move: Float[Array, " n"],
) -> tuple[Float[Array, " n"], Float[Array, " n"], Array]:
    """The longest of move, move/2, ..., move/64 that lowers |g|, or the shortest if none does.

    Returns:
        The new point, its gradient, and whether |g| fell.
    """
    scales = 0.5 ** jnp.arange(_HALVINGS + 1, dtype=move.dtype)
    trials = point[None] + scales[:, None] * move[None]
    gradients = jax.lax.map(gradient_at, trials) if move.size > 100 else jax.vmap(gradient_at)(trials)
    norms = jnp.linalg.norm(gradients, axis=1)
    falls = norms <= (1 - _DECREASE * scales) * jnp.linalg.norm(gradient)
    chosen = jnp.where(jnp.any(falls), jnp.argmax(falls), _HALVINGS)
    return trials[chosen], gradients[chosen], jnp.any(falls)


@functools.partial(PerProgram, static_argnames=("steps", "products"))
def polished(
    program: Program, constants: list[Any], params: PyTree, args: tuple[Any, ...], *, steps: int, products: int
) -> PyTree:
    """The parameters after up to `steps` Newton steps, each of which lowered |g|.

    With all eigenvectors if `products` is 0, else in the Krylov space of the gradient of that many products.
    Eigenvalues within rounding of zero are left alone, so nothing moves along flat directions.
    """
    flat, unflatten = flatten(params)

    def gradient_at(point: Array) -> Array:
        return jax.grad(lambda x: program(constants, unflatten(x), *args).astype(x.dtype))(point)

    def move_at(point: Array) -> Array:
        _, gradient, product, dtype = second_order(program, constants, unflatten(point), args)
        if products:
            krylov = lanczos(product, gradient, products)
            values = ritz(krylov)
            zero = zero_level(krylov.norm, flat.size, dtype, krylov.asymmetry)
            valid = jnp.isfinite(values.values)
            components = jnp.where(valid, euclidean_norm(gradient) * values.coefficients[0], 0)
            move = newton_move(jnp.where(valid, values.values, 0), components, zero)
            return (values.coefficients @ move) @ krylov.basis
        hessian = matrix(product, gradient)
        values, vectors = jnp.linalg.eigh((hessian + hessian.T) / 2, symmetrize_input=False)
        zero = zero_level(jnp.max(jnp.abs(values)), flat.size, dtype, euclidean_norm(hessian - hessian.T))
        return vectors @ newton_move(values, gradient @ vectors, zero)

    def body(_: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        point, gradient = state
        new, slope, falls = halved(gradient_at, point, gradient, move_at(point))
        return jnp.where(falls, new, point), jnp.where(falls, slope, gradient)

    return unflatten(jax.lax.fori_loop(0, steps, body, (flat, gradient_at(flat)))[0])


def newton_move(
    values: Float[Array, " m"], components: Float[Array, " m"], zero: Float[Array, ""]
) -> Float[Array, " m"]:
    """-H^-1 g along eigenvectors: `components` of g over eigenvalues, nothing where one is within `zero` of zero."""
    return -jnp.where(jnp.abs(values) > zero, divide(components, values), 0)
