"""Whether a loss has the derivatives around a point that JAX computes at it, without which they prove nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._around import Around, Trial, each
from ._lanczos import euclidean_norm

_SCALES = 8
_RATIO = 4.0  # from one scale to the next
_FACTORS = _RATIO ** -np.arange(_SCALES)
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
    slope = euclidean_norm(gradient)
    slopes = jnp.matmul(units, gradient, precision="highest")
    # Ray by ray, ahead and behind on each line, and on each from the widest scale to the smallest.
    lines = len(units)
    line, sign, factor = map(np.ravel, np.meshgrid(np.arange(lines), [1.0, -1.0], _FACTORS, indexing="ij"))
    steps = _Step(jnp.asarray(line, jnp.int32), jnp.asarray(sign, gradient.dtype), jnp.asarray(factor, gradient.dtype))
    losses = each(lambda step: here.phi(widest * step.factor * step.sign * units[step.line]), steps)

    def wider(state: Any, at: tuple[Array, _Step]) -> tuple[Any, Array]:
        """The changes, and the largest loss of each ray, from its smallest scale."""
        (loss, step), (some, least, largest) = at, state
        change, counts = jnp.abs(loss - here.value), widest * step.factor >= lowest
        size = jnp.maximum(jnp.abs(loss), jnp.abs(here.value))
        largest = jnp.where(step.factor == _FACTORS[-1], 0, largest)
        largest = jnp.maximum(largest, jnp.where(jnp.isfinite(size), size, 0))
        least = jnp.minimum(least, jnp.where((change > 0) & counts, change, jnp.inf))
        return (some | ((change == 0) & counts), least, largest), largest

    no, none = jnp.zeros_like(lowest, bool), jnp.zeros_like(lowest)
    infinite = jnp.full_like(lowest, jnp.inf)
    (some, least, _), largest = jax.lax.scan(wider, (no, infinite, none), (losses, steps), reverse=True)
    least = jnp.where(some & (least < jnp.inf), least, 0)

    def fall(state: _Fall, at: tuple[Array, _Step, Array]) -> tuple[_Fall, None]:
        loss, step, largest = at
        first = step.factor == 1
        h = widest * step.factor
        curved = h * (h * curvatures[step.line] / 2)  # h^2 may overflow
        left = jnp.abs(loss - here.value - h * (step.sign * slopes[step.line]) - curved)
        size = jnp.maximum(jnp.abs(loss), jnp.abs(here.value))
        # Terms that cancel at the point do so less at the widest scale.
        largest = jnp.where(first, largest, state.largest)
        rounding = (
            _ROUNDINGS * (eps * (size + (h + here.distance) * slope) + here.floor)
            + (_MOVES * least + _TERMS * eps * largest)
            + (_MOVES * eps * here.distance * norm * h + h * (h * zero_level))
        )
        # Down to the first scale that rounding hides, or at which the step itself is rounding; above, f may be
        # infinite.
        hidden = (state.hidden & ~first) | (left <= rounding) | ~(h >= lowest)
        clear = (left > rounding) & ~hidden
        # Products in place of the quotient of the two, which a compiler would store.
        above, below = state.left, jnp.maximum(left, rounding)
        finite = below < jnp.inf
        again = ~first & (above < jnp.inf)
        jumps = clear & (above <= _BROKEN * below) & again
        bends = clear & (jnp.abs(above - _BENT * below) <= _REGULAR * _BENT * below) & finite & ~first
        bends &= left >= jnp.abs(curved) / 4
        smooth = state.clear & (above >= _SMOOTH * below) & finite & (h >= lowest) & ~first
        broken = (state.broken & ~first) | (jumps & state.jumped) | (bends & state.bent)
        broken &= ~smooth
        ever = state.ever | (broken & (step.factor == _FACTORS[-1]))
        return _Fall(left, largest, clear, hidden, jumps, bends, broken, ever), None

    begin = _Fall(none, none, no, no, no, no, no, no)
    broken = jax.lax.scan(fall, begin, (losses, steps, largest))[0].ever
    return ~broken | _explained_below(here, curvatures[0], zero_level, widest * _FACTORS[-1])


class _Step(NamedTuple):
    line: Any
    sign: Any
    factor: Any


class _Fall(NamedTuple):
    left: Any
    largest: Any
    clear: Any
    hidden: Any
    jumped: Any
    bent: Any
    broken: Any
    ever: Any


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
