"""From a model of some library and a loss of it to a `Problem`: what the adapters have in common."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from .. import _checks
from .._contract import RESERVED, asked
from ._metric import Metric
from ._problem import Problem

# What is folded into the key of a step for the model. The loss is given the key itself, and may fold small numbers into
# it or split it, which is the same to JAX.
_OF_THE_MODEL = 2**32 - 3


class Adapted(NamedTuple):
    """A model in the terms of `Problem`.

    Attributes:
        init: the start, or the function that makes it.
        call: `call(function, params, aux, key, train, rest, keywords) -> (value, aux)` of a function of the model.
        asks: what the model itself needs: `aux` if it has a state, `key` if it is random, `train` if it has two modes.
        gives_aux: whether the function is given `aux` and returns the new one; otherwise the state is in the model.
    """

    init: Any
    call: Callable[..., tuple[Any, PyTree]]
    asks: tuple[str, ...]
    gives_aux: bool = False


def problem_of(model: Adapted, loss: Callable[..., Any], options: Mapping[str, Any]) -> Problem:
    """The problem of a model, whose loss, `evaluate` and metrics are functions of the model.

    Raises:
        TypeError: the loss is not callable or asks for the state of a model that holds its own.
        ValueError: an option that `Problem` does not take.
    """
    taken = [field.name for field in dataclasses.fields(Problem) if field.name not in ("loss", "init")]
    for name in options:
        _checks.choice("argument", name, taken)
    check_loss(loss)
    metrics = dict(options.get("metrics") or {})
    evaluate = options.get("evaluate")
    changed = {"metrics": {name: _metric_of_params(model, metric) for name, metric in metrics.items()}}
    if callable(evaluate):
        changed["evaluate"] = of_params(model, evaluate, train=False)
    return Problem(of_params(model, loss, train=True), model.init, **{**options, **changed})


def check_loss(loss: Any) -> None:
    """Refuse a loss that is no function."""
    if not callable(loss):
        raise TypeError(f"loss must be a function of the model, got {loss!r}")


def _metric_of_params(model: Adapted, metric: Any) -> Any:
    if isinstance(metric, Metric):
        return dataclasses.replace(metric, function=of_params(model, metric.function, train=False))
    return of_params(model, metric, train=False) if callable(metric) else metric


def of_params(model: Adapted, function: Callable[..., Any], *, train: bool) -> Callable[..., Any]:
    """A function of the model as one of the parameters, whose signature asks for what both of them need.

    Arguments:
        model: the model.
        function: `function(model, *rest, **keywords)`.
        train: the mode where the model asks for none.
    """
    own = asked(function)
    if own.aux and not model.gives_aux:
        name = _checks.name_of(function)
        raise TypeError(f"{name} asks for aux, but the state of this model is in the model: leave aux out")

    @functools.wraps(function)
    def adapted(params: PyTree, *rest: Any, **keywords: Any) -> Any:
        known: dict[str, Any] = {"aux": None, "key": None, "train": train}
        known |= {name: keywords.pop(name) for name in RESERVED if name in keywords}
        keywords |= {name: known[name] for name in own.reserved if name != "aux"}
        out = model.call(function, params, known["aux"], known["key"], known["train"], rest, keywords)
        return out if "aux" in reserved else out[0]

    reserved = tuple(name for name in RESERVED if name in model.asks or name in own.reserved)
    adapted.__signature__ = _signature(function, reserved)  # type: ignore[attr-defined]
    return adapted


def _signature(function: Callable[..., Any], reserved: tuple[str, ...]) -> inspect.Signature:
    """The signature of a function of the model, with other reserved names."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY or p.name not in RESERVED]
    parameters += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in reserved]
    return signature.replace(parameters=sorted(parameters, key=lambda parameter: parameter.kind))


def init_of(
    factory: Callable[..., Any], given: str, start: Callable[[Key[Array, ""], dict[str, Any]], PyTree]
) -> Callable[..., PyTree]:
    """`init(key, *, numbers)` with the numbers that the factory of a model asks for.

    Arguments:
        factory: what makes the model.
        given: the name of its argument that is no number, such as `key`.
        start: `start(key, numbers)`, the start.
    """

    def init(key: Key[Array, ""], **numbers: Any) -> PyTree:
        return start(key, numbers)

    own = [p for p in inspect.signature(factory).parameters.values() if p.name in numbers_of(factory, given)]
    key = inspect.Parameter("key", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    init.__signature__ = inspect.Signature([key, *own])  # type: ignore[attr-defined]
    return init


def numbers_of(factory: Callable[..., Any], given: str) -> tuple[str, ...]:
    """The numbers that the factory of a model asks for by keyword."""
    return tuple(name for name in asked(factory).numbers if name != given)


def shapes_of_numbers(function: Callable[..., Any], given: str = "") -> dict[str, jax.ShapeDtypeStruct]:
    """Abstract values of the numbers without which a function cannot be called."""
    number = jax.ShapeDtypeStruct((), jnp.result_type(float))
    return {name: number for name in asked(function).needed if name != given}


def made(factory: Callable[..., Any], given: str, value: Any, numbers: Mapping[str, Any]) -> Any:
    """The model that a factory makes, which takes `given` by keyword if it has an argument of that name."""
    by_name = given in _checks.keyword_names(factory)
    return factory(**{given: value}, **numbers) if by_name else factory(value, **numbers)


def model_key(key: Key[Array, ""]) -> Key[Array, ""]:
    """The key of what is random in the model, from the key of the step."""
    return jax.random.fold_in(key, _OF_THE_MODEL)


class DropoutRate:
    """A dropout rate that may be traced, for the `Dropout` layers of flax.

    They compare their rate with 0 and 1 in Python before they use it, so an axis of `sweep` cannot be given to them as
    it is. This one is unequal to every number, which leaves the computation with the rate itself; at 0 its result is
    the same. A rate of 1 gives gradients of NaN.

    Attributes:
        value: the rate, in [0, 1).

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_notes as jon
        >>> from flax import nnx
        >>> rates, key = jnp.array([0.0, 0.5]), jax.random.key(0)
        >>> drop = lambda rate: nnx.Dropout(jon.problems.DropoutRate(rate))(jnp.ones(4), rngs=nnx.Rngs(key))
        >>> [sorted(set(row.tolist())) for row in jax.vmap(drop)(rates)]
        [[1.0], [0.0, 2.0]]
    """

    def __init__(self, value: Float[Array, ""] | float) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__

    def __gt__(self, other: float) -> bool:
        return True

    def __rsub__(self, other: float) -> Any:
        return other - self.value
