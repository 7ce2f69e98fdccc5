"""Boxes that users give: checked, and as two vectors."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ._interval import SMALLEST, is_subnormal
from ._point import Point


def checked_box(box: Any, like: Any = None) -> tuple[Point, Point]:
    """The lower and the upper side of a box, as points of one structure."""
    if not isinstance(box, (tuple, list)) or len(box) != 2:
        raise ValueError(f"box must be (lower, upper), two pytrees like the parameters, got {box!r}")
    as_arrays = [jax.tree.map(_real, lists_as_arrays(side)) for side in box]
    lower, upper = Point("box[0]", as_arrays[0]), Point("box[1]", as_arrays[1])
    if lower.structure != upper.structure or lower.shapes != upper.shapes:
        raise ValueError(
            f"both sides of box must have the same structure and shapes, got {lower.structure} with {lower.shapes} "
            f"and {upper.structure} with {upper.shapes}"
        )
    for name, side in (("box[0]", lower), ("box[1]", upper)):
        if not np.isfinite(side.vector).all():
            raise ValueError(f"{name} must be finite, got {side.vector.tolist()}: a proof needs a bounded box")
        if is_subnormal(side.vector).any():
            raise ValueError(f"{name} must be 0 or at least {SMALLEST} in size, got {side.vector.tolist()}")
    above = lower.vector > upper.vector
    if above.any():
        i = int(above.argmax())
        raise ValueError(
            f"box must have its lower side below its upper side, got {lower.vector[i]} and {upper.vector[i]} for "
            f"parameter {i}"
        )
    return lower, upper


def _real(leaf: Any) -> Any:
    """An array; whole numbers as doubles: a side of a box may be -5."""
    array = np.asarray(leaf)
    return array.astype(float) if array.dtype.kind in "iu" else array


def lists_as_arrays(side: Any) -> Any:
    """A list of numbers is a vector: ([-5, -5], [5, 5]) is the box of a function of two numbers."""
    if isinstance(side, (list, tuple)) and side and all(isinstance(x, (int, float, np.number)) for x in side):
        return np.asarray(side, float)
    return side
