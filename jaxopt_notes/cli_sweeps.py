"""The commands that run a user's own problem, or one of ours: `sweep` and `classify`."""

from __future__ import annotations

import importlib.util
import inspect
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from . import _checks
from .devices import use_compilation_cache, use_cpu_cores
from .sweeps.store import is_store, open_sweep


def sweep(
    problem: Annotated[str, tyro.conf.Positional],
    optimizer: Annotated[str, tyro.conf.Positional],
    axes: Annotated[tuple[str, ...], tyro.conf.Positional],
    steps: int = 1000,
    seeds: int = 8,
    batch_size: int = 0,
    every: int = 1,
    seed: int = 0,
    store: Path = Path("runs/sweep"),
    metric: str = "final_loss",
    keep_params: bool = False,
    plan: bool = False,
) -> int:
    """Sweep an optimizer's numbers over a grid, keep the sweep in a store, and print the best configuration.

    For example: jaxopt-notes sweep digits_mlp momentum learning_rate=1e-3:1:13 beta=0,0.9 --batch-size 64

    Args:
        problem: a function of jaxopt_notes.problems such as digits_mlp, or your own: file.py:name, a Problem or a
            function that makes one.
        optimizer: a name such as momentum or adam.
        axes: name=a,b,c lists values, name=low:high:count is geometric. Names are arguments of the optimizer or of the
            problem.
        steps: of every trial.
        seeds: starts and data orders of every configuration.
        batch_size: examples per step; 0 for all of them.
        every: record one entry per this many steps.
        seed: of all randomness; the same seed gives the same numbers.
        store: folder of the sweep; the same command goes on where a killed one stopped.
        metric: what the best configuration is best in, such as test_accuracy.
        keep_params: keep the end points, for jaxopt-notes classify --sweep.
        plan: only print what would be run.
    """
    from .optimizers import OPTIMIZERS

    family = OPTIMIZERS[_checks.choice("optimizer", optimizer, list(OPTIMIZERS))]
    values = _space(axes)
    _checks.count("seed", seed, low=0)
    use_cpu_cores()  # before a file of the user's first uses JAX
    use_compilation_cache()
    import jax

    from .sweeps import best
    from .sweeps import sweep as run
    from .sweeps.planning import plan as make_plan

    made, space = _matched(_problem(problem), values)
    definition: dict[str, Any] = {"seeds": seeds, "steps": steps, "every": every, "key": jax.random.key(seed)}
    definition["batch_size"] = batch_size or None
    if plan:
        print(make_plan(made, family, space, **definition))
        return 0
    table = run(made, family, space, **definition, store=store, keep_params=keep_params)
    print(best(table, metric))
    print(f"\nstore    {store}\nreport   jaxopt-notes report {store}")
    return 0


def classify(
    problem: Annotated[str, tyro.conf.Positional],
    at: tuple[float, ...] = (),
    sweep: Path | None = None,
    metric: str = "final_loss",
    seed: int = 0,
    polish: int = 0,
) -> int:
    """Say what kind of point it is, and prove what can be proved: of a test function, or of a sweep's best end point.

    For example: jaxopt-notes classify himmelblau --at 3 2

    Args:
        problem: a function of jaxopt_notes.problems such as himmelblau, or your own: file.py:name, a Problem or a
            function that makes one.
        at: the coordinates of the point, or one number for a function of one variable.
        sweep: a store of jaxopt-notes sweep --keep-params; its best configuration is judged.
        metric: what that configuration is best in.
        seed: of the trial to judge.
        polish: Newton steps to the critical point nearby before judging.
    """
    if bool(at) == (sweep is not None):
        raise ValueError("give the point with --at, or a store of a sweep with --sweep")
    use_cpu_cores()
    use_compilation_cache()
    import jax
    import jax.numpy as jnp

    from .curvature import classify as judge
    from .problems import Problem

    made = _problem(problem)
    if not isinstance(made, Problem):
        made = made()
    shapes = jax.eval_shape(made.init, jax.random.key(0))
    if sweep is None:
        leaves = jax.tree.leaves(shapes)
        if len(leaves) != 1 or math.prod(leaves[0].shape) != len(at):
            sizes = sum(math.prod(leaf.shape) for leaf in leaves)
            raise ValueError(f"--at gives {len(at)} coordinates, {problem} has {sizes} parameters")
        params = jax.tree.map(lambda leaf: jnp.asarray(at, leaf.dtype).reshape(leaf.shape), shapes)
    else:
        params = _best_end_point(made, sweep, metric, seed)
    print(judge(made.loss, params, *(() if made.data is None else (made.data,)), polish=polish))
    return 0


def _best_end_point(problem: Any, store: Path, metric: str, seed: int) -> Any:
    from .sweeps import best, end_point

    if not is_store(store):
        raise FileNotFoundError(f"{store} is no store of a sweep; jaxopt-notes sweep ... --keep-params makes one")
    table = open_sweep(store)
    config = best(table, metric).config
    print(f"{', '.join(f'{name}={value:.4g}' for name, value in config.items())}, seed {seed}")
    return end_point(table, problem, seed=seed, **config)


def _problem(name: str) -> Any:
    """A function of `problems` by its name, or what a file of the user's holds."""
    from . import problems

    path, colon, member = name.rpartition(":")
    if colon:
        found = getattr(_module(Path(path)), member, None)
        if not (callable(found) or isinstance(found, problems.Problem)):
            raise ValueError(f"{path} holds no problem {member!r}: it must be a Problem or a function that makes one")
        return found
    makers = [
        each
        for each, value in vars(problems).items()
        if inspect.isfunction(value) and inspect.signature(value, eval_str=True).return_annotation is problems.Problem
    ]
    return getattr(problems, _checks.choice("problem", name, makers))


def _module(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; a problem of your own is file.py:name")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _space(axes: tuple[str, ...]) -> dict[str, list[Any]]:
    """Values of every axis, by name."""
    space: dict[str, list[Any]] = {}
    for axis in axes:
        name, equals, values = axis.partition("=")
        if not (equals and name.isidentifier() and values):
            raise ValueError(f"axes must be name=a,b,c or name=low:high:count, got {axis!r}")
        if name in space:
            raise ValueError(f"axis {name!r} is given twice")
        space[name] = _geometric(axis, values) if ":" in values else [_value(text) for text in values.split(",")]
    return space


def _geometric(axis: str, values: str) -> list[float]:
    try:
        low, high, count = values.split(":")
        return np.geomspace(float(low), float(high), int(count)).tolist()
    except ValueError:
        raise ValueError(f"{axis!r} must be name=low:high:count, two positive numbers and how many") from None


def _value(text: str) -> Any:
    """A number, a boolean, None, or else the text itself."""
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _matched(problem: Any, axes: dict[str, list[Any]]) -> tuple[Any, Any]:
    """The problem, or its maker where some axes are the maker's arguments, and the space."""
    from .problems import Problem
    from .sweeps import grid

    if isinstance(problem, Problem):
        return problem, grid(**axes)
    own = set(axes) & set(inspect.signature(problem).parameters)
    return (problem if own else problem()), grid(**axes)
