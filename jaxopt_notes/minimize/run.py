"""`Run`: what a loop returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .status import Status


class Run(NamedTuple):
    """The result of `minimize`: a pytree of arrays.

    Attributes:
        params: the parameters at the end; the last finite point when the run stopped early.
        state: the optimizer's state there.
        loss, grad_norm, update_norm: histories with `steps / every + 1` entries; entry k belongs to step `k * every`.
            With minibatches the loss and the gradient are of that step's batch. A run that stopped repeats its last
            loss and gradient norm, with an update norm of 0.
        learning_rate: history of the rate in force at every entry, the one that the step after it uses; NaN when the
            optimizer is a closure that does not tell it, as `optax.chain` is (see `optimizers.current_learning_rate`).
        initial_loss, final_loss: the loss on the full data at the start and at the end.
        status: a `Status` code; `status_text` says it in words.
        stopped_at: number of steps taken; less than asked for when the run converged, plateaued or became non-finite.
        params_path: the parameters of every entry, stacked along a leading axis; None unless `record_params`.
        metrics: what `metrics` returned at every entry, stacked along a leading axis; None without.
        aux: the state of a stateful loss at the end; None without.
        unmoved_share: history of the share of the updated entries that the last step did not move, as they are coarser
            than their updates; None unless some parameters are bfloat16 or float16.
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
        return (
            f"loss {float(self.initial_loss):.6g} -> {float(self.final_loss):.6g} in {int(self.stopped_at)} steps, "
            f"|grad| {float(self.grad_norm[-1]):.3g}; {self.status_text}"
        )
