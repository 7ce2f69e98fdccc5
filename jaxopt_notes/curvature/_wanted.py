"""Which eigenvalues are wanted, and where all others must lie for some to be the wanted ones."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

WHICH = ("LA", "SA", "BE", "LM")  # largest, smallest, both ends, largest modulus


def preference(which: str, values: Float[Array, " m"], valid: Bool[Array, " m"]) -> Float[Array, " m"]:
    """How much each value is wanted: those with the k largest entries are; -inf for what is not valid."""
    if which == "BE":  # the highest, the lowest, the second highest, ...
        below = rank(jnp.where(valid, values, jnp.inf))
        above = jnp.sum(valid, dtype=jnp.int32) - 1 - below
        score = -jnp.minimum(2 * above, 2 * below + 1).astype(values.dtype)
    else:
        score = {"LA": values, "SA": -values, "LM": jnp.abs(values)}[which]
    return jnp.where(valid, score, -jnp.inf)


def rank_wanted(which: str, values: Float[Array, " m"], valid: Bool[Array, " m"]) -> Int[Array, " m"]:
    """The place of each value when the most wanted comes first: 0, 1, ..."""
    return rank(-preference(which, values, valid))


def rank(values: Num[Array, " m"]) -> Int[Array, " m"]:
    """The place of each value in ascending order; equal ones keep their order. Compiles faster than a sort."""
    index = jnp.arange(values.size, dtype=jnp.int32)
    first, second = values[:, None], values[None, :]
    before = (second < first) | ((second == first) & (index[None, :] < index[:, None]))
    return jnp.sum(before, axis=1, dtype=jnp.int32)


def reach(
    which: str, values: Float[Array, " k"], slack: Float[Array, " k"]
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """For each of the k wanted values, ascending, the interval that the others must not leave for it to be wanted.

    Arguments:
        which: one of `WHICH`.
        values: ascending, shape (k,).
        slack: how far beyond a value another may lie, shape (k,).

    Returns:
        (low, high), each of shape (k,), infinite on the side where others may lie anywhere.
    """
    if which == "LM":
        size = jnp.abs(values) + slack
        return -size, size
    first_high = {"LA": 0, "SA": values.size, "BE": values.size // 2}[which]
    is_high = jnp.arange(values.size) >= first_high
    return jnp.where(is_high, -jnp.inf, values - slack), jnp.where(is_high, values + slack, jnp.inf)
