"""`explore`: the page of a function, in a notebook or as a file."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import _checks
from .._files import write_whole
from ..problems import Problem
from ._page import page
from ._presets import PRESETS, fragment
from ._scenes import Scenes, catalogue, of_function, of_problem


class Explorer:
    """A page that computes in the browser; a notebook shows it, `save` writes it.

    It is complete in itself: it works in an exported notebook, in a book and from a disk, without Python and without a
    network.
    """

    def __init__(self, scenes: Scenes, first: str, fragment: str = "") -> None:
        self._scenes, self._first, self._fragment = scenes, first, fragment

    def begin_with(self, fragment: str) -> None:
        """Begin with the picture of a link: what follows # in it."""
        self._fragment = fragment

    def html(self) -> str:
        """The page.

        Returns:
            One file of HTML.

        Raises:
            NotImplementedError: the function has an operation without a rule in JavaScript; it is named.
        """
        return page(self._scenes, self._first, self._fragment)

    def save(self, path: str | Path) -> Path:
        """Write the page into one file that any browser opens.

        Arguments:
            path: of the file; one that exists is replaced, and folders are made.

        Returns:
            The path.

        Raises:
            NotImplementedError: the function has an operation without a rule in JavaScript; it is named. OSError: the
                file cannot be written.

        Example:
            >>> import pathlib, tempfile
            >>> import jaxopt_notes as jon
            >>> folder = pathlib.Path(tempfile.mkdtemp())
            >>> file = jon.explore("bowl").save(folder / "bowl.html")
            >>> file.stat().st_size < 1_500_000
            True
        """
        text = self.html()
        return write_whole(Path(path), lambda file: file.write_text(text, encoding="utf-8"))

    def _repr_html_(self) -> str:
        """The page in a frame, for a notebook."""
        inner = html.escape(page(self._scenes, self._first, self._fragment, framed=True), quote=True)
        title = html.escape(f"Explorer of {self._first}")
        # Of ASCII alone, as a host that reads it in another encoding would change the script, which its policy refuses.
        inner = inner.encode("ascii", "xmlcharrefreplace").decode()
        return (
            f'<iframe title="{title}" srcdoc="{inner}" sandbox="allow-scripts allow-downloads" '
            'allow="clipboard-write; fullscreen" loading="lazy" width="100%" height="840" style="border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"Explorer of {self._first}: shown by a notebook; .save('explorer.html') writes it as one file"


def explore(
    function: str | Problem | Callable[..., Any] | None = None,
    bounds: Sequence[Any] | None = None,
    *,
    start: Any = None,
    demonstration: str | None = None,
) -> Explorer:
    """Explore a function of one or two variables: drag the start, watch every optimizer, read the verdict.

    The function, its derivatives, the optimizers and the verdicts are compiled from JAX to JavaScript, so the page
    needs no kernel: it still works in an exported notebook, and `.save("valley.html")` writes one file.
    The picture of a function of two variables is the smallest window of shape 4:3 that holds the bounds and a margin of
    3 %. Its scales are equal, so that a gradient is orthogonal to its contour. For one variable it shows the bounds.

    Arguments:
        function: a name of `problems.CATALOGUE`; a `Problem` with facts and 1 or 2 parameters; or your own function of
            a vector of shape (1,) or (2,) that returns a scalar. The whole catalogue when None.
        bounds: for your own function, (low, high) of one variable or ((low, high), (low, high)) of two.
        start: where runs begin at first, shape (n,); only with your own function.
        demonstration: one of the page's list, such as "zig-zag": begin with its lesson. It names its function.

    Returns:
        An `Explorer`, which a notebook shows.

    Raises:
        TypeError, ValueError: the function, the bounds or the start do not fit.
        NotImplementedError: when it is shown or saved, and the function has an operation without a rule in JavaScript.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> shown = jon.explore(lambda x: jnp.sum(x**2) + jnp.sin(3 * x[0]), bounds=((-2, 2), (-2, 2)))
        >>> "<iframe" in shown._repr_html_()
        True
    """
    if demonstration is not None:
        if not (function is None and bounds is None and start is None):
            raise ValueError("a demonstration names its function, bounds and start: give it alone")
        state = fragment(demonstration)
        name = next(preset["function"] for preset in PRESETS if preset["title"] == demonstration)
        return Explorer({name: catalogue()[name]}, name, state)
    if function is not None and not isinstance(function, (str, Problem)):
        if bounds is None:
            raise ValueError("your own function needs bounds, for example bounds=((-2, 2), (-2, 2))")
        scene = of_function(function, bounds, start)
        return Explorer({scene.name: scene}, scene.name)
    if bounds is not None or start is not None:
        raise ValueError("bounds and start go with your own function; the page moves the start of all others")
    if isinstance(function, Problem):
        scene = of_problem(function)
        return Explorer({scene.name: scene}, scene.name)
    if function is None:
        return Explorer(catalogue(), "tilted_canyon")
    name = _checks.choice("function", function, catalogue())
    return Explorer({name: catalogue()[name]}, name)
