"""Choices: the values of a space that make another program, and the groups of configurations that share one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from .. import _checks
from ..minibatches import check_batch_size
from ..problems import Problem
from ..problems.metric import Metric
from .space import Space, check_space, is_absent, is_number, label, listed

BATCH_SIZE = "batch_size"


@dataclass(frozen=True)
class Chosen:
    """An optimizer's factory with its choices made; equal to any other with the same ones, so programs are shared."""

    func: Callable[..., optax.GradientTransformation]
    choices: tuple[tuple[str, Any], ...]

    def __call__(self, **numbers: Any) -> optax.GradientTransformation:
        """The optimizer of these numbers."""
        return self.func(**dict(self.choices), **numbers)


@dataclass(frozen=True, eq=False)
class Part:
    """A group: the configurations that one compiled program runs.

    Attributes:
        problem, optimizer, space, batch_size: the arguments of `sweep` for it alone; the space holds its numbers.
        rows: the positions of its configurations in the whole space.
        choices: name -> what it has in common and others have not, as a label.
    """

    problem: Problem
    optimizer: Callable[..., optax.GradientTransformation]
    space: Space
    batch_size: int | None
    rows: np.ndarray
    choices: Mapping[str, Any]

    @property
    def words(self) -> str:
        """The choices in words."""
        return ", ".join(f"{name}={value}" for name, value in self.choices.items())


def parts_of(problem: Any, optimizer: Any, space: Any, batch_size: Any) -> list[Part] | None:
    """The groups of a space in the order of their first configurations; None if it has numbers only.

    Raises:
        TypeError, ValueError: an axis that nobody takes or two take, or values that they do not accept.
    """
    if isinstance(optimizer, Chosen) or not isinstance(space, Space) or not callable(optimizer):
        return None  # one of the groups already, or an error that `make_plan` raises
    of_problem = _problem_axes(problem, space)
    takes_batch_size = BATCH_SIZE in space.names and BATCH_SIZE not in _checks.keyword_names(optimizer)
    elsewhere = [*of_problem, *([BATCH_SIZE] if takes_batch_size else [])]
    others = [BATCH_SIZE, *(_checks.keyword_names(problem) if _makes_problems(problem) else [])]
    columns = space.columns()
    traced = [name for name in space.names if name not in elsewhere]
    if set(traced) - set(_checks.keyword_names(optimizer)):  # most likely a typo
        check_space(space, optimizer, elsewhere, others)
    if not elsewhere and all(is_number(v) and not is_absent(v) for name in traced for v in columns[name]):
        return None
    for name in of_problem:
        if name in _checks.keyword_names(optimizer):
            raise ValueError(
                f"axis {name!r} is an argument of both problem and optimizer; wrap one of them to rename it"
            )
    if takes_batch_size and batch_size is not None:
        raise ValueError(f"batch_size is an axis of the space and was given as well, as {batch_size!r}")
    check_space(space, optimizer, elsewhere, others)
    made: dict[Any, Problem] = {}
    groups: dict[Any, list[int]] = {}
    rows = list(space.configurations())
    for i, configuration in enumerate(rows):
        groups.setdefault(_signature(configuration, elsewhere), []).append(i)
    labels = {name: labels_of(values, name in elsewhere) for name, values in columns.items()}
    parts = []
    for members in groups.values():
        first = rows[members[0]]
        fixed = {name: value for name, value in first.items() if name in elsewhere or not is_number(value)}
        numbers = [name for name in traced if name in first and name not in fixed]
        arguments = {name: _python(fixed[name]) for name in of_problem if name in fixed}
        key = tuple(arguments.items())
        made.setdefault(key, _made(problem, arguments))
        size = _python(fixed.get(BATCH_SIZE)) if takes_batch_size else batch_size
        if size is not None and made[key].data is not None:
            check_batch_size(size, made[key].examples)
        parts.append(
            Part(
                made[key],
                Chosen(optimizer, tuple((name, value) for name, value in fixed.items() if name not in elsewhere)),
                listed({name: columns[name][members].astype(float) for name in numbers}, len(members)),
                size,
                np.asarray(members),
                {name: labels[name][members[0]] for name in space.names if name in fixed},
            )
        )
    _check_directions(parts)
    return parts


def _check_directions(parts: list[Part]) -> None:
    """Refuse a metric that is declared in one direction by one problem and otherwise by another: it is one column."""
    first: dict[str, tuple[str, str]] = {}
    for part in parts:
        for name, metric in part.problem.metrics.items():
            said = repr(metric.direction) if isinstance(metric, Metric) else "no direction"
            there, words = first.setdefault(name, (said, part.words))
            if said != there:
                raise ValueError(
                    f"metric {name!r} must have one direction in a sweep, and has {there} with {words}, {said} with "
                    f"{part.words}"
                )


def labels_of(values: Iterable[Any], static: bool) -> list[Any]:
    """What a table says for the values of a column: numbers, booleans, or texts that tell them apart."""
    values = [_python(value) for value in values]
    if all(is_number(value) for value in values):
        whole = static and all(isinstance(value, int) for value in values)
        return values if whole else [float(value) for value in values]
    if all(isinstance(value, bool) for value in values):
        return values
    texts: dict[Any, str] = {}
    for value in values:
        if value not in texts and not is_absent(value):
            text = str(label(value))
            same = sum(known.split(" #")[0] == text for known in texts.values())
            texts[value] = f"{text} #{same + 1}" if same else text
    return ["" if is_absent(value) else texts[value] for value in values]


def check_kept(parts: list[Part]) -> None:
    """Refuse parameters that do not fit one table.

    Raises:
        ValueError: the groups have parameters of different shapes.
    """
    shapes = [jax.eval_shape(part.problem.init, jax.random.key(0)) for part in parts]
    kept = [[(name, leaf.shape) for name, leaf in jax.tree_util.tree_leaves_with_path(one)] for one in shapes]
    for part, leaves in zip(parts, kept, strict=True):
        if leaves != kept[0]:
            raise ValueError(
                f"keep_params needs parameters of the same shapes, and {part.words} has others than {parts[0].words}; "
                f"run one sweep for each"
            )


def _problem_axes(problem: Any, space: Space) -> list[str]:
    """The axes that a function making problems takes; none of a problem."""
    if not _makes_problems(problem):
        return []
    parameters = inspect.signature(problem).parameters
    accepted = _checks.keyword_names(problem)
    needed = {name for name in accepted if parameters[name].default is inspect.Parameter.empty}
    return [name for name in space.names if name in accepted] if needed <= set(space.names) else []


def _makes_problems(problem: Any) -> bool:
    return callable(problem) and not isinstance(problem, (Problem, type))


def _made(problem: Any, arguments: Mapping[str, Any]) -> Problem:
    if not arguments and isinstance(problem, Problem):
        return problem
    made = problem(**arguments)
    if not isinstance(made, Problem):
        words = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise TypeError(f"problem must make a jaxopt_notes.Problem; {_checks.name_of(problem)}({words}) gave {made!r}")
    return made


def _signature(configuration: Mapping[str, Any], elsewhere: list[str]) -> tuple[Any, ...]:
    """What decides the program of a configuration: its choices with their types, and which numbers it names."""
    return tuple(
        (name, None) if is_number(value) and name not in elsewhere else (name, type(value), value)
        for name, value in configuration.items()
    )


def _python(value: Any) -> Any:
    """NumPy's scalars as Python's, which shapes and names are made of."""
    return value.item() if isinstance(value, np.generic) else value
