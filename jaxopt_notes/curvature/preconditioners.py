"""What an optimizer in the middle of a run makes of the curvature: its divisor, and how near it is to its limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Key, PyTree

from .. import _checks
from .._numerics import divide, real_dtype, sqrt, squared_modulus
from ..averaging import bias_correction
from ..optimizers import OPTIMIZERS, current_learning_rate
from ..optimizers.base import Rule
from .stability import sharpness, stability_bound


class Stability(NamedTuple):
    """How near an optimizer is to the edge of stability; `print` says it in words.

    Attributes:
        sharpness: L, the largest eigenvalue of the Hessian as the optimizer sees it.
        bound: the largest learning rate that is stable on a quadratic of that sharpness.
        learning_rate: the rate in force.
    """

    sharpness: Float[Array, ""]
    bound: Float[Array, ""]
    learning_rate: Float[Array, ""]

    def __str__(self) -> str:
        if np.ndim(self.bound):
            return f"{np.size(self.bound)} points, {np.mean(np.asarray(self.learning_rate) < self.bound):.0%} stable"
        share = float(self.learning_rate / self.bound)
        where = "stable" if share < 1 else "beyond the edge of stability"
        return (
            f"learning rate {float(self.learning_rate):.3g} is {share:.2g} of the limit {float(self.bound):.3g} at "
            f"sharpness {float(self.sharpness):.3g}: {where} on the quadratic model here"
        )


def stability(
    optimizer: optax.GradientTransformation,
    state: PyTree,
    loss: Callable[..., Float[Array, ""]],
    params: PyTree,
    *args: Any,
    key: Key[Array, ""] | None = None,
    matvecs: int = 64,
) -> Stability:
    """How near an optimizer is to its stability limit at a point of its run.

        L = lambda_max(P^-1/2 H P^-1/2),    stable below  c / L

    P is what the method divides by in this state, 1 for methods that do not (see `preconditioner`); c follows from its
    momentum (see `stability_bound`). A fact about the quadratic model here with P held fixed.

    Arguments:
        optimizer: one of ours, of first order, with its numbers; also inside `average_params`.
        state: its state, such as `run.state`.
        loss: `loss(params, *args)`, a real scalar, twice differentiable.
        params: the point, such as `run.params`.
        args: further arguments of `loss`.
        key: of the random start of Lanczos; `jax.random.key(0)` when None.
        matvecs: Hessian products to spend. Static.

    Returns:
        A `Stability`.

    Raises:
        TypeError, ValueError: the optimizer has no such limit, or the state has taken no step.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> valley, tx = jon.problems.quadratic([1.0, 20.0]), jon.momentum(0.05, beta=0.5)
        >>> run = jon.minimize(valley.loss, jnp.ones(2), tx, steps=10)
        >>> edge = jon.stability(tx, run.state, valley.loss, run.params)
        >>> round(float(edge.sharpness), 2), round(float(edge.bound), 4)
        (20.0, 0.15)

    Source: Cohen et al., 2021 (the edge of stability) and 2022 (of preconditioned methods).
    """
    name, numbers, _, _ = _opened(optimizer, state)
    seen = sharpness(loss, params, *args, preconditioner=preconditioner(optimizer, state), key=key, matvecs=matvecs)
    accepted = {which: numbers[which] for which in ("beta", "dampening", "b1", "weight_decay") if which in numbers}
    return Stability(seen, stability_bound(name, seen, **accepted), current_learning_rate(optimizer, state))


def preconditioner(optimizer: optax.GradientTransformation, state: PyTree) -> PyTree:
    """The diagonal that an optimizer divides its gradient by, from its state.

        adam, adamw   sqrt(nu / (1 - b2^t) + eps_root) + eps
        rmsprop       sqrt(nu - |mu|^2 + eps_root) + eps,   mu only if centred, both corrected if it corrects
        adagrad       sqrt(sum_of_squares + eps_root) + eps
        adadelta      sqrt(nu + eps) / sqrt(squared_update + eps)

    Arguments:
        optimizer: one of ours, of first order.
        state: its state after at least one step.

    Returns:
        A pytree like the parameters, infinite where the optimizer does not move them; None for methods that divide by
        nothing.

    Raises:
        TypeError, ValueError: not one of these optimizers, or the state has taken no step.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.adam(0.1, eps=0.0)
        >>> _, state = tx.update(jnp.array([3.0, -4.0]), tx.init(jnp.zeros(2)))
        >>> [round(float(p), 4) for p in jon.curvature.preconditioner(tx, state)]
        [3.0, 4.0]

    Source: Kingma and Ba, 2015; Cohen et al., 2022.
    """
    name, numbers, corrects, state = _opened(optimizer, state)
    if name not in _DIVISORS:
        return None
    if not _checks.is_traced(state.count) and np.any(np.asarray(state.count) == 0):
        raise ValueError(f"state has taken no step, so {name} divides by nothing yet; pass the state of a run")
    columns = [slot for slot in _DIVISORS[name][1](state) if slot is not None]

    def divisor(*slots: Array) -> Array:
        dtype = real_dtype(slots[0].dtype)
        typed = {which: jnp.asarray(value, dtype) for which, value in numbers.items() if which != "learning_rate"}
        found = _DIVISORS[name][0](*slots, count=state.count.astype(dtype), corrects=corrects, **typed)
        return jnp.where(found > 0, found, jnp.inf)  # nothing is divided by zero: such an entry does not move

    return jax.tree.map(divisor, *columns)


def _opened(optimizer: Any, state: Any) -> tuple[str, dict[str, Any], bool, Any]:
    """Name, numbers, whether averages are corrected for their start, and own state, also of what a wrapper holds."""
    update = getattr(optimizer, "update", None)
    if isinstance(update, Partial) and isinstance(update.func, Rule):
        rule = update.func
        if not isinstance(state, rule.state_type):
            raise TypeError(f"state must be the {rule.state_type.__name__} of a run, got {type(state).__name__}")
        return rule.function.__name__.removeprefix("_"), update.args[0], bool(rule.debias), state
    for held in update.args if isinstance(update, Partial) else ():
        if isinstance(held, optax.GradientTransformation):
            return _opened(held, state.inner)
    raise TypeError(f"optimizer must be one of ours of first order ({', '.join(OPTIMIZERS)}), got {optimizer!r}")


def _of_adam(nu: Array, *, count: Array, b2: Any, eps: Any, eps_root: Any, **others: Any) -> Array:
    return sqrt(divide(nu, bias_correction(b2, count)) + eps_root) + eps


def _of_rmsprop(
    nu: Array,
    mu: Array | None = None,
    *,
    count: Array,
    decay_rate: Any,
    eps: Any,
    eps_root: Any,
    corrects: bool,
    **others: Any,
) -> Array:
    correction = bias_correction(decay_rate, count) if corrects else 1
    spread = nu / correction
    if mu is not None:
        spread = jnp.maximum(spread - squared_modulus(mu / correction), 0)
    return sqrt(spread + eps_root) + eps


def _of_adagrad(sum_of_squares: Array, *, count: Array, eps: Any, eps_root: Any, **others: Any) -> Array:
    return sqrt(sum_of_squares + eps_root) + eps


def _of_adadelta(nu: Array, squared_update: Array, *, count: Array, eps: Any, **others: Any) -> Array:
    return sqrt(nu + eps) / sqrt(squared_update + eps)


# name -> (the divisor of one array from its slots, the slots)
_DIVISORS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "adam": (_of_adam, lambda state: (state.nu,)),
    "adamw": (_of_adam, lambda state: (state.nu,)),
    "rmsprop": (_of_rmsprop, lambda state: (state.nu, state.mu)),
    "adagrad": (_of_adagrad, lambda state: (state.sum_of_squares,)),
    "adadelta": (_of_adadelta, lambda state: (state.nu, state.squared_update)),
}
