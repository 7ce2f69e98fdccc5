"""Symmetric operators as pytrees: what an eigen-solver needs to know of a matrix that is never formed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from .. import _checks
from .._hoist import Program, hoist
from .._jaxpr import is_jax_sparse, precise
from .._kept import PerProgram
from .._numerics import divide
from ._bounds import zero_level
from ._lanczos import checked_key, euclidean_norm
from ._operators import coarsest_dtype, flat, flat_space, like_params, real_tree

# `jax.jit` of a function of an operator, kept with the operator's program.
PerOperator = functools.partial(PerProgram, precise=True, program_of=lambda operator: operator.program, leading=False)


class SymmetricOperator:
    """A symmetric linear map A from pytrees to pytrees of the same structure; itself a pytree.

    Its arrays are leaves and its program is static, so it crosses `jit` and `vmap`, and other arrays are no new
    compilation. A subclass gives `like`, `dtype` and `product()`.
    """

    @property
    def like(self) -> PyTree:
        """The structure, shapes and dtypes of the vectors."""
        raise NotImplementedError

    @property
    def dtype(self) -> Any:
        """The coarsest floating dtype in the computation: it decides what is rounding."""
        return coarsest_dtype(*jax.tree.leaves(self.like))

    @property
    def program(self) -> Program | None:
        """The traced program with which what is compiled for the operator is kept; None to keep it permanently."""
        return None

    def product(self) -> Callable[[PyTree], PyTree]:
        """The map v -> A v, with what does not depend on v computed here, once."""
        raise NotImplementedError

    def __call__(self, vector: PyTree) -> PyTree:
        """One product A v; in a compiled loop apply `product()`."""
        return _apply(self, like_params("vector", vector, self.like, "the operator's vectors"))


@jax.tree_util.register_pytree_node_class
class FunctionOperator(SymmetricOperator):
    """A function v -> A v as an operator; the arrays that it closes over become leaves.

    Arguments:
        matvec: v -> A v for a symmetric A, from pytrees like `like` to pytrees of the same structure and shapes.
        like: an example of v, a pytree of real floating arrays; only shapes and dtypes matter.

    Raises:
        TypeError, ValueError: `matvec` is no function, or returns something of another structure or shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import FunctionOperator
        >>> operator = FunctionOperator(lambda v: jnp.array([1.0, 2.0]) * v, jnp.zeros(2))
        >>> operator(jnp.ones(2)).tolist()
        [1.0, 2.0]
    """

    def __init__(self, matvec: Callable[[PyTree], PyTree], like: PyTree) -> None:
        if not callable(matvec):
            raise TypeError(f"matvec must be a function v -> A v, got {matvec!r}")
        self._like = jax.eval_shape(lambda: real_tree("like", jax.tree.map(_zeros_like_shape, like)))
        returned = f"what {_checks.name_of(matvec)!r} returns"
        jax.eval_shape(lambda vector: like_params(returned, matvec(vector), vector, "like"), self._like)
        self._program, self._constants = precise(hoist)(matvec, self._like, derivatives=0)

    @property
    def like(self) -> PyTree:
        """The structure, shapes and dtypes of the vectors."""
        return self._like

    @property
    def program(self) -> Program:
        """The traced function."""
        return self._program

    def product(self) -> Callable[[PyTree], PyTree]:
        """The map v -> A v."""
        return lambda vector: self._program(self._constants, vector)

    def tree_flatten(self) -> tuple[Any, Any]:
        """Leaves and static part, for JAX."""
        shapes, structure = jax.tree.flatten(self._like)
        return (self._constants,), (self._program, tuple(shapes), structure)

    @classmethod
    def tree_unflatten(cls, static: tuple[Program, Any, Any], leaves: Any) -> FunctionOperator:
        """The operator of these parts, for JAX."""
        # Not through `__init__`, which would trace the function again.
        new = object.__new__(cls)
        (new._constants,) = leaves
        new._program, shapes, structure = static
        new._like = structure.unflatten(shapes)
        return new


class Probe(NamedTuple):
    """What three products show about the rounding of an operator; see `probe`.

    Attributes:
        norm: the largest |A v| met for unit v; at most |A|.
        asymmetry: |u'A v - v'A u| for unit vectors u and v.
        noise: |A u - A u|, of two calls; zero if the operator is the same at every call.
        zero_level: the size below which an eigenvalue is indistinguishable from zero, for this norm.
    """

    norm: Float[Array, ""]
    asymmetry: Float[Array, ""]
    noise: Float[Array, ""]
    zero_level: Float[Array, ""]


def probe(operator: Any, *, like: PyTree = None, key: Key[Array, ""] | None = None) -> Probe:
    """Measure whether an operator is symmetric and the same at every call, by three products.

    With u random and v = A u/|A u| a part of A that is not symmetric shows in u'A v - v'A u at its full size.

    Arguments:
        operator, like: as in `eigsh`.
        key: of u; `jax.random.key(0)` when None.

    Returns:
        `Probe(norm, asymmetry, noise, zero_level)`.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import probe
        >>> bool(probe(jnp.array([[1.0, 2.0], [2.0, 1.0]])).asymmetry < 1e-6)
        True
        >>> bool(probe(jnp.array([[1.0, 2.0], [0.0, 1.0]])).asymmetry > 0.1)
        True
    """
    operator = as_operator(operator, like)
    dtype, unflatten = flat_space(operator.like)
    size = sum(leaf.size for leaf in jax.tree.leaves(operator.like))
    u = jax.random.normal(checked_key(key), (size,), dtype)
    u = divide(u, euclidean_norm(u))

    def apply(vector: Float[Array, " n"]) -> Float[Array, " n"]:
        return flat(_apply(operator, unflatten(vector)), dtype)  # one program, called again: nothing is shared

    first, second = apply(u), apply(u)
    v = divide(first, euclidean_norm(first))
    image = apply(v)
    norm = jnp.maximum(euclidean_norm(first), euclidean_norm(image))
    asymmetry = jnp.abs(jnp.vdot(u, image, precision="highest") - jnp.vdot(v, first, precision="highest"))
    noise = euclidean_norm(second - first)
    return Probe(norm, asymmetry, noise, zero_level(norm, size, operator.dtype, asymmetry + noise))


def refuse_asymmetric(operator: SymmetricOperator, key: Key[Array, ""]) -> None:
    """Raise if a probe of a function finds it not symmetric, or not the same at every call; traced ones pass."""
    # Operators of losses are symmetric by their construction, so only a user's function is probed.
    if not isinstance(operator, FunctionOperator):
        return
    found = probe(operator, key=key)
    if _checks.is_traced(found.norm):
        return
    norm, asymmetry, noise, _ = map(float, found)
    size = sum(leaf.size for leaf in jax.tree.leaves(operator.like))
    lost = size * float(jnp.finfo(operator.dtype).tiny)  # what underflow may take from a tiny operator
    if asymmetry > crooked_level(operator) * norm + lost:
        raise ValueError(
            f"operator must be symmetric, but u'Av and v'Au differ by {asymmetry:.2g} for unit vectors, and |Av| is "
            f"{norm:.2g}; for the singular values of A use v -> A'(A v)"
        )
    if noise > crooked_level(operator) * norm + lost:
        raise ValueError(
            f"operator must be the same at every call, but two calls at one v differ by {noise:.2g}, and |Av| is "
            f"{norm:.2g}; fix the key of what is random in it"
        )


def crooked_level(operator: SymmetricOperator) -> float:
    """The asymmetry that rounding never makes, in units of the norm."""
    return float(jnp.finfo(operator.dtype).eps) ** 0.5


def as_operator(operator: Any, like: PyTree) -> SymmetricOperator:
    """An operator as it is; a square matrix, dense or sparse, or a function of vectors like `like`, as one."""
    if isinstance(operator, SymmetricOperator):
        return operator
    if hasattr(operator, "tocoo") or is_jax_sparse(operator):
        return _sparse_operator(operator)
    if hasattr(operator, "rmatvec"):
        raise TypeError(
            f"operator must be made of JAX's functions, got a {type(operator).__name__} of scipy, which runs numpy: "
            f"pass the function v -> A v with like=, or a matrix"
        )
    if callable(operator):
        if like is None:
            raise TypeError(
                "a function v -> A v does not define the shape of v: pass like=, for example eigsh(matvec, like=params)"
            )
        return FunctionOperator(operator, like)
    return _matrix_operator(operator)


def _matrix_operator(matrix: Any) -> SymmetricOperator:
    shape = np.shape(matrix)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise TypeError(
            f"operator must be an operator such as HessianOperator(loss, params), a function v -> A v with like=, or a "
            f"square matrix; got {type(matrix).__name__} of shape {shape}"
        )
    array = jnp.asarray(matrix)
    array = array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(float)
    return FunctionOperator(lambda v: jnp.matmul(array, v, precision="highest"), jnp.zeros(shape[0], array.dtype))


def _sparse_operator(matrix: Any) -> SymmetricOperator:
    """The products of a sparse matrix of JAX, or of scipy from its entries by rows, without importing either."""
    if len(matrix.shape) != 2 or matrix.shape[0] != matrix.shape[1]:
        raise TypeError(f"operator must be a square matrix, got {type(matrix).__name__} of shape {matrix.shape}")
    size = matrix.shape[0]
    if not hasattr(matrix, "tocoo"):
        return FunctionOperator(lambda vector: matrix @ vector, jnp.zeros(size, matrix.dtype))
    entries = matrix.tocsr().tocoo()
    rows, columns, values = jnp.asarray(entries.row), jnp.asarray(entries.col), jnp.asarray(entries.data)
    values = values if jnp.issubdtype(values.dtype, jnp.inexact) else values.astype(float)

    def product(vector: Float[Array, " n"]) -> Float[Array, " n"]:
        return jax.ops.segment_sum(values * vector[columns], rows, size, indices_are_sorted=True)

    return FunctionOperator(product, jnp.zeros(size, values.dtype))


def _zeros_like_shape(leaf: Any) -> Any:
    return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf


@PerOperator
def _apply(operator: SymmetricOperator, vector: PyTree) -> PyTree:
    return operator.product()(vector)
