"""Linear algebra of small dense matrices, by the runtime: factors, triangular systems, symmetric eigenvalues."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from ..._jaxpr.listing import Operation
from ._blocks import Store
from ._moves import Rule
from ._values import SMALL, Refused, Value, Writer


def _call(writer: Writer, name: str, numbers: str, inputs: list[Value], operation: Operation) -> list[Value]:
    """Have the runtime fill one array per output, matrix by matrix."""
    if any(np.dtype(value.dtype) != np.float64 for value in inputs):
        raise Refused(f"{operation.name!r} of {np.dtype(inputs[0].dtype).name} has no rule in JavaScript; use float64")
    stores = [writer.buffer(max(math.prod(shape), 1)) for shape in operation.shapes]
    sources = [writer.stored(value).store for value in inputs]
    names = ",".join(f"{{{k}}}" for k in range(len(sources) + len(stores)))
    writer.do(f"R.{name}({numbers},{names})", *sources, *stores, writes=stores)
    return [
        _read(writer, store, shape, dtype)
        for store, shape, dtype in zip(stores, operation.shapes, operation.dtypes, strict=True)
    ]


def _read(writer: Writer, store: Store, shape: tuple[int, ...], dtype: Any) -> Value:
    held = writer.held(store, shape, dtype)
    return writer.settled(Value(shape, dtype, held.get)) if held.size <= SMALL else held


def _count(x: Value) -> int:
    return math.prod(x.shape[:-2])


def _eigh(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    lower = "true" if operation.params.get("lower", True) else "false"
    if operation.params.get("subset_by_index") is not None:
        raise Refused("'eigh' of a part of the eigenvalues has no rule in JavaScript")
    return _call(writer, "eigh", f"{_count(x)},{x.shape[-1]},{lower}", [x], operation)


def _lu(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    if x.shape[-1] != x.shape[-2]:
        raise Refused("'lu' of a matrix that is not square has no rule in JavaScript")
    return _call(writer, "lu", f"{_count(x)},{x.shape[-1]}", [x], operation)


def _cholesky(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    return _call(writer, "cholesky", f"{_count(x)},{x.shape[-1]}", [x], operation)


def _permutation(writer: Writer, operation: Operation, pivots: Value) -> list[Value]:
    if len(pivots.shape) != 1 or pivots.size > SMALL:
        raise Refused("pivots of many matrices, or of a large one, have no rule in JavaScript")
    order: list[Any] = list(range(operation.params["permutation_size"]))
    for i in range(pivots.size):
        other = pivots.get((i,))
        here = order[i]
        order[i] = writer.scalars(np.array(order, object), np.int32).get((other,))
        order = [
            place if k <= i else writer.local("{0}==={1}?{2}:{3}", other, k, here, place)
            for k, place in enumerate(order)
        ]
    return [writer.scalars(np.array(order, object), np.int32)]


def _triangular(writer: Writer, operation: Operation, a: Value, b: Value) -> list[Value]:
    flags = [operation.params[name] for name in ("left_side", "lower", "transpose_a", "unit_diagonal")]
    words = ",".join("true" if flag else "false" for flag in flags)
    numbers = f"{_count(a)},{b.shape[-2]},{b.shape[-1]},{words}"
    return _call(writer, "triangularSolve", numbers, [a, b], operation)


ALGEBRA: Final[dict[str, Rule]] = {
    "eigh": _eigh,
    "lu": _lu,
    "lu_pivots_to_permutation": _permutation,
    "cholesky": _cholesky,
    "triangular_solve": _triangular,
}
