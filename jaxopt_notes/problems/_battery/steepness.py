"""Gradients far larger than those near the minimum: cliffs, exploding gradients, huge first ones."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._problem import Problem
from .task import DESCENT, Task, moved, near

_LENGTH = 20


def exploding_gradient() -> Task:
    """(w^20 - 1/2)^2 from w = 1.4, where the slope is 1e7."""

    def loss(w: Float[Array, " 1"]) -> Float[Array, ""]:
        return jnp.sum((w**_LENGTH - 0.5) ** 2)

    return Task(
        name="exploding_gradient",
        difficulty="a gradient that grows by a factor in each of 20 steps of a recurrence: 1e7 at the start",
        source="Pascanu, Mikolov and Bengio, 2013",
        problem=Problem(loss, near(1.4, width=0.05)),
        steps=500,
        threshold=1e-3,
        reason="the output of the last step is within 0.03 of its target",
        reference=("lion", {"learning_rate": 0.002, "b1": 0.0, "b2": 0.0}),
        naive=DESCENT,
    )


def cliff() -> Task:
    """A gentle slope to the minimum with a cliff of height 10,000 across the way, from 4 to 2."""

    def loss(x: Float[Array, " 1"]) -> Float[Array, ""]:
        return jnp.sum(jnp.sqrt(1 + x**2) - 1 + 5000 * jnp.clip(x - 2, 0, 2))

    return Task(
        name="cliff",
        difficulty="a cliff of slope 5000 across a gentle slope, which throws the parameters far away",
        source="Goodfellow, Bengio and Courville, 2016, section 8.2.4; Pascanu, Mikolov and Bengio, 2013",
        problem=moved(Problem(loss, near(5.0))),
        steps=300,
        threshold=1e-2,
        reason="within 0.15 of the minimum, on the floor below the cliff",
        reference=("rmsprop", {"learning_rate": 0.05}),
        naive=DESCENT,
    )


def exponential_walls() -> Task:
    """cosh(x) - 1 from 15, where slope and curvature are 2e6."""

    def loss(x: Float[Array, " 2"]) -> Float[Array, ""]:
        return jnp.sum(jnp.cosh(x) - 1)

    return Task(
        name="exponential_walls",
        difficulty="walls that steepen exponentially: no rate is right at the start and near the minimum",
        source="Zhang et al., 2020, on gradient clipping (curvature that grows with the gradient)",
        problem=moved(Problem(loss, near(15.0, -10.0, width=0.5))),
        steps=500,
        threshold=1e-2,
        reason="within 0.15 of the minimum, where the curvature is 1",
        reference=("rmsprop", {"learning_rate": 0.05}),
        naive=DESCENT,
    )


def large_first_gradients() -> Task:
    """A bowl, after ten steps of a slope that is 1e4 times steeper and points away from the minimum."""

    def loss(x: Float[Array, " 4"], *, aux: Array) -> tuple[Float[Array, ""], Array]:
        return jnp.where(aux < 10, -1e4 * jnp.sum(x), jnp.sqrt(1 + jnp.sum(x**2))), aux + 1

    def evaluate(x: Float[Array, " 4"]) -> Float[Array, ""]:
        return jnp.sqrt(1 + jnp.sum(x**2)) - 1

    start = near(5.0, 5.0, 5.0, 5.0, width=0.5)
    return Task(
        name="large_first_gradients",
        difficulty="ten first gradients that are 1e4 times larger than all others and mislead, which averages remember",
        source="Liu et al., 2020, on warm-up; Goyal et al., 2017",
        problem=moved(Problem(loss, lambda key: (start(key), jnp.int32(0)), evaluate=evaluate)),
        steps=500,
        threshold=1e-2,
        reason="within 0.15 of the minimum, where the curvature is 1",
        reference=("rmsprop", {"learning_rate": 0.05}),
        naive=DESCENT,
    )


def tasks() -> list[Task]:
    """All of this file."""
    return [exploding_gradient(), cliff(), exponential_walls(), large_first_gradients()]
