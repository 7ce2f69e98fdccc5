"""The boxes of a proof: where it is proved that there is no critical point, and where exactly one."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from ..proof import AllCriticalPoints
from ..proof._interval import Interval
from . import _style as style
from . import _surfaces as surfaces


class _Look(NamedTuple):
    """How boxes that ended for one reason are drawn: a colour, its share beside that of the axes, and the words."""

    color: str
    share: float
    words: str


REASONS = {
    "gradient": _Look(style.SKY, 0.35, "none, by its range"),
    "mean value": _Look(style.GREEN, 0.45, "none, by the mean value form"),
    "krawczyk": _Look(style.PURPLE, 0.45, "none, by Krawczyk's test"),
    "alone": _Look(style.ORANGE, 0.9, "exactly one"),
    "undecided": _Look(style.VERMILLION, 1.0, "undecided"),
}
KINDS = {"minimum": "o", "saddle": "X", "maximum": "^"}
CUT_OFF = 1e-9  # of the box: a smaller share is rounding
GRID = 121  # points along each axis, for the contours
MOST = 50  # points among which contours can still be seen


def boxes(found: AllCriticalPoints, ax: Axes | None = None, *, name: str = "", contours: bool | None = None) -> Axes:
    """Draw the boxes of a complete search, coloured by why they ended, with the critical points.

    In each box but the undecided ones it is proved that the gradient has no zero, or exactly one. Its range over the
    box excludes zero, or the mean value form of that range does, or Krawczyk's test. That test may also cut a part off
    a box without ending it; such parts have the colour of the test and no outline.

    Arguments:
        found: of `proof.all_critical_points(..., history=True)`, with two parameters.
        ax: where to draw; None makes a figure.
        name: of the loss, for the title.
        contours: whether to draw contour lines of the loss; up to 50 critical points when None.

    Returns:
        The Axes, with alt text (`style.alt_text`).

    Raises:
        TypeError, ValueError: not such a result, not two parameters, no history, or a box without area.

    Example:
        >>> import jaxopt_notes as jon
        >>> loss = lambda x: x[0] ** 3 - 3 * x[0] + x[1] ** 2
        >>> found = jon.proof.all_critical_points(loss, ([-2.0, -1.0], [2.0, 1.0]), history=True)
        >>> boxes(found, name="Cubic").get_title("left")
        'Cubic: 2 critical points, and no other'

    Source: Moore, Kearfott and Cloud, 2009, chapter 8.
    """
    lower, upper, history = _checked(found)
    wide, high = upper - lower
    ax = style.new_axes(ax, size=(7.7, float(np.clip(4.0 * high / wide, 2.2, 4.4)) + 0.9))
    parts = {reason: [(low, high) for why, low, high in history if why == reason] for reason in REASONS}
    left = list(zip(found._known.left.lower, found._known.left.upper, strict=True))
    shares = [np.prod(high - low) / np.prod(upper - lower) for each in (*parts.values(), left) for low, high in each]
    cut_off = bool(1 - sum(shares) > CUT_OFF)
    if cut_off:
        face = _mixed(REASONS["krawczyk"], ax)
        ax.add_patch(Rectangle(tuple(lower), wide, high, facecolor=face, linewidth=0, gid="cut off", zorder=0.5))
    edge = {"edgecolor": rcParams["text.color"], "linewidth": float(np.clip(8 / np.sqrt(len(shares)), 0.15, 0.6))}
    for reason, look in REASONS.items():
        ax.add_collection(_drawn(parts[reason], gid=reason, facecolor=_mixed(look, ax), **edge))
    ax.add_collection(_drawn(left, gid="not examined", facecolor="none", hatch="////", **edge))
    if contours or (contours is None and len(found) <= MOST):
        _contours(found, ax, lower, upper)
    ax.set(xlim=(lower[0], upper[0]), ylim=(lower[1], upper[1]))
    ax.set(**dict(zip(("xlabel", "ylabel"), _names(found), strict=True)))
    ax.locator_params(nbins=6)
    if max(wide, high) <= 2.5 * min(wide, high):
        ax.set_aspect("equal", anchor="W")  # beside it the legend has all the room that is left
    marks = _points(found, ax)
    _legend(ax, found, marks, cut_off)
    _say(ax, found, name)
    return ax


def has_two_parameters(found: AllCriticalPoints) -> bool:
    """Whether its box is a plane."""
    return found._task.lower.size == 2


def _checked(found: Any) -> tuple[np.ndarray, np.ndarray, list[tuple[str, np.ndarray, np.ndarray]]]:
    """The box and what became of its parts."""
    if not isinstance(found, AllCriticalPoints):
        raise TypeError(
            f"found must be of proof.all_critical_points(..., history=True), got {type(found).__name__}; "
            f"find_critical_points(..., complete=True) keeps no boxes"
        )
    lower, upper = found._task.lower.vector, found._task.upper.vector
    if not has_two_parameters(found):
        raise ValueError(f"boxes are drawn for two parameters, got {len(lower)}")
    if found.history is None:
        raise ValueError("found holds no boxes: search again by proof.all_critical_points(..., history=True)")
    if not (upper > lower).all():
        raise ValueError(f"the box must have an area, got {lower.tolist()} to {upper.tolist()}")
    return lower, upper, found.history


def _mixed(look: _Look, ax: Axes) -> tuple[float, float, float]:
    """Its colour over that of the axes, and nothing shines through."""
    background = np.array(to_rgb(ax.get_facecolor()))
    red, green, blue = look.share * np.array(to_rgb(look.color)) + (1 - look.share) * background
    return float(red), float(green), float(blue)


def _drawn(parts: list[tuple[np.ndarray, np.ndarray]], **look: Any) -> PolyCollection:
    corners = [np.array([low, (high[0], low[1]), high, (low[0], high[1])]) for low, high in parts]
    return PolyCollection(corners, zorder=0.6, **look)


def _contours(found: AllCriticalPoints, ax: Axes, lower: np.ndarray, upper: np.ndarray) -> None:
    """Thin lines of equal loss, over the boxes."""
    x, y = (np.linspace(low, high, GRID) for low, high in zip(lower, upper, strict=True))
    with np.errstate(all="ignore"):
        value, _ = found._task.function.value_on(Interval(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)))
        values = (0.5 * value.lower + 0.5 * value.upper).reshape(GRID, GRID)
    finite = values[np.isfinite(values)]
    if finite.size and not surfaces.is_constant(finite, 14):
        scale = "log" if finite.max() - finite.min() > 30 * (np.median(finite) - finite.min()) else "linear"
        look: dict[str, Any] = {"colors": rcParams["text.color"], "linewidths": 0.7, "alpha": 0.3, "zorder": 0.8}
        look["linestyles"] = "solid"  # below zero too, where dashes are the custom
        edges = surfaces.level_edges(finite, 14, scale)
        ax.contour(x, y, np.ma.masked_invalid(values), levels=edges, **look)


def _names(found: AllCriticalPoints) -> list[str]:
    """x and y for a vector of two numbers, else what the parameters are called."""
    leaves = jax.tree_util.tree_leaves_with_path(found.points)
    if len(leaves) == 1:
        start = jax.tree_util.keystr(leaves[0][0], simple=True, separator=".")
        return [f"{start}[{i}]" for i in range(2)] if start else ["x", "y"]
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in leaves]


def _points(found: AllCriticalPoints, ax: Axes) -> list[Line2D]:
    """Markers by kind, and rings around what is undecided, which is too small to be seen."""
    places = found.to_dataset().position.values
    size = float(np.clip(60 / np.sqrt(max(len(found), 1)), 3.5, 7.5))
    look: dict[str, Any] = {"linestyle": "none", "color": "white", "markeredgecolor": "black", "clip_on": False}
    drawn = []
    for kind, marker in KINDS.items():
        at = places[np.array(found.kind, str) == kind]
        if len(at):
            own: dict[str, Any] = {"markersize": size, "markeredgewidth": size / 9, "label": _counted(len(at), kind)}
            drawn += ax.plot(at[:, 0], at[:, 1], marker, **look, **own, gid=kind)
    middles = np.array([sum(found._place(i)) / 2 for i in range(len(jax.tree.leaves(found.undecided[0])[0]))])
    if len(middles):
        ring = look | {"color": REASONS["undecided"].color, "markeredgecolor": REASONS["undecided"].color}
        ring |= {"markerfacecolor": "none", "markeredgewidth": 1.8, "markersize": 15}
        drawn += ax.plot(
            middles[:, 0], middles[:, 1], "o", **ring, label=_counted(len(middles), "undecided place"), gid="place"
        )
    return drawn


def _counted(count: int, word: str) -> str:
    plural = {"minimum": "minima", "maximum": "maxima", "box": "boxes"}.get(word, f"{word}s")
    return f"{count:,} {word if count == 1 else plural}"


def _legend(ax: Axes, found: AllCriticalPoints, marks: list[Line2D], cut_off: bool) -> None:
    """Why boxes ended, with how many, and then the points."""
    look: dict[str, Any] = {"edgecolor": rcParams["text.color"], "linewidth": 0.6}
    patches: list[Artist] = []
    for reason, each in REASONS.items():
        count, more = found.ended[reason], reason == "krawczyk" and cut_off
        if count or more:
            numbers = " and ".join([f"{count:,}"] * bool(count) + ["parts"] * more)
            patches.append(Patch(facecolor=_mixed(each, ax), label=f"{each.words} ({numbers})", **look))
    if found.left:
        patches.append(Patch(facecolor="none", hatch="////", label=f"not examined ({found.left:.1%})", **look))
    style.legend_right(ax, [*patches, *marks])
    legend = ax.get_legend()
    assert legend is not None
    legend.set_title("Zeros of the gradient", prop=FontProperties(size=9))
    legend.set_alignment("left")


def _say(ax: Axes, found: AllCriticalPoints, name: str) -> None:
    """The finding as title and as alternative text."""
    number, places = _counted(len(found), "critical point"), len(jax.tree.leaves(found.undecided[0])[0])
    if found.complete:
        finding = f"{number}, and no other" if len(found) else "no critical point"
    else:
        finding = f"{number} proved, {_counted(places, 'place')} undecided"
        finding += f", {found.left:.1%} of the box not examined" if found.left else ""
    title = f"{name}: {finding}" if name else finding
    total = _counted(found.boxes, "box")
    sums = f"; sum of (−1)ⁱⁿᵈᵉˣ {found.index_sum}" if found.complete else ""
    if sums and found.boundary_index_sum is not None:
        sums += ", as the boundary requires"
    style.set_title(ax, title, f"{total}{sums}")
    kinds = style.names(_counted(count, kind) for kind, count in collections.Counter(found.kind).items())
    ended = ", ".join(f"{look.words} {found.ended[reason]:,}" for reason, look in REASONS.items())
    zeros = f"Zeros of the gradient in boxes that ended: {ended}"
    style.describe(ax, f"{title}{f': {kinds}' if kinds else ''}. {total}. {zeros}.")
