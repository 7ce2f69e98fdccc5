"""Whether a loss is smooth around a point, without which derivatives there prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .lanczos import euclidean_norm

_DIRECTIONS = 4
_ROUNDINGS = 64  # of the loss: second differences below are rounding
_JUMP = 8.0  # times the curvature: what a second difference shows of a kink


def is_smooth(
    loss: Callable[[Float[Array, " n"]], Float[Array, ""]],
    point: Float[Array, " n"],
    value: Float[Array, ""],
    norm: Float[Array, ""],
    dtype: Any,
) -> Bool[Array, ""]:
    """Whether second differences of the loss along random directions shrink as those of a smooth function do.

        D(h) = f(x + h u) - 2 f(x) + f(x - h u)  ~  h^2 u'Hu where f is smooth,  h |jump of the slope| at a kink

    So from h to h/4 a smooth function falls 16 times and a kink 4 times; one that falls less than 8 times, and is
    larger than the Hessian explains, is a kink within h/4 of the point. h is eps^(1/4) max(1, |x|).

    Arguments:
        loss: of a flat vector.
        point: x.
        value: f(x).
        norm: |H|.
        dtype: of which eps is taken: the coarsest in the loss.

    Returns:
        False if a kink was seen; True also where a kink is too small to be told from rounding.
    """
    eps = float(jnp.finfo(dtype).eps)
    units = jax.random.normal(jax.random.key(0), (_DIRECTIONS, point.size), point.dtype)
    units = units / jnp.sqrt(jnp.sum(units**2, axis=1, keepdims=True))
    far = eps**0.25 * jnp.maximum(1, euclidean_norm(point))

    def second_difference(scale: Array, unit: Float[Array, " n"]) -> Float[Array, ""]:
        return jnp.abs((loss(point + scale * unit) - value) + (loss(point - scale * unit) - value))

    kinked = jnp.bool_(False)
    for unit in units:  # one at a time: of a large network only one evaluation is held
        wide, narrow = second_difference(far, unit), second_difference(far / 4, unit)
        explained = _ROUNDINGS * eps * jnp.abs(value) + _JUMP * norm * (far / 4) ** 2
        kinked = kinked | ((narrow > explained) & (wide < 8 * narrow))
    return ~kinked
