"""Saddle points to be left, and low barriers to be passed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._functions import double_well, himmelblau
from .._problem import Problem
from .task import DESCENT, Task, moved, near, with_gradient_noise


def _beside(loss: Callable[[Array], Array], distance: float, *others: float) -> Problem:
    """A problem that begins at `others`, and at this distance on a random side along the last axis."""

    def init(key: Key[Array, ""]) -> Float[Array, " n"]:
        side = distance * jax.random.rademacher(key, (1,), float)
        return jnp.concatenate([jnp.asarray(others, float), side])

    return Problem(loss, init)


def _double_trough(x: Float[Array, " 2"]) -> Float[Array, ""]:
    return 50 * x[0] ** 2 - 0.5 * x[1] ** 2 + 0.25 * x[1] ** 4


def strict_saddle() -> Task:
    """50 x^2 - y^2/2 + y^4/4, whose minima have the value -1/4, from y = +-1e-6."""
    return Task(
        name="saddle",
        difficulty="a saddle left along a direction a hundred times flatter than the one that limits the rate",
        source="Dauphin et al., 2014; Levine, CS 182 lecture 4, 2021",
        problem=moved(_beside(_double_trough, 1e-6, 1.0)),
        steps=300,
        threshold=-0.2,
        reason="most of the way from the saddle at 0 to the minima at -1/4",
        reference=("adam", {"learning_rate": 0.05}),
        naive=DESCENT,
    )


def exact_saddle() -> Task:
    """The same saddle from exactly its ridge, with noise in the gradient."""

    def noise(key: Key[Array, ""], x: Array) -> Array:
        return 1e-3 * jax.random.normal(key, x.shape)

    return Task(
        name="saddle_left_by_noise",
        difficulty="a start exactly on the ridge of a saddle, which only noise leaves",
        source="Jin et al., 2017; Levine, CS 182 lecture 5, 2021",
        problem=moved(with_gradient_noise(_double_trough, noise, jnp.asarray([1.0, 0.0], float))),
        steps=300,
        threshold=-0.2,
        reason="most of the way from the saddle at 0 to the minima at -1/4",
        reference=("momentum", {"learning_rate": 0.01, "beta": 0.95}),
        naive=DESCENT,
    )


def wide_saddle() -> Task:
    """One flat direction down among 31 directions up."""
    curvatures = np.concatenate([np.ones(31), [-0.02]])

    def loss(x: Float[Array, " 32"]) -> Float[Array, ""]:
        return 0.5 * jnp.sum(jnp.asarray(curvatures, x.dtype) * x**2) + 0.005 * x[-1] ** 4

    return Task(
        name="saddle_among_32",
        difficulty="one flat way down among 31 directions up",
        source="Dauphin et al., 2014; Choromanska et al., 2015",
        problem=moved(_beside(loss, 1e-3, *[1.0] * 31)),
        steps=150,
        threshold=-0.0025,
        reason="half of the way down to the minima, at -0.005",
        reference=("adam", {"learning_rate": 0.05}),
        naive=DESCENT,
    )


def degenerate_saddle() -> Task:
    """A monkey saddle in a bowl, (x^3 - 3 x y^2) + |x|^4, from next to its centre."""

    def loss(x: Float[Array, " 2"]) -> Float[Array, ""]:
        return x[0] ** 3 - 3 * x[0] * x[1] ** 2 + jnp.sum(x**2) ** 2

    return Task(
        name="monkey_saddle",
        difficulty="a saddle without curvature: the gradient grows as the square of the distance",
        source="Dauphin et al., 2014",
        problem=moved(Problem(loss, near(1e-3, 0.0, width=1e-4))),
        steps=200,
        threshold=-0.1,
        reason="near the minima at -27/256 = -0.105",
        reference=("adam", {"learning_rate": 0.05}),
        naive=DESCENT,
    )


def poor_minimum() -> Task:
    """The double well from the side of the higher minimum."""
    return Task(
        name="double_well",
        difficulty="a minimum that is not the lowest on the way: what rolls passes it",
        source="Levine, CS 182 lecture 4, 2021; Polyak, 1964",
        problem=moved(replace(double_well(), init=near(1.8))),
        steps=300,
        threshold=-0.25,
        reason="between the two minima, at -0.149 and -0.352",
        reference=("momentum", {"learning_rate": 0.1, "beta": 0.9}),
    )


def ripples() -> Task:
    """A bowl with ripples, x^2/2 + (1 - cos(10 x))/10 in each of four directions, 3 from the minimum."""

    def loss(x: Float[Array, " 4"]) -> Float[Array, ""]:
        return jnp.sum(0.5 * x**2 + 0.1 * (1 - jnp.cos(10 * x)))

    return Task(
        name="ripples",
        difficulty="many shallow local minima on the slope of a bowl",
        source="Rastrigin, 1974; Levine, CS 182 lecture 4, 2021",
        problem=moved(Problem(loss, near(3.0, -3.0, 3.0, -3.0, width=0.5))),
        steps=500,
        threshold=0.1,
        reason="below the lowest local minimum beside the global one, at 0.179",
        reference=("momentum", {"learning_rate": 0.05, "beta": 0.75}),
        naive=DESCENT,
    )


def four_minima() -> Task:
    """Himmelblau's function from the maximum between its four minima."""
    return Task(
        name="maximum_between_minima",
        difficulty="a start next to a maximum, from which every direction goes down",
        source="Himmelblau, 1972",
        problem=replace(himmelblau(), init=near(-0.2708, -0.9230, width=1e-3)),
        steps=200,
        threshold=1e-3,
        reason="within 0.01 of a minimum, where curvatures are 10 to 100",
        reference=("adam", {"learning_rate": 0.3}),
    )


def tasks() -> list[Task]:
    """All of this file."""
    return [
        strict_saddle(),
        exact_saddle(),
        wide_saddle(),
        degenerate_saddle(),
        poor_minimum(),
        ripples(),
        four_minima(),
    ]
