"""Hessians and Gauss-Newton matrices as operators, streamed over a data set, restricted to some parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._derivatives import jacobian, linearised
from .._hoist import Program, hoist
from .._jaxpr import full_precision
from .._means import is_sum, refuse_sum
from .._numerics import working_dtype
from ._operators import coarsest_dtype, real_tree
from ._symmetric import SymmetricOperator

Select = str | Callable[[str], bool]


class _LossOperator(SymmetricOperator):
    """What both operators share: which parameters vary, and the sum over batches of a data set.

    For a mean over n examples, in batches of b_i: A = sum_i (b_i / n) A_i, whatever the sizes of the batches.
    """

    def __init__(self, params: PyTree, data: PyTree, batch_size: int | None, only: Select | None) -> None:
        params = real_tree("params", params)
        leaves = jax.tree.leaves(params)
        self._structure: Any = jax.tree.structure(params)
        self._chosen = _chosen(params, only)
        self._varied = [leaf for leaf, chosen in zip(leaves, self._chosen, strict=True) if chosen]
        self._fixed = [leaf for leaf, chosen in zip(leaves, self._chosen, strict=True) if not chosen]
        self._data = jax.tree.map(jnp.asarray, _checks.not_empty("data", data))
        self._programs: tuple[tuple[Program, ...], ...] = ()
        self._constants: list[list[list[Any]]] = []
        if batch_size is not None and data is None:
            raise ValueError(f"batch_size={batch_size} needs data: the loss is a function of the parameters alone")
        examples = None if batch_size is None else _checks.examples("data", data)
        self._batch_size = None if batch_size is None else _checks.count("batch_size", batch_size, high=examples)

    def _hoist(self, trace: Callable[..., list[tuple[Program, list[Any]]]]) -> None:
        """Keep the programs that `trace(params, *batch)` gives for a batch of each size that occurs."""
        for size in self._sizes():
            batch = () if self._data is None else (jax.eval_shape(partial(self._batch, 0, size)),)
            traced = trace(self._params(self._varied), *batch)
            self._programs += (tuple(program for program, _ in traced),)
            self._constants.append([constants for _, constants in traced])

    def _refuse_sum(self, named: Callable[..., Any], loss: Callable[..., Float[Array, ""]]) -> None:
        """Refuse to stream a loss that is not a mean over its examples."""
        if self._batch_size is None:
            return
        params = self._params(self._varied)
        _checks.scalar_loss(loss, params, self._data)
        if is_sum(self._programs[0][-1], loss, (params,), self._data):
            refuse_sum(_checks.name_of(named), self._batch_size, _checks.examples("data", self._data))

    def _product(self, size: int, varied: list[Array], *batch: Any) -> Callable[[list[Array]], list[Array]]:
        """The map v -> A_i v of one batch on the list of varied leaves."""
        raise NotImplementedError

    def product(self) -> Callable[[PyTree], PyTree]:
        """The map v -> A v. Without batches the gradient is linearised here, once; with batches at every product."""
        if self._batch_size is None:
            whole = self._product(0, self._varied, *([] if self._data is None else [self._data]))
            return lambda vector: self._tree(whole(jax.tree.leaves(vector)))
        return self._streamed

    def _streamed(self, vector: PyTree) -> PyTree:
        leaves = jax.tree.leaves(vector)
        total = [jnp.zeros(leaf.shape, working_dtype(leaf)) for leaf in leaves]
        examples, start = _checks.examples("data", self._data), 0
        # Two loops, over the full batches and over the shorter rest: a program has fixed shapes, and padding would
        # change a mean. The weights add up to the mean over all examples.
        for i, size in enumerate(self._sizes()):
            count = (examples - start) // size

            def add(j: Any, total: list[Array], i: int = i, size: int = size, start: int = start) -> list[Array]:
                part = self._product(i, self._varied, self._batch(start + j * size, size))(leaves)
                return [t + (size / examples) * p.astype(t.dtype) for t, p in zip(total, part, strict=True)]

            total = jax.lax.fori_loop(0, count, add, total)
            start += count * size
        return self._tree(total)

    def _sizes(self) -> list[int]:
        """The sizes of batch that occur: all of the data, or full batches and the rest."""
        if self._data is None:
            return [0]
        examples = _checks.examples("data", self._data)
        size = self._batch_size or examples
        return [size, examples % size] if examples % size else [size]

    def _batch(self, start: Any, size: int) -> PyTree:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), self._data)

    @property
    def program(self) -> Program:
        """The traced loss or model of the first size of batch."""
        return self._programs[0][0]

    @property
    def like(self) -> PyTree:
        """The varied parameters, in the structure of all, None elsewhere."""
        return self._tree(self._varied)

    @property
    def dtype(self) -> Any:
        """The coarsest floating dtype in the computation."""
        batch = [] if self._data is None else [jax.eval_shape(partial(self._batch, 0, self._sizes()[0]))]
        returned = jax.eval_shape(partial(self._value, 0), self._varied, *batch)
        return coarsest_dtype(*self._varied, returned)

    def _value(self, i: int, varied: list[Array], *batch: Any) -> Float[Array, ""]:
        raise NotImplementedError

    def _tree(self, varied: list[Array]) -> PyTree:
        parts = iter(varied)
        return self._structure.unflatten([next(parts) if chosen else None for chosen in self._chosen])

    def _params(self, varied: list[Array]) -> PyTree:
        moving, fixed = iter(varied), iter(self._fixed)
        return self._structure.unflatten([next(moving) if chosen else next(fixed) for chosen in self._chosen])

    def tree_flatten(self) -> tuple[Any, Any]:
        """Leaves and static part, for JAX."""
        leaves = (self._varied, self._fixed, self._data, self._constants)
        return leaves, (self._structure, self._chosen, self._programs, self._batch_size)

    @classmethod
    def tree_unflatten(cls, static: Any, leaves: Any) -> _LossOperator:
        """The operator of these parts, for JAX."""
        # Not through `__init__`: JAX also builds operators of tracers and of placeholders, which no check would pass.
        new = object.__new__(cls)
        new._varied, new._fixed, new._data, new._constants = leaves
        new._structure, new._chosen, new._programs, new._batch_size = static
        return new


@jax.tree_util.register_pytree_node_class
class HessianOperator(_LossOperator):
    """The Hessian of a loss at a point, as an operator: products with it, never the matrix.

        H v = d/dt grad f(x + t v) at t = 0,     f(x) = loss(x), or loss(x, data)

    Forward over reverse mode, or reverse over reverse where a `custom_vjp` in the loss blocks forward mode. Without
    batches the gradient is linearised once and a product costs about two gradients; with batches it is linearised anew
    for every batch, about three, and memory is that of one batch. A pytree of arrays: other parameters or data of the
    same shapes are no new compilation.

    Arguments:
        loss: `loss(params)`, or with data `loss(params, batch)`, a mean over the batch; twice differentiable.
        params: the point, a pytree of real floating arrays.
        data: a pytree of arrays with one leading axis of examples; any pytree without `batch_size`.
        batch_size: examples to use at a time; batches are weighted by their size, so the last may be smaller. All of
            the data at once when None. A loss that adds up over its examples is refused.
        only: vary only some parameters: a name on their path ("Dense_0"), or a function of the path
            ("params/Dense_0/kernel") that says which. Vectors then have None in place of the others.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import HessianOperator
        >>> data = jnp.array([1.0, 2.0, 6.0])
        >>> operator = HessianOperator(lambda x, batch: jnp.mean(batch) * x[0] ** 2 * x[1], jnp.ones(2), data, 2)
        >>> operator(jnp.array([1.0, 0.0])).tolist()
        [6.0, 6.0]

    Source: Pearlmutter, 1994.
    """

    def __init__(
        self,
        loss: Callable[..., Float[Array, ""]],
        params: PyTree,
        data: PyTree = None,
        batch_size: int | None = None,
        *,
        only: Select | None = None,
    ) -> None:
        super().__init__(params, data, batch_size, only)

        def trace(params: PyTree, *batch: Any) -> list[tuple[Program, list[Any]]]:
            _checks.scalar_loss(loss, params, *batch)
            with full_precision():
                return [hoist(loss, params, *batch)]

        self._hoist(trace)
        self._refuse_sum(loss, loss)

    def _value(self, i: int, varied: list[Array], *batch: Any) -> Float[Array, ""]:
        return self._programs[i][0](self._constants[i][0], self._params(varied), *batch)

    def _product(self, i: int, varied: list[Array], *batch: Any) -> Callable[[list[Array]], list[Array]]:
        return linearised(lambda varied: self._value(i, varied, *batch), varied)[2]


@jax.tree_util.register_pytree_node_class
class GaussNewtonOperator(_LossOperator):
    """The generalised Gauss-Newton matrix of a loss of a model's outputs, as an operator.

        G = J' L J,     J = d outputs / d params,     L = d^2 loss / d outputs^2

    Positive semidefinite for a convex loss; for cross-entropy and squared error it is the Fisher information matrix.
    Compiled, streamed and restricted as `HessianOperator`.

    Arguments:
        model: `model(params)`, or with data `model(params, batch)`: the outputs, a pytree of real arrays.
        loss: `loss(outputs)`, or with data `loss(outputs, batch)`, a mean over the batch; twice differentiable.
        params, data, batch_size, only: as in `HessianOperator`.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import GaussNewtonOperator
        >>> operator = GaussNewtonOperator(lambda x: x**3, lambda y: jnp.sum(y**2), jnp.array([1.0, 2.0]))
        >>> operator(jnp.ones(2)).tolist()
        [18.0, 288.0]

    Source: Schraudolph, 2002.
    """

    def __init__(
        self,
        model: Callable[..., PyTree],
        loss: Callable[..., Float[Array, ""]],
        params: PyTree,
        data: PyTree = None,
        batch_size: int | None = None,
        *,
        only: Select | None = None,
    ) -> None:
        super().__init__(params, data, batch_size, only)
        for name, function in (("model", model), ("loss", loss)):
            if not callable(function):
                raise TypeError(f"{name} must be a function, got {function!r}")

        def trace(params: PyTree, *batch: Any) -> list[tuple[Program, list[Any]]]:
            outputs = jax.eval_shape(model, params, *batch)
            _checks.scalar_loss(loss, outputs, *batch)
            with full_precision():
                return [hoist(model, params, *batch, derivatives=1), hoist(loss, outputs, *batch)]

        self._hoist(trace)
        self._refuse_sum(loss, lambda params, batch: loss(model(params, batch), batch))

    def _outputs(self, i: int, varied: list[Array], *batch: Any) -> PyTree:
        return self._programs[i][0](self._constants[i][0], self._params(varied), *batch)

    def _loss(self, i: int, outputs: PyTree, *batch: Any) -> Float[Array, ""]:
        return self._programs[i][1](self._constants[i][1], outputs, *batch)

    def _value(self, i: int, varied: list[Array], *batch: Any) -> Float[Array, ""]:
        return self._loss(i, self._outputs(i, varied, *batch), *batch)

    def _product(self, i: int, varied: list[Array], *batch: Any) -> Callable[[list[Array]], list[Array]]:
        outputs, push, pull = jacobian(lambda varied: self._outputs(i, varied, *batch), varied)
        curve = linearised(lambda outputs: self._loss(i, outputs, *batch), outputs)[2]
        return lambda vector: pull(curve(push(vector)))


def _chosen(params: PyTree, only: Select | None) -> tuple[bool, ...]:
    """For each leaf whether it varies."""
    paths = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    if only is None:
        return (True,) * len(paths)
    chosen = tuple(f"/{only}/" in f"/{path}/" if isinstance(only, str) else bool(only(path)) for path in paths)
    if not any(chosen):
        names = sorted({name for path in paths for name in path.split("/")})
        known = f"their paths are {', '.join(paths)}"
        hint = _checks.nearest(only, names, known) if isinstance(only, str) else f"; {known}"
        raise ValueError(f"only={only!r} matches no parameter{hint}")
    return chosen
