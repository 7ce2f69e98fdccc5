"""A traced function as a plain list of operations, for those who compute with it in their own arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

Slot = int
"""The number of a value. A value that is known is the numpy array itself."""

_IN_PLACE = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "remat2",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
)
_BODY = ("jaxpr", "call_jaxpr", "fun_jaxpr")


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        name: of the primitive, as JAX calls it: "add", "dot_general".
        params: its static numbers; the programs of a loop or a branch are `Listing`s.
        inputs: slots, or arrays that are known.
        outputs: slots.
        shapes, dtypes: of the outputs.
        takes: the dtypes of the inputs.
        run: what it does to known arrays, in JAX, for operations that only count or move.
    """

    name: str
    params: Mapping[str, Any]
    inputs: tuple[Slot | np.ndarray, ...]
    outputs: tuple[Slot, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype[Any], ...]
    takes: tuple[np.dtype[Any], ...]
    run: Callable[..., list[np.ndarray]]


@dataclass(frozen=True)
class Listing:
    """A program: what it takes, what it does, what it returns.

    Attributes:
        inputs: the slots of the arguments, one for every leaf.
        operations: in order.
        outputs: slots, or arrays that are known.
        shapes: of the outputs.
    """

    inputs: tuple[Slot, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[Slot | np.ndarray, ...]
    shapes: tuple[tuple[int, ...], ...]


def listed(fun: Callable[..., Any], *args: Any) -> tuple[Listing, Any]:
    """The operations of `fun(*args)`, and the structure of what it returns.

    The bodies of jits, of functions that are recomputed, and of functions with a derivative of their own stand in
    place: what is listed is the function itself, and no rule for its derivative.

    Not promised: how a traced program looks inside: `eqns`, `invars`, `outvars`, `aval`; the names of the operations
    whose body is run in place, and the parameter that holds the body; that a primitive runs on arrays by `bind`.
    """
    closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    return _listing(closed), jax.tree.structure(shapes)


def _listing(closed: Any) -> Listing:
    names: dict[Any, Slot | np.ndarray] = {}
    fresh = iter(range(1 << 60))
    inputs = tuple(next(fresh) for _ in closed.jaxpr.invars)
    names.update(zip(closed.jaxpr.invars, inputs, strict=True))
    operations = tuple(_operations(closed.jaxpr, closed.consts, names, fresh))
    outputs = tuple(_read(atom, names) for atom in closed.jaxpr.outvars)
    return Listing(inputs, operations, outputs, tuple(atom.aval.shape for atom in closed.jaxpr.outvars))


def _operations(
    jaxpr: Any, constants: Sequence[Any], names: dict[Any, Slot | np.ndarray], fresh: Iterator[Slot]
) -> Iterator[Operation]:
    names.update(zip(jaxpr.constvars, map(_known, constants), strict=True))
    for equation in jaxpr.eqns:
        if not equation.outvars:
            continue  # `jax.debug.print` and its like compute nothing
        takes: list[Any] = [atom.aval for atom in equation.invars]
        inputs = [_read(atom, names) for atom in equation.invars]
        body = next((equation.params[key] for key in _BODY if key in equation.params), None)
        if equation.primitive.name in _IN_PLACE and body is not None:
            inner, held = (body.jaxpr, body.consts) if isinstance(body, jex.ClosedJaxpr) else (body, ())
            own: dict[Any, Slot | np.ndarray] = dict(zip(inner.invars, inputs, strict=True))
            yield from _operations(inner, held, own, fresh)
            names.update((var, _read(atom, own)) for var, atom in zip(equation.outvars, inner.outvars, strict=True))
            continue
        outputs = tuple(next(fresh) for _ in equation.outvars)
        names.update(zip(equation.outvars, outputs, strict=True))
        kinds = [var.aval for var in equation.outvars]
        yield Operation(
            equation.primitive.name,
            {name: _parameter(value) for name, value in equation.params.items()},
            tuple(inputs),
            outputs,
            tuple(kind.shape for kind in kinds),
            tuple(kind.dtype for kind in kinds),
            tuple(kind.dtype for kind in takes),
            partial(_run, equation),
        )


def _run(equation: Any, *known: np.ndarray) -> list[np.ndarray]:
    with jax.enable_x64(True), jax.ensure_compile_time_eval():  # else doubles and long integers lose digits
        outputs = equation.primitive.bind(*map(jnp.asarray, known), **equation.params)
    return [_known(output) for output in (outputs if equation.primitive.multiple_results else [outputs])]


def _read(atom: Any, names: dict[Any, Slot | np.ndarray]) -> Slot | np.ndarray:
    if not isinstance(atom, jex.Literal):
        return names[atom]
    kind: Any = atom.aval
    return _known(atom.val, kind.dtype)


def _known(value: Any, dtype: Any = None) -> np.ndarray:
    """A constant as numpy holds it; one that numpy does not know, such as a typed key, as it is."""
    try:
        return np.asarray(value, dtype)
    except TypeError:
        return value


def _parameter(value: Any) -> Any:
    if isinstance(value, jex.ClosedJaxpr):
        return _listing(value)
    if isinstance(value, (tuple, list)) and any(isinstance(item, jex.ClosedJaxpr) for item in value):
        return tuple(map(_parameter, value))
    return value
