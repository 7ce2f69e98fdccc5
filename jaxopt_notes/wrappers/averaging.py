"""Averages along a sequence: exponentially weighted, with the correction for their start, and of parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree

from .. import _checks
from .._numerics import real_dtype, rounded, working, working_dtype
from .._partials import as_pytree

__all__ = [
    "AverageParamsState",
    "EwmaState",
    "average_params",
    "bias_correction",
    "ewma",
]

Number = float | Float[Array, ""]


class EwmaState(NamedTuple):
    """State of `ewma`: values seen, and the average before correction."""

    count: Int[Array, ""]  # type: ignore[assignment]
    average: PyTree


class AverageParamsState(NamedTuple):
    """State of `average_params`: steps done, the optimizer's own state, and the average of the parameters."""

    count: Int[Array, ""]  # type: ignore[assignment]
    inner: Any
    average: PyTree


@jax.custom_jvp
def bias_correction(decay: Float[Array, ""], count: Float[Array, ""]) -> Float[Array, ""]:
    """1 - decay^count, accurate to a few roundings also for decay near 1 in float32.

    Its derivatives exist at decay 0, where the logarithm does not.

    Arguments:
        decay: b in [0, 1).
        count: t, the number of values averaged, at least 1.

    Returns:
        The share of the weight that the values have, in (0, 1]; a scalar.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(bias_correction(jnp.float32(0.9), jnp.float32(2))), 6)
        0.19
    """
    return -jnp.expm1(count * jnp.log(decay))


@bias_correction.defjvp
def _bias_correction_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    decay, count = primals
    correction = bias_correction(decay, count)
    by_decay = -count * decay ** (count - 1)
    by_count = (correction - 1) * jnp.log(jnp.where(decay > 0, decay, 1))
    return correction, by_decay * tangents[0] + by_count * tangents[1]


def ewma(decay: Number, *, debias: bool = True) -> optax.GradientTransformationExtraArgs:
    """Exponentially weighted average of the values that `update` is given, as an (init, update) pair.

        v <- b v + (1 - b) x,     returned v / (1 - b^t)

    A value is forgotten to 1/e after about 1/(1 - b) more. Without the correction the first averages are too small by
    1 - b^t, since v starts at 0.

    Arguments:
        decay: b in [0, 1).
        debias: divide by 1 - b^t. Static.

    Returns:
        A pair with `update(values, state) -> (average, state)` over pytrees, state `EwmaState(count, average)`.

    Raises:
        TypeError, ValueError: `decay` is not one number in [0, 1).

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> average = jon.ewma(0.9)
        >>> first, state = average.update(jnp.array(3.0), average.init(jnp.array(0.0)))
        >>> second, state = average.update(jnp.array(5.0), state)
        >>> round(float(first), 4), round(float(second), 4)
        (3.0, 4.0526)

    Source: Roberts, 1959; corrected as in Kingma and Ba, 2015.
    """
    decay = _checks.scalar("decay", decay, low=0.0, high=1.0, open_high=True)
    average = _debiased if _checks.boolean("debias", debias) else _plain
    return optax.GradientTransformationExtraArgs(Partial(_init_ewma), Partial(average, decay))


def average_params(
    optimizer: optax.GradientTransformation, decay: Number | None = None, start: Number = 0
) -> optax.GradientTransformationExtraArgs:
    """Keep an average of the parameters beside any optimizer, whose steps stay as they are.

        Polyak-Ruppert (decay None)    mean of the parameters after step `start`
        exponentially weighted         a <- b a + (1 - b) x, corrected for its start

    With noisy gradients and a constant learning rate the average lies far below the noise floor of the last point.
    Read it from `state.average`; with `minimize`, `run.evaluation_params`. `final_loss`, metrics and the end points of
    a sweep are measured there.

    Arguments:
        optimizer: any (init, update) pair.
        decay: b in [0, 1), or None for the plain mean. Whether it is None is static.
        start: >= 0, steps left out of the average; until then it is the last point.

    Returns:
        A pair with state `AverageParamsState(count, inner, average)`; update needs the parameters.

    Raises:
        TypeError, ValueError: no pair, a number is out of range, or update gets no parameters.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.average_params(jon.gradient_descent(1.0))
        >>> run = jon.minimize(lambda x: jnp.sum(x), jnp.zeros(1), tx, steps=3)
        >>> run.params.tolist(), run.evaluation_params.tolist()
        ([-3.0], [-2.0])

    Source: Polyak and Juditsky, 1992; Ruppert, 1988.
    """
    numbers: dict[str, Any] = {"start": _checks.scalar("start", start, low=0.0)}
    if decay is not None:
        numbers["decay"] = _checks.scalar("decay", decay, low=0.0, high=1.0, open_high=True)
    inner = as_pytree(optimizer)
    return optax.GradientTransformationExtraArgs(
        Partial(_init_average_params, inner), Partial(_update_average_params, inner, numbers)
    )


def _init_ewma(values: PyTree) -> EwmaState:
    return EwmaState(jnp.zeros((), jnp.int32), jax.tree.map(_zeros, values))


def _zeros(value: Any) -> Array:
    return jnp.zeros(jnp.shape(value), working_dtype(value))


def _plain(
    decay: Any, values: PyTree, state: EwmaState, params: PyTree = None, **unused: Any
) -> tuple[PyTree, EwmaState]:
    del params, unused  # kept for optax's calling convention
    _checks.matching("values", values, "state.average", state.average)
    average = jax.tree.map(lambda v, x: _blend(decay, v, x), state.average, values)
    return average, EwmaState(optax.safe_increment(state.count), average)


def _debiased(
    decay: Any, values: PyTree, state: EwmaState, params: PyTree = None, **unused: Any
) -> tuple[PyTree, EwmaState]:
    average, state = _plain(decay, values, state)
    return jax.tree.map(lambda v: v / _correction(decay, state.count, v), average), state


def _blend(decay: Any, average: Array, value: Array) -> Array:
    kept = jnp.asarray(decay, real_dtype(average.dtype))
    return kept * average + (1 - kept) * jnp.asarray(value, average.dtype)


def _correction(decay: Any, count: Array, like: Array) -> Array:
    dtype = real_dtype(like.dtype)
    return bias_correction(jnp.asarray(decay, dtype), count.astype(dtype))


def _init_average_params(inner: optax.GradientTransformation, params: PyTree) -> AverageParamsState:
    return AverageParamsState(jnp.zeros((), jnp.int32), inner.init(params), jax.tree.map(working, params))


def _update_average_params(
    optimizer: optax.GradientTransformation,
    numbers: dict[str, Any],
    grads: PyTree,
    state: AverageParamsState,
    params: PyTree = None,
    **extra: Any,
) -> tuple[PyTree, AverageParamsState]:
    if params is None:
        raise ValueError("average_params needs the parameters: call update(grads, state, params)")
    updates, inner = optax.with_extra_args_support(optimizer).update(grads, state.inner, params, **extra)
    count = optax.safe_increment(state.count)

    def moved(average: Array, param: Array) -> Array:
        dtype = real_dtype(average.dtype)
        seen = jnp.maximum(count.astype(dtype) - jnp.asarray(numbers["start"], dtype), 1)
        weight = 1 / seen
        if "decay" in numbers:  # the corrected average as a running mean, whose weights fall to 1 - decay
            decay = jnp.asarray(numbers["decay"], dtype)
            weight = (1 - decay) / bias_correction(decay, seen)
        return average + weight * (jnp.asarray(param, average.dtype) - average)

    ends = rounded(optax.apply_updates(params, updates))  # the points themselves, and not those before rounding
    average = jax.tree.map(moved, state.average, ends)
    return updates, AverageParamsState(count, inner, average)
