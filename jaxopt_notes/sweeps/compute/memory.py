"""The memory of a chunk before it runs, from the compiled program or from a bound that needs no compilation.

Here are numbers of bytes; what width follows from them is decided in `width`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from ..._jaxpr import bytes_computed, bytes_needed
from ...devices import memory_for
from .mesh import AXIS
from .programs import programs
from .shapes import Shapes
from .tiles import tile_of


class MemoryUse(NamedTuple):
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


def memory_of(shapes: Shapes, width: int) -> MemoryUse:
    """The memory of a chunk, by compiling the segment for one and for two tiles on one device."""
    # Memory is taken to be affine in the tiles, whose intermediate values share their place, and where all lanes step
    # together in the lanes: two compilations give both coefficients. XLA's own figure includes what it fuses and
    # reuses, which no count of arrays knows.
    tile = tile_of(width, shapes.static.tile)
    tile = tile if tile < width else 1
    one, two = (bytes_needed(segment_compiled(shapes.alone, tiles * tile)).total for tiles in (1, 2))
    return MemoryUse(max(0, 2 * one - two) + _ahead(shapes), max(0, two - one) // tile, available(shapes))


def available(shapes: Shapes) -> int | None:
    """Bytes that a chunk may take on its device, if that is known."""
    mesh = shapes.static.mesh
    return memory_for(mesh.devices.flat[0], sharing=mesh.size)


def segment_compiled(shapes: Shapes, width: int) -> Any:
    """The compiled segment, which runs nothing."""
    return programs(shapes.static).segment.lower(*shapes.segment_on_devices(width)).compile()


def most_bytes(shapes: Shapes, width: int) -> int:
    """What a chunk would take if nothing that its program computes were ever released."""
    arguments = shapes.segment_on_devices(width)
    lanes, _, shared, *_ = arguments
    # The trace is kept, and serves when the segment runs at this width. It computes the intermediate values of a tile,
    # and the lanes of all devices.
    segment = programs(shapes.static).segment.trace(*arguments).jaxpr.jaxpr
    before = size_of(lanes) // shapes.static.mesh.shape[AXIS]
    return size_of(shared) + _ahead(shapes) + before + bytes_computed(segment)


def _ahead(shapes: Shapes) -> int:
    """The bytes of the windows of a stream that are read ahead."""
    return 2 * size_of(shapes.data) if shapes.static.streamed else 0


def size_of(tree: Any) -> int:
    """The bytes of every leaf."""
    return sum(
        int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")
    )
