"""Chunks run here, or handed out to other processes by any `concurrent.futures.Executor`.

A worker gets the definition of the sweep as bytes and the numbers of some chunks. It makes the plan again, checks that
it is the same plan, runs the chunks on all of its own devices, and writes them into the store or returns their columns.
Workers never talk to each other, so one that dies costs the chunks that it was running and nothing else.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
import json
import multiprocessing
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from ..compute.engine import lanes_in_use, limit_lanes, run_chunks
from ..keep.folders import is_store
from ..table.layout import Columns, Layout, layout_of
from ..compute.group_plan import Plan
from ..compute.progress import Progress
from ..keep.shelf import Disk, Shelf
from ..keep.store import Store
from ..table.columns import columns_of, no_trials
from ..compute.width import planned

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
    """Chunks that the executor gave up, as every worker that ran them died."""


class Outline(NamedTuple):
    """A plan as plain data: what a process needs to know that keeps chunks but runs none."""

    identity: dict[str, Any]
    fingerprint: str
    layout: Layout
    width: int
    trials: int
    steps: int
    devices: int

    def pruned(self, how: str, direction: str, report_seeds: list[int]) -> Outline:
        """The outline of a sweep that is pruned in this way by the seeds that do not report: another sweep."""
        fingerprint = hashlib.sha256(f"{self.fingerprint}{how}{direction}".encode()).hexdigest()
        said = {"prune": how, "prune_direction": direction}
        attributes = {**self.layout.attributes, "fingerprint": fingerprint, **said}
        attributes |= {"report_seeds": json.dumps(report_seeds)} if report_seeds else {}
        layout = self.layout._replace(attributes=attributes)
        return self._replace(identity={**self.identity, **said}, fingerprint=fingerprint, layout=layout)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.trials // self.width)

    def trials_of(self, chunk: int) -> range:
        """The trials of a chunk."""
        return range(chunk * self.width, min((chunk + 1) * self.width, self.trials))


def outline_of(plan: Plan, keep_params: bool) -> Outline:
    """The outline of a plan."""
    layout = layout_of(plan, no_trials(plan, keep_params))
    return Outline(plan.identity, plan.fingerprint, layout, plan.width, plan.trials, plan.steps, plan.group.mesh.size)


def run_here(
    plan: Plan, shelf: Shelf, chunks: Iterable[int], *, keep_params: bool, bar: Progress | None = None
) -> Generator[tuple[int, Columns]]:
    """Run those of the chunks that are missing on the devices of this process; yields each when it is kept."""
    for together, resume in shelf.missing(chunks):
        if bar and resume:
            bar.skip(resume.step * sum(len(plan.trials_of(chunk)) for chunk in together))
        told: dict[str, Any] = {"checkpoint": shelf.checkpoint(together), "narrowed": shelf.narrowed}
        finished = run_chunks(plan, together, keep_params=keep_params, bar=bar, resume=resume, **told)
        for chunk, trials in zip(together, finished, strict=True):
            columns = columns_of(plan, trials)
            shelf.put(chunk, columns)
            yield chunk, columns


def agree_on_lanes(plan: Plan, shelf: Shelf) -> None:
    """Begin with no more lanes than memory took when it ran out before, in this process or for what is on the shelf."""
    known = shelf.lanes() or plan.width
    limit_lanes(plan, known)
    if lanes_in_use(plan) < known:
        shelf.narrowed(lanes_in_use(plan))


def hand_out(
    executor: concurrent.futures.Executor,
    payload: bytes,
    outline: Outline,
    shelf: Shelf,
    *,
    folder: Path | None,
    bar: Progress | None = None,
) -> Generator[tuple[int, Columns]]:
    """Run the missing chunks on the workers of an executor; yields each when it is kept, in the order they finish.

    With a folder the workers write the chunks, and what is yielded holds only `status` and `final_loss`.

    Raises:
        BrokenExecutor: a worker died and the executor does not replace it; with a folder it says what is finished.
            Whatever else a worker raises. Chunks that no worker has begun are withdrawn; finished ones stay.
    """
    where = None if folder is None else str(folder.absolute())
    to_run = shelf.unfinished(range(outline.chunks))
    shares = [to_run[i : i + outline.devices] for i in range(0, len(to_run), outline.devices)]
    arguments = (payload, outline.width, outline.identity, where)
    futures = {executor.submit(run_share, share, *arguments): share for share in shares}
    try:
        for future in concurrent.futures.as_completed(futures):
            lanes, told = _result(future, futures[future], outline, shelf, folder)
            if lanes < outline.width:
                shelf.narrowed(lanes)
            for chunk, columns in zip(futures[future], told, strict=True):
                shelf.put(chunk, columns)
                if bar:
                    bar.segment(outline.steps, columns["status"])
                yield chunk, columns
    except concurrent.futures.BrokenExecutor as error:
        if folder is None or isinstance(error, ChunkKilledWorkers):
            raise
        raise type(error)(
            f"a worker died ({error}): {shelf.trials_finished()} of {outline.trials} trials are finished and in "
            f"{folder}; the same call with a new executor runs only the rest"
        ) from error
    finally:
        for future in futures:
            future.cancel()


def _result(
    future: concurrent.futures.Future[Any], share: Sequence[int], outline: Outline, shelf: Shelf, folder: Path | None
) -> tuple[int, list[Columns]]:
    """What a worker returns; Dask's own error, of a task whose workers keep dying, as one that says what to do."""
    try:
        return future.result()
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            raise
        first, last = outline.trials_of(share[0]).start, outline.trials_of(share[-1]).stop - 1
        chunks = f"chunk{'s' * (len(share) > 1)} {', '.join(map(str, share))} (trials {first} to {last})"
        done = f"{shelf.trials_finished()} of {outline.trials} trials are finished"
        kept = f"{done} and in {folder}; the same call runs only the rest" if folder else done
        raise ChunkKilledWorkers(
            f"{chunks} killed every worker that tried, as for want of memory; {kept}. Give the workers more memory, or "
            f"the sweep a smaller width and another store. The executor says: {error}"
        ) from error


def run_share(
    chunks: Sequence[int], payload: bytes, width: int, identity: dict[str, Any], folder: str | None
) -> tuple[int, list[Columns]]:
    """What a worker does: run chunks, and write them into the store in `folder` or return their columns.

    With them it returns the lanes per device that they ran with, fewer than the width if memory ran out. `sys.exit` is
    an error here: an executor would pass it on, and end the process that waits for the result without a word.

    Chunks that have a file by now are not run again, and a chunk that another worker had begun goes on from where it
    was saved. Two workers on one chunk do no harm: both write the same file, and it appears whole.
    """
    with _no_exit(), _settings(payload):
        plan, keep_params = _plan(payload, width)
        _check_same(identity, plan.identity)
        if folder is None or not is_store(Path(folder)):  # deleted while the sweep ran
            ran = run_chunks(plan, chunks, keep_params=keep_params)
            return lanes_in_use(plan), [columns_of(plan, trials) for trials in ran]
        store = Store(Path(folder))
        store.start()
        shelf = Disk(store, store.layout(), plan)
        agree_on_lanes(plan, shelf)
        try:
            told = dict(run_here(plan, shelf, chunks, keep_params=keep_params))
        finally:
            shelf.close()
        earlier = {chunk: shelf.chunk(chunk) for chunk in chunks if chunk not in told}
        kept = {**told, **earlier}
        there = store.finished()  # a chunk is returned whole where the folder was deleted meanwhile
        return lanes_in_use(plan), [_summary(kept[each]) if each in there else kept[each] for each in chunks]


def outline_there(payload: bytes, width: int | str | None) -> Outline:
    """What a worker does first: make the plan and tell its outline, which that of every other worker must equal."""
    with _no_exit(), _settings(payload):
        return outline_of(*_plan(payload, width))


def pack(definition: dict[str, Any], keep_params: bool) -> bytes:
    """The arguments of `make_plan` but devices and width, and the settings of this process, as bytes.

    Functions of the main script and lambdas go by value, those of modules by name.
    """
    import cloudpickle

    settings = {name: getattr(jax.config, f"jax_{name}") for name in _SETTINGS}
    return cloudpickle.dumps((settings, cloudpickle.dumps((definition, keep_params))))


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
    """`sys.exit` in what a user gave as an error."""
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
    import pickle

    return pickle.loads(payload)


def _plan(payload: bytes, width: int | str | None) -> tuple[Plan, bool]:
    """The plan of a payload; made once per process, also where tasks run in threads."""
    with _planning:
        return _made(payload, width)


@functools.lru_cache(maxsize=4)
def _made(payload: bytes, width: int | str | None) -> tuple[Plan, bool]:
    import pickle

    definition, keep_params = pickle.loads(_unpacked(payload)[1])
    plan = plan_of(definition, width, None)
    if width is None and plan.chunks < FEWEST_CHUNKS:
        plan = plan.at_width(-(-plan.trials // FEWEST_CHUNKS))
    return plan, keep_params


def plan_of(definition: dict[str, Any], width: int | str | None, devices: Sequence[jax.Device] | None) -> Plan:
    """The plan of a sweep of one program, at a width that is given or chosen."""
    return planned(width, **definition, devices=devices).plan


def _check_same(there: dict[str, Any], here: dict[str, Any]) -> None:
    changed = [
        f"{name} is {there.get(name)} there, {here.get(name)} here" for name in there if there[name] != here[name]
    ]
    if changed:
        raise RuntimeError(
            f"this worker makes another sweep of the same call than the first: {'; '.join(changed)}. Workers need the "
            f"same kind of device and the same versions; a loss with callbacks has no name that two processes share"
        )


def _summary(columns: Columns) -> Columns:
    return {name: columns[name] for name in ("status", "final_loss")}
