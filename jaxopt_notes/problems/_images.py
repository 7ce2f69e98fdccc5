"""Networks of images in flax, with and without skip connections and batch normalisation, as problems."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from .. import _checks
from ._convolution import METHODS, Conv
from ._datasets import Examples, digits
from ._metric import maximize
from ._problem import Problem

NORMS = ("batch", "none")


class CNN(nn.Module):
    """Convolutions with ReLU, each after the first at half the size, the mean over the image, and a linear layer.

    Attributes:
        features: channels of the convolutions.
        classes: outputs.
        method: of `convolve`.
    """

    features: Sequence[int] = (8, 16)
    classes: int = 10
    method: str = "auto"

    @nn.compact
    def __call__(self, inputs: Array) -> Float[Array, "batch classes"]:
        """The logits of images, flat and square or (batch, height, width, channels)."""
        hidden = as_images(inputs)
        for i, features in enumerate(self.features):
            hidden = nn.relu(Conv(features, strides=1 if i == 0 else 2, method=self.method)(hidden))
        return nn.Dense(self.classes, param_dtype=inputs.dtype)(hidden.mean(axis=(1, 2)))


class Block(nn.Module):
    """Two convolutions, and with `skip` the inputs added to what comes out; where shapes differ through a 1 x 1 one."""

    features: int
    strides: int
    skip: bool
    norm: str
    branch_scale: float
    method: str

    @nn.compact
    def __call__(self, inputs: Array, train: bool) -> Array:
        """The images after the block."""
        hidden = Conv(self.features, strides=self.strides, use_bias=self.norm == "none", method=self.method)(inputs)
        hidden = nn.relu(_normalized(hidden, self.norm, train))
        hidden = Conv(self.features, use_bias=self.norm == "none", method=self.method)(hidden)
        hidden = _normalized(hidden, self.norm, train)
        if not _checks.boolean("skip", self.skip):
            return nn.relu(hidden)
        if inputs.shape != hidden.shape:
            inputs = Conv(self.features, size=1, strides=self.strides, use_bias=False, method=self.method)(inputs)
            inputs = _normalized(inputs, self.norm, train)
        return nn.relu(inputs + self.branch_scale * hidden)


class ResNet(nn.Module):
    """The residual network of depth 6 n + 2 for small images, with or without its skip connections.

    Three stages of n blocks of two convolutions, with w, 2 w and 4 w channels, the second and third at half the size.
    Without batch normalisation the branches are scaled by (number of blocks)^-1/2, so that the sum keeps its size.

    Attributes:
        depth: layers, 8, 14, 20, ...
        skip: whether blocks add their inputs.
        norm: "batch" or "none".
        width: w.
        classes: outputs.
        method: of `convolve`.

    Source: He, Zhang, Ren and Sun, 2016, section 4.2; without skip connections Li et al., 2018.
    """

    depth: int = 20
    skip: bool = True
    norm: str = "batch"
    width: int = 8
    classes: int = 10
    method: str = "auto"

    @nn.compact
    def __call__(self, inputs: Array, train: bool = True) -> Float[Array, "batch classes"]:
        """The logits; with `train` batches are normalised by their own mean and variance, else by the running ones."""
        blocks = (self.depth - 2) // 6
        scale = 1.0 if self.norm == "batch" else (3 * blocks) ** -0.5
        hidden = Conv(self.width, use_bias=self.norm == "none", method=self.method)(as_images(inputs))
        hidden = nn.relu(_normalized(hidden, self.norm, train))
        for stage in range(3):
            for block in range(blocks):
                strides = 2 if stage > 0 and block == 0 else 1
                one = Block(self.width * 2**stage, strides, self.skip, self.norm, scale, self.method)
                hidden = one(hidden, train)
        return nn.Dense(self.classes, param_dtype=inputs.dtype)(hidden.mean(axis=(1, 2)))


def classifier(model: nn.Module, train: Examples, test: Examples | None = None, *, name: str = "") -> Problem:
    """A flax network and examples as a `Problem`: mean softmax cross-entropy, and the accuracy as a metric.

    The parameters are `{"params": ...}` alone. Batch normalisation uses the mean and variance of the batch at hand, so
    the loss is a function of parameters and batch; `batch_norm_loss` keeps running ones.

    Arguments:
        model: its call gives logits of shape (batch, classes).
        train, test: examples with integer labels.
        name: a short name.

    Returns:
        A `Problem`; its `baseline` is the entropy of the class frequencies.

    Raises:
        TypeError: `model` is no flax module.

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> problem = jon.problems.classifier(jon.problems.CNN(), *jon.problems.digits())
        >>> shapes = jax.eval_shape(problem.init, jax.random.key(0))
        >>> sum(leaf.size for leaf in jax.tree.leaves(shapes))
        1418
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a flax module, got {model!r}")

    def logits(params: PyTree, batch: Examples) -> Float[Array, "batch classes"]:
        return cast(Array, model.apply(params, batch.inputs, mutable=["batch_stats"])[0])

    def loss(params: PyTree, batch: Examples) -> Float[Array, ""]:
        return _cross_entropy(logits(params, batch), batch)

    def accuracy(params: PyTree, batch: Examples) -> Float[Array, ""]:
        guesses = jnp.argmax(logits(params, batch), axis=-1).astype(batch.labels.dtype)
        return jnp.mean((guesses == batch.labels).astype(float))

    frequencies = jnp.bincount(train.labels) / len(train.labels)
    entropy = -jnp.sum(jnp.where(frequencies > 0, frequencies * jnp.log(frequencies), 0))
    return Problem(
        loss,
        init=lambda key: {"params": model.init(key, train.inputs[:2])["params"]},
        data=train,
        test_data=test,
        metrics={"accuracy": maximize(accuracy)},
        baseline=float(entropy),
        name=name or type(model).__name__.lower(),
    )


def batch_norm_loss(model: nn.Module) -> Callable[[PyTree, PyTree, Examples], tuple[Float[Array, ""], PyTree]]:
    """The loss of a network with batch normalisation, with running statistics as the state that `minimize(aux=)` keeps.

    Arguments:
        model: such as `ResNet`; called with `train=True`.

    Returns:
        `loss(params, batch_stats, batch) -> (value, new batch_stats)`; begin with `model.init(key, x)["batch_stats"]`.

    Example:
        >>> import jax, jaxopt_notes as jon
        >>> model, (train, _) = jon.problems.ResNet(depth=8, width=2), jon.problems.digits()
        >>> few = jax.tree.map(lambda leaf: leaf[:8], train)
        >>> variables = jax.jit(model.init)(jax.random.key(0), few.inputs)
        >>> params, state = {"params": variables["params"]}, variables["batch_stats"]
        >>> value, state = jax.jit(jon.problems.batch_norm_loss(model))(params, state, few)
        >>> run = lambda variables, inputs: model.apply(variables, inputs, train=False)  # by running statistics
        >>> jax.eval_shape(run, params | {"batch_stats": state}, few.inputs).shape
        (8, 10)
    """

    def loss(params: PyTree, batch_stats: PyTree, batch: Examples) -> tuple[Float[Array, ""], PyTree]:
        variables = {**params, "batch_stats": batch_stats}
        found, updated = model.apply(variables, batch.inputs, train=True, mutable=["batch_stats"])
        return _cross_entropy(cast(Array, found), batch), updated["batch_stats"]

    return loss


def digits_cnn(
    features: Sequence[int] = (8, 16), *, method: str = "auto", test_fraction: float = 0.2, split_seed: int = 0
) -> Problem:
    """Classify handwritten digits by a convolutional network: 1,418 parameters with the default features.

    Arguments:
        features: channels of the convolutions, at least one.
        method: how to convolve; see `problems.convolve`.
        test_fraction, split_seed: as in `digits`.

    Returns:
        A `Problem`, as `classifier` makes it.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.digits_cnn((4,))
        Problem('digits_cnn', 1438 examples)
    """
    widths = tuple(_checks.count("features", one) for one in features)
    if not widths:
        raise ValueError("features must hold at least one number of channels, got none")
    model = CNN(widths, method=_checks.choice("method", method, METHODS))
    return classifier(model, *digits(test_fraction, split_seed), name="digits_cnn")


def digits_resnet(
    depth: int = 20,
    *,
    skip: bool = True,
    norm: str = "batch",
    width: int = 8,
    method: str = "auto",
    test_fraction: float = 0.2,
    split_seed: int = 0,
) -> Problem:
    """Classify handwritten digits by a residual network, with or without its skip connections.

    Arguments:
        depth: 6 n + 2 layers: 8, 14, 20, ...
        skip: whether blocks add their inputs.
        norm: "batch" (statistics of the batch at hand) or "none".
        width: channels of the first stage.
        method: how to convolve; see `problems.convolve`.
        test_fraction, split_seed: as in `digits`.

    Returns:
        A `Problem`, as `classifier` makes it.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.

    Example:
        >>> import jaxopt_notes as jon
        >>> jon.problems.digits_resnet(8, skip=False, width=4)
        Problem('digits_resnet8_noskip', 1438 examples)

    Source: He, Zhang, Ren and Sun, 2016; Li, Xu, Taylor, Studer and Goldstein, 2018.
    """
    depth = _checks.count("depth", depth, low=8)
    if (depth - 2) % 6:
        below = depth - (depth - 2) % 6
        raise ValueError(f"depth must be 6 n + 2, got {depth}; the nearest are {below} and {below + 6}")
    skip = _checks.boolean("skip", skip)
    _checks.choice("norm", norm, NORMS)
    _checks.choice("method", method, METHODS)
    model = ResNet(depth, skip, norm, _checks.count("width", width), method=method)
    name = f"digits_resnet{depth}{'' if skip else '_noskip'}"
    return classifier(model, *digits(test_fraction, split_seed), name=name)


def as_images(inputs: Array) -> Float[Array, "batch height width channels"]:
    """Flat square images of one channel as (batch, height, width, 1); images as they are."""
    if inputs.ndim == 4:
        return inputs
    side = math.isqrt(inputs.shape[-1])
    if inputs.ndim != 2 or side**2 != inputs.shape[-1]:
        raise ValueError(
            f"inputs must be images (batch, height, width, channels), or flat and square, got {inputs.shape}"
        )
    return inputs.reshape(-1, side, side, 1)


def _normalized(hidden: Array, norm: str, train: bool) -> Array:
    if norm == "none":
        return hidden
    train = _checks.boolean("train", train)
    layer: Any = nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=hidden.dtype, param_dtype=hidden.dtype)
    return layer(hidden)


def _cross_entropy(logits: Float[Array, "batch classes"], batch: Examples) -> Float[Array, ""]:
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch.labels))
