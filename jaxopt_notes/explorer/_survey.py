"""What lies under the paths: values on a grid, where the function is not convex, and which way is down."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._derivatives import dense_hessian
from .._hoist import Program
from ..curvature._lanczos import euclidean_norm

WIDTH, HEIGHT = 800, 600  # of the drawing, in the units of its paths
COLUMNS, ROWS, CURVE = 161, 121, 401  # of the grid, and of the curve of a function of one variable
SPACING, EVERY = 8, 2  # every so many of the grid's points has an arrow, and is asked for its curvature
_FLOW = (10, 8)  # lines of the gradient flow begin at the middles of so many columns and rows
_FLOW_POINTS, _FLOW_LENGTH = 80, 1 / 160  # of such a line, apart by at most this share of the window's width
_LEVELS = 16
LEVELS: Final = {
    # Evenly spaced ones are closer where it is low, where runs end.
    "linear": ((np.arange(_LEVELS) + 0.5) / _LEVELS) ** 1.5,
    "log": 10 ** (4.5 * ((np.arange(_LEVELS) + 0.5) / _LEVELS - 1)),
}
"""How far from the lowest value in the picture to the highest each level is, by the spacing of the levels."""


class Survey(NamedTuple):
    """A function inside a window.

    Attributes:
        values: f at the nodes of a grid over the window, rows from the bottom up.
        slopes: the direction downhill at every eighth node, normalised.
        lowest: the smallest eigenvalue of the Hessian at every other node.
        largest: the largest entry of a Hessian at any of them.
        flow: points of lines of steepest descent, which follow x' = -f'(x).
    """

    values: Float[Array, "..."]
    slopes: Float[Array, "... n"]
    lowest: Float[Array, "..."]
    largest: Float[Array, ""]
    flow: Float[Array, "lines points n"]


@partial(jax.jit, static_argnums=0)
def survey(program: Program, constants: list[Any], axes: list[Float[Array, " nodes"]]) -> Survey:
    """Look at a function in a window.

    Arguments:
        program, constants: the function, hoisted.
        axes: the coordinates of the columns and of the rows of the grid.

    Returns:
        A `Survey`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> bowl = catalogue()["bowl"]
        >>> survey(*bowl.traced, [jnp.linspace(-4, 4, 9), jnp.linspace(-3, 3, 9)]).values.shape
        (9, 9)
    """

    def loss(x: Array) -> Array:
        return program(constants, x)

    def downhill(x: Array) -> Array:
        slope = -jax.grad(loss)(x)
        size = euclidean_norm(slope)
        return slope / jnp.where(size > 0, size, 1)

    points = jnp.stack(jnp.meshgrid(*axes), axis=-1)
    values = jax.vmap(loss)(points.reshape(-1, len(axes))).reshape(points.shape[:-1])
    coarse = points[(slice(SPACING // 2, None, SPACING),) * len(axes)]
    slopes = jax.vmap(downhill)(coarse.reshape(-1, len(axes))).reshape(coarse.shape)
    nodes = points[(slice(None, None, EVERY),) * len(axes)]
    hessians = jax.vmap(lambda x: dense_hessian(loss, x))(nodes.reshape(-1, len(axes)))
    lowest = jax.vmap(_smallest_eigenvalue)(hessians).reshape(nodes.shape[:-1])
    sizes = jnp.abs(hessians)
    largest = jnp.max(jnp.where(jnp.isfinite(sizes), sizes, 0))
    return Survey(values, slopes, lowest, largest, _flow(downhill, axes))


def _flow(downhill: Callable[[Array], Array], axes: list[Array]) -> Float[Array, "lines points n"]:
    """Lines that run downhill from a coarse grid in steps of one length, halved where a line would turn back.

    So a line comes to rest at a minimum, and follows the floor of a narrow valley in small steps.
    """
    longest = _FLOW_LENGTH * (axes[0][-1] - axes[0][0])
    shares = [(jnp.arange(n, dtype=axes[0].dtype) + 0.5) / n for n in _FLOW]
    middles = [axis[0] + (axis[-1] - axis[0]) * share for axis, share in zip(axes, shares, strict=False)]
    seeds = jnp.stack(jnp.meshgrid(*middles), axis=-1).reshape(-1, len(axes))

    def step(carry: tuple[Array, Array, Array, Array], _: None) -> tuple[Any, Array]:
        settled, before, x, length = carry
        towards = downhill(x)
        goes = (jnp.sum(towards * before) >= 0) & jnp.all(jnp.isfinite(towards))
        # A step that turned back is taken again from where it began, half as long.
        length = jnp.where(goes, jnp.minimum(1.5 * length, longest), length / 2)
        settled, before = jnp.where(goes, x, settled), jnp.where(goes, towards, before)
        return (settled, before, settled + length * before, length), settled

    def line(seed: Array) -> Array:
        _, points = jax.lax.scan(step, (seed, jnp.zeros_like(seed), seed, longest), None, length=_FLOW_POINTS)
        return points

    return jax.vmap(line)(seeds)


def _smallest_eigenvalue(matrix: Float[Array, "n n"]) -> Float[Array, ""]:
    """Of a symmetric matrix with one or two rows."""
    if matrix.shape[0] == 1:
        return matrix[0, 0]
    (a, b), (c, d) = matrix
    return (a + d) / 2 - jnp.hypot((a - d) / 2, (b + c) / 2)
