"""Networks in flax, as problems."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from .. import _checks
from ._datasets import Examples, digits
from ._metric import maximize
from ._problem import Problem


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

    `null_directions` come in three families, 192 + 65 + 64 of them with the default width, in this order:

    - each weight of each pixel that is 0 in every training example, of which there are three;
    - what adds one number to all ten logits: at the biases of the last layer, and at the weights of each unit below it;
    - for each hidden unit v = (w_in, b, -w_out), the tangent to the curve (e^t w_in, e^t b, e^-t w_out), on which the
      loss is constant because ReLU(e^t z) = e^t ReLU(z).

    H v = 0 everywhere for the first two, and for the third where the gradient g vanishes; elsewhere
    H v = -(g_in, g_b, -g_out).

    Arguments:
        hidden: width of the hidden layer, or one width per hidden layer.
        test_fraction: share of the 1,797 examples held out.
        split_seed: seed of the split.

    Returns:
        A `Problem` with 1,438 training and 359 test examples by default, and its `null_directions`.

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

    # This network never changes, so its trace serves again: in the loss, in the metrics, in the next sweep.
    @partial(jax.jit, inline=True)
    def logits(params: PyTree, batch: Examples) -> Float[Array, "batch 10"]:
        return cast(Array, model.apply(params, batch.inputs))

    def loss(params: PyTree, batch: Examples) -> Float[Array, ""]:
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits(params, batch), batch.labels))

    def accuracy(params: PyTree, batch: Examples) -> Float[Array, ""]:
        guesses = jnp.argmax(logits(params, batch), axis=-1).astype(batch.labels.dtype)
        return jnp.mean((guesses == batch.labels).astype(float))

    dead = np.flatnonzero(np.all(np.asarray(train.inputs) == 0, axis=0))
    frequencies = np.bincount(train.labels) / len(train.labels)
    return Problem(
        loss,
        init=jax.jit(lambda key: model.init(key, train.inputs[:1]), inline=True),
        data=train,
        test_data=test,
        metrics={"accuracy": maximize(accuracy)},
        baseline=float(-np.sum(frequencies * np.log(frequencies))),
        name="digits_mlp",
        null_directions=lambda params: _null_directions(params, dead),
    )


def _null_directions(params: PyTree, dead: Int[np.ndarray, " pixels"]) -> PyTree:
    """The directions of `digits_mlp`, along one leading axis; the parameters may be traced."""
    layers = params["params"]
    zeros = jax.tree.map(jnp.zeros_like, layers)
    names = [f"Dense_{i}" for i in range(len(layers))]
    first, last = names[0], names[-1]

    def units(size: int) -> Float[Array, "size size"]:
        return jnp.eye(size, dtype=layers[first]["kernel"].dtype)

    def dead_weight(pixel: Array, unit: Array) -> PyTree:
        return zeros | {first: zeros[first] | {"kernel": jnp.outer(pixel, unit)}}

    def shift(unit: Array) -> PyTree:
        return zeros | {last: zeros[last] | {"kernel": jnp.outer(unit, jnp.ones_like(layers[last]["bias"]))}}

    def rescaling(below: str, above: str, unit: Array) -> PyTree:
        incoming = {"kernel": layers[below]["kernel"] * unit[None, :], "bias": layers[below]["bias"] * unit}
        outgoing = zeros[above] | {"kernel": -layers[above]["kernel"] * unit[:, None]}
        return zeros | {below: incoming, above: outgoing}

    pixels, width = layers[first]["kernel"].shape
    each_weight = jax.vmap(jax.vmap(dead_weight, (None, 0)), (0, None))(units(pixels)[dead], units(width))
    shift_bias = zeros | {last: zeros[last] | {"bias": jnp.ones_like(layers[last]["bias"])}}
    parts = [
        jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), each_weight),
        jax.tree.map(lambda leaf: leaf[None], shift_bias),
        jax.vmap(shift)(units(len(layers[last]["kernel"]))),
    ]
    for below, above in itertools.pairwise(names):
        parts.append(jax.vmap(partial(rescaling, below, above))(units(len(layers[above]["kernel"]))))
    return {"params": jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)}
