"""A loss around a point, in units in which its derivatives neither vanish nor overflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from .._hoist import Program
from .._host_random import normal_on_host
from .._numerics import power_of_two, underflow
from ._lanczos import euclidean_norm
from ._operators import Product, coarsest_dtype, flatten, linearised

_STEP = 2.0**12  # from one length tried to the next
_EXPONENTS = np.arange(-120, 121, 12)  # of the lengths tried, in powers of two: those of float32
_LEAST = 2.0**-120  # of the units of the loss
_ON_HOST = 20_000  # parameters up to which a direction is a constant of a program
_ROUNDINGS = 16  # of the loss that hide a change


class Trial(NamedTuple):
    """How the loss changes over one length, along a line through the point.

    Attributes:
        length: in units of the parameters.
        change: of the loss, the mean of that ahead of the point and that behind it.
        size: the larger of the two; infinite where the loss is not finite.
        clear: whether it is finite and more than rounding.
    """

    length: Float[Array, ""]
    change: Float[Array, ""]
    size: Float[Array, ""]
    clear: Bool[Array, ""]


class Trials(NamedTuple):
    """The loss at lengths of all sizes on both sides of the point, in units of the parameters and of the loss.

    Attributes:
        lengths: ascending.
        ahead, behind: the loss there.
        value: the loss at the point.
        rounding: of the loss: a smaller change shows no length.
    """

    lengths: Float[Array, " lengths"]
    ahead: Float[Array, " lengths"]
    behind: Float[Array, " lengths"]
    value: Float[Array, ""]
    rounding: Float[Array, ""]

    def fold(self, step: Callable[[Any, Trial], Any], first: Any) -> Any:
        """`state = step(state, trial)` from the shortest length to the longest.

        A loop over scalars: under `vmap` reductions along an axis of so few entries are slow and take memory.
        """

        def body(state: Any, seen: tuple[Array, Array, Array]) -> tuple[Any, None]:
            ahead, behind = seen[1] - self.value, seen[2] - self.value
            size = jnp.maximum(jnp.abs(ahead), jnp.abs(behind))
            size = jnp.where(jnp.isfinite(size), size, jnp.inf)
            clear = (size > self.rounding) & (size < jnp.inf)
            return step(state, Trial(seen[0], (ahead + behind) / 2, size, clear)), None

        return jax.lax.scan(body, first, (self.lengths, self.ahead, self.behind))[0]


class Around(NamedTuple):
    """phi(d) = scale f(x + length d) for flat vectors d; `scale` and `length` are powers of two, so no bit is lost.

    All that is judged is homogeneous in both, so a smooth f has the same verdict as c f and as f(x / s).

    Attributes:
        phi: the function.
        value: phi(0).
        length: in units of the parameters: near `natural`. Shape ().
        scale: in units of 1 / loss, so that phi changes by about 1 over a distance of 1. Shape ().
        per_slope, per_curvature: one of phi's derivatives is this many of the loss's.
        natural: the distance over which the loss changes by its own size, in units of `length`; 0 where none was seen.
        point: x as a flat vector.
        distance: |x| / length.
        unit: the direction in which lengths were tried.
        trials: the loss in that direction.
        least: the smallest change of phi among these that is not zero; infinite where there is none.
        floor: what phi rounds to zero.
        dtype: the coarsest one of the loss and its parameters.
    """

    phi: Any  # a function
    value: Float[Array, ""]
    length: Float[Array, ""]
    scale: Float[Array, ""]
    per_slope: Float[Array, ""]
    per_curvature: Float[Array, ""]
    natural: Float[Array, ""]
    point: Float[Array, " n"]
    distance: Float[Array, ""]
    unit: Float[Array, " n"]
    trials: Trials
    least: Float[Array, ""]
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
        return _times(value, self.per_slope)

    def curvature(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Entries of the Hessian of phi in units of that of the loss; infinite or 0 where those have no such number."""
        return _times(value, self.per_curvature)

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
    dtype = coarsest_dtype(*jax.tree.leaves(params), program.output())

    def loss(vector: Float[Array, " n"]) -> Float[Array, ""]:
        return program(constants, unflatten(vector), *args).astype(point.dtype)

    lengths = jnp.asarray(2.0**_EXPONENTS, point.dtype)
    # The point is one of them: compiled apart, the loss there may differ by rounding.
    scales = jnp.concatenate([jnp.zeros(1, point.dtype), lengths, -lengths])
    values = each(lambda length: loss(point + length * unit), scales)
    value, half = values[0], len(lengths) + 1
    rounding = _ROUNDINGS * float(jnp.finfo(dtype).eps) * jnp.abs(value)
    trials = Trials(lengths, values[1:half], values[half:], value, rounding)
    length, scale, natural, least = _units(trials)
    return Around(
        phi=lambda displacement: scale * loss(point + length * displacement),
        value=scale * value,
        length=length,
        scale=scale,
        per_slope=1 / (scale * length),
        per_curvature=1 / (scale * length) / length,
        natural=natural / length,
        point=point,
        distance=euclidean_norm(point / length),
        unit=unit,
        trials=trials,
        least=least * scale,
        floor=scale * underflow(dtype),
        dtype=dtype,
    )


def random_unit(size: int, dtype: Any, seed: int = 0) -> Float[Array, " n"]:
    """A unit vector of random direction, always the same."""
    if size > _ON_HOST:
        vector = jax.random.normal(jax.random.key(seed), (size,), dtype)
        return vector / euclidean_norm(vector)
    numbers = normal_on_host(size, np.dtype(dtype), seed)
    return jnp.asarray(numbers / np.linalg.norm(numbers), dtype)


def each(function: Callable[[Any], Array], values: Any) -> Float[Array, " k"]:
    """A scalar function of each row of a pytree, one after the other."""
    return jax.lax.map(function, values)


class _Rise(NamedTuple):
    """What the lengths so far showed; `first`, `below` and `above` are (size of the change, length)."""

    before: Float[Array, ""]  # size of the change at the last length
    found: Bool[Array, ""]
    ended: Bool[Array, ""]
    first: tuple[Array, Array]
    below: tuple[Array, Array]  # the largest up to the size aimed at
    above: tuple[Array, Array]  # the next one
    least: Float[Array, ""]


def _units(trials: Trials) -> tuple[Array, Array, Array, Array]:
    """Length, scale, natural length, and the smallest change that is not zero.

    Only lengths count over which the change rises, from the first that shows one: a jump at the point is the same for
    all short lengths, and a wave is the same again for long ones.
    """
    value = jnp.abs(trials.value)
    nothing, no, none = value == 0, jnp.zeros_like(value, bool), jnp.zeros_like(value)
    one, infinite = jnp.ones_like(value), jnp.full_like(value, jnp.inf)

    def aim(first: tuple[Array, Array]) -> Array:
        # A loss of zero has the first as its natural length, and the next one, well above what underflows, as its unit.
        return jnp.where(nothing, first[0] * _STEP**2, value)

    def longer(rise: _Rise, trial: Trial) -> _Rise:
        rises = trial.clear & (trial.size >= 4 * rise.before)
        ended = rise.ended | (rise.found & ~rises)
        shown, seen = rises & ~ended, (trial.size, trial.length)
        first = _chosen(shown & ~rise.found, seen, rise.first)
        low = trial.size <= aim(first)
        return _Rise(
            before=trial.size,
            found=rise.found | rises,
            ended=ended,
            first=first,
            below=_chosen(shown & low, seen, rise.below),
            above=_chosen(shown & ~low & (rise.above[0] == jnp.inf), seen, rise.above),
            least=jnp.minimum(rise.least, jnp.where(trial.size > 0, trial.size, jnp.inf)),
        )

    begin = _Rise(infinite, no, no, (none, none), (none, one), (infinite, one), infinite)
    rise = trials.fold(longer, begin)
    (below, _), (above, _), target = rise.below, rise.above, aim(rise.first)
    size, length = _chosen((below == 0) | (above / target < target / below), rise.above, rise.below)
    scale = 1 / jnp.clip(power_of_two(jnp.where(rise.found, size, 2)), _LEAST, 1 / _LEAST)
    # Between two of the lengths tried, as for a quadratic.
    between = jnp.clip(jnp.sqrt(value / size), _STEP**-0.5, _STEP**0.5)
    natural = jnp.where(rise.found, jnp.where(nothing, rise.first[1], length * between), 0)
    return length, scale, natural, rise.least


def _chosen(which: Bool[Array, ""], new: tuple[Array, Array], old: tuple[Array, Array]) -> tuple[Array, Array]:
    return jnp.where(which, new[0], old[0]), jnp.where(which, new[1], old[1])


def _times(value: Float[Array, "..."], factor: Float[Array, ""]) -> Float[Array, "..."]:
    return jnp.where(value == 0, 0, value * factor)  # 0 also where the factor is infinite
