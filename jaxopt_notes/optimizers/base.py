"""What every optimizer shares: the rule for one array, lifted to pytrees once.

A rule is a module-level function

    rule(grad, *slots, learning_rate, **numbers) -> (update, *slots)

of one array and its state slots. `pair` lifts it to an `optax.GradientTransformationExtraArgs` whose two functions are
`jax.tree_util.Partial` objects. So an optimizer is itself a pytree, its numbers the leaves: it crosses `jit` and `vmap`
as an argument, and a new learning rate is a new value, never a new program. Like optax's, `update` accepts and ignores
further arguments such as `value`, and `init` accepts abstract parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._numerics import real_dtype, working, working_dtype
from .._partials import as_partial
from ..averaging import bias_correction

Number = float | Float[Array, ""]
Schedule = Callable[[Any], Any]


@dataclass(frozen=True)
class Rule:
    """The update over pytrees of one method; equal methods are equal, so that they share a compiled program.

    Attributes:
        state_type: a NamedTuple whose first field is `count`; every other field is one slot per parameter.
        function: `rule(grad, *slots, learning_rate, **numbers) -> (update, *slots)` for one array.
        uses_params: whether the function is `rule(grad, param, *slots, ...)`.
        debias: names of the decays b for which the function is also given `<name>_correction`, 1 - b^t at step t.
    """

    state_type: Any
    function: Callable
    uses_params: bool = False
    debias: tuple[str, ...] = ()

    def __call__(
        self, numbers: dict[str, Any], grads: PyTree, state: Any, params: PyTree = None, **unused: Any
    ) -> tuple[PyTree, Any]:
        """Return the updates and the next state."""
        if self.uses_params and params is None:
            raise ValueError("this optimizer needs the parameters: call update(grads, state, params)")
        leaves, tree = jax.tree.flatten(_checks.inexact("grads", grads))
        columns = self._columns(grads, state, params)
        count = jax.lax.min(state.count, jnp.int32(2**31 - 2)) + 1  # stays at the largest
        rate = numbers["learning_rate"]
        numbers = dict(numbers, learning_rate=rate(state.count) if callable(rate) else rate)
        dtypes = [real_dtype(working_dtype(leaf)) for leaf in leaves]
        typed = {dtype: self._numbers(numbers, count.astype(dtype), dtype) for dtype in dict.fromkeys(dtypes)}
        moved = [
            _one_array(self.function, typed[dtype], *arrays)
            for dtype, *arrays in zip(dtypes, leaves, *columns, strict=True)
        ]
        rows = zip(*moved, strict=True) if moved else [()] * len(state)
        updates, *slots = (_tree(tree, row) for row in rows)
        return updates, type(state)(count, *slots)

    def _columns(self, grads: PyTree, state: Any, params: PyTree) -> list[list[Any]]:
        """What the rule takes beside the gradient, each as one entry per gradient."""
        if not isinstance(state, self.state_type):
            expected = self.state_type.__name__
            raise TypeError(f"state must be the {expected} that init and update give, got {type(state).__name__}")
        nothing = [None] * len(jax.tree.leaves(grads))
        slots = [
            nothing if slot is None else _checks.matching("grads", grads, f"state.{name}", slot)
            for name, slot in zip(state._fields[1:], state[1:], strict=True)
        ]
        given = [] if params is None else [_checks.matching("grads", grads, "params", params)]
        return [*(given if self.uses_params else ()), *slots]

    def _numbers(self, numbers: dict[str, Any], count: Array, dtype: Any) -> dict[str, Array]:
        """Every number in the working precision, and the corrections; once for all arrays of that precision."""
        numbers = {name: jnp.asarray(value, dtype) for name, value in numbers.items()}
        return numbers | {f"{name}_correction": bias_correction(numbers[name], count) for name in self.debias}


def _tree(structure: Any, entries: Sequence[Any]) -> PyTree:
    """The tree of the entries; None for a slot that stays away, since a tree of None would cost a step some time."""
    absent = any(entry is None for entry in entries)
    return None if absent else jax.tree.unflatten(structure, entries)


@partial(jax.jit, static_argnums=0)
def _one_array(function: Callable, numbers: dict[str, Array], grad: Array, *slots: Any) -> tuple[Any, ...]:
    """Apply a rule in the working precision; compiled, so that arrays of one shape and type are traced once."""
    update, *slots = function(jnp.asarray(grad, working_dtype(grad)), *slots, **numbers)
    return update.astype(jnp.result_type(grad)), *slots


def pair(
    rule: Rule, learning_rate: Number | Schedule, initial: Callable | None = None, **numbers: Number
) -> optax.GradientTransformationExtraArgs:
    """Lift the rule for one array to an (init, update) pair over pytrees.

    Arguments:
        rule: the method.
        learning_rate: a number, or a schedule from the number of steps done to the rate.
        initial: `initial(param) -> slots`, a Partial if it holds numbers; zeros like the parameter when None. A slot
            that is None stays away.
        numbers: every other hyperparameter, each a scalar.
    """
    numbers = dict(numbers, learning_rate=rate_or_schedule(learning_rate))
    return optax.GradientTransformationExtraArgs(
        init=Partial(_init, Partial(rule.state_type), as_partial(initial) if initial else None),
        update=Partial(rule, numbers),
    )


def rate_or_schedule(learning_rate: Number | Schedule) -> Any:
    """Return a checked learning rate, or a schedule as a pytree."""
    if not callable(learning_rate):
        try:
            return scalar("learning_rate", learning_rate, low=0.0)
        except ValueError as error:
            if np.asarray(learning_rate) < 0:
                raise ValueError(
                    f"{error}; to maximise f minimise -f, or give a schedule, which may be negative"
                ) from None
            raise
    # A schedule that is not a pytree becomes one without leaves, so that the optimizer still is.
    return as_partial(_checks.schedule("learning_rate", learning_rate))


def scalar(name: str, value: Any, **interval: Any) -> Any:
    """Return `value` if it is one number in range; a schedule or a vector is refused with what to do instead."""
    if callable(value):
        what = "a schedule" if isinstance(value, Partial) else f"the function {_checks.name_of(value)!r}"
        raise TypeError(f"{name} must be a number, got {what}; only learning_rate takes a schedule")
    if isinstance(value, optax.GradientTransformation):
        raise TypeError(f"{name} must be a number, got an optimizer, an (init, update) pair")
    if np.shape(value) != ():
        raise TypeError(
            f"{name} must be one number, got shape {np.shape(value)}; for many values at once build the optimizer "
            f"inside jax.vmap, or use jaxopt_notes.sweep"
        )
    return _checks.number(name, value, **interval)


def _init(state_type: Partial, initial: Callable | None, params: PyTree) -> Any:
    names = state_type.func._fields[1:]  # type: ignore[attr-defined]
    leaves, tree = jax.tree.flatten(_checks.inexact("params", params))
    slots = [initial(leaf) if initial else (jnp.zeros_like(leaf),) * len(names) for leaf in map(working, leaves)]
    columns = zip(*slots, strict=True) if slots else [()] * len(names)  # a tree without leaves has slots without leaves
    return state_type(jnp.zeros((), jnp.int32), *(_tree(tree, column) for column in columns))


def decay(name: str, value: Any) -> Any:
    """Return `value` if it is one number in [0, 1): the share that an average keeps."""
    return scalar(name, value, low=0.0, high=1.0, open_high=True)
