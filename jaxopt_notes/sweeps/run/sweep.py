"""`sweep`: checks its arguments, chooses a runner for every group, claims the folders, and joins the tables.

A plan is made in `plan`, and one group is run in `group`.
"""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import optax
from jaxtyping import Array, Key, PyTree

from ... import _checks
from ...problems import Problem
from ..compute.group_plan import GroupPlan
from ..compute.mesh import Inside, devices_of
from ..compute.width import check_width
from ..keep.claims import claim
from ..keep.store import kept_width
from ..spec.group import Group, Grouping, check_kept
from ..spec.options import default_float
from ..spec.space import Space
from ..table.joined import among_all, joined, record_of
from .compact import Compacted
from .distribute import Workers, check_executor
from .group import Execution, Runner, run_group
from .here import Here, Pruned
from .plan import Family, Specification, SweepPlan, check_keep, planned, specify
from .pruners import Pruner, check_pruner
from .reading import check_passes, check_reading

if TYPE_CHECKING:
    import xarray


class _Default(int):
    """A default value, distinguishable from the same number given, which is refused beside a plan."""


def sweep(
    problem: Problem | Callable[..., Problem] | SweepPlan,
    optimizer: Callable[..., optax.GradientTransformation] | Mapping[str, Family] | None = None,
    space: Space | None = None,
    *,
    seeds: int | Sequence[int] = _Default(1),
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    data: Any = None,
    every: int = _Default(1),
    record: Sequence[str] | None = None,
    key: Key[Array, ""] | None = None,
    keep: Literal["params", "params+state", "best"] | None = None,
    keep_params: bool | Literal["best"] = False,
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None = None,
    skip_non_finite: int = _Default(0),
    evaluate_every: int | None = None,
    patience: int | None = None,
    monitor: str | None = None,
    width: int | str | None = None,
    devices: Sequence[jax.Device] | None = None,
    mesh: jax.sharding.Mesh | None = None,
    param_specs: PyTree[jax.sharding.PartitionSpec] | None = None,
    store: str | os.PathLike[str] | None = None,
    repair: bool = False,
    extend: bool = False,
    prune: Pruner | None = None,
    compact: bool = False,
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

    Everything is checked and traced once, before the first trial runs and before a folder is touched. `sweep(plan)`
    runs exactly what `print(plan)` shows; then only `keep`, `store`, `repair`, `extend`, `prune`, `executor`,
    `on_chunk` and `progress` may be given beside it.

    Arguments:
        problem: what to minimise; or a function that makes it, whose arguments are axes of the space; or a plan, from
            `plan`. Each value of such an argument makes a problem. Problems whose losses differ in the values of arrays
            alone share a compiled program, so a number that changes no shape is best an array, as `jnp.asarray(l2)`,
            or asked for by keyword of the loss, which lets its values run side by side; a Python float in the loss is a
            part of its program.
        optimizer: a function from numbers to an (init, update) pair: `jon.momentum`, or one of optax's. Or several
            families, name -> (optimizer, space).
        space: from `grid`, `zipped`, `sample` or `trials`; its axes are arguments of `optimizer`, of a problem that is
            a function, or `batch_size`. None with several families.
        seeds: how many seeds (0, 1, ...), or the seeds themselves.
        steps: steps of every trial. Static. An axis `steps` gives each trial its own number, at most this one, after
            which it stays as it is; `steps` may then be left out. (An optimizer with an argument of that name is given
            the axis instead.)
        epochs: passes over the training data, in place of `steps`: trials of different batch sizes see the same
            examples and take different numbers of steps. With `steps` they take the same steps. Static.
        batch_size: examples per step, reshuffled every epoch; the full data when None. Static.
        data: what gives the batches, in place of `Problem(data=)`, where they do not fit the memory. All trials,
            those of other seeds too, see the same batch in the same step. Batches are read ahead in windows while the
            devices compute. Either examples by number, with a `batch_size`: arrays such as `numpy.memmap` or those of
            HDF5, a pytree of them (but no list), or anything with a length and items, such as a data set of torch or
            Hugging Face or a `grain.MapDataset`. Their order is that of seed 0, `seed_keys(key, 0)[1]`, reshuffled
            every epoch. Or ready batches of one size, without `batch_size`, in their own order, beginning again when
            they end: a list of them, a data loader, a `grain.IterDataset`, or a function that makes an iterator. An
            iterator itself can be read once, so all trials must run side by side. With a store data by number resume
            bit-identically, and so do iterators with a state as those of grain; others are refused. Everything
            `final_*`, and `initial_loss`, is measured on the data of the problem if it has some, otherwise on a fixed
            sample of up to 1,024 training examples (`attrs["final_on"]`). So choose by `validation_*`.
        every: record one entry per this many steps; must divide `steps`. Static.
        record: the histories to record; all three when None. Without `grad_norm` and `update_norm` a step need not
            compute them, which saves up to a fifth of the time of a small network. Then a step is accepted if its loss
            and aux are finite, a gradient that is not ends the trial one step later, and no trial is called `stuck`.
            `loss` must be among them. Static.
        key: root of all randomness; seed s uses `fold_in(key, s)`. `jax.random.key(0)` when None.
        keep: what is kept of the end of every trial; nothing when None. "params": the parameters and aux, for
            `end_point`; those of `evaluation_params`. "params+state": also the optimizer's state, for `resume`, and in
            a store all that more steps with `extend` begin from. "best": the end of a trial is the best step that
            `evaluate_every` saw; the parameters are kept there, and everything of the end is measured there.
        keep_params: another name of `keep`, where True is "params".
        evaluation_params: `evaluation_params(state, params) -> params`, the parameters at which everything of the end
            is measured, also by pruners, for methods whose result is not their iterate. When None those of
            `optimizers.evaluation_params`: averages and schedule-free methods are recognised. Static.
        skip_non_finite: how many steps in a row of a trial may be skipped because their loss, gradient or update is not
            finite, as in `minimize`. With it the table has a column `skipped`. Static.
        evaluate_every: steps between two looks at the validation data; the last one is at the last step. The loss and
            the metrics there become curves along `evaluation_step`; one look, at the end, when None. Static.
        patience: steps without a better value of `monitor` after which a trial stops, as `plateaued`; with
            `evaluate_every`. Its parameters stay, and what is recorded repeats. Never when None. Static.
        monitor: the column that `patience` and `keep="best"` go by; "validation_loss" when None. A metric must
            declare its direction. Static.
        width: lanes per device and chunk. When None it is chosen by the number of trials, the size of a lane and the
            memory of the machine, so fix it where the floats of two sweeps must be bit-identical. "fastest" times a
            few, as `plan(...).timed()` does. A store keeps the width it began with. Where memory runs out the lanes
            are halved, also for a resume (`attrs["narrowed_to"]`).
        devices: the devices to use; all local ones when None. Workers of an executor use all of theirs.
        mesh: the devices as a mesh, in place of `devices`, for trials too large for one. Trials run side by side along
            its axis "trials", and each is split over the other axes: its batches along an axis "data", its parameters
            as `param_specs` has it. XLA partitions the program, so floats are those of one device up to rounding.
        param_specs: a pytree of PartitionSpec with the structure of the parameters or a beginning of it, over axes of
            `mesh`. The gradient and the state of the optimizer follow it. When None every device of a trial has all
            parameters.
        store: a folder that holds the sweep. Every chunk of `width` trials is written there when it is finished, and
            chunks that take longer save a checkpoint once a minute. The same call resumes an interrupted one, on any
            number of devices, with bit-identical results (a plan if its width is given: one that is chosen depends on
            the devices); `open_sweep(store)` reads it at any time.
            SIGTERM saves checkpoints of the chunks and then ends the process.
            Processes of `jax.distributed` that make the same call run a share of the chunks each, by their index, and
            never wait for each other: each returns what is on disk when its own share is.
        repair: set files of the store aside that were changed or belong to another sweep, and make them again: chunks
            are run again, other files are rewritten. A store with another definition is still refused.
        extend: the store may hold the same sweep with fewer seeds, points or steps. Only what is new is computed, and
            the results are those of a sweep that had it from the start, bit for bit at the same width. More steps need
            a store that was begun with `keep="params+state"`; then they continue from the ends. The store before stays
            intact until the larger one is recorded, and a kill loses nothing. A random loss of one seed may have floats
            that differ in the last place from those with several seeds, as its draws are shared by all lanes; trials
            that are there stay as they are. Not with `prune`, `compact` or `executor`.
        prune: `jon.halving(...)` or `jon.median_stopping(...)`: stop the configurations that do worse early, and pack
            the others together. Their trials have status -2, no history after `pruned_at`, and as `final_*` what was
            measured there; `rung_metric` holds what decided. Groups of other programs compete among themselves. One
            process runs it, so not with `executor`.
        compact: with `patience`, leave out trials that have stopped and pack the lanes of the others together, which
            saves their time and changes no float. All trials then wait on the host every `patience` steps. One process
            runs it, so not with `executor`; pruning packs lanes anyway.
        executor: hand the chunks out to its workers instead: a `ProcessPoolExecutor` that spawns, Dask's
            `client.get_executor()`, or any other `concurrent.futures.Executor` whose workers can import what this
            process can. With a store, which they must all see, each worker writes its chunks there; otherwise they come
            back. Without a width there are at least 16 chunks. The problem travels with every one. The workers plan for
            themselves, on devices of their own; of a plan they must make the same one.
        on_chunk: called here with every chunk when it is finished, for a logger: a Dataset along `trial`, with the
            hyperparameters and `seed` as coordinates. What it raises stops the sweep.
        progress: show a progress bar on standard error.

    Returns:
        An `xarray.Dataset`: dims are the axes, or `configuration` of a list of points, then `seed` and `step`; several
        families give an `xarray.DataTree` with one such Dataset each. Histories `loss`, `grad_norm`, `update_norm` (of
        the minibatch, or those of `record`) of the iterate; at the end `final_loss` and every metric as `final_*` on
        the full training data, `validation_*` on the validation data (along `evaluation_step` with `evaluate_every`,
        and then `best_step`) and `test_*` on the data held out; `initial_loss`, `status` (codes of `Status`) and
        `stopped_at`. Metrics that are counts or truth values are held as float64, exact up to 2^53. A trial that was
        not run has status -1. After Ctrl-C all trials are returned as far as they got, with a warning: those on their
        way have status -4 and the values of the step they reached, and with a store the same call resumes them. A
        second Ctrl-C, and any of a pruned or compact sweep, returns the chunks that finished. So they are when a worker
        dies and is not restarted and there is no store, and when the store is deleted while the sweep runs.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted. While it runs:
            `data` end too early, give a batch of another shape, or other batches when they are read again.
        StoreError: the store holds another sweep (every difference is named), a file that cannot be read, or is being
            written by another process. OSError: it cannot be written; the chunks before are there. BrokenExecutor: a
            worker died and was not restarted, or a chunk that is named killed every worker that Dask gave it to; what
            is finished is in the store.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.momentum, jon.grid(learning_rate=[0.01, 0.05], beta=[0.0, 0.9]),
        ...                   steps=100, progress=False)
        >>> dict(table.final_loss.sizes)
        {'learning_rate': 2, 'beta': 2, 'seed': 1}

        Data that stay in their file, here one that is made for the purpose:

        >>> import tempfile, jax.numpy as jnp, numpy as np
        >>> rows = np.memmap(tempfile.mkdtemp() + "/rows", np.float32, "w+", shape=(5000, 3))
        >>> rows[:] = np.random.default_rng(0).standard_normal((5000, 3))
        >>> fit = jon.Problem(lambda w, batch: jnp.mean((batch @ w - batch[:, 0]) ** 2), init=jnp.zeros(3),
        ...                   validation=np.array(rows[:500]))
        >>> table = jon.sweep(fit, jon.momentum, jon.grid(learning_rate=[1e-4, 0.01]), data=rows, batch_size=50,
        ...                   steps=100, progress=False)
        >>> jon.best(table, "validation_loss").config, table.attrs["final_on"]
        ({'learning_rate': 0.01}, 'a sample of 1024 training examples')
    """
    _checks.not_compiled("sweep")
    kept, best = check_keep(keep, keep_params)
    known_best = isinstance(problem, SweepPlan) and problem.specification.options.keep_best
    kind = kept or ("params" if known_best else "")
    how = Execution(kind, repair, extend, prune, executor, on_chunk, progress, compact)
    path = None if store is None else _folder(store)
    _check_execution(how, path)
    width = check_width(width)
    decided: dict[str, Any] = {"seeds": seeds, "steps": steps, "epochs": epochs, "batch_size": batch_size}
    decided |= {"every": every, "record": record, "key": key}
    decided |= {"data": data, "evaluation_params": evaluation_params, "skip_non_finite": skip_non_finite}
    decided |= {"evaluate_every": evaluate_every, "patience": patience, "monitor": monitor}
    if isinstance(problem, SweepPlan):
        if best and not known_best:
            raise ValueError("keep='best' is decided by the plan: give it to jon.plan(...)")
        if known_best and kept == "params+state":
            raise ValueError("keep='params+state' is of the last step, and this plan keeps the best one")
        placed = {"width": width, "devices": devices, "mesh": mesh, "param_specs": param_specs}
        _refuse_decided({"optimizer": optimizer, "space": space, **decided, **placed})
        if executor is not None and isinstance(problem.devices, Inside):
            raise ValueError("the mesh of this plan holds devices of this process, which no worker has: no executor")
        _check_precision(problem.specification)
        _check_reading(problem.specification, path, how)
        return _from(path, _run(problem.specification, [group.width for group in problem.groups], problem, path, how))
    if optimizer is None:
        raise TypeError("sweep needs optimizer; only a plan, as jon.plan(...) returns it, has its own")
    decided = {name: int(value) if isinstance(value, _Default) else value for name, value in decided.items()}
    decided |= {"monitor": "validation_loss" if monitor is None else monitor, "keep_best": best}
    where = devices_of(devices, mesh, param_specs, executor)
    specification = specify(problem, optimizer, space, **decided)
    _check_reading(specification, path, how)
    folders = _folders(specification, path)
    # A width that was given is not replaced by that of the store: where they differ the store refuses it, by name.
    wide = [width if isinstance(width, int) else kept_width(folder, repair, width) for folder in folders]
    # With an executor the workers plan, as the width and the identity depend on their devices, not on those here.
    plan = None if executor is not None else planned(specification, width, where, each=wide)
    return _from(path, _run(specification, wide, plan, path, how))


def _from(path: Path | None, table: Any) -> Any:
    """The table with the folder that it is stored in, noted as xarray notes the files of others."""
    if path is not None:
        table.encoding["source"] = str(path.resolve())
        for family, child in getattr(table, "children", {}).items():
            child.encoding["source"] = str((path / family).resolve())
    return table


def _folder(store: Any) -> Path:
    if not isinstance(store, (str, os.PathLike)) or not str(store):
        raise TypeError(f"store must be the path of a folder, such as 'runs/x', got {store!r}")
    return Path(store)


def _check_execution(how: Execution, path: Path | None) -> None:
    """Refuse how a sweep is to be run, before anything is planned."""
    for name in ("repair", "extend", "progress", "compact"):
        _checks.boolean(name, getattr(how, name))
    if how.on_chunk is not None and not callable(how.on_chunk):
        raise TypeError(f"on_chunk must be a function of a table, got {how.on_chunk!r}")
    if how.extend:
        _check_extend(how, path)
    if how.prune is not None:
        check_pruner(how.prune, how.executor, path is not None and jax.process_count() > 1)
    if how.executor is not None:
        check_executor(how.executor)
    others = {"executor": how.executor, "prune": how.prune}
    for name, other in others.items():
        if how.compact and other is not None:
            raise ValueError(f"compact=True packs the lanes of one process between its steps; leave {name}= out")


def _check_extend(how: Execution, path: Path | None) -> None:
    """Refuse what cannot be extended, or not in this way."""
    if path is None:
        raise ValueError("extend=True needs the store that is to be extended")
    if how.prune is not None:
        raise ValueError("extend=True cannot add to a pruned sweep: more points or seeds would change the competition")
    if how.compact:
        raise ValueError("extend=True runs what is new in chunks of its own; leave compact= out")
    if how.executor is not None or jax.process_count() > 1:
        raise ValueError("extend=True needs one process: extend the store here, without executor")


def _check_reading(specification: Specification, path: Path | None, how: Execution) -> None:
    stored, sent, again = path is not None, how.executor is not None, "" if how.prune is None else "prune"
    check_reading(specification.options.source, stored=stored, sent=sent, again=again)


def _check_precision(specification: Specification) -> None:
    """Refuse a plan whose programs were traced with floats of another type than now."""
    then, now = specification.options.floats, str(default_float())
    if then != now:
        raise ValueError(
            f"the plan was made with {then} and is to run with {now} (jax_enable_x64); make it again with jon.plan(...)"
        )


def _refuse_decided(given: Mapping[str, Any]) -> None:
    """Refuse arguments that a plan has decided, so that what was printed is what runs."""
    for name, value in given.items():
        if value is not None and not isinstance(value, _Default):
            raise TypeError(f"{name} is decided by the plan; give it to jon.plan(...), got {name}={value!r}")


def _folders(specification: Specification, path: Path | None) -> list[Path | None]:
    """The folder of every group: that of the sweep, one inside, or of families one inside theirs."""
    folders: list[Path | None] = []
    for family, grouping in specification.families.items():
        whole = None if path is None else path / family
        names = [""] if grouping.is_one else [f"group-{i:03}" for i in range(len(grouping.groups))]
        folders += [None if whole is None else whole / name for name in names]
    return folders


def _run(
    specification: Specification, wide: Sequence[Any], plan: SweepPlan | None, path: Path | None, how: Execution
) -> Any:
    """Run the groups of every family, and join their tables.

    Everything that can be refused is refused before the first folder is claimed, as each runner checks its options when
    it is made. After an interruption the remaining groups are left out.
    """
    import xarray

    if how.compact and specification.options.patience is None:
        raise ValueError("compact=True leaves out trials that have stopped, so it needs patience")
    if plan is not None:
        check_passes(specification.options.source, plan)
    if how.keep:
        for grouping in specification.families.values():
            check_kept(grouping.groups, how.keep)
    folders = _folders(specification, path)
    known: Sequence[GroupPlan | None] = plan.groups if plan else [None] * len(folders)
    parts = zip(specification.groups, wide, known, folders, strict=True)
    runners = [
        (_runner(group, specification, width, one, folder, how), folder) for (_, group), width, one, folder in parts
    ]
    _ = runners[0][0].layout  # which with an executor is a worker's, who may refuse the loss
    if "" in specification.families:
        return _family(specification.families[""], runners, path, specification, how)
    if path is not None:
        claim(path, "families.json", {"families": list(specification.families)}, how.repair)
    tables: dict[str, xarray.Dataset] = {}
    for family, grouping in specification.families.items():
        own, runners = runners[: len(grouping.groups)], runners[len(grouping.groups) :]
        tables[family] = _family(grouping, own, None if path is None else path / family, specification, how)
        if "interrupted" in tables[family].attrs:
            break
    return xarray.DataTree.from_dict(tables)


def _runner(
    group: Group, specification: Specification, width: Any, plan: GroupPlan | None, folder: Path | None, how: Execution
) -> Runner:
    if how.executor is not None:
        options: dict[str, Any] = {"width": width, "keep": how.keep, "folder": folder, "plan": plan}
        return Workers(how.executor, group, specification.options, **options)
    assert plan is not None
    if how.prune is not None:
        return Pruned(plan, how.keep, how.prune)
    return Compacted(plan, how.keep) if how.compact else Here(plan, how.keep)


def _family(
    grouping: Grouping,
    runners: list[tuple[Runner, Path | None]],
    path: Path | None,
    specification: Specification,
    how: Execution,
) -> xarray.Dataset:
    """The table of one space: of its group, or of all its groups joined."""
    record = None if grouping.is_one else record_of(grouping)
    if path is not None:
        claim(path, "manifest.json" if record is None else "groups.json", record, how.repair, how.extend)
    tables: list[xarray.Dataset] = []
    for group in grouping.groups:
        runner, folder = runners.pop(0)  # so that what a group held is freed when the next one begins
        on_chunk, seeds = how.on_chunk, len(specification.options.seeds)
        if on_chunk is not None and record is not None:
            on_chunk = among_all(on_chunk, record, group.rows, seeds)
        tables.append(run_group(runner, _checks.name_of(group.optimizer), folder, how, on_chunk))
        if "interrupted" in tables[-1].attrs:
            break
    return tables[0] if record is None else joined(record, tables)
