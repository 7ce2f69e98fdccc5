"""The body of the loop for one run: form a candidate, evaluate there, accept it only if everything is finite.

A loss is here a function `loss(params, aux) -> (value, aux)`. `aux` is what a stateful loss carries from evaluation to
evaluation, such as batch statistics; None for all others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from .._numerics import tree_norm, tree_where
from ..precision import unmoved_share
from .status import Status

Loss = Callable[[PyTree, PyTree], tuple[Float[Array, ""], PyTree]]


class Carry(NamedTuple):
    """What a step hands to the next: an accepted point with its loss, gradient, aux and optimizer state."""

    params: PyTree
    state: PyTree
    loss: Float[Array, ""]
    grad: PyTree
    grad_norm: Float[Array, ""]
    update_norm: Float[Array, ""]
    status: Int[Array, ""]
    stopped_at: Int[Array, ""]
    unmoved: Float[Array, ""] | None = None
    aux: PyTree = None


def start(
    optimizer: optax.GradientTransformation, params: PyTree, loss: Loss, tol: Any = None, aux: PyTree = None
) -> Carry:
    """Evaluate the start and initialise the optimizer there."""
    value, aux, grad = _evaluate(loss, params, aux)
    grad_norm = tree_norm(grad)
    status = jnp.where(jnp.isfinite(value) & jnp.isfinite(grad_norm), Status.COMPLETED, Status.NON_FINITE).astype(
        jnp.int32
    )
    if tol is not None:
        status = jnp.where((status == Status.COMPLETED) & (grad_norm <= tol), jnp.int32(Status.CONVERGED), status)
    nothing = jnp.zeros_like(grad_norm)
    unmoved = jnp.zeros((), jnp.float32) if _narrow(params) else None
    return Carry(params, optimizer.init(params), value, grad, grad_norm, nothing, status, jnp.int32(0), unmoved, aux)


def advance(
    optimizer: optax.GradientTransformation, carry: Carry, loss: Loss, next_loss: Loss, tol: Any = None
) -> Carry:
    """One step: from the accepted point under `loss` to the candidate under `next_loss`, if that is finite.

    The two losses differ by their minibatch. A carry that has stopped is returned as it is.
    """
    updates, state = optax.with_extra_args_support(optimizer).update(
        carry.grad,
        carry.state,
        carry.params,
        value=carry.loss,
        grad=carry.grad,
        value_fn=lambda params: loss(params, carry.aux)[0],
    )
    updates = _zero_nonfinite_cotangents(updates)
    candidate = _zero_nonfinite_cotangents(optax.apply_updates(carry.params, updates))
    value, aux, grad = _evaluate(next_loss, candidate, carry.aux)
    grad_norm, update_norm = tree_norm(grad), tree_norm(updates)
    alive = carry.status == Status.COMPLETED
    finite = jnp.isfinite(value) & jnp.isfinite(grad_norm) & jnp.isfinite(update_norm)
    accept = alive & finite
    status = jnp.where(alive & ~finite, jnp.int32(Status.NON_FINITE), carry.status)
    if tol is not None:
        status = jnp.where(accept & (grad_norm <= tol), jnp.int32(Status.CONVERGED), status)
    unmoved = None if carry.unmoved is None else unmoved_share(carry.params, updates)
    accepted = Carry(candidate, state, value, grad, grad_norm, update_norm, status, carry.stopped_at + 1, unmoved, aux)
    # Some of optax's states widen when a number is wider than the parameters; the carry keeps its types.
    accepted = jax.tree.map(lambda new, old: new if new.dtype == old.dtype else new.astype(old.dtype), accepted, carry)
    rests = carry._replace(update_norm=jnp.zeros_like(carry.update_norm), status=status)
    return tree_where(accept, accepted, rests)


def end_status(
    status: Array, initial_loss: Array, final_loss: Array, baseline: Any, unmoved: Array | None = None
) -> Int[Array, ""]:
    """The final `Status`: adds to the loop's own codes what only the end shows, diverged, stalled and stuck."""
    # A constant predictor reaches the baseline only up to the rounding of the loss, so "no better" needs that slack.
    slack = 16 * jnp.finfo(final_loss.dtype).eps * jnp.abs(final_loss)
    stalled = final_loss + slack >= jnp.asarray(baseline, final_loss.dtype)
    judged = status
    if unmoved is not None:
        judged = jnp.where((status == Status.COMPLETED) & (unmoved >= 0.5), jnp.int32(Status.STUCK), judged)
    judged = jnp.where(stalled, jnp.int32(Status.STALLED), judged)
    judged = jnp.where(~(final_loss <= initial_loss), jnp.int32(Status.DIVERGED), judged)
    return jnp.where(status == Status.NON_FINITE, status, judged)


def _evaluate(loss: Loss, params: PyTree, aux: PyTree) -> tuple[Array, PyTree, PyTree]:
    (value, aux), grad = jax.value_and_grad(loss, has_aux=True)(params, aux)
    return value, aux, jax.tree.map(jnp.conj, grad)  # the steepest ascent, if complex; the identity for a real one


def _narrow(params: PyTree) -> bool:
    """Whether some parameters are narrower than the float32 in which updates are computed."""
    return any(jnp.finfo(leaf.dtype).bits < 32 for leaf in jax.tree.leaves(params))


@jax.custom_vjp
def _zero_nonfinite_cotangents(tree: PyTree) -> PyTree:
    """The identity. A rejected candidate sends back 0 x NaN; its share in the derivative is 0."""
    return tree


def _forward(tree):
    return tree, None


def _backward(_, cotangents):
    return (jax.tree.map(lambda c: jnp.where(jnp.isfinite(c), c, 0), cotangents),)


_zero_nonfinite_cotangents.defvjp(_forward, _backward)
