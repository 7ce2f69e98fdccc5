"""Whether a loss has the derivatives around a point that JAX computes at it, without which they prove nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .around import Around

_SCALES = 8
_RATIO = 4.0  # from one scale to the next
_FALL = _RATIO**2.5  # of what the second derivatives leave unexplained: at least 4^3 where these are continuous
_ROUNDINGS = 64  # of the losses and of the slope
_MOVES = 4  # roundings of the parameters, through the Hessian


def is_smooth(
    here: Around,
    gradient: Float[Array, " n"],
    units: Float[Array, "directions n"],
    curvatures: Float[Array, " directions"],
    norm: Float[Array, ""],
    zero_level: Float[Array, ""],
) -> Bool[Array, ""]:
    """Whether gradient and Hessian explain the loss ever better along rays from the point.

        R(h) = f(x + h u) - f(x) - h g'u - h^2 u'Hu / 2

    is O(h^3) where the second derivatives are continuous. It falls as h^0 at a jump of the loss, as h^q at a cusp
    |x|^q, as h at a kink and as h^2 at a jump of the second derivative. R is taken ahead of the point and behind it, so
    it sees what is on one side only, and what is odd and would cancel in a second difference.

    From h to h/4 R has to fall by 4^2.5, or into the rounding, at the smallest scales on which that can be seen. Two
    falls in a row that are smaller, with no sufficient one below them, show that f is not smooth.

    Arguments:
        here: the loss around the point; all other arguments are in its units.
        gradient: g.
        units: unit vectors u.
        curvatures: u'Hu of each.
        norm: |H|.
        zero_level: the rounding of H.

    Returns:
        False if a jump of the loss or of its first or second derivative was seen at the point. True also where it is
        too small to be told from rounding, or lies on the other side of directions that were not tried.
    """
    eps = here.eps
    # A loss of zero has no size of its own: whatever happens at the point shows at the smallest scales.
    widest = jnp.where(here.value == 0, 1, eps**0.25)
    lowest = _ROUNDINGS * eps * here.distance  # from here on a step is known to two digits
    scales = jnp.maximum(widest, lowest * _RATIO**4) * _RATIO ** -jnp.arange(_SCALES, dtype=gradient.dtype)
    slope = jnp.sqrt(jnp.sum(gradient**2))
    slopes = jnp.matmul(units, gradient, precision="highest")

    def values(scale: Float[Array, ""]) -> Float[Array, "2 directions"]:
        steps = scale * jnp.concatenate([units, -units])
        return jax.lax.map(here.phi, steps).reshape(2, -1)  # one in memory at a time

    ahead = jax.lax.map(values, scales)
    h = scales[:, None, None]
    linear = h * jnp.stack([slopes, -slopes])[None]
    rest = jnp.abs((ahead - here.value) - linear - h**2 * curvatures[None, None] / 2)
    size = jnp.maximum(jnp.abs(ahead), jnp.abs(here.value))
    rounding = _ROUNDINGS * (eps * (size + (h + here.distance) * slope) + here.floor)
    rounding += _MOVES * eps * here.distance * norm * h + zero_level * h**2
    # Down to the first scale that rounding hides, or at which the step itself is rounding; above, f may be infinite.
    hidden = (rest <= rounding) | (h < lowest)
    clear = (rest > rounding) & (jnp.cumsum(hidden, axis=0, dtype=jnp.int32) == 0)
    below = jnp.maximum(rest[1:], rounding[1:])
    falls = rest[:-1] / jnp.where(below > 0, below, 1)
    sufficient = clear[:-1] & (falls >= _FALL) & (h[1:] >= lowest)
    slow = clear[1:] & (falls < _FALL)
    later = jnp.cumsum(sufficient[::-1], axis=0, dtype=jnp.int32)[::-1] > 0
    twice = slow[1:] & slow[:-1]
    return ~jnp.any(twice & ~later[1:])
