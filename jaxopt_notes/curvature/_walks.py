"""Whether two ends of Newton's method are the same critical point, or lie on one continuum of them."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._kept import PerProgram
from ._polish import halved
from ._search import Field, Modes

_PROBES = 16
_SLACK = 4.0  # times the largest of so many samples of the rounding of the gradient
_POLISH, _CORRECTIONS = 4, 4  # Newton steps before a walk, and after each step of it
_ASIDE = 1e-2  # of the distance: the goal of a walk, moved off points from which no direction leads nearer
_LIMIT = 256  # steps of a walk
_EXCURSIONS = (1 / 16, 1 / 64)  # of the region: how far a flat direction is followed to tell a continuum from a point


class Refined(NamedTuple):
    """Ends after some more steps, and what rounding hides there.

    Attributes:
        points: the ends.
        tolerance: gradients of at most this norm are none.
        blur: losses that differ by at most this much are equal.
    """

    points: Float[Array, "ends n"]
    tolerance: Float[Array, " ends"]
    blur: Float[Array, " ends"]


_per_field = functools.partial(PerProgram, precise=True, program_of=lambda field: field.program, leading=False)


@_per_field
def refined(field: Field, points: Float[Array, "ends n"], diagonal: Float[Array, ""]) -> Refined:
    """Polish the ends, and measure the rounding of the gradient and of the loss: what moves by some units in the last
    place change in them beyond what the Hessian and the gradient explain.
    """

    def one(point: Float[Array, " n"]) -> Refined:
        def polish(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
            place, gradient = state
            modes = field.modes(place)
            new, slope, falls = halved(field.gradient, place, gradient, modes.vectors @ modes.newton())
            return jnp.where(falls, new, place), jnp.where(falls, slope, gradient)

        place, gradient = jax.lax.fori_loop(0, _POLISH, polish, (point, field.gradient(point)))
        _, hessian, dtype = field.hessian(place)
        unit = 4 * float(jnp.finfo(dtype).eps) * (jnp.linalg.norm(place) + diagonal / 8)
        # A fixed key: the same ends are merged at every call.
        moves = unit * jax.random.uniform(jax.random.key(0), (_PROBES, place.size), place.dtype, -1, 1)
        losses, gradients = jax.vmap(jax.value_and_grad(field.loss))(place[None] + moves)
        noise = jnp.max(jnp.linalg.norm(gradients - gradient[None] - moves @ hessian.T, axis=1))
        blur = jnp.max(jnp.abs(losses - field.loss(place) - moves @ gradient))
        return Refined(place, _SLACK * jnp.maximum(noise, jnp.linalg.norm(gradient)), _SLACK * blur)

    return jax.vmap(one)(points)


class _Walk(NamedTuple):
    place: Float[Array, " n"]
    stride: Float[Array, ""]
    steps: Int[Array, ""]
    going: Bool[Array, ""]


@_per_field
def arrives(
    field: Field,
    points: Float[Array, "ends n"],
    goals: Float[Array, "ends n"],
    tolerance: Float[Array, " ends"],
    period: Float[Array, " n"],
    diagonal: Float[Array, ""],
) -> Bool[Array, " ends"]:
    """Whether a walk over critical points leads from each point to its goal.

    It goes along directions in which the gradient does not change, straight towards the goal, and Newton's method
    brings it back after every step. Between distinct points the gradient rises out of its rounding, and the walk ends.
    """

    def one(point: Array, goal: Array, within: Array) -> Bool[Array, ""]:
        eps = float(jnp.finfo(point.dtype).eps)
        aside = jnp.sin(jnp.arange(1, point.size + 1, dtype=point.dtype))
        aside = _ASIDE * aside / jnp.linalg.norm(aside)

        def gap(place: Array) -> Array:
            return nearest(goal - place, period)

        begun = jnp.linalg.norm(gap(point))
        reach = jnp.maximum(1e-5 * begun, 256 * eps * (diagonal + jnp.linalg.norm(goal)))

        def step(walk: _Walk) -> _Walk:
            modes, missing = field.modes(walk.place), gap(walk.place)
            distance = jnp.linalg.norm(missing)
            stride = jnp.minimum(walk.stride, distance)
            move = _along_flat(modes, missing + distance * aside, stride, within)
            length = jnp.linalg.norm(move)
            move = move * jnp.minimum(1, stride / jnp.where(length > 0, length, 1))
            place, critical = corrected(field, walk.place + move, within, stride)
            held = critical & (jnp.linalg.norm(place - walk.place - move) <= jnp.linalg.norm(move) / 2)
            place = jnp.where(held, place, walk.place)
            stride = jnp.where(held, 2 * walk.stride, stride / 4)
            left = jnp.linalg.norm(gap(place))
            going = (left > reach) & (length > 1e-4 * distance) & (stride > 1e-3 * distance)
            return _Walk(place, stride, walk.steps + 1, going & (walk.steps < _LIMIT))

        first = _Walk(point, diagonal / 8, jnp.int32(0), begun > reach)
        last = jax.lax.while_loop(lambda walk: walk.going, step, first)
        return jnp.linalg.norm(gap(last.place)) <= reach

    return jax.vmap(one)(points, goals, tolerance)


def nearest(gap: Float[Array, "*ends n"], period: Float[Array, " n"]) -> Float[Array, "*ends n"]:
    """The shortest of all equivalent differences; the period is infinite along what does not repeat."""
    turns = jnp.round(gap / period)
    return gap - jnp.where(turns == 0, 0, turns * jnp.where(jnp.isfinite(period), period, 0))


def _along_flat(modes: Modes, wanted: Array, stride: Array, within: Array) -> Float[Array, " n"]:
    """The part of a move along which, so far, the gradient does not leave its rounding."""
    flat = (jnp.abs(modes.values) <= modes.zero) | (jnp.abs(modes.values) * stride <= 2 * within)
    return modes.vectors @ jnp.where(flat, wanted @ modes.vectors, 0)


def corrected(field: Field, place: Array, within: Array, stride: Array) -> tuple[Array, Bool[Array, ""]]:
    """A point after some Newton steps no longer than the stride, none where its gradient is rounding, and whether it
    is critical then.
    """

    def correct(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        place, norm = state
        modes = field.modes(place)
        move = modes.vectors @ jnp.clip(modes.newton(), -stride, stride)
        new = jnp.where(norm > within, place + move, place)
        return new, jnp.linalg.norm(field.gradient(new))

    first = (place, jnp.linalg.norm(field.gradient(place)))
    place, norm = jax.lax.fori_loop(0, _CORRECTIONS, correct, first)
    return place, norm <= within


@_per_field
def dimensions(
    field: Field, points: Float[Array, "ends n"], tolerance: Float[Array, " ends"], diagonal: Float[Array, ""]
) -> Int[Array, " ends"]:
    """The number of flat directions along which critical points go on far beyond what rounding hides."""

    def one(point: Array, within: Array) -> Int[Array, ""]:
        modes = field.modes(point)

        def reaches(vector: Array, far: Array) -> Bool[Array, ""]:
            place, critical = corrected(field, point + far * vector, within, jnp.abs(far))
            return critical & (jnp.linalg.norm(place - point) >= jnp.abs(far) / 2)

        lengths = jnp.asarray([sign * share for share in _EXCURSIONS for sign in (1, -1)], point.dtype) * diagonal
        reached = jax.vmap(lambda vector: jax.vmap(lambda far: reaches(vector, far))(lengths))(modes.vectors.T)
        shortest = jnp.min(jnp.abs(lengths))
        flat = (jnp.abs(modes.values) <= modes.zero) | (jnp.abs(modes.values) * shortest <= within)
        return jnp.sum(flat & jnp.any(reached, axis=1), dtype=jnp.int32)

    return jax.vmap(one)(points, tolerance)


@_per_field
def fades(
    field: Field, points: Float[Array, "ends n"], ends: Float[Array, "ends n"], tolerance: Float[Array, " ends"]
) -> Bool[Array, " ends"]:
    """Whether the gradient on the straight way to an end that escapes is nowhere larger than there."""

    def one(point: Array, end: Array, within: Array) -> Bool[Array, ""]:
        shares = jnp.linspace(0, 1, 17, dtype=point.dtype)[:, None]
        norms = jnp.linalg.norm(jax.vmap(field.gradient)(point[None] + shares * (end - point)[None]), axis=1)
        return jnp.all(norms <= jnp.maximum(norms[-1], within))

    return jax.vmap(one)(points, ends, tolerance)
