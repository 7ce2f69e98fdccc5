"""How fast a group could run on its device: what a step needs, what the device gives, and which of it binds.

A step takes at least the time of its arithmetic, of the memory that it moves, and of starting its kernels, whichever is
longest. What it needs is XLA's own count, of the compiled program; what the device gives is measured.

Source: Williams, Waterman and Patterson, Roofline: an insightful visual performance model, 2009.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..._jaxpr import cost_of
from .memory import segment_compiled
from .shapes import Shapes

# Seconds to start a kernel. On the CPU a kernel is a call of a function.
STARTING = {"gpu": 2.5e-6, "cuda": 2.5e-6, "tpu": 1e-6}
SIDE = {"cpu": 1024}  # of the matrices whose product is timed
LARGEST = {"cpu": 2**27}  # bytes copied at a time


class Work(NamedTuple):
    """What one step of all lanes of a device needs.

    Attributes:
        flops: additions and multiplications.
        bytes: read and written by its kernels, wherever they lie.
        kernels: how many are started.
    """

    flops: float
    bytes: float
    kernels: int


class Limits(NamedTuple):
    """What a device gives, measured: float32 matrix products and copies; and what starting a kernel takes.

    Attributes:
        flops: additions and multiplications per second.
        bytes: read and written per second.
        starting: seconds to start a kernel.
    """

    flops: float
    bytes: float
    starting: float

    def seconds(self, work: Work) -> dict[str, float]:
        """The least time that each part of a step takes."""
        compute, memory = work.flops / self.flops, work.bytes / self.bytes
        return {"compute": compute, "memory": memory, "launches": work.kernels * self.starting}


def work_of(shapes: Shapes, width: int) -> Work:
    """What a step of so many lanes needs, by compiling the segment for one and for two lanes on one device."""
    one, two = (cost_of(segment_compiled(shapes.alone, lanes)) for lanes in (1, 2))
    flops, moved = (one[i] + (width - 1) * (two[i] - one[i]) for i in (0, 1))
    return Work(flops, moved, two[2])


@functools.lru_cache(maxsize=8)
def limits_of(device: jax.Device, size: int) -> Limits:
    """What a device gives, from a matrix product and a copy of about `size` bytes, which a cache may hold."""
    side = SIDE.get(device.platform, 8192)
    factor = jax.device_put(jnp.ones((side, side)), device)
    product = _rate(lambda x: x @ x, factor, 2.0 * side**3)
    entries = max(2**12, min(size, LARGEST.get(device.platform, 2**32)) // 8)
    copied = _rate(lambda x: x + 1, jax.device_put(jnp.ones(entries, jnp.float32), device), 8.0 * entries)
    return Limits(product, copied, STARTING.get(device.platform, 0.0))


def _rate(function: Callable[[Any], Any], argument: Any, amount: float) -> float:
    """The amount over the shortest time of a few calls, each of which repeats the function for some milliseconds."""

    @jax.jit
    def repeated(value: Any, times: Any) -> Any:
        return jax.lax.fori_loop(0, times, lambda _, value: jax.lax.optimization_barrier(function(value)), value)

    def seconds(times: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready(repeated(argument, times))
        return time.perf_counter() - began

    seconds(1)  # which compiles
    times = max(1, int(0.02 / max(1e-7, seconds(1))))
    return amount * times / min(seconds(times) for _ in range(3))
