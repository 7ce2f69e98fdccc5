"""Least training loss is not least risk: how far apart they are, and which of them should choose the learning rate.

    empirical risk  f_n(w) = mean of n losses,    risk  f(w) = their expectation

For least squares with p Gaussian features and noise of variance s^2 the minimiser of f_n has, on average,

    f - f_n = (s^2 / 2) (p / (n - p - 1) + p / n)

The lecture tunes the optimizer by the training loss once the regularizer is right. So the network is trained without
weight decay and with it, of the strength whose minimum has the least validation loss:

    training loss + (c / 2) |w|^2

Sources: Vapnik, 1991 (empirical risk and risk); Breiman and Freedman, 1983 (the formula); Zhang, Bengio, Hardt, Recht
and Vinyals, 2017 (networks fit noisy labels).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from .. import problems
from ..minimize import minimize
from ..optimizers import momentum, newton
from ..problems import Examples
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

REPETITIONS = {"small": 1600, "full": 6400}
SPLITS = {"small": 8, "full": 64}
SIZES = np.array([20, 40, 80, 160, 320])
FEATURES = 10
TRAINING, VALIDATION, TEST = 200, 200, 1000
NOISE = (0.0, 0.3)
RATES = np.geomspace(0.001, 0.3, 7).astype(np.float32)
DECAYS = {"small": (0.0, 0.003, 0.03), "full": (0.0, 0.003, 0.01, 0.03, 0.1)}  # c
STEPS = 200
MEASURED = ("training", "validation", "test", "accuracy")  # training with the penalty


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Minimise the empirical risk of samples of many sizes, and train on splits of the digits at many rates.

    Arguments:
        key: draws the samples, the splits, the noisy labels and the networks.
        size: 1,600 samples and 8 splits, or 6,400 and 64; 3 or 5 strengths of the penalty.

    Returns:
        Dataset with `empirical` and `risk` over `sample` and `n`; training loss with its penalty, validation and test
        loss and the test accuracy over `split`, `noise` (the share of wrong labels in training and validation), `decay`
        (the strength of the penalty) and `rate`.
    """
    import xarray

    sample_key, split_key = jax.random.split(key)
    empirical, risk = _least_squares(jax.random.split(sample_key, REPETITIONS[size]))
    losses = _digits(jax.random.split(split_key, SPLITS[size]), np.array(DECAYS[size], np.float32))
    dims = ("split", "noise", "decay", "rate")
    return xarray.Dataset(
        {
            "empirical": (("sample", "n"), empirical),
            "risk": (("sample", "n"), risk),
            **{name: (dims, values) for name, values in zip(MEASURED, losses, strict=True)},
        },
        {"n": SIZES, "noise": list(NOISE), "decay": list(DECAYS[size]), "rate": RATES.astype(float)},
        {"features": FEATURES, "examples": TRAINING, "steps": STEPS},
    )


def _least_squares(keys: Key[Array, " samples"]) -> tuple[np.ndarray, np.ndarray]:
    """Empirical risk and risk of the minimiser of the empirical one, by sample and size; noise of variance 1."""

    def loss(w: Float[Array, " features"], batch: tuple[Array, Array, Array]) -> Float[Array, ""]:
        inputs, targets, used = batch
        return jnp.sum(used * (inputs @ w - targets) ** 2) / jnp.sum(used) / 2

    def one(key: Key[Array, ""], count: Int[Array, ""]) -> tuple[Array, Array]:
        inputs_key, noise_key = jax.random.split(key)
        inputs = jax.random.normal(inputs_key, (SIZES[-1], FEATURES))
        targets = jax.random.normal(noise_key, (SIZES[-1],))  # the best parameters are 0
        used = (jnp.arange(SIZES[-1]) < count).astype(float)
        run = minimize(loss, jnp.ones(FEATURES), newton(1.0), steps=1, data=(inputs, targets, used))
        return run.final_loss, (1 + jnp.sum(run.params**2)) / 2

    found = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(keys, SIZES)
    return np.asarray(found[0], float), np.asarray(found[1], float)


def _digits(
    keys: Key[Array, " splits"], decays: Float[np.ndarray, " decays"]
) -> Float[np.ndarray, "4 splits noises decays rates"]:
    """Loss on the three parts of every split and test accuracy, by share of wrong labels, penalty and rate."""
    problem = problems.digits_mlp(hidden=16)
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), problem.data, problem.test_data)
    starts = jax.jit(jax.vmap(problem.init))(keys)

    def split(key: Key[Array, ""], noise: Array, whole: Examples) -> list[Examples]:
        order_key, flip_key, label_key = jax.random.split(key, 3)
        rows = jax.random.permutation(order_key, len(whole.labels))[: TRAINING + VALIDATION + TEST]
        inputs, labels = whole.inputs[rows], whole.labels[rows]
        wrong = jax.random.uniform(flip_key, labels.shape) < noise
        noisy = jnp.where(wrong, jax.random.randint(label_key, labels.shape, 0, 10), labels)
        kept = jnp.concatenate([noisy[: TRAINING + VALIDATION], labels[TRAINING + VALIDATION :]])
        ends = (TRAINING, TRAINING + VALIDATION)
        return [Examples(*part) for part in zip(jnp.split(inputs, ends), jnp.split(kept, ends), strict=True)]

    def penalised(params: PyTree, batch: Examples, decay: Array) -> Float[Array, ""]:
        return problem.loss(params, batch) + 0.5 * decay * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    def one(start: PyTree, parts: list[Examples], decay: Array, rate: Array) -> Float[Array, " measured"]:
        options: dict[str, Any] = {"steps": STEPS, "every": STEPS, "data": parts[0], "args": (decay,)}
        run = minimize(penalised, start, momentum(rate, 0.9), **options)
        losses = [run.final_loss, *(problem.loss(run.params, part) for part in parts[1:])]
        return jnp.stack([*losses, problem.metrics["accuracy"](run.params, parts[2])])

    @jax.jit
    def every(keys: Key[Array, " splits"], starts: PyTree, rates: Array, noises: Array, whole: Examples) -> Array:
        def lanes(key: Key[Array, ""], start: PyTree, noise: Array) -> Array:
            each = partial(one, start, split(key, noise, whole))
            return jax.vmap(jax.vmap(each, (None, 0)), (0, None))(jnp.asarray(decays), rates)

        return jax.vmap(jax.vmap(lanes, (None, None, 0)), (0, 0, None))(keys, starts, noises)

    measured = every(keys, starts, RATES, np.array(NOISE, np.float32), whole)
    return np.moveaxis(np.asarray(measured, float), -1, 0)


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about training loss, risk, and what to tune by.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: the gap between risk and empirical risk by sample size, and what choosing the rate by either costs.
    """
    return [*_risk_claims(dataset), *_choice_claims(dataset)]


def _gap(n: np.ndarray) -> np.ndarray:
    return (FEATURES / (n - FEATURES - 1) + FEATURES / n) / 2


def _risk_claims(dataset: xarray.Dataset) -> list[Claim]:
    gap, n = (dataset.risk - dataset.empirical).values, dataset.n.values
    farthest = lambda sample: max(sample.mean(0) / _gap(n), key=lambda ratio: abs(ratio - 1))
    late = n >= 80
    slope = lambda sample: float(np.polyfit(np.log(n[late]), np.log(sample.mean(0)[late]), 1)[0])
    extra = lambda sample: float(sample[:, 0].mean() / 0.5 - 1)
    return [
        Claim(
            "training_is_not_risk",
            "The parameters of least training loss are not those of least risk: from 20 examples their risk is a "
            "quarter above the least, or more.",
            extra(dataset.risk.values),
            low=0.25,
            interval=bootstrap(extra, dataset.risk.values),
            unit="of the least risk",
        ),
        Claim(
            "gap_formula",
            "Training loss flatters by (s^2/2) (p/(n - p - 1) + p/n), at every size of the sample.",
            farthest(gap),
            0.9,
            1.1,
            bootstrap(farthest, gap),
            unit="of the formula, worst size",
        ),
        Claim(
            "gap_halves",
            "Twice the examples halve the gap between training loss and risk.",
            slope(gap),
            -1.1,
            -0.9,
            bootstrap(slope, gap),
            unit="slope on log axes",
            conditions="From 8 examples per parameter on; below it the gap is larger still.",
        ),
    ]


def _choice_claims(dataset: xarray.Dataset) -> list[Claim]:
    labels = zip(NOISE, ("clean", "noisy"), ("clean labels", "30 % wrong labels"), strict=True)
    return [claim for noise, name, words in labels for claim in _of_labels(dataset, noise, name, words)]


def _of_labels(dataset: xarray.Dataset, noise: float, name: str, words: str) -> list[Claim]:
    from scipy.stats import binomtest

    table = dataset.sel(noise=noise)
    right, plain = _right_decay(table), np.zeros(dataset.sizes["split"], int)
    logs, lost, _ = _cost(table, right)
    plain_logs, plain_lost, differing = _cost(table, plain)
    times = lambda sample: float(np.exp(sample.mean()))
    differ = binomtest(int(differing.sum()), len(differing))
    share = differ.proportion_ci()
    decay = float(np.median(dataset.decay.values[right]))
    penalty = f"Weight decay by the validation loss, {decay:g} in the middle of the splits; without it see "
    past = f"From {dataset.examples} examples and {dataset.steps} steps, that is past the fit of them all"
    return [
        Claim(
            f"training_loss_suffices_{name}",
            "With the regularizer right the learning rate may be tuned by the training loss: the test loss ends at "
            f"most 5 % above that of tuning by the validation loss, on {words}.",
            times(logs),
            high=1.05,
            interval=bootstrap(times, logs),
            unit="times the test loss",
            conditions=f"{penalty}training_loss_misleads_{name}.",
        ),
        Claim(
            f"training_loss_suffices_for_accuracy_{name}",
            f"Counted in errors, it then costs at most one more in a hundred, on {words}.",
            float(lost.mean()),
            high=0.01,
            interval=bootstrap(np.mean, lost),
            unit="of the test examples",
        ),
        Claim(
            f"training_loss_misleads_{name}",
            "Without a regularizer it costs: the test loss ends more than 5 % above that of tuning by the validation "
            f"loss, on {words}.",
            times(plain_logs),
            low=1.05,
            interval=bootstrap(times, plain_logs),
            unit="times the test loss",
            conditions=f"{past}; {plain_lost.mean():.1%} more errors.",
        ),
        Claim(
            f"choices_differ_{name}",
            f"There, on {words}, training and validation loss choose different learning rates in half of the splits or "
            "more.",
            float(differ.statistic),
            low=0.5,
            interval=(float(share.low), float(share.high)),
            unit="of the splits",
        ),
    ]


def _finite(table: xarray.DataArray) -> Float[np.ndarray, "splits decays rates"]:
    return np.nan_to_num(table.transpose("split", "decay", "rate").values, nan=np.inf, posinf=np.inf)


def _right_decay(table: xarray.Dataset) -> Int[np.ndarray, " splits"]:
    """The position of the penalty whose minimum, where training gets lowest, has the least validation loss."""
    lowest = _finite(table.training).argmin(-1)[..., None]
    return np.take_along_axis(_finite(table.validation), lowest, -1)[..., 0].argmin(-1)


def _cost(table: xarray.Dataset, decay: Int[np.ndarray, " splits"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By split, with its penalty: log of the test losses' ratio, accuracy lost, and whether the choices differ."""
    splits = np.arange(len(decay))
    training, validation, test, accuracy = (_finite(table[name])[splits, decay] for name in MEASURED)
    by_training, by_validation = training.argmin(1), validation.argmin(1)
    logs = np.log(test[splits, by_training] / test[splits, by_validation])
    lost = accuracy[splits, by_validation] - accuracy[splits, by_training]
    return logs, lost, by_training != by_validation


def figure(dataset: xarray.Dataset) -> Figure:
    """Risk and training loss by sample size, and the three losses of digits by learning rate, clean and noisy.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, axes = plots.panels(1, 3, size=(4.6, 4.25))
    n = dataset.n.values
    labels = {"risk": "risk", "empirical": "training loss"}
    for (name, label), look in zip(labels.items(), plots.distinct_styles(2), strict=True):
        style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker, "label": label}
        axes[0].semilogx(n, dataset[name].mean("sample"), **style)
    axes[0].axhline(0.5, color="0.5", linewidth=0.8)
    axes[0].set(xlabel="examples", ylabel="loss of the least-squares fit")
    axes[0].set_xticks(n, map(str, n))
    axes[0].minorticks_off()
    plots.legend_below(axes[0])
    plots.set_title(axes[0], "The training loss flatters, by about 1/n", "10 parameters; line: the least risk")
    gap = (dataset.risk - dataset.empirical).mean("sample").values
    ends = f"from {gap[0]:.2f} to {gap[-1]:.3f}"
    plots.describe(axes[0], f"Risk above and training loss below the least risk; the gap falls {ends}.")
    titles = {0.0: "Clean labels: the test loss turns", 0.3: "30 % wrong labels: it turns earlier"}
    for ax, (noise, title) in zip(axes[1:], titles.items(), strict=True):
        plain = dataset.sel(noise=noise, decay=[0.0])
        for name, look in zip(MEASURED[:3], plots.distinct_styles(3), strict=True):
            style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker, "label": name}
            ax.loglog(dataset.rate, plain[name].isel(decay=0).median("split"), **style)
        for name, color in zip(MEASURED[:2], ("0.2", "0.6"), strict=True):
            chosen = _finite(plain[name])[:, 0].argmin(1)
            ax.axvline(float(np.median(dataset.rate.values[chosen])), color=color, linestyle=":", linewidth=1.2)
        ax.set(xlabel="learning rate", ylabel="loss")
        plots.legend_below(ax)
        plots.round_ticks(ax)
        plots.set_title(ax, title, "dotted: chosen by training; light: by validation")
        plots.describe(
            ax, f"Losses against the rate at {noise:.0%} wrong labels, and the rates that either loss chooses."
        )
    return drawn
