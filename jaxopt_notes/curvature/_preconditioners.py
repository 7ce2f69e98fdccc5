"""What an optimizer in the middle of a run makes of the curvature: its divisor, and how near it is to its limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from .. import _checks
from ..optimizers import OPTIMIZERS, current_learning_rate
from ..optimizers._base import Known, known
from ..optimizers._facts import Divisor
from ._stability import largest_stable_rate, sharpness


class Stability(NamedTuple):
    """How near an optimizer is to the edge of stability; `print` shows it in words.

    Attributes:
        sharpness: L, the largest eigenvalue of the Hessian as the optimizer sees it.
        bound: the largest learning rate that is stable on a quadratic of that sharpness.
        learning_rate: the current learning rate.
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
        TypeError, ValueError: the optimizer is none of ours or has no such limit, or the state has taken no step.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> valley, tx = jon.problems.quadratic([1.0, 20.0]), jon.momentum(0.05, beta=0.5)
        >>> run = jon.minimize(valley.loss, jnp.ones(2), tx, steps=10)
        >>> edge = jon.stability(tx, run.state, valley.loss, run.params)
        >>> round(float(edge.sharpness), 2), round(float(edge.bound), 4)
        (20.0, 0.15)

    Source: Cohen et al., 2021 (the edge of stability) and 2022 (of preconditioned methods).
    """
    rule, numbers, _ = _known(optimizer, state)
    seen = sharpness(loss, params, *args, preconditioner=preconditioner(optimizer, state), key=key, matvecs=matvecs)
    others = {name: value for name, value in numbers.items() if name != "learning_rate"}
    return Stability(seen, largest_stable_rate(rule, seen, others), current_learning_rate(optimizer, state))


def preconditioner(optimizer: optax.GradientTransformation, state: PyTree) -> PyTree:
    """The diagonal that an optimizer divides its gradient by, from its state.

        adam      sqrt(nu / (1 - b2^t) + eps_root) + eps
        rmsprop   sqrt(nu + eps_root) + eps
        adagrad   sqrt(sum_of_squares + eps_root) + eps

    Arguments:
        optimizer: one of ours, of first order.
        state: its state after at least one step.

    Returns:
        A pytree like the parameters, infinite where the optimizer does not move them; None for methods that divide by
        nothing, such as `momentum`.

    Raises:
        TypeError: the optimizer is none of ours, so that its divisor is not known, or it divides by no diagonal.
        ValueError: the state has taken no step.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.adam(0.1, eps=0.0)
        >>> _, state = tx.update(jnp.array([3.0, -4.0]), tx.init(jnp.zeros(2)))
        >>> [round(float(p), 4) for p in jon.curvature.preconditioner(tx, state)]
        [3.0, 4.0]

    Source: Kingma and Ba, 2015; Cohen et al., 2022.
    """
    rule, numbers, state = _known(optimizer, state)
    divides = isinstance(rule.divisor, Divisor)
    if divides and not _checks.is_traced(state.count) and np.any(np.asarray(state.count) == 0):
        raise ValueError(f"state has taken no step, so {rule.name} divides by nothing yet; pass the state of a run")
    return rule.divisors(numbers, state)


def _known(optimizer: Any, state: Any) -> Known:
    """What is known about the optimizer; raises with what is missing."""
    found = known(optimizer, state)
    if found is None:
        raise TypeError(
            f"optimizer must be one of ours ({', '.join(OPTIMIZERS)}): what another one divides by, and up to which "
            f"rate it is stable, is not known; got {optimizer!r}"
        )
    expected = found.rule.state_type
    if not isinstance(found.state, expected):
        raise TypeError(f"state must be the {expected.__name__} of a run, got {type(found.state).__name__}")
    return found
