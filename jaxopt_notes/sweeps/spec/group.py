"""Groups: the configurations of a space that share one compiled program, cut by the choices among its values."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ... import _checks
from ..._columns import named_leaves
from ..._contract import asked
from ..._streams import Source
from ...minibatches import check_batch_size
from ...problems import Problem
from ...problems._metric import Metric
from .accepted import check_kinds, check_space
from .arguments import Argument, arguments_of, exact, is_number
from .options import Keep
from .shaping import shaping_numbers
from .space import Space, labels_of, listed

BATCH_SIZE = "batch_size"
STEPS = "steps"  # as an axis, the most steps of a trial


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
class Group:
    """The configurations that one compiled program runs, as plain data.

    Attributes:
        problem, optimizer, space, batch_size: the arguments of `sweep` for it alone; the space holds its numbers.
        rows: the positions of its configurations in the whole space.
        choices: name -> what its configurations have in common and others have not, as a label.
        own: the axes of its space that are numbers of the problem; the others are the optimizer's.
    """

    problem: Problem
    optimizer: Callable[..., optax.GradientTransformation]
    space: Space
    batch_size: int | None
    rows: np.ndarray
    choices: Mapping[str, Any]
    own: tuple[str, ...] = ()

    def optimizer_of(self, numbers: Mapping[str, Any]) -> optax.GradientTransformation:
        """The optimizer of one configuration, which is not given the numbers of the problem."""
        return self.optimizer(**{name: value for name, value in numbers.items() if name not in self.own})

    @property
    def words(self) -> str:
        """The choices in words."""
        return ", ".join(f"{name}={value}" for name, value in self.choices.items())


@dataclass(frozen=True, eq=False)
class Grouping:
    """A space and its groups, in the order of their first configurations."""

    space: Space
    groups: tuple[Group, ...]

    @property
    def is_one(self) -> bool:
        """Whether one program runs the whole space, and there is nothing to choose."""
        return len(self.groups) == 1 and not self.groups[0].choices


def grouped(
    problem: Any,
    optimizer: Any,
    space: Any,
    batch_size: Any,
    made: dict[Any, Problem],
    source: Source | None = None,
) -> Grouping:
    """Check a space, and cut it into groups.

    Choices make a program each, and so do the numbers that an optimizer cannot be traced with.

    Arguments:
        problem, optimizer, space, batch_size: as in `sweep`.
        made: arguments -> problem, of what `problem` has made if it makes problems. None is made twice.
        source: what gives the batches, in place of the data of the problem.

    Raises:
        TypeError, ValueError: an axis that neither the problem nor the optimizer accepts, or that both accept; or
            values that they do not accept.
    """
    if not isinstance(problem, Problem) and not _makes_problems(problem):
        raise _no_problem(problem)
    if source is not None and isinstance(problem, Problem):
        problem = made.setdefault(source, _with_sample(problem, source))
    # For its error: everything below needs a space and a function, and `check_space` has the words for both.
    if not isinstance(space, Space) or not callable(optimizer):
        check_space(space, optimizer)
    of_maker = _maker_axes(problem, optimizer, space)
    takes_batch_size = BATCH_SIZE in space.names and BATCH_SIZE not in _checks.keyword_names(optimizer)
    elsewhere = [*of_maker, *([BATCH_SIZE] if takes_batch_size else [])]
    make = _problems(problem, of_maker, space, made, source)
    own, numbers = _own_axes(problem, optimizer, space, elsewhere, make)
    others = [*numbers, BATCH_SIZE, *(_checks.keyword_names(problem) if _makes_problems(problem) else [])]
    check_space(space, optimizer, [*elsewhere, *own], others)
    for name in of_maker:
        if name in _checks.keyword_names(optimizer):
            raise ValueError(
                f"axis {name!r} is an argument of both problem and optimizer; wrap one of them to rename it"
            )
    if takes_batch_size and batch_size is not None:
        raise ValueError(f"batch_size is an axis of the space and was given as well, as {batch_size!r}")
    if not of_maker and not isinstance(problem, Problem):
        raise _no_problem(problem)
    groups = _groups(space, optimizer, elsewhere, own, make, batch_size, source)
    if len(groups) == 1 and not groups[0].choices:
        # The space itself in place of the list of its points, so that the table of a grid has its axes. There is no
        # choice to make, so the optimizer needs no `Chosen` around it either.
        return Grouping(space, (dataclasses.replace(groups[0], optimizer=optimizer, space=space, choices={}),))
    _check_directions(groups)
    return Grouping(space, tuple(sorted(groups, key=lambda group: group.rows[0])))


def _own_axes(
    problem: Any, optimizer: Callable[..., Any], space: Space, elsewhere: list[str], make: Callable[..., Problem]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The axes that are numbers of the problem's own functions, and all of those numbers."""
    unknown = [n for n in space.names if n not in elsewhere and n not in _checks.keyword_names(optimizer)]
    if not isinstance(problem, Problem) and not (elsewhere and unknown):
        return (), ()
    one = problem if isinstance(problem, Problem) else make(next(space.configurations()))
    accepted = [name for name in one.numbers if name not in elsewhere]
    caps = takes_steps(space, optimizer, one)
    own = tuple(name for name in space.names if name in accepted or (caps and name == STEPS))
    if caps:
        for value in space.columns()[STEPS].tolist():
            _checks.count("every value of the axis steps", value)
    for name in own:
        if caps and name == STEPS:
            continue
        if name in _checks.keyword_names(optimizer):
            raise ValueError(
                f"axis {name!r} is a number of both {_owner(one, name)} and {_checks.name_of(optimizer)}; rename one"
            )
        check_kinds(Argument(name, (float,)), space.columns()[name], _owner(one, name))
    return own, tuple(accepted)


def takes_steps(space: Space, optimizer: Callable[..., Any], problem: Problem | None = None) -> bool:
    """Whether an axis `steps` is the most steps of a trial, as neither optimizer nor problem takes it."""
    named = STEPS in space.names and STEPS not in _checks.keyword_names(optimizer)
    return named and (problem is None or STEPS not in problem.numbers)


def _owner(problem: Problem, number: str) -> str:
    """Which function of a problem asks for a number, in words."""
    functions = {"the loss": problem.loss, "init": problem.init, "evaluate": problem.evaluate, **problem.metrics}
    found = [name for name, function in functions.items() if function and number in asked(function).numbers]
    return f"{found[0]} of {problem.name!r}"


def _no_problem(problem: Any) -> TypeError:
    return TypeError(
        f"problem must be a jaxopt_notes.Problem, for example Problem(loss, init=params), or a function that makes "
        f"one, whose arguments are axes of the space; got {problem!r}"
    )


def _groups(
    space: Space,
    optimizer: Callable[..., Any],
    elsewhere: list[str],
    own: tuple[str, ...],
    made: Callable[..., Problem],
    batch_size: Any,
    source: Source | None,
) -> list[Group]:
    """The groups, given the axes that the optimizer does not see, and what makes the problem of a configuration."""
    columns, arguments = space.columns(), arguments_of(optimizer)
    rows = [exact(row, arguments) for row in space.configurations()]
    alike_rows: dict[Any, list[int]] = {}
    for i, configuration in enumerate(rows):
        alike_rows.setdefault(_signature(configuration, elsewhere), []).append(i)
    labels = {name: labels_of(values) for name, values in columns.items()}
    groups = []
    for members in alike_rows.values():
        first = rows[members[0]]
        problem = made(first)
        _check_data(problem)
        check_names(space, optimizer, problem)
        _check_needed(problem, first, own, elsewhere)
        size = first.get(BATCH_SIZE) if BATCH_SIZE in elsewhere else batch_size
        if source is not None:
            source.check(size)
        elif size is not None and problem.data is not None:
            check_batch_size(size, problem.examples)
        mine = tuple(name for name in own if name in first)
        numbers = {n: [rows[i][n] for i in members] for n in first if n not in elsewhere and n not in mine}
        known = [name for name in numbers if not is_number(first[name])]
        for positions, fixed in _programs(problem, optimizer, numbers, len(members), known):
            alike = [members[position] for position in positions]
            traced = [name for name in first if name in mine or (name in numbers and name not in fixed)]
            free = {name: columns[name][alike].astype(float) for name in traced}
            choices = [name for name in space.names if name in first and name not in free]
            groups.append(
                Group(
                    problem,
                    Chosen.of(optimizer, {name: rows[alike[0]][name] for name in fixed}),
                    listed(free, len(alike)),
                    size,
                    np.asarray(alike),
                    {name: labels[name][alike[0]] for name in choices},
                    mine,
                )
            )
    return groups


def _check_data(problem: Problem) -> None:
    """Refuse a problem without data whose loss, or whose other parts, need some."""
    held_out = [part for part in ("validation", "test_data") if getattr(problem, part) is not None]
    if problem.data is None and held_out:
        raise ValueError(
            f"{held_out[0]} needs data: give Problem(data=...), or sweep(data=...) of what is read in batches"
        )


def _with_sample(problem: Problem, source: Source) -> Problem:
    """The problem with data on which ends are measured: its own, or a sample of the source."""
    return problem if problem.data is not None else dataclasses.replace(problem, data=source.sample)


def _check_needed(
    problem: Problem, configuration: Mapping[str, Any], own: tuple[str, ...], elsewhere: list[str]
) -> None:
    """Refuse a configuration that lacks a number of the problem, or has one that its problem does not take."""
    for name in elsewhere:
        if name in problem.numbers:
            taker = "the batch size" if name == BATCH_SIZE else "an argument of what makes the problem"
            raise ValueError(f"axis {name!r} is a number of {_owner(problem, name)} and also {taker}; rename one")
    for name in problem.needed:
        if name not in configuration:
            raise TypeError(
                f"{_owner(problem, name)} asks for {name}: give it an axis, for example grid({name}=[0.0, 0.1])"
            )
    for name in own:
        if name in configuration and name not in problem.numbers and name != STEPS:
            raise ValueError(f"axis {name!r} is a number of some of the problems only, and {problem.name!r} has none")


def _programs(
    problem: Problem, optimizer: Callable[..., Any], columns: Mapping[str, list[Any]], length: int, known: list[str]
) -> Iterator[tuple[list[int], list[str]]]:
    """The positions that share one program, and which values it knows, for configurations that share those known."""
    params = problem.start_shapes()[0]
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


def _check_directions(groups: list[Group]) -> None:
    """Refuse a metric that is declared in one direction by one problem and otherwise by another: it is one column."""
    first: dict[str, tuple[str, str]] = {}
    for group in groups:
        for name, metric in group.problem.metrics.items():
            declared = repr(metric.direction) if isinstance(metric, Metric) else "no direction"
            there, words = first.setdefault(name, (declared, group.words))
            if declared != there:
                raise ValueError(
                    f"metric {name!r} must have one direction in a sweep, and has {there} with {words}, {declared} "
                    f"with {group.words}"
                )


def check_names(space: Space, optimizer: Callable[..., Any], problem: Problem) -> None:
    """Refuse an axis with the name of something that the table holds.

    Raises:
        ValueError: naming the axis.
    """
    plain_measure = type(problem).measure is Problem.measure
    metrics = {"loss", *problem.metrics}
    suspects = [name for name in space.names if name.partition("_")[2] in metrics or not plain_measure]
    # Finding out what `measure` returns means tracing the model, so it is left out where no axis can clash.
    taken = set(suspects) & set(measured(problem) if suspects else ())
    if taken:
        name = min(taken)
        raise ValueError(
            f"axis {name!r} is a name that this table has already, of what {problem.name} measures in the end; wrap "
            f"{_checks.name_of(optimizer)} to rename it"
        )


def measured(problem: Problem) -> list[str]:
    """The names of what a problem measures at the end of every trial."""
    known = {name: jax.ShapeDtypeStruct((), jnp.result_type(float)) for name in problem.needed}

    def measure(params: Any, aux: Any, key: Any, numbers: Any) -> dict[str, Any]:
        return problem.measure(params, problem.parts, aux=aux, key=key, numbers=numbers)

    return list(jax.eval_shape(measure, *problem.start_shapes(), jax.random.key(0), known))


def check_kept(groups: Sequence[Group], keep: Keep) -> None:
    """Refuse parameters and states that do not fit one table.

    Raises:
        ValueError: the groups have parameters or states of different shapes.
    """
    shapes = [group.problem.start_shapes() for group in groups]
    kept = [[(name, leaf.shape) for name, leaf in jax.tree_util.tree_leaves_with_path(one)] for one in shapes]
    for group, leaves in zip(groups, kept, strict=True):
        if leaves != kept[0]:
            raise ValueError(
                f"keep needs parameters of the same shapes, and {group.words} has others than "
                f"{groups[0].words}; run one sweep for each"
            )
    known: dict[str, tuple[int, ...]] = {}
    for group in groups if keep == "params+state" else []:
        optimizer = group.optimizer_of(next(group.space.configurations(), {}))
        state = jax.eval_shape(optimizer.init, group.problem.start_shapes()[0])
        # A leaf that some groups lack is not run there, as a velocity where momentum is a choice.
        for name, leaf in named_leaves(state, "state"):
            if known.setdefault(name, leaf.shape) != leaf.shape:
                raise ValueError(
                    f"keep='params+state' needs states of the same shapes, and {name} of {group.words} has another "
                    f"than before; run one sweep for each"
                )


def _maker_axes(problem: Any, optimizer: Callable[..., Any], space: Space) -> list[str]:
    """The axes that a function making problems takes; none of a problem."""
    if not _makes_problems(problem):
        return []
    arguments = arguments_of(problem)
    needed = {name for name, argument in arguments.items() if argument.default is inspect.Parameter.empty}
    # A function whose arguments have no axes cannot make a problem from this space. The caller then refuses it as no
    # problem at all, which names what is wrong better than a missing axis.
    if not needed <= set(space.names):
        return []
    by_optimizer = [BATCH_SIZE, *_checks.keyword_names(optimizer)]
    passed_on = _checks.takes_any(problem) and not _checks.takes_any(optimizer)
    return [n for n in space.names if n in arguments or (passed_on and n not in by_optimizer)]


def _makes_problems(problem: Any) -> bool:
    return callable(problem) and not isinstance(problem, (Problem, type))


def _problems(
    problem: Any, names: list[str], space: Space, made: dict[Any, Problem], source: Source | None
) -> Callable[..., Problem]:
    """The problem of a configuration, which depends on these names only; each problem is made once."""
    if not names:
        return lambda configuration: problem
    arguments = arguments_of(problem)
    for name in names:
        check_kinds(arguments.get(name, Argument(name)), space.columns()[name], _checks.name_of(problem))

    def make(configuration: Mapping[str, Any]) -> Problem:
        chosen = exact({name: configuration[name] for name in names if name in configuration}, arguments)
        # With the types, since True, 1 and 1.0 are one key of a dict.
        key = tuple((name, type(value), value) for name, value in chosen.items())
        if key not in made:
            one = _made(problem, chosen)
            made[key] = one if source is None else _with_sample(one, source)
        return made[key]

    return make


def _made(problem: Any, arguments: Mapping[str, Any]) -> Problem:
    made = problem(**arguments)
    if not isinstance(made, Problem):
        words = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        call = f"{_checks.name_of(problem)}({words})"
        raise TypeError(f"problem must make a jaxopt_notes.Problem; {call} returned {made!r}")
    return made


def _signature(configuration: Mapping[str, Any], elsewhere: list[str]) -> tuple[Any, ...]:
    """What decides the program of a configuration: its choices with their types, and which numbers it names."""
    return tuple(
        (name, None) if is_number(value) and name not in elsewhere else (name, type(value), value)
        for name, value in configuration.items()
    )
