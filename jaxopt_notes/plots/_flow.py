"""Gradient fields: arrows and streamlines of steepest descent, with the eigendirections of a saddle."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D

from . import _style as style
from . import _surfaces as surfaces
from ._ticks import log_ticks

STILL = "the flow is zero everywhere"


def quiver(table: xr.Dataset, ax: Axes | None = None, *, eigendirections: xr.Dataset | None = None) -> Axes:
    """Draw the direction of steepest descent as arrows of one length, coloured by its speed.

    Arguments:
        table: Dataset over (y, x) with `flow_x`, `flow_y`, as `landscape.gradient_field` gives.
        ax: where to draw; None makes a figure.
        eigendirections: of a critical point, as `landscape.eigendirections` gives: dashed where the flow comes in
            (stable, positive curvature), solid where it goes out (unstable, negative curvature).

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not a gradient field.

    Example:
        >>> x = np.array([-1.0, 1.0])
        >>> flow = {"flow_x": (("y", "x"), [[1.0, -1.0]] * 2), "flow_y": (("y", "x"), np.zeros((2, 2)))}
        >>> ax = quiver(xr.Dataset({"loss": (("y", "x"), np.ones((2, 2))), **flow}, {"x": x, "y": x}))
        >>> ax.collections[0].U.tolist()
        [1.0, -1.0, 1.0, -1.0]
    """
    ax, u, v, speed = _begin(table, ax)
    safe = np.where(speed > 0, speed, 1)
    drawn = ax.quiver(
        table.x.values, table.y.values, u / safe, v / safe, np.where(speed > 0, speed, np.nan), cmap="viridis",
        norm=_norm(speed), pivot="mid", angles="xy", scale_units="width", scale=1.15 * table.sizes["x"], width=0.004,
        zorder=2,
    )  # fmt: skip
    _speed_bar(ax, drawn, speed)
    return _finish(ax, table, eigendirections, "arrows of one length" if (speed > 0).any() else STILL)


def streamlines(
    table: xr.Dataset, ax: Axes | None = None, *, density: float = 0.9, eigendirections: xr.Dataset | None = None
) -> Axes:
    """Draw the lines that steepest descent follows, coloured by its speed.

    Arguments:
        table, ax, eigendirections: as in `quiver`.
        density: of the lines, 1 by custom.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not a gradient field.

    Example:
        >>> x = np.linspace(-1, 1, 5)
        >>> loss, flow_x, flow_y = np.ones((5, 5)), -np.tile(x, (5, 1)), np.zeros((5, 5))
        >>> flow = {"flow_x": (("y", "x"), flow_x), "flow_y": (("y", "x"), flow_y)}
        >>> streamlines(xr.Dataset({"loss": (("y", "x"), loss), **flow}, {"x": x, "y": x})).get_ylabel()
        'y'
    """
    ax, u, v, speed = _begin(table, ax)
    x, y = (np.linspace(axis[0], axis[-1], len(axis)) for axis in (table.x.values, table.y.values))
    drawn = ax.streamplot(
        x, y, u, v, color=np.where(speed > 0, speed, speed[speed > 0].min() if (speed > 0).any() else 1.0),
        cmap="viridis", norm=_norm(speed), density=density, linewidth=1.1, arrowsize=1.0,
    )  # fmt: skip
    _speed_bar(ax, drawn.lines, speed)
    return _finish(ax, table, eigendirections, "lines of steepest descent" if (speed > 0).any() else STILL)


def _begin(table: Any, ax: Axes | None) -> tuple[Axes, np.ndarray, np.ndarray, np.ndarray]:
    values, scale = surfaces.checked_plane(table, "flow_x", "linear", None)
    surfaces.checked_plane(table, "flow_y", "linear", None)
    losses, scale = surfaces.checked_plane(table, "loss", None, None)
    ax = style.new_axes(ax, size=(6.4, 4.8))
    finite = np.isfinite(losses)
    if finite.any() and not surfaces.is_constant(losses[finite], 14):
        edges = surfaces.level_edges(losses[finite], 14, scale)
        look: dict[str, Any] = {"colors": "0.75", "linewidths": 0.8, "zorder": 0}
        ax.contour(table.x.values, table.y.values, np.ma.masked_invalid(losses), levels=edges, **look)
    v = table.flow_y.transpose("y", "x").values.astype(float)
    return ax, values, v, np.nan_to_num(np.hypot(values, v))


def _speed_bar(ax: Axes, drawn: Any, speed: np.ndarray) -> None:
    if not (speed > 0).any():
        return
    bar = ax.figure.colorbar(drawn, cax=style.beside(ax), format="%.3g")
    bar.ax.minorticks_off()
    low, high = drawn.get_clim()
    if low is not None and 0 < low < high:
        bar.set_ticks(log_ticks(low, high).tolist())
    bar.set_label("speed of the flow")


def _norm(speed: np.ndarray) -> LogNorm | None:
    positive = speed[speed > 0]
    if not positive.size or positive.min() == positive.max():
        return None
    return LogNorm(max(positive.min(), positive.max() * 1e-3), positive.max())


def _finish(ax: Axes, table: xr.Dataset, eigen: xr.Dataset | None, subtitle: str) -> Axes:
    x, y = table.x.values, table.y.values
    ax.locator_params(nbins=6)
    ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]], aspect="equal" if surfaces._same_units(table) else "auto")
    ax.set(xlabel=surfaces.axis_label(table, "x"), ylabel=surfaces.axis_label(table, "y"))
    said = ""
    if eigen is not None:
        said = _draw_eigendirections(ax, eigen)
    made = surfaces.how_made(table)
    style.set_title(ax, surfaces.heading(table), "; ".join(filter(None, [subtitle, made])))
    style.describe(ax, f"Steepest descent on {surfaces.heading(table) or 'a plane'}{said}.")
    return ax


def _draw_eigendirections(ax: Axes, eigen: xr.Dataset) -> str:
    at = np.array([eigen.attrs["at_x"], eigen.attrs["at_y"]], float)
    words, handles = [], []
    for mode in range(eigen.sizes["mode"]):
        value = float(eigen.eigenvalue[mode])
        slope = np.array([float(eigen.x[mode]), float(eigen.y[mode])])
        stable = value > 0
        look: dict[str, Any] = {
            "color": style.BLUE if stable else style.VERMILLION, "linestyle": "--" if stable else "-", "linewidth": 2,
        }  # fmt: skip
        ax.axline(tuple(at), tuple(at + slope), **look, gid="stable" if stable else "unstable", zorder=3)
        words.append(f"{'stable' if stable else 'unstable'} direction of curvature {value:.3g}")
        handles.append(Line2D([], [], **look, label=words[-1]))
    ax.plot(
        *at, marker="X", color="black", markeredgecolor="white", markersize=11, linestyle="none", zorder=4, gid="point"
    )
    style.legend_below(ax, handles)
    return f" around ({at[0]:.3g}, {at[1]:.3g}): {style.names(words)}"
