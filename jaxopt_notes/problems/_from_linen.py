"""flax linen: a module as a `Problem`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.errors
import flax.linen
import jax
from jaxtyping import Array, Key, PyTree

from .._contract import asked
from ._adapters import Adapted, Called, asks_of, check_loss, model_key, of_params, problem_of, shapes_of_numbers
from ._problem import Problem

# How modules name the argument that switches between training and evaluation, and whether it is True in training.
MODES = {"train": True, "training": True, "is_training": True, "deterministic": False, "use_running_average": False}

Mode = Callable[[bool], Mapping[str, Any]]


def from_linen(
    module: flax.linen.Module, loss: Callable[..., Any], *, inputs: Any = None, mode: Mode | None = None, **options: Any
) -> Problem:
    """A flax linen module and a loss of it as a `Problem`, whatever it holds: `batch_stats`, dropout, own collections.

    `loss`, `evaluate` and the metrics are called with a model that is called like the module, and knows its variables,
    its random streams and its mode. They ask by keyword for what a loss of `Problem` asks for, except `aux`: the
    state is in the model.

        loss(model, batch, *, smoothing, key, train) -> value

    `model(inputs, method=...)` returns what `module.apply` returns, and keeps the new state for the next call and
    for the next step. `model.params` are the parameters, and `model.clone(rate=...)` is the model with other attributes
    of the module. Every random stream is drawn from `fold_in(key, 2**32 - 3)` with the key of the step; the n-th
    further call in one loss folds n into it.

    The parameters are the collection `params`, and `aux` is a dict of all other collections, so
    `module.apply({"params": params, **aux}, inputs)` is the trained model.

    Arguments:
        module: the module. Every seed starts from a `module.init(key, *inputs)` of its own.
        loss: `loss(model, batch)`, or `loss(model)` without data.
        inputs: what `module.init` is called with, an array or a tuple of arguments; one example of the first of `data`
            when None.
        mode: `mode(train)`, the keyword arguments by which a call learns of its mode. When None they are found in the
            signature of what is called: `train`, `training`, `is_training`, `deterministic` or `use_running_average`.
        options: of `Problem`: `data`, `validation`, `test_data`, `metrics`, `evaluate`, `name` and so on.

    Returns:
        A `Problem`, whose loss asks for `aux` if the model has a state, for `key` if it is random, and for `train` if
        a call in the loss has a mode.

    Raises:
        TypeError: `module` is no linen module, the loss is not callable or asks for `aux`, or `inputs` is missing.
        ValueError: an option that `Problem` does not take.

    Example:
        >>> import flax.linen as nn, jax.numpy as jnp, jaxopt_notes as jon
        >>> class Net(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x, train):
        ...         x = nn.Dropout(0.2, deterministic=not train)(nn.BatchNorm(use_running_average=not train)(x))
        ...         return nn.Dense(10)(x)
        >>> def loss(model, batch, *, l2):
        ...     penalty = l2 * jnp.sum(model.params["Dense_0"]["kernel"] ** 2)
        ...     return jnp.mean((model(batch.inputs) - jnp.eye(10)[batch.labels]) ** 2) + penalty
        >>> train, test = jon.problems.digits()
        >>> problem = jon.problems.from_linen(Net(), loss, data=train, test_data=test)
        >>> space = jon.grid(learning_rate=[0.01, 0.1], l2=[0.0, 1e-3])
        >>> table = jon.sweep(problem, jon.momentum, space, steps=3, batch_size=32, progress=False)
        >>> problem.asks.reserved, problem.numbers, table.attrs["segment_programs"]
        (('aux', 'key', 'train'), ('l2',), 1)
    """
    if not isinstance(module, flax.linen.Module):
        raise TypeError(f"module must be a flax.linen module, such as Net(), got {module!r}")
    check_loss(loss)
    data = options.get("data")
    batch = () if data is None else (data,)
    return problem_of(_Module(module, loss, mode, _inputs(inputs, data), batch), loss, options)


class _Module(Adapted):
    """A module as `Adapted`."""

    def __init__(
        self, module: flax.linen.Module, loss: Callable[..., Any], mode: Mode | None, inputs: Any, batch: Any
    ) -> None:
        self._module, self._mode, self._inputs = module, mode, inputs
        self._start = jax.eval_shape(self._started, jax.random.key(0))
        self._stateful = bool(jax.tree.leaves(self._start[1]))
        self._has_mode = False
        self.asks = asks_of(aux=self._stateful, key=True, train=True)
        # Tracing the loss also shows whether its calls have a mode.
        is_random = self._is_random(of_params(self, loss, train=True), asked(loss).key, batch)
        self.asks = asks_of(aux=self._stateful, key=is_random, train=self._has_mode)

    def _started(self, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        keywords = _mode_keywords(self._module, "__call__", self._inputs, {}, False, self._mode)
        variables = dict(self._module.init(key, *self._inputs, **keywords))
        return variables.pop("params", {}), variables

    def init(self, key: Key[Array, ""]) -> PyTree:
        """The start of a key."""
        params, aux = self._started(key)
        return (params, aux) if self._stateful else params

    def call(self, function: Callable[..., Any], state: Called, *rest: Any, **keywords: Any) -> tuple[Any, PyTree]:
        """The value, and the state after all calls of the model."""
        held = _Held(state.aux or {}, None if state.key is None else model_key(state.key))
        value = function(Model(self._module, state.params, held, state.train, self._mode), *rest, **keywords)
        self._has_mode |= held.has_mode
        return value, held.state

    def _is_random(self, loss: Callable[..., Any], asks_key: bool, batch: Any) -> bool:
        """Whether a loss of the parameters asks for a key, or cannot be traced without one."""

        def trace(*key: Key[Array, ""]) -> None:
            def value(start: tuple[PyTree, PyTree], batch: Any, own: dict[str, Any], *key: Any) -> Any:
                return loss(start[0], *batch, aux=start[1], key=key[0] if key else None, train=True, **own)

            jax.eval_shape(value, self._start, batch, shapes_of_numbers(loss), *key)

        trace(jax.random.key(0))
        if asks_key:
            return True
        try:
            trace()
        except flax.errors.InvalidRngError:
            return True
        return False


def _inputs(inputs: Any, data: PyTree) -> tuple[Any, ...]:
    """The arguments of `module.init`."""
    if inputs is not None:
        return inputs if isinstance(inputs, tuple) else (inputs,)
    if not isinstance(data, (tuple, list)):
        raise TypeError(
            "inputs is needed, an example of what the module is called with: data is no tuple of inputs first"
        )
    return (jax.tree.map(lambda leaf: leaf[:1], data[0]),)


def _mode_keywords(
    module: flax.linen.Module, method: Any, args: Any, keywords: Mapping[str, Any], train: bool, mode: Mode | None
) -> dict[str, Any]:
    """The keyword arguments by which a call learns of its mode, without those that it is given already."""
    signature = inspect.signature(getattr(type(module), method) if isinstance(method, str) else method)
    bound = signature.bind_partial(module, *args, **keywords).arguments
    known = {name: train == positive for name, positive in MODES.items()} if mode is None else mode(train)
    return {name: value for name, value in known.items() if name in signature.parameters and name not in bound}


@dataclass
class _Held:
    """What the calls of a model in one loss hand to each other."""

    state: PyTree
    key: Key[Array, ""] | None
    calls: int = 0
    has_mode: bool = False


class Model:
    """A linen module together with its variables, its random streams and its mode, as `from_linen` gives it to a loss.

    Attributes:
        params: its parameters.
    """

    def __init__(self, module: flax.linen.Module, params: PyTree, held: _Held, train: bool, mode: Mode | None) -> None:
        self.params = params
        self._module, self._held, self._train, self._mode = module, held, train, mode

    def __call__(self, *args: Any, method: Any = "__call__", **keywords: Any) -> Any:
        """What `module.apply` returns; its state is kept for the next call."""
        held = self._held
        found = _mode_keywords(self._module, method, args, keywords, self._train, self._mode)
        key = held.key if not held.calls or held.key is None else jax.random.fold_in(held.key, held.calls)
        out, state = self._module.apply(
            {"params": self.params, **held.state},
            *args,
            # A stream that has no key of its own is drawn from that of the parameters.
            rngs=None if key is None else {"params": key},
            mutable=list(held.state),
            method=method,
            **found,
            **keywords,
        )
        held.state, held.calls = {**held.state, **state}, held.calls + 1
        held.has_mode |= bool(found)
        return out

    def clone(self, **attributes: Any) -> Model:
        """The model with other attributes of its module, such as numbers of the loss."""
        other = copy.copy(self)
        other._module = self._module.clone(**attributes)
        return other
