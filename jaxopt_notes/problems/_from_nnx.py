"""flax NNX: a module as a `Problem`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._columns import is_key
from ._adapters import Adapted, Called, Factory, asks_of, model_key, problem_of
from ._problem import Problem


def from_nnx(model: Any, loss: Callable[..., Any], *, wrt: Any = None, **options: Any) -> Problem:
    """A flax NNX model and a loss of it as a `Problem`, whatever layers it has: BatchNorm, Dropout, own variables.

    `loss`, `evaluate` and the metrics are called with the module itself. They ask by keyword for what a loss of
    `Problem` asks for, except `aux`: the state is in the module.

        loss(model, batch, *, smoothing, key, train) -> value

    The module is in train mode (`model.train()`) in a step, and in eval mode wherever something is measured. Its
    random streams begin anew in every step, as by `nnx.reseed(model, stream=fold_in(fold_in(key, 2**32 - 3), i))` with
    the key of the step and the streams in alphabetical order.

    The parameters are nested dicts of what `wrt` matches. `aux` is a nested dict of everything else that is neither
    random nor static, such as batch statistics. `nnx.update(module, params, aux)` puts both into a module.

    Arguments:
        model: a class or a function that makes the module when it is given `rngs`, an `nnx.Rngs` of the key of the
            start. So every seed has its own start. Numbers that it asks for by keyword may be axes. Or a module:
            then all seeds start from its values, to fine-tune it.
        loss: `loss(model, batch)`, or `loss(model)` without data.
        wrt: the filter of the trained variables; `nnx.Param` when None. All others are kept as they are, unless the
            module changes them, once for every trial.
        options: of `Problem`: `data`, `validation`, `test_data`, `metrics`, `evaluate`, `name` and so on.

    Returns:
        A `Problem`, whose loss asks for `aux` if the model has a state, for `key` if it is random, and for `train` if
        it has two modes.

    Raises:
        TypeError: `model` makes no module, the loss is not callable or asks for `aux`.
        ValueError: an option that `Problem` does not take.

    Example:
        >>> import jaxopt_notes as jon, jax.numpy as jnp
        >>> from flax import nnx
        >>> class Net(nnx.Module):
        ...     def __init__(self, rngs):
        ...         self.norm, self.drop = nnx.BatchNorm(64, rngs=rngs), nnx.Dropout(0.2, rngs=rngs)
        ...         self.out = nnx.Linear(64, 10, rngs=rngs)
        ...     def __call__(self, x):
        ...         return self.out(self.drop(self.norm(x)))
        >>> def loss(model, batch, *, l2):
        ...     penalty = l2 * jnp.sum(model.out.kernel[...] ** 2)
        ...     return jnp.mean((model(batch.inputs) - jnp.eye(10)[batch.labels]) ** 2) + penalty
        >>> train, test = jon.problems.digits()
        >>> problem = jon.problems.from_nnx(Net, loss, data=train, test_data=test)
        >>> space = jon.grid(learning_rate=[0.01, 0.1], l2=[0.0, 1e-3])
        >>> table = jon.sweep(problem, jon.momentum, space, steps=3, batch_size=32, progress=False)
        >>> problem.asks.reserved, problem.numbers, table.attrs["segment_programs"]
        (('aux', 'key', 'train'), ('l2',), 1)
    """
    return problem_of(_Module(model, wrt), loss, options)


class _Module(Adapted):
    """A module, or what makes one, as `Adapted`."""

    def __init__(self, model: Any, wrt: Any) -> None:
        from flax import nnx

        if isinstance(model, flax.linen.Module):
            raise TypeError("model is a flax.linen module; use from_linen")
        fixed = isinstance(model, nnx.Module)
        if not fixed and not callable(model):
            raise TypeError(f"model must be a flax.nnx module, or a function of rngs that makes one, got {model!r}")
        self._nnx, self._filters = nnx, (nnx.Param if wrt is None else wrt, nnx.RngState, ...)
        factory = None if fixed else Factory(model, "rngs")

        def make(key: Any, numbers: Mapping[str, Any]) -> tuple[Any, PyTree, PyTree, PyTree]:
            return self._parts(factory(nnx.Rngs(key), numbers) if factory else model)

        if factory:
            key = jax.random.key(0)
            static_of = lambda numbers: jax.eval_shape(lambda key: make(key, numbers), key)[0]
            factory.check(static_of, lambda one, other: one == other)
        shapes = jax.eval_shape(make, jax.random.key(0), factory.shapes if factory else {})
        self._graph, params, self._streams, aux = shapes
        self._state = {tuple(entry.key for entry in path) for path, _ in jax.tree_util.tree_leaves_with_path(aux)}
        in_training, in_evaluation = jax.eval_shape(self._graphs, params, aux)
        self.asks = asks_of(aux=self._state, key=jax.tree.leaves(self._streams), train=in_training != in_evaluation)

        def start(key: Any, numbers: Mapping[str, Any]) -> PyTree:
            _, params, _, aux = make(key, numbers)
            return (params, aux) if self._state else params

        self.init = factory.init(start) if factory else start(jax.random.key(0), {})

    def _parts(self, module: Any) -> tuple[Any, PyTree, PyTree, PyTree]:
        """The static part of a module, its parameters, random streams and state."""
        if not isinstance(module, self._nnx.Module):
            raise TypeError(f"model must make a flax.nnx module, got {type(module).__name__}")
        graph, *states = self._nnx.split(module, *self._filters)
        # Plain dicts of arrays: a merged module then has variables of its own, and does not write into these.
        params, streams, aux = map(self._nnx.to_pure_dict, states)
        return graph, params, streams, aux

    def _merged(self, params: PyTree, aux: PyTree, train: bool) -> Any:
        module = self._nnx.merge(self._graph, params, jax.tree.map(_nothing, self._streams), aux or {})
        if train:
            module.train()
        else:
            module.eval()
        return module

    def _graphs(self, params: PyTree, aux: PyTree) -> list[Any]:
        """The static parts in both modes."""
        return [self._nnx.graphdef(self._merged(params, aux, train)) for train in (True, False)]

    def call(self, function: Callable[..., Any], state: Called, *rest: Any, **keywords: Any) -> tuple[Any, PyTree]:
        """The value, and what the module holds after it."""
        nnx, module = self._nnx, self._merged(state.params, state.aux, state.train)
        if "key" in self.asks:
            names = sorted({node.tag for _, node in nnx.iter_graph(module) if isinstance(node, nnx.RngStream)})
            keys = {name: jax.random.fold_in(model_key(state.key), i) for i, name in enumerate(names)}
            nnx.reseed(module, policy="match_shape", **keys)
        value = function(module, *rest, **keywords)
        after = list(nnx.split(module, *self._filters))[-1]
        # An array that the loss put into an attribute, such as a number of its own, is no state of the model.
        flat = [
            (path, leaf)
            for path, leaf in nnx.to_flat_state(after)
            if isinstance(leaf, nnx.Variable) or path in self._state
        ]
        for path, leaf in flat:
            if path not in self._state:
                raise TypeError(
                    f"the model made a new {type(leaf).__name__} in its call, {'.'.join(map(str, path))}; a variable "
                    f"that is carried from step to step must be made together with the module"
                )
        return value, nnx.to_pure_dict(nnx.from_flat_state(flat))


def _nothing(like: jax.ShapeDtypeStruct) -> Array:
    """What stands in a random stream until it is given its key."""
    return jnp.broadcast_to(jax.random.key(0), like.shape) if is_key(like) else jnp.zeros(like.shape, like.dtype)
