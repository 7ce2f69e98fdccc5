"""Warnings that point at the user's line, however many calls of this package are in between."""

from __future__ import annotations

import sys
import warnings
from typing import Any

PACKAGE = __name__.partition(".")[0]


def warn(message: str) -> None:
    """Warn of the line that called into this package.

    Arguments:
        message: what is wrong, and what to do.
    """
    # Python 3.12 has `skip_file_prefixes` for this; what a comprehension counts for differs between versions too.
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def progress_bar() -> Any:
    """tqdm's class for where this runs; without its warning where a notebook has no ipywidgets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        from tqdm.auto import tqdm
    return tqdm
