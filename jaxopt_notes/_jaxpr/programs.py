"""Traced programs: made, evaluated, searched, printed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

Jaxpr = jex.Jaxpr


class Traced(NamedTuple):
    """A traced function.

    Attributes:
        jaxpr: the program, a function of its constants and of the leaves of the arguments.
        constants: what the function's closure holds, arrays or tracers.
        out_tree: the structure of the result.
    """

    jaxpr: Jaxpr
    constants: list[Any]
    out_tree: Any


def is_traced(value: Any) -> bool:
    """Whether `value` is known only inside a compiled program, where it cannot be checked.

    Not promised: `jax.core.Tracer`, the class of such values.
    """
    return isinstance(value, jax.core.Tracer)


def is_tracing() -> bool:
    """Whether the caller runs inside a function that is being compiled, where every operation becomes part of it.

    Not promised: that putting a number on the device is such an operation.
    """
    return is_traced(jax.device_put(0))


def is_threefry(keys: Any) -> bool:
    """Whether keys are of JAX's usual generator, which draws for several keys at once what it draws for each alone.

    Not promised: the name of the generator; that a key without a type has two words if it is of that one.
    """
    if jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        return str(jax.random.key_impl(keys)) == "threefry2x32"
    return bool(keys.shape[-1] == 2)


def threefry_words(keys: Any) -> np.ndarray | None:
    """The two words of each of some typed keys, whose numbers `_host_random` draws too; None of any other keys.

    Not promised: the option `jax_threefry_partitionable`; how `fold_in` and `permutation` use the words.
    """
    typed = jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    if not typed or not is_threefry(keys) or not jax.config.jax_threefry_partitionable:  # type: ignore[attr-defined]
        return None
    return np.asarray(jax.random.key_data(keys))


def is_weakly_typed(leaf: Any) -> bool:
    """Whether an array takes on the dtype of another that it meets, as Python numbers do.

    Not promised: the attribute `weak_type` of an array's type.
    """
    return bool(jax.typeof(leaf).weak_type)


def is_jax_sparse(value: Any) -> bool:
    """Whether `value` is a sparse matrix of JAX.

    Not promised: the module `jax.experimental.sparse`.
    """
    return type(value).__module__.startswith("jax.experimental.sparse")


def trace(fun: Callable[..., Any], *args: Any) -> Traced:
    """Trace `fun(*args)`.

    Not promised: that what the closure holds becomes constants of the outermost program, in a fixed order.
    """
    closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    return Traced(closed.jaxpr, list(closed.consts), jax.tree.structure(shapes))


def evaluate(jaxpr: Jaxpr, constants: Sequence[Any], *leaves: Any) -> list[Any]:
    """The outputs of a program; some may be Python numbers.

    Not promised: `jax.core.eval_jaxpr`.
    """
    return list(jax.core.eval_jaxpr(jaxpr, constants, *leaves))


def lifted(fun: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """`fun` with what its closure holds as first argument, and that: `lifted(constants, *args)` is `fun(*args)`."""
    jaxpr, constants, out_tree = trace(fun, *args)

    def function(constants: Sequence[Any], *args: Any) -> Any:
        outputs = evaluate(jaxpr, constants, *jax.tree.leaves(args))
        return jax.tree.unflatten(out_tree, map(jnp.asarray, outputs))  # what is always the same is no array yet

    return function, constants


def output_shapes(jaxpr: Jaxpr) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the outputs of a program.

    Not promised: the attributes `outvars` and `aval`.
    """
    kinds: list[Any] = [var.aval for var in jaxpr.outvars]
    return [jax.ShapeDtypeStruct(kind.shape, kind.dtype) for kind in kinds]


def text(jaxpr: Jaxpr) -> str:
    """The identity of a program: its equations as text, equal for two traces of the same computation.

    Values of constants and the code of callbacks do not show in it, nor do the rules of custom derivatives.

    Not promised: that a printed program holds every number and every option that decides the result. Addresses of
    functions, which JAX 0.10.0 prints and later versions mask, are masked.
    """
    return re.sub(r" at 0x([0-9a-fA-F]+)", lambda found: " at 0x" + "X" * len(found[1]), str(jaxpr))


def equations(jaxpr: Jaxpr) -> Iterator[Any]:
    """Every equation of a program, those of inner programs included.

    Not promised: that inner programs, of loops, branches and jits, are parameters of their equation.
    """
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inner(equation):
            yield from equations(inner.jaxpr if isinstance(inner, jex.ClosedJaxpr) else inner)


def constants_inside(jaxpr: Jaxpr) -> Iterator[Any]:
    """The constants of inner programs, which are not arguments of the outer one.

    Not promised: as `equations`.
    """
    for equation in equations(jaxpr):
        for inner in _inner(equation):
            if isinstance(inner, jex.ClosedJaxpr):
                yield from inner.consts


def inputs_used(jaxpr: Jaxpr, outputs: Sequence[bool]) -> list[bool]:
    """Which arguments of a program some of its outputs depend on; more than that where an operation holds a program.

    Not promised: the attributes of programs and equations, the name "jit" of the operation and its parameter "jaxpr".
    """
    wanted = {id(var) for var, chosen in zip(jaxpr.outvars, outputs, strict=True) if chosen}
    for equation in reversed(jaxpr.eqns):
        needed = [id(var) in wanted for var in equation.outvars]
        if not any(needed):
            continue
        inner = equation.params["jaxpr"].jaxpr if equation.primitive.name == "jit" else None
        used = [True] * len(equation.invars) if inner is None else inputs_used(inner, needed)
        wanted |= {id(var) for var, chosen in zip(equation.invars, used, strict=True) if chosen}
    return [id(var) in wanted for var in jaxpr.invars]


def _inner(equation: Any) -> Iterator[Any]:
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, (jex.Jaxpr, jex.ClosedJaxpr)):
                yield item


def inlined(jaxpr: Jaxpr, constants: Sequence[Any], *leaves: Any) -> list[Any]:
    """The outputs of a program, with the body of every jit run in place: what the body holds is then held outside.

    Not promised: the name "jit" of the operation, its parameter "jaxpr", and that an equation by itself makes a
    program.
    """
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *leaves], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    for equation in jaxpr.eqns:
        if equation.primitive.name == "jit":
            inner = equation.params["jaxpr"]
            outputs = inlined(inner.jaxpr, inner.consts, *map(read, equation.invars))
        else:
            invars = list(dict.fromkeys(atom for atom in equation.invars if not isinstance(atom, jex.Literal)))
            alone = jex.Jaxpr((), invars, equation.outvars, [equation], equation.effects, jaxpr.debug_info)
            outputs = evaluate(alone, (), *map(read, invars))
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
