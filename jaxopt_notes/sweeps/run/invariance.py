"""`check_invariance`: a trial is the same whatever the chunk, its neighbours, the order and the devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from ..._columns import is_key
from ..._jaxpr import collectives_in
from ..._shown import readable
from ..compute.engine import Engine, Finished, Leg
from ..compute.group_plan import GroupPlan
from ..compute.memory import segment_compiled
from ..compute.placed import Placed
from .plan import SweepPlan

STEPS_ACROSS_WIDTHS = 20  # later ones differ, since training is chaotic
TOLERANCE = 3e-5
NOT_COMPARED = "not compared"


class Check(NamedTuple):
    """One check: what was compared, whether it held, and how closely."""

    name: str
    passed: bool
    detail: str


@readable
class Invariance(NamedTuple):
    """All checks of a plan; `print` it."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check held."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        return "\n".join(f"{'ok  ' if c.passed else 'FAIL'} {c.name}: {c.detail}" for c in self.checks)


def check_invariance(plan: SweepPlan, *, steps: int = 40) -> Invariance:
    """Rerun a few trials of a plan in other ways, and compare them with how the sweep runs them.

    Exactly equal must be: the keys, the data order and the initial parameters of every seed, whatever the width, the
    devices, the other seeds and the order; and every float of a trial at one width, in any order of the chunks, alone
    or beside others, on any number of devices. At another width the first 20 steps must agree to 3e-5, or as many as
    the loss of some trial does not rise above its start. The compiled segment must hold no collectives.

    Arguments:
        plan: from `plan`; of each of its groups the first, the middle and the last chunk are rerun.
        steps: the trials are cut to about this many steps.

    Returns:
        An `Invariance`, which names every check.

    Raises:
        AssertionError: a check failed, or had nothing to compare; the text is the whole account.

    Example:
        >>> import jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 20.0])
        >>> plan = jon.plan(valley, jon.gradient_descent, jon.grid(learning_rate=[0.01, 0.02, 0.05]), steps=20, width=2)
        >>> jon.check_invariance(plan).passed
        True
    """
    first = plan.groups[0]
    if first.static.split is not None:
        raise ValueError("the trials of this plan are split over devices that communicate; plan it without a mesh")
    every = first.options.every
    every = every if every <= STEPS_ACROSS_WIDTHS else 1  # so that there are entries to compare
    short = min(first.steps, max(every, steps - steps % every))
    short = first.steps if first.static.capped else short  # an axis holds the steps of trials
    same = (short, every) == (first.steps, first.options.every)
    # Made at width 1, so that none is chosen or timed for the shorter plan, and then set to the widths of the plan.
    cut = plan if same else plan.remake(steps=short, epochs=None, every=every, width=1)
    made = [now.at_width(asked.width) for now, asked in zip(cut.groups, plan.groups, strict=True)]
    turned = first.seeds[::-1].tolist()
    where = {"devices": _devices(first)[:1], "mesh": None, "param_specs": None}
    alone = plan.remake(steps=short, epochs=None, every=every, seeds=turned, width=1, **where)
    checks: list[Check] = []
    for group, other in zip(made, alone.groups, strict=True):
        checks += [check._replace(name=f"{group.name}, {check.name}") for check in _checks_of(group, other)]
    result = Invariance(tuple(checks))
    if not result.passed:
        failed = [check for check in result.checks if not check.passed]
        unknown = all(check.detail.startswith(NOT_COMPARED) for check in failed)
        found = "it is not known whether trials depend" if unknown else "trials depend"
        raise AssertionError(f"{found} on how they are run:\n{result}")
    return result


def _checks_of(plan: GroupPlan, alone: GroupPlan) -> Iterator[Check]:
    yield _inputs(plan, alone)
    chunks = sorted({0, (plan.chunks - 1) // 2, plan.chunks - 1})
    expected = _run(plan, chunks)
    turned = [chunks[-1], *chunks[:-1]]
    order = f"chunks {_list(turned)} for {_list(chunks)}" if len(chunks) > 1 else "one chunk, which has no other order"
    yield _same("chunks in another order", expected, _run(plan, turned), order)
    # One call per chunk, in which every other device repeats it.
    single = {chunk: _run(plan, [chunk])[chunk] for chunk in chunks}
    yield _same("each chunk by itself", expected, single, f"chunks {_list(chunks)}")
    devices = _devices(plan)
    for count in _counts(devices):
        moved = plan.on_devices(devices[:count])
        yield _same(f"on {count} device{'s' * (count > 1)}", expected, _run(moved, chunks), f"width {plan.width}")
    yield _across(plan, alone, expected)
    # The floats cannot prove that no lane waits for another; the compiled program can.
    found = collectives_in(segment_compiled(plan.shapes, plan.width))
    detail = _list(found) if found else f"none in the segment for {plan.devices} devices"
    yield Check("collectives", not found, detail)


def _inputs(plan: GroupPlan, alone: GroupPlan) -> Check:
    """What a trial is given: of `alone`, with the seeds reversed, against the plan's own."""
    keys, others = (np.asarray(jax.random.key_data(one.keys)) for one in (plan, alone))
    parts = {
        "keys": (keys, others[::-1]),
        "data order": (np.asarray(Placed(plan).first_rows), np.asarray(Placed(alone).first_rows)[::-1]),
        "initial parameters": (_starts(plan), jax.tree.map(lambda leaf: leaf[::-1], _starts(alone))),
    }
    wrong = [name for name, (one, other) in parts.items() if not _equal(one, other)]
    detail = f"differ: {_list(wrong)}" if wrong else f"the same bits for {len(plan.seeds)} seeds"
    return Check("keys, data order and initial parameters", not wrong, detail)


def _starts(plan: GroupPlan) -> PyTree:
    """What the start of every seed follows from, apart from the numbers of a trial."""
    return plan.initial if plan.static.begin is None else plan.initial[1]


def _across(plan: GroupPlan, alone: GroupPlan, expected: dict[int, Finished]) -> Check:
    """The calmest trial of every chunk against the same trial as the only lane (or one of two).

    It is compared until its loss rises above its start: from there differences grow with it.
    """
    width = 1 if plan.width > 1 else 2
    other = plan.on_devices(_devices(plan)[:1]).at_width(width)
    entries = STEPS_ACROSS_WIDTHS // plan.static.every + 1
    worst, lengths = 0.0, []
    for chunk, finished in expected.items():
        losses = finished["loss"][:, :entries]
        calm = np.logical_and.accumulate(losses <= losses[:, :1], axis=1).sum(axis=1)
        lane, length = int(np.argmax(calm)), int(calm.max())
        if length < 2:  # not one step
            continue
        trial = plan.trials_of(chunk).start + lane
        ran = _run(other, [trial // width])[trial // width]["loss"][trial % width, :length]
        known = losses[lane, :length]
        scale = known if (known > 0).all() else np.max(abs(known)) or 1.0
        worst = max(worst, float(np.max(abs(ran - known) / scale)))
        lengths.append((length - 1) * plan.static.every)
    name = f"width {width} instead of {plan.width}, first {STEPS_ACROSS_WIDTHS} steps"
    if not lengths:
        detail = "the loss of every trial grows from the first step on; add a smaller learning rate to the plan"
        return Check(name, False, f"{NOT_COMPARED}: {detail}")
    what = f"{len(lengths)} trials over {min(lengths)} steps or more"
    return Check(name, worst <= TOLERANCE, f"{worst:.1e} at most, of {TOLERANCE:.0e} allowed, in {what}")


def _same(name: str, expected: dict[int, Finished], found: dict[int, Finished], what: str) -> Check:
    wrong = sorted(
        {part for chunk, one in expected.items() for part in one if not _equal(one[part], found[chunk][part])}
    )
    return Check(name, not wrong, f"differ: {_list(wrong)}" if wrong else f"the same bits, {what}")


def _run(plan: GroupPlan, chunks: Sequence[int]) -> dict[int, Finished]:
    """Finished trials by chunk, run in this order and as many at a time as there are devices."""
    engine, finished = Engine(plan, keep="params"), dict[int, Finished]()
    for first in range(0, len(chunks), plan.devices):
        together = chunks[first : first + plan.devices]
        ran, _ = engine.run([plan.trials_of(chunk) for chunk in together], Leg(plan.steps))
        finished |= zip(together, ran, strict=True)
    return finished


def _equal(one: Any, other: Any) -> bool:
    leaves = zip(*(map(_plain, jax.tree.leaves(tree)) for tree in (one, other)), strict=True)
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in leaves)


def _plain(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def _counts(devices: Sequence[jax.Device]) -> list[int]:
    """1, 2, 4, ... and all devices."""
    return sorted({*(2**k for k in range(len(devices).bit_length()) if 2**k <= len(devices)), len(devices)})


def _devices(plan: GroupPlan) -> list[jax.Device]:
    """Those of the plan, or all local ones if they are more."""
    own = list(plan.static.mesh.devices.flat)
    local = [device for device in jax.local_devices() if device.platform == own[0].platform]
    return [*own, *(device for device in local if device not in own)]


def _list(items: Sequence[Any]) -> str:
    return ", ".join(map(str, items))
