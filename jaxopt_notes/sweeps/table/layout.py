"""The layout: everything about a sweep's table but its values, as plain data that fits a JSON file.

How trials become axes, coordinates and attributes is decided here; what fills the columns comes from `columns`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ... import _checks
from ..._columns import own_dims, stored
from ..._jaxpr import chosen_precision
from ..._numerics import scale_of
from ..._version import __version__
from ...minimize import HISTORIES, Status
from ...problems._metric import direction_attrs, directions
from ..compute.group_plan import GroupPlan
from ..spec.space import CONFIGURATION, EVALUATION_STEP, labels_of
from .direction import LOSS_AXES

if TYPE_CHECKING:
    import xarray


Columns = dict[str, np.ndarray]  # name -> values of some trials, the trial being the leading axis

_DESCRIPTIONS = {
    **HISTORIES,
    "initial_loss": "loss on the full training data at the start",
    "final_loss": "loss on the full training data at the end",
    "status": "how the trial ended: " + ", ".join(f"{s.value} {s.name.lower()}" for s in Status),
    "stopped_at": "steps taken",
    "best_step": "step of the best look at the validation data",
    "skipped": "steps skipped, as their loss, gradient or update was not finite",
}
KEPT = ("params", "aux", "state", "iterate")  # what columns of the end point begin with
NOT_RUN = {"status": Status.NOT_RUN, "stopped_at": -1, "skipped": -1}


class Layout(NamedTuple):
    """Everything about a table but its values.

    Attributes:
        axes: name -> values, in order; the seed comes after them and varies fastest.
        seeds: the seeds.
        coordinates: name -> (values, units) of the coordinates along `step`, and of `evaluation_step` itself.
        columns: name -> (shape of one trial's value, dtype) of every variable.
        attributes: strings and numbers.
        points: name -> one value per configuration, of a space that is a list of points; NaN where it is absent.
        described: name -> attributes of that variable, other than its description.
        order: the trials in the order in which columns hold them while the sweep runs; empty where that is by number.
        known: how many of these come first that an earlier sweep finished, and no chunk has.
        begun: how many come next that continue from where an earlier sweep ended. Chunks do not mix them with others.
    """

    axes: dict[str, list[float]]
    seeds: list[int]
    coordinates: dict[str, tuple[list[Any], str]]
    columns: dict[str, tuple[list[int], str]]
    attributes: dict[str, Any]
    points: dict[str, list[Any]] = {}  # noqa: RUF012 - never changed
    described: dict[str, dict[str, str]] = {}  # noqa: RUF012
    order: list[int] = []  # noqa: RUF012
    known: int = 0
    begun: int = 0

    @property
    def trials(self) -> int:
        """Number of trials."""
        return int(np.prod([len(values) for values in self.axes.values()], dtype=int)) * len(self.seeds)

    @property
    def steps(self) -> int:
        """Steps of every trial."""
        return self.attributes["steps"]

    @property
    def width(self) -> int:
        """Trials per chunk."""
        return self.attributes["width"]

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return self.chunks_begun - (-(self.trials - self.known - self.begun) // self.width)

    @property
    def chunks_begun(self) -> int:
        """Number of the first chunks, whose trials continue from where an earlier sweep ended."""
        return -(-self.begun // self.width)

    def trials_of(self, chunk: int) -> range:
        """The places of a chunk's trials in the columns; none of a number beyond the last."""
        fresh = self.known + self.begun
        later = chunk - self.chunks_begun
        first, last = (
            (fresh + later * self.width, self.trials) if later >= 0 else (self.known + chunk * self.width, fresh)
        )
        return range(first, min(first + self.width, last))

    def numbers_of(self, chunk: int) -> np.ndarray:
        """The numbers of a chunk's trials, by which an engine knows them."""
        return self.numbers[self.trials_of(chunk)]

    @property
    def numbers(self) -> np.ndarray:
        """The number of every trial, in the order of the columns."""
        return np.asarray(self.order, int) if self.order else np.arange(self.trials)

    def by_number(self, columns: Columns) -> Columns:
        """Columns of all trials in the order of their numbers."""
        places = np.argsort(self.numbers)
        return {name: values[places] for name, values in columns.items()} if self.order else columns

    @property
    def owner(self) -> str:
        """The owner recorded in the files of a sweep: its fingerprint and width."""
        return f"{self.attributes['fingerprint']} {self.width}"

    def allocated(self) -> Columns:
        """Uninitialised columns of all trials; what is never written takes no memory."""
        return {name: np.empty((self.trials, *shape), dtype) for name, (shape, dtype) in self.columns.items()}

    def not_run(self, name: str) -> float:
        """The value of a column for a trial that is not run."""
        return NOT_RUN.get(name, np.nan)

    def attrs_of(self, name: str) -> dict[str, str]:
        """The attributes of a variable."""
        described = {"long_name": _DESCRIPTIONS[name]} if name in _DESCRIPTIONS else {}
        return {**described, **self.described.get(name, {})}


def layout_of(plan: GroupPlan, columns: Columns) -> Layout:
    """The layout of a plan's table, given the columns of some of its trials in their own dtypes."""
    directed = directions(plan.problem.metrics, columns)
    held = {name: stored_column(name, column) for name, column in columns.items()}
    named = {name: stored(column)[1] for name, column in columns.items()}
    if plan.source is not None:
        ends = {"initial_loss": "start", "final_loss": "end"}
        named |= {
            name: named[name] | {"long_name": f"loss on {_sampled(plan)} at the {at}"} for name, at in ends.items()
        }
    named |= {name: named[name] | direction_attrs(name, direction) for name, direction in directed.items()}
    held = {name: stored_column(name, column) for name, column in columns.items()}
    return Layout(
        axes={name: labels_of(values) for name, values in plan.space.axes.items()},
        seeds=plan.seeds.tolist(),
        coordinates=_coordinates(plan),
        columns={name: (list(v.shape[1:]), v.dtype.name) for name, v in held.items()},
        attributes=_attributes(plan),
        points={name: labels_of(values) for name, values in (plan.space.points or {}).items()},
        described={name: attributes for name, attributes in named.items() if attributes},
    )


def stored_column(name: str, values: np.ndarray) -> np.ndarray:
    """The values as a table holds them: counts as float64, exact up to 2^53, as NaN is what a trial not run has."""
    # In every table, also in one that is complete: a column should not change its dtype when a sweep is interrupted.
    held = stored(values)[0]
    return held.astype(np.float64) if held.dtype.kind in "iub" and name not in NOT_RUN else held


def build_table(layout: Layout, columns: Columns) -> xarray.Dataset:
    """Lay the trials out along the axes of the space and the seeds."""
    import xarray

    columns, dims = layout.by_number(columns), (*layout.axes, "seed")
    shape = (*map(len, layout.axes.values()), len(layout.seeds))
    variables = {name: values.reshape(*shape, *values.shape[1:]) for name, values in columns.items()}
    return xarray.Dataset(
        _variables(layout, variables, dims), _along_axes(layout) | _along_steps(layout), layout.attributes
    )


def chunk_table(layout: Layout, trials: np.ndarray, columns: Columns) -> xarray.Dataset:
    """Some trials as a table, flat along `trial`, with hyperparameters and seed as coordinates along it."""
    import xarray

    shape = (*map(len, layout.axes.values()), len(layout.seeds))
    places = dict(zip((*layout.axes, "seed"), np.unravel_index(trials, shape), strict=True))
    axes = _along_axes(layout).items()
    along = {name: ("trial", values[places[dim]], attributes) for name, (dim, values, attributes) in axes}
    variables = _variables(layout, columns, ("trial",))
    return xarray.Dataset(variables, {"trial": trials, **along, **_along_steps(layout)}, layout.attributes)


def _variables(layout: Layout, columns: Columns, dims: tuple[str, ...]) -> dict[str, Any]:
    """Columns over the dims of the trials, with their attributes."""
    variables = {}
    for name, values in columns.items():
        rank = values.ndim - len(dims)
        along = "step" if name in HISTORIES else EVALUATION_STEP
        inner = own_dims(name, rank) if name.split(".")[0] in KEPT else [along] * rank
        variables[name] = ((*dims, *inner), values, layout.attrs_of(name))
    return variables


def _along_axes(layout: Layout) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    """Name -> (dim, values, attributes) of every hyperparameter and the seed."""
    axes = {axis: np.asarray(values) for axis, values in layout.axes.items()}
    points = {name: np.asarray(values) for name, values in layout.points.items()}
    found = {axis: (axis, values, {"scale": scale_of(values)}) for axis, values in axes.items()}
    found |= {name: (CONFIGURATION, values, {"scale": spread_of(values)}) for name, values in points.items()}
    return found | {"seed": ("seed", np.asarray(layout.seeds), {})}


def _along_steps(layout: Layout) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    known = layout.coordinates.items()
    along = {EVALUATION_STEP: EVALUATION_STEP}
    return {name: (along.get(name, "step"), np.asarray(values), {"units": units}) for name, (values, units) in known}


def _coordinates(plan: GroupPlan) -> dict[str, tuple[list[Any], str]]:
    steps = np.arange(plan.static.entries) * plan.static.every
    coordinates: dict[str, tuple[list[Any], str]] = {"step": (steps.tolist(), "steps")}
    if plan.static.watch is not None:
        looks = np.minimum(plan.static.watch.every * np.arange(plan.static.watch.entries), plan.steps)
        coordinates[EVALUATION_STEP] = (looks.tolist(), "steps")
    if plan.steps_per_epoch is not None:
        coordinates["epoch"] = ((steps / plan.steps_per_epoch).tolist(), "epochs")
    if plan.minibatches is not None or plan.source is not None:
        coordinates["examples_seen"] = ((steps * plan.batch_size).tolist(), "examples")
    return coordinates


def _attributes(plan: GroupPlan) -> dict[str, str | int | float]:
    """Strings and numbers only: NetCDF takes nothing else."""
    examples = plan.examples
    known = {} if plan.problem.baseline is None else {"baseline_loss": float(plan.problem.baseline)}
    return {
        "optimizer": _checks.name_of(plan.static.factory),
        "problem": plan.problem.name,
        "steps": plan.steps,
        "batch_size": plan.batch_size,
        "examples": examples,
        "examples_left_out_per_epoch": examples % plan.batch_size if examples else 0,
        **known,
        **({} if plan.source is None else {"stream": plan.source.words, "final_on": _sampled(plan)}),
        **_watched(plan),
        **({LOSS_AXES: ", ".join(loss_axes(plan))} if loss_axes(plan) else {}),
        "key": plan.root_text,
        "fingerprint": plan.fingerprint,
        "precision": plan.precision,
        "matmul_precision": chosen_precision() or "default",
        "width": plan.width,
        "platform": plan.platform,
        "version": __version__,
        "jax_version": jax.__version__,
    }


def _sampled(plan: GroupPlan) -> str:
    """On what the training loss of a stream is measured, in words."""
    measured = plan.problem.examples
    if plan.source is not None and plan.problem.data is not plan.source.sample:
        return f"the {measured} training examples of the problem"
    return "the full training data" if measured == plan.examples else f"a sample of {measured} training examples"


def loss_axes(plan: GroupPlan) -> list[str]:
    """The axes that the measured loss depends on; one that only steps use, such as a dropout rate, is none of them."""
    known = plan.evaluate.arguments_used(lambda measured: measured["final_loss"])[2]
    return [name for name in plan.static.own if known.get(name, False)]


def _watched(plan: GroupPlan) -> dict[str, str | int]:
    """How the validation data were looked at along the runs."""
    watch = plan.static.watch
    if watch is None:
        return {}
    patience = {} if watch.patience is None else {"patience": watch.patience}
    end = {"end_point": "best"} if watch.keeps_best else {}
    return {"evaluate_every": watch.every, "monitor": watch.monitor, **patience, **end}


def spread_of(values: np.ndarray) -> str:
    """`log` for positive points over a decade that lie more evenly on a logarithmic scale, otherwise `linear`."""
    values = values[~np.isnan(values)]
    if len(values) < 3 or (values <= 0).any() or values.max() < 9 * values.min():
        return "linear"
    skews = [abs(np.median(v) - (v.min() + v.max()) / 2) / np.ptp(v) for v in (values, np.log(values))]
    return "log" if skews[1] < skews[0] else "linear"
