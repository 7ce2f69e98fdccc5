"""What each point of a list of hyperparameters reached, against one of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D

from .. import _checks
from ..problems._metric import Direction
from ..sweeps.judge.best import hyperparameters
from ..sweeps.spec.space import CONFIGURATION
from ..sweeps.table.direction import SIGNS
from . import _medians as medians
from . import _style as style
from . import _tables as tables
from ._ticks import round_ticks


def samples(
    table: xr.Dataset,
    ax: Axes | None = None,
    *,
    x: str | None = None,
    color: str | None = None,
    metric: str = "final_loss",
    direction: Direction | None = None,
) -> Axes:
    """Draw a sweep over a list of points: the median over seeds of each, with a bar from quartile to quartile.

    A point most of whose seeds failed is an x pinned at the worse edge; a star marks the best.

    Arguments:
        table: the Dataset of a sweep over `sample`, `trials` or `zipped` points, with the dim `configuration`.
        ax: where to draw; None makes a figure.
        x: a hyperparameter that is a number; `learning_rate`, or the first that varies, when None.
        color: another one for the colours; the next that varies when None.
        metric: a variable with one number per trial.
        direction: "max" or "min", which value of the metric is the better; as the table declares when None.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not the table of a list of points, no number among its hyperparameters, unknown names, or
            a metric that does not declare its direction.

    Example:
        >>> data = {"final_loss": (("configuration", "seed"), [[0.3], [0.1]])}
        >>> data["status"] = (("configuration", "seed"), [[0], [0]])
        >>> points = {"configuration": [0, 1], "eps": ("configuration", [1e-8, 1e-4])}
        >>> samples(xr.Dataset(data, points)).get_xlabel()
        'eps'
    """
    table = tables.check_table(table)
    known = numbers(table)
    if not known:
        raise ValueError(
            f"samples draws a list of points over `configuration` in which a number varies; the axes of this table are "
            f"{style.names(tables.axis_names(table)) or 'none'}"
        )
    x = _checks.choice("x", x or ("learning_rate" if "learning_rate" in known else known[0]), known)
    others = [name for name in known if name != x]
    color = _checks.choice("color", color, known) if color else next(iter(others), None)
    summary = medians.quartiles(table, metric, direction)
    ax = style.new_axes(ax)
    ax.set(xscale=tables.scale_of(table, x), xlabel=x.replace("_", " "), ylabel=tables.label(metric))
    best = _draw(ax, table, summary, x, color)
    round_ticks(ax)
    style.set_title(ax, tables.heading(table, {}), tables.spread(table))
    failures, run = int(np.isinf(summary.middle).sum()), int(summary.middle.notnull().sum())
    said = (
        f"The {medians.star_means(summary)} is {best[1]:.4g}, at {x}={best[0]:.4g}."
        if best
        else medians.without_star(summary)
    )
    start = f"{run} points by {x} and {tables.label(metric)} for {tables.heading(table, {})}."
    style.describe(ax, f"{start} {said} In {failures} of them most seeds failed.")
    return ax


def scattered(
    table: xr.Dataset,
    x: str | None = None,
    y: str | None = None,
    *,
    metric: str = "final_loss",
    direction: Direction | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a list of points over two of its hyperparameters, coloured by the median over seeds of what each reached.

    A point most of whose seeds failed is an x; a star marks the best.

    Arguments:
        table: as in `samples`, with at least two numbers that vary.
        x, y: two of these; `learning_rate` first, when None.
        metric, direction, ax: as in `samples`.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        ValueError: unknown names, or twice the same.

    Example:
        >>> data = {"final_loss": (("configuration", "seed"), [[0.3], [0.1]])}
        >>> data["status"] = (("configuration", "seed"), [[0], [0]])
        >>> points = {"eps": ("configuration", [1e-8, 1e-4]), "learning_rate": ("configuration", [0.1, 0.3])}
        >>> scattered(xr.Dataset(data, {"configuration": [0, 1], **points})).get_xlabel()
        'learning rate'
    """
    known = sorted(numbers(table), key=lambda name: name != "learning_rate")
    x = _checks.choice("x", x, known) if x else next(name for name in known if name != y)
    y = _checks.choice("y", y, known) if y else next(name for name in known if name != x)
    if x == y:
        raise ValueError(
            f"a heat map needs two different hyperparameters, got {x!r} twice; known: {style.names(known)}"
        )
    summary = medians.quartiles(table, metric, direction)
    higher, middle = summary.attrs["direction"] == "max", summary.middle.values
    ax, at, shown = style.new_axes(ax), [table[name].values.astype(float) for name in (x, y)], np.isfinite(middle)
    entries: list[Any] = []
    if np.isinf(middle).any():
        look: dict[str, Any] = {"color": "0.25", "marker": "x", "linestyle": "none", "markeredgewidth": 1.6}
        ax.plot(*(each[np.isinf(middle)] for each in at), **look, gid="failed")
        entries.append(Line2D([], [], **look, label="most seeds failed"))
    said, place = medians.without_star(summary), medians.starred(summary, np.isfinite(at).all(axis=0))
    if shown.any():
        norm = (LogNorm if middle[shown].min() > 0 and not higher else Normalize)(*_ends(middle[shown]))
        colored: dict[str, Any] = {"cmap": "viridis" if higher else "viridis_r", "norm": norm, "edgecolors": "0.3"}
        drawn = ax.scatter(at[0][shown], at[1][shown], 60, middle[shown], linewidths=0.5, gid="median", **colored)
        ax.figure.colorbar(drawn, cax=style.beside(ax)).set_label(tables.label(metric))
    if place is not None:
        best = place[CONFIGURATION]
        star: dict[str, Any] = {"marker": "*", "color": "black", "markerfacecolor": "white", "linestyle": "none"}
        ax.plot(*(each[[best]] for each in at), **star, markersize=15, zorder=3, gid="best")
        entries.insert(0, Line2D([], [], **star, markersize=11, label=medians.star_means(summary)))
        said = (
            f"The {medians.star_means(summary)} is {middle[best]:.4g}, at {x}={at[0][best]:.4g}, {y}={at[1][best]:.4g}."
        )
    ax.set(xscale=tables.scale_of(table, x), yscale=tables.scale_of(table, y))
    ax.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
    round_ticks(ax)
    style.legend_below(ax, entries)
    style.set_title(ax, tables.heading(table, {}), tables.spread(table))
    style.describe(ax, f"{len(middle)} points by {x} and {y} for {tables.heading(table, {})}. {said}")
    return ax


def numbers(table: xr.Dataset) -> list[str]:
    """The hyperparameters of a list of points that are numbers and vary; none for another table.

    Arguments:
        table: the Dataset of a sweep.

    Returns:
        Their names.

    Example:
        >>> numbers(xr.Dataset({"final_loss": (("beta", "seed"), [[0.1]]), "status": (("beta", "seed"), [[0]])}))
        []
    """
    if tables.axis_names(table) != [CONFIGURATION]:
        return []
    columns = {name: table[name].values for name in hyperparameters(table)}
    return [name for name, values in columns.items() if values.dtype.kind in "iuf" and np.unique(values).size > 1]


def _draw(ax: Axes, table: xr.Dataset, summary: xr.Dataset, x: str, color: str | None) -> tuple[float, float] | None:
    """Points, bars, pinned failures and the star; returns (x, median) of the best."""
    sign = SIGNS[summary.attrs["direction"]]
    at, middle = table[x].values.astype(float), summary.middle.values
    shown = np.isfinite(middle) & np.isfinite(at)
    failed = np.isinf(middle) & np.isfinite(at)
    entries: list[Any] = []
    if failed.any():
        look: dict[str, Any] = {"color": "0.25", "marker": "x", "linestyle": "none", "markeredgewidth": 1.6}
        height = np.full(int(failed.sum()), 0.03 if sign < 0 else 0.97)
        ax.plot(at[failed], height, **look, transform=ax.get_xaxis_transform(), gid="failed")
        entries.append(Line2D([], [], **look, label="most seeds failed"))
    if not shown.any():
        ax.set_yticks([])
        style.legend_right(ax, entries)
        return None
    log = bool(np.all(middle[shown] > 0)) and sign > 0
    ax.set_yscale("log" if log else "linear")
    # A quartile that failure reaches runs to the worse edge of what is finite.
    ends = [summary[name].values[shown] for name in ("lower", "upper")]
    finite = np.concatenate([middle[shown], *(end[np.isfinite(end)] for end in ends)])
    low, high = (np.clip(end, finite.min(), finite.max()) for end in ends)
    ax.vlines(at[shown], low, high, color="0.6", linewidth=1.2, zorder=1, gid="quartiles")
    colored: dict[str, Any] = {"color": style.BLUE}
    if color is not None:
        values = table[color].values.astype(float)[shown]
        norm = (LogNorm if tables.scale_of(table, color) == "log" else Normalize)(*_ends(values))
        colored = {"c": values, "cmap": "viridis", "norm": norm}
    drawn = ax.scatter(
        at[shown], middle[shown], 34, **colored, edgecolors="0.3", linewidths=0.5, zorder=2, gid="median"
    )
    if color is not None:
        ax.figure.colorbar(drawn, cax=style.beside(ax)).set_label(color.replace("_", " "))
    place, best = medians.starred(summary, np.isfinite(at)), None
    if place is not None:
        best = float(at[place[CONFIGURATION]]), float(middle[place[CONFIGURATION]])
        star: dict[str, Any] = {"marker": "*", "color": "black", "markerfacecolor": "white", "linestyle": "none"}
        ax.plot(*([one] for one in best), **star, markersize=13, zorder=3, gid="best")
        entries.insert(0, Line2D([], [], **star, markersize=11, label=medians.star_means(summary)))
    style.legend_below(ax, entries)
    return best


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest number of those there are."""
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
