"""The sizes of losses and parameters: tiny, huge, uneven, without effect, and of few bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._problem import Problem
from .task import DESCENT, Task, moved, near, normal_start


def _scaled_bowl(name: str, scale: float, difficulty: str, reference: tuple[str, dict[str, float]]) -> Task:
    curvatures = np.geomspace(0.1, 1, 4)

    def loss(x: Float[Array, " 4"]) -> Float[Array, ""]:
        return 0.5 * scale * jnp.sum(jnp.asarray(curvatures, x.dtype) * x**2)

    return Task(
        name=name,
        difficulty=difficulty,
        source="Kingma and Ba, 2015 (steps that do not depend on the scale of the loss)",
        problem=moved(Problem(loss, normal_start(4))),
        steps=300,
        threshold=5e-4 * scale,
        reason="a hundredth of what the flattest direction holds one unit from the minimum",
        reference=reference,
        naive=DESCENT,
    )


def parameter_sizes() -> Task:
    """(x - t)/t squared for t from 1e-3 to 1e3, from t/2."""
    sizes = np.geomspace(1e-3, 1e3, 4)

    def loss(x: dict[str, Float[Array, ""]]) -> Float[Array, ""]:
        return sum(0.5 * (leaf / sizes[i] - 1) ** 2 for i, leaf in enumerate(x.values()))

    def init(key: Key[Array, ""]) -> dict[str, Float[Array, ""]]:
        factors = jax.random.uniform(key, (4,), minval=0.3, maxval=0.6)
        return {f"parameter_{i}": factors[i] * float(size) for i, size in enumerate(sizes)}

    return Task(
        name="parameter_sizes",
        difficulty="parameters from 1e-3 to 1e3 with one learning rate for all",
        source="You et al., 2020 (LAMB); Shazeer and Stern, 2018 (relative steps)",
        problem=Problem(loss, init),
        steps=500,
        threshold=0.01,
        reason="every parameter is within a seventh of its target",
        reference=("newton", {"learning_rate": 1.0}),
        naive=DESCENT,
    )


def scale_invariance() -> Task:
    """1 - cos of the angle of two vectors to their targets, of lengths 1 and 1000 at the start."""
    target = np.random.default_rng(0).standard_normal(8)
    target = target / np.linalg.norm(target)

    def loss(w: dict[str, Float[Array, " 8"]]) -> Float[Array, ""]:
        cosines = [jnp.sum(v * jnp.asarray(target, v.dtype)) / jnp.linalg.norm(v) for v in w.values()]
        return jnp.sum(1 - jnp.stack(cosines))

    def init(key: Key[Array, ""]) -> dict[str, Float[Array, " 8"]]:
        directions = jax.random.normal(key, (2, 8))
        long, short = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
        return {"long": 1000 * long, "short": short}

    return Task(
        name="scale_invariance",
        difficulty="normalised weights: their length changes no output, and divides the gradient",
        source="van Laarhoven, 2017; Arora, Li and Lyu, 2019; Ioffe and Szegedy, 2015",
        problem=Problem(loss, init),
        steps=300,
        threshold=0.02,
        reason="both are within 12 degrees of their targets, where right angles give 2",
        reference=("adam", {"learning_rate": 10.0}),
        naive=DESCENT,
    )


def few_bits() -> Task:
    """A bowl of condition 300 with parameters in bfloat16."""
    curvatures = np.geomspace(1 / 300, 1, 4)

    def loss(x: Float[Array, " 4"]) -> Float[Array, ""]:
        wide = x.astype(float)
        return 0.5 * jnp.sum(jnp.asarray(curvatures, float) * (wide - 3) ** 2)

    return Task(
        name="bfloat16",
        difficulty="parameters of 8 bits, to which a step smaller than a 256th of them adds nothing",
        source="Micikevicius et al., 2018; Zamirai et al., 2020",
        problem=Problem(loss, lambda key: near(1.0, 1.0, 1.0, 1.0)(key).astype(jnp.bfloat16)),
        steps=500,
        threshold=5e-4,
        reason="all within one spacing of bfloat16, 1/64, but the flattest, which is within half a unit",
        reference=("lion", {"learning_rate": 0.016, "b1": 0.0, "b2": 0.0}),
        naive=DESCENT,
    )


def tasks() -> list[Task]:
    """All of this file."""
    tiny = "gradients of size 1e-12, below the eps of adaptive methods and the rates of others"
    huge = "gradients of size 1e12, which the rate must make up for where steps follow their size"
    return [
        _scaled_bowl("tiny_loss", 1e-12, tiny, ("adam", {"learning_rate": 0.05, "eps": 1e-16})),
        _scaled_bowl("huge_loss", 1e12, huge, ("adam", {"learning_rate": 0.05})),
        parameter_sizes(),
        scale_invariance(),
        few_bits(),
    ]
