"""Noise in the gradient: additive, multiplicative, heavy-tailed, of minibatches, and false signs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._problem import Problem
from .task import DESCENT, Task, moved, normal_start, with_gradient_noise

_DIMENSION = 8


def _bowl(x: Float[Array, " 8"]) -> Float[Array, ""]:
    return 0.5 * jnp.sum(x**2)


def additive() -> Task:
    """|x|^2/2 with normal noise of standard deviation 1 in every entry of the gradient."""
    return Task(
        name="additive_noise",
        difficulty="noise of constant size in the gradient, which a constant rate turns into a floor",
        source="Robbins and Monro, 1951; Levine, CS 182 lecture 4, 2021",
        problem=moved(
            with_gradient_noise(_bowl, lambda key, x: jax.random.normal(key, x.shape), normal_start(8, scale=3.0))
        ),
        steps=1000,
        threshold=0.1,
        reason="a fortieth of the floor of 4 that steps with a rate of 1 have, and 0.3 % of the loss of the start",
        reference=("gradient_descent", {"learning_rate": 0.01}),
    )


def multiplicative() -> Task:
    """Noise three times as large as each entry of the gradient."""
    return Task(
        name="multiplicative_noise",
        difficulty="noise that is three times as large as the gradient itself, so that nine tenths of it are noise",
        source="Bottou, Curtis and Nocedal, 2018; Hodgkinson and Mahoney, 2021",
        problem=moved(
            with_gradient_noise(_bowl, lambda key, x: 3 * x * jax.random.normal(key, x.shape), normal_start(8))
        ),
        steps=500,
        threshold=1e-4,
        reason="a ten-thousandth of the loss 4 of the start, and less: the noise vanishes at the minimum",
        reference=("gradient_descent", {"learning_rate": 0.05}),
    )


def heavy_tailed() -> Task:
    """Noise of the Cauchy distribution, which has no mean."""
    return Task(
        name="heavy_tailed_noise",
        difficulty="noise with outliers of any size (Cauchy), whose average never settles",
        source="Zhang et al., 2020; Simsekli et al., 2019",
        problem=moved(
            with_gradient_noise(_bowl, lambda key, x: 0.3 * jax.random.cauchy(key, x.shape), normal_start(8))
        ),
        steps=1000,
        threshold=0.1,
        reason="a fortieth of the loss of 4 at the start",
        reference=("lion", {"learning_rate": 0.01, "b1": 0.0, "b2": 0.0}),
        naive=DESCENT,
    )


def outliers() -> Task:
    """Normal noise of size 1, and of size 1000 in one step of fifty."""

    def noise(key: Key[Array, ""], x: Array) -> Array:
        chance, direction = jax.random.split(key)
        hit = jax.random.bernoulli(chance, 0.02)
        return jnp.where(hit, 1000.0, 1.0).astype(x.dtype) * jax.random.normal(direction, x.shape)

    return Task(
        name="outliers",
        difficulty="one batch in fifty is corrupted, with a gradient a thousand times larger",
        source="Chowdhery et al., 2022, on loss spikes; Huber, 1964",
        problem=moved(with_gradient_noise(_bowl, noise, normal_start(8))),
        steps=500,
        threshold=0.1,
        reason="a fortieth of the loss of 4 at the start",
        reference=("lion", {"learning_rate": 0.015, "b1": 0.0, "b2": 0.0}),
        naive=DESCENT,
    )


def false_signs() -> Task:
    """Each entry of the gradient has the wrong sign with probability 0.3."""

    def noise(key: Key[Array, ""], x: Array) -> Array:
        return jnp.where(jax.random.bernoulli(key, 0.3, x.shape), -2 * x, jnp.zeros_like(x))

    return Task(
        name="false_signs",
        difficulty="three in ten entries of the gradient have the wrong sign",
        source="Bernstein et al., 2018 (majority vote)",
        problem=moved(with_gradient_noise(_bowl, noise, normal_start(8, scale=3.0))),
        steps=500,
        threshold=1e-3,
        reason="a three-thousandth of the loss of the start: errors of sign vanish with the gradient",
        reference=("gradient_descent", {"learning_rate": 0.1}),
    )


def uneven_noise() -> Task:
    """Noise of standard deviation 0.3 on the flattest of four directions, and 0.001 on the steepest."""
    curvatures = np.geomspace(0.01, 1, 4)
    spread = np.geomspace(0.3, 0.001, 4)

    def loss(x: Float[Array, " 4"]) -> Float[Array, ""]:
        return 0.5 * jnp.sum(jnp.asarray(curvatures, x.dtype) * x**2)

    def noise(key: Key[Array, ""], x: Array) -> Array:
        return jnp.asarray(spread, x.dtype) * jax.random.normal(key, x.shape)

    return Task(
        name="uneven_noise",
        difficulty="an ill-conditioned bowl whose flattest directions have the most noise",
        source="Zhang et al., 2019, the noisy quadratic model",
        problem=moved(with_gradient_noise(loss, noise, normal_start(4, scale=10.0))),
        steps=1000,
        threshold=0.1,
        reason="a fifth of what the flattest direction holds at its start, ten units from the minimum",
        reference=("gradient_descent", {"learning_rate": 0.3}),
    )


def _regression(spread: float) -> tuple[Float[np.ndarray, "64 8"], Float[np.ndarray, " 64"], float]:
    """Inputs, targets with this spread around a line, and the lowest mean of squares."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((64, _DIMENSION))
    targets = inputs @ random.standard_normal(_DIMENSION) + spread * random.standard_normal(64)
    residual = targets - inputs @ np.linalg.lstsq(inputs, targets, rcond=None)[0]
    return inputs, targets, float(np.mean(residual**2))


def _squares(w: Float[Array, " 8"], batch: tuple[Array, Array]) -> Float[Array, ""]:
    inputs, targets = batch
    return jnp.mean((inputs @ w - targets) ** 2)


def minibatches() -> Task:
    """Least squares with residuals, four examples a step."""
    inputs, targets, lowest = _regression(1.0)
    return Task(
        name="minibatch_noise",
        difficulty="gradients of four of 64 examples, which do not vanish at the minimum",
        source="Bottou, Curtis and Nocedal, 2018; Ng, CS 229",
        problem=Problem(_squares, normal_start(8), data=(jnp.asarray(inputs, float), jnp.asarray(targets, float))),
        steps=500,
        threshold=1.02 * lowest,
        reason="2 % above the lowest mean of squares, which the data decide",
        reference=("gradient_descent", {"learning_rate": 0.01}),
        batch_size=4,
    )


def interpolation() -> Task:
    """Least squares that all examples satisfy at once, four examples a step."""
    inputs, targets, _ = _regression(0.0)
    return Task(
        name="interpolation",
        difficulty="minibatches that agree at the minimum, so that a constant rate can reach it",
        source="Ma, Bassily and Belkin, 2018",
        problem=Problem(_squares, normal_start(8), data=(jnp.asarray(inputs, float), jnp.asarray(targets, float))),
        steps=500,
        threshold=1e-6,
        reason="a ten-millionth of the loss of the start, below any floor of noise",
        reference=("gradient_descent", {"learning_rate": 0.1}),
        batch_size=4,
    )


def tasks() -> list[Task]:
    """All of this file."""
    return [
        additive(),
        multiplicative(),
        heavy_tailed(),
        outliers(),
        false_signs(),
        uneven_noise(),
        minibatches(),
        interpolation(),
    ]
