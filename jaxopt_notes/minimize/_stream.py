"""`minimize_stream`: the same step, driven by batches that an iterator brings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from .. import _checks
from .._contract import check_values, evaluation_key, loss_key
from .._hoist import Program, hoist
from .._kept import PerProgram
from ..minibatches import prefetch as read_ahead
from ._options import Options, checked_evaluation, checked_metrics, checked_skip, derivatives_of, judged
from ._program import History, evaluated_at, record
from ._run import Run
from ._status import Status
from ._step import Carry, advance, end_status, start, unmoved


def minimize_stream(
    loss: Callable[..., Any],
    params: PyTree,
    optimizer: optax.GradientTransformation,
    batches: Iterable[PyTree],
    *,
    steps: int | None = None,
    epochs: int | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    key: Key[Array, ""] | None = None,
    aux: PyTree = None,
    metrics: Callable[..., PyTree] | None = None,
    state: PyTree = None,
    every: int = 1,
    tol: float | Float[Array, ""] | None = None,
    record_params: bool = False,
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None = None,
    skip_non_finite: int = 0,
    prefetch: int = 2,
) -> Run:
    """Minimise a loss over batches from an iterator, for data that do not fit the memory.

    Step k goes from the point that batch k judged to a candidate that batch k + 1 judges, as in `minimize`, so over
    `minibatches.batches(data, stream, key)` it takes the steps of `minimize(data=data, minibatches=stream, key=key)`.
    One step is one compiled program; while it runs, the next batches are read and moved to the device. A batch of
    another shape, such as a shorter last one, compiles once more.

    Arguments:
        loss, params, optimizer, args, kwargs, aux, metrics, state, tol, record_params: as in `minimize`; the loss takes
            a batch.
        key: key of a loss that asks for one.
        evaluation_params, skip_non_finite: as in `minimize`.
        batches: an iterable of pytrees of arrays: a generator, `minibatches.batches`, a grain or torch data loader.
        steps: number of steps, at most; takes `steps + 1` batches and no more. Until `batches` ends when None, which is
            read up to `prefetch + 1` batches ahead.
        epochs: how often to read `batches`, a list or a data loader that can be read again, at least 1; once when None.
        every: record one entry per this many steps; must divide `steps`.
        prefetch: batches to hold ready on the device, at least 1.

    Returns:
        A `Run` of what was done before `batches` ended or the run stopped: its histories end there, at the last entry,
        and `stopped_at` counts the steps. Its status is `exhausted` if `batches` ended before `steps`. `initial_loss`
        and `final_loss` are of the first and the last batch, too little to call a run diverged.

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
    # Copies throughout: every step donates its carry, and must not overwrite what belongs to the user.
    options = Options(
        loss=loss, params=params, optimizer=optimizer, args=args, kwargs=kwargs or {}, aux=aux,
        metrics=metrics, state=state, every=every, tol=tol, record_params=record_params,
        evaluation_params=evaluation_params, skip_non_finite=skip_non_finite,
    ).checked(partial(jnp.array, copy=True))  # fmt: skip
    params, optimizer, aux, state = options.params, options.optimizer, options.aux, options.state
    args, keyed = tuple(options.args), None if key is None else loss_key(_checks.key("key", key))
    if any(map(_checks.is_traced, jax.tree.leaves((params, optimizer, aux, args)))):
        raise TypeError("minimize_stream is a loop in Python: inside jit, vmap and grad use minimize(data=...)")
    loss_of = judged(loss, aux, options.kwargs, keyed)
    known = loss_of.known(options.kwargs, keyed)
    start_params = jax.device_get(params)  # on the host, as steps overwrite their carry
    most = None if steps is None else _checks.count("steps", steps)
    every = _checks.count("every", every) if most is None else _checks.divisor("every", every, "steps", most)
    tol, skip = options.tol, checked_skip(skip_non_finite)
    measure, measure_constants = checked_metrics(metrics, params, aux)
    evaluation, evaluation_constants = checked_evaluation(evaluation_params, optimizer, params)
    whole = batches if epochs is None else _Epochs(batches, _checks.count("epochs", epochs))
    needed = whole if most is None else itertools.islice(whole, most + 1)
    source = read_ahead(needed, _checks.count("prefetch", prefetch))
    try:
        begin = list(itertools.islice(source, 2))
        if len(begin) < 2:
            raise ValueError(f"batches must hold at least two batches, one more than the steps; got {len(begin)}")
        judge = _Judge(loss_of.step, loss_of.name, loss, params, aux, known, args, derivatives_of(optimizer))
        at_ends = _Judge(loss_of.end, loss_of.name, loss, params, aux, known, args, 0) if loss_of.differs else judge
        constants = (measure_constants, evaluation_constants)
        keep = partial(_record, (measure, evaluation, options.record_params), constants, optimizer)
        carry = _start(*judge(begin[0]), known, params, aux, optimizer, tol, state, skip)
        initial, entries = jnp.copy(carry.loss), [keep(carry)]
        begin_params = _evaluated(evaluation, evaluation_constants, carry)
        if begin_params is not None or loss_of.differs:
            initial = _value(*at_ends(begin[0]), known, params if begin_params is None else begin_params, aux)
        pairs = itertools.pairwise(itertools.chain(begin, source))
        carry, last_batch, step = _driven(pairs, judge, known, keep, every, carry, entries, optimizer, tol, skip)
    finally:
        source.close()
    end_params = _evaluated(evaluation, evaluation_constants, carry)
    at_end, final = carry.params if end_params is None else end_params, carry.loss
    if end_params is not None or loss_of.differs:
        final = _value(*at_ends(last_batch), known, at_end, carry.aux)
    # Two batches do not show whether the loss rose, so the start counts as infinite and no run is called diverged.
    stays = unmoved(carry._replace(params=start_params), carry)
    status = end_status(carry.status, jnp.full_like(initial, jnp.inf), final, jnp.inf, stays)
    short = step < most if most is not None else isinstance(whole, _Epochs) and whole.ended
    if short and carry.status == Status.COMPLETED:
        status = jnp.full_like(status, Status.EXHAUSTED)
    return _run(carry, entries, every, initial_loss=initial, final_loss=final, status=status, evaluation=end_params)


def _run(carry: Carry, entries: Sequence[_Entry], every: int, **ends: Any) -> Run:
    history = jax.tree.map(lambda *rows: jnp.stack(rows), *(entry.history for entry in entries))
    return Run(
        params=carry.params,
        state=carry.state,
        stopped_at=carry.stopped_at,
        aux=carry.aux,
        skipped=None if carry.skips is None else carry.skips.total,
        every=jnp.int32(every),
        **ends,
        **history._asdict(),
    )


def _driven(
    pairs: Iterable[tuple[PyTree, PyTree]],
    judge: _Judge,
    known: dict[str, Any],
    keep: Callable[[Carry], _Entry],
    every: int,
    carry: Carry,
    entries: list[_Entry],
    optimizer: optax.GradientTransformation,
    tol: Any,
    skip: Any,
) -> tuple[Carry, PyTree, int]:
    """Take the steps, adding to the entries; the last carry and batch, and the number of steps."""
    for step, (batch, next_batch) in enumerate(pairs, start=1):
        # Both batches are asked for their program at every step, as the last one of an epoch may have another shape.
        # Known shapes cost a look into a dict.
        (program, *given), (next_program, *next_given) = judge(batch), judge(next_batch)
        carry = _advance((program, next_program), *given, *next_given, known, carry, optimizer, tol, skip)
        if step % every == 0:
            entries.append(keep(carry))
            # The status of the entry before is there already, so looking at it does not wait for the device.
            if entries[-2].status != Status.COMPLETED:
                break
    return carry, next_batch, step


class _Epochs:
    """Batches read several times. `ended` is whether one of these times gave none, as of an iterator in disguise."""

    def __init__(self, batches: Iterable[PyTree], epochs: int) -> None:
        if epochs > 1 and isinstance(batches, Iterator):
            raise ValueError(
                f"epochs={epochs} needs batches that can be read again, such as a list or a data loader; got the "
                f"iterator {batches!r}, which ends once"
            )
        self._batches, self._epochs, self.ended = batches, epochs, False

    def __iter__(self) -> Iterator[PyTree]:
        for _ in range(self._epochs):
            self.ended = True
            for batch in self._batches:
                self.ended = False
                yield batch


class _Judge:
    """The loss of a batch as (program, constants, arguments), traced once for every shape of batch."""

    def __init__(
        self,
        form: Callable[..., Any],
        name: str,
        owner: Callable[..., Any],
        params: PyTree,
        aux: PyTree,
        known: dict[str, Any],
        args: tuple[Any, ...],
        derivatives: int,
    ) -> None:
        self._form, self._name, self._owner, self._derivatives = form, name, owner, derivatives
        self._params, self._aux, self._known, self._args = _shapes(params), _shapes(aux), known, args
        self._held: dict[Any, tuple[Program, list[Any]]] = {}

    def __call__(self, batch: PyTree) -> tuple[Program, list[Any], tuple[Any, ...]]:
        # By shapes: what is traced for a batch depends on nothing else, and nearly all batches have the same ones.
        leaves, tree = jax.tree.flatten(batch)
        shapes = (tree, *((leaf.shape, leaf.dtype) for leaf in leaves))
        if shapes not in self._held:
            _checks.not_empty("a batch", batch)
            first = (self._params, self._aux, self._known)
            check_values(self._name, self._form, *first, batch, *self._args)
            # On a batch of one, a loss per example may look like a scalar; only a second example shows what it is.
            if all(leaf.shape[:1] == (1,) for leaf in leaves):
                self._check_more_examples(batch)
            self._held[shapes] = hoist(
                self._form, *first, batch, *self._args, derivatives=self._derivatives, owner=self._owner
            )
        return *self._held[shapes], (batch, *self._args)

    def _check_more_examples(self, batch: PyTree) -> None:
        """Refuse a loss per example, which is a scalar on one example only."""
        two = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape[1:]), leaf.dtype), batch)
        try:
            value = jax.eval_shape(self._form, self._params, self._aux, self._known, two, *self._args)[0]
        except Exception:  # a loss of one example, which is its own affair
            return
        _checks.scalar_value(f"on two examples loss {self._name!r}", value)


def _shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


class _Entry(NamedTuple):
    history: History
    status: Array


@PerProgram
def _start(
    program: Program,
    constants: list[Any],
    arguments: tuple[Any, ...],
    known: dict[str, Any],
    params: PyTree,
    aux: PyTree,
    optimizer: optax.GradientTransformation,
    tol: Any,
    state: PyTree,
    skip: Any,
) -> Carry:
    def loss(params: PyTree, aux: PyTree) -> tuple[Array, PyTree]:
        return program(constants, params, aux, _at_step(known, 0), *arguments)

    return start(optimizer, params, loss, tol, aux, state, skip)


@partial(PerProgram, program_of=lambda programs: programs[0], donate_argnames=("carry",))
def _advance(
    programs: tuple[Program, Program],
    constants: list[Any],
    arguments: tuple[Any, ...],
    next_constants: list[Any],
    next_arguments: tuple[Any, ...],
    known: dict[str, Any],
    carry: Carry,
    optimizer: optax.GradientTransformation,
    tol: Any,
    skip: Any,
) -> Carry:
    program, next_program = programs

    def loss(params: PyTree, aux: PyTree) -> tuple[Array, PyTree]:
        return program(constants, params, aux, _at_step(known, carry.stopped_at), *arguments)

    def next_loss(params: PyTree, aux: PyTree) -> tuple[Array, PyTree]:
        return next_program(next_constants, params, aux, _at_step(known, carry.stopped_at + 1), *next_arguments)

    return advance(optimizer, carry, loss, next_loss, tol, skip)


def _at_step(known: dict[str, Any], step: Array | int) -> dict[str, Any]:
    """What a loss is given by keyword in a step, which has a key of its own."""
    return {**known, "key": jax.random.fold_in(known["key"], step)} if "key" in known else known


@PerProgram
def _value(
    program: Program,
    constants: list[Any],
    arguments: tuple[Any, ...],
    known: dict[str, Any],
    params: PyTree,
    aux: PyTree,
) -> Array:
    at_end = {**known, "key": evaluation_key(known["key"])} if "key" in known else known
    return program(constants, params, aux, at_end, *arguments)[0]


@PerProgram
def _evaluated(evaluation: Program | None, constants: list[Any], carry: Carry) -> PyTree:
    """The parameters that are evaluated; None where they are the iterate."""
    found = evaluated_at(evaluation, constants, carry.state, carry.params)
    return None if found is carry.params else jax.tree.map(jnp.copy, found)


@partial(PerProgram, program_of=lambda recorded: recorded[0])
def _record(
    recorded: tuple[Program | None, Program | None, bool],
    constants: tuple[list[Any], list[Any]],
    optimizer: optax.GradientTransformation,
    carry: Carry,
) -> _Entry:
    """What is kept of a point; copies, since the next step overwrites the carry."""
    measure, evaluation, record_params = recorded
    evaluated = evaluated_at(evaluation, constants[1], carry.state, carry.params)
    kept = record(carry, optimizer, measure, constants[0], record_params, evaluated)
    return jax.tree.map(jnp.copy, _Entry(kept, carry.status))
