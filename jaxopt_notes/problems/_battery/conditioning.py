"""Curvatures of different sizes: along the axes, rotated, and in curved ravines."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._functions import beale, quadratic, rosenbrock
from .._problem import Problem
from .task import DESCENT, Task, moved, near, normal_start

_DIMENSION = 8
_REACH = "a thousandth of what the flattest direction holds one unit from the minimum, so every direction is solved"


def _quadratic(condition: float, rotated: bool) -> Problem:
    """Eigenvalues from 1/condition to 1, evenly spaced in their logarithm."""
    eigenvalues = np.geomspace(1 / condition, 1, _DIMENSION).tolist()
    problem = quadratic(eigenvalues, key=jax.random.key(1) if rotated else None)
    return replace(problem, init=normal_start(_DIMENSION))


def _ill_conditioned(exponent: int, rotated: bool, steps: int, reference: tuple[str, dict[str, float]]) -> Task:
    kind = "rotated" if rotated else "axes"
    place = "rotated against the axes" if rotated else "along the axes"
    return Task(
        name=f"condition_1e{exponent}_{kind}",
        difficulty=f"curvatures that differ by 1e{exponent}, {place}",
        source="Levine, CS 182 lecture 4, 2021; Nesterov, 1983",
        problem=moved(_quadratic(10.0**exponent, rotated)),
        steps=steps,
        threshold=0.5e-3 * 10.0**-exponent,
        reason=_REACH,
        reference=reference,
        naive=DESCENT,
    )


def rosenbrocks_valley() -> Task:
    """A curved valley whose floor is 2,500 times flatter than its walls."""
    return Task(
        name="rosenbrock",
        difficulty="a ravine that turns: the fast direction is another one at every point",
        source="Rosenbrock, 1960",
        problem=replace(rosenbrock(), init=near(-1.2, 1.0)),
        steps=1000,
        threshold=1e-3,
        reason="within 0.07 of the minimum along the floor, where the smaller eigenvalue is 0.4",
        reference=("momentum", {"learning_rate": 0.0005, "beta": 0.97}),
        naive=DESCENT,
    )


def chained_rosenbrock() -> Task:
    """The same valley in eight dimensions."""
    return Task(
        name="rosenbrock_chain",
        difficulty="a turning ravine in eight dimensions, where the variables must move one after the other",
        source="Rosenbrock, 1960; Kok and Sandrock, 2009",
        problem=replace(rosenbrock(8), init=near(*[0.0] * 8, width=0.3)),
        steps=1000,
        threshold=0.1,
        reason="a seventieth of the loss of 7 at the origin, which leaves no variable unsolved",
        reference=("adam", {"learning_rate": 0.03}),
        naive=DESCENT,
    )


def beales_corners() -> Task:
    """Beale's function from the steep corner."""
    return Task(
        name="beale",
        difficulty="a flat curved valley below walls that are thousands of times steeper",
        source="Beale, 1958",
        problem=replace(beale(), init=near(-3.0, -3.0)),
        steps=1000,
        threshold=0.1,
        reason="well below 0.452, which the valley that leads to infinity along y = 1 does not go below",
        reference=("adam", {"learning_rate": 0.2, "b2": 0.98}),
        naive=DESCENT,
    )


def bent_canyon() -> Task:
    """A ring-shaped canyon, along which the run goes half way around."""

    def loss(x: Float[Array, " 2"]) -> Float[Array, ""]:
        radius = jnp.sqrt(jnp.sum(x**2) + 1e-12)
        return 100 * (radius - 1) ** 2 + 0.5 * (1 - x[0] / radius)

    return Task(
        name="bent_canyon",
        difficulty="a canyon whose floor bends by half a turn, so momentum must change its direction",
        source="the long canyon of Levine, CS 182 lecture 4, 2021, bent",
        problem=moved(Problem(loss, near(-0.9, 0.3))),
        steps=500,
        threshold=1e-3,
        reason="within 4 degrees of the lowest point of the floor",
        reference=("adam", {"learning_rate": 0.05}),
        naive=DESCENT,
    )


def steep_kinks() -> Task:
    """Absolute values with slopes from 1 to 100, where a constant step jumps across."""
    slopes = np.geomspace(1, 100, 4)

    def loss(x: Float[Array, " 4"]) -> Float[Array, ""]:
        return jnp.sum(jnp.asarray(slopes, x.dtype) * jnp.abs(x))

    return Task(
        name="steep_kinks",
        difficulty="kinks with slopes that differ by 100: gradients do not shrink towards the minimum",
        source="Shor, 1985; Zhang et al., Dive into Deep Learning, 2023 (the absolute value)",
        problem=moved(Problem(loss, normal_start(4))),
        steps=500,
        threshold=1.0,
        reason="what the gentlest slope alone holds one unit from the minimum, and all together 127",
        reference=("lion", {"learning_rate": 0.008, "b1": 0.0, "b2": 0.0}),
        naive=DESCENT,
    )


def tasks() -> list[Task]:
    """All of this file."""
    return [
        _ill_conditioned(2, False, 100, ("adagrad", {"learning_rate": 0.5})),
        _ill_conditioned(2, True, 100, ("momentum", {"learning_rate": 1.0, "beta": 0.8})),
        _ill_conditioned(4, False, 500, ("adagrad", {"learning_rate": 0.5})),
        _ill_conditioned(4, True, 1000, ("momentum", {"learning_rate": 2.0, "beta": 0.97})),
        _ill_conditioned(6, False, 500, ("adagrad", {"learning_rate": 0.5})),
        _ill_conditioned(6, True, 500, ("newton", {"learning_rate": 1.0})),
        rosenbrocks_valley(),
        chained_rosenbrock(),
        beales_corners(),
        bent_canyon(),
        steep_kinks(),
    ]
