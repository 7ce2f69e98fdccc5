"""Planes of losses: filled contours with paths on them, and surfaces in three dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from .. import _checks
from . import _style as style
from ._ticks import around, log_texts, log_ticks, tick_texts

SCALES = ("auto", "linear", "log")
LABELS = {"loss": "loss", "smallest": "smallest eigenvalue", "largest": "largest eigenvalue", "grad_norm": "|gradient|"}
SIGNED = ("smallest", "largest")  # drawn with zero in the middle of the colours, and a black line there
OUTLINE = [withStroke(linewidth=3.2, foreground="white")]


def contour(
    table: xr.Dataset,
    ax: Axes | None = None,
    *,
    variable: str = "loss",
    paths: Mapping[str, xr.Dataset] | None = None,
    optimum: Sequence[float] | None = None,
    levels: int = 18,
    scale: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw a plane as filled contours, with paths on it; cells that are not finite are hatched.

    A plane of one value is one colour, and the colour bar and the title show which.

    A path begins in a ring, has a dot at every step and ends in a diamond; where it leaves the window it is cut, and
    the window stays. Its colour, dash and marker are those of the optimizer it is named after.

    Arguments:
        table: Dataset over (y, x), as `landscape.plane` gives.
        ax: where to draw; None makes a figure.
        variable: what to draw.
        paths: name to Dataset with `x` and `y`, as `landscape.project` gives.
        optimum: (x, y) to mark by a star.
        levels: how many.
        scale: of the levels: "linear", "log" above the lowest value in view, or "auto"; `attrs["scale"]` when None.
        vmin, vmax: the ends of the levels, so that two planes can have the same; values beyond are drawn as these.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not a plane, unknown variable or scale, or a path without x and y.

    Example:
        >>> x = np.linspace(-1, 1, 5)
        >>> table = xr.Dataset({"loss": (("y", "x"), x[:, None] ** 2 + x**2)}, {"x": x, "y": x})
        >>> path = xr.Dataset({"x": ("step", [1.0, 0.0]), "y": ("step", [1.0, 0.0])})
        >>> contour(table, paths={"adam": path}).get_xlabel()
        'x'
    """
    values, scale = checked_plane(table, variable, scale, vmax)
    ax = style.new_axes(ax, size=(6.4, 4.8))
    x, y = table.x.values, table.y.values
    finite = np.isfinite(values)
    if not finite.all():
        ax.fill_between(x[[0, -1]], y[0], y[-1], facecolor="0.9", edgecolor="0.5", hatch="////", linewidth=0, zorder=-2)
    if vmin is not None:
        values = np.maximum(values, float(_checks.scalar("vmin", vmin)))
    spread = np.append(values[finite], [end for end in (vmin, vmax) if end is not None])
    shown = np.ma.masked_invalid(values)
    constant = finite.any() and is_constant(spread, levels)
    if constant:
        level = float(np.median(spread))
        edges = np.array(around(level))
        drawn = ax.contourf(x, y, shown, levels=edges, cmap="viridis", norm=BoundaryNorm(edges, 256), zorder=-1)
        _color_bar(ax, drawn, np.array([level]), tick_texts([level]), variable)
    elif finite.any():
        signed = variable in SIGNED and spread.min() < 0 < spread.max()
        edges = _signed_edges(spread, levels) if signed else level_edges(spread, levels, scale)
        colors: dict[str, Any] = {"cmap": "PuOr_r" if signed else "viridis", "norm": BoundaryNorm(edges, 256)}
        drawn = ax.contourf(x, y, shown, levels=edges, **colors, zorder=-1)
        lines: dict[str, Any] = {"linewidths": 0.4, "alpha": 0.5, "colors": "0.3" if signed else "white"}
        ax.contour(x, y, shown, levels=edges, **lines, zorder=-1)
        if signed:
            ax.contour(x, y, shown, levels=[0.0], colors="black", linewidths=1.5, zorder=-1)
        _color_bar(ax, drawn, *_bar_ticks(edges, signed), variable)
    ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]], xlabel=axis_label(table, "x"), ylabel=axis_label(table, "y"))
    ax.locator_params(nbins=6)
    if _same_units(table):
        ax.set_aspect("equal")
    for name, path in (paths or {}).items():
        draw_path(ax, name, path)
    if optimum is not None:
        ax.plot(
            *optimum, marker="*", markersize=15, color="black", markerfacecolor="white", linestyle="none", gid="optimum"
        )
    if paths:
        style.legend_below(ax)
    where = "everywhere" if finite.all() else "wherever it is finite"
    said = f"{_named(variable)} {level:.6g} {where}" if constant else ""
    style.set_title(ax, heading(table), "; ".join(filter(None, [said, how_made(table), _off_plane(paths or {})])))
    style.describe(ax, _alt(table, variable, values, paths or {}))
    return ax


def surface(
    table: xr.Dataset, ax: Axes | None = None, *, variable: str = "loss", scale: str | None = None,
    vmin: float | None = None, vmax: float | None = None, elevation: float = 32.0,
    azimuth: float = -60.0,
) -> Axes:  # fmt: skip
    """Draw a plane as a surface in three dimensions; put a `contour` beside it, for a surface hides what is behind.

    Arguments:
        table, variable, scale, vmin, vmax: as in `contour`.
        ax: three-dimensional axes; None makes a figure.
        elevation, azimuth: of the viewer, in degrees.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: as `contour`; axes without a third dimension.

    Example:
        >>> x = np.linspace(-1, 1, 5)
        >>> table = xr.Dataset({"loss": (("y", "x"), x[:, None] ** 2 - x**2)}, {"x": x, "y": x})
        >>> surface(table).get_zlabel()
        'loss'
    """
    values, scale = checked_plane(table, variable, scale, vmax)
    if ax is None:
        ax = Figure(figsize=(6.4, 5.0), layout="constrained").add_subplot(projection="3d")
    axes: Any = ax
    if not hasattr(axes, "plot_surface"):
        raise TypeError('ax must be three-dimensional: figure.add_subplot(projection="3d")')
    if vmin is not None:
        values = np.maximum(values, float(_checks.scalar("vmin", vmin)))
    heights = np.where(np.isfinite(values), values, np.nan)
    log = scale == "log" and np.isfinite(values).any() and np.nanmin(heights) > 0
    if log:
        heights = np.log10(heights)
    ends = [end if end is None else float(np.log10(end) if log else end) for end in (vmin, vmax)]
    x, y = np.meshgrid(table.x.values, table.y.values)
    axes.plot_surface(
        x, y, heights, cmap="viridis", vmin=ends[0], vmax=ends[1], rcount=100, ccount=100, linewidth=0.1,
        edgecolor=(0, 0, 0, 0.15), antialiased=True,
    )  # fmt: skip
    if None not in ends:
        axes.set_zlim(*ends)
    axes.locator_params(nbins=5)
    if log:
        shown = np.append(heights[np.isfinite(heights)], [end for end in ends if end is not None])
        ticks = log_ticks(10 ** shown.min(), 10 ** shown.max())
        axes.set_zticks(np.log10(ticks), log_texts(ticks))
    axes.view_init(elevation, azimuth)
    axes.set(xlabel=axis_label(table, "x"), ylabel=axis_label(table, "y"), zlabel=_named(variable))
    axes.tick_params(labelsize=8)
    ax.set_title(heading(table) + (f"\n{made}" if (made := how_made(table)) else ""), fontsize=10)
    style.describe(ax, _alt(table, variable, values, {}))
    return ax


def draw_path(ax: Axes, name: str, path: xr.Dataset, *, label: str | None = None) -> None:
    """A path on the axes, whose limits stay: ring, dots, diamond, and an x where it leaves."""
    if not isinstance(path, xr.Dataset) or not {"x", "y"} <= set(path.data_vars):
        raise TypeError(
            f"path {name!r} must be a Dataset with x and y, as landscape.project gives, got {type(path).__name__}"
        )
    look = style.style_of(name)
    x, y = np.asarray(path.x.values, float), np.asarray(path.y.values, float)
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    if not x.size:
        return
    limits = (ax.get_xlim(), ax.get_ylim())
    many = len(x) > 60
    ax.plot(
        x, y, color=look.color, linestyle=look.linestyle, linewidth=1.6, marker=None if many else ".", markersize=5,
        path_effects=OUTLINE, label=label or name, gid="path",
    )  # fmt: skip
    shared: dict[str, Any] = {"linestyle": "none", "color": look.color, "markeredgecolor": "white", "zorder": 4}
    ring = shared | {"markeredgecolor": look.color, "markerfacecolor": "none", "markeredgewidth": 2}
    ax.plot(x[:1], y[:1], **ring, marker="o", markersize=10, gid="start")
    inside = (x >= min(limits[0])) & (x <= max(limits[0])) & (y >= min(limits[1])) & (y <= max(limits[1]))
    if inside[-1]:
        ax.plot(x[-1:], y[-1:], **shared, marker="D", markersize=7, gid="end")
    elif inside.any():
        edge = _exit(x, y, int(np.flatnonzero(inside)[-1]), limits)
        crossed = shared | {"markeredgecolor": look.color, "clip_on": False}
        ax.plot(*edge, **crossed, marker="x", markersize=9, markeredgewidth=2.5, gid="left")
    ax.set(xlim=limits[0], ylim=limits[1])


def _exit(x: np.ndarray, y: np.ndarray, last: int, limits: Any) -> tuple[list[float], list[float]]:
    """Where the step after `last` crosses the edge of the window."""
    start, step = np.array([x[last], y[last]]), np.array([x[last + 1] - x[last], y[last + 1] - y[last]])
    edges = np.sort(np.array(limits), axis=1)
    room = np.where(step > 0, edges[:, 1] - start, start - edges[:, 0])
    share = np.min(np.divide(room, np.abs(step), out=np.full(2, np.inf), where=step != 0))
    at = start + share * step
    return [float(at[0])], [float(at[1])]


def checked_plane(table: Any, variable: str, scale: str | None, vmax: float | None) -> tuple[np.ndarray, str]:
    """The values of a plane over (y, x), clipped, and the scale of their levels."""
    if not isinstance(table, xr.Dataset):
        raise TypeError(f"table must be the xarray.Dataset of a plane, got {type(table).__name__}")
    _checks.choice("variable", variable, map(str, table.data_vars))
    if set(table[variable].dims) != {"x", "y"}:
        raise ValueError(f"{variable} must be over y and x, as landscape.plane gives, got {table[variable].dims}")
    short = [name for name in ("x", "y") if table.sizes[name] < 2]
    if short:
        raise ValueError(f"a plane needs at least two points along each axis, got one along {style.names(short)}")
    values = table[variable].transpose("y", "x").values.astype(float)
    if vmax is not None:
        values = np.minimum(values, float(_checks.scalar("vmax", vmax)))
    scale = _checks.choice("scale", scale or str(table.attrs.get("scale", "auto")), SCALES)
    finite = values[np.isfinite(values)]
    if scale == "auto":
        log = finite.size and finite.min() > 0 and finite.max() > 30 * finite.min()
        scale = "log" if log else "linear"
    return values, scale


def level_edges(values: np.ndarray, count: int, scale: str) -> np.ndarray:
    """Increasing levels from the lowest to the highest value."""
    count = _checks.count("levels", count, low=2)
    low, high = float(values.min()), float(values.max())
    if scale == "linear":
        return np.linspace(low, high, count + 1)
    if low > 0 and high < 1e4 * low:
        return np.geomspace(low, high, count + 1)
    # Above the lowest value, in equal ratios down to what a hundredth of the cells stay below.
    first = max(float(np.quantile(values, 0.01)) - low, 1e-4 * (high - low))
    return np.concatenate([[low], low + np.geomspace(first, high - low, count)])


def is_constant(values: np.ndarray, levels: int) -> bool:
    """Whether the values are too close for this many levels between them in their dtype."""
    float64, size = np.finfo(float), float(np.abs(values).max())
    return bool(np.ptp(values) <= max(2 * levels * float64.eps * size, float64.tiny))


def _color_bar(ax: Axes, drawn: Any, ticks: np.ndarray, texts: list[str], variable: str) -> None:
    bar = ax.figure.colorbar(drawn, cax=style.beside(ax), ticks=ticks)
    bar.ax.set_yticklabels(texts)
    bar.set_label(_named(variable))


def _bar_ticks(edges: np.ndarray, signed: bool) -> tuple[np.ndarray, list[str]]:
    """Round numbers for the colour bar; every few levels where round ones would crowd at one end of it."""
    low, high = edges[0], edges[-1]
    ratios = edges[2:] / edges[1:-1] if low >= 0 and edges[1] > 0 else np.ones(1)
    if high > 4 * low and len(ratios) and ratios[0] > 1 and np.allclose(ratios, ratios[-1], rtol=0.05):
        ticks = log_ticks(low if low > edges[1] / 3 else edges[1], high)
        return ticks, log_texts(ticks)
    even = signed or np.allclose(np.diff(edges), edges[1] - low, rtol=1e-3)
    ticks = np.asarray(MaxNLocator(6).tick_values(low, high)) if even else edges[:: max(1, len(edges) // 7)]
    ticks = ticks[(ticks >= low) & (ticks <= high)]
    return ticks, tick_texts(ticks)


def _named(variable: str) -> str:
    return LABELS.get(variable, variable.replace("_", " "))


def _signed_edges(values: np.ndarray, count: int) -> np.ndarray:
    """As many levels below zero as above, so that zero is the middle colour."""
    half = max(1, _checks.count("levels", count, low=2) // 2)
    below, above = np.linspace(values.min(), 0, half + 1), np.linspace(0, values.max(), half + 1)
    return np.concatenate([below, above[1:]])


def axis_label(table: xr.Dataset, name: str) -> str:
    """The label of an axis, or its name."""
    return str(table[name].attrs.get("label", name))


def heading(table: xr.Dataset) -> str:
    """Loss name, or its formula."""
    name, formula = str(table.attrs.get("loss_name", "")), str(table.attrs.get("formula", ""))
    return name.replace("_", " ") if name else formula


def how_made(table: xr.Dataset) -> str:
    """Radius, normalisation and seed, which are needed to reproduce the picture."""
    attrs = table.attrs
    if attrs.get("direction_kind") in (None, "coordinates"):
        return ""
    words = [f"{attrs['direction_kind']} directions" if attrs["direction_kind"] != "pca" else "principal components"]
    if attrs.get("normalize") in ("filter", "layer"):
        words.append(f"{attrs['normalize']} norms")
    if attrs.get("seed"):
        words.append(f"seed {str(attrs['seed']).removeprefix('0 ')}")  # the first half of the key of a small seed
    if attrs.get("examples"):
        words.append(f"{attrs['examples']:,} examples")
    if attrs.get("non_finite"):
        words.append(f"{attrs['non_finite']} points not finite")
    return ", ".join(words)


def _off_plane(paths: Mapping[str, xr.Dataset]) -> str:
    """How far the paths leave the plane, in units of their greatest distance from its centre."""
    known = [path for path in paths.values() if "off_plane" in path]
    shares = [float(path.off_plane.max() / path.distance.max()) for path in known if float(path.distance.max()) > 0]
    return f"paths up to {max(shares):.1%} of their extent off the plane" if shares and max(shares) > 5e-3 else ""


def _same_units(table: xr.Dataset) -> bool:
    """Whether a unit of x is as far as one of y, and the window is not too long for it."""
    sides = [np.ptp(table[name].values) for name in ("x", "y")]
    norms = [float(table[name].attrs.get("direction_norm", 1.0)) for name in ("x", "y")]
    return bool(np.isclose(norms[0], norms[1], rtol=1e-3) and max(sides) <= 2.5 * min(sides))


def _alt(table: xr.Dataset, variable: str, values: np.ndarray, paths: Mapping[str, xr.Dataset]) -> str:
    name, finite = LABELS.get(variable, variable), np.isfinite(values)
    what = f"{name} of {heading(table) or 'a function'} on a plane"
    if not finite.any():
        return f"{what}; it is nowhere finite."
    row, column = np.unravel_index(np.nanargmin(np.where(finite, values, np.nan)), values.shape)
    lowest = f"lowest {values[row, column]:.4g} at x={table.x.values[column]:.3g}, y={table.y.values[row]:.3g}"
    ends = [f"{label} ends at ({float(p.x[-1]):.3g}, {float(p.y[-1]):.3g})" for label, p in paths.items()]
    return "; ".join([f"{what}: {lowest}, highest {values[finite].max():.4g}", *ends]) + "."
