"""`sweep`: every configuration and seed of a space, chunk by chunk, as a labelled table."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import optax
from jaxtyping import Array, Key

from .. import _checks
from ..problems import Problem
from .choices import check_kept, parts_of
from .engine import lanes_in_use, run_chunks
from .joining import claim, sweep_families, sweep_parts
from .layout import build_table, layout_of
from .plan import make_plan
from .programs import programs
from .progress import Progress
from .shelf import Disk, Memory, Shelf
from .space import Space
from .store import Store
from .table import columns_of, no_trials
from .width import time_widths

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
    width: int | str | None = None,
    devices: Sequence[jax.Device] | None = None,
    store: str | os.PathLike[str] | None = None,
    repair: bool = False,
    progress: bool = True,
) -> Any:
    """Run every configuration of a space from every seed, as one compiled program, and return a labelled table.

    Choices in the space (booleans, None, texts, functions, `batch_size`, arguments of a problem) make one program each.
    Numbers are traced and vmapped; trials are cut into chunks of `width` lanes per device and sharded over all local
    devices. All configurations of one seed share initial parameters and data order, so differences between
    configurations are paired. A trial's keys, data order and start depend on its seed alone, not on the rest of the
    space, the chunk or the devices; its floats depend on nothing else but the width.

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
        keep_params: keep the parameters at the end points, for `end_point`.
        width: lanes per device and chunk. When None it is chosen by the number of trials and the size of a lane, so fix
            it where the floats of two sweeps must be the same bits. "fastest" times a few, as `plan(...).timed()` does.
            A store keeps the width it began with. Where memory runs out it is halved (`attrs["narrowed_to"]`).
        devices: the devices to use; all local ones when None.
        store: a folder that holds the sweep. Every chunk of `width` trials is written there when it is finished, and
            chunks that take longer save where they are once a minute. The same call goes on where a killed one
            stopped, on any number of devices, and gives the same bits; `open_sweep(store)` reads it at any time.
        repair: set files of the store aside that cannot be read or belong to another sweep, and run them again.
        progress: show a progress bar on standard error.

    Returns:
        An `xarray.Dataset`: dims are the axes, or `configuration` of a list of points, then `seed` and `step`; several
        families give an `xarray.DataTree` with one such Dataset each. Histories `loss`, `grad_norm`, `update_norm` (of
        the minibatch); at the end `final_loss` and every metric as `final_*` on the full training data and `test_*` on
        the data held out; `initial_loss`, `status` (codes of `Status`) and `stopped_at`. A trial that was not run has
        status -1. After Ctrl-C the chunks that finished are returned, with a warning.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.
        StoreError: the store holds another sweep (every difference is named), a file that cannot be read, or is being
            written by another process. OSError: it cannot be written; the chunks before are there.

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
        **{"devices": devices, "repair": repair, "progress": progress},
    }
    path = None if store is None else Path(store)
    if isinstance(optimizer, Mapping):
        if space is not None:
            raise TypeError("with several families each brings its own space; leave the argument `space` out")
        return sweep_families(sweep, problem, optimizer, path, {**options, "batch_size": batch_size})
    parts = parts_of(problem, optimizer, space, batch_size)
    if parts is not None:
        if keep_params:
            check_kept(parts)
        return sweep_parts(sweep, parts, space, path, options)
    claim(path, "manifest.json", None)
    folder = None if store is None else Store(Path(store))
    if isinstance(width, str):
        _checks.choice("width", width, ["fastest"])
    if folder is not None and not isinstance(width, int) and (folder.folder / "manifest.json").exists():
        width = folder.manifest()["identity"]["width"]  # floats depend on it, so it stays
    plan = make_plan(
        problem,
        optimizer,
        space,
        seeds=seeds,
        steps=steps,
        batch_size=batch_size,
        every=every,
        key=key,
        width=None if isinstance(width, str) else width,
        devices=devices,
    )
    if isinstance(width, str):
        plan = plan.at_width(time_widths(plan).fastest)
    began, traces = time.monotonic(), programs(plan.group).traces
    traced = len(traces)
    layout = layout_of(plan, no_trials(plan, keep_params))
    shelf: Shelf = Memory(layout, plan) if folder is None else Disk(folder, layout, plan, repair)
    bar = Progress(plan.trials, plan.steps, _checks.name_of(optimizer), enabled=progress)
    try:
        for chunks, resume in shelf.missing():
            finished = run_chunks(
                plan, chunks, keep_params=keep_params, bar=bar, resume=resume, checkpoint=shelf.checkpoint(chunks)
            )
            for chunk, trials in zip(chunks, finished, strict=True):
                columns = columns_of(plan, trials)
                shelf.put(chunk, columns)
                bar.chunk(columns["status"], columns["final_loss"])
    except KeyboardInterrupt:
        done = shelf.trials_finished()
        warnings.warn(f"interrupted: {done} of {plan.trials} trials finished; the others have status -1", stacklevel=2)
    finally:
        bar.close()
        shelf.close()
    if folder is not None:
        folder.note_lanes(lanes_in_use(plan), plan.width)
    table = build_table(layout, shelf.columns())
    if lanes_in_use(plan) < plan.width:
        table.attrs["narrowed_to"] = lanes_in_use(plan)
    table.attrs |= {"devices": plan.group.mesh.size, "segment_programs": len(traces) - traced}
    table.attrs["wall_seconds"] = round(time.monotonic() - began, 3)
    return table
