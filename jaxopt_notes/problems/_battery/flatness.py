"""Small gradients far from a minimum: plateaus, saturation, flat minima and minima at infinity."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._functions import plateau
from .._problem import Problem
from .task import DESCENT, Task, moved, near


def wide_plateau() -> Task:
    """x^2/(1 + x^2) from 8, where the slope is 0.004."""
    return Task(
        name="plateau",
        difficulty="a plateau with a slope 500 times smaller than the curvature at the minimum allows for",
        source="Levine, CS 182 lecture 4, 2021",
        problem=moved(replace(plateau(), init=near(8.0, width=0.5))),
        steps=200,
        threshold=1e-3,
        reason="within 0.03 of the minimum, far inside the valley of half width 0.6",
        reference=("adam", {"learning_rate": 0.1}),
        naive=DESCENT,
    )


def saturated_unit() -> Task:
    """(sigmoid(x) - 0.9)^2 from -15, where the slope is 5e-7."""

    def loss(x: Float[Array, " 1"]) -> Float[Array, ""]:
        return jnp.sum((jax.nn.sigmoid(x) - 0.9) ** 2)

    return Task(
        name="saturated_sigmoid",
        difficulty="a saturated unit: its gradient is e^-15 of what it is in the middle",
        source="Glorot and Bengio, 2010; Li Hongyi, Machine Learning, 2021",
        problem=Problem(loss, near(-15.0, width=1.0)),
        steps=500,
        threshold=1e-4,
        reason="the output is within 0.01 of its target",
        reference=("adam", {"learning_rate": 0.1}),
        naive=DESCENT,
    )


def flat_minimum() -> Task:
    """The sum of x^4, whose curvature vanishes at the minimum."""

    def loss(x: Float[Array, " 4"]) -> Float[Array, ""]:
        return jnp.sum(x**4)

    return Task(
        name="flat_minimum",
        difficulty="a minimum without curvature, which a constant rate approaches as 1/sqrt(t)",
        source="Polyak, 1987",
        problem=moved(Problem(loss, near(3.0, 3.0, 3.0, 3.0, width=0.5))),
        steps=500,
        threshold=1e-7,
        reason="within about 0.01 of the minimum, a three-hundredth of the start",
        reference=("adam", {"learning_rate": 0.1, "b2": 0.9}),
        naive=DESCENT,
    )


def minimum_at_infinity() -> Task:
    """exp(-x) + 50 y^2: nothing is reached, and y limits the learning rate."""

    def loss(x: Float[Array, " 2"]) -> Float[Array, ""]:
        return jnp.exp(-x[0]) + 50 * x[1] ** 2

    return Task(
        name="minimum_at_infinity",
        difficulty="an infimum that is only approached, at a distance that grows as log(t)",
        source="Soudry et al., 2018; Zhang et al., Dive into Deep Learning, 2023 (exp)",
        problem=moved(Problem(loss, near(0.0, 1.0))),
        steps=300,
        threshold=1e-2,
        reason="a hundredth of the loss of either term at the start",
        reference=("adam", {"learning_rate": 0.1}),
        naive=DESCENT,
    )


def separable_classes() -> Task:
    """Logistic regression on two separable classes, with one feature a hundred times the other."""
    inputs = jnp.asarray([[100.0, 1.0], [100.0, -1.0], [-100.0, 1.0], [-100.0, -1.0]], float)
    signs = jnp.asarray([1.0, -1.0, 1.0, -1.0], float)

    def loss(w: Float[Array, " 2"], batch: tuple[Array, Array]) -> Float[Array, ""]:
        rows, labels = batch
        return jnp.mean(jax.nn.softplus(-labels * (rows @ w)))

    return Task(
        name="separable_classes",
        difficulty="classes that only the smaller of two features separates, so that the loss has no minimum",
        source="Soudry et al., 2018; Ng, CS 229 (scaling of features)",
        problem=Problem(loss, near(0.1, 0.0, width=0.02), data=(inputs, signs)),
        steps=300,
        threshold=1e-2,
        reason="every example is classified with a probability above 0.96",
        reference=("adam", {"learning_rate": 0.1}),
    )


def vanishing_gradient() -> Task:
    """(w^20 - 1)^2 from w = 0.5, a linear recurrence over 20 steps."""

    def loss(w: Float[Array, " 1"]) -> Float[Array, ""]:
        return jnp.sum((w**20 - 1) ** 2)

    return Task(
        name="vanishing_gradient",
        difficulty="a gradient that shrinks by a factor in each of 20 layers: 8e-5 here, and a curvature of 800 later",
        source="Hochreiter, 1991; Bengio, Simard and Frasconi, 1994",
        problem=Problem(loss, near(0.5, width=0.05)),
        steps=300,
        threshold=1e-2,
        reason="the output of the last layer is within 0.1 of its target",
        reference=("adam", {"learning_rate": 0.01}),
        naive=DESCENT,
    )


def tasks() -> list[Task]:
    """All of this file."""
    return [
        wide_plateau(),
        saturated_unit(),
        flat_minimum(),
        minimum_at_infinity(),
        separable_classes(),
        vanishing_gradient(),
    ]
