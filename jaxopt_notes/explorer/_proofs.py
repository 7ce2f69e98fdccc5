"""What is proved of a picture at rest: all critical points in the window."""

from __future__ import annotations

import functools
import threading
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from ..proof import AllCriticalPoints, Certificate, all_critical_points
from ..proof._function import Function, traced
from ..proof._point import Point
from ..proof._prove import certified
from ..proof._symbols import TooLong
from ._scenes import Scene

_LONGEST = 500  # operations of a function: its proofs take milliseconds; those of the catalogue have up to 61
CLOSE = 0.01  # of the width of the domain: how far the critical point may be from the one judged
_BOXES, _SECONDS = 20_000, 1.0
_LOCK = threading.Lock()  # two pages may ask at once, and what is traced is shared


class Proved(NamedTuple):
    """The proof for one point.

    Attributes:
        proved: whether there is exactly one critical point, of known index, close to the point.
        sentence: that, or why not, in one line.
        certificate: all that is proved, in words.
    """

    proved: bool
    sentence: str
    certificate: str


class Known(NamedTuple):
    """The critical points in a window that are proved.

    Attributes:
        points: shape (points, n).
        kinds: "minimum", "maximum" or "saddle", of each.
        values: of the function there.
        complete: whether it is proved that there is no other.
        summary: how many, and whether it is proved that there is no other, in one line.
    """

    points: Float[np.ndarray, "points n"]
    kinds: list[str]
    values: Float[np.ndarray, " points"]
    complete: bool
    summary: str


def prove_points(scene: Scene, points: Float[np.ndarray, "points n"]) -> list[Proved]:
    """Prove that close to each point there is exactly one critical point, and its kind.

    Arguments:
        scene: the function, which is traced once.
        points: shape (points, n).

    Returns:
        A `Proved` for each point.

    Example:
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> prove_points(catalogue()["parabola"], np.zeros((1, 1)))[0].proved
        True
    """
    with _LOCK, np.errstate(all="ignore"):
        function = _function(scene)
        if isinstance(function, str):
            return [Proved(False, f"not proved: {function}", "")] * len(points)
        within = CLOSE * float(np.max(scene.domain[1] - scene.domain[0]))
        certificates = [certified(function, Point("point", x), within) for x in np.asarray(points, np.float64)]
    return [Proved(bool(one), sentence_of(one), str(one)) for one in certificates]


def prove_window(scene: Scene, window: Float[np.ndarray, "2 n"]) -> Known:
    """Prove all critical points of a function in a window; the answer is kept.

    Arguments:
        scene: the function.
        window: lower and upper corner, shape (2, n).

    Returns:
        A `Known`; without points and with the reason where a proof would take too long.

    Example:
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> double_well = catalogue()["double_well"]
        >>> prove_window(double_well, double_well.domain).summary
        'Proved of this picture: 2 minima, 1 maximum, and no other critical point'
    """
    with _LOCK, np.errstate(all="ignore"):
        return _known(scene, *map(tuple, window.tolist()))


@functools.lru_cache(maxsize=64)
def _function(scene: Scene) -> Function | str:
    """The function as its proofs take it, or why there are none."""
    try:
        return traced(scene.loss, Point("start", scene.start), (), most=_LONGEST)
    except TooLong:
        return f"the function has more than {_LONGEST} operations, so a proof would take too long here"
    except NotImplementedError as error:
        return str(error)


@functools.lru_cache(maxsize=256)
def _known(scene: Scene, lower: tuple[float, ...], upper: tuple[float, ...]) -> Known:
    function = _function(scene)
    if isinstance(function, str):
        return Known(
            np.zeros((0, scene.dimension)), [], np.zeros(0), False, f"Nothing is proved of this picture: {function}"
        )
    box = (np.array(lower), np.array(upper))
    found = all_critical_points(scene.loss, box, boxes=_BOXES, seconds=_SECONDS, progress=False)
    return Known(np.asarray(found.points), found.kind, found.loss.mean(1), found.complete, _summary(found))


def sentence_of(certificate: Certificate) -> str:
    """A certificate in one line.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxopt_notes as jon
        >>> sentence_of(jon.prove(lambda x: jnp.sum(x**4), jnp.zeros(1)))[:43]
        'not proved: degenerate within rounding: an '
    """
    point = ", ".join(f"{value:.6g}" for value in np.ravel(certificate.point))
    if certificate.proved:
        alone = f"exactly one critical point within {certificate.alone_within:.2g} of ({point})"
        return f"proved: {alone}, a {certificate.kind}"
    if certificate.kind == "not critical":
        return f"proved: no critical point within {certificate.radius:.1g} of ({point})"
    return f"not proved: {certificate.reason}"


def _summary(found: AllCriticalPoints) -> str:
    counts = {kind: found.kind.count(kind) for kind in ("minimum", "saddle", "maximum")}
    points = ", ".join(_counted(n, kind) for kind, n in counts.items() if n)
    if found.complete:
        words = f"{points}, and no other critical point" if points else "no critical point"
        return f"Proved of this picture: {words}"
    gaps = [f"{_counted(len(jax.tree.leaves(found.undecided[0])[0]), 'place')} undecided"]
    gaps += [f"{100 * found.left:.2g} % of it not examined"] if found.left else []
    return f"Proved in this picture: {points or 'no critical point'}; {', '.join(gaps)}"


def _counted(count: int, word: str) -> str:
    plural = {"minimum": "minima", "maximum": "maxima"}.get(word, f"{word}s")
    return f"{count} {word if count == 1 else plural}"
