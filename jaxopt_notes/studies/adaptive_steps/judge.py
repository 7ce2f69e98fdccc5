"""What `adaptive_steps` makes of its measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._machinery.claim import Claim
from .._machinery.intervals import bootstrap

if TYPE_CHECKING:
    import xarray

    from ...plots import Figure


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about adaptive methods.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: rates by time and frequency, bias correction, eps, scaled and stretched problems, evenness.
    """
    return [
        *_frequency_claims(dataset),
        *_first_step_claims(dataset),
        *_invariance_claims(dataset),
        *_stretched_claims(dataset),
        *_evenness_claims(dataset),
    ]


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _frequency_claims(dataset: xarray.Dataset) -> list[Claim]:
    steps, shares = dataset.span_step.values, dataset.share.values
    by_step = {name: _slope(steps, dataset.rate_by_step.sel(adaptive=name).values) for name in dataset.adaptive.values}
    by_share = {name: dataset.rate_by_share.sel(adaptive=name).values.T for name in dataset.adaptive.values}
    gain = {name: rates[:, -1] / rates[:, 0] for name, rates in by_share.items()}
    limit = (1 - dataset.attrs["rmsprop_decay"]) ** -0.5
    sloped = lambda rates: _slope(shares, np.median(rates, axis=0))
    return [
        Claim(
            "adagrad_time",
            "Under stationary gradients AdaGrad's rate falls as 1/sqrt(t).",
            by_step["adagrad"],
            -0.51,
            -0.49,
            unit="power of t",
        ),
        Claim("rmsprop_time", "RMSProp's does not fall.", by_step["rmsprop"], -0.01, 0.01, unit="power of t"),
        Claim(
            "adadelta_time",
            "Adadelta's does not fall either.",
            by_step["adadelta"],
            low=-0.01,
            unit="power of t",
            conditions="It grows in the end, as sqrt(t), since its own steps set their scale.",
        ),
        Claim(
            "rare_adagrad",
            "AdaGrad gives a coordinate that is updated in a share p of the steps a rate as p^(-1/2).",
            sloped(by_share["adagrad"]),
            -0.55,
            -0.45,
            bootstrap(sloped, by_share["adagrad"]),
            "power of p",
        ),
        Claim(
            "rare_adadelta",
            "Adadelta does the opposite: a coordinate that is updated in 1 step of 128 gets a smaller rate.",
            float(np.median(gain["adadelta"])),
            high=1.0,
            interval=bootstrap(np.median, gain["adadelta"]),
            unit="times the rate of one always updated",
            conditions="The scale of its steps is their own average, which decays while a coordinate is not updated.",
        ),
        Claim(
            "rare_rmsprop",
            "RMSProp's larger rate for rare coordinates ends at 1/sqrt(1 - r), as it forgets how rare they are.",
            float(np.median(gain["rmsprop"])),
            0.9 * limit,
            limit,
            bootstrap(np.median, gain["rmsprop"]),
            "times the rate of one always updated",
            f"AdaGrad does not forget: {np.median(gain['adagrad']):.1f} times at 1 step in 128.",
        ),
    ]


def _first_step_claims(dataset: xarray.Dataset) -> list[Claim]:
    corrected, plain = dataset.first_steps.values
    return [
        Claim(
            "corrected_first_steps",
            "With bias correction Adam's steps down a slope are as long as the learning rate from the first on.",
            float(np.max(np.abs(corrected - 1))),
            high=1e-6,
            unit="learning rates off, worst of 200 steps",
        ),
        Claim(
            "uncorrected_first_step",
            "Without it the first step is (1 - b1)/sqrt(1 - b2) = 3.16 times as long, not shorter.",
            float(plain[0]),
            3.16,
            3.165,
            unit="learning rates",
        ),
        Claim(
            "uncorrected_peak",
            "Without it the steps go on growing until about step 10 (8 to 16).",
            float(dataset.t.values[np.argmax(plain)]),
            8,
            16,
            unit="steps",
            conditions=f"They are then {plain.max():.2f} learning rates long, and still {plain[-1]:.2f} at step 200.",
        ),
    ]


def _invariance_claims(dataset: xarray.Dataset) -> list[Claim]:
    exact = dataset.path_change.values[0]
    slopes, eps = dataset.loss_scale.values, dataset.attrs["eps"]
    shrunk = 1 - dataset.first_step.values[1]
    good = dataset.learning_rate.values[np.nanargmin(dataset.loss_by_feature_scale.values, axis=-1)]
    power = [_slope(dataset.feature_scale.values, row) for row in good]
    return [
        Claim(
            "scale_invariant",
            "Without eps, Adam's path is the same whatever number the loss is multiplied by (1e-12 to 1e4).",
            float(exact.max()),
            high=1e-10,
            unit="of the distance from the start",
        ),
        Claim(
            "eps_guards",
            "eps keeps the denominator from zero: a gradient of 0 then moves nothing.",
            float(abs(dataset.step_at_zero[1])),
            high=0.0,
            unit="learning rates moved",
            conditions=f"Without eps the formula gives {float(dataset.step_at_zero[0])}.",
        ),
        Claim(
            "eps_takes_half",
            "It does more than that: a gradient as small as eps loses half of its step.",
            float(shrunk[np.argmin(np.abs(slopes - eps))]),
            0.499,
            0.501,
            unit="of the step, at a gradient of eps",
            conditions="Far below eps nearly all of it.",
        ),
        Claim(
            "eps_negligible_above",
            "A gradient of 100 eps or more loses less than 1 % of its step.",
            float(shrunk[slopes > 99 * eps].max()),
            high=0.01,
            unit="of the step",
        ),
        Claim(
            "descent_feature_scale",
            "Multiplying all features by c divides the good rate of gradient descent by c^2.",
            power[0],
            -2.1,
            -1.9,
            unit="power of c",
        ),
        Claim(
            "adam_feature_scale",
            "It divides that of Adam by c: less sensitive, but not insensitive.",
            power[1],
            -1.1,
            -0.9,
            unit="power of c",
        ),
    ]


def _stretched_claims(dataset: xarray.Dataset) -> list[Claim]:
    logs = np.log10(dataset.stretched_loss)
    names = dict.fromkeys(map(str, dataset.stretched_method.values))

    def ahead(first: str, second: str, rotated: int) -> np.ndarray:
        part = logs.sel(rotated=rotated)
        gap = part.sel(stretched_method=second) - part.sel(stretched_method=first)
        return gap.transpose("start", "stretched_steps").values

    def claim(name: str, sentence: str, pair: tuple[str, str], rotated: int, conditions: str = "") -> Claim:
        """Decided if it comes out alike after every number of steps."""
        assert set(pair) <= set(names)
        powers = ahead(*pair, rotated)
        lows, highs = zip(*(bootstrap(np.median, column) for column in powers.T), strict=True)
        middle = np.median(powers, axis=0)
        each = ", ".join(f"{n} {value:.2g}" for n, value in zip(dataset.stretched_steps.values, middle, strict=True))
        return Claim(
            name,
            sentence,
            float(middle[len(middle) // 2]),
            low=0.0,
            interval=(min(lows), max(highs)),
            unit="powers of ten, after 300 steps",
            conditions=f"Constant rates. By steps: {each}. {conditions}".strip(),
        )

    return [
        claim(
            "stretched_axes",
            "Where coordinates differ 100-fold in scale, tuned Adam gets lower than tuned gradient descent.",
            ("adam", "gradient_descent"),
            0,
            "Curvatures from 1 to 10,000 along the axes.",
        ),
        claim(
            "stretched_momentum",
            "There tuned RMSProp gets lower than tuned momentum.",
            ("rmsprop", "momentum"),
            0,
            "Its steps do not shrink with the gradient, so at a constant rate it hovers at a height set by the rate.",
        ),
        claim(
            "stretched_adam_momentum",
            "There tuned Adam gets lower than tuned momentum.",
            ("adam", "momentum"),
            0,
        ),
        claim(
            "turned_rmsprop",
            "RMSProp gets lower than gradient descent also where the valley lies across the axes.",
            ("rmsprop", "gradient_descent"),
            1,
            "A diagonal scaling sees the axes alone.",
        ),
        claim(
            "turned_momentum_adam",
            "Where the valley lies across the axes tuned momentum gets lower than tuned Adam.",
            ("momentum", "adam"),
            1,
            "A diagonal scaling sees the axes alone; what Adam gains there is its momentum.",
        ),
    ]


def _evenness_claims(dataset: xarray.Dataset) -> list[Claim]:
    ratio = dataset.spread.sel(percentile=90) / dataset.spread.sel(percentile=10)
    adam, momentum = (ratio.sel(even_method=name).values for name in ("adam", "momentum"))
    gain = momentum / adam
    return [
        Claim(
            "more_even_updates",
            "Adam's updates are rather even: at least ten times as even as those of momentum.",
            float(np.median(gain)),
            low=10.0,
            interval=bootstrap(np.median, gain),
            unit="times the ratio of the percentiles",
            conditions="A hidden layer of 16 on digits, after 60 steps. The 90th percentile of Adam's |update| is "
            f"{np.median(adam):.3g} times the 10th.",
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """Rates by frequency, the first steps, good rates by the scale of the features, and the spread of updates.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from ... import plots

    drawn, (rare, first, scaled, even) = plots.panels(2, 2, size=(5.4, 4.05))
    for name in dataset.adaptive.values:
        look = plots.style_of(str(name))
        rates = dataset.rate_by_share.sel(adaptive=name).median("copy")
        line = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker}
        rare.loglog(dataset.share, rates / rates[0], **line, label=_title(name))
    rare.set(xlabel="share of steps in which the feature is there", ylabel="rate / rate if always there")
    plots.legend_below(rare)
    plots.set_title(rare, "A rare feature: larger steps, or smaller ones", "gradients of ±1, after 2,048 steps")
    plots.describe(rare, "AdaGrad's rate grows as the root of rarity, RMSProp's up to 3.2, and Adadelta's shrinks.")
    for row, label, dash in zip(dataset.first_steps.values, ("corrected", "not corrected"), ("-", "--"), strict=True):
        first.plot(dataset.t, row, color=plots.style_of("adam").color, linestyle=dash, label=label)
    first.set(xlabel="step", ylabel="step length / learning rate", ylim=(0, None))
    plots.legend_below(first)
    plots.set_title(first, "Adam without bias correction starts too fast", "constant gradient")
    plots.describe(first, "Without correction steps begin at 3.2 learning rates and peak at 6.6 near step 12.")
    best = dataset.learning_rate.values[np.nanargmin(dataset.loss_by_feature_scale.values, axis=-1)]
    for name, row in zip(dataset.scaled_method.values, best, strict=True):
        look = plots.style_of(str(name))
        scaled.loglog(dataset.feature_scale, row, color=look.color, marker=look.marker, label=_title(name))
    scaled.set(xlabel="features multiplied by c", ylabel="best learning rate")
    plots.legend_below(scaled)
    plots.set_title(scaled, "Adam's good rate goes as 1/c, descent's as 1/c²", "linear regression, 60 steps")
    plots.describe(scaled, "On logarithmic axes the best rates fall with slopes -1 for Adam and -2 for descent.")
    for name in dataset.even_method.values:
        look = plots.style_of(str(name))
        spread = dataset.spread.sel(even_method=name).median("network")
        even.semilogy(dataset.percentile, spread, color=look.color, linestyle=look.linestyle, label=_title(name))
    even.set(xlabel="percentile of the parameters", ylabel="|update| / median |update|")
    plots.legend_below(even)
    plots.round_ticks(rare, scaled, even)
    plots.set_title(even, "Adam's updates are more even than momentum's", "digits, 16 hidden units, after 60 steps")
    plots.describe(even, "From the 10th to the 90th percentile Adam's updates span far fewer decades than momentum's.")
    return drawn


def _title(name: object) -> str:
    """A method as a legend writes it."""
    special = {"adagrad": "AdaGrad", "rmsprop": "RMSProp", "adadelta": "Adadelta", "adam": "Adam"}
    return special.get(str(name), str(name).replace("_", " "))
