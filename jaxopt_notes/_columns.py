"""Columns of tables: arrays in dtypes that NetCDF files hold, value for value, and back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

DTYPE, KEY_IMPL = "original_dtype", "key_impl"  # attributes of a column whose values had another dtype


def stored(array: Any) -> tuple[np.ndarray, dict[str, str]]:
    """The values of an array in a dtype that NetCDF files hold, and the attributes that name the dtype they had.

    Floats narrower than float16, and bfloat16, become float32, narrow integers become int8 or uint8, and random keys
    become their words along one more axis. All other arrays stay as they are, complex ones too, without attributes.
    """
    if is_key(array):
        names = {DTYPE: str(array.dtype), KEY_IMPL: str(jax.random.key_impl(array))}
        return np.asarray(jax.random.key_data(array)), names
    values = np.asarray(array)
    if not is_extension(values.dtype):
        return values, {}
    return values.astype(_wide(values.dtype)), {DTYPE: values.dtype.name}


def restored(values: np.ndarray, attributes: dict[str, str]) -> Any:
    """What `stored` was given: a NumPy array, or an array of random keys."""
    if KEY_IMPL in attributes:
        return jax.random.wrap_key_data(jnp.asarray(values), impl=attributes[KEY_IMPL])
    return values.astype(jnp.dtype(attributes[DTYPE])) if DTYPE in attributes else values


def is_key(array: Any) -> bool:
    """Whether an array holds typed random keys."""
    return hasattr(array, "dtype") and jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def is_extension(dtype: np.dtype) -> bool:
    """Whether NumPy itself does not know a dtype, nor do its files and HDF5, such as bfloat16, float8 and int4."""
    return dtype.isbuiltin == 2


def named_leaves(tree: PyTree, root: str) -> list[tuple[str, Any]]:
    """(name of the column, leaf) of every leaf: the root and the path, without "/"; equal ones are numbered."""
    named: dict[str, Any] = {}
    for i, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(tree)):
        inside = jax.tree_util.keystr(path, simple=True, separator=".").replace("/", "_")
        name = ".".join(filter(None, [root, inside]))
        named[f"{name}#{i}" if name in named else name] = leaf
    return list(named.items())


def own_dims(name: str, rank: int) -> list[str]:
    """Names of the axes of an array that a column holds per trial or per step."""
    return [f"{name}_{axis}" for axis in range(rank)]


def _wide(dtype: np.dtype) -> type:
    if jnp.issubdtype(dtype, jnp.floating):
        return np.float32
    return np.int8 if jnp.issubdtype(dtype, jnp.signedinteger) else np.uint8
