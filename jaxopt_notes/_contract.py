"""What a loss, a start and a metric ask for by keyword. Their signatures declare it.

    loss(params[, batch], *, aux, key, train, numbers...) -> value, or (value, new_aux) if it asks for aux
    init(key, *, numbers...) -> params, or (params, aux) if the loss asks for aux
    metric(params[, batch], *, aux, key, train, numbers...) -> value

Only what comes after the `*` counts: a function may call its positional arguments whatever it likes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from . import _checks

RESERVED = ("aux", "key", "train")
# What is folded into the key of a data order. Epochs, which are folded in as well, count from 0 and never come here.
_OF_THE_LOSS, _OF_EVALUATION = 2**32 - 1, 2**32 - 2


class Asked(NamedTuple):
    """What a function asks for by keyword.

    Attributes:
        reserved: which of `RESERVED`.
        needed: its numbers without a default.
        optional: its numbers with one.
    """

    reserved: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """All of its own numbers."""
        return (*self.needed, *self.optional)

    @property
    def aux(self) -> bool:
        """Whether it has a state."""
        return "aux" in self.reserved

    @property
    def key(self) -> bool:
        """Whether it is random."""
        return "key" in self.reserved

    @property
    def train(self) -> bool:
        """Whether it differs between training and evaluation."""
        return "train" in self.reserved


def asked(function: Callable[..., Any]) -> Asked:
    """What the signature of a function asks for; nothing where it is not known.

    A keyword with a default that is no real number, such as a model, is no number and keeps its default.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have none
        return Asked()
    keywords = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
    own = [one for one in keywords if one.name not in RESERVED]
    return Asked(
        # A reserved name that has a default, as of `functools.partial(loss, train=False)`, is decided already.
        tuple(one.name for one in keywords if one.name in RESERVED and one.default is one.empty),
        tuple(one.name for one in own if one.default is one.empty),
        tuple(one.name for one in own if _is_number(one.default)),
    )


def _is_number(value: Any) -> bool:
    kinds = (int, float, np.number, np.ndarray, Array)
    return isinstance(value, kinds) and not isinstance(value, bool) and np.ndim(value) == 0


def unite(functions: Iterable[Callable[..., Any]]) -> Asked:
    """What several functions ask for together. A number is needed if one of them needs it."""
    found = [asked(function) for function in functions]
    needed = dict.fromkeys(name for one in found for name in one.needed)
    optional = dict.fromkeys(name for one in found for name in one.optional if name not in needed)
    reserved = tuple(name for name in RESERVED if any(name in one.reserved for one in found))
    return Asked(reserved, tuple(needed), tuple(optional))


def given(function: Callable[..., Any], aux: PyTree, train: bool, known: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments that a function asks for.

    Arguments:
        function: the function.
        aux: its state, if it has one.
        train: whether it is called by a step.
        known: name -> value of its numbers, and of its key.
    """
    wants, there = asked(function), {"aux": aux, "train": train, **known}
    own = {name: known[name] for name in wants.numbers if name in known}
    return {**{name: there.get(name) for name in wants.reserved}, **own}


def in_one_form(
    loss: Callable[..., Any], *, train: bool, aux_by_position: bool = False
) -> Callable[..., tuple[Array, PyTree]]:
    """A loss in the one form that all loops take: `(params, aux, known, *rest) -> (value, aux)`.

    A loss without a state returns the aux that it is given.

    Arguments:
        loss: the loss.
        train: whether steps call it.
        aux_by_position: whether it takes its state as the second argument and not by keyword.
    """

    def one_form(params: PyTree, aux: PyTree, known: Mapping[str, Any], *rest: Any) -> Any:
        _checks.takes_no_more(loss, 1 + aux_by_position + len(rest))
        keywords = given(loss, aux, train, known)
        if aux_by_position:
            return loss(params, aux, *rest, **keywords)
        value = loss(params, *rest, **keywords)
        return value if "aux" in keywords else (value, aux)

    return one_form


def check_values(name: str, loss: Callable[..., Any], params: PyTree, aux: PyTree, *rest: Any) -> jax.ShapeDtypeStruct:
    """The abstract value of a loss in the one form, if it is a scalar and its new aux is like the old one.

    Raises:
        TypeError: naming what it returned, and the leaf of aux that changed.
    """
    out = jax.eval_shape(loss, params, aux, *rest)
    if not (isinstance(out, tuple) and len(out) == 2):
        raise TypeError(f"with aux loss {name!r} must return (value, new_aux), got {jax.tree.structure(out)}")
    value = _checks.scalar_value(f"loss {name!r}", out[0])
    before, after = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (aux, out[1]))
    for path in [*before, *after]:
        was, now = (_kind(tree[path]) if path in tree else "nothing" for tree in (before, after))
        if was != now:
            raise TypeError(
                f"the new aux must have the structure, shapes and dtypes of aux: of loss {name!r} "
                f"aux{jax.tree_util.keystr(path)} is {was} and comes back as {now}"
            )
    was, now = (str(jax.tree.structure(tree)) for tree in (aux, out[1]))
    if was != now:
        structures = f"{was} comes back as {now}"
        raise TypeError(f"the new aux must have the structure, shapes and dtypes of aux: of loss {name!r} {structures}")
    return value


def _kind(leaf: Any) -> str:
    return f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"


def loss_key(order: Key[Array, ""]) -> Key[Array, ""]:
    """The key of what is random in a loss, from the key of the data order; step k uses `fold_in(loss_key, k)`."""
    return jax.random.fold_in(order, _OF_THE_LOSS)


def evaluation_key(of_loss: Key[Array, ""]) -> Key[Array, ""]:
    """The key that every evaluation uses, so that what is random there is the same noise each time."""
    return jax.random.fold_in(of_loss, _OF_EVALUATION)
