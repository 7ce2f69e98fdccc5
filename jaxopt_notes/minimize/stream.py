"""`minimize_stream`: the same step, driven by batches that an iterator brings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._hoist import Program, hoist
from .._partials import as_pytree
from ..minibatches import prefetch as read_ahead
from .loop import checked_args, checked_loss, checked_metrics, checked_state, derivatives_of
from .program import History, record
from .run import Run
from .status import Status
from .step import advance, end_status, start


def minimize_stream(
    loss: Callable[..., Any],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    batches: Iterable[PyTree],
    *,
    steps: int | None = None,
    args: Sequence[Any] = (),
    aux: PyTree = None,
    metrics: Callable[..., PyTree] | None = None,
    state: PyTree = None,
    every: int = 1,
    tol: float | Float[Array, ""] | None = None,
    record_params: bool = False,
    prefetch: int = 2,
) -> Run:
    """Minimise a loss over batches from an iterator, for data that do not fit the memory.

    Step k goes from the point that batch k judged to a candidate that batch k + 1 judges, as in `minimize`, so over
    `minibatches.batches(data, stream, key)` it takes the steps of `minimize(data=data, minibatches=stream, key=key)`.
    One step is one compiled program; while it runs, the next batches are read and moved to the device. A batch of
    another shape, such as a shorter last one, compiles once more.

    Arguments:
        loss, params, optimizer, args, aux, metrics, state, tol, record_params: as in `minimize`; the loss takes a
            batch.
        batches: an iterable of pytrees of arrays: a generator, `minibatches.batches`, a grain or torch data loader.
        steps: number of steps, at most; takes `steps + 1` batches and no more. Until `batches` ends when None, which is
            read up to `prefetch + 1` batches ahead.
        every: record one entry per this many steps; must divide `steps`.
        prefetch: batches to hold ready on the device, at least 1.

    Returns:
        A `Run` of what was done before `batches` ended or the run stopped: its histories end there, at the last entry,
        and `stopped_at` counts the steps. `initial_loss` and `final_loss` are of the first and the last batch, too
        little to call a run diverged.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted; inside a compiled
            program. An error that the iterator raises.

    Example:
        >>> import jax.numpy as jnp, numpy as np, jaxopt_notes as jon
        >>> batches = (np.full(4, 3.0, np.float32) for _ in range(11))
        >>> mean_square = lambda x, batch: jnp.mean((x - batch) ** 2)
        >>> run = jon.minimize_stream(mean_square, jnp.zeros(()), jon.gradient_descent(0.25), batches)
        >>> int(run.stopped_at), round(float(run.params), 2)
        (10, 3.0)
    """
    optimizer = as_pytree(optimizer)
    params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), _checks.params("params", params))
    aux = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), aux)
    if any(map(_checks.is_traced, jax.tree.leaves((params, optimizer, aux, args)))):
        raise TypeError("minimize_stream is a loop in Python: inside jit, vmap and grad use minimize(data=...)")
    args, state = checked_args(args), checked_state(optimizer, params, state)
    state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), state)
    most = None if steps is None else _checks.count("steps", steps)
    every = _checks.count("every", every) if most is None else _checks.divisor("every", every, "steps", most)
    tol = None if tol is None else _checks.scalar("tol", tol, low=0.0)
    measure, measure_constants = checked_metrics(metrics, params, aux)
    needed = batches if most is None else itertools.islice(batches, most + 1)
    source = read_ahead(needed, _checks.count("prefetch", prefetch))
    try:
        begin = list(itertools.islice(source, 2))
        if len(begin) < 2:
            raise ValueError("batches must hold at least two batches, one more than the steps")
        judge = _Judge(loss, params, aux, args, derivatives_of(optimizer))
        keep = partial(_record, measure, _checks.boolean("record_params", record_params), measure_constants, optimizer)
        carry = _start(*judge(begin[0]), params, aux, optimizer, tol, state)
        initial, entries = jnp.copy(carry.loss), [keep(carry)]
        pairs = itertools.pairwise(itertools.chain(begin, source))
        for step, (batch, next_batch) in enumerate(pairs, start=1):
            carry = _advance(*judge(batch), *judge(next_batch), carry, optimizer, tol)
            if step % every == 0:
                entries.append(keep(carry))
                # The status of the entry before is there already, so looking at it does not wait for the device.
                if entries[-2].status != Status.COMPLETED:
                    break
    finally:
        source.close()
    history = jax.tree.map(lambda *rows: jnp.stack(rows), *(entry.history for entry in entries))
    return Run(
        params=carry.params,
        state=carry.state,
        initial_loss=initial,
        final_loss=carry.loss,
        # Two batches do not tell whether the loss rose; only what is not finite counts as diverged here.
        status=end_status(carry.status, jnp.full_like(initial, jnp.inf), carry.loss, jnp.inf, carry.unmoved),
        stopped_at=carry.stopped_at,
        aux=carry.aux,
        **history._asdict(),
    )


class _Judge:
    """The loss of a batch as (program, constants, arguments), traced once for every shape of batch."""

    def __init__(self, loss: Callable, params: PyTree, aux: PyTree, args: tuple[Any, ...], derivatives: int) -> None:
        self._loss, self._params, self._aux, self._args = loss, _shapes(params), _shapes(aux), args
        self._derivatives = derivatives
        self._held: dict[Any, tuple[Program, list[Any]]] = {}

    def __call__(self, batch: PyTree) -> tuple[Program, list[Any], tuple[Any, ...]]:
        leaves, tree = jax.tree.flatten(batch)
        shapes = (tree, *((leaf.shape, leaf.dtype) for leaf in leaves))
        if shapes not in self._held:
            lifted = checked_loss(self._loss, self._params, self._aux, batch, *self._args)
            self._held[shapes] = hoist(
                lifted, self._params, self._aux, batch, *self._args, derivatives=self._derivatives
            )
        return *self._held[shapes], (batch, *self._args)


def _shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


class _Entry(NamedTuple):
    history: History
    status: Array


@partial(jax.jit, static_argnums=0)
def _start(program, constants, arguments, params, aux, optimizer, tol, state):
    return start(optimizer, params, lambda params, aux: program(constants, params, aux, *arguments), tol, aux, state)


@partial(jax.jit, static_argnums=(0, 3), donate_argnums=6)
def _advance(program, constants, arguments, next_program, next_constants, next_arguments, carry, optimizer, tol):
    def loss(params, aux):
        return program(constants, params, aux, *arguments)

    def next_loss(params, aux):
        return next_program(next_constants, params, aux, *next_arguments)

    return advance(optimizer, carry, loss, next_loss, tol)


@partial(jax.jit, static_argnums=(0, 1))
def _record(measure, record_params, measure_constants, optimizer, carry):
    """What is kept of a point; copies, since the next step overwrites the carry."""
    return jax.tree.map(
        jnp.copy, _Entry(record(carry, optimizer, measure, measure_constants, record_params), carry.status)
    )
