"""Results as a reader meets them: the answer in the first line, then short lines; in a notebook a table and a curve."""

from __future__ import annotations

import html
import textwrap
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from ._columns import is_key, named_leaves
from ._jaxpr import is_traced

COLUMNS = 100
_VALUES = 6  # numbers of an array that are shown
_LARGE = 1_000_000  # numbers; a larger array is not copied from its device to show some of them
_LABEL = 40  # characters before a colon that still name what follows
_LINES, _POINTS = 32, 240  # of a small curve
_WIDTH, _HEIGHT = 360, 64  # of it, in pixels

Result = TypeVar("Result")


def readable(result: type[Result]) -> type[Result]:
    """Show a result by the words of its `__str__`: wrapped, as its `repr`, and in notebooks as a small table.

    A pytree whose arrays are traced, or replaced by shapes, is shown by its fields: no value is asked for. A method
    `_curve` may return lines of numbers and what they are, which a notebook shows as a small picture.
    """
    words = result.__str__

    def text(self: Any) -> str:
        told = _words(self, words)
        return outline(self) if told is None else wrapped(told)

    def page(self: Any) -> str:
        told = _words(self, words)
        if told is None:
            return f"<pre>{html.escape(outline(self))}</pre>"
        return as_html(told, *(self._curve() if hasattr(self, "_curve") else ()))

    methods = {"__str__": text, "__repr__": text, "_repr_html_": page}
    for name, method in methods.items():
        if name != "_repr_html_" or name not in vars(result):
            setattr(result, name, method)
    return result


def _words(result: Any, words: Any) -> str | None:
    """The words of a result; None for a pytree that holds something else than values."""
    if not isinstance(result, tuple):
        return words(result)
    if not has_values(result):
        return None
    try:
        return words(result)
    except (TypeError, IndexError):  # a tree of the same form, such as the axes for `vmap`
        return None


def has_values(tree: PyTree) -> bool:
    """Whether the numbers of a pytree can be read: nothing in it is traced, deleted or a shape alone."""
    leaves = jax.tree.leaves(tuple(tree) if isinstance(tree, tuple) else tree)
    return bool(leaves) and all(map(_has_value, leaves))


def _has_value(leaf: Any) -> bool:
    if is_traced(leaf):
        return False
    if isinstance(leaf, jax.Array):
        return not leaf.is_deleted() and leaf.is_fully_addressable
    return isinstance(leaf, np.ndarray | np.generic) or not hasattr(leaf, "shape")


def wrapped(text: str) -> str:
    """Every line in at most 100 columns; what does not fit is indented below it."""
    lines = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(line, COLUMNS, subsequent_indent=f"{indent}  ", break_on_hyphens=False) or [""]
    return "\n".join(lines)


def outline(result: Any) -> str:
    """The fields of a named tuple with the dtypes and shapes of their arrays, without their values."""
    fields = zip(result._fields, result, strict=True)
    parts = ", ".join(f"{name}={abbreviated(value, values=False)}" for name, value in fields if value is not None)
    return wrapped(f"{type(result).__name__}({parts})")


def abbreviated(tree: PyTree, *, most: int = 3, values: bool = True) -> str:
    """The arrays of a pytree in a few words: paths, dtypes, shapes, and the first numbers."""
    leaves = named_leaves(tree, "")
    if not leaves:
        return repr(tree) if tree is None or len(repr(tree)) <= _LABEL else type(tree).__name__
    parts = [f"{name} {_array(leaf, values)}".strip() for name, leaf in leaves[:most]]
    if len(leaves) > most:
        numbers = sum(int(np.size(leaf)) for _, leaf in leaves)
        parts.append(f"and {len(leaves) - most} more, {numbers:,} numbers in all")
    return ", ".join(parts)


def _array(leaf: Any, values: bool) -> str:
    if not hasattr(leaf, "dtype"):
        return repr(leaf) if len(repr(leaf)) <= _LABEL else type(leaf).__name__
    named = f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"
    size = int(np.prod(leaf.shape, dtype=int))
    if not values or is_key(leaf) or not size or size > _LARGE or not _has_value(leaf):
        return named
    shown = ", ".join(_number(value) for value in np.asarray(leaf).ravel()[:_VALUES])
    return f"{named} {shown}{', ...' if size > _VALUES else ''}"


def _number(value: Any) -> str:
    return f"{complex(value):.4g}" if np.iscomplexobj(value) else f"{float(value):.4g}"


def as_html(text: str, lines: np.ndarray | None = None, caption: str = "") -> str:
    """The first line in bold, a small curve if there is one, and the other lines as a table."""
    first, *others = text.splitlines()
    picture = "" if lines is None else curve(lines, caption)
    return f"<p><strong>{html.escape(first)}</strong></p>{picture}<table>{''.join(map(_row, others))}</table>"


def _row(line: str) -> str:
    label, colon, rest = line.partition(": ")
    left = "text-align:left"
    if not colon or len(label) > _LABEL:
        return f"<tr><td colspan='2' style='{left}'>{html.escape(line)}</td></tr>"
    label, rest = html.escape(label), html.escape(rest)
    return f"<tr><th scope='row' style='{left}'>{label}</th><td style='{left}'>{rest}</td></tr>"


def curve(lines: np.ndarray, caption: str) -> str:
    """Lines of numbers as a small picture in SVG, in the colour of the text; logarithmic if they span decades.

    Arguments:
        lines: shape (lines, points); what is not finite is left out.
        caption: what is shown, such as "loss by step".
    """
    lines = np.asarray(lines, float)[:_LINES]
    chosen = np.unique(np.linspace(0, lines.shape[1] - 1, min(_POINTS, lines.shape[1])).round().astype(int))
    lines = np.where(np.isfinite(lines), lines, np.nan)[:, chosen]
    known = lines[np.isfinite(lines)]
    if lines.shape[1] < 2 or not known.size:
        return ""
    low, high = float(known.min()), float(known.max())
    log = low > 0 and high > 30 * low
    heights = np.log(lines) if log else lines
    bottom, top = np.nanmin(heights), np.nanmax(heights)
    y = _HEIGHT - 3 - (heights - bottom) / ((top - bottom) or 1) * (_HEIGHT - 6)
    x = 3 + np.arange(lines.shape[1]) / (lines.shape[1] - 1) * (_WIDTH - 6)
    name = html.escape(f"{caption}, from {low:.3g} to {high:.3g}{', logarithmic' if log else ''}", quote=True)
    paths = "".join(f"<path d='{_path(x, one)}'/>" for one in y)
    return (
        f"<figure style='margin:0'><svg role='img' aria-label='{name}' width='{_WIDTH}' height='{_HEIGHT}' fill='none' "
        f"stroke='currentColor' stroke-width='1.5'>{paths}</svg><figcaption>{name}</figcaption></figure>"
    )


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """The path through the points that are known; a gap where one is not."""
    parts, drawing = [], False
    for place, height in zip(x, y, strict=True):
        if np.isfinite(height):
            parts.append(f"{'L' if drawing else 'M'}{place:.1f} {height:.1f}")
        drawing = bool(np.isfinite(height))
    return "".join(parts)
