"""What the operations of a traced program reveal: callbacks, rules of differentiation, sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Final

import jax
import numpy as np
from jaxtyping import PyTree

from .programs import Jaxpr, equations, trace

UNKNOWN: Final = object()
"""In place of a callback: the operation has an unknown effect."""

_CALLBACKS = ("debug_callback", "pure_callback", "io_callback")
_PRINTS = ("debug_print",)  # its text and options are parameters, and show in the program's text


def callbacks(jaxpr: Jaxpr) -> Iterator[Any]:
    """What a program calls back to, in order: JAX's wrappers of functions, or `UNKNOWN`.

    Not promised: the names of the operations, the parameter "callback", and that whatever else reaches outside the
    program has effects.
    """
    for equation in equations(jaxpr):
        name, callback = equation.primitive.name, equation.params.get("callback")
        if name in _CALLBACKS and callback is not None:
            yield callback
        elif name not in _PRINTS and ("callback" in name or (equation.effects and not _has_programs(equation))):
            yield UNKNOWN


def _has_programs(equation: Any) -> bool:
    """Whether the effects of an equation are those of the programs inside it, which are equations of their own."""
    return any(hasattr(value, "eqns") or hasattr(value, "jaxpr") for value in jax.tree.leaves(equation.params))


def wrapped_parts(value: Any) -> tuple[Any, ...] | None:
    """What a wrapper of JAX around a callback holds, the user's function included; None of any other value.

    Not promised: that such a wrapper is a dataclass whose fields hold all that decides what it does.
    """
    if not (dataclasses.is_dataclass(value) and type(value).__module__.startswith("jax.")):
        return None
    return tuple(getattr(value, field.name) for field in dataclasses.fields(value))


def has_custom_rule(jaxpr: Jaxpr) -> bool:
    """Whether a program holds a function with its own rule of differentiation, which does not show in its text.

    Not promised: that the names of these operations begin with "custom_".
    """
    return any(equation.primitive.name.startswith("custom_") for equation in equations(jaxpr))


def needs_custom_tangent(push: Callable[..., Any], like: PyTree) -> bool:
    """Whether a linear map needs the tangent of a `custom_vjp` function, which has a rule for reverse mode only.

    Not promised: that forward mode leaves an operation called "custom_lin" there, and that a linear map drops what it
    does not need.
    """
    return any(equation.primitive.name == "custom_lin" for equation in equations(trace(push, like).jaxpr))


def has_loop(jaxpr: Jaxpr) -> bool:
    """Whether a program repeats a part of itself.

    Not promised: as `equations`; the names of the operations.
    """
    return any(equation.primitive.name in ("while", "scan") for equation in equations(jaxpr))


def reaches_outside(jaxpr: Jaxpr) -> bool:
    """Whether a program calls back to Python, prints, or has another effect.

    Not promised: as `callbacks`.
    """
    return any(equation.effects or "callback" in equation.primitive.name for equation in equations(jaxpr))


def bytes_computed(jaxpr: Jaxpr) -> int:
    """The size of everything that a program computes, an upper bound of what it holds at once.

    The bodies of loops count once.

    Not promised: as `equations`; the attributes `outvars` and `aval`.
    """
    kinds: list[Any] = [var.aval for equation in equations(jaxpr) for var in equation.outvars]
    return sum(
        int(np.prod(kind.shape, dtype=np.int64)) * kind.dtype.itemsize
        for kind in kinds
        if hasattr(kind, "shape") and hasattr(kind.dtype, "itemsize")
    )
