"""The width of a group: given, chosen by the size of its lanes and the memory of the machine, or timed.

The width that a store began with is in `keep.store`, as is what happens when it differs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import jax
import jax.numpy as jnp

from ... import _checks
from .engine import Engine
from .group_plan import GroupPlan, Timing
from .memory import available, most_bytes
from .placed import Placed
from .programs import OPENING, programs
from .tiles import in_tiles

SECONDS_PER_TIMING = 0.2
WORTH_IT = 0.9  # another width is taken if it needs less than this share of the time


def check_width(width: int | str | None) -> int | str | None:
    """Return a width that a user gave.

    Raises:
        TypeError, ValueError: neither a positive number, None, nor "fastest".
    """
    if isinstance(width, str):
        return _checks.choice("width", width, ["fastest"])
    return None if width is None else _checks.count("width", width)


def at(plan: GroupPlan, width: int | str | None) -> GroupPlan:
    """The plan at a width that is given, at one that memory takes (None), or at the "fastest"."""
    if isinstance(width, int):
        return plan.at_width(width)
    share = -(-plan.trials // plan.devices)
    passes = -(-share // plan.suited)
    plan = plan.at_width(in_tiles(-(-share // passes), plan.static.tile))
    lanes = lanes_that_fit(plan)
    fitted = plan.at_width(lanes, wished=plan.width if lanes < plan.width else None)
    return fitted if width is None else timed(fitted)


def timed(plan: GroupPlan) -> GroupPlan:
    """The plan at the width that a short timing finds fastest.

    Raises:
        ValueError: its data can be read only once.
    """
    if plan.source is not None and plan.source.once:
        raise ValueError(
            f"timing a width needs data that can be read again; data are {plan.source.words}: give a width"
        )
    timing = time_widths(plan)
    return plan.at_width(timing.fastest, timing=timing)


def lanes_that_fit(plan: GroupPlan) -> int:
    """The width of a plan, or the largest power of two of lanes that memory takes."""
    free = available(plan.shapes)
    # Most sweeps fit by far, which a bound that costs no compilation shows.
    if free is None or 2 * most_bytes(plan.shapes, plan.width) <= free:
        return plan.width
    lanes = (free - plan.memory.fixed) // max(1, plan.memory.per_lane)
    return plan.width if lanes >= plan.width else 2 ** (max(1, lanes).bit_length() - 1)


def time_widths(plan: GroupPlan, widths: Iterable[int] | None = None) -> Timing:
    """Time a few widths for a fifth of a second each; a width that memory does not allow is left out.

    Arguments:
        plan: the group.
        widths: lanes per device; by default one, a quarter of the plan's width, that width and four times as many.
    """
    share = -(-plan.trials // plan.devices)
    wanted = {1, plan.width // 4, plan.width, 4 * plan.width} if widths is None else {plan.width, *widths}
    most = min(share, lanes_that_fit(plan.at_width(max(wanted))))
    placed = Placed(plan)
    rates, seconds = {}, {}
    for width in sorted(width for width in wanted if 1 <= width <= most or width == plan.width):
        other = plan.at_width(width)
        try:
            rate = _rate(other, placed)
        # Mostly for want of memory. Anything else that fails here fails in the sweep too, where it is raised.
        except (jax.errors.JaxRuntimeError, MemoryError):
            continue
        passes = -(-other.chunks // plan.devices)
        rates[width] = rate
        seconds[width] = passes * width * plan.devices * plan.steps / rate
    best = min(seconds, key=lambda width: seconds[width], default=plan.width)
    worth = plan.width not in seconds or seconds[best] < WORTH_IT * seconds[plan.width]
    return Timing(rates, seconds, best if worth else plan.width)


def _rate(plan: GroupPlan, placed: Placed) -> float:
    """Steps of a trial per second, of all devices together, compiling left out."""
    compiled, (initial, inputs, shared) = programs(plan.static), Engine(plan, placed=placed).first_pass()
    lanes = compiled.begin(initial, inputs)
    lanes = compiled.run(lanes, inputs, shared, *map(jnp.int32, (0, OPENING, 0)))  # which compiles
    jax.block_until_ready(lanes)
    length, elapsed, done = 1, 0.0, 0
    while elapsed < SECONDS_PER_TIMING:
        began = time.perf_counter()
        # The same first steps again and again: only their time matters, and no other window of rows is needed.
        lanes = compiled.run(lanes, inputs, shared, *map(jnp.int32, (0, 0, length)))
        jax.block_until_ready(lanes)
        elapsed += time.perf_counter() - began
        done += length
        length = min(2 * length, plan.window)
    return done * plan.width * plan.devices / elapsed
