"""From a group to its plan: the last checks, then the traces. No program of the sweep is compiled here.

What a plan holds and can answer is in `group_plan`; this module only makes it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from ... import _checks
from ..._contract import asked, check_values, in_one_form, loss_key
from ..._hoist import Program, hoist
from ..._host import stacked, taken
from ..._jaxpr import quick_options
from ..._kept import kept_with
from ..._means import is_sum, warn_of_sum
from ...minibatches import Minibatches, batch_shapes, check_batch_size, examples_per_step, reshuffle
from ...minimize import checked_evaluation, derivatives_of
from ...problems import Problem
from ...problems._metric import SIGNS, directions, known_direction
from ..spec.group import STEPS, Group
from ..spec.options import Options, seed_keys
from .group_plan import GroupPlan
from .memory import size_of
from .mesh import Devices, mesh_of, split_of
from .programs import Static, Watch

# A chunk has as many lanes as are worth a pass of their own; an accelerator wants as many as its memory takes.
CARRY_BYTES = {"cpu": 2**23}
MOST_LANES = {"cpu": 64}
# Lanes step fastest when all that a step of them touches fits a core's cache, which the next one then finds there.
STEP_BYTES = {"cpu": 2**21 * 2 // 3}
SMALL = 2**15  # parameters of a lane


def trace(name: str, group: Group, options: Options, devices: Devices) -> GroupPlan:
    """The plan of a group, at the width that suits the size of a lane; `width.at` chooses another.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.
    """
    problem, space = group.problem, group.space
    source = options.source
    minibatches = None if source is not None else _minibatches(problem, group.batch_size)
    examples = problem.examples if source is None else source.examples
    options = options.of_group(problem.name, examples, group.batch_size)
    mesh = mesh_of(devices)
    keys, loss_keys = stacked([_keys_of()(options.root, seed) for seed in options.seeds.astype(np.uint32)])
    loss_keys = loss_keys if problem.is_random else None
    own = {n: jnp.asarray(space.columns()[n][0], float) for n in group.own if n in problem.numbers}
    begin, initial, (one, aux) = _starts(problem, taken(keys, (slice(None), 0)), own)
    known = own if loss_keys is None else {**own, "key": taken(loss_keys, 0)}
    batch = _example_batch(problem, minibatches) if source is None else (source.shapes(group.batch_size),)
    example = group.optimizer_of(next(space.configurations(), {}))
    in_a_step, name_of_loss = in_one_form(problem.loss, train=True), _checks.name_of(problem.loss)
    check_values(name_of_loss, in_a_step, one, aux, known, *batch)
    derivatives = derivatives_of(example)
    loss, constants = hoist(in_a_step, one, aux, known, *batch, derivatives=derivatives, owner=problem.loss)
    size = jax.tree.leaves(batch)[0].shape[0] if batch else 0
    if minibatches is not None or source is not None:
        value = lambda *arguments: in_a_step(*arguments)[0]
        if is_sum(loss, value, (one, aux, known), problem.data):
            warn_of_sum(name_of_loss, size, problem.examples)

    def measure(params: PyTree, aux: PyTree, known: dict[str, Any], parts: PyTree) -> dict[str, Array]:
        numbers = {name: value for name, value in known.items() if name != "key"}
        return problem.measure(params, parts, aux=aux, key=known.get("key"), numbers=numbers)

    # A loss that works for one size of batch only is refused here, and not at the end, where it sees all of the data.
    evaluate, evaluate_constants = hoist(measure, one, aux, known, problem.parts, derivatives=0, owner=problem)
    watch, look = None, None
    if options.evaluate_every is not None:
        look = hoist(measure, one, aux, known, _validation(problem), derivatives=0, owner=problem)
        watch = _watch(problem, options, look[0])
    suited, tile = _lanes_of(_bytes_carried(group, one), loss, mesh.devices.flat[0].platform)
    static = Static(
        group.optimizer,
        loss,
        options.steps // options.every + 1,
        options.every,
        minibatches is not None,
        mesh,
        options.skip,
        group.own,
        begin and begin[0],
        watch,
        STEPS in group.own and STEPS not in problem.numbers,
        source is not None,
        options.record,
        sum(leaf.size for leaf in jax.tree.leaves(one)) < SMALL,
        split := split_of(devices, one, size),
        tile if split is None else None,
    )
    return GroupPlan(
        name,
        group,
        options,
        minibatches,
        static,
        *(suited, suited),
        keys,
        initial,
        one,
        loss_keys,
        constants,
        evaluate,
        evaluate_constants,
        look,
        *checked_evaluation(options.evaluation_params, example, one),
    )


def _validation(problem: Problem) -> dict[str, PyTree]:
    if problem.validation is None:
        raise ValueError(f"evaluate_every needs a problem with validation data; {problem.name!r} has none")
    return {"validation": problem.validation}


def _watch(problem: Problem, options: Options, look: Program) -> Watch:
    """How runs are watched, given what is measured of the validation data."""
    columns, every = look.output(), options.evaluate_every
    assert every is not None
    _checks.choice("monitor", options.monitor, columns)
    sign = SIGNS[known_direction(options.monitor, directions(problem.metrics, columns).get(options.monitor))]
    dtypes = tuple((name, _held(like.dtype)) for name, like in columns.items())
    entries = -(-options.steps // every) + 1
    return Watch(every, entries, dtypes, options.monitor, sign, options.patience, options.keep_best)


def _held(dtype: Any) -> Any:
    """The dtype of a curve. Counts stay whole numbers, as float32 has no odd ones beyond 2^24."""
    if jnp.issubdtype(dtype, jnp.floating):
        return jnp.promote_types(dtype, jnp.float32)
    return dtype if dtype.itemsize >= 4 else jnp.dtype(jnp.int32)


def _minibatches(problem: Problem, batch_size: int | None) -> Minibatches | None:
    if batch_size is None:
        return None
    if problem.data is None:
        raise ValueError(f"batch_size={batch_size!r} needs a problem with data; {problem.name!r} has none")
    return reshuffle(check_batch_size(batch_size, problem.examples))


def _starts(
    problem: Problem, keys: Key[Array, " seeds"], own: dict[str, Array]
) -> tuple[tuple[Program, list[Any]] | None, PyTree, tuple[PyTree, PyTree]]:
    """What makes the starts where they depend on numbers, what they are made of, and that of the first trial."""
    # One start per seed, computed one seed at a time: its floats cannot depend on how many there are.
    numbers = {name: value for name, value in own.items() if name in asked(problem.init).numbers}
    first = taken(keys, 0)
    program, constants = hoist(problem.start, first, numbers, derivatives=0, owner=problem)
    if numbers:
        program, constants = hoist(problem.start, first, own, derivatives=0, owner=problem)
        return (program, constants), (constants, keys), _start(program)(constants, first, own)
    start = _start(program)
    starts = [start(constants, taken(keys, i), numbers) for i in range(len(keys))]
    return None, stacked(starts), starts[0]


@functools.cache
def _keys_of() -> Callable[[Key[Array, ""], Any], tuple[Key[Array, " 2"], Key[Array, ""]]]:
    """The compiled `(root, seed) -> keys`: those of a seed, and that of what is random in its loss."""

    def both(root: Key[Array, ""], seed: Array) -> tuple[Key[Array, " 2"], Key[Array, ""]]:
        keys = seed_keys(root, seed)
        return keys, loss_key(keys[1])

    return jax.jit(both, compiler_options=quick_options())


@kept_with(lambda program: program)
def _start(program: Program) -> Callable[..., PyTree]:
    """The compiled `(constants, key, numbers) -> (params, aux)`."""
    size = sum(leaf.size for leaf in jax.tree.leaves(program.output()))
    # Few numbers are drawn sooner than a program is optimised that draws them.
    options = quick_options() if size < 2**20 else None
    return jax.jit(lambda *arguments: program(*arguments), compiler_options=options)


def _bytes_carried(group: Group, params: PyTree) -> int:
    """The size of parameters, gradient and optimizer state of one lane."""
    numbers = {name: float(values[0]) for name, values in group.space.columns().items()}
    return size_of(jax.eval_shape(lambda params: (params, params, group.optimizer_of(numbers).init(params)), params))


def _lanes_of(carried: int, loss: Program, platform: str) -> tuple[int, int | None]:
    """How many lanes suit a device, by what one carries, and how many of them step side by side; None if all do."""
    suited = min(MOST_LANES.get(platform, 2**12), _power_of_two(CARRY_BYTES.get(platform, 2**30) // carried))
    if platform not in STEP_BYTES:
        return suited, None
    return suited, _power_of_two(STEP_BYTES[platform] // (carried + loss.bytes_computed()))


def _power_of_two(most: int) -> int:
    """The largest power of two that is not more, at least 1."""
    return 2 ** max(0, most.bit_length() - 1)


def _example_batch(problem: Problem, minibatches: Minibatches | None) -> tuple[Any, ...]:
    """Shapes of one batch, as a tuple of no or one argument of the loss."""
    if problem.data is None:
        return ()
    if minibatches is None:
        return (problem.data,)
    return (batch_shapes(problem.data, examples_per_step(minibatches, problem.examples)),)
