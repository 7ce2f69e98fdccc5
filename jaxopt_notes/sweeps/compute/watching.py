"""What is measured of the validation data along a run: curves, the best step so far, and who waits too long for one.

Measuring is `placed`'s, as at the end of a run. Here its results are written into the lanes, so that checkpoints,
rungs and smaller widths keep them.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree, Shaped

from ...minimize import Carry, Status
from .mesh import EVERYWHERE, TRIALS, sharded
from .programs import Lanes, Watch, Watched, lane_specs, missing


@functools.lru_cache(maxsize=64)
def recorder(watch: Watch, mesh: Mesh) -> Any:
    """The compiled `(lanes, measured, evaluated, step) -> lanes` that records what was measured at a step.

    `evaluated` are the parameters that were measured; None where they are the iterate, which must not come twice, as
    the memory of the lanes is overwritten.
    """

    def record(lanes: Lanes, measured: dict[str, Array], evaluated: PyTree, step: Array) -> Lanes:
        watched, carry = lanes.watched, lanes.carry
        point = (carry.params if evaluated is None else evaluated, carry.aux)
        assert watched is not None
        entry = -(-step // watch.every)  # rounded up, as the last look may come sooner
        curves = {
            name: jax.lax.dynamic_update_index_in_dim(curve, measured[name].astype(curve.dtype), entry, 0)
            for name, curve in watched.curves.items()
        }
        value = watch.sign * measured[watch.monitor].astype(watched.best.dtype)
        # Until a first number was measured, the last point is the best one: a monitor of NaN should not keep the start.
        better = (value < watched.best) | ~jnp.isfinite(watched.best)
        best = jnp.where(better & ~jnp.isnan(value), value, watched.best)
        best_step = jnp.where(better, step, watched.best_step)
        kept = jax.tree.map(functools.partial(_where, better), point, watched.point) if watch.keeps_best else None
        # A trial that has done its own steps waits no longer, and at the last look there is nothing left to stop.
        waited = jnp.minimum(step, carry.stopped_at) - best_step
        waited = jnp.where(entry == watch.entries - 1, 0, waited)
        return Lanes(_stopped(carry, waited), lanes.histories, Watched(curves, best, best_step, kept))

    def _stopped(carry: Carry, waited: Int[Array, " lanes"]) -> Carry:
        if watch.patience is None:
            return carry
        stops = (carry.status == Status.COMPLETED) & (waited >= watch.patience)
        return carry._replace(status=jnp.where(stops, jnp.int32(Status.PLATEAUED), carry.status))

    lanes = lane_specs(watched=True)
    specs = (lanes, TRIALS, TRIALS, EVERYWHERE)
    return jax.jit(sharded(record, mesh, specs, lanes), donate_argnums=0)


def on_the_host(curve: Shaped[np.ndarray, "trials entries"]) -> Float[np.ndarray, "trials entries"]:
    """A curve with NaN where nothing was measured. Counts are float64, exact up to 2^53."""
    return np.where(curve == missing(curve.dtype), np.nan, curve) if curve.dtype.kind in "iu" else curve


def _where(better: Float[Array, " lanes"], new: Array, old: Array) -> Array:
    return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
