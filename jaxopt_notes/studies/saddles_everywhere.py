"""Are critical points of many parameters saddles? Random matrices, functions, and small networks, kept apart.

    P(minimum) of a random symmetric (GOE) Hessian:  1/2, (2 - sqrt 2)/4, ...;   of independent signs:  2^-n

Sources: Bray and Dean, 2007; Dauphin et al., 2014; Frye et al., 2021 (impostors); Dean and Majumdar, 2008 (GOE).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..curvature import classify, find_critical_points
from ..minimize import minimize
from ..optimizers import momentum
from ..problems import styblinski_tang
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap, exact_interval
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

DIMENSIONS = np.arange(1, 9)
EXACT = {1: 0.5, 2: 0.146447, 3: 0.024921}  # P(minimum) of the GOE
MATRICES = {"small": 200_000, "full": 1_000_000}
STARTS = {"small": 400, "full": 4000}
RUNS = {"small": 16, "full": 200}
WIDTHS = (3, 12)  # hidden units
STEPS, EVERY, FINISHING = 2000, 100, 6000  # of a run, between looks at it, and after them until it has ended
SCALES = (0.5, 0.02)  # deviation of the starts; the second begins beside the saddle at 0
SLOW = 0.05  # share of the largest gradient norm of a run below which it is slow
# A slow place is a saddle if an eigenvalue lies below minus this share of the largest. What a plateau of slightly
# negative curvature is called depends on it, so that whatever compares the two is asked at each of them.
DOWNWARD = np.array([1e-2, 1e-3, 1e-4])


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Count signs of random Hessians, find critical points of a small network, and follow runs past them.

    Arguments:
        key: of the matrices, the data and the starts.
        size: number of matrices, of starts of the search, and of runs.

    Returns:
        Dataset with shares over `dimension`, the points found over `point`, what became of the starts over `outcome`,
        and over `width` and `trial` where runs spend their excess loss.
    """
    import xarray

    keys = jax.random.split(key, 4)
    minima, extrema = _matrices(keys[0], MATRICES[size])
    with jax.enable_x64(True):
        data = _data(keys[1])
        found = _found(keys[2], data, STARTS[size])
        followed = [_costs(keys[3], data, width, RUNS[size]) for width in WIDTHS]
    costs, optima, ends = (np.stack(part) for part in zip(*followed, strict=True))
    counts = [np.array(_counts(int(n))) for n in DIMENSIONS]
    return xarray.Dataset(
        {
            "goe_minima": ("dimension", minima),
            "goe_extrema": ("dimension", extrema),
            "sign_extrema": ("dimension", _signs(keys[0], MATRICES[size])),
            "function_saddle_share": ("dimension", [1 - (row[0] + row[-1]) / row.sum() for row in counts]),
            "loss": ("point", found["loss"]),
            "index": ("point", found["index"]),
            "starts_ended": ("outcome", list(found["outcomes"].values())),
            "cost": (("width", "scale", "trial", "downward", "where"), costs),
            "worse_optimum": (("width", "scale", "trial"), optima),
            "end_goes_down": (("width", "scale", "trial"), ends.astype(int)),
        },
        {"dimension": DIMENSIONS, "outcome": list(found["outcomes"]), "width": list(WIDTHS), "scale": list(SCALES)}
        | {"where": ["saddle", "plateau"], "downward": DOWNWARD},
        {"matrices": MATRICES[size], "starts": STARTS[size], "parameters": _size(WIDTHS[0])},
    )


def _matrices(key: Key[Array, ""], count: int) -> tuple[np.ndarray, np.ndarray]:
    """How many of the random symmetric matrices of each size are positive definite, and how many definite."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    minima, extrema = [], []
    for n in DIMENSIONS:
        square = generator.standard_normal((count if n < 4 else count // 10, n, n))
        values = np.linalg.eigvalsh((square + square.transpose(0, 2, 1)) / 2)
        scale = count / len(values)
        positive, negative = np.sum(values[:, 0] > 0), np.sum(values[:, -1] < 0)
        minima.append(positive * scale)
        extrema.append((positive + negative) * scale)
    return np.array(minima), np.array(extrema)


def _signs(key: Key[Array, ""], count: int) -> np.ndarray:
    """How many random diagonals have one sign."""
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)) + 1)
    signs = generator.random((count, int(DIMENSIONS[-1]))) < 0.5
    return np.array([np.sum(signs[:, :n].all(1) | ~signs[:, :n].any(1)) for n in DIMENSIONS])


def _counts(dimension: int) -> tuple[int, ...]:
    """The critical points of Styblinski and Tang's function by index."""
    one = styblinski_tang(1).facts
    assert one is not None
    assert one.index_counts is not None
    row = np.array([1])
    for _ in range(dimension):
        row = np.convolve(row, one.index_counts)
    return tuple(row.tolist())


def _data(key: Key[Array, ""]) -> tuple[Array, Array]:
    """Twenty points of a noisy function of two variables."""
    drawn = np.asarray(jax.random.normal(key, (20, 3), float))
    return jnp.asarray(drawn[:, :2]), jnp.asarray(np.sin(2 * drawn[:, 0]) * drawn[:, 1] + 0.1 * drawn[:, 2])


def _size(width: int) -> int:
    return 4 * width + 1


def _loss(params: Float[Array, " n"], data: tuple[Array, Array]) -> Float[Array, ""]:
    """Squared error of a tanh network with one hidden layer, and a little weight decay, which isolates the points."""
    inputs, targets = data
    width = params.size // 4
    weights, bias, out = params[: 2 * width].reshape(2, width), params[2 * width : 3 * width], params[3 * width : -1]
    outputs = jnp.tanh(inputs @ weights + bias) @ out + params[-1]
    return 0.5 * jnp.mean((outputs - targets) ** 2) + 5e-3 * jnp.sum(params**2)


def _found(key: Key[Array, ""], data: Any, starts: int) -> dict[str, Any]:
    """Critical points, copies by symmetry taken once, and what became of the starts."""
    begin = jax.random.normal(key, (starts, _size(WIDTHS[0])), float)
    found = find_critical_points(_loss, begin, data, box=(-20.0, 20.0), steps=60)
    loss, index = np.asarray(found.loss), np.asarray(found.verdicts.index)
    _, first = np.unique(np.round(loss, 8), return_index=True)
    return {"loss": loss[first], "index": index[first], "outcomes": found.outcomes}


def _costs(key: Key[Array, ""], data: Any, width: int, runs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean excess of the loss of every run near saddles and on plateaus, and where it ends: above the lowest end by
    how much, and whether a direction leads down from there.
    """
    scales = jnp.asarray(SCALES)[:, None, None]
    begin = scales * jax.random.normal(key, (runs, _size(width)), float)

    def steepness(point: Array) -> Array:
        seen = classify(_loss, point, data)
        return seen.smallest / seen.largest

    def follow(start: Array) -> tuple[Array, ...]:
        run = minimize(_loss, start, momentum(0.05), steps=STEPS, data=data, every=EVERY, record_params=True)
        ended = minimize(_loss, run.params, momentum(0.05), steps=FINISHING, data=data, every=FINISHING)
        return run.loss, run.grad_norm, jax.vmap(steepness)(run.params_path), ended.final_loss, steepness(ended.params)

    loss, slope, lowest, final, lowest_final = map(np.asarray, jax.jit(jax.vmap(jax.vmap(follow)))(begin))
    slow = slope <= SLOW * slope.max(-1, keepdims=True)
    above = np.where(slow, loss - loss[..., -1:], 0)
    down = lowest[..., None, :] < -DOWNWARD[:, None]
    near = [np.mean(np.where(where, above[..., None, :], 0), axis=-1) for where in (down, ~down)]
    return np.stack(near, axis=-1), final - final.min(), lowest_final < -DOWNWARD.min()


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about saddles.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: random matrices, functions and networks, and what saddles, plateaus and optima cost along runs.
    """
    return [*_random_claims(dataset), *_network_claims(dataset), *_cost_claims(dataset)]


def _random_claims(dataset: xarray.Dataset) -> list[Claim]:
    count = dataset.attrs["matrices"]

    def share(variable: str, n: int, over: float = 1.0) -> tuple[float, tuple[float, float]]:
        seen = int(dataset[variable].sel(dimension=n))
        low, high = exact_interval(seen, count)
        return seen / count / over, (low / over, high / over)

    exact = []
    for n, probability in EXACT.items():
        number, interval = share("goe_minima", n, probability)
        sentence = f"A random symmetric Hessian (GOE) of size {n} is that of a minimum with probability {probability}."
        exact.append(Claim(f"goe_{n}", sentence, number, 0.95, 1.05, interval, "of that probability"))
    signs, plane, saddles = share("sign_extrema", 6, 2.0**-5), share("sign_extrema", 2), share("goe_extrema", 3)
    flat = share("goe_extrema", 2)[0]
    return [
        *exact,
        Claim(
            "independent_signs",
            "With independent signs on a diagonal a share 2^(1 - n) are extrema, here of n = 6.",
            signs[0],
            0.95,
            1.05,
            signs[1],
            "of 2^-5",
        ),
        Claim(
            "two_dimensions",
            "In two dimensions, where the signs on the diagonal are random, an extremum is as likely as a saddle.",
            plane[0],
            0.45,
            0.55,
            plane[1],
            "of all are extrema",
            f"Of diagonal Hessians. A random entry off the diagonal leaves {flat:.0%} extrema (see goe_2).",
        ),
        Claim(
            "higher_dimensions",
            "With more dimensions nearly all are saddles: of three and more, over 90 %.",
            1 - saddles[0],
            low=0.9,
            interval=(1 - saddles[1][1], 1 - saddles[1][0]),
            unit="of random symmetric Hessians, n = 3",
            conditions="A statement on random Hessians: a convex function has no saddle in any dimension.",
        ),
        Claim(
            "function_saddles",
            "Of the critical points of Styblinski and Tang's function in eight dimensions over 90 % are saddles.",
            float(dataset.function_saddle_share.sel(dimension=8)),
            low=0.9,
            conditions="Minima are (2/3)^n of them: rare far later than for random Hessians.",
        ),
    ]


def _network_claims(dataset: xarray.Dataset) -> list[Claim]:
    from scipy.stats import spearmanr

    loss, index = dataset.loss.values, dataset["index"].values
    saddles = int(np.sum(index > 0))
    rank = lambda a, b: float(spearmanr(a, b).statistic)
    ended = dict(zip(dataset.outcome.values, dataset.starts_ended.values, strict=True))
    starts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in ended.items() if number)
    condition = f"Conditional on the starts ({starts}); copies by symmetry counted once, {len(loss)} points."
    downward = dataset.end_goes_down.values
    return [
        Claim(
            "network_saddles",
            "Most critical points of a small network are saddles.",
            saddles / len(index),
            low=0.5,
            interval=exact_interval(saddles, len(index)),
            unit="of those found",
            conditions=condition,
        ),
        Claim(
            "index_and_loss",
            "The higher the loss of a critical point, the more directions lead down: a rank correlation above 0.5.",
            rank(loss, index),
            low=0.5,
            interval=bootstrap(rank, loss, index),
            conditions=condition,
        ),
        Claim(
            "local_optima_are_saddles",
            "Where training ends there most often is still a direction that leads down.",
            float(downward.mean()),
            low=0.5,
            interval=exact_interval(int(downward.sum()), downward.size),
            unit="of the runs",
            conditions=f"After {STEPS + FINISHING} steps; a direction counts if its eigenvalue is below minus "
            f"{DOWNWARD.min():g} of the largest. A point with one is no local optimum: descent does not stay there.",
        ),
    ]


def _cost_claims(dataset: xarray.Dataset) -> list[Claim]:
    usual, tiny = SCALES
    wide = WIDTHS[-1]
    unit = "more mean excess loss"

    def saddles_cost_more(name: str, sentence: str, scale: float, conditions: str) -> Claim:
        """Decided only if it comes out alike at every threshold of what is called a saddle."""
        cost = dataset.cost.sel(scale=scale, width=wide)
        gap = (cost.sel(where="saddle") - cost.sel(where="plateau")).transpose("downward", "trial").values
        ends = [bootstrap(np.mean, row) for row in gap]
        each = ", ".join(f"{row.mean():.1g} at {at:g}" for row, at in zip(gap, DOWNWARD, strict=True))
        said = (
            f"{conditions} A saddle is where an eigenvalue is below minus a share of the largest: {each}. The interval "
            "spans them all."
        )
        both = (min(low for low, _ in ends), max(high for _, high in ends))
        return Claim(name, sentence, float(gap[0].mean()), 0.0, np.inf, both, unit, said)

    slowed = dataset.cost.sel(scale=usual, width=wide).isel(downward=0).sum("where")
    more = (slowed - dataset.worse_optimum.sel(scale=usual, width=wide)).values
    return [
        saddles_cost_more(
            "saddles_worst",
            "Of what slows training down, saddles cost more than plateaus.",
            usual,
            f"From usual starts (deviation {usual}).",
        ),
        saddles_cost_more(
            "saddles_from_small_starts",
            "They do from starts beside a saddle, where all weights are nearly 0.",
            tiny,
            f"Deviation {tiny}.",
        ),
        Claim(
            "optima_least_bad",
            "Ending in a worse optimum costs less than the saddles and plateaus on the way.",
            float(more.mean()),
            0.0,
            np.inf,
            bootstrap(np.mean, more),
            unit,
            f"{wide} hidden units, {STEPS} steps of momentum, and {FINISHING} more to the optimum.",
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """Shares of extrema by dimension, index against loss, and what cost the runs their time.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (shares, points, cost) = plots.panels(1, 3, size=(5.2, 4.35))
    count = dataset.attrs["matrices"]
    looks = plots.distinct_styles(3)
    curves = {
        "function (Styblinski-Tang)": 1 - dataset.function_saddle_share,
        "independent signs": dataset.sign_extrema / count,
        "random symmetric (GOE)": dataset.goe_extrema / count,
    }
    for (label, values), look in zip(curves.items(), looks, strict=True):
        kept = values.where(values > 0)
        shares.semilogy(dataset.dimension, kept, look.linestyle, marker=look.marker, color=look.color, label=label)
    shares.set(xlabel="dimensions", ylabel="share of extrema")
    plots.legend_below(shares)
    plots.set_title(shares, "Extrema get rare, at very different speeds", "minima and maxima among critical points")
    plots.describe(shares, "The share of extrema falls fastest for random matrices, slowest for the function.")
    table = dataset[["loss", "index"]].assign_attrs(parameters=dataset.attrs["parameters"])
    plots.index_against_loss(table, points)
    plots.legend_below(points)
    points.set_ylabel("share of directions that go down")
    plots.set_title(points, "The higher the loss, the more ways down", "critical points of a network of 13 parameters")
    wide = dataset[["cost", "worse_optimum"]].sel(width=WIDTHS[-1]).mean("trial")
    places = np.arange(3)
    for shift, scale, color in ((-0.2, SCALES[0], "#0072B2"), (0.2, SCALES[1], "#E69F00")):
        one = wide.sel(scale=scale)
        middle = [*one.cost.isel(downward=1).values, float(one.worse_optimum)]
        ends = [one.cost.min("downward").values, one.cost.max("downward").values]
        cost.bar(places + shift, middle, 0.4, color=color, label=f"starts of deviation {scale:g}")
        cost.vlines(places[:2] + shift, *ends, color="black")
        at = (places[2] + shift, middle[2])  # mostly nothing to see
        factor, power = f"{middle[2]:.0e}".split("e")
        cost.annotate(
            rf"${factor}\cdot 10^{{{int(power)}}}$", at, (0, 3), textcoords="offset points", ha="center", fontsize=9
        )
    cost.set_xticks(places, ["near saddles", "on plateaus", "worse optimum"])
    cost.set_ylabel("mean excess loss along a run")
    plots.legend_below(cost)
    plots.round_ticks(shares)
    plots.set_title(cost, "What slows a run, and where it ends", "black: range over three definitions of a saddle")
    plots.describe(
        cost,
        "Mean excess loss near saddles and on plateaus, which depend on what is called a saddle, and by worse optima.",
    )
    return drawn
