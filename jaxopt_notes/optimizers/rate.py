"""The learning rate that an optimizer is about to use, read from its numbers and its state."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

from .. import _checks
from ..schedules import end_of


def current_learning_rate(optimizer: optax.GradientTransformation, state: PyTree) -> Float[Array, ""]:
    """The rate of the next update.

    Found in our optimizers, also inside our wrappers, and in optax's when made by `optax.inject_hyperparams`, which
    tells a schedule's rate one step late: that of the update before. Other closures do not tell their numbers.

    Arguments:
        optimizer: an (init, update) pair.
        state: its state before the update.

    Returns:
        The rate, a schedule already evaluated; NaN where the optimizer does not tell it.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.adam(jon.schedules.inverse_time(0.5, 1.0))
        >>> float(jon.optimizers.current_learning_rate(tx, tx.init(jnp.zeros(3))))
        0.5
    """
    held = _held_rate(optimizer, state)
    if held is not None:
        rate, count = held
        found = rate(count) if callable(rate) else rate
    else:
        injected = optax.tree_utils.tree_get_all_with_path(state, "hyperparams")
        rates = [numbers["learning_rate"] for _, numbers in injected if "learning_rate" in numbers]
        found = rates[0] if len(rates) == 1 else jnp.nan
    return jnp.asarray(found, float)


def ended_schedule(optimizer: optax.GradientTransformation, state: PyTree) -> tuple[int, float, float] | None:
    """The (steps done, end, last value) of a schedule that has ended; None of any other, or where it is not known."""
    held = _held_rate(optimizer, state)
    if held is None or _checks.is_traced(held[1]) or np.ndim(held[1]):
        return None
    rate, count = held
    end = end_of(rate)
    return None if end is None or int(count) < end else (int(count), end, float(rate(count)))


def _held_rate(optimizer: optax.GradientTransformation, state: PyTree) -> tuple[Any, Any] | None:
    """The rate or schedule among the arguments of a Partial and the steps done; also of the optimizer it wraps."""
    for held in optimizer.update.args if isinstance(optimizer.update, Partial) else ():
        if isinstance(held, dict) and "learning_rate" in held:
            return held["learning_rate"], state.count
        if isinstance(held, optax.GradientTransformation):
            return _held_rate(held, state.inner)
    return None
