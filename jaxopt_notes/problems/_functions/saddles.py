"""Saddles: the plain one, one that second derivatives do not decide, and those of a deep linear network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ... import _checks
from .._facts import Facts, KnownPoint, box, known_point
from .._problem import Problem
from .build import Start, starts, tabulated

_LISTED_WIDTH = 6  # 64 subsets


def saddle(start: Start = None) -> Problem:
    """The saddle f(x, y) = x^2 - y^2: at 0 the gradient vanishes, the Hessian eigenvalues are -2 and 2.

    Gradient descent from (x, d) leaves along y, after about log(r/d)/log(1 + 2 lr) steps to |y| = r.

    Arguments:
        start: where runs begin, shape (2,); (0.9, 0.01) when None.

    Returns:
        A `Problem` over arrays of shape (2,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.saddle().facts.critical_points[0].eigenvalues.tolist()
        [-2.0, 2.0]

    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, 2023; Levine, CS 182 lecture 4, 2021.
    """
    facts = Facts(
        domain=box(-1, 1, 2),
        critical_points=(known_point(np.zeros(2), 0.0, [-2.0, 2.0]),),
        index_sum=-1,
        formula="$x^2 - y^2$",
        starts=starts((0.9, 0.01)),
        source="Zhang, Lipton, Li and Smola, 2023",
    )
    return tabulated(lambda x: x[0] ** 2 - x[1] ** 2, facts, "saddle", start)


def monkey_saddle(start: Start = None) -> Problem:
    """The monkey saddle f(x, y) = x^3 - 3 x y^2: three valleys and three ridges meet at 0, where the Hessian is zero.

    The gradient winds around 0 twice backwards, so `index_sum` is -2, which no Hessian shows.

    Arguments:
        start: where runs begin, shape (2,); (0.9, 0.3) when None.

    Returns:
        A `Problem` over arrays of shape (2,), with its `Facts`.

    Raises:
        ValueError: `start` has another shape.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.monkey_saddle().facts.critical_points[0].kind
        'saddle'

    Source: used by Dauphin et al., 2014.
    """
    facts = Facts(
        domain=box(-1, 1, 2),
        critical_points=(known_point(np.zeros(2), 0.0, [0.0, 0.0], "saddle"),),
        index_sum=-2,
        formula="$x^3 - 3 x y^2$",
        starts=starts((0.9, 0.3)),
        source="Dauphin et al., 2014",
    )
    return tabulated(lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, facts, "monkey_saddle", start)


def deep_linear_network(
    singular_values: Sequence[float] = (2.0, 1.0), depth: int = 2, *, scale: float = 0.1
) -> Problem:
    """A deep linear network W_L ... W_1 fitted to diag(s): not convex, no bad minima, and a saddle at zero.

        f(W) = 1/2 |W_L ... W_1 - diag(s)|^2

    This is what a linear network has to learn from whitened inputs. With two layers zero is a strict saddle: each
    eigenvalue of its Hessian is s_i or -s_i. With more layers the Hessian there is zero. Tabulated is one critical
    point for each subset of the singular values, the plateaus of training on which the others are not learned yet:
    W_l = s^(1/L) on the subset and 0 elsewhere. Beyond six singular values only those of none and of all.

    `null_directions` are those of W_l -> A W_l, W_{l+1} -> W_{l+1} A^-1, one for each entry of A and pair of layers.

    Arguments:
        singular_values: s, positive numbers, of shape (d,). All layers are d x d.
        depth: L, at least 2.
        scale: standard deviation of the entries of the initial layers; small ones start beside the saddle.

    Returns:
        A `Problem` over tuples of L matrices of shape (d, d), with its `Facts`.

    Raises:
        TypeError, ValueError: a number is out of range, or there is no singular value.

    Example:
        >>> import jaxopt_notes as jon
        >>> points = jon.problems.deep_linear_network().facts.critical_points
        >>> [(p.value, p.index) for p in points]
        [(2.5, 4), (2.0, 2), (0.5, 1), (0.0, 0)]

    Source: Baldi and Hornik, 1989; Saxe, McClelland and Ganguli, 2014; Kawaguchi, 2016.
    """
    target = np.asarray(_checks.number("singular_values", singular_values, low=np.finfo(float).tiny), np.float64)
    if target.ndim != 1 or not target.size:
        raise ValueError(f"singular_values must be a list of at least one number, got shape {target.shape}")
    depth = _checks.count("depth", depth, low=2)
    _checks.scalar("scale", scale, low=0.0)
    width = target.size

    def loss(layers: Sequence[Array]) -> Array:
        product = layers[0]
        for layer in layers[1:]:
            product = jnp.matmul(layer, product, precision="highest")
        return 0.5 * jnp.sum((product - jnp.diag(jnp.asarray(target, product.dtype))) ** 2)

    def init(key: Array) -> tuple[Array, ...]:
        return tuple(scale * jax.random.normal(k, (width, width)) for k in jax.random.split(key, depth))

    every = itertools.product([False, True], repeat=width)
    subsets = every if width <= _LISTED_WIDTH else [(False,) * width, (True,) * width]
    facts = Facts(
        domain=box(-2, 2, depth * width**2),
        critical_points=tuple(_partly_learned(target, np.array(learned), depth) for learned in subsets),
        complete=False,
        formula=r"$\frac{1}{2} |W_L \cdots W_1 - \mathrm{diag}(s)|^2$",
        source="Baldi and Hornik, 1989; Saxe et al., 2014",
    )
    return Problem(loss, init, name="deep_linear_network", facts=facts, null_directions=_rescalings)


def _rescalings(layers: tuple[Float[Array, "d d"], ...]) -> tuple[Float[Array, "k d d"], ...]:
    """The derivatives at A = I along each entry of A, for each pair of neighbours."""
    width = layers[0].shape[0]
    units = jnp.eye(width**2, dtype=layers[0].dtype).reshape(-1, width, width)
    pairs = []
    for lower in range(len(layers) - 1):
        moves = [jnp.zeros_like(units)] * len(layers)
        moves[lower] = jnp.matmul(units, layers[lower][None], precision="highest")
        moves[lower + 1] = -jnp.matmul(layers[lower + 1][None], units, precision="highest")
        pairs.append(tuple(moves))
    return tuple(jnp.concatenate(parts) for parts in zip(*pairs, strict=True))


def _partly_learned(target: Float[np.ndarray, " d"], learned: np.ndarray, depth: int) -> KnownPoint:
    """The point W_l = w^(1/L), where w = s on what is learned and 0 elsewhere, and the eigenvalues of its Hessian.

    The Hessian couples few entries. For i and j learned, those at (i, j) of all layers, by a matrix of rank one. For
    i not learned, that of the last layer at (i, j) and of the first at (j, i), by [[p, -q], [-q, p]]. No others.
    """
    root = np.where(learned, target, 0) ** (1 / depth)
    eigenvalues: list[float] = []
    for i, j in itertools.product(range(target.size), repeat=2):
        if learned[i] and learned[j]:
            eigenvalues.append(sum(root[i] ** (2 * depth - 2 - 2 * k) * root[j] ** (2 * k) for k in range(depth)))
        elif not learned[i]:
            p, q = root[j] ** (2 * depth - 2), target[i] * root[j] ** (depth - 2)
            eigenvalues += [p - q, p + q]
    eigenvalues += [0.0] * (depth * target.size**2 - len(eigenvalues))
    value = 0.5 * float(np.sum(target[~learned] ** 2))
    layers = tuple(np.diag(root) for _ in range(depth))
    return known_point(layers, value, eigenvalues, "minimum" if learned.all() else "saddle")
