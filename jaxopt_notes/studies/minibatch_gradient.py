"""The gradient of a minibatch as an estimate of the full gradient: unbiased, and how its noise falls with the batch.

    E[g_B] = g,    E|g_B - g|^2 = (s^2 / B) with replacement,    (s^2 / B) (N - B)/(N - 1) without

with s^2 the variance of the gradients of the N single examples. Nothing like it holds for functions of g_B that are not
linear, such as the sign that is Adam's first step.

Sources: Robbins and Monro, 1951 (unbiased estimates are enough); Cochran, 1977 (the factor (N - B)/(N - 1)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from .. import minibatches, problems
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

DRAWS = {"small": 10_000, "full": 40_000}
EXAMPLES = {"small": 400, "full": 1438}
GROUPS = 20  # of draws, for intervals
DIRECTIONS = 8
STREAMS = ("with replacement", "without")
SHOWN = 2000


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Draw many minibatches of many sizes at one point of a network and compare their gradients with the full one.

    Arguments:
        key: makes the network, the directions and the minibatches.
        size: 10,000 draws from 400 digits, or 40,000 draws from 1,438.

    Returns:
        Dataset over `stream` and `batch_size`: mean and variance of the gradient along random directions in groups of
        draws, the mean sign of the output biases' gradients, single draws for the figure, and how far the gradient of
        a batch of all examples is from the full one.
    """
    import xarray

    examples, draws = EXAMPLES[size], DRAWS[size]
    sizes = np.array([1, 4, 16, 64, 256, examples])
    with jax.enable_x64(True):
        gradients, full, biases = _example_gradients(key, examples)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        directions = rng.normal(size=(gradients.shape[1], DIRECTIONS))
        along = gradients @ (directions / np.linalg.norm(directions, axis=0))
        columns = np.concatenate([along, gradients[:, biases]], axis=1)
        streams = (minibatches.random(1), minibatches.reshuffle(1))
        means = np.stack([np.asarray(_batch_means(stream, key, columns, sizes, draws)) for stream in streams])
    exact, single = columns.mean(0), columns.var(0)
    whole = np.linalg.norm(gradients[rng.permutation(examples)].mean(0) - full) / np.linalg.norm(full)
    errors = means[..., :DIRECTIONS] - exact[:DIRECTIONS]
    shown = errors[:, :SHOWN, :, 0].swapaxes(1, 2)
    errors = errors.reshape(2, GROUPS, draws // GROUPS, len(sizes), DIRECTIONS)
    dims = ("stream", "group", "batch_size", "direction")
    return xarray.Dataset(
        {
            "mean_error": (dims, errors.mean(2)),
            "variance": (dims, (errors**2).mean(2)),
            "single_variance": ("direction", single[:DIRECTIONS]),
            "mean_sign": (("stream", "batch_size", "label"), np.sign(means[..., DIRECTIONS:]).mean(1)),
            "full_bias_gradient": ("label", exact[DIRECTIONS:]),
            "error": (("stream", "batch_size", "draw"), shown),
        },
        {"stream": list(STREAMS), "batch_size": sizes},
        {"examples": examples, "draws": draws, "whole_batch_error": float(whole)},
    )


def _example_gradients(
    key: Key[Array, ""], examples: int
) -> tuple[Float[np.ndarray, "examples n"], Float[np.ndarray, " n"], np.ndarray]:
    """The gradient of every example, the gradient of their mean loss, and which entries are the output biases."""
    problem = problems.digits_mlp(hidden=16)
    data = jax.tree.map(lambda leaf: leaf[:examples], problem.data)
    params = jax.jit(problem.init)(key)

    @jax.jit
    def gradients(params: PyTree, data: problems.Examples) -> tuple[Array, Array]:
        single = jax.tree.map(lambda leaf: leaf[:, None], data)  # batches of one
        gradient = lambda batch: _flat(jax.grad(problem.loss)(params, batch))
        return jax.vmap(gradient)(single), gradient(data)

    biases = jax.tree.map(np.zeros_like, params)
    biases["params"]["Dense_1"]["bias"] += 1
    each, full = map(np.asarray, gradients(params, data))
    return each, full, np.flatnonzero(np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(biases)]))


def _flat(tree: PyTree) -> Float[Array, " n"]:
    return jax.flatten_util.ravel_pytree(tree)[0]


@partial(jax.jit, static_argnums=(0, 4))
def _batch_means(
    stream: minibatches.Minibatches,
    key: Key[Array, ""],
    columns: Float[Array, "examples columns"],
    sizes: Array,
    draws: int,
) -> Float[Array, "draws sizes columns"]:
    """Means over the first batch of independent epochs, for every batch size."""

    def one(epoch: Array) -> Float[Array, "sizes columns"]:
        sums = jnp.cumsum(columns[stream.order(key, epoch, len(columns))], axis=0)
        return sums[sizes - 1] / sizes[:, None]

    return jax.lax.map(one, jnp.arange(draws), batch_size=100)


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about the gradient of a minibatch.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: no bias, the two laws of the noise, the batch of all examples, and the sign, which is biased.
    """
    examples, draws, sizes = dataset.examples, dataset.draws, dataset.batch_size.values[:-1]
    by_chance = dataset.isel(batch_size=slice(0, -1))  # at B = N without replacement nothing is left to chance
    scores = np.abs(by_chance.mean_error.mean("group")) / np.sqrt(by_chance.variance.mean("group") / draws)
    ratio = dataset.variance.mean("direction") * dataset.batch_size / dataset.single_variance.mean()
    drawn, shuffled = (ratio.sel(stream=stream)[:, :-1] for stream in STREAMS)
    slope, slope_interval = _over_groups(drawn, lambda means: _slope(sizes, means / sizes))
    law = (examples - sizes) / (examples - 1)
    worst, worst_interval = _over_groups(shuffled / law, lambda means: max(means, key=lambda mean: abs(mean - 1)))
    whole, whole_interval = _over_groups(ratio.sel(stream=STREAMS[0])[:, -1], float)
    off = np.abs(dataset.mean_sign - np.sign(dataset.full_bias_gradient)).max("label")
    return [
        Claim(
            "unbiased",
            "The gradient of a minibatch of any size, with or without replacement, is the full gradient on average "
            "(worst z-score along random directions, at 1 % over all looks).",
            float(scores.max()),
            high=math.sqrt(2 * math.log(scores.size / 0.01)),
            unit="standard errors",
            conditions=f"{draws:,} draws of each size.",
        ),
        Claim(
            "variance_slope",
            "With replacement the variance falls as 1/B: slope -1 on log axes.",
            slope,
            -1.05,
            -0.95,
            slope_interval,
            conditions=f"95 % interval over {GROUPS} groups of draws.",
        ),
        Claim(
            "finite_population",
            "Without replacement the variance is (N - B)/(N - 1) times that.",
            worst,
            0.95,
            1.05,
            worst_interval,
            unit="times the prediction, worst batch size",
        ),
        Claim(
            "all_examples",
            "A batch of all examples, in any order, gives the full gradient to rounding.",
            dataset.whole_batch_error,
            high=examples * float(np.finfo(float).eps),
            unit="of its norm",
            conditions="Without replacement only.",
        ),
        Claim(
            "all_examples_with_replacement",
            "N examples drawn with replacement are not all the examples: a variance of s^2/N remains.",
            whole,
            0.95,
            1.05,
            whole_interval,
            unit="times s^2/N",
        ),
        Claim(
            "sign_is_biased",
            "The sign of one example's gradient, Adam's first step, is biased: for some output bias its mean lies "
            "across zero from the sign of the full gradient.",
            float(off.sel(stream=STREAMS[0], batch_size=1)),
            low=1.0,
            unit="away from the sign of the full gradient",
            conditions=f"Still {float(off.sel(stream=STREAMS[0], batch_size=64)):.2g} at B = 64. What is linear in the "
            "gradient, such as momentum, keeps the right mean; what divides by its size does not.",
        ),
    ]


def _over_groups(values: xarray.DataArray, statistic: Callable[[Any], float]) -> tuple[float, tuple[float, float]]:
    """A statistic of the mean over groups of draws, and its bootstrap interval."""
    groups = values.transpose("group", ...).values
    return statistic(groups.mean(0)), bootstrap(lambda sample: statistic(sample.mean(0)), groups)


def _slope(sizes: np.ndarray, values: np.ndarray) -> float:
    """The slope of positive values along the batch size, on log axes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def figure(dataset: xarray.Dataset) -> Figure:
    """The variance against the batch size with both laws, and single draws around the full gradient.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, right) = plots.panels(1, 2, size=(5.4, 4.25))
    sizes, examples = dataset.batch_size.values, dataset.examples
    single = float(dataset.single_variance.mean())
    variance = dataset.variance.mean(["group", "direction"])
    grid = np.geomspace(1, examples * 0.999, 200)
    laws = {STREAMS[0]: single / grid, STREAMS[1]: single / grid * (examples - grid) / (examples - 1)}
    for (stream, law), look in zip(laws.items(), plots.ordered_styles(2), strict=True):
        left.loglog(grid, law, color=look.color, linestyle=look.linestyle, label=f"{stream}: law")
        shown = sizes if stream == STREAMS[0] else sizes[:-1]
        left.plot(shown, variance.sel(stream=stream, batch_size=shown), look.marker, color=look.color, label=stream)
    left.set(xlabel="batch size", ylabel="variance along a direction", ylim=(single / examples / 20, None))
    plots.legend_below(left)
    plots.set_title(left, "The noise falls as 1/B", f"{dataset.draws:,} batches of {examples} digits")
    plots.describe(
        left,
        "Measured variances lie on both laws: 1/B with replacement, "
        f"slope {_slope(sizes, variance.sel(stream=STREAMS[0])):.3f}, and down to nothing at B = N without.",
    )
    chosen = sizes[[0, 2, 4]]
    errors = dataset.error.sel(stream=STREAMS[0]) / math.sqrt(single)
    edges = np.linspace(-3, 3, 91)
    for size, look in zip(chosen, plots.ordered_styles(len(chosen)), strict=True):
        counts = np.histogram(errors.sel(batch_size=size), edges, density=True)[0]
        right.stairs(counts, edges, color=look.color, linestyle=look.linestyle, linewidth=1.4, label=f"B = {size}")
    right.axvline(0, color="0.5", linewidth=0.8)
    right.set(xlabel="distance from the full gradient / σ", ylabel="density of draws", yscale="log", ylim=(0.01, 20))
    plots.legend_below(right)
    plots.set_title(right, "Every batch size is centred on the full gradient", "along one direction; σ: of one example")
    plots.round_ticks(left, right)
    plots.describe(right, "Histograms of the error of single draws, centred on 0, narrower the larger the batch.")
    return drawn
