"""One chunk: a pure function from (plan, first trial) to the finished trials as host arrays."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from .plan import Plan
from .programs import TRIALS, Lanes, Shared, Trials, evaluator, place, programs
from .progress import Progress

SECONDS_PER_SEGMENT = 0.5  # long enough that returning to the host costs little, short enough for a live progress bar
FIRST_SEGMENT = 4  # steps, to time one


def run_chunk(plan: Plan, first: int, *, keep_params: bool = False, bar: Progress | None = None) -> dict[str, Any]:
    """Run the trials `first, ..., first + plan.lanes - 1`, in segments of about half a second.

    Returns:
        name -> host array whose leading axis is the trials of the chunk: the histories (trials, entries), what
        `problem.evaluate` measures before (`initial_*`) and after, `status`, `stopped_at`, and `params` (a pytree) with
        `keep_params`.
    """
    mesh, compiled = plan.group.mesh, programs(plan.group)
    real = min(plan.lanes, plan.trials - first)
    trials = place(_trials(plan, first), mesh, TRIALS)
    constants, data, test_data, initial, evaluate_constants = plan.replicated
    evaluate = functools.partial(_evaluate, plan, evaluate_constants, data, test_data)
    length = FIRST_SEGMENT
    for start, end, rows in _windows(plan):
        shared = Shared(constants, data, rows)
        if start == 0:
            lanes = compiled.begin(initial, trials, shared)
            before = evaluate(lanes.carry.params)
        step = start
        while step < end:
            stop = min(step + length, end)
            began = time.perf_counter()
            lanes = compiled.segment(lanes, trials, shared, *map(jnp.int32, (start, step, stop)))
            status = jax.device_get(lanes.carry.status)
            elapsed = max(time.perf_counter() - began, 1e-6)
            length = max(1, int((stop - step) * SECONDS_PER_SEGMENT / elapsed))
            if bar:
                bar.segment(stop - step, status[:real])
            step = stop
    chunk = _collect(lanes, before, evaluate(lanes.carry.params), keep_params)
    return jax.tree.map(lambda array: array[:real], jax.device_get(chunk))


def _trials(plan: Plan, first: int) -> Trials:
    """The chunk's hyperparameters and seeds. The last chunk is padded with its last trial: one shape, one program."""
    ids = np.minimum(first + np.arange(plan.lanes), plan.trials - 1)
    configuration, seed = np.divmod(ids, len(plan.seeds))
    numbers = {name: jnp.asarray(column[configuration], float) for name, column in plan.space.columns().items()}
    return Trials(numbers, jnp.asarray(seed, jnp.int32))


def _windows(plan: Plan) -> Iterator[tuple[int, int, Int[Array, "seeds window batch"]]]:
    """(first step, end, example indices of those steps and of the one after), all windows of one shape."""
    for start in range(0, plan.steps, plan.window):
        # Every chunk begins with the same window, mostly the only one.
        yield start, min(start + plan.window, plan.steps), plan.first_rows if start == 0 else plan.rows(start)


def _evaluate(plan: Plan, constants: Any, data: PyTree, test_data: PyTree, params: PyTree) -> dict[str, Array]:
    return evaluator(plan.evaluate, plan.group.mesh)(constants, params, data, test_data)


def _collect(lanes: Lanes, before: dict[str, Array], after: dict[str, Array], keep_params: bool) -> dict[str, Any]:
    histories = {name: getattr(lanes, name).T for name in ("loss", "grad_norm", "update_norm")}
    ends = {"initial_loss": before["final_loss"], "status": lanes.carry.status, "stopped_at": lanes.carry.stopped_at}
    return {**histories, **after, **ends, **({"params": lanes.carry.params} if keep_params else {})}
