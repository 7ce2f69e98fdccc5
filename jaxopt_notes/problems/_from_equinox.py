"""equinox: a model as a `Problem`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import PyTree

from .._contract import asked
from ._adapters import Adapted, Called, Factory, asks_of, check_loss, problem_of
from ._problem import Problem


def from_equinox(model: Any, loss: Callable[..., Any], *, filter_spec: Any = None, **options: Any) -> Problem:
    """An equinox model and a loss of it as a `Problem`, whatever layers it has: BatchNorm, Dropout, own states.

    `loss`, `evaluate` and the metrics are called with the model. They ask by keyword for what a loss of `Problem` asks
    for. `aux` is the `eqx.nn.State` of the model, and `key` is for its random layers.

        loss(model, batch, *, aux, key, smoothing) -> value, or (value, new_state) if it asks for aux

    The model is in inference mode (`eqx.nn.inference_mode`) wherever something is measured, and not in a step.

    The parameters are what `eqx.partition` finds by `filter_spec`, and `aux` is the state, or the pair (those arrays
    that are not trained, state) if there are such arrays. `eqx.combine(params, model)` puts the parameters into a
    model.

    Arguments:
        model: a class or a function that makes the model when it is given `key`. So every seed has its own start.
            Numbers that it asks for by keyword may be axes. Or a model, or the pair (model, state) that
            `eqx.nn.make_with_state` returned: then all seeds start from its values, to fine-tune it.
        loss: `loss(model, batch)`, or `loss(model)` without data. It vmaps the model over the batch itself.
        filter_spec: which leaves are trained, as `eqx.partition` takes it; `eqx.is_inexact_array` when None.
        options: of `Problem`: `data`, `validation`, `test_data`, `metrics`, `evaluate`, `name` and so on.

    Returns:
        A `Problem`, whose loss asks for `train` if the model has an inference mode.

    Raises:
        TypeError: the loss is not callable, or the model has a state and the loss does not ask for `aux`.
        ValueError: an option that `Problem` does not take.
        ModuleNotFoundError: equinox is missing.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, jaxopt_notes as jon
        >>> class Net(eqx.Module):
        ...     out: eqx.nn.Linear
        ...     drop: eqx.nn.Dropout
        ...     def __init__(self, key):
        ...         self.out, self.drop = eqx.nn.Linear(64, 10, key=key), eqx.nn.Dropout(0.2)
        ...     def __call__(self, x, key):
        ...         return self.out(self.drop(x, key=key))
        >>> def loss(model, batch, *, key, l2):
        ...     keys = jax.random.split(key, len(batch.labels))
        ...     outputs = jax.vmap(model)(batch.inputs, keys)
        ...     return jnp.mean((outputs - jnp.eye(10)[batch.labels]) ** 2) + l2 * jnp.sum(model.out.weight**2)
        >>> train, test = jon.problems.digits()
        >>> problem = jon.problems.from_equinox(Net, loss, data=train, test_data=test)
        >>> space = jon.grid(learning_rate=[0.01, 0.1], l2=[0.0, 1e-3])
        >>> table = jon.sweep(problem, jon.momentum, space, steps=3, batch_size=32, progress=False)
        >>> problem.asks.reserved, problem.numbers, table.attrs["segment_programs"]
        (('key', 'train'), ('l2',), 1)
    """
    check_loss(loss)
    adapted = _Model(model, filter_spec, asks_aux=asked(loss).aux)
    return problem_of(adapted, loss, options)


class _Model(Adapted):
    """A model, or what makes one, as `Adapted`."""

    gives_aux = True

    def __init__(self, model: Any, filter_spec: Any, asks_aux: bool) -> None:
        eqx = self._eqx = _equinox()
        is_trained = eqx.is_inexact_array if filter_spec is None else filter_spec
        has_state = isinstance(model, tuple) and len(model) == 2 and isinstance(model[1], eqx.nn.State)
        fixed = has_state or isinstance(model, eqx.Module) or not callable(model)
        factory = None if fixed else Factory(model, "key")

        def parts(key: Any, numbers: Mapping[str, Any]) -> tuple[PyTree, PyTree, PyTree, PyTree]:
            make = lambda: factory(key, numbers) if factory else model
            whole, state = model if has_state else eqx.nn.make_with_state(make)()
            params, rest = eqx.partition(whole, is_trained)
            return params, *eqx.partition(rest, eqx.is_array), state

        def start(key: Any, numbers: Mapping[str, Any]) -> PyTree:
            params, kept, _, state = parts(key, numbers)
            # In the structure of the first one: what is static may be a new function each time.
            params, kept = _like(shapes, params), _like(self._kept, kept)
            return (params, (kept, state) if self._keeps else state) if "aux" in self.asks else params

        if factory:
            key = jax.random.key(0)
            factory.check(
                lambda numbers: eqx.filter_eval_shape(lambda key: parts(key, numbers), key)[2], eqx.tree_equal
            )
        numbers = factory.shapes if factory else {}
        shapes, self._kept, self._static, state = eqx.filter_eval_shape(parts, jax.random.key(0), numbers)
        if jax.tree.leaves(state) and not asks_aux:
            raise TypeError(
                "the model has a state, so the loss must ask for it and return the new one: "
                "loss(model, batch, *, aux, ...) -> (value, new_state)"
            )
        self._keeps = bool(jax.tree.leaves(self._kept))
        modes = [eqx.nn.inference_mode(self._static, value) for value in (False, True)]
        self.asks = asks_of(aux=self._keeps or asks_aux, train=not eqx.tree_equal(*modes))
        self.init = factory.init(start) if factory else start(None, {})

    def call(self, function: Callable[..., Any], state: Called, *rest: Any, **keywords: Any) -> Any:
        """What a function that asks for the state returns, or its value and the state as it was."""
        eqx, aux = self._eqx, state.aux
        kept, model_state = aux if self._keeps else (self._kept, aux)
        whole = eqx.nn.inference_mode(eqx.combine(state.params, kept, self._static), value=not state.train)
        if not asked(function).aux:
            return function(whole, *rest, **keywords), aux
        # A copy, as a state is spent when a new one is made of it.
        out = function(whole, *rest, aux=jax.tree.map(lambda leaf: leaf, model_state), **keywords)
        return (out[0], (kept, out[1])) if self._keeps and isinstance(out, tuple) and len(out) == 2 else out


def _like(structure: PyTree, tree: PyTree) -> PyTree:
    return jax.tree.unflatten(jax.tree.structure(structure), jax.tree.leaves(tree))


def _equinox() -> Any:
    try:
        import equinox
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "from_equinox needs equinox: install it with pip install 'jaxopt-notes[equinox]'"
        ) from None
    return equinox
