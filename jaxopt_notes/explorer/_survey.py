"""What lies under the paths: contours as SVG paths, a field of downhill arrows, and rates to begin with."""

from __future__ import annotations

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
COLUMNS, ROWS, SPACING = 161, 121, 8  # of the grid; every so many of its points has an arrow
_LEVELS = 16
CURVE = 401
Contours = list[tuple[float, str, str]]


class Survey(NamedTuple):
    """A function inside a window, ready to draw.

    Attributes:
        contours: (level, line, region above it) with both as SVG path data; empty for a function of one variable.
        curve: (x, f) along the window of a function of one variable; otherwise empty.
        arrows: (x, y, -df/dx, -df/dy), the direction normalised; empty for a function of one variable.
        rate: a learning rate of gradient descent to begin with, 0.4 times what the curvature at the start and the known
            minima allows.
        span: (lowest, highest) value in the window.
        note: what an empty picture means: that the function is constant there, or nowhere finite; else empty.
    """

    contours: Contours
    curve: Float[np.ndarray, "m 2"]
    arrows: Float[np.ndarray, "m 4"]
    rate: float
    span: tuple[float, float]
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
    counts = (CURVE,) if scene.dimension == 1 else (COLUMNS, ROWS)
    axes = [np.linspace(low, high, n).astype(dtype) for low, high, n in zip(*window, counts, strict=True)]
    values, slopes, curvature = jax.device_get(_look(program, constants, axes, known))
    finite = values[np.isfinite(values)]
    span = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    rate = min(0.8 / float(curvature), 1e300) if curvature > 0 else 0.1
    note = _note(span) if finite.size else "not finite anywhere in this window"
    nothing = np.zeros((0, 4), np.float32)
    if scene.dimension == 1:
        return Survey([], np.stack([axes[0], values], axis=1), nothing, rate, span, note)
    arrows = np.concatenate([np.stack(np.meshgrid(*(a[SPACING // 2 :: SPACING] for a in axes)), -1), slopes], axis=-1)
    arrows = arrows.reshape(-1, 4)
    drawn = np.all(np.isfinite(arrows), axis=1) & np.any(arrows[:, 2:] != 0, axis=1)
    return Survey(_contours(values, levels(span, scene.levels)), np.zeros((0, 2)), arrows[drawn], rate, span, note)


@partial(jax.jit, static_argnums=0)
def _look(
    program: Program, constants: list[Any], axes: list[Array], known: Float[Array, "m n"]
) -> tuple[Array, Array, Float[Array, ""]]:
    """What `grid` returns, and the largest curvature at the known points."""
    curvatures = jax.vmap(lambda x: euclidean_norm(dense_hessian(lambda x: program(constants, x), x)))(known)
    return *grid(program, constants, axes), jnp.max(jnp.where(jnp.isfinite(curvatures), curvatures, 0))


def grid(program: Program, constants: list[Any], axes: list[Array]) -> tuple[Array, Array]:
    """Values on the grid, and downhill directions on a coarser one."""

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
    return values, slopes


def _note(span: tuple[float, float]) -> str:
    return "" if span[1] > span[0] else f"constant in this window: {span[0]:.6g}"


def levels(span: tuple[float, float], spacing: str) -> Float[np.ndarray, " levels"]:
    """Levels inside a span that show it: evenly spaced, or in the logarithm of the height above the lowest."""
    low, high = span
    if not high > low:
        return np.zeros(0)
    share = shares(spacing)  # the width itself may be too large a number
    return low * (1 - share) + high * share


def shares(spacing: str) -> Float[np.ndarray, " levels"]:
    """How far from the lowest value to the highest each level is; evenly spaced ones are closer where runs end."""
    inside = (np.arange(_LEVELS) + 0.5) / _LEVELS
    return inside**1.5 if spacing == "linear" else 10 ** (4.5 * (inside - 1))


def _contours(values: Float[np.ndarray, "rows columns"], heights: Float[np.ndarray, " levels"]) -> Contours:
    """Lines and the regions above them, in the units of the drawing, whose y axis points down."""
    import contourpy

    rows, columns = values.shape
    xs, ys = np.linspace(0, WIDTH, columns), np.linspace(HEIGHT, 0, rows)
    # In units of the highest level, as differences of the largest numbers are infinite. What is infinite is above every
    # level; what is no number is left out.
    unit = float(np.abs(heights).max(initial=0)) or 1.0
    known = np.ma.masked_invalid(np.where(np.isposinf(values), 1e30, values.astype(np.float64) / unit))
    generator = contourpy.contour_generator(xs, ys, known, line_type="SeparateCode", fill_type="OuterCode")
    found: Contours = []
    for height in heights:
        lines, regions = generator.lines(height / unit), generator.filled(height / unit, np.inf)
        found.append((float(height), _path_data(*lines), _path_data(*regions)))
    return found


def _path_data(pieces: list[Any], codes: list[Any]) -> str:
    """Polygons and lines as SVG path data, to a tenth of a unit: 1 begins a line, 2 goes on, 79 closes it."""
    words: list[str] = []
    for points, steps in zip(pieces, codes, strict=True):
        for (x, y), step in zip(points.tolist(), steps.tolist(), strict=True):
            words.append("Z" if step == 79 else f"{'M' if step == 1 else 'L'}{x:.1f} {y:.1f}")
    return "".join(words)
