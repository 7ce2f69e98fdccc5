"""The one loop: form a candidate, evaluate there, accept it only if everything is finite.

`start` and `advance` are the loop's body for one run. `minimize` scans over it; the sweep engine runs the same two
functions over many lanes at once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from . import _checks
from ._hoist import Program, hoist
from ._numerics import tree_norm, tree_where
from ._partials import as_pytree
from .minibatches import Minibatches, batch_shapes, check_batch_size, gather, indices


class Status(enum.IntEnum):
    """How a run ended. `advice` says in words what it means and what to do."""

    NOT_RUN = -1
    COMPLETED = 0
    CONVERGED = 1
    NON_FINITE = 2
    DIVERGED = 3
    STALLED = 4

    @property
    def advice(self) -> str:
        """One sentence on what the code means and what to try."""
        return _ADVICE[self]

    @property
    def failed(self) -> bool:
        """Whether the run ended worse than it has to: non-finite, diverged or stalled."""
        return self >= Status.NON_FINITE


_ADVICE = {
    Status.NOT_RUN: "not run: the sweep stopped before this trial; run it again.",
    Status.COMPLETED: "completed: every step was taken; more steps or a lower `tol` may still improve the loss.",
    Status.CONVERGED: "converged: the gradient norm fell to `tol`, and the run rests there.",
    Status.NON_FINITE: "non_finite: a step gave an infinite or NaN loss, gradient or update; the run rests on the last "
    "finite point. Lower the learning rate.",
    Status.DIVERGED: "diverged: finite, but the final loss is above the initial one. Lower the learning rate.",
    Status.STALLED: "stalled: finite, but no better than a constant predictor, as when every ReLU is dead. Lower the "
    "learning rate or change the initialisation.",
}


class Carry(NamedTuple):
    """What a step hands to the next: an accepted point with its loss, gradient and optimizer state."""

    params: PyTree
    state: PyTree
    loss: Float[Array, ""]
    grad: PyTree
    grad_norm: Float[Array, ""]
    update_norm: Float[Array, ""]
    status: Int[Array, ""]
    stopped_at: Int[Array, ""]


class Run(NamedTuple):
    """The result of `minimize`: a pytree of arrays.

    Attributes:
        params: the parameters at the end; the last finite point when the run stopped early.
        state: the optimizer's state there.
        loss, grad_norm, update_norm: histories with `steps // every + 1` entries; entry k belongs to step `k * every`.
            With minibatches the loss and the gradient are of that step's batch. A run that stopped repeats its last
            loss and gradient norm, with an update norm of 0.
        initial_loss, final_loss: the loss on the full data at the start and at the end.
        status: a `Status` code; `status_text` says it in words.
        stopped_at: number of steps taken; less than `steps` when the run converged or became non-finite.
        params_path: the parameters of every entry, stacked along a leading axis; None unless `record_params`.
    """

    params: PyTree
    state: PyTree
    loss: Float[Array, " entries"]
    grad_norm: Float[Array, " entries"]
    update_norm: Float[Array, " entries"]
    initial_loss: Float[Array, ""]
    final_loss: Float[Array, ""]
    status: Int[Array, ""]
    stopped_at: Int[Array, ""]
    params_path: PyTree = None

    @property
    def status_text(self) -> str:
        """The status in words; for a batch of runs how many ended in each way."""
        codes, counts = np.unique(np.asarray(self.status), return_counts=True)
        if np.ndim(self.status) == 0:
            return Status(int(codes[0])).advice
        return "; ".join(f"{n} x {Status(int(code)).advice}" for code, n in zip(codes, counts, strict=True))

    def __str__(self) -> str:
        if np.ndim(self.status):
            return f"{np.size(self.status)} runs: {self.status_text}"
        return (
            f"loss {float(self.initial_loss):.6g} -> {float(self.final_loss):.6g} in {int(self.stopped_at)} steps, "
            f"|grad| {float(self.grad_norm[-1]):.3g}; {self.status_text}"
        )


def minimize(
    loss: Callable[..., Float[Array, ""]],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    data: PyTree = None,
    minibatches: Minibatches | None = None,
    key: Key[Array, ""] | None = None,
    args: Sequence[Any] = (),
    every: int = 1,
    tol: float | Float[Array, ""] | None = None,
    baseline: float | Float[Array, ""] | None = None,
    record_params: bool = False,
) -> Run:
    """Minimise a loss by a fixed number of steps of any optax optimizer, in one compiled loop.

    Each step forms the candidate x + u, evaluates loss and gradient there, and accepts it only if loss, gradient norm
    and update norm are finite; a run that meets anything else rests on its last finite point and says so in `status`.
    So `run.loss[k]` is the loss at the k-th parameters, never at the ones before. Works under `jit`, `vmap` (also over
    the numbers of the optimizer) and `grad`: the derivative of the final loss by a learning rate is finite even when
    the run stopped (in reverse mode; `jax.jacfwd` meets a `custom_vjp`). Arrays that `loss` closes over become
    arguments of the compiled program.

    Arguments:
        loss: `loss(params, *args)`, or `loss(params, batch, *args)` with `data`; returns a real scalar. A mean over the
            batch, not a sum, if the learning rate should mean the same for every batch size.
        params: a pytree of floating or complex arrays, the start.
        optimizer: an (init, update) pair, ours or optax's. Its update is also given `value`, `grad` and `value_fn`.
        steps: number of steps, at least 1. Static.
        data: a pytree of arrays with one leading axis of examples.
        minibatches: the stream of batches, such as `minibatches.reshuffle(64)`; the whole of `data` when None. Static.
        key: key of the stream; needed with `minibatches`.
        args: further arguments of `loss`, such as a regularisation strength; may be traced.
        every: record one entry per this many steps; must divide `steps`. Static.
        tol: stop (freeze) when the gradient norm is at most this; never when None.
        baseline: loss of the best constant predictor on the full data; a run that ends no better is `stalled`.
        record_params: keep the parameters of every entry in `run.params_path`. Static.

    Returns:
        A `Run`.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> run = jon.minimize(lambda x: jnp.sum(x**2), jnp.array([1.0, -2.0]), jon.gradient_descent(0.25), steps=20)
        >>> run.loss.shape, bool(run.final_loss < 1e-10), int(run.status)
        ((21,), True, 0)
    """
    optimizer = as_pytree(optimizer)
    params = jax.tree.map(jnp.asarray, _checks.params("params", params))
    steps = _checks.count("steps", steps)
    every = _checks.divisor("every", every, "steps", steps)
    batch = _checked_batch(data, minibatches, key)
    _checks.scalar_loss(loss, params, *batch, *args)
    # Whoever differentiates through this call traces its arguments; then second derivatives are run too.
    leaves = jax.tree.leaves((params, optimizer, data, args))
    hoisted = partial(hoist, loss, params, derivatives=1 + any(map(_checks.is_traced, leaves)))
    batch_program, batch_constants = hoisted(*batch, *args)
    full_program, full_constants = batch_program, batch_constants
    if minibatches is not None:
        full_program, full_constants = hoisted(data, *args)
    return _minimize(
        batch_program,
        full_program,
        (batch_constants, full_constants),
        params,
        optimizer,
        data,
        key,
        tuple(args),
        None if tol is None else _checks.scalar("tol", tol, low=0.0),
        np.inf if baseline is None else _checks.scalar("baseline", baseline),
        steps=steps,
        every=every,
        minibatches=minibatches,
        record_params=bool(record_params),
    )


def _checked_batch(data: PyTree, minibatches: Minibatches | None, key: Any) -> tuple[Any, ...]:
    """One example batch, as a tuple of no or one argument of the loss."""
    if data is None:
        if minibatches is not None:
            raise ValueError("minibatches needs data: pass the arrays to draw from as data=")
        return ()
    n = _checks.examples("data", data)
    _checks.finite_data("data", data)
    if minibatches is None:
        return (data,)
    if not isinstance(minibatches, Minibatches):
        raise TypeError(f"minibatches must be a stream such as minibatches.reshuffle(64), got {minibatches!r}")
    if key is None:
        raise ValueError("minibatches needs a key, for example key=jax.random.key(0)")
    _checks.key("key", key)
    return (batch_shapes(data, check_batch_size(minibatches.batch_size, n)),)


@partial(jax.jit, static_argnames=("batch_program", "full_program", "steps", "every", "minibatches", "record_params"))
def _minimize(
    batch_program: Program,
    full_program: Program,
    constants: tuple[list[Any], list[Any]],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    data: PyTree,
    key: Any,
    args: tuple[Any, ...],
    tol: Any,
    baseline: Any,
    *,
    steps: int,
    every: int,
    minibatches: Minibatches | None,
    record_params: bool,
) -> Run:
    def full_loss(params):
        return full_program(constants[1], params, *(() if data is None else (data,)), *args)

    if minibatches is not None:
        rows = indices(minibatches, key, 0, steps + 1, _checks.examples("data", data))

    def batch_loss(step):
        if minibatches is None:
            return full_loss
        return lambda params: batch_program(constants[0], params, gather(data, rows[step]), *args)

    def record(carry: Carry):
        return carry.loss, carry.grad_norm, carry.update_norm, carry.params if record_params else None

    def body(carry: Carry, step):
        return advance(optimizer, carry, batch_loss(step), batch_loss(step + 1), tol), None

    def entry(carry: Carry, steps):
        carry, _ = jax.lax.scan(body, carry, steps)
        return carry, record(carry)

    first = start(optimizer, params, batch_loss(0), tol)
    last, histories = jax.lax.scan(entry, first, jnp.arange(steps, dtype=jnp.int32).reshape(steps // every, every))
    loss, grad_norm, update_norm, path = jax.tree.map(
        lambda head, tail: jnp.concatenate([head[None], tail]), record(first), histories
    )
    initial, final = (first.loss, last.loss) if minibatches is None else (full_loss(params), full_loss(last.params))
    status = end_status(last.status, initial, final, baseline)
    return Run(last.params, last.state, loss, grad_norm, update_norm, initial, final, status, last.stopped_at, path)


def start(optimizer: optax.GradientTransformation, params: PyTree, loss: Callable, tol: Any = None) -> Carry:
    """Evaluate the start and initialise the optimizer there."""
    value, grad = jax.value_and_grad(loss)(params)
    grad = jax.tree.map(jnp.conj, grad)  # the steepest ascent of a complex parameter; the identity for a real one
    grad_norm = tree_norm(grad)
    status = jnp.where(jnp.isfinite(value) & jnp.isfinite(grad_norm), Status.COMPLETED, Status.NON_FINITE).astype(
        jnp.int32
    )
    if tol is not None:
        status = jnp.where((status == Status.COMPLETED) & (grad_norm <= tol), jnp.int32(Status.CONVERGED), status)
    nothing = jnp.zeros_like(grad_norm)
    return Carry(params, optimizer.init(params), value, grad, grad_norm, nothing, status, jnp.int32(0))


def advance(
    optimizer: optax.GradientTransformation, carry: Carry, loss: Callable, next_loss: Callable, tol: Any = None
) -> Carry:
    """One step: from the accepted point under `loss` to the candidate under `next_loss`, if that is finite.

    The two losses differ by their minibatch. A carry that has stopped is returned as it is.
    """
    updates, state = optax.with_extra_args_support(optimizer).update(
        carry.grad, carry.state, carry.params, value=carry.loss, grad=carry.grad, value_fn=loss
    )
    updates = _zero_nonfinite_cotangents(updates)
    candidate = _zero_nonfinite_cotangents(optax.apply_updates(carry.params, updates))
    value, grad = jax.value_and_grad(next_loss)(candidate)
    grad = jax.tree.map(jnp.conj, grad)
    grad_norm, update_norm = tree_norm(grad), tree_norm(updates)
    alive = carry.status == Status.COMPLETED
    finite = jnp.isfinite(value) & jnp.isfinite(grad_norm) & jnp.isfinite(update_norm)
    accept = alive & finite
    status = jnp.where(alive & ~finite, jnp.int32(Status.NON_FINITE), carry.status)
    if tol is not None:
        status = jnp.where(accept & (grad_norm <= tol), jnp.int32(Status.CONVERGED), status)
    accepted = Carry(candidate, state, value, grad, grad_norm, update_norm, status, carry.stopped_at + 1)
    # Some of optax's states widen when a number is wider than the parameters; the carry keeps its types.
    accepted = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), accepted, carry)
    rests = carry._replace(update_norm=jnp.zeros_like(carry.update_norm), status=status)
    return tree_where(accept, accepted, rests)


def end_status(status: Array, initial_loss: Array, final_loss: Array, baseline: Any) -> Int[Array, ""]:
    """The final `Status`: adds to the loop's own codes what only the full data show, diverged and stalled."""
    # A constant predictor reaches the baseline only up to the rounding of the loss, so "no better" needs that slack.
    slack = 16 * jnp.finfo(final_loss.dtype).eps * jnp.abs(final_loss)
    stalled = final_loss + slack >= jnp.asarray(baseline, final_loss.dtype)
    judged = jnp.where(stalled, jnp.int32(Status.STALLED), status)
    judged = jnp.where(~(final_loss <= initial_loss), jnp.int32(Status.DIVERGED), judged)
    return jnp.where(status == Status.NON_FINITE, status, judged)


@jax.custom_vjp
def _zero_nonfinite_cotangents(tree: PyTree) -> PyTree:
    """The identity. A rejected candidate sends back 0 x NaN; its share in the derivative is 0."""
    return tree


def _forward(tree):
    return tree, None


def _backward(_, cotangents):
    return (jax.tree.map(lambda c: jnp.where(jnp.isfinite(c), c, 0), cotangents),)


_zero_nonfinite_cotangents.defvjp(_forward, _backward)
