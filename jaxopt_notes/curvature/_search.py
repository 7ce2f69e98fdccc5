"""Newton's method on the gradient from many starts at once, and how every start ends."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._hoist import Program
from .._kept import PerProgram
from .._numerics import divide
from ._bounds import zero_level
from ._eigenpairs import eigenpairs
from ._null_space import null_space
from ._operators import flatten, matrix, second_order
from ._polish import halved, newton_move
from ._verdict import CriticalPoint

_MISSES = 3  # steps in a row that lower |g| at no length: it is rounding, or a minimum of |g| that is not zero
_SLOW = (0.4, 0.97)  # ratio of successive steps of a root of multiplicity 2 to 33, (m - 1) / m
_SHARE = 0.95  # of the way to a multiple root: a step in full would end between the roots of a close pair
_AHEAD = (-1.0, 0.0, 4.0, 16.0, 64.0)  # steps from the end: where |g| is looked at, the first one behind
_SHORT = 1e-4  # of the region: no escape is that slow


class Outcome(enum.IntEnum):
    """How one start ended."""

    FOUND = 0
    GRADIENT_FLAT = 1
    LEFT_BOX = 2
    NOT_CONVERGED = 3
    NON_FINITE = 4
    ESCAPED = 5


class Search(NamedTuple):
    """Where every start ended, before anything is merged; leading axis: the starts."""

    points: Float[Array, "starts n"]
    gradient_norm: Float[Array, " starts"]
    steps: Int[Array, " starts"]
    outcome: Int[Array, " starts"]


class Modes(NamedTuple):
    """Gradient and Hessian at a point along the eigenvectors; eigenvalues within `zero` of zero are rounding."""

    slopes: Float[Array, " n"]
    values: Float[Array, " n"]
    vectors: Float[Array, "n n"]
    zero: Float[Array, ""]

    def newton(self) -> Float[Array, " n"]:
        """-H^-1 g along the eigenvectors, nothing along flat ones."""
        return newton_move(self.values, self.slopes, self.zero)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["constants", "like", "args", "symmetry_constants"],
    meta_fields=["program", "symmetry"],
)
@dataclass(frozen=True)
class Field:
    """The gradient of a loss as a vector field on flat parameters, modulo the symmetries given.

    Attributes:
        program, constants: the traced loss.
        like: parameters; only their shapes and dtypes matter.
        args: further arguments of the loss.
        symmetry, symmetry_constants: the traced function from parameters to null directions, None without.
    """

    program: Program
    constants: list[Any]
    like: PyTree
    args: tuple[Any, ...]
    symmetry: Program | None = None
    symmetry_constants: Any = ()

    def unflatten(self, point: Float[Array, " n"]) -> PyTree:
        """Parameters from a flat vector."""
        return flatten(self.like)[1](point)

    def loss(self, point: Float[Array, " n"]) -> Float[Array, ""]:
        """The loss."""
        return self.program(self.constants, self.unflatten(point), *self.args).astype(point.dtype)

    def gradient(self, point: Float[Array, " n"]) -> Float[Array, " n"]:
        """The gradient."""
        return jax.grad(self.loss)(point)

    def null_directions(self, params: PyTree) -> PyTree:
        """The null directions given, None without."""
        return None if self.symmetry is None else self.symmetry(self.symmetry_constants, params)

    def hessian(self, point: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"], Any]:
        """Gradient and Hessian, not symmetrised, and the dtype that limits their accuracy."""
        _, gradient, product, dtype = second_order(self.program, self.constants, self.unflatten(point), self.args)
        return gradient, matrix(product, gradient), dtype

    def modes(self, point: Float[Array, " n"]) -> Modes:
        """Gradient and Hessian along the eigenvectors of the part of the Hessian beside the symmetries."""
        gradient, raw, dtype = self.hessian(point)
        hessian = (raw + raw.T) / 2
        asymmetry = jnp.linalg.norm(raw - hessian)
        if self.symmetry is not None:
            space = null_space(self.null_directions(self.unflatten(point)))
            gradient, hessian = space.complement(gradient), space.complement(space.complement(hessian).T)
        values, vectors = eigenpairs(hessian)
        zero = zero_level(jnp.max(jnp.abs(values)), point.size, dtype, asymmetry)
        return Modes(gradient @ vectors, values, vectors, zero)


class _Newton(NamedTuple):
    """One search in progress."""

    point: Float[Array, " n"]
    gradient: Float[Array, " n"]
    steps: Int[Array, ""]
    active: Bool[Array, ""]
    full: Float[Array, " n"]  # the last step, if it was Newton's own in full, else 0
    heading: Float[Array, " n"]  # Newton's last steps in full that are not short, along every eigenvector
    misses: Int[Array, ""]


@functools.partial(
    PerProgram, precise=True, program_of=lambda field: field.program, leading=False, static_argnames=("steps",)
)
def newton(
    field: Field,
    flat: Float[Array, "starts n"],
    lower: Float[Array, " n"],
    upper: Float[Array, " n"],
    longest: Float[Array, ""],
    diagonal: Float[Array, ""],
    *,
    steps: int,
) -> tuple[Array, Array, Array, Array]:
    """Where every start ends, in how many steps, whether it escapes, and the median |H| at the starts.

    A step leaves flat directions alone. At a multiple root Newton's steps shrink by (m - 1) / m only, so along every
    eigenvector the step is m times as long where successive steps show this ratio, if that lowers |g| further
    (Schroeder, 1870). A start escapes if its steps stay long to the end and |g| falls further ahead.
    """
    first = (jnp.int32(0), jax.vmap(functools.partial(_begin, field))(flat))
    step: Callable[[_Newton], _Newton] = jax.vmap(lambda state: _step(field, state, lower, upper, longest, diagonal))

    def unfinished(loop: tuple[Array, _Newton]) -> Array:
        return (loop[0] < steps) & jnp.any(loop[1].active)

    _, last = jax.lax.while_loop(unfinished, lambda loop: (loop[0] + 1, step(loop[1])), first)
    escaped = jax.vmap(lambda state: _escapes(field, state, _SHORT * diagonal))(last)
    norms = jax.vmap(lambda start: jnp.linalg.norm(field.hessian(start)[1]))(flat)
    return last.point, last.steps, escaped, jnp.nanmedian(norms)


def _begin(field: Field, start: Float[Array, " n"]) -> _Newton:
    gradient = field.gradient(start)
    none, still = jnp.int32(0), jnp.zeros_like(start)
    active = jnp.all(jnp.isfinite(gradient)) & jnp.any(gradient != 0)
    return _Newton(start, gradient, none, active, still, still, none)


def _step(field: Field, state: _Newton, lower: Array, upper: Array, longest: Array, diagonal: Array) -> _Newton:
    """One step of Newton's method, longer along directions in which it only creeps."""
    modes, eps = field.modes(state.point), float(jnp.finfo(state.point.dtype).eps)
    plain = jnp.clip(modes.newton(), -longest, longest)  # an escape along one eigenvector must not hold up the others
    move = _at_most(modes.vectors @ plain, longest)
    point, gradient, falls = halved(field.gradient, state.point, state.gradient, move)
    length, moved = jnp.linalg.norm(move), jnp.linalg.norm(point - state.point)
    ratio = divide(plain, state.full @ modes.vectors)
    creeps = (ratio > _SLOW[0]) & (ratio < _SLOW[1])
    multiplicity = jnp.where(creeps, jnp.round(1 / jnp.where(creeps, 1 - ratio, 1)), 1)
    ahead = jnp.abs(modes.values) * ((1 - _SHARE) / 2) ** (multiplicity - 1)  # where the next such step starts
    last = ahead <= 4 * modes.zero
    last = last | (jnp.linalg.norm(multiplicity * plain) <= 16 * eps * diagonal)
    share = jnp.where(creeps & ~last, _SHARE, 1)
    farther = state.point + _at_most(modes.vectors @ (share * multiplicity * plain), longest)
    there = field.gradient(farther)
    better = jnp.any(creeps) & (jnp.linalg.norm(there) < jnp.linalg.norm(gradient))
    full = falls & (moved > 0.75 * length)
    along, before = move @ modes.vectors, state.heading @ modes.vectors
    heading = modes.vectors @ jnp.where(jnp.abs(along) >= _SHORT * diagonal, along, before)
    point, gradient = jnp.where(better, farther, point), jnp.where(better, there, gradient)
    resting = jnp.linalg.norm(point - state.point) <= 2 * eps * jnp.linalg.norm(point)
    norm = jnp.linalg.norm(gradient)
    misses = jnp.where(falls | better, 0, state.misses + 1)
    inside = jnp.all((point >= lower) & (point <= upper))
    new = _Newton(
        point=point,
        gradient=gradient,
        steps=state.steps + 1,
        active=inside & ~resting & (misses < _MISSES) & jnp.isfinite(norm) & (norm > 0),
        full=jnp.where(full & ~better, move, 0),
        heading=jnp.where(full | better, heading, state.heading),
        misses=misses,
    )
    return jax.tree.map(lambda new, old: jnp.where(state.active, new, old), new, state)


def _at_most(move: Float[Array, " n"], longest: Array) -> Float[Array, " n"]:
    length = jnp.linalg.norm(move)
    return move * jnp.minimum(1, longest / jnp.where(length > 0, length, 1))


def _escapes(field: Field, state: _Newton, short: Array) -> Bool[Array, ""]:
    """Whether |g| falls without end along the last long step, in directions in which the point is not yet at a root; at
    a multiple root it grows again behind the root.
    """
    modes = field.modes(state.point)
    heading = state.heading @ modes.vectors
    onward = (jnp.abs(modes.values) <= modes.zero) | (jnp.abs(modes.newton()) >= jnp.abs(heading) / 4)
    heading = modes.vectors @ jnp.where(onward, heading, 0)
    ahead = state.point[None] + jnp.asarray(_AHEAD, state.point.dtype)[:, None] * heading[None]
    norms = jnp.linalg.norm(jax.vmap(field.gradient)(ahead), axis=1)
    falls = jnp.all(norms[1:] <= norms[:-1]) & (norms[0] > norms[1])  # on a continuum it is as small behind
    return falls & (jnp.linalg.norm(heading) >= short)


def outcomes(
    points: Float[Array, "starts n"],
    verdicts: CriticalPoint,
    escaped: Bool[Array, " starts"],
    lower: Float[Array, " n"],
    upper: Float[Array, " n"],
) -> Int[Array, " starts"]:
    """The first rule that holds for every start."""
    inside = jnp.all((points >= lower[None]) & (points <= upper[None]), axis=1)
    rules = [
        (~jnp.isfinite(verdicts.smallest) | ~jnp.all(jnp.isfinite(points), axis=1), Outcome.NON_FINITE),
        (~inside, Outcome.LEFT_BOX),
        (escaped, Outcome.ESCAPED),
        (verdicts.critical, Outcome.FOUND),
        (verdicts.gradient_flat, Outcome.GRADIENT_FLAT),
    ]
    codes = [jnp.int32(outcome) for _, outcome in rules]
    return jnp.select([rule for rule, _ in rules], codes, jnp.int32(Outcome.NOT_CONVERGED))
