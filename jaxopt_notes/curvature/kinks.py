"""Whether a loss has the derivatives around a point that JAX computes at it, without which they prove nothing."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .around import Around, at_each
from .lanczos import euclidean_norm

_SCALES = 8
_RATIO = 4.0  # from one scale to the next
_SMOOTH = _RATIO**2.5  # fall of what the derivatives leave unexplained: at least 4^3 where they are continuous
_BROKEN = _RATIO**1.25  # at most 4 where the slope or the loss jumps
_BENT = _RATIO**2  # where the curvature jumps; a cloud of kinks nearby makes up nearly this, less regularly
_REGULAR = 0.1
_NEAR = 1 / 8  # of the curved part of the quadratic model: how far off it still explains the loss
_ROUNDINGS = 64  # of the losses and of the slope
_TERMS = 16  # roundings of the loss at the widest scale
_CLEAR = 2.0**16  # times the smallest change
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

    From h to h/4 R falls by 64 or more where f is smooth, by 16 at a jump of the second derivative, by 4 or less
    otherwise. Two falls in a row of one of the latter kinds, with none of the first kind on smaller scales, show that f
    is not smooth. The unexplained curvature has to be a quarter of u'Hu.

    Arguments:
        here: the loss around the point; all other arguments are in its units.
        gradient: g.
        units: unit vectors u; the first is `here.unit`.
        curvatures: u'Hu of each.
        norm: |H|.
        zero_level: the rounding of H.

    Returns:
        False if a jump of the loss or of its first or second derivative was seen at the point. True also where it is
        too small to distinguish from rounding, or lies off the lines that were tried.
    """
    eps = here.eps
    lowest = _ROUNDINGS * eps * here.distance  # from here on a step is known to two digits
    # A loss of zero has no size of its own; parameters of about 1 are the usual ones.
    usual = jnp.where(here.value == 0, 1 / here.length, 0)
    widest = eps**0.2 * jnp.maximum(jnp.maximum(usual, here.distance), here.natural)
    scales = jnp.maximum(widest, lowest * _RATIO**4) * _RATIO ** -jnp.arange(_SCALES, dtype=gradient.dtype)
    slope = euclidean_norm(gradient)
    slopes = jnp.matmul(units, gradient, precision="highest")

    lines = jnp.concatenate([units, -units])
    along: Callable[[Array], Array] = lambda line: at_each(lambda scale: here.phi(scale * line), scales, gradient.size)
    ahead = jnp.stack([along(line) for line in lines], axis=1).reshape(_SCALES, 2, -1)
    h = scales[:, None, None]
    linear = h * jnp.stack([slopes, -slopes])[None]
    curved = h * (h * curvatures[None, None] / 2)  # h^2 may overflow
    rest = jnp.abs((ahead - here.value) - linear - curved)
    size = jnp.maximum(jnp.abs(ahead), jnp.abs(here.value))
    rounding = _ROUNDINGS * (eps * (size + (h + here.distance) * slope) + here.floor)
    rounding += _MOVES * _smallest_change(jnp.abs(ahead - here.value), h >= lowest)
    # Terms that cancel at the point do so less at the widest scale.
    rounding += _TERMS * eps * jnp.max(jnp.where(jnp.isfinite(size), size, 0), axis=0, keepdims=True)
    rounding += _MOVES * eps * here.distance * norm * h + h * (h * zero_level)
    seen = jnp.broadcast_to(h >= lowest, rest.shape)
    explained = _explained_below(here, curvatures[0], zero_level, scales[-1])
    return ~_is_broken(rest, rounding, curved, seen) | explained


def _smallest_change(changes: Float[Array, "scales 2 lines"], seen: Bool[Array, "scales ..."]) -> Float[Array, ""]:
    """The smallest change that is not zero, if some are: about the rounding of the terms of the loss."""
    some = jnp.any((changes == 0) & seen)
    least = jnp.min(jnp.where((changes > 0) & seen, changes, jnp.inf))
    return jnp.where(some & (least < jnp.inf), least, 0)


def _is_broken(
    rest: Float[Array, "scales *lines"],
    rounding: Float[Array, "scales *lines"],
    curved: Float[Array, "scales ..."],
    seen: Bool[Array, "scales *lines"],
) -> Bool[Array, ""]:
    """Whether what is left falls as it does where f or a derivative jumps."""
    # Down to the first scale that rounding hides, or at which the step itself is rounding; above, f may be infinite.
    hidden = (rest <= rounding) | ~seen
    clear = (rest > rounding) & (jnp.cumsum(hidden, axis=0, dtype=jnp.int32) == 0)
    below = jnp.maximum(rest[1:], rounding[1:])
    falls = rest[:-1] / jnp.where(below > 0, below, 1)
    smooth = clear[:-1] & (falls >= _SMOOTH) & seen[1:]
    jumps = clear[1:] & (falls <= _BROKEN)
    bends = clear[1:] & (jnp.abs(falls / _BENT - 1) <= _REGULAR) & (rest[1:] >= jnp.abs(curved[1:]) / 4)
    smooth_below = jnp.cumsum(smooth[::-1], axis=0, dtype=jnp.int32)[::-1] > 0
    twice = (jumps[1:] & jumps[:-1]) | (bends[1:] & bends[:-1])
    return jnp.any(twice & ~smooth_below[1:])


def _explained_below(
    here: Around, curvature: Float[Array, ""], zero_level: Float[Array, ""], scale: Float[Array, ""]
) -> Bool[Array, ""]:
    """Whether the Hessian explains the loss at some length far below the scales that were looked at.

    Where all that happens to the loss happens within a smaller distance, those scales see it from outside only.
    """
    lengths, changes, sizes, clear = here.trials
    curved = lengths * (lengths * curvature / 2)
    near = jnp.abs(changes - curved) <= _NEAR * jnp.abs(curved)
    # Well above the smallest change there is, where squares underflow inside of the loss.
    least = jnp.min(jnp.where(sizes > 0, sizes, jnp.inf))
    clear = clear & (sizes > _CLEAR * (least + here.floor)) & (lengths < scale)
    return (jnp.abs(curvature) > zero_level) & jnp.any(clear & near)
