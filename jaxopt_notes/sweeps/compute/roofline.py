"""How fast a group could run on its device: what a step needs, what the device gives, and which of it binds.

A step takes at least the time of its arithmetic, of the memory that it moves, and of starting its kernels, whichever is
longest. Arithmetic and kernels are XLA's own counts, of the compiled program. Its count of bytes is no least one: it
counts what a cache holds between two kernels. So the memory is what a step cannot avoid, to read and to write what it
hands to the next, and to read its batches. What the device gives is measured.

Source: Williams, Waterman and Patterson, Roofline: an insightful visual performance model, 2009.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..._jaxpr import cost_of
from .memory import segment_compiled, size_of
from .shapes import Shapes
from .tiles import tile_of

# Seconds to start a kernel. On the CPU a kernel is a call of a function.
STARTING = {"gpu": 2.5e-6, "cuda": 2.5e-6, "tpu": 1e-6}
SIDE = {"cpu": 1024}  # of the matrices whose product is timed
LARGEST = {"cpu": 2**27}  # bytes copied at a time


class Work(NamedTuple):
    """What one step of all lanes of a device needs.

    Attributes:
        flops: additions and multiplications.
        bytes: read and written at the least.
        kernels: how many are started.
    """

    flops: float
    bytes: float
    kernels: int


class Bound(NamedTuple):
    """What binds a step.

    Attributes:
        part: "compute", "memory" or "launches".
        rate: the most steps of a trial per second, of all lanes together.
        seconds: of each part the least time that it takes of a step.
    """

    part: str
    rate: float
    seconds: dict[str, float]


class Limits(NamedTuple):
    """What a device gives: products of float32 matrices in the precision of training, and copies, measured.

    What starting a kernel takes is a usual figure.

    Attributes:
        flops: additions and multiplications per second.
        bytes: read and written per second.
        starting: seconds to start a kernel.
    """

    flops: float
    bytes: float
    starting: float

    def bound(self, work: Work, lanes: int) -> Bound:
        """What binds a step of this many lanes."""
        compute, memory = work.flops / self.flops, work.bytes / self.bytes
        seconds = {"compute": compute, "memory": memory, "launches": work.kernels * self.starting}
        part = max(seconds, key=lambda part: seconds[part])
        return Bound(part, lanes / seconds[part], seconds)


def work_of(shapes: Shapes, width: int) -> Work:
    """What a step of this many lanes needs, by compiling the segment for one tile, or for few lanes, on one device."""
    alone = shapes.alone
    tile = tile_of(width, alone.static.tile)
    if tile < width:
        flops, kernels = cost_of(segment_compiled(alone, tile))
        flops, kernels = width // tile * flops, width // tile * kernels
    else:
        (one, _), (two, kernels) = (cost_of(segment_compiled(alone, lanes)) for lanes in (1, 2))
        flops = one + (width - 1) * (two - one)
    carry, data, rows = size_of(alone.lanes(1).carry), size_of(shapes.data), shapes.rows
    if rows is not None and rows[-1] > 0:  # of the examples a batch, and not all
        examples = jax.tree.leaves(shapes.data)[0].shape[0]
        data = data * rows[-1] // examples
    elif shapes.static.streamed:
        data //= jax.tree.leaves(shapes.data)[0].shape[0]
    # XLA counts the flops of one device. Of a trial that is split each has at least its share of the bytes.
    share = alone.static.mesh.size
    return Work(flops, width * (2 * carry + data) / share, kernels)


@functools.lru_cache(maxsize=8)
def limits_of(devices: tuple[jax.Device, ...], size: int) -> Limits:
    """What each device gives while all of them work, as those of one machine share it.

    Measured are a matrix product, and a copy of about `size` bytes, which a cache may hold.
    """
    platform = devices[0].platform
    side = SIDE.get(platform, 8192)
    entries = max(2**12, min(size, LARGEST.get(platform, 2**32)) // 8)
    product = _rate(lambda x: x @ x, np.ones((side, side), np.float32), devices) * 2.0 * side**3
    copies = _rate(lambda x: x + 1, np.ones(entries, np.float32), devices) * 8.0 * entries
    return Limits(product, copies, STARTING.get(platform, 0.0))


def _rate(function: Callable[[Any], Any], argument: np.ndarray, devices: Sequence[jax.Device]) -> float:
    """Calls of a function per second on each device, from a few rounds of some milliseconds."""
    arguments = [jax.device_put(argument, device) for device in devices]

    @jax.jit
    def repeated(value: Any, times: Any) -> Any:
        return jax.lax.fori_loop(0, times, lambda _, value: jax.lax.optimization_barrier(function(value)), value)

    def seconds(times: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready([repeated(argument, times) for argument in arguments])
        return time.perf_counter() - began

    seconds(1)  # which compiles
    times = max(1, int(0.02 / max(1e-7, seconds(1))))
    return times / min(seconds(times) for _ in range(3))
