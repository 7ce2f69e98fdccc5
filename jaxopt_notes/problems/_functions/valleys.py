"""Bowls and narrow valleys: quadratics, Rosenbrock's and Beale's functions, a canyon and a trough."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ... import _checks
from .._facts import Facts, KnownPoint, box, known_point, known_points
from .._problem import Problem
from . import tables
from .build import Start, starts, tabulated

Number = float | Float[Array, ""]


def quadratic(
    eigenvalues: Float[Array, " n"] | Sequence[float] = (1.0, 20.0),
    start: Start = None,
    *,
    key: Key[Array, ""] | None = None,
) -> Problem:
    """The quadratic f(x) = 1/2 sum_i L_i (q_i . x)^2, whose Hessian has the given eigenvalues.

    The eigenvectors q_i are the axes, or with a key the columns of a random rotation, which the loss then holds.

    Arguments:
        eigenvalues: L, any finite numbers; negative ones make a saddle, zeros a flat direction. Shape (n,).
        start: where runs begin; all ones when None. Shape (n,).
        key: of a rotation uniform over all of them; None for the axes.

    Returns:
        A `Problem` over arrays of shape (n,), with its `Facts`.

    Raises:
        TypeError, ValueError: an entry is not a finite number, the shapes differ, or `key` is not one random key.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> float(valley.full_loss(valley.init(None)))
        10.5
    """
    _checks.number("eigenvalues", eigenvalues)
    curvatures = jnp.asarray(eigenvalues, float)
    if curvatures.ndim != 1 or curvatures.size == 0:
        raise ValueError(f"eigenvalues must be a list of at least one number, got shape {curvatures.shape}")
    begin = jnp.ones_like(curvatures) if start is None else jnp.asarray(start, float)
    if begin.shape != curvatures.shape:
        raise ValueError(f"start must have the shape of eigenvalues, {curvatures.shape}, got {begin.shape}")
    rotation = None if key is None else jax.random.orthogonal(_checks.key("key", key), curvatures.size, dtype=float)

    def loss(x: Array) -> Array:
        components = x if rotation is None else jnp.matmul(x, rotation.astype(x.dtype), precision="highest")
        return 0.5 * jnp.sum(curvatures.astype(x.dtype) * components**2)

    if _checks.is_traced(curvatures) or _checks.is_traced(begin):
        return Problem(loss, begin, name="quadratic")
    spectrum = np.asarray(eigenvalues, np.float64)
    flat = np.flatnonzero(spectrum == 0)

    def null_directions(params: Array) -> Array:
        basis = jnp.eye(len(spectrum), dtype=params.dtype) if rotation is None else rotation.T.astype(params.dtype)
        return basis[flat]

    reach = 2 * max(1.0, float(np.max(np.abs(begin))))
    facts = Facts(
        domain=box(-reach, reach, len(spectrum)),
        critical_points=(known_point(np.zeros(len(spectrum)), 0.0, spectrum),),
        complete=not flat.size,
        index_sum=None if flat.size else (-1) ** int(np.sum(spectrum < 0)),
        formula=r"$\frac{1}{2} \sum_i \lambda_i (q_i \cdot x)^2$",
        starts=(np.asarray(begin, np.float64),),
    )
    return Problem(loss, begin, name="quadratic", facts=facts, null_directions=null_directions if flat.size else None)


def rosenbrock(dimension: int = 2, start: Start = None) -> Problem:
    """Rosenbrock's curved valley f(x) = sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2.

    The minimum is 0 at (1, ..., 1). In two and three dimensions it is the only critical point; in two its Hessian has
    the eigenvalues 0.3994 and 1001.6. From four on a second minimum is known near (-1, 1, ..., 1), and up to seven
    one saddle between them; beyond seven the list holds the global minimum alone, without eigenvalues.

    Arguments:
        dimension: n, at least 2.
        start: where runs begin, shape (n,); (-1.2, 1, -1.2, 1, ...) when None.

    Returns:
        A `Problem` over arrays of shape (n,), with its `Facts`.

    Raises:
        TypeError, ValueError: `dimension` is not an integer of at least 2, or `start` has another shape.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> float(jon.problems.rosenbrock().full_loss(jnp.ones(2)))
        0.0
        >>> jon.problems.rosenbrock(dimension=4).facts.index_counts
        (2, 1, 0, 0, 0)

    Source: Rosenbrock, 1960; further critical points by Shang and Qiu, 2006, and Kok and Sandrock, 2009.
    """
    dimension = _checks.count("dimension", dimension, low=2)

    def loss(x: Array) -> Array:
        return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    complete = dimension in tables.ROSENBROCK
    bottom = KnownPoint(np.ones(dimension), 0.0, None, 0, "minimum")
    facts = Facts(
        domain=box(-2.048, 2.048, dimension),
        critical_points=known_points(tables.ROSENBROCK[dimension]) if complete else (bottom,),
        complete=complete,
        index_sum=1 if complete else None,
        formula=r"$\sum_i 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2$",
        starts=starts(np.resize([-1.2, 1.0], dimension), np.resize([-2.0, 2.0], dimension)),
        levels="log",
        source="Rosenbrock, 1960; Kok and Sandrock, 2009",
    )
    return tabulated(loss, facts, "rosenbrock", start)


def beale(start: Start = None) -> Problem:
    """Beale's function, flat around a curved valley, with steep corners.

        f(x, y) = (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2

    The minimum is 0 at (3, 0.5). The plane holds two more critical points, both saddles and in the box [-4.5, 4.5]^2;
    at (0, 1) both diagonal entries of the Hessian are zero. Along y = 1 the function is constant, so it does not grow
    in all directions and the sum of (-1)^index is -1.

    Arguments:
        start: where runs begin, shape (2,); (1, 1) when None.

    Returns:
        A `Problem` over arrays of shape (2,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.beale().facts.index_sum
        -1

    Source: Beale, 1958; start by More, Garbow and Hillstrom, 1981.
    """

    def loss(x: Array) -> Array:
        a, b = x
        return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2

    facts = Facts(
        domain=box(-4.5, 4.5, 2),
        critical_points=known_points(tables.BEALE),
        index_sum=-1,
        formula=r"$(1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2$",
        starts=starts((1, 1), (-3, -3)),
        levels="log",
        source="Beale, 1958",
    )
    return tabulated(loss, facts, "beale", start)


def bowl(start: Start = None) -> Problem:
    """The mild valley f(x) = x_1^2 + 2 x_2^2 of the lectures: Hessian eigenvalues 2 and 4, minimum 0 at 0.

    Arguments:
        start: where runs begin, shape (2,); (-5, -2) when None.

    Returns:
        A `Problem` over arrays of shape (2,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.bowl().facts.minima[0].eigenvalues.tolist()
        [2.0, 4.0]

    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, 2023.
    """
    return _valley(1.0, 2.0, "bowl", r"$x_1^2 + 2 x_2^2$", start)


def stretched_bowl(start: Start = None) -> Problem:
    """The stretched valley f(x) = 0.1 x_1^2 + 2 x_2^2 of the lectures: Hessian eigenvalues 0.2 and 4, minimum 0 at 0.

    A learning rate that is good for x_1 is above the stability bound 1/2 of x_2.

    Arguments:
        start: where runs begin, shape (2,); (-5, -2) when None.

    Returns:
        A `Problem` over arrays of shape (2,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.stretched_bowl().facts.minima[0].eigenvalues.tolist()
        [0.2, 4.0]

    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, 2023.
    """
    return _valley(0.1, 2.0, "stretched_bowl", r"$0.1 x_1^2 + 2 x_2^2$", start)


def _valley(first: float, second: float, name: str, formula: str, start: Start) -> Problem:
    def loss(x: Array) -> Array:
        return first * x[0] ** 2 + second * x[1] ** 2

    facts = Facts(
        domain=box((-5.5, -3.0), (1.0, 1.0), 2),
        critical_points=(known_point(np.zeros(2), 0.0, [2 * first, 2 * second]),),
        index_sum=1,
        formula=formula,
        labels=("$x_1$", "$x_2$"),
        starts=starts((-5, -2)),
        source="Zhang, Lipton, Li and Smola, 2023",
    )
    return tabulated(loss, facts, name, start)


def tilted_canyon(condition: Number = 100.0, angle: Number = math.pi / 6, start: Start = None) -> Problem:
    """A long narrow canyon askew to the axes: convex, with a minimum at 0, and slow by gradient descent.

        f(x, y) = 1/2 (u^2 + K v^2),     u = x cos(a) + y sin(a),     v = y cos(a) - x sin(a)

    The lecture draws the contours and gives no formula; this is the simplest function with its features. The step of
    steepest descent crosses the canyon, at up to arccos(2 sqrt(K)/(K + 1)) from the way to the minimum.

    Arguments:
        condition: K, the ratio of the Hessian eigenvalues 1 and K, > 0.
        angle: a, between the floor of the canyon and the x axis, in radians.
        start: where runs begin, shape (2,); (-4, 0.5) when None.

    Returns:
        A `Problem` over arrays of shape (2,), with its `Facts`.

    Raises:
        TypeError, ValueError: a number is not finite or out of range, or `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.tilted_canyon(condition=50.0).facts.minima[0].eigenvalues.tolist()
        [1.0, 50.0]

    Source: drawn by Levine, CS 182 lecture 4, 2021.
    """
    _checks.scalar("condition", condition, low=np.finfo(float).tiny)
    _checks.scalar("angle", angle)

    def loss(x: Array) -> Array:
        turn, steep = (jnp.asarray(number, x.dtype) for number in (angle, condition))
        along = x[0] * jnp.cos(turn) + x[1] * jnp.sin(turn)
        across = x[1] * jnp.cos(turn) - x[0] * jnp.sin(turn)
        return 0.5 * (along**2 + steep * across**2)

    known = not _checks.is_traced(condition)
    facts = Facts(
        domain=box((-5, -3), (5, 3), 2),
        critical_points=(known_point(np.zeros(2), 0.0, [1.0, float(condition)]),) if known else (),
        complete=known,
        index_sum=1,
        formula=r"$\frac{1}{2} (u^2 + \kappa v^2)$",
        starts=starts((-4, 0.5)),
        levels="log",
        source="drawn by Levine, 2021",
    )
    return tabulated(loss, facts, "tilted_canyon", start)


def trough(steepness: Number = 20.0, start: Start = None) -> Problem:
    """A sloping trough, as a slide: steep walls across, a gentle even slope along, and no minimum.

        f(x, y) = K y^2 / 2 - x

    The lecture draws it and gives no formula. The gradient points across, so runs swing from wall to wall while the way
    down is along x; with a rate above 2/K they leave. The gradient is zero nowhere.

    Arguments:
        steepness: K, the curvature across, > 0.
        start: where runs begin, shape (2,); (0, 1) when None.

    Returns:
        A `Problem` over arrays of shape (2,), with its `Facts`.

    Raises:
        TypeError, ValueError: `steepness` is not a number > 0, or `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.trough().facts.critical_points
        ()

    Source: drawn in lecture 18 of Mathematics in Machine Learning, julyedu.
    """
    _checks.scalar("steepness", steepness, low=np.finfo(float).tiny)

    def loss(x: Array) -> Array:
        return 0.5 * jnp.asarray(steepness, x.dtype) * x[1] ** 2 - x[0]

    facts = Facts(
        domain=box((-1, -1.5), (10, 1.5), 2),
        index_sum=0,
        formula=r"$\kappa y^2 / 2 - x$",
        starts=starts((0, 1)),
        source="drawn in Mathematics in Machine Learning, julyedu",
    )
    return tabulated(loss, facts, "trough", start)
