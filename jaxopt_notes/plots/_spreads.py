"""How numbers are spread: the spectrum of a Hessian, histograms, and critical points by index and loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .. import _checks
from . import _style as style
from . import _surfaces as surfaces
from ._ticks import around


def spectrum(table: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw the density of eigenvalues on a log scale, the negative part shaded, extreme eigenvalues as ticks.

    Arguments:
        table: Dataset with `density` over `eigenvalue`, and perhaps `extremes`, single eigenvalues, over `pair`;
            `SpectralDensity.to_dataset` gives one.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes, with alt text that gives the negative share.

    Raises:
        TypeError, ValueError: no density over eigenvalue, or none of it positive.

    Example:
        >>> grid = np.array([-1.0, 0.0, 1.0])
        >>> ax = spectrum(xr.Dataset({"density": ("eigenvalue", [0.1, 0.8, 0.1])}, {"eigenvalue": grid}))
        >>> ax.get_yscale()
        'log'
    """
    _need(table, "density", "eigenvalue")
    grid, density = table.eigenvalue.values.astype(float), table.density.values.astype(float)
    if not (density > 0).any():
        raise ValueError("density must be positive somewhere")
    floor = density.max() * 1e-7
    shown = np.maximum(density, floor)
    ax = style.new_axes(ax)
    ax.set_yscale("log")
    ax.plot(grid, shown, color=style.BLUE, linewidth=1.6, gid="density")
    ax.fill_between(
        grid, floor, shown, where=grid <= 0, color=style.VERMILLION, alpha=0.3, label="negative", gid="negative"
    )
    ax.fill_between(grid, floor, shown, where=grid >= 0, color=style.BLUE, alpha=0.12)
    if "extremes" in table:
        for value in np.asarray(table.extremes.values, float):
            ax.axvline(value, ymax=0.08, color="black", linewidth=1.6, gid="eigenvalue")
    ax.axvline(0, color="0.4", linewidth=0.8)
    ax.set(xlabel="eigenvalue", ylabel="density", ylim=(floor, density.max() * 3), xlim=_span(grid, table))
    said = _negative(table, grid, density)
    cost = f"{table.attrs['matvecs']} products" if "matvecs" in table.attrs else ""
    ticks = "ticks: single eigenvalues" if "extremes" in table else ""
    style.set_title(ax, "Spectrum of the Hessian", "; ".join(filter(None, [said, ticks, cost])))
    style.describe(ax, f"Density of eigenvalues from {grid[0]:.3g} to {grid[-1]:.3g}; {said}.")
    return ax


def _negative(table: xr.Dataset, grid: np.ndarray, density: np.ndarray) -> str:
    """Which share is negative: of the eigenvalues if known, as smoothing spreads a cluster at 0 both ways."""
    if "negative_share" in table.attrs:
        return f"{table.attrs['negative_share']:.1%} of the eigenvalues below {-table.attrs['width']:.2g}"
    share = np.trapezoid(np.where(grid <= 0, density, 0), grid) / np.trapezoid(density, grid)
    return f"{share:.1%} of the density below 0"


def _span(grid: np.ndarray, table: xr.Dataset) -> tuple[float, float]:
    values = np.concatenate([grid, np.asarray(table.extremes.values, float)]) if "extremes" in table else grid
    margin = 0.02 * np.ptp(values)
    return float(values.min() - margin), float(values.max() + margin)


def histogram(
    table: xr.Dataset, ax: Axes | None = None, *, variable: str = "value", by: str | None = None, bins: int = 60
) -> Axes:
    """Draw how the values of a variable are spread, along one dim one outline each, in the same bins.

    Values that range over orders of magnitude on both sides of zero get bins that are even on a symmetric log scale.

    Arguments:
        table: Dataset with the variable over any dims.
        ax: where to draw; None makes a figure.
        variable: its name.
        by: a dim with at most 8 entries, such as `step`.
        bins: how many.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: unknown variable or dim, nothing finite, or more than 8 outlines.

    Example:
        >>> ax = histogram(xr.Dataset({"value": ("entry", [0.0, 1.0, 1.0, 2.0])}), bins=2)
        >>> ax.patches[0].get_data().values.tolist()
        [1, 3]
    """
    if not isinstance(table, xr.Dataset):
        raise TypeError(f"table must be an xarray.Dataset, got {type(table).__name__}")
    _checks.choice("variable", variable, map(str, table.data_vars))
    array = table[variable]
    if by is not None:
        _checks.choice("by", by, map(str, array.dims))
        if array.sizes[by] > 8:
            raise ValueError(f"by={by!r} has {array.sizes[by]} entries, too many outlines for one figure, at most 8")
    groups = (
        [("", array)]
        if by is None
        else [(f"{by} {value}", array.isel({by: i})) for i, value in enumerate(array[by].values)]
    )
    values = array.values[np.isfinite(array.values)].astype(float)
    if not values.size:
        raise ValueError(f"{variable} holds nothing finite")
    edges, linear = _bins(values, _checks.count("bins", bins))
    ax = style.new_axes(ax)
    looks = style.ordered_styles(len(groups)) if by else [style.style_of("momentum")]
    for (label, part), look in zip(groups, looks, strict=True):
        kept = part.values[np.isfinite(part.values)].astype(float)
        counts, _ = np.histogram(kept, edges)
        ax.stairs(
            counts,
            edges,
            color=look.color,
            linestyle=look.linestyle,
            fill=by is None,
            alpha=0.8,
            label=label or None,
            linewidth=1.5,
        )
    if linear is not None:
        ax.set_xscale("symlog", linthresh=linear)
        _symmetric_ticks(ax, linear, np.abs(edges).max())
    name = str(array.attrs.get("long_name", variable.replace("_", " ")))
    ax.set(xlabel=name, ylabel="count", xlim=edges[[0, -1]])
    missing = int(np.sum(~np.isfinite(array.values)))
    style.set_title(ax, name, f"{missing} values not finite, left out" if missing else "")
    style.legend_right(ax)
    middle = np.median(values)
    style.describe(
        ax,
        f"Histogram of {values.size} values of {variable}, median {middle:.3g}, from {values.min():.3g} to "
        f"{values.max():.3g}.",
    )
    return ax


def _bins(values: np.ndarray, count: int) -> tuple[np.ndarray, float | None]:
    """Edges, and the end of the linear part if they are even on a symmetric log scale."""
    low, high = values.min(), values.max()
    if low == high:
        low, high = around(low)
    sizes = np.abs(values[values != 0])
    if not (low < 0 < high) or not sizes.size or np.quantile(sizes, 0.99) < 100 * np.quantile(sizes, 0.1):
        return np.linspace(low, high, count + 1), None
    linear = float(np.quantile(sizes, 0.1))
    ends = np.arcsinh(np.array([low, high]) / linear)
    edges = linear * np.sinh(np.linspace(ends[0], ends[1], count + 1))
    edges[0], edges[-1] = low, high  # to the last bit, so that nothing falls outside
    return edges, linear


def _symmetric_ticks(ax: Axes, linear: float, largest: float) -> None:
    """Powers of ten on both sides of 0, few enough not to run into each other."""
    decades = np.arange(np.floor(np.log10(linear)) + 1, np.floor(np.log10(largest)) + 1)
    chosen = decades[:: -(-max(len(decades), 1) // 4)].astype(int)
    powers = 10.0**chosen
    below, above = ([rf"${sign}10^{{{power}}}$" for power in chosen] for sign in ("-", ""))
    ax.set_xticks([*-powers[::-1], 0, *powers], [*below[::-1], "0", *above])
    ax.minorticks_off()


def index_against_loss(table: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw critical points: the share of directions that go down against the loss, minima apart from saddles.

    Arguments:
        table: Dataset with `loss` and `index` over `point`, and `parameters` in `attrs` (or else the index itself is
            drawn); with `reached_by`, larger marks for points that more starts reached.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: no loss and index over point.

    Example:
        >>> ax = index_against_loss(xr.Dataset({"loss": ("point", [0.0, 3.0]), "index": ("point", [0, 1])}))
        >>> ax.get_ylabel()
        'index (directions of negative curvature)'

    Source: Dauphin, Pascanu, Gulcehre, Cho, Ganguli and Bengio, 2014, figure 1.
    """
    for name in ("loss", "index"):
        _need(table, name, "point", empty=True)
    loss, index = table.loss.values.astype(float), table["index"].values.astype(float)
    parameters = table.attrs.get("parameters")
    height = index / parameters if parameters else index
    sizes = (
        30 + 120 * table.reached_by.values / table.reached_by.values.max(initial=1)
        if "reached_by" in table
        else np.full(len(loss), 45.0)
    )
    ax = style.new_axes(ax, size=(6.0, 4.2))
    for kept, color, marker, label in (
        (index == 0, style.BLUE, "o", "minimum"),
        (index > 0, style.VERMILLION, "s", "saddle or maximum"),
    ):
        look: dict[str, Any] = {"color": color, "marker": marker, "label": label, "edgecolors": "white", "alpha": 0.85}
        if kept.any():
            ax.scatter(loss[kept], height[kept], sizes[kept], **look)
    name = "share of directions of negative curvature" if parameters else "index (directions of negative curvature)"
    ax.set(xlabel="loss", ylabel=name)
    if not parameters:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    elif parameters <= 12:  # no other share can be
        ax.set_yticks(np.arange(parameters + 1) / parameters, [f"{k}/{parameters}" for k in range(parameters + 1)])
    if not len(loss):
        return _without_points(table, ax)
    sized = "; larger: reached by more starts" if "reached_by" in table else ""
    style.set_title(ax, surfaces.heading(table) or "Critical points", f"{len(loss)} critical points{sized}")
    style.legend_right(ax)
    spread = np.ptp(index) > 0 and np.ptp(loss) > 0
    said = f"; correlation of index and loss {np.corrcoef(loss, index)[0, 1]:.2f}" if spread else ""
    style.describe(ax, f"{len(loss)} critical points, {int(np.sum(index == 0))} of them minima{said}.")
    return ax


def _without_points(table: xr.Dataset, ax: Axes) -> Axes:
    """What a search that found nothing shows: that it found nothing, and from how many starts."""
    starts = f" from {table.attrs['starts']} starts" if "starts" in table.attrs else ""
    words = f"no critical point found{starts}"
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center")
    ax.set(xticks=[], yticks=[])
    style.set_title(ax, surfaces.heading(table) or "Critical points", "0 critical points")
    style.describe(ax, f"Empty: {words}.")
    return ax


def _need(table: Any, variable: str, dim: str, *, empty: bool = False) -> None:
    if not isinstance(table, xr.Dataset):
        raise TypeError(f"table must be an xarray.Dataset, got {type(table).__name__}")
    if variable not in table or table[variable].dims != (dim,):
        raise ValueError(
            f"table must hold {variable} over {dim}; it has {', '.join(map(str, table.data_vars)) or 'nothing'}"
        )
    if not (empty or table.sizes[dim]):
        raise ValueError(f"table must hold {variable} over at least one {dim}; it has none")
