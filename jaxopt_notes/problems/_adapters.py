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

NUMBER = jax.ShapeDtypeStruct((), jnp.result_type(float))


class Called(NamedTuple):
    """The state of a model in which a function of it is called."""

    params: PyTree
    aux: PyTree
    key: Any
    train: bool


class Adapted:
    """A model of some library in the terms of `Problem`.

    Attributes:
        init: the start, or the function that makes it.
        asks: what the model itself needs: `aux` if it has a state, `key` if it is random, `train` if it has two modes.
        gives_aux: whether the function is given `aux` and returns the new one; otherwise the state is in the model.
    """

    init: Any
    asks: tuple[str, ...]
    gives_aux: bool = False

    def call(self, function: Callable[..., Any], state: Called, *rest: Any, **keywords: Any) -> Any:
        """The pair (value, new aux) of a function of the model."""
        raise NotImplementedError


def asks_of(**needs: Any) -> tuple[str, ...]:
    """The names of what is needed."""
    return tuple(name for name, needed in needs.items() if needed)


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
    changed: dict[str, Any] = {"metrics": {name: _metric_of_params(model, one) for name, one in metrics.items()}}
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
        out = model.call(function, Called(params, **known), *rest, **keywords)
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


class Factory:
    """What makes a model, given one argument of a known name and numbers of its own.

    Attributes:
        numbers: what it asks for by keyword, but for that argument; after `check` only what may be an axis.
        shapes: abstract values of those without which it cannot be called.
    """

    def __init__(self, function: Callable[..., Any], given: str) -> None:
        self._function, self._given = function, given
        self._parameters = inspect.signature(_constructor(function)).parameters
        wants = asked(_constructor(function))
        self.numbers = tuple(name for name in wants.numbers if name != given)
        self.shapes = {name: NUMBER for name in wants.needed if name != given}

    def check(self, static_of: Callable[[dict[str, Any]], Any], equal: Callable[[Any, Any], bool]) -> None:
        """Leave those numbers that only arrays of the model follow from; others shape it, and keep their defaults.

        Arguments:
            static_of: the static part of the model of some numbers.
            equal: whether two static parts are equal.

        Raises:
            TypeError: a number without a default shapes the model.
        """
        others = dict.fromkeys(self.shapes, 0.5)
        for name in self.numbers:
            try:
                jax.eval_shape(lambda value, name=name: (static_of({**others, name: value}), value)[1], NUMBER)
                one, again, other = (static_of({**others, name: value}) for value in (0.25, 0.25, 0.75))
                # What differs for equal numbers too, as a new function each time does, shows nothing.
                shapes = equal(one, again) and not equal(one, other)
            except Exception:  # the user's code runs: anything may come out of it
                shapes = True
            if shapes and name in self.shapes:
                raise TypeError(
                    f"{name} shapes the model, so it cannot be traced: give it a value, as in "
                    f"functools.partial({_checks.name_of(self._function)}, {name}=...)"
                )
            if shapes:
                self.numbers = tuple(one for one in self.numbers if one != name)

    def __call__(self, value: Any, numbers: Mapping[str, Any]) -> Any:
        """The model. The argument is passed by keyword if there is one of that name, else it is the first."""
        if self._given in self._parameters:
            return self._function(**{self._given: value}, **numbers)
        return self._function(value, **numbers)

    def init(self, start: Callable[[Key[Array, ""], dict[str, Any]], PyTree]) -> Callable[..., PyTree]:
        """`init(key, *, numbers)` of a problem, which returns `start(key, numbers)`."""

        def init(key: Key[Array, ""], **numbers: Any) -> PyTree:
            return start(key, numbers)

        key = inspect.Parameter("key", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = [key, *(self._parameters[name] for name in self.numbers)]
        init.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return init


def _constructor(function: Callable[..., Any]) -> Callable[..., Any]:
    """What has the signature of a factory: of a class its `__init__`, which a metaclass may hide."""
    if isinstance(function, functools.partial):
        return functools.partial(_constructor(function.func), *function.args, **function.keywords)
    return functools.partial(function.__init__, None) if isinstance(function, type) else function  # type: ignore[misc]


def shapes_of_numbers(function: Callable[..., Any]) -> dict[str, jax.ShapeDtypeStruct]:
    """Abstract values of the numbers without which a function cannot be called."""
    return dict.fromkeys(asked(function).needed, NUMBER)


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
