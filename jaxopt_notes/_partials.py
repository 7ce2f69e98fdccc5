"""Functions as pytrees, so that what holds them can be an argument of a compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax
from jax.tree_util import Partial

from . import _checks


def as_partial(function: Callable[..., Any]) -> Partial:
    """The function as a pytree: a Partial is one already, its numbers the leaves; any other has none and is static."""
    return function if isinstance(function, Partial) else Partial(function)


def as_pytree(optimizer: Any) -> optax.GradientTransformation:
    """The (init, update) pair with both functions as pytrees; its type stays, hence whether it takes extra arguments.

    Raises:
        TypeError: it is no pair; a factory that was not called is told so.
    """
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        hint = f"; call it first, as in {_checks.name_of(optimizer)}(0.1)" if callable(optimizer) else ""
        raise TypeError(
            f"optimizer must be an (init, update) pair such as jaxopt_notes.adam(1e-3), got {optimizer!r}{hint}"
        )
    kind = type(optimizer) if isinstance(optimizer, optax.GradientTransformation) else optax.GradientTransformation
    return kind(as_partial(optimizer.init), as_partial(optimizer.update))
