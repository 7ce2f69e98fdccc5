"""Whether a loss is a sum over its examples where a mean is needed: seen in the program, and confirmed by numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from . import _checks
from ._hoist import Program, hoist
from ._host import taken
from ._jaxpr import Value, adds_up, output_value, quick_options
from ._kept import made_for
from ._warnings import warn

_MOVED = 0.1  # added to all parameters where the loss is 0, which shows nothing


def is_sum(
    program: Program, loss: Callable[..., Any], before: Sequence[Any], data: PyTree, after: Sequence[Any] = ()
) -> bool:
    """Whether a loss adds up over its examples, so that twice the examples make twice the loss.

    A sum over the axis of examples that is not divided by their number is seen in the traced program. As weights may
    make a mean of it, a few examples are then evaluated once and twice over: a mean stays as it is. A loss that fails
    at these shapes, or calls back to Python, counts as no sum. Known once per program.

    Arguments:
        program: the loss as traced for a batch, with which the answer is kept.
        loss: `loss(*before, batch, *after)`, a real scalar.
        before: its arguments before the batch, the parameters first.
        data: a pytree of arrays with one leading axis of examples.
        after: its arguments after the batch.
    """
    if any(map(_checks.is_traced, jax.tree.leaves((before, data, after)))):
        return False
    return made_for(program).get("is_sum", lambda: _is_sum(loss, tuple(before), data, tuple(after)))


def warn_of_sum(name: str, batch_size: int, examples: int) -> None:
    """Warn of a run by batches on a loss that adds up over its examples."""
    warn(
        f"loss {name!r} adds up over its examples: on a batch of {batch_size} it is about {batch_size}/{examples} of "
        f"the final loss, which is of all {examples}, and a learning rate makes other steps for every batch size. "
        f"Return a mean, such as jnp.mean in place of jnp.sum, to compare them."
    )


def refuse_sum(name: str, batch_size: int, examples: int) -> None:
    """Refuse to average a loss that adds up over its examples over batches.

    Raises:
        ValueError: it names the way out.
    """
    raise ValueError(
        f"loss {name!r} adds up over its examples, and batch_size={batch_size} needs a mean: averaged over batches of "
        f"{batch_size} of {examples} examples the result would be about {examples / batch_size:.3g} times too small. "
        f"Return a mean, such as jnp.mean in place of jnp.sum, or leave batch_size out."
    )


def _is_sum(loss: Callable[..., Any], before: tuple[Any, ...], data: PyTree, after: tuple[Any, ...]) -> bool:
    few = taken(data, slice(min(2, _checks.examples("data", data))))
    first, count = len(jax.tree.leaves(before)), len(jax.tree.leaves(few))

    def traced(times: int) -> Value | None:
        batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((times * len(leaf), *leaf.shape[1:]), leaf.dtype), few)
        return output_value(loss, (*before, batch, *after), range(first, first + count))

    def evaluated(before: tuple[Any, ...], few: PyTree, after: tuple[Any, ...]) -> tuple[Any, Any]:
        twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), few)
        return loss(*before, few, *after), loss(*before, twice, *after)

    try:
        once, twice = traced(1), traced(2)
        if once is None or twice is None or not adds_up(once, twice):
            return False
        program, constants = hoist(evaluated, before, few, after, derivatives=0)
        run = jax.jit(lambda constants, *arguments: program(constants, *arguments), compiler_options=quick_options())
        values = np.asarray(run(constants, before, few, after), np.float64)
        if not values.any():
            moved = jax.tree.map(lambda leaf: leaf + jnp.asarray(_MOVED, leaf.dtype), before[0])
            values = np.asarray(run(constants, (moved, *before[1:]), few, after), np.float64)
    except Exception:  # a loss for one size of batch only; where that is an error, it is met again, in its own words
        return False
    rounding = 8 * float(jnp.finfo(once.dtype).eps) * np.abs(values).max()
    return bool(np.isfinite(values).all() and abs(values[1] - values[0]) > rounding)
