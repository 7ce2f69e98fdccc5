"""Shapes, dtypes and shardings of the arguments of a group's compiled programs, for whatever needs no values.

Memory, layouts and checkpoints are worked out from these before any array exists.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from .mesh import AXIS, EVERYWHERE, TRIALS, of_one_place
from .programs import LaneInputs, Lanes, Shared, Static, leaf_specs, programs


class Shapes(NamedTuple):
    """What the shapes of a group's arguments follow from.

    Attributes:
        static: the static part of its programs.
        names: the hyperparameters.
        initial: what the starts are made of.
        constants: what the closure of the loss holds.
        data: the training data; of a stream the batches of a window.
        rows: the shape of the example indices of a window; None of a stream.
        keys: per seed the key of what is random in the loss; None if nothing is.
    """

    static: Static
    names: tuple[str, ...]
    initial: PyTree
    constants: list[Any]
    data: PyTree
    rows: tuple[int, ...] | None
    keys: Any = None

    @property
    def alone(self) -> Shapes:
        """The same at the first of the places where trials lie."""
        return self._replace(static=self.static._replace(mesh=of_one_place(self.static.mesh)))

    @property
    def shared(self) -> Shared:
        """What all lanes share."""
        rows: Any = None if self.rows is None else jax.ShapeDtypeStruct(self.rows, jnp.int32)
        return Shared(self.constants, self.data, rows, self.keys)

    def inputs(self, width: int) -> LaneInputs:
        """What distinguishes the lanes."""
        lanes = (width * self.static.mesh.shape[AXIS],)
        numbers: Any = {name: jax.ShapeDtypeStruct(lanes, jnp.result_type(float)) for name in self.names}
        seed: Any = jax.ShapeDtypeStruct(lanes, jnp.int32)
        return LaneInputs(numbers, seed)

    def lanes(self, width: int) -> Lanes:
        """The lanes."""
        mesh = self.static.mesh
        initial = _placed(self.initial, mesh, EVERYWHERE)
        # As the program will be called: its trace is kept, and serves then.
        return programs(self.static).begin.eval_shape(initial, _placed(self.inputs(width), mesh, TRIALS))

    def segment(self, width: int) -> tuple[Any, ...]:
        """The arguments of a segment, without places."""
        bound = jax.ShapeDtypeStruct((), jnp.int32)
        return (self.lanes(width), self.inputs(width), self.shared, bound, bound, bound)

    def segment_on_devices(self, width: int) -> tuple[Any, ...]:
        """The arguments of a segment, with the places that a sweep puts them in."""
        mesh = self.static.mesh
        lanes, inputs, shared, *bounds = self.segment(width)
        # Lowered without them, the segment would be another program than the one that runs, with other memory.
        leaves, structure = jax.tree.flatten(lanes)
        on_mesh = [_placed(leaf, mesh, spec) for leaf, spec in zip(leaves, leaf_specs(lanes), strict=True)]
        lanes = jax.tree.unflatten(structure, on_mesh)
        return (lanes, _placed(inputs, mesh, TRIALS), _placed(shared, mesh, EVERYWHERE), *bounds)


def shapes_of(tree: PyTree) -> Any:
    """Every leaf as its shape and dtype on a device."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)), tree)


def _placed(shapes: PyTree, mesh: Mesh, spec: PartitionSpec) -> Any:
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes)
