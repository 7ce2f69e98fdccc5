"""Comparisons on many problems: which methods pass which tasks, and performance profiles."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from .. import _checks
from . import _style as style

_LINES = 8  # curves that a reader can follow


def passes(table: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw which methods pass which tasks: each cell has the trials of random search after which one has passed.

    Colour and number are the trials for a chance of a half; an empty cell is a task that no configuration of the method
    passes. Methods with more tasks passed stand further left. Lines part the groups of tasks.

    Arguments:
        table: from `race.run_battery`: `passes` and `trials_half` over `task` and `optimizer`, and `group` over `task`.
        ax: where to draw; None makes a figure whose height is that of the list of tasks.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not such a Dataset.

    Example:
        >>> cells = ("task", "optimizer")
        >>> data = {"passes": (cells, [[0, 5], [9, 1]]), "trials_half": (cells, [[np.inf, 2.0], [1.0, 6.0]])}
        >>> data["group"] = ("task", ["noise", "noise"])
        >>> ax = passes(xr.Dataset(data, {"task": ["outliers", "false_signs"], "optimizer": ["lion", "adam"]}))
        >>> [text.get_text() for text in ax.get_xticklabels()]
        ['adam 2', 'lion 1']
    """
    if not isinstance(table, xr.Dataset):
        raise TypeError(f"table must be an xarray.Dataset, got {type(table).__name__}")
    for name in ("passes", "trials_half", "group"):
        _checks.choice("variable", name, map(str, table.data_vars))
    solved = (table["passes"] > 0).sum("task").values
    order = np.argsort(-solved, kind="stable")
    table, solved = table.isel(optimizer=order), solved[order]
    trials = table["trials_half"].transpose("task", "optimizer").values.astype(float)
    rows, columns = trials.shape
    ax = style.new_axes(ax, size=(3.6 + 0.42 * columns, 1.8 + 0.2 * rows))
    colors = mpl.colormaps["viridis_r"]  # light is good
    norm = LogNorm(1, max(10.0, float(np.max(trials, where=np.isfinite(trials), initial=1.0))))
    shown = np.ma.masked_invalid(trials)
    mesh = ax.pcolormesh(shown, cmap=colors, norm=norm, edgecolors="white", linewidth=0.6, gid="cells")
    for row, column in zip(*np.nonzero(np.isfinite(trials)), strict=True):
        dark = sum(colors(norm(trials[row, column]))[:3]) < 1.5
        text = f"{trials[row, column]:.0f}"
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    names = [f"{name} {count}" for name, count in zip(table["optimizer"].values, solved, strict=True)]
    ax.set_xticks(np.arange(columns) + 0.5, names, rotation=60, ha="right", rotation_mode="anchor")
    ax.set_yticks(np.arange(rows) + 0.5, [str(name).replace("_", " ") for name in table["task"].values])
    ax.tick_params(length=0, labelsize=8)
    ax.set(xlim=(0, columns), ylim=(rows, 0))
    _part(ax, list(map(str, table["group"].values)))
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.13, shrink=0.5, aspect=30)
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.set_label("trials until a pass has a chance of a half", fontsize=9)
    attempts = int(table["trials"].max()) if "trials" in table else 0
    told = f"{attempts:,} random trials each; " if attempts else ""
    style.set_title(ax, "Which methods pass which tasks", f"{told}beside each name the tasks passed, of {rows}")
    style.describe(ax, f"A matrix of {rows} tasks and {columns} methods. Tasks passed: {', '.join(names)}.")
    return ax


def _part(ax: Axes, groups: list[str]) -> None:
    """A line between groups of tasks, and the name of each at the right."""
    first = 0
    for row in range(1, len(groups) + 1):
        if row == len(groups) or groups[row] != groups[first]:
            ax.annotate(
                groups[first],
                (1.01, (first + row) / 2),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
                alpha=0.7,
            )
            if row < len(groups):
                ax.axhline(row, color="0.4", linewidth=0.8)
            first = row


def profile(table: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Draw performance profiles: for every method the share of problems within a factor of the fastest.

    Of more than eight methods the eight with the largest area are drawn.

    Arguments:
        table: from `race.performance_profile`.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not such a Dataset.

    Example:
        >>> share = (("optimizer", "factor"), [[0.5, 1.0], [0.5, 0.5]])
        >>> data = {"share": share, "area": ("optimizer", [0.8, 0.5])}
        >>> ax = profile(xr.Dataset(data, {"optimizer": ["adam", "lion"], "factor": [1.0, 3.0]}))
        >>> [line.get_label() for line in ax.get_lines()]
        ['adam', 'lion']
    """
    if not isinstance(table, xr.Dataset):
        raise TypeError(f"table must be an xarray.Dataset, got {type(table).__name__}")
    for name in ("share", "area"):
        _checks.choice("variable", name, map(str, table.data_vars))
    order = np.argsort(-table["area"].values, kind="stable")[:_LINES]
    chosen = table.isel(optimizer=order)
    factors = chosen["factor"].values.astype(float)
    # The last share holds for all larger factors.
    end = max(2.0, factors[-1] * 1.5)
    ax = style.new_axes(ax)
    for name in chosen["optimizer"].values:
        share = chosen["share"].sel(optimizer=name).values
        look = style.style_of(str(name))
        ax.step(
            np.append(factors, end),
            np.append(share, share[-1]),
            where="post",
            color=look.color,
            linestyle=look.linestyle,
            linewidth=1.6,
            marker=look.marker,
            markersize=4,
            markevery=max(1, len(factors) // 8),
            label=str(name),
        )
    ax.set(
        xscale="log",
        xlim=(1, end),
        ylim=(0, 1.02),
        xlabel="factor of the fastest method's time",
        ylabel="share of problems",
    )
    style.legend_right(ax)
    problems = f"{table.attrs['problems']} problems" if "problems" in table.attrs else ""
    left_out = table.sizes["optimizer"] - len(order)
    rest = f"{left_out} methods with smaller areas left out" if left_out else ""
    style.set_title(ax, "Performance profiles", "; ".join(filter(None, [problems, rest])))
    ends = ", ".join(
        f"{name} {float(chosen['share'].sel(optimizer=name)[-1]):.0%}" for name in chosen["optimizer"].values
    )
    style.describe(ax, f"Steps that rise with the factor, up to the share of problems solved: {ends}.")
    return ax
