"""Whether a loss is smooth around a point, without which derivatives there prove nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .lanczos import euclidean_norm

_DIRECTIONS = 2
_SCALES = 8
_RATIO = 8.0  # from one scale to the next
_ROUNDINGS = 64  # of the losses: second differences below are rounding


def is_smooth(
    loss: Callable[[Float[Array, " n"]], Float[Array, ""]],
    point: Float[Array, " n"],
    value: Float[Array, ""],
    gradient_norm: Float[Array, ""],
    norm: Float[Array, ""],
    dtype: Any,
) -> Bool[Array, ""]:
    """Whether second differences of the loss along random directions shrink as those of a smooth function do.

        D(h) = f(x + h u) - 2 f(x) + f(x - h u)  ~  h^2 u'Hu where f is smooth,  h |jump of the slope| at a kink

    From h to h/8 a smooth function falls 64 times or more, a kink at the point 8 times. A kink is seen where D falls
    about 8 times, twice in a row unless it is the first time, never again 22 times or more on the scales below that
    rounding does not hide, and is more than the Hessian explains. The scales are eps^(1/4) max(1, |x|) 8^-j, j < 8.

    Arguments:
        loss: of a flat vector.
        point: x.
        value: f(x).
        gradient_norm: |g|.
        norm: |H|.
        dtype: of which eps is taken: the coarsest in the loss.

    Returns:
        False if a kink was seen; True also where a kink is too small to be told from rounding.
    """
    eps = float(jnp.finfo(dtype).eps)
    units = jax.random.normal(jax.random.key(0), (_DIRECTIONS, point.size), point.dtype)
    units = units / jnp.sqrt(jnp.sum(units**2, axis=1, keepdims=True))
    length = euclidean_norm(point)
    powers = _RATIO ** -jnp.arange(_SCALES, dtype=point.dtype)
    scales = eps**0.25 * jnp.maximum(1, length) * powers

    def differences(scale: Array, unit: Float[Array, " n"]) -> tuple[Array, Array]:
        """A second difference, and what rounding makes of it."""
        ahead, behind = loss(point + scale * unit), loss(point - scale * unit)
        size = jnp.maximum(jnp.maximum(jnp.abs(ahead), jnp.abs(behind)), jnp.abs(value))
        return jnp.abs((ahead - value) + (behind - value)), size

    kinked = jnp.bool_(False)
    for unit in units:
        found, sizes = jax.lax.map(lambda scale, unit=unit: differences(scale, unit), scales)  # one in memory at a time
        rounding = _ROUNDINGS * eps * (sizes + length * gradient_norm)
        clear = (found > rounding) & (scales > _ROUNDINGS * eps * length)
        clear = jnp.cumsum(~clear, dtype=jnp.int32) == 0  # down to the first scale that rounding hides
        falls = found[:-1] / jnp.where(found[1:] > 0, found[1:], 1)
        even = clear[1:] & (falls > 3) & (falls < 22)  # 22: between 8 and 64
        smooth_again = jnp.cumsum((clear[1:] & (falls >= 22))[::-1], dtype=jnp.int32)[::-1] > 0
        unexplained = found[1:] > 4 * norm * scales[1:] ** 2
        twice = even & jnp.append(True, even[:-1])
        kinked = kinked | jnp.any(twice & unexplained & ~smooth_again)
    return ~kinked
