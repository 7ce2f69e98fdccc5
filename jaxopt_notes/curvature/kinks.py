"""Whether a loss has the derivatives around a point that JAX computes at it, without which they prove nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .around import Around
from .lanczos import euclidean_norm

_SCALES = 8
_RATIO = 4.0  # from one scale to the next
_FALL = _RATIO**2.5  # of what the second derivatives leave unexplained: at least 4^3 where these are continuous
_NEAR = 1 / 8  # of the curved part of the quadratic model: how far off it still explains the loss
_ROUNDINGS = 64  # of the losses and of the slope
_MOVES = 4  # roundings of the parameters through the Hessian, and of terms that cancel


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
        units: unit vectors u; the first is `here.unit`.
        curvatures: u'Hu of each.
        norm: |H|.
        zero_level: the rounding of H.

    Returns:
        False if a jump of the loss or of its first or second derivative was seen at the point. True also where it is
        too small to be told from rounding, or lies on the other side of directions that were not tried.
    """
    eps = here.eps
    lowest = _ROUNDINGS * eps * here.distance  # from here on a step is known to two digits
    widest = eps**0.25 * jnp.maximum(jnp.maximum(1 / here.length, here.distance), here.natural)
    scales = jnp.maximum(widest, lowest * _RATIO**4) * _RATIO ** -jnp.arange(_SCALES, dtype=gradient.dtype)
    slope = euclidean_norm(gradient)
    slopes = jnp.matmul(units, gradient, precision="highest")

    def values(scale: Float[Array, ""]) -> Float[Array, "2 directions"]:
        steps = scale * jnp.concatenate([units, -units])
        return jax.lax.map(here.phi, steps).reshape(2, -1)  # one in memory at a time

    ahead = jax.lax.map(values, scales)
    h = scales[:, None, None]
    linear = h * jnp.stack([slopes, -slopes])[None]
    rest = jnp.abs((ahead - here.value) - linear - h**2 * curvatures[None, None] / 2)
    size = jnp.maximum(jnp.abs(ahead), jnp.abs(here.value))
    rounding = _ROUNDINGS * eps * (size + (h + here.distance) * slope) + _ROUNDINGS * here.floor + _MOVES * here.least
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
    broken = jnp.any(twice & ~later[1:])
    return ~broken | _explained_below(here, slopes[0], curvatures[0], zero_level, scales[-1])


def _explained_below(
    here: Around, slope: Float[Array, ""], curvature: Float[Array, ""], zero_level: Float[Array, ""], scale: Array
) -> Bool[Array, ""]:
    """Whether the derivatives explain the loss at some length far below the scales that were looked at.

    Where all that happens to the loss happens within a smaller distance, those scales see it from outside only.
    """
    lengths, changes, shown = here.trials
    model = lengths[None] * jnp.stack([slope, -slope])[:, None] + (lengths**2 * curvature / 2)[None]
    near = jnp.abs(changes - model) <= _NEAR * (lengths**2 * jnp.abs(curvature) / 2)[None]
    return (jnp.abs(curvature) > zero_level) & jnp.any(shown & (lengths < scale) & jnp.all(near, axis=0))
