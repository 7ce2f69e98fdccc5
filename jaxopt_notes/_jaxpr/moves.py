"""Primitives that move numbers and compute nothing, as functions of numpy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from .listing import Operation


def _broadcast(operation: Operation) -> Callable[..., Any]:
    shape, places = operation.shapes[0], operation.params["broadcast_dimensions"]

    def move(x: np.ndarray) -> np.ndarray:
        full = [1] * len(shape)
        for axis, place in enumerate(places):
            full[place] = x.shape[axis]
        return np.broadcast_to(x.reshape(full), shape)

    return move


def _slice(operation: Operation) -> Callable[..., Any]:
    params = operation.params
    strides = params["strides"] or (1,) * len(params["start_indices"])
    where = tuple(map(slice, params["start_indices"], params["limit_indices"], strides))
    return lambda x: x[where]


def _pad(operation: Operation) -> Callable[..., Any]:
    config = operation.params["padding_config"]

    def move(x: np.ndarray, fill: np.ndarray) -> np.ndarray:
        whole = [slice(max(low, 0), max(low, 0) + max((n - 1) * (inner + 1) + 1, 0), inner + 1)
                 for (low, _, inner), n in zip(config, x.shape, strict=True)]  # fmt: skip
        size = [max(low, 0) + max((n - 1) * (inner + 1) + 1, 0) + max(high, 0)
                for (low, high, inner), n in zip(config, x.shape, strict=True)]  # fmt: skip
        padded = np.full(size, fill, x.dtype)
        padded[tuple(whole)] = x
        return padded[
            tuple(slice(max(-low, 0), n - max(-high, 0)) for (low, high, _), n in zip(config, size, strict=True))
        ]

    return move


def _split(operation: Operation) -> Callable[..., Any]:
    cuts, axis = np.cumsum(operation.params["sizes"])[:-1], operation.params["axis"]
    return lambda x: np.split(x, cuts, axis)


MOVES: Final[dict[str, Callable[[Operation], Callable[..., Any]]]] = {
    "reshape": lambda operation: lambda x: x.reshape(operation.shapes[0]),
    "expand_dims": lambda operation: lambda x: x.reshape(operation.shapes[0]),
    "squeeze": lambda operation: lambda x: x.reshape(operation.shapes[0]),
    "transpose": lambda operation: lambda x: x.transpose(operation.params["permutation"]),
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "rev": lambda operation: lambda x: np.flip(x, operation.params["dimensions"]),
    "concatenate": lambda operation: lambda *xs: np.concatenate(xs, operation.params["dimension"]),
    "stack": lambda operation: lambda *xs: np.stack(xs, operation.params["axis"]),
    "tile": lambda operation: lambda x: np.tile(x, operation.params["reps"]),
    "split": _split,
    "unstack": lambda operation: lambda x: list(np.moveaxis(x, operation.params["axis"], 0)),
    "pad": _pad,
    "convert_element_type": lambda operation: lambda x: x,
    "reduce_precision": lambda operation: lambda x: x,
    "copy": lambda operation: lambda x: x,
    "optimization_barrier": lambda operation: lambda *xs: xs,
}
