"""One group of a sweep, run to its end: a runner, a shelf for its chunks, a progress bar, and what interrupts them.

Nothing here depends on where the chunks run. `sweep` joins the tables of several groups.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from ..._warnings import warn
from ...minimize import Status
from ..compute.progress import Progress
from ..keep.shelf import Shelf, open_shelf
from ..keep.signals import Stop, Terminated, sigint, sigterm
from ..keep.store import Store
from ..spec.options import Keep
from ..table.layout import Columns, Layout, build_table, chunk_table
from .distribute import Workers
from .here import Here
from .pruners import Pruner

if TYPE_CHECKING:
    import xarray

Runner = Here | Workers


@dataclass(frozen=True)
class Execution:
    """How a sweep is run: the arguments of `sweep` with these names. They do not change the result of a trial."""

    keep: Keep
    repair: bool
    extend: bool
    prune: Pruner | None
    executor: concurrent.futures.Executor | None
    on_chunk: Callable[[xarray.Dataset], object] | None
    progress: bool
    compact: bool = False


def run_group(
    runner: Runner,
    name: str,
    folder: Path | None,
    how: Execution,
    on_chunk: Callable[[xarray.Dataset], object] | None,
) -> xarray.Dataset:
    """The table of one group. Chunks that are already in its folder are not run again."""
    began = time.monotonic()
    with sigterm(wanted=folder is not None, gentle=runner.gentle) as stop, sigint(stop, gentle=runner.gentle):
        shelf = _shelf(runner, folder, how, stop)
        layout = shelf.layout
        share = _share(layout, runner.several and folder is not None)
        trials, left = (_trials_in(layout, chunks) for chunks in (share, shelf.unfinished(share)))
        bar = Progress(trials, layout.steps, name, enabled=how.progress, finished=trials - left)
        interrupted = _consume(runner.run(shelf, share, bar), shelf, layout, bar, on_chunk)
    interrupted |= stop.interrupted  # also too late for this group, so that the next one does not begin
    # After the shelf is closed: until then a file that is missing may still be on its way.
    shelf.warn_if_deleted()
    table = runner.finish(build_table(layout, shelf.columns()))
    table.attrs |= {"devices": runner.devices} | ({"interrupted": 1} if interrupted else {})
    lanes = shelf.lanes()
    table.attrs |= {} if lanes is None else {"narrowed_to": lanes}
    table.attrs["wall_seconds"] = round(time.monotonic() - began, 3)
    return table


def _shelf(runner: Runner, folder: Path | None, how: Execution, stop: Stop) -> Shelf:
    if folder is None:
        return Shelf(runner.layout, runner.devices, stop=stop)
    # Processes of `jax.distributed` write one store, each the chunks of its share, so each holds a lock of its own.
    share = f"-{jax.process_index()}" if runner.several and jax.process_count() > 1 else ""
    parts: tuple[Any, ...] = (Store(folder), runner.identity, runner.layout, runner.devices)
    earlier = runner.identity_of if how.extend and isinstance(runner, Here) else None
    return open_shelf(*parts, repair=how.repair, share=share, stop=stop, earlier=earlier)


def _share(layout: Layout, several: bool) -> range:
    """The chunks that this process runs: all of them, or every n-th where n processes write one store."""
    if several and jax.process_count() > 1:
        return range(jax.process_index(), layout.chunks, jax.process_count())
    return range(layout.chunks)


def _consume(
    finished: Generator[tuple[int, Columns]],
    shelf: Shelf,
    layout: Layout,
    bar: Progress,
    on_chunk: Callable[[xarray.Dataset], object] | None,
) -> bool:
    """Run to the end, and call `on_chunk` with every chunk; returns whether it was interrupted.

    SIGTERM is passed on afterwards, by `sigterm`.
    """
    try:
        # Closed as soon as the loop ends, for whatever reason: chunks that no worker has begun are then withdrawn.
        with contextlib.closing(finished):
            for chunk, columns in finished:
                bar.chunk(columns["status"], columns["final_loss"])
                if on_chunk and shelf.holds(chunk):
                    on_chunk(chunk_table(layout, layout.numbers_of(chunk), shelf.chunk(chunk)))
    except (KeyboardInterrupt, Terminated) as error:
        _warn_unfinished("interrupted" if isinstance(error, KeyboardInterrupt) else "terminated", shelf, layout)
        return True
    except concurrent.futures.BrokenExecutor as error:
        if shelf.is_stored:
            raise
        _warn_unfinished(f"a worker died ({error})", shelf, layout)
        return True
    finally:
        bar.close()
        shelf.close()
    return False


def _trials_in(layout: Layout, chunks: Iterable[int]) -> int:
    return sum(len(layout.trials_of(chunk)) for chunk in chunks)


def _warn_unfinished(why: str, shelf: Shelf, layout: Layout) -> None:
    done = shelf.trials_finished()
    stopped = shelf.trials_interrupted()
    on_the_way = f"{stopped} stopped on the way (status {Status.INTERRUPTED.value}), " if stopped else ""
    left = layout.trials - done - stopped
    rest = f"{left} did not begin (status {Status.NOT_RUN.value})"
    warn(f"{why}: {done} of {layout.trials} trials finished; {on_the_way}{rest}. With a store the same call resumes it")
