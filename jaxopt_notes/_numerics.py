"""Arithmetic on arrays and pytrees whose derivatives exist everywhere, and the scale of an axis."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree


def working_dtype(array: Any) -> Any:
    """The dtype that state and arithmetic use for `array`: its own, or float32 when it is narrower."""
    return _wider(jnp.result_type(array), jnp.float32)


def working(leaf: Any) -> Any:
    """`leaf` in its working precision; of an abstract one the shape and the working type."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf.update(dtype=working_dtype(leaf))
    return jnp.asarray(leaf, working_dtype(leaf))


def _wider(a: Any, b: Any) -> Any:
    with jax.numpy_dtype_promotion("standard"):  # meant here, also where a program forbids it elsewhere
        return jnp.promote_types(a, b)


def real_dtype(dtype: Any) -> Any:
    """The dtype of the modulus of a number of `dtype`."""
    return jnp.finfo(dtype).dtype


@jax.custom_jvp
def sqrt(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Square root whose derivative at 0 is 0 in place of infinity."""
    return jnp.sqrt(x)


@sqrt.defjvp
def _sqrt_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    root = sqrt(*primals)
    return root, tangents[0] * reciprocal(2 * root)


@jax.custom_jvp
def divide(numerator: Array, denominator: Array) -> Array:
    """`numerator / denominator`, and 0 where the denominator is 0, derivatives included."""
    zero = denominator == 0
    # Divided by 1 there: XLA may compute a denominator twice, and round it to 0 once only, which made NaN of 0 / 0.
    quotient = numerator / jax.lax.select(zero, jnp.ones_like(denominator), denominator)
    return jax.lax.select(zero, jnp.zeros_like(quotient), quotient)


@divide.defjvp
def _divide_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    quotient = divide(*primals)
    return quotient, (tangents[0] - quotient * tangents[1]) * reciprocal(primals[1])


def reciprocal(x: Array) -> Array:
    """1 / x, and 0 where x is 0, derivatives included."""
    return divide(jnp.ones_like(x), x)


def underflow(dtype: Any) -> float:
    """The size below which compiled programs may round a number of this dtype to 0."""
    limits = jnp.finfo(dtype)
    return float(limits.smallest_subnormal if dtype == jnp.float16 else limits.tiny)  # `rounded` keeps those of float16


def power_of_two(size: Float[Array, ""]) -> Float[Array, ""]:
    """One within a factor of 4 of a positive finite number; NaN for NaN."""
    return jax.lax.reduce_precision(size / 2, jnp.finfo(size.dtype).nexp, 0)


def rounded(tree: PyTree) -> PyTree:
    """The same numbers, those in bfloat16 and float16 as their type stores them.

    Inside a compiled program XLA may drop the rounding between two operations and go on with float32 (its flag
    `xla_allow_excess_precision`). What is computed from a sum of bfloat16 then belongs to another point than the one
    that is returned. Wider numbers, integers and keys are left as they are and cost nothing.
    """

    def leaf(array: Any) -> Any:
        dtype = jnp.result_type(array)
        if dtype == jnp.bfloat16:
            return jax.lax.reduce_precision(array, exponent_bits=8, mantissa_bits=7)
        return _rounded_to_float16(jnp.asarray(array, jnp.float32)).astype(dtype) if dtype == jnp.float16 else array

    return jax.tree.map(leaf, tree)


def _rounded_to_float16(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The nearest numbers of float16, in float32; `reduce_precision` alone makes 0 of those below 2^-14."""
    shift = jnp.float32(0.75)  # float32 next to it has the spacing of float16 next to 0, 2^-24
    return jnp.where(jnp.abs(x) < 2.0**-14, (x + shift) - shift, jax.lax.reduce_precision(x, 5, 10))


def squared_modulus(x: Array) -> Float[Array, "..."]:
    """|x|^2 as a real array, for real and complex `x`."""
    return jnp.real(x * jnp.conj(x))


def tree_dot(a: PyTree, b: PyTree) -> Float[Array, ""]:
    """Real inner product of two pytrees of one structure, added up in at least float32."""

    def dot(x: Array, y: Array) -> Array:
        dtype = working_dtype(x)
        return jnp.real(jnp.vdot(x.astype(dtype), y.astype(dtype)))

    return _sum(jax.tree.map(dot, a, b))


def tree_norm(tree: PyTree) -> Float[Array, ""]:
    """Euclidean norm of all entries of a pytree."""
    return sqrt(_sum(jax.tree.map(lambda x: jnp.sum(squared_modulus(x.astype(working_dtype(x)))), tree)))


def tree_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every entry of every leaf is finite."""
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]).all()


def tree_where(condition: Bool[Array, ""], yes: PyTree, no: PyTree) -> PyTree:
    """`yes` where the scalar `condition` holds, `no` elsewhere, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def _sum(terms: PyTree) -> Array:
    leaves = jax.tree.leaves(terms)
    dtype = functools.reduce(_wider, (leaf.dtype for leaf in leaves))
    return functools.reduce(jnp.add, (leaf.astype(dtype) for leaf in leaves))


def scale_of(values: np.ndarray) -> str:
    """`log` for a geometric axis of at least three positive values, otherwise `linear`."""
    if values.dtype.kind not in "iuf" or len(values) < 3 or (values <= 0).any():
        return "linear"
    ratios = np.diff(np.log(np.sort(values)))
    return "log" if ratios.max() - ratios.min() < 0.5 * ratios.mean() and values.max() > 9 * values.min() else "linear"
