"""Loss against step: raw faint, smoothed bold, with the spread over seeds."""

from __future__ import annotations

import itertools
import string
import zlib
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .. import _checks
from ..minimize import Status
from . import _medians as medians
from . import _style as style
from . import _tables as tables
from ._ticks import around, round_ticks

MOST_LINES = 8
FEW_ENTRIES = 30  # of a curve whose entries are marked


def loss_curves(
    table: xr.Dataset,
    ax: Axes | None = None,
    smooth: int | None = None,
    *,
    hide_labels: bool = False,
    **selection: Any,
) -> Axes:
    """Draw the loss against the step: median over seeds faint, its running mean bold, and the band of the quartiles.

    A configuration whose median seed failed ends in an x where it left the axes or stopped; it does not stretch the
    y axis.

    Arguments:
        table: the Dataset of a sweep with `loss` over (axes..., seed, step).
        ax: where to draw; None makes a figure.
        smooth: length of the running mean in recorded steps, 1 for none; None takes a fiftieth of the run with
            minibatches, and 1 without.
        hide_labels: name the curves A, B, C, ... in an unrelated order, without the marks of failure, to guess which
            is which; `hidden_labels` has the answer, and `diagnose` explains how it shows.
        **selection: values of axes, one or a list, for example `learning_rate=[0.01, 0.1], beta=0.9`. Axes left out
            are drawn whole.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not a sweep's table, no `loss` in it, unknown axis or value, more than 8 lines.

    Example:
        >>> dims, status = ("beta", "seed"), [[0], [0]]
        >>> data = {"final_loss": (dims, [[0.5], [0.1]]), "status": (dims, status)}
        >>> data["loss"] = ((*dims, "step"), [[[1.0, 0.5]], [[1.0, 0.1]]])
        >>> ax = loss_curves(xr.Dataset(data, {"beta": [0.0, 0.9], "step": [0, 1]}), beta=0.9)
        >>> ax.lines[0].get_ydata().tolist()
        [1.0, 0.1]
    """
    hide_labels = _checks.boolean("hide_labels", hide_labels)
    table = tables.select(tables.check_table(table), selection)
    if "loss" not in table or "step" not in table.loss.dims:
        raise ValueError("table holds no loss over step, so there is no curve to draw")
    table, fixed = tables.squeeze(table, selection)
    axes = tables.axis_names(table)
    table = _until_it_stopped(table) if table.final_loss.size == 1 else table
    configs = [dict(zip(axes, values, strict=True)) for values in itertools.product(*(table[a].values for a in axes))]
    if len(configs) > MOST_LINES:
        raise ValueError(
            f"{len(configs)} configurations are too many lines for one figure, at most {MOST_LINES}; "
            f"choose values of {style.names(axes)}, for example {axes[0]}=[{table[axes[0]].values[0]:.4g}, ...]"
        )
    minibatch = "epoch" in table.coords and bool(table.epoch.notnull().any())
    window = (
        max(1, table.sizes["step"] // 50 if minibatch else 1) if smooth is None else _checks.count("smooth", smooth)
    )

    letters = _letters(configs) if hide_labels else {}
    if hide_labels:
        configs = [configs[i] for i in letters.values()]
    ax = style.new_axes(ax)
    looks = style.ordered_styles(len(configs)) if axes else [style.style_alone(str(table.attrs.get("optimizer", "")))]
    alone = tables.named(str(table.attrs.get("optimizer", "median" if table.sizes["seed"] > 1 else "loss")), fixed)
    ends = {}
    labels = list(letters) or [tables.configuration(config) or alone for config in configs]
    for config, look, label in zip(configs, looks, labels, strict=True):
        ends[label] = _draw_one(ax, tables.select(table, config), label, look, window)
    _fit(ax, table)
    if hide_labels:
        _hide_failures(ax)
    ax.set_xlabel(_step_label(table))
    round_ticks(ax)
    if isinstance(locator := ax.xaxis.get_major_locator(), MaxNLocator):
        locator.set_params(integer=True)
    ax.set_ylabel("loss of the minibatch" if minibatch else "training loss")
    smoothed = f"; bold: running mean over {window} recorded steps" if window > 1 else ""
    style.set_title(ax, tables.heading(table, fixed), (_ended(table) or tables.spread(table)) + smoothed)
    if axes or fixed or "optimizer" in table.attrs or ax.lines[1:]:  # one line alone is named by the axes
        style.legend_right(ax)
    style.describe(ax, _alt_text(table, fixed, ends))
    return ax


def hidden_labels(table: xr.Dataset, **selection: Any) -> dict[str, str]:
    """Which configuration is which letter of `loss_curves(..., hide_labels=True)`.

    Arguments:
        table, selection: as given to `loss_curves`.

    Returns:
        Letter -> configuration in words.

    Example:
        >>> data = {"final_loss": (("beta", "seed"), [[0.5], [0.1]]), "status": (("beta", "seed"), [[0], [0]])}
        >>> sorted(hidden_labels(xr.Dataset(data, {"beta": [0.0, 0.9]})).values())
        ['beta=0', 'beta=0.9']
    """
    table, _ = tables.squeeze(tables.select(tables.check_table(table), selection), selection)
    axes = tables.axis_names(table)
    configs = [dict(zip(axes, values, strict=True)) for values in itertools.product(*(table[a].values for a in axes))]
    return {letter: tables.configuration(configs[i]) for letter, i in _letters(configs).items()}


def _letters(configs: list[dict[str, Any]]) -> dict[str, int]:
    """Letter -> which configuration, in the order of a checksum of its text."""
    order = sorted(range(len(configs)), key=lambda i: zlib.crc32(tables.configuration(configs[i]).encode()))
    return dict(zip(string.ascii_uppercase, order, strict=False))


def _until_it_stopped(table: xr.Dataset) -> xr.Dataset:
    """The table of one trial without what repeats its last entry."""
    if "stopped_at" not in table:
        return table
    entries = int(np.searchsorted(table.step.values, table.stopped_at.item())) + 1
    return table.isel(step=slice(max(1, entries)))


def _ended(table: xr.Dataset) -> str:
    """How a run of `minimize` ended; nothing of a sweep, which names its optimizer."""
    if table.final_loss.size > 1 or "optimizer" in table.attrs or "stopped_at" not in table:
        return ""
    status = Status(int(table.status.item())).name.lower().replace("_", "-")
    return f"{status} after {int(table.stopped_at.item()):,} steps"


def _draw_one(ax: Axes, one: xr.Dataset, label: str, look: style.Style, window: int) -> float:
    """Draw one configuration and return its last median loss: infinite if its median seed failed, NaN if not run."""
    ran = one.status != Status.NOT_RUN
    if not ran.any():
        return np.nan
    # A pruned configuration has no history after the step at which it was pruned.
    loss = one.loss.isel(seed=np.flatnonzero(ran)).astype(float).dropna("step", how="all")
    step = loss.step.values
    low, middle, high = np.nanquantile(loss.transpose("seed", "step").values, [0.25, 0.5, 0.75], axis=0)
    crashed = bool(np.isinf(medians.quartiles(one, "final_loss").middle))
    name = f"{label} (failed)" if crashed else label
    kind: dict[str, Any] = {"color": look.color, "gid": "crashed" if crashed else "median"}
    if window > 1:
        ax.plot(step, middle, color=look.color, alpha=0.3, linewidth=0.7, gid=None if crashed else "raw")
    kind |= {"linestyle": look.linestyle, "marker": look.marker if step.size <= FEW_ENTRIES else None}
    ax.plot(step, _running_mean(middle, window), **kind, markersize=4, linewidth=1.8, label=name)
    if loss.sizes["seed"] > 1 and not crashed:
        low, high = _running_mean(low, window), _running_mean(high, window)
        ax.fill_between(step, low, high, color=look.color, alpha=0.15, linewidth=0)
    if crashed:
        stopped = one.stopped_at.values[tables.failed(one).values] if "stopped_at" in one else step[-1:]
        ax.plot([min(np.median(stopped), step[-1])], [1.0], color=look.color, marker="x", gid="failed")
    return np.inf if crashed else float(_running_mean(middle, window)[-1])


def _hide_failures(ax: Axes) -> None:
    """Remove the marks of failed curves, which the reader is asked to find."""
    for line in ax.lines:
        line.set_label(str(line.get_label()).removesuffix(" (failed)"))
        line.set_visible(line.get_gid() != "failed")


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Centred mean over at most `window` entries, fewer at the ends and where values are missing."""
    if window == 1:
        return values
    known = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    index = np.arange(len(values))
    start, stop = np.maximum(index - window // 2, 0), np.minimum(index + (window + 1) // 2, len(values))
    number = counts[stop] - counts[start]
    return np.where(number > 0, (sums[stop] - sums[start]) / np.maximum(number, 1), np.nan)


def _fit(ax: Axes, table: xr.Dataset) -> None:
    """Limits from the curves that did not fail; a failed one leaves at the top, where its x then is."""
    lines = {
        gid: [line for line in ax.lines if line.get_gid() == gid] for gid in ("median", "raw", "crashed", "failed")
    }
    kept = lines["median"] + lines["raw"] or lines["crashed"]
    if not kept:
        return
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in kept])
    if lines["median"] and "initial_loss" in table:
        values = np.append(values, 1.5 * np.nanmedian(table.initial_loss))
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0:
        ax.set_yscale("log")
        ax.set_ylim(values.min() / 1.2, values.max() * 1.2)
    elif values.size:
        margin = 0.05 * np.ptp(values)
        ax.set_ylim((values.min() - margin, values.max() + margin) if margin else around(values[0]))
    top = ax.transData.inverted().transform(ax.transAxes.transform((0, 0.97)))[1]
    for mark, line in zip(lines["failed"], lines["crashed"], strict=True):
        end = np.asarray(mark.get_xdata(), float)[0]
        step, loss = (np.asarray(data, float) for data in (line.get_xdata(), line.get_ydata()))
        until = (step <= end) & np.isfinite(loss)
        inside, last = np.flatnonzero(until & (loss <= top)), np.flatnonzero(until)[-1]
        place = min(inside[-1] + 1, last) if inside.size else 0  # where it left for good, or else its end
        mark.set_data([step[place]], [min(loss[place], top)])
        mark.set(markersize=9, markeredgewidth=2, clip_on=False)


def _step_label(table: xr.Dataset) -> str:
    """The x axis in steps, with what the last of them is in epochs."""
    if "epoch" not in table.coords:
        return "step"
    ends = table.epoch.isel(step=-1).values
    known = np.unique(ends[np.isfinite(ends)])  # several of batch sizes, none of the full data
    if not known.size:
        return "step"
    epochs = " to ".join(f"{end:.3g}" for end in dict.fromkeys([known[0], known[-1]]))
    return f"step ({int(table.step[-1]):,} steps are {epochs} epochs)"


def _alt_text(table: xr.Dataset, fixed: dict[str, Any], ends: dict[str, float]) -> str:
    """Where each curve ends."""
    words = {np.inf: "most seeds failed"}
    said = [
        f"{label}: " + ("not run" if np.isnan(end) else words.get(end, f"ends at {end:.3g}"))
        for label, end in ends.items()
    ]
    return f"Loss against step for {tables.heading(table, fixed)}. " + "; ".join(said) + "."
