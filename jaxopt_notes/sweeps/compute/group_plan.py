"""The plan of one group: everything that is fixed, checked and traced before its first chunk runs.

Here is what a plan holds and what follows from it (chunks, window, identity). `trace` makes it, `engine` runs it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree

from ... import _checks
from ..._hoist import Program, hoist
from ..._host import taken
from ..._streams import Order, Source
from ..._version import __version__
from ...minibatches import Minibatches, examples_per_step, steps_per_epoch
from ...minimize import HISTORIES
from ...problems import Problem
from ..spec.group import Chosen, Group
from ..spec.options import Options, seed_keys
from ..spec.shaping import first_update
from ..spec.space import Space, is_absent, label
from .memory import MemoryUse, memory_of, size_of
from .mesh import AXIS, mesh_of
from .programs import Static
from .roofline import Bound, Work, limits_of, work_of
from .shapes import Shapes, shapes_of
from .tiles import tile_of

WINDOW_BYTES = 2**28  # of example indices held at a time
# Of the batches of a stream placed at a time; one window is in use, up to two are read ahead. Where the device is the
# host itself they are small, as they count beside everything else.
STREAM_BYTES = {"cpu": 2**23}


class Timing(NamedTuple):
    """Measured speed of several widths.

    Attributes:
        rates: lanes per device -> steps of a trial per second, of all devices together.
        seconds: lanes per device -> seconds for all trials, padding included, compiling left out.
        fastest: the width to use.
    """

    rates: dict[int, float]
    seconds: dict[int, float]
    fastest: int


@dataclass(frozen=True, eq=False)
class GroupPlan:
    """One group of a sweep, checked and traced but not run.

    Attributes:
        name: the optimizer or family, and the choices, in words.
        group: what it runs.
        options: what it has in common with the other groups.
        minibatches: the order of the examples; None without minibatches, and of a stream.
        static: the static part of its compiled programs.
        width: lanes per device; the floats of a trial depend on it, and on nothing else but the trial.
        suited: lanes per device that suit the size of a lane, however many trials there are.
        keys: per seed the keys of initialisation and of the data order, shape (seeds, 2).
        initial: what the starts are made of: parameters and aux of every seed, stacked; or where they depend on
            numbers of `init` the constants of `static.begin`, and a key per seed.
        params: the parameters of one trial at its start.
        loss_keys: per seed the key of what is random in loss and metrics; None if nothing is.
        evaluate: what `problem.measure` measures at the end, traced.
        look: the same of the validation data alone, and its constants; None where runs are not watched.
        evaluation: the user's choice of the parameters that are evaluated; None for what the optimizer's state implies.
        constants, evaluate_constants, evaluation_constants: what the closures of the loss, of `evaluate` and of
            `evaluation` hold.
        timing: how fast some widths are, once they were timed.
        wished: the width that memory does not allow, where that is why the plan has another one.
    """

    name: str
    group: Group
    options: Options
    minibatches: Minibatches | None
    static: Static
    width: int
    suited: int
    keys: Key[Array, "seeds 2"]
    initial: PyTree
    params: PyTree
    loss_keys: Key[Array, " seeds"] | None
    constants: list[Any]
    evaluate: Program
    evaluate_constants: list[Any]
    look: tuple[Program, list[Any]] | None = None
    evaluation: Program | None = None
    evaluation_constants: Sequence[Any] = ()
    timing: Timing | None = None
    wished: int | None = None

    @property
    def problem(self) -> Problem:
        """What is minimised."""
        return self.group.problem

    @property
    def space(self) -> Space:
        """The configurations."""
        return self.group.space

    @property
    def seeds(self) -> np.ndarray:
        """The seeds."""
        return self.options.seeds

    @property
    def steps(self) -> int:
        """Steps of every trial."""
        return self.options.steps

    @property
    def trials(self) -> int:
        """Number of configurations times seeds; the seed varies fastest."""
        return len(self.space) * len(self.seeds)

    @property
    def chunks(self) -> int:
        """Number of chunks of `width` trials, the last one perhaps shorter. One chunk occupies one device."""
        return -(-self.trials // self.width)

    @property
    def devices(self) -> int:
        """How many chunks run at a time: on one device each, or where trials are split on as many as one takes."""
        return self.static.mesh.shape[AXIS]

    def trials_of(self, chunk: int) -> range:
        """The trials of a chunk."""
        return range(chunk * self.width, min((chunk + 1) * self.width, self.trials))

    def at_width(self, width: int, *, wished: int | None = None, timing: Timing | None = None) -> GroupPlan:
        """The same group with other lanes per device."""
        return dataclasses.replace(self, width=_checks.count("width", width), wished=wished, timing=timing)

    def over(self, group: Group) -> GroupPlan:
        """Other configurations of the same hyperparameters, which the same program runs."""
        # A timing is of a number of trials, which is another one now.
        return dataclasses.replace(self, group=group, timing=None, wished=None)

    def with_fewer(self, seeds: Sequence[int], steps: int) -> GroupPlan:
        """The same group with some of its seeds and fewer steps, a multiple of what is recorded and looked at."""
        places = np.array([self.seeds.tolist().index(seed) for seed in seeds])
        static, watch = self.static, self.static.watch

        def of_seeds(tree: PyTree) -> PyTree:
            return taken(tree, places)

        watch = watch and watch._replace(entries=-(-steps // watch.every) + 1)
        return dataclasses.replace(
            self,
            options=dataclasses.replace(self.options, seeds=self.seeds[places], steps=steps),
            static=static._replace(entries=steps // static.every + 1, watch=watch),
            keys=of_seeds(self.keys),
            initial=of_seeds(self.initial) if static.begin is None else (self.initial[0], of_seeds(self.initial[1])),
            loss_keys=of_seeds(self.loss_keys),
        )

    def on_devices(self, devices: Sequence[jax.Device]) -> GroupPlan:
        """The same group on other devices, one for each chunk."""
        return dataclasses.replace(self, static=self.static._replace(mesh=mesh_of(devices), split=None))

    @property
    def precision(self) -> str:
        """The dtypes of the parameters."""
        return ", ".join(sorted({leaf.dtype.name for leaf in jax.tree.leaves(self.params)}))

    @property
    def platform(self) -> str:
        """The kind of device: "cpu", "gpu" or "tpu"."""
        return self.static.mesh.devices.flat[0].platform

    @property
    def source(self) -> Source | None:
        """What gives the batches; None where they come from the data of the problem."""
        return self.options.source

    @property
    def order(self) -> Order:
        """How examples are drawn from a source: once for all seeds, as in-memory data are for seed 0."""
        return Order(self.group.batch_size, seed_keys(self.options.root, 0)[1])

    @property
    def examples(self) -> int:
        """Number of training examples; 0 if it is not known, or without data."""
        return self.problem.examples if self.source is None else self.source.examples

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps of an epoch; None if it is not known, or without minibatches."""
        if self.source is not None:
            return self.source.steps_per_epoch(self.group.batch_size)
        return None if self.minibatches is None else steps_per_epoch(self.minibatches, self.examples)

    @property
    def batch_size(self) -> int:
        """Examples per step; all of them without minibatches."""
        if self.source is not None:
            return self.source.size(self.group.batch_size)
        examples = self.problem.examples
        return examples if self.minibatches is None else examples_per_step(self.minibatches, examples)

    @property
    def orders(self) -> int:
        """How many data orders are held, one for each seed."""
        # A single seed has two, and the second is not used. XLA would know where one of one is, and compile other
        # floats than for several seeds.
        return max(2, len(self.seeds))

    @property
    def window(self) -> int:
        """Steps whose example indices, or of a stream whose batches, are held at a time."""
        if self.source is not None:
            leaves = jax.tree.leaves(self.source.shapes(self.group.batch_size))
            size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
            return min(self.steps, max(1, STREAM_BYTES.get(self.platform, 2**26) // max(1, size)))
        if self.minibatches is None:
            return self.steps
        return min(self.steps, max(1, WINDOW_BYTES // (4 * self.orders * self.batch_size)))

    @property
    def shapes(self) -> Shapes:
        """Shapes and dtypes of what its programs are given."""
        batched = self.minibatches is not None
        rows = (self.orders, self.window + 1, self.batch_size) if batched else (self.orders, 1, 0)
        constants, data, initial = shapes_of((self.constants, self.problem.data, self.initial))
        keys = None if self.loss_keys is None else shapes_of(self.loss_keys)
        shapes = Shapes(self.static, tuple(self.space.columns()), initial, constants, data, rows, keys)
        if self.source is None:
            return shapes
        batch = self.source.shapes(self.group.batch_size)
        window = jax.tree.map(lambda like: jax.ShapeDtypeStruct((self.window + 1, *like.shape), like.dtype), batch)
        return shapes._replace(data=window, rows=None)

    @functools.cached_property
    def memory(self) -> MemoryUse:
        """The memory of a chunk; compiles two small programs."""
        return memory_of(self.shapes, self.width)

    @functools.cached_property
    def work(self) -> Work:
        """What a step of all lanes of a device needs; compiles two small programs, which `memory` needs too."""
        return work_of(self.shapes, self.width)

    @functools.cached_property
    def bound(self) -> Bound:
        """What binds a step.

        The devices are measured here, once in a process for each size of what a tile hands on: beside other work the
        limit would be too low.
        """
        together = tile_of(self.width, self.static.tile) * size_of(self.shapes.alone.lanes(1).carry)
        limits = limits_of(tuple(self.static.mesh.devices.flat), together)
        return limits.bound(self.work, self.width * self.devices)

    @property
    def root_text(self) -> str:
        """The root key in words, enough to make it again."""
        root = self.options.root
        data = np.asarray(jax.random.key_data(root) if jnp.issubdtype(root.dtype, jax.dtypes.prng_key) else root)
        return f"{jax.random.key_impl(root)} {' '.join(map(str, data.ravel()))}"

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What decides a trial, part by part; its floats depend on the width as well."""
        data = self.problem.parts
        starts = (self.constants, self.evaluate_constants, self.initial, *self.evaluation_constants)
        # A part that is not used leaves no trace, so an option added later does not change the identity of sweeps
        # without it.
        evaluation = {} if self.evaluation is None else {"evaluation_params": self.evaluation.fingerprint[:16]}
        return {
            "loss": self.static.loss.fingerprint[:16],
            **({} if self.static.begin is None else {"init": self.static.begin.fingerprint[:16]}),
            "metrics": self.evaluate.fingerprint[:16],
            **evaluation,
            **({"skip_non_finite": self.static.skip} if self.static.skip else {}),
            "optimizer": _checks.name_of(self.static.factory),
            "update": self._update_digest,
            **({"choices": self._fixed} if self._fixed else {}),
            "axes": {name: _named(values) for name, values in (self.space.points or self.space.axes).items()},
            **({} if self.static.watch is None else {"watch": self._watch}),
            "seeds": self.seeds.tolist(),
            "steps": self.steps,
            "every": self.static.every,
            **({} if self.static.record == tuple(HISTORIES) else {"record": list(self.static.record)}),
            "batch_size": self.batch_size if self.minibatches or self.source else None,
            **({} if self.static.split is None else {"mesh": f"{self._inner}, {self.static.split}"}),
            **({} if self.source is None else {"stream": f"{self.source.words}, {_digest(self.source.sample)}"}),
            "key": self.root_text,
            "data": _digest(data),
            "starts and closures": _digest(starts),
            "baseline": self.problem.baseline,
            "precision": self.precision,
            "platform": self.platform,
            # Another version may compile other floats, so it may not finish what this one began.
            "jax": jax.__version__,
            "optax": optax.__version__,
            "jaxopt_notes": __version__,
        }

    @property
    def _inner(self) -> str:
        """The axes inside a trial."""
        return ", ".join(f"{name} {size}" for name, size in self.static.mesh.shape.items() if name != AXIS)

    @property
    def _watch(self) -> dict[str, Any]:
        """How the validation data are measured along a run."""
        watch = self.static.watch
        assert watch is not None
        named = {"evaluate_every": watch.every, "monitor": watch.monitor, "sign": watch.sign}
        return {**named, "patience": watch.patience, "best": watch.keeps_best}

    @property
    def _fixed(self) -> dict[str, str]:
        """The choices that the optimizer's factory is made with, in words; for example `centered`: "True"."""
        chosen = self.static.factory.choices if isinstance(self.static.factory, Chosen) else ()
        return {name: str(label(value)) for name, value, _ in chosen}

    @property
    def _update_digest(self) -> str:
        """Hash of what the optimizer does, since two of them may have one name: its first step, traced."""
        # Any numbers: they are arguments of the trace, so only their names and types are in its text.
        names = [name for name in next(self.space.configurations(), {}) if name not in self.static.own]
        numbers, factory = {name: np.float32(0.1) for name in names}, self.static.factory
        program, constants = hoist(functools.partial(first_update, factory), numbers, self.params, derivatives=0)
        return hashlib.sha256(f"{program.fingerprint}{_digest(constants)}".encode()).hexdigest()[:16]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of `identity`."""
        return hashlib.sha256(json.dumps(self.identity).encode()).hexdigest()


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
