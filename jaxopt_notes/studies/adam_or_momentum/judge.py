"""The claims, from the Dataset alone, and the figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...minimize import Status
from ...race import Race, Sensitivity, race, sensitivity
from .._machinery.claim import Claim
from .._machinery.intervals import best_rate, bootstrap
from .measure import ADAM_RATE, CELLS, DECAYS, FLOOR, METHODS, NUMBERS, PROBLEMS, RULE, SHELF

if TYPE_CHECKING:
    import xarray

    from ...plots import Figure

FEW = 4  # trials of somebody with little time to tune
# Of the best loss, what is still a good rate; less where noise keeps every loss near the first one.
FACTORS = {"digits": (10.0, 2.0), "noisy": (1.5, 1.1), "factorization": (10.0, 2.0)}
STEPS_WORDS = {0.25: "with a quarter of the steps", 1.0: "with all steps"}
TITLES = {"digits": "Digits", "noisy": "Softmax, noisy labels", "factorization": "Sparse factorization"}
CELL_WORDS = {"neither": "no ravine and no rare features", "ravine": "a ravine", "sparse": "rare features"}

Measured = tuple[float, tuple[float, float]]  # a number and its interval


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge which of the two to choose.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: sensitivity, tuned, hardly tuned and off the shelf, decay, betas, memory, seconds, and the rule of
        choice.
    """
    tuned = [claim for name in PROBLEMS for claim in _problem_claims(dataset.sel(problem=name), name)]
    return [*tuned, *_shared_claims(dataset.isel(length=-1)), *(_cell_claim(dataset, cell) for cell in CELLS)]


def _table(dataset: xarray.Dataset, family: str, decay: str | None = None) -> xarray.Dataset:
    """The runs of a family on a problem for one number of steps, as the table of a sweep."""
    one = dataset.sel(family=family)
    if decay is not None:
        one = one.isel(configuration=one.decay.values == DECAYS.index(decay))
    columns = {number: one[number].values for number in NUMBERS}
    return _as_table(one.loss.transpose("configuration", "seed").values, one.initial_loss.values, columns)


def _as_table(losses: np.ndarray, start: np.ndarray | float, columns: dict[str, np.ndarray]) -> xarray.Dataset:
    """As of a sweep; a run that diverged or ended above its start counts as one that stayed there."""
    import xarray

    axes, counted = ("configuration", "seed"), np.minimum(losses, start)
    variables = {"final_loss": (axes, counted), "status": (axes, np.full(counted.shape, Status.COMPLETED))}
    coordinates = {name: ("configuration", column) for name, column in columns.items()}
    return xarray.Dataset(variables, {**coordinates, "seed": np.arange(counted.shape[1])})


def _methods(dataset: xarray.Dataset) -> Race:
    return race({method: _table(dataset, method) for method in METHODS})


def _log_ratio(first: xarray.Dataset, second: xarray.Dataset, trials: int | None = None) -> Measured:
    """log(loss of the first / loss of the second), both tuned alike; no interval if that was unfair."""
    pair = race({"first": first, "second": second}, budget=trials).pairs.isel(pair=0)
    interval = (float(pair.lower), float(pair.upper)) if pair.fair else (-math.inf, math.inf)
    return float(pair.difference[-1]), interval


def _gain(other: xarray.Dataset, usual: xarray.Dataset) -> Measured:
    """The share of the usual tuned loss that the other way saves."""
    saved = lambda log_ratio: float(-np.expm1(log_ratio))
    number, (low, high) = _log_ratio(other, usual)
    return saved(number), (saved(high), saved(low))


def _powers(lower: xarray.Dataset, other: xarray.Dataset, trials: int | None = None) -> Measured:
    """By how many powers of ten the first is claimed to end lower."""
    number, (low, high) = _log_ratio(other, lower, trials)
    return number / math.log(10), (low / math.log(10), high / math.log(10))


def _widths(dataset: xarray.Dataset, factor: float) -> dict[str, Sensitivity]:
    return {method: sensitivity(_table(dataset, method, "constant"), factor=factor) for method in METHODS}


def _wider(widths: dict[str, Sensitivity]) -> Measured:
    """By how many decades Adam's good range is wider; the interval from those of the two, none if an end was not found.

    Source: Zou and Donner, 2008, of intervals of differences.
    """
    adam, moving = widths["adam"], widths["momentum"]
    number = adam.decades - moving.decades
    if adam.clipped or moving.clipped:
        return number, (-math.inf, math.inf)
    below = math.hypot(adam.decades - adam.interval[0], moving.interval[1] - moving.decades)
    above = math.hypot(adam.interval[1] - adam.decades, moving.decades - moving.interval[0])
    return number, (number - below, number + above)


def _judged(name: str, sentence: str, measured: Mapping[str, Measured], conditions: str, **bounds: Any) -> Claim:
    """A claim about every number of steps: decided if it comes out alike at all of them. The last is reported."""
    numbers, intervals = zip(*measured.values(), strict=True)
    lows, highs = zip(*intervals, strict=True)
    others = "".join(f" {words.capitalize()}: {number:.2g}." for words, (number, _) in [*measured.items()][:-1])
    interval = (min(lows), max(highs))
    return Claim(name, sentence, numbers[-1], interval=interval, conditions=conditions + others, **bounds)


def _problem_claims(dataset: xarray.Dataset, name: str) -> list[Claim]:
    lengths = {STEPS_WORDS[share]: dataset.sel(length=share) for share in dataset.length.values.tolist()}
    whole, grid = [*lengths.values()][-1], f"{dataset.attrs['per_decade']} rates a decade"

    def each(
        statistic: Callable[..., Measured], first: tuple[str, ...], second: tuple[str, ...], *more: int
    ) -> dict[str, Measured]:
        return {words: statistic(_table(one, *first), _table(one, *second), *more) for words, one in lengths.items()}

    found = _methods(whole)
    curve = "; ".join(
        f"{k}: {' against '.join(f'{found.curves.expected.sel(optimizer=m, budget=k).item():.3g}' for m in METHODS)}"
        for k in [*found.pairs.budget.values[:-1:2].tolist(), found.budget]
    )
    moving, _ = _gain(_table(whole, "momentum", "cosine"), _table(whole, "momentum", "constant"))
    widths = {
        f"{words}, within a factor of {factor:g}": _widths(one, factor)
        for words, one in lengths.items()
        for factor in FACTORS[name]
    }
    ranges = " ".join(f"{method}: {one}." for method, one in [*widths.values()][-1].items())
    powers: dict[str, Any] = {"low": 0.0, "unit": "powers of ten"}
    return [
        _judged(
            f"less_sensitive_{name}",
            f"Adam is less sensitive to the rate: more decades of rates end near its best loss ({name}).",
            {words: _wider(two) for words, two in widths.items()},
            f"{grid}, constant. {ranges}",
            low=0.0,
            unit="decades wider",
        ),
        _judged(
            f"momentum_wins_tuned_{name}",
            f"With rate and decay tuned momentum ends lower than Adam, by seeds that tuned nothing ({name}).",
            each(_powers, ("momentum",), ("adam",)),
            f"{grid}, constant or along a cosine; beta 0.9. By trials of tuning, momentum against Adam: {curve}.",
            **powers,
        ),
        _judged(
            f"adam_wins_hardly_tuned_{name}",
            f"With little time to tune take Adam: the best of {FEW} random trials ends lower than momentum's ({name}).",
            each(_powers, ("adam",), ("momentum",), FEW),
            "Rates from 0.0001 to 3.2 for both, constant or along a cosine.",
            **powers,
        ),
        _shelf_claim(lengths, name),
        _judged(
            f"adam_needs_no_decay_{name}",
            f"Adam needs no decay: a cosine lowers its tuned loss by less than 2 % ({name}).",
            each(_gain, ("adam", "cosine"), ("adam", "constant")),
            f"The rate tuned for each. For momentum it is {moving:.1%}.",
            high=0.02,
            unit="of the loss",
        ),
        _judged(
            f"betas_default_{name}",
            f"Tuning b1 and b2 brings Adam little: as many trials end less than 10 % lower with them ({name}).",
            each(_gain, ("adam_betas",), ("adam",)),
            "b1 of 0.8, 0.9, 0.95 and b2 of 0.99, 0.999, drawn with the rate and the decay.",
            high=0.1,
            unit="of the loss",
        ),
    ]


def _shelf_claim(lengths: Mapping[str, xarray.Dataset], name: str) -> Claim:
    """Adam against SGD with the defaults of each library, judged where SGD comes nearest."""
    least = lambda sample: float(np.median(sample, axis=0).min())
    gaps = {}
    for words, one in lengths.items():
        constant = _table(one, "adam", "constant")
        usual = constant.final_loss.values[np.argmin(np.abs(np.log(constant.learning_rate.values / ADAM_RATE)))]
        gaps[words] = np.log10(one.shelf_loss.transpose("seed", "library").values / usual[:, None])
    each = ", ".join(
        f"{library} {gap:.2g} ({rate:g}, momentum {beta:g})"
        for (library, (rate, beta)), gap in zip(SHELF.items(), np.median([*gaps.values()][-1], axis=0), strict=True)
    )
    return _judged(
        f"adam_wins_off_the_shelf_{name}",
        f"Off the shelf Adam ends lower than SGD, with the defaults of keras, torch and scikit-learn ({name}).",
        {words: (least(sample), bootstrap(least, sample)) for words, sample in gaps.items()},
        f"Each library's SGD against its own Adam, whose rate is {ADAM_RATE:g} in all three; optax has no defaults. "
        f"By library: {each}.",
        low=0.0,
        unit="powers of ten, the least of the three",
    )


def _shared_claims(dataset: xarray.Dataset) -> list[Claim]:
    tables = [_table(dataset.sel(problem=p), m, "constant") for m in METHODS for p in ("digits", "noisy")]
    rates = tables[0].learning_rate.values
    place = lambda losses: float(np.log10(best_rate(rates, np.median(losses, axis=0))))

    def travels(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
        return abs(place(a) - place(b)) - abs(place(c) - place(d))

    four = [table.final_loss.values.T for table in tables]
    cost = (dataset.seconds.sel(optimizer="adam") / dataset.seconds.sel(optimizer="momentum")).values
    least = 1e6 * float(dataset.seconds.sel(optimizer="momentum").median())
    return [
        Claim(
            "rate_travels",
            "From one problem to the other the best rate of Adam moves less than that of momentum.",
            travels(*four),
            low=0.0,
            interval=bootstrap(travels, *four),
            unit="decades less",
            conditions=f"From {10 ** place(four[2]):.2g} to {10 ** place(four[3]):.2g} for Adam, from "
            f"{10 ** place(four[0]):.2g} to {10 ** place(four[1]):.2g} for momentum; digits and noisy labels.",
        ),
        Claim(
            "memory",
            "Adam keeps two numbers for each parameter where momentum keeps one.",
            dataset.attrs["state_ratio"],
            2.0,
            2.0,
            unit="times the state of momentum",
        ),
        Claim(
            "seconds",
            "Momentum is less to compute: a step of Adam takes longer, on digits in batches of 64.",
            float(np.median(cost)),
            low=1.0,
            interval=bootstrap(np.median, cost),
            unit="times the seconds of momentum",
            conditions=f"{least:.0f} microseconds with momentum.",
        ),
    ]


def _cell(dataset: xarray.Dataset, cell: str) -> dict[str, xarray.Dataset]:
    """The table of each method in a cell."""
    correlation, rarest = CELLS[cell]
    losses = dataset.cell_loss.sel(correlation=correlation, rarest=rarest).transpose(..., "cell_rate", "cell_seed")
    columns = {"learning_rate": dataset.cell_rate.values}
    return {str(m): _as_table(losses.sel(cell_method=m).values, 1.0, columns) for m in dataset.cell_method.values}


def _scored(table: xarray.Dataset) -> np.ndarray:
    """log10 of the losses at the rate that half of the seeds choose, of the other half."""
    losses = table.final_loss.values
    half = losses.shape[1] // 2
    return np.log10(losses[np.argmin(np.median(losses[:, :half], axis=1)), half:])


def _cell_claim(dataset: xarray.Dataset, cell: str) -> Claim:
    tuned, chosen = {method: _scored(table) for method, table in _cell(dataset, cell).items()}, RULE[cell]
    gap = tuned[chosen] - np.min([values for method, values in tuned.items() if method != chosen], axis=0)
    left = ", ".join(f"{name.replace('_', ' ')} {10 ** np.median(values):.1g}" for name, values in tuned.items())
    steps, grid = dataset.attrs["cell_steps"], dataset.attrs["per_decade"]
    return Claim(
        f"rule_{cell}",
        f"With {CELL_WORDS.get(cell, 'both')}, choose {chosen.replace('_', ' ')}: it is within a factor of 2 of the "
        "best of the others.",
        float(np.median(gap)),
        high=math.log10(2),
        interval=bootstrap(np.median, gap),
        unit="powers of ten above",
        conditions=f"{steps} steps at the best of {grid} rates a decade, which half of the seeds choose and the others "
        f"score. Of the first loss is left: {left}.",
    )


def figure(dataset: xarray.Dataset) -> Figure:
    """Budget curves and ranges of good rates of both methods, and the four kinds of small problems.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from ... import plots

    drawn, axes = plots.panels(4, 2, size=(5.6, 3.7))
    for (curves, ranges), name in zip(zip(axes[::2], axes[1::2], strict=True), PROBLEMS, strict=False):
        whole = dataset.sel(problem=name).isel(length=-1)
        found = _methods(whole)
        plots.budget_curves(found, curves)
        verdict = f"{found.winner} wins" if found.winner else "no winner"
        plots.legend_below(curves)
        plots.set_title(curves, f"{TITLES[name]}: {verdict}", f"after {found.budget} trials of tuning; bands: 95 %")
        factor = FACTORS[name][-1]
        plots.sensitivity_ranges(_widths(whole, factor), ranges)
        plots.legend_below(ranges)
        plots.round_ticks(ranges)
        plots.set_title(ranges, f"{TITLES[name]}: good rates", f"bars: within a factor of {factor:g} of the best")
    cells, places = axes[6], np.arange(len(CELLS))
    for shift, method in zip((-0.3, -0.1, 0.1, 0.3), RULE.values(), strict=True):
        left = [10 ** np.median(_scored(_cell(dataset, cell)[method])) for cell in CELLS]
        cells.bar(places + shift, left, 0.2, color=plots.style_of(method).color, label=method.replace("_", " "))
    cells.set_yscale("log")
    cells.set_xticks(places, list(CELLS))
    cells.set(ylabel="share of the first loss that is left", ylim=(FLOOR / 2, 2))
    plots.legend_below(cells)
    plots.round_ticks(cells)
    plots.set_title(cells, "Ravines and rare features: which to choose", "regression, tuned rates, down to 10⁻⁸")
    plots.describe(cells, "In a ravine momentum leaves least; with rare features as well momentum and Adam do.")
    plots.budget_curves(race(_cell(dataset, "both")), axes[7])
    for line in axes[7].lines:
        line.set_label(str(line.get_label()).replace("_", " "))
    plots.legend_below(axes[7])
    plots.set_title(axes[7], "A ravine and rare features, by tuning", "bands: 95 %")
    return drawn
