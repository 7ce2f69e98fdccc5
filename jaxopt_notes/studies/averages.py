"""Exponentially weighted averages: what they remember, how long, and what the bias correction repairs.

    v_t = beta v_{t-1} + (1 - beta) x_t,      corrected: v_t / (1 - beta^t)

Sources: Roberts, 1959 (the average); Kingma and Ba, 2015 (the correction).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..wrappers.averaging import ewma
from ._machinery.claim import Claim
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

BETAS = (0.5, 0.9, 0.95, 0.98, 0.99)
MEAN = 3.0
SAMPLES = {"small": 512, "full": 8192}
STEPS = 800


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Average noise around a constant, many series at once, with every beta, corrected and not.

    Arguments:
        key: draws the series.
        size: 512 series or 8,192.

    Returns:
        Dataset with the mean and the variance over the series of each average, over `beta` and `step`, the weights
        that an average gives to the values behind it, and one series with a slow trend for the figure.
    """
    import xarray

    with jax.enable_x64(True):
        betas = jnp.asarray(BETAS)
        noise_key, trend_key = jax.random.split(key)
        noise = MEAN + jax.random.normal(noise_key, (SAMPLES[size], STEPS), jnp.float64)
        corrected, plain = (_averages(noise, betas, debias) for debias in (True, False))
        weights = _weights(betas)
        time = np.arange(STEPS)
        trend = 20 - 12 * np.cos(2 * np.pi * time / STEPS) + 2.5 * jax.random.normal(trend_key, (STEPS,), jnp.float64)
        return xarray.Dataset(
            {
                "corrected_mean": (("beta", "step"), corrected.mean(0)),
                "corrected_variance": (("beta", "step"), corrected.var(0)),
                "plain_mean": (("beta", "step"), plain.mean(0)),
                "weight": (("beta", "age"), weights),
                "value": ("step", np.asarray(trend)),
            },
            {"beta": list(BETAS), "step": time + 1, "age": np.arange(weights.shape[1])},
            {"samples": SAMPLES[size], "expectation": MEAN},
        )


def _averages(series: Float[Array, "samples steps"], betas: Float[Array, " betas"], debias: bool) -> np.ndarray:
    """Every average of every series, (samples, betas, steps), by `ewma` itself."""

    def one(values: Float[Array, " steps"], beta: Float[Array, ""]) -> Float[Array, " steps"]:
        average = ewma(beta, debias=debias)

        def step(state: Any, value: Float[Array, ""]) -> tuple[Any, Float[Array, ""]]:
            mean, state = average.update(value, state)
            return state, mean

        return jax.lax.scan(step, average.init(values[0]), values)[1]

    return np.asarray(jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(series, betas))


def _weights(betas: Float[Array, " betas"]) -> np.ndarray:
    """The weight of the value `age` steps back, as the average's answer to a single 1 followed by zeros."""
    impulse = jnp.zeros((1, 2 * STEPS)).at[0, 0].set(1.0)
    return _averages(impulse, betas, False)[0]


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about averages.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: memory after ten steps, the limit 1/e, what lies further back, bias, and the equal sliding window.
    """
    return [*_memory_claims(dataset), *_average_claims(dataset)]


def _memory_claims(dataset: xarray.Dataset) -> list[Claim]:
    betas, weight = dataset.beta.values, dataset.weight.values
    ages = np.round(1 / (1 - betas)).astype(int)
    remembered = np.array([row[age] / row[0] for row, age in zip(weight, ages, strict=True)])
    inside = np.array([row[:age].sum() for row, age in zip(weight, ages, strict=True)])
    return [
        Claim(
            "ten_steps",
            "With beta 0.9, a value ten steps old weighs 0.349 of the newest.",
            remembered[1],
            0.3486,
            0.3487,
        ),
        Claim(
            "one_over_e",
            "After 1/(1 - beta) steps the weight has fallen to 1/e; at beta 0.99 to within 1 %.",
            float(remembered[-1] * math.e),
            0.99,
            1.01,
            unit="of 1/e",
            conditions=f"A limit for beta near 1: {remembered[0] * math.e:.3f} of 1/e at beta 0.5.",
        ),
        Claim(
            "most_of_the_weight",
            "The average is over about the last 1/(1 - beta) values: most of the weight lies in them.",
            float(inside.min()),
            low=0.5,
            unit="of the weight, worst beta",
            conditions=f"They hold {inside.min():.0%} to {inside.max():.0%} of it: a time constant, no window.",
        ),
        Claim(
            "window",
            "With beta 0.99, what lies further back than the last fifty values can nearly be ignored: a tenth of the "
            "weight or less.",
            float(1 - weight[-1, :50].sum()),
            high=0.1,
            unit="of the weight",
            conditions=f"That takes {math.log(0.1) / math.log(betas[-1]):.0f} values: behind k values lies beta^k.",
        ),
    ]


def _average_claims(dataset: xarray.Dataset) -> list[Claim]:
    betas = dataset.beta.values
    standard_errors = np.sqrt(dataset.corrected_variance / dataset.samples)
    errors = np.abs(dataset.corrected_mean - dataset.expectation) / standard_errors
    # The noise of neighbouring steps is shared, so at most steps x betas looks are independent: Bonferroni over all.
    limit = math.sqrt(2 * math.log(errors.size / 0.01))
    windows = (1 + betas) / (1 - betas)
    equal = dataset.corrected_variance.isel(step=-1).values * windows
    spread = 3 * math.sqrt(2 / dataset.samples)
    bias = 1 - dataset.plain_mean.sel(beta=0.99, step=10).item() / dataset.expectation
    return [
        Claim(
            "unbiased",
            "The corrected average is unbiased at every step, for every beta (z-score of the worst of all, at 1 %).",
            float(errors.max()),
            high=limit,
            unit="standard errors",
        ),
        Claim(
            "biased_without",
            "Without the correction the first averages are far too small: at beta 0.99 by 90 % after ten steps.",
            bias,
            0.89,
            0.92,
            conditions="The deficit is beta^t, here 0.99^10 = 0.904.",
        ),
        Claim(
            "equal_window",
            "An average with beta is as noisy as a sliding window of (1 + beta)/(1 - beta) values.",
            float(equal[np.argmax(np.abs(equal - 1))]),
            1 - spread,
            1 + spread,
            unit="times the window's variance, worst beta",
            conditions=f"Bound: three standard errors of a variance of {dataset.samples} series.",
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """A noisy series with three averages, and the weights behind them.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, right) = plots.panels(1, 2, size=(6.0, 4.05))
    plots.series(dataset[["value"]], left, decays=(0.9, 0.98))
    names = {"decay 0.9": "β = 0.9", "decay 0.98": "β = 0.98"}  # as the lectures call it
    handles, labels = left.get_legend_handles_labels()
    for handle, label in zip(handles, labels, strict=True):
        handle.set_label(names.get(label, label))
    plots.legend_below(left, [handle for handle, label in zip(handles, labels, strict=True) if "not" not in label])
    plots.set_title(left, "The larger β, the smoother and the later", "dotted: without bias correction")
    for beta, look in zip(dataset.beta.values, plots.ordered_styles(dataset.sizes["beta"]), strict=True):
        weights = dataset.weight.sel(beta=beta)[:150]
        right.plot(weights / weights[0], color=look.color, linestyle=look.linestyle, label=f"β = {beta:g}")
        right.plot(1 / (1 - beta), weights[round(1 / (1 - beta))] / weights[0], look.marker, color=look.color)
    right.axhline(1 / math.e, color="0.5", linewidth=0.8)
    right.set(xlabel="steps back", ylabel="weight / newest weight")
    plots.legend_below(right)
    plots.set_title(right, "An average remembers about 1/(1 − β) steps", "marks: 1/(1 − β) steps back; line: 1/e")
    plots.describe(right, "Weights fall geometrically and pass 1/e about 1/(1 - beta) steps back, for every beta.")
    return drawn
