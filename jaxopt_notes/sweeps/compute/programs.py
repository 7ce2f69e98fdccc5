"""The sweep's compiled programs: many lanes of `minimize`'s own step, vmapped, sharded over devices, run in segments.

A *lane* is one trial in flight. The lanes of a group differ by numbers and seed only, so one program serves every
chunk. The bounds of the loop are arguments: a segment of any length is the same program, so the floats are
bit-identical wherever a run is cut.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from ..._hoist import Program
from ..._jaxpr import is_weakly_typed
from ..._kept import kept_with
from ...minibatches import gather
from ...minimize import HISTORIES, Carry, advance, evaluated_at, start, unmoved

TRIALS = PartitionSpec("trials")
ALONG_STEPS = PartitionSpec(None, "trials")  # of histories, whose first axis counts entries
EVERYWHERE = PartitionSpec()


class Lanes(NamedTuple):
    """Trials in flight: their carries, and by name what was recorded so far, one column per lane."""

    carry: Carry
    histories: dict[str, Float[Array, "entries lanes"]]


class LaneInputs(NamedTuple):
    """What distinguishes one lane from another: its hyperparameters and the position of its seed."""

    numbers: dict[str, Float[Array, " lanes"]]
    seed: Int[Array, " lanes"]


class Shared(NamedTuple):
    """What all lanes share. Passed as arguments, so that no array becomes a constant of the program."""

    constants: Sequence[Any]
    data: PyTree
    rows: Int[Array, "seeds window batch"]


class Static(NamedTuple):
    """The static part: two groups with equal ones share their compiled programs."""

    factory: Callable[..., Any]
    loss: Program
    entries: int
    every: int
    batched: bool
    mesh: Mesh
    skip: int = 0


@dataclass(frozen=True)
class Programs:
    """The compiled functions of a group, and how often `segment` was traced, which is how often it was compiled."""

    begin: Callable[[PyTree, LaneInputs, Shared], Lanes]
    segment: Any  # jitted (Lanes, LaneInputs, Shared, window start, first step, stop) -> Lanes
    traces: list[int]


def trials_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh `trials` over the given devices; all local ones when None."""
    devices = list(jax.local_devices() if devices is None else devices)
    if not devices:
        raise ValueError("devices must hold at least one device, got none; leave it out for all local ones")
    return jax.make_mesh((len(devices),), ("trials",), axis_types=(AxisType.Auto,), devices=devices)


def place(tree: PyTree, mesh: Mesh, spec: PartitionSpec) -> PyTree:
    """Put every leaf of `tree` on the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, spec))


@kept_with(lambda static: static.loss)
def programs(static: Static) -> Programs:
    """The jitted, sharded functions of a group. Lanes do not communicate, so they hold no collectives."""
    # A pytree of specs in place of arrays: trials are the first axis of every carry, and the second of histories.
    lanes: Any = Lanes(TRIALS, ALONG_STEPS)  # type: ignore[arg-type]
    traces: list[int] = []

    def segment(*args: Any) -> Lanes:
        # Python runs this only while JAX traces, so the length of the list counts compilations.
        traces.append(1)
        return segment_of(static, *args)

    def sharded(function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        # A user's loss may start a loop from constants. Those do not vary over the mesh while what the loop carries
        # does, which `check_vma` would refuse.
        return jax.shard_map(function, mesh=static.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)

    begin = sharded(functools.partial(_begin, static), (EVERYWHERE, TRIALS, EVERYWHERE), lanes)
    advanced = sharded(segment, (lanes, TRIALS, EVERYWHERE, EVERYWHERE, EVERYWHERE, EVERYWHERE), lanes)
    # Lanes are most of a chunk's memory. Donated, they are overwritten; otherwise every segment would hold them twice.
    return Programs(jax.jit(begin), jax.jit(advanced, donate_argnums=0), traces)


@kept_with(lambda evaluate, mesh: evaluate)
def evaluator(evaluate: Program, mesh: Mesh) -> Callable[..., Any]:
    """The compiled `evaluate(constants, params, data, test_data)` of the first lanes of every device, one at a time.

    Their count is the last argument; the others are given zeros.
    """

    def lanewise(constants: Any, params: PyTree, data: PyTree, test_data: PyTree, count: Array) -> PyTree:
        def measured(lane: Array | int) -> PyTree:
            return evaluate(constants, jax.tree.map(lambda leaf: leaf[lane], params), data, test_data)

        def write(lane: Array, whole: PyTree) -> PyTree:
            return jax.tree.map(lambda values, value: values.at[lane].set(value), whole, measured(lane))

        # A loop over single lanes, since a product for several lanes at once may add up in another order: `final_loss`
        # would depend on the width. Its count is traced, so a shorter chunk evaluates no padding and needs no other
        # program.
        lanes = len(jax.tree.leaves(params)[0])
        nothing = jax.tree.map(lambda like: jnp.zeros((lanes, *like.shape), like.dtype), jax.eval_shape(measured, 0))
        return jax.lax.fori_loop(0, count, write, nothing)

    specs = (EVERYWHERE, TRIALS, EVERYWHERE, EVERYWHERE, EVERYWHERE)
    return jax.jit(jax.shard_map(lanewise, mesh=mesh, in_specs=specs, out_specs=TRIALS, check_vma=False))


@functools.lru_cache(maxsize=64)
def settled(evaluation: Program | None, mesh: Mesh) -> Callable[..., Any]:
    """The compiled `(constants, state, params) -> params`: what every lane's method returns, given its iterate."""

    def lanes(constants: Sequence[Any], state: PyTree, params: PyTree) -> PyTree:
        return jax.vmap(functools.partial(evaluated_at, evaluation, constants))(state, params)

    specs = (EVERYWHERE, TRIALS, TRIALS)
    return jax.jit(jax.shard_map(lanes, mesh=mesh, in_specs=specs, out_specs=TRIALS, check_vma=False))


@functools.lru_cache(maxsize=64)
def standing(mesh: Mesh) -> Callable[..., Any]:
    """The compiled `(starts, seed, carry) -> share` of every lane's parameters that do not move."""

    def lanes(initial: PyTree, seeds: Array, carries: Carry) -> Array:
        def one(seed: Array, carry: Carry) -> Array:
            return unmoved(carry._replace(params=jax.tree.map(lambda leaf: leaf[seed], initial)), carry)

        return jax.vmap(one)(seeds, carries)

    specs = (EVERYWHERE, TRIALS, TRIALS)
    return jax.jit(jax.shard_map(lanes, mesh=mesh, in_specs=specs, out_specs=TRIALS, check_vma=False))


def _batch_loss(static: Static, shared: Shared, seed: Array, position: Array) -> Callable[..., Any]:
    """The loss of the batch that `seed` sees at `position` of the window; of everything when there are no batches."""

    def loss(params: PyTree, aux: None) -> tuple[Array, None]:
        if not static.batched:
            return static.loss(shared.constants, params, *(() if shared.data is None else (shared.data,))), aux
        return static.loss(shared.constants, params, gather(shared.data, shared.rows[seed, position])), aux

    return loss


def _begin(static: Static, initial: PyTree, inputs: LaneInputs, shared: Shared) -> Lanes:
    """Lanes at step 0: `initial` holds one start per seed."""

    def one(numbers: dict[str, Array], seed: Array) -> Carry:
        params = jax.tree.map(lambda leaf: leaf[seed], initial)
        loss = _batch_loss(static, shared, seed, jnp.int32(0))
        begun = start(static.factory(**numbers), params, loss, skip=static.skip or None)
        # A segment gives no weak types back, so with them the second segment would be another program.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype) if is_weakly_typed(leaf) else leaf, begun)

    carry = jax.vmap(one)(inputs.numbers, inputs.seed)
    # A trial that stops repeats its last record, so a history starts as its first row repeated.
    records = _records(carry)
    return Lanes(carry, {name: jnp.broadcast_to(row, (static.entries, *row.shape)) for name, row in records.items()})


def segment_of(
    static: Static,
    lanes: Lanes,
    inputs: LaneInputs,
    shared: Shared,
    window: Array,
    first_step: Array,
    stop: Array,
) -> Lanes:
    """Steps `first_step, ..., stop - 1` of every lane; `rows[:, 0]` is the batch of the step `window`."""

    def body(step: Array, lanes: Lanes) -> Lanes:
        def one(carry: Carry, numbers: dict[str, Array], seed: Array) -> Carry:
            now = step - window
            # The candidate of a step is judged by the batch of the next one, so each step sees two neighbouring
            # batches. The optimizer is made here, of this lane's numbers: they are tracers, which must not outlive the
            # trace.
            losses = (_batch_loss(static, shared, seed, now), _batch_loss(static, shared, seed, now + 1))
            return advance(static.factory(**numbers), carry, *losses, skip=static.skip or None)

        carry = jax.vmap(one)(lanes.carry, inputs.numbers, inputs.seed)
        histories, records = lanes.histories, _records(carry)
        return Lanes(carry, {name: _write(static, step + 1, histories[name], row) for name, row in records.items()})

    return jax.lax.fori_loop(first_step, stop, body, lanes)


def _records(carry: Carry) -> dict[str, Array]:
    return {name: getattr(carry, name) for name in HISTORIES}


def _write(static: Static, step: Array, history: Array, row: Array) -> Array:
    # One row is written at every step, in place; between two records it is the row that is there already. So there is
    # no branch around the whole history.
    entry = step // static.every
    if static.every > 1:
        row = jnp.where(step % static.every == 0, row, history[entry])
    return jax.lax.dynamic_update_index_in_dim(history, row, entry, 0)
