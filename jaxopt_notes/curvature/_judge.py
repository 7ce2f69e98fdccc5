"""The rules by which what was measured around a point becomes its verdict."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._ahead import Ahead, look_ahead
from ._around import Around
from ._kinks import is_smooth
from ._lanczos import euclidean_norm
from ._null_space import NullSpace, defect
from ._operators import Product, flatten
from ._spectrum import Spectrum
from ._verdict import CriticalPoint, Kind

_ROUNDINGS = 32  # of the loss and of the parameters: the size of predicted decrease that counts as none


class Asked(NamedTuple):
    """What the caller asks for, beside the point.

    Attributes:
        gradient_tolerance: the gradient norm that counts as zero; None where the predicted decrease decides.
        moved: how far the point was moved before it is judged, in units of the parameters.
        length: of the region that the point was searched in; parameters are known to rounding of this size.
        curvature: a size of |H| in this region, whose rounding counts as zero: terms that cancel at the point leave
            rounding that |H| there does not show.
    """

    gradient_tolerance: Any = None
    moved: Any = 0.0
    length: Any = 0.0
    curvature: Any = 0.0


class Evidence(NamedTuple):
    """What was measured, in the units of `here`.

    Attributes:
        here: the loss around the point.
        gradient: without its part along known null directions.
        product: with the Hessian.
        spectrum: of the Hessian.
        ahead: what the Newton step shows.
        smooth: whether the derivatives explain the loss.
        space: known null directions.
    """

    here: Around
    gradient: Float[Array, " n"]
    product: Product
    spectrum: Spectrum
    ahead: Ahead
    smooth: Bool[Array, ""]
    space: NullSpace | None


def gather(
    here: Around, gradient: Float[Array, " n"], product: Product, spectrum: Spectrum, space: NullSpace | None
) -> Evidence:
    """The spectrum of a loss that can be evaluated, completed by what lies ahead of the point and around it."""
    ahead = look_ahead(
        here.derivatives(spectrum.step), spectrum.probes, spectrum.along, spectrum.norm, spectrum.zero_level
    )
    smooth = is_smooth(here, gradient, spectrum.units, spectrum.curvatures, spectrum.norm, spectrum.zero_level)
    slope = gradient if space is None else space.complement(gradient)
    return Evidence(here, slope, product, spectrum, ahead, smooth, space)


def judge(seen: Evidence, params: PyTree, asked: Asked) -> CriticalPoint:
    """The verdict: the counts, and criticality."""
    here, spectrum, ahead = seen.here, seen.spectrum, seen.ahead
    values, zero = spectrum.eigenvalues, spectrum.zero_level
    uphill = jnp.vdot(seen.gradient, spectrum.direction, precision="highest") > 0
    direction = jnp.where(uphill, -1, 1) * spectrum.direction
    size, length = euclidean_norm(seen.gradient), euclidean_norm(spectrum.step)
    finite = spectrum.finite & jnp.isfinite(here.value) & jnp.isfinite(size) & ~jnp.isnan(values[0])
    around = here.distance + (asked.moved + asked.length) / here.length
    curvature = jnp.maximum(spectrum.norm, here.of_curvature(asked.curvature))
    hidden = _hidden(here, here.value, around, curvature)
    gradient_norm = here.slope(size)
    if asked.gradient_tolerance is None:
        tolerance = jnp.full_like(gradient_norm, jnp.nan)
        critical = finite & (spectrum.decrease <= hidden)
    else:
        tolerance = jnp.asarray(asked.gradient_tolerance, gradient_norm.dtype)
        critical = finite & (gradient_norm <= tolerance)
    # Away from critical points the signs are those of the point itself.
    counts = ahead.settled | ~critical
    negative = _number(counts & (values < -zero)) * (spectrum.below < -zero).astype(jnp.int32)
    positive = _number(counts & (values > zero))
    turning = critical & jnp.any((jnp.abs(values) > zero) & ~ahead.settled)
    interval = spectrum.interval + jnp.stack([-zero, zero])
    null = jnp.any((jnp.abs(values) <= zero) & (spectrum.residuals <= zero))
    kind = _kind(finite, critical, negative, positive, turning, interval, null)
    lost, rank, wrong = _checked_space(seen, size)
    kind = jnp.where(critical & wrong, jnp.int32(Kind.UNDECIDED), kind)
    kind = jnp.where(finite & ~seen.smooth, jnp.int32(Kind.UNDECIDED), kind)

    def known(value: Array) -> Array:
        return jnp.where(finite, value, jnp.nan)

    def in_units(value: Array) -> Array:
        return known(here.curvature(value))

    eigenvalues = in_units(values)
    return CriticalPoint(
        kind=kind,
        index=jnp.where(finite, negative, 0),
        positive=jnp.where(finite, positive, 0),
        eigenvalues=eigenvalues,
        residuals=in_units(spectrum.residuals),
        smallest=eigenvalues[0],
        largest=in_units(spectrum.largest),
        interval=in_units(interval),
        loss=here.loss(here.value),
        gradient_norm=gradient_norm,
        decrease=known(here.loss(spectrum.decrease)),
        decrease_tolerance=known(here.loss(hidden)),
        gradient_tolerance=tolerance,
        critical=critical,
        zero_level=in_units(zero),
        curvature_below=in_units(spectrum.below),
        escape_direction=flatten(params)[1](known(direction)),
        flatness=known(_flatness(spectrum, size)),
        smooth=seen.smooth,
        settled=~turning,
        hessian_change=known(jnp.max(ahead.change)),
        newton_step=known(here.length * length),
        polish_helps=_polish_helps(seen, size, length, finite & ~critical & seen.smooth),
        moved=jnp.asarray(asked.moved, here.length.dtype),
        null_rank=rank,
        null_defect=in_units(lost),
        point=params,
        probability=spectrum.probability,
        matvecs=spectrum.matvecs + (0 if seen.space is None else 1),
        exact=spectrum.exact,
    )


def _checked_space(seen: Evidence, size: Array) -> tuple[Array, Array, Bool[Array, ""]]:
    """|Hu| for a u among the known null directions, their rank, and whether u is no null direction."""
    zero, space = seen.spectrum.zero_level, seen.space
    if space is None:
        return jnp.zeros_like(zero), jnp.int32(0), jnp.bool_(False)
    lost = defect(space, seen.product, jax.random.key(0))
    # A symmetry's generator A gives H A x = -A' g, so near a critical point the defect may be of the size of |g|.
    return lost, space.rank, ~(lost <= zero + 4 * size * seen.here.length / space.longest)


def _hidden(here: Around, value: Array, distance: Array, norm: Array) -> Float[Array, ""]:
    """The decrease that the rounding of the loss and of parameters of size `distance` can hide."""
    return _ROUNDINGS * (here.eps * jnp.abs(value) + norm * (here.eps * distance) ** 2 + here.floor)


def _polish_helps(seen: Evidence, size: Array, length: Array, asked: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether one Newton step, over which the inertia holds, leads to a critical point."""
    here, spectrum, ahead = seen.here, seen.spectrum, seen.ahead
    fall = jnp.where(size > 0, ahead.gradient_norm / jnp.where(size > 0, size, 1), 0)
    hidden = _hidden(here, ahead.value, here.distance + length, spectrum.norm)
    settled = jnp.all(ahead.settled | ~(jnp.abs(spectrum.eigenvalues) > spectrum.zero_level))
    return asked & settled & (length > 0) & (spectrum.decrease * fall * fall <= hidden)


def _flatness(spectrum: Spectrum, gradient_norm: Array) -> Float[Array, ""]:
    """|Hg| / (|H| |g|); without curvature nothing is flat in comparison, so a mere slope has 1."""
    steepness = spectrum.norm * gradient_norm
    return jnp.where(steepness > 0, spectrum.image_of_gradient / jnp.where(steepness > 0, steepness, 1), 1)


def _kind(
    finite: Array, critical: Array, negative: Array, positive: Array, turning: Array, interval: Array, null: Array
) -> Int[Array, ""]:
    """The first rule that holds."""
    # A saddle needs one sure sign of each kind, so it comes before eigenvalues that are rounding. A minimum needs every
    # sign, which the bounds on the whole spectrum give, so it comes last.
    rules = [
        (~finite, Kind.UNDECIDED),
        (~critical, Kind.NOT_CRITICAL),
        ((negative > 0) & (positive > 0), Kind.SADDLE),
        (null, Kind.DEGENERATE),
        (turning, Kind.UNDECIDED),
        (interval[0] > 0, Kind.MINIMUM),
        (interval[1] < 0, Kind.MAXIMUM),
    ]
    return jnp.select([rule for rule, _ in rules], [jnp.int32(kind) for _, kind in rules], jnp.int32(Kind.UNDECIDED))


def _number(mask: Bool[Array, " m"]) -> Int[Array, ""]:
    return jnp.sum(mask, dtype=jnp.int32)
