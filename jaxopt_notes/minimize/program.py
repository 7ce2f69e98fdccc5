"""The compiled loops: a scan of fixed length, and a while loop with a stopping rule, around the same step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from .. import _checks
from .._hoist import Program
from .._numerics import rounded
from ..minibatches import Minibatches, gather, indices
from ..optimizers import current_learning_rate, evaluation_params
from .run import Run
from .status import Status
from .step import Carry, Loss, advance, end_status, start


class Static(NamedTuple):
    """What decides the program."""

    batch_loss: Program
    full_loss: Program
    metrics: Program | None
    steps: int
    every: int
    minibatches: Minibatches | None
    record_params: bool
    evaluation: Program | None


class Inputs(NamedTuple):
    """What the program is run on, besides the parameters and the aux that it may overwrite."""

    constants: tuple[list[Any], list[Any], list[Any], list[Any]]
    optimizer: optax.GradientTransformation
    state: PyTree
    data: PyTree
    key: Any
    args: tuple[Any, ...]
    tol: Any
    rtol: Any
    patience: Any
    baseline: Any
    skip: Any


class History(NamedTuple):
    """What is recorded of one accepted point; stacked, of all."""

    loss: Array
    grad_norm: Array
    update_norm: Array
    learning_rate: Array
    params_path: PyTree
    metrics: PyTree
    unmoved_share: Array | None


def record(
    carry: Carry,
    optimizer: optax.GradientTransformation,
    metrics: Program | None,
    metrics_constants: Sequence[Any],
    record_params: bool,
    evaluated: PyTree,
) -> History:
    """What the history keeps of one point, whose metrics are those of the parameters that are evaluated."""
    return History(
        carry.loss,
        carry.grad_norm,
        carry.update_norm,
        current_learning_rate(optimizer, carry.state),
        carry.params if record_params else None,
        None if metrics is None else metrics(metrics_constants, evaluated, carry.aux),
        carry.unmoved,
    )


def evaluated_at(evaluation: Program | None, constants: Sequence[Any], state: PyTree, params: PyTree) -> PyTree:
    """The parameters that are evaluated: by the user's function, or as the optimizer's state says."""
    return evaluation_params(state, params) if evaluation is None else rounded(evaluation(constants, state, params))


class _Functions(NamedTuple):
    """The pieces of one run that `scan` and `until` put together."""

    full_loss: Loss
    first: Callable[[PyTree, PyTree], Carry]
    entry: Callable[[Carry, Array, Any], Carry]
    record: Callable[[Carry], History]
    evaluated: Callable[[Carry], PyTree]


def _functions(static: Static, inputs: Inputs) -> _Functions:
    batch_constants, full_constants, measure_constants, evaluation_constants = inputs.constants
    minibatches, optimizer = static.minibatches, inputs.optimizer

    def full_loss(params, aux):
        return static.full_loss(
            full_constants, params, aux, *(() if inputs.data is None else (inputs.data,)), *inputs.args
        )

    if minibatches is not None:
        rows = indices(minibatches, inputs.key, 0, static.steps + 1, _checks.examples("data", inputs.data))

    def batch_loss(step):
        if minibatches is None:
            return full_loss
        return lambda params, aux: static.batch_loss(
            batch_constants, params, aux, gather(inputs.data, rows[step]), *inputs.args
        )

    def entry(carry, number, tol):
        def body(carry, step):
            return advance(optimizer, carry, batch_loss(step), batch_loss(step + 1), tol, inputs.skip), None

        steps = number * static.every + jnp.arange(static.every, dtype=jnp.int32)
        return jax.lax.scan(body, carry, steps)[0]

    def evaluated(carry):
        return evaluated_at(static.evaluation, evaluation_constants, carry.state, carry.params)

    def kept(carry):
        return record(carry, optimizer, static.metrics, measure_constants, static.record_params, evaluated(carry))

    def first(params, aux):
        return start(optimizer, params, batch_loss(0), inputs.tol, aux, inputs.state, inputs.skip)

    return _Functions(full_loss, first, entry, kept, evaluated)


def _minimize(static: Static, params: PyTree, aux: PyTree, inputs: Inputs) -> Run:
    pieces = _functions(static, inputs)

    def body(carry, number):
        carry = pieces.entry(carry, number, inputs.tol)
        return carry, pieces.record(carry)

    first = pieces.first(params, aux)
    last, tail = jax.lax.scan(body, first, jnp.arange(static.steps // static.every, dtype=jnp.int32))
    history = jax.tree.map(lambda head, rest: jnp.concatenate([head[None], rest]), pieces.record(first), tail)
    return _finish(static, inputs, pieces, aux, first, last, history)


def _minimize_until(static: Static, params: PyTree, aux: PyTree, inputs: Inputs) -> Run:
    pieces = _functions(static, inputs)
    entries = static.steps // static.every
    first = pieces.first(params, aux)
    # Of a start whose batch is not finite nothing is known that the norm could be compared with.
    tol = inputs.tol + inputs.rtol * jnp.where(jnp.isfinite(first.grad_norm), first.grad_norm, 0)
    arrived = (first.status == Status.COMPLETED) & (first.grad_norm <= tol)
    first = first._replace(status=jnp.where(arrived, jnp.int32(Status.CONVERGED), first.status))
    patience = np.inf if inputs.patience is None else inputs.patience

    def going(loop):
        number, carry, _, _, lowest_at = loop
        waited = (number - lowest_at).astype(float) * static.every
        return (number < entries) & (carry.status == Status.COMPLETED) & (waited < patience)

    def body(loop):
        number, carry, history, lowest, lowest_at = loop
        carry = pieces.entry(carry, number, tol)
        number = number + 1
        history = jax.tree.map(lambda rows, row: rows.at[number].set(row), history, pieces.record(carry))
        lower = (carry.loss < lowest) | jnp.isnan(lowest)
        return number, carry, history, jnp.where(lower, carry.loss, lowest), jnp.where(lower, number, lowest_at)

    history = jax.tree.map(lambda row: jnp.broadcast_to(row, (entries + 1, *row.shape)), pieces.record(first))
    loop = (jnp.int32(0), first, history, first.loss, jnp.int32(0))
    number, last, history, _, _ = jax.lax.while_loop(going, body, loop)
    plateaued = (last.status == Status.COMPLETED) & (number < entries)
    last = last._replace(status=jnp.where(plateaued, jnp.int32(Status.PLATEAUED), last.status))
    resting = pieces.record(last._replace(update_norm=jnp.zeros_like(last.update_norm)))
    after = jnp.arange(entries + 1) > number
    history = jax.tree.map(lambda rows, row: jnp.where(after.reshape(-1, *[1] * row.ndim), row, rows), history, resting)
    return _finish(static, inputs, pieces, aux, first, last, history)


def _finish(
    static: Static,
    inputs: Inputs,
    pieces: _Functions,
    aux: PyTree,
    first: Carry,
    last: Carry,
    history: History,
) -> Run:
    initial, final = first.loss, last.loss
    begin, end = pieces.evaluated(first), pieces.evaluated(last)
    if static.minibatches is not None or end is not last.params:
        initial, final = pieces.full_loss(begin, aux)[0], pieces.full_loss(end, last.aux)[0]
    initial, final = rounded((initial, final))
    status = end_status(last.status, initial, final, inputs.baseline, last.unmoved)
    return Run(
        params=last.params,
        state=last.state,
        initial_loss=initial,
        final_loss=final,
        status=status,
        stopped_at=last.stopped_at,
        aux=last.aux,
        evaluation=None if end is last.params else end,
        skipped=None if last.skips is None else last.skips.total,
        **history._asdict(),
    )


scan = jax.jit(_minimize, static_argnums=0)
scan_donating = jax.jit(_minimize, static_argnums=0, donate_argnums=(1, 2))
until = jax.jit(_minimize_until, static_argnums=0)
until_donating = jax.jit(_minimize_until, static_argnums=0, donate_argnums=(1, 2))
