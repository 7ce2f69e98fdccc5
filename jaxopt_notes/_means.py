"""Whether a loss is a sum over its examples where a mean is needed: seen in the program, and confirmed by numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex
from jaxtyping import PyTree

from . import _checks
from ._hoist import Program, hoist
from ._kept import made_for

_KEEPS_A_SUM = {
    *("add", "add_any", "sub", "neg", "mul", "div", "convert_element_type", "copy", "reduce_precision"),
    *("reduce_sum", "reshape", "squeeze", "broadcast_in_dim"),
}
_SCALES = {"mul", "div", "neg", "convert_element_type", "broadcast_in_dim", "reshape", "squeeze"}
_MOVED = 0.1  # added to all parameters where the loss is 0, which shows nothing
_FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


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


def warn_of_sum(name: str, batch_size: int, examples: int, stacklevel: int) -> None:
    """Warn of a run by batches on a loss that adds up over its examples."""
    warnings.warn(
        f"loss {name!r} adds up over its examples: on a batch of {batch_size} it is about {batch_size}/{examples} of "
        f"the final loss, which is of all {examples}, and a learning rate makes other steps for every batch size. "
        f"Return a mean, such as jnp.mean in place of jnp.sum, to compare them.",
        stacklevel=stacklevel + 1,
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
    few = jax.tree.map(lambda leaf: leaf[: min(2, _checks.examples("data", data))], data)
    first, count = len(jax.tree.leaves(before)), len(jax.tree.leaves(few))

    def traced(times: int) -> tuple[_Value, bool]:
        batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((times * len(leaf), *leaf.shape[1:]), leaf.dtype), few)
        jaxpr = jax.make_jaxpr(loss)(*before, batch, *after).jaxpr
        inputs = [_Value("input", _shape(var), (), first <= i < first + count) for i, var in enumerate(jaxpr.invars)]
        return _values(jaxpr, inputs)[0], bool(jaxpr.effects)

    def evaluated(before: tuple[Any, ...], few: PyTree, after: tuple[Any, ...]) -> tuple[Any, Any]:
        twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), few)
        return loss(*before, few, *after), loss(*before, twice, *after)

    try:
        (once, effects), (twice, _) = traced(1), traced(2)
        if effects or not _adds_up(once, twice):
            return False
        program, constants = hoist(evaluated, before, few, after, derivatives=0)
        options: Any = _FAST if jax.default_backend() == "cpu" else None
        run = jax.jit(lambda constants, *arguments: program(constants, *arguments), compiler_options=options)
        values = np.asarray(run(constants, before, few, after), np.float64)
        if not values.any():
            moved = jax.tree.map(lambda leaf: leaf + jnp.asarray(_MOVED, leaf.dtype), before[0])
            values = np.asarray(run(constants, (moved, *before[1:]), few, after), np.float64)
    except Exception:  # a loss for one size of batch only; where that is an error, it is met again, in its own words
        return False
    rounding = 8 * float(jnp.finfo(once.dtype).eps) * np.abs(values).max()
    return bool(np.isfinite(values).all() and abs(values[1] - values[0]) > rounding)


@dataclass(frozen=True, eq=False)
class _Value:
    """A number or an array in a traced program: what made it, from what, and whether it depends on the examples."""

    made_by: str
    shape: tuple[int, ...]
    inputs: tuple[_Value, ...]
    of_data: bool
    literal: Any = None
    dtype: Any = None


def _values(jaxpr: jex.Jaxpr, inputs: Sequence[_Value]) -> list[_Value]:
    """The outputs of a program, with those of inner programs in place."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))
    known |= {var: _Value("constant", _shape(var), (), False) for var in jaxpr.constvars}

    def value(atom: Any) -> _Value:
        return _Value("literal", (), (), False, np.asarray(atom.val)) if isinstance(atom, jex.Literal) else known[atom]

    for eqn in jaxpr.eqns:
        given = tuple(map(value, eqn.invars))
        inner = eqn.params.get("jaxpr") if eqn.primitive.name == "jit" else None
        if inner is not None:
            known.update(zip(eqn.outvars, _values(inner.jaxpr, given), strict=True))
            continue
        of_data = any(each.of_data for each in given)
        for var in eqn.outvars:
            kind: Any = var.aval
            known[var] = _Value(eqn.primitive.name, kind.shape, given, of_data, dtype=kind.dtype)
    return [value(atom) for atom in jaxpr.outvars]


def _adds_up(once: _Value, twice: _Value) -> bool:
    """Whether a value is, but for factors and terms, a sum over the axis that is longer with twice the examples."""
    if once.made_by != twice.made_by or not once.of_data:
        return False
    if once.made_by in ("reduce_sum", "dot_general") and once.shape == twice.shape:
        pairs = list(zip(once.inputs, twice.inputs, strict=True))
        if any(a.shape != b.shape for a, b in pairs):
            return not any(_is_scaled(a, b) for a, b in pairs)
    if once.made_by not in _KEEPS_A_SUM or _has_factor_of_examples(once, twice):
        return False
    if once.made_by == "div" and once.inputs[1].of_data:  # by the number of those that count, or the sum of weights
        return False
    return any(_adds_up(a, b) for a, b in zip(once.inputs, twice.inputs, strict=True))


def _is_scaled(once: _Value, twice: _Value) -> bool:
    """Whether the terms of a sum hold the factor that makes it a mean."""
    if once.made_by != twice.made_by or once.made_by not in _SCALES:
        return False
    return _has_factor_of_examples(once, twice) or any(map(_is_scaled, once.inputs, twice.inputs))


def _has_factor_of_examples(once: _Value, twice: _Value) -> bool:
    """Whether a factor, divisor or filling is another number for twice the examples."""
    literals = [(a.literal, b.literal) for a, b in zip(once.inputs, twice.inputs, strict=True)]
    return once.made_by in ("mul", "div", "broadcast_in_dim") and any(
        a is not None and b is not None and bool(np.any(a != b)) for a, b in literals
    )


def _shape(var: Any) -> tuple[int, ...]:
    return tuple(var.aval.shape)
