"""The claims of the study of local minima."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...curvature import Kind
from .._machinery.claim import Claim
from .._machinery.intervals import bootstrap, exact_interval
from .measure import CLASSES, COMPARED, HAIR, LEVELS, METHODS, NOISE, RATE, RESTARTS, RIDGE, SMALL, WIDTHS

if TYPE_CHECKING:
    import xarray


def _share(name: str, sentence: str, left: Any, lanes: int, *, conditions: str = "", **bound: float) -> Claim:
    """A claim on a share of trials, with its exact interval."""
    ends = exact_interval(int(left), lanes)
    said = f"95 % interval. {conditions}".strip()
    return Claim(name, sentence, int(left) / lanes, interval=ends, unit="of the trials", conditions=said, **bound)


def who_leaves(dataset: xarray.Dataset) -> list[Claim]:
    """What leads out of a local minimum."""
    lanes = dataset.lanes
    batches, injected = dataset.left_by_batches.values, dataset.left_by_injection.values
    counts = dataset.left.sum("lane")
    small = counts.sel(optimizer="descent", rate=SMALL)
    by_level = ", ".join(f"{n / lanes:.0%} at {level:g}" for level, n in zip(LEVELS, batches, strict=True))
    return [
        _share(
            "descent_stays",
            "Full-batch descent at a small rate stays in the basin of its start.",
            small.sel(case=["rest", "below", "above"]).sum(), 3 * lanes, high=0.05,
        ),
        _share(
            "minibatch_noise_leaves",
            "The noise of minibatches can lead out of a local minimum.",
            batches.max(), lanes, low=0.05,
            conditions=f"From the minimum, by the noise of the gradient at the rate {RATE:g}: {by_level}. Too little "
            "never does, and too much leads back as well.",
        ),
        _share(
            "injected_noise_leaves",
            "Noise added to the gradient does the same.",
            injected.max(), lanes, low=0.05,
        ),
        *_without_noise(dataset),
        *(_helps(dataset, method) for method in COMPARED),
        _share(
            "restarts_find_it",
            "A restart anywhere in the box finds the global minimum as often as its basin is wide, 57.5 %.",
            dataset.reached_by_restarts, RESTARTS, low=0.475, high=0.675,
            conditions="So eight restarts miss it one time in a thousand.",
        ),
    ]  # fmt: skip


def _without_noise(dataset: xarray.Dataset) -> list[Claim]:
    """What leads out without noise: nothing at small steps, and steps as long as the basin is wide."""
    lanes, counts = dataset.lanes, dataset.left.sum("lane")
    small = counts.sel(rate=counts.rate <= SMALL, case=["rest", "below"])
    rest = counts.sel(case="rest")
    firsts = {
        method: float(rest.rate[np.argmax(rest.sel(optimizer=method).values > 0.05 * lanes)])
        for method in METHODS
        if (rest.sel(optimizer=method) > 0.05 * lanes).any()
    }
    listed = ", ".join(f"{method} from {rate:g}" for method, rate in firsts.items())
    return [
        Claim(
            "small_steps_stay",
            "Without noise and at small steps nothing leaves: not descent, a heavy ball, RMSProp or Adam.",
            int(small.sum()), 0, 0, unit=f"of {small.size * lanes} trials leave",
            conditions=f"Rates up to {SMALL:g}, from the minimum and from below the height of the barrier. A heavy "
            "ball loses energy, so that it cannot pass a barrier higher than its start.",
        ),
        _share(
            "only_noise_leaves",
            "Only noise leads out of a local minimum.",
            rest.max(), lanes, high=0.05,
            conditions="At small rates that is so (see small_steps_stay). Steps as long as the basin is wide lead out "
            f"from the minimum without noise: {listed}; 2/f'' is 0.31.",
        ),
        _share(
            "momentum_rolls_past",
            "A heavy ball that comes from above the barrier can roll past the local minimum.",
            counts.sel(optimizer="heavy ball 0.99", rate=SMALL, case="above"), lanes, low=0.5,
            conditions=f"beta 0.99, rate {SMALL:g}, without noise; plain descent stops there from every start.",
        ),
    ]  # fmt: skip


def _helps(dataset: xarray.Dataset, method: str) -> Claim:
    """Whether a method leaves more often than descent by the same noise, each at its best rate."""
    left = dataset.left.sel(case="noise").transpose("optimizer", "lane", "rate")
    with_it, without = left.sel(optimizer=method).values, left.sel(optimizer="descent").values

    def gain(with_it: np.ndarray, without: np.ndarray) -> float:
        return float(with_it.mean(0).max() - without.mean(0).max())

    best = [float(left.rate[trials.mean(0).argmax()]) for trials in (with_it, without)]
    name, words = COMPARED[method]
    return Claim(
        f"{name}_helps",
        f"{words} helps to leave the minimum: by the noise of minibatches more trials do than by descent.",
        gain(with_it, without), low=0.0, interval=bootstrap(gain, with_it, without), unit="of the trials more",
        conditions=f"95 % over trials, each at the best of {left.sizes['rate']} rates, {best[0]:g} and {best[1]:g}; "
        f"noise {NOISE:g}. Without noise it takes long steps (see small_steps_stay).",
    )  # fmt: skip


def what_is_known(dataset: xarray.Dataset) -> list[Claim]:
    """What a verdict means, what a rate does, and how many minima there can be."""
    counts, dimension = dataset.minima.values, dataset.dimension.values
    exact, beside = dataset.moved.values
    rate = dataset.bottom_rate.values
    local, globally = dataset.value.values
    return [
        Claim(
            "verdict_is_local",
            "No derivative distinguishes a local minimum from the global one: both get the verdict minimum.",
            int(np.sum(dataset.kind.values == Kind.MINIMUM)), 2, 2, unit="of 2",
            conditions=f"Their values are {local:.3f} and {globally:.3f}.",
        ),
        Claim(
            "no_rate_moves_it",
            "Where the gradient is exactly zero descent does not move, whatever the rate.",
            float(exact.max()), 0, 0, unit="moved in 1,000 steps, largest of the rates",
            conditions=f"At the local minimum 0 of x^2 - x^3 + x^4/5, at rates from {rate[0]:g} to {rate[-1]:g}.",
        ),
        Claim(
            "small_rates_rest",
            f"From {HAIR:g} beside a local minimum descent does not leave at rates below 2/f''.",
            float(beside[rate < 0.3].max()), high=2 * HAIR, unit="moved in 1,000 steps",
        ),
        Claim(
            "large_rates_leave",
            "At rates above 2/f'' that is enough to lead away.",
            float(beside[rate > 0.32].min()), low=1e-3, unit="moved in 1,000 steps, least of the rates",
            conditions=f"2/f'' is 0.31; {', '.join(f'{m:.1g} at {r:g}' for m, r in zip(beside, rate, strict=True))}.",
        ),
        Claim(
            "exponentially_many",
            "The number of local minima can grow exponentially: Styblinski-Tang has 2^d.",
            int(np.sum(counts != 2**dimension)), 0, 0, unit="dimensions of 1 to 6 with another number",
            conditions=f"Found by descent from 4,000 starts: {', '.join(map(str, counts))}; "
            f"{int(dataset.not_minima)} of the last are no minima by verdict.",
        ),
    ]  # fmt: skip


def by_width(dataset: xarray.Dataset) -> list[Claim]:
    """How close together the minima are that training ends in."""
    train, test = dataset.train_loss.values, dataset.test_loss.values
    minimal = dataset.network_kind.values == Kind.MINIMUM
    gradient = dataset.gradient.values
    # How much of what training gains on chance each minimum gives away to the best of its width.
    best = train.min(axis=1, keepdims=True)
    given_away = ((train - best) / (np.log(CLASSES) - best)).max(axis=1)
    by_width = ", ".join(f"{part:.1%} at {width}" for part, width in zip(given_away, WIDTHS, strict=True))

    def narrower(name: str, sentence: str, rows: np.ndarray, spread: Callable[[np.ndarray], float], unit: str) -> Claim:
        less = lambda widest, narrowest: spread(widest) - spread(narrowest)
        listed = ", ".join(f"{spread(row):.2g} at {width}" for row, width in zip(rows, WIDTHS, strict=True))
        return Claim(
            name, sentence, less(rows[-1], rows[0]), high=0.0, interval=bootstrap(less, rows[-1], rows[0]),
            unit=f"more {unit} at width {WIDTHS[-1]} than at {WIDTHS[0]}",
            conditions=f"95 % over {dataset.seeds} seeds. By width: {listed}.",
        )  # fmt: skip

    def relative(losses: np.ndarray) -> float:
        return float(np.std(losses) / np.mean(losses))

    return [
        narrower(
            "training_spread_shrinks",
            f"The wider the network, the closer together the losses of its minima ({WIDTHS[0]}, {WIDTHS[-1]}).",
            train, lambda losses: float(np.std(losses)), "spread",
        ),
        narrower(
            "test_spread_shrinks",
            "So are the test losses, which the histogram of the paper shows.",
            test, lambda losses: float(np.std(losses)), "spread",
        ),
        narrower(
            "relative_spread_shrinks",
            "The training losses come closer together in proportion to their mean, too.",
            train, relative, "relative spread",
        ),
        Claim(
            "worst_is_hardly_worse",
            "The worst minimum that wide networks end in is hardly worse than the best.",
            float(given_away[-1]), high=0.1, unit="of what training gains on chance is given away",
            conditions=f"Of the minima found from {dataset.seeds} starts each. By width: {by_width}.",
        ),
        Claim(
            "ends_are_optima",
            "What the histogram shows are local optima: where training ends is a minimum, by verdict.",
            float(minimal.mean()), low=0.9, unit="of the networks",
            conditions=f"With a ridge of {RIDGE:g} and trained until the gradient is at most {gradient.max():.0e}. A "
            "run that is stopped earlier does not end at one.",
        ),
    ]  # fmt: skip
