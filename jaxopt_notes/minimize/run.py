"""`Run`: what a loop returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .. import _checks
from .._numerics import scale_of, storable
from ..problems.metric import LOSSES, direction_attrs
from .status import Status

if TYPE_CHECKING:
    import xarray

_HISTORIES = ("loss", "grad_norm", "update_norm")
_NUMBERS = ("initial_loss", "final_loss", "status", "stopped_at", "skipped")


class Run(NamedTuple):
    """The result of `minimize`: a pytree of arrays.

    Attributes:
        params: the parameters at the end; the last finite point when the run stopped early. Go on from them; evaluate
            at `evaluation_params`.
        state: the optimizer's state there.
        loss, grad_norm, update_norm: histories with `steps / every + 1` entries; entry k belongs to step `k * every`.
            With minibatches the loss and the gradient are of that step's batch. A run that stopped repeats its last
            loss and gradient norm, with an update norm of 0.
        learning_rate: history of the rate in force at every entry, the one that the step after it uses; NaN when the
            optimizer is a closure that does not tell it, as `optax.chain` is (see `optimizers.current_learning_rate`).
        initial_loss, final_loss: the loss on the full data at the start and at the end, at `evaluation_params`.
        status: a `Status` code; `status_text` says it in words.
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
        if np.ndim(self.status):
            return f"{np.size(self.status)} runs: {self.status_text}"
        steps = f"{int(self.stopped_at)} steps" + ("" if self.skipped is None else f", {int(self.skipped)} skipped")
        return (
            f"loss {float(self.initial_loss):.6g} -> {float(self.final_loss):.6g} in {steps}, "
            f"|grad| {float(self.grad_norm[-1]):.3g}; {self.status_text}"
        )

    def to_dataset(self, every: int = 1, **axes: Any) -> xarray.Dataset:
        """The histories as a table like that of a sweep, for `plot`, `report` and `best`.

        Arguments:
            every: what `minimize` was given, by which the steps are labelled.
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
        stride = _checks.count("every", every)
        coordinates: dict[str, Any] = {}
        for name, values in axes.items():
            points = np.asarray(values)
            if points.ndim != 1 or name in (*_NUMBERS, *_HISTORIES, "step"):
                taken = ", ".join((*_NUMBERS, *_HISTORIES, "step"))
                raise ValueError(f"axis {name} must be a list of values under another name than {taken}")
            coordinates[name] = (name, points, {"scale": scale_of(points)})
        if "seed" not in axes:
            coordinates["seed"] = ("seed", np.zeros(1, int))
            shape = (*shape, 1)
        table = xarray.Dataset(coords=coordinates | {"step": stride * np.arange(np.shape(self.loss)[-1])})
        for name in _NUMBERS:
            if getattr(self, name) is None:
                continue
            table[name] = (tuple(coordinates), np.reshape(storable(np.asarray(getattr(self, name))), shape))
        for name in _HISTORIES:
            table[name] = ((*coordinates, "step"), np.reshape(storable(np.asarray(getattr(self, name))), (*shape, -1)))
        for name in LOSSES:
            if name in table:
                table[name].attrs |= direction_attrs(name, "min")
        return table
