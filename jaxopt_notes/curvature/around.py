"""A loss around a point, in units in which its derivatives neither vanish nor overflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from .._hoist import Program
from .._numerics import underflow
from .lanczos import euclidean_norm
from .operators import Product, coarsest_dtype, flatten, linearised

_STEP = 2.0**12  # from one length tried to the next
_EXPONENTS = np.arange(-120, 121, 12)  # of the lengths tried, in powers of two: those of float32
_AT_ONCE = 100  # parameters up to which all displaced points are evaluated together
_ROUNDINGS = 16  # of the loss: a smaller change shows no length


class Trials(NamedTuple):
    """How the loss changes over lengths of all sizes, along one line through the point.

    Attributes:
        lengths: ascending, in units of the parameters.
        changes: of the loss, the mean of that ahead of the point and that behind it.
        sizes: the larger of the two; infinite where the loss is not finite.
        clear: whether it is finite and more than rounding.
    """

    lengths: Float[Array, " lengths"]
    changes: Float[Array, " lengths"]
    sizes: Float[Array, " lengths"]
    clear: Bool[Array, " lengths"]


class Around(NamedTuple):
    """phi(d) = scale f(x + length d) for flat vectors d; `scale` and `length` are powers of two, so no bit is lost.

    All that is judged is homogeneous in both, so a smooth f has the same verdict as c f and as f(x / s).

    Attributes:
        phi: the function.
        value: phi(0).
        length: in units of the parameters: near `natural`. Shape ().
        scale: in units of 1 / loss, so that phi changes by about 1 over a distance of 1. Shape ().
        natural: the distance over which the loss changes by its own size, in units of `length`; 0 where none was seen.
        point: x as a flat vector.
        distance: |x| / length.
        unit: the direction in which lengths were tried.
        trials: in units of `length` and 1 / `scale`.
        floor: what phi rounds to zero.
        dtype: the coarsest one of the loss and its parameters.
    """

    phi: Any  # a function
    value: Float[Array, ""]
    length: Float[Array, ""]
    scale: Float[Array, ""]
    natural: Float[Array, ""]
    point: Float[Array, " n"]
    distance: Float[Array, ""]
    unit: Float[Array, " n"]
    trials: Trials
    floor: Float[Array, ""]
    dtype: Any

    @property
    def eps(self) -> float:
        """The relative rounding of the loss."""
        return float(jnp.finfo(self.dtype).eps)

    def derivatives(self, displacement: Float[Array, " n"]) -> tuple[Float[Array, ""], Float[Array, " n"], Product]:
        """Value, gradient and Hessian product of phi there."""
        return linearised(self.phi, displacement)

    def loss(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """A value of phi in units of the loss."""
        return value / self.scale

    def slope(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Components of the gradient of phi in units of that of the loss."""
        return _times(value, 1 / (self.scale * self.length))

    def curvature(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Entries of the Hessian of phi in units of that of the loss; infinite or 0 where those have no such number."""
        return _times(value, 1 / (self.scale * self.length) / self.length)

    def of_curvature(self, value: Any) -> Float[Array, ""]:
        """The inverse of `curvature`."""
        return _times(jnp.asarray(value, self.value.dtype), (self.scale * self.length) * self.length)


def around(
    program: Program, constants: Sequence[Any], params: PyTree, args: Sequence[Any], unit: Float[Array, " n"]
) -> Around:
    """The loss around a point; 43 evaluations choose the units.

    Arguments:
        program, constants: of the loss.
        params: the point, real floating arrays.
        args: further arguments of the loss.
        unit: the direction in which lengths are tried, a flat unit vector.

    Returns:
        `Around`; its units are 1 where no length shows a change of the loss.
    """
    point, unflatten = flatten(params)
    returned = jax.eval_shape(program, constants, params, *args)
    dtype = coarsest_dtype(*jax.tree.leaves(params), returned)

    def loss(vector: Float[Array, " n"]) -> Float[Array, ""]:
        return program(constants, unflatten(vector), *args).astype(point.dtype)

    lengths = jnp.asarray(2.0**_EXPONENTS, point.dtype)
    # The point is one of them: compiled apart, the loss there may differ by rounding.
    scales = jnp.concatenate([lengths, -lengths, jnp.zeros(1, point.dtype)])
    values = at_each(lambda length: loss(point + length * unit), scales, point.size)
    eps = float(jnp.finfo(dtype).eps)
    value, trials = values[-1], _trials(lengths, values, eps)
    length, scale, natural = _units(trials, value)
    return Around(
        phi=lambda displacement: scale * loss(point + length * displacement),
        value=scale * value,
        length=length,
        scale=scale,
        natural=natural / length,
        point=point,
        distance=euclidean_norm(point / length),
        unit=unit,
        trials=Trials(trials.lengths / length, trials.changes * scale, trials.sizes * scale, trials.clear),
        floor=scale * underflow(dtype),
        dtype=dtype,
    )


def random_unit(size: int, dtype: Any, seed: int = 0) -> Float[Array, " n"]:
    """A unit vector of random direction, always the same."""
    vector = jax.random.normal(jax.random.key(seed), (size,), dtype)
    return vector / euclidean_norm(vector)


def at_each(function: Callable[[Array], Array], values: Float[Array, " k"], size: int) -> Array:
    """A function of each value: of many parameters one after the other, to hold one displaced point in memory."""
    return jax.lax.map(function, values) if size > _AT_ONCE else jax.vmap(function)(values)


def _trials(lengths: Float[Array, " lengths"], values: Float[Array, " points"], eps: float) -> Trials:
    """The changes of the loss, from its values ahead, behind and at the point."""
    value, changes = values[-1], values[:-1].reshape(2, -1) - values[-1]
    sizes = jnp.max(jnp.abs(changes), axis=0)
    sizes = jnp.where(jnp.isfinite(sizes), sizes, jnp.inf)
    clear = (sizes > _ROUNDINGS * eps * jnp.abs(value)) & (sizes < jnp.inf)
    return Trials(lengths, jnp.mean(changes, axis=0), sizes, clear)


def _units(trials: Trials, value: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Length, scale, and natural length.

    Only lengths count over which the change rises, from the first that shows one: a jump at the point is the same for
    all short lengths, and a wave is the same again for long ones.
    """
    sizes = trials.sizes
    rises = trials.clear & (sizes >= 4 * jnp.append(jnp.inf, sizes[:-1]))
    began = jnp.cumsum(rises, dtype=jnp.int32) > 0
    shown = rises & (jnp.cumsum(began & ~rises, dtype=jnp.int32) == 0)
    logs = jnp.log2(jnp.where(shown, sizes, 1))
    first, found = jnp.argmax(shown), jnp.any(shown)
    size = jnp.abs(value)
    nothing = size == 0
    # A loss of zero has the first as its natural length, and the next one, well above what underflows, as its unit.
    target = jnp.where(nothing, logs[first] + 2 * math.log2(_STEP), jnp.log2(jnp.where(nothing, 1, size)))
    best = jnp.argmin(jnp.where(shown, jnp.abs(logs - target), jnp.inf))
    one = jnp.ones_like(value)
    exponent = jnp.clip(-jnp.floor(logs[best]), -120, 120).astype(jnp.int32)
    # Between two of the lengths tried, as for a quadratic.
    between = jnp.clip(jnp.sqrt(size / jnp.where(shown[best], sizes[best], jnp.inf)), _STEP**-0.5, _STEP**0.5)
    natural = jnp.where(nothing, trials.lengths[first], trials.lengths[best] * between)
    length = jnp.where(found, trials.lengths[best], one)
    return length, jnp.where(found, jnp.ldexp(one, exponent), one), jnp.where(found, natural, 0)


def _times(value: Float[Array, "..."], factor: Float[Array, ""]) -> Float[Array, "..."]:
    return jnp.where(value == 0, 0, value * factor)  # 0 also where the factor is infinite
