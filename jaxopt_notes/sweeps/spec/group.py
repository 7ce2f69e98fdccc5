"""Choices: the values of a space that make another program, and the groups of configurations that share one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from ... import _checks
from ...minibatches import check_batch_size
from ...problems import Problem
from ...problems.metric import Metric
from .arguments import Argument, arguments_of, exact, is_number, plain
from .shaping import shaping_numbers
from .space import Space, check_kinds, check_space, is_absent, label, listed

BATCH_SIZE = "batch_size"


@dataclass(frozen=True)
class Chosen:
    """An optimizer's factory with its choices made; equal to any other with the same ones, so programs are shared.

    Attributes:
        func: the factory.
        choices: (name, value, type of the value), since 0 equals False and 1.0.
    """

    func: Callable[..., optax.GradientTransformation]
    choices: tuple[tuple[str, Any, type], ...]

    @classmethod
    def of(cls, func: Callable[..., optax.GradientTransformation], choices: Mapping[str, Any]) -> Chosen:
        """The factory with these choices made."""
        return cls(func, tuple((name, value, type(value)) for name, value in choices.items()))

    def __call__(self, **numbers: Any) -> optax.GradientTransformation:
        """The optimizer of these numbers."""
        return self.func(**{name: value for name, value, _ in self.choices}, **numbers)


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
    """The groups of a space in the order of their first configurations; None if one program runs all of it.

    Choices make a program each, and so do the numbers that an optimizer cannot be traced with.

    Raises:
        TypeError, ValueError: an axis that neither the problem nor the optimizer accepts, or both do; or values that
            they do not accept.
    """
    if isinstance(optimizer, Chosen) or not isinstance(space, Space) or not callable(optimizer):
        return None  # one of the groups already, or an error that `make_plan` raises
    of_problem = _problem_axes(problem, optimizer, space)
    takes_batch_size = BATCH_SIZE in space.names and BATCH_SIZE not in _checks.keyword_names(optimizer)
    elsewhere = [*of_problem, *([BATCH_SIZE] if takes_batch_size else [])]
    others = [BATCH_SIZE, *(_checks.keyword_names(problem) if _makes_problems(problem) else [])]
    # Where one program is most likely, planning checks the space; a name that the optimizer does not take is a typo.
    likely_one = not elsewhere and _names_numbers(space) and set(space.names) <= set(_checks.keyword_names(optimizer))
    if not likely_one:
        check_space(space, optimizer, elsewhere, others)
    for name in of_problem:
        if name in _checks.keyword_names(optimizer):
            raise ValueError(
                f"axis {name!r} is an argument of both problem and optimizer; wrap one of them to rename it"
            )
    if takes_batch_size and batch_size is not None:
        raise ValueError(f"batch_size is an axis of the space and was given as well, as {batch_size!r}")
    if not of_problem and not isinstance(problem, Problem):
        return None  # an error that `make_plan` raises
    parts = _parts(space, optimizer, elsewhere, _problems(problem, of_problem, space), batch_size)
    if len(parts) == 1 and not parts[0].choices:
        return None
    if likely_one:
        check_space(space, optimizer)
    _check_directions(parts)
    return sorted(parts, key=lambda part: part.rows[0])


def _names_numbers(space: Space) -> bool:
    """Whether every configuration has a number for every name."""
    return all(is_number(value) and not is_absent(value) for values in space.columns().values() for value in values)


def _parts(
    space: Space, optimizer: Callable, elsewhere: list[str], made: Callable[..., Problem], batch_size: Any
) -> list[Part]:
    """The groups, given the axes that the optimizer does not see, and what makes the problem of a configuration."""
    columns, arguments = space.columns(), arguments_of(optimizer)
    rows = [exact(row, arguments) for row in space.configurations()]
    groups: dict[Any, list[int]] = {}
    for i, configuration in enumerate(rows):
        groups.setdefault(_signature(configuration, elsewhere), []).append(i)
    labels = {name: labels_of(values) for name, values in columns.items()}
    parts = []
    for members in groups.values():
        first = rows[members[0]]
        problem = made(first)
        check_names(space, optimizer, problem)
        size = first.get(BATCH_SIZE) if BATCH_SIZE in elsewhere else batch_size
        if size is not None and problem.data is not None:
            check_batch_size(size, problem.examples)
        numbers = {name: [rows[i][name] for i in members] for name in first if name not in elsewhere}
        known = [name for name in numbers if not is_number(first[name])]
        for positions, fixed in _programs(problem, optimizer, numbers, len(members), known):
            alike = [members[position] for position in positions]
            free = {name: columns[name][alike].astype(float) for name in numbers if name not in fixed}
            choices = [name for name in space.names if name in first and name not in free]
            parts.append(
                Part(
                    problem,
                    Chosen.of(optimizer, {name: rows[alike[0]][name] for name in fixed}),
                    listed(free, len(alike)),
                    size,
                    np.asarray(alike),
                    {name: labels[name][alike[0]] for name in choices},
                )
            )
    return parts


def _programs(
    problem: Problem, optimizer: Callable, columns: Mapping[str, list[Any]], length: int, known: list[str]
) -> Iterator[tuple[list[int], list[str]]]:
    """The positions that share one program, and which values it knows, for configurations that share those known."""
    params = jax.eval_shape(problem.init, jax.random.key(0))
    pending = [([*range(length)], known)]
    while pending:
        alike, fixed = pending.pop()
        factory = Chosen.of(optimizer, {name: columns[name][alike[0]] for name in fixed})
        numbers = {name: [values[i] for i in alike] for name, values in columns.items() if name not in fixed}
        shaping = shaping_numbers(factory, numbers, params)
        if not shaping:
            yield alike, fixed
            continue
        apart: dict[Any, list[int]] = {}
        for i in alike:
            apart.setdefault(tuple(columns[name][i] for name in shaping), []).append(i)
        # With these known, one program may need to know more than another.
        pending += [(positions, [*fixed, *shaping]) for positions in apart.values()]


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


def check_names(space: Space, optimizer: Callable, problem: Problem) -> None:
    """Refuse an axis with the name of something that the table holds.

    Raises:
        ValueError: it says which.
    """
    plain_evaluate = type(problem).evaluate is Problem.evaluate
    metrics = {"loss", *problem.metrics}
    suspects = [name for name in space.names if name.partition("_")[2] in metrics or not plain_evaluate]
    taken = set(suspects) & set(measured(problem) if suspects else ())
    if taken:
        name = min(taken)
        raise ValueError(
            f"axis {name!r} is a name that this table has already, of what {problem.name} measures in the end; wrap "
            f"{_checks.name_of(optimizer)} to rename it"
        )


def measured(problem: Problem) -> list[str]:
    """The names of what a problem measures at the end of every trial."""
    params = jax.eval_shape(problem.init, jax.random.key(0))
    return list(jax.eval_shape(problem.evaluate, params, problem.data, problem.test_data))


def labels_of(values: Iterable[Any]) -> list[Any]:
    """What a table says for the values of a column: integers, numbers, booleans, or texts that tell them apart."""
    values = [plain(value) for value in values]
    if all(is_number(value) for value in values):
        whole = all(isinstance(value, int) for value in values)
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


def _problem_axes(problem: Any, optimizer: Callable, space: Space) -> list[str]:
    """The axes that a function making problems takes; none of a problem."""
    if not _makes_problems(problem):
        return []
    arguments = arguments_of(problem)
    needed = {name for name, argument in arguments.items() if argument.default is inspect.Parameter.empty}
    if not needed <= set(space.names):
        return []
    by_optimizer = [BATCH_SIZE, *_checks.keyword_names(optimizer)]
    passed_on = _checks.takes_any(problem) and not _checks.takes_any(optimizer)
    return [n for n in space.names if n in arguments or (passed_on and n not in by_optimizer)]


def _makes_problems(problem: Any) -> bool:
    return callable(problem) and not isinstance(problem, (Problem, type))


def _problems(problem: Any, names: list[str], space: Space) -> Callable[..., Problem]:
    """The problem of a configuration, which depends on these names only; each problem is made once."""
    if not names:
        return lambda configuration: problem
    arguments, made = arguments_of(problem), dict[Any, Problem]()
    for name in names:
        check_kinds(arguments.get(name, Argument(name)), space.columns()[name], _checks.name_of(problem))

    def make(configuration: Mapping[str, Any]) -> Problem:
        chosen = exact({name: configuration[name] for name in names if name in configuration}, arguments)
        key = tuple((name, type(value), value) for name, value in chosen.items())
        if key not in made:
            made[key] = _made(problem, chosen)
        return made[key]

    return make


def _made(problem: Any, arguments: Mapping[str, Any]) -> Problem:
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
