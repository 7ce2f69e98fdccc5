"""The labels of a slice: what its Dataset records about axes, directions and loss, in texts and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float, PyTree

from .. import _checks
from .._version import __version__
from ..problems import Problem
from ._directions import AXES, Plane

if TYPE_CHECKING:
    import xarray as xr

Axis = Float[np.ndarray, " _"]  # of any length: the axes of a plane need not have as many points
UNITS = "multiples of the direction"


def labelled(
    grid: Sequence[Axis], where: Plane, found: dict[str, np.ndarray], attrs: dict[str, Any], loss: Any
) -> xr.Dataset:
    """What was found on a grid, the value at its centre left out, as a Dataset over (z, y, x)."""
    import xarray as xr

    names = AXES[: len(grid)]
    dims = tuple(reversed(names))
    shape = tuple(len(axis) for axis in reversed(grid))
    lengths = np.sqrt(np.diag(where.directions.gram()))
    axes = _axis_labels(loss, where)
    coords = {
        name: (name, axis, {"units": UNITS, "direction_norm": float(length), "label": label})
        for name, axis, length, label in zip(names, grid, lengths, axes, strict=False)
    }
    variables = {name: (dims, values[:-1].reshape(shape)) for name, values in found.items()}
    return xr.Dataset(variables, coords, attrs)


def attrs(
    loss: Any, where: Plane, grid: Sequence[Axis], losses: np.ndarray, data: PyTree, seconds: float, batch: int | None
) -> dict[str, Any]:
    """How a slice was made; `losses` end with the one at the centre."""
    gram = where.directions.gram()
    lengths = np.sqrt(np.diag(gram))
    name = loss.name if isinstance(loss, Problem) else _checks.name_of(loss)
    facts = loss.facts if isinstance(loss, Problem) else None
    found: dict[str, Any] = {f"direction_{key}": value for key, value in where.directions.attrs.items()}
    found |= {"kind": ("line", "plane", "volume")[len(grid) - 1], "loss_name": name, "units": UNITS}
    found |= {"normalize": str(where.directions.attrs.get("normalize", "none"))}
    found |= {"seed": str(where.directions.attrs.get("seed", "")), "center_loss": float(losses[-1])}
    found |= {f"radius_{n}": float(np.ptp(axis)) / 2 for n, axis in zip(AXES, grid, strict=False)}
    found |= {f"direction_norm_{n}": float(length) for n, length in zip(AXES, lengths, strict=False)}
    if len(grid) > 1:
        found["cosine"] = float(gram[0, 1] / (lengths[0] * lengths[1]))
    found["non_finite"] = int(np.sum(~np.isfinite(losses[:-1])))
    found["examples"] = 0 if data is None else _examples(data)
    found["parameters"] = sum(leaf.size for leaf in jax.tree.leaves(where.center))
    found |= {"scale": facts.levels if facts else "auto", "formula": facts.formula if facts else ""}
    found |= {"batch_size": batch or 0, "wall_seconds": seconds, "version": __version__, "jax": jax.__version__}
    return found


def _examples(data: PyTree) -> int:
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
    (size,) = sizes if len(sizes) == 1 else [()]
    return size[0] if size else 0


def _axis_labels(loss: Any, where: Plane) -> Sequence[str]:
    facts = loss.facts if isinstance(loss, Problem) else None
    attrs = where.directions.attrs
    if attrs.get("kind") == "coordinates":
        return facts.labels if facts else [f"parameter {entry}" for entry in str(attrs["entries"]).split(", ")]
    if attrs.get("kind") == "pca":
        shares = [attrs[f"explained_{name}"] for name in AXES if f"explained_{name}" in attrs]
        return [f"principal component {i + 1} ({share:.1%})" for i, share in enumerate(shares)]
    if attrs.get("kind") == "hessian":
        values = [attrs[f"eigenvalue_{name}"] for name in AXES if f"eigenvalue_{name}" in attrs]
        return [f"eigenvector of {value:.3g}" for value in values]
    return ["direction 1", "direction 2", "direction 3"]


def gram_of(table: xr.Dataset) -> Float[np.ndarray, "2 2"]:
    """The inner products of the two directions of a Dataset."""
    a, b, cosine = (float(table.attrs[name]) for name in ("direction_norm_x", "direction_norm_y", "cosine"))
    return np.array([[a * a, a * b * cosine], [a * b * cosine, b * b]])
