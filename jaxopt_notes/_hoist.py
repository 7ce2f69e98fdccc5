"""Hoisting: turn a function and what its closure holds into a program and its constants.

A closed-over array would become a constant of the compiled program, which XLA folds for minutes, and a fresh lambda
would be a fresh cache key, which recompiles. `hoist` traces the function once, returns the arrays as an explicit list,
and names the rest by its text, so that two lambdas with the same program share one compilation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.extend import core as jex


class Program:
    """A traced function of `(constants, *args)`; equal to any other with the same text."""

    def __init__(self, jaxpr: jex.Jaxpr, in_tree: Any, out_tree: Any, text: str) -> None:
        self._jaxpr, self._in_tree, self._out_tree = jaxpr, in_tree, out_tree
        self.fingerprint = hashlib.sha256(f"{text}{in_tree}{out_tree}".encode()).hexdigest()

    def __call__(self, constants: Sequence[Any], *args: Any) -> Any:
        leaves, in_tree = jax.tree.flatten(args)
        if in_tree != self._in_tree:
            raise TypeError(f"the program was traced for {self._in_tree}, called with {in_tree}")
        return jax.tree.unflatten(self._out_tree, jax.core.eval_jaxpr(self._jaxpr, constants, *leaves))

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.fingerprint == other.fingerprint


def hoist(fun: Callable, *args: Any, differentiated: bool = True) -> tuple[Program, list[Any]]:
    """Trace `fun(*args)` and split it into `(program, constants)` with `program(constants, *args) == fun(*args)`.

    Arguments:
        fun: a function of pytrees of arrays; what its closure holds may be traced itself.
        args: example arguments; only their shapes and dtypes matter.
        differentiated: whether the program will be; then custom derivative rules are part of its name.
    """
    closed, out_tree = _trace(fun, args)
    if any(
        True for _ in _nested_constants(closed.jaxpr)
    ):  # lift what nested jits hold, by running their bodies in place
        closed, _ = _trace(partial(_inline, closed.jaxpr, closed.consts), jax.tree.leaves(args))
    text = str(closed.jaxpr)
    if differentiated and any(equation.primitive.name.startswith("custom_") for equation in _equations(closed.jaxpr)):
        text += _derivative_text(closed, args)  # the rule of a custom derivative does not show in the text above
    for constant in _nested_constants(closed.jaxpr):
        text += hashlib.sha256(np.asarray(constant).tobytes()).hexdigest()
    return Program(closed.jaxpr, jax.tree.structure(args), out_tree, text), list(closed.consts)


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


def _derivative_text(closed: jex.ClosedJaxpr, args: Sequence[Any]) -> str:
    def pullback(leaves: list[Any]) -> Any:
        outputs, pull = jax.vjp(lambda *flat: jax.core.eval_jaxpr(closed.jaxpr, closed.consts, *flat), *leaves)
        return pull(outputs)

    return str(jax.make_jaxpr(pullback)(jax.tree.leaves(args)))


def _equations(jaxpr: jex.Jaxpr) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inner(equation):
            yield from _equations(inner.jaxpr if isinstance(inner, jex.ClosedJaxpr) else inner)


def _nested_constants(jaxpr: jex.Jaxpr) -> Iterator[Any]:
    for equation in _equations(jaxpr):
        for inner in _inner(equation):
            if isinstance(inner, jex.ClosedJaxpr):
                yield from inner.consts


def _inner(equation: Any) -> Iterator[Any]:
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, (jex.Jaxpr, jex.ClosedJaxpr)):
                yield item
