"""What it says: claims from the Dataset alone, and the figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..claim import Claim
from ..intervals import bootstrap
from .measure import CELLS, DECAYS, DEFAULTS, FINE, FLOOR, GOOD, METHODS, PROBLEMS, RATES

if TYPE_CHECKING:
    import xarray

    from ...plots import Figure


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge which of the two to choose.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: sensitivity, tuned and off the shelf, decay, betas, memory, seconds, and the rule of choice.
    """
    both = [claim for name in PROBLEMS for claim in _problem_claims(dataset.sel(problem=name), name)]
    return [*both, *_shared_claims(dataset), *(_cell_claim(dataset, cell) for cell in CELLS)]


def _losses(table: xarray.Dataset, method: str, decay: str = "constant") -> np.ndarray:
    """(seeds, rates) of one method."""
    return table.loss.sel(optimizer=method, decay=decay).transpose("seed", "learning_rate").values


def _width(losses: np.ndarray, start: np.ndarray) -> float:
    """The width of the unbroken range of good rates around the best, in decades."""
    median, first = np.median(losses, axis=0), np.median(start)
    good = first - median >= GOOD * (first - median.min())
    low = high = int(np.argmin(median))
    while low > 0 and good[low - 1]:
        low -= 1
    while high + 1 < len(good) and good[high + 1]:
        high += 1
    return float(np.round(np.log10(RATES[high] / RATES[low]), 6))


def _tuned(losses: np.ndarray) -> np.ndarray:
    """The losses of all seeds at the rate of the best median."""
    return losses[:, np.argmin(np.median(losses, axis=0))]


def _problem_claims(table: xarray.Dataset, name: str) -> list[Claim]:
    start = table.initial_loss.values
    adam_, moving = (_losses(table, method) for method in ("adam", "momentum"))
    wider = lambda a, b, s: _width(a, s) - _width(b, s)  # noqa: E731
    tuned = {m: np.concatenate([_losses(table, m, decay) for decay in DECAYS], axis=1) for m in METHODS}
    # A run that diverged counts as one that stayed where it was.
    ended = lambda losses: np.minimum(_tuned(losses), start)  # noqa: E731
    gap = np.log10(ended(tuned["adam"]) / ended(tuned["momentum"]))
    at = lambda losses, rate: losses[:, int(np.argmin(np.abs(np.log(RATES / rate))))]  # noqa: E731
    shelf = np.log10(at(moving, DEFAULTS["momentum"]) / at(adam_, DEFAULTS["adam"]))
    same = np.log10(at(moving, DEFAULTS["adam"]) / at(adam_, DEFAULTS["adam"]))
    gain = 1 - ended(_losses(table, "adam", "cosine")) / ended(adam_)
    widths = f"{_width(adam_, start):.1f} and {_width(moving, start):.1f} decades of rates reach 90 % of the best fall."
    unit = "powers of ten"
    return [
        Claim(
            f"less_sensitive_{name}",
            f"Adam is less sensitive to the rate: its range of good rates is half a decade wider or more ({name}).",
            wider(adam_, moving, start),
            low=0.5,
            interval=bootstrap(wider, adam_, moving, start),
            unit="decades wider",
            conditions=f"{widths} See rate_travels: it is the place of the range that Adam keeps, not its width.",
        ),
        Claim(
            f"momentum_wins_tuned_{name}",
            f"With rate and decay tuned momentum ends lower than Adam ({name}).",
            float(np.median(gap)),
            low=0.0,
            interval=bootstrap(np.median, gap),
            unit=unit,
        ),
        Claim(
            f"adam_wins_off_the_shelf_{name}",
            f"Off the shelf Adam (rate 0.001) ends lower than momentum at 0.01 ({name}).",
            float(np.median(shelf)),
            low=0.0,
            interval=bootstrap(np.median, shelf),
            unit=unit,
            conditions="0.01 is the default of keras; that of torch is 0.001, which hardly moves.",
        ),
        Claim(
            f"adam_wins_at_one_rate_{name}",
            f"At the rate 0.001 for both Adam ends lower than momentum ({name}).",
            float(np.median(same)),
            low=0.0,
            interval=bootstrap(np.median, same),
            unit=unit,
        ),
        Claim(
            f"adam_needs_no_decay_{name}",
            f"Adam needs no decay: a cosine lowers its tuned loss by less than 2 % ({name}).",
            float(np.median(gain)),
            high=0.02,
            interval=bootstrap(np.median, gain),
            unit="of the loss",
            conditions="Where noise limits it needs decay as much as momentum does." if name == "noisy" else "",
        ),
    ]


def _shared_claims(dataset: xarray.Dataset) -> list[Claim]:
    place = lambda losses: float(np.log10(RATES[np.argmin(np.median(losses, axis=0))]))  # noqa: E731

    def travels(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
        return abs(place(a) - place(b)) - abs(place(c) - place(d))

    four = [_losses(dataset.sel(problem=name), method) for method in METHODS for name in ("digits", "noisy")]
    digits = dataset.sel(problem="digits")
    fine = np.argmin(np.abs(np.log(RATES[:, None] / FINE)), axis=0)
    usual = _tuned(_losses(digits, "adam")[:, fine])
    tried = dataset.beta_loss.transpose("seed", "betas", "fine_rate").values
    best = _tuned(tried.reshape(len(tried), -1))
    gain = 1 - np.minimum(best, usual) / usual
    slower, seconds = dataset.seconds.sel(optimizer="adam"), dataset.seconds.sel(optimizer="momentum")
    cost = (slower / seconds).values
    return [
        Claim(
            "rate_travels",
            "From one problem to the other the best rate of Adam moves less than that of momentum, by half a decade.",
            travels(*four),
            low=0.5,
            interval=bootstrap(travels, *four),
            unit="decades less",
        ),
        Claim(
            "betas_default",
            "Tuning b1 and b2 brings Adam little: less than 10 % of the loss on digits, the rate tuned for each.",
            float(np.median(gain)),
            high=0.1,
            interval=bootstrap(np.median, gain),
            unit="of the loss",
            conditions="b1 of 0.8, 0.9, 0.95 and b2 of 0.99, 0.999.",
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
            "A step of Adam takes at most a quarter longer than one of momentum, on digits in batches of 64.",
            float(np.median(cost)),
            high=1.25,
            interval=bootstrap(np.median, cost),
            unit="times the seconds of momentum",
            conditions=f"{1e6 * float(seconds.median()):.0f} microseconds with momentum.",
        ),
    ]


def _cell_claim(dataset: xarray.Dataset, cell: str) -> Claim:
    losses = {
        m: dataset.cell_loss.sel(cell=cell, cell_method=m).transpose("cell_seed", "cell_rate").values
        for m in CELLS.values()
    }
    tuned = {method: np.log10(_tuned(values)) for method, values in losses.items()}
    chosen = CELLS[cell]
    lowest = np.min([values for method, values in tuned.items() if method != chosen], axis=0)
    gap = tuned[chosen] - lowest
    words = {
        "neither": "no ravine and no rare features",
        "ravine": "a ravine",
        "sparse": "rare features",
        "both": "both",
    }
    ends = ", ".join(f"{method.replace('_', ' ')} {10 ** np.median(values):.1g}" for method, values in tuned.items())
    return Claim(
        f"rule_{cell}",
        f"With {words[cell]}, choose {chosen.replace('_', ' ')}: it is within a factor of 2 of the best of the others.",
        float(np.median(gap)),
        high=math.log10(2),
        interval=bootstrap(np.median, gap),
        unit="powers of ten above",
        conditions=f"Tuned rates, {dataset.attrs['cell_steps']} steps; of the first loss is left: {ends}.",
    )


def figure(dataset: xarray.Dataset) -> Figure:
    """Loss by rate for both methods with and without decay, and the four kinds of small problems.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from ... import plots

    drawn, axes = plots.panels(2, 2, size=(5.2, 3.9))
    for ax, name in zip(axes, PROBLEMS, strict=False):
        table = dataset.sel(problem=name)
        for method in METHODS:
            look = plots.style_of(method)
            for decay, dash in zip(DECAYS, ("-", "--"), strict=True):
                loss = np.median(_losses(table, method, decay), axis=0)
                label = f"{method}, {decay}"
                ax.loglog(RATES, np.where(np.isfinite(loss), loss, np.nan), dash, color=look.color, label=label)
        ax.set(xlabel="learning rate", ylabel="final loss on all training data")
        ax.legend(frameon=False, fontsize=8, loc="lower left" if name == "digits" else "upper right")
        ax.set_ylim(top={"digits": 4, "noisy": 3, "factorization": 4}[name])
        title = {"digits": "Digits", "noisy": "Softmax, noisy labels", "factorization": "Sparse factorization"}[name]
        widths = ", ".join(f"{m} {_width(_losses(table, m), table.initial_loss.values):.1f}" for m in METHODS)
        plots.set_title(ax, title, f"decades of good rates: {widths}; {dataset.sizes['seed']} seeds")
        plots.describe(ax, f"On {name} the decades of good rates are {widths}; Adam's good rates are lower.")
    cells, places = axes[3], np.arange(len(CELLS))
    for shift, method in zip((-0.3, -0.1, 0.1, 0.3), CELLS.values(), strict=True):
        losses = dataset.cell_loss.sel(cell_method=method).transpose("cell", "cell_seed", "cell_rate").values
        left = [np.median(_tuned(values)) for values in losses]
        cells.bar(places + shift, left, 0.2, color=plots.style_of(method).color, label=method.replace("_", " "))
    cells.set_yscale("log")
    cells.set_xticks(places, list(CELLS))
    cells.set(ylabel="share of the first loss that is left", ylim=(FLOOR / 2, 30))
    cells.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    plots.set_title(cells, "Ravines and rare features", "regression, tuned rates")
    plots.describe(cells, "In a ravine momentum and Adam leave least; with rare features as well Adam does.")
    return drawn
