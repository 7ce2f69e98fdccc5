"""Problems that noise limits: digits with a fifth of the labels drawn at random, by two models."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from ..problems import Problem, digits, digits_mlp
from ..problems._datasets import Examples


def noisy_softmax(noise: float = 0.2, seed: int = 0) -> Problem:
    """Softmax regression on digits with some labels replaced by random ones: convex, and never fitted.

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
    noisy = _noisy_digits(noise, seed)

    def loss(params: PyTree, batch: Examples) -> Float[Array, ""]:
        logits = batch.inputs @ params[0] + params[1]
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch.labels))

    start = (jnp.zeros((64, 10)), jnp.zeros(10))
    baseline = float(np.log(10))
    return Problem(loss, start, data=noisy, test_data=digits()[1], baseline=baseline, name="noisy_softmax")


def noisy_network(hidden: int = 32, noise: float = 0.2, seed: int = 0) -> Problem:
    """The same examples by a network with one hidden layer: not convex, and fitted only by learning labels by heart.

    Arguments:
        hidden: width of the hidden layer, at least 1.
        noise: share of the training labels that are drawn again, uniformly, in [0, 1].
        seed: of the draw.

    Returns:
        The `Problem` `digits_mlp` with other training labels.

    Example:
        >>> noisy_network().name
        'noisy_network'
    """
    return dataclasses.replace(digits_mlp(hidden), data=_noisy_digits(noise, seed), name="noisy_network")


def _noisy_digits(noise: float, seed: int) -> Examples:
    train, _ = digits()
    generator = np.random.default_rng(seed)
    labels = np.asarray(train.labels).copy()
    again = generator.random(len(labels)) < noise
    labels[again] = generator.integers(0, 10, int(again.sum()))
    return Examples(train.inputs, jnp.asarray(labels, jnp.int32))
