"""The plan: everything that is fixed, checked and traced before the first chunk runs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from ... import _checks
from ..._hoist import Program, hoist
from ..._kept import PerProgram
from ..._means import is_sum, warn_of_sum
from ..._version import __version__
from ...minibatches import Minibatches, batch_shapes, check_batch_size, examples_per_step, indices, reshuffle
from ...minimize import Carry, checked_evaluation, derivatives_of
from ...optimizers.evaluation import returns_its_iterate
from ...problems import Problem
from ..spec.group import Chosen
from .programs import EVERYWHERE, TRIALS, Group, evaluator, place, settled, trials_mesh
from ..spec.shaping import first_update
from ..spec.space import Space, check_space, is_absent, label

WINDOW_BYTES = 2**28  # of example indices held at a time
# Lanes run fastest when their carries together fit a core's cache; an accelerator wants as many as its memory takes.
CARRY_BYTES = {"cpu": 2**21}
MOST_LANES = {"cpu": 64}


@dataclass(frozen=True, eq=False)
class Plan:
    """One sweep, traced but not run.

    Attributes:
        width: lanes per device; the floats of a trial depend on it, and on nothing else but the trial.
        root: the key of the sweep.
        keys: per seed the keys of initialisation and of the data order, shape (seeds, 2).
        initial: the start of every seed, stacked.
        evaluation: the user's choice of the parameters that are evaluated; None for what the optimizer's state says.
        constants, evaluate_constants, evaluation_constants: what the closures of the loss, of `problem.evaluate` and of
            `evaluation` hold.
        kept: trials per chunk where that is more than `width`: each chunk is then cut into pieces of `width` lanes, and
            the numbers below are those of pieces. None mostly.
    """

    problem: Problem
    space: Space
    seeds: np.ndarray
    steps: int
    minibatches: Minibatches | None
    width: int
    group: Group
    root: Key[Array, ""]
    keys: Key[Array, "seeds 2"]
    initial: PyTree
    constants: list[Any]
    evaluate: Program
    evaluate_constants: list[Any]
    evaluation: Program | None = None
    evaluation_constants: Sequence[Any] = ()
    kept: int | None = None

    @property
    def choices(self) -> dict[str, str]:
        """The choices that make this program, in words; for example `centered`: "True"."""
        chosen = self.group.factory.choices if isinstance(self.group.factory, Chosen) else ()
        return {name: str(label(value)) for name, value, _ in chosen}

    @property
    def trials(self) -> int:
        """Number of configurations times seeds; the seed varies fastest."""
        return len(self.space) * len(self.seeds)

    @property
    def chunks(self) -> int:
        """Number of chunks of `width` trials, the last one perhaps shorter. One chunk occupies one device."""
        return -(-self.trials // (self.kept or self.width)) * self.pieces

    @property
    def pieces(self) -> int:
        """Into how many pieces of `width` lanes a chunk is cut."""
        return -(-(self.kept or self.width) // self.width)

    @property
    def devices(self) -> int:
        """How many chunks run at a time."""
        return self.group.mesh.size

    def trials_of(self, chunk: int) -> range:
        """The trials of a chunk."""
        whole, piece = divmod(chunk, self.pieces)
        start = whole * (self.kept or self.width)
        end = min(start + (self.kept or self.width), self.trials)
        return range(min(start + piece * self.width, end), min(start + (piece + 1) * self.width, end))

    def at_width(self, width: int, kept: int | None = None) -> Plan:
        """The same sweep with other lanes per device; what is on the devices already is shared."""
        return self._sharing(dataclasses.replace(self, width=width, kept=kept))

    def with_space(self, space: Space) -> Plan:
        """Other configurations of the same hyperparameters, which the same program runs."""
        return self._sharing(dataclasses.replace(self, space=space))

    def _sharing(self, other: Plan) -> Plan:
        """Give another plan of the same devices what this one has placed on them."""
        names = {"replicated", "first_rows", "initial_losses"} & self.__dict__.keys()
        other.__dict__.update({name: self.__dict__[name] for name in names})
        return other

    def on_devices(self, devices: Sequence[jax.Device]) -> Plan:
        """The same sweep on other devices."""
        return dataclasses.replace(self, group=self.group._replace(mesh=trials_mesh(devices)))

    @property
    def precision(self) -> str:
        """The dtypes of the parameters."""
        return ", ".join(sorted({leaf.dtype.name for leaf in jax.tree.leaves(self.initial)}))

    @property
    def platform(self) -> str:
        """The kind of device: "cpu", "gpu" or "tpu"."""
        return self.group.mesh.devices.flat[0].platform

    @property
    def root_text(self) -> str:
        """The root key in words, enough to make it again."""
        data = np.asarray(
            jax.random.key_data(self.root) if jnp.issubdtype(self.root.dtype, jax.dtypes.prng_key) else self.root
        )
        return f"{jax.random.key_impl(self.root)} {' '.join(map(str, data.ravel()))}"

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What decides a trial, part by part; the bits of its floats depend on the width as well."""
        data = (self.problem.data, self.problem.test_data)
        starts = (self.constants, self.evaluate_constants, self.initial, *self.evaluation_constants)
        evaluation = {} if self.evaluation is None else {"evaluation_params": self.evaluation.fingerprint[:16]}
        return {
            "loss": self.group.loss.fingerprint[:16],
            "metrics": self.evaluate.fingerprint[:16],
            **evaluation,
            **({"skip_non_finite": self.group.skip} if self.group.skip else {}),
            "optimizer": _checks.name_of(self.group.factory),
            "update": self._update_digest,
            **({"choices": self.choices} if self.choices else {}),
            "axes": {name: _named(values) for name, values in (self.space.points or self.space.axes).items()},
            "seeds": self.seeds.tolist(),
            "steps": self.steps,
            "every": self.group.every,
            "batch_size": self.batch_size if self.minibatches else None,
            "key": self.root_text,
            "data": _digest(data),
            "starts and closures": _digest(starts),
            "baseline": self.problem.baseline,
            "precision": self.precision,
            "platform": self.platform,
            "jax": jax.__version__,
            "optax": optax.__version__,
            "jaxopt_notes": __version__,
        }

    @property
    def _update_digest(self) -> str:
        """Hash of what the optimizer does, since two of them may have one name: its first step, traced."""
        one = jax.tree.map(lambda leaf: leaf[0], self.initial)
        numbers = {name: jnp.float32(0.1) for name in next(self.space.configurations(), {})}
        program, constants = hoist(functools.partial(first_update, self.group.factory), numbers, one, derivatives=0)
        return hashlib.sha256(f"{program.fingerprint}{_digest(constants)}".encode()).hexdigest()[:16]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of `identity`."""
        return hashlib.sha256(json.dumps(self.identity).encode()).hexdigest()

    @property
    def batch_size(self) -> int:
        """Examples per step; all of them without minibatches."""
        return (
            self.problem.examples
            if self.minibatches is None
            else examples_per_step(self.minibatches, self.problem.examples)
        )

    @property
    def window(self) -> int:
        """Steps whose example indices are held at a time."""
        if self.minibatches is None:
            return self.steps
        return min(self.steps, max(1, WINDOW_BYTES // (4 * len(self.seeds) * self.batch_size)))

    def rows(self, start: int) -> Int[Array, "seeds window batch"]:
        """Example indices of every seed for the window from `start` and one step more, on every device.

        Orders are computed per seed and epoch, outside the lanes.
        """
        if self.minibatches is None:
            drawn = jnp.zeros((len(self.seeds), 1, 0), jnp.int32)
        else:
            steps, examples = self.window + 1, self.problem.examples
            drawn = _rows(self.minibatches, self.keys[:, 1], jnp.int32(start), steps, examples)
        return place(drawn, self.group.mesh, EVERYWHERE)

    @functools.cached_property
    def first_rows(self) -> Int[Array, "seeds window batch"]:
        """The rows of the first window, which every chunk uses."""
        return self.rows(0)

    @functools.cached_property
    def initial_losses(self) -> Float[np.ndarray, " seeds"]:
        """The loss of every seed's start on the full training data."""
        seeds, devices, losses = len(self.seeds), self.devices, []
        for first in range(0, seeds, self.width * devices):
            count = min(self.width, -(-(seeds - first) // devices))  # on every device, the first lanes of each
            device, lane = np.divmod(np.arange(devices * self.width), self.width)
            lanes = np.minimum(first + device * count + lane, seeds - 1)
            params = place(jax.tree.map(lambda leaf, lanes=lanes: leaf[lanes], self.initial), self.group.mesh, TRIALS)
            losses.append(jax.device_get(measure(self, params, count)["final_loss"])[lane < count])
        return np.concatenate(losses)[:seeds]

    @functools.cached_property
    def replicated(self) -> tuple[Any, ...]:
        """(constants, data, test data, starts, constants of `evaluate`), placed once on every device."""
        problem = self.problem
        shared = (self.constants, problem.data, problem.test_data, self.initial, self.evaluate_constants)
        return place(shared, self.group.mesh, EVERYWHERE)

    def evaluated(self, carry: Carry) -> PyTree:
        """The parameters of every lane that are measured and kept: the iterate, or what its method returns."""
        if self.evaluation is None and returns_its_iterate(carry.state):
            return carry.params
        return settled(self.evaluation, self.group.mesh)(list(self.evaluation_constants), carry.state, carry.params)


def measure(plan: Plan, params: PyTree, count: int) -> dict[str, Array]:
    """What `problem.evaluate` measures in the first `count` lanes of every device."""
    _, data, test_data, _, constants = plan.replicated
    return evaluator(plan.evaluate, plan.group.mesh)(constants, params, data, test_data, jnp.int32(count))


def _named(values: np.ndarray) -> list[Any]:
    """Values as JSON knows them: NaN is no number there."""
    return [None if is_absent(value) else label(value) for value in values.tolist()]


def _digest(tree: PyTree) -> str:
    """Hash of the bytes of every leaf."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
        values = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        digest.update(f"{values.dtype}{values.shape}".encode() + values.tobytes())
    return digest.hexdigest()[:16]


def make_plan(
    problem: Any,
    optimizer: Any,
    space: Any,
    *,
    seeds: int | Sequence[int],
    steps: int,
    batch_size: int | None,
    every: int,
    key: Key[Array, ""] | None,
    width: int | None,
    devices: Sequence[jax.Device] | None,
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None = None,
    skip_non_finite: int = 0,
) -> Plan:
    """Check every argument of `sweep`, then trace; nothing of the sweep is compiled before this returns."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be a jaxopt_notes.Problem, for example Problem(loss, init=params), or a function that makes "
            f"one, whose arguments are axes of the space; got {problem!r}"
        )
    if not isinstance(optimizer, Chosen):  # the whole space was checked before it was cut into groups
        check_space(space, optimizer)
    steps, every = _checks.count("steps", steps), _checks.divisor("every", every, "steps", steps)
    skip = _checks.count("skip_non_finite", skip_non_finite, low=0)
    seed_values = _seeds(seeds)
    minibatches = _minibatches(problem, batch_size)
    mesh = trials_mesh(devices)
    root = jax.random.key(0) if key is None else _checks.key("key", key)
    keys = jnp.stack([seed_keys(root, int(seed)) for seed in seed_values])
    initial = _initial(problem, keys[:, 0])
    one = jax.tree.map(lambda leaf: leaf[0], initial)
    batch = _example_batch(problem, minibatches)
    _checks.scalar_loss(problem.loss, one, *batch)
    example = optimizer(**next(space.configurations(), {}))
    loss, constants = hoist(problem.loss, one, *batch, derivatives=derivatives_of(example))
    if minibatches is not None:
        _checks.scalar_loss(problem.loss, one, problem.data)
        if is_sum(loss, problem.loss, (one,), problem.data):
            size = examples_per_step(minibatches, problem.examples)
            warn_of_sum(_checks.name_of(problem.loss), size, problem.examples, stacklevel=4)
    evaluate, evaluate_constants = hoist(
        problem.evaluate, one, problem.data, problem.test_data, derivatives=0, owner=problem
    )
    if width is None:
        share = -(-len(space) * len(seed_values) // mesh.size)
        width = min(share, _lanes_that_fit(optimizer, space, one, mesh.devices.flat[0].platform))
    width = _checks.count("width", width)
    group = Group(optimizer, loss, steps // every + 1, every, minibatches is not None, mesh, skip)
    return Plan(
        problem,
        space,
        seed_values,
        steps,
        minibatches,
        width,
        group,
        root,
        keys,
        initial,
        constants,
        evaluate,
        evaluate_constants,
        *checked_evaluation(evaluation_params, example, one),
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
    if values.max() >= 2**32:
        raise ValueError(f"seeds must be below 2**32, got {values.max()}")
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
    program, constants = hoist(problem.init, keys[0], derivatives=0)
    _checks.params("init(key)", jax.eval_shape(program, constants, keys[0]))
    starts = [_call(program, constants, key) for key in keys]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)


@PerProgram
def _call(program: Program, constants: list[Any], key: Array) -> PyTree:
    return program(constants, key)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _rows(minibatches: Minibatches, keys: Key[Array, " seeds"], first: Array, steps: int, examples: int) -> Array:
    return jax.vmap(lambda key: indices(minibatches, key, first, steps, examples))(keys)


def _lanes_that_fit(optimizer: Callable, space: Space, params: PyTree, platform: str) -> int:
    """The power of two of lanes whose parameters, gradients and optimizer states fill the budget of one device."""
    numbers = {name: float(values[0]) for name, values in space.columns().items()}
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
    return (batch_shapes(problem.data, examples_per_step(minibatches, problem.examples)),)
