"""A problem that noise limits: softmax regression on digits of which a fifth of the labels is drawn at random."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from ..problems import Problem, digits
from ..problems.datasets import Examples


def noisy_softmax(noise: float = 0.2, seed: int = 0) -> Problem:
    """Softmax regression on digits, some labels of which are replaced by random ones: convex, and never fitted.

        mean_i -log softmax(W x_i + b)_{y_i}

    Arguments:
        noise: share of the training labels that are drawn again, uniformly, in [0, 1].
        seed: of the draw.

    Returns:
        A `Problem` over (W, b) of shapes (64, 10) and (10,), from zero, with 1,438 training examples and 359 clean test
        examples.

    Example:
        >>> problem = noisy_softmax()
        >>> round(float(problem.full_loss(problem.init(None))), 4)
        2.3026
    """
    train, test = digits()
    generator = np.random.default_rng(seed)
    labels = np.asarray(train.labels).copy()
    again = generator.random(len(labels)) < noise
    labels[again] = generator.integers(0, 10, int(again.sum()))

    def loss(params: PyTree, batch: Examples) -> Float[Array, ""]:
        logits = batch.inputs @ params[0] + params[1]
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch.labels))

    start = (jnp.zeros((64, 10)), jnp.zeros(10))
    noisy = Examples(train.inputs, jnp.asarray(labels, jnp.int32))
    return Problem(loss, start, data=noisy, test_data=test, baseline=float(np.log(10)), name="noisy_softmax")
