"""What a chunk costs before it runs: memory from the compiled program, seconds from a short timing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .engine import segment_arguments
from .plan import Plan
from .programs import programs

SECONDS_PER_TIMING = 0.2
WORTH_IT = 0.9  # a width is left for one that needs less than this share of its time


class Memory(NamedTuple):
    """Bytes on one device while a chunk runs: `fixed + lanes * per_lane`.

    Attributes:
        fixed: data, example indices, starts, and what the program needs whatever the lanes.
        per_lane: parameters, gradient, optimizer state, histories and intermediate values of a trial.
        available: what the device can give, if it tells.
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


def memory_of(plan: Plan) -> Memory:
    """The memory of a chunk, by compiling the segment for one and for two lanes on one device."""
    alone = plan.on_devices([plan.group.mesh.devices.flat[0]])
    one, two = (_bytes(segment_compiled(alone.at_width(width))) for width in (1, 2))
    stats = alone.group.mesh.devices.flat[0].memory_stats() or {}
    return Memory(max(0, 2 * one - two), max(0, two - one), stats.get("bytes_limit"))


def segment_compiled(plan: Plan) -> Any:
    """The compiled segment of a plan, which runs nothing."""
    bound = jax.ShapeDtypeStruct((), jnp.int32)
    return programs(plan.group).segment.lower(*segment_arguments(plan), bound, bound, bound).compile()


def _bytes(compiled: Any) -> int:
    """Arguments, results that are not arguments given back, and what is in between."""
    memory = compiled.memory_analysis()
    sizes = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return sizes - memory.alias_size_in_bytes


def time_widths(plan: Plan, widths: Iterable[int] | None = None) -> Timing:
    """Time a few widths for a fifth of a second each; a width that memory does not allow is left out.

    Arguments:
        plan: the sweep of one group.
        widths: lanes per device; by default one, a quarter of the plan's width, that width and four times as many.
    """
    share = -(-plan.trials // plan.group.mesh.size)
    wanted = {1, plan.width // 4, plan.width, 4 * plan.width} if widths is None else {plan.width, *widths}
    rates, seconds = {}, {}
    for width in sorted(width for width in wanted if 1 <= width <= share or width == plan.width):
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
    compiled, (_, trials, shared) = programs(plan.group), segment_arguments(plan)
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
