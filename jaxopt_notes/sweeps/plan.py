"""The plan: everything that is fixed, checked and traced before the first chunk runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree

from .. import _checks
from .._hoist import Program, hoist
from ..minibatches import Minibatches, batch_shapes, check_batch_size, reshuffle
from ..problems import Problem
from .programs import EVERYWHERE, Group, place, trials_mesh
from .space import Space, check_space

# Lanes run fastest when their carries together fit a core's cache; an accelerator wants as many as its memory takes.
CARRY_BYTES = {"cpu": 2**21}
MOST_LANES = {"cpu": 64}


@dataclass(frozen=True, eq=False)
class Plan:
    """One sweep, traced but not run.

    Attributes:
        width: lanes per device; the floats of a trial depend on it, and on nothing else but the trial.
        keys: per seed the keys of initialisation and of the data order, shape (seeds, 2).
        initial: the start of every seed, stacked.
        constants, evaluate_constants: what the closures of the loss and of `problem.evaluate` hold.
    """

    problem: Problem
    space: Space
    seeds: np.ndarray
    steps: int
    minibatches: Minibatches | None
    width: int
    group: Group
    keys: Key[Array, "seeds 2"]
    initial: PyTree
    constants: list[Any]
    evaluate: Program
    evaluate_constants: list[Any]

    @property
    def trials(self) -> int:
        """Number of configurations times seeds; the seed varies fastest."""
        return len(self.space) * len(self.seeds)

    @property
    def lanes(self) -> int:
        """Trials per chunk, over all devices."""
        return self.width * self.group.mesh.size

    @functools.cached_property
    def replicated(self) -> tuple[Any, ...]:
        """(constants, data, test data, starts, constants of `evaluate`), placed once on every device."""
        problem = self.problem
        shared = (self.constants, problem.data, problem.test_data, self.initial, self.evaluate_constants)
        return place(shared, self.group.mesh, EVERYWHERE)


def make_plan(
    problem: Problem,
    optimizer: Callable[..., optax.GradientTransformation],
    space: Space,
    *,
    seeds: int | Sequence[int],
    steps: int,
    batch_size: int | None,
    every: int,
    key: Key[Array, ""] | None,
    width: int | None,
    devices: Sequence[jax.Device] | None,
) -> Plan:
    """Check every argument of `sweep`, then trace; nothing of the sweep is compiled before this returns."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be a jaxopt_notes.Problem, for example Problem(loss, init=params); got {problem!r}"
        )
    check_space(space, optimizer)
    steps, every = _checks.count("steps", steps), _checks.divisor("every", every, "steps", steps)
    seed_values = _seeds(seeds)
    minibatches = _minibatches(problem, batch_size)
    mesh = trials_mesh(devices)
    root = jax.random.key(0) if key is None else key
    keys = jnp.stack([seed_keys(root, int(seed)) for seed in seed_values])
    initial = _initial(problem, keys[:, 0])
    one = jax.tree.map(lambda leaf: leaf[0], initial)
    batch = _example_batch(problem, minibatches)
    _checks.scalar_loss(problem.loss, one, *batch)
    loss, constants = hoist(problem.loss, one, *batch)
    evaluate, evaluate_constants = hoist(problem.evaluate, one, problem.data, problem.test_data, differentiated=False)
    if width is None:
        share = -(-len(space) * len(seed_values) // mesh.size)
        width = min(share, _lanes_that_fit(optimizer, space, one, mesh.devices.flat[0].platform))
    width = _checks.count("width", width)
    group = Group(optimizer, loss, steps // every + 1, every, minibatches is not None, mesh)
    return Plan(
        problem,
        space,
        seed_values,
        steps,
        minibatches,
        width,
        group,
        keys,
        initial,
        constants,
        evaluate,
        evaluate_constants,
    )


def seed_keys(root: Key[Array, ""], seed: int) -> Key[Array, " 2"]:
    """The two keys of a seed: of its initial parameters and of its data order. Nothing else is random in a sweep.

    Arguments:
        root: the key of the sweep.
        seed: a non-negative integer.

    Returns:
        Two keys, shape (2,).

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> init_key, order_key = jon.seed_keys(jax.random.key(0), seed=3)
    """
    return jax.random.split(jax.random.fold_in(root, seed))


def _seeds(seeds: int | Sequence[int]) -> np.ndarray:
    if np.ndim(seeds) == 0:
        return np.arange(_checks.count("seeds", seeds))
    values = np.asarray(seeds)
    if values.ndim != 1 or values.size == 0 or not np.issubdtype(values.dtype, np.integer) or (values < 0).any():
        raise ValueError(f"seeds must be a positive count or a list of non-negative integers, got {seeds!r}")
    if len(np.unique(values)) < values.size:
        raise ValueError(f"seeds repeats values: {values.tolist()}")
    return values


def _minibatches(problem: Problem, batch_size: int | None) -> Minibatches | None:
    if batch_size is None:
        return None
    if problem.data is None:
        raise ValueError(f"batch_size={batch_size!r} needs a problem with data; {problem.name!r} has none")
    return reshuffle(check_batch_size(batch_size, problem.examples))


def _initial(problem: Problem, keys: Key[Array, " seeds"]) -> PyTree:
    """One start per seed, computed one seed at a time: its bits cannot depend on how many there are."""
    program, constants = hoist(problem.init, keys[0], differentiated=False)
    starts = [_call(program, constants, key) for key in keys]
    _checks.params("init(key)", starts[0])
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)


@functools.partial(jax.jit, static_argnums=0)
def _call(program: Program, constants: list[Any], key: Array) -> PyTree:
    return program(constants, key)


def _lanes_that_fit(optimizer: Callable, space: Space, params: PyTree, platform: str) -> int:
    """The power of two of lanes whose parameters, gradients and optimizer states fill the budget of one device."""
    numbers = {name: float(values[0]) for name, values in space.axes.items()}
    carry = jax.eval_shape(lambda params: (params, params, optimizer(**numbers).init(params)), params)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(carry))
    fit = CARRY_BYTES.get(platform, 2**30) // size
    return min(MOST_LANES.get(platform, 2**12), 2 ** max(0, int(fit).bit_length() - 1))


def _example_batch(problem: Problem, minibatches: Minibatches | None) -> tuple[Any, ...]:
    """Shapes of one batch, as a tuple of no or one argument of the loss."""
    if problem.data is None:
        return ()
    if minibatches is None:
        return (problem.data,)
    return (batch_shapes(problem.data, minibatches.batch_size),)
