"""The arrays of a group on its devices, each placed or computed when first needed, and then kept.

What belongs to single trials is not here: lanes are made by `engine`.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from ..._contract import evaluation_key
from ..._hoist import Program
from ..._host import stacked, taken
from ...minibatches import indices_of_keys
from ...minimize import Carry
from ...optimizers._evaluation import returns_its_iterate
from .group_plan import GroupPlan
from .mesh import EVERYWHERE, TRIALS, place
from .programs import LaneInputs, Shared, evaluator, settled, starter


class Placed:
    """What all chunks of a group share on the devices, at whatever width they run."""

    def __init__(self, plan: GroupPlan) -> None:
        self._plan, self._mesh = plan, plan.static.mesh
        self._initial_losses: np.ndarray | None = None

    @functools.cached_property
    def shared(self) -> Shared:
        """What all lanes share, with the rows of the first window; of a stream without its batches."""
        constants, keys = place((self._plan.constants, self._plan.loss_keys), self._mesh, EVERYWHERE)
        streamed = self._plan.source is not None
        return Shared(constants, None if streamed else self._data, None if streamed else self.first_rows, keys)

    @functools.cached_property
    def _data(self) -> PyTree:
        """The training data; of a stream a sample of them."""
        return place(self._plan.problem.data, self._mesh, EVERYWHERE)

    @functools.cached_property
    def initial(self) -> PyTree:
        """What the starts are made of."""
        return place(self._plan.initial, self._mesh, EVERYWHERE)

    @functools.cached_property
    def _measured(self) -> tuple[Any, Any]:
        """The constants of `evaluate`, and the parts of the data; the training data are there once."""
        constants, parts = self._plan.evaluate_constants, self._plan.problem.parts
        others = place((constants, {**parts, "final": None}), self._mesh, EVERYWHERE)
        return others[0], {**others[1], "final": self._data}

    @functools.cached_property
    def first_rows(self) -> Int[Array, "orders window batch"]:
        """The rows of the first window, which every chunk uses."""
        return self.rows(0)

    def rows(self, start: int) -> Int[Array, "orders window batch"]:
        """Example indices of every seed for the window from `start` and one step more, on every device.

        Orders are computed per seed and epoch, outside the lanes.
        """
        plan = self._plan
        if plan.minibatches is None:
            drawn = np.zeros((plan.orders, 1, 0), np.int32)
        else:
            keys = taken(plan.keys, (slice(None), 1))
            drawn = indices_of_keys(plan.minibatches, keys, start, plan.window + 1, plan.problem.examples)
            drawn = np.repeat(drawn, plan.orders // len(drawn), axis=0)
        return place(drawn, self._mesh, EVERYWHERE)

    def initial_losses(self, inputs: LaneInputs, width: int, count: int) -> Float[np.ndarray, " lanes"]:
        """The loss of every lane's start on the full training data, of the first `count` lanes of every device.

        Where starts differ by seed alone they are measured once, `width` lanes at a time.
        """
        if self._plan.static.own:
            starts = self.starts(inputs)
            return jax.device_get(self.measure(starts, inputs, count, (starts[0], starts[0]))[0]["final_loss"])
        if self._initial_losses is None:
            self._initial_losses = self._losses_of_seeds(width)
        return self._initial_losses[jax.device_get(inputs.seed)]

    def _losses_of_seeds(self, width: int) -> Float[np.ndarray, " seeds"]:
        seeds, devices, losses = len(self._plan.seeds), self._plan.devices, []
        for first in range(0, seeds, width * devices):
            # The starts are measured by the program that measures the chunks, so they are laid out as a chunk is:
            # `width` lanes on each device. The first `count` of them hold a seed each.
            count = min(width, -(-(seeds - first) // devices))  # on every device, the first lanes of each
            device, lane = np.divmod(np.arange(devices * width), width)
            lanes = np.minimum(first + device * count + lane, seeds - 1)
            inputs = place(LaneInputs({}, lanes.astype(np.int32)), self._mesh, TRIALS)
            starts = self.starts(inputs)
            measured, _ = self.measure(starts, inputs, count, (starts[0], starts[0]))
            losses.append(jax.device_get(measured["final_loss"])[lane < count])
        return np.concatenate(losses)[:seeds]

    def starts(self, inputs: LaneInputs) -> tuple[PyTree, PyTree]:
        """The (params, aux) at the start of every lane."""
        plan = self._plan
        if plan.static.begin is not None:
            return starter(plan.static)(self.initial, inputs)
        return place(taken(plan.initial, jax.device_get(inputs.seed)), self._mesh, TRIALS)

    def measure(
        self, point: tuple[PyTree, PyTree], inputs: LaneInputs, count: int, compared: tuple[PyTree, PyTree]
    ) -> tuple[dict[str, Array], Bool[Array, " lanes"]]:
        """What `problem.measure` measures at the (params, aux) of the first `count` lanes of every device.

        Also returned is whether the two trees that are compared are equal in each lane.
        """
        constants, parts = self._measured
        return self._of(self._plan.evaluate, constants, parts, point, inputs, count, compared)

    def look(self, point: tuple[PyTree, PyTree], inputs: LaneInputs, count: int) -> dict[str, Array]:
        """The same of the validation data alone."""
        plan = self._plan
        assert plan.look is not None
        parts = {"validation": self._measured[1]["validation"]}
        return self._of(plan.look[0], plan.look[1], parts, point, inputs, count)[0]

    def _of(
        self,
        evaluate: Program,
        constants: list[Any],
        parts: dict[str, PyTree],
        point: tuple[PyTree, PyTree],
        inputs: LaneInputs,
        count: int,
        compared: tuple[PyTree, PyTree] = ((), ()),
    ) -> tuple[dict[str, Array], Bool[Array, " lanes"]]:
        known = self._plan.static.own_of(inputs.numbers)
        if self._evaluation_keys is not None:
            # Looked up here: in the program the number of seeds would be a shape, on which its floats might depend.
            known["key"] = place(taken(self._evaluation_keys, jax.device_get(inputs.seed)), self._mesh, TRIALS)
        return evaluator(evaluate, self._mesh)(constants, (*point, known), compared, parts, np.int32(count))

    @functools.cached_property
    def _evaluation_keys(self) -> Key[Array, " seeds"] | None:
        keys = self._plan.loss_keys
        return None if keys is None else stacked([_evaluation_key(taken(keys, i)) for i in range(len(keys))])

    def evaluated(self, carry: Carry) -> PyTree:
        """The parameters of every lane that are measured and kept: the iterate, or what its method returns."""
        plan = self._plan
        if plan.evaluation is None and returns_its_iterate(carry.state):
            return carry.params
        return settled(plan.evaluation, self._mesh)(list(plan.evaluation_constants), carry.state, carry.params)


def ends_of(plan: GroupPlan, carry: Carry) -> dict[str, PyTree]:
    """What a run continues from in addition to its parameters and aux: the optimizer's state, and the iterate.

    The iterate is there only where the method returns another point.
    """
    same = plan.evaluation is None and returns_its_iterate(carry.state)
    return {"state": carry.state} | ({} if same else {"iterate": carry.params})


_evaluation_key = jax.jit(evaluation_key)
