"""Does the noise of minibatches regularise: how their gradients disagree, and the test loss at equal training loss.

    disagreement = mean_b |g_b - g|^2 / |g|^2    over disjoint batches b, g the mean of their gradients

The lecture's intuition: where over-fitting begins, the gradients of different batches begin to disagree, so one
should not average them. Two measurements on few digits with clean and with wrong labels: disagreement beside the test
loss along training, and the test loss of small batches beside that of the full batch where both reach the same training
loss.

Sources: Keskar, Mudigere, Nocedal, Smelyanskiy and Tang, 2017 (large batches generalise worse); Hoffer, Hubara and
Soudry, 2017 (not at equal numbers of steps); Smith, Dherin, Barrett and De, 2021 (the implicit regulariser, which is
proportional to the rate).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from .. import problems
from ..minibatches import reshuffle
from ..minimize import minimize
from ..optimizers import gradient_descent
from ..problems import Examples
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

SEEDS = {"small": 8, "full": 24}
EPOCHS = {"small": 45, "full": 120}
EXAMPLES, TEST = 240, 1000
NOISE = (0.0, 0.3)
GROUPS = 8  # disjoint batches whose gradients are compared
BATCHES = (8, EXAMPLES)
RATE = 0.2  # of both: equal steps then follow about the same path, but for the noise
MEASURED = ("training", "test", "disagreement")


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Train small and full batches on few digits, with clean and with wrong labels, at one rate and for equal steps.

    Arguments:
        key: draws the examples, the wrong labels, the networks and the batches.
        size: 8 seeds and 45 epochs, or 24 and 120.

    Returns:
        Dataset with training loss, test loss and disagreement over `batch_size`, `seed`, `noise` (the share of wrong
        training labels) and `epoch` (of the small batches; as many steps of the full batch).
    """
    import xarray

    problem = problems.digits_mlp(hidden=32)
    keys = jax.random.split(key, SEEDS[size])
    starts = jax.jit(jax.vmap(problem.init))(keys)
    found = np.stack([_train(problem, starts, keys, batch_size, EPOCHS[size]) for batch_size in BATCHES])
    dims = ("batch_size", "seed", "noise", "epoch")
    return xarray.Dataset(
        {name: (dims, found[..., i]) for i, name in enumerate(MEASURED)},
        {"batch_size": list(BATCHES), "noise": list(NOISE), "epoch": np.arange(found.shape[-2])},
        {"examples": EXAMPLES, "learning_rate": RATE, "seeds": SEEDS[size], "groups": GROUPS},
    )


def _train(
    problem: problems.Problem, starts: PyTree, keys: Key[Array, " seeds"], batch_size: int, epochs: int
) -> Float[np.ndarray, "seeds noises epochs measured"]:
    """Training loss, test loss and disagreement after every epoch's worth of small batches."""
    per_epoch = EXAMPLES // BATCHES[0]
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), problem.data, problem.test_data)

    def one(start: PyTree, key: Key[Array, ""], noise: Array, whole: Examples) -> Float[Array, "epochs measured"]:
        train, test, batch_key = _split(key, noise, whole)
        groups = jax.tree.map(lambda leaf: leaf.reshape(GROUPS, -1, *leaf.shape[1:]), train)

        def measure(params: PyTree) -> Float[Array, " measured"]:
            gradients = jax.vmap(jax.grad(problem.loss), (None, 0))(params, groups)
            means = jax.tree.map(lambda leaf: leaf.mean(0), gradients)
            away = jax.tree.map(lambda each, mean: jnp.sum((each - mean) ** 2) / GROUPS, gradients, means)
            length = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(means))
            disagreement = sum(jax.tree.leaves(away)) / length
            return jnp.stack([problem.loss(params, train), problem.loss(params, test), disagreement])

        run = minimize(
            problem.loss, start, gradient_descent(RATE), steps=per_epoch * epochs, every=per_epoch, data=train,
            minibatches=None if batch_size == EXAMPLES else reshuffle(batch_size), key=batch_key, metrics=measure,
        )  # fmt: skip
        return run.metrics

    lanes = jax.jit(jax.vmap(jax.vmap(one, (None, None, 0, None)), (0, 0, None, None)))
    return np.asarray(lanes(starts, keys, np.array(NOISE, np.float32), whole), float)


def _split(key: Key[Array, ""], noise: Array, whole: Examples) -> tuple[Examples, Examples, Key[Array, ""]]:
    """Training examples, a share of them with labels drawn anew, test examples, and a key for the batches."""
    order_key, flip_key, label_key, batch_key = jax.random.split(key, 4)
    rows = jax.random.permutation(order_key, len(whole.labels))[: EXAMPLES + TEST]
    inputs, labels = whole.inputs[rows], whole.labels[rows]
    drawn = jax.random.randint(label_key, (EXAMPLES,), 0, 10, labels.dtype)
    wrong = jax.random.uniform(flip_key, (EXAMPLES,)) < noise
    train = Examples(inputs[:EXAMPLES], jnp.where(wrong, drawn, labels[:EXAMPLES]))
    return train, Examples(inputs[EXAMPLES:], labels[EXAMPLES:]), batch_key


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lecture claims about minibatches as a regulariser.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: disagreement against over-fitting with wrong and clean labels, and test loss by batch size.
    """
    return [*_disagreement_claims(dataset), *_test_claims(dataset)]


def _disagreement_claims(dataset: xarray.Dataset) -> list[Claim]:
    mean = lambda sample: float(np.exp(sample.mean()))
    found = {}
    for noise in NOISE:
        table = dataset.sel(noise=noise, batch_size=BATCHES[0])
        test, disagreement = (table[name].transpose("seed", "epoch").values for name in MEASURED[1:])
        onset = test.argmin(1)
        seeds = np.arange(len(onset))
        logs = np.log(disagreement)
        found[noise] = (
            logs[seeds, onset] - logs[:, 1],  # up to the onset
            logs[:, -5:].mean(1) - logs[seeds, onset],  # after it
            np.log(test[:, -1] / test[seeds, onset]),  # how much is over-fitted
            float(np.median(onset)),
        )
    (before, _, over, onset), (_, clean_after, clean_over, clean_onset) = found[0.3], found[0.0]
    return [
        Claim(
            "disagreement_at_onset",
            "Where over-fitting begins, the gradients of different batches look very different: with wrong labels they "
            "disagree twice as much, or more, at the least test loss as after the first epoch.",
            mean(before),
            low=2.0,
            interval=bootstrap(mean, before),
            unit="times that of the first epoch",
            conditions=f"The test loss is least after {onset:.0f} epochs and ends {mean(over):.1f} times as high.",
        ),
        Claim(
            "disagreement_without_overfitting",
            "Strong disagreement need not be over-fitting: on clean labels, where the test loss hardly rises again, it "
            "grows by a half or more after the least test loss.",
            mean(clean_after),
            low=1.5,
            interval=bootstrap(mean, clean_after),
            unit="times that at the least test loss",
            conditions=f"The test loss is least after {clean_onset:.0f} epochs and ends {mean(clean_over):.2f} times "
            "as high. Near any fit the mean gradient vanishes and those of the batches need not: disagreement is a "
            "sign of having arrived.",
        ),
    ]


def _test_claims(dataset: xarray.Dataset) -> list[Claim]:
    mean = lambda sample: float(np.exp(sample.mean()))
    clean, noisy = (_test_at_equal_training(dataset, noise) for noise in NOISE)
    unit = "times the test loss of the full batch"
    same = f"Rate {RATE} for both; mean over the training losses that both pass on their way."
    return [
        Claim(
            "small_batches_regularise_noisy",
            f"Minibatches can regularise: at the same training loss batches of {BATCHES[0]} have a lower test loss "
            "than the full batch, on 30 % wrong labels.",
            mean(noisy),
            high=1.0,
            interval=bootstrap(mean, noisy),
            unit=unit,
            conditions=same,
        ),
        Claim(
            "no_effect_clean",
            "They need not: at the same training loss the size of the batch makes less than 5 % of the test loss, on "
            "clean labels.",
            mean(clean),
            0.95,
            1.05,
            bootstrap(mean, clean),
            unit,
            f"{same} What is known of the effect grows with the rate.",
        ),
    ]


def _test_at_equal_training(dataset: xarray.Dataset, noise: float) -> Float[np.ndarray, " seeds"]:
    """Mean log ratio of the test losses of small and full batch where their training losses are equal, by seed."""
    table = dataset.sel(noise=noise)
    ratios = []
    for seed in range(dataset.sizes["seed"]):
        curves = []
        for batch_size in BATCHES:
            one = table.isel(seed=seed).sel(batch_size=batch_size)
            training = np.minimum.accumulate(one.training.values)
            curves.append((np.log(training[::-1]), np.log(one.test.values[::-1])))
        lowest = max(curve[0][0] for curve in curves)
        levels = np.linspace(lowest, np.log(1.0), 30)  # from the lowest that both reach up to a loss of 1
        small, full = (np.interp(levels, *curve) for curve in curves)
        ratios.append((small - full).mean())
    return np.array(ratios)


def figure(dataset: xarray.Dataset) -> Figure:
    """Test loss and disagreement along training, and the test loss against the training loss by batch size.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, middle, right) = plots.panels(1, 3, size=(4.6, 4.25))
    small = dataset.sel(batch_size=BATCHES[0]).median("seed")
    names = {0.0: "clean labels", 0.3: "30 % wrong labels"}
    for (noise, name), look in zip(names.items(), plots.distinct_styles(2), strict=True):
        style = {"color": look.color, "linestyle": look.linestyle}
        table = small.sel(noise=noise)
        onset = int(table.test.values.argmin())
        for ax, variable in ((left, "test"), (middle, "disagreement")):
            values = table[variable][1:]
            ax.loglog(dataset.epoch[1:], values, **style, label=name)
            ax.plot(onset, table[variable][onset], "o", color=look.color, markersize=8, markerfacecolor="none")
        for batch_size, marker in zip(BATCHES, ("o", "s"), strict=True):
            table = dataset.sel(batch_size=batch_size, noise=noise).median("seed")
            label = f"{'full batch' if batch_size == EXAMPLES else f'B = {batch_size}'}, {name}"
            marks = {"marker": marker, "markersize": 3.5, "label": label}
            right.loglog(table.training, table.test, color=look.color, linestyle="-" if marker == "o" else ":", **marks)
    left.set(xlabel="epoch", ylabel="test loss")
    rise = [float(small.sel(noise=noise).test[-1] / small.sel(noise=noise).test.min()) for noise in names]
    title = f"The test loss ends {rise[0]:.2f} and {rise[1]:.2f} times its least"
    plots.set_title(left, title, f"circles: the least; batches of {BATCHES[0]}, median of seeds")
    plots.describe(left, "Test loss falls, and with wrong labels rises again from the circle on.")
    middle.set(xlabel="epoch", ylabel="disagreement of gradients")
    plots.set_title(middle, "Disagreement grows with any fit", "variance between batches / mean squared")
    plots.describe(middle, "Disagreement of the gradients grows along training, with clean labels too.")
    right.set(xlabel="training loss", ylabel="test loss")
    right.invert_xaxis()
    logs = {name: np.exp(_test_at_equal_training(dataset, noise).mean()) for noise, name in names.items()}
    for ax in (left, middle, right):
        plots.legend_below(ax)
    plots.round_ticks(left, middle, right)
    words = f"At equal training loss: {logs['clean labels']:.2f} and {logs['30 % wrong labels']:.2f} times"
    plots.set_title(right, words, "test loss of small batches against the full batch: clean, 30 % wrong")
    said = ", ".join(f"{ratio:.2f} on {name}" for name, ratio in logs.items())
    plots.describe(right, f"Test loss of small batches over that of the full batch at equal training loss: {said}.")
    return drawn
