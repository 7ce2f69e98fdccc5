"""Functions that a compiled program is given by the page: so one program serves every loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._jaxpr.equations import wrapped_parts
from ..._jaxpr.listing import Operation
from ._values import Refused, Value, Writer


class _Given:
    """A function that only the page has."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any) -> Any:
        raise NotImplementedError(f"{self.name} is supplied by the page that runs the compiled program")


def external(name: str, shape: tuple[int, ...]) -> Callable[[Float[Array, " n"]], Array]:
    """A function of a vector that the page supplies.

    Arguments:
        name: of the function in the object `F`. In JavaScript it takes the numbers of the vector one by one, after the
            `Float64Array` that it fills; one that returns a number takes no array.
        shape: of what it returns.

    Returns:
        A function that can be traced, and neither run nor differentiated.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> jax.eval_shape(external("value", ()), jnp.zeros(2)).shape
        ()
    """
    given = _Given(name)

    def function(x: Float[Array, " n"]) -> Array:
        return jax.pure_callback(given, jax.ShapeDtypeStruct(shape, x.dtype), x, vmap_method="sequential")

    return function


def external_loss(dimension: int) -> Callable[[Float[Array, " n"]], Float[Array, ""]]:
    """A loss of a vector that the page supplies, with its first two derivatives: `F.value`, `F.gradient`, `F.hessian`.

    Arguments:
        dimension: length of the vector.

    Returns:
        A function that can be traced and differentiated twice.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> jax.eval_shape(jax.hessian(external_loss(2)), jnp.zeros(2)).shape
        (2, 2)
    """
    value, gradient = external("value", ()), external("gradient", (dimension,))
    hessian = external("hessian", (dimension, dimension))

    @jax.custom_jvp
    def slope(x: Float[Array, " n"]) -> Float[Array, " n"]:
        return gradient(x)

    @jax.custom_jvp
    def loss(x: Float[Array, " n"]) -> Float[Array, ""]:
        return value(x)

    slope.defjvp(lambda at, along: (slope(*at), jnp.matmul(hessian(*at), along[0], precision="highest")))
    loss.defjvp(lambda at, along: (loss(*at), jnp.matmul(slope(*at), along[0], precision="highest")))
    return loss


def external_call(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    """A call of a function that the page supplies."""
    given = _given(operation.params["callback"])
    if given is None:
        raise Refused("a callback into Python has no rule in JavaScript")
    writer.calls_out = True
    numbers = [x.get(at) for at in np.ndindex(*x.shape)]
    names = ",".join(f"{{{k}}}" for k in range(len(numbers)))
    shape, dtype = operation.shapes[0], operation.dtypes[0]
    if not shape:
        result = writer.local(f"F.{given.name}({names})", *numbers)
        return [Value(shape, dtype, lambda at: result)]
    store = writer.buffer(math.prod(shape))
    writer.do(f"F.{given.name}({{{len(numbers)}}},{names})", *numbers, store, writes=store)
    return [writer.settled(Value(shape, dtype, writer.held(store, shape, dtype).get))]


def _given(callback: Any) -> _Given | None:
    if isinstance(callback, _Given):
        return callback
    for part in wrapped_parts(callback) or ():
        found = _given(part)
        if found is not None:
            return found
    return None
