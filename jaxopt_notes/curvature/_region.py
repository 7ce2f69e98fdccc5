"""The arguments of a search: its starts, the box that it is confined to, and the periods of the loss."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._hoist import hoist
from .._jaxpr import precise
from .._kept import PerProgram
from ._null_space import checked_null_directions
from ._operators import check_dense, flatten, prepared
from ._search import Field

_LOOKED_AT = 8  # starts at which it is checked that the loss has the period
EDGE = 1e-6  # of a period: how far below the side of the box a point may be reported


def checked_field(
    loss: Callable[..., Any], starts: PyTree, args: tuple[Any, ...], null_directions: Any
) -> tuple[Field, Array]:
    """The checked problem, and the starts as flat vectors."""
    starts = jax.tree.map(jnp.asarray, _checks.params("starts", starts))
    if not _checks.examples("starts", starts, low=0):
        raise ValueError("starts must hold at least one start, got a leading axis of length 0")
    one = jax.tree.map(lambda leaf: leaf[0], starts)
    try:
        one, program, constants = prepared(loss, one, args)
    except Exception as error:
        if not _is_point(loss, starts, args):
            raise
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(starts)]
        raise ValueError(
            f"starts must have a leading axis of starts in every leaf, got one start, of shape "
            f"{shapes[0] if len(shapes) == 1 else shapes}; for a search from it alone pass "
            f"jax.tree.map(lambda leaf: leaf[None], start)"
        ) from error
    check_dense(sum(leaf.size for leaf in jax.tree.leaves(one)))
    flat = jax.vmap(lambda start: flatten(start)[0])(starts)
    if null_directions is None:
        return Field(program, constants, one, args), flat
    directions = null_directions(one) if callable(null_directions) else null_directions
    directions = checked_null_directions(directions, one)
    of_params = null_directions if callable(null_directions) else lambda params: directions
    return Field(program, constants, one, args, *precise(hoist)(of_params, one)), flat


def _is_point(loss: Callable[..., Any], params: PyTree, args: tuple[Any, ...]) -> bool:
    """Whether the loss takes these parameters."""
    try:
        _checks.scalar_loss(loss, params, *args)
    except Exception:
        return False
    return True


def _like(name: str, side: PyTree, one: PyTree) -> Float[Array, " n"]:
    """A number or pytree as a flat vector like the parameters."""
    try:
        whole = np.asarray(side) if isinstance(one, jax.Array) else jax.tree.broadcast(side, one)
        like = jax.tree.map(lambda s, leaf: jnp.broadcast_to(jnp.asarray(s, leaf.dtype), leaf.shape), whole, one)
        return flatten(like)[0]
    except (TypeError, ValueError) as error:
        shapes = jax.tree.map(np.shape, one)
        accepted = f"a number or a pytree like one start, of shapes {shapes}"
        raise ValueError(f"{name} must be {accepted}, got {side!r}") from error


def checked_limits(box: tuple[Any, Any] | None, one: PyTree, flat: Array) -> tuple[Array, Array]:
    """The two corners as flat vectors."""
    if box is None:
        return jnp.full(flat.shape[1], -jnp.inf, flat.dtype), jnp.full(flat.shape[1], jnp.inf, flat.dtype)
    if not (isinstance(box, tuple | list) and len(box) == 2):
        raise TypeError(f"box must be (lower, upper), got {box!r}")
    lower, upper = (_like("box", side, one) for side in box)
    if not bool(jnp.all(lower < upper)):
        raise ValueError(f"box needs lower < upper everywhere, got {box!r}")
    return lower, upper


def checked_periods(period: Any, field: Field, flat: Array) -> Float[Array, " n"]:
    """The period of every parameter, infinite along what does not repeat."""
    if period is None:
        return jnp.full(flat.shape[1], jnp.inf, flat.dtype)
    periods = _like("period", period, field.like)
    if not bool(jnp.all(periods > 0)):
        raise ValueError(f"period must be above 0, or infinite where nothing repeats, got {period!r}")
    gap, hidden = map(np.asarray, _mismatch(field, flat[:_LOOKED_AT], jnp.where(jnp.isfinite(periods), periods, 0)))
    if (gap > hidden).any():
        at, entry = np.unravel_index(np.argmax(gap - hidden), gap.shape)
        raise ValueError(
            f"period must be a period of the loss: {float(periods[entry]):.6g} later in entry {entry} of the flattened "
            f"parameters the loss differs by {gap[at, entry]:.3g} from that at start {at}"
        )
    return periods


@functools.partial(PerProgram, precise=True, program_of=lambda field: field.program, leading=False)
def _mismatch(field: Field, flat: Float[Array, "starts n"], periods: Float[Array, " n"]) -> tuple[Array, Array]:
    """By how much the loss differs one period later, and how much rounding may explain."""

    def one(point: Array) -> tuple[Array, Array]:
        value, slope = field.loss(point), jnp.linalg.norm(field.gradient(point))
        later = jax.vmap(field.loss)(point[None] + jnp.diag(periods))
        rounding = float(jnp.finfo(point.dtype).eps) ** 0.5 * (jnp.abs(value) + jnp.abs(later) + slope * periods)
        return jnp.abs(later - value), rounding

    return jax.vmap(one)(flat)


def within_period(ends: Float[Array, "starts n"], lower: Array, periods: Array) -> Float[Array, "starts n"]:
    """The equivalent ends at most a period above the lower side of the box, or above 0 without."""
    begin = jnp.where(jnp.isfinite(lower), lower, 0)[None]
    length = jnp.where(jnp.isfinite(periods), periods, 1)[None]
    turns = jnp.floor((ends - begin) / length + EDGE)  # what rounding puts just below the side stays there
    return ends - jnp.where(jnp.isfinite(periods)[None] & (turns != 0), turns * length, 0)
