"""`sweep`: every configuration and seed of a space, chunk by chunk, as a labelled table."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import optax
from jaxtyping import Array, Key, PyTree

from ... import _checks
from ..._digests import StoreError
from ...problems import Problem
from ..spec.group import check_kept, parts_of
from ..table.decisions import Decisions, add_decisions
from .distribute import (
    Outline,
    agree_on_lanes,
    check_executor,
    hand_out,
    outline_of,
    outline_there,
    pack,
    plan_of,
    run_here,
)
from ..keep.folders import holds_results
from .pruners import Pruner, check_pruner, rule_of
from ..table.joined import claim, sweep_families, sweep_parts
from ..table.layout import Columns, build_table, chunk_table
from .plan import plan
from ..compute.programs import programs
from ..compute.progress import Progress
from .rungs import run_pruned
from ..keep.shelf import Disk, Memory, Shelf, open_disk
from ..keep.signals import Terminated, sigterm
from ..spec.space import Space
from ..keep.store import Store

if TYPE_CHECKING:
    import xarray

_CHOSEN = ("evaluation_params", "skip_non_finite")
Family = tuple[Callable[..., optax.GradientTransformation], Space]


def sweep(
    problem: Problem | Callable[..., Problem],
    optimizer: Callable[..., optax.GradientTransformation] | Mapping[str, Family],
    space: Space | None = None,
    *,
    seeds: int | Sequence[int] = 1,
    steps: int,
    batch_size: int | None = None,
    every: int = 1,
    key: Key[Array, ""] | None = None,
    keep_params: bool = False,
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None = None,
    skip_non_finite: int = 0,
    width: int | str | None = None,
    devices: Sequence[jax.Device] | None = None,
    store: str | os.PathLike[str] | None = None,
    repair: bool = False,
    prune: Pruner | None = None,
    executor: concurrent.futures.Executor | None = None,
    on_chunk: Callable[[xarray.Dataset], object] | None = None,
    progress: bool = True,
) -> Any:
    """Run every configuration of a space from every seed, as one compiled program, and return a labelled table.

    Choices in the space (booleans, None, texts, functions, `batch_size`, arguments of a problem) make one program each.
    So does each value of a number that the optimizer cannot be traced with, such as a `memory_size` or one that a
    Python `if` looks at. All other numbers are traced and vmapped; trials are cut into chunks of `width` lanes per
    device and sharded over all local devices. All configurations of one seed share initial parameters and data order,
    so differences between configurations are paired. A trial's keys, data order and start depend on its seed alone, not
    on the rest of the space, the chunk or the devices; its floats depend on nothing else but the width.

    Arguments:
        problem: what to minimise; or a function that makes it, whose arguments are axes of the space.
        optimizer: a function from numbers to an (init, update) pair: `jon.momentum`, or one of optax's. Or several
            families, name -> (optimizer, space).
        space: from `grid`, `zipped`, `sample` or `trials`; its axes are arguments of `optimizer`, of a problem that is
            a function, or `batch_size`. None with several families.
        seeds: how many seeds (0, 1, ...), or the seeds themselves.
        steps: steps of every trial. Static.
        batch_size: examples per step, reshuffled every epoch; the full data when None. Static.
        every: record one entry per this many steps; must divide `steps`. Static.
        key: root of all randomness; seed s uses `fold_in(key, s)`. `jax.random.key(0)` when None.
        keep_params: keep the parameters at the end points, for `end_point`; those of `evaluation_params`.
        evaluation_params: `evaluation_params(state, params) -> params`, the parameters at which everything of the end
            is measured, also by pruners, for methods whose result is not their iterate. When None those of
            `optimizers.evaluation_params`: averages and schedule-free methods are recognised. Static.
        skip_non_finite: how many steps in a row of a trial may be skipped because their loss, gradient or update is not
            finite, as in `minimize`; the table then has a column `skipped`. Static.
        width: lanes per device and chunk. When None it is chosen by the number of trials, the size of a lane and the
            memory of the machine, so fix it where the floats of two sweeps must be the same bits. "fastest" times a
            few, as `plan(...).timed()` does. A store keeps the width it began with. Where memory runs out the lanes
            are halved, also for a resume (`attrs["narrowed_to"]`).
        devices: the devices to use; all local ones when None. Workers of an executor use all of theirs.
        store: a folder that holds the sweep. Every chunk of `width` trials is written there when it is finished, and
            chunks that take longer save where they are once a minute. The same call goes on where a killed one
            stopped, on any number of devices, and gives the same bits; `open_sweep(store)` reads it at any time.
            SIGTERM saves where the chunks are and then ends the process.
            Processes of `jax.distributed` that make the same call run a share of the chunks each, by their index, and
            never wait for each other: each returns what is on disk when its own share is.
        repair: set files of the store aside that were changed or belong to another sweep, and make them again: chunks
            are run again, what stands beside them is written anew. Another definition is refused as without it.
        prune: `jon.halving(...)` or `jon.median_stopping(...)`: stop the configurations that do worse early, and pack
            the others together. Their trials have status -2, no history after `pruned_at`, and as `final_*` what was
            measured there; `rung_metric` holds what decided. Groups of other programs compete among themselves. One
            process runs it, so not with `executor`.
        executor: hand the chunks out to its workers instead: a `ProcessPoolExecutor` that spawns, Dask's
            `client.get_executor()`, or any other `concurrent.futures.Executor` whose workers can import what this
            process can. With a store, which they must all see, each worker writes its chunks there; otherwise they come
            back. Without a width there are at least 16 chunks. The problem travels with every one.
        on_chunk: called here with every chunk when it is finished, for a logger: a Dataset along `trial`, with the
            hyperparameters and `seed` as coordinates. What it raises stops the sweep.
        progress: show a progress bar on standard error.

    Returns:
        An `xarray.Dataset`: dims are the axes, or `configuration` of a list of points, then `seed` and `step`; several
        families give an `xarray.DataTree` with one such Dataset each. Histories `loss`, `grad_norm`, `update_norm` (of
        the minibatch) of the iterate; at the end `final_loss` and every metric as `final_*` on the full training data
        and `test_*` on the data held out; `initial_loss`, `status` (codes of `Status`) and `stopped_at`. A trial that
        was not run has status -1. After Ctrl-C the chunks that finished are returned, with a warning; so they are when
        a worker dies whom the executor does not replace and there is no store, and when the store is deleted while the
        sweep runs.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.
        StoreError: the store holds another sweep (every difference is named), a file that cannot be read, or is being
            written by another process. OSError: it cannot be written; the chunks before are there. BrokenExecutor: a
            worker died whom the executor does not replace, or a chunk that is named killed every worker that Dask gave
            it to; what is finished is in the store.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.momentum, jon.grid(learning_rate=[0.01, 0.05], beta=[0.0, 0.9]),
        ...                   steps=100, progress=False)
        >>> dict(table.final_loss.sizes)
        {'learning_rate': 2, 'beta': 2, 'seed': 1}
    """
    options = {
        **{"seeds": seeds, "steps": steps, "every": every, "key": key, "keep_params": keep_params, "width": width},
        **{"devices": devices, "repair": repair, "prune": prune, "executor": executor},
        **{"evaluation_params": evaluation_params, "skip_non_finite": skip_non_finite},
        **{"on_chunk": on_chunk, "progress": progress},
    }
    for name, value in (("keep_params", keep_params), ("repair", repair), ("progress", progress)):
        _checks.boolean(name, value)
    path = None if store is None else _folder(store)
    if on_chunk is not None and not callable(on_chunk):
        raise TypeError(f"on_chunk must be a function of a table, got {on_chunk!r}")
    if isinstance(width, str):
        _checks.choice("width", width, ["fastest"])
    if prune is not None:
        check_pruner(prune, executor, path is not None and jax.process_count() > 1)
    if isinstance(optimizer, Mapping):
        if space is not None:
            raise TypeError("with several families each brings its own space; leave the argument `space` out")
        _plan_all(problem, optimizer, None, batch_size, options)
        return sweep_families(sweep, problem, optimizer, path, {**options, "batch_size": batch_size})
    parts = parts_of(problem, optimizer, space, batch_size)
    if parts is not None:
        if keep_params:
            check_kept(parts)
        _plan_all(problem, optimizer, space, batch_size, options)
        return sweep_parts(sweep, parts, space, path, options)
    claim(path, "manifest.json", None, repair)
    return _sweep_one(problem, optimizer, space, batch_size, path, options)


def _folder(store: Any) -> Path:
    if not isinstance(store, (str, os.PathLike)) or not str(store):
        raise TypeError(f"store must be the path of a folder, such as 'runs/x', got {store!r}")
    return Path(store)


def _plan_all(problem: Any, optimizer: Any, space: Any, batch_size: int | None, options: dict[str, Any]) -> None:
    """Check and trace every program before the first runs or claims a folder; workers plan for themselves."""
    if options["executor"] is None:
        same = {name: options[name] for name in ("seeds", "steps", "every", "key", "devices", *_CHOSEN)}
        plan(problem, optimizer, space, batch_size=batch_size, width=1, **same)


def _sweep_one(
    problem: Any, optimizer: Any, space: Any, batch_size: int | None, path: Path | None, options: dict[str, Any]
) -> xarray.Dataset:
    """A sweep of one program."""
    width, executor, keep_params = (options[name] for name in ("width", "executor", "keep_params"))
    folder = None if path is None else Store(path)
    if folder is not None and not isinstance(width, int) and _is_begun(folder):
        width = _kept_width(folder, options["repair"], width)  # floats depend on it, so it stays
    began = time.monotonic()
    definition = {
        **{"problem": problem, "optimizer": optimizer, "space": space, "batch_size": batch_size},
        **{name: options[name] for name in ("seeds", "steps", "every", "key", *_CHOSEN)},
    }
    made, payload, prune, told = None, b"", options["prune"], list[Decisions]()
    if executor is None:
        made = plan_of(definition, width, options["devices"])
        outline, traces = outline_of(made, keep_params), programs(made.group).traces
        traced = len(traces)
    else:
        payload = pack(definition, keep_params)
        outline = check_executor(executor).submit(outline_there, payload, width).result()
    if made is not None and prune is not None:  # checked before a folder is claimed
        rule = rule_of(made, prune)
        outline = outline.pruned(repr(prune), rule.direction, made.seeds[~rule.deciding].tolist())
    shelf = Memory(outline.layout, outline) if folder is None else _disk(folder, outline, options, executor is None)
    share = _share(outline, folder) if executor is None else range(outline.chunks)
    trials, left = (_trials_in(outline, chunks) for chunks in (share, shelf.unfinished(share)))
    name = _checks.name_of(optimizer)
    bar = Progress(trials, outline.steps, name, enabled=options["progress"], finished=trials - left)
    if made is not None:
        agree_on_lanes(made, shelf)
    if made is not None and prune is not None:
        files: dict[str, Any] = {"store": folder, "owner": outline.layout.owner}
        finished = run_pruned(made, shelf, prune, told, keep_params=keep_params, bar=bar, **files)
    elif made is not None:
        finished = run_here(made, shelf, share, keep_params=keep_params, bar=bar)
    else:
        finished = hand_out(executor, payload, outline, shelf, folder=path, bar=bar)
    gentle = made is not None and prune is None
    interrupted = _consume(finished, shelf, outline, bar, options["on_chunk"], gentle=gentle)
    if isinstance(shelf, Disk):
        shelf.warn_if_deleted()
    table = build_table(outline.layout, shelf.columns())
    table = add_decisions(table, told[-1]) if told else table
    table.attrs |= {"devices": outline.devices} | ({"interrupted": 1} if interrupted else {})
    lanes = shelf.lanes()
    table.attrs |= {} if lanes is None else {"narrowed_to": lanes}
    if made is not None:
        table.attrs["segment_programs"] = len(traces) - traced
    table.attrs["wall_seconds"] = round(time.monotonic() - began, 3)
    return table


def _consume(
    finished: Generator[tuple[int, Columns]],
    shelf: Memory | Disk,
    outline: Outline,
    bar: Progress,
    on_chunk: Callable[[xarray.Dataset], object] | None,
    *,
    gentle: bool,
) -> bool:
    """Run to the end, telling of every chunk; whether something stopped it before. SIGTERM is passed on afterwards."""
    stored, interrupted = isinstance(shelf, Disk), False
    with sigterm(wanted=stored, gentle=gentle) as stop:
        try:
            if isinstance(shelf, Disk):
                shelf.stop = stop
            # Closed at once, whatever ends the loop: an executor's chunks that nobody has begun are withdrawn.
            with contextlib.closing(finished):
                for chunk, columns in finished:
                    bar.chunk(columns["status"], columns["final_loss"])
                    if on_chunk and shelf.holds(chunk):
                        on_chunk(chunk_table(outline.layout, outline.trials_of(chunk).start, shelf.chunk(chunk)))
        except (KeyboardInterrupt, Terminated) as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else "terminated"
            interrupted = _warn_unfinished(why, shelf, outline)
        except concurrent.futures.BrokenExecutor as error:
            if stored:
                raise
            interrupted = _warn_unfinished(f"a worker died ({error})", shelf, outline)
        finally:
            bar.close()
            shelf.close()
    return interrupted


def _is_begun(folder: Store) -> bool:
    """Whether a store keeps to a width: it, or a group beside it, has results, or others write it at this moment."""
    whole = folder.folder.parent if folder.folder.name.startswith("group-") else folder.folder
    return folder.is_begun() and (holds_results(whole) or jax.process_count() > 1)


def _kept_width(folder: Store, repair: bool, width: Any) -> Any:
    """The width that a store began with; where it cannot be known any more, the one asked for."""
    try:
        return folder.width(repair)
    except StoreError:
        if not repair:
            raise
        return width


def _trials_in(outline: Outline, chunks: Iterable[int]) -> int:
    return sum(len(outline.trials_of(chunk)) for chunk in chunks)


def _share(outline: Outline, folder: Store | None) -> range:
    """The chunks that this process runs: all of them, or every n-th where n processes write one store."""
    several = folder is not None and jax.process_count() > 1
    return range(jax.process_index(), outline.chunks, jax.process_count()) if several else range(outline.chunks)


def _disk(folder: Store, outline: Outline, options: dict[str, Any], here: bool) -> Disk:
    share = f"-{jax.process_index()}" if here and jax.process_count() > 1 else ""
    return open_disk(folder, outline.layout, outline, options["repair"], share)


def _warn_unfinished(why: str, shelf: Shelf, outline: Outline) -> bool:
    done = shelf.trials_finished()
    warnings.warn(f"{why}: {done} of {outline.trials} trials finished; the others have status -1", stacklevel=5)
    return True
