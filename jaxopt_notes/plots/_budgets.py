"""What tuning is worth: the expected best against the number of trials, and how wide the good range of a number is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from ..race import Race, Sensitivity
from . import _style as style
from . import _tables as tables
from ._ticks import round_ticks


def budget_curves(curves: xr.Dataset | Race, ax: Axes | None = None) -> Axes:
    """Draw the expected score of the best of k trials against k, with its band, a line per method.

    Arguments:
        curves: of `budget_curve`, or a `Race`, whose scores are by other seeds than those that tuned.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError: neither of the two.

    Example:
        >>> curve = ("budget", [2.0, 1.5, 1.0])
        >>> curves = xr.Dataset({"expected": curve, "lower": curve, "upper": curve}, {"budget": [1, 2, 3]},
        ...                     {"metric": "final_loss", "direction": "min", "configurations": 3})
        >>> budget_curves(curves).get_xlabel()
        'trials of tuning'
    """
    won = curves if isinstance(curves, Race) else None
    table = curves.curves if isinstance(curves, Race) else curves
    if not isinstance(table, xr.Dataset) or not {"expected", "lower", "upper"} <= {*table.data_vars}:
        raise TypeError(f"curves must be those of budget_curve, or a Race; got {type(curves).__name__}")
    many = "optimizer" in table.dims
    lines = table if many else table.expand_dims(optimizer=[str(table.attrs.get("optimizer", "best"))])
    names = [str(name) for name in lines["optimizer"].values]
    metric = str(table.attrs.get("metric", "score"))
    ax = style.new_axes(ax)
    budgets, said = lines["budget"].values, []
    for name, look in zip(names, _looks(names) if many else style.ordered_styles(1), strict=True):
        one = lines.sel(optimizer=name)
        kind: dict[str, Any] = {"color": look.color, "linestyle": look.linestyle, "linewidth": 1.8}
        ax.plot(budgets, one["expected"], **kind, label=name, gid="expected")
        ax.fill_between(budgets, one["lower"], one["upper"], color=look.color, alpha=0.13, linewidth=0)
        known = one["expected"].values[np.isfinite(one["expected"].values)]
        said.append(f"{name} from {known[0]:.3g} to {known[-1]:.3g}")
    _scales(ax, lines)
    ax.set(xlabel="trials of tuning", ylabel=f"expected {tables.label(metric)}")
    means = "geometric mean, " if table.attrs.get("scale") == "log" else ""
    scored = "scored by other seeds than tuned" if won else "of the best configuration so far"
    title = "What tuning is worth"
    if won:
        title = f"{f'{won.winner} wins' if won.winner else 'No winner'} after {won.budget} trials of tuning"
    style.set_title(ax, title, f"{means}{scored}; bands: 95 % over other configurations{' and seeds' if won else ''}")
    if many:
        style.legend_right(ax)
    style.describe(ax, f"Expected {tables.label(metric)} against trials of tuning: {'; '.join(said)}.")
    return ax


def _scales(ax: Axes, lines: xr.Dataset) -> None:
    """Powers of two along x, and a logarithmic y where the scores span more than a factor of 3."""
    last = int(lines["budget"].values[-1])
    ticks = [2**i for i in range(last.bit_length())]
    ticks = ticks if last == ticks[-1] or last < 1.3 * ticks[-1] else [*ticks, last]
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FixedFormatter([str(tick) for tick in ticks]))
    ax.xaxis.set_minor_locator(NullLocator())
    values = np.concatenate([lines[name].values.ravel() for name in ("expected", "lower", "upper")])
    values = values[np.isfinite(values)]
    if values.min() > 0 and values.max() > 3 * values.min() and lines.attrs.get("direction", "min") == "min":
        ax.set_yscale("log")
        low, high = values.min() / 1.1, values.max() * 1.1
        round_ticks(ax)
        ax.set_ylim(low, high)


def sensitivity_ranges(found: Sensitivity | Mapping[str, Sensitivity], ax: Axes | None = None) -> Axes:
    """Draw the profile of a hyperparameter and, as a bar, the range in which it is within a factor of the best.

    The bar lies at that factor, and is labelled with its width in decades and the widths of other seeds. An end
    that was not reached has an arrow.

    Arguments:
        found: of `sensitivity`; or of several methods, name -> that.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError: not of `sensitivity`. ValueError: none, or of different hyperparameters or metrics.

    Example:
        >>> import jaxopt_notes as jon
        >>> space = jon.grid(learning_rate=[0.001, 0.01, 0.03, 0.09])
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> table = jon.sweep(valley, jon.gradient_descent, space, steps=50, progress=False)
        >>> sensitivity_ranges(jon.sensitivity(table, factor=10.0)).get_xlabel()
        'learning rate'
    """
    several = dict(found) if isinstance(found, Mapping) else {"": found}
    for one in several.values():
        if not isinstance(one, Sensitivity):
            raise TypeError(f"found must be a Sensitivity, as jon.sensitivity returns it; got {type(one).__name__}")
    kinds = {(one.axis, one.metric, one.factor) for one in several.values()}
    if len(kinds) != 1:
        raise ValueError(f"found must be of one hyperparameter, metric and factor, got {sorted(kinds)}")
    axis, metric, factor = kinds.pop()
    ax, said = style.new_axes(ax), []
    for (name, one), look in zip(several.items(), _looks(several), strict=True):
        _draw_range(ax, name, one, look)
        said.append(f"{name}: {one}" if name else str(one))
    scale = "linear" if any(one.profile and _higher(one) for one in several.values()) else "log"
    ax.set(xscale="log", yscale=scale, xlabel=axis.replace("_", " "), ylabel=f"best {tables.label(metric)}")
    round_ticks(ax)
    style.set_title(
        ax,
        f"How wide the good range of {axis.replace('_', ' ')} is",
        f"bars: within a factor of {factor:g} of the best",
    )
    style.legend_right(ax)
    style.describe(ax, ". ".join(said) + ".")
    return ax


def _higher(one: Sensitivity) -> bool:
    """Whether the metric is the better the higher it is."""
    x, y = np.array(one.profile).T
    return bool(y[np.argmin(np.abs(np.log(x / one.best)))] > np.min(y))


def _looks(names: Iterable[str]) -> list[style.Style]:
    """The style of each optimizer; styles in order where two would look alike."""
    looks = [style.style_of(name) for name in names]
    alike = len({(look.color, look.linestyle) for look in looks}) < len(looks)
    return style.ordered_styles(len(looks)) if alike else looks


def _draw_range(ax: Axes, name: str, one: Sensitivity, look: style.Style) -> None:
    x, y = np.array(one.profile).T
    shown = np.isfinite(y) & (y > 0)
    best = y[np.argmin(np.abs(np.log(x / one.best)))]
    level = best / one.factor if _higher(one) else best * one.factor
    width, (low, high) = f"{one.decades:.2f} decades", one.interval
    seeds = f" ({low:.2f} to {high:.2f})" if np.isfinite(high) else ""
    label = f"{name}: {width}{seeds}".removeprefix(": ")
    kind: dict[str, Any] = {"color": look.color, "linestyle": look.linestyle, "linewidth": 1.6}
    ax.plot(x[shown], y[shown], **kind, marker=look.marker, markersize=4, label=label, gid="profile")
    ax.plot(
        [one.low, one.high],
        [level, level],
        color=look.color,
        linewidth=5,
        alpha=0.45,
        solid_capstyle="butt",
        gid="range",
    )
    for end, place, marker in (("low", one.low, "<"), ("high", one.high, ">")):
        mark = marker if end in one.clipped else "|"
        ax.plot([place], [level], color=look.color, marker=mark, markersize=9, linestyle="none", gid="end")
