"""The page's files as one module and one style sheet, which is what a notebook, a server and a saved page take."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "page"
MODULE = (
    "elements",
    "shapes",
    "explorer",
    "colours",
    "state",
    "requests",
    "levels",
    "terrain",
    "paths",
    "curves",
    "player",
    "formula",
    "verdicts",
    "layout",
    "controls",
    "moving",
    "shaders",
    "surface",
    "lesson",
    "taking",
    "saving",
    "vendor/d3-array.min",
    "vendor/d3-contour.min",
    "programs",
    "words",
    "contours",
    "python",
    "engine",
    "module",
)
STYLE = ("look", "picture", "controls", "sizes")


def module() -> str:
    """The explorer as one JavaScript module in anywidget's form: `export default {render}`.

    Returns:
        The text of its files in order. They share one scope and import nothing.

    Example:
        >>> module().count("export default")
        1
    """
    return _joined(MODULE, "js")


def style() -> str:
    """The explorer's style sheet.

    Returns:
        The text of its files in order.

    Example:
        >>> style().startswith(".explorer")
        True
    """
    return _joined(STYLE, "css")


def _joined(names: tuple[str, ...], suffix: str) -> str:
    return "\n".join((_FOLDER / f"{name}.{suffix}").read_text(encoding="utf-8") for name in names)
