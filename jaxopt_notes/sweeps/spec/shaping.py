"""Numbers that shape a program: those that an optimizer cannot be traced with, so that each value makes a program."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from ... import _checks

Factory = Callable[..., optax.GradientTransformation]


def shaping_numbers(factory: Factory, columns: Mapping[str, Sequence[Any]], params: PyTree) -> list[str]:
    """The hyperparameters whose values a program must know: a length, a period, what a Python `if` looks at.

    Returns as few as make tracing possible, and integers that the precision of the sweep would round. Compiles nothing.

    Arguments:
        factory: the optimizer's factory.
        columns: name of a number -> its values, to be run by one program.
        params: the parameters, or their shapes.
    """
    first = {name: values[0] for name, values in columns.items()}
    whole = [name for name, values in columns.items() if all(isinstance(value, int) for value in values)]
    # Numbers are traced as floats. An integer that this would round (above 2^24 in float32) would run as its neighbour,
    # so it is never traced.
    exact = [name for name in whole if any(float(_float().type(value)) != value for value in columns[name])]

    def fails(traced: list[str]) -> Exception | None:
        return _failure(factory, {name: v for name, v in first.items() if name not in traced}, traced, params)

    free = [name for name in first if name not in exact]
    # Most optimizers can be traced with all of their numbers, which one trace settles.
    if not free or fails(free) is None:
        return exact
    if fails([]) is not None:  # of whatever numbers: an error that planning meets again, and names
        return exact
    # Greedily, one number after another joins those that are traced. That takes one trace for each number;
    # finding the largest subset would take one for each subset.
    traced: list[str] = []
    for name in sorted(free, key=whole.__contains__):  # floats first, as they have more values
        error = fails([*traced, name])
        if error is None:
            traced.append(name)
        elif name not in whole and not isinstance(error, _checks.NEEDS_A_VALUE):
            return exact  # not about knowing its value
    return [name for name in first if name not in traced]


def _failure(factory: Factory, known: dict[str, Any], traced: list[str], params: PyTree) -> Exception | None:
    """What an optimizer raises when it is traced with some numbers known and the others not."""
    like = {name: jax.ShapeDtypeStruct((), _float()) for name in traced}
    try:
        jax.eval_shape(functools.partial(first_update, functools.partial(factory, **known)), like, params)
    except Exception as error:  # its own code runs: anything may come out of it
        return error
    return None


def _float() -> Any:
    return jax.dtypes.canonicalize_dtype(float)


def first_update(factory: Callable[..., Any], numbers: dict[str, Array], params: PyTree) -> PyTree:
    """The update from a fresh state, with the parameters for gradients and their square sum for a loss."""
    optimizer = optax.with_extra_args_support(factory(**numbers))

    def square_sum(tree: PyTree) -> Any:
        return sum(jnp.sum(jnp.abs(leaf).astype(float) ** 2) for leaf in jax.tree.leaves(tree))

    extra = dict(value=square_sum(params), grad=params, value_fn=square_sum)
    return optimizer.update(params, optimizer.init(params), params, **extra)
