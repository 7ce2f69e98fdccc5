"""Whether a loss has the derivatives around a point that JAX computes at it, without which they describe nothing."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

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
    seen, least = _look(here, units, widest, lowest)

    def fall(state: tuple[Array, _Fall], at: _Seen) -> tuple[tuple[Array, _Fall], None]:
        h, first = widest * at.step.factor, at.step.factor == 1
        curved = h * (h * curvatures[at.step.line] / 2)  # h^2 may overflow
        rest = jnp.abs(at.loss - here.value - h * (at.step.sign * slopes[at.step.line]) - curved)
        # Terms that cancel at the point do so less at the widest scale.
        largest = jnp.where(first, at.largest, state[0])
        rounding = (
            _ROUNDINGS * (eps * (_size(here, at.loss) + (h + here.distance) * slope) + here.floor)
            + (_MOVES * least + _TERMS * eps * largest)
            + (_MOVES * eps * here.distance * norm * h + h * (h * zero_level))
        )
        return (largest, _fallen(state[1], first, rest, rounding, curved, h >= lowest)), None

    no, none = jnp.zeros_like(lowest, bool), jnp.zeros_like(lowest)
    fallen = jax.lax.scan(fall, (none, _Fall(none, no, no, no, no, no, no)), seen)[0][1]
    nearest = widest * float(_FACTORS[-1])
    return ~(fallen.known | fallen.broken) | _explained_below(here, curvatures[0], zero_level, nearest)


class _Step(NamedTuple):
    """A place where the loss is looked at."""

    line: Int[Array, ""]
    sign: Float[Array, ""]  # 1 ahead of the point, -1 behind it
    factor: Float[Array, ""]  # of the widest scale; 1 at the first step of a ray


class _Seen(NamedTuple):
    """What was seen there."""

    step: _Step
    loss: Float[Array, ""]
    largest: Float[Array, ""]  # finite loss from here to the point; at the first step, of the ray


def _look(
    here: Around, units: Float[Array, "directions n"], widest: Float[Array, ""], lowest: Float[Array, ""]
) -> tuple[_Seen, Float[Array, ""]]:
    """The loss at every step, and the smallest change that is not zero, if some are: the rounding of its terms.

    Ray by ray, ahead and behind on each line, and on each ray from the widest scale to the smallest.
    """
    places = np.meshgrid(np.arange(len(units)), [1.0, -1.0], _FACTORS, indexing="ij")
    line, sign, factor = (place.ravel() for place in places)
    steps = _Step(jnp.asarray(line, jnp.int32), jnp.asarray(sign, units.dtype), jnp.asarray(factor, units.dtype))

    losses = each(lambda step: here.phi(widest * step.factor * step.sign * units[step.line]), steps)

    def wider(state: tuple[Array, Array, Array], at: tuple[_Step, Array]) -> tuple[tuple[Array, Array, Array], Array]:
        (some, least, largest), (step, loss) = state, at
        h = widest * step.factor
        change, size = jnp.abs(loss - here.value), _size(here, loss)
        some |= (change == 0) & (h >= lowest)
        least = jnp.minimum(least, jnp.where((change > 0) & (h >= lowest), change, jnp.inf))
        smaller = jnp.where(step.factor == steps.factor[-1], 0, largest)  # a ray ends at its smallest scale
        largest = jnp.maximum(smaller, jnp.where(jnp.isfinite(size), size, 0))
        return (some, least, largest), largest

    begin = jnp.zeros_like(lowest, bool), jnp.full_like(lowest, jnp.inf), jnp.zeros_like(lowest)
    (some, least, _), largest = jax.lax.scan(wider, begin, (steps, losses), reverse=True)
    return _Seen(steps, losses, largest), jnp.where(some & (least < jnp.inf), least, 0)


def _size(here: Around, loss: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.maximum(jnp.abs(loss), jnp.abs(here.value))


class _Fall(NamedTuple):
    """What the scales of a ray so far showed."""

    rest: Float[Array, ""]  # at the last scale
    clear: Bool[Array, ""]  # whether that was more than rounding
    hidden: Bool[Array, ""]
    jumped: Bool[Array, ""]
    bent: Bool[Array, ""]
    broken: Bool[Array, ""]
    known: Bool[Array, ""]  # whether a ray before was broken


def _fallen(
    before: _Fall,
    first: Bool[Array, ""],
    rest: Float[Array, ""],
    rounding: Float[Array, ""],
    curved: Float[Array, ""],
    counts: Bool[Array, ""],
) -> _Fall:
    """Whether what is left falls, from scale to scale, as it does where f or a derivative jumps.

    A loop over scalars: under `vmap` arrays with an axis of so few entries are slow and take memory.
    """
    # Down to the first scale that rounding hides, or at which the step itself is rounding; above, f may be infinite.
    hidden = (before.hidden & ~first) | (rest <= rounding) | ~counts
    clear = (rest > rounding) & ~hidden
    # Products in place of the quotient of the two, which a compiler would store.
    above, below = before.rest, jnp.maximum(rest, rounding)
    falls = ~first & (below < jnp.inf)
    jumps = ~first & clear & (above <= _BROKEN * below) & (above < jnp.inf)
    bends = falls & clear & (jnp.abs(above - _BENT * below) <= _REGULAR * _BENT * below)
    bends &= rest >= jnp.abs(curved) / 4
    smooth = falls & before.clear & (above >= _SMOOTH * below) & counts
    broken = (before.broken & ~first) | (jumps & before.jumped) | (bends & before.bent)
    return _Fall(rest, clear, hidden, jumps, bends, broken & ~smooth, before.known | (first & before.broken))


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
