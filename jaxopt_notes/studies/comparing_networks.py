"""Two networks from different training sets: how to compare them, and whether more data make one more robust.

    disagreement = share of test examples with different answers >= difference of the accuracies
    barrier      = max over t of f((1 - t) a + t b) - ((1 - t) f(a) + t f(b))

Parameters cannot be compared entry by entry: exchanging hidden units moves them far and leaves the function as it is.

Sources: Goodfellow, Vinyals and Saxe, 2015 (the line between networks); Frankle, Dziugaite, Roy and Carbin, 2020 (a
common start); Ainsworth, Hayase and Srinivasa, 2023 (permutations); Hendrycks and Dietterich, 2019 (robustness);
McNemar, 1947 (two classifiers on the same examples).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from .. import landscape, problems
from ..minimize import minimize
from ..optimizers import momentum
from ..problems import Examples
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

SEEDS = {"small": 8, "full": 40}
HIDDEN = 32
PART, STEPS, RATE = 600, 150, 0.1
NUMBERS = (50, 100, 200, 300, 600)  # of training examples; divisors of PART, so that repeating them fills it
WRONG = 0.4
NOISES = (0.0, 0.3)  # standard deviation of what is added to every pixel of a test image; pixels are in [0, 1]
LINES = 11
CERTAIN = 3.0  # standard errors
# The networks of a seed: (start, part of the data, number of examples, share of wrong labels).
NETWORKS: tuple[tuple[int, int, int, float], ...] = (
    *((0, 0, number, 0.0) for number in NUMBERS),
    *((start, part, PART, 0.0) for start, part in ((0, 1), (1, 0), (1, 1))),
    (0, 0, PART, WRONG),
)
FIRST, NEITHER, NOISY = 4, 7, 8  # positions in NETWORKS
PAIRS = {"same start": 5, "same data": 6, "neither": NEITHER}  # of the first with others; what they have in common
LINE_SEEDS = 4


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Train networks from two starts on two halves and smaller parts of the digits, and compare them.

    Arguments:
        key: draws the parts, the starts, the wrong labels and the noise on test images.
        size: 8 or 40 seeds.

    Returns:
        Dataset with the accuracy over `seed`, `network` and `noise`; by how many standard errors each network is better
        under noise than that of the next smaller training set; disagreement and distance of pairs of networks of equal
        accuracy; distance and largest difference of the outputs after exchanging units; losses along lines.
    """
    import xarray

    problem = problems.digits_mlp(hidden=HIDDEN)
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), problem.data, problem.test_data)
    trained, right, answers = _train(problem, jax.random.split(key, SEEDS[size]), whole)
    first = _network(trained, FIRST)
    exchanged = _exchanged(first, key)
    shift = _logits(_at(exchanged, 0), whole.inputs) - _logits(_at(first, 0), whole.inputs)
    others = [_network(trained, i) for i in PAIRS.values()]
    differ = [(answers[:, FIRST] != answers[:, i]).mean(1) for i in PAIRS.values()]
    dims = ("seed", "pair")
    return xarray.Dataset(
        {
            "accuracy": (("seed", "network", "noise"), right.mean(-1)),
            "more_data_score": (("seed", "next_number"), _scores(right[:, : len(NUMBERS), -1])),
            "disagreement": (dims, np.stack(differ, 1)),
            "distance": (dims, np.stack([_distance(first, other) for other in others], 1)),
            "exchanged_distance": ("seed", _distance(first, exchanged)),
            "line": (("line_seed", "pair", "t"), _lines(problem, first, others, whole)),
        },
        {
            "pair": list(PAIRS),
            "noise": list(NOISES),
            "number": list(NUMBERS),
            "next_number": list(NUMBERS[1:]),
            "t": np.linspace(0, 1, LINES),
        },
        {"seeds": SEEDS[size], "wrong_labels": WRONG, "exchanged_shift": float(np.abs(shift).max())},
    )


def _logits(params: PyTree, inputs: Float[Array, "examples pixels"]) -> Float[Array, "examples 10"]:
    return cast(Array, problems.MLP((HIDDEN, 10)).apply(params, inputs))


def _network(trained: PyTree, position: int) -> PyTree:
    """One network of every seed."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:, position], trained)


def _at(networks: PyTree, seed: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[seed], networks)


def _distance(one: PyTree, other: PyTree) -> Float[np.ndarray, " seeds"]:
    """The Euclidean distance of the parameters, by seed."""
    squares = jax.tree.map(lambda a, b: ((a - b) ** 2).reshape(len(a), -1).sum(1), one, other)
    return np.sqrt(sum(jax.tree.leaves(squares)))


def _exchanged(networks: PyTree, key: Key[Array, ""]) -> PyTree:
    """The same functions with the hidden units in another order."""
    order = np.asarray(jax.random.permutation(key, HIDDEN))
    below, above = networks["params"]["Dense_0"], networks["params"]["Dense_1"]
    return {
        "params": {
            "Dense_0": {"kernel": below["kernel"][..., order], "bias": below["bias"][..., order]},
            "Dense_1": {"kernel": above["kernel"][:, order], "bias": above["bias"]},
        }
    }


def _train(
    problem: problems.Problem, keys: Key[Array, " seeds"], whole: Examples
) -> tuple[PyTree, Bool[np.ndarray, "seeds networks noises tests"], Int[np.ndarray, "seeds networks tests"]]:
    """The trained networks of every seed, which test examples they get right under noise, and their answers."""
    starts, parts, numbers, wrong = (np.array(column) for column in zip(*NETWORKS, strict=True))

    def one(key: Key[Array, ""], start: Array, part: Array, number: Array, wrong: Array, whole: Examples) -> Any:
        order_key, start_key, label_key, noise_key = jax.random.split(key, 4)
        order = jax.random.permutation(order_key, len(whole.labels))
        rows = order[part * PART + jnp.arange(PART) % number]  # a smaller part is repeated: the same mean loss
        flipped = jax.random.randint(label_key, (PART,), 0, 10, whole.labels.dtype)
        labels = jnp.where(jnp.arange(PART) < wrong * PART, flipped, whole.labels[rows])
        run = minimize(
            problem.loss, problem.init(jax.random.fold_in(start_key, start)), momentum(RATE, 0.9), steps=STEPS,
            every=STEPS, data=Examples(whole.inputs[rows], labels),
        )  # fmt: skip
        test = jax.tree.map(lambda leaf: leaf[order[2 * PART :]], whole)
        noise = jax.random.normal(noise_key, test.inputs.shape)
        guesses = jnp.stack([_logits(run.params, test.inputs + s * noise).argmax(-1) for s in NOISES])
        return run.params, guesses == test.labels, guesses[0]

    networks = jax.vmap(one, (None, 0, 0, 0, 0, None))
    trained, right, answers = jax.jit(jax.vmap(networks, (0, None, None, None, None, None)))(
        keys, starts, parts, numbers, wrong.astype(np.float32), whole
    )
    return trained, np.asarray(right), np.asarray(answers)


def _scores(right: Bool[np.ndarray, "seeds networks tests"]) -> Float[np.ndarray, "seeds steps"]:
    """How much more often each network is right than the one before, on the same examples, in standard errors."""
    gained = np.sum(right[:, 1:] & ~right[:, :-1], axis=-1)
    lost = np.sum(right[:, :-1] & ~right[:, 1:], axis=-1)
    return (gained - lost) / np.sqrt(np.maximum(gained + lost, 1))


def _lines(
    problem: problems.Problem, first: PyTree, others: list[PyTree], whole: Examples
) -> Float[np.ndarray, "seeds pairs points"]:
    """The loss on all digits along the line from a network to each of the others."""

    def losses(seed: int, other: PyTree) -> Float[np.ndarray, " points"]:
        ends = _at(first, seed), _at(other, seed)
        line = landscape.line(problem.loss, ends[0], to=ends[1], x=np.linspace(0, 1, LINES), data=whole)
        return line.loss.values

    return np.array([[losses(seed, other) for other in others] for seed in range(LINE_SEEDS)])


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Answer the lecture's questions on pairs of networks and on robustness.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: what accuracy, disagreement, parameters and the line between two networks tell; and what more data do.
    """
    return [*_pair_claims(dataset), *_robustness_claims(dataset)]


def _pair_claims(dataset: xarray.Dataset) -> list[Claim]:
    clean = dataset.accuracy.sel(noise=0.0).transpose("seed", "network").values
    gap = np.abs(clean[:, FIRST] - clean[:, NEITHER])
    disagreement = dataset.disagreement.sel(pair="neither").values
    quotient = lambda a, b: float(a.mean() / b.mean())
    moved, apart = dataset.exchanged_distance.values, dataset.distance.sel(pair="neither").values
    line = dataset.line.transpose("line_seed", "pair", "t").values
    straight = line[..., :1] + (line[..., -1:] - line[..., :1]) * dataset.t.values
    same, other = ((line - straight).max(-1)[:, list(PAIRS).index(pair)] for pair in ("same start", "neither"))
    return [
        Claim(
            "accuracy_hides_differences",
            "Equal accuracy is not equality: networks of other starts and other data disagree on twice as many test "
            "examples as their accuracies differ by, or more.",
            quotient(disagreement, gap),
            low=2.0,
            interval=bootstrap(quotient, disagreement, gap),
            unit="times the difference of the accuracies",
            conditions=f"{disagreement.mean():.1%} of the answers differ, accuracies by {gap.mean():.1%}.",
        ),
        Claim(
            "parameters_hide_equality",
            "The distance between parameters does not measure how functions differ: a network with its units exchanged "
            "is at least half as far from itself as from an independent one.",
            quotient(moved, apart),
            low=0.5,
            interval=bootstrap(quotient, moved, apart),
            unit="of the distance to an independent network",
            conditions=f"Its outputs are the same to {dataset.exchanged_shift:.1g}.",
        ),
        Claim(
            "common_start_common_basin",
            "Networks from one start, trained on different data, are joined by a line of lower barrier than those from "
            "different starts.",
            quotient(same, other),
            high=1.0,
            interval=bootstrap(quotient, same, other),
            unit="of the barrier between different starts",
            conditions=f"Barriers {same.mean():.2g} and {other.mean():.2g} in units of the loss, {len(line)} seeds.",
        ),
        Claim(
            "data_matter_less_than_start",
            "The start matters no less than the data: networks of one training set and two starts disagree at least "
            "half as much as those of one start and two training sets.",
            quotient(*(dataset.disagreement.sel(pair=pair).values for pair in ("same data", "same start"))),
            low=0.5,
            interval=bootstrap(
                quotient, *(dataset.disagreement.sel(pair=pair).values for pair in ("same data", "same start"))
            ),
            unit="times the disagreement",
        ),
    ]


def _robustness_claims(dataset: xarray.Dataset) -> list[Claim]:
    from scipy.stats import binomtest

    noise = NOISES[1]
    noisy = dataset.accuracy.sel(noise=noise).transpose("seed", "network").values
    scores = dataset.more_data_score.values
    kept = binomtest(int(np.sum(scores > -CERTAIN)), scores.size)
    share = kept.proportion_ci()
    gain = noisy[:, FIRST] - noisy[:, 0]
    clean = noisy[:, NUMBERS.index(200)] - noisy[:, NOISY]
    return [
        Claim(
            "more_data_always_more_robust",
            "A network trained on more data is always the more robust one: in every comparison with the next smaller "
            f"training set its accuracy under noise of {noise} per pixel is no lower than by chance.",
            float(kept.statistic),
            low=1.0,
            interval=(float(share.low), float(share.high)),
            unit="of the comparisons",
            conditions=f"Sets of one quality; lower by chance is up to {CERTAIN:g} standard errors on the same test "
            f"examples, the least is {scores.min():.2g}. Sampling cannot prove it; for another quality see "
            "good_data_beat_more_data.",
        ),
        Claim(
            "more_data_more_robust_on_average",
            f"It is on average: {NUMBERS[-1]} examples give a higher accuracy under noise than {NUMBERS[0]}.",
            float(gain.mean()),
            low=0.0,
            interval=bootstrap(np.mean, gain),
            unit="of accuracy",
            conditions="Where the larger set is of the same quality and the noise is not in either.",
        ),
        Claim(
            "good_data_beat_more_data",
            f"200 examples with right labels give a more robust network than {PART} with {WRONG:.0%} wrong ones.",
            float(clean.mean()),
            low=0.0,
            interval=bootstrap(np.mean, clean),
            unit="of accuracy",
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """The loss along lines between networks, their disagreement, and accuracy against the amount of data.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, middle, right) = plots.panels(1, 3, size=(4.6, 4.25))
    line = dataset.line.mean("line_seed")
    for pair, look in zip(dataset.pair.values, plots.ordered_styles(dataset.sizes["pair"]), strict=True):
        label = f"{pair} in common" if pair == "neither" else str(pair)
        style: dict[str, Any] = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker}
        left.plot(dataset.t, line.sel(pair=pair), **style, markersize=4, label=label)
    left.set(xlabel="from one network (0) to the other (1)", ylabel="loss on all digits")
    plots.legend_below(left)
    left.set_ylim(0, 1.05 * float(line.max()))
    plots.set_title(left, "From one start there is almost no barrier", "mean loss along the line between two networks")
    tops = ", ".join(f"{pair} {float(line.sel(pair=pair).max()):.2f}" for pair in dataset.pair.values)
    plots.describe(left, f"Highest loss along the line by what two networks have in common: {tops}.")
    clean = dataset.accuracy.sel(noise=0.0).transpose("seed", "network").values
    gaps = [np.abs(clean[:, FIRST] - clean[:, i]).mean() for i in PAIRS.values()]
    differ = dataset.disagreement.mean("seed").values
    places = np.arange(len(PAIRS))
    for values, label, shift, look in zip(
        (differ, gaps), ("answers differ", "accuracies differ"), (-0.2, 0.2), plots.ordered_styles(2), strict=True
    ):
        middle.bar(places + shift, 100 * np.asarray(values), 0.38, color=look.color, label=label)
    middle.set_xticks(places, dataset.pair.values)
    middle.set(ylabel="% of test examples", ylim=(0, 105 * differ.max()))
    plots.legend_below(middle)
    plots.set_title(middle, "Accuracy hides differences", "two networks, by what they have in common")
    said = ", ".join(f"{pair} {share:.1%} and {gap:.1%}" for pair, share, gap in zip(PAIRS, differ, gaps, strict=True))
    plots.describe(middle, f"Share of answers that differ, and difference of the accuracies: {said}.")
    for noise, look in zip(dataset.noise.values, plots.ordered_styles(2), strict=True):
        table = dataset.accuracy.sel(noise=noise).transpose("seed", "network").values
        color, label = look.color, f"noise {noise:g}"
        means = table[:, : len(NUMBERS)].mean(0)
        right.plot(NUMBERS, means, color=color, linestyle=look.linestyle, marker=look.marker, label=label)
        right.plot([PART], table[:, NOISY].mean(), "x", color=color, label=f"{WRONG:.0%} wrong labels, {label}")
    right.set(xlabel="training examples", ylabel="test accuracy", xscale="log")
    right.set_xticks(NUMBERS, map(str, NUMBERS))
    right.minorticks_off()
    plots.legend_below(right)
    plots.set_title(right, "More data help if the labels are right", "mean of seeds")
    plots.describe(right, "Accuracy rises with the number of examples, with and without noise; wrong labels undo it.")
    return drawn
