"""Small networks: deep linear ones, factorizations, and a few units with a kink or a saturation."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._functions import deep_linear_network
from .._problem import Problem
from .task import DESCENT, Task

Layers = tuple[Float[Array, "..."], ...]


def small_start() -> Task:
    """Two linear layers from next to zero, with modes of strengths 5 and 0.2."""
    problem = deep_linear_network((5.0, 0.2), depth=2, scale=1e-3)
    return Task(
        name="deep_linear_small_start",
        difficulty="two linear layers that start near the saddle at zero, with modes of strengths 25 times apart",
        source="Saxe, McClelland and Ganguli, 2014",
        problem=problem,
        steps=200,
        threshold=2e-3,
        reason="a tenth of what the weaker mode holds, so both are learned",
        reference=("adam", {"learning_rate": 0.05}),
        naive=DESCENT,
    )


def deep_linear() -> Task:
    """Three linear layers from next to zero, where the gradient is of the second order."""
    return Task(
        name="deep_linear_three_layers",
        difficulty="three linear layers whose gradient and curvature vanish at the saddle at zero",
        source="Saxe, McClelland and Ganguli, 2014; Kawaguchi, 2016",
        problem=deep_linear_network((2.0, 1.0), depth=3, scale=0.02),
        steps=500,
        threshold=0.05,
        reason="a tenth of what the weaker mode holds, so both are learned",
        reference=("adagrad", {"learning_rate": 0.2}),
        naive=DESCENT,
    )


def unbalanced_layers() -> Task:
    """Two layers of sizes 10 and 0.01, whose product is fitted."""

    def loss(w: Layers) -> Float[Array, ""]:
        return 0.5 * jnp.sum((w[0] @ w[1] - jnp.eye(3, dtype=w[0].dtype)) ** 2)

    def init(key: Key[Array, ""]) -> Layers:
        first, second = jax.random.split(key)
        return 10 * jax.random.orthogonal(first, 3, dtype=float), 0.01 * jax.random.normal(second, (3, 3))

    return Task(
        name="unbalanced_layers",
        difficulty="two layers of sizes a thousand times apart, so one has large curvature and one small gradients",
        source="Du, Hu and Lee, 2018",
        problem=Problem(loss, init),
        steps=300,
        threshold=1e-3,
        reason="the product is within 0.05 of the identity in norm",
        reference=("adam", {"learning_rate": 0.01}),
    )


def factorization() -> Task:
    """An 8 x 8 matrix of rank 2 with singular values 10 and 0.3, by two factors of rank 2."""
    random = np.random.default_rng(0)
    left, right = (np.linalg.qr(random.standard_normal((8, 2)))[0] for _ in range(2))
    target = left @ np.diag([10.0, 0.3]) @ right.T

    def loss(w: Layers) -> Float[Array, ""]:
        return 0.5 * jnp.sum((w[0] @ w[1].T - jnp.asarray(target, w[0].dtype)) ** 2)

    def init(key: Key[Array, ""]) -> Layers:
        first, second = jax.random.split(key)
        return 0.1 * jax.random.normal(first, (8, 2)), 0.1 * jax.random.normal(second, (8, 2))

    return Task(
        name="factorization",
        difficulty="a matrix with one component 30 times weaker than the other, as a product of two factors",
        source="Gunasekar et al., 2017; Jordan et al., 2024 (Muon)",
        problem=Problem(loss, init),
        steps=300,
        threshold=4.5e-3,
        reason="a tenth of what the weaker component holds",
        reference=("adam", {"learning_rate": 0.05}),
    )


def _two_layers(units: int, scale: float) -> Callable[[Key[Array, ""]], Layers]:
    def init(key: Key[Array, ""]) -> Layers:
        first, second = jax.random.split(key)
        hidden = scale * jax.random.normal(first, (3, units))
        return hidden, scale * jax.random.normal(second, (units + 1,))

    return init


def _outputs(w: Layers, inputs: Float[Array, "n 2"], bend: Callable[[Array], Array]) -> Float[Array, " n"]:
    one = jnp.ones((len(inputs), 1), inputs.dtype)
    hidden = bend(jnp.concatenate([inputs, one], axis=1) @ w[0])
    return jnp.concatenate([hidden, one], axis=1) @ w[1]


def exclusive_or() -> Task:
    """Four tanh units and the four points of XOR."""
    inputs = jnp.asarray([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], float)
    labels = jnp.asarray([-1.0, 1.0, 1.0, -1.0], float)

    def loss(w: Layers, batch: tuple[Array, Array]) -> Float[Array, ""]:
        x, y = batch
        return jnp.mean(jax.nn.softplus(-y * _outputs(w, x, jnp.tanh)))

    return Task(
        name="exclusive_or",
        difficulty="symmetric units that must first differ: no linear function is better than chance",
        source="Rumelhart, Hinton and Williams, 1986",
        problem=Problem(loss, _two_layers(4, 0.1), data=(inputs, labels)),
        steps=200,
        threshold=0.05,
        reason="every point is classified with a probability above 0.8, where chance has the loss 0.69",
        reference=("adam", {"learning_rate": 0.1}),
    )


def kinked_fit() -> Task:
    """A checkered function of two inputs by 16 ReLU units, eight examples a step."""
    random = np.random.default_rng(0)
    inputs = random.uniform(-1, 1, (64, 2))
    targets = np.abs(inputs[:, 0]) - np.abs(inputs[:, 1])

    def loss(w: Layers, batch: tuple[Array, Array]) -> Float[Array, ""]:
        x, y = batch
        return jnp.mean((_outputs(w, x, jax.nn.relu) - y) ** 2)

    return Task(
        name="relu_fit",
        difficulty="sixteen ReLU units from a small start, with minibatches",
        source="Glorot, Bordes and Bengio, 2011; Maas, Hannun and Ng, 2013 (dead units)",
        problem=Problem(loss, _two_layers(16, 0.2), data=(jnp.asarray(inputs, float), jnp.asarray(targets, float))),
        steps=500,
        threshold=0.02,
        reason="an eighth of the variance of the targets, which a constant and a linear function leave",
        reference=("adam", {"learning_rate": 0.02}),
        batch_size=8,
    )


def remembering() -> Task:
    """A recurrent unit with tanh that must keep the sign of its first input for fifteen steps."""

    def loss(w: Float[Array, " 2"], batch: Float[Array, "n 16"]) -> Float[Array, ""]:
        def step(state: Array, inputs: Array) -> tuple[Array, None]:
            return jnp.tanh(w[0] * state + w[1] * inputs), None

        state = jax.lax.scan(step, jnp.zeros(len(batch), batch.dtype), batch.T)[0]
        return jnp.mean((state - jnp.sign(batch[:, 0])) ** 2)

    random = np.random.default_rng(0)
    inputs = 0.1 * random.standard_normal((16, 16))
    inputs[:, 0] = np.where(np.arange(16) % 2, 1.0, -1.0)

    def init(key: Key[Array, ""]) -> Float[Array, " 2"]:
        return jnp.asarray([0.5, 0.5], float) + 0.05 * jax.random.normal(key, (2,))

    return Task(
        name="recurrent_memory",
        difficulty="a recurrent unit that must remember: its gradient vanishes until it does, and then bends sharply",
        source="Bengio, Simard and Frasconi, 1994 (latching)",
        problem=Problem(loss, init, data=jnp.asarray(inputs, float)),
        steps=200,
        threshold=0.05,
        reason="the state keeps its sign with a size above 0.75; forgetting has the loss 1",
        reference=("adam", {"learning_rate": 0.1}),
    )


def tasks() -> list[Task]:
    """All of this file."""
    return [
        small_start(),
        deep_linear(),
        unbalanced_layers(),
        factorization(),
        exclusive_or(),
        kinked_fit(),
        remembering(),
    ]
