"""How much of the spread between configurations each hyperparameter explains, as bars."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from ..sweeps import Importance
from . import _style as style
from . import _tables as tables

MOST_BARS = 12
REST = "interactions and noise"


def importance_bars(found: Importance, ax: Axes | None = None) -> Axes:
    """Draw the share of the variance that each hyperparameter explains, the largest on top, with its interval.

    The grey bar is what no single hyperparameter explains: interactions, and the noise of the seeds. Of more than 12
    hyperparameters the 12 largest are drawn.

    Arguments:
        found: as `jon.importance` returns it.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError: not of `importance`. ValueError: of no hyperparameter.

    Example:
        >>> shares, intervals = {"learning_rate": 0.8, "beta": 0.1}, {"learning_rate": (0.7, 0.9), "beta": (0.0, 0.2)}
        >>> ax = importance_bars(Importance(shares, 0.1, "final_loss", "rank", 39, 0, intervals))
        >>> [float(bar.get_width()) for bar in ax.patches]
        [0.8, 0.1, 0.1]
    """
    if not isinstance(found, Importance):
        raise TypeError(f"found must be an Importance, as jon.importance returns it; got {type(found).__name__}")
    if not found.shares:
        raise ValueError("found must be of at least one hyperparameter, got none")
    shown = dict(list(found.shares.items())[:MOST_BARS])
    names = [name.replace("_", " ") for name in shown]
    shares, rows = np.array([*shown.values()]), np.arange(len(shown))
    intervals = np.array([found.intervals[name] for name in shown])
    ax = style.new_axes(ax, size=(7.5, 1.7 + 0.38 * (len(shown) + 1)))
    ax.barh(rows, shares, color=style.BLUE, height=0.62, gid="share")
    ax.barh([len(shown)], [found.rest], color="0.6", height=0.62, gid="rest")
    known = intervals[:, 1] > intervals[:, 0]
    if known.any():
        ends, color = np.abs(intervals - shares[:, None]).T[:, known], mpl.rcParams["text.color"]
        ax.errorbar(shares[known], rows[known], xerr=ends, fmt="none", ecolor=color, elinewidth=1.3, capsize=4)
    for row, (end, share) in enumerate(zip([*intervals[:, 1], found.rest], [*shares, found.rest], strict=True)):
        at: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "fontsize": 9}
        ax.annotate(f"{share:.0%}", (max(end, share), row), **at, gid="value")
    for text in (ax.set_yticks([*rows, len(shown)], [*names, REST]), ax.get_yticklabels())[1]:
        text.set_parse_math(False)
    ax.set(xlim=(0, 1.08), ylim=(len(shown) + 0.6, -0.6))
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_xlabel(f"share of the variance of {tables.label(found.metric)}")
    _finish(ax, found, bool(known.any()))
    return ax


def _finish(ax: Axes, found: Importance, intervals: bool) -> None:
    """Title, legend and alt text: the finding first, then what the marks mean."""
    name, share = next(iter(found.shares.items()))
    finding = f"{name.replace('_', ' ')} explains {share:.0%}" if share else "No hyperparameter explains any"
    notes = [f"{'ranks' if found.scale == 'rank' else 'values'} of {found.configurations} configurations"]
    notes += [f"{found.failed} failed, counted as equally bad"] * bool(found.failed)
    notes += [f"{found.unfinished} trials did not finish"] * bool(found.unfinished)
    notes += [f"{len(found.shares) - MOST_BARS} smaller shares not shown"] * (len(found.shares) > MOST_BARS)
    style.set_title(ax, f"{finding} of the variance", "; ".join(notes))
    entries: list[Any] = [Patch(color=style.BLUE, label="explained by this alone")]
    if intervals:
        look: dict[str, Any] = {"color": mpl.rcParams["text.color"], "marker": "|", "markersize": 7}
        entries.append(Line2D([], [], **look, label="95 % interval"))
    style.legend_below(ax, entries)
    style.describe(ax, ". ".join(str(found).splitlines()) + ".")
