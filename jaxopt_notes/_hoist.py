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

from . import _jaxpr
from ._callbacks import callbacks_text
from ._kept import keep


class Program:
    """A traced function of `(constants, *args)`; equal to any other with the same text.

    Attributes:
        fingerprint: hash of the text.
        made: a weak reference to what is compiled for it.
    """

    def __init__(self, jaxpr: _jaxpr.Jaxpr, in_tree: Any, out_tree: Any, text: str) -> None:
        self._jaxpr, self._in_tree, self._out_tree = jaxpr, in_tree, out_tree
        self._callbacks = callbacks_text(jaxpr)
        self.fingerprint = hashlib.sha256(f"{text}{self._callbacks}{in_tree}{out_tree}".encode()).hexdigest()
        self.made: weakref.ref[Any] | None = None

    def __call__(self, constants: Sequence[Any], *args: Any) -> Any:
        leaves, in_tree = jax.tree.flatten(args)
        if in_tree != self._in_tree:
            raise TypeError(f"the program was traced for {self._in_tree}, called with {in_tree}")
        outputs = _jaxpr.evaluate(self._jaxpr, constants, *leaves)
        return jax.tree.unflatten(self._out_tree, map(jnp.asarray, outputs))  # what is always the same is no array yet

    def output(self) -> Any:
        """Shapes and dtypes of what it returns."""
        return jax.tree.unflatten(self._out_tree, _jaxpr.output_shapes(self._jaxpr))

    def arguments_used(self, part: Callable[[Any], Any]) -> Any:
        """For every leaf of the arguments, in their structure, whether a part of the output may depend on it.

        Arguments:
            part: the part of an output, as `lambda out: out["final_loss"]`.
        """
        count = self._out_tree.num_leaves
        chosen = jax.tree.leaves(part(jax.tree.unflatten(self._out_tree, range(count))))
        used = _jaxpr.inputs_used(self._jaxpr, [place in chosen for place in range(count)])
        return jax.tree.unflatten(self._in_tree, used)

    def bytes_computed(self) -> int:
        """The size of everything that it computes, an upper bound of what it holds at once."""
        return _jaxpr.bytes_computed(self._jaxpr)

    def has_loop(self) -> bool:
        """Whether it repeats a part of itself, which `bytes_computed` counts once."""
        return _jaxpr.has_loop(self._jaxpr)

    def is_current(self) -> bool:
        """Whether its callbacks still do what they did when it was traced: what their closures hold may change."""
        return callbacks_text(self._jaxpr) == self._callbacks

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.fingerprint == other.fingerprint


_known: weakref.WeakValueDictionary[str, Program] = weakref.WeakValueDictionary()


def hoist(fun: Callable[..., Any], *args: Any, derivatives: int = 2, owner: Any = None) -> tuple[Program, list[Any]]:
    """Trace `fun(*args)` and split it into `(program, constants)` with `program(constants, *args) == fun(*args)`.

    Where an equal program exists it is returned, with all that was compiled for it.

    Arguments:
        fun: a function of pytrees of arrays; what its closure holds may be traced itself.
        args: example arguments; only their shapes and dtypes matter.
        derivatives: how often the program will be differentiated, not counting differentiation by an outer
            transformation; as many orders of its custom derivative rules are part of its name.
        owner: what the program is kept with, the function that a user holds; `fun` when None.
    """
    jaxpr, constants, out_tree = _jaxpr.trace(fun, *args)
    if list(_jaxpr.constants_inside(jaxpr)):  # lift what nested jits hold, by running their bodies in place
        jaxpr, constants, _ = _jaxpr.trace(partial(_jaxpr.inlined, jaxpr, constants), *jax.tree.leaves(args))
    inside = list(_jaxpr.constants_inside(jaxpr))
    text = _text(jaxpr, inside)
    if _jaxpr.has_custom_rule(jaxpr):
        # The rule of a custom derivative does not show in the text above, so the derivatives are named as well.
        derivatives += any(map(_jaxpr.is_traced, constants))
        text += "".join(_derivative_texts(jaxpr, constants, jax.tree.leaves(args), derivatives))
    program = Program(jaxpr, jax.tree.structure(args), out_tree, text)
    known = _known.get(program.fingerprint)
    if known is None or not known.is_current():
        known = _known[program.fingerprint] = program
    if not any(map(_jaxpr.is_traced, inside)):
        keep(known, fun if owner is None else owner)
    return known, constants


def _text(jaxpr: _jaxpr.Jaxpr, constants: Iterable[Any]) -> str:
    """What a program does, in words: its equations, and the values of constants that are not its arguments.

    Nothing equals a program with a traced constant, whose value is not known. Such a program compiles anew. Callbacks,
    which print as a name, are put into words apart.
    """
    text = _jaxpr.text(jaxpr)
    for constant in constants:
        if _jaxpr.is_traced(constant):
            text += uuid.uuid4().hex
            continue
        is_key = jnp.issubdtype(jnp.result_type(constant), jax.dtypes.prng_key)
        values = np.asarray(jax.random.key_data(constant) if is_key else constant)
        text += f"{values.dtype}{values.shape}{hashlib.sha256(values.tobytes()).hexdigest()}"
    return text


def _derivative_texts(jaxpr: _jaxpr.Jaxpr, constants: list[Any], leaves: list[Any], orders: int) -> Iterator[str]:
    """The texts of the first derivatives. The program's own constants stay arguments; those of the rules are named.

    A derivative that does not exist, and may never be asked for, is like one that its text does not tell.
    """
    function: Callable[..., Any] = partial(_jaxpr.evaluate, jaxpr)
    for _ in range(orders):
        function = partial(_pullback, function)
        try:
            traced = _jaxpr.trace(function, constants, *leaves)
        except Exception:
            yield uuid.uuid4().hex
            return
        callbacks = callbacks_text(traced.jaxpr)
        # The rule's own trace is gone after this, so an identity in it is worth nothing later.
        yield uuid.uuid4().hex if " at 0x" in callbacks else callbacks
        yield _text(traced.jaxpr, [*traced.constants, *_jaxpr.constants_inside(traced.jaxpr)])


def _pullback(function: Callable[..., Any], constants: Sequence[Any], *leaves: Any) -> Any:
    outputs, pull = jax.vjp(partial(function, constants), *leaves)
    cotangents = jax.tree.map(lambda out: out if _inexact(out) else np.zeros(out.shape, jax.dtypes.float0), outputs)
    return [slope for slope, leaf in zip(pull(cotangents), leaves, strict=True) if _inexact(leaf)]


def _inexact(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
