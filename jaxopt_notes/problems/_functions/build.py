"""What every function of the catalogue shares: a start, checked, and its facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._facts import Facts
from .._problem import Problem

Start = Float[Array, " n"] | list[float] | None


def tabulated(
    loss: Callable[[Array], Array],
    facts: Facts,
    name: str,
    start: Start = None,
    null_directions: Callable[[PyTree], PyTree] | None = None,
) -> Problem:
    """A `Problem` over vectors that begins at `start`, or where the facts suggest.

    Raises:
        ValueError: `start` has another shape than (n,).
    """
    begin = jnp.asarray(facts.starts[0] if start is None else start, float)
    if begin.shape != (facts.dimension,):
        raise ValueError(f"start must have shape ({facts.dimension},), got {begin.shape}")
    return Problem(loss, begin, name=name, facts=facts, null_directions=null_directions)


def starts(*points: Sequence[float] | Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " n"], ...]:
    """The points as `Facts.starts`."""
    return tuple(np.asarray(point, np.float64) for point in points)
