"""Where trials lie: the devices of a sweep, and how one trial is split over several of them.

A sweep runs on a mesh with an axis `trials`. Every program of the sweep is written for one place on that axis, so
trials do not communicate. All other axes of a mesh lie inside a trial, and XLA partitions the program over them. It is
given the split of the parameters, and that of batches along an axis `data`; the rest follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from ... import _checks
from ..._columns import is_key

AXIS, DATA = "trials", "data"
TRIALS = PartitionSpec(AXIS)
ALONG_STEPS = PartitionSpec(None, AXIS)  # of histories, whose first axis counts entries
EVERYWHERE = PartitionSpec()


class Inside(NamedTuple):
    """A mesh that the user made, and how the parameters of a trial are split over it."""

    mesh: Mesh
    param_specs: PyTree[PartitionSpec]


Devices = Sequence[jax.Device] | Inside | None  # all local ones when None


def devices_of(devices: Any, mesh: Any, param_specs: Any, executor: Any = None) -> Devices:
    """The devices of a sweep, as a user gave them.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.
    """
    if mesh is None:
        if param_specs is not None:
            raise ValueError("param_specs splits parameters over the axes of a mesh: give mesh too")
        return devices
    if devices is not None:
        raise ValueError("mesh has its own devices: leave devices out")
    if executor is not None:
        raise ValueError("mesh holds devices of this process, which the workers of an executor do not have")
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, from jax.make_mesh; got {type(mesh).__name__}")
    if AXIS not in mesh.axis_names:
        raise ValueError(f"mesh must have an axis {AXIS!r}, along which trials run side by side; got {mesh.axis_names}")
    explicit = [name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind != AxisType.Auto]
    if explicit:
        raise ValueError(
            f"mesh must have axes of type AxisType.Auto, got others for {explicit}: give jax.make_mesh "
            f"axis_types=(jax.sharding.AxisType.Auto,) * {len(mesh.axis_names)}"
        )
    return Inside(mesh, EVERYWHERE if param_specs is None else param_specs)


def as_arguments(devices: Devices) -> dict[str, Any]:
    """What `devices_of` makes these devices of, by the names of a sweep's arguments."""
    if isinstance(devices, Inside):
        specs = None if devices.param_specs == EVERYWHERE else devices.param_specs
        return {"devices": None, "mesh": devices.mesh, "param_specs": specs}
    return {"devices": devices, "mesh": None, "param_specs": None}


def mesh_of(devices: Devices) -> Mesh:
    """The mesh of a sweep."""
    return devices.mesh if isinstance(devices, Inside) else trials_mesh(devices)


def trials_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh `trials` over the given devices; all local ones when None."""
    devices = list(jax.local_devices() if devices is None else devices)
    if not devices:
        raise ValueError("devices must hold at least one device, got none; leave it out for all local ones")
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def of_one_place(mesh: Mesh) -> Mesh:
    """The mesh of the first place along the axis of trials."""
    axis = mesh.axis_names.index(AXIS)
    return Mesh(np.take(mesh.devices, [0], axis), mesh.axis_names, axis_types=mesh.axis_types)


def sharded(function: Callable[..., Any], mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable[..., Any]:
    """A function of one place on the axis of trials, on all of them."""
    # A user's loss may start a loop from constants. Those do not vary over the mesh while what the loop carries does,
    # which `check_vma` would refuse.
    return jax.shard_map(
        function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, axis_names={AXIS}, check_vma=False
    )


def place(tree: PyTree, mesh: Mesh, spec: PartitionSpec) -> PyTree:
    """Put every leaf of `tree` on the mesh."""
    sharding = NamedSharding(mesh, spec)

    def put(leaf: Any) -> Any:
        if not is_key(leaf):
            return jax.device_put(leaf, sharding)
        # By its words from the host: to share out an array that is on a device already is a program to compile.
        words = jax.device_put(np.asarray(jax.random.key_data(leaf)), sharding)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))

    return jax.tree.map(put, tree)


class Split(NamedTuple):
    """How one trial is split over the devices of its place.

    Attributes:
        params: how each leaf of the parameters is split, in their order.
        data: whether the examples of a batch are.
    """

    params: tuple[PartitionSpec, ...]
    data: bool

    def of_carry(self, carry: Any, params: PyTree) -> Any:
        """A carry with every part of it split that is like the parameters: they, the gradient, moments."""
        wanted: Any = jax.tree.map(jnp.shape, params)

        def is_like(part: Any) -> bool:
            return bool(jax.tree.map(jnp.shape, part) == wanted)

        def split(part: Any) -> Any:
            if not is_like(part):
                return part
            leaves, structure = jax.tree.flatten(part)
            return jax.tree.unflatten(structure, map(jax.lax.with_sharding_constraint, leaves, self.params))

        return jax.tree.map(split, carry, is_leaf=is_like)

    def of_batch(self, batch: PyTree) -> PyTree:
        """The batch of a trial, split."""
        if not self.data:
            return batch
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, PartitionSpec(DATA)), batch)

    def __str__(self) -> str:
        batches = ", batches along 'data'" if self.data else ""
        return f"parameters by {', '.join(map(str, self.params))}{batches}"


def split_of(devices: Devices, params: PyTree, examples: int) -> Split | None:
    """How a trial is split, given its parameters and the examples of a step; None where it lies on one device.

    Raises:
        TypeError, ValueError: param_specs that do not suit the mesh or the parameters; a batch that cannot be split.
    """
    if not isinstance(devices, Inside):
        return None
    sizes = devices.mesh.shape
    # JAX's shorthand for what is not split is None, which is no leaf of a pytree.
    leaf = lambda one: one is None or isinstance(one, PartitionSpec)
    try:
        spread = jax.tree.map(
            lambda spec, part: jax.tree.map(lambda _: spec, part), devices.param_specs, params, is_leaf=leaf
        )
    except ValueError as error:
        wanted = jax.tree.map(jnp.shape, params)
        raise ValueError(
            f"param_specs must have the structure of the parameters, or begin it, got {devices.param_specs} for "
            f"parameters of the shapes {wanted}"
        ) from error
    specs = [EVERYWHERE if spec is None else spec for spec in jax.tree.leaves(spread, is_leaf=leaf)]
    for (path, like), spec in zip(jax.tree.leaves_with_path(params), specs, strict=True):
        _check_spec(f"param_specs{jax.tree_util.keystr(path)}", spec, like.shape, sizes)
    data = DATA in sizes and examples > 0
    used = {AXIS, *([DATA] if data else []), *(axis for spec in specs for axis in _axes(spec))}
    if idle := [axis for axis, size in sizes.items() if size > 1 and axis not in used]:
        raise ValueError(
            f"nothing is split along the axes {idle} of mesh, so their devices would all compute the same: batches of "
            f"data are split along an axis {DATA!r}, parameters along the axes that param_specs names"
        )
    if data and examples % sizes[DATA]:
        raise ValueError(
            f"a step sees {examples} examples, which an axis {DATA!r} of {sizes[DATA]} devices cannot split evenly: "
            f"give a batch_size that is a multiple of {sizes[DATA]}"
        )
    return None if devices.mesh.axis_names == (AXIS,) else Split(tuple(specs), data)


def _check_spec(name: str, spec: Any, shape: tuple[int, ...], sizes: Any) -> None:
    if not isinstance(spec, PartitionSpec):
        raise TypeError(f"{name} must be a jax.sharding.PartitionSpec, got {spec!r}")
    if len(spec) > len(shape):
        raise ValueError(f"{name} is {spec}, of more dimensions than the shape {shape} that it splits")
    inner = [axis for axis in sizes if axis != AXIS]
    for axis in _axes(spec):
        _checks.choice(name, axis, inner)
    if len(set(_axes(spec))) < len(_axes(spec)):
        raise ValueError(f"{name} is {spec}, which names an axis twice")
    for length, entry in zip(shape, spec, strict=False):
        axes = _axes(PartitionSpec(entry))
        parts = int(np.prod([sizes[axis] for axis in axes]))
        if length % parts:
            raise ValueError(f"{name} is {spec}: a dimension of {length} cannot be split evenly over {parts} devices")


def _axes(spec: PartitionSpec) -> list[Any]:
    """The axes of a mesh that a spec names."""
    entries = [entry if isinstance(entry, tuple) else (entry,) for entry in spec if entry is not None]
    return [axis for axes in entries for axis in axes]
