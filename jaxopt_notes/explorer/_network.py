"""A slice of a trained network: its loss as a function of the steps along two directions."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..landscape import random_directions
from ..minimize import minimize
from ..optimizers import adam

_WIDTH, _POINTS, _STEPS = 8, 32, 1000


def network_slice(x: Float[Array, " 2"]) -> Float[Array, ""]:
    """Loss of a small trained network, x[0] along one random direction and x[1] along another.

        f(x) = L(w + x_1 d_1 + x_2 d_2)

    The network 1 - 8 - 1 with tanh is fitted to 32 points of sin(3 t) by 1,000 steps of Adam when first asked for; w is
    where that ends. The directions are drawn at random, orthogonal, and scaled layer by layer to the norm of w.

    Arguments:
        x: steps along the two directions, shape (2,); at (1, 0) every layer has moved by its own norm.

    Returns:
        The mean squared error, a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(network_slice(jnp.zeros(2)) < network_slice(jnp.ones(2)))
        True

    Source: the scaling after Li, Xu, Taylor, Studer and Goldstein, 2018.
    """
    with jax.ensure_compile_time_eval():
        trained, directions = jax.tree.map(lambda leaf: jnp.asarray(leaf, x.dtype), _trained())
    moved = jax.tree.map(lambda w, first, second: w + x[0] * first + x[1] * second, trained, *directions)
    return _loss(moved)


def _loss(params: PyTree) -> Float[Array, ""]:
    inputs = jnp.linspace(-1.0, 1.0, _POINTS, dtype=params["out"].dtype)
    hidden = jnp.tanh(inputs[:, None] * params["in"][None, :] + params["bias"][None, :])
    return jnp.mean((jnp.matmul(hidden, params["out"], precision="highest") - jnp.sin(3 * inputs)) ** 2)


@functools.cache
def _trained() -> tuple[PyTree, tuple[PyTree, PyTree]]:
    """The trained parameters and two directions, as arrays of numpy: nothing here belongs to anybody's trace."""
    keys = jax.random.split(jax.random.key(0))

    def drawn(key: Array) -> PyTree:
        parts = jax.random.split(key, 3)
        return {name: jax.random.normal(k, (_WIDTH,)) for name, k in zip(("in", "bias", "out"), parts, strict=True)}

    trained = minimize(_loss, drawn(keys[0]), adam(0.02), steps=_STEPS, every=_STEPS).params
    directions = random_directions(keys[1], trained, normalize="layer")
    return jax.tree.map(np.asarray, (trained, (directions[0], directions[1])))
