"""Convexity: which models have it, what it promises, what it does not, and how much of it a network has.

    f(t x + (1 - t) y) <= t f(x) + (1 - t) f(y)   <=>   H positive semidefinite everywhere (f twice differentiable)
    descent at a rate lr <= 1/L:   f(x_k) - f* <= |x_0 - x*|^2 / (2 lr k)

Sampled chords and Hessians refute convexity and never prove it; that a model is convex is proved on paper, and the
tests here say whether the computation agrees.

Sources: Boyd and Vandenberghe, 2004; Nesterov, 2004 (the rate); Soudry et al., 2018 (separable data); Sagun et al.,
2018 (spectra of networks); Levine, CS 182 lecture 4, 2021, and Zhang, Lipton, Li and Smola, 2023 (the statements).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, Key

from .._machinery.claim import Claim
from .._machinery.registry import Size
from . import judge, measure
from .models import MODELS, both_tests, few_digits

if TYPE_CHECKING:
    import xarray

    from ...plots import Figure

PAIRS = {"small": 1_000, "full": 100_000}
POINTS = {"small": 200, "full": 2_000}
SEEDS = {"small": 12, "full": 64}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Test models by chords and Hessians, follow descent where there is no minimum, and watch a network's spectrum.

    Arguments:
        key: draws parameters, starts and points of sets.
        size: 1,000 chords and 200 Hessians per model and 12 networks, or 100,000, 2,000 and 64.

    Returns:
        Dataset over `model` and chords, over `step` of the networks' training, and single numbers.
    """
    import xarray

    with jax.enable_x64(True):
        digits = few_digits()
        tests, networks, sets, starts = jax.random.split(key, 4)
        excess, smallest = both_tests(tests, digits, PAIRS[size], POINTS[size])
        keys = jax.random.split(networks, SEEDS[size])
        negative, steps, line, humps = measure.networks(keys, digits)
        ended, around = measure.near_minima(keys, digits)
        return xarray.Dataset(
            {
                "refuted": ("model", (excess > 1e-12).sum(1)),
                "smallest": ("model", smallest.min(1)),
                "negative": (("seed", "step"), negative),
                "hump": ("seed", humps),
                "ended": ("seed", ended),
                "convex_around": (("seed", "distance"), around),
                "line_loss": ("share", line),
                **measure.without_minimum(digits),
                **measure.regression(starts, digits),
                **measure.conditioning(),
                **measure.sets(sets),
                **measure.flat_bottoms(),
            },
            {
                "model": list(MODELS),
                "convex": ("model", [int(model.convex) for model in MODELS.values()]),
                "step": steps,
                "share": measure.LINE,
                "distance": measure.AROUND,
            },
            {"pairs": PAIRS[size], "points": POINTS[size], "seeds": SEEDS[size]},
        )


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about convexity.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims on models, on minima, on speed, on sets, and on networks.
    """
    return [*judge.models(dataset), *judge.minima(dataset), *judge.speed(dataset), *judge.sets_and_networks(dataset)]


def figure(dataset: xarray.Dataset) -> Figure:
    """The chord that refutes a network, descent without a minimum, and the network's negative curvature in training.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from ... import plots

    drawn, (left, middle, right) = plots.panels(1, 3, size=(5.0, 4.35))
    loss = dataset.line_loss.values
    blue, red, *_ = (look.color for look in plots.distinct_styles(2))
    left.plot(dataset.share, loss, color=blue, label="loss")
    left.plot([0, 1], loss[[0, -1]], "o--", color=red, label="chord")
    left.set(xlabel="from a trained network to its units permuted", ylabel="loss")
    plots.legend_below(left)
    plots.set_title(left, "A chord below the loss: not convex", "the same network at both ends")
    plots.describe(
        left, f"Loss {loss[0]:.3g} at both ends of a chord between equal networks, up to {loss.max():.3g} inside."
    )
    count = np.arange(1, len(dataset.exp_loss))
    middle.plot(count, dataset.exp_loss[1:], color=blue, label="exp(x)")
    middle.plot(count, dataset.softmax_loss[1:], "-.", color=red, label="softmax on separable digits")
    middle.plot(count, 1 / count, "--", color="0.5", label="1/k, for comparison")
    middle.set(xscale="log", yscale="log", xlabel="step k", ylabel="loss")
    plots.legend_below(middle)
    plots.set_title(middle, "Convex, without a minimum", "the loss keeps falling, about as 1/k")
    plots.describe(middle, "On exp and on softmax regression of separable digits the loss keeps falling, about as 1/k.")
    for row in dataset.negative.values:
        right.plot(dataset.step, row, color=blue, alpha=0.3, linewidth=0.8, label="_one network")
    mean = dataset.negative.mean("seed")
    right.plot(dataset.step, mean, "o-", color="black", label="mean")
    right.set(xlabel="step", ylabel="share of negative eigenvalues", ylim=(0, None))
    plots.legend_below(right)
    first, last = float(mean[0]), float(mean[-1])
    title = f"Negative curvature: {first:.0%}, after training {last:.0%}"
    plots.set_title(right, title, f"{dataset.seeds} networks; 0 would be convex")
    plots.describe(
        right, f"Share of negative eigenvalues of a network: {first:.0%} at the start, {last:.0%} at the end."
    )
    plots.round_ticks(middle)
    return drawn
