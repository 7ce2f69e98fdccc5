"""The engine: runs some trials of a plan side by side on the devices, and returns their results as host arrays.

It knows trials by number only. Which trials run together, and where results go, is decided in `run`; chunks, files and
tables do not occur here.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..._columns import is_extension, is_key
from ..._jaxpr import is_out_of_memory
from ..._streams import Window
from ..._warnings import warn
from ...minibatches import prefetched
from ...minimize import Carry, Status, unmoved_of
from ..spec.options import Keep, default_float
from .group_plan import GroupPlan
from .mesh import ALONG_STEPS, EVERYWHERE, TRIALS, place
from .placed import Placed, ends_of
from .programs import OPENING, LaneInputs, Lanes, Shared, leaf_specs, missing, programs
from .progress import Progress
from .state import State
from .watching import on_the_host, recorder

SECONDS_PER_SEGMENT = 0.5  # long enough that returning to the host costs little, short enough for a live progress bar
FIRST_SEGMENT = 4  # steps, to time one

Part = Sequence[int] | np.ndarray  # the numbers of some trials, at most `width`, that run side by side on one device
Finished = dict[str, Any]  # name -> host array whose leading axis is the part's trials


class Leg(NamedTuple):
    """The steps that trials take in one call.

    Attributes:
        until: the step at which they stop.
        start: their state at the beginning; None at step 0.
        saved: a checkpoint within this leg, made with all lanes of the width.
        keep: whether to return their state at `until`.
    """

    until: int
    start: State | None = None
    saved: State | None = None
    keep: bool = False


class Shown(NamedTuple):
    """What the lanes see in a window of steps.

    Attributes:
        start: the first step.
        shared: what they share, with the rows or the batches of the window.
        position: of a stream before the first batch, where the step is not enough to know it.
        after: the same before the last batch, which is the first of the next window.
    """

    start: int
    shared: Shared
    position: bytes = b""
    after: bytes = b""


class Hooks(NamedTuple):
    """What is called while trials run.

    Attributes:
        bar: the progress bar, after every segment.
        checkpoint: called between segments with a function that returns the current `State`.
        narrowed: called with the lanes left each time memory runs out.
        interrupted: whether to stop after the current segment.
    """

    bar: Progress | None = None
    checkpoint: Callable[[Callable[[], State]], None] | None = None
    narrowed: Callable[[int], object] | None = None
    interrupted: Callable[[], bool] | None = None


NO_HOOKS = Hooks()


class Interrupted(KeyboardInterrupt):
    """Trials were stopped on the way.

    Attributes:
        finished: per part the results at the step that they reached.
        step: that step.
    """

    def __init__(self, finished: list[Finished], step: int) -> None:
        super().__init__()
        self.finished, self.step = finished, step


class Engine:
    """Runs trials of one plan. It keeps the arrays on the devices, and the number of lanes that fit the memory."""

    def __init__(self, plan: GroupPlan, *, keep: Keep = "", placed: Placed | None = None) -> None:
        self.plan, self.keep = plan, keep
        self._placed = Placed(plan) if placed is None else placed
        self.lanes = plan.width

    def limit(self, lanes: int) -> None:
        """Use at most this many lanes per device, because memory ran out before."""
        self.lanes = max(1, min(lanes, self.lanes))

    def run(self, parts: Sequence[Part], leg: Leg, hooks: Hooks = NO_HOOKS) -> tuple[list[Finished], State | None]:
        """Take some trials along a leg, in segments of about half a second.

        When memory runs out, these and all later trials run in pieces of half as many lanes, down to one lane.

        Arguments:
            parts: the numbers of the trials that run side by side on each device, at most one part per device.
            leg: the steps to take.
            hooks: what is called meanwhile.

        Returns:
            Per part the histories (trials, entries), what `problem.evaluate` measures at the end, `initial_loss`,
            `status`, `stopped_at`, the share that is `unmoved`, `skipped` where steps may be, and what is kept, each a
            pytree: `params`, `aux`, `state`, and `iterate` where it is not what is measured. With `leg.keep` also the
            state of all trials, in the order of the parts.
        """
        while True:
            lanes = self.lanes
            try:
                return self._run_with(lanes, parts, leg, hooks)
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                if lanes == 1 or not is_out_of_memory(error):
                    raise
            # Outside the handler, where the error no longer holds on to the arrays of the failed attempt. The lanes
            # of that attempt are gone, as segments donate them; the next one starts from the state on the host.
            self.limit(lanes // 2)
            if hooks.narrowed:
                hooks.narrowed(self.lanes)
            warn(f"out of memory with {lanes} lanes per device; continuing with {self.lanes}")

    def _run_with(
        self, lanes: int, parts: Sequence[Part], leg: Leg, hooks: Hooks
    ) -> tuple[list[Finished], State | None]:
        """Run all parts with this many lanes per device: in one pass, or in pieces one after another.

        Pieces begin at the start of the leg. A checkpoint was made with more lanes, and floats depend on the number of
        lanes: resumed from it, a trial would have results that no uninterrupted run has. For the same reason no
        checkpoint is made of pieces.
        """
        # Only the full width can take up a checkpoint, whose trials ran at that width.
        if lanes == self.plan.width:
            return self._pass(lanes, parts, leg.saved or leg.start, leg, hooks)
        cuts = [range(first, min(first + lanes, len(part))) for part in parts for first in range(0, len(part), lanes)]
        pieces = [np.asarray(part)[first : first + lanes] for part in parts for first in range(0, len(part), lanes)]
        starts = [None] * len(pieces) if leg.start is None else leg.start.parts([len(cut) for cut in cuts])
        ran: list[Finished] = []
        states: list[State] = []
        for first in range(0, len(pieces), self.plan.devices):
            some = slice(first, first + self.plan.devices)
            known = [start for start in starts[some] if start is not None]
            begun = State.joined(known) if known else None
            try:
                finished, state = self._pass(lanes, pieces[some], begun, leg, hooks._replace(checkpoint=None))
            except Interrupted:  # the other pieces of the same chunk have no results
                raise KeyboardInterrupt from None
            ran += finished
            states += [] if state is None else [state]
        results = []
        for part in parts:
            count = -(-len(part) // lanes)
            results.append(jax.tree.map(_joined, *ran[:count]))
            ran = ran[count:]
        return results, State.joined(states) if states else None

    def _pass(
        self, width: int, parts: Sequence[Part], begun: State | None, leg: Leg, hooks: Hooks
    ) -> tuple[list[Finished], State | None]:
        """One pass: every part on a device of its own, in `width` lanes."""
        counts = [len(part) for part in parts]
        rows = _rows_of_lanes(counts, width, self.plan.devices)
        inputs = self.inputs(np.concatenate([np.asarray(part) for part in parts])[rows])
        # Now, as what does not fit in memory should show before the steps are taken.
        losses = self._placed.initial_losses(inputs, width, max(counts))
        step, lanes = 0, None
        if begun is not None:
            step, lanes = begun.step, self._restored(begun.of(rows), width)
        position = b"" if begun is None else begun.position
        segments = self._segments(inputs, step, lanes, leg.until, max(counts), position)
        with contextlib.closing(segments):  # at once, as a stream has a thread that reads ahead
            # `lanes` is rebound at every turn, as a segment overwrites those that it was given.
            for done, status, lanes, position in segments:
                if hooks.bar:
                    hooks.bar.segment(done - step, _of_trials(status, width, counts))
                step = done
                # A function, as most of the time nobody wants the copy on the host; it is called before the next
                # segment takes the lanes. At the end of the leg the trials themselves are returned.
                if hooks.checkpoint and step < leg.until:
                    hooks.checkpoint(functools.partial(_taken, lanes, step, width, counts, position))
                if hooks.interrupted and hooks.interrupted() and step < leg.until:
                    raise Interrupted(self._results(width, parts, inputs, lanes, losses), step)
        # Every leg has a step to take, so there was a segment.
        assert lanes is not None
        state = _taken(lanes, step, width, counts, position) if leg.keep else None
        return self._results(width, parts, inputs, lanes, losses), state

    def running(self, state: State) -> np.ndarray:
        """Which of the trials of a state have not stopped."""
        structure = jax.tree.structure(self.plan.shapes.lanes(1))
        return jax.tree.unflatten(structure, state.leaves).carry.status == Status.COMPLETED

    def inputs(self, trials: np.ndarray) -> LaneInputs:
        """The hyperparameters and seeds of some trials, one lane each, on the devices."""
        configuration, seed = np.divmod(trials, len(self.plan.seeds))
        columns = self.plan.space.columns().items()
        numbers: Any = {name: column[configuration].astype(default_float()) for name, column in columns}
        return place(LaneInputs(numbers, seed.astype(np.int32)), self.plan.static.mesh, TRIALS)  # type: ignore[arg-type]

    def first_pass(self) -> tuple[PyTree, LaneInputs, Shared]:
        """The arguments of the program of the first pass: the starts, what distinguishes its lanes, what they share."""
        plan = self.plan
        counts = [len(plan.trials_of(chunk)) for chunk in range(min(plan.devices, plan.chunks))]
        trials = np.arange(plan.trials)[_rows_of_lanes(counts, plan.width, plan.devices)]
        with contextlib.closing(self._windows(0, 1)) as windows:
            return self._placed.initial, self.inputs(trials), next(windows).shared

    def _segments(
        self, inputs: LaneInputs, step: int, lanes: Lanes | None, until: int, count: int, position: bytes
    ) -> Generator[tuple[int, np.ndarray, Lanes, bytes]]:
        """Advance the lanes from `step` to `until`; after every segment its last step, every status, and the lanes.

        With them comes the position of the stream, if it has one, from which a run begins at that step.
        A segment donates the lanes that it is given, so those of an earlier one are gone.
        """
        compiled = programs(self.plan.static)
        length = FIRST_SEGMENT
        with contextlib.closing(self._windows(step, until, position)) as windows:
            for start, shared, here, after in windows:
                end = min(start + self.plan.window, until)
                if lanes is None:
                    lanes = compiled.begin(self._placed.initial, inputs)
                    lanes = compiled.run(lanes, inputs, shared, *map(np.int32, (start, OPENING, step)))
                    lanes = self._watched(lanes, inputs, step, count)
                while step < end:
                    stop = min(step + length, end, self._next_look(step))
                    began = time.perf_counter()
                    lanes = compiled.run(lanes, inputs, shared, *map(np.int32, (start, step, stop)))
                    lanes = self._watched(lanes, inputs, stop, count)
                    status = jax.device_get(lanes.carry.status)
                    # Reading the status waits for the device, so this is the time of the steps and not of their
                    # dispatch. The first segment includes the evaluation of the starts.
                    elapsed = max(time.perf_counter() - began, 1e-6)
                    length = max(1, int((stop - step) * SECONDS_PER_SEGMENT / elapsed))
                    step = stop
                    yield step, status, lanes, here if step < start + self.plan.window else after

    def _next_look(self, step: int) -> int:
        """The first step after this one at which the validation data are measured."""
        watch = self.plan.static.watch
        last = self.plan.steps
        return last if watch is None else min(last, step - step % watch.every + watch.every)

    def _watched(self, lanes: Lanes, inputs: LaneInputs, step: int, count: int) -> Lanes:
        """The lanes with what is measured at this step, if anything is."""
        watch = self.plan.static.watch
        if watch is None or (step % watch.every and step != self.plan.steps):
            return lanes
        params = self._placed.evaluated(lanes.carry)
        measured = self._placed.look((params, lanes.carry.aux), inputs, count)
        evaluated = None if params is lanes.carry.params else params
        return recorder(watch, self.plan.static.mesh)(lanes, measured, evaluated, np.int32(step))

    def _windows(self, step: int, until: int, position: bytes = b"") -> Generator[Shown]:
        """What is seen in the steps from `step` on, and in the one after, in windows of one shape."""
        window, source = self.plan.window, self.plan.source
        if source is not None:
            held, mesh = self._placed.shared, self.plan.static.mesh

            def placed(one: Window) -> Shown:
                shared = held._replace(data=place(one.batches, mesh, EVERYWHERE))
                return Shown(one.start, shared, one.position, one.after)

            windows = source.windows(step, until, window, self.plan.order, position)
            yield from prefetched(windows, 1, placed)
            return
        # Windows begin at multiples of their length also after a resume, so they have one shape and need one program.
        for start in range(step - step % window, until, window):
            # Every pass begins with the same window, mostly the only one.
            rows = self._placed.first_rows if start == 0 else self._placed.rows(start)
            yield Shown(start, self._placed.shared._replace(rows=rows))

    def _results(
        self, width: int, parts: Sequence[Part], inputs: LaneInputs, lanes: Lanes, initial_losses: np.ndarray
    ) -> list[Finished]:
        """The results of the trials of every part on the host, without the padding."""
        ends = {"status": lanes.carry.status, "stopped_at": lanes.carry.stopped_at}
        ends |= {} if lanes.carry.skips is None else {"skipped": lanes.carry.skips.total}
        point = (self._placed.evaluated(lanes.carry), lanes.carry.aux)
        curves, watched = dict(lanes.histories), {}
        if lanes.watched is not None:
            curves |= lanes.watched.curves
            watched["best_step"] = lanes.watched.best_step
            point = point if lanes.watched.point is None else lanes.watched.point
        kept = self._kept(point, lanes.carry)
        # Padding is not evaluated: on every device only as many lanes as the largest part has.
        compared = self._placed.starts(inputs)[0], lanes.carry.params
        measured, stays = self._placed.measure(point, inputs, max(map(len, parts)), compared)
        deciding = lanes.carry._replace(params=None, state=None, grad=None, aux=None)
        whole, curves, stays, deciding = jax.device_get(
            ({**measured, **watched, **ends, **kept}, curves, stays, deciding)
        )
        whole |= {name: on_the_host(curve.T) for name, curve in curves.items()}
        whole["unmoved"] = unmoved_of(stays, deciding, xp=np)
        whole["initial_loss"] = initial_losses
        cuts = [slice(i * width, i * width + len(part)) for i, part in enumerate(parts)]
        return [jax.tree.map(lambda leaf, cut=cut: leaf[cut], whole) for cut in cuts]

    def _kept(self, point: tuple[PyTree, PyTree], carry: Carry) -> dict[str, PyTree]:
        """What is kept of the end of every lane, which is measured at the (params, aux)."""
        kept = dict(zip(("params", "aux"), point, strict=True)) if self.keep else {}
        return kept | (ends_of(self.plan, carry) if self.keep == "params+state" else {})

    def _restored(self, state: State, width: int) -> Lanes:
        """The lanes of a state, one row each, back on the devices."""
        likes = self.plan.shapes.lanes(width)
        leaves, structure = jax.tree.flatten(likes)
        placed = [
            place(_like(_longer(rows.T, len(like)) if spec == ALONG_STEPS else rows, like), self.plan.static.mesh, spec)
            for rows, like, spec in zip(state.leaves, leaves, leaf_specs(likes), strict=True)
        ]
        return jax.tree.unflatten(structure, placed)


def _rows_of_lanes(counts: Sequence[int], width: int, devices: int) -> np.ndarray:
    """For every lane of a pass the position of its trial among those of all parts.

    Parts are filled up with their last trial, and devices with the last part: one shape, one program.
    """
    starts = np.cumsum([0, *counts])
    filled = [*range(len(counts)), *[len(counts) - 1] * (devices - len(counts))]
    return np.concatenate([starts[i] + np.minimum(np.arange(width), counts[i] - 1) for i in filled])


def _of_trials(values: np.ndarray, width: int, counts: Sequence[int]) -> np.ndarray:
    """The values of lanes that belong to trials, without the padding, in the order of the parts."""
    return np.concatenate([values[i * width : i * width + count] for i, count in enumerate(counts)])


def _taken(lanes: Lanes, step: int, width: int, counts: Sequence[int], position: bytes) -> State:
    """The state of the trials of some lanes, on the host."""
    # NumPy has no arrays of typed keys.
    keyless = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in jax.tree.leaves(lanes)]
    found = zip(jax.device_get(keyless), leaf_specs(lanes), strict=True)
    rows = [leaf.T if spec == ALONG_STEPS else leaf for leaf, spec in found]
    return State(step, [_of_trials(_plain(leaf), width, counts) for leaf in rows], position)


def _joined(*leaves: Any) -> Any:
    """Leaves in one piece; NumPy does not join typed keys."""
    return jnp.concatenate(leaves) if is_key(leaves[0]) else np.concatenate(leaves)


def _plain(values: np.ndarray) -> np.ndarray:
    """The array, or its bytes where NumPy's files do not know the dtype, such as bfloat16."""
    return values.view(f"V{values.itemsize}") if is_extension(values.dtype) else values


def _longer(history: np.ndarray, entries: int) -> np.ndarray:
    """A history of a sweep of fewer steps with room for the others, which the next segments write."""
    return np.pad(history, ((0, entries - len(history)), (0, 0)), constant_values=missing(history.dtype))


def _like(values: np.ndarray, like: Any) -> Any:
    """The inverse of `_plain`: an array with the dtype of a leaf."""
    if is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(values), impl=str(jax.random.key_impl(jnp.empty(0, like.dtype))))
    return values if values.dtype == like.dtype else values.view(like.dtype)
