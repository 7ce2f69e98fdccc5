"""Second derivatives in whichever mode a function allows.

Forward over reverse is the cheaper mode and passes through while loops. It stops where the tangent of a `custom_vjp`
function is needed, which has a rule for reverse mode only; there the same products come from reverse over reverse.
Which of them applies is read off the traced linear map: what it does not need has been dropped from it.

The rules of a `custom_vjp` are traced here, so matrices in them are multiplied in full precision here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ._jaxpr import needs_custom_tangent, precise

_AT_ONCE, _COLUMNS = 64, 8  # parameters up to which all columns are computed at once; else so many


@precise
def linearised(loss: Callable[..., Any], params: PyTree) -> tuple[Float[Array, ""], PyTree, Callable[[PyTree], PyTree]]:
    """Loss, gradient and Hessian product of a function of a pytree, from one linearisation of the gradient."""

    def gradient_and_value(params: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        value, gradient = jax.value_and_grad(loss)(params)
        return gradient, value

    gradient, push, value = jax.linearize(gradient_and_value, params, has_aux=True)
    if needs_custom_tangent(push, params):
        return value, gradient, _pullback(jax.grad(loss), params)  # H is symmetric, so this is the same product
    return value, gradient, push


@precise
def jacobian(function: Callable[..., Any], point: PyTree) -> tuple[PyTree, Callable[..., Any], Callable[..., Any]]:
    """Value, product with the Jacobian, and product with its transpose."""
    value, push = jax.linearize(function, point)
    if not needs_custom_tangent(push, point):
        transpose = jax.linear_transpose(push, point)
        return value, push, precise(lambda cotangent: transpose(cotangent)[0])
    value, pull = jax.vjp(function, point)
    # The pullback is linear, so its own pullback anywhere is its transpose: the product with the Jacobian.
    push = _pullback(lambda cotangent: pull(cotangent)[0], jax.tree.map(jnp.zeros_like, value))
    return value, push, precise(lambda cotangent: pull(cotangent)[0])


def dense_hessian(loss: Callable[..., Any], x: Float[Array, " n"]) -> Float[Array, "n n"]:
    """The matrix of second derivatives of a function of a vector."""
    return matrix(linearised(loss, x)[2], x)


def matrix(product: Callable[[Array], Array], like: Float[Array, " n"]) -> Float[Array, "n n"]:
    """The dense matrix of a product: a small one at once, a large one a few columns at a time, which stay in cache."""
    n = like.size
    width = n if n <= _AT_ONCE else _COLUMNS
    index = jnp.arange(n, dtype=jnp.int32)

    def columns(start: Int[Array, ""]) -> Float[Array, "width n"]:
        units = (index[None, :] == start + index[:width, None]).astype(like.dtype)
        return jax.vmap(product)(units)

    rows = jax.lax.map(columns, jnp.arange(0, n, width, dtype=jnp.int32))
    return rows.reshape(-1, n)[:n].T


def _pullback(function: Callable[..., Any], point: PyTree) -> Callable[[PyTree], PyTree]:
    """The pullback of a function of one argument for which forward mode stops at a `custom_vjp`."""
    pull = jax.vjp(function, point)[1]

    @precise
    def back(cotangent: PyTree) -> PyTree:
        try:
            return pull(cotangent)[0]
        except ValueError as error:
            raise TypeError(
                "no mode differentiates this function again: forward mode stops at a custom_vjp function in it, and "
                f"reverse mode fails ({error}); use custom_jvp, or a forward rule that does not call the function"
            ) from error

    return back
