"""In which order a descent sees its examples: drawn, a fixed few, shuffled once, shuffled every epoch, sorted by label.

    share of N examples that N draws with replacement see:  1 - (1 - 1/N)^N -> 1 - 1/e = 63.2 %

Two problems: a network on digits, which it can fit, and least squares with noise, which nothing fits, so that the noise
of the order is what remains at a constant rate. And what the order costs in reading: rows of an array larger than the
caches, one after the other and at random.

Sources: Recht and Re, 2012, and Mishchenko, Khaled and Richtarik, 2020 (shuffling against drawing).
"""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from .. import minibatches, problems
from ..minibatches import Minibatches
from ..minimize import minimize
from ..optimizers import gradient_descent
from ..problems import Problem
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

SEEDS = {"small": 8, "full": 24}
EPOCHS = {"small": 10, "full": 40}
BATCH = 16
EXAMPLES = 480  # a multiple of the batch, so that no order leaves any out
RATES = {"digits": (0.1, 0.2, 0.4), "noisy": (0.02, 0.05, 0.1)}
ROW_BYTES = (16, 64, 256, 1024, 4096, 16384, 65536)
ARRAY_BYTES = 256 * 2**20
READ_BYTES = 8 * 2**20
REPETITIONS = 7


Final = dict[str, np.ndarray]  # order -> final loss by seed


def _in_order(batch_size: int) -> Minibatches:
    """The examples as they lie, every epoch."""
    return Minibatches(batch_size, lambda key, epoch, examples: jnp.arange(examples, dtype=jnp.int32))


def _fixed(batch_size: int) -> Minibatches:
    """One random batch, again and again."""

    def order(key: Key[Array, ""], epoch: Array, examples: int) -> Int[Array, " examples"]:
        return jnp.tile(jax.random.permutation(key, examples)[:batch_size], examples // batch_size)

    return Minibatches(batch_size, order)


ORDERS = {
    "drawn": minibatches.random(BATCH),
    "shuffled once": minibatches.shuffle_once(BATCH),
    "reshuffled": minibatches.reshuffle(BATCH),
    "sorted": _in_order(BATCH),
    "a fixed few": _fixed(BATCH),
}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Train on both problems in every order at several rates, count what is seen, and time the reading of rows.

    Arguments:
        key: makes the noise, the networks and the orders.
        size: 8 seeds and 10 epochs, or 24 and 40.

    Returns:
        Dataset with the training loss after every epoch over `problem`, `order`, `seed` and `rate`, less the least one
        of the noisy problem; the share of examples seen in an epoch of draws; and the seconds of reading rows in
        sequence and at random, over `row_bytes`.
    """
    import xarray

    epochs, keys = EPOCHS[size], jax.random.split(key, SEEDS[size])
    made = {"digits": _digits(), "noisy": _noisy(key)}
    losses = np.stack([_train(made[name], np.array(rates, np.float32), keys, epochs) for name, rates in RATES.items()])
    return xarray.Dataset(
        {
            "loss": (("problem", "seed", "order", "rate", "epoch"), losses),
            "learning_rate": (("problem", "rate"), np.array(list(RATES.values()))),
            "share_seen": ("draws", _shares(key)),
            "seconds": (("row_bytes", "access", "repetition"), _reading_times()),
        },
        {
            **{"problem": list(RATES), "order": list(ORDERS), "epoch": np.arange(epochs + 1)},
            **{"row_bytes": list(ROW_BYTES), "access": ["in sequence", "at random"]},
        },
        {"seeds": SEEDS[size], "examples": EXAMPLES, "batch_size": BATCH, "array_bytes": ARRAY_BYTES},
    )


def _digits() -> Problem:
    """A network on digits that lie sorted by label."""
    problem = problems.digits_mlp(hidden=16)
    rows = np.argsort(problem.data.labels[:EXAMPLES], stable=True)
    return dataclasses.replace(problem, data=jax.tree.map(lambda leaf: leaf[rows], problem.data), test_data=None)


def _noisy(key: Key[Array, ""]) -> Problem:
    """Least squares in ten dimensions with noise, sorted by the target; the loss is counted from its least value."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    inputs, noise = rng.normal(size=(EXAMPLES, 10)), rng.normal(size=EXAMPLES)
    targets = inputs @ rng.normal(size=10) + noise
    order = np.argsort(targets)
    least = float(np.linalg.lstsq(inputs, targets)[1][0]) / EXAMPLES / 2

    def loss(w: Float[Array, " 10"], batch: tuple[Array, Array]) -> Float[Array, ""]:
        return jnp.mean((batch[0] @ w - batch[1]) ** 2) / 2 - least

    data = jnp.asarray(inputs[order], float), jnp.asarray(targets[order], float)
    return Problem(loss, init=jnp.zeros(10), data=data)


def _train(
    problem: Problem, rates: Float[np.ndarray, " rates"], keys: Key[Array, " seeds"], epochs: int
) -> Float[np.ndarray, "seeds orders rates epochs"]:
    """The loss on all examples after every epoch. The order is data of one program: which rows are visited, in turn."""
    per_epoch = EXAMPLES // BATCH

    def visits(key: Key[Array, ""]) -> Int[Array, "orders visits"]:
        steps = per_epoch * epochs
        return jnp.stack([minibatches.indices(o, key, 0, steps, EXAMPLES).ravel() for o in ORDERS.values()])

    def one(
        params: PyTree, rows: Int[Array, " visits"], rate: Float[Array, ""], data: PyTree
    ) -> Float[Array, " epochs"]:
        visited = lambda params, rows: problem.loss(params, minibatches.gather(data, rows))
        run = minimize(
            visited, params, gradient_descent(rate), steps=per_epoch * epochs, data=rows, every=per_epoch,
            minibatches=_in_order(BATCH), key=jax.random.key(0), metrics=lambda params: problem.loss(params, data),
        )  # fmt: skip
        return run.metrics

    @jax.jit
    def every(keys: Key[Array, " seeds"], rates: Array, data: PyTree) -> Array:
        def seed(key: Key[Array, ""]) -> Array:
            init_key, order_key = jax.random.split(key)
            in_order = jax.vmap(partial(one, problem.init(init_key)), (None, 0, None))
            return jax.vmap(lambda rows: in_order(rows, rates, data))(visits(order_key))

        return jax.vmap(seed)(keys)

    return np.asarray(every(keys, rates, problem.data))


def _shares(key: Key[Array, ""]) -> Float[np.ndarray, " epochs"]:
    """The share of all examples that an epoch of draws sees."""
    orders = jax.vmap(lambda epoch: ORDERS["drawn"].order(key, epoch, EXAMPLES))(jnp.arange(400))
    return np.array([len(np.unique(order)) / EXAMPLES for order in np.asarray(orders)])


def _reading_times() -> Float[np.ndarray, "rows 2 repetitions"]:
    """Seconds to copy as many bytes in rows that follow each other and in rows anywhere in a large array."""
    array, rng = np.ones(ARRAY_BYTES // 4, np.float32), np.random.default_rng(0)
    seconds = np.empty((len(ROW_BYTES), 2, REPETITIONS))
    for repetition in range(REPETITIONS):  # outermost, so that a busy moment meets both ways of reading
        for i, row_bytes in enumerate(ROW_BYTES):
            table = array.reshape(-1, row_bytes // 4)
            count = READ_BYTES // row_bytes
            first = rng.integers(len(table) - count)
            for j, rows in enumerate((np.arange(first, first + count), rng.integers(len(table), size=count))):
                began = time.perf_counter()
                np.take(table, rows, axis=0)
                seconds[i, j, repetition] = time.perf_counter() - began
    return seconds


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about the order of the examples.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: what is seen, which orders are as good as others on which problem, and what reading at random costs.
    """
    return [*_order_claims(dataset), *_reading_claims(dataset)]


def _ratio(final: Final, order: str, to: str) -> tuple[float, tuple[float, float]]:
    """How many times as high the final loss is, each order at its best rate; paired over seeds."""
    logs = np.log(final[order]) - np.log(final[to])
    mean = lambda sample: float(np.exp(sample.mean()))
    return mean(logs), bootstrap(mean, logs)


def _compared(
    name: str, sentence: str, final: Final, orders: tuple[str, str], conditions: str = "", **bounds: float
) -> Claim:
    number, interval = _ratio(final, *orders)
    unit = f"times the loss of {orders[1]}"
    return Claim(name, sentence, number, interval=interval, unit=unit, conditions=conditions, **bounds)


def _order_claims(dataset: xarray.Dataset) -> list[Claim]:
    shares = dataset.share_seen.values
    limit = 1 - (1 - 1 / dataset.examples) ** dataset.examples
    digits, noisy = (_final(dataset, name) for name in dataset.problem.values)

    return [
        Claim(
            "share_seen",
            f"An epoch of draws with replacement sees {limit:.1%} of the examples.",
            float(shares.mean()),
            limit - 0.005,
            limit + 0.005,
            bootstrap(np.mean, shares),
        ),
        _compared(
            "once_as_good_as_drawn",
            "Shuffling once is as good as drawing at random: at most 10 % more training loss on digits.",
            digits,
            ("shuffled once", "drawn"),
            high=1.1,
        ),
        _compared(
            "once_better_where_noise_limits",
            "Where noise limits, at a constant rate, shuffling once is better than drawing.",
            noisy,
            ("shuffled once", "drawn"),
            high=1.0,
            conditions="Each epoch sees every example, so their noises cancel over it.",
        ),
        _compared(
            "again_on_digits",
            "Shuffling again every epoch is worth it: less training loss on digits than shuffling once.",
            digits,
            ("reshuffled", "shuffled once"),
            high=1.0,
        ),
        _compared(
            "again_where_noise_limits",
            "Shuffling again every epoch is worth it where noise limits.",
            noisy,
            ("reshuffled", "shuffled once"),
            high=1.0,
            conditions="One order errs in one direction every epoch; new orders average that away.",
        ),
        _compared(
            "no_meaningful_order",
            "An order that means something does harm: sorted by label, digits end at a higher loss.",
            digits,
            ("sorted", "reshuffled"),
            f"On the convex problem it costs {_ratio(noisy, 'sorted', 'reshuffled')[0]:.2g} times the excess of "
            f"reshuffling, which is {_ratio(noisy, 'sorted', 'drawn')[0]:.2g} times that of drawing.",
            low=1.0,
        ),
        _compared(
            "fixed_few_waste",
            "The same few examples in every step waste the others: the loss on all ends higher.",
            digits,
            ("a fixed few", "reshuffled"),
            low=1.0,
        ),
    ]


def _final(dataset: xarray.Dataset, problem: str) -> Final:
    """The loss of every order by seed, the geometric mean of the last three epochs, at the rate of its best median."""
    last = np.exp(np.log(dataset.loss.sel(problem=problem).isel(epoch=slice(-3, None))).mean("epoch"))
    found = {}
    for order in dataset.order.values:
        values = np.nan_to_num(last.sel(order=order).transpose("rate", "seed").values, nan=np.inf, posinf=np.inf)
        found[str(order)] = values[np.median(values, axis=1).argmin()]
    return found


def _reading_claims(dataset: xarray.Dataset) -> list[Claim]:
    times = dataset.seconds.transpose("repetition", "row_bytes", "access").values

    def slower(row_bytes: int) -> tuple[float, tuple[float, float]]:
        one = times[:, list(dataset.row_bytes.values).index(row_bytes)]
        statistic = lambda sample: float(np.median(sample[:, 1]) / np.median(sample[:, 0]))
        return statistic(one), bootstrap(statistic, one)

    (image, image_interval), (small, small_interval) = slower(65536), slower(16)
    return [
        Claim(
            "random_reads_cost_images_little",
            "In memory reading images at random costs little: rows of 64 KiB in random order take at most 1.5 times as "
            "long.",
            image,
            high=1.5,
            interval=image_interval,
            unit="times as long as in sequence",
            conditions="Random access costs something for every row, not for every byte. On a disk with a seek time it "
            "costs more.",
        ),
        Claim(
            "random_reads_slow_for_small_rows",
            "Rows smaller than a cache line, here 16 bytes, in random order take 1.5 times as long or more.",
            small,
            low=1.5,
            interval=small_interval,
            unit="times as long as in sequence",
            conditions=f"From an array of {dataset.array_bytes // 2**20} MiB, larger than the caches.",
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """The loss of every order along the epochs on both problems, and the price of reading at random.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, middle, right) = plots.panels(1, 3, size=(4.8, 4.35))
    titles = {
        "digits": ("Shuffled or drawn: the same on digits", "full training loss, best rate, median of seeds"),
        "noisy": ("Where noise limits, shuffled wins", "least squares with noise: excess over the least loss"),
    }
    for ax, (problem, title) in zip((left, middle), titles.items(), strict=True):
        loss = dataset.loss.sel(problem=problem)
        ends = []
        for order, look in zip(dataset.order.values, plots.distinct_styles(dataset.sizes["order"]), strict=True):
            curves = loss.sel(order=order).median("seed")
            curve = curves.isel(rate=int(curves.isel(epoch=-1).values.argmin()))
            ax.semilogy(dataset.epoch, curve, color=look.color, linestyle=look.linestyle, label=str(order))
            ends.append(f"{order} {float(curve[-1]):.3g}")
        ax.set(xlabel="epoch", ylabel="loss" if problem == "digits" else "excess loss")
        plots.legend_below(ax)
        plots.set_title(ax, *title)
        plots.describe(ax, f"Loss against epoch, {problem}; at the end: {', '.join(ends)}.")
    seconds = dataset.seconds.median("repetition")
    ratio = seconds.sel(access="at random") / seconds.sel(access="in sequence")
    plots.round_ticks(left, middle)
    right.semilogx(dataset.row_bytes, ratio, "o-", base=2, color=plots.distinct_styles(1)[0].color)
    right.axhline(1, color="0.5", linewidth=0.8)
    right.set(xlabel="bytes per row", ylabel="time at random / in sequence", ylim=(0, None))
    plots.set_title(
        right, "Reading at random costs small rows only", f"from {dataset.array_bytes // 2**20} MiB in memory"
    )
    plots.describe(
        right,
        f"Random reads take {float(ratio[0]):.1f} times as long for rows of 16 bytes, {float(ratio[-1]):.1f} times "
        "for 64 KiB.",
    )
    return drawn
