"""What no operator of JavaScript does."""

from __future__ import annotations

from pathlib import Path


def runtime() -> str:
    """The text that every compiled function needs before it: it defines `R`.

    Returns:
        JavaScript.

    Example:
        >>> runtime().startswith("//")
        True
    """
    return (Path(__file__).parent / "runtime.js").read_text(encoding="utf-8")
