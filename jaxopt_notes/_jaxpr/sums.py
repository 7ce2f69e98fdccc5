"""Whether a traced number is a sum over an axis, read off the operations that make it.

Not promised, here as a whole: the names of operations, and which of them the functions of `jax.numpy` are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.extend import core as jex

from .programs import Jaxpr, trace

_SUMS = ("reduce_sum", "dot_general")
_KEEPS_A_SUM = {
    *("add", "add_any", "sub", "neg", "mul", "div", "convert_element_type", "copy", "reduce_precision"),
    *("reduce_sum", "reshape", "squeeze", "broadcast_in_dim"),
}
_SCALES = {"mul", "div", "neg", "convert_element_type", "broadcast_in_dim", "reshape", "squeeze"}


@dataclass(frozen=True, eq=False)
class Value:
    """A number or an array in a traced program: what made it, from what, and whether it depends on the examples."""

    made_by: str
    shape: tuple[int, ...]
    inputs: tuple[Value, ...]
    of_data: bool
    literal: Any = None
    dtype: Any = None


def output_value(fun: Callable[..., Any], args: Sequence[Any], data: Collection[int]) -> Value | None:
    """The first output of `fun(*args)`; None where the program has effects.

    Arguments:
        fun: a function of pytrees of arrays.
        args: example arguments; only their shapes and dtypes matter.
        data: which leaves of the arguments, by number, are the examples.
    """
    jaxpr = trace(fun, *args).jaxpr
    inputs = [Value("input", _shape(var), (), i in data) for i, var in enumerate(jaxpr.invars)]
    return None if jaxpr.effects else _values(jaxpr, inputs)[0]


def _values(jaxpr: Jaxpr, inputs: Sequence[Value]) -> list[Value]:
    """The outputs of a program, with those of inner programs in place."""
    known: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
    known |= {var: Value("constant", _shape(var), (), False) for var in jaxpr.constvars}

    def value(atom: Any) -> Value:
        return Value("literal", (), (), False, np.asarray(atom.val)) if isinstance(atom, jex.Literal) else known[atom]

    for eqn in jaxpr.eqns:
        given = tuple(map(value, eqn.invars))
        inner = eqn.params.get("jaxpr") if eqn.primitive.name == "jit" else None
        if inner is not None:
            known.update(zip(eqn.outvars, _values(inner.jaxpr, given), strict=True))
            continue
        of_data = any(each.of_data for each in given)
        for var in eqn.outvars:
            kind: Any = var.aval
            known[var] = Value(eqn.primitive.name, kind.shape, given, of_data, dtype=kind.dtype)
    return [value(atom) for atom in jaxpr.outvars]


def adds_up(once: Value, twice: Value) -> bool:
    """Whether a value is, but for factors and terms, a sum over the axis that is longer with twice the examples.

    Arguments:
        once, twice: the same output of one function, traced for some examples and for twice as many.
    """
    if once.made_by != twice.made_by or not once.of_data:
        return False
    if once.made_by in _SUMS and once.shape == twice.shape:
        pairs = list(zip(once.inputs, twice.inputs, strict=True))
        if any(a.shape != b.shape for a, b in pairs):
            return not any(_is_scaled(a, b) for a, b in pairs)
    if once.made_by not in _KEEPS_A_SUM or _has_factor_of_examples(once, twice):
        return False
    if once.made_by == "div" and once.inputs[1].of_data:  # by the number of those that count, or the sum of weights
        return False
    return any(adds_up(a, b) for a, b in zip(once.inputs, twice.inputs, strict=True))


def _is_scaled(once: Value, twice: Value) -> bool:
    """Whether the terms of a sum hold the factor that makes it a mean."""
    if once.made_by != twice.made_by or once.made_by not in _SCALES:
        return False
    return _has_factor_of_examples(once, twice) or any(map(_is_scaled, once.inputs, twice.inputs))


def _has_factor_of_examples(once: Value, twice: Value) -> bool:
    """Whether a factor, divisor or filling is another number for twice the examples."""
    literals = [(a.literal, b.literal) for a, b in zip(once.inputs, twice.inputs, strict=True)]
    return once.made_by in ("mul", "div", "broadcast_in_dim") and any(
        a is not None and b is not None and bool(np.any(a != b)) for a, b in literals
    )


def _shape(var: Any) -> tuple[int, ...]:
    return tuple(var.aval.shape)
