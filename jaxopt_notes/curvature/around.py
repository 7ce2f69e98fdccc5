"""A loss around a point, in units in which its derivatives neither vanish nor overflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._hoist import Program
from .._numerics import underflow
from .lanczos import euclidean_norm
from .operators import Product, coarsest_dtype, flatten, linearised

_EXPONENTS = np.arange(-120, 121, 12)  # of the lengths tried, in powers of two: those of float32
_SMALL = 2.0**-94  # of losses that are zero at the point: the change to look for, well above what float32 rounds to 0
_ROUNDINGS = 16  # of the loss: a smaller change shows no length


class Around(NamedTuple):
    """phi(d) = scale f(x + length d) for flat vectors d; `scale` and `length` are powers of two, so no bit is lost.

    All that is judged is homogeneous in both, so a verdict is the same for c f and for f(x / s).

    Attributes:
        phi: the function.
        value: phi(0).
        length: in units of the parameters, near the distance over which the loss changes by its own size; by about
            2^-94 where the loss is zero. Shape ().
        scale: in units of 1 / loss, so that this change is about 1. Shape ().
        point: x as a flat vector.
        distance: |x| / length.
        unit: the direction in which the length was looked for.
        floor: what phi rounds to zero.
        dtype: the coarsest one of the loss and its parameters.
    """

    phi: Callable[[Float[Array, " n"]], Float[Array, ""]]
    value: Float[Array, ""]
    length: Float[Array, ""]
    scale: Float[Array, ""]
    point: Float[Array, " n"]
    distance: Float[Array, ""]
    unit: Float[Array, " n"]
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
        return jnp.asarray(value, self.value.dtype) * (self.scale * self.length) * self.length


def around(program: Program, constants: Sequence[Any], params: PyTree, args: Sequence[Any]) -> Around:
    """The loss around a point; 22 evaluations choose the units.

    Arguments:
        program, constants: of the loss.
        params: the point, real floating arrays.
        args: further arguments of the loss.

    Returns:
        `Around`; its units are 1 where no length shows a change of the loss.
    """
    point, unflatten = flatten(params)
    returned = jax.eval_shape(program, constants, params, *args)
    dtype = coarsest_dtype(*jax.tree.leaves(params), returned)

    def loss(vector: Float[Array, " n"]) -> Float[Array, ""]:
        return program(constants, unflatten(vector), *args).astype(point.dtype)

    value = loss(point)
    unit = jax.random.normal(jax.random.key(0), point.shape, point.dtype)
    unit = unit / jnp.sqrt(jnp.sum(unit**2))
    length, scale = _units(lambda length: loss(point + length * unit) - value, value, float(jnp.finfo(dtype).eps))
    return Around(
        phi=lambda displacement: scale * loss(point + length * displacement),
        value=scale * value,
        length=length,
        scale=scale,
        point=point,
        distance=euclidean_norm(point / length),
        unit=unit,
        floor=scale * underflow(dtype),
        dtype=dtype,
    )


def _units(
    change: Callable[[Float[Array, ""]], Float[Array, ""]], value: Float[Array, ""], eps: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The length at which the loss changes by about its own size, and the reciprocal of that change."""
    lengths = jnp.asarray(2.0**_EXPONENTS, value.dtype)
    changes = jnp.abs(jax.lax.map(change, lengths))
    size = jnp.abs(value)
    # A jump at the point is a change that does not grow with the length, and shows none.
    grows = jnp.append(changes[1:], 0) >= 4 * changes
    shown = grows & (changes > _ROUNDINGS * eps * size) & jnp.isfinite(changes)
    logs = jnp.log2(jnp.where(shown, changes, 1))
    target = jnp.log2(jnp.where(size > 0, size, _SMALL))
    misfit = jnp.where(shown, jnp.abs(logs - target), jnp.inf)
    best = jnp.argmin(misfit)
    exponent = jnp.clip(jnp.floor(logs[best]), -120, 120).astype(jnp.int32)
    one = jnp.ones_like(value)
    found = jnp.any(shown)
    return jnp.where(found, lengths[best], one), jnp.where(found, jnp.ldexp(one, -exponent), one)


def _times(value: Float[Array, "..."], factor: Float[Array, ""]) -> Float[Array, "..."]:
    return jnp.where(value == 0, 0, value * factor)  # 0 also where the factor is infinite
