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
from ._around import around, random_unit
from ._bounds import zero_level
from ._lanczos import Krylov, Ritz, euclidean_norm, lanczos, ritz
from ._operators import flatten, matrix

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
    # All lengths are tried at once: a loop that stops at the first success would take as long as its slowest lane under
    # vmap. Above 100 parameters one after another, for memory.
    scales = 0.5 ** jnp.arange(_HALVINGS + 1, dtype=move.dtype)
    trials = point[None] + scales[:, None] * move[None]
    gradients = jax.lax.map(gradient_at, trials) if move.size > 100 else jax.vmap(gradient_at)(trials)
    norms = jax.vmap(euclidean_norm)(gradients)
    falls = norms <= (1 - _DECREASE * scales) * euclidean_norm(gradient)
    chosen = jnp.where(jnp.any(falls), jnp.argmax(falls), _HALVINGS)
    return trials[chosen], gradients[chosen], jnp.any(falls)


@functools.partial(PerProgram, precise=True, static_argnames=("steps", "products"))
def polished(
    program: Program, constants: list[Any], params: PyTree, args: tuple[Any, ...], *, steps: int, products: int
) -> tuple[PyTree, Float[Array, ""]]:
    """The parameters after up to `steps` Newton steps that each lowered |g|, and the distance moved.

    With all eigenvectors if `products` is 0, else in the Krylov space of the gradient of that many products.
    Eigenvalues within rounding of zero are left alone, so nothing moves along flat directions.
    """
    flat, unflatten = flatten(params)
    here = around(program, constants, params, args, random_unit(flat.size, flat.dtype))
    gradient_at = jax.grad(here.phi)
    size = flat.size

    def move_at(place: Array) -> Array:
        _, gradient, product = here.derivatives(place)
        if products:
            krylov = lanczos(product, gradient, products)
            return krylov_step(
                krylov, ritz(krylov), gradient, zero_level(krylov.norm, size, here.dtype, krylov.asymmetry)
            )
        hessian = matrix(product, gradient)
        values, vectors = jnp.linalg.eigh((hessian + hessian.T) / 2, symmetrize_input=False)
        zero = zero_level(jnp.max(jnp.abs(values)), size, here.dtype, euclidean_norm(hessian - hessian.T))
        return vectors @ newton_move(values, gradient @ vectors, zero)

    def body(_: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        place, gradient = state
        new, slope, falls = halved(gradient_at, place, gradient, move_at(place))
        return jnp.where(falls, new, place), jnp.where(falls, slope, gradient)

    origin = jnp.zeros_like(flat)
    place = jax.lax.fori_loop(0, steps, body, (origin, gradient_at(origin)))[0]
    return unflatten(flat + here.length * place), here.length * euclidean_norm(place)


def newton_move(
    values: Float[Array, " m"], components: Float[Array, " m"], zero: Float[Array, ""]
) -> Float[Array, " m"]:
    """-H^-1 g along eigenvectors: `components` of g over eigenvalues, nothing where one is within `zero` of zero."""
    return -jnp.where(jnp.abs(values) > zero, divide(components, values), 0)


def krylov_step(krylov: Krylov, ritz: Ritz, gradient: Float[Array, " n"], zero: Float[Array, ""]) -> Float[Array, " n"]:
    """-H^-1 g in the Krylov space of the gradient, with the same exception."""
    valid = jnp.isfinite(ritz.values)
    components = jnp.where(valid, euclidean_norm(gradient) * ritz.coefficients[0], 0)
    move = newton_move(jnp.where(valid, ritz.values, 0), components, zero)
    inside = jnp.matmul(ritz.coefficients, move, precision="highest")
    return jnp.matmul(inside, krylov.basis, precision="highest")
