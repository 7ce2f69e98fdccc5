"""The learning rate that an optimizer is about to use, read from its numbers and its state."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree


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
    found = _from_partial(optimizer, state)
    if found is None:
        injected = optax.tree_utils.tree_get_all_with_path(state, "hyperparams")
        rates = [numbers["learning_rate"] for _, numbers in injected if "learning_rate" in numbers]
        found = rates[0] if len(rates) == 1 else jnp.nan
    return jnp.asarray(found, float)


def _from_partial(optimizer: optax.GradientTransformation, state: PyTree) -> Any:
    """The rate among the arguments of a Partial: in its numbers, or in the optimizer that it wraps."""
    for held in optimizer.update.args if isinstance(optimizer.update, Partial) else ():
        if isinstance(held, dict) and "learning_rate" in held:
            rate = held["learning_rate"]
            return rate(state.count) if callable(rate) else rate
        if isinstance(held, optax.GradientTransformation):
            return current_learning_rate(held, state.inner)
    return None
