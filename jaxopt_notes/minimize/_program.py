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
from .._contract import evaluation_key, loss_key
from .._hoist import Program
from .._kept import PerProgram
from .._numerics import rounded
from ..minibatches import Minibatches, examples_per_step, gather, indices, steps_per_epoch
from ..optimizers import current_learning_rate, evaluation_params
from ._run import Run
from ._status import Status
from ._step import Carry, Loss, advance, end_status, start, unmoved

INDICES = 2**22  # of examples, held at a time where that is more than some epochs
EPOCHS = 4


class Static(NamedTuple):
    """What decides the program."""

    step_loss: Program
    end_loss: Program
    is_random: bool
    differs: bool
    metrics: Program | None
    steps: int
    every: int
    minibatches: Minibatches | None
    record_params: bool
    evaluation: Program | None
    monitor: tuple[str, int] | None = None


class Inputs(NamedTuple):
    """What the program is run on, in addition to the parameters and the aux that it may overwrite."""

    constants: tuple[list[Any], list[Any], list[Any], list[Any]]
    optimizer: optax.GradientTransformation
    state: PyTree
    data: PyTree
    key: Any
    rows: Any  # example indices of the whole run; None where the program draws them itself
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
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
    """The parameters that are evaluated: by the user's function, or from the optimizer's state."""
    return evaluation_params(state, params) if evaluation is None else rounded(evaluation(constants, state, params))


class _Functions(NamedTuple):
    """The pieces of one run that `scan` and `until` put together.

    Attributes:
        block: number of entries whose example indices are drawn together.
        draw: the example indices for a block of so many entries from a first one on; None where there are none to hold.
        entry: the steps of one entry of a block that begins at a given entry, with that block's indices.
    """

    end_loss: Loss
    first: Callable[[PyTree, PyTree, Array | None], Carry]
    block: int
    draw: Callable[[Any, int], Array | None]
    entry: Callable[[Carry, Array | None, Any, Array, Any], Carry]
    record: Callable[[Carry], History]
    evaluated: Callable[[Carry], PyTree]


def steps_at_once(minibatches: Minibatches, examples: int) -> int:
    """The steps whose example indices are held at a time; those of whole epochs, since an order is drawn whole."""
    per_epoch, size = steps_per_epoch(minibatches, examples), examples_per_step(minibatches, examples)
    return max(INDICES // size, EPOCHS * per_epoch)


def _functions(static: Static, inputs: Inputs) -> _Functions:
    step_constants, end_constants, measure_constants, evaluation_constants = inputs.constants
    minibatches, optimizer, every = static.minibatches, inputs.optimizer, static.every
    examples = 0 if minibatches is None else _checks.examples("data", inputs.data)
    at_once = static.steps if minibatches is None else steps_at_once(minibatches, examples)
    block = min(static.steps, max(at_once, every)) // every

    whole = () if inputs.data is None else (inputs.data,)
    randomness: Any = loss_key(inputs.key) if static.is_random else None

    def known(key: Any) -> dict[str, Any]:
        return {**inputs.kwargs, "key": key} if static.is_random else inputs.kwargs

    def end_loss(params: PyTree, aux: PyTree) -> tuple[Array, PyTree]:
        key = evaluation_key(randomness) if static.is_random else None
        return static.end_loss(end_constants, params, aux, known(key), *whole, *inputs.args)

    def rows_of(first: Array | int, steps: int) -> Array:
        assert minibatches is not None
        # One more, as the last candidate is judged by the batch of the step after it.
        return indices(minibatches, inputs.key, first, steps + 1, examples)

    def step_loss(rows: Array | None, origin: Array | int, step: Array | int) -> Loss:
        """The loss of a step, given the example indices from the step `origin` on."""

        def loss(params: PyTree, aux: PyTree) -> tuple[Array, PyTree]:
            batch = whole if rows is None else (gather(inputs.data, rows[step - origin]),)
            key = jax.random.fold_in(randomness, step) if static.is_random else None
            return static.step_loss(step_constants, params, aux, known(key), *batch, *inputs.args)

        return loss

    def taken(carry: Carry, rows: Array | None, origin: Array | int, first: Array, steps: int, tol: Any) -> Carry:
        def body(carry: Carry, step: Array) -> tuple[Carry, None]:
            losses = (step_loss(rows, origin, step), step_loss(rows, origin, step + 1))
            return advance(optimizer, carry, *losses, tol, inputs.skip), None

        return jax.lax.scan(body, carry, first + jnp.arange(steps, dtype=jnp.int32))[0]

    def draw(first_entry: Array | int, entries: int) -> Array | None:
        if inputs.rows is not None or minibatches is None or every > at_once:
            return inputs.rows
        return rows_of(first_entry * every, entries * every)

    def entry(carry: Carry, rows: Array | None, first_entry: Array | int, number: Array, tol: Any) -> Carry:
        if minibatches is None or rows is not None:
            origin = first_entry * every if inputs.rows is None else 0
            return taken(carry, rows, origin, number * every, every, tol)

        def window(carry: Carry, first: Array, steps: int) -> Carry:
            return taken(carry, rows_of(first, steps), first, first, steps, tol)

        # An entry of too many steps for one drawing is taken in windows.
        windows, rest = divmod(every, at_once)
        firsts = number * every + at_once * jnp.arange(windows, dtype=jnp.int32)
        carry = jax.lax.scan(lambda carry, first: (window(carry, first, at_once), None), carry, firsts)[0]
        return window(carry, (number + 1) * every - rest, rest) if rest else carry

    def evaluated(carry: Carry) -> PyTree:
        return evaluated_at(static.evaluation, evaluation_constants, carry.state, carry.params)

    def kept(carry: Carry) -> History:
        return record(carry, optimizer, static.metrics, measure_constants, static.record_params, evaluated(carry))

    def first(params: PyTree, aux: PyTree, rows: Array | None) -> Carry:
        if rows is None and minibatches is not None:
            rows = rows_of(0, 0) if inputs.rows is None else inputs.rows
        return start(optimizer, params, step_loss(rows, 0, 0), inputs.tol, aux, inputs.state, inputs.skip)

    return _Functions(end_loss, first, block, draw, entry, kept, evaluated)


def _minimize(static: Static, params: PyTree, aux: PyTree, inputs: Inputs) -> Run:
    pieces = _functions(static, inputs)

    def block(carry: Carry, first_entry: Array | int, entries: int, rows: Array | None = None) -> tuple[Carry, History]:
        rows = pieces.draw(first_entry, entries) if rows is None else rows

        def body(carry: Carry, number: Array) -> tuple[Carry, History]:
            carry = pieces.entry(carry, rows, first_entry, number, inputs.tol)
            return carry, pieces.record(carry)

        return jax.lax.scan(body, carry, first_entry + jnp.arange(entries, dtype=jnp.int32))

    blocks, rest = divmod(static.steps // static.every, pieces.block)
    # Outside the block where there is only one, as the start needs the first batch and would draw all indices again.
    rows = pieces.draw(0, pieces.block) if blocks == 1 else None
    first = pieces.first(params, aux, rows)
    parts = [jax.tree.map(lambda row: row[None], pieces.record(first))]
    if blocks == 1:
        last, tail = block(first, 0, pieces.block, rows)
    else:
        # A scan over blocks around a scan over entries: example indices are drawn together for a block, and only those
        # of one block are held at a time.
        firsts = pieces.block * jnp.arange(blocks, dtype=jnp.int32)
        last, tail = jax.lax.scan(lambda carry, first: block(carry, first, pieces.block), first, firsts)
        tail = jax.tree.map(lambda row: row.reshape(-1, *row.shape[2:]), tail)
    parts.append(tail)
    if rest:
        last, tail = block(last, blocks * pieces.block, rest)
        parts.append(tail)
    history = jax.tree.map(lambda *rows: jnp.concatenate(rows), *parts)
    return _finish(static, inputs, pieces, aux, first, last, history)


class Loop(NamedTuple):
    """A run that stops by a rule, on its way.

    Attributes:
        number: entries recorded, that of the start left out.
        carry: the last point.
        history: all entries; those to come are as the start.
        lowest, lowest_at: the lowest recorded loss, or best value of the monitored metric, and the entry that has it.
        first: the start.
        tol: the gradient norm at which the run has converged.
    """

    number: Array
    carry: Carry
    history: History
    lowest: Array
    lowest_at: Array
    first: Carry
    tol: Array


def _begun(static: Static, params: PyTree, aux: PyTree, inputs: Inputs, rows: Array | None = None) -> Loop:
    """The loop at its start, given the example indices of the whole run if they are drawn already."""
    pieces = _functions(static, inputs)
    first = pieces.first(params, aux, rows)
    # Of a start whose batch is not finite nothing is known that the norm could be compared with.
    tol = inputs.tol + inputs.rtol * jnp.where(jnp.isfinite(first.grad_norm), first.grad_norm, 0)
    arrived = (first.status == Status.COMPLETED) & (first.grad_norm <= tol)
    first = first._replace(status=jnp.where(arrived, jnp.int32(Status.CONVERGED), first.status))
    # A while loop cannot stack what its steps return, so the whole history is there from the start and written row by
    # row.
    entries = static.steps // static.every
    kept = pieces.record(first)
    history = jax.tree.map(lambda row: jnp.broadcast_to(row, (entries + 1, *row.shape)), kept)
    return Loop(jnp.int32(0), first, history, _waited_for(static, kept), jnp.int32(0), first, tol)


def _waited_for(static: Static, kept: History) -> Array:
    """What a run with patience waits for a lower value of."""
    if static.monitor is None:
        return kept.loss
    name, sign = static.monitor
    # Not narrower than float32, in which a small gain would be lost to rounding.
    return sign * kept.metrics[name].astype(jnp.promote_types(kept.metrics[name].dtype, jnp.float32))


def _gone_on(
    static: Static, inputs: Inputs, loop: Loop, until: Any, rows: Array | None = None, at_once: bool = False
) -> Loop:
    """The loop at the entry `until`, or where it stops before; `at_once` if that is one block, with its rows if any."""
    pieces = _functions(static, inputs)
    patience = np.inf if inputs.patience is None else inputs.patience

    def going(loop: Loop) -> Array:
        # As a float, since no patience is infinity.
        waited = (loop.number - loop.lowest_at).astype(float) * static.every
        return (loop.number < until) & (loop.carry.status == Status.COMPLETED) & (waited < patience)

    def block(loop: Loop) -> Loop:
        first_entry = loop.number
        drawn = rows if at_once else pieces.draw(first_entry, pieces.block)

        def body(loop: Loop) -> Loop:
            carry = pieces.entry(loop.carry, drawn, first_entry, loop.number, loop.tol)
            number, kept = loop.number + 1, pieces.record(carry)
            history = jax.tree.map(lambda rows, row: rows.at[number].set(row), loop.history, kept)
            # A start whose batch was skipped has a loss of NaN, which no later loss would be below.
            value = _waited_for(static, kept)
            lower = (value < loop.lowest) | jnp.isnan(loop.lowest)
            lowest, at = jnp.where(lower, value, loop.lowest), jnp.where(lower, number, loop.lowest_at)
            return loop._replace(number=number, carry=carry, history=history, lowest=lowest, lowest_at=at)

        # Two loops as in `_minimize`: the inner one ends with its block, whose indices are drawn together.
        return jax.lax.while_loop(lambda loop: going(loop) & (loop.number < first_entry + pieces.block), body, loop)

    return block(loop) if at_once else jax.lax.while_loop(going, block, loop)


def _ended(static: Static, aux: PyTree, inputs: Inputs, loop: Loop) -> Run:
    """The run of a loop that has stopped."""
    pieces, entries = _functions(static, inputs), static.steps // static.every
    plateaued = (loop.carry.status == Status.COMPLETED) & (loop.number < entries)
    status = jnp.where(plateaued, jnp.int32(Status.PLATEAUED), loop.carry.status)
    last = loop.carry._replace(status=status)
    resting = pieces.record(last._replace(update_norm=jnp.zeros_like(last.update_norm)))
    # What comes after the stop repeats the last point, as the frozen steps of `minimize` record it: both return the
    # same run.
    after = jnp.arange(entries + 1) > loop.number
    rest = lambda rows, row: jnp.where(after.reshape(-1, *[1] * row.ndim), row, rows)
    return _finish(static, inputs, pieces, aux, loop.first, last, jax.tree.map(rest, loop.history, resting))


def _minimize_until(static: Static, params: PyTree, aux: PyTree, inputs: Inputs) -> Run:
    pieces, entries = _functions(static, inputs), static.steps // static.every
    at_once = pieces.block == entries
    rows = pieces.draw(0, entries) if at_once else None
    loop = _gone_on(static, inputs, _begun(static, params, aux, inputs, rows), entries, rows, at_once)
    return _ended(static, aux, inputs, loop)


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
    # `evaluation_params` returns the very parameters it was given where a method has no other point. Seen by identity
    # while tracing, this saves two evaluations of the loss.
    begin, end = pieces.evaluated(first), pieces.evaluated(last)
    if static.minibatches is not None or static.differs or end is not last.params:
        initial, final = pieces.end_loss(begin, aux)[0], pieces.end_loss(end, last.aux)[0]
    initial, final = rounded((initial, final))
    status = end_status(last.status, initial, final, inputs.baseline, unmoved(first, last))
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
        every=jnp.int32(static.every),
        **history._asdict(),
    )


# Whether memory is donated is part of a compiled function, so there are two of each.
_of_loss: dict[str, Any] = {"program_of": lambda static: static.step_loss}
scan = PerProgram(_minimize, **_of_loss)
scan_donating = PerProgram(_minimize, donate_argnames=("params", "aux"), **_of_loss)
until = PerProgram(_minimize_until, **_of_loss)
until_donating = PerProgram(_minimize_until, donate_argnames=("params", "aux"), **_of_loss)
# The same loop in pieces, for a run that reports while it runs.
begun = PerProgram(_begun, **_of_loss)
gone_on = PerProgram(_gone_on, donate_argnames=("loop",), **_of_loss)
ended = PerProgram(_ended, **_of_loss)
