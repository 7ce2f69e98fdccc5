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
from .tiles import power_of_two, suited_tile

# A pass has a start, an evaluation and a return to the host, which many lanes share. An accelerator wants as many lanes
# as its memory takes.
CARRY_BYTES = {"cpu": 2**23}
MOST_LANES = {"cpu": 64}


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
    size = jax.tree.leaves(batch)[0].shape[0] if batch else 0
    batch_size = 0 if minibatches is None and source is None else size
    loss, constants = _loss_of(problem, (one, aux, known, *batch), derivatives_of(example), batch_size)
    # A loss that works for one size of batch only is refused here, and not at the end, where it sees all of the data.
    measure = functools.partial(_measure, problem)
    evaluate, evaluate_constants = hoist(measure, one, aux, known, problem.parts, derivatives=0, owner=problem)
    watch, look = None, None
    if options.evaluate_every is not None:
        look = hoist(measure, one, aux, known, _validation(problem), derivatives=0, owner=problem)
        watch = _watch(problem, options, look[0])
    carried, platform = _bytes_carried(group, one), mesh.devices.flat[0].platform
    split, tile = split_of(devices, one, size), None
    if split is None:
        arguments = (constants, one, aux, known, *batch)
        tile = suited_tile(platform, carried, loss, arguments, _own(arguments, len(keys), minibatches is not None))
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
        split,
        tile,
    )
    lanes = min(MOST_LANES.get(platform, 2**12), power_of_two(CARRY_BYTES.get(platform, 2**30) // carried))
    return GroupPlan(
        name,
        group,
        options,
        minibatches,
        static,
        *(lanes, lanes),
        *(keys, initial, one, loss_keys),
        constants,
        evaluate,
        evaluate_constants,
        look,
        *checked_evaluation(options.evaluation_params, example, one),
    )


def _measure(problem: Problem, params: PyTree, aux: PyTree, known: dict[str, Any], parts: PyTree) -> dict[str, Array]:
    numbers = {name: value for name, value in known.items() if name != "key"}
    return problem.measure(params, parts, aux=aux, key=known.get("key"), numbers=numbers)


def _loss_of(
    problem: Problem, arguments: tuple[Any, ...], derivatives: int, batch_size: int
) -> tuple[Program, list[Any]]:
    """The loss of a step, checked and traced; a sum over the examples of batches of this size is warned of."""
    in_a_step, name = in_one_form(problem.loss, train=True), _checks.name_of(problem.loss)
    check_values(name, in_a_step, *arguments)
    loss, constants = hoist(in_a_step, *arguments, derivatives=derivatives, owner=problem.loss)
    if batch_size and is_sum(loss, lambda *given: in_a_step(*given)[0], arguments[:3], problem.data):
        warn_of_sum(name, batch_size, problem.examples)
    return loss, constants


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


def _own(arguments: tuple[Any, ...], seeds: int, ordered: bool) -> tuple[Any, ...]:
    """For every leaf of the constants and arguments of a loss whether each lane has its own."""
    constants, one, aux, known, *batch = arguments

    def each(tree: PyTree, own: bool) -> PyTree:
        return jax.tree.map(lambda _: own, tree)

    # One seed has one key for all lanes, and only minibatches of data in memory are in an order of each seed.
    named = {name: name != "key" or seeds > 1 for name in known}
    return each(constants, False), each(one, True), each(aux, True), named, *each(batch, ordered)


def _bytes_carried(group: Group, params: PyTree) -> int:
    """The size of parameters, gradient and optimizer state of one lane."""
    numbers = {name: float(values[0]) for name, values in group.space.columns().items()}
    return size_of(jax.eval_shape(lambda params: (params, params, group.optimizer_of(numbers).init(params)), params))


def _example_batch(problem: Problem, minibatches: Minibatches | None) -> tuple[Any, ...]:
    """Shapes of one batch, as a tuple of no or one argument of the loss."""
    if problem.data is None:
        return ()
    if minibatches is None:
        return (problem.data,)
    return (batch_shapes(problem.data, examples_per_step(minibatches, problem.examples)),)
