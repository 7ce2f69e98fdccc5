"""`Task`: a problem, a number of steps, and what must be reached; and what several tasks are made of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ... import _checks
from .._problem import Problem

HEAVYBALL = "HeavyBall's diagnostic benchmark, 2026"


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """A small problem with a pass mark that isolates one difficulty of optimization.

        passed = (metric at the end <= threshold),     where the run ended finite

    Attributes:
        name: of the task.
        difficulty: one line: what makes it hard.
        source: who names the difficulty.
        problem: what is minimised. Starts and noise come from the key of a seed.
        steps: steps of a run.
        threshold: what the metric must not exceed at the end.
        reason: why this threshold, in terms of the problem.
        reference: an optimizer of `OPTIMIZERS` and its numbers, with which the task is passed.
        naive: an optimizer and its numbers, without the learning rate: it fails at every rate from 1e-6 to 1e3. None
            where no simple method fails so.
        group: the kind of difficulty.
        metric: the column of a sweep that is compared; lower is better.
        batch_size: examples per step; None for all.

    Raises:
        TypeError, ValueError: `steps`, `threshold` or `batch_size` is out of range.

    Example:
        >>> import jaxopt_notes as jon
        >>> task = jon.problems.battery()["plateau"]
        >>> task
        Task('plateau': flatness, 200 steps, final_loss <= 0.001)
        >>> task.reference
        ('adam', {'learning_rate': 0.1})
    """

    name: str
    difficulty: str
    source: str
    problem: Problem
    steps: int
    threshold: float
    reason: str
    reference: tuple[str, Mapping[str, float]]
    naive: tuple[str, Mapping[str, float]] | None = None
    group: str = ""
    metric: str = "final_loss"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        _checks.count("steps", self.steps)
        _checks.scalar("threshold", self.threshold)
        if self.batch_size is not None:
            _checks.count("batch_size", self.batch_size)
        object.__setattr__(self, "problem", replace(self.problem, name=self.name))

    def __repr__(self) -> str:
        return f"Task({self.name!r}: {self.group}, {self.steps} steps, {self.metric} <= {self.threshold:g})"


DESCENT: tuple[str, Mapping[str, float]] = ("gradient_descent", {})


def normal_start(*shape: int, scale: float = 1.0) -> Callable[[Key[Array, ""]], Float[Array, "..."]]:
    """A start drawn from the normal distribution with the key of the seed."""
    return lambda key: scale * jax.random.normal(key, shape)


def near(*center: float, width: float | tuple[float, ...] = 0.1) -> Callable[[Key[Array, ""]], Float[Array, " n"]]:
    """A start drawn uniformly from the box of this half width around a point."""
    middle, half = jnp.asarray(center, float), jnp.asarray(width, float)
    return lambda key: middle + half * jax.random.uniform(key, middle.shape, minval=-1.0, maxval=1.0)


def moved(problem: Problem, by: float = 1.0) -> Problem:
    """The problem with its parameters shifted, since decaying weights alone would find a minimum at 0."""

    def elsewhere(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def shifted(x: Array, *args: Any, **known: Any) -> Any:
            return function(x - by, *args, **known)

        return shifted

    def init(key: Key[Array, ""]) -> Any:
        x, aux = problem.start(key)
        return (x + by, aux) if problem.asks.aux else x + by

    evaluate = None if problem.evaluate is None else elsewhere(problem.evaluate)
    return replace(problem, loss=elsewhere(problem.loss), init=init, evaluate=evaluate, facts=None)


def with_gradient_noise(
    function: Callable[[Array], Array], noise: Callable[[Key[Array, ""], Array], Array], init: Any, **options: Any
) -> Problem:
    """A problem whose gradient has a random vector added in every step, and whose loss is measured without it.

    The vector is held constant as a factor of the parameters, so `noise(key, x)` may depend on them too.
    """

    def loss(x: Array, *, key: Key[Array, ""]) -> Array:
        return function(x) + jnp.sum(jax.lax.stop_gradient(noise(key, x)) * x)

    return Problem(loss, init, evaluate=function, **options)
