"""Functions of one variable that the lectures draw, over vectors of shape (1,) or scalars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._facts import Facts, KnownPoint, box, known_point, known_points
from .._problem import Problem
from . import tables
from .build import Start, starts, tabulated

_D2L = "Zhang, Lipton, Li and Smola, 2023"
_LEVINE = "drawn by Levine, 2021"


def _curve(
    function: Callable[[Array], Array], start: Start, name: str, domain: tuple[float, float], begin: float, **known: Any
) -> Problem:
    facts = Facts(domain=box(*domain, 1), labels=("x", "f(x)"), starts=starts((begin,)), **known)
    return tabulated(lambda x: jnp.sum(function(x)), facts, name, start)


def parabola(start: Start = None) -> Problem:
    """The parabola f(x) = x^2: minimum 0 at 0, f'' = 2, so gradient descent converges for rates below 1.

    Arguments:
        start: where runs begin, shape (1,); 10 when None.

    Returns:
        A `Problem` over arrays of shape (1,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> problem = jon.problems.parabola()
        >>> float(problem.loss(problem.init(None)))
        100.0

    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, 2023.
    """
    return _curve(
        jnp.square,
        start,
        "parabola",
        domain=(-11, 11),
        begin=10.0,
        critical_points=(known_point(np.zeros(1), 0.0, [2.0]),),
        index_sum=1,
        formula="$x^2$",
        source=_D2L,
    )


def cubic(start: Start = None) -> Problem:
    """The cubic f(x) = x^3: at 0 slope and curvature vanish, and it is neither minimum nor maximum.

    Gradient descent from d > 0 reaches x after about (1/x - 1/d)/(3 lr) steps and never passes 0; from d < 0 it falls
    without end.

    Arguments:
        start: where runs begin, shape (1,); 1 when None.

    Returns:
        A `Problem` over arrays of shape (1,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.cubic().facts.critical_points[0].kind
        'saddle'

    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, 2023.
    """
    return _curve(
        lambda x: x**3,
        start,
        "cubic",
        domain=(-2, 2),
        begin=1.0,
        critical_points=(known_point(np.zeros(1), 0.0, [0.0], "saddle"),),
        index_sum=0,
        formula="$x^3$",
        source=_D2L,
    )


def x_cos_pi_x(start: Start = None) -> Problem:
    """The wave f(x) = x cos(pi x), with a local minimum, a maximum and the global minimum in [-1, 2].

    They are at -0.274, 0.274 and 1.090.

    Arguments:
        start: where runs begin, shape (1,); -0.8, in the basin of the local minimum, when None.

    Returns:
        A `Problem` over arrays of shape (1,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> [round(p.value, 3) for p in jon.problems.x_cos_pi_x().facts.minima]
        [-1.047, -0.179]

    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, 2023.
    """
    return _curve(
        lambda x: x * jnp.cos(np.pi * x),
        start,
        "x_cos_pi_x",
        domain=(-1, 2),
        begin=-0.8,
        critical_points=known_points(tables.X_COS_PI_X),
        index_sum=1,
        formula=r"$x \cos(\pi x)$",
        source=_D2L,
    )


def tanh(start: Start = None) -> Problem:
    """The plateau of f(x) = tanh(x): no critical point, but at 4 the slope is 1 - tanh(4)^2 = 0.00134.

    Arguments:
        start: where runs begin, shape (1,); 4 when None.

    Returns:
        A `Problem` over arrays of shape (1,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> problem = jon.problems.tanh()
        >>> round(float(jax.grad(problem.loss)(problem.init(None))[0]), 5)
        0.00134

    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, 2023.
    """
    return _curve(
        jnp.tanh,
        start,
        "tanh",
        domain=(-2, 5),
        begin=4.0,
        critical_points=(),
        index_sum=0,
        formula=r"$\tanh(x)$",
        source=_D2L,
    )


def exp(start: Start = None) -> Problem:
    """The convex function f(x) = exp(x), which has an infimum, 0, and no minimum.

    Gradient descent drifts as -log(lr t).

    Arguments:
        start: where runs begin, shape (1,); 0 when None.

    Returns:
        A `Problem` over arrays of shape (1,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.exp().facts.minima
        ()

    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, 2023.
    """
    return _curve(
        jnp.exp,
        start,
        "exp",
        domain=(-10, 2),
        begin=0.0,
        critical_points=(),
        index_sum=0,
        formula=r"$\exp(x)$",
        source=_D2L,
    )


def absolute_value(start: Start = None) -> Problem:
    """The kink f(x) = |x - 1|: convex, its one minimum 0 at 1, where it has no derivative.

    What is computed there is 0, the symmetric choice.

    Arguments:
        start: where runs begin, shape (1,); -1 when None.

    Returns:
        A `Problem` over arrays of shape (1,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.absolute_value().facts.smooth
        False

    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, 2023, as max(|x - 1|, 0).
    """
    return _curve(
        lambda x: (x - 1) * jnp.sign(x - 1),  # jnp.abs has slope 1 at 0
        start,
        "absolute_value",
        domain=(-1, 3),
        begin=-1.0,
        critical_points=(KnownPoint(np.ones(1), 0.0, None, 0, "minimum"),),
        index_sum=1,
        formula="$|x - 1|$",
        source=_D2L,
        smooth=False,
    )


def double_well(start: Start = None) -> Problem:
    """Two troughs of unequal depth, f(x) = x^4/4 - x^2/2 + x/10: not convex, two minima and a maximum between them.

    The lecture draws such a function and gives no formula.

    Arguments:
        start: where runs begin, shape (1,); 1.8, in the basin of the higher minimum, when None.

    Returns:
        A `Problem` over arrays of shape (1,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.double_well().facts.index_counts
        (2, 1)

    Source: drawn by Levine, CS 182 lecture 4, 2021.
    """
    return _curve(
        lambda x: x**4 / 4 - x**2 / 2 + x / 10,
        start,
        "double_well",
        domain=(-2, 2),
        begin=1.8,
        critical_points=known_points(tables.DOUBLE_WELL),
        index_sum=1,
        formula="$x^4/4 - x^2/2 + x/10$",
        source=_LEVINE,
    )


def plateau(start: Start = None) -> Problem:
    """One minimum between plateaus, f(x) = x^2/(1 + x^2): not convex beyond |x| = 1/sqrt(3), though it has one optimum.

    The slope at distance x falls as 2/x^3. The lecture draws such a function and gives no formula.

    Arguments:
        start: where runs begin, shape (1,); 4 when None.

    Returns:
        A `Problem` over arrays of shape (1,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.plateau().facts.minima[0].eigenvalues.tolist()
        [2.0]

    Source: drawn by Levine, CS 182 lecture 4, 2021; the formula by Geman and McClure, 1985.
    """
    return _curve(
        lambda x: x**2 / (1 + x**2),
        start,
        "plateau",
        domain=(-6, 6),
        begin=4.0,
        critical_points=(known_point(np.zeros(1), 0.0, [2.0]),),
        index_sum=1,
        formula="$x^2 / (1 + x^2)$",
        source=_LEVINE,
    )
