"""Functions with several minima."""

from __future__ import annotations

import itertools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ... import _checks, _numerics
from .._facts import Facts, KnownPoint, axis_product, box, known_points
from .._problem import Problem
from . import tables
from .build import Start, starts, tabulated


def himmelblau(start: Start = None) -> Problem:
    """Himmelblau's function f(x, y) = (x^2 + y - 11)^2 + (x + y^2 - 7)^2: four minima, all of value 0.

    Nine critical points, all in the box [-5, 5]^2: 4 minima, 4 saddles and 1 maximum.

    Arguments:
        start: where runs begin, shape (2,); (0, 0), near the maximum, when None.

    Returns:
        A `Problem` over arrays of shape (2,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> float(jon.problems.himmelblau().loss(jnp.array([3.0, 2.0])))
        0.0

    Source: Himmelblau, 1972.
    """

    def loss(x: Array) -> Array:
        return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2

    facts = Facts(
        domain=box(-5, 5, 2),
        critical_points=known_points(tables.HIMMELBLAU),
        index_sum=1,
        formula=r"$(x^2 + y - 11)^2 + (x + y^2 - 7)^2$",
        starts=starts((0, 0), (-4, 0)),
        levels="log",
        source="Himmelblau, 1972",
    )
    return tabulated(loss, facts, "himmelblau", start)


def six_hump_camel(start: Start = None) -> Problem:
    """The six-hump camel back f(x, y) = (4 - 2.1 x^2 + x^4/3) x^2 + x y + (4 y^2 - 4) y^2.

    Fifteen critical points, all in the box [-3, 3] x [-2, 2]: 6 minima, two of them global with value -1.0316, 7
    saddles and 2 maxima. f(-x) = f(x).

    Arguments:
        start: where runs begin, shape (2,); (-2.5, 1.5) when None.

    Returns:
        A `Problem` over arrays of shape (2,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.six_hump_camel().facts.index_counts
        (6, 7, 2)

    Source: Dixon and Szego, 1978.
    """

    def loss(x: Array) -> Array:
        a, b = x[0] ** 2, x[1] ** 2
        return (4 - 2.1 * a + a**2 / 3) * a + x[0] * x[1] + (4 * b - 4) * b

    facts = Facts(
        domain=box((-3, -2), (3, 2), 2),
        critical_points=known_points(tables.SIX_HUMP_CAMEL, symmetries=[-np.eye(2)]),
        index_sum=1,
        formula=r"$(4 - 2.1 x^2 + x^4/3) x^2 + x y + (4 y^2 - 4) y^2$",
        starts=starts((-2.5, 1.5)),
        levels="log",
        source="Dixon and Szego, 1978",
    )
    return tabulated(loss, facts, "six_hump_camel", start)


# Amplitude; coefficients of the squares and the product in the exponent; centre.
_MUELLER_BROWN = (
    (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
    (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
    (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
    (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
)


def mueller_brown(start: Start = None) -> Problem:
    """The Mueller-Brown potential of chemistry: three minima and the two saddles that reactions pass.

        f(x, y) = sum_k A_k exp(a_k (x - x_k)^2 + b_k (x - x_k)(y - y_k) + c_k (y - y_k)^2)

    with A = (-200, -100, -170, 15), a = (-1, -1, -6.5, 0.7), b = (0, 0, 11, 0.6), c = (-10, -10, -6.5, 0.7),
    x_k = (1, 0, -0.5, -1), y_k = (0, 0.5, 1.5, 1). Five critical points in the box [-1.7, 1.3] x [-0.5, 2.2].

    Arguments:
        start: where runs begin, shape (2,); (-1, 0.5) when None.

    Returns:
        A `Problem` over arrays of shape (2,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> round(jon.problems.mueller_brown().facts.minima[0].value, 3)
        -146.7

    Source: Mueller and Brown, 1979.
    """

    def loss(x: Array) -> Array:
        def term(amplitude: float, a: float, b: float, c: float, x_centre: float, y_centre: float) -> Array:
            u, v = x[0] - x_centre, x[1] - y_centre
            return amplitude * jnp.exp(a * u**2 + b * u * v + c * v**2)

        return sum((term(*row) for row in _MUELLER_BROWN[1:]), start=term(*_MUELLER_BROWN[0]))

    facts = Facts(
        domain=box((-1.7, -0.5), (1.3, 2.2), 2),
        critical_points=known_points(tables.MUELLER_BROWN),
        index_sum=1,
        formula=r"$\sum_k A_k \exp(a_k u_k^2 + b_k u_k v_k + c_k v_k^2)$",
        starts=starts((-1, 0.5)),
        levels="log",
        source="Mueller and Brown, 1979",
    )
    return tabulated(loss, facts, "mueller_brown", start)


def styblinski_tang(dimension: int = 2, start: Start = None) -> Problem:
    """Styblinski and Tang's function f(x) = 1/2 sum_i x_i^4 - 16 x_i^2 + 5 x_i, with 2^n minima.

    A sum over axes with 2 minima and 1 maximum each, so of the 3^n critical points C(n, k) 2^(n-k) have index k; all
    lie in the box [-5, 5]^n. The global minimum is -39.166 n at -2.9035 on every axis. Beyond six dimensions the
    points are counted, not listed.

    Arguments:
        dimension: n, at least 1.
        start: where runs begin, shape (n,); zeros when None.

    Returns:
        A `Problem` over arrays of shape (n,), with its `Facts`.

    Raises:
        TypeError, ValueError: `dimension` is not an integer of at least 1, or `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.styblinski_tang(dimension=3).facts.index_counts
        (8, 12, 6, 1)

    Source: Styblinski and Tang, 1990.
    """
    dimension = _checks.count("dimension", dimension)

    def loss(x: Array) -> Array:
        return 0.5 * jnp.sum(x**4 - 16 * x**2 + 5 * x)

    points, complete = axis_product(tables.STYBLINSKI_TANG, dimension)
    facts = Facts(
        domain=box(-5, 5, dimension),
        critical_points=points,
        complete=complete,
        index_sum=1,
        per_axis=(2, 1),
        formula=r"$\frac{1}{2} \sum_i x_i^4 - 16 x_i^2 + 5 x_i$",
        starts=(np.zeros(dimension),),
        source="Styblinski and Tang, 1990",
    )
    return tabulated(loss, facts, "styblinski_tang", start)


def rastrigin(dimension: int = 2, start: Start = None) -> Problem:
    """Rastrigin's function f(x) = 10 n + sum_i x_i^2 - 10 cos(2 pi x_i): a bowl of many dents.

    A sum over axes with 11 minima, one near every integer, and 10 maxima each in [-5.12, 5.12]. The global minimum is
    0 at 0. Beyond two dimensions the points are counted, not listed.

    Arguments:
        dimension: n, at least 1.
        start: where runs begin, shape (n,); (-2, 3.5, -2, 3.5, ...) when None.

    Returns:
        A `Problem` over arrays of shape (n,), with its `Facts`.

    Raises:
        TypeError, ValueError: `dimension` is not an integer of at least 1, or `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.rastrigin().facts.index_counts
        (121, 220, 100)

    Source: Rastrigin, 1974.
    """
    dimension = _checks.count("dimension", dimension)

    def loss(x: Array) -> Array:
        return jnp.sum(x**2 + 20 * jnp.sin(np.pi * x) ** 2)  # 10 - 10 cos(2 a) = 20 sin(a)^2 without cancellation

    mirrored = [*tables.RASTRIGIN, *(((-point[0],), value, second) for point, value, second in tables.RASTRIGIN[1:])]
    points, complete = axis_product(mirrored, dimension)
    facts = Facts(
        domain=box(-5.12, 5.12, dimension),
        critical_points=points,
        complete=complete,
        index_sum=1,
        per_axis=(11, 10),
        formula=r"$10 n + \sum_i x_i^2 - 10 \cos(2 \pi x_i)$",
        starts=(np.resize([-2.0, 3.5], dimension),),
        source="Rastrigin, 1974",
    )
    return tabulated(loss, facts, "rastrigin", start)


def ackley(dimension: int = 2, start: Start = None) -> Problem:
    """Ackley's function: a funnel with many small pits, and a kink at its minimum.

        f(x) = -20 exp(-0.2 sqrt(mean(x^2))) - exp(mean(cos(2 pi x))) + 20 + e

    The global minimum 0 at 0 is the tip of a cone of slope 4/sqrt(n): f has no gradient there, and the zero that is
    computed in its place is the symmetric choice. In two dimensions the other 80 critical points of the box [-2.5,
    2.5]^2 are tabulated, the middle of the usual [-32.768, 32.768]^2; outside there are more of the same.

    Arguments:
        dimension: n, at least 1.
        start: where runs begin, shape (n,); (2.2, -1.3, 2.2, ...) when None.

    Returns:
        A `Problem` over arrays of shape (n,), with its `Facts`.

    Raises:
        TypeError, ValueError: `dimension` is not an integer of at least 1, or `start` has another shape.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> float(jon.problems.ackley().loss(jnp.zeros(2)))
        0.0

    Source: Ackley, 1987.
    """
    dimension = _checks.count("dimension", dimension)

    def loss(x: Array) -> Array:
        radius = _numerics.sqrt(jnp.mean(x**2))
        waves = -2 * jnp.mean(jnp.sin(np.pi * x) ** 2)  # mean(cos(2 pi x)) - 1
        return -20 * jnp.expm1(-0.2 * radius) - math.e * jnp.expm1(waves)

    tip = KnownPoint(np.zeros(dimension), 0.0, None, 0, "minimum")
    signs = [np.diag(pair) for pair in itertools.product([1.0, -1.0], repeat=2)]
    symmetries = [*signs, *(sign[::-1] for sign in signs)]
    facts = Facts(
        domain=box(-2.5, 2.5, dimension),
        critical_points=(tip, *(known_points(tables.ACKLEY, symmetries) if dimension == 2 else ())),
        complete=dimension == 2,
        index_sum=1,
        smooth=False,
        formula=r"$-20 e^{-0.2 \sqrt{\mathrm{mean}(x^2)}} - e^{\mathrm{mean}(\cos 2 \pi x)} + 20 + e$",
        starts=(np.resize([2.2, -1.3], dimension),),
        source="Ackley, 1987",
    )
    return tabulated(loss, facts, "ackley", start)
