"""Matrix factorization from entries, where each example touches few parameters: batch size, and Adam against SGD.

    f(U, V) = mean over observed (i, j) of (u_i . v_j - r_ij)^2 / 2

An example moves one row of U and one of V. So the examples of a small batch hardly meet, and the good rate of their
mean gradient grows with the batch, where in a dense problem it soon stops at 2 / curvature. Some rows are seen often
and others rarely, the k-th in proportion to k^-1/2.

Sources: Koren, Bell and Volinsky, 2009 (the problem); Recht, Re, Wright and Niu, 2011 (sparse examples hardly collide);
Duchi, Hazan and Singer, 2011 (adaptive rates for rare features).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from ..minibatches import reshuffle
from ..minimize import minimize
from ..optimizers import adam, gradient_descent
from ..problems import Problem
from ._machinery.claim import Claim
from ._machinery.intervals import best_rate, bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

SEEDS = {"small": 6, "full": 16}
EPOCHS = {"small": 15, "full": 40}
ROWS, RANK, EXAMPLES, TEST = 40, 3, 800, 200
BATCHES = {"small": (1, 8, EXAMPLES), "full": (1, 8, 80, EXAMPLES)}
# A quarter of a decade apart, and wide enough that no best rate lies at an end.
RATES = {
    "sgd": 10.0 ** np.arange(-2.0, 2.1, 0.25),
    "adam": 10.0 ** np.arange(-3.0, 0.1, 0.25),
}
FAMILIES: dict[str, Callable[..., optax.GradientTransformation]] = {"sgd": gradient_descent, "adam": adam}

Factors = dict[str, Float[Array, "rows rank"]]
Entries = tuple[Int[Array, " _"], Int[Array, " _"], Float[Array, " _"]]  # rows, columns, values


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Factorize a matrix of rank three from half of its entries, by batch sizes, optimizers and rates.

    Arguments:
        key: makes the matrix, the observed entries, the starts and the batches.
        size: 6 seeds and 15 epochs, or 16 and 40.

    Returns:
        Dataset with training and test loss over `optimizer`, `batch_size`, `seed` and `rate_index`, and the rates.
    """
    import xarray

    batches = BATCHES[size]
    train, test = _entries(key)
    keys = jax.random.split(key, SEEDS[size])
    width = max(map(len, RATES.values()))
    shape = (len(FAMILIES), len(batches), len(keys), width)
    losses, rates = np.full((2, *shape), np.nan), np.full((len(FAMILIES), width), np.nan)
    for i, name in enumerate(FAMILIES):
        rates[i, : len(RATES[name])] = RATES[name]
        for j, batch_size in enumerate(batches):
            losses[:, i, j, :, : len(RATES[name])] = _train(name, batch_size, EPOCHS[size], keys, train, test)
    dims = ("optimizer", "batch_size", "seed", "rate_index")
    return xarray.Dataset(
        {
            "training": (dims, losses[0]),
            "test": (dims, losses[1]),
            "learning_rate": (("optimizer", "rate_index"), rates),
        },
        {"optimizer": list(FAMILIES), "batch_size": list(batches)},
        {"epochs": EPOCHS[size], "examples": EXAMPLES, "seeds": SEEDS[size]},
    )


def factorization(key: Key[Array, ""]) -> Problem:
    """The problem of this study: a matrix of rank three, from half of its entries.

    Arguments:
        key: makes the matrix and the entries; starts come from the keys of seeds.

    Returns:
        A `Problem` over the factors, both of shape (40, 3), with 800 training and 200 test entries.

    Example:
        >>> import jax
        >>> problem = factorization(jax.random.key(0))
        >>> problem.examples, problem.init(jax.random.key(1))["left"].shape
        (800, (40, 3))
    """
    train, test = _entries(key)
    return Problem(_loss, _start, data=train, test_data=test, name="factorization")


def _start(key: Key[Array, ""]) -> Factors:
    left, right = 0.3 * jax.random.normal(key, (2, ROWS, RANK))
    return {"left": left, "right": right}


def _entries(key: Key[Array, ""]) -> tuple[Entries, Entries]:
    """Entries of a noisy matrix of low rank, the low rows and columns seen more often, for training and for testing."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    left, right = rng.normal(size=(2, ROWS, RANK)) / RANK**0.25
    popular = 1 / np.arange(1, ROWS + 1) ** 0.5
    weights = np.outer(popular, popular).ravel()
    chosen = rng.choice(ROWS * ROWS, EXAMPLES + TEST, replace=False, p=weights / weights.sum())
    rows, columns = np.divmod(rng.permutation(chosen), ROWS)
    values = (left @ right.T)[rows, columns] + 0.1 * rng.normal(size=len(rows))
    whole = jnp.asarray(rows, jnp.int32), jnp.asarray(columns, jnp.int32), jnp.asarray(values, float)
    train, test = (tuple(part[cut] for part in whole) for cut in (slice(EXAMPLES), slice(EXAMPLES, None)))
    return train, test  # type: ignore[return-value]


def _loss(params: Factors, batch: Entries) -> Float[Array, ""]:
    rows, columns, values = batch
    return jnp.mean((jnp.sum(params["left"][rows] * params["right"][columns], axis=-1) - values) ** 2) / 2


def _train(
    name: str, batch_size: int, epochs: int, keys: Key[Array, " seeds"], train: Entries, test: Entries
) -> Float[np.ndarray, "2 seeds rates"]:
    """Final training and test loss by seed and rate."""
    steps = epochs * EXAMPLES // batch_size

    def one(key: Key[Array, ""], rate: Array, train: Entries, test: Entries) -> Float[Array, "2"]:
        start_key, batch_key = jax.random.split(key)
        run = minimize(
            _loss, _start(start_key), FAMILIES[name](rate), steps=steps, every=steps, data=train,
            minibatches=None if batch_size == EXAMPLES else reshuffle(batch_size), key=batch_key,
        )  # fmt: skip
        return jnp.stack([run.final_loss, _loss(run.params, test)])

    lanes = jax.jit(jax.vmap(jax.vmap(one, (None, 0, None, None)), (0, None, None, None)))
    return np.moveaxis(np.asarray(lanes(keys, RATES[name].astype(np.float32), train, test), float), -1, 0)


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Answer the lecture's questions on sparse problems.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: which batch is best at equal epochs, how the good rate moves with it, and Adam beside SGD.
    """
    sgd, adam_ = (_losses(dataset, name) for name in FAMILIES)
    best = {b: _best(losses) for b, losses in sgd.items()}
    small = np.log(best[8]) - np.log(best[EXAMPLES])
    single = np.log(best[1]) - np.log(best[8])
    times = lambda sample: float(np.exp(sample.mean()))
    stacked, stacked_adam = (np.stack(list(losses.values()), axis=1) for losses in (sgd, adam_))
    sizes = list(sgd)
    sgd_slope = lambda sample: _rate_slope(sizes, sample, "sgd")
    steeper = lambda a, b: _rate_slope(sizes, a, "adam") - sgd_slope(b)
    return [
        Claim(
            "small_batches_at_equal_epochs",
            f"Where each example touches few parameters take a small batch: after {dataset.epochs} epochs batches of 8 "
            "end lower than the full batch.",
            times(small),
            high=1.0,
            interval=bootstrap(times, small),
            unit="times the training loss of the full batch",
            conditions="Gradient descent, the rate of each batch size tuned.",
        ),
        Claim(
            "smallest_batch",
            "The smaller the better: single examples end no higher than batches of 8.",
            times(single),
            high=1.0,
            interval=bootstrap(times, single),
            unit="times the training loss of batches of 8",
        ),
        Claim(
            "rate_grows_with_batch",
            "The best rate grows about in proportion to the batch, from single examples up to all: slope on log axes.",
            sgd_slope(stacked),
            0.5,
            1.1,
            bootstrap(sgd_slope, stacked),
            conditions="Examples that share no parameter add up in the batch, and the mean divides them by its size.",
        ),
        Claim(
            "adam_rate_grows_slower",
            "Adam's best rate grows more slowly with the batch than SGD's.",
            steeper(stacked_adam, stacked),
            high=0.0,
            interval=bootstrap(steeper, stacked_adam, stacked),
            unit="difference of the slopes on log axes",
            conditions=f"{_rate_slope(sizes, stacked_adam, 'adam'):.2f} against {sgd_slope(stacked):.2f}.",
        ),
        _adam_claim(sgd, adam_),
    ]


def _adam_claim(sgd: dict[int, np.ndarray], adam_: dict[int, np.ndarray]) -> Claim:
    def times(one: np.ndarray, other: np.ndarray) -> float:
        """Of the losses, both tuned."""
        return float(np.exp(np.mean(np.log(_best(one)) - np.log(_best(other)))))

    ratios = {b: times(adam_[b], sgd[b]) for b in sgd}
    lows, highs = zip(*(bootstrap(times, adam_[b], sgd[b]) for b in sgd), strict=True)
    each = ", ".join(f"{ratio:.2f} at B = {b}" for b, ratio in ratios.items())
    return Claim(
        "sgd_better_tuned",
        "Tuned SGD ends lower than tuned Adam, whatever the batch.",
        ratios[8],
        low=1.0,
        interval=(min(lows), max(highs)),
        unit="times the training loss of SGD by Adam, batches of 8",
        conditions=f"{each}; constant rates. The interval is over all of them.",
    )


def _losses(dataset: xarray.Dataset, name: str) -> dict[int, Float[np.ndarray, "seeds rates"]]:
    """Training losses by batch size; a run that ended in no number counts as infinitely bad."""
    table = dataset.training.sel(optimizer=name).isel(rate_index=slice(len(RATES[name])))
    return {
        int(b): np.nan_to_num(table.sel(batch_size=b).transpose("seed", "rate_index").values, nan=np.inf, posinf=np.inf)
        for b in dataset.batch_size.values
    }


def _best(losses: Float[np.ndarray, "seeds rates"]) -> Float[np.ndarray, " seeds"]:
    """The losses at the rate of the best median."""
    return losses[:, np.median(losses, axis=0).argmin()]


def _rate_slope(sizes: list[int], stacked: Float[np.ndarray, "seeds batches rates"], name: str) -> float:
    """The slope of the best rate against the batch size, on log axes."""
    chosen = [best_rate(RATES[name], losses) for losses in np.median(stacked, axis=0)]
    return float(np.polyfit(np.log(sizes), np.log(chosen), 1)[0])


def figure(dataset: xarray.Dataset) -> Figure:
    """The final loss against the rate for every batch size, of SGD and of Adam.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, axes = plots.panels(1, 2, size=(5.2, 4.35))
    titles = {"sgd": "SGD: the best rate grows with the batch", "adam": "Adam: it grows more slowly"}
    low = float(dataset.training.median("seed").min())
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        ends = []
        losses = _losses(dataset, name)
        for batch_size, look in zip(losses, plots.ordered_styles(len(losses)), strict=True):
            rates, medians = RATES[name], np.median(losses[batch_size], axis=0)
            shown = medians < 1.5
            label = f"B = {batch_size}" if batch_size < EXAMPLES else "full batch"
            style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker, "label": label}
            ax.loglog(rates[shown], medians[shown], **style)
            ends.append(f"{label} {medians.min():.2g} at rate {rates[medians.argmin()]:.2g}")
        ax.set(xlabel="learning rate", ylabel="final training loss", ylim=(low / 1.5, 2.0))
        plots.set_title(ax, title, f"{dataset.epochs} epochs of {EXAMPLES} entries, median of seeds")
        plots.describe(ax, f"Best final loss: {', '.join(ends)}.")
        plots.legend_below(ax)
    plots.round_ticks(*axes)
    return drawn
