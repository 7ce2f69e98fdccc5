"""`plan`: a sweep that is decided, checked and traced, but not yet run.

All groups are planned here, each by `compute.trace` and `compute.width`, and printed. `sweep` runs the plan.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import optax
from jaxtyping import Array, Key, PyTree

from ... import _checks
from ..._shown import readable
from ..._streams import Source, source_of
from ...problems import Problem
from ..compute import width as widths
from ..compute.group_plan import GroupPlan, Timing
from ..compute.mesh import AXIS, Devices, as_arguments, devices_of
from ..compute.trace import trace
from ..spec.group import BATCH_SIZE, STEPS, Group, Grouping, grouped, takes_steps
from ..spec.options import Keep, Options
from ..spec.space import FAMILY, Space

Factory = Callable[..., optax.GradientTransformation]
Family = tuple[Factory, Space]
Width = int | str | None


@dataclass(frozen=True, eq=False)
class Specification:
    """What a sweep runs, checked and cut into groups, as plain data.

    Attributes:
        arguments: those of `plan` that it follows from.
        options: what all trials have in common.
        families: name -> the groups of a family; of a sweep without families one, whose name is empty.
        made: arguments -> problem, of what `problem` has made if it makes problems.
    """

    arguments: Mapping[str, Any]
    options: Options
    families: Mapping[str, Grouping]
    made: dict[Any, Problem]

    @property
    def groups(self) -> Iterator[tuple[str, Group]]:
        """Every group, with its name."""
        for family, grouping in self.families.items():
            for group in grouping.groups:
                yield f"{family or _checks.name_of(self.arguments['optimizer'])} {group.words}".strip(), group


@readable
@dataclass(frozen=True, eq=False)
class SweepPlan:
    """What a sweep will do; `print` it, and `sweep` it.

    Attributes:
        groups: one per compiled program.
        specification: what it was made from.
        devices: the devices it was planned for, or a mesh with its param_specs; None for all local ones.
        known: groups that were traced for other spaces, whose programs may serve again.
        asked: the width that was asked for.
    """

    groups: tuple[GroupPlan, ...]
    specification: Specification
    devices: Devices = None
    known: tuple[GroupPlan, ...] = ()
    asked: Width = None

    @property
    def problem(self) -> str:
        """The name of the problem."""
        return self.groups[0].problem.name

    @property
    def trials(self) -> int:
        """Number of trials."""
        return sum(group.trials for group in self.groups)

    @property
    def chunks(self) -> int:
        """Number of chunks; a store has one file for each."""
        return sum(group.chunks for group in self.groups)

    @property
    def width(self) -> int:
        """Lanes per device.

        Raises:
            ValueError: the groups have different ones.
        """
        found = {group.width for group in self.groups}
        if len(found) > 1:
            raise ValueError(f"the groups have widths {sorted(found)}; each has its own, groups[i].width")
        return found.pop()

    @property
    def seconds(self) -> float | None:
        """Estimated seconds for all trials, compiling and the evaluation at the end left out; None before `timed()`."""
        seconds = [group.timing and group.timing.seconds.get(group.width) for group in self.groups]
        return None if any(s is None for s in seconds) else float(sum(s for s in seconds if s is not None))

    def timed(self) -> SweepPlan:
        """The same plan at the widths that a short timing finds fastest; each costs a compilation and 0.2 s."""
        return dataclasses.replace(self, groups=tuple(map(widths.timed, self.groups)))

    def remake(self, **changes: Any) -> SweepPlan:
        """The plan with some arguments of `plan` changed; problems that were made are not made again.

        Raises:
            ValueError: an argument that `plan` does not have. TypeError, ValueError: as `plan`.
        """
        where = as_arguments(self.devices)
        arguments = {**self.specification.arguments, "width": self.asked, **where}
        best = arguments.pop("keep_best", False)
        changed = {**arguments, "keep": "best" if best else None}
        for name in changes:
            _checks.choice("argument", name, changed)
        changed |= changes
        changed["keep_best"] = changed.pop("keep") == "best"
        width, devices = changed.pop("width"), devices_of(*(changed.pop(name) for name in where))
        same = all(changed[name] is arguments[name] for name in ("problem", "data"))
        made = self.specification.made if same else None
        return planned(specify(**changed, made=made), width, devices)

    def over(self, space: Space, width: int | None) -> SweepPlan:
        """The plan of another space; programs that this plan has are not traced again.

        Arguments:
            space: the space, of the same hyperparameters.
            width: lanes per device; when None it is chosen.
        """
        arguments = {**self.specification.arguments, "space": space}
        specification = specify(**arguments, made=self.specification.made)
        known = (*self.groups, *self.known)
        plan = planned(specification, width, self.devices, known)
        # A choice that is absent here may come back, so its program is kept.
        absent = [one for one in known if not any(_is_program_of(one, group.group) for group in plan.groups)]
        return dataclasses.replace(plan, known=tuple(absent))

    def __str__(self) -> str:
        first = self.groups[0]
        kinds = _of(first.static.mesh.size, f"{first.platform} device")
        inside = {name: size for name, size in first.static.mesh.shape.items() if name != AXIS}
        kinds += f", each trial split over {_of(math.prod(inside.values()), 'device')} {inside}" if inside else ""
        seconds = f"{_duration(self.seconds)} in all" if self.seconds else "not timed: .timed() does"
        lines = [
            f"sweep of {self.problem}: {_of(len(self.groups), 'program')} to compile, {_of(self.trials, 'trial')} of "
            f"{_of(first.steps, 'step')} ({_of(len(first.seeds), 'seed')}), {_of(self.chunks, 'chunk')}, on {kinds}",
            *map(_in_words, self.groups),
            seconds,
        ]
        return "\n".join(lines)


def plan(
    problem: Problem | Callable[..., Problem],
    optimizer: Callable[..., optax.GradientTransformation] | Mapping[str, Any],
    space: Space | None = None,
    *,
    seeds: int | Sequence[int] = 1,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    data: Any = None,
    every: int = 1,
    record: Sequence[str] | None = None,
    key: Key[Array, ""] | None = None,
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None = None,
    skip_non_finite: int = 0,
    evaluate_every: int | None = None,
    patience: int | None = None,
    monitor: str = "validation_loss",
    keep: Literal["params", "params+state", "best"] | None = None,
    keep_params: bool | Literal["best"] = False,
    width: int | str | None = None,
    devices: Sequence[jax.Device] | None = None,
    mesh: jax.sharding.Mesh | None = None,
    param_specs: PyTree[jax.sharding.PartitionSpec] | None = None,
) -> SweepPlan:
    """Decide a sweep without running it: its programs, trials, chunks and memory, and once timed its seconds.

    Making it checks and traces everything, once, and runs nothing unless width is "fastest". `sweep(plan)` runs exactly
    this plan, and traces nothing again. Printing it compiles each program for one and for two lanes, from whose memory
    and arithmetic the cost of a chunk and of a lane follow; once timed, it names what binds and how near to it the
    sweep runs. So does making it, if the width is not given and might be too much for the
    memory; it is then the largest power of two that fits.

    Arguments:
        problem, optimizer, space, seeds, steps, epochs, batch_size, data, every, record, key: as in `sweep`.
        evaluation_params, skip_non_finite, evaluate_every, patience, monitor: as in `sweep`.
        width, devices, mesh, param_specs: as in `sweep`.
        keep, keep_params: "best" if the end of a trial is its best step; what else is kept is up to `sweep`.

    Returns:
        A `SweepPlan`. `timed()` times a few widths and takes the fastest; `check_invariance` checks it.

    Raises:
        TypeError, ValueError: as `sweep`, before compiling.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> space = jon.grid(learning_rate=[0.01, 0.05], centered=[False, True])
        >>> plan = jon.plan(valley, jon.rmsprop, space, seeds=4, steps=100)
        >>> plan.trials, len(plan.groups)
        (16, 2)
        >>> jon.sweep(plan, progress=False).final_loss.shape
        (2, 2, 4)
    """
    _checks.not_compiled("plan")
    where = devices_of(devices, mesh, param_specs)
    specification = specify(
        problem,
        optimizer,
        space,
        batch_size=batch_size,
        data=data,
        seeds=seeds,
        steps=steps,
        epochs=epochs,
        every=every,
        record=record,
        key=key,
        evaluation_params=evaluation_params,
        skip_non_finite=skip_non_finite,
        evaluate_every=evaluate_every,
        patience=patience,
        monitor=monitor,
        keep_best=check_keep(keep, keep_params)[1],
    )
    return planned(specification, width, where)


def check_keep(keep: Any, keep_params: Any) -> tuple[Keep, bool]:
    """What is kept of the end of every trial, and whether that is its best step, as a user gave it.

    Raises:
        TypeError, ValueError: a value that is not known, or both arguments at once.
    """
    if isinstance(keep_params, str) and keep_params.lower() not in _checks.TRUTH:
        _checks.choice("keep_params", keep_params, ["best"])
    else:
        keep_params = "params" if _checks.boolean("keep_params", keep_params) else None
    if keep is None:
        keep = keep_params
    elif keep_params is not None:
        raise TypeError("keep_params is another name of keep: give one of them")
    else:
        _checks.choice("keep", keep, ["params", "params+state", "best"])
    return ("params" if keep == "best" else keep or ""), keep == "best"


def specify(
    problem: Any,
    optimizer: Any,
    space: Any,
    *,
    batch_size: int | None,
    data: Any = None,
    made: dict[Any, Problem] | None = None,
    **common: Any,
) -> Specification:
    """Check the arguments of a sweep, and cut its spaces into groups. No loss is traced.

    Arguments:
        problem, optimizer, space, batch_size, data: as in `sweep`.
        made: problems that are made already.
        common: what `Options.of` takes.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.
    """
    made = {} if made is None else made
    # A sweep without families is one family without a name, and everything below has one form.
    families: dict[str, Any] = {"": (optimizer, space)}
    if isinstance(optimizer, Mapping):
        if space is not None:
            raise TypeError("with several families each brings its own space; leave the argument `space` out")
        families = dict(_checked(optimizer))
    # As a source from here on, since all plans that follow from this one should see one and the same.
    drawn = batch_size is not None or any(BATCH_SIZE in getattr(one, "names", ()) for _, one in families.values())
    source = data if data is None or isinstance(data, Source) else source_of(data, drawn)
    options = Options.of(**{**common, "steps": _longest(problem, families, **common)}, source=source)
    arguments = dict(problem=problem, optimizer=optimizer, space=space, batch_size=batch_size, data=source, **common)
    cut = {name: grouped(problem, one, visited, batch_size, made, source) for name, (one, visited) in families.items()}
    return Specification(arguments, options, cut, made)


def _longest(
    problem: Any, families: Mapping[str, Any], steps: int | None, epochs: int | None = None, **_: Any
) -> int | None:
    """The steps of the sweep: as given, or the most that an axis `steps` gives a trial."""
    one_problem = problem if isinstance(problem, Problem) else None
    capped = [
        (one, space)
        for one, space in families.values()
        if isinstance(space, Space) and callable(one) and takes_steps(space, one, one_problem)
    ]
    most = [int(max(space.columns()[STEPS])) for _, space in capped]
    if not most:
        return steps
    if epochs is not None:
        raise ValueError(f"steps is an axis of the space, so epochs={epochs!r} must be left out")
    if steps is not None and max(most) > steps:
        raise ValueError(f"the axis steps holds {max(most)}, more than the steps={steps} of the sweep")
    return max(most) if steps is None else steps


def planned(
    specification: Specification,
    width: Width,
    devices: Devices,
    known: Sequence[GroupPlan] = (),
    each: Sequence[Width] | None = None,
) -> SweepPlan:
    """Trace every group, and choose its width.

    Arguments:
        specification: what the sweep runs.
        width: as in `sweep`.
        devices: as in `sweep`.
        known: groups that were traced before with the same options and devices, whose programs may serve others.
        each: a width for each group, in place of `width`.

    Raises:
        TypeError, ValueError: as `sweep`.
    """
    # Before anything is traced, as a wrong width should not cost that time.
    width, groups = widths.check_width(width), list(specification.groups)
    each = [width] * len(groups) if each is None else each
    plans = [_traced(name, group, specification.options, devices, known) for name, group in groups]
    fitted = tuple(widths.at(plan, one) for plan, one in zip(plans, each, strict=True))
    return SweepPlan(fitted, specification, devices, asked=width)


def _traced(name: str, group: Group, options: Options, devices: Devices, known: Sequence[GroupPlan]) -> GroupPlan:
    for one in known:
        if _is_program_of(one, group):
            return one.over(group)
    return trace(name, group, options, devices)


def _is_program_of(plan: GroupPlan, group: Group) -> bool:
    """Whether the program of a plan runs a group, whose configurations may be others."""
    same = plan.problem is group.problem and plan.group.batch_size == group.batch_size
    return same and plan.group.optimizer == group.optimizer and plan.space.names == group.space.names


def _checked(families: Mapping[Any, Any]) -> Iterator[tuple[str, Family]]:
    """Names with their pairs (optimizer, space).

    Raises:
        TypeError, ValueError: no family, a name that can be no folder, or no pair.
    """
    if not families:
        raise ValueError('a sweep of families needs at least one, for example {"adam": (jon.adam, grid(...))}')
    for name, pair in families.items():
        # A family has a folder of its name in a store, which must be possible on every system.
        if not isinstance(name, str) or not name or set(name) & set('/\\:*?"<>|') or name.startswith("."):
            raise ValueError(f"the name of a family must be a text that can be a folder's name, got {name!r}")
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[1], Space):
            raise TypeError(
                f"family {name!r} must be a pair (optimizer, space), such as (jon.adam, grid(...)); got {pair!r}"
            )
        if FAMILY in pair[1].names:
            raise ValueError(f"axis {FAMILY!r} of family {name!r} is what `best` calls a family; wrap one to rename it")
        yield name, pair


def _in_words(group: GroupPlan) -> str:
    """What a group does: trials, chunks, memory, and seconds once it was timed."""
    devices, memory = group.devices, group.memory
    passes = -(-group.chunks // devices)
    lines = [
        f"{group.name}: {_of(group.trials, 'trial')} in {_of(group.chunks, 'chunk')} of {_of(group.width, 'lane')}, "
        f"{_of(min(devices, group.chunks), 'chunk')} at a time, {_of(passes, 'pass', 'passes')}"
    ]
    needed, available = memory.of(group.width), memory.available
    known = "" if available is None else f", of {_size(available)} that it may take on the device"
    parts = f"{_size(memory.fixed)} and {_size(memory.per_lane)} per lane"
    lines.append(f"  memory per chunk {_size(needed)}: {parts}{known}")
    work, width = group.work, group.width
    lines.append(
        f"  a step of a trial: {work.flops / width:,.3g} flops, at least {_size(work.bytes / width)} read and written; "
        f"{_of(work.kernels, 'kernel')} for all lanes"
    )
    if group.source is not None:
        lines.append(f"  data are {group.source.words}, read ahead {_of(group.window, 'step')} at a time")
    if group.wished is not None:
        lines.append(f"  {_of(group.width, 'lane')} and not {group.wished}, which would not fit")
    elif available is not None and needed > available:
        lines.append("  more than it may take: a smaller width would fit, or is tried where memory runs out")
    if group.timing is not None:
        rates = ", ".join(f"{rate:,.0f} at {_of(width, 'lane')}" for width, rate in group.timing.rates.items())
        lines.append(f"  about {_duration(group.timing.seconds.get(group.width))}; trial-steps a second: {rates}")
        lines.append(_bound(group, group.timing))
    return "\n".join(lines)


def _bound(group: GroupPlan, timing: Timing) -> str:
    """What limits a group on its devices, and how near to that limit it was timed."""
    part, most, least = group.bound
    reached = timing.rates.get(group.width)
    share = "" if reached is None else f", {reached / most:.0%} of it reached"
    parts = ", ".join(f"{part} {1e6 * seconds:,.3g}" for part, seconds in least.items())
    return f"  bound by {part}: at most {most:,.0f} trial-steps a second{share} (microseconds of a step: {parts})"


def _of(count: int, noun: str, nouns: str = "") -> str:
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} GiB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown seconds"
    return (
        f"{seconds:.2g} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
