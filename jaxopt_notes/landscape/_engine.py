"""Measure something at many points of a slice: one compiled program, chunk by chunk, on all local devices."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .._columns import stored
from .._digests import read_arrays, read_json, write_arrays, write_json
from .._hoist import Program
from .._kept import kept_with
from ._directions import moved

CHUNK = 1024  # points: the unit of progress and of files, whatever the number of devices
MOST_WIDTH = 256
# Bytes that the points in flight on one device may take: on CPU what stays in its caches, elsewhere a share of memory.
BUDGETS = {"cpu": 4 * 2**20}
BUDGET = 2**30
POINTS = PartitionSpec("points")
EVERYWHERE = PartitionSpec()


class Inputs(NamedTuple):
    """What all points share; arguments of the program, so that no array becomes a constant of it."""

    constants: Sequence[Any]
    center: PyTree
    vectors: PyTree
    args: Sequence[Any]


class Task(NamedTuple):
    """The static part: `measure(program, settings, inputs, params)` gives scalars by name."""

    measure: Callable[..., dict[str, Array]]
    program: Program
    settings: tuple[Any, ...] = ()


def run(
    task: Task,
    inputs: Inputs,
    points: Float[np.ndarray, "points count"],
    *,
    width: int | None,
    folder: str | os.PathLike[str] | None,
    devices: Sequence[jax.Device] | None,
) -> dict[str, np.ndarray]:
    """Measure at every point, 1,024 at a time.

    Arguments:
        task, inputs: what to measure.
        points: coordinates along the directions.
        width: points at once on one device; chosen by size when None.
        folder: where finished chunks are kept, and found again by the next call of the same task.
        devices: all local ones when None.

    Returns:
        Name -> values of shape (points,).

    Raises:
        ValueError: the folder belongs to another task. TypeError, ValueError: `width`, `devices`.
    """
    mesh = _mesh(devices)
    width = _width(task) if width is None else _checks.count("width", width)
    compiled = _compiled(task, mesh, width)
    placed = jax.device_put(inputs, NamedSharding(mesh, EVERYWHERE))
    store = None if folder is None else _Folder(Path(folder), task, inputs, points)
    step = mesh.size * width
    size = -(-min(CHUNK, len(points)) // step) * step  # every chunk has this many, padded with its last point
    parts = []
    for number, start in enumerate(range(0, len(points), CHUNK)):
        # A chunk whose file is missing or damaged is measured again rather than reported.
        part = None if store is None else store.read(number)
        if part is None:
            chunk = points[start : start + CHUNK]
            # Every chunk has one shape, so there is one program; what the copies of the last point give is cut off.
            padded = np.concatenate([chunk, np.repeat(chunk[-1:], size - len(chunk), axis=0)])
            placed_points = jax.device_put(jnp.asarray(padded, float), NamedSharding(mesh, POINTS))
            found = jax.device_get(compiled(placed, placed_points))
            part = {name: stored(values[: len(chunk)])[0] for name, values in found.items()}
            if store is not None:
                store.write(number, part)
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def bytes_per_point(task: Task) -> int:
    """The size of everything that the program computes at one point, an upper bound of what it keeps at once."""
    return task.program.bytes_computed()


def _width(task: Task) -> int:
    budget = BUDGETS.get(jax.default_backend(), BUDGET)
    return int(np.clip(budget // max(bytes_per_point(task), 1), 1, MOST_WIDTH))


def _mesh(devices: Sequence[jax.Device] | None) -> Mesh:
    devices = list(jax.local_devices() if devices is None else devices)
    if not devices:
        raise ValueError("devices must hold at least one device, got none; leave it out for all local ones")
    return jax.make_mesh((len(devices),), ("points",), axis_types=(AxisType.Auto,), devices=devices)


@kept_with(lambda task, mesh, width: task.program)
def _compiled(task: Task, mesh: Mesh, width: int) -> Callable[[Inputs, Array], dict[str, Array]]:
    """The jitted measurement of a chunk; no point talks to another, so it holds no collectives."""

    def several(inputs: Inputs, points: Float[Array, "points count"]) -> dict[str, Array]:
        def one(coordinates: Float[Array, " count"]) -> dict[str, Array]:
            params = moved(inputs.center, inputs.vectors, coordinates)
            return task.measure(task.program, task.settings, inputs, params)

        # No vmap at all for one point at a time: a vmapped `eigh` on several CPU devices was seen to hang
        # (`curvature_map`).
        if width == 1:
            return jax.lax.map(one, points)
        # A loop over groups of `width` points: a vmap over the whole chunk would hold the intermediate values of all
        # its points at once.
        found = jax.lax.map(jax.vmap(one), points.reshape(-1, width, points.shape[1]))
        return jax.tree.map(lambda values: values.reshape(-1), found)

    # A sharded program of one chunk shape; jit keeps one per shape of chunk, parameters and data.
    return jax.jit(jax.shard_map(several, mesh=mesh, in_specs=(EVERYWHERE, POINTS), out_specs=POINTS, check_vma=False))


class _Folder:
    """Finished chunks as files, with a manifest that names their task."""

    def __init__(self, folder: Path, task: Task, inputs: Inputs, points: np.ndarray) -> None:
        self.folder = folder
        self._fingerprint = _fingerprint(task, inputs, points)
        # Points and chunk size belong to it: a file is known by its number alone.
        manifest = {"format": 2, "points": len(points), "chunk": CHUNK, "fingerprint": self._fingerprint}
        path = folder / "manifest.json"
        try:
            there = read_json(path, "delete it, and what is there of this slice is found again")
        except FileNotFoundError:
            write_json(path, manifest)
            return
        if there != manifest:
            raise ValueError(
                f"folder {str(folder)!r} holds another slice (other loss, parameters, directions, data or points); "
                f"give this one a folder of its own, or delete that one"
            )

    def path(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.npz"

    def read(self, number: int) -> dict[str, np.ndarray] | None:
        """The values of a finished chunk; None if it is missing or cannot be read, and has to be measured again."""
        return read_arrays(self.path(number), self._fingerprint)

    def write(self, number: int, part: dict[str, np.ndarray]) -> None:
        write_arrays(self.path(number), part, self._fingerprint)


def _fingerprint(task: Task, inputs: Inputs, points: np.ndarray) -> str:
    text = f"{task.program.fingerprint}{task.measure.__qualname__}{task.settings}"
    digest = hashlib.sha256(text.encode())
    for leaf in [*jax.tree.leaves(tuple(inputs)), points]:
        is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
        values = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
