"""From a group to its plan: the last checks, then the traces. No program of the sweep is compiled here.

What a plan holds and can answer is in `group_plan`; this module only makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from ... import _checks
from ..._hoist import Program, hoist
from ..._kept import PerProgram
from ..._means import is_sum, warn_of_sum
from ...minibatches import Minibatches, batch_shapes, check_batch_size, examples_per_step, reshuffle
from ...minimize import checked_evaluation, derivatives_of
from ...problems import Problem
from ..spec.group import Group
from ..spec.options import Options, seed_keys
from .group_plan import GroupPlan
from .programs import Static, trials_mesh

# Lanes run fastest when their carries together fit a core's cache; an accelerator wants as many as its memory takes.
CARRY_BYTES = {"cpu": 2**21}
MOST_LANES = {"cpu": 64}


def trace(name: str, group: Group, options: Options, devices: Sequence[jax.Device] | None) -> GroupPlan:
    """The plan of a group, at the width that suits the size of a lane; `width.at` chooses another.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.
    """
    problem, optimizer, space = group.problem, group.optimizer, group.space
    minibatches = _minibatches(problem, group.batch_size)
    mesh = trials_mesh(devices)
    keys = jnp.stack([seed_keys(options.root, int(seed)) for seed in options.seeds])
    initial = _initial(problem, keys[:, 0])
    one = jax.tree.map(lambda leaf: leaf[0], initial)
    batch = _example_batch(problem, minibatches)
    _checks.scalar_loss(problem.loss, one, *batch)
    example = optimizer(**next(space.configurations(), {}))
    loss, constants = hoist(problem.loss, one, *batch, derivatives=derivatives_of(example))
    if minibatches is not None:
        # The loss is also evaluated on all of the data, at the end: a loss that works for one size of batch only is
        # refused here and not after hours.
        _checks.scalar_loss(problem.loss, one, problem.data)
        if is_sum(loss, problem.loss, (one,), problem.data):
            size = examples_per_step(minibatches, problem.examples)
            warn_of_sum(_checks.name_of(problem.loss), size, problem.examples)
    evaluate, evaluate_constants = hoist(
        problem.evaluate, one, problem.data, problem.test_data, derivatives=0, owner=problem
    )
    entries = options.steps // options.every + 1
    static = Static(optimizer, loss, entries, options.every, minibatches is not None, mesh, options.skip)
    lanes = _lanes_of_cache(group, one, mesh.devices.flat[0].platform)
    return GroupPlan(
        name,
        group,
        options,
        minibatches,
        static,
        lanes,
        lanes,
        keys,
        initial,
        constants,
        evaluate,
        evaluate_constants,
        *checked_evaluation(options.evaluation_params, example, one),
    )


def _minibatches(problem: Problem, batch_size: int | None) -> Minibatches | None:
    if batch_size is None:
        return None
    if problem.data is None:
        raise ValueError(f"batch_size={batch_size!r} needs a problem with data; {problem.name!r} has none")
    return reshuffle(check_batch_size(batch_size, problem.examples))


def _initial(problem: Problem, keys: Key[Array, " seeds"]) -> PyTree:
    """One start per seed, computed one seed at a time: its floats cannot depend on how many there are."""
    program, constants = hoist(problem.init, keys[0], derivatives=0)
    _checks.params("init(key)", jax.eval_shape(program, constants, keys[0]))
    starts = [_call(program, constants, key) for key in keys]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)


@PerProgram
def _call(program: Program, constants: list[Any], key: Array) -> PyTree:
    return program(constants, key)


def _lanes_of_cache(group: Group, params: PyTree, platform: str) -> int:
    """The power of two of lanes whose parameters, gradients and optimizer states fill the budget of one device."""
    numbers = {name: float(values[0]) for name, values in group.space.columns().items()}
    carry = jax.eval_shape(lambda params: (params, params, group.optimizer(**numbers).init(params)), params)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry))
    fit = CARRY_BYTES.get(platform, 2**30) // size
    return min(MOST_LANES.get(platform, 2**12), 2 ** max(0, int(fit).bit_length() - 1))


def _example_batch(problem: Problem, minibatches: Minibatches | None) -> tuple[Any, ...]:
    """Shapes of one batch, as a tuple of no or one argument of the loss."""
    if problem.data is None:
        return ()
    if minibatches is None:
        return (problem.data,)
    return (batch_shapes(problem.data, examples_per_step(minibatches, problem.examples)),)
