"""`prove`: exactly one critical point close to a point, and its index, as a theorem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float, PyTree

from .. import _checks
from . import _arb
from ._certificate import ARB, FLOAT64, Certificate, certificate_of
from ._certify import Proof, proofs, refined, tested_around
from ._function import Function, traced
from ._interval import Interval, down, up
from ._krawczyk import Tested
from ._matrices import eigenvalues
from ._point import Point
from ._search import holds_zero

_CLOSE = 0.01  # of the largest parameter, or of 1: how far Newton's method may move the point
_AWAY = 1e-3  # of its distance to Newton's next point: where it is tried to show that the gradient is not zero


def prove(loss: Callable[..., Float[Array, ""]], point: PyTree, *args: Any, within: float | None = None) -> Certificate:
    """Prove that there is exactly one critical point close to `point`, and that it is a minimum, maximum or saddle.

        K(X) = x - Y g(x) + (I - Y H(X)) (X - x) in the interior of X:  exactly one x* in X has g(x*) = 0

    Newton's method first moves the point. X is a box around it; g(x) and H(X) are ranges that hold the gradient and the
    Hessian for every real number in X, whatever rounding does. The eigenvalues of H(x*) are bounded in the same way.

    The loss is traced for doubles, and the statement is about the real function that it denotes. Derivatives are taken
    of that function by this room's own rules. A point that is not isolated, as with a symmetry, cannot be proved: the
    Hessian there is singular. Restrict the loss to parameters without the symmetry, or add a regulariser.

    Arguments:
        loss: `loss(point, *args)`, a real scalar of operations that have a rule; see `jon.proof.supported`.
        point: a pytree of real arrays, up to about 1,000 numbers.
        args: further arguments of `loss`, which are taken as exactly the numbers that they are.
        within: > 0, how far the critical point may be from `point` in one parameter; a hundredth of the largest
            parameter, or 0.01, when None.

    Returns:
        `Certificate`: true if it is proved, else with the reason. `print` shows it in words.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.
        NotImplementedError: naming an operation that has no rule.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxopt_notes as jon
        >>> certificate = jon.prove(lambda x: (x[0] ** 2 - 2) ** 2 + x[1] ** 2, jnp.array([1.414, 0.0]))
        >>> bool(certificate), certificate.kind, certificate.radius < 1e-14
        (True, 'minimum', True)
        >>> bool(jon.prove(lambda x: x[0] ** 4, jnp.array([0.0])))
        False

    Source: Krawczyk, 1969; Rump, 2010.
    """
    given = Point("point", point)
    if not np.isfinite(given.vector).all():
        raise ValueError(f"point must be finite, got {point}")
    limit = _CLOSE * max(1.0, float(np.abs(given.vector).max(initial=0.0)))
    limit = limit if within is None else _positive("within", within)
    with np.errstate(all="ignore"):
        return certified(traced(loss, given, args), given, limit)


def certified(function: Function, given: Point, limit: float) -> Certificate:
    """The certificate for one point of a function."""
    start = given.vector
    end = refined(function, start)
    moved = float(np.abs(end - start).max(initial=0.0))
    if not moved <= limit:
        return _far(function, given, end, moved, limit)
    outcome = tested_around(function, end)
    if isinstance(outcome, Tested):
        return _failed(function, given, end, outcome, moved)
    box, tested = outcome
    proof = proofs(function, box, tested.image)
    reason = _missing(proof)
    if reason:
        return _undecided(given, proof.point[0], moved, reason, (proof.lower[0], proof.upper[0]))
    arithmetic = ARB if _arb.agrees(function, proof, 0) else FLOAT64
    return certificate_of(function, given.tree(proof.point[0]), proof, 0, moved, arithmetic)


def _missing(proof: Proof) -> str:
    if not proof.defined[0]:
        return "the function is not shown to be defined and smooth all over the box"
    if proof.index[0] < 0:
        return "there is exactly one critical point, but the sign of an eigenvalue is not proved"
    return ""


def _far(function: Function, given: Point, end: np.ndarray, moved: float, limit: float) -> Certificate:
    """No critical point close by: at best it is proved that there is none."""
    size = min(_AWAY * moved, limit) if np.isfinite(moved) else _AWAY * limit
    for radius in size * 10.0 ** -np.arange(0.0, 12.0):
        box = Interval(down(given.vector - radius)[None], up(given.vector + radius)[None])
        if not holds_zero(function.slope_on(box))[0]:
            reason = "proved, as the gradient is not zero there"
            return _none(given, given.vector, "not critical", float(radius), 0.0, reason, None)
    reason = f"Newton's method moves {moved:.1g} away from the point, and {limit:.1g} is allowed"
    return _undecided(given, end, moved, reason, None)


def _failed(function: Function, given: Point, end: np.ndarray, tested: Tested, moved: float) -> Certificate:
    """Why the test failed."""
    thin = Interval(end[None])
    curvature = function.curvature_on(thin)
    box = (tested.middle[0], tested.middle[0])
    if not (np.isfinite(curvature.lower).all() and np.isfinite(curvature.upper).all()):
        reason = "the loss, its slope or its curvature has no bound here: a kink, a jump or a pole"
        return _undecided(given, end, moved, reason, box)
    bounds = eigenvalues(curvature)
    singular = ((bounds.lower <= 0) & (bounds.upper >= 0))[0]
    if singular.any():
        words = "eigenvalue" if singular.sum() == 1 else f"{singular.sum()} eigenvalues"
        reason = (
            f"degenerate within rounding: {'an ' if singular.sum() == 1 else ''}{words} of the Hessian may be zero "
            f"here, so the point may not be isolated (a symmetry, or a higher-order point)"
        )
        return _undecided(given, end, moved, reason, box)
    return _undecided(given, end, moved, "the Hessian changes too much over every box that was tried", box)


def _undecided(
    given: Point, point: np.ndarray, moved: float, reason: str, box: tuple[np.ndarray, np.ndarray] | None
) -> Certificate:
    return _none(given, point, "undecided", np.inf, moved, reason, box)


def _none(
    given: Point,
    point: np.ndarray,
    kind: str,
    radius: float,
    moved: float,
    reason: str,
    box: tuple[np.ndarray, np.ndarray] | None,
) -> Certificate:
    return Certificate(
        proved=False,
        kind=kind,
        index=None,
        point=given.tree(point),
        radius=radius,
        alone_within=0.0,
        eigenvalues=np.full((given.size, 2), [-np.inf, np.inf]),
        loss=(-np.inf, np.inf),
        moved=moved,
        reason=reason,
        box=None if box is None else (given.tree(box[0]), given.tree(box[1])),
        arithmetic=FLOAT64,
    )


def _positive(name: str, value: float) -> float:
    value = float(_checks.number(name, value, low=0.0))
    if value == 0:
        raise ValueError(f"{name} must be above 0, got 0")
    return value
