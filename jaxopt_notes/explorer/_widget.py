"""The explorer in a notebook: the same module as on the page, its requests answered by the kernel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .. import _checks
from ..problems import Problem
from ._answer import opening, reply_to
from ._bundle import module, style
from ._scenes import Scenes, catalogue, of_function, of_problem


def explore(
    function: str | Problem | Callable[..., Any] | None = None,
    bounds: Sequence[Any] | None = None,
    *,
    start: Any = None,
) -> Any:
    """Show the explorer in a notebook: drag the start, watch every optimizer, read the verdict.

    The page `jaxopt-notes explore` is the same without a notebook.

    Arguments:
        function: a name of `problems.CATALOGUE`; a `Problem` with facts and 1 or 2 parameters; or your own function of
            a vector of shape (1,) or (2,) that returns a scalar. The narrow canyon when None.
        bounds: for your own function, (low, high) of one variable or ((low, high), (low, high)) of two.
        start: where runs begin at first, shape (n,); only with your own function.

    Returns:
        A widget that shows itself.

    Raises:
        TypeError, ValueError: the function, the bounds or the start do not fit. ModuleNotFoundError: anywidget is
            missing.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> from importlib.util import find_spec
        >>> if find_spec("anywidget"):
        ...     widget = jon.explore(lambda x: jnp.sum(x**2) + jnp.sin(3 * x[0]), bounds=((-2, 2), (-2, 2)))
    """
    scenes = dict(catalogue())
    first = "tilted_canyon"
    if isinstance(function, str):
        first = _checks.choice("function", function, scenes)
    elif isinstance(function, Problem):
        scene = of_problem(function)
        first, scenes = scene.name, {scene.name: scene} | scenes | {scene.name: scene}
    elif function is not None:
        if bounds is None:
            raise ValueError("your own function needs bounds, for example bounds=((-2, 2), (-2, 2))")
        scene = of_function(function, bounds, start)
        first, scenes = scene.name, {scene.name: scene} | scenes | {scene.name: scene}
        return _widget_class()(scenes, first)
    if bounds is not None or start is not None:
        raise ValueError("bounds and start go with your own function; the page moves the start of all others")
    return _widget_class()(scenes, first)


@functools.cache
def _widget_class() -> Any:
    """The class, made when first needed: anywidget takes half a second to import."""
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the explorer in a notebook needs anywidget: pip install 'jaxopt-notes[explorer]'; `jaxopt-notes explore` "
            "opens the same as a page"
        ) from error

    class Explorer(anywidget.AnyWidget):
        """The explorer as a widget; see `jaxopt_notes.explore`."""

        _esm = module()
        _css = style()
        opening = traitlets.Dict().tag(sync=True)
        host = traitlets.Unicode("notebook").tag(sync=True)

        def __init__(self, scenes: Scenes, first: str) -> None:
            super().__init__(opening=opening(scenes, first))
            self._scenes = scenes
            self.on_msg(self._answer)

        def _answer(self, widget: Any, message: Any, buffers: Any) -> None:
            self.send(reply_to(message, self._scenes))

    return Explorer
