"""Arrays of nodes of a tape: a program is run on them once, and the tape is what it wrote down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._jaxpr import doubles
from ._tape import Tape


class Symbols:
    """An array of nodes."""

    of_arithmetic = True

    def __init__(self, nodes: np.ndarray) -> None:
        self.nodes = np.asarray(nodes, np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.nodes.shape


class OnTape:
    """The arithmetic of nodes: every operation is a node more.

    Arguments:
        tape: where they go.
        most: nodes, beyond which `TooLong` is raised.
    """

    def __init__(self, tape: Tape, most: int) -> None:
        self._tape, self._most = tape, most

    def wrap(self, known: np.ndarray) -> Symbols:
        """Constants."""
        values = doubles(known)
        return Symbols(np.reshape([self._tape.constant(value) for value in values.ravel()], values.shape))

    def moved(self, move: Callable[..., Any], *values: Symbols) -> Any:
        """Nodes at other places."""
        moved = move(*(value.nodes for value in values))
        return [Symbols(part) for part in moved] if isinstance(moved, (list, tuple)) else Symbols(moved)

    def elementwise(self, name: str, *values: Symbols, **static: Any) -> Symbols:
        """One node for each number."""
        if len(self._tape.nodes) > self._most:
            raise TooLong(f"more than {self._most} operations")
        verb = getattr(self._tape, name, None)
        if verb is None:
            verb = lambda node: self._tape.plain(name, node)
        shape = np.broadcast_shapes(*(value.shape for value in values))
        columns = [np.broadcast_to(value.nodes, shape).ravel().tolist() for value in values]
        made = [verb(*nodes, **static) for nodes in zip(*columns, strict=True)]
        return Symbols(np.reshape(made, shape))

    def dot(self, x: Symbols, y: Symbols, dimensions: Any) -> Symbols:
        """Products, and their sums."""
        (contracted, contracted_too), (batch, batch_too) = dimensions

        def arranged(value: Symbols, batch: Sequence[int], contracted: Sequence[int]) -> tuple[np.ndarray, list[int]]:
            nodes = value.nodes
            free = [axis for axis in range(nodes.ndim) if axis not in batch and axis not in contracted]
            sizes = [nodes.shape[axis] for axis in free]
            moved = nodes.transpose(*batch, *free, *contracted)
            lead = [nodes.shape[axis] for axis in batch]
            count = int(np.prod([nodes.shape[axis] for axis in contracted], dtype=int))
            return moved.reshape(*lead, int(np.prod(sizes, dtype=int)), count), sizes

        left, of_left = arranged(x, batch, contracted)
        right, of_right = arranged(y, batch_too, contracted_too)
        products = self.elementwise("multiply", Symbols(left[..., :, None, :]), Symbols(right[..., None, :, :]))
        summed = self.total(products, (products.nodes.ndim - 1,))
        return Symbols(summed.nodes.reshape((*left.shape[:-2], *of_left, *of_right)))

    def total(self, x: Symbols, axes: Sequence[int]) -> Symbols:
        """Sums in pairs, of pairs, ...: as short a chain as there is, which rounds least."""
        kept = [axis for axis in range(len(x.shape)) if axis not in axes]
        rows = x.nodes.transpose(*kept, *axes)
        shape = rows.shape[: len(kept)]
        flat = rows.reshape(*shape, int(np.prod(rows.shape[len(kept) :], dtype=int)))
        if flat.shape[-1] == 0:
            return Symbols(np.full(shape, self._tape.constant(0.0)))
        while (count := flat.shape[-1]) > 1:
            pairs = self.elementwise(
                "add", Symbols(flat[..., : count // 2]), Symbols(flat[..., count // 2 : count // 2 * 2])
            )
            flat = np.concatenate([pairs.nodes, flat[..., count // 2 * 2 :]], axis=-1)
        return Symbols(flat[..., 0])


class TooLong(RuntimeError):
    """A function with too many operations to write every one of them down."""
