"""The Hessian of a loss as a matrix, as a product with one vector, and as the operator that compiled loops apply."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._derivatives import linearised as linearised
from .._derivatives import matrix as matrix
from .._hoist import Program, hoist
from .._jaxpr import full_precision, products_are_rounded
from .._kept import PerProgram
from .._numerics import rounded, working_dtype
from ..problems import Problem

DENSE_LIMIT = 20_000  # parameters: the float32 matrix takes 1.6 GB, and its columns several times that while computed
Product = Callable[[Float[Array, " n"]], Float[Array, " n"]]


def hvp(loss: Callable[..., Float[Array, ""]], params: PyTree, vector: PyTree, *args: Any) -> PyTree:
    """Product of the Hessian of a loss with one vector, without forming the matrix.

        (H v)_i = sum_j d^2 f / dx_i dx_j  v_j

    It is the derivative of the gradient along v, forward over reverse mode, or reverse over reverse where a
    `custom_vjp` in the loss blocks forward mode; it costs about two gradients. Traced where it is called: put it under
    `jax.jit`.

    Arguments:
        loss: `loss(params, *args)`, a real scalar, twice differentiable.
        params: a pytree of real floating arrays.
        vector: v, a pytree of the structure and shapes of `params`.
        args: further arguments of `loss`.

    Returns:
        H v, a pytree like `params`.

    Raises:
        TypeError: a leaf is not a real floating array, the loss is not a scalar, or `vector` has another structure.
        ValueError: a leaf of `vector` has another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import hvp
        >>> hvp(lambda x: x[0]**2 * x[1], jnp.array([1.0, 3.0]), jnp.array([1.0, 0.0])).tolist()
        [6.0, 2.0]

    Source: Pearlmutter, 1994.
    """
    params = real_tree("params", params)
    vector = like_params("vector", vector, params)
    _checks.scalar_loss(loss, params, *_checks.not_empty("args", tuple(args)))
    with full_precision():
        return linearised(lambda params: loss(params, *args), params)[2](vector)


def hessian(loss: Callable[..., Float[Array, ""]], params: PyTree, *args: Any) -> Float[Array, "n n"]:
    """The matrix of second derivatives of a loss, in the order of the flattened parameters.

        H_ij = d^2 f / dx_i dx_j

    Rows and columns follow `jax.tree.leaves(params)`, each leaf in row-major order, as in
    `jax.flatten_util.ravel_pytree`. The gradient is linearised once and the columns are computed eight at a time, which
    stay in cache and need no memory to speak of beside the matrix. It is not symmetrised, so its asymmetry shows its
    rounding. Compiled; arrays that `loss` closes over become arguments of the program.

    Arguments:
        loss: `loss(params, *args)`, a real scalar, twice differentiable.
        params: a pytree of real floating arrays, n numbers in all.
        args: further arguments of `loss`.

    Returns:
        H of shape (n, n), in the widest precision among the leaves and at least float32.

    Raises:
        TypeError: a leaf is not a real floating array, or the loss is not a scalar.
        ValueError: more than 20,000 parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import hessian
        >>> hessian(lambda p: p["a"] * p["b"] ** 2, {"a": jnp.float32(1.0), "b": jnp.float32(3.0)}).tolist()
        [[0.0, 6.0], [6.0, 2.0]]
    """
    params, program, constants = prepared(loss, params, args)
    check_dense(sum(leaf.size for leaf in jax.tree.leaves(params)))
    return _hessian(program, constants, params, args)


def check_dense(size: int) -> None:
    """Refuse a dense Hessian that would take the machine's memory."""
    if size > DENSE_LIMIT:
        raise ValueError(
            f"a dense Hessian needs at most {DENSE_LIMIT:,} parameters, got {size:,}, whose matrix has {size**2:.1e} "
            f"entries; use hvp, or classify(..., method='lanczos')"
        )


def of_problem(loss: Problem | Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A loss and its arguments: a `Problem` stands for its loss with `train=False`, on its data if no batch is given.

    Raises:
        TypeError: the problem's loss asks by keyword for what only a run gives it.
    """
    if not isinstance(loss, Problem):
        return loss, args
    if loss.asks.needed or loss.asks.aux or loss.asks.key:
        _checks.nothing_by_keyword(loss.loss)
    return loss.fixed(), args or (() if loss.data is None else (loss.data,))


def prepared(loss: Callable[..., Any], params: PyTree, args: Sequence[Any]) -> tuple[PyTree, Program, list[Any]]:
    """Check a loss and its parameters; return the parameters as arrays, the traced loss, and what its closure holds."""
    params = real_tree("params", params)
    _checks.scalar_loss(loss, params, *_checks.not_empty("args", tuple(args)))
    with full_precision():
        return (params, *hoist(loss, params, *args))


def real_tree(name: str, tree: PyTree) -> PyTree:
    """Return `tree` as arrays if every leaf is real and floating, and at least one has an entry."""
    leaves = jax.tree_util.tree_leaves_with_path(_checks.params(name, tree))
    for path, leaf in leaves:
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(
                f"{name}{jax.tree_util.keystr(path)} has dtype {jnp.result_type(leaf)}; curvature needs real ones: "
                f"write the loss as a function of their real and imaginary parts"
            )
    if all(np.size(leaf) == 0 for _, leaf in leaves):
        raise ValueError(f"{name} must hold at least one number, got shapes {[np.shape(leaf) for _, leaf in leaves]}")
    return jax.tree.map(jnp.asarray, tree)


def like_params(name: str, tree: PyTree, params: PyTree, of: str = "params") -> PyTree:
    """Return `tree` with the dtypes of `params` if it has the structure and shapes of `params`."""
    expected: Any = jax.tree.structure(params)
    if expected != jax.tree.structure(tree):
        raise TypeError(f"{name} must have the structure of {of}, {expected}, got {jax.tree.structure(tree)}")
    for (path, leaf), param in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(params), strict=True):
        if np.shape(leaf) != param.shape:
            where = f"{name}{jax.tree_util.keystr(path)}"
            raise ValueError(f"{where} must have the shape of {of} there, {param.shape}, got {np.shape(leaf)}")
    return jax.tree.map(lambda leaf, param: jnp.asarray(leaf).astype(param.dtype), tree, params)


def flatten(tree: PyTree) -> tuple[Float[Array, " n"], Callable[[Float[Array, " n"]], PyTree]]:
    """All entries of a pytree as one vector of the widest working precision, and the way back.

    Unlike `ravel_pytree` it takes leaves of different dtypes under strict promotion, and works in at least float32.
    """
    dtype, unflatten = flat_space(tree)
    return flat(tree, dtype), unflatten


def flat(tree: PyTree, dtype: Any) -> Float[Array, " n"]:
    """All entries of a pytree as one vector."""
    return jnp.concatenate([leaf.astype(dtype).ravel() for leaf in jax.tree.leaves(tree)])


def flat_space(like: PyTree) -> tuple[Any, Callable[[Float[Array, " n"]], PyTree]]:
    """The dtype of the vector that `flatten` makes of pytrees like this one, and the way back."""
    leaves = jax.tree.leaves(like)
    structure: Any = jax.tree.structure(like)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1].tolist()

    def unflatten(vector: Float[Array, " n"]) -> PyTree:
        parts = jnp.split(vector, ends)
        return structure.unflatten(
            [rounded(part.reshape(leaf.shape).astype(leaf.dtype)) for part, leaf in zip(parts, leaves, strict=True)]
        )

    return functools.reduce(jnp.promote_types, map(working_dtype, leaves)), unflatten


def coarsest_dtype(*arrays: Any) -> Any:
    """The dtype with the largest rounding unit: it decides what a computation through all of them can resolve.

    Where the user chose a lower precision of matrix products, float32 resolves no more than bfloat16, whose 8 bits are
    the fewest to which a device rounds factors. On the CPU nothing is rounded, and the levels are then too careful.
    """
    coarsest = max((array.dtype for array in arrays), key=lambda dtype: float(jnp.finfo(dtype).eps))
    return jnp.dtype(jnp.bfloat16) if coarsest == jnp.float32 and products_are_rounded() else coarsest


def second_order(
    program: Program, constants: Sequence[Any], params: PyTree, args: Sequence[Any]
) -> tuple[Float[Array, ""], Float[Array, " n"], Product, Any]:
    """Loss, gradient and Hessian product at `params` on flat vectors, and the dtype that limits their accuracy.

    The gradient is linearised once. A compiled loop that applies the product repeats only the linear part, 2.0 in place
    of 2.9 gradients on a large network.
    """
    flat, unflatten = flatten(params)

    def value(vector: Float[Array, " n"]) -> Float[Array, ""]:
        return program(constants, unflatten(vector), *args).astype(flat.dtype)

    loss, gradient, product = linearised(value, flat)
    returned = jax.eval_shape(program, constants, params, *args)
    return loss, gradient, product, coarsest_dtype(*jax.tree.leaves(params), returned)


def preconditioned(product: Product, preconditioner: PyTree) -> Product:
    """The product with P^-1/2 H P^-1/2 for a diagonal P > 0: similar to P^-1 H, and symmetric."""
    scale = jax.lax.rsqrt(flatten(preconditioner)[0])
    return lambda vector: scale * product((scale * vector).astype(vector.dtype))


@functools.partial(PerProgram, precise=True)
def _hessian(program: Program, constants: list[Any], params: PyTree, args: tuple[Any, ...]) -> Float[Array, "n n"]:
    _, gradient, product, _ = second_order(program, constants, params, args)
    return matrix(product, gradient)
