"""`Run`: what a loop returns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .. import _checks
from .._columns import named_leaves, own_dims, stored
from .._numerics import scale_of
from .._shown import abbreviated, readable
from ..problems._metric import LOSSES, direction_attrs
from ._status import Status

if TYPE_CHECKING:
    import xarray

# Column -> attribute of a run; a learning rate is an axis of most tables, so its history has another name.
_HISTORIES = {
    **{name: name for name in ("loss", "grad_norm", "update_norm", "unmoved_share")},
    "current_learning_rate": "learning_rate",
}
_OPTIONAL = ("evaluation", "aux", "metrics", "params_path")
_NUMBERS = ("initial_loss", "final_loss", "status", "stopped_at", "skipped")


@readable
class Run(NamedTuple):
    """The result of `minimize`: a pytree of arrays.

    Attributes:
        params: the parameters at the end; the last finite point when the run stopped early. Go on from them; evaluate
            at `evaluation_params`.
        state: the optimizer's state there.
        loss, grad_norm, update_norm: histories with `steps / every + 1` entries; entry k belongs to step `k * every`.
            With minibatches the loss and the gradient are of that step's batch. A run that stopped repeats its last
            loss and gradient norm, with an update norm of 0.
        learning_rate: learning rate at each recorded step, the one that the step after it uses; NaN when the
            optimizer is a closure that hides it, as `optax.chain` is (see `optimizers.current_learning_rate`).
        initial_loss, final_loss: the loss on the full data at the start and at the end, at `evaluation_params`.
        status: a `Status` code; `status_text` explains it.
        stopped_at: number of steps taken, skipped ones included; less than asked for when the run converged, plateaued
            or became non-finite.
        params_path: the parameters of every entry, stacked along a leading axis; None unless `record_params`.
        metrics: what `metrics` returned at every entry, stacked along a leading axis; None without. Measured at the
            evaluation parameters of the entry.
        aux: the state of a stateful loss at the end; None without.
        unmoved_share: history of the share of the updated entries that the last step did not move, as they are coarser
            than their updates; None unless some parameters are bfloat16 or float16.
        skipped: number of steps skipped, as their loss, gradient or update was not finite; None without
            `skip_non_finite`. A start that its batch finds not finite counts as one.
        evaluation: the evaluation parameters at the end where they are not `params`; None where they are.
        every: steps between two entries of the histories.
    """

    params: PyTree
    state: PyTree
    loss: Float[Array, " entries"]
    grad_norm: Float[Array, " entries"]
    update_norm: Float[Array, " entries"]
    learning_rate: Float[Array, " entries"]
    initial_loss: Float[Array, ""]
    final_loss: Float[Array, ""]
    status: Int[Array, ""]
    stopped_at: Int[Array, ""]
    params_path: PyTree = None
    metrics: PyTree = None
    aux: PyTree = None
    unmoved_share: Float[Array, " entries"] | None = None
    evaluation: PyTree = None
    skipped: Int[Array, ""] | None = None
    every: Int[Array, ""] | None = None

    @property
    def evaluation_params(self) -> PyTree:
        """The parameters to evaluate, to classify and to keep: an average where the method's result is one."""
        return self.params if self.evaluation is None else self.evaluation

    @property
    def status_text(self) -> str:
        """The status in words; for a batch of runs how many ended in each way."""
        codes, counts = np.unique(np.asarray(self.status), return_counts=True)
        if np.ndim(self.status) == 0:
            return Status(int(codes[0])).advice
        return "; ".join(f"{n} x {Status(int(code)).advice}" for code, n in zip(codes, counts, strict=True))

    def __str__(self) -> str:
        """The loss, how the run ended, and what the result holds; of a batch of runs how many ended in each way."""
        losses, entries = np.asarray(self.final_loss, float), np.shape(self.loss)[-1]
        if np.ndim(self.status):
            codes, counts = np.unique(np.asarray(self.status), return_counts=True)
            ends = ", ".join(f"{n} {Status(int(code)).name.lower()}" for code, n in zip(codes, counts, strict=True))
            finite = losses[np.isfinite(losses)]
            range_ = f"final loss {finite.min():.6g} to {finite.max():.6g}" if finite.size else "no finite loss"
            lines = [f"{losses.size} runs, {range_}: {ends}"]
        else:
            skipped = "" if self.skipped is None else f", {int(self.skipped)} skipped"
            lines = [
                f"loss {float(self.initial_loss):.6g} -> {losses:.6g} in {int(self.stopped_at)} steps{skipped}, "
                f"|grad| {float(np.asarray(self.grad_norm)[-1]):.3g}",
                self.status_text,
            ]
        measured = {name: value for name, value in self._asdict().items() if name in _OPTIONAL and value is not None}
        lines.append(f"params: {abbreviated(self.params)}")
        lines += [f"{name}: {abbreviated(value)}" for name, value in measured.items()]
        kept = [name for name in _HISTORIES.values() if getattr(self, name) is not None]
        return "\n".join([*lines, f"histories of {entries} entries: {', '.join(kept)}"])

    def _curve(self) -> tuple[np.ndarray, str]:
        return np.asarray(self.loss, float).reshape(-1, np.shape(self.loss)[-1]), "loss by entry"

    def to_dataset(self, every: int | None = None, **axes: Any) -> xarray.Dataset:
        """The histories as a table like that of a sweep, for `plot`, `report`, `best` and `save`.

        Beside the histories of a sweep the table has `current_learning_rate`, `unmoved_share` if there is one, every
        leaf of `metrics` by its path, as `metrics["accuracy"]["top"]` in a column `accuracy.top`, and every leaf of
        `params_path` as `params_path.*`. A metric that is not in a dict, or whose name the table has already, has
        `metrics.` before it. Arrays have axes of their own, after `step`. A dtype that NetCDF lacks is named in the
        column's `attrs["original_dtype"]`: bfloat16 and float8 are widened to float32, random keys become integers.

        Arguments:
            every: steps between two entries, by which the steps are labelled; those of the run when None.
            axes: for runs under `vmap` name and values of every mapped axis, outermost first, such as
                learning_rate=rates; one of them may be `seed`.

        Returns:
            A Dataset over the axes, `seed` (0 where no axis is) and `step`.

        Raises:
            TypeError, ValueError: the axes are not those of the runs, or one has the name of a column.

        Example:
            >>> import jax, jax.numpy as jnp, jaxopt_notes as jon
            >>> rates = jnp.array([0.1, 0.4, 0.9])
            >>> runs = jax.vmap(lambda a: jon.minimize(jnp.square, 3.0, jon.gradient_descent(a), steps=5))(rates)
            >>> round(jon.best(runs.to_dataset(learning_rate=rates)).config["learning_rate"], 3)
            0.4
        """
        import xarray

        shape, given = np.shape(self.status), tuple(np.size(values) for values in axes.values())
        if shape != given and not shape:
            raise ValueError(f"this is one run, which has no axes; got {', '.join(axes)}")
        if shape != given:
            got = ", ".join(f"{name} of {size}" for name, size in zip(axes, given, strict=True)) or "none"
            wanted = "name and values of every axis, such as to_dataset(learning_rate=rates)"
            raise ValueError(f"runs of shape {shape} need {wanted}; got {got}")
        own_stride = 1 if self.every is None else int(np.max(self.every))
        stride = own_stride if every is None else _checks.count("every", every)
        coordinates: dict[str, Any] = {}
        own = (*_NUMBERS, *_HISTORIES, "step")
        for name, values in axes.items():
            points = np.asarray(values)
            if points.ndim != 1 or name in own:
                raise ValueError(f"axis {name} must be a list of values under another name than {', '.join(own)}")
            coordinates[name] = (name, points, {"scale": scale_of(points)})
        # Every reader of tables expects seeds; runs without them count as one.
        if "seed" not in axes:
            coordinates["seed"] = ("seed", np.zeros(1, int))
        trials = tuple(np.size(values[1]) for values in coordinates.values())
        steps = stride * np.arange(np.shape(self.loss)[-1])
        table = xarray.Dataset(coords=coordinates | {"step": ("step", steps, {"units": "steps"})})
        for name in _NUMBERS:
            if getattr(self, name) is None:
                continue
            values, attributes = stored(getattr(self, name))
            table[name] = (tuple(coordinates), values.reshape(trials), attributes)
        for name, leaf in self._histories(taken=(*coordinates, *own)):
            values, attributes = stored(leaf)
            inner = values.shape[len(shape) + 1 :]
            dims = (*coordinates, "step", *own_dims(name, len(inner)))
            table[name] = (dims, values.reshape(*trials, len(steps), *inner), attributes)
        for name in LOSSES:
            if name in table:
                table[name].attrs |= direction_attrs(name, "min")
        return table

    def _histories(self, taken: Collection[str]) -> Iterator[tuple[str, Any]]:
        """Name and values of every column along `step`; the names of metrics avoid those that are taken."""
        for name, attribute in _HISTORIES.items():
            if getattr(self, attribute) is not None:
                yield name, getattr(self, attribute)
        for name, leaf in named_leaves(self.metrics, "metrics"):
            short = name.removeprefix("metrics.")
            named = isinstance(self.metrics, Mapping) and short not in taken and short.split(".")[0] != "params_path"
            yield short if named else name, leaf
        yield from named_leaves(self.params_path, "params_path")
