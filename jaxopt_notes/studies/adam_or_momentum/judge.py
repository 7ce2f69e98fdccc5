"""What it says: claims from the Dataset alone, and the figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._machinery.claim import Claim
from .._machinery.intervals import best_rate, bootstrap, decades_within
from .measure import ADAM_RATE, CELLS, DECAYS, FINE, FLOOR, GOOD, METHODS, PROBLEMS, SHELF

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
    betas = [_betas_claim(dataset, name) for name in dataset.beta_problem.values]
    shared = _shared_claims(dataset.isel(budget=-1))
    return [*both, *betas, *shared, *(_cell_claim(dataset, cell) for cell in CELLS)]


def _losses(table: xarray.Dataset, method: str, decay: str = "constant") -> np.ndarray:
    """(seeds, rates) of one method."""
    return table.loss.sel(optimizer=method, decay=decay).transpose("seed", "learning_rate").values


def _width(losses: np.ndarray, start: np.ndarray, rates: np.ndarray, share: float = GOOD) -> float:
    """Decades of rates whose median loss falls by a share of the best fall."""
    median, first = np.median(losses, axis=0), np.median(start)
    # What diverged counts as twice the start: how far it went says nothing of where the good rates end.
    median = np.minimum(median, 2 * first)
    return decades_within(rates, median, first - share * (first - median.min()))


def _tuned(losses: np.ndarray) -> np.ndarray:
    """The losses of all seeds at the rate of the best median."""
    return losses[:, np.argmin(np.median(losses, axis=0))]


def _ended(losses: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Tuned losses; a run that diverged counts as one that stayed where it was."""
    return np.minimum(_tuned(losses), start)


def _judged(
    name: str,
    sentence: str,
    statistic: Callable[..., float],
    samples: Sequence[tuple[np.ndarray, ...]],
    conditions: str,
    **bounds: Any,
) -> Claim:
    """A claim about every budget: it is decided if it comes out alike at all of them, seeds and tuning resampled."""
    numbers = [statistic(*each) for each in samples]
    lows, highs = zip(*(bootstrap(statistic, *each) for each in samples), strict=True)
    others = "".join(f" With a quarter of the steps {number:.2g}." for number in numbers[:-1])
    interval = (min(lows), max(highs))
    return Claim(name, sentence, numbers[-1], interval=interval, conditions=conditions + others, **bounds)


def _problem_claims(table: xarray.Dataset, name: str) -> list[Claim]:
    start, rates = table.initial_loss.values, table.learning_rate.values
    budgets = [table.sel(budget=share) for share in table.budget.values]
    constant = [(_losses(each, "adam"), _losses(each, "momentum"), start) for each in budgets]
    both = [tuple(np.concatenate([_losses(each, m, d) for d in DECAYS], 1) for m in METHODS) for each in budgets]
    decayed = [(_losses(each, "adam", "cosine"), _losses(each, "adam"), start) for each in budgets]

    def wider(adam_: np.ndarray, moving: np.ndarray, start: np.ndarray) -> float:
        return _width(adam_, start, rates) - _width(moving, start, rates)

    def lower(moving: np.ndarray, adam_: np.ndarray, start: np.ndarray) -> float:
        return float(np.median(np.log10(_ended(adam_, start) / _ended(moving, start))))

    def gain(cosine: np.ndarray, constant: np.ndarray, start: np.ndarray) -> float:
        return float(np.median(1 - _ended(cosine, start) / _ended(constant, start)))

    widths = {share: [_width(losses, start, rates, share) for losses in constant[-1][:2]] for share in (GOOD, 0.99)}
    reach = " ".join(
        f"{a:.2f} and {m:.2f} decades reach {share:.0%} of the best fall." for share, (a, m) in widths.items()
    )
    moving = gain(_losses(budgets[-1], "momentum", "cosine"), constant[-1][1], start)
    fall = np.median((start - _ended(decayed[-1][1], start)) / (start - _ended(decayed[-1][0], start)))
    grid = f"{round(1 / np.log10(rates[1] / rates[0]))} rates a decade"
    return [
        _judged(
            f"less_sensitive_{name}",
            f"Adam is less sensitive to the rate: its range of good rates is wider ({name}).",
            wider,
            constant,
            f"{grid}. {reach}",
            low=0.0,
            unit="decades wider",
        ),
        _judged(
            f"momentum_wins_tuned_{name}",
            f"With rate and decay tuned momentum ends lower than Adam ({name}).",
            lower,
            [(*each, start) for each in both],
            f"{grid}, constant or along a cosine; beta 0.9.",
            low=0.0,
            unit="powers of ten",
        ),
        _shelf_claim(budgets, name),
        _judged(
            f"adam_needs_no_decay_{name}",
            f"Adam needs no decay: a cosine lowers its tuned loss by less than 2 % ({name}).",
            gain,
            decayed,
            f"For momentum it is {moving:.1%}. Without it Adam reaches {fall:.1%} of the fall with it.",
            high=0.02,
            unit="of the loss",
        ),
    ]


def _shelf_claim(budgets: Sequence[xarray.Dataset], name: str) -> Claim:
    """Adam against SGD with the defaults of each library, judged where SGD comes nearest."""
    gaps = []
    for table in budgets:
        usual = _losses(table, "adam")[:, int(np.argmin(np.abs(np.log(table.learning_rate.values / ADAM_RATE))))]
        gaps.append((np.log10(table.shelf_loss.transpose("seed", "library").values / usual[:, None]),))
    each = ", ".join(
        f"{library} {gap:.2g} ({rate:g}, momentum {beta:g})"
        for (library, (rate, beta)), gap in zip(SHELF.items(), np.median(gaps[-1][0], axis=0), strict=True)
    )
    return _judged(
        f"adam_wins_off_the_shelf_{name}",
        f"Off the shelf Adam ends lower than SGD, with the defaults of keras, torch and scikit-learn ({name}).",
        lambda sample: float(np.median(sample, axis=0).min()),
        gaps,
        f"Adam's rate is {ADAM_RATE:g} in all three; optax has no defaults. By SGD's: {each}.",
        low=0.0,
        unit="powers of ten, the least of the three",
    )


def _betas_claim(dataset: xarray.Dataset, name: str) -> Claim:
    table, start = dataset.sel(problem=name), dataset.initial_loss.sel(problem=name).values
    fine = np.argmin(np.abs(np.log(table.learning_rate.values[:, None] / FINE)), axis=0)
    samples = []
    for share in dataset.budget.values:
        tried = dataset.beta_loss.sel(beta_problem=name, budget=share).transpose("seed", "betas", "fine_rate").values
        usual = _losses(table.sel(budget=share), "adam")[:, fine]
        samples.append((np.concatenate([usual, tried.reshape(len(tried), -1)], axis=1), usual))

    def gain(every: np.ndarray, usual: np.ndarray) -> float:
        return float(np.median(1 - _tuned(every) / _tuned(usual)))

    best, usual = map(_tuned, samples[-1])
    fall = np.median((usual - best) / (start - best))
    return _judged(
        f"betas_default_{name}",
        f"Tuning b1 and b2 brings Adam little: less than 10 % of the loss, the rate tuned for each ({name}).",
        gain,
        samples,
        f"b1 of 0.8, 0.9, 0.95 and b2 of 0.99, 0.999. It is {fall:.2%} of the whole fall.",
        high=0.1,
        unit="of the loss",
    )


def _shared_claims(dataset: xarray.Dataset) -> list[Claim]:
    rates = dataset.learning_rate.values
    place = lambda losses: float(np.log10(best_rate(rates, np.median(losses, axis=0))))

    def travels(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
        return abs(place(a) - place(b)) - abs(place(c) - place(d))

    four = [_losses(dataset.sel(problem=name), method) for method in METHODS for name in ("digits", "noisy")]
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
        table = dataset.sel(problem=name).isel(budget=-1)
        start, rates = table.initial_loss.values, table.learning_rate.values
        for method in METHODS:
            look = plots.style_of(method)
            for decay, dash in zip(DECAYS, ("-", "--"), strict=True):
                loss = np.median(_losses(table, method, decay), axis=0)
                label = f"{method}, {decay}"
                ax.loglog(rates, np.where(np.isfinite(loss), loss, np.nan), dash, color=look.color, label=label)
        ax.set(xlabel="learning rate", ylabel="final loss on all training data")
        ax.legend(frameon=False, fontsize=8, loc="lower left" if name == "digits" else "upper right")
        ax.set_ylim(top={"digits": 4, "noisy": 3, "factorization": 4}[name])
        title = {"digits": "Digits", "noisy": "Softmax, noisy labels", "factorization": "Sparse factorization"}[name]
        widths = ", ".join(f"{m} {_width(_losses(table, m), start, rates):.2f}" for m in METHODS)
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
