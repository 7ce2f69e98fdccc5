"""What every optimizer shares: the rule for one array, lifted to pytrees once.

A rule is a module-level function

    rule(grad, *slots, learning_rate, **numbers) -> (update, *slots)

of one array and its state slots. An `ArrayRule` holds it together with the facts of the method, which the other rooms
read. `pair` lifts it to an `optax.GradientTransformationExtraArgs` whose two functions are `jax.tree_util.Partial`
objects. So an optimizer is itself a pytree, its numbers the leaves: pass it through `jit` and `vmap` like any array;
changing the learning rate does not recompile. Like optax's, `update` accepts and ignores further arguments such as
`value`, and `init` accepts abstract parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._numerics import real_dtype, working, working_dtype
from .._partials import as_partial
from .._shown import abbreviated
from ..wrappers.averaging import bias_correction
from ._facts import Divisor, Interval, Look, Without

Number = float | Float[Array, ""]
Schedule = Callable[[Any], Any]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One method: its step, and what the other rooms know of it. A rule that lacks a fact cannot be made.

    Equal rules are equal, so that they share a compiled program.

    Attributes:
        name: of its factory.
        state_type: a NamedTuple whose first field is `count`.
        function: what a step computes; the formula sheet shows its lines.
        formula: the step in LaTeX, with x the parameters, g the gradient and alpha the learning rate.
        hyperparameters: the interval of each, in the order of the factory's arguments, the learning rate first.
        divisor: what it divides the gradient by; None for a method that divides by nothing.
        inverse_limit: `inverse_limit(sharpness, **numbers)`, one over the largest learning rate that is stable on a
            quadratic, with the divisor held fixed and L the sharpness that the method then sees; 0 or less where every
            rate is stable.
        second_axis: the hyperparameter to sweep beside the learning rate; None if there is none.
        look: how its line is drawn.
    """

    name: str
    state_type: Any
    function: Callable
    formula: str = field(compare=False, repr=False)
    hyperparameters: Mapping[str, Interval] = field(compare=False, repr=False)
    divisor: Divisor | Without | None = field(repr=False)
    inverse_limit: Callable[..., Any] | Without = field(repr=False)
    second_axis: str | None = field(compare=False, repr=False)
    look: Look = field(compare=False, repr=False)
    uses_loss: ClassVar[bool] = False

    def __call__(
        self, numbers: dict[str, Any], grads: PyTree, state: Any, params: PyTree = None, **unused: Any
    ) -> tuple[PyTree, Any]:
        """Return the updates and the next state."""
        raise NotImplementedError

    def checked(self, name: str, value: Any) -> Any:
        """Return `value` if it is one number that this hyperparameter accepts."""
        interval = self.hyperparameters[name]
        return scalar(name, value, low=0.0, high=interval.most, open_high=interval.open_high)

    def divisors(self, numbers: dict[str, Any], state: Any) -> PyTree:
        """What every entry of the gradient is divided by in this state.

        Returns:
            A pytree like the parameters, infinite where the method does not move them; None for a method that divides
            by nothing.

        Raises:
            TypeError: the method has no divisor.
        """
        if isinstance(self.divisor, Without):
            raise TypeError(f"{self.name} divides by no diagonal: {self.divisor.reason}")
        if self.divisor is None:
            return None
        function, names = self.divisor
        first, *others = (getattr(state, name) for name in names)
        leaves, tree = jax.tree.flatten(first)
        columns = [[None] * len(leaves) if slot is None else jax.tree.leaves(slot) for slot in others]

        def divisor(*slots: Any) -> Array:
            dtype = real_dtype(slots[0].dtype)
            found = function(*slots, **self._numbers(fixed, state.count.astype(dtype), dtype))
            return jnp.where(found > 0, found, jnp.inf)  # nothing is divided by zero: such an entry does not move

        fixed = {name: value for name, value in numbers.items() if name != "learning_rate"}
        return jax.tree.unflatten(tree, [divisor(*slots) for slots in zip(leaves, *columns, strict=True)])

    def _numbers(self, numbers: dict[str, Any], count: Array, dtype: Any) -> dict[str, Array]:
        """Every number in the working precision."""
        return {name: jnp.asarray(value, dtype) for name, value in numbers.items()}


@dataclass(frozen=True, kw_only=True)
class ArrayRule(Rule):
    """A method that treats every array alone: the rule for one array, lifted to pytrees.

    Attributes:
        state_type: every field after `count` is one slot per parameter.
        function: `rule(grad, *slots, learning_rate, **numbers) -> (update, *slots)` for one array.
        uses_params: whether the function is `rule(grad, param, *slots, ...)`.
        uses_count: whether the function is also given `count`, the step t, from 1.
        debias: names of the decays b for which the function is also given `<name>_correction`, 1 - b^t at step t.
    """

    uses_params: bool = False
    uses_count: bool = False
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
        rows = zip(*moved, strict=True) if moved else [(), *_without_leaves(state[1:])]
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
        numbers = super()._numbers(numbers, count, dtype) | ({"count": count} if self.uses_count else {})
        return numbers | {f"{name}_correction": bias_correction(numbers[name], count) for name in self.debias}


def _without_leaves(slots: Sequence[Any]) -> list[tuple[()] | None]:
    """The entries of the same slots in a tree without leaves, which a slot that stays away does not have."""
    return [None if slot is None else () for slot in slots]


def _tree(structure: Any, entries: Sequence[Any] | None) -> PyTree:
    """The tree of the entries; None for a slot that stays away, since a tree of None would cost a step some time."""
    if entries is None or any(entry is None for entry in entries):
        return None
    return jax.tree.unflatten(structure, entries)


@partial(jax.jit, static_argnums=0)
def _one_array(function: Callable, numbers: dict[str, Array], grad: Array, *slots: Any) -> tuple[Any, ...]:
    """Apply a rule in the working precision; compiled, so that arrays of one shape and type are traced once."""
    update, *slots = function(jnp.asarray(grad, working_dtype(grad)), *slots, **numbers)
    return update.astype(jnp.result_type(grad)), *slots


class Optimizer(optax.GradientTransformationExtraArgs):  # type: ignore[misc]
    """An (init, update) pair that is shown by its method and numbers; choices such as `centered` are not shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        found = known(self, None)
        if found is None or not isinstance(found.numbers, dict):  # the axes for `vmap`, or a part replaced
            return super().__repr__()
        names = [name for name in found.rule.hyperparameters if name in found.numbers]
        numbers = ", ".join(f"{name}={_number(found.numbers[name])}" for name in names)
        return f"{found.rule.name}({numbers})"


def _number(value: Any) -> str:
    """A hyperparameter in a few characters; of an array of one number the number alone."""
    text = "schedule" if callable(value) else abbreviated(value)
    return text.partition("[] ")[2] or text


def pair(
    rule: ArrayRule, learning_rate: Number | Schedule, initial: Callable | None = None, **numbers: Number
) -> optax.GradientTransformationExtraArgs:
    """Lift the rule for one array to an (init, update) pair over pytrees.

    Arguments:
        rule: the method.
        learning_rate: a number, or a schedule from the number of steps done to the rate.
        initial: `initial(param) -> slots`, a Partial if it holds numbers; zeros like the parameter when None. A slot
            that is None stays away.
        numbers: every other hyperparameter, each a scalar in the rule's interval.
    """
    checked = {name: rule.checked(name, value) for name, value in numbers.items()}
    return Optimizer(
        init=Partial(_init, Partial(rule.state_type), as_partial(initial) if initial else None),
        update=Partial(rule, dict(checked, learning_rate=rate_or_schedule(learning_rate))),
    )


class Known(NamedTuple):
    """What is known of an optimizer in the middle of a run: its rule, its numbers, and its own state."""

    rule: Rule
    numbers: dict[str, Any]
    state: Any


def known(optimizer: Any, state: Any) -> Known | None:
    """The rule of an optimizer of ours, also of the one that a wrapper holds; None of any other."""
    update = getattr(optimizer, "update", None)
    if not isinstance(update, Partial):
        return None
    if isinstance(update.func, Rule):
        return Known(update.func, update.args[0], state)
    wrapped = [held for held in update.args if isinstance(held, optax.GradientTransformation)]
    return known(wrapped[0], state.inner) if wrapped else None


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

    def slots(leaf: Array) -> Sequence[Any]:
        return initial(leaf) if initial else (jnp.zeros_like(leaf),) * len(names)

    columns = zip(*map(slots, map(working, leaves)), strict=True) if leaves else _without_leaves(slots(jnp.zeros(())))
    return state_type(jnp.zeros((), jnp.int32), *(_tree(tree, column) for column in columns))
