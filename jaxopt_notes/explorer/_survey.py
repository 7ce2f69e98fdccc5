"""What lies under the paths: contours as SVG paths, a field of downhill arrows, and rates to begin with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._derivatives import dense_hessian
from .._hoist import Program
from ..curvature._lanczos import euclidean_norm
from ._scenes import Scene

WIDTH, HEIGHT = 800, 600  # of the drawing, in the units of its paths
_COLUMNS, _ROWS, _SPACING = 161, 121, 8  # of the grid; every so many of its points has an arrow
_LEVELS = 16
_FLOW = (10, 8)  # lines of the gradient flow begin at the middles of so many columns and rows
_FLOW_POINTS, _FLOW_LENGTH = 80, 1 / 160  # of such a line, apart by at most this share of the window's width
_EVERY = 2  # of the grid; at every so many of its points the curvature is looked at
_FLAT = 1e-5  # of the largest curvature in the window: nearer to zero its sign is that of rounding
_CURVE = 401
Contours = list[tuple[float, str, str]]


class Survey(NamedTuple):
    """A function inside a window, ready to draw.

    Attributes:
        contours: (level, line, region above it) with both as SVG path data; empty for a function of one variable.
        curve: (x, f) along the window of a function of one variable; otherwise empty.
        arrows: (x, y, -df/dx, -df/dy), the direction normalised; empty for a function of one variable.
        flow: points of lines of steepest descent, which follow x' = -f'(x); empty for a function of one variable.
        rate: a learning rate of gradient descent to begin with, 0.4 times what the curvature at the start and the known
            minima allows.
        span: (lowest, highest) value in the window.
        grid: f at the nodes of a grid over the window, rows from the bottom up; empty for a function of one variable.
        nonconvex: the region where f curves down in some direction, so that it is not convex there, as SVG path data.
        spacing: of the levels, "linear" or "log".
        note: what an empty picture means: that the function is constant there, or nowhere finite; else empty.
    """

    contours: Contours
    curve: Float[np.ndarray, "m 2"]
    arrows: Float[np.ndarray, "m 4"]
    flow: Float[np.ndarray, "lines points 2"]
    rate: float
    span: tuple[float, float]
    grid: Float[np.ndarray, "rows columns"]
    nonconvex: str
    spacing: str
    note: str = ""


def survey(scene: Scene, window: Float[np.ndarray, "2 n"]) -> Survey:
    """Look at a function in a window.

    Arguments:
        scene: the function.
        window: lower and upper corner, shape (2, n).

    Returns:
        A `Survey`.

    Example:
        >>> import numpy as np
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> from jaxopt_notes.explorer._survey import survey
        >>> seen = survey(catalogue()["bowl"], np.array([[-4.0, -3.0], [4.0, 3.0]]))
        >>> len(seen.contours), seen.contours[0][1][:1], round(seen.rate, 3)
        (16, 'M', 0.179)
    """
    program, constants = scene.traced
    dtype = jax.dtypes.canonicalize_dtype(float)
    known = np.stack([scene.start, *(point for point, _ in scene.minima)]).astype(dtype)
    counts = (_CURVE,) if scene.dimension == 1 else (_COLUMNS, _ROWS)
    axes = [np.linspace(low, high, n).astype(dtype) for low, high, n in zip(*window, counts, strict=True)]
    seen = _look(program, constants, axes, known)
    values, slopes, curvature, lowest, largest, flow = jax.device_get(seen)
    finite = values[np.isfinite(values)]
    span = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    rate = min(0.8 / float(curvature), 1e300) if curvature > 0 else 0.1
    note = _note(span) if finite.size else "not finite anywhere in this window"
    nothing = np.zeros((0, 4), np.float32)
    nonconvex = _nonconvex(lowest, float(largest))
    if scene.dimension == 1:
        curve, grid = np.stack([axes[0], values], axis=1), np.zeros((0, 0))
        flow = np.zeros((0, 0, 2))
        return Survey([], curve, nothing, flow, rate, span, grid, nonconvex, scene.levels, note)
    arrows = np.concatenate([np.stack(np.meshgrid(*(a[_SPACING // 2 :: _SPACING] for a in axes)), -1), slopes], axis=-1)
    arrows = arrows.reshape(-1, 4)
    drawn = np.all(np.isfinite(arrows), axis=1) & np.any(arrows[:, 2:] != 0, axis=1)
    contours = _contours(values, levels(span, scene.levels))
    return Survey(contours, np.zeros((0, 2)), arrows[drawn], flow, rate, span, values, nonconvex, scene.levels, note)


@partial(jax.jit, static_argnums=0)
def _look(
    program: Program, constants: list[Any], axes: list[Array], known: Float[Array, "m n"]
) -> tuple[Array, Array, Float[Array, ""], Array, Float[Array, ""], Array]:
    """Values on the grid, downhill directions on a coarser one, and the largest curvature at the known points.

    Then the smallest eigenvalue of the Hessian at every other node of the grid, its largest entry at any of them,
    and the lines of the gradient flow.
    """

    def loss(x: Array) -> Array:
        return program(constants, x)

    def downhill(x: Array) -> Array:
        slope = -jax.grad(loss)(x)
        size = euclidean_norm(slope)
        return slope / jnp.where(size > 0, size, 1)

    points = jnp.stack(jnp.meshgrid(*axes), axis=-1)
    values = jax.vmap(loss)(points.reshape(-1, len(axes))).reshape(points.shape[:-1])
    coarse = points[(slice(_SPACING // 2, None, _SPACING),) * len(axes)]
    slopes = jax.vmap(downhill)(coarse.reshape(-1, len(axes))).reshape(coarse.shape)
    curvatures = jax.vmap(lambda x: euclidean_norm(dense_hessian(loss, x)))(known)
    nodes = points[(slice(None, None, _EVERY),) * len(axes)]
    hessians = jax.vmap(lambda x: dense_hessian(loss, x))(nodes.reshape(-1, len(axes)))
    lowest = jax.vmap(_smallest_eigenvalue)(hessians).reshape(nodes.shape[:-1])
    sizes = jnp.abs(hessians)
    largest = jnp.max(jnp.where(jnp.isfinite(sizes), sizes, 0))
    return (
        values,
        slopes,
        jnp.max(jnp.where(jnp.isfinite(curvatures), curvatures, 0)),
        lowest,
        largest,
        _flow(downhill, axes),
    )


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


def _nonconvex(lowest: Float[np.ndarray, "..."], largest: float) -> str:
    """Where the smallest eigenvalue is negative beyond rounding, as SVG path data; bands for one variable."""
    if not largest > 0:
        return ""
    share = np.where(np.isfinite(lowest), lowest.astype(np.float64) / largest, 1.0) + _FLAT
    if lowest.ndim == 2:
        return _path_data(*_generator(share).filled(-np.inf, 0.0))
    xs = np.linspace(0, WIDTH, len(share))
    inside = np.concatenate([[False], share < 0, [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
    half = WIDTH / (len(share) - 1) / 2
    bands = np.clip([(xs[first] - half, xs[last - 1] + half) for first, last in edges], 0, WIDTH).reshape(-1, 2)
    return "".join(f"M{left:.1f} 0H{right:.1f}V{HEIGHT}H{left:.1f}Z" for left, right in bands.tolist())


def _note(span: tuple[float, float]) -> str:
    return "" if span[1] > span[0] else f"constant in this window: {span[0]:.6g}"


def levels(span: tuple[float, float], spacing: str) -> Float[np.ndarray, " levels"]:
    """Levels inside a span that show it: evenly spaced, or in the logarithm of the height above the lowest."""
    low, high = span
    if not high > low:
        return np.zeros(0)
    inside = (np.arange(_LEVELS) + 0.5) / _LEVELS
    # Evenly spaced ones are closer where it is low, where runs end. The width itself may be too large a number.
    share = inside**1.5 if spacing == "linear" else 10 ** (4.5 * (inside - 1))
    return low * (1 - share) + high * share


def _contours(values: Float[np.ndarray, "rows columns"], heights: Float[np.ndarray, " levels"]) -> Contours:
    """Lines and the regions above them, in the units of the drawing, whose y axis points down."""
    # In units of the highest level, as differences of the largest numbers are infinite. What is infinite is above every
    # level; what is no number is left out.
    unit = float(np.abs(heights).max(initial=0)) or 1.0
    known = np.ma.masked_invalid(np.where(np.isposinf(values), 1e30, values.astype(np.float64) / unit))
    generator = _generator(known)
    found: Contours = []
    for height in heights:
        lines, regions = generator.lines(height / unit), generator.filled(height / unit, np.inf)
        found.append((float(height), _path_data(*lines), _path_data(*regions)))
    return found


def _generator(values: Any) -> Any:
    import contourpy

    rows, columns = values.shape
    xs, ys = np.linspace(0, WIDTH, columns), np.linspace(HEIGHT, 0, rows)
    return contourpy.contour_generator(xs, ys, values, line_type="SeparateCode", fill_type="OuterCode")


def _path_data(pieces: list[Any], codes: list[Any]) -> str:
    """Polygons and lines as SVG path data, to a tenth of a unit: 1 begins a line, 2 goes on, 79 closes it."""
    words: list[str] = []
    for points, steps in zip(pieces, codes, strict=True):
        for (x, y), step in zip(points.tolist(), steps.tolist(), strict=True):
            words.append("Z" if step == 79 else f"{'M' if step == 1 else 'L'}{x:.1f} {y:.1f}")
    return "".join(words)
