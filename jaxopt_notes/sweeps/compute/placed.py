"""The arrays of a group on its devices, each placed or computed when first needed, and then kept.

What belongs to single trials is not here: lanes are made by `engine`.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from ...minibatches import Minibatches, indices
from ...minimize import Carry
from ...optimizers._evaluation import returns_its_iterate
from .group_plan import GroupPlan
from .programs import EVERYWHERE, TRIALS, evaluator, place, settled


class Placed:
    """What all chunks of a group share on the devices, at whatever width they run."""

    def __init__(self, plan: GroupPlan) -> None:
        self._plan, self._mesh = plan, plan.static.mesh
        self._initial_losses: np.ndarray | None = None

    @functools.cached_property
    def shared(self) -> tuple[Any, ...]:
        """(constants, data, test data, starts, constants of `evaluate`), on every device."""
        plan = self._plan
        everything = (plan.constants, plan.problem.data, plan.problem.test_data, plan.initial, plan.evaluate_constants)
        return place(everything, self._mesh, EVERYWHERE)

    @functools.cached_property
    def first_rows(self) -> Int[Array, "seeds window batch"]:
        """The rows of the first window, which every chunk uses."""
        return self.rows(0)

    def rows(self, start: int) -> Int[Array, "seeds window batch"]:
        """Example indices of every seed for the window from `start` and one step more, on every device.

        Orders are computed per seed and epoch, outside the lanes.
        """
        plan = self._plan
        if plan.minibatches is None:
            drawn = jnp.zeros((len(plan.seeds), 1, 0), jnp.int32)
        else:
            steps, examples = plan.window + 1, plan.problem.examples
            drawn = _rows(plan.minibatches, plan.keys[:, 1], jnp.int32(start), steps, examples)
        return place(drawn, self._mesh, EVERYWHERE)

    def initial_losses(self, width: int) -> Float[np.ndarray, " seeds"]:
        """The loss of every seed's start on the full training data; measured once, `width` lanes at a time."""
        if self._initial_losses is None:
            plan, seeds, devices, losses = self._plan, len(self._plan.seeds), self._mesh.size, []
            for first in range(0, seeds, width * devices):
                # The starts are measured by the program that measures the chunks, so they are laid out as a chunk is:
                # `width` lanes on each device. The first `count` of them hold a seed each.
                count = min(width, -(-(seeds - first) // devices))  # on every device, the first lanes of each
                device, lane = np.divmod(np.arange(devices * width), width)
                lanes = np.minimum(first + device * count + lane, seeds - 1)
                starts = jax.tree.map(lambda leaf, lanes=lanes: leaf[lanes], plan.initial)
                measured = self.measure(place(starts, self._mesh, TRIALS), count)
                losses.append(jax.device_get(measured["final_loss"])[lane < count])
            self._initial_losses = np.concatenate(losses)[:seeds]
        return self._initial_losses

    def measure(self, params: PyTree, count: int) -> dict[str, Array]:
        """What `problem.evaluate` measures in the first `count` lanes of every device."""
        _, data, test_data, _, constants = self.shared
        return evaluator(self._plan.evaluate, self._mesh)(constants, params, data, test_data, jnp.int32(count))

    def evaluated(self, carry: Carry) -> PyTree:
        """The parameters of every lane that are measured and kept: the iterate, or what its method returns."""
        plan = self._plan
        if plan.evaluation is None and returns_its_iterate(carry.state):
            return carry.params
        return settled(plan.evaluation, self._mesh)(list(plan.evaluation_constants), carry.state, carry.params)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _rows(minibatches: Minibatches, keys: Key[Array, " seeds"], first: Array, steps: int, examples: int) -> Array:
    return jax.vmap(lambda key: indices(minibatches, key, first, steps, examples))(keys)
