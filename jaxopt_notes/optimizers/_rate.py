"""The learning rate that an optimizer is about to use, read from its numbers and its state."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from .. import _checks
from ..schedules import end_of
from ._base import known


def current_learning_rate(optimizer: optax.GradientTransformation, state: PyTree) -> Float[Array, ""]:
    """The rate of the next update.

    Found in our optimizers, also inside our wrappers, and in optax's when made by `optax.inject_hyperparams`, which
    reports a schedule's rate one step late: that of the update before. Other closures hide their numbers.

    Arguments:
        optimizer: an (init, update) pair.
        state: its state before the update.

    Returns:
        The rate, a schedule already evaluated; NaN where the optimizer hides it.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.adam(jon.schedules.inverse_time(0.5, 1.0))
        >>> float(jon.optimizers.current_learning_rate(tx, tx.init(jnp.zeros(3))))
        0.5
    """
    ours = known(optimizer, state)
    if ours is not None:
        rate = ours.numbers["learning_rate"]
        found = rate(ours.state.count) if callable(rate) else rate
    else:
        injected = optax.tree_utils.tree_get_all_with_path(state, "hyperparams")
        rates = [numbers["learning_rate"] for _, numbers in injected if "learning_rate" in numbers]
        found = rates[0] if len(rates) == 1 else jnp.nan
    return jnp.asarray(found, float)


def ended_schedule(optimizer: optax.GradientTransformation, state: PyTree) -> tuple[int, float, float] | None:
    """The (steps done, end, last value) of a schedule that has ended; None of any other, or where it is not known."""
    ours = known(optimizer, state)
    if ours is None or _checks.is_traced(ours.state.count) or np.ndim(ours.state.count):
        return None
    rate, count = ours.numbers["learning_rate"], ours.state.count
    end = end_of(rate)
    return None if end is None or int(count) < end else (int(count), end, float(rate(count)))
