"""Local minima: who leaves one, how many there are, and whether they matter for wide networks.

    f(x) = x cos(pi x) on [-1, 2]:   a local minimum at -0.274, a barrier at 0.274, the global minimum at 1.090
    with noise:                      f_i(x) = f(x) + c_i x,   sum of c_i = 0

Full-batch descent at a small rate ends in the basin it starts in. What leaves it is measured here: minibatch noise,
injected noise, momentum, Adam, another start. No derivative at a point tells a local minimum from the global one.

Sources: Zhang, Lipton, Li and Smola, 2023 (the function); Styblinski and Tang, 1990 (2^d minima); Choromanska, Henaff,
Mathieu, Ben Arous and LeCun, 2015 (the histogram by width).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, Key

from ..claim import Claim
from ..intervals import exact_interval
from ..registry import Size
from . import judge, measure
from .measure import (
    ADAM_RATES,
    BARRIER,
    BOTTOM_RATES,
    DETERMINISTIC,
    DIMENSIONS,
    GLOBAL,
    HIGH,
    LEVELS,
    LOCAL,
    LOW,
    WIDTHS,
)

if TYPE_CHECKING:
    import xarray

    from ...plots import Figure

LANES = {"small": 200, "full": 5_000}
SEEDS = {"small": 20, "full": 100}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Try to leave a local minimum, count the minima of a sum over axes, and train networks of several widths.

    Arguments:
        key: draws starts, noise and networks.
        size: 200 trials of every method and 20 networks of every width, or 5,000 and 100.

    Returns:
        Dataset with the numbers of trials that left over `level`, `method` and `rate`, counts over `dimension`, and
        final losses and gradient norms over `width` and `seed`.
    """
    import xarray

    begin, noise, many, nets = jax.random.split(key, 4)
    with jax.enable_x64(True):
        starts = jax.random.uniform(begin, (LANES[size],), minval=LOW, maxval=BARRIER)
        left = measure.leaving(starts, noise)
        counts, not_minima = measure.count_minima(many)
        kinds, values = measure.verdicts()
        moved = measure.from_the_bottom()
    losses = measure.networks(nets, SEEDS[size])
    return xarray.Dataset(
        {
            **{name: (dims, values) for name, (dims, values) in left.items()},
            "minima": ("dimension", counts),
            "not_minima": not_minima,
            "kind": ("well", kinds),
            "value": ("well", values),
            "moved": ("bottom_rate", moved),
            **{name: (("width", "seed"), values) for name, values in losses._asdict().items()},
        },
        {
            **{"level": list(LEVELS), "method": list(DETERMINISTIC), "adam_rate": list(ADAM_RATES)},
            **{"dimension": np.arange(1, DIMENSIONS + 1), "width": list(WIDTHS), "bottom_rate": list(BOTTOM_RATES)},
            "well": ["local", "global"],
        },
        {"lanes": LANES[size], "seeds": SEEDS[size]},
    )


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures say of local minima.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: who leaves, what a verdict tells, how many minima there are, and the spread of losses by width.
    """
    return [*judge.who_leaves(dataset), *judge.what_is_known(dataset), *judge.by_width(dataset)]


def figure(dataset: xarray.Dataset) -> Figure:
    """Who leaves the local minimum, and the final losses by width, in training and held out.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from ... import plots

    drawn, (left, middle, right) = plots.panels(1, 3, size=(5.0, 3.9))
    x = np.linspace(LOW, HIGH, 301)
    left.plot(x, x * np.cos(np.pi * x), color="tab:blue")
    for at, words, place in ((LOCAL, "local", (-0.9, -0.9)), (GLOBAL, "global", (1.35, -0.9))):
        left.plot(at, at * np.cos(np.pi * at), "o", color="black")
        left.annotate(
            words, (at, at * np.cos(np.pi * at)), xytext=place, arrowprops={"arrowstyle": "-", "color": "0.6"}
        )
    left.set(xlabel="x", ylabel="x cos(pi x)")
    plots.set_title(left, "Two minima, one verdict", "no derivative tells which is which")
    plots.describe(left, "x cos(pi x) on [-1, 2] with its local minimum at -0.27 and its global minimum at 1.09.")
    lanes = dataset.lanes
    looks = {
        "left_by_batches": ("o-", "tab:blue", "minibatch noise"),
        "left_by_injection": ("s--", "tab:orange", "added noise"),
    }
    for name, (mark, color, label) in looks.items():
        counts = dataset[name].values
        ends = np.array([exact_interval(int(n), lanes) for n in counts]).T
        error = abs(ends - counts / lanes)
        middle.errorbar(dataset.level, counts / lanes, error, fmt=mark, color=color, capsize=3, label=label)
    for i, (method, count) in enumerate(zip(dataset.method.values.tolist(), dataset.left_still.values, strict=True)):
        middle.axhline(count / lanes, color=str(0.2 + 0.25 * i), linestyle=":", label=f"{method}, no noise")
    middle.set(
        xscale="log",
        xlabel="noise in the gradient (standard deviation)",
        ylabel="share that leaves",
        ylim=(-0.03, 1.35),
    )
    middle.set_xticks(LEVELS, [f"{level:g}" for level in LEVELS])
    middle.minorticks_off()
    middle.legend(frameon=False, fontsize=8.5, ncols=2, loc="upper center")
    plots.set_title(middle, "Noise leaves, and so does a heavy ball", "with exact 95 % intervals")
    most = int(dataset.left_by_batches.max()) / lanes
    plots.describe(middle, f"Share of trials that leave the local minimum: up to {most:.0%} by minibatch noise.")
    for i, width in enumerate(dataset.width.values):
        for name, color, shift in (("train_loss", "tab:blue", -0.15), ("test_loss", "tab:orange", 0.15)):
            values = dataset[name].sel(width=width).values
            part = {"train_loss": "training", "test_loss": "test"}[name] if i == 0 else None
            right.plot(np.full(len(values), i + shift), values, "_", color=color, markersize=11, alpha=0.7, label=part)
    right.set_xticks(range(len(WIDTHS)), [f"{width}" for width in WIDTHS])
    right.set(yscale="log", xlabel="width", ylabel="final loss")
    right.legend(frameon=False, fontsize=9)
    plots.set_title(right, "Final losses by width", f"{dataset.seeds} starts of every width, one mark each")
    plots.describe(right, "Final training and test losses of networks by width, one mark per start.")
    return drawn
