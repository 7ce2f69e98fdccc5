"""Gradients that are mostly zero: rare features, embeddings of rare tokens, rare classes, one coordinate at a time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .._problem import Problem
from .task import DESCENT, Task, moved, near, normal_start

_TOKENS, _SIZE = 32, 4


def rare_features() -> Task:
    """Five coordinates: the first in all steps and noisy, the last in one of a hundred and almost exact."""
    present = np.geomspace(1, 0.01, 5)

    def loss(x: Float[Array, " 5"], *, key: Key[Array, ""]) -> Float[Array, ""]:
        chosen, drawn = jax.random.split(key)
        share = jnp.asarray(present, x.dtype)
        mask = jax.random.uniform(chosen, x.shape) < share
        noise = 3 * jnp.sqrt(share) * jax.random.normal(drawn, x.shape)
        return 0.5 * jnp.sum(jnp.where(mask, (x - 3 + noise) ** 2, 0))

    return Task(
        name="rare_features",
        difficulty="features in all examples down to a hundredth of them; the rare ones say more",
        source="Duchi, Hazan and Singer, 2011",
        problem=Problem(loss, near(*[0.0] * 5), evaluate=lambda x: 0.5 * jnp.sum((x - 3) ** 2)),
        steps=1000,
        threshold=0.3,
        reason="a fifteenth of what one feature holds at the start: the rarest are learned, the commonest are quiet",
        reference=("adagrad", {"learning_rate": 1.0}),
        naive=DESCENT,
    )


def sparse_embeddings() -> Task:
    """A table of vectors; a step shows eight tokens; the last is 30 times rarer than the first."""
    target = np.random.default_rng(0).standard_normal((_TOKENS, _SIZE))

    def loss(table: Float[Array, "32 4"], *, key: Key[Array, ""]) -> Float[Array, ""]:
        # Of u^3 the density falls as u^(-2/3): few tokens are common, most are rare.
        tokens = jnp.floor(_TOKENS * jax.random.uniform(key, (8,)) ** 3).astype(int)
        return jnp.mean(jnp.sum((table[tokens] - jnp.asarray(target, table.dtype)[tokens]) ** 2, axis=1))

    def evaluate(table: Float[Array, "32 4"]) -> Float[Array, ""]:
        return jnp.mean(jnp.sum((table - jnp.asarray(target, table.dtype)) ** 2, axis=1))

    return Task(
        name="sparse_embeddings",
        difficulty="rows of an embedding that most steps do not see, while averages of gradients decay",
        source="Duchi, Hazan and Singer, 2011; Zipf, 1935",
        problem=Problem(loss, normal_start(_TOKENS, _SIZE, scale=0.1), evaluate=evaluate),
        steps=500,
        threshold=0.04,
        reason="a hundredth of the mean square of the targets, as an average over all tokens, rare or common",
        reference=("adagrad", {"learning_rate": 0.5}),
    )


def one_coordinate_at_a_time() -> Task:
    """Each step shows one of 32 coordinates, with curvatures from 0.01 to 1."""
    curvatures = np.geomspace(0.01, 1, 32)

    def loss(x: Float[Array, " 32"], *, key: Key[Array, ""]) -> Float[Array, ""]:
        place = jax.random.randint(key, (), 0, 32)
        return 0.5 * jnp.asarray(curvatures, x.dtype)[place] * x[place] ** 2

    def evaluate(x: Float[Array, " 32"]) -> Float[Array, ""]:
        return 0.5 * jnp.mean(x**2)

    return Task(
        name="one_coordinate_at_a_time",
        difficulty="gradients with one entry in 32, of sizes that differ by 100",
        source="Nesterov, 2012 (coordinate descent)",
        problem=moved(Problem(loss, near(*[1.0] * 32), evaluate=evaluate)),
        steps=1000,
        threshold=5e-3,
        reason="a hundredth of the start, each coordinate counted alike",
        reference=("adagrad", {"learning_rate": 0.3}),
        naive=DESCENT,
    )


def rare_class() -> Task:
    """Logistic regression with 4 positive examples of 256, eight a step, judged with equal weight on both classes."""
    random = np.random.default_rng(0)
    labels = np.arange(256) < 4
    inputs = random.standard_normal((256, 2)) + np.where(labels, 3.0, 0.0)[:, None]
    rows = np.concatenate([inputs, np.ones((256, 1))], axis=1)

    def loss(w: Float[Array, " 3"], batch: tuple[Array, Array]) -> Float[Array, ""]:
        x, signs = batch
        return jnp.mean(jax.nn.softplus(-signs * (x @ w)))

    def balanced(w: Float[Array, " 3"], batch: tuple[Array, Array]) -> Float[Array, ""]:
        x, signs = batch
        wrong = (signs * (x @ w) < 0).astype(x.dtype)
        positive = (signs > 0).astype(x.dtype)
        return 0.5 * (
            jnp.sum(wrong * positive) / jnp.sum(positive) + jnp.sum(wrong * (1 - positive)) / jnp.sum(1 - positive)
        )

    signs = np.where(labels, 1.0, -1.0)
    return Task(
        name="rare_class",
        difficulty="a class that holds one example in 64, so that most batches do not show it",
        source="He and Garcia, 2009; Kunstner et al., 2024, on heavy-tailed classes",
        problem=Problem(
            loss,
            normal_start(3, scale=0.1),
            data=(jnp.asarray(rows, float), jnp.asarray(signs, float)),
            metrics={"balanced_error": balanced},
        ),
        steps=500,
        threshold=0.13,
        reason="at most one of the four rare examples is wrong: a constant answer has 0.5, two wrong have 0.25",
        reference=("adam", {"learning_rate": 0.05}),
        metric="final_balanced_error",
        batch_size=8,
    )


def tasks() -> list[Task]:
    """All of this file."""
    return [rare_features(), sparse_embeddings(), one_coordinate_at_a_time(), rare_class()]
