"""Local minima: what leaves one, how many there are, and whether they matter for wide networks.

    f(x) = x cos(pi x) on [-1, 2]:   a local minimum at -0.274, a barrier at 0.274, the global minimum at 1.090
    with noise:                      f_i(x) = f(x) + c_i x,   sum of c_i = 0

Without noise and at small steps no method leaves the minimum, nor a start below the height of the barrier: a heavy ball
loses energy. What does leave is measured here: minibatch noise, injected noise, long steps, a heavy ball from above the
barrier, another start. No derivative at a point tells a local minimum from the global one.

Sources: Zhang, Lipton, Li and Smola, 2023 (the function); Styblinski and Tang, 1990 (2^d minima); Choromanska, Henaff,
Mathieu, Ben Arous and LeCun, 2015 (the histogram by width); Attouch, Goudou and Redont, 2000 (the energy of a heavy
ball with friction).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, Key

from .._machinery.claim import Claim
from .._machinery.registry import Size
from . import judge, measure
from .measure import BOTTOM_RATES, CASES, DIMENSIONS, GLOBAL, HIGH, LEVELS, LOCAL, LOW, METHODS, RATES, WIDTHS

if TYPE_CHECKING:
    import xarray

    from ...plots import Figure

LANES = {"small": 60, "full": 200}
SEEDS = {"small": 6, "full": 12}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Try to leave a local minimum, count the minima of a sum over axes, and train networks of several widths.

    Arguments:
        key: draws starts, noise and networks.
        size: 60 trials of every kind and 6 networks of every width, or 200 and 12.

    Returns:
        Dataset with what trials left over `optimizer`, `rate`, `case` and `lane`, the numbers that left over `level`,
        counts over `dimension`, and the minima of networks over `width` and `seed`.
    """
    import xarray

    noise, many, nets = jax.random.split(key, 3)
    with jax.enable_x64(True):
        left = measure.leaving(LANES[size], noise)
        counts, not_minima = measure.count_minima(many)
        kinds, values = measure.verdicts()
        moved = measure.from_the_bottom()
        minima = measure.networks(nets, SEEDS[size])
    return xarray.Dataset(
        {
            **{name: (dims, values) for name, (dims, values) in left.items()},
            "minima": ("dimension", counts),
            "not_minima": not_minima,
            "kind": ("well", kinds),
            "value": ("well", values),
            "moved": (("bottom", "bottom_rate"), moved),
            **{name: (("width", "seed"), values) for name, values in minima._asdict().items()},
        },
        {
            **{"level": list(LEVELS), "optimizer": list(METHODS), "rate": list(RATES), "case": list(CASES)},
            **{"dimension": np.arange(1, DIMENSIONS + 1), "width": list(WIDTHS), "bottom_rate": list(BOTTOM_RATES)},
            **{"well": ["local", "global"], "bottom": ["exact", "beside"]},
        },
        {"lanes": LANES[size], "seeds": SEEDS[size]},
    )


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about local minima.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: what leaves, what a verdict covers, how many minima there are, and the spread of losses by width.
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

    drawn, (left, middle, right) = plots.panels(1, 3, size=(5.0, 4.35))
    x = np.linspace(LOW, HIGH, 301)
    blue, red = (look.color for look in plots.distinct_styles(2))
    left.plot(x, x * np.cos(np.pi * x), color=blue)
    for at, words, place in ((LOCAL, "local", (-0.9, -0.9)), (GLOBAL, "global", (1.35, -0.9))):
        left.plot(at, at * np.cos(np.pi * at), "o", color="black")
        left.annotate(
            words, (at, at * np.cos(np.pi * at)), xytext=place, arrowprops={"arrowstyle": "-", "color": "0.6"}
        )
    left.set(xlabel="x", ylabel="x cos πx")
    plots.set_title(left, "Two minima, one verdict", "no derivative shows which is which")
    plots.describe(left, "x cos(pi x) on [-1, 2] with its local minimum at -0.27 and its global minimum at 1.09.")
    shares = dataset.left.mean("lane")
    for method, name in (("descent", "gradient_descent"), ("heavy ball 0.9", "momentum"), ("adam", "adam")):
        for case, dash in (("noise", "o-"), ("rest", "s--")):
            values = shares.sel(optimizer=method, case=case)
            label = f"{method}, {'noise' if case == 'noise' else 'no noise'}"
            middle.plot(dataset.rate, values, dash, color=plots.style_of(name).color, markersize=4, label=label)
    middle.set(xscale="log", xlabel="learning rate", ylabel="share that leaves", ylim=(-0.03, 1.04))
    plots.legend_below(middle)
    plots.set_title(
        middle, "From the minimum: noise leaves, or long steps", "noise of minibatches; small steps without never do"
    )
    most = float(shares.sel(optimizer="descent", case="noise").max())
    plots.describe(
        middle,
        f"Share of trials that leave the local minimum by learning rate: up to {most:.0%} of descent with minibatch "
        "noise, none without it at small rates.",
    )
    for i, width in enumerate(dataset.width.values):
        for name, color, shift in (("train_loss", blue, -0.15), ("test_loss", red, 0.15)):
            values = dataset[name].sel(width=width).values
            part = {"train_loss": "training", "test_loss": "test"}[name] if i == 0 else None
            right.plot(np.full(len(values), i + shift), values, "_", color=color, markersize=11, alpha=0.7, label=part)
    right.set_xticks(range(len(WIDTHS)), [f"{width}" for width in WIDTHS])
    right.set(yscale="log", xlabel="width", ylabel="loss at the minimum")
    plots.legend_below(right)
    plots.round_ticks(middle, right)
    falls = np.all(np.diff(np.median(dataset.train_loss.transpose("width", ...).values, axis=1)) < 0)
    title = "The wider the network, the lower its minima" if falls else "Minima of networks by width"
    plots.set_title(right, title, f"{dataset.seeds} starts of every width, one mark each")
    plots.describe(right, "Training and test losses of the minima that networks end in, by width, one mark per start.")
    return drawn
