"""`plan`: what a sweep will do, before it does it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jaxtyping import Array, Key, PyTree

from .. import _checks
from ..problems import Problem
from .choices import parts_of
from .joining import check_families
from .plan import Plan
from .space import Space
from .width import Memory, Planned, Timing, memory_of, planned


@dataclass(frozen=True, eq=False)
class PlannedGroup:
    """The trials of one compiled program.

    Attributes:
        name: the family and its choices, in words.
        plan: its plan, checked and traced.
        timing: how fast some widths are, once they were timed.
        wished: the width that memory does not allow, where that is why the plan has another one.
    """

    name: str
    plan: Plan
    timing: Timing | None = None
    wished: int | None = None

    @functools.cached_property
    def memory(self) -> Memory:
        """The memory of a chunk; compiles two small programs."""
        return memory_of(self.plan)

    def timed(self) -> PlannedGroup:
        """The same group at the width that a short timing finds fastest."""
        return PlannedGroup.of(self.name, Planned(self.plan, self.wished).timed())

    @classmethod
    def of(cls, name: str, planned: Planned) -> PlannedGroup:
        """The group of a plan whose width was chosen."""
        return cls(name, planned.plan, planned.timing, planned.wished)

    def __str__(self) -> str:
        plan, devices = self.plan, self.plan.group.mesh.size
        passes = -(-plan.chunks // devices)
        lines = [
            f"{self.name}: {_of(plan.trials, 'trial')} in {_of(plan.chunks, 'chunk')} of {_of(plan.width, 'lane')}, "
            f"{_of(min(devices, plan.chunks), 'chunk')} at a time, {_of(passes, 'pass', 'passes')}"
        ]
        memory = self.memory
        needed, available = memory.of(plan.width), memory.available
        known = "" if available is None else f", of {_size(available)} that it may take on the device"
        parts = f"{_size(memory.fixed)} and {_size(memory.per_lane)} per lane"
        lines.append(f"  memory per chunk {_size(needed)}: {parts}{known}")
        if self.wished is not None:
            lines.append(f"  {_of(plan.width, 'lane')} and not {self.wished}, which would not fit")
        elif available is not None and needed > available:
            lines.append("  more than it may take: a smaller width would fit, or is tried where memory runs out")
        if self.timing is not None:
            rates = ", ".join(f"{rate:,.0f} at {_of(width, 'lane')}" for width, rate in self.timing.rates.items())
            lines.append(f"  about {_duration(self.timing.seconds.get(plan.width))}; trial-steps a second: {rates}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class SweepPlan:
    """What a sweep will do; `print` it.

    Attributes:
        groups: one per compiled program.
        problem: its name.
        remake: makes it again with other arguments.
    """

    groups: tuple[PlannedGroup, ...]
    problem: str
    remake: Callable[..., SweepPlan]

    @property
    def trials(self) -> int:
        """Number of trials."""
        return sum(group.plan.trials for group in self.groups)

    @property
    def chunks(self) -> int:
        """Number of chunks, each of which is a file of a store."""
        return sum(group.plan.chunks for group in self.groups)

    @property
    def width(self) -> int:
        """Lanes per device, to be given to `sweep`.

        Raises:
            ValueError: the groups have different ones.
        """
        widths = {group.plan.width for group in self.groups}
        if len(widths) > 1:
            raise ValueError(f"the groups have widths {sorted(widths)}; sweep(..., width='fastest') chooses for each")
        return widths.pop()

    @property
    def seconds(self) -> float | None:
        """Estimated seconds for all trials, compiling and the evaluation at the end left out; None before `timed()`."""
        seconds = [group.timing and group.timing.seconds.get(group.plan.width) for group in self.groups]
        return None if any(s is None for s in seconds) else float(sum(s for s in seconds if s is not None))

    def timed(self) -> SweepPlan:
        """The same plan at the widths that a short timing finds fastest; each costs a compilation and 0.2 s."""
        return dataclasses.replace(self, groups=tuple(group.timed() for group in self.groups))

    def __str__(self) -> str:
        first = self.groups[0].plan
        kinds = f"{first.group.mesh.size} {first.platform} device{'s' * (first.group.mesh.size > 1)}"
        seconds = f"{_duration(self.seconds)} in all" if self.seconds else "not timed: .timed() does"
        lines = [
            f"sweep of {self.problem}: {_of(len(self.groups), 'program')} to compile, {_of(self.trials, 'trial')} of "
            f"{_of(first.steps, 'step')} ({_of(len(first.seeds), 'seed')}), {_of(self.chunks, 'chunk')}, on {kinds}",
            *map(str, self.groups),
            seconds,
        ]
        return "\n".join(lines)


def plan(
    problem: Problem | Callable[..., Problem],
    optimizer: Callable[..., optax.GradientTransformation] | Mapping[str, Any],
    space: Space | None = None,
    *,
    seeds: int | Sequence[int] = 1,
    steps: int,
    batch_size: int | None = None,
    every: int = 1,
    key: Key[Array, ""] | None = None,
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None = None,
    skip_non_finite: int = 0,
    width: int | str | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> SweepPlan:
    """What `sweep` with the same arguments will do: its programs, trials, chunks, memory, and once timed its seconds.

    Making it checks and traces everything and runs nothing, unless width is "fastest". Printing it compiles each
    program for one and for two lanes, whose memory tells the cost of a chunk and of a lane. So does making it, if the
    width is not given and might be too much for the memory; it is then the largest power of two that fits.

    Arguments:
        problem, optimizer, space, seeds, steps, batch_size, every, key: as in `sweep`.
        evaluation_params, skip_non_finite, width, devices: as in `sweep`.

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
    """
    options: dict[str, Any] = {"seeds": seeds, "steps": steps, "every": every, "key": key}
    options |= {"width": width, "devices": devices, "batch_size": batch_size}
    options |= {"evaluation_params": evaluation_params, "skip_non_finite": skip_non_finite}

    def remake(**changes: Any) -> SweepPlan:
        return plan(problem, optimizer, space, **{**options, **changes})

    if isinstance(optimizer, Mapping):
        if space is not None:
            raise TypeError("with several families each brings its own space; leave the argument `space` out")
        families = dict(check_families(optimizer))
    else:
        families = {"": (optimizer, space)}  # type: ignore[dict-item]
    groups: list[PlannedGroup] = []
    for family, (one, visited) in families.items():
        parts = parts_of(problem, one, visited, batch_size)
        if parts is None:
            made = planned(problem=problem, optimizer=one, space=visited, **options)
            groups.append(PlannedGroup.of(family or _checks.name_of(one), made))
            continue
        for part in parts:
            definition = dict(problem=part.problem, optimizer=part.optimizer, space=part.space)
            made = planned(**{**options, **definition, "batch_size": part.batch_size})
            groups.append(PlannedGroup.of(f"{family or _checks.name_of(one)} {part.words}".strip(), made))
    return SweepPlan(tuple(groups), groups[0].plan.problem.name, remake)


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
