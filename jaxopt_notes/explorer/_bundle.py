"""The page's files as one module and one style sheet, which is what a notebook and a saved page take."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "page"
MODULE = (
    "elements",
    "shapes",
    "explorer",
    "colours",
    "state",
    "frames",
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
    "module",
)
LIBRARIES = ("vendor/d3-array.min", "vendor/d3-contour.min")
COMPUTING = ("words", "contours", "python", "engine")
STYLE = ("look", "picture", "controls", "sizes")


def module() -> str:
    """The page in JavaScript.

    Returns:
        The text of its files in order: libraries, what computes, what shows. They share one scope and import nothing.

    Example:
        >>> "class Explorer" in module()
        True
    """
    return _joined((*LIBRARIES, *COMPUTING, *MODULE), "js")


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
