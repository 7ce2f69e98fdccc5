"""What every optimizer shares: the rule for one array, lifted to pytrees once.

A rule is a module-level function

    rule(grad, *slots, count, learning_rate, **numbers) -> (update, *slots)

of one array and its state slots. `pair` lifts it to an `optax.GradientTransformation` whose two functions are
`jax.tree_util.Partial` objects. So an optimizer is itself a pytree, its numbers the leaves: it crosses `jit` and `vmap`
as an argument, and a new learning rate is a new value, never a new program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._numerics import real_dtype, working_dtype
from .._partials import as_partial

Number = float | Float[Array, ""]
Schedule = Callable[[Any], Any]


def pair(
    state_type: type,
    rule: Callable,
    learning_rate: Number | Schedule,
    initial: Callable | None = None,
    *,
    uses_params: bool = False,
    **numbers: Number,
) -> optax.GradientTransformation:
    """Lift the rule for one array to an (init, update) pair over pytrees.

    Arguments:
        state_type: a NamedTuple whose first field is `count`; every other field is one slot per parameter.
        rule: `rule(grad, *slots, count, learning_rate, **numbers) -> (update, *slots)` for one array. `count` is 1 at
            the first step.
        learning_rate: a number, or a schedule from the number of steps done to the rate.
        initial: `initial(param) -> slots`, a Partial if it holds numbers; zeros like the parameter when None. A slot
            that is None stays away.
        uses_params: whether the rule is `rule(grad, param, *slots, ...)`.
        numbers: every other hyperparameter, each a scalar.
    """
    numbers = dict(numbers, learning_rate=rate_or_schedule(learning_rate))
    return optax.GradientTransformation(
        init=Partial(_init, Partial(state_type), as_partial(initial) if initial else None),
        update=Partial(_update_with_params if uses_params else _update, Partial(rule), numbers),
    )


def rate_or_schedule(learning_rate: Number | Schedule) -> Any:
    """Return a checked learning rate, or a schedule as a pytree."""
    if not callable(learning_rate):
        return scalar("learning_rate", learning_rate, low=0.0)
    # A schedule that is not a pytree becomes one without leaves, so that the optimizer still is.
    return as_partial(learning_rate)


def scalar(name: str, value: Any, **interval: Any) -> Any:
    """Return `value` if it is one number in range; a schedule or a vector is refused with what to do instead."""
    if callable(value):
        raise TypeError(
            f"{name} must be a number, got the function {_checks.name_of(value)!r}; only learning_rate takes a schedule"
        )
    if jnp.shape(value) != ():
        raise TypeError(
            f"{name} must be one number, got shape {jnp.shape(value)}; for many values at once build the optimizer "
            f"inside jax.vmap, or use jaxopt_notes.sweep"
        )
    return _checks.number(name, value, **interval)


def _init(state_type: Partial, initial: Callable | None, params: PyTree) -> Any:
    names = state_type.func._fields[1:]  # type: ignore[attr-defined]
    leaves, tree = jax.tree.flatten(params)
    working = [jnp.asarray(leaf, working_dtype(leaf)) for leaf in leaves]
    slots = [initial(leaf) if initial else (jnp.zeros_like(leaf),) * len(names) for leaf in working]
    columns = zip(*slots, strict=True) if slots else [()] * len(names)  # a tree without leaves has slots without leaves
    return state_type(jnp.zeros((), jnp.int32), *(jax.tree.unflatten(tree, column) for column in columns))


def _update(
    rule: Callable, numbers: dict[str, Any], grads: PyTree, state: Any, params: PyTree = None
) -> tuple[PyTree, Any]:
    del params  # kept for optax's calling convention
    return _apply(rule, numbers, grads, state, ())


def _update_with_params(
    rule: Callable, numbers: dict[str, Any], grads: PyTree, state: Any, params: PyTree = None
) -> tuple[PyTree, Any]:
    if params is None:
        raise ValueError("this optimizer needs the parameters: call update(grads, state, params)")
    return _apply(rule, numbers, grads, state, (params,))


def _apply(
    rule: Callable, numbers: dict[str, Any], grads: PyTree, state: Any, params: tuple[PyTree, ...]
) -> tuple[PyTree, Any]:
    count = optax.safe_increment(state.count)
    rate = numbers["learning_rate"]
    numbers = dict(numbers, learning_rate=rate(state.count) if callable(rate) else rate, count=count)
    leaves, tree = jax.tree.flatten(grads)
    columns = [tree.flatten_up_to(column) for column in (*params, *state[1:])]  # type: ignore[attr-defined]
    moved = [_one_array(rule, numbers, *arrays) for arrays in zip(leaves, *columns, strict=True)]
    rows = zip(*moved, strict=True) if moved else [()] * len(state)
    updates, *slots = (jax.tree.unflatten(tree, row) for row in rows)
    return updates, type(state)(count, *slots)


def _one_array(rule: Callable, numbers: dict[str, Any], grad: Array, *slots: Array) -> tuple[Array, ...]:
    """Apply the rule in the working precision of one array; every number is cast to it first."""
    dtype = working_dtype(grad)
    numbers = {name: jnp.asarray(value, real_dtype(dtype)) for name, value in numbers.items()}
    update, *slots = rule(jnp.asarray(grad, dtype), *slots, **numbers)
    return update.astype(jnp.result_type(grad)), *slots


def decay(name: str, value: Any) -> Any:
    """Return `value` if it is one number in [0, 1): the share that an average keeps."""
    return scalar(name, value, low=0.0, high=1.0, open_high=True)
