"""The commands about points of a function: `classify` judges one numerically, `prove` proves one or all."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro

from . import _checks
from .cli_sweeps import best_end_point, member_of, no_exit, problem_called
from .devices import use_compilation_cache, use_cpu_cores

if TYPE_CHECKING:
    from .problems import Problem


def classify(
    function: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FUNCTION")],
    at: tuple[float, ...] = (),
    sweep: Path | None = None,
    metric: str = "final_loss",
    direction: Literal["max", "min"] | None = None,
    seed: int = 0,
    polish: int = 0,
) -> int:
    """Classify a point of a function, or the best end point of a sweep.

    For example: jaxopt-notes classify himmelblau --at 3 2, or jaxopt-notes classify file.py:f --at 0 0

    Args:
        function: a function of jaxopt_notes.problems such as himmelblau, or your own: file.py:name, a loss of one
            vector, a Problem or a function that makes one.
        at: the coordinates of the point, or one number for a function of one variable.
        sweep: a store of jaxopt-notes sweep --keep-params; its best configuration is judged.
        metric: what that configuration is best in.
        direction: whether the highest of that metric is best, max, or the lowest, min; by default from the store.
        seed: seed of the trial to judge.
        polish: Newton steps to the critical point nearby before judging.
    """
    if bool(at) == (sweep is not None):
        raise ValueError("give the point with --at, or a store of a sweep with --sweep")
    _checks.count("seed", seed, low=0)
    _checks.count("polish", polish, low=0)
    use_cpu_cores()
    use_compilation_cache()
    from .curvature import classify as judge

    words = ""
    if sweep is None:
        named = _named(function, len(at))
        params = _shaped(function, np.asarray(at), named.like)
    else:
        problem, params, words = best_end_point(function, sweep, metric, direction, seed)
        named = _of_problem(problem)
    with no_exit(function):
        verdict = judge(named.loss, params, *named.data, polish=polish)
    print(f"{words}{verdict}")
    return 0


def prove(
    function: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[FUNCTION]")] = "",
    box: tuple[float, ...] = (),
    at: tuple[float, ...] = (),
    boxes: int = 1_000_000,
    save: Path | None = None,
    check: Path | None = None,
) -> int:
    """Prove which critical points a function has in a box and that it has no other, or what kind of point one is.

    For example: jaxopt-notes prove himmelblau, or jaxopt-notes prove file.py:f --box -5 5 -5 5

    Args:
        function: a function of jaxopt_notes.problems such as himmelblau, or your own: file.py:name, a loss of one
            vector, a Problem or a function that makes one.
        box: lower and upper bound of every parameter, one after the other; the domain of a known function by default.
        at: the coordinates of a point: prove that a critical point is there, and its kind.
        boxes: how many parts of the box to examine at most.
        save: a JSON file for the proof, which --check proves again.
        check: prove again what such a file states; no function is needed.
    """
    from . import proof

    if check is not None:
        if function or box or at or save is not None:
            raise ValueError("--check takes a file and nothing else")
        print(f"{proof.check_certificate(check)}\nproved again, from {check} alone")
        return 0
    if not function:
        raise ValueError("name a function such as himmelblau or file.py:f, or a file with --check")
    if at and box:
        raise ValueError("give a point with --at or a box with --box, not both")
    named = _named(function, len(at) or len(box) // 2)
    loss = lambda params: named.loss(params, *named.data)
    with no_exit(function):
        if at:
            found: Any = proof.prove(loss, _shaped(function, np.asarray(at), named.like))
        else:
            sides = _sides(function, box, named.domain)
            found = proof.all_critical_points(
                loss, tuple(_shaped(function, side, named.like) for side in sides), boxes=boxes
            )
            for i, (lower, upper) in enumerate(found.loss):
                print(f"{_coordinates(found.points, i)}  {_kind(found, i)}  loss {_value(lower, upper)}")
    print(found)
    if save is not None:
        found.save(save)
        print(f"saved   {save}\ncheck   jaxopt-notes prove --check {save}")
    return 0 if (found.proved if at else found.complete) else 1


class _Function(NamedTuple):
    """A loss, its data as no or one argument, arrays like its parameters, and its domain, None if it is not known."""

    loss: Callable[..., Any]
    data: tuple[Any, ...]
    like: Any
    domain: Any


def _named(name: str, size: int) -> _Function:
    """The function of that name; a user's own takes a vector of this size, or a number where it is 1."""
    from .problems import Problem

    member = member_of(name) if ":" in name else None
    if callable(member) and not isinstance(member, Problem) and _takes_one(member):
        like = np.zeros(()) if size == 1 and _takes_number(member) else np.zeros(size)
        if not _makes_a_problem(member):
            return _Function(member, (), like, None)
    return _of_problem(problem_called(name))


def _of_problem(problem: Problem) -> _Function:
    import jax

    like = jax.tree.map(lambda leaf: np.zeros(leaf.shape), problem.start_shapes()[0])
    domain = None if problem.facts is None else problem.facts.domain
    return _Function(problem.loss, () if problem.data is None else (problem.data,), like, domain)


def _takes_one(function: Any) -> bool:
    """Whether a function needs one argument, as a loss does, and not none, as what makes a problem."""
    import inspect

    parameters = inspect.signature(function).parameters.values()
    return sum(one.default is inspect.Parameter.empty for one in parameters) == 1


def _makes_a_problem(function: Any) -> bool:
    """Whether a function of one argument is no loss but makes a problem of a number, such as that of units."""
    from .problems import Problem

    try:
        return isinstance(function(1), Problem)
    except Exception:  # a loss of a vector fails here, and one that fails everywhere is reported where it is judged
        return False


def _takes_number(function: Any) -> bool:
    """Whether a function of one parameter is one of a number, and not of a vector."""
    import jax
    import jax.numpy as jnp

    try:
        return jax.eval_shape(function, jnp.zeros(())).shape == ()
    except Exception:
        return False


def _sides(name: str, box: tuple[float, ...], domain: Any) -> tuple[np.ndarray, np.ndarray]:
    if not box:
        if domain is None:
            raise ValueError(f"--box is needed: lower and upper bound of every parameter of {name}")
        return np.asarray(domain[0], float), np.asarray(domain[1], float)
    if len(box) % 2:
        raise ValueError(
            f"--box must be pairs, the lower and the upper bound of every parameter, got {len(box)} numbers"
        )
    return np.asarray(box[::2]), np.asarray(box[1::2])


def _shaped(name: str, numbers: np.ndarray, like: Any) -> Any:
    """The numbers in the structure of the parameters."""
    import jax

    structure: Any
    leaves, structure = jax.tree.flatten(like)
    sizes = [math.prod(leaf.shape) for leaf in leaves]
    if sum(sizes) != len(numbers):
        raise ValueError(f"{len(numbers)} parameters are given, {name} has {sum(sizes)}")
    parts = np.split(numbers, np.cumsum(sizes)[:-1])
    return structure.unflatten([np.reshape(part, leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


def _coordinates(points: Any, number: int) -> str:
    import jax

    numbers = np.concatenate([np.ravel(leaf[number]) for leaf in jax.tree.leaves(points)])
    return "(" + ", ".join(f"{x:.12g}" for x in numbers) + ")"


def _value(lower: float, upper: float) -> str:
    """A number with the digits that are proved."""
    middle, half = 0.5 * (lower + upper), 0.5 * (upper - lower)
    return f"{middle:.10g}" if half < 1e-11 * abs(middle) else f"{middle:.3g} +- {half:.1g}"


def _kind(found: Any, number: int) -> str:
    return f"saddle of index {found.index[number]}" if found.kind[number] == "saddle" else found.kind[number]
