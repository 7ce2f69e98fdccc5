"""The body of the loop for one run: form a candidate, evaluate there, accept it only if everything is finite.

A loss is here a function `loss(params, aux) -> (value, aux)`. `aux` is what a stateful loss carries from evaluation to
evaluation, such as batch statistics; None for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._jaxpr import evaluate, has_loop, lifted, output_shapes, reaches_outside, trace
from .._numerics import rounded, tree_finite, tree_norm, tree_where
from ..wrappers.precision import unmoved_share
from ._status import Status

Loss = Callable[[PyTree, PyTree], tuple[Float[Array, ""], PyTree]]

# The fields of `Carry` that are recorded along a run. One line here makes another history: in lanes, files and tables.
HISTORIES = {
    "loss": "loss of the step's minibatch, or of the full data without minibatches",
    "grad_norm": "Euclidean norm of the gradient",
    "update_norm": "Euclidean norm of the update that led to the step",
}

NORMS = ("grad_norm", "update_norm")  # those that a run may do without


class Skips(NamedTuple):
    """Steps of a run that tolerates some whose loss, gradient or update is not finite."""

    total: Int[Array, ""]
    in_a_row: Int[Array, ""]


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
    skips: Skips | None = None


def start(
    optimizer: optax.GradientTransformation,
    params: PyTree,
    loss: Loss,
    tol: Any = None,
    aux: PyTree = None,
    state: PyTree = None,
    skip: Any = None,
) -> Carry:
    """Evaluate the start; the optimizer begins there, or continues from `state`. `skip` is that of `advance`."""
    params = rounded(params)
    value, new_aux, grad = _evaluate(loss, params, aux)
    carry = unevaluated(optimizer, params, aux, value.dtype, state, skip)
    found = carry._replace(loss=value, grad=grad, grad_norm=tree_norm(grad), aux=new_aux)
    begun = _begun(carry, found, tol)
    # The run that a state came from has evaluated this point already.
    return begun if state is None else begun._replace(aux=aux)


def unevaluated(
    optimizer: optax.GradientTransformation,
    params: PyTree,
    aux: PyTree,
    dtype: Any,
    state: PyTree = None,
    skip: Any = None,
) -> Carry:
    """A run whose start is not evaluated yet, as an `advance` that is `opening` takes it; `dtype` is that of the loss.

    Then one program evaluates the start and all candidates.
    """
    params = rounded(params)
    state = optimizer.init(params) if state is None else state
    grad = jax.tree.map(jnp.zeros_like, params)
    norm = jnp.zeros_like(tree_norm(grad))
    unmoved = jnp.zeros((), jnp.float32) if _narrow(params) else None
    skips = None if skip is None else Skips(jnp.int32(0), jnp.int32(0))
    loss, status = jnp.zeros((), dtype), jnp.int32(Status.COMPLETED)
    return Carry(params, state, loss, grad, norm, norm, status, jnp.int32(0), unmoved, aux, skips)


def _begun(before: Carry, found: Carry, tol: Any = None, norms: Collection[str] = NORMS) -> Carry:
    """The run at its start, given what was found there."""
    finite = jnp.isfinite(found.loss) & _stays_finite(before.aux, found.aux)
    finite &= jnp.isfinite(found.grad_norm) if "grad_norm" in norms else True
    # A batch that may be skipped, or that the optimizer handles itself, does not end the run at its start either.
    handled = before.skips is not None or _takes_non_finite(before.state)
    status = jnp.where(finite | handled, jnp.int32(Status.COMPLETED), jnp.int32(Status.NON_FINITE))
    if tol is not None:
        status = jnp.where(finite & (found.grad_norm <= tol), jnp.int32(Status.CONVERGED), status)
    skips = None if before.skips is None else Skips(*((~finite).astype(jnp.int32),) * 2)
    evaluated = {"loss": found.loss, "grad": found.grad, "grad_norm": found.grad_norm, "aux": found.aux}
    return before._replace(**evaluated, status=status, skips=skips)


def advance(
    optimizer: optax.GradientTransformation,
    carry: Carry,
    loss: Loss,
    next_loss: Loss,
    tol: Any = None,
    skip: Any = None,
    norms: Collection[str] = NORMS,
    opening: Bool[Array, ""] | None = None,
) -> Carry:
    """One step: from the accepted point under `loss` to the candidate under `next_loss`, if that is finite.

    The two losses differ by their minibatch. A carry that has stopped is returned as it is. A candidate that is
    not finite ends the run. With `skip`, up to that many in a row are skipped: the next step evaluates the same
    candidate on its own batch. So a bad batch leaves no trace in parameters, state and aux, and a run never ends at a
    point that no batch found finite.

    Norms that are left out of `norms` are NaN and decide nothing. Without any, loss and aux judge a candidate.
    `tol` needs `grad_norm`, and `skip` both. An `opening` step evaluates a carry that is `unevaluated` and moves
    nothing: what an optimizer makes of the zeros there is thrown away, and one that loops or calls back is not asked.
    """
    # What the functions hold becomes an argument too, so that derivatives by all of it know of rejections.
    attempt, held = lifted(partial(_attempt, optimizer, loss, next_loss, norms, opening), carry)
    candidate, accept = _unless_rejected(attempt, held, carry)
    if opening is None:
        return _judged(carry, candidate, accept, tol, skip)
    after = _judged(carry, candidate, accept & ~opening, tol, skip)
    # What is the same in both is no select, and so no pass over its arrays.
    begun = _begun(carry, candidate, tol, norms)._replace(params=after.params, state=after.state)
    begun = begun if carry.skips is not None else begun._replace(grad=after.grad)
    return tree_where(opening, begun, after)


def _judged(carry: Carry, candidate: Carry, accept: Bool[Array, ""], tol: Any, skip: Any) -> Carry:
    """The run after a step: at the candidate, or where it was."""
    alive = carry.status == Status.COMPLETED
    ended = alive & ~accept
    rests = carry._replace(update_norm=jnp.zeros_like(carry.update_norm))
    if carry.skips is not None:
        skipped = ended & (carry.skips.in_a_row < skip)
        ended &= ~skipped
        one = skipped.astype(jnp.int32)
        skips = Skips(carry.skips.total + one, carry.skips.in_a_row + one)
        rests = rests._replace(stopped_at=carry.stopped_at + one, skips=skips)
    status = jnp.where(ended, jnp.int32(Status.NON_FINITE), carry.status)
    if tol is not None:
        status = jnp.where(accept & (candidate.grad_norm <= tol), jnp.int32(Status.CONVERGED), status)
    # A select of whole carries and not a `cond`: under vmap a `cond` runs both branches as well, and lanes stop at
    # different steps. A gradient is not selected, which would be one more pass over as much memory as the parameters
    # take: a run that ended needs none, and only one that tries again needs the last one.
    if carry.skips is None:
        grad, candidate, rests = candidate.grad, candidate._replace(grad=None), rests._replace(grad=None)
        return tree_where(accept, candidate, rests)._replace(status=status, grad=grad)
    return tree_where(accept, candidate, rests)._replace(status=status)


def _attempt(
    optimizer: optax.GradientTransformation,
    loss: Loss,
    next_loss: Loss,
    norms: Collection[str],
    opening: Bool[Array, ""] | None,
    carry: Carry,
) -> tuple[Carry, Bool[Array, ""]]:
    """The candidate, and whether it is accepted."""
    params, state, updates = _moved(optimizer, loss, carry, opening)
    value, aux, grad = _evaluate(next_loss, params, carry.aux)
    unknown = jnp.full_like(carry.grad_norm, jnp.nan)
    grad_norm = tree_norm(grad) if "grad_norm" in norms else unknown
    update_norm = tree_norm(updates) if "update_norm" in norms else unknown
    # The norms are recorded anyway, and one entry that is not finite makes them so too: looking at the entries instead
    # would be two more passes over the parameters.
    finite = jnp.isfinite(update_norm) if "update_norm" in norms else jnp.bool_(True)
    if _takes_non_finite(carry.state):
        finite &= tree_finite(params)
    else:
        finite &= jnp.isfinite(value)
        finite &= jnp.isfinite(grad_norm) if "grad_norm" in norms else True
    finite &= _stays_finite(carry.aux, aux)
    unmoved = None if carry.unmoved is None else _unmoved(carry, updates, grad_norm)
    skips = None if carry.skips is None else carry.skips._replace(in_a_row=jnp.int32(0))
    taken = carry.stopped_at + 1
    new = Carry(params, state, value, grad, grad_norm, update_norm, carry.status, taken, unmoved, aux, skips)
    return _typed(new, carry), (carry.status == Status.COMPLETED) & finite


def _stays_finite(before: PyTree, after: PyTree) -> Bool[Array, ""]:
    """Whether no entry of aux became infinite or NaN. It is stored and used later, while the loss is finite still."""
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    # An entry that was not finite before, such as a running minimum at its start, is no sign of failure.
    lost = [jnp.any(jnp.isfinite(old) & ~jnp.isfinite(new)) for old, new in pairs if _inexact(new)]
    return ~jnp.stack(lost).any() if lost else jnp.bool_(True)


def _inexact(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _moved(
    optimizer: optax.GradientTransformation, loss: Loss, carry: Carry, opening: Bool[Array, ""] | None
) -> tuple[PyTree, PyTree, PyTree]:
    """The next parameters and state, and the updates that lead there."""
    value, grad = carry.loss, carry.grad
    known = jnp.isfinite(value) & jnp.isfinite(carry.grad_norm)
    if carry.skips is not None:  # not so where the batch of the start is to be skipped; zeros keep derivatives finite
        value, grad = tree_where(known, (value, grad), jax.tree.map(jnp.zeros_like, (value, grad)))

    def step() -> tuple[PyTree, PyTree, PyTree]:
        # Rounded as bfloat16 and float16 are stored, so that loss and gradient are those of the parameters that are
        # kept.
        updates, state = rounded(
            optax.with_extra_args_support(optimizer).update(
                grad,
                carry.state,
                carry.params,
                value=value,
                grad=grad,
                value_fn=lambda params: loss(rounded(params), carry.aux)[0],
            )
        )
        return rounded(optax.apply_updates(carry.params, updates)), _typed(state, carry.state), updates

    moved = step() if opening is None else _unless_opening(opening, step, carry)
    if carry.skips is None:
        return moved
    return tree_where(known, moved, (carry.params, carry.state, jax.tree.map(jnp.zeros_like, moved[2])))


def _unless_opening(
    opening: Bool[Array, ""], step: Callable[[], tuple[PyTree, PyTree, PyTree]], carry: Carry
) -> tuple[PyTree, PyTree, PyTree]:
    """What `step` returns; the parameters of the carry where nothing is known of them yet."""
    jaxpr, held, structure = trace(step)

    def taken() -> tuple[PyTree, PyTree, PyTree]:
        moved: tuple[PyTree, PyTree, PyTree] = jax.tree.unflatten(structure, map(jnp.asarray, evaluate(jaxpr, held)))
        return moved

    def not_taken() -> tuple[PyTree, PyTree, PyTree]:
        updates = jax.tree.unflatten(structure, output_shapes(jaxpr))[2]
        return carry.params, carry.state, jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), updates)

    # Loss and gradient are zeros until the start is evaluated. Arithmetic on them is thrown away, which is cheaper than
    # a branch: a branch is one more pass over parameters and state. But a line search need not end on them, and what is
    # called back would see them.
    if has_loop(jaxpr) or reaches_outside(jaxpr):
        return jax.lax.cond(opening, not_taken, taken)
    params, state, updates = taken()
    return tree_where(opening, carry.params, params), state, updates


def _typed(new: PyTree, old: PyTree) -> PyTree:
    """In the types of the carry, since some of optax's states widen when a number is wider than the parameters."""
    return jax.tree.map(lambda new, old: new if new.dtype == old.dtype else new.astype(old.dtype), new, old)


def _takes_non_finite(state: PyTree) -> bool:
    """Whether the optimizer is made for gradients that are not finite, so that it is to see them."""

    def made_for_them(node: Any) -> bool:
        counted = isinstance(node, (optax.ApplyIfFiniteState, optax.ZeroNansState))
        return counted or (isinstance(node, optax.MultiStepsState) and bool(jax.tree.leaves(node.skip_state)))

    return any(map(made_for_them, jax.tree.leaves(state, is_leaf=made_for_them)))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unless_rejected(attempt: Callable[..., Any], *arguments: Any) -> tuple[Carry, Bool[Array, ""]]:
    """Make an attempt. A rejected one has no share in any derivative, though its own may be NaN."""
    return attempt(*arguments)


def _forward(attempt: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    candidate, pull, accept = jax.vjp(attempt, *arguments, has_aux=True)
    return (candidate, accept), (pull, accept)


def _backward(attempt: Callable[..., Any], saved: Any, cotangents: Any) -> Any:
    # Selected and not multiplied by 0, as the slopes of a rejected attempt may be NaN. Integers have cotangents of type
    # float0, which are left as they are.
    pull, accept = saved
    return jax.tree.map(lambda c: c if c.dtype == jax.dtypes.float0 else jnp.where(accept, c, 0), pull(cotangents[0]))


_unless_rejected.defvjp(_forward, _backward)


def unmoved(first: Carry, last: Carry) -> Float[Array, ""]:
    """The share of parameters that do not move: in the last step if they are narrow, else all or none in the run."""
    return unmoved_of(equal_trees(first.params, last.params), last)


def equal_trees(one: PyTree, other: PyTree) -> Bool[Array, ""]:
    """Whether every entry of one tree equals that of the other; a NaN equals nothing."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return jnp.stack([jnp.bool_(True), *(jnp.all(before == after) for before, after in pairs)]).all()


def unmoved_of(stays: Any, last: Carry, *, xp: Any = jnp) -> Any:
    """The same, given whether the parameters of the whole run stay what they were."""
    share = xp.float32(0) if last.unmoved is None else last.unmoved
    return xp.where(stays & (last.grad_norm > 0) & (last.stopped_at > 0), xp.float32(1), share)


def end_status(
    status: Any, initial_loss: Any, final_loss: Any, baseline: Any, unmoved: Any = None, *, xp: Any = jnp
) -> Any:
    """The final `Status` of every lane: adds to `completed` what only the end shows, diverged, stalled and stuck.

    On the host it is computed by NumPy, `xp=np`, which has nothing to compile.
    """
    # Losses are compared up to their rounding: a run may start where it cannot get lower, and a constant predictor
    # reaches the baseline only so far.
    slack = 16 * jnp.finfo(final_loss.dtype).eps * abs(final_loss)
    # Later lines win: a final loss that is not finite before one that rose, before one no better than a constant,
    # before parameters that did not move.
    judged = status
    if unmoved is not None:
        judged = xp.where(unmoved >= 0.5, xp.int32(Status.STUCK), judged)
    stalled = final_loss + slack >= xp.asarray(baseline, final_loss.dtype)
    judged = xp.where(stalled, xp.int32(Status.STALLED), judged)
    judged = xp.where(~(final_loss - slack <= initial_loss), xp.int32(Status.DIVERGED), judged)
    judged = xp.where(xp.isfinite(final_loss), judged, xp.int32(Status.NON_FINITE))
    open_end = (status == Status.COMPLETED) | (status == Status.PLATEAUED)
    return xp.where(open_end, judged, status)


def _evaluate(loss: Loss, params: PyTree, aux: PyTree) -> tuple[Array, PyTree, PyTree]:
    (value, aux), grad = jax.value_and_grad(loss, has_aux=True)(params, aux)
    value, aux, grad = rounded((value, aux, grad))
    return value, aux, jax.tree.map(jnp.conj, grad)  # the steepest ascent, if complex; the identity for a real one


def _narrow(params: PyTree) -> bool:
    """Whether some parameters are narrower than the float32 in which updates are computed."""
    return any(jnp.finfo(leaf.dtype).bits < 32 for leaf in jax.tree.leaves(params))


def _unmoved(carry: Carry, updates: PyTree, grad_norm: Array) -> Float[Array, ""]:
    """The share of steps lost to rounding; none where the gradient is zero, as nothing is to be gained."""
    return jnp.where(grad_norm == 0, jnp.float32(0), unmoved_share(carry.params, updates))
