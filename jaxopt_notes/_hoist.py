"""Hoisting: turn a function and what its closure holds into a program and its constants.

A closed-over array would become a constant of the compiled program, which XLA folds for minutes, and a fresh lambda
would be a fresh cache key, which recompiles. `hoist` traces the function once, returns the arrays as an explicit list,
and names the rest by its text, so that two lambdas with the same program share one compilation.
"""

from __future__ import annotations

import hashlib
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

from ._callbacks import callbacks_text
from ._kept import keep


class Program:
    """A traced function of `(constants, *args)`; equal to any other with the same text.

    Attributes:
        fingerprint: hash of the text.
        made: a weak reference to what is compiled for it.
    """

    def __init__(self, jaxpr: jex.Jaxpr, in_tree: Any, out_tree: Any, text: str) -> None:
        self._jaxpr, self._in_tree, self._out_tree = jaxpr, in_tree, out_tree
        self._callbacks = callbacks_text(self.equations())
        self.fingerprint = hashlib.sha256(f"{text}{self._callbacks}{in_tree}{out_tree}".encode()).hexdigest()
        self.made: weakref.ref[Any] | None = None

    def __call__(self, constants: Sequence[Any], *args: Any) -> Any:
        leaves, in_tree = jax.tree.flatten(args)
        if in_tree != self._in_tree:
            raise TypeError(f"the program was traced for {self._in_tree}, called with {in_tree}")
        outputs = jax.core.eval_jaxpr(self._jaxpr, constants, *leaves)
        return jax.tree.unflatten(self._out_tree, map(jnp.asarray, outputs))  # what is always the same is no array yet

    def output(self) -> Any:
        """Shapes and dtypes of what it returns."""
        kinds: list[Any] = [var.aval for var in self._jaxpr.outvars]
        shapes = [jax.ShapeDtypeStruct(kind.shape, kind.dtype) for kind in kinds]
        return jax.tree.unflatten(self._out_tree, shapes)

    def equations(self) -> Iterator[Any]:
        """Every equation, those of inner programs included."""
        return equations(self._jaxpr)

    def is_current(self) -> bool:
        """Whether its callbacks still do what they did when it was traced: what their closures hold may change."""
        return callbacks_text(self.equations()) == self._callbacks

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.fingerprint == other.fingerprint


_known: weakref.WeakValueDictionary[str, Program] = weakref.WeakValueDictionary()


def hoist(fun: Callable, *args: Any, derivatives: int = 2, owner: Any = None) -> tuple[Program, list[Any]]:
    """Trace `fun(*args)` and split it into `(program, constants)` with `program(constants, *args) == fun(*args)`.

    Where an equal program exists it is returned, with all that was compiled for it.

    Arguments:
        fun: a function of pytrees of arrays; what its closure holds may be traced itself.
        args: example arguments; only their shapes and dtypes matter.
        derivatives: how often the program will be differentiated, besides by whoever traces what its closure holds; as
            many orders of its custom derivative rules are part of its name.
        owner: what the program is kept with, the function that a user holds; `fun` when None.
    """
    closed, out_tree = _trace(fun, args)
    if any(
        True for _ in _nested_constants(closed.jaxpr)
    ):  # lift what nested jits hold, by running their bodies in place
        closed, _ = _trace(partial(_inline, closed.jaxpr, closed.consts), jax.tree.leaves(args))
    text = _text(closed.jaxpr, _nested_constants(closed.jaxpr))
    if any(equation.primitive.name.startswith("custom_") for equation in equations(closed.jaxpr)):
        # The rule of a custom derivative does not show in the text above, so the derivatives are named as well.
        derivatives += any(isinstance(constant, jax.core.Tracer) for constant in closed.consts)
        text += "".join(_derivative_texts(closed, jax.tree.leaves(args), derivatives))
    program = Program(closed.jaxpr, jax.tree.structure(args), out_tree, text)
    known = _known.get(program.fingerprint)
    if known is None or not known.is_current():
        known = _known[program.fingerprint] = program
    if not any(isinstance(constant, jax.core.Tracer) for constant in _nested_constants(closed.jaxpr)):
        keep(known, fun if owner is None else owner)
    return known, list(closed.consts)


def _text(jaxpr: jex.Jaxpr, constants: Iterable[Any]) -> str:
    """What a program does, in words: its equations, and the values of constants that are not its arguments.

    Nothing equals a program with a traced constant, whose value is not known. Such a program compiles anew. Callbacks,
    which print as a name, are put into words apart.
    """
    text = str(jaxpr)
    for constant in constants:
        if isinstance(constant, jax.core.Tracer):
            text += uuid.uuid4().hex
            continue
        is_key = jnp.issubdtype(jnp.result_type(constant), jax.dtypes.prng_key)
        values = np.asarray(jax.random.key_data(constant) if is_key else constant)
        text += f"{values.dtype}{values.shape}{hashlib.sha256(values.tobytes()).hexdigest()}"
    return text


def _trace(fun: Callable, args: Sequence[Any]) -> tuple[jex.ClosedJaxpr, Any]:
    closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    return closed, jax.tree.structure(shapes)


def _inline(jaxpr: jex.Jaxpr, constants: Sequence[Any], *args: Any) -> list[Any]:
    """Evaluate `jaxpr`, running the body of every jit in place."""
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    for equation in jaxpr.eqns:
        if equation.primitive.name == "jit":
            inner = equation.params["jaxpr"]
            outputs = _inline(inner.jaxpr, inner.consts, *map(read, equation.invars))
        else:
            invars = list(dict.fromkeys(atom for atom in equation.invars if not isinstance(atom, jex.Literal)))
            alone = jex.Jaxpr((), invars, equation.outvars, [equation], equation.effects, jaxpr.debug_info)
            outputs = jax.core.eval_jaxpr(alone, (), *map(read, invars))
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _derivative_texts(closed: jex.ClosedJaxpr, leaves: list[Any], orders: int) -> Iterator[str]:
    """The texts of the first derivatives. The program's own constants stay arguments; those of the rules are named.

    A derivative that does not exist, and may never be asked for, is like one that its text does not tell.
    """
    function: Callable = lambda constants, *flat: jax.core.eval_jaxpr(closed.jaxpr, constants, *flat)  # noqa: E731
    for _ in range(orders):
        function = partial(_pullback, function)
        try:
            traced = jax.make_jaxpr(function)(closed.consts, *leaves)
        except Exception:
            yield uuid.uuid4().hex
            return
        callbacks = callbacks_text(equations(traced.jaxpr))
        # The rule's own trace is gone after this, so an identity in it is worth nothing later.
        yield uuid.uuid4().hex if " at 0x" in callbacks else callbacks
        yield _text(traced.jaxpr, [*traced.consts, *_nested_constants(traced.jaxpr)])


def _pullback(function: Callable, constants: Sequence[Any], *leaves: Any) -> Any:
    outputs, pull = jax.vjp(partial(function, constants), *leaves)
    cotangents = jax.tree.map(lambda out: out if _inexact(out) else np.zeros(out.shape, jax.dtypes.float0), outputs)
    return [slope for slope, leaf in zip(pull(cotangents), leaves, strict=True) if _inexact(leaf)]


def _inexact(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def equations(jaxpr: jex.Jaxpr) -> Iterator[Any]:
    """Every equation of a traced program, those of inner programs included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inner(equation):
            yield from equations(inner.jaxpr if isinstance(inner, jex.ClosedJaxpr) else inner)


def _nested_constants(jaxpr: jex.Jaxpr) -> Iterator[Any]:
    for equation in equations(jaxpr):
        for inner in _inner(equation):
            if isinstance(inner, jex.ClosedJaxpr):
                yield from inner.consts


def _inner(equation: Any) -> Iterator[Any]:
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, (jex.Jaxpr, jex.ClosedJaxpr)):
                yield item
