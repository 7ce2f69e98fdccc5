"""The U curve: what a sweep reached against the learning rate, with failures in plain sight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .. import _checks
from ..problems._metric import LOSSES, Direction
from ..sweeps.judge.best import best as winner_of
from ..sweeps.table.direction import SUPERLATIVES, common_direction
from . import _medians as medians
from . import _style as style
from . import _tables as tables
from ._ticks import around, round_ticks

Bound = float | Mapping[float, float] | xr.DataArray
ROW = 0.045  # height of one row of pinned failures, as a share of the axes


def bounds_at(bound: Bound | None, axis: str | None, values: np.ndarray) -> np.ndarray:
    """The stability bound for every value of the second axis.

    Arguments:
        bound: one learning rate for all; or a mapping or DataArray from values of the second axis to learning rates.
        axis: name of the second axis, None without one.
        values: its values.

    Returns:
        One learning rate per value, NaN where the bound does not apply.

    Raises:
        TypeError: `bound` is of another type. ValueError: a DataArray is not over `axis` alone.

    Example:
        >>> bounds_at({0.0: 2.0, 0.9: 3.8}, "beta", np.array([0.0, 0.5, 0.9])).tolist()
        [2.0, nan, 3.8]
    """
    if bound is None:
        return np.full(len(values), np.nan)
    if isinstance(bound, xr.DataArray):
        bound = bound.squeeze(drop=True)
        if bound.ndim and bound.dims != (axis,):
            raise ValueError(f"bound must be a number or lie over {axis!r}, got a DataArray over {bound.dims}")
        bound = dict(zip(bound[axis].values.tolist(), bound.values, strict=True)) if bound.ndim else float(bound)
    if isinstance(bound, Mapping):
        known = {float(key): float(value) for key, value in bound.items()}
        return np.array([next((b for k, b in known.items() if np.isclose(k, v, rtol=1e-5)), np.nan) for v in values])
    if np.ndim(bound) or isinstance(bound, str | bool):
        raise TypeError(f"bound must be a number, a mapping or a DataArray, got {bound!r}")
    return np.full(len(values), float(bound))


def learning_rate_sensitivity(
    table: xr.Dataset,
    ax: Axes | None = None,
    metric: str = "final_loss",
    bound: Bound | None = None,
    *,
    direction: Direction | None = None,
    **fixed: Any,
) -> Axes:
    """Draw the U curve: median and quartile band over seeds against the learning rate, a line per value of axis two.

    A failed trial counts as worse than any number. A configuration whose median seed failed is an x pinned at the worse
    edge; a band that runs off that edge says that at least a quarter of the seeds failed. Of any further axes each
    point shows its best value. Thin lines mark the best constant predictor and the loss at initialisation.

    Arguments:
        table: the Dataset of a sweep with a `learning_rate` axis.
        ax: where to draw; None makes a figure. Tables drawn into the same axes share its failure rows and thin lines.
        metric: a variable with one number per trial, such as "final_loss" or "test_accuracy".
        bound: stability bound(s) at initialisation, in learning rates: one number, or a mapping or DataArray from
            values of the second axis.
        direction: "max" or "min", which value of the metric is the better; as the table declares when None.
        **fixed: values of other axes to draw alone, for example `beta=0.9`.

    Returns:
        The Axes, with alt text (`style.alt_text`). To see it use `ax.figure`.

    Raises:
        TypeError, ValueError: not a sweep's table, no learning rate axis, unknown metric, axis or value, or a metric
            that does not declare its direction.

    Example:
        >>> losses = ("learning_rate", "seed"), [[0.3, 0.4], [0.1, 0.2]]
        >>> data = {"final_loss": losses, "status": (("learning_rate", "seed"), [[0, 0], [0, 0]])}
        >>> ax = learning_rate_sensitivity(xr.Dataset(data, {"learning_rate": [0.01, 0.1]}))
        >>> ax.lines[0].get_ydata().round(2).tolist()
        [0.35, 0.15]
    """
    table, fixed = _prepare(table, fixed)
    others = [axis for axis in tables.axis_names(table) if axis != "learning_rate"]
    lines = medians.best_over(medians.quartiles(table, metric, direction), others[1:])
    if others:
        values = table[others[0]].values
        labels = [tables.configuration({others[0]: value}) for value in values]
        looks = style.ordered_styles(len(values))
        lines, limits = lines.rename({others[0]: "line"}), bounds_at(bound, others[0], values)
    else:
        name = str(table.attrs.get("optimizer", "median"))
        labels, looks = [tables.named(name, fixed)], [style.style_alone(name)]
        lines, limits = lines.expand_dims("line"), bounds_at(bound, None, np.zeros(1))

    ax = style.new_axes(ax)
    _draw_references(ax, table, metric)
    best = _draw_lines(ax, lines, labels, looks, limits)
    chosen = f"; each point at its best {style.names(others[1:])}" if others[1:] else ""
    _finish(ax, table, metric, lines.attrs["direction"], medians.star_means(lines))
    style.set_title(ax, tables.heading(table, fixed), tables.spread(table) + chosen)
    style.describe(ax, _alt_text(table, lines, best, metric))
    return ax


def compare(
    sweeps: Mapping[str, xr.Dataset],
    ax: Axes | None = None,
    metric: str = "final_loss",
    *,
    direction: Direction | None = None,
) -> Axes:
    """Draw one U curve per sweep into the same axes, each at the other hyperparameters of its winner.

    Arguments:
        sweeps: names to Datasets of sweeps with a `learning_rate` axis; one in which nothing ran is left out.
        ax: where to draw; None makes a figure.
        metric: a variable with one number per trial, by which the winner is chosen too.
        direction: "max" or "min", which value of the metric is the better; as the tables declare when None.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not sweeps' tables, no learning rate axis, unknown metric, one that does not declare its
            direction, or in one table another than in the others, or nothing ran in any.

    Example:
        >>> losses = ("learning_rate", "seed"), [[0.3], [0.1]]
        >>> data = {"final_loss": losses, "status": (("learning_rate", "seed"), [[0], [0]])}
        >>> table = xr.Dataset(data, {"learning_rate": [0.01, 0.1], "seed": [0]})
        >>> [text.get_text() for text in compare({"adam": table, "momentum": table}).get_legend().get_texts()]
        ['adam', 'momentum', 'lowest median']
    """
    checked = {name: tables.check_table(table) for name, table in sweeps.items()}
    started = {name: table for name, table in checked.items() if (table.status >= 0).any()}
    if not started:
        raise ValueError(f"compare needs at least one sweep in which a trial ran, got {list(sweeps)}")
    for table in started.values():
        _checks.choice("metric", metric, tables.metrics(table))
    better = common_direction(started.values(), metric, direction)
    families = [str(table.attrs.get("optimizer", name)) for name, table in started.items()]
    distinct = len(set(families)) == len(families)
    looks = [style.style_of(family) for family in families] if distinct else style.ordered_styles(len(families))
    problems = {str(table.attrs.get("problem", "")) for table in started.values()}
    problem = problems.pop() if len(problems) == 1 else ""
    ax, said = style.new_axes(ax), []
    for (name, table), look in zip(started.items(), looks, strict=True):
        winner = winner_of(table, metric, direction=better)
        config = {axis: value for axis, value in winner.config.items() if axis != "learning_rate"}
        part, fixed = _prepare(table, config)
        if problem:  # the losses to beat are the same for all
            _draw_references(ax, part, metric)
        lines, label = medians.quartiles(part, metric, better).expand_dims("line"), tables.named(name, fixed)
        best = _draw_lines(ax, lines, [label], [look], np.full(1, np.nan))
        said.append(f"{label}: {best.words if best else medians.without_star(lines).lower().rstrip('.')}")
        _finish(ax, part, metric, better, f"{SUPERLATIVES[better]} median")
    where = f" on {problem}" if problem else ""
    most = max(started.values(), key=lambda table: table.sizes["seed"])
    style.set_title(ax, f"Each at its best other hyperparameters{where}", tables.spread(most))
    most_medians = f"{SUPERLATIVES[better].capitalize()} medians"
    style.describe(ax, f"Curves of {tables.label(metric)} against learning rate. {most_medians}: {'; '.join(said)}.")
    return ax


class _Best(NamedTuple):
    """The best median drawn, for the star and the alt text."""

    learning_rate: float
    median: float
    label: str

    @property
    def words(self) -> str:
        return f"{self.median:.4g}, at learning rate {self.learning_rate:.4g}"


def _prepare(table: Any, fixed: Mapping[str, Any]) -> tuple[xr.Dataset, dict[str, Any]]:
    """The selected table without its axes of length 1, which join what is held fixed."""
    table = tables.check_table(table)
    axes = tables.axis_names(table)
    if "learning_rate" not in axes or ("learning_rate" in fixed and np.ndim(fixed["learning_rate"]) == 0):
        raise ValueError(
            f"a curve against the learning rate needs it as an axis; the axes are {', '.join(axes) or 'none'}"
        )
    return tables.squeeze(tables.select(table, fixed), fixed, keep="learning_rate")


def _draw_lines(
    ax: Axes, lines: xr.Dataset, labels: list[str], looks: list[style.Style], limits: np.ndarray
) -> _Best | None:
    """Draw quartiles over (line, learning_rate) with pins and bounds, and star the best median, which it returns."""
    lines = lines.transpose("line", "learning_rate")
    shown = set(np.linspace(0, len(labels) - 1, min(len(labels), 8)).round().astype(int))  # a legend of 8 says enough
    x = lines.learning_rate.values
    for i, (look, limit) in enumerate(zip(looks, limits, strict=True)):
        _draw_one(ax, x, lines.isel(line=i), look, labels[i] if i in shown else None)
        if x.min() / 10 <= limit <= x.max() * 10:  # farther away it would squash the curve
            ax.axvline(limit, color=look.color, linestyle=(0, (1, 1.5)), linewidth=1.5, gid="bound")
    place = medians.starred(lines)
    if place is None:
        return None
    best = _Best(float(x[place["learning_rate"]]), float(lines.middle.isel(place)), labels[place["line"]])
    star: dict[str, Any] = {"marker": "*", "markersize": 11, "markerfacecolor": "white", "linestyle": "none"}
    ax.plot([best.learning_rate], [best.median], color="black", **star, zorder=4, gid="best")
    return best


def _draw_one(ax: Axes, x: np.ndarray, one: xr.Dataset, look: style.Style, label: str | None) -> None:
    """One median line with its band, and an x at the worse edge wherever the median failed."""
    finite = {name: np.where(np.isfinite(one[name]), one[name], np.nan) for name in ("lower", "middle", "upper")}
    kind: dict[str, Any] = {"color": look.color, "linestyle": look.linestyle}
    ax.plot(x, finite["middle"], **kind, marker=look.marker, markersize=4.5, linewidth=1.6, label=label, gid="median")
    higher = one.attrs["direction"] == "max"
    worst = finite["lower" if higher else "upper"]
    if np.isfinite(worst).any():  # a band that reaches failure leaves the axes at the worse edge
        known = np.concatenate([*finite.values(), _heights(ax, "reference", "quartile", "median")])
        low, high = np.nanmin(known), np.nanmax(known)
        far = 9 * max(abs(low), abs(high), high - low)
        beyond = low - far if higher else high + far
        band = {**finite, "lower" if higher else "upper": np.where(np.isfinite(worst), worst, beyond)}
        where = np.isfinite(finite["middle"])
        ax.fill_between(x, band["lower"], band["upper"], where=where, color=look.color, alpha=0.15, linewidth=0)
    for name in ("lower", "upper"):  # thin edges: they set the limits of the y axis, and show where bands overlap
        edge = np.where(np.isfinite(finite["middle"]), finite[name], np.nan)
        ax.plot(x, edge, color=look.color, linewidth=0.5, alpha=0.5, gid="quartile")
    pinned = np.isinf(one["middle"].values)
    row = len(_kept(ax, "failed")) % 8
    if pinned.any():
        height = (1 + row) * ROW - ROW / 2
        ax.plot(
            x[pinned],
            np.full(pinned.sum(), height if higher else 1 - height),
            color=look.color,
            marker="x",
            markersize=6,
            markeredgewidth=1.6,
            linestyle="none",
            transform=ax.get_xaxis_transform(),
            gid="failed",
        )


def _draw_references(ax: Axes, table: xr.Dataset, metric: str) -> None:
    """Thin lines at the losses that a run must beat, once per axes."""
    if metric not in LOSSES:
        return
    initial = float(table.initial_loss.median()) if "initial_loss" in table else np.nan
    baseline = table.attrs.get("baseline_loss", np.nan)
    lines = [
        ("best constant predictor", "--", np.nan if isinstance(baseline, str) else baseline),  # a list of several
        ("loss at initialisation", ":", initial),
    ]
    for label, dash, value in lines:
        known = np.isfinite(value)
        if known and not any(line.get_label() == label for line in ax.lines):
            ax.axhline(value, color="0.45", linestyle=dash, linewidth=1.0, label=label, gid="reference", zorder=1)


def _kept(ax: Axes, *gids: str) -> list[Line2D]:
    return [line for line in ax.lines if line.get_gid() in gids]


def _heights(ax: Axes, *gids: str) -> np.ndarray:
    """Every finite y of the lines of these kinds."""
    values = np.concatenate([np.zeros(0), *(np.asarray(line.get_ydata(), float) for line in _kept(ax, *gids))])
    return values[np.isfinite(values)]


def _finish(ax: Axes, table: xr.Dataset, metric: str, better: Direction, star: str) -> None:
    """Scales, limits, axis labels, and a legend: the lines first, then in neutral grey what the marks mean."""
    _fit(ax, better == "max")
    scale = "log" if ax.get_xscale() == "log" else tables.scale_of(table, "learning_rate")
    x = np.concatenate([np.asarray(line.get_xdata(), float) for line in _kept(ax, "median", "bound")])
    low, high = x.min(), x.max()
    margin = 0.05 * (np.log(high / low) if scale == "log" else high - low) or 0.1
    limits = (low * np.exp(-margin), high * np.exp(margin)) if scale == "log" else (low - margin, high + margin)
    ax.set(xscale=scale, xlim=limits, xlabel="learning rate", ylabel=tables.label(metric))
    round_ticks(ax)
    grey: dict[str, Any] = {"color": "0.25", "linestyle": "none"}
    theory = "stability bound at\ninitialisation\n(quadratic theory)"
    marks = {
        "best": Line2D([], [], **grey, marker="*", markersize=11, markerfacecolor="white", label=star),
        "failed": Line2D([], [], **grey, marker="x", markeredgewidth=1.6, label="most seeds failed"),
        "bound": Line2D([], [], color="0.25", linestyle=(0, (1, 1.5)), linewidth=1.5, label=theory),
    }
    handles = [line for line in _kept(ax, "median") if not str(line.get_label()).startswith("_")]
    handles += [mark for gid, mark in marks.items() if _kept(ax, gid)]
    style.legend_right(ax, handles=handles + _kept(ax, "reference"))


def _fit(ax: Axes, higher: bool) -> None:
    """Set the y scale and limits from the finite values, leaving room at the worse edge for the pinned failures."""
    values = _heights(ax, "median", "quartile", "reference")
    rows = min(8, len(_kept(ax, "failed")))
    if not values.size:
        ax.set_yticks([])
        return
    log = bool(np.all(values > 0)) and not higher
    ax.set_yscale("log" if log else "linear")
    low, high = (np.log10(values) if log else values).min(), (np.log10(values) if log else values).max()
    margin = 0.06 * (high - low) or 0.1
    low, high = around(low) if low == high and not log else (low - margin, high + margin)
    room = (high - low) * (ROW * rows / (1 - ROW * rows))
    low, high = (low - room, high) if higher else (low, high + room)
    ax.set_ylim((10**low, 10**high) if log else (low, high))


def _alt_text(table: xr.Dataset, lines: xr.Dataset, best: _Best | None, metric: str) -> str:
    """Where the best median lies, and how much failed."""
    start = f"Curves of {tables.label(metric)} against learning rate for {tables.heading(table, {})}."
    failures, run = int(np.isinf(lines.middle).sum()), int(lines.middle.notnull().sum())
    if best is None:
        return f"{start} {medians.without_star(lines)}"
    return (
        f"{start} The {medians.star_means(lines)} is {best.words} ({best.label}). "
        f"In {failures} of {run} configurations shown most seeds failed."
    )
