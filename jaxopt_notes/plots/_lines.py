"""Figures along one axis: a function with its chords and tangents, a convex set, a series with its averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.path import Path

from .. import _checks
from . import _style as style
from . import _surfaces as surfaces
from ._ticks import around


def curve(
    table: xr.Dataset,
    ax: Axes | None = None,
    *,
    chords: Sequence[tuple[float, float]] = (),
    tangents: Sequence[float] = (),
    points: Mapping[str, float] | None = None,
    path: xr.Dataset | None = None,
) -> Axes:
    """Draw a function of one variable, with chords, tangents, marked points, and the steps of a run on it.

    Arguments:
        table: Dataset with `loss` over `x`, as `landscape.line` gives; between its points it is taken as straight.
        ax: where to draw; None makes a figure.
        chords: pairs of x between which to draw the chord.
        tangents: values of x at which to draw the tangent.
        points: label to x.
        path: Dataset with `x`, as `landscape.project` gives.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not a line, or an x outside of it.

    Example:
        >>> x = np.linspace(-1, 1, 201)
        >>> ax = curve(xr.Dataset({"loss": ("x", x**2)}, {"x": x}), chords=[(-1, 1)], tangents=[0.5])
        >>> [line.get_gid() for line in ax.lines]
        ['curve', 'chord', 'tangent', 'touch']
    """
    x, y = _checked_line(table)
    ax = style.new_axes(ax, size=(6.4, 4.0))
    ax.plot(x, y, color=style.BLUE, linewidth=2, gid="curve")
    limits = _padded(y)
    for chord in chords:
        ends = np.array([_inside("chords", end, x) for end in chord])
        ax.plot(ends, np.interp(ends, x, y), color=style.VERMILLION, linestyle="--", marker="o", gid="chord")
    with np.errstate(invalid="ignore"):  # two neighbours may be infinite
        slopes = np.gradient(y, x) if len(x) > 2 else np.full(len(x), np.diff(y)[0] / np.diff(x)[0])
    for at in tangents:
        at = _inside("tangents", at, x)
        value, slope = np.interp(at, x, y), np.interp(at, x, slopes)
        reach = 0.25 * np.ptp(x)
        ends = np.array([at - reach, at + reach])
        ax.plot(ends, value + slope * (ends - at), color=style.GREEN, linestyle="-.", gid="tangent")
        ax.plot([at], [value], color=style.GREEN, marker="o", linestyle="none", gid="touch")
    for label, at in (points or {}).items():
        at = _inside("points", at, x)
        value = float(np.interp(at, x, y))
        ax.plot([at], [value], color="black", marker="s", markersize=7, linestyle="none", gid="point")
        ax.annotate(label, (at, value), xytext=(6, 8), textcoords="offset points", fontsize=9, parse_math=False)
    if path is not None:
        _draw_steps(ax, path, x, y)
    ax.set(xlim=x[[0, -1]], ylim=limits, xlabel=surfaces.axis_label(table, "x"), ylabel="loss")
    formula = str(table.attrs.get("formula", ""))
    if formula:
        ax.set_ylabel(formula)
    style.set_title(ax, surfaces.heading(table), surfaces.how_made(table))
    finite = np.where(np.isfinite(y), y, np.nan)
    lowest = "nowhere finite"
    if np.isfinite(y).any():
        low = int(np.nanargmin(finite))
        lowest = f"lowest {y[low]:.4g} at x={x[low]:.3g}"
    else:
        ax.text(0.5, 0.5, lowest, transform=ax.transAxes, ha="center", va="center")
    end = f"; the path ends at x={float(path.x[-1]):.3g}" if path is not None else ""
    style.describe(ax, f"{surfaces.heading(table) or 'A function'} along a line: {lowest}{end}.")
    return ax


def _draw_steps(ax: Axes, path: xr.Dataset, x: np.ndarray, y: np.ndarray) -> None:
    at = np.asarray(path.x.values, float)
    heights = np.where((at >= x[0]) & (at <= x[-1]), np.interp(at, x, y), np.nan)
    ax.plot(at, heights, color=style.ORANGE, marker="o", markersize=5, linewidth=1.2, gid="path")
    ax.plot(at[:1], heights[:1], color=style.ORANGE, marker="o", markersize=11, markerfacecolor="none", gid="start")


def _checked_line(table: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(table, xr.Dataset):
        raise TypeError(f"table must be the xarray.Dataset of a line, got {type(table).__name__}")
    if "loss" not in table or table.loss.dims != ("x",) or table.sizes["x"] < 2:
        raise ValueError(
            f"table must hold loss over x at two points or more, as landscape.line gives; it has {dict(table.sizes)}"
        )
    return table.x.values.astype(float), table.loss.values.astype(float)


def _inside(name: str, value: float, x: np.ndarray) -> float:
    if not x[0] <= value <= x[-1]:
        raise ValueError(f"{name} must lie between {x[0]:g} and {x[-1]:g}, got {value:g}")
    return float(value)


def _padded(y: np.ndarray) -> tuple[float, float]:
    finite = y[np.isfinite(y)]
    if not finite.size:
        return 0.0, 1.0
    margin = 0.08 * np.ptp(finite)
    if finite.max() + margin == finite.max():  # a constant, but for rounding
        return around(float(finite[0]))
    return float(finite.min() - margin), float(finite.max() + margin)


def convex_set(table: xr.Dataset, ax: Axes | None = None, *, segment: Sequence[Sequence[float]] | None = None) -> Axes:
    """Draw a set in the plane and the segment between two of its points: what of it lies outside is dashed red.

    Arguments:
        table: Dataset with `x` and `y` over `vertex`, the corners of the boundary in order.
        ax: where to draw; None makes a figure.
        segment: two points (x, y).

    Returns:
        The Axes, with alt text that gives the part of the segment inside.

    Raises:
        TypeError, ValueError: no vertices, or a segment of other than two points.

    Example:
        >>> square = xr.Dataset({"x": ("vertex", [0.0, 1, 1, 0]), "y": ("vertex", [0.0, 0, 1, 1])})
        >>> style.alt_text(convex_set(square, segment=[(0.1, 0.1), (0.9, 0.9)]))
        'A set of 4 corners, convex; all of the segment lies inside.'
    """
    if not isinstance(table, xr.Dataset) or not {"x", "y"} <= set(table.variables) or "vertex" not in table.dims:
        raise TypeError("table must be a Dataset with x and y over vertex")
    corners = np.stack([table.x.values, table.y.values], axis=1).astype(float)
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError(f"a set needs at least three finite corners, got {len(corners)}")
    ax = style.new_axes(ax, size=(4.6, 4.2))
    ax.fill(*corners.T, facecolor=style.SKY, alpha=0.45, edgecolor=style.BLUE, linewidth=2, gid="set")
    convex = _is_convex(corners)
    said = ""
    if segment is not None:
        ends = np.asarray(segment, float)
        if ends.shape != (2, 2):
            raise ValueError(f"segment must be two points (x, y), got shape {ends.shape}")
        share = np.linspace(0, 1, 400)[:, None]
        along = (1 - share) * ends[:1] + share * ends[1:]
        inside = Path(np.concatenate([corners, corners[:1]])).contains_points(along, radius=1e-9)
        for kept, color, dash in ((inside, "black", "-"), (~inside, style.VERMILLION, "--")):
            shown = np.where(kept[:, None], along, np.nan)
            ax.plot(*shown.T, color=color, linestyle=dash, linewidth=2, gid="inside" if color == "black" else "outside")
        ax.plot(*ends.T, color="black", marker="o", linestyle="none")
        part = "all" if inside.all() else f"{inside.mean():.0%}"
        said = f"; {part} of the segment lies inside"
    ax.set_aspect("equal")
    ax.margins(0.08)
    style.set_title(ax, "convex" if convex else "not convex")
    style.describe(ax, f"A set of {len(corners)} corners, {'convex' if convex else 'not convex'}{said}.")
    return ax


def _is_convex(corners: np.ndarray) -> bool:
    edges = np.roll(corners, -1, axis=0) - corners
    nexts = np.roll(edges, -1, axis=0)
    turns = edges[:, 0] * nexts[:, 1] - edges[:, 1] * nexts[:, 0]
    noise = 1e-12 * np.abs(edges).max() ** 2
    return bool(np.all(turns >= -noise) or np.all(turns <= noise))


def series(
    table: xr.Dataset,
    ax: Axes | None = None,
    *,
    variable: str = "value",
    decays: Sequence[float] = (0.9,),
    debias: bool = True,
) -> Axes:
    """Draw a series faint, and its exponentially weighted averages bold; without bias correction dotted beside them.

        m_t = decay m_{t-1} + (1 - decay) x_t,      corrected: m_t / (1 - decay^t)

    Arguments:
        table: Dataset with the variable over one dim, such as `step`.
        ax: where to draw; None makes a figure.
        variable: its name.
        decays: of the averages, each in [0, 1).
        debias: draw the corrected ones too.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: unknown variable, more than one dim, a decay out of range.

    Example:
        >>> ax = series(xr.Dataset({"value": ("step", [1.0, 1.0, 1.0])}), decays=[0.5])
        >>> ax.lines[1].get_ydata().tolist(), ax.lines[2].get_ydata().tolist()
        ([1.0, 1.0, 1.0], [0.5, 0.75, 0.875])
    """
    if not isinstance(table, xr.Dataset):
        raise TypeError(f"table must be an xarray.Dataset, got {type(table).__name__}")
    debias = _checks.boolean("debias", debias)
    _checks.choice("variable", variable, map(str, table.data_vars))
    if len(table[variable].dims) != 1:
        raise ValueError(f"{variable} must be over one dim, got {table[variable].dims}")
    (dim,) = map(str, table[variable].dims)
    values = table[variable].values.astype(float)
    steps = table[dim].values
    ax = style.new_axes(ax)
    ax.plot(
        steps, values, color="0.6", linewidth=0.8, marker="." if len(values) < 200 else None, label="raw", gid="raw"
    )
    for decay, look in zip(decays, style.ordered_styles(len(decays)), strict=True):
        decay = float(_checks.scalar("decays", decay, low=0.0, high=1.0, open_high=True))
        plain = _ewma(values, decay)
        if debias:
            corrected = plain / (1 - decay ** np.arange(1, len(values) + 1))
            ax.plot(
                steps,
                corrected,
                color=look.color,
                linewidth=2,
                linestyle=look.linestyle,
                label=f"decay {decay:g}",
                gid="ewma",
            )
        ax.plot(
            steps,
            plain,
            color=look.color,
            linewidth=1.3,
            linestyle=":",
            label=f"decay {decay:g}, not corrected",
            gid="biased",
        )
    name = str(table[variable].attrs.get("long_name", variable.replace("_", " ")))
    ax.set(xlabel=dim, ylabel=name)
    style.set_title(ax, str(table.attrs.get("title", name)), "raw, and exponentially weighted averages")
    style.legend_right(ax)
    style.describe(
        ax,
        f"{variable} over {len(values)} {dim}s with exponentially weighted averages of decay "
        f"{style.names(f'{d:g}' for d in decays)}.",
    )
    return ax


def _ewma(values: np.ndarray, decay: float) -> np.ndarray:
    averages, current = np.empty_like(values), 0.0
    for i, value in enumerate(values):
        current = decay * current + (1 - decay) * value
        averages[i] = current
    return averages
