"""Batches of one, of ten, of a hundred, and of everything: what each costs in examples and in seconds.

Least squares on 1,500 examples, each batch size at its own best rate. To reach a hundredth of the first excess a batch
of B needs steps(B) x B examples and steps(B) x seconds(B): small batches save examples, large ones seconds per example.
How many seconds a step takes besides arithmetic depends on the loop, so there are two: one that calls a step at a time
from Python, as the lectures do, and one that is compiled as a whole.

Sources: Bottou and Bousquet, 2008 (examples against computation); Zhang, Lipton, Li and Smola, Dive into Deep Learning,
2023 (the figure of the four batch sizes).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from .. import problems
from ..minibatches import reshuffle
from ..minimize import minimize
from ..optimizers import gradient_descent
from ..sweeps import best, grid, sweep
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

SEEDS = {"small": 6, "full": 32}
EXAMPLES, FEATURES = 1500, 5
BATCHES = (1, 10, 100, EXAMPLES)
EPOCHS = {1: 4, 10: 10, 100: 20, EXAMPLES: 60}
RECORDS = {1: 50, 10: 50, 100: 15, EXAMPLES: 1}  # per epoch
RATES = np.array([0.003, 0.01, 0.03, 0.1, 0.3, 1.0], np.float32)
COPIES = 10
TARGETS = (0.01, 0.0001)  # shares of the first excess
DIGITS_EPOCHS = 8
ROUNDS = 15

Data = tuple[Float[Array, "examples features"], Float[Array, " examples"]]
Train = Callable[[Data, Any, Key[Array, " seeds"]], Float[Array, "seeds rates records"]]


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Descend with every batch size and rate, on clean, repeated and spoilt data, and time single runs.

    Arguments:
        key: makes the data and the order of the examples.
        size: 6 or 32 seeds.

    Returns:
        Dataset over `batch_size`, `seed` and `rate`: examples until the excess is a hundredth of the first one, on the
        data and on ten copies of it, and the floor with bad samples; the excess along `epoch` and the seconds of an
        epoch in either `loop` at the best rate; and the loss of a network on digits by minibatches and by everything.
    """
    import xarray

    keys = jax.random.split(key, SEEDS[size])
    clean, spoilt = _data(key, 0.0), _data(key, 0.02)
    needed, floors, loops, curves = [], [], [], []
    along = np.linspace(0, EPOCHS[EXAMPLES], 50 * EPOCHS[EXAMPLES] + 1)
    for batch_size, epochs in EPOCHS.items():
        records = RECORDS[batch_size]
        train = _trainer(batch_size, epochs, records)
        excess = np.asarray(train(clean, RATES, keys), float)
        needed.append(_records_to_target(excess) / records * EXAMPLES)
        floors.append(np.asarray(train(spoilt, RATES, keys), float)[..., -epochs * records // 4 :].mean(-1))
        chosen = np.median(needed[-1][0], axis=0).argmin()
        # A measurement is of many calls; one step of everything is too short for a clock.
        loops.append((partial(_epoch_by_calls, clean, batch_size), max(1, batch_size // 10)))
        loops.append((partial(train, clean, RATES[chosen][None], keys[:1]), 1))
        curve = np.median(excess[:, chosen], axis=0)
        curves.append(np.interp(along, np.arange(len(curve)) / records, curve, right=np.nan))
    copies = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * COPIES), clean)
    repeated = []
    for batch_size, rounds, records in ((10, EPOCHS[10] // COPIES, RECORDS[10] * COPIES), (len(copies[0]), 60, 1)):
        excess = np.asarray(_trainer(batch_size, rounds, records)(copies, RATES, keys), float)
        repeated.append(_records_to_target(excess) / records * EXAMPLES * COPIES)
    dims = ("seed", "rate")
    return xarray.Dataset(
        {
            "examples_needed": (("batch_size", "target", *dims), np.stack(needed)),
            "spoilt_floor": (("batch_size", *dims), np.stack(floors)),
            "repeated_examples_needed": (("repeated_batch", "target", *dims), np.stack(repeated)),
            "excess": (("batch_size", "epoch"), np.stack(curves)),
            "seconds_per_epoch": (("batch_size", "loop", "repetition"), _seconds(loops)),
            **_digits(key, SEEDS[size]),
        },
        {
            **{"batch_size": list(BATCHES), "target": list(TARGETS), "rate": RATES.astype(float), "epoch": along},
            **{"repeated_batch": ["10", "all"], "loop": ["called", "compiled"]},
        },
        {"examples": EXAMPLES, "copies": COPIES, "seeds": SEEDS[size]},
    )


def _data(key: Key[Array, ""], bad: float) -> Data:
    """Correlated features, a linear target with noise, and a share of targets that are far off."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    inputs = rng.normal(size=(EXAMPLES, FEATURES)) + rng.normal(size=(EXAMPLES, 1))
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    targets = inputs @ rng.normal(size=FEATURES) + 0.1 * rng.normal(size=EXAMPLES)
    targets += 50.0 * rng.choice([-1, 1], EXAMPLES) * (rng.uniform(size=EXAMPLES) < bad)
    return jnp.asarray(inputs, float), jnp.asarray(targets, float)


def _trainer(batch_size: int, epochs: int, records: int) -> Train:
    """A compiled function from data, rates and keys to the excess over the least loss, `records` times an epoch."""

    def loss(w: Float[Array, " features"], batch: Data) -> Float[Array, ""]:
        return jnp.mean((batch[0] @ w - batch[1]) ** 2) / 2

    def one(data: Data, least: Array, rate: Array, key: Key[Array, ""]) -> Float[Array, " records"]:
        examples = len(data[0])
        per_epoch = examples // batch_size
        run = minimize(
            loss, jnp.zeros(FEATURES), gradient_descent(rate), steps=per_epoch * epochs, every=per_epoch // records,
            data=data, minibatches=None if batch_size == examples else reshuffle(batch_size), key=key,
            metrics=lambda w: loss(w, data) - loss(least, data),
        )  # fmt: skip
        return run.metrics

    @jax.jit
    def train(data: Data, rates: Array, keys: Key[Array, " seeds"]) -> Array:
        least = jnp.linalg.lstsq(*data)[0]
        return jax.vmap(lambda key: jax.vmap(lambda rate: one(data, least, rate, key))(rates))(keys)

    return train


@jax.jit
def _step(w: Float[Array, " features"], inputs: Array, targets: Array) -> Float[Array, " features"]:
    return w - 0.01 * inputs.T @ (inputs @ w - targets) / len(targets)


def _epoch_by_calls(data: Data, batch_size: int) -> Array:
    """An epoch of steps, each called from Python with its batch."""
    inputs, targets = (np.asarray(part) for part in data)
    order, w = np.random.default_rng(0).permutation(EXAMPLES), jnp.zeros(FEATURES)
    for begin in range(0, EXAMPLES, batch_size):
        rows = order[begin : begin + batch_size]
        w = _step(w, inputs[rows], targets[rows])
    return w


def _records_to_target(excess: Float[np.ndarray, "seeds rates records"]) -> Float[np.ndarray, "targets seeds rates"]:
    """Records until the excess is at most so much of the first; infinite where it never is."""
    there = np.stack([excess <= target * excess[..., :1] for target in TARGETS])
    return np.where(there.any(-1), there.argmax(-1), np.inf)


def _seconds(loops: Sequence[tuple[Callable[[], Array], int]]) -> Float[np.ndarray, "batches loops rounds"]:
    """Seconds per epoch of every batch size in either loop, which take turns; with each call how often it is made."""
    for call, _ in loops:
        jax.block_until_ready(call())
    seconds = np.empty((ROUNDS, len(loops)))
    for round_ in range(ROUNDS):
        for i, (call, repeats) in enumerate(loops):
            began = time.perf_counter()
            for _ in range(repeats):
                jax.block_until_ready(call())
            seconds[round_, i] = (time.perf_counter() - began) / repeats
    epochs = [count for size in BATCHES for count in (1, EPOCHS[size])]  # that a call is of
    return np.moveaxis((seconds / epochs).reshape(ROUNDS, len(BATCHES), 2), 0, -1)


def _digits(key: Key[Array, ""], seeds: int) -> dict[str, Any]:
    """The final loss of a network on 1,438 digits at the best rates: batches of 64, everything, and both for longer."""
    problem = problems.digits_mlp(hidden=16)
    steps = DIGITS_EPOCHS * (problem.examples // 64)
    space = grid(learning_rate=[0.2, 0.5, 1.0])
    run = partial(sweep, problem, gradient_descent, space, seeds=seeds, steps=steps, key=key, progress=False)
    small, whole = run(batch_size=64, every=steps), run(every=DIGITS_EPOCHS)
    chosen = best(small).config["learning_rate"]
    at_epochs = whole.loss.sel(step=DIGITS_EPOCHS)
    return {
        "digits_minibatch": ("seed", small.final_loss.sel(learning_rate=chosen).values),
        "digits_full_equal_epochs": ("seed", at_epochs.isel(learning_rate=_best(at_epochs)).values),
        "digits_full_equal_steps": ("seed", whole.final_loss.isel(learning_rate=_best(whole.final_loss)).values),
    }


def _best(loss: xarray.DataArray) -> int:
    return int(np.nan_to_num(loss.median("seed").values, nan=np.inf, posinf=np.inf).argmin())


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about one, some and all examples per step.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: the cost in examples and in seconds, copies, bad samples, and what to do with a small data set.
    """
    return [*_cost_claims(dataset), *_seconds_claims(dataset), *_data_claims(dataset), *_digits_claims(dataset)]


def _needed(dataset: xarray.Dataset, target: float = TARGETS[0]) -> dict[int, Float[np.ndarray, " seeds"]]:
    """Examples to a target by batch size, each at its best rate."""
    table = dataset.examples_needed.sel(target=target)
    return {int(size): _at_best_rate(table.sel(batch_size=size)) for size in dataset.batch_size.values}


def _at_best_rate(needed: xarray.DataArray) -> Float[np.ndarray, " seeds"]:
    values = needed.transpose("rate", "seed").values
    return values[np.median(values, axis=1).argmin()]


def _seconds_per_epoch(dataset: xarray.Dataset, loop: str) -> dict[int, Float[np.ndarray, " repetitions"]]:
    table = dataset.seconds_per_epoch.sel(loop=loop)
    return {int(size): table.sel(batch_size=size).values for size in dataset.batch_size.values}


def _quotient(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.median(a) / np.median(b))


def _of_fastest(a: np.ndarray, b: np.ndarray) -> float:
    """Of seconds; by the fastest rounds, as other work on the machine only adds to a time."""
    return float(np.min(a) / np.min(b))


def _cost_claims(dataset: xarray.Dataset) -> list[Claim]:
    needed, compiled = _needed(dataset), _seconds_per_epoch(dataset, "compiled")
    one, some, _, full = BATCHES
    return [
        Claim(
            "fewer_examples",
            "Gradient descent is wasteful of data: to the same loss it looks at twice as many examples as batches of "
            "ten, or more.",
            _quotient(needed[full], needed[some]),
            low=2.0,
            interval=bootstrap(_quotient, needed[full], needed[some]),
            unit="times the examples",
        ),
        Claim(
            "one_at_a_time_is_slow",
            "Single examples leave the machine idle: an epoch of them takes five times as long as one of everything.",
            _of_fastest(compiled[one], compiled[full]),
            low=5.0,
            interval=bootstrap(_of_fastest, compiled[one], compiled[full]),
            unit="times the seconds per epoch",
            conditions="In a compiled loop; where each step is a call it is more.",
        ),
    ]


def _spent(needed: dict[int, Any], times: dict[int, np.ndarray], batch_size: int) -> float:
    """Seconds to the target, by the fastest round."""
    return float(np.median(needed[batch_size]) / EXAMPLES * np.min(times[batch_size]))


def _against(
    needed: dict[int, Any], times: dict[int, np.ndarray], first: int, second: int
) -> tuple[float, tuple[float, float]]:
    """Seconds of the first batch size over those of the second; the interval is of the timing."""
    statistic = lambda a, b: _spent(needed, {first: a}, first) / _spent(needed, {second: b}, second)
    return statistic(times[first], times[second]), bootstrap(statistic, times[first], times[second])


def _minibatch_claim(
    needed: dict[int, Any], times: dict[int, np.ndarray], name: str, sentence: str, conditions: str, **bound: float
) -> Claim:
    """The faster of the minibatches against the faster of one and all."""
    spent = {size: _spent(needed, times, size) for size in BATCHES}
    one, *some, full = BATCHES
    quick, rival = min(some, key=spent.__getitem__), min((one, full), key=spent.__getitem__)
    number, interval = _against(needed, times, quick, rival)
    unit = f"times the seconds of B = {rival}, by B = {quick}"
    return Claim(name, sentence, number, interval=interval, unit=unit, conditions=conditions, **bound)


def _seconds_claims(dataset: xarray.Dataset) -> list[Claim]:
    needed, tight = (_needed(dataset, target) for target in TARGETS)
    called, compiled = (_seconds_per_epoch(dataset, loop) for loop in dataset.loop.values)
    one, _, _, full = BATCHES
    (near, near_interval), (far, far_interval) = (_against(each, called, one, full) for each in (needed, tight))
    by_time, time_interval = _against(needed, compiled, one, full)
    fewer = _quotient(needed[full], needed[one])
    longer = _of_fastest(called[one] / EXAMPLES, called[full])
    return [
        Claim(
            "single_slower_than_full",
            "In seconds stochastic descent is slower than gradient descent, in a loop that calls one step at a time.",
            near,
            low=1.0,
            interval=(min(near_interval[0], far_interval[0]), max(near_interval[1], far_interval[1])),
            unit="times the seconds to a hundredth of the excess",
            conditions=f"{far:.2g} times to a ten-thousandth; the interval is over both, by the fastest of {ROUNDS} "
            f"rounds. To a hundredth it looks at {fewer:.0f} times fewer examples; a step of one takes {longer:.2g} of "
            "a step of all.",
        ),
        Claim(
            "single_faster_compiled",
            "In a loop that is compiled as a whole it is the faster one.",
            by_time,
            high=1.0,
            interval=time_interval,
            unit="times the seconds to a hundredth of the excess",
            conditions="There a step costs little more than its arithmetic.",
        ),
        _minibatch_claim(
            needed,
            called,
            "minibatch_fastest",
            "Minibatches take less time than stochastic and gradient descent, in a loop that calls one step at a time.",
            "To a hundredth of the excess.",
            high=1.0,
        ),
        _minibatch_claim(
            needed,
            compiled,
            "single_fastest_compiled",
            "In a loop that is compiled as a whole single examples take less time than minibatches and everything.",
            "To a hundredth of the excess: far from its floor B = 1 makes more of an example than a batch.",
            low=1.0,
        ),
        _minibatch_claim(
            tight,
            called,
            "minibatch_fastest_near_the_floor",
            "Called one by one, they do to a ten-thousandth of the excess, too, near the floor of single examples.",
            "Further on only gradient descent arrives at a constant rate.",
            high=1.0,
        ),
    ]


def _data_claims(dataset: xarray.Dataset) -> list[Claim]:
    needed = _needed(dataset)
    copies = dataset.repeated_examples_needed.isel(target=0)
    repeated = [_at_best_rate(copies.sel(repeated_batch=batch)) for batch in dataset.repeated_batch.values]
    floor = dataset.spoilt_floor.transpose("batch_size", "rate", "seed")
    single, hundred = floor.sel(batch_size=1), floor.sel(batch_size=100)
    equal = single[2].values, hundred[2].values  # rate 0.03
    scaled = single[0].values, hundred[4].values  # rates 0.003 and 0.3
    return [
        Claim(
            "copies_cost_nothing",
            f"Stochastic steps spend nothing on copies: with {dataset.copies} copies of every example batches of ten "
            "need as many examples as without.",
            _quotient(repeated[0], needed[10]),
            0.8,
            1.25,
            bootstrap(_quotient, repeated[0], needed[10]),
            unit="times the examples",
            conditions=f"Gradient descent needs {_quotient(repeated[1], needed[EXAMPLES]):.3g} times as many.",
        ),
        Claim(
            "bad_samples",
            "Bad samples harm single examples more than minibatches: at the same rate the excess of B = 1 ends ten "
            "times as high as that of B = 100, or more.",
            _quotient(*equal),
            low=10.0,
            interval=bootstrap(_quotient, *equal),
            unit="times the excess",
            conditions="2 % of the targets are off by 50 in either direction; rate 0.03.",
        ),
        Claim(
            "bad_samples_equal_noise",
            "At the same rate per example (rate / B) a minibatch is no safer from bad samples: within a factor of 2.",
            _quotient(*scaled),
            0.5,
            2.0,
            bootstrap(_quotient, *scaled),
            unit="times the excess",
            conditions="Rates 0.003 for B = 1 and 0.3 for B = 100.",
        ),
    ]


def _digits_claims(dataset: xarray.Dataset) -> list[Claim]:
    def against(other: str) -> tuple[float, tuple[float, float]]:
        logs = np.log(dataset[other].values) - np.log(dataset.digits_minibatch.values)
        mean = lambda sample: float(np.exp(sample.mean()))
        return mean(logs), bootstrap(mean, logs)

    (epochs, epochs_interval), (steps, steps_interval) = map(
        against, ("digits_full_equal_epochs", "digits_full_equal_steps")
    )
    unit = "times the loss of batches of 64"
    return [
        Claim(
            "small_data_full_batch",
            "With fewer than 2,000 examples use the full batch: on 1,438 digits it ends no higher than batches of 64.",
            epochs,
            high=1.0,
            interval=epochs_interval,
            unit=unit,
            conditions=f"After {DIGITS_EPOCHS} epochs of each, rates tuned.",
        ),
        Claim(
            "small_data_full_batch_equal_steps",
            "It does not end higher where the number of steps is what counts, not that of examples.",
            steps,
            high=1.0,
            interval=steps_interval,
            unit=unit,
            conditions="At equal steps the full batch has computed with 22 times as many examples.",
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """The excess of every batch size along the epochs and along time.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, right) = plots.panels(1, 2, size=(5.2, 4.35))
    seconds = dataset.seconds_per_epoch.sel(loop="called").min("repetition")
    ends: dict[str, list[str]] = {"epochs": [], "time": []}
    for batch_size, look in zip(dataset.batch_size.values, plots.ordered_styles(len(BATCHES)), strict=True):
        label = f"B = {batch_size}" if batch_size < dataset.examples else "full batch"
        style = {"color": look.color, "linestyle": look.linestyle, "label": label}
        excess, per_epoch = dataset.excess.sel(batch_size=batch_size), float(seconds.sel(batch_size=batch_size))
        left.loglog(dataset.epoch[1:], excess[1:], **style)
        right.loglog(dataset.epoch[1:] * per_epoch, excess[1:], **style)
        there = float(dataset.epoch[int((excess <= TARGETS[0] * excess[0]).values.argmax())])
        ends["epochs"].append(f"{label} {there:.2g}")
        ends["time"].append(f"{label} {there * per_epoch:.2g} s")
    for ax, unit in ((left, "epochs"), (right, "time")):
        ax.axhline(TARGETS[0] * float(dataset.excess[0, 0]), color="0.5", linewidth=0.8)
        plots.describe(ax, f"Time to a hundredth of the first excess in {unit}: {', '.join(ends[unit])}.")
    left.set(xlabel="epoch (examples seen / examples)", ylabel="excess over the least loss")
    right.set(xlabel="seconds", ylabel="excess over the least loss")
    for ax in (left, right):
        plots.legend_below(ax)
    plots.set_title(left, "Small batches need fewer examples", "best rate of each, median of seeds; line: the target")
    plots.set_title(right, "Which batch is fastest depends on the target", "one run alone, each step a call")
    plots.round_ticks(left, right)
    return drawn
