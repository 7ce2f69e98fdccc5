"""How large a batch: examples per second, many small steps against few large ones, and what a larger one costs.

    examples = steps x batch size:    10^6 x 10 = 100 x 10^5

Three measurements: the throughput of a network's gradient by batch size, powers of two beside their neighbours;
least squares at two condition numbers by many small and by few large batches of as many examples in all; a network on
digits by three batch sizes at equal steps and at equal examples. Rates are tuned for each batch size.

Sources: Shallue, Lee, Antognini, Sohl-Dickstein, Frostig and Dahl, 2019 (steps against batch size); McCandlish, Kaplan,
Amodei and the OpenAI Dota team, 2018 (where larger batches stop to help).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from .. import problems
from ..minibatches import reshuffle
from ..minimize import minimize
from ..optimizers import gradient_descent
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

SEEDS = {"small": 6, "full": 24}
SPEED_SIZES = {
    "small": (1, 63, 64, 65, 256),
    "full": (1, 2, 4, 8, 16, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1024),
}
ROUNDS = 15
# Batch size -> steps. The full size is the lecture's own example, the small one has a hundredth of the examples.
SPLITS = {"small": {10: 10_000, 1000: 100}, "full": {10: 1_000_000, 100_000: 100}}
CONDITIONS = (1.0, 1000.0)
RATES = np.array([1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 1.5], np.float32)
# Batch size -> steps and steps per record; 88 steps and 5,632 examples are records of each.
DIGITS = {8: (704, 88), 64: (88, 88), 512: (88, 11)}
EXAMPLES_SEEN, STEPS = 5632, 88
DIGITS_RATES = np.array([0.03, 0.1, 0.3, 1.0], np.float32)


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Time gradients, split one budget of examples in two ways, and compare batch sizes at equal budgets.

    Arguments:
        key: makes the data, the networks and the orders.
        size: 6 seeds and 100,000 examples, or 24 seeds and the lecture's 10,000,000.

    Returns:
        Dataset with seconds per gradient over `size` and `round`; the excess over the least loss, as a share of the
        first, over `condition`, `split`, `three_seeds` and `rate`; training loss on digits over `batch_size`, `seed`
        and `digits_rate` at equal steps and at equal examples.
    """
    import xarray

    sizes = SPEED_SIZES[size]
    keys = jax.random.split(key, SEEDS[size])
    excess = np.stack([_split(key, keys[:3], *split, max(SPLITS[size])) for split in SPLITS[size].items()])
    network = problems.digits_mlp(hidden=16)
    starts = jax.jit(jax.vmap(network.init))(keys)
    train = [_digits(starts, keys, network, batch_size) for batch_size in DIGITS]
    return xarray.Dataset(
        {
            "seconds": (("round", "size"), _gradient_seconds(key, sizes)),
            "excess": (("split", "condition", "three_seeds", "rate"), excess),
            "train": (("batch_size", "budget", "seed", "digits_rate"), np.stack(train)),
        },
        {
            **{"size": list(sizes), "split": list(SPLITS[size]), "condition": list(CONDITIONS)},
            **{"rate": RATES.astype(float), "digits_rate": DIGITS_RATES.astype(float)},
            **{"batch_size": list(DIGITS), "budget": ["steps", "examples"]},
        },
        {"seeds": SEEDS[size], "examples": int(np.prod(next(iter(SPLITS[size].items()))))},
    )


def _gradient_seconds(key: Key[Array, ""], sizes: tuple[int, ...]) -> Float[np.ndarray, "rounds sizes"]:
    """Seconds per gradient of a network by batch size, every size in every round."""
    problem = problems.digits_mlp(hidden=256)
    params = jax.jit(problem.init)(key)
    gradient = jax.jit(jax.grad(problem.loss))
    batches = [jax.tree.map(lambda leaf, size=size: leaf[:size], problem.data) for size in sizes]
    for batch in batches:
        gradient(params, batch)
    seconds = np.empty((ROUNDS, len(sizes)))
    for round_ in range(ROUNDS):
        for i, batch in enumerate(batches):
            repeats = max(5, 2000 // sizes[i])
            began = time.perf_counter()
            for _ in range(repeats):
                jax.block_until_ready(gradient(params, batch))
            seconds[round_, i] = (time.perf_counter() - began) / repeats
    return seconds


def _split(
    key: Key[Array, ""], keys: Key[Array, " seeds"], batch_size: int, steps: int, examples: int
) -> Float[np.ndarray, "conditions seeds rates"]:
    """The excess of least squares over its least value after k steps, as a share of the first, by condition."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    features = 10
    white = rng.normal(size=(10 * examples, features))  # so that the large batch is not all of the data, without noise
    noise = rng.normal(size=len(white))

    def data_of(condition: float) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        """Features whose variances range from 1 down to 1/condition, each as important for the target."""
        scales = condition ** (-0.5 * np.arange(features) / (features - 1))
        return white * scales, white @ np.ones(features) + noise

    sets = [data_of(condition) for condition in CONDITIONS]
    # In double precision: in single, a million rows make lstsq take the smaller singular values for zeros.
    least = np.stack([np.linalg.lstsq(*each)[0] for each in sets])
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves), float), *sets)

    def loss(w: Array, batch: tuple[Array, Array]) -> Float[Array, ""]:
        return jnp.mean((batch[0] @ w - batch[1]) ** 2) / 2

    def one(data: PyTree, least: Array, key: Key[Array, ""], rate: Array) -> Float[Array, ""]:
        excess = lambda w: jnp.mean((data[0] @ (w - least)) ** 2)
        end = minimize(
            loss, jnp.zeros(features), gradient_descent(rate), steps=steps, every=steps, data=data, key=key,
            minibatches=reshuffle(batch_size),
        ).params  # fmt: skip
        return excess(end) / excess(jnp.zeros(features))

    @jax.jit
    def every(stacked: PyTree, least: Array, keys: Key[Array, " seeds"], rates: Array) -> Array:
        def condition(data: PyTree, least: Array) -> Array:
            return jax.vmap(lambda key: jax.vmap(lambda rate: one(data, least, key, rate))(rates))(keys)

        each = [jax.tree.map(lambda leaf, i=i: leaf[i], (stacked, least)) for i in range(len(CONDITIONS))]
        return jnp.stack([condition(*pair) for pair in each])

    return np.asarray(every(stacked, jnp.asarray(least, float), keys, RATES), float)


def _digits(
    starts: PyTree, keys: Key[Array, " seeds"], problem: problems.Problem, batch_size: int
) -> Float[np.ndarray, "2 seeds rates"]:
    """Training loss on digits after 88 steps and after 5,632 examples."""
    steps, every = DIGITS[batch_size]

    def one(params: PyTree, key: Key[Array, ""], rate: Array, data: PyTree) -> Float[Array, " records"]:
        run = minimize(
            problem.loss, params, gradient_descent(rate), steps=steps, every=every, data=data, key=key,
            minibatches=reshuffle(batch_size), metrics=lambda params: problem.loss(params, data),
        )  # fmt: skip
        return run.metrics

    lanes = jax.jit(jax.vmap(jax.vmap(one, (None, None, 0, None)), (0, 0, None, None)))
    measured = np.asarray(lanes(starts, keys, DIGITS_RATES, problem.data), float)
    return np.moveaxis(measured[..., [STEPS // every, EXAMPLES_SEEN // batch_size // every]], 2, 0)


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about the size of the batch.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: throughput, powers of two, many small steps or few large ones, and what larger batches cost.
    """
    return [*_speed_claims(dataset), *_split_claims(dataset), *_never_worse_claims(dataset)]


def _powers(sizes: list[int]) -> list[int]:
    """The powers of two whose two neighbours were both timed."""
    return [size for size in sizes if size - 1 in sizes and size + 1 in sizes and size & (size - 1) == 0 and size > 2]


def _speed_claims(dataset: xarray.Dataset) -> list[Claim]:
    sizes, seconds = dataset["size"].values.tolist(), dataset.seconds.transpose("round", "size").values

    def gain(rounds: np.ndarray) -> float:
        """Examples per second at powers of two, as a multiple of the mean of their neighbours'."""
        rate = dict(zip(sizes, sizes / np.median(rounds, axis=0), strict=True))
        return float(np.mean([2 * rate[p] / (rate[p - 1] + rate[p + 1]) for p in _powers(sizes)]))

    def larger(rounds: np.ndarray) -> float:
        middle = np.median(rounds, axis=0)
        return float(256 * middle[sizes.index(1)] / middle[sizes.index(256)])

    gained = bootstrap(gain, seconds)
    return [
        Claim(
            "throughput",
            "Larger batches use the machine better: 256 examples per step are processed at ten times the rate of "
            "single ones, or faster.",
            larger(seconds),
            low=10.0,
            interval=bootstrap(larger, seconds),
            unit="times the examples per second",
        ),
        Claim(
            "powers_of_two",
            "Batch sizes that are powers of two are more efficient than their neighbours.",
            gain(seconds),
            low=1.0,
            interval=gained,
            unit="times the examples per second of their neighbours",
            conditions=f"Mean over {', '.join(map(str, _powers(sizes)))}, on this machine. The interval excludes "
            f"gains above {100 * (max(gained) - 1):.1f} %.",
        ),
    ]


def _split_claims(dataset: xarray.Dataset) -> list[Claim]:
    few, many = (int(split) for split in (dataset.split.max(), dataset.split.min()))

    def ratio(condition: float, rate: float | None = None) -> tuple[float, tuple[float, float]]:
        """The excess of many small batches over that of few large ones, each at its best rate or both at one."""
        found = []
        for split in (many, few):
            table = dataset.excess.sel(condition=condition, split=split).transpose("rate", "three_seeds")
            medians = np.nan_to_num(table.median("three_seeds").values, nan=np.inf, posinf=np.inf)
            chosen = medians.argmin() if rate is None else np.abs(dataset.rate.values - rate).argmin()
            found.append(table.values[chosen])
        values = found[0] / found[1]
        return float(np.median(values)), (float(values.min()), float(values.max()))

    (hard, hard_interval), (easy, easy_interval) = ratio(CONDITIONS[1]), ratio(CONDITIONS[0])
    at_rate, at_rate_interval = ratio(CONDITIONS[0], 0.1)
    steps = {split: dataset.examples // split for split in (many, few)}
    budget = f"{steps[many]:,} steps of {many} examples"
    return [
        Claim(
            "many_small_steps",
            f"Rather {budget} than {steps[few]} steps of {few:,}: the excess ends lower, at condition number 1,000.",
            hard,
            high=1.0,
            interval=hard_interval,
            unit="times the excess of the large batches",
            conditions="Range over three orders. Few steps leave the flat directions where they were.",
        ),
        Claim(
            "equal_at_condition_one",
            f"At condition number 1 it makes no difference: {budget} end as high as {steps[few]} of {few:,}, to a "
            "factor of 2.",
            easy,
            0.5,
            2.0,
            easy_interval,
            unit="times the excess of the large batches",
            conditions="Range over three orders. A hundred steps are enough; what is left is noise. The small batches "
            "average it over more steps, at a rate smaller in proportion.",
        ),
        Claim(
            "few_large_steps_at_one_rate",
            "At one rate, 0.1, and condition number 1, the few large batches end lower: their noise is smaller.",
            at_rate,
            low=1.0,
            interval=at_rate_interval,
            unit="times the excess of the large batches",
        ),
    ]


def _never_worse_claims(dataset: xarray.Dataset) -> list[Claim]:
    def worst(budget: str) -> tuple[float, tuple[float, float], str]:
        """The largest ratio of a loss to that of a smaller batch; each at its best rate, paired over seeds."""
        final = {}
        for batch_size in dataset.batch_size.values:
            table = dataset.train.sel(batch_size=batch_size, budget=budget).transpose("digits_rate", "seed").values
            final[int(batch_size)] = table[np.median(np.nan_to_num(table, nan=np.inf, posinf=np.inf), axis=1).argmin()]
        found = []
        for small, large in zip(list(final)[:-1], list(final)[1:], strict=True):
            logs = np.log(final[large]) - np.log(final[small])
            mean = lambda sample: float(np.exp(sample.mean()))
            found.append((mean(logs), bootstrap(mean, logs), f"B = {large} against {small}"))
        return max(found)

    (steps, steps_interval, steps_pair), (seen, seen_interval, seen_pair) = (
        worst(budget) for budget in ("steps", "examples")
    )
    return [
        Claim(
            "never_worse_equal_steps",
            f"Larger batches never make things worse: not after {STEPS} steps of each on digits.",
            steps,
            high=1.0,
            interval=steps_interval,
            unit=f"times the training loss, {steps_pair}",
            conditions="What it costs is more examples per step; see cost_at_equal_examples.",
        ),
        Claim(
            "cost_at_equal_examples",
            f"Larger batches cost more: after {EXAMPLES_SEEN:,} examples of each on digits the larger one ends higher.",
            seen,
            low=1.0,
            interval=seen_interval,
            unit=f"times the training loss, {seen_pair}",
            conditions="For the same number of examples a larger batch takes fewer steps.",
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """Throughput by batch size, both ways to spend a budget, and digits at equal steps and examples.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, middle, right) = plots.panels(1, 3, size=(4.6, 4.25))
    sizes = dataset["size"].values
    rate = sizes / dataset.seconds.median("round").values
    powers = (sizes & (sizes - 1)) == 0
    dark, light = plots.ordered_styles(2)
    left.loglog(sizes, rate, color="0.7", linewidth=1)
    left.plot(sizes[powers], rate[powers], dark.marker, color=dark.color, label="power of two")
    left.plot(sizes[~powers], rate[~powers], light.marker, color=light.color, markersize=4, label="neighbour of one")
    left.set(xlabel="batch size", ylabel="examples per second")
    plots.legend_below(left)
    grows = f"{sizes[-1]:,} at once: {rate[-1] / rate[0]:.0f} times the throughput"
    plots.set_title(left, grows, "gradients of a 64-256-10 network")
    ends = f"From {rate[0]:.3g} to {rate[-1]:.3g} examples per second"
    plots.describe(left, f"{ends}; powers of two lie on one line with their neighbours.")
    for split, look in zip(dataset.split.values, plots.ordered_styles(2), strict=True):
        for condition, line in zip(dataset.condition.values, ("--", "-"), strict=True):
            excess = dataset.excess.sel(split=split, condition=condition).median("three_seeds")
            label = f"{dataset.examples // split:,} × {split:,}, κ = {condition:,g}"
            style = {"color": look.color, "linestyle": line, "marker": look.marker, "label": label}
            middle.loglog(dataset.rate, excess.where(excess < 1), **style)
    middle.set(xlabel="learning rate", ylabel="final excess / first excess")
    plots.legend_below(middle)
    hard = dataset.excess.sel(condition=CONDITIONS[-1]).median("three_seeds").min("rate").values
    title = "Many small steps win on a hard problem" if hard[0] < hard[-1] else "Many small steps or few large ones"
    plots.set_title(middle, title, f"{dataset.examples:,} examples: steps × batch size; κ: condition number")
    plots.describe(middle, "Final excess against the rate: small batches end lower at condition number 1,000 only.")
    for budget, look in zip(dataset.budget.values, plots.ordered_styles(2), strict=True):
        best = dataset.train.sel(budget=budget).median("seed").min("digits_rate")
        style = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker, "label": f"equal {budget}"}
        right.loglog(dataset.batch_size, best, **style)
    right.set(xlabel="batch size", ylabel="training loss, best rate")
    plots.legend_below(right)
    right.set_xticks(dataset.batch_size.values, map(str, dataset.batch_size.values))
    budgets = f"digits: {STEPS} steps, or {EXAMPLES_SEEN:,} examples"
    plots.set_title(right, "The budget decides which batch is best", budgets)
    plots.describe(right, "Training loss against batch size: falling at equal steps, rising at equal examples.")
    plots.round_ticks(left, middle, right)
    return drawn
