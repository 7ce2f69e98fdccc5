"""Parameters in bfloat16 and float16: random rounding that keeps small steps, and the share of steps that are lost.

Numbers of 8 significant bits near x lie 2^-8 |x| to 2^-7 |x| apart, so a step below 2^-9 |x| rounds to no step at all,
however many are made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Key, PyTree

from .. import _checks
from .._numerics import divide, rounded, working, working_dtype
from .._partials import as_pytree

__all__ = [
    "StochasticRoundingState",
    "stochastic_rounding",
    "unmoved_share",
]


class StochasticRoundingState(NamedTuple):
    """State of `stochastic_rounding`: steps done, and the optimizer's own state, in float32."""

    count: Int[Array, ""]  # type: ignore[assignment]
    inner: Any


def stochastic_rounding(
    optimizer: optax.GradientTransformation, key: Key[Array, ""]
) -> optax.GradientTransformationExtraArgs:
    """Round the steps of bfloat16 and float16 parameters up or down at random, so that they are right on average.

        x <- low or high,   E[x] = x + u,   P(high) = (x + u - low) / (high - low)

    u is the step in float32; low and high are the numbers next to x + u that an update of the parameters' own type
    leads to. Up to |u| = |x|/2 they are its two neighbours, and the update is exactly their distance from x. The
    optimizer is given float32 copies of gradients and parameters. Wider parameters take their usual steps.
    Derivatives are those of u.

    Arguments:
        optimizer: any (init, update) pair.
        key: of the random numbers; may be traced. The same key gives the same run.

    Returns:
        A pair with state `StochasticRoundingState(count, inner)`; update needs the parameters. Its updates have the
        parameters' types, and `optax.apply_updates` leads to low or high.

    Raises:
        TypeError, ValueError: no pair, no key, or update gets no parameters.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_notes as jon
        >>> loss, x = lambda x: jnp.sum((x.astype(jnp.float32) - 3.0) ** 2), jnp.ones(1000, jnp.bfloat16)
        >>> tx = jon.gradient_descent(5e-4)
        >>> stuck = jon.minimize(loss, x, tx, steps=5000).params
        >>> moved = jon.minimize(loss, x, jon.stochastic_rounding(tx, jax.random.key(0)), steps=5000).params
        >>> float(jnp.mean(stuck)), round(float(jnp.mean(moved.astype(jnp.float32))), 2)
        (1.0, 2.99)

    Source: Gupta, Agrawal, Gopalakrishnan and Narayanan, 2015.
    """
    inner = as_pytree(optimizer)
    return optax.GradientTransformationExtraArgs(
        Partial(_init, inner), Partial(_update, inner, _checks.key("key", key))
    )


def unmoved_share(params: PyTree, updates: PyTree) -> Float[Array, ""]:
    """The share of steps that are lost to rounding: of the entries with an update, those that it leaves as they are.

    Arguments:
        params: the parameters.
        updates: what `optax.apply_updates` would add to them; float32 updates are counted before they are rounded.

    Returns:
        A number in [0, 1]; 0 when no update differs from 0, also where an optimizer's float16 updates were rounded to
        0. Near 1 the run has come to rest, whatever its gradient: use `stochastic_rounding`, or wider parameters.

    Raises:
        ValueError: structure or shapes differ.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> params, updates = jnp.ones(4, jnp.bfloat16), jnp.array([0.0, 0.001, 0.01, 0.1], jnp.bfloat16)
        >>> round(float(jon.unmoved_share(params, updates)), 4)
        0.3333
    """
    _checks.matching("updates", updates, "params", params)
    moved = rounded(optax.apply_updates(params, updates))
    stepped = jax.tree.map(lambda u: jnp.sum(u != 0, dtype=jnp.int32), updates)
    lost = jax.tree.map(lambda u, old, new: jnp.sum((u != 0) & (old == new), dtype=jnp.int32), updates, params, moved)
    return divide(_total(lost), _total(stepped))


def _total(counts: PyTree) -> Float[Array, ""]:
    return sum((leaf.astype(jnp.float32) for leaf in jax.tree.leaves(counts)), jnp.float32(0))


def _init(inner: optax.GradientTransformation, params: PyTree) -> StochasticRoundingState:
    return StochasticRoundingState(jnp.zeros((), jnp.int32), inner.init(_wide(params)))


def _update(
    inner: optax.GradientTransformation,
    key: Any,
    grads: PyTree,
    state: StochasticRoundingState,
    params: PyTree = None,
    **extra: Any,
) -> tuple[PyTree, StochasticRoundingState]:
    if params is None:
        raise ValueError("stochastic_rounding needs the parameters: call update(grads, state, params)")
    _checks.matching("grads", grads, "params", params)
    extra |= {name: _wide(extra[name]) for name in ("value", "grad") if name in extra}
    if "value_fn" in extra:
        extra["value_fn"] = partial(_wide_value, extra["value_fn"], params)
    steps, inner_state = optax.with_extra_args_support(inner).update(_wide(grads), state.inner, _wide(params), **extra)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.fold_in(key, state.count), len(leaves))
    ends = [
        _rounded(param, step, jax.random.uniform(keys[i], param.shape)) if _is_narrow(param) else step
        for i, (param, step) in enumerate(zip(map(jnp.asarray, leaves), jax.tree.leaves(steps), strict=True))
    ]
    updates = jax.tree.unflatten(tree, ends)
    return updates, StochasticRoundingState(optax.safe_increment(state.count), inner_state)


def _wide_value(value_fn: Callable[..., Any], params: PyTree, wide: PyTree) -> Float[Array, ""]:
    """The loss at wide parameters, rounded to the types that it is made for."""
    return _wide(value_fn(jax.tree.map(lambda new, old: new.astype(jnp.result_type(old)), wide, params)))


def _is_narrow(array: Any) -> bool:
    return working_dtype(array) != jnp.result_type(array)


def _wide(tree: PyTree) -> PyTree:
    return jax.tree.map(working, tree)


@jax.custom_jvp
def _rounded(param: Array, step: Float[Array, "..."], uniform: Float[Array, "..."]) -> Array:
    """An update of the parameter's type that leads, on average over `uniform`, from `param` to `param + step`."""
    dtype, start = param.dtype, param.astype(step.dtype)
    wanted = start + step
    low = _neighbour(_neighbour(wanted, dtype, -jnp.inf) - start, dtype, -jnp.inf)
    high = _neighbour(_neighbour(wanted, dtype, jnp.inf) - start, dtype, jnp.inf)
    # Where the two lead to; not always the neighbours of `wanted`, but always around it.
    low_end, high_end = _nearest(start + low, dtype), _nearest(start + high, dtype)
    chance = divide(wanted - low_end, high_end - low_end)
    update = jnp.where(uniform < chance, high, low)
    return jnp.where(jnp.isfinite(_nearest(wanted, dtype)), update, step).astype(dtype)  # a divergence stays visible


@_rounded.defjvp
def _rounded_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    update = _rounded(*primals)
    return update, tangents[1].astype(update.dtype)


def _nearest(x: Array, dtype: Any) -> Array:
    """The number of the narrow type next to x, in the type of x."""
    return rounded(x.astype(dtype)).astype(x.dtype)


def _neighbour(x: Array, dtype: Any, toward: float) -> Array:
    """x if the narrow type holds it; else the first number of that type towards minus or plus infinity."""
    near = _nearest(x, dtype)
    narrow = near.astype(dtype)
    further = jnp.nextafter(narrow, jnp.full_like(narrow, toward)).astype(x.dtype)
    passed = near < x if toward > 0 else near > x
    return jnp.where(passed, further, near)
