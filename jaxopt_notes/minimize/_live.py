"""A run that reports while it runs: the compiled loop in segments of about half a second, and Python between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .. import _checks
from .._warnings import progress_bar
from . import _program as program
from ._program import Inputs, Loop, Static
from ._run import Run
from ._status import Status

SECONDS_PER_SEGMENT = 0.5

OnRecord = Callable[[int, dict[str, Any]], object]


def checked_report(progress: Any, on_record: Any) -> bool:
    """Whether a run is to report.

    Raises:
        TypeError: `progress` is no boolean, or `on_record` no function.
    """
    if on_record is not None and not callable(on_record):
        raise TypeError(f"on_record must be a function (step, record), got {on_record!r}")
    return _checks.boolean("progress", progress) or on_record is not None


def live(
    static: Static, params: PyTree, aux: PyTree, inputs: Inputs, progress: bool, on_record: OnRecord | None
) -> Run:
    """The run of a loop with a stopping rule, reported after every segment.

    Raises:
        TypeError: inside a compiled program, which cannot report.
    """
    if any(map(_checks.is_traced, jax.tree.leaves((params, aux, inputs)))):
        raise TypeError("progress and on_record report between segments: inside jit, vmap and grad leave both out")
    # Its own copies, as every segment overwrites the loop, which begins with what belongs to the user.
    params, aux = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), (params, aux))
    entries, length, reported = static.steps // static.every, 1, 0
    with _bar(static.steps if progress else None) as bar:
        loop = program.begun(static, params, aux, inputs)
        while True:
            number = int(loop.number)
            if on_record is not None:
                _report(static, loop, reported, number, on_record)
            reported = number + 1
            bar.update((number * static.every) - bar.n)
            bar.set_postfix_str(f"loss {float(loop.carry.loss):.4g}", refresh=False)
            if number == entries or int(loop.carry.status) != Status.COMPLETED:
                break
            began, stop = time.perf_counter(), min(number + length, entries)
            loop = jax.block_until_ready(program.gone_on(static, inputs, loop, jnp.int32(stop)))
            length = max(1, int(length * SECONDS_PER_SEGMENT / max(time.perf_counter() - began, 1e-6)))
            if int(loop.number) == number:  # the rule held
                break
    return program.ended(static, aux, inputs, loop)


def _report(static: Static, loop: Loop, first: int, last: int, on_record: OnRecord) -> None:
    rows = jax.device_get(jax.tree.map(lambda rows: rows[first : last + 1], loop.history))
    for place in range(last + 1 - first):
        one = jax.tree.map(lambda rows, place=place: rows[place], rows)
        recorded = {name: value for name, value in one._asdict().items() if value is not None}
        on_record((first + place) * static.every, recorded)


def _bar(steps: int | None) -> Any:
    return progress_bar()(total=steps, unit="step", disable=steps is None)
