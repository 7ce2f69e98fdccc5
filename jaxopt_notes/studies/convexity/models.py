"""Models whose loss is or is not convex, on a few digits, and the two tests of convexity.

chord:      f(t x + (1 - t) y) <= t f(x) + (1 - t) f(y)
Hessian:    lambda_min >= -rounding
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from ... import problems
from ...curvature import hessian, zero_level

INPUTS, HIDDEN, CLASSES = 6, 3, 3
SHARES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])


class Digits(NamedTuple):
    """Digits 0, 1, 2 by their leading principal components.

    Attributes:
        inputs: scaled so that the largest variance is 1, with a 1 for the bias in the last column.
        labels: 0, 1 or 2.
    """

    inputs: Float[Array, "n columns"]
    labels: Int[Array, " n"]


class Model(NamedTuple):
    """A loss `loss(params, digits)` of a vector of this many parameters.

    Attributes:
        loss: the loss.
        size: number of parameters.
        convex: whether it is convex, by proof.
        smooth: whether it has second derivatives.
        reach: parameters are drawn from a normal distribution of this size.
    """

    loss: Callable[[Array, Digits], Array]
    size: int
    convex: bool
    smooth: bool = True
    reach: float = 2.0


def few_digits(count: int = 200) -> Digits:
    """The data of every model here, in float64.

    Arguments:
        count: of examples.

    Returns:
        `Digits`.
    """
    train, _ = problems.digits()
    labels = np.asarray(train.labels)
    kept = np.flatnonzero(labels < CLASSES)[:count]
    inputs = np.asarray(train.inputs, np.float64)[kept]
    inputs = inputs - inputs.mean(0)
    left, sizes, _ = np.linalg.svd(inputs, full_matrices=False)
    scores = left[:, :INPUTS] * sizes[:INPUTS] / sizes[0] * np.sqrt(len(kept))
    return Digits(jnp.asarray(np.column_stack([scores, np.ones(len(kept))])), jnp.asarray(labels[kept]))


def _signs(digits: Digits) -> Array:
    return jnp.where(digits.labels == 0, 1.0, -1.0)


def linear_loss(params: Array, digits: Digits) -> Array:
    """Half the mean squared error of linear regression on the label."""
    return 0.5 * jnp.mean((digits.inputs @ params - digits.labels) ** 2)


def logistic_loss(params: Array, digits: Digits) -> Array:
    """Logistic regression of 0 against the others."""
    return jnp.mean(jax.nn.softplus(-_signs(digits) * (digits.inputs @ params)))


def hinge_loss(params: Array, digits: Digits) -> Array:
    """The support vector machine's loss of 0 against the others."""
    return jnp.mean(jax.nn.relu(1 - _signs(digits) * (digits.inputs @ params)))


def _cross_entropy(logits: Array, digits: Digits) -> Array:
    chosen = jnp.take_along_axis(logits, digits.labels[:, None], 1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)


def softmax_loss(params: Array, digits: Digits) -> Array:
    """Softmax regression of the three digits."""
    return _cross_entropy(digits.inputs @ params.reshape(-1, CLASSES), digits)


def mlp_loss(params: Array, digits: Digits) -> Array:
    """A network of three tanh units and softmax; the first layer's columns are the units."""
    first = params[: (INPUTS + 1) * HIDDEN].reshape(INPUTS + 1, HIDDEN)
    second = params[(INPUTS + 1) * HIDDEN :].reshape(HIDDEN, CLASSES)
    return _cross_entropy(jnp.tanh(digits.inputs @ first) @ second, digits)


def permuted(params: Array) -> Array:
    """The network with its units in another order, which computes the same."""
    first = params[: (INPUTS + 1) * HIDDEN].reshape(INPUTS + 1, HIDDEN)
    second = params[(INPUTS + 1) * HIDDEN :].reshape(HIDDEN, CLASSES)
    return jnp.concatenate([jnp.roll(first, 1, axis=1).ravel(), jnp.roll(second, 1, axis=0).ravel()])


def deep_linear_loss(params: Array, digits: Digits) -> Array:
    """A network of two linear layers without activation, for linear regression."""
    first = params[: (INPUTS + 1) * HIDDEN].reshape(INPUTS + 1, HIDDEN)
    return 0.5 * jnp.mean((digits.inputs @ first @ params[(INPUTS + 1) * HIDDEN :] - digits.labels) ** 2)


def _curve(name: str) -> Callable[[Array, Digits], Array]:
    loss = problems.CATALOGUE[name]().loss
    return lambda params, digits: loss(params)


MLP_SIZE = (INPUTS + 1) * HIDDEN + HIDDEN * CLASSES
MODELS = {
    "linear regression": Model(linear_loss, INPUTS + 1, True),
    "logistic regression": Model(logistic_loss, INPUTS + 1, True),
    "softmax regression": Model(softmax_loss, (INPUTS + 1) * CLASSES, True),
    "support vectors": Model(hinge_loss, INPUTS + 1, True, smooth=False),
    "exp": Model(_curve("exp"), 1, True),
    "|x - 1|": Model(_curve("absolute_value"), 1, True, smooth=False),
    "network (tanh)": Model(mlp_loss, MLP_SIZE, False),
    "linear network": Model(deep_linear_loss, (INPUTS + 1) * HIDDEN + HIDDEN, False),
    "x cos(pi x)": Model(_curve("x_cos_pi_x"), 1, False, reach=1.0),
    "x^2/(1 + x^2)": Model(_curve("plateau"), 1, False),
}


def both_tests(key: Key[Array, ""], digits: Digits, pairs: int, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Both tests of every model, as one compiled program.

    Arguments:
        key: draws the parameters.
        digits: the data.
        pairs: chords per model.
        points: Hessians per model.

    Returns:
        The largest excess of the loss over each chord, in units of the losses at its ends, of shape (model, pairs); and
        lambda_min in units of the zero level of the largest Hessian met, of shape (model, points), NaN where there are
        no second derivatives.
    """

    @jax.jit
    def every(key: Key[Array, ""], digits: Digits) -> tuple[list[Array], list[Array | None]]:
        losses, hessians = [], []
        for model, one in zip(MODELS.values(), jax.random.split(key, len(MODELS)), strict=True):
            a, b = model.reach * jax.random.normal(one, (2, pairs, model.size))
            mixes = SHARES[:, None, None] * a + (1 - SHARES[:, None, None]) * b
            losses.append(jax.lax.map(lambda points, model=model: _all_losses(model, points, digits), mixes))
            hessians.append(_all_hessians(model, a[:points], digits) if model.smooth else None)
        return losses, hessians

    losses, hessians = every(key, digits)
    smallest = [np.full(points, np.nan) if found is None else _smallest(np.asarray(found)) for found in hessians]
    return np.array([_excess(np.asarray(along)) for along in losses]), np.array(smallest)


def _all_losses(model: Model, points: Float[Array, "points n"], digits: Digits) -> Float[Array, " points"]:
    return jax.vmap(lambda params: model.loss(params, digits))(points)


def _all_hessians(model: Model, points: Float[Array, "points n"], digits: Digits) -> Float[Array, "points n n"]:
    return jax.vmap(lambda params: hessian(model.loss, params, digits))(points)


def _excess(along: Float[np.ndarray, "shares pairs"]) -> Float[np.ndarray, " pairs"]:
    """How far the loss rises above the chord, in units of the losses at its ends."""
    ends = along[[-1, 0]]
    chord = SHARES[:, None] * ends[0] + (1 - SHARES[:, None]) * ends[1]
    return np.max(along - chord, axis=0) / np.abs(ends).sum(0)


def _smallest(hessians: Float[np.ndarray, "points n n"]) -> Float[np.ndarray, " points"]:
    """Where a model saturates, its Hessian is small and made of large parts: the zero level is that of the largest."""
    spectra = np.linalg.eigvalsh(hessians)
    return spectra[:, 0] / float(zero_level(np.abs(spectra).max(), max(spectra.shape[1], 2), jnp.float64))
