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
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from ..._hoist import Program
from ..._jaxpr import is_weakly_typed, quick_options
from ..._kept import kept_with
from ..._numerics import tree_where
from ...minibatches import gather
from ...minimize import HISTORIES, NORMS, Carry, advance, equal_trees, evaluated_at, unevaluated
from ..spec.group import STEPS
from .mesh import ALONG_STEPS, EVERYWHERE, TRIALS, Split, sharded
from .tiles import tile_of

OPENING = -1  # the step that evaluates the starts


class Watched(NamedTuple):
    """What was measured of the validation data so far.

    Attributes:
        curves: by name what was measured, `missing` where it is not yet.
        best: the best value of the monitored column, in the sign in which lower is better.
        best_step: the step of it.
        point: the (params, aux) there, if they are kept.
    """

    curves: dict[str, Shaped[Array, "entries lanes"]]
    best: Float[Array, " lanes"]
    best_step: Int[Array, " lanes"]
    point: PyTree


class Lanes(NamedTuple):
    """Trials in flight: their carries, and by name what was recorded so far, one column per lane."""

    carry: Carry
    histories: dict[str, Float[Array, "entries lanes"]]
    watched: Watched | None = None


def lane_specs(watched: bool) -> Any:
    """How lanes lie on the mesh: trials are the first axis of every carry, and the second of histories and curves."""
    # A pytree of specs in place of arrays.
    more: Any = Watched(ALONG_STEPS, TRIALS, TRIALS, TRIALS) if watched else None  # type: ignore[arg-type]
    return Lanes(TRIALS, ALONG_STEPS, more)  # type: ignore[arg-type]


def leaf_specs(lanes: Lanes) -> list[PartitionSpec]:
    """How every leaf of some lanes lies on the mesh, in their order."""
    specs = lane_specs(lanes.watched is not None)
    one = lambda spec, part: [spec] * len(jax.tree.leaves(part))
    listed = jax.tree.map(one, specs, lanes, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))
    return jax.tree.leaves(listed, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))


class LaneInputs(NamedTuple):
    """What distinguishes one lane from another: its hyperparameters and the position of its seed."""

    numbers: dict[str, Float[Array, " lanes"]]
    seed: Int[Array, " lanes"]


class Shared(NamedTuple):
    """What all lanes share. Passed as arguments, so that no array becomes a constant of the program.

    Attributes:
        constants: what the closure of the loss holds.
        data: the training data; of a stream the batches of a window.
        rows: the example indices of a window; None of a stream.
        keys: per seed the key of what is random in the loss; None if nothing is.
    """

    constants: Sequence[Any]
    data: PyTree
    rows: Int[Array, "orders window batch"] | None
    keys: Key[Array, " seeds"] | None = None


class Watch(NamedTuple):
    """How the validation data are measured along a run.

    Attributes:
        every: steps between two measurements; the last one is at the last step.
        entries: how many there are, that of the start included.
        columns: (name, dtype) of what is measured.
        monitor: the column that decides which step is best.
        sign: 1 if a lower value of it is better, -1 if a higher one is.
        patience: steps without a better value after which a trial stops; None if none does.
        keeps_best: whether the point of the best step is kept.
    """

    every: int
    entries: int
    columns: tuple[tuple[str, Any], ...]
    monitor: str
    sign: int
    patience: int | None
    keeps_best: bool


class Static(NamedTuple):
    """The static part: two groups with equal ones share their compiled programs.

    Attributes:
        factory: the optimizer's factory.
        loss: `(constants, params, aux, known, *batch) -> (value, aux)`.
        entries: length of the histories.
        every: steps between two entries.
        batched: whether a step sees a batch and not all data.
        mesh: the devices.
        skip: how many steps in a row may be skipped.
        own: the hyperparameters that are the problem's and not the optimizer's.
        begin: `(constants, key, known) -> (params, aux)` where starts depend on such numbers; None where each seed has
            one start.
        watch: how its runs are watched; None if they are not.
        capped: whether a number of every lane is the most steps that it takes.
        streamed: whether all lanes see one batch of a window that comes from the host.
        record: the names of the histories.
        split: how one lane is split over several devices; None where it lies on one.
        tile: how many lanes of a device should step side by side; None if all.
    """

    factory: Callable[..., Any]
    loss: Program
    entries: int
    every: int
    batched: bool
    mesh: Mesh
    skip: int = 0
    own: tuple[str, ...] = ()
    begin: Program | None = None
    watch: Watch | None = None
    capped: bool = False
    streamed: bool = False
    record: tuple[str, ...] = tuple(HISTORIES)
    split: Split | None = None
    tile: int | None = None

    @property
    def norms(self) -> tuple[str, ...]:
        """The norms that a step computes; whether to skip one is decided by both."""
        return NORMS if self.skip else self.record

    def optimizer(self, numbers: dict[str, Array]) -> Any:
        """The optimizer of a lane."""
        return self.factory(**{name: value for name, value in numbers.items() if name not in self.own})

    def own_of(self, numbers: dict[str, Array]) -> dict[str, Array]:
        """The numbers of a lane that the problem is given."""
        return {name: numbers[name] for name in self.own if not (self.capped and name == STEPS)}


@dataclass(frozen=True)
class Programs:
    """The compiled functions of a group.

    Attributes:
        begin: jitted `(initial, LaneInputs) -> Lanes`, whose starts are not evaluated yet.
        segment: jitted `(Lanes, LaneInputs, Shared, window start, first step, stop) -> Lanes`. The step `OPENING`
            evaluates the starts.
        kinds: the kinds of arguments that `run` was given. JAX compiles a program for each.
    """

    begin: Any
    segment: Any
    kinds: set[tuple[Any, ...]]

    def run(self, *arguments: Any) -> Lanes:
        """Call `segment`, and note the kind of its arguments."""
        leaves, structure = jax.tree.flatten(arguments)
        self.kinds.add((structure, *map(jax.typeof, leaves)))
        return self.segment(*arguments)


@kept_with(lambda static: static.loss)
def programs(static: Static) -> Programs:
    """The jitted, sharded functions of a group. Lanes do not communicate, so they hold no collectives."""
    lanes = lane_specs(static.watch is not None)
    begin = sharded(functools.partial(_begin, static), static.mesh, (EVERYWHERE, TRIALS), lanes)
    taken = (lanes, TRIALS, EVERYWHERE, EVERYWHERE, EVERYWHERE, EVERYWHERE)
    advanced = sharded(functools.partial(segment_of, static), static.mesh, taken, lanes)
    # Lanes are most of a chunk's memory. Donated, they are overwritten; otherwise every segment would hold them twice.
    # Copies and new states take longer to compile well than to run; starts that depend on numbers need not.
    begun = jax.jit(begin, compiler_options=None if static.begin else quick_options())
    return Programs(begun, jax.jit(advanced, donate_argnums=0), set())


@kept_with(lambda evaluate, mesh: evaluate)
def evaluator(evaluate: Program, mesh: Mesh) -> Callable[..., Any]:
    """The compiled `evaluate(constants, params, aux, known, parts)` of the first lanes of every device, one at a time.

    Given are the lanes as (params, aux, known), two trees of lanes that are compared, the parts, and the count; what is
    beyond it is given zeros. Returned is what was measured, and whether the two trees are equal.
    """

    def lanewise(constants: Any, lanes: PyTree, compared: tuple[PyTree, PyTree], parts: PyTree, count: Array) -> PyTree:
        def measured(lane: Array | int) -> PyTree:
            of_lane, pair = jax.tree.map(lambda leaf: leaf[lane], (lanes, compared))
            return evaluate(constants, *of_lane, parts), equal_trees(*pair)

        def write(lane: Array, whole: PyTree) -> PyTree:
            return jax.tree.map(lambda values, value: values.at[lane].set(value), whole, measured(lane))

        # A loop over single lanes, since a product for several lanes at once may add up in another order: `final_loss`
        # would depend on the width. Its count is traced, so a shorter chunk evaluates no padding and needs no other
        # program.
        width = len(jax.tree.leaves(lanes)[0])
        nothing = jax.tree.map(lambda like: jnp.zeros((width, *like.shape), like.dtype), jax.eval_shape(measured, 0))
        return jax.lax.fori_loop(0, count, write, nothing)

    specs = (EVERYWHERE, TRIALS, TRIALS, EVERYWHERE, EVERYWHERE)
    return jax.jit(sharded(lanewise, mesh, specs, TRIALS))


@kept_with(lambda static: static.loss)
def starter(static: Static) -> Callable[..., Any]:
    """The compiled `(initial, inputs) -> (params, aux)` of the start of every lane."""
    starts = functools.partial(_starts, static)
    return jax.jit(sharded(starts, static.mesh, (EVERYWHERE, TRIALS), TRIALS))


@functools.lru_cache(maxsize=64)
def settled(evaluation: Program | None, mesh: Mesh) -> Callable[..., Any]:
    """The compiled `(constants, state, params) -> params`: what every lane's method returns, given its iterate."""

    def lanes(constants: Sequence[Any], state: PyTree, params: PyTree) -> PyTree:
        return jax.vmap(functools.partial(evaluated_at, evaluation, constants))(state, params)

    specs = (EVERYWHERE, TRIALS, TRIALS)
    return jax.jit(sharded(lanes, mesh, specs, TRIALS))


def _starts(static: Static, initial: PyTree, inputs: LaneInputs) -> tuple[PyTree, PyTree]:
    """Parameters and aux at the start of every lane.

    `initial` holds those of every seed; or where they depend on numbers the constants of `begin`, and a key per seed.
    """
    begin = static.begin
    if begin is None:
        return jax.tree.map(lambda leaf: leaf[inputs.seed], initial)

    def one(lane: tuple[dict[str, Array], Array]) -> PyTree:
        numbers, seed = lane
        return begin(initial[0], initial[1][seed], static.own_of(numbers))

    return jax.lax.map(one, tuple(inputs))  # one at a time, so that the floats do not depend on the width


def _step_loss(
    static: Static, shared: Shared, numbers: dict[str, Array], seed: Array, position: Array, step: Array
) -> Callable[..., Any]:
    """The loss of a step, whose batch `seed` sees at `position` of the window; of everything without batches."""
    known = static.own_of(numbers)
    if shared.keys is not None:
        # One seed has one key for all lanes, known without looking: what is random is then drawn once for a tile, and
        # not for each lane.
        known["key"] = jax.random.fold_in(shared.keys[seed if len(shared.keys) > 1 else 0], step)

    def loss(params: PyTree, aux: PyTree) -> tuple[Array, PyTree]:
        batch = () if shared.data is None else (shared.data,)
        if static.streamed:
            # The position is the same for all lanes, so under vmap the batch is one, and not one for each.
            at = functools.partial(jax.lax.dynamic_index_in_dim, index=position, keepdims=False)
            batch = (jax.tree.map(at, shared.data),)
        elif static.batched:
            assert shared.rows is not None
            batch = (gather(shared.data, shared.rows[seed, position]),)
        if static.split is not None:
            batch = static.split.of_batch(batch)
        return static.loss(shared.constants, params, aux, known, *batch)

    return loss


def _begin(static: Static, initial: PyTree, inputs: LaneInputs) -> Lanes:
    """Lanes before the step `OPENING`; `initial` as `_starts` takes it."""
    value, _ = static.loss.output()

    def one(numbers: dict[str, Array], params: PyTree, aux: PyTree) -> Carry:
        begun = unevaluated(static.optimizer(numbers), params, aux, value.dtype, skip=static.skip or None)
        begun = begun if static.split is None else static.split.of_carry(begun, params)
        # A segment gives no weak types back, so with them the second segment would be another program.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype) if is_weakly_typed(leaf) else leaf, begun)

    starts = _starts(static, initial, inputs)
    carry = jax.vmap(one)(inputs.numbers, *starts)
    records = _records(static, carry).items()
    # Zeros and not NaN, which `jax_debug_nans` would report; what is not recorded is never read.
    histories = {name: jnp.zeros((static.entries, *row.shape), row.dtype) for name, row in records}
    return Lanes(carry, histories, static.watch and unwatched(static.watch, starts, len(inputs.seed)))


def missing(dtype: np.dtype) -> Any:
    """What a history or curve holds where nothing was recorded: NaN, or the largest number of a dtype for counts."""
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.nan


def unwatched(watch: Watch, point: tuple[PyTree, PyTree], lanes: int) -> Watched:
    """What is known before the first measurement, of lanes at these (params, aux)."""
    curves = {name: jnp.full((watch.entries, lanes), missing(dtype), dtype) for name, dtype in watch.columns}
    monitored = curves[watch.monitor].dtype
    best = jnp.full(lanes, jnp.inf, monitored if jnp.issubdtype(monitored, jnp.floating) else float)
    return Watched(curves, best, jnp.zeros(lanes, jnp.int32), point if watch.keeps_best else None)


def segment_of(
    static: Static,
    lanes: Lanes,
    inputs: LaneInputs,
    shared: Shared,
    window: Array,
    first_step: Array,
    stop: Array,
) -> Lanes:
    """Steps `first_step, ..., stop - 1` of every lane; `rows[:, 0]` is the batch of the step `window`.

    `OPENING`, the step before the first, moves nothing: its candidate is the start.
    """
    width = len(inputs.seed)
    tile = tile_of(width, static.tile)
    steps = functools.partial(_steps_of, static, shared, window, first_step, stop)

    # All lanes together are more than a cache holds, so each tile takes all steps of the segment before the next one.
    def of_tile(index: Array, parts: tuple[Carry, dict[str, Array]]) -> tuple[Carry, dict[str, Array]]:
        def taken(axis: int, tree: PyTree) -> PyTree:
            return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, index * tile, tile, axis), tree)

        def put(axis: int, tree: PyTree, part: PyTree) -> PyTree:
            write = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=index * tile, axis=axis)
            return jax.tree.map(write, tree, part)

        carry, histories = parts
        after, written = steps(taken(0, carry), taken(1, histories), taken(0, inputs))
        return put(0, carry, after), put(1, histories, written)

    if tile == width:
        carry, histories = steps(lanes.carry, lanes.histories, inputs)
    else:
        carry, histories = jax.lax.fori_loop(0, width // tile, of_tile, (lanes.carry, lanes.histories))
    return lanes._replace(carry=carry, histories=histories)


def _steps_of(
    static: Static,
    shared: Shared,
    window: Array,
    first_step: Array,
    stop: Array,
    carry: Carry,
    histories: dict[str, Array],
    inputs: LaneInputs,
) -> tuple[Carry, dict[str, Array]]:
    """The steps of `segment_of`, of lanes side by side."""

    def body(step: Array, before: tuple[Carry, dict[str, Array]]) -> tuple[Carry, dict[str, Array]]:
        def one(carry: Carry, numbers: dict[str, Array], seed: Array) -> Carry:
            now = step - window
            # The candidate of a step is judged by the batch of the next one, so each step sees two neighbouring
            # batches. The optimizer is made here, of this lane's numbers: they are tracers, which must not outlive the
            # trace.
            first, then = (_step_loss(static, shared, numbers, seed, now + i, step + i) for i in (0, 1))
            optimizer, skip = static.optimizer(numbers), static.skip or None
            after = advance(optimizer, carry, first, then, skip=skip, norms=static.norms, opening=step == OPENING)
            after = after if static.split is None else static.split.of_carry(after, carry.params)
            if not static.capped:
                return after
            rests = carry._replace(update_norm=jnp.zeros_like(carry.update_norm))
            return tree_where(step.astype(float) < numbers[STEPS], after, rests)

        carry, histories = before
        carry = jax.vmap(one)(carry, inputs.numbers, inputs.seed)
        records = _records(static, carry).items()
        return carry, {name: _write(static, step + 1, histories[name], row) for name, row in records}

    return jax.lax.fori_loop(first_step, stop, body, (carry, histories))


def _records(static: Static, carry: Carry) -> dict[str, Array]:
    return {name: getattr(carry, name) for name in static.record}


def _write(static: Static, step: Array, history: Array, row: Array) -> Array:
    # One row is written at every step, in place; between two records it is the row that is there already. So there is
    # no branch around the whole history.
    entry = step // static.every
    if static.every > 1:
        row = jnp.where(step % static.every == 0, row, history[entry])
    return jax.lax.dynamic_update_index_in_dim(history, row, entry, 0)
