"""One pass: chunks side by side on the devices, a pure function from (plan, chunk numbers) to finished trials."""

from __future__ import annotations

import functools
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from .._columns import is_extension, is_key
from .._jaxpr import is_out_of_memory
from .plan import Plan, measure
from .programs import EVERYWHERE, HISTORIES, TRIALS, Lanes, Shared, Trials, place, programs, standing
from .progress import Progress

SECONDS_PER_SEGMENT = 0.5  # long enough that returning to the host costs little, short enough for a live progress bar
FIRST_SEGMENT = 4  # steps, to time one
_LANES: weakref.WeakKeyDictionary[Plan, int] = weakref.WeakKeyDictionary()  # of plans whose width did not fit
_FINER: weakref.WeakKeyDictionary[Plan, dict[int, Plan]] = weakref.WeakKeyDictionary()  # and the same in pieces


class Checkpoint(NamedTuple):
    """Chunks on their way: the steps done, and what each chunk's lanes hold, on the host."""

    step: int
    lanes: list[list[np.ndarray]]


def run_chunks(
    plan: Plan,
    chunks: Sequence[int],
    *,
    keep_params: bool = False,
    bar: Progress | None = None,
    resume: Checkpoint | None = None,
    checkpoint: Callable[[Callable[[], Checkpoint]], None] | None = None,
    narrowed: Callable[[int], object] | None = None,
) -> list[dict[str, Any]]:
    """Run chunks, at most one per device, in segments of about half a second.

    Where memory runs out, these chunks and all later ones of the plan are run in pieces of half as many lanes, and so
    on down to one; `lanes_in_use` tells. Pieces are not checkpointed.

    Arguments:
        plan: the sweep.
        chunks: their numbers; devices without a chunk repeat the last one.
        keep_params: return the parameters at the end points.
        bar: told of every segment.
        resume: go on from here.
        checkpoint: called between segments with a function that takes a `Checkpoint` of now.
        narrowed: called with the lanes to go on with each time that memory runs out.

    Returns:
        Per chunk name -> host array whose leading axis is the chunk's trials: the histories (trials, entries), what
        `problem.evaluate` measures at the end, `initial_loss`, `status`, `stopped_at`, the share that is
        `unmoved`, `skipped` where steps may be, and `params` (a pytree) with `keep_params`.
    """

    def attempt(lanes: int) -> list[dict[str, Any]]:
        if lanes < plan.width:
            return _run_pieces(_finer(plan, lanes), chunks, keep_params, bar)
        return _run_pass(plan, chunks, keep_params, bar, resume, checkpoint)

    return _narrowing(plan, attempt, narrowed)


def _narrowing(whole: Plan, attempt: Callable[[int], Any], narrowed: Callable[[int], object] | None) -> Any:
    """Attempt with the lanes in use by a sweep, and with half of them each time that memory runs out."""
    while True:
        lanes = lanes_in_use(whole)
        try:
            return attempt(lanes)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if lanes == 1 or not is_out_of_memory(error):
                raise
        # Outside the handler, where the error no longer holds on to the arrays of the failed attempt.
        _LANES[whole] = lanes // 2
        if narrowed:
            narrowed(lanes // 2)
        warnings.warn(f"out of memory with {lanes} lanes per device; going on with {lanes // 2}", stacklevel=3)


def lanes_in_use(plan: Plan) -> int:
    """The lanes per device that the chunks of a plan run with: its width, or fewer since memory ran out."""
    return _LANES.get(plan, plan.width)


def limit_lanes(plan: Plan, lanes: int) -> None:
    """Run the chunks of a plan with no more lanes per device than these, as memory ran out before."""
    if lanes < lanes_in_use(plan):
        _LANES[plan] = max(1, lanes)


def _finer(plan: Plan, lanes: int) -> Plan:
    """The plan with its chunks in pieces of fewer lanes; one plan for all chunks, as it keeps what it has measured."""
    known = _FINER.setdefault(plan, {})
    if lanes not in known:
        known[lanes] = plan.at_width(lanes, kept=plan.width)
    return known[lanes]


def _run_pieces(finer: Plan, chunks: Sequence[int], keep_params: bool, bar: Progress | None) -> list[dict[str, Any]]:
    """Run chunks piece by piece, one per device at a time."""
    named = [chunk * finer.pieces + piece for chunk in chunks for piece in range(finer.pieces)]
    named = [piece for piece in named if len(finer.trials_of(piece))]
    together = [named[i : i + finer.group.mesh.size] for i in range(0, len(named), finer.group.mesh.size)]
    ran = [result for pieces in together for result in _run_pass(finer, pieces, keep_params, bar, None, None)]
    results = []
    for chunk in chunks:
        of_chunk = [result for piece, result in zip(named, ran, strict=True) if piece // finer.pieces == chunk]
        results.append(jax.tree.map(lambda *parts: np.concatenate(parts), *of_chunk))
    return results


def run_until(
    plan: Plan,
    chunks: Sequence[int],
    until: int,
    *,
    keep_params: bool,
    bar: Progress | None,
    resume: Checkpoint | None,
    whole: Plan | None = None,
    narrowed: Callable[[int], object] | None = None,
) -> tuple[list[dict[str, Any]], Checkpoint]:
    """Run chunks, at most one per device, up to a step: what `run_chunks` returns, as of now, and where they are.

    Where memory runs out they are run in pieces, as there. `whole` is the sweep of which `plan` is a part, and which
    remembers that; where a chunk is run in pieces the checkpoint holds its trials without padding.
    """

    def attempt(lanes: int) -> tuple[list[dict[str, Any]], Checkpoint]:
        if lanes < plan.width:
            finer = _finer(plan, lanes)
            return _run_pieces_until(finer, chunks, until, keep_params, bar, resume)
        return _run_pass_until(plan, chunks, until, keep_params, bar, resume)

    return _narrowing(plan if whole is None else whole, attempt, narrowed)


def _run_pass_until(
    plan: Plan,
    chunks: Sequence[int],
    until: int,
    keep_params: bool,
    bar: Progress | None,
    resume: Checkpoint | None,
) -> tuple[list[dict[str, Any]], Checkpoint]:
    lanes = _run_lanes(plan, chunks, until, bar, resume, None)
    return _results(plan, chunks, lanes, keep_params), _taken(plan, len(chunks), until, lanes)


def _run_pieces_until(
    finer: Plan,
    chunks: Sequence[int],
    until: int,
    keep_params: bool,
    bar: Progress | None,
    resume: Checkpoint | None,
) -> tuple[list[dict[str, Any]], Checkpoint]:
    """Run chunks up to a step piece by piece, one per device at a time; their checkpoint is without padding."""
    named = [(i, chunk * finer.pieces + piece) for i, chunk in enumerate(chunks) for piece in range(finer.pieces)]
    named = [(i, piece) for i, piece in named if len(finer.trials_of(piece))]
    ran: list[list[Any]] = [[] for _ in chunks]
    for first in range(0, len(named), finer.group.mesh.size):
        together = named[first : first + finer.group.mesh.size]
        begun = None if resume is None else _cut_pieces(finer, together, resume)
        results, saved = _run_pass_until(finer, [piece for _, piece in together], until, keep_params, bar, begun)
        for (i, piece), result, leaves in zip(together, results, saved.lanes, strict=True):
            ran[i].append((result, _at_lanes(leaves, np.arange(len(finer.trials_of(piece))))))
    joined = [jax.tree.map(lambda *parts: np.concatenate(parts), *[result for result, _ in parts]) for parts in ran]
    lanes = [
        [np.concatenate(leaves, axis=int(leaf >= len(both) - 3)) for leaf, leaves in enumerate(both)]
        for both in (list(zip(*(leaves for _, leaves in parts), strict=True)) for parts in ran)
    ]
    return joined, Checkpoint(until, lanes)


def _cut_pieces(finer: Plan, named: Sequence[tuple[int, int]], whole: Checkpoint) -> Checkpoint:
    """The pieces (position of the chunk, number) of a checkpoint of chunks, short ones padded with their last trial."""
    cut = []
    for i, piece in named:
        first, trials = piece % finer.pieces * finer.width, len(finer.trials_of(piece))
        lanes = first + np.minimum(np.arange(finer.width), trials - 1)
        cut.append(_at_lanes(whole.lanes[i], lanes))
    return Checkpoint(whole.step, cut)


def _at_lanes(leaves: list[np.ndarray], lanes: np.ndarray | slice) -> list[np.ndarray]:
    """Some lanes of a chunk of a checkpoint, whose last three leaves are histories with the lane as second axis."""
    return [leaf[lanes] for leaf in leaves[:-3]] + [history[:, lanes] for history in leaves[-3:]]


def _run_pass(
    plan: Plan,
    chunks: Sequence[int],
    keep_params: bool,
    bar: Progress | None,
    resume: Checkpoint | None,
    checkpoint: Callable[[Callable[[], Checkpoint]], None] | None,
) -> list[dict[str, Any]]:
    return _results(plan, chunks, _run_lanes(plan, chunks, plan.steps, bar, resume, checkpoint), keep_params)


def _run_lanes(
    plan: Plan,
    chunks: Sequence[int],
    until: int,
    bar: Progress | None,
    resume: Checkpoint | None,
    checkpoint: Callable[[Callable[[], Checkpoint]], None] | None,
) -> Lanes:
    """The lanes of chunks at a step."""
    mesh, compiled = plan.group.mesh, programs(plan.group)
    trials = place(_trials(plan, chunks), mesh, TRIALS)
    constants, data, _, initial, _ = plan.replicated
    _ = plan.initial_losses  # now, as what does not fit in memory should show before the steps are taken
    real = sum(len(plan.trials_of(chunk)) for chunk in chunks)
    step, length = 0, FIRST_SEGMENT
    if resume is not None:
        step = resume.step
        lanes = _restored(plan, resume)
    for start, end, rows in _windows(plan, step, until):
        shared = Shared(constants, data, rows)
        if step == 0:
            lanes = compiled.begin(initial, trials, shared)
        while step < end:
            stop = min(step + length, end)
            began = time.perf_counter()
            lanes = compiled.segment(lanes, trials, shared, *map(jnp.int32, (start, step, stop)))
            status = jax.device_get(lanes.carry.status)
            elapsed = max(time.perf_counter() - began, 1e-6)
            length = max(1, int((stop - step) * SECONDS_PER_SEGMENT / elapsed))
            if bar:
                bar.segment(stop - step, status[:real])
            step = stop
            if checkpoint and step < plan.steps:
                checkpoint(functools.partial(_taken, plan, len(chunks), step, lanes))
    return lanes


def _trials(plan: Plan, chunks: Sequence[int]) -> Trials:
    """The hyperparameters and seeds of every lane. Chunks are padded with their last trial: one shape, one program."""
    padded = [*chunks, *[chunks[-1]] * (plan.group.mesh.size - len(chunks))]
    lanes = np.arange(plan.width)
    ids = np.concatenate([np.minimum(t.start + lanes, t.stop - 1) for t in map(plan.trials_of, padded)])
    configuration, seed = np.divmod(ids, len(plan.seeds))
    numbers = {name: jnp.asarray(column[configuration], float) for name, column in plan.space.columns().items()}
    return Trials(numbers, jnp.asarray(seed, jnp.int32))


def _windows(plan: Plan, step: int, until: int) -> Iterator[tuple[int, int, Int[Array, "seeds window batch"]]]:
    """(first step, end, example indices of those steps and of the one after), all windows of one shape."""
    for start in range(step - step % plan.window, until, plan.window):
        # Every pass begins with the same window, mostly the only one.
        yield start, min(start + plan.window, until), plan.first_rows if start == 0 else plan.rows(start)


def _results(plan: Plan, chunks: Sequence[int], lanes: Lanes, keep_params: bool) -> list[dict[str, Any]]:
    """What is known of the trials of every chunk, on the host, padding left out."""
    histories = {name: getattr(lanes, name).T for name in ("loss", "grad_norm", "update_norm")}
    ends = {"status": lanes.carry.status, "stopped_at": lanes.carry.stopped_at}
    seeds = place(_trials(plan, chunks), plan.group.mesh, TRIALS).seed
    ends["unmoved"] = standing(plan.group.mesh)(plan.replicated[3], seeds, lanes.carry)
    ends |= {} if lanes.carry.skips is None else {"skipped": lanes.carry.skips.total}
    evaluated = plan.evaluated(lanes.carry)
    params = {"params": evaluated} if keep_params else {}
    measured = measure(plan, evaluated, max(len(plan.trials_of(chunk)) for chunk in chunks))
    whole = jax.device_get({**histories, **measured, **ends, **params})
    parts = []
    for i, chunk in enumerate(chunks):
        trials = plan.trials_of(chunk)
        cut = slice(i * plan.width, i * plan.width + len(trials))
        starts = {"initial_loss": plan.initial_losses[np.asarray(trials) % len(plan.seeds)]}
        parts.append(jax.tree.map(lambda leaf, cut=cut: leaf[cut], whole) | starts)
    return parts


def _taken(plan: Plan, chunks: int, step: int, lanes: Lanes) -> Checkpoint:
    """What the lanes hold now, on the host, a list of leaves per chunk."""
    keyless = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in jax.tree.leaves(lanes.carry)]
    carry, histories = ([_plain(leaf) for leaf in part] for part in jax.device_get((keyless, lanes[1:])))
    cuts = [slice(i * plan.width, (i + 1) * plan.width) for i in range(chunks)]
    return Checkpoint(step, [_at_lanes([*carry, *histories], cut) for cut in cuts])


def _restored(plan: Plan, saved: Checkpoint) -> Lanes:
    """The lanes of a checkpoint, back on the devices."""
    mesh = plan.group.mesh
    padding = mesh.size - len(saved.lanes)
    chunks = [*saved.lanes, *[saved.lanes[-1]] * padding]
    shapes = lane_shapes(plan)
    likes, structure = jax.tree.flatten(shapes.carry)
    leaves = zip(likes, zip(*(chunk[:-3] for chunk in chunks), strict=True), strict=True)
    carry = [_like(np.concatenate(parts), like) for like, parts in leaves]
    kept = zip(shapes[1:], zip(*(chunk[-3:] for chunk in chunks), strict=True), strict=True)
    histories = [_like(np.concatenate(parts, axis=1), like) for like, parts in kept]
    return Lanes(
        place(jax.tree.unflatten(structure, carry), mesh, TRIALS), *(place(h, mesh, HISTORIES) for h in histories)
    )


def first_pass(plan: Plan) -> tuple[Trials, Shared]:
    """What the lanes of the first pass are given."""
    constants, data, _, _, _ = plan.replicated
    trials = _trials(plan, range(min(plan.devices, plan.chunks)))
    return place(trials, plan.group.mesh, TRIALS), Shared(constants, data, plan.first_rows)


def segment_shapes(plan: Plan) -> tuple[Lanes, Trials, Shared]:
    """Shapes, dtypes and places of what a segment is given."""
    mesh, lanes = plan.group.mesh, lane_shapes(plan)
    histories = (_placed(history, mesh, HISTORIES) for history in lanes[1:])
    trials, shared = shapes_of(_trials(plan, [0])), shared_shapes(plan)
    return (
        Lanes(_placed(lanes.carry, mesh, TRIALS), *histories),
        _placed(trials, mesh, TRIALS),
        _placed(shared, mesh, EVERYWHERE),
    )


def _placed(shapes: PyTree, mesh: Mesh, spec: PartitionSpec) -> Any:
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes)


def lane_shapes(plan: Plan) -> Lanes:
    """Shapes and dtypes of the lanes of a pass."""
    initial, shared = shapes_of(plan.initial), shared_shapes(plan)
    return jax.eval_shape(programs(plan.group).begin, initial, _trials(plan, [0]), shared)


def shared_shapes(plan: Plan) -> Shared:
    """Shapes and dtypes of what all lanes share."""
    batched = plan.minibatches is not None
    rows = (len(plan.seeds), plan.window + 1, plan.batch_size) if batched else (len(plan.seeds), 1, 0)
    constants, data = shapes_of((plan.constants, plan.problem.data))
    drawn: Any = jax.ShapeDtypeStruct(rows, jnp.int32)
    return Shared(constants, data, drawn)


def shapes_of(tree: PyTree) -> PyTree:
    """Every leaf as its shape and dtype on a device."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), tree)


def _plain(values: np.ndarray) -> np.ndarray:
    """The array, or its bytes where NumPy's files do not know the dtype, such as bfloat16."""
    return values.view(f"V{values.itemsize}") if is_extension(values.dtype) else values


def _like(values: np.ndarray, like: Any) -> Any:
    """What was made plain as a leaf again."""
    if is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(values), impl=str(jax.random.key_impl(jnp.empty(0, like.dtype))))
    return values if values.dtype == like.dtype else values.view(like.dtype)
