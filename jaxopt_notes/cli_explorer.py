"""The command `explore`: the page of a function, as a file that a browser opens."""

from __future__ import annotations

import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from . import _checks
from .cli_sweeps import member_of, no_exit


def explore(
    function: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[FUNCTION]")] = "",
    bounds: tuple[float, ...] = (),
    start: tuple[float, ...] = (),
    demonstration: str = "",
    link: str = "",
    save: Path | None = None,
    browser: bool = True,
) -> int:
    """Open the explorer: a page on which to drag the start and watch every optimizer. It is one file, without a server.

    For example: jaxopt-notes explore himmelblau, or jaxopt-notes explore file.py:f --bounds -2 2 -2 2 --save f.html

    Args:
        function: what to begin with, a name of the catalogue such as himmelblau; or your own alone: file.py:name, a
            function of a vector of one or two numbers, or a Problem.
        bounds: of your own function, the lower and the upper bound of every variable, one after the other.
        start: where runs of your own function begin at first.
        demonstration: begin with one of the demonstrations of the page's list, such as zig-zag.
        link: a link that the page copied, or the part of it after #: begin with that picture.
        save: the file to write; a temporary one, which a browser shows, by default.
        browser: open the page in a browser, if it is not saved.
    """
    from .explorer._presets import fragment as fragment_of

    if demonstration and link:
        raise ValueError(f"give --demonstration or --link, not both, got {demonstration!r} and {link!r}")
    fragment = fragment_of(demonstration) if demonstration else link.rpartition("#")[2]
    if fragment and function:
        raise ValueError(f"a demonstration or a link names its function; leave out {function!r}")
    print("writing the page ...", file=sys.stderr, flush=True)
    shown = _explorer(function, bounds, start)
    shown.begin_with(fragment)
    with no_exit(function or "the catalogue"):
        path = shown.save(save or Path(tempfile.mkdtemp(prefix="jaxopt-notes-")) / "explorer.html")
    print(f"explorer in {path}, {path.stat().st_size / 1000:.0f} kB")
    if save is None and browser:
        webbrowser.open(path.resolve().as_uri())
    return 0


def _explorer(function: str, bounds: tuple[float, ...], start: tuple[float, ...]) -> Any:
    from .explorer import explore as made_of
    from .explorer._explore import Explorer
    from .explorer._scenes import catalogue

    if ":" not in function:
        if bounds or start:
            raise ValueError("--bounds and --start go with your own function, file.py:name")
        return Explorer(catalogue(), _checks.choice("function", function or "tilted_canyon", catalogue()))
    if len(bounds) not in (2, 4) and bounds:
        raise ValueError(f"--bounds takes two numbers for each of one or two variables, got {len(bounds)}")
    member = member_of(function)
    if member is None:
        raise ValueError(f"{function} is not there: the file has nothing of that name")
    box = np.reshape(bounds, (-1, 2)).tolist() if bounds else None
    return made_of(member, box, start=list(start) or None)
