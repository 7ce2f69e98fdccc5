"""The heat map: what a sweep reached over two of its axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from .. import _checks
from ..problems._metric import Direction
from . import _medians as medians
from . import _style as style
from . import _tables as tables
from ._samples import numbers, scattered
from ._sensitivity import Bound, bounds_at
from ._ticks import around, round_ticks

FAILED_LOOK: dict[str, Any] = {"facecolor": "0.88", "edgecolor": "0.45", "hatch": "////", "linewidth": 0}
NOT_RUN_LOOK: dict[str, Any] = {"facecolor": "white", "edgecolor": "0.7", "hatch": "..", "linewidth": 0}


class Cells(NamedTuple):
    """Where the values of an axis lie: cell edges, their centres, and the position of any other value."""

    edges: np.ndarray
    centers: np.ndarray
    position: Callable[[np.ndarray], np.ndarray]
    scale: str


def heatmap(
    table: xr.Dataset,
    x: str | None = None,
    y: str | None = None,
    *,
    metric: str = "final_loss",
    direction: Direction | None = None,
    ax: Axes | None = None,
    bound: Bound | None = None,
    **fixed: Any,
) -> Axes:
    """Draw the median over seeds on two axes; cells in which most seeds failed are hatched, a star marks the best.

    A failed trial counts as worse than any number. Of any further axes each cell shows its best median. Values of an
    axis lie on its own scale (`attrs["scale"]`) where that gives cells of like size, and otherwise side by side. A list
    of points, such as `sample` gives, has no cells: each is a disc of that colour at its two hyperparameters.

    Arguments:
        table: the Dataset of a sweep with at least two axes, or over points where at least two numbers vary.
        x, y: the axes to show; by default the first two with more than one value, `learning_rate` horizontally.
        metric: a variable with one number per trial.
        direction: "max" or "min", which value of the metric is the better; as the table declares when None.
        ax: where to draw; None makes a figure.
        bound: stability bound(s) at initialisation, in learning rates: one number, or a mapping or DataArray from
            values of the other axis.
        **fixed: values of other axes to draw alone.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not a sweep's table, unknown metric, axis or value, a metric that does not declare its
            direction, or a bound without learning rates.

    Example:
        >>> dims = ("learning_rate", "beta", "seed")
        >>> data = {"final_loss": (dims, [[[0.3], [0.2]], [[0.1], [9.0]]]), "status": (dims, [[[0], [0]], [[0], [4]]])}
        >>> ax = heatmap(xr.Dataset(data, {"learning_rate": [0.01, 0.1], "beta": [0.0, 0.9]}))
        >>> ax.collections[0].get_array().filled(float("nan")).tolist()
        [[0.3, 0.1], [0.2, nan]]
    """
    table = tables.select(tables.check_table(table), fixed)
    if len(numbers(table)) > 1:
        return scattered(table, x, y, metric=metric, direction=direction, ax=ax)
    fixed = {name: value for name, value in fixed.items() if np.ndim(value) == 0}
    x, y = _two_axes(table, x, y)
    single = [axis for axis in tables.axis_names(table) if table.sizes[axis] == 1 and axis not in (x, y)]
    table, fixed = table.squeeze(single), {**fixed, **{axis: table[axis].item() for axis in single}}
    others = [axis for axis in tables.axis_names(table) if axis not in (x, y)]
    summary = medians.quartiles(table, metric, direction)
    better, shown = summary.attrs["direction"], medians.best_over(summary, others).transpose(y, x)
    median, place = shown.middle, medians.starred(shown)
    best = None if place is None else median.isel(place)
    ax = style.new_axes(ax, size=(7.5, 4.4))
    columns, rows = _cells(table, x), _cells(table, y)
    _draw_cells(ax, median, columns, rows, metric, better)
    entries = _mark(ax, median, columns, rows, best, medians.star_means(shown))
    if bound is not None:
        entries.append(_draw_bound(ax, table, bound, {x: columns, y: rows}, x, y))
    for axis, name, cells in ((ax.xaxis, x, columns), (ax.yaxis, y, rows)):
        _label(axis, name, table[name].values, cells)
    ax.set(xlim=columns.edges[[0, -1]], ylim=rows.edges[[0, -1]])
    round_ticks(ax)
    seeds = f"median of {table.sizes['seed']} seeds" if table.sizes["seed"] > 1 else "1 seed"
    chosen = f"; each cell at its best {style.names(others)}" if others else ""
    style.set_title(ax, tables.heading(table, fixed), seeds + chosen)
    style.legend_below(ax, entries)
    style.describe(ax, _alt_text(table, shown, best, metric))
    return ax


def _two_axes(table: xr.Dataset, x: str | None, y: str | None) -> tuple[str, str]:
    """The axes to draw: those asked for, then learning_rate, then in order those with more than one value."""
    known = tables.axis_names(table)
    for name, value in (("x", x), ("y", y)):
        if value is not None:
            _checks.choice(name, value, known)
    if len(known) < 2 or (x is not None and x == y):
        raise ValueError(
            f"a heat map needs two different axes, got x={x!r}, y={y!r}; the table has {', '.join(known) or 'none'}"
        )
    order = sorted(known, key=lambda axis: (table.sizes[axis] == 1, axis != "learning_rate"))
    x = x or next(axis for axis in order if axis != y)
    return x, y or next(axis for axis in order if axis != x)


def _cells(table: xr.Dataset, name: str) -> Cells:
    """Cells on the axis's own scale when the smallest is at least a third of the mean; otherwise side by side."""
    values = table[name].values
    numeric = values.dtype.kind in "iuf"  # booleans and texts lie side by side
    scale = tables.scale_of(table, name)
    forward, back = (np.log, np.exp) if scale == "log" else (np.asarray, np.asarray)
    places = forward(values.astype(float)) if numeric else np.zeros(0)
    gaps = np.diff(places)
    if len(gaps) and gaps.min() >= gaps.mean() / 3:
        middles = (places[1:] + places[:-1]) / 2
        edges = np.concatenate([[places[0] - gaps[0] / 2], middles, [places[-1] + gaps[-1] / 2]])
        return Cells(back(edges), values.astype(float), np.asarray, scale)
    index = np.arange(len(values))

    def position(value: np.ndarray) -> np.ndarray:
        return np.interp(value, values, index)

    return Cells(np.arange(len(values) + 1) - 0.5, index, position, "index")


def _draw_cells(ax: Axes, median: xr.DataArray, columns: Cells, rows: Cells, metric: str, better: Direction) -> None:
    """Colour the finite cells, with a colour bar."""
    finite = median.where(np.isfinite(median))
    higher = better == "max"
    cmap = mpl.colormaps["viridis" if higher else "viridis_r"]  # light is good, as against the hatched cells
    shown = finite.values[np.isfinite(finite.values)]
    low, high = (shown.min(), shown.max()) if shown.size else (0.0, 1.0)
    log = low > np.finfo(float).tiny and not higher
    if low == high:
        low, high = around(low)
    norm = LogNorm(low, high) if log else Normalize(low, high)
    mesh = ax.pcolormesh(
        columns.edges, rows.edges, np.ma.masked_invalid(finite.values), cmap=cmap, norm=norm, gid="cells"
    )
    ax.set_xscale("log" if columns.scale == "log" else "linear")
    ax.set_yscale("log" if rows.scale == "log" else "linear")
    if not shown.size:
        return
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02)
    bar.set_label(tables.label(metric))
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)
    if finite.shape[0] <= 8 and finite.shape[1] <= 8:
        for (row, column), value in np.ndenumerate(finite.values):
            if np.isfinite(value):
                dark = sum(cmap(norm(value))[:3]) < 1.5
                at = (float(columns.centers[column]), float(rows.centers[row]))
                look: dict[str, Any] = {
                    "ha": "center",
                    "va": "center",
                    "fontsize": 8,
                    "color": "white" if dark else "black",
                }
                ax.annotate(f"{value:.3g}", at, gid="value", **look)


def _mark(
    ax: Axes, median: xr.DataArray, columns: Cells, rows: Cells, best: xr.DataArray | None, label: str
) -> list[Any]:
    """Hatch the failed cells and those that did not run, star the best; return legend entries."""
    entries: list[Any] = []
    for gid, text, hatching, where in (
        ("failed", "most seeds failed", FAILED_LOOK, np.isinf(median.values)),
        ("not run", "not run", NOT_RUN_LOOK, np.isnan(median.values)),
    ):
        for row, column in np.argwhere(where):
            corner = (columns.edges[column], rows.edges[row])
            size = (columns.edges[column + 1] - corner[0], rows.edges[row + 1] - corner[1])
            ax.add_patch(Rectangle(corner, *size, gid=gid, **hatching))
        if where.any():
            entries.append(Patch(label=text, **hatching))
    if best is not None:
        row, column = (int(np.flatnonzero(median[dim].values == best[dim].values)[0]) for dim in median.dims)
        annotated = any(text.get_gid() == "value" for text in ax.texts)
        if annotated:  # the number stays readable under an outline, not under a star
            size = (np.diff(columns.edges)[column], np.diff(rows.edges)[row])
            corner = (columns.edges[column], rows.edges[row])
            ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor="black", linewidth=2.5, gid="best", zorder=3))
            entries.append(Patch(label=label, facecolor="none", edgecolor="black", linewidth=2))
        else:
            look: dict[str, Any] = {"marker": "*", "color": "black", "markerfacecolor": "white", "linestyle": "none"}
            ax.plot(columns.centers[column], rows.centers[row], **look, markersize=14, gid="best")
            entries.append(Line2D([], [], **look, markersize=11, label=label))
    return entries


def _draw_bound(ax: Axes, table: xr.Dataset, bound: Bound, cells: dict[str, Cells], x: str, y: str) -> Line2D:
    """The stability bound as a curve; returns its legend entry."""
    if "learning_rate" not in (x, y):
        raise ValueError(f"bound is in learning rates; draw it with learning_rate as x or y, got x={x!r}, y={y!r}")
    other = y if x == "learning_rate" else x
    limits = bounds_at(bound, other, table[other].values)
    rates = table.learning_rate.values
    inside = (limits >= rates.min()) & (limits <= rates.max())
    along = cells["learning_rate"].position(np.where(inside, limits, np.nan))
    across = cells[other].centers
    look: dict[str, Any] = {"color": "black", "linestyle": "--", "marker": "o", "markersize": 3.5, "linewidth": 1.5}
    outline = [withStroke(linewidth=3.5, foreground="white")]  # seen on dark cells too
    ax.plot(*((along, across) if x == "learning_rate" else (across, along)), **look, path_effects=outline, gid="bound")
    return Line2D([], [], **look, label="stability bound at initialisation\n(quadratic theory)")


def _label(axis: Axis, name: str, values: np.ndarray, cells: Cells) -> None:
    """Name the axis; where cells lie side by side or are few, write the values themselves, at most about twelve."""
    axis.set_label_text(name.replace("_", " "))
    if cells.scale == "index" or len(values) <= 6:
        every = -(-len(values) // 12)
        axis.set_minor_locator(NullLocator())
        texts = [tables.configuration({"": value})[1:] for value in values[::every]]
        axis.set_ticks(cells.centers[::every], texts)
        for text in axis.get_ticklabels():
            text.set_parse_math(False)


def _alt_text(table: xr.Dataset, shown: xr.Dataset, best: xr.DataArray | None, metric: str) -> str:
    """The best cell, and how many failed."""
    y, x = map(str, shown.middle.dims)
    start = f"Heat map of {tables.label(metric)} over {x} and {y} for {tables.heading(table, {})}."
    failures, run = int(np.isinf(shown.middle).sum()), int(shown.middle.notnull().sum())
    if best is None:
        return f"{start} {medians.without_star(shown)}"
    where = tables.configuration({x: best[x].item(), y: best[y].item()})
    found = f"The {medians.star_means(shown)} is {best.item():.4g}, at {where}."
    return f"{start} {found} In {failures} of {run} cells most seeds failed."
