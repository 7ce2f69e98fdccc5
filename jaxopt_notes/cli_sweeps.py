"""The command `sweep`, and how commands find a problem of the user's or one of ours."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from . import _checks
from .devices import use_compilation_cache, use_cpu_cores
from .sweeps import StoreError, open_sweep
from .sweeps.keep.folders import is_store
from .sweeps.spec.arguments import Argument, arguments_of, exact
from .sweeps.spec.group import measured
from .sweeps.spec.space import in_words
from .sweeps.table.direction import declared_direction

if TYPE_CHECKING:
    from .problems import Problem
    from .problems._metric import Direction


_BATCH_SIZE = {"batch_size": Argument("batch_size", (int, type(None)))}


def sweep(
    problem: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROBLEM")],
    optimizer: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OPTIMIZER")],
    axes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME=VALUES ...")],
    steps: int = 1000,
    seeds: int = 8,
    batch_size: int = 0,
    every: int = 1,
    seed: int = 0,
    store: Path | None = None,
    metric: str = "final_loss",
    direction: Literal["max", "min"] | None = None,
    keep_params: bool = False,
    extend: bool = False,
    plan: bool = False,
) -> int:
    """Sweep an optimizer's numbers over a grid, keep the sweep in a store, and print the best configuration.

    For example: jaxopt-notes sweep digits_mlp momentum learning_rate=1e-3:1:13 beta=0,0.9 --batch-size 64

    Args:
        problem: a function of jaxopt_notes.problems such as digits_mlp, or your own: file.py:name, a Problem or a
            function that makes one.
        optimizer: a name such as momentum or adam.
        axes: name=a,b,c lists values, name=low:high:count is geometric, of integers where both ends are. Names are
            arguments of the optimizer or of the problem, or batch_size. For a boolean write true or false, yes or no,
            on or off.
        steps: steps of every trial.
        seeds: starts and data orders of every configuration.
        batch_size: examples per step; 0 for all of them.
        every: record one entry per this many steps.
        seed: seed of all randomness; the same seed gives the same numbers.
        store: folder of the sweep; by default one in runs/ with a name of its own for every other definition. The same
            command resumes where a killed one stopped.
        metric: what the best configuration is best in, such as test_accuracy.
        direction: whether the highest of that metric is best, max, or the lowest, min; by default from the problem.
        keep_params: keep the end points, for jaxopt-notes classify --sweep.
        extend: the store, which must be given, may hold the same sweep with fewer seeds or points; only what is new is
            run.
        plan: only print what would be run.
    """
    from .optimizers import OPTIMIZERS

    family = OPTIMIZERS[_checks.choice("optimizer", optimizer, list(OPTIMIZERS))]
    _checks.count("seed", seed, low=0)
    if extend and store is None:
        raise ValueError("--extend needs the store that is to be extended: --store runs/NAME")
    use_cpu_cores()  # before a file of the user's first uses JAX
    use_compilation_cache()
    import jax

    from .sweeps import grid
    from .sweeps import plan as make_plan
    from .sweeps import sweep as run

    maker = _problem(problem)
    values = values_of(axes, {**_arguments(maker), **arguments_of(family), **_BATCH_SIZE})
    own = {name: values[name][0] for name in _own(maker, values)}
    first = _made(problem, maker, own)
    with no_exit(problem):
        known = measured(first)
    _checks.choice("metric", metric, known)
    direction = declared_direction(first, metric, direction)
    made, space = (maker if own else first), grid(**values)
    definition: dict[str, Any] = {"seeds": seeds, "steps": steps, "every": every, "key": jax.random.key(seed)}
    definition["batch_size"] = batch_size or None
    if plan:
        with no_exit(problem):
            print(make_plan(made, family, space, **definition))
        return 0
    if store is None:
        numbers = (steps, seeds, batch_size, every, seed, keep_params)
        store = Path("runs") / folder_name(problem, optimizer, values, numbers)
    try:
        with no_exit(problem):
            table = run(made, family, space, **definition, store=store, keep_params=keep_params, extend=extend)
    except StoreError as error:
        raise StoreError(f"{error}\n  another folder is --store runs/NAME") from error
    return _told(table, metric, direction, store)


def folder_name(problem: str, optimizer: str, *definition: Any) -> str:
    """Such as "digits_mlp-adam-1f2e3d4c": the same for the same command, another for any other."""
    named = Path(problem.rpartition(":")[0]).stem + "-" + problem.rpartition(":")[2]
    digest = hashlib.sha256(repr((problem, optimizer, *definition)).encode()).hexdigest()[:8]
    return f"{named.strip('-')}-{optimizer}-{digest}"


def _told(table: Any, metric: str, direction: Direction, store: Path) -> int:
    """Print the best of what is finished and what to do next, and return the exit status."""
    from .minimize import UNFINISHED
    from .sweeps import best

    if (~table["status"].isin(UNFINISHED)).any():
        print(best(table, metric, direction=direction))
    if table.attrs.get("interrupted"):
        print(f"\nInterrupted; run the same command to resume from {store}.")
        return 130
    print(f"\nstore    {store}\nreport   jaxopt-notes report {store}")
    return 0


def best_end_point(
    name: str, store: Path, metric: str, direction: Direction | None, seed: int
) -> tuple[Problem, Any, str]:
    """The problem of the best configuration in a store, its end point, and a line that names it."""
    from .sweeps import best, end_point

    maker = _problem(name)

    if not is_store(store):
        raise FileNotFoundError(f"{store} is not a store of a sweep; jaxopt-notes sweep ... --keep-params makes one")
    table = open_sweep(store)
    config = best(table, metric, direction=direction).config
    own = {each: _meant(argument, config[each]) for each, argument in _arguments(maker).items() if each in config}
    made = _made(name, maker, own)
    params = end_point(table, made, seed=seed, **config)
    return made, params, f"{in_words(config)}, seed {seed}\n"


def _meant(argument: Argument, label: Any) -> Any:
    """The value with this label in a table, which holds None beside numbers as texts."""
    return label if _is_ambiguous(argument, str(label)) else _read(argument, str(label))


def _problem(name: str) -> Any:
    """A function of `problems` by its name, or what a file of the user's holds."""
    from . import problems

    path, colon, member = name.rpartition(":")
    if colon:
        found = member_of(name)
        if not (callable(found) or isinstance(found, problems.Problem)):
            raise ValueError(f"{path} holds no problem {member!r}: it must be a Problem or a function that makes one")
        return found
    makers = [
        each
        for each, value in ((name, getattr(problems, name)) for name in problems.__all__)
        if inspect.isfunction(value)
        and inspect.signature(value, eval_str=True).return_annotation is problems.Problem
        and not _needed(value)
    ]
    return getattr(problems, _checks.choice("problem", name, makers))


def member_of(name: str) -> Any:
    """What file.py:name names, None if the file has nothing of that name."""
    path, _, member = name.rpartition(":")
    return getattr(_module(Path(path)), member, None)


def problem_called(name: str) -> Problem:
    """The problem of that name, with the defaults of its maker."""
    return _made(name, _problem(name), {})


def _needed(function: Any) -> list[str]:
    """Names of the arguments that have no default."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.default is inspect.Parameter.empty and one.kind not in kinds]


def _arguments(maker: Any) -> dict[str, Argument]:
    """The arguments of the problem's maker; none of a problem."""
    from .problems import Problem

    return {} if isinstance(maker, Problem) else arguments_of(maker)


def _own(maker: Any, names: Iterable[str]) -> list[str]:
    """Those of the names that are arguments of the problem's maker."""
    return [name for name in names if name in _arguments(maker)]


def _made(name: str, maker: Any, arguments: dict[str, Any]) -> Problem:
    """The problem, or what its maker makes of the arguments."""
    from .problems import Problem

    if isinstance(maker, Problem):
        return maker
    missing = [each for each in _needed(maker) if each not in arguments]
    if missing:
        wanted = f"{name} must be a Problem or a function that makes one"
        raise TypeError(f"{wanted}; to call it, a value of {', '.join(missing)} is missing")
    with no_exit(name):
        made = maker(**arguments)
    if not isinstance(made, Problem):
        raise TypeError(f"{name} must be a Problem or a function that makes one; it gave a {type(made).__name__}")
    return made


def _module(path: Path) -> Any:
    """The user's file as a module, which can import the files beside it."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; a problem of your own is file.py:name")
    name = f"_jaxopt_notes_{path.stem}"  # so that a file such as optax.py hides no module of this name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up their annotations
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        with no_exit(str(path)):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{error.filename}, line {error.lineno}: {error.msg}") from error
    return module


@contextlib.contextmanager
def no_exit(name: str) -> Iterator[None]:
    """`sys.exit` in what a user gave as an error of the command, which would end here without a word."""
    try:
        yield
    except SystemExit as error:
        raise ValueError(f"{name} called sys.exit({'' if error.code is None else repr(error.code)})") from error


def values_of(axes: tuple[str, ...], arguments: Mapping[str, Argument] | None = None) -> dict[str, list[Any]]:
    """Values of every axis, by name, as the arguments want them."""
    if not axes:
        raise ValueError("sweep needs at least one axis, such as learning_rate=0.01,0.1 or learning_rate=1e-3:1:13")
    space: dict[str, list[Any]] = {}
    for axis in axes:
        name, equals, values = axis.partition("=")
        if not (equals and name.isidentifier() and values):
            raise ValueError(f"axes must be name=a,b,c or name=low:high:count, got {axis!r}")
        if name in space:
            raise ValueError(f"axis {name!r} is given twice")
        argument = (arguments or {}).get(name, Argument(name))
        listed = [] if ":" in values else [_read(argument, text) for text in values.split(",")]
        space[name] = listed or _geometric(axis, values)
    return space


def _geometric(axis: str, values: str) -> list[Any]:
    """Values at equal ratios; whole numbers, each once, where both ends are written as integers."""
    try:
        low, high, count = values.split(":")
        ends, number = (float(low), float(high)), int(count)
    except ValueError:
        ends, number = (0.0, 0.0), 0
    if not all(0 < end < math.inf for end in ends) or number < 1:
        raise ValueError(f"{axis!r} must be name=low:high:count, two positive numbers and how many")
    spread = np.geomspace(*ends, number).tolist()
    whole = all(isinstance(_number(end), int) for end in (low, high))
    return list(dict.fromkeys(map(round, spread))) if whole else spread


def _read(argument: Argument, text: str) -> Any:
    """A text as the argument wants it: a boolean, a number, None, or the text itself; by its looks if none fits."""
    if _is_ambiguous(argument, text):
        raise ValueError(
            f"{argument.name}={text} may be a boolean or a text, and {argument.name} is declared neither: write "
            f"{_checks.TRUTH[text.lower()]}, or annotate {argument.name}: bool or {argument.name}: str in its function"
        )
    word, number = text.lower(), _number(text)
    readings: list[Any] = [_checks.TRUTH[word]] if word in _checks.TRUTH else []
    readings += [] if number is None else [number]
    readings += [None] if text == "None" or (word in ("none", "null") and not argument.takes(text)) else []
    read = next((each for each in [*readings, text] if argument.takes(each)), [*readings, text][0])
    return exact({argument.name: read}, {argument.name: argument})[argument.name]


def _is_ambiguous(argument: Argument, text: str) -> bool:
    """Whether a text such as "no" is given for an argument without annotation or default."""
    return argument.kinds is None and text.lower() in ("yes", "no", "on", "off")


def _number(text: str) -> int | float | None:
    """The number that is written there."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
