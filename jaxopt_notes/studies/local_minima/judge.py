"""The claims of the study of local minima."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...curvature import Kind
from ..claim import Claim
from ..intervals import bootstrap, exact_interval
from .measure import ADAM_RATES, LEVELS, RATE, WIDTHS

if TYPE_CHECKING:
    import xarray


def _share(name: str, sentence: str, left: Any, lanes: int, *, conditions: str = "", **bound: float) -> Claim:
    """A claim on a share of trials, with its exact interval."""
    ends = exact_interval(int(left), lanes)
    said = f"95 % interval. {conditions}".strip()
    return Claim(name, sentence, int(left) / lanes, interval=ends, unit="of the trials", conditions=said, **bound)


def _spread_ratio(widest: np.ndarray, narrowest: np.ndarray) -> float:
    return float(np.std(widest) / np.std(narrowest))


def who_leaves(dataset: xarray.Dataset) -> list[Claim]:
    """What leads out of a local minimum."""
    lanes = dataset.lanes
    batches, injected = dataset.left_by_batches.values, dataset.left_by_injection.values
    still = dict(zip(dataset.method.values.tolist(), dataset.left_still.values.tolist(), strict=True))
    by_level = ", ".join(f"{n / lanes:.0%} at {level:g}" for level, n in zip(LEVELS, batches, strict=True))
    by_adam = ", ".join(
        f"{n / lanes:.0%} at {rate:g}" for rate, n in zip(ADAM_RATES, dataset.left_by_adam.values, strict=True)
    )
    return [
        _share(
            "descent_stays",
            "Full-batch descent at a small rate stays in the basin of its start.",
            still["descent"], lanes, high=0.05,
        ),
        _share(
            "minibatch_noise_leaves",
            "The noise of minibatches can lead out of a local minimum.",
            batches.max(), lanes, low=0.05,
            conditions=f"By the noise of the gradient at the rate {RATE:g}: {by_level}. Too little never does, and too "
            "much leads back as well.",
        ),
        _share(
            "injected_noise_leaves",
            "Noise added to the gradient does the same.",
            injected.max(), lanes, low=0.05,
        ),
        _share(
            "only_noise_leaves",
            "Only noise leads out of a local minimum.",
            still["momentum 0.99"], lanes, high=0.0,
            conditions="A heavy ball of beta 0.99 rolls out as well, without noise; at 0.9 "
            f"{still['momentum 0.9'] / lanes:.0%} of trials do, and by Adam {by_adam}.",
        ),
        _share(
            "restarts_find_it",
            "A restart anywhere in the box finds the global minimum as often as its basin is wide, 57.5 %.",
            dataset.reached_by_restarts, lanes, low=0.475, high=0.675,
            conditions="So eight restarts miss it one time in a thousand.",
        ),
    ]  # fmt: skip


def what_is_known(dataset: xarray.Dataset) -> list[Claim]:
    """What a verdict says, what a rate does, and how many minima there can be."""
    counts, dimension = dataset.minima.values, dataset.dimension.values
    moved, rate = dataset.moved.values, dataset.bottom_rate.values
    local, globally = dataset.value.values
    return [
        Claim(
            "verdict_is_local",
            "No derivative tells a local minimum from the global one: both get the verdict minimum.",
            int(np.sum(dataset.kind.values == Kind.MINIMUM)), 2, 2, unit="of 2",
            conditions=f"Their values are {local:.3f} and {globally:.3f}.",
        ),
        Claim(
            "no_rate_moves_it",
            "At a local minimum the gradient is zero, and descent does not move whatever the rate.",
            float(moved.max()), high=1e-6, unit="moved in 1,000 steps, largest of the rates",
            conditions="In exact arithmetic, or below 2/f'' = 0.31: above it rounding grows at every step "
            f"({', '.join(f'{m:.1g} at {r:g}' for m, r in zip(moved, rate, strict=True))}).",
        ),
        Claim(
            "small_rates_rest",
            "At rates below 2/f'' descent that starts at a local minimum stays.",
            float(moved[rate < 0.3].max()), high=1e-12, unit="moved in 1,000 steps",
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
    """How close together final losses are."""
    train, test = dataset.train_loss.values, dataset.test_loss.values
    listed = {
        name: ", ".join(f"{np.std(row):.2g}" for row in rows) for name, rows in (("train", train), ("test", test))
    }
    relative = np.std(train, axis=1) / np.mean(train, axis=1)
    gradient = dataset.gradient.values

    def narrower(name: str, sentence: str, rows: np.ndarray, conditions: str) -> Claim:
        ends = rows[-1], rows[0]
        return Claim(
            name, sentence, _spread_ratio(*ends), high=1.0, interval=bootstrap(_spread_ratio, *ends),
            unit=f"of the spread at width {WIDTHS[0]}", conditions=f"95 % over {dataset.seeds} seeds. {conditions}",
        )  # fmt: skip

    def relative_ratio(widest: np.ndarray, narrowest: np.ndarray) -> float:
        return float(np.std(widest) / np.mean(widest) / (np.std(narrowest) / np.mean(narrowest)))

    return [
        narrower(
            "training_spread_shrinks",
            f"The wider the network, the closer together its final training losses (widths {WIDTHS[0]}, {WIDTHS[-1]}).",
            train, f"Standard deviations by width: {listed['train']}.",
        ),
        narrower(
            "test_spread_shrinks",
            "So are the final test losses, which the histogram of the paper shows.",
            test, f"Standard deviations by width: {listed['test']}.",
        ),
        Claim(
            "relative_spread_shrinks",
            "The training losses come closer together in proportion to their mean, too.",
            float(relative[-1] / relative[0]), high=1.0,
            interval=bootstrap(relative_ratio, train[-1], train[0]), unit="of the relative spread at width 2",
            conditions=f"95 % over seeds. Relative spreads: {', '.join(f'{value:.0%}' for value in relative)}. Wide "
            "networks fit these digits, so their losses go to 0, and the spread with them.",
        ),
        Claim(
            "ends_are_optima",
            "What the histogram shows are local optima: the gradient has vanished where training ends.",
            float(np.median(gradient)), high=1e-6, unit="median gradient norm at the end",
            conditions=f"From {gradient.min():.1g} to {gradient.max():.1g}: training stopped, it did not converge.",
        ),
    ]  # fmt: skip
