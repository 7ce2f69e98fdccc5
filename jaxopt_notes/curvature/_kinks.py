"""Whether a loss has the derivatives around a point that JAX computes at it, without which they prove nothing."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._around import Around, Trial, each
from ._lanczos import euclidean_norm

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
    widest = jnp.maximum(widest, lowest * _RATIO**4)
    factors = _RATIO ** -jnp.arange(_SCALES, dtype=gradient.dtype)
    scales = [widest * factor for factor in factors]
    slope = euclidean_norm(gradient)
    slopes = jnp.matmul(units, gradient, precision="highest")

    # At every scale, from the widest to the smallest, ahead and behind on each line.
    rays, of_line = 2 * len(units), np.repeat(np.arange(len(units)), 2)
    signs = jnp.tile(jnp.asarray([1, -1], gradient.dtype), len(units))
    steps = jnp.outer(factors, signs).ravel(), jnp.tile(jnp.asarray(of_line, jnp.int32), _SCALES)
    every = each(lambda step: here.phi(widest * step[0] * units[step[1]]), steps)
    losses = [every[start : start + rays] for start in range(0, rays * _SCALES, rays)]
    seen = [h >= lowest for h in scales]
    least = _smallest_change(losses, here.value, seen)

    def ray(broken: Array, along: tuple[list[Array], Array, Array]) -> tuple[Array, None]:
        values, slope_along, curvature = along
        curved = [h * (h * curvature / 2) for h in scales]  # h^2 may overflow
        linear = [h * slope_along for h in scales]
        rest = [abs(value - here.value - a - b) for value, a, b in zip(values, linear, curved, strict=True)]
        sizes = [jnp.maximum(abs(value), abs(here.value)) for value in values]
        # Terms that cancel at the point do so less at the widest scale.
        largest = functools.reduce(jnp.maximum, [jnp.where(jnp.isfinite(size), size, 0) for size in sizes])
        hidden = _MOVES * least + _TERMS * eps * largest
        rounding = [
            _ROUNDINGS * (eps * (size + (h + here.distance) * slope) + here.floor)
            + hidden
            + (_MOVES * eps * here.distance * norm * h + h * (h * zero_level))
            for size, h in zip(sizes, scales, strict=True)
        ]
        return broken | _is_broken(rest, rounding, curved, seen), None

    none = jnp.zeros_like(lowest, bool)
    broken, _ = jax.lax.scan(ray, none, (losses, signs * slopes[of_line], curvatures[of_line]))
    return ~broken | _explained_below(here, curvatures[0], zero_level, scales[-1])


def _smallest_change(
    losses: list[Float[Array, " rays"]], value: Float[Array, ""], seen: list[Bool[Array, ""]]
) -> Float[Array, ""]:
    """The smallest change that is not zero, if some are: about the rounding of the terms of the loss."""

    def ray(found: tuple[Array, Array], along: list[Array]) -> tuple[tuple[Array, Array], None]:
        some, least = found
        for loss, counts in zip(along, seen, strict=True):
            change = abs(loss - value)
            some |= (change == 0) & counts
            least = jnp.minimum(least, jnp.where((change > 0) & counts, change, jnp.inf))
        return (some, least), None

    (some, least), _ = jax.lax.scan(ray, (jnp.zeros_like(value, bool), jnp.full_like(value, jnp.inf)), losses)
    return jnp.where(some & (least < jnp.inf), least, 0)


def _is_broken(
    rest: list[Float[Array, ""]],
    rounding: list[Float[Array, ""]],
    curved: list[Float[Array, ""]],
    seen: list[Bool[Array, ""]],
) -> Bool[Array, ""]:
    """Whether what is left falls, from scale to scale, as it does where f or a derivative jumps."""
    broken = jumped = bent = hidden = jnp.zeros_like(seen[0])
    clear = []
    for left, size, counts in zip(rest, rounding, seen, strict=True):
        # Down to the first scale that rounding hides, or at which the step itself is rounding; above, f may be
        # infinite.
        hidden |= (left <= size) | ~counts
        clear.append((left > size) & ~hidden)
    for i in range(1, len(rest)):
        # Products in place of the quotient of the two, which a compiler would store.
        above, below = rest[i - 1], jnp.maximum(rest[i], rounding[i])
        finite = below < jnp.inf
        jumps = clear[i] & (above <= _BROKEN * below) & (above < jnp.inf)
        bends = clear[i] & (abs(above - _BENT * below) <= _REGULAR * _BENT * below) & finite
        bends &= rest[i] >= abs(curved[i]) / 4
        smooth = clear[i - 1] & (above >= _SMOOTH * below) & finite & seen[i]
        broken = (broken | (jumps & jumped) | (bends & bent)) & ~smooth
        jumped, bent = jumps, bends
    return broken


def _explained_below(
    here: Around, curvature: Float[Array, ""], zero_level: Float[Array, ""], scale: Float[Array, ""]
) -> Bool[Array, ""]:
    """Whether the Hessian explains the loss at some length far below the scales that were looked at.

    Where all that happens to the loss happens within a smaller distance, those scales see it from outside only.
    """
    # Well above the smallest change there is, where squares underflow inside of the loss.
    enough = _CLEAR * (here.least + here.floor)

    def longer(explained: Array, trial: Trial) -> Array:
        length, change = trial.length / here.length, trial.change * here.scale
        curved = length * (length * curvature / 2)
        near = abs(change - curved) <= _NEAR * abs(curved)
        return explained | (trial.clear & (trial.size * here.scale > enough) & (length < scale) & near)

    return (abs(curvature) > zero_level) & here.trials.fold(longer, jnp.zeros_like(scale, bool))
