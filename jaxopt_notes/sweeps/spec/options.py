"""Options: what all trials of a sweep have in common, and the keys that follow from a seed.

What differs between groups (optimizer, problem, batch size) is in `group`; how a sweep is executed is in `run.group`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from ... import _checks
from ..._streams import Source
from ...minimize import HISTORIES

Keep = Literal["", "params", "params+state"]  # what is kept of the end of every trial


@dataclass(frozen=True, eq=False)
class Options:
    """What all trials of a sweep have in common, checked.

    Attributes:
        seeds: the seeds.
        steps: steps of every trial; of a group, where epochs are given.
        epochs: passes over the training data in place of steps; None if steps are given.
        every: steps between two records.
        root: the key that all keys are derived from.
        evaluation_params: the user's choice of the parameters that are evaluated; None for what the state of the
            optimizer implies.
        skip: how many steps in a row may be skipped because they are not finite.
        evaluate_every: steps between two measurements of the validation data; None for none along the run.
        patience: steps without a better value of `monitor` after which a trial stops; None if none does.
        monitor: the column that decides which step is best.
        keep_best: whether the end of a trial is its best step.
        record: the names of the histories.
        source: what gives the batches, where they do not come from the data of the problem.
        floats: the type of floats whose type is not given, which `jax_enable_x64` decides.
    """

    seeds: Int[np.ndarray, " seeds"]
    steps: int
    epochs: int | None
    every: int
    root: Key[Array, ""]
    evaluation_params: Callable[[PyTree, PyTree], PyTree] | None
    skip: int
    evaluate_every: int | None
    patience: int | None
    monitor: str
    keep_best: bool
    floats: str
    source: Source | None = None
    record: tuple[str, ...] = tuple(HISTORIES)

    @classmethod
    def of(
        cls,
        *,
        seeds: int | Sequence[int],
        steps: int | None,
        every: int,
        key: Key[Array, ""] | None,
        evaluation_params: Callable[[PyTree, PyTree], PyTree] | None,
        skip_non_finite: int,
        evaluate_every: int | None = None,
        patience: int | None = None,
        monitor: str = "validation_loss",
        keep_best: bool = False,
        epochs: int | None = None,
        source: Source | None = None,
        record: Sequence[str] | None = None,
    ) -> Options:
        """The options that a user gave to `sweep` or `plan`.

        Raises:
            TypeError, ValueError: naming the argument, its value and what is accepted.
        """
        if steps is None and epochs is None:
            raise TypeError("a sweep needs steps, or epochs, the passes over the training data; got neither")
        if steps is not None and epochs is not None:
            raise TypeError(f"give either steps or epochs, got steps={steps!r} and epochs={epochs!r}")
        if steps is not None:
            steps, every = _checks.count("steps", steps), _checks.divisor("every", every, "steps", steps)
        epochs, every = epochs and _checks.count("epochs", epochs), _checks.count("every", every)
        skip = _checks.count("skip_non_finite", skip_non_finite, low=0)
        root = jax.random.key(0) if key is None else _checks.key("key", key)
        for name, given in {"patience": patience, "keep='best'": keep_best or None}.items():
            if given is not None and evaluate_every is None:
                raise ValueError(f"{name} needs evaluate_every, the steps between two looks at the validation data")
        evaluate_every = None if evaluate_every is None else _checks.count("evaluate_every", evaluate_every)
        patience = None if patience is None else _checks.count("patience", patience)
        watching = (evaluate_every, patience, monitor, keep_best)
        common = (_seeds(seeds), steps or 0, epochs, every, root, evaluation_params, skip)
        return cls(*common, *watching, str(default_float()), source, _histories(record))

    def of_group(self, name: str, examples: int, batch_size: int | None) -> Options:
        """The options of a group, whose batch size decides how many steps its epochs are.

        Raises:
            TypeError, ValueError: epochs of a problem without data; or what must divide the steps does not.
        """
        if self.epochs is None:
            return self
        if not examples:
            raise ValueError(f"epochs={self.epochs} needs a problem with data; {name!r} has none: give steps")
        steps = self.epochs * (examples // (batch_size or examples))
        return dataclasses.replace(self, steps=steps, every=_checks.divisor("every", self.every, "steps", steps))


def _histories(record: Any) -> tuple[str, ...]:
    """The names of the histories that a user wants, in the order of all."""
    if record is None:
        return tuple(HISTORIES)
    if not isinstance(record, (str, Collection)):
        raise TypeError(f"record must be a name or a list of names from {', '.join(HISTORIES)}; got {record!r}")
    wanted = [record] if isinstance(record, str) else list(record)
    for name in wanted:
        _checks.choice("record", name, HISTORIES)
    if "loss" not in wanted:
        raise ValueError(f"record must hold 'loss', by which trials are judged; got {record!r}")
    return tuple(name for name in HISTORIES if name in wanted)


def default_float() -> np.dtype:
    """The type of floats whose type is not given."""
    return jax.dtypes.canonicalize_dtype(float)


def seed_keys(root: Key[Array, ""], seed: int | Array) -> Key[Array, " 2"]:
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
    # `fold_in` of the seed's value, not a split into as many keys as there are seeds: a seed means the same trial
    # however many others there are, and in whatever order.
    return jax.random.split(jax.random.fold_in(root, seed))


def _seeds(seeds: Any) -> np.ndarray:
    if np.ndim(seeds) == 0:
        return np.arange(_checks.count("seeds", seeds))
    values = np.asarray(seeds)
    if values.ndim != 1 or values.size == 0 or not np.issubdtype(values.dtype, np.integer) or (values < 0).any():
        raise ValueError(f"seeds must be a positive count or a list of non-negative integers, got {seeds!r}")
    # `fold_in` takes 32 bits: beyond them two seeds would be one trial.
    if values.max() >= 2**32:
        raise ValueError(f"seeds must be below 2**32, got {values.max()}")
    if len(np.unique(values)) < values.size:
        raise ValueError(f"seeds repeats values: {values.tolist()}")
    return values
