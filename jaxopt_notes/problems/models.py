"""Networks in flax, as problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from .. import _checks
from .datasets import Examples, digits
from .problem import Problem


class MLP(nn.Module):
    """Fully connected network with ReLU between its layers; parameters have the dtype of the inputs."""

    widths: Sequence[int]

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch features"]) -> Float[Array, "batch outputs"]:
        """The outputs of the last layer, without activation."""
        hidden = inputs
        for width in self.widths[:-1]:
            hidden = nn.relu(nn.Dense(width, param_dtype=inputs.dtype)(hidden))
        return nn.Dense(self.widths[-1], param_dtype=inputs.dtype)(hidden)


def digits_mlp(hidden: int | Sequence[int] = 64, *, test_fraction: float = 0.2, split_seed: int = 0) -> Problem:
    """Classify handwritten digits by a fully connected ReLU network: 4,810 parameters with the default width.

    The loss is the mean softmax cross-entropy, the metric the accuracy. A constant predictor reaches `baseline`, the
    entropy of the class frequencies (2.30).

    Arguments:
        hidden: width of the hidden layer, or one width per hidden layer.
        test_fraction: share of the 1,797 examples held out.
        split_seed: seed of the split.

    Returns:
        A `Problem` with 1,438 training and 359 test examples by default.

    Raises:
        TypeError, ValueError: a width is not a positive integer. ModuleNotFoundError: scikit-learn is missing.

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> problem = jon.problems.digits_mlp(hidden=64)
        >>> sum(leaf.size for leaf in jax.tree.leaves(problem.init(jax.random.key(0))))
        4810
    """
    widths = [_checks.count("hidden", width) for width in (hidden if isinstance(hidden, Sequence) else [hidden])]
    train, test = digits(test_fraction, split_seed)
    model = MLP((*widths, 10))

    def logits(params: PyTree, batch: Examples) -> Float[Array, "batch 10"]:
        return cast(Array, model.apply(params, batch.inputs))

    def loss(params: PyTree, batch: Examples) -> Float[Array, ""]:
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits(params, batch), batch.labels))

    def accuracy(params: PyTree, batch: Examples) -> Float[Array, ""]:
        guesses = jnp.argmax(logits(params, batch), axis=-1).astype(batch.labels.dtype)
        return jnp.mean((guesses == batch.labels).astype(float))

    frequencies = jnp.bincount(train.labels) / len(train.labels)
    return Problem(
        loss,
        init=lambda key: model.init(key, train.inputs[:1]),
        data=train,
        test_data=test,
        metrics={"accuracy": accuracy},
        baseline=float(-jnp.sum(frequencies * jnp.log(frequencies))),
        name="digits_mlp",
    )
