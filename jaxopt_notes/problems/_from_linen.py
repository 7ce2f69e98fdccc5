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

from ._adapters import Adapted, check_loss, model_key, of_params, problem_of, shapes_of_numbers
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
    examples = _inputs(inputs, options.get("data"))

    def start(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        variables = dict(module.init(key, *examples, **_mode_keywords(module, "__call__", examples, {}, False, mode)))
        return variables.pop("params", {}), variables

    shapes = jax.eval_shape(start, jax.random.key(0))
    stateful = bool(jax.tree.leaves(shapes[1]))
    moded: list[str] = []

    def call(
        function: Callable[..., Any], params: PyTree, aux: PyTree, key: Any, train: bool, rest: Any, keywords: Any
    ) -> tuple[Any, PyTree]:
        held = _Held({} if aux is None else aux, None if key is None else model_key(key))
        value = function(Model(module, params, held, train, mode), *rest, **keywords)
        moded.extend(held.moded)
        return value, held.state

    def init(key: Key[Array, ""]) -> PyTree:
        return start(key) if stateful else start(key)[0]

    needs = {"aux": stateful, "key": True, "train": True}
    whole = Adapted(init, call, tuple(name for name, needed in needs.items() if needed))
    batch = () if options.get("data") is None else (options["data"],)
    needs["key"] = _is_random(of_params(whole, loss, train=True), shapes, batch)
    needs["train"] = bool(moded)
    return problem_of(whole._replace(asks=tuple(name for name, needed in needs.items() if needed)), loss, options)


def _inputs(inputs: Any, data: PyTree) -> tuple[Any, ...]:
    """The arguments of `module.init`."""
    if inputs is not None:
        return inputs if isinstance(inputs, tuple) else (inputs,)
    if not isinstance(data, (tuple, list)):
        raise TypeError(
            "inputs is needed, an example of what the module is called with: data is no tuple of inputs first"
        )
    return (jax.tree.map(lambda leaf: leaf[:1], data[0]),)


def _is_random(loss: Callable[..., Any], shapes: tuple[PyTree, PyTree], batch: tuple[Any, ...]) -> bool:
    """Whether a loss uses random streams, found by tracing it with and without a key."""

    def trace(*key: Key[Array, ""]) -> None:
        def value(start: tuple[PyTree, PyTree], batch: tuple[Any, ...], own: dict[str, Any], *key: Any) -> Any:
            return loss(start[0], *batch, aux=start[1], key=key[0] if key else None, train=True, **own)

        jax.eval_shape(value, shapes, batch, shapes_of_numbers(loss), *key)

    trace(jax.random.key(0))
    try:
        trace()
    except flax.errors.InvalidRngError:
        return True
    return False


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
    moded: tuple[str, ...] = ()


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
        held.state, held.calls, held.moded = {**held.state, **state}, held.calls + 1, (*held.moded, *found)
        return out

    def clone(self, **attributes: Any) -> Model:
        """The model with other attributes of its module, such as numbers of the loss."""
        other = copy.copy(self)
        other._module = self._module.clone(**attributes)
        return other
