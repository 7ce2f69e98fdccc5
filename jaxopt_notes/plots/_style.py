"""How figures look: one colour, dash and marker per optimizer, axes without pyplot, legends off the data, alt text."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterable, Sequence
from typing import IO, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from .. import _checks
from ..optimizers import RULES
from ..optimizers._facts import BLACK as BLACK
from ..optimizers._facts import BLUE as BLUE
from ..optimizers._facts import GREEN as GREEN
from ..optimizers._facts import ORANGE as ORANGE
from ..optimizers._facts import PURPLE as PURPLE
from ..optimizers._facts import SKY as SKY
from ..optimizers._facts import VERMILLION as VERMILLION


class Style(NamedTuple):
    """How one line is drawn: its colour, its dash pattern and its marker."""

    color: str
    linestyle: str
    marker: str


# Colours repeat, so relatives share a hue and differ in dash and marker. The second part is of optax's methods.
STYLES: dict[str, Style] = {name: Style(*rule.look) for name, rule in RULES.items()} | {
    "adamax": Style(ORANGE, "-.", "<"),
    "nadam": Style(VERMILLION, "--", ">"),
    "amsgrad": Style(VERMILLION, ":", "h"),
    "lbfgs": Style(BLACK, "--", "8"),
    # Variants that the lectures compare and that are no factories of their own.
    "averaged_momentum": Style(ORANGE, ":", "v"),
    "damped_newton": Style(GREEN, "-.", "X"),
}

_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "D", "^", "v", "P", "p", "d")


def style_of(optimizer: str) -> Style:
    """The style of an optimizer, the same in every figure and every process.

    Arguments:
        optimizer: a name, such as "adam". A name without a style of its own gets a dotted one chosen by its letters.

    Returns:
        Style(color, linestyle, marker).

    Example:
        >>> style_of("momentum").color
        '#0072B2'
    """
    if optimizer in STYLES:
        return STYLES[optimizer]
    colors = (BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE)
    code = zlib.crc32(optimizer.encode())
    return Style(colors[code % len(colors)], ":", _MARKERS[code // len(colors) % len(_MARKERS)])


def style_alone(optimizer: str) -> Style:
    """The style of a line that is alone in its figure: that of the optimizer, or a solid line for any other name.

    Arguments:
        optimizer: a name, such as "adam"; empty where the table names none.

    Returns:
        Style(color, linestyle, marker).

    Example:
        >>> style_alone("").linestyle, style_alone("adam") == style_of("adam")
        ('-', True)
    """
    return STYLES.get(optimizer, Style(BLUE, "-", "o"))


def ordered_styles(count: int) -> list[Style]:
    """Styles for the values of a numeric axis: colours in order from dark to light, each with its own dash and marker.

    Arguments:
        count: how many lines, at least 1.

    Returns:
        A list of `count` styles.

    Example:
        >>> [style.linestyle for style in ordered_styles(3)]
        ['-', '--', '-.']
    """
    colors = mpl.colormaps["viridis"](np.linspace(0.0, 0.8, count))
    return [
        Style(mpl.colors.to_hex(color), _DASHES[i % len(_DASHES)], _MARKERS[i % len(_MARKERS)])
        for i, color in enumerate(colors)
    ]


def distinct_styles(count: int) -> list[Style]:
    """Styles for kinds without an order: colours that colour-blind readers distinguish, each with its dash and marker.

    Arguments:
        count: how many lines, at least 1; from the eighth on colours repeat with another dash and marker.

    Returns:
        A list of `count` styles.

    Example:
        >>> [style.color for style in distinct_styles(2)]
        ['#0072B2', '#D55E00']
    """
    colors = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
    return [Style(colors[i % 7], _DASHES[(i % 7 + i // 7) % 4], _MARKERS[i % len(_MARKERS)]) for i in range(count)]


def new_axes(ax: Axes | None = None, *, size: tuple[float, float] = (7.5, 4.2)) -> Axes:
    """Return `ax`, or the Axes of a new figure that pyplot does not know, so nothing stays open.

    Arguments:
        ax: where to draw; None makes a figure.
        size: (width, height) of a new figure, in inches.

    Returns:
        Axes; its figure is `axes.figure`.

    Example:
        >>> new_axes().figure.get_size_inches().tolist()
        [7.5, 4.2]
    """
    if ax is None:
        ax = Figure(figsize=size, layout="constrained").add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)
    return ax


def panels(rows: int, columns: int, *, size: tuple[float, float] = (5.0, 3.6)) -> tuple[Figure, list[Axes]]:
    """A new figure of several Axes that pyplot does not know, so nothing stays open.

    Arguments:
        rows: of panels.
        columns: of panels.
        size: (width, height) of each panel, in inches.

    Returns:
        The figure, and its Axes row by row.

    Example:
        >>> figure, axes = panels(2, 2)
        >>> len(axes)
        4
    """
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return figure, [new_axes(ax) for ax in figure.subplots(rows, columns, squeeze=False).flat]


def write_png(figure: Figure, path: str | os.PathLike[str] | IO[bytes], *, dpi: int = 90, colors: int = 128) -> None:
    """Write a small PNG, for pages and notebooks: a palette of the colors it uses most, and no date.

    Arguments:
        figure: any figure.
        path: the file to write, or one that is open.
        dpi: pixels per inch.
        colors: in the palette, 2 to 256.

    Returns:
        None.

    Example:
        >>> import tempfile
        >>> write_png(panels(1, 1)[0], f"{tempfile.mkdtemp()}/empty.png")
    """
    from PIL import Image

    whole = io.BytesIO()
    figure.savefig(whole, dpi=dpi, format="png", facecolor="white")
    count = _checks.count("colors", colors, low=2, high=256)
    # The median cut would give thin lines the colours of their neighbours, so that one method is two colours.
    palette = Image.open(whole).convert("RGB").quantize(count, method=Image.Quantize.MAXCOVERAGE)
    palette.save(path, format="png", optimize=True)


def legend_right(ax: Axes, handles: Sequence[Artist] = ()) -> None:
    """Put the legend to the right of the axes, where it covers no data.

    Arguments:
        ax: its labelled artists make the entries; without any there is no legend.
        handles: the entries to show instead, in order.

    Example:
        >>> ax = new_axes()
        >>> _ = ax.plot([1, 2], label="a")
        >>> legend_right(ax)
        >>> ax.get_legend().get_texts()[0].get_text()
        'a'
    """
    handles = handles or ax.get_legend_handles_labels()[0]
    if handles:
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
        legend = ax.legend(handles=handles, **place, frameon=False, fontsize=8.5, handlelength=3.0)
        for text in legend.get_texts():
            text.set_parse_math(False)


def legend_below(ax: Axes, handles: Sequence[Artist] = (), *, title: str = "", math: bool = False) -> None:
    """Put the legend under the label of the x axis, where it covers no data, in as many columns as there is room for.

    Arguments:
        ax: its labelled artists make the entries; without any there is no legend.
        handles: the entries to show instead, in order.
        title: of the legend.
        math: whether the entries are mathtext; names with $ stay as they are without it.

    Returns:
        None.

    Example:
        >>> ax = new_axes()
        >>> _ = ax.plot([1, 2], label="a")
        >>> legend_below(ax)
        >>> ax.get_legend().get_texts()[0].get_text()
        'a'
    """
    handles = handles or ax.get_legend_handles_labels()[0]
    if not handles:
        return
    figure: Any = ax.get_figure(root=True)
    spec = ax.get_subplotspec()
    points = 62 * figure.get_size_inches()[0] / (spec.get_gridspec().ncols if spec else 1)  # without the tick labels
    widest = 38 + 4.6 * max(len(str(handle.get_label())) for handle in handles)
    rows = -(-len(handles) // max(1, int(points / widest)))
    below = ax.transAxes + ScaledTranslation(0, -(38 if ax.get_xlabel() else 24) / 72, figure.dpi_scale_trans)
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": below}
    look: dict[str, Any] = {"frameon": False, "fontsize": 8.5, "title_fontsize": 8.5, "columnspacing": 1.5}
    look |= {"title": title or None, "alignment": "left", "borderaxespad": 0.0, "ncols": -(-len(handles) // rows)}
    for text in ax.legend(handles=handles, **place, **look).get_texts():
        text.set_parse_math(math)


def set_title(ax: Axes, title: str, subtitle: str = "") -> None:
    """Write a bold title and a small subtitle above the axes, from the left; names with $ stay as they are.

    Arguments:
        ax: the axes.
        title: what is shown.
        subtitle: what the marks mean, for example "median and quartiles of 8 seeds".

    Returns:
        None.

    Example:
        >>> ax = new_axes()
        >>> set_title(ax, "adam on digits", "8 seeds")
        >>> ax.get_title("left")
        'adam on digits'
    """
    text = ax.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=20 if subtitle else 6)
    text.set_parse_math(False)
    for old in [old for old in ax.texts if old.get_gid() == "subtitle"]:
        old.remove()
    if subtitle:
        ax.annotate(
            subtitle,
            (0, 1),
            xytext=(0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=9,
            alpha=0.7,  # of the colour of text, light or dark
            gid="subtitle",
            parse_math=False,
        )


def beside(ax: Axes) -> Axes:
    """Axes for a colour bar to the right of `ax`, as high as these are whatever their aspect.

    Arguments:
        ax: the axes that the colours are in.

    Returns:
        Axes, to be passed as `cax`.

    Example:
        >>> beside(new_axes()).get_label()
        '<colorbar>'
    """
    return ax.inset_axes((1.03, 0.0, 0.045, 1.0), label="<colorbar>")


def describe(ax: Axes, text: str) -> None:
    """Attach alternative text to the axes, for readers who cannot see the figure.

    Arguments:
        ax: the axes. The text is kept as its label, which matplotlib stores and never draws.
        text: one or two sentences with the finding and its numbers.

    Returns:
        None; `alt_text` reads it.

    Example:
        >>> ax = new_axes()
        >>> describe(ax, "A line that rises.")
        >>> alt_text(ax)
        'A line that rises.'
    """
    ax.set_label(text)


def alt_text(ax: Axes) -> str:
    """The alternative text of the axes; without one, its title and axis labels.

    Arguments:
        ax: the axes.

    Returns:
        A sentence or two.

    Example:
        >>> ax = new_axes()
        >>> _ = ax.set(xlabel="step", ylabel="loss")
        >>> alt_text(ax)
        'loss against step'
    """
    title = ax.get_title("left") or ax.get_title()
    axes = f"{ax.get_ylabel()} against {ax.get_xlabel()}"
    return str(ax.get_label()) or (f"{title}: {axes}" if title else axes)


def names(values: Iterable[str], *, last: str = "and") -> str:
    """Join words as English does: "a", "a and b", "a, b and c".

    Arguments:
        values: the words.
        last: the word before the last one.

    Returns:
        One string.

    Example:
        >>> names(["a", "b", "c"])
        'a, b and c'
    """
    words: Sequence[str] = list(values)
    return f" {last} ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
