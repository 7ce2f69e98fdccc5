"""`Scene`: a function of one or two variables as the explorer shows it; the catalogue, and a user's own."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .._hoist import Program, hoist
from ..problems import CATALOGUE, Problem
from ._network import network_slice

FARTHEST = 1e6  # of a start or a window, in the units of the function
_COARSE = 41  # points along each axis of the grid by which levels are chosen
_TOO_WIDE = ("lennard_jones", "deep_linear_network")  # more than two parameters, whatever their arguments


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """One function to explore.

    Attributes:
        name: by which requests ask for it.
        loss: `loss(x)` of a vector of shape (1,) or (2,).
        domain: the box to show first, shape (2, n).
        start: where runs begin at first, shape (n,).
        minima: (point, value) of every minimum that is known.
        levels: the spacing of the contours, "linear" or "log" above the lowest in view.
        formula: f in plain text.
        code: lines of Python that bind `loss`.
    """

    name: str
    loss: Callable[[Array], Array]
    domain: Float[np.ndarray, "2 n"]
    start: Float[np.ndarray, " n"]
    minima: tuple[tuple[Float[np.ndarray, " n"], float], ...] = ()
    levels: str = "linear"
    formula: str = ""
    code: str = ""
    _traced: dict[Any, tuple[Program, list[Any]]] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def dimension(self) -> int:
        """1 or 2."""
        return self.domain.shape[1]

    @property
    def traced(self) -> tuple[Program, list[Any]]:
        """The loss as a program and its constants: requests for one scene share their compilations."""
        dtype = jax.dtypes.canonicalize_dtype(float)
        if dtype not in self._traced:
            self._traced[dtype] = hoist(self.loss, jnp.asarray(self.start, dtype))
        return self._traced[dtype]

    def described(self) -> dict[str, Any]:
        """What a page needs to know before it asks for anything, as JSON."""
        return {
            "dimension": self.dimension,
            "title": self.name.replace("_", " "),
            "formula": self.formula,
            "domain": self.domain.tolist(),
            "start": self.start.tolist(),
            "minima": [{"point": point.tolist(), "value": value} for point, value in self.minima],
        }


Scenes = Mapping[str, Scene]


@functools.cache
def catalogue() -> Scenes:
    """Every function of the catalogue with one or two variables, and a slice of a trained network.

    Returns:
        A mapping name -> `Scene`.

    Example:
        >>> scenes = catalogue()
        >>> scenes["himmelblau"].dimension, len(scenes["himmelblau"].minima), scenes["parabola"].dimension
        (2, 4, 1)
    """
    made = {name: factory() for name, factory in CATALOGUE.items() if name not in _TOO_WIDE}
    scenes = {name: of_problem(problem, code=f"loss = jon.problems.{name}().loss") for name, problem in made.items()}
    plane = Scene(
        "network_slice",
        network_slice,
        domain=np.array([[-1.5, -1.5], [1.5, 1.5]]),
        start=np.array([-1.0, 1.0]),
        levels="log",
        formula="loss of a trained tanh network, moved along two random directions",
        code="from jaxopt_notes.explorer._network import network_slice as loss",
    )
    return scenes | {plane.name: plane}


def of_problem(problem: Problem, code: str = "") -> Scene:
    """The scene of a problem that knows its domain."""
    facts = problem.facts
    if facts is None or facts.dimension not in (1, 2):
        raise ValueError(f"the explorer shows problems with facts and 1 or 2 parameters, got {problem!r}")
    _checks.nothing_by_keyword(problem.loss)
    return Scene(
        problem.name,
        problem.loss,
        checked_window("the domain of its facts", facts.domain),
        np.asarray(problem.start(jax.random.key(0))[0], np.float64),
        tuple((np.asarray(known.point, np.float64), known.value) for known in facts.minima),
        facts.levels,
        plain(facts.formula),
        code or f"loss = problem.loss  # your own problem {problem.name}",
    )


def of_function(function: Callable[..., Any], bounds: Sequence[Any], start: Any = None) -> Scene:
    """The scene of a user's function of a vector, inside a box."""
    box = np.atleast_2d(np.asarray(_checks.number("bounds", bounds), np.float64))
    if box.ndim != 2 or box.shape not in ((1, 2), (2, 2)) or not np.all(box[:, 0] < box[:, 1]):
        raise ValueError(
            f"bounds must be (low, high) for a function of one variable, or ((low, high), (low, high)) for one of two, "
            f"each low < high; got {bounds!r}"
        )
    checked_window("bounds", box.T)
    middle = box.mean(axis=1) + np.array([-0.3, 0.25])[: len(box)] * (box[:, 1] - box[:, 0])
    begin = middle if start is None else np.asarray(_checks.number("start", start), np.float64).reshape(-1)
    if begin.shape != (len(box),):
        raise ValueError(f"start must have shape ({len(box)},), one number per bound, got {start!r}")
    if np.abs(begin).max() > FARTHEST:
        raise ValueError(f"start must lie within +-{FARTHEST:g} of 0, got {start!r}")
    if not callable(function):
        raise TypeError(f"function must be a function of a vector of shape ({len(box)},), got {function!r}")
    try:
        if len(box) == 1:
            # JAX moves an index that is out of range into the array, and numpy raises; only that counts here.
            with contextlib.suppress(TypeError, AttributeError):
                function(begin)
        _checks.scalar_loss(function, jnp.asarray(begin, float))
    except (ValueError, IndexError) as error:
        if len(box) == 1:
            raise ValueError(
                f"bounds={bounds!r} are of one variable, and the function fails on a vector of length 1: {error}; "
                "a function of two variables needs ((low, high), (low, high))"
            ) from error
        raise
    name = re.sub(r"\W+", "_", _checks.name_of(function)).strip("_") or "function"
    called = "f" if name == "lambda" else name
    code = f"loss = {called}  # your own function of a vector of shape ({len(box)},)"
    scene = Scene(called, function, box.T, begin, formula="your own function", code=code)
    return dataclasses.replace(scene, levels=levels_of(scene)) if scene.dimension == 2 else scene


def levels_of(scene: Scene) -> str:
    """The spacing of contours that shows a function: "log" where most of its box is low beside the highest value.

    Evenly spaced levels then leave all of the floor in one band, as in a valley between steep walls. The rule gives the
    spacing that was chosen by eye for every function of the catalogue.

    Arguments:
        scene: a function and its domain.

    Returns:
        "log" if the mean height above the lowest value is less than a fifth of the highest, on a grid of the domain;
        else "linear". Points where it is not finite are left out.

    Example:
        >>> levels_of(catalogue()["rosenbrock"]), levels_of(catalogue()["rastrigin"])
        ('log', 'linear')
    """
    program, constants = scene.traced
    axes = [np.linspace(low, high, _COARSE) for low, high in scene.domain.T]
    points = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, scene.dimension)
    # One after another, as not every function can be batched.
    values = np.asarray(jax.lax.map(lambda x: program(constants, x), jnp.asarray(points, float)), float)
    heights = values[np.isfinite(values)]
    heights = heights - heights.min(initial=np.inf)
    return "log" if heights.size and heights.mean() < heights.max() / 5 else "linear"


def checked_window(name: str, window: Float[np.ndarray, "2 n"]) -> Float[np.ndarray, "2 n"]:
    """Return a window that can be shown: from a lower to an upper corner, not too far from zero, its ends apart."""
    if np.abs(window).max() > FARTHEST:
        raise ValueError(
            f"{name} must lie within +-{FARTHEST:g} of 0, got {window.tolist()}; measure the variable in larger units"
        )
    width = window[1] - window[0]
    # Closer than that neighbours on the grid would be one number in float32.
    if not np.all(width > 1e-4 * np.maximum(np.abs(window).max(axis=0), 1e-3)):
        raise ValueError(f"{name} must be from a lower to an upper corner, not too near to it; got {window.tolist()}")
    return window


_PLAIN = {
    r"\frac{1}{2}": "½",
    r"\kappa": "κ",
    r"\lambda": "λ",
    r"\pi": "π",
    r"\sum": "Σ",
    r"\cos": "cos",
    r"\exp": "exp",
    r"\tanh": "tanh",
    r"\sqrt": "√",
    r"\cdot": "·",
    r"\mathrm": "",
    r"\left": "",
    r"\right": "",
    r"\,": " ",
    r"\ ": " ",
}
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_LOWERED = str.maketrans("0123456789ijknx", "₀₁₂₃₄₅₆₇₈₉ᵢⱼₖₙₓ")


def plain(formula: str) -> str:
    """Mathtext as plain text, near enough to read.

    Example:
        >>> plain(r"$\\frac{1}{2} (u^2 + \\kappa v^2)$")
        '½ (u² + κ v²)'
    """
    text = formula.replace("$", "")
    for command, sign in _PLAIN.items():
        text = text.replace(command, sign)
    text = re.sub(r"\^\{?(\d+)\}?", lambda found: found[1].translate(_RAISED), text)
    text = re.sub(r"_\{(\w)\s*\+\s*1\}", lambda found: found[1].translate(_LOWERED) + "₊₁", text)
    text = re.sub(r"_\{?([\dijknx])\}?", lambda found: found[1].translate(_LOWERED), text)
    return re.sub(r"[\\{}]", "", text)
