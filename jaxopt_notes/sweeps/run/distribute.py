"""`Workers`: chunks handed out to other processes by any `concurrent.futures.Executor`.

A worker gets a group of the sweep as bytes and the numbers of some chunks. It makes the plan again, checks that it is
the same plan, runs the chunks on all of its own devices, and writes them into the store or returns their columns.
Workers never talk to each other, so one that dies costs the chunks that it was running and nothing else.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import multiprocessing
import pickle
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ..compute import width as widths
from ..compute.engine import Engine, Leg
from ..compute.group_plan import GroupPlan
from ..compute.progress import Progress
from ..compute.tiles import in_tiles
from ..compute.trace import trace
from ..keep.folders import is_store
from ..keep.shelf import Shelf
from ..keep.store import Store
from ..spec.group import Group
from ..spec.options import Keep, Options
from ..table.columns import columns_of, no_trials
from ..table.layout import Columns, Layout, layout_of
from .here import agree_on_lanes, run_chunks

if TYPE_CHECKING:
    import xarray

FEWEST_CHUNKS = 16  # of a sweep without a width of its own, so that there is something to hand out
# The settings of JAX that decide the numbers or whether a loss is accepted; a new process has the defaults.
_SETTINGS = (
    "enable_x64",
    "numpy_dtype_promotion",
    "numpy_rank_promotion",
    "default_matmul_precision",
    "default_prng_impl",
    "threefry_partitionable",
)
_planning = threading.Lock()


class ChunkKilledWorkers(concurrent.futures.BrokenExecutor):
    """Chunks that the executor gave up because every worker that ran them died."""


class Outline(NamedTuple):
    """What the workers of one group agree on: what decides a trial, the layout of the table, their devices."""

    identity: dict[str, Any]
    layout: Layout
    devices: int


class Workers:
    """Hands out the chunks of one group: the runner for other processes, as those of `here` are for this one.

    Attributes:
        several, gentle: as of `Here`.
    """

    # One process hands out all chunks of a store, also under `jax.distributed`. It runs no segment itself, so SIGTERM
    # has nothing to wait for.
    several = False
    gentle = False

    def __init__(
        self,
        executor: concurrent.futures.Executor,
        group: Group,
        options: Options,
        *,
        width: int | str | None,
        keep: Keep,
        folder: Path | None,
        plan: GroupPlan | None = None,
    ) -> None:
        self._executor, self._folder, self._width = executor, folder, width
        self._packed = functools.partial(pack, group, options, keep)
        self._plan, self._keep = plan, keep

    @functools.cached_property
    def _payload(self) -> bytes:
        """What the workers are sent, made when the group begins, as it holds the data."""
        return self._packed()

    @functools.cached_property
    def outline(self) -> Outline:
        """The outline of the plan if there is one; otherwise a worker plans, because its devices may be others."""
        if self._plan is not None:
            return outline_of(self._plan, self._keep)
        return self._executor.submit(outline_there, self._payload, self._width).result()

    @property
    def identity(self) -> dict[str, Any]:
        """What decides a trial, part by part."""
        return self.outline.identity

    @property
    def layout(self) -> Layout:
        """The layout of the table."""
        return self.outline.layout

    @property
    def devices(self) -> int:
        """How many chunks a worker runs at a time."""
        return self.outline.devices

    def run(self, shelf: Shelf, chunks: Iterable[int], bar: Progress | None) -> Generator[tuple[int, Columns]]:
        """Run the missing chunks on the workers; yields each when it is kept, in the order they finish.

        With a folder the workers write the chunks, and what is yielded holds only `status` and `final_loss`.

        Raises:
            BrokenExecutor: a worker died and was not restarted; with a folder it reports what is finished.
                Whatever else a worker raises. Chunks that no worker has begun are withdrawn; finished ones stay.
        """
        identity, layout, devices, folder = self.identity, shelf.layout, self.devices, self._folder
        where = None if folder is None else str(folder.absolute())
        to_run = shelf.unfinished(chunks)
        shares = [to_run[i : i + devices] for i in range(0, len(to_run), devices)]
        arguments = (self._payload, layout.width, identity, where)
        numbers = [[layout.numbers_of(chunk) for chunk in share] for share in shares]
        pairs = zip(shares, numbers, strict=True)
        futures = {self._executor.submit(run_share, share, parts, *arguments): share for share, parts in pairs}
        try:
            for future in concurrent.futures.as_completed(futures):
                lanes, returned = _result(future, futures[future], layout, shelf, folder)
                if lanes < layout.width:
                    shelf.narrowed(lanes)
                for chunk, columns in zip(futures[future], returned, strict=True):
                    shelf.put(chunk, columns)
                    if bar:
                        bar.segment(layout.steps, columns["status"])
                    yield chunk, columns
        except concurrent.futures.BrokenExecutor as error:
            if folder is None or isinstance(error, ChunkKilledWorkers):
                raise
            raise type(error)(
                f"a worker died ({error}): {shelf.trials_finished()} of {layout.trials} trials are finished and in "
                f"{folder}; the same call with a new executor runs only the rest"
            ) from error
        finally:
            for future in futures:
                future.cancel()

    def finish(self, table: xarray.Dataset) -> xarray.Dataset:
        """The table as it is, since what the workers compiled is not known here."""
        return table


def outline_of(plan: GroupPlan, keep: Keep) -> Outline:
    """The outline of a plan."""
    return Outline(plan.identity, layout_of(plan, no_trials(plan, keep)), plan.devices)


def _result(
    future: concurrent.futures.Future[Any], share: Sequence[int], layout: Layout, shelf: Shelf, folder: Path | None
) -> tuple[int, list[Columns]]:
    """What a worker returns. Dask's own error for a task whose workers keep dying becomes one with advice."""
    try:
        return future.result()
    except Exception as error:
        # By name, as Dask need not be installed.
        if type(error).__name__ != "KilledWorker":
            raise
        first, last = layout.numbers_of(share[0])[0], layout.numbers_of(share[-1])[-1]
        chunks = f"chunk{'s' * (len(share) > 1)} {', '.join(map(str, share))} (trials {first} to {last})"
        done = f"{shelf.trials_finished()} of {layout.trials} trials are finished"
        kept = f"{done} and in {folder}; the same call runs only the rest" if folder else done
        raise ChunkKilledWorkers(
            f"{chunks} killed every worker that tried, perhaps by running out of memory; {kept}. Give the workers more "
            f"memory, or the sweep a smaller width and another store. The executor reports: {error}"
        ) from error


def run_share(
    chunks: Sequence[int],
    parts: Sequence[np.ndarray],
    payload: bytes,
    width: int,
    identity: dict[str, Any],
    folder: str | None,
) -> tuple[int, list[Columns]]:
    """What a worker does: run chunks, and write them into the store in `folder` or return their columns.

    `parts` are the numbers of the trials of each chunk.

    It also returns the lanes per device that they ran with, fewer than the width if memory ran out. `sys.exit` becomes
    an error: an executor would pass it on, and the process that waits for the result would end without a message.

    Chunks that already have a file are not run again, and a chunk that another worker began is resumed from its
    checkpoint. Two workers on one chunk do no harm: both write the same file, and it appears whole.
    """
    with _no_exit(), _settings(payload):
        engine, _ = _engine(payload, width)
        plan = engine.plan
        _check_same(identity, plan.identity)
        if folder is None or not is_store(Path(folder)):  # deleted while the sweep ran
            # Then the columns travel back whole, and the caller has everything that was computed.
            ran, _ = engine.run(parts, Leg(plan.steps))
            return engine.lanes, [columns_of(plan, one) for one in ran]
        store = Store(Path(folder))
        store.start()
        shelf = Shelf(store.layout(), plan.devices, store)
        agree_on_lanes(engine, shelf)
        try:
            done = dict(run_chunks(engine, shelf, chunks))
        finally:
            shelf.close()
        earlier = {chunk: shelf.chunk(chunk) for chunk in chunks if chunk not in done}
        kept = {**done, **earlier}
        there = store.finished()  # a chunk is returned whole where the folder was deleted meanwhile
        return engine.lanes, [_summary(kept[each]) if each in there else kept[each] for each in chunks]


def outline_there(payload: bytes, width: int | str | None) -> Outline:
    """What a worker does first: make the plan and return its outline, which every other worker must agree with."""
    with _no_exit(), _settings(payload):
        engine, keep = _engine(payload, width)
        return outline_of(engine.plan, keep)


def pack(group: Group, options: Options, keep: Keep) -> bytes:
    """The definition of a group, from which a worker makes a plan, and the settings of this process, as bytes.

    Functions of the main script and lambdas are sent by value, those of modules by name.
    """
    import cloudpickle

    # Pickled twice: the worker must apply the settings before it unpickles the rest, or its float64 arrays would arrive
    # as float32.
    settings = {name: getattr(jax.config, f"jax_{name}") for name in _SETTINGS}
    try:
        return cloudpickle.dumps((settings, cloudpickle.dumps((group, options, keep))))
    except (TypeError, pickle.PicklingError) as error:
        if options.source is None:
            raise
        raise TypeError(
            f"the problem or data cannot be sent to the workers of an executor ({error}): data may be a map of a file, "
            f"arrays in memory, or a data set that opens its files where it is read"
        ) from error


def check_executor(executor: Any) -> concurrent.futures.Executor:
    """Return `executor` if its workers can use JAX.

    Raises:
        TypeError: it is no executor. ValueError: its workers are forks of this process, where JAX would hang.
    """
    if not isinstance(executor, concurrent.futures.Executor):
        raise TypeError(
            f"executor must be a concurrent.futures.Executor, such as a ProcessPoolExecutor or Dask's "
            f"client.get_executor(); got {executor!r}"
        )
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        accepted = [name for name in multiprocessing.get_all_start_methods() if name != "fork"]
        raise ValueError(
            f"executor forks this process, and a fork cannot use JAX; give it "
            f"mp_context=multiprocessing.get_context({accepted[0]!r})"
        )
    return executor


@contextlib.contextmanager
def _no_exit() -> Iterator[None]:
    """Turn `sys.exit` in a user's code into an error."""
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"a worker called sys.exit({error.code!r}), so it computed nothing") from error


@contextlib.contextmanager
def _settings(payload: bytes) -> Iterator[None]:
    """The settings of the process that packed, for this thread."""
    with contextlib.ExitStack() as stack:
        for name, value in _unpacked(payload)[0].items():
            if getattr(jax.config, f"jax_{name}") != value:
                stack.enter_context(getattr(jax, name)(value))
        yield


@functools.lru_cache(maxsize=4)
def _unpacked(payload: bytes) -> tuple[dict[str, Any], bytes]:
    return pickle.loads(payload)


def _engine(payload: bytes, width: int | str | None) -> tuple[Engine, Keep]:
    """The engine of a payload; made once per process, also where tasks run in threads."""
    # `lru_cache` alone would let two threads plan the same sweep at the same time.
    with _planning:
        return _made(payload, width)


@functools.lru_cache(maxsize=4)
def _made(payload: bytes, width: int | str | None) -> tuple[Engine, Keep]:
    group, options, keep = pickle.loads(_unpacked(payload)[1])
    plan = widths.at(trace("", group, options, None), width)
    if width is None and plan.chunks < FEWEST_CHUNKS:
        plan = plan.at_width(in_tiles(-(-plan.trials // FEWEST_CHUNKS), plan.static.tile))
    return Engine(plan, keep=keep), keep


def _check_same(there: dict[str, Any], here: dict[str, Any]) -> None:
    changed = [
        f"{name} is {there.get(name)} there, {here.get(name)} here" for name in there if there[name] != here.get(name)
    ]
    if changed:
        raise RuntimeError(
            f"this worker's plan differs from that of the first: {'; '.join(changed)}. Workers need the same kind of "
            f"device and the same versions; a loss with callbacks cannot be recognised in another process"
        )


def _summary(columns: Columns) -> Columns:
    return {name: columns[name] for name in ("status", "final_loss")}
