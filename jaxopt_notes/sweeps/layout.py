"""The layout: how a sweep's table is laid out, as plain data that fits a JSON file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from .. import _checks
from .._numerics import scale_of
from .._version import __version__
from ..minibatches import steps_per_epoch
from ..minimize import Status
from ..problems.metric import Direction, direction_attrs, directions
from .choices import labels_of
from .space import CONFIGURATION

if TYPE_CHECKING:
    import xarray

    from .plan import Plan

Columns = dict[str, np.ndarray]  # name -> values of some trials, the trial being the leading axis

_DESCRIPTIONS = {
    "loss": "loss of the step's minibatch, or of the full data without minibatches",
    "grad_norm": "Euclidean norm of the gradient",
    "update_norm": "Euclidean norm of the update that led to the step",
    "initial_loss": "loss on the full training data at the start",
    "final_loss": "loss on the full training data at the end",
    "status": "how the trial ended: " + ", ".join(f"{s.value} {s.name.lower()}" for s in Status),
    "stopped_at": "steps taken",
    "skipped": "steps skipped, as their loss, gradient or update was not finite",
}
NOT_RUN = {"status": Status.NOT_RUN, "stopped_at": -1, "skipped": -1}


class Layout(NamedTuple):
    """Everything about a table but its values.

    Attributes:
        axes: name -> values, in order; the seed comes after them and varies fastest.
        seeds: the seeds.
        coordinates: name -> (values, units) of the coordinates along `step`.
        columns: name -> (shape of one trial's value, dtype) of every variable.
        attributes: strings and numbers.
        points: name -> one value per configuration, of a space that is a list of points; NaN where it is absent.
        directions: name -> "max" or "min" of every column that is known to be better the higher or the lower.
    """

    axes: dict[str, list[float]]
    seeds: list[int]
    coordinates: dict[str, tuple[list[Any], str]]
    columns: dict[str, tuple[list[int], str]]
    attributes: dict[str, Any]
    points: dict[str, list[Any]] = {}  # noqa: RUF012 - never changed
    directions: dict[str, Direction] = {}  # noqa: RUF012 - never changed; none in manifests of before there were any

    @property
    def trials(self) -> int:
        """Number of trials."""
        return int(np.prod([len(values) for values in self.axes.values()], dtype=int)) * len(self.seeds)

    def trials_of(self, chunk: int) -> range:
        """The trials of a chunk; none of a number beyond the last."""
        width = self.attributes["width"]
        return range(chunk * width, min((chunk + 1) * width, self.trials))

    @property
    def owner(self) -> str:
        """What the files of a sweep say that they belong to: its fingerprint and width."""
        return f"{self.attributes['fingerprint']} {self.attributes['width']}"

    def empty(self) -> Columns:
        """Columns of all trials, none of them run."""
        return {
            name: np.full((self.trials, *shape), NOT_RUN.get(name, np.nan), dtype)
            for name, (shape, dtype) in self.columns.items()
        }

    def attrs_of(self, name: str) -> dict[str, str]:
        """The attributes of a variable."""
        described = {"long_name": _DESCRIPTIONS[name]} if name in _DESCRIPTIONS else {}
        directed = direction_attrs(name, self.directions[name]) if name in self.directions else {}
        return {**described, **directed}


def layout_of(plan: Plan, columns: Columns) -> Layout:
    """The layout of a plan's table, given the columns of some of its trials."""
    return Layout(
        axes={name: labels_of(values) for name, values in plan.space.axes.items()},
        seeds=plan.seeds.tolist(),
        coordinates=_coordinates(plan),
        columns={name: (list(column.shape[1:]), column.dtype.name) for name, column in columns.items()},
        attributes=_attributes(plan),
        points={name: labels_of(values) for name, values in (plan.space.points or {}).items()},
        directions=directions(plan.problem.metrics, columns),
    )


def build_table(layout: Layout, columns: Columns) -> xarray.Dataset:
    """Lay the trials out along the axes of the space and the seeds."""
    import xarray

    dims = (*layout.axes, "seed")
    shape = (*map(len, layout.axes.values()), len(layout.seeds))
    variables = {}
    for name, values in columns.items():
        shaped = values.reshape(*shape, *values.shape[1:])
        variables[name] = ((*dims, *inner_dims(name, values)), shaped, layout.attrs_of(name))
    coordinates: dict[str, Any] = {axis: np.asarray(points) for axis, points in layout.axes.items()}
    for name, points in layout.points.items():
        coordinates[name] = (CONFIGURATION, np.asarray(points))
    coordinates["seed"] = np.asarray(layout.seeds)
    for name, (along, units) in layout.coordinates.items():
        coordinates[name] = ("step", np.asarray(along), {"units": units})
    table = xarray.Dataset(variables, coordinates, layout.attributes)
    for axis, points in layout.axes.items():
        table[axis].attrs["scale"] = scale_of(np.asarray(points))
    for name, points in layout.points.items():
        table[name].attrs["scale"] = spread_of(np.asarray(points))
    return table


def inner_dims(name: str, values: np.ndarray) -> list[str]:
    """The dims of a variable within one trial."""
    if name.split(".")[0] == "params":
        return [f"{name}_{axis}" for axis in range(values.ndim - 1)]
    return ["step"] * (values.ndim - 1)


def _coordinates(plan: Plan) -> dict[str, tuple[list[Any], str]]:
    steps = np.arange(plan.group.entries) * plan.group.every
    coordinates: dict[str, tuple[list[Any], str]] = {"step": (steps.tolist(), "steps")}
    if plan.minibatches is not None:
        epochs = steps / steps_per_epoch(plan.minibatches, plan.problem.examples)
        coordinates["epoch"] = (epochs.tolist(), "epochs")
        coordinates["examples_seen"] = ((steps * plan.batch_size).tolist(), "examples")
    return coordinates


def _attributes(plan: Plan) -> dict[str, str | int | float]:
    """Strings and numbers only: NetCDF takes nothing else."""
    examples = plan.problem.examples
    known = {} if plan.problem.baseline is None else {"baseline_loss": float(plan.problem.baseline)}
    return {
        "optimizer": _checks.name_of(plan.group.factory),
        "problem": plan.problem.name,
        "steps": plan.steps,
        "batch_size": plan.batch_size,
        "examples": examples,
        "examples_left_out_per_epoch": examples % plan.batch_size if examples else 0,
        **known,
        "key": plan.root_text,
        "fingerprint": plan.fingerprint,
        "precision": plan.precision,
        "width": plan.width,
        "platform": plan.platform,
        "version": __version__,
        "jax_version": jax.__version__,
    }


def spread_of(values: np.ndarray) -> str:
    """`log` for positive points over a decade that lie more evenly on a logarithmic scale, otherwise `linear`."""
    values = values[~np.isnan(values)]
    if len(values) < 3 or (values <= 0).any() or values.max() < 9 * values.min():
        return "linear"
    skews = [abs(np.median(v) - (v.min() + v.max()) / 2) / np.ptp(v) for v in (values, np.log(values))]
    return "log" if skews[1] < skews[0] else "linear"
