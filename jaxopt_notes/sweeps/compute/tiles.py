"""Tiles: the lanes of a chunk that step side by side, as many as a core's cache holds what their step touches."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..._hoist import Program
from ..._jaxpr import bytes_computed, trace
from ..._kept import kept_with

# Of a step of one tile, by the kind of device; two thirds of a second-level cache of 2 MiB. Elsewhere all lanes step
# together.
STEP_BYTES = {"cpu": 2**21 * 2 // 3}
# What does not depend on the lane is computed once for each tile, and should be this small beside what does.
SHARED = 0.1


def suited_tile(platform: str, carried: int, loss: Program, arguments: PyTree, own: PyTree) -> int | None:
    """How many lanes should step side by side, a power of two; None if all.

    Arguments:
        platform: the kind of device.
        carried: bytes that one lane carries from step to step.
        loss: what computes the loss of one lane.
        arguments: those of the loss, or their shapes.
        own: for every leaf of the arguments whether each lane has its own.
    """
    if platform not in STEP_BYTES:
        return None
    leaves, structure = jax.tree.flatten(arguments)
    shapes = tuple(jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    one, two = (_computed(loss, structure, shapes, tuple(jax.tree.leaves(own)), lanes) for lanes in (1, 2))
    each, shared = carried + two - one, max(0, 2 * one - two)
    enough = 2 * power_of_two(int(shared / (SHARED * each))) if shared > SHARED * each else 1
    return max(enough, power_of_two(STEP_BYTES[platform] // each))


@kept_with(lambda loss, *_: loss)
def _computed(
    loss: Program, structure: Any, shapes: tuple[jax.ShapeDtypeStruct, ...], own: tuple[bool, ...], lanes: int
) -> int:
    """The bytes that a loss computes for this many lanes side by side."""
    stacked = [
        jax.ShapeDtypeStruct((lanes, *one.shape), one.dtype) if has else one
        for one, has in zip(shapes, own, strict=True)
    ]
    axes = tuple(0 if has else None for has in own)
    side_by_side = jax.vmap(lambda *leaves: loss(*jax.tree.unflatten(structure, leaves)), axes)
    return bytes_computed(trace(side_by_side, *stacked).jaxpr)


def power_of_two(most: int) -> int:
    """The largest power of two that is not more, at least 1."""
    return 2 ** max(0, most.bit_length() - 1)


def tile_of(width: int, wished: int | None) -> int:
    """How many of `width` lanes step side by side: the most in equal tiles of nearly the size that suits, or else all.

    Smaller tiles than that cost more than a cache saves.
    """
    if wished is None:
        return width
    return max((size for size in _sizes(wished) if width % size == 0), default=width)


def in_tiles(lanes: int, wished: int | None) -> int:
    """This many lanes, or the few more that make equal tiles of nearly the size that suits."""
    if wished is None or lanes <= wished:
        return lanes
    return min(-(-lanes // size) * size for size in _sizes(wished))


def _sizes(wished: int) -> range:
    return range(wished // 2 + 1, wished + 1)
