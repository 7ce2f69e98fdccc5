"""What a chunk costs before it runs: memory from the compiled program, seconds from a short timing."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .._jaxpr import bytes_computed, bytes_needed, trace
from .._kept import kept_with
from ..devices import memory_for
from .engine import first_pass, segment_shapes
from .plan import Plan, make_plan
from .programs import Group, programs, segment_of

SECONDS_PER_TIMING = 0.2
WORTH_IT = 0.9  # a width is left for one that needs less than this share of its time


class Memory(NamedTuple):
    """Bytes on one device while a chunk runs: `fixed + lanes * per_lane`.

    Attributes:
        fixed: data, example indices, starts, and what the program needs whatever the lanes.
        per_lane: parameters, gradient, optimizer state, histories and intermediate values of a trial.
        available: what a chunk may take on the device, if that is known.
    """

    fixed: int
    per_lane: int
    available: int | None

    def of(self, lanes: int) -> int:
        """Bytes of a chunk."""
        return self.fixed + lanes * self.per_lane


class Timing(NamedTuple):
    """Measured speed of several widths.

    Attributes:
        rates: lanes per device -> steps of a trial per second, of all devices together.
        seconds: lanes per device -> seconds for all trials, padding included, compiling left out.
        fastest: the width to use.
    """

    rates: dict[int, float]
    seconds: dict[int, float]
    fastest: int


class Planned(NamedTuple):
    """A plan at the width that was given or chosen.

    Attributes:
        plan: the plan.
        wished: the width that was too wide for the memory, if one was.
        timing: how fast some widths are, if they were timed.
    """

    plan: Plan
    wished: int | None = None
    timing: Timing | None = None

    def timed(self) -> Planned:
        """The same plan at the width that a short timing finds fastest."""
        timing = time_widths(self.plan)
        return Planned(self.plan.at_width(timing.fastest), self.wished, timing)


def planned(width: int | str | None, **definition: Any) -> Planned:
    """The plan of a sweep of one program, at a width, at one chosen by size and memory (None), or at the "fastest".

    Raises:
        TypeError, ValueError: as `make_plan`, whose other arguments `definition` holds; another word.
    """
    if isinstance(width, str):
        _checks.choice("width", width, ["fastest"])
    if not (width is None or isinstance(width, str)):
        return Planned(make_plan(**definition, width=width))
    plan = make_plan(**definition, width=None)
    lanes = lanes_that_fit(plan)
    wished = plan.width if lanes < plan.width else None
    plan = plan.at_width(lanes)
    return Planned(plan, wished) if width is None else Planned(plan, wished).timed()


def lanes_that_fit(plan: Plan) -> int:
    """The width of a plan, or the largest power of two of lanes that memory takes."""
    available = _available(plan)
    # Most sweeps fit by far, as a bound that costs no compilation tells.
    if available is None or 2 * _most_bytes(plan) <= available:
        return plan.width
    memory = memory_of(plan)
    lanes = (available - memory.fixed) // max(1, memory.per_lane)
    return plan.width if lanes >= plan.width else 2 ** (max(1, lanes).bit_length() - 1)


def _most_bytes(plan: Plan) -> int:
    """What a chunk would take if nothing that its program computes were ever released."""
    one = plan.at_width(1).on_devices([plan.group.mesh.devices.flat[0]])
    lanes, trials, shared = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), segment_shapes(one))
    bound = jax.ShapeDtypeStruct((), jnp.int32)
    leaves, structure = jax.tree.flatten((lanes, trials, shared, bound, bound, bound))
    return _size(shared) + plan.width * (2 * _size(lanes) + _bytes_computed(plan.group, structure, tuple(leaves)))


@kept_with(lambda group, structure, leaves: group.loss)
def _bytes_computed(group: Group, structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...]) -> int:
    """The bytes of everything that a segment computes in a step; the same for every sweep of one program."""
    return bytes_computed(trace(functools.partial(segment_of, group), *jax.tree.unflatten(structure, leaves)).jaxpr)


def _size(tree: Any) -> int:
    return sum(
        int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")
    )


def _available(plan: Plan) -> int | None:
    mesh = plan.group.mesh
    return memory_for(mesh.devices.flat[0], sharing=mesh.size)


def memory_of(plan: Plan) -> Memory:
    """The memory of a chunk, by compiling the segment for one and for two lanes on one device."""
    alone = plan.on_devices([plan.group.mesh.devices.flat[0]])
    one, two = (bytes_needed(segment_compiled(alone.at_width(width))).total for width in (1, 2))
    return Memory(max(0, 2 * one - two), max(0, two - one), _available(plan))


def segment_compiled(plan: Plan) -> Any:
    """The compiled segment of a plan, which runs nothing."""
    bound = jax.ShapeDtypeStruct((), jnp.int32)
    return programs(plan.group).segment.lower(*segment_shapes(plan), bound, bound, bound).compile()


def time_widths(plan: Plan, widths: Iterable[int] | None = None) -> Timing:
    """Time a few widths for a fifth of a second each; a width that memory does not allow is left out.

    Arguments:
        plan: the sweep of one group.
        widths: lanes per device; by default one, a quarter of the plan's width, that width and four times as many.
    """
    share = -(-plan.trials // plan.group.mesh.size)
    wanted = {1, plan.width // 4, plan.width, 4 * plan.width} if widths is None else {plan.width, *widths}
    most = min(share, lanes_that_fit(plan.at_width(max(wanted))))
    rates, seconds = {}, {}
    for width in sorted(width for width in wanted if 1 <= width <= most or width == plan.width):
        other = plan.at_width(width)
        try:
            rate = _rate(other)
        except (jax.errors.JaxRuntimeError, MemoryError):
            continue
        passes = -(-other.chunks // plan.group.mesh.size)
        rates[width] = rate
        seconds[width] = passes * width * plan.group.mesh.size * plan.steps / rate
    best = min(seconds, key=lambda width: seconds[width], default=plan.width)
    worth = plan.width not in seconds or seconds[best] < WORTH_IT * seconds[plan.width]
    return Timing(rates, seconds, best if worth else plan.width)


def _rate(plan: Plan) -> float:
    """Steps of a trial per second, of all devices together, compiling left out."""
    compiled, (trials, shared) = programs(plan.group), first_pass(plan)
    lanes = compiled.begin(plan.replicated[3], trials, shared)
    length, elapsed, done = 1, 0.0, 0
    first = True
    while elapsed < SECONDS_PER_TIMING:
        began = time.perf_counter()
        lanes = compiled.segment(lanes, trials, shared, *map(jnp.int32, (0, 0, length)))
        jax.block_until_ready(lanes)
        if not first:  # which compiles
            elapsed += time.perf_counter() - began
            done += length
            length = min(2 * length, plan.window)
        first = False
    return done * plan.width * plan.group.mesh.size / elapsed
