"""Plateaus: how long a crossing takes, what momentum does, and what another activation, parameterisation or start does.

    descent on tanh from a to 0:   k = (a/2 + sinh(2a)/4) / lr
    heavy ball, v = beta v + g:    k / (1/(1 - beta))     while k is much longer than that
    averaged, v = beta v + (1 - beta) g:   k

Sources: Polyak, 1964; Salimans and Kingma, 2016 (weight normalisation); Ioffe and Szegedy, 2015 (batch normalisation);
Glorot, Bordes and Bengio, 2011 (ReLU); tanh at 4 from Zhang, Lipton, Li and Smola, 2023.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from .. import problems
from ..minimize import minimize
from ..optimizers import gradient_descent, momentum
from ._machinery.claim import Claim, worst_ratio
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

START = 4.0
RATES = (0.03, 0.1, 0.2, 0.5, 1.0, 2.0)
METHODS = {  # beta, dampening, and the factor on the rate
    "descent": (0.0, 0.0, 1.0),
    "heavy 0.9": (0.9, 0.0, 1.0),
    "heavy 0.99": (0.99, 0.0, 1.0),
    "averaged 0.9": (0.9, 0.9, 1.0),
    "averaged 0.9, rate x 10": (0.9, 0.9, 10.0),
}
STEPS = 13_000
# The ball lags by 1/(1 - beta) for every factor e by which the slope grows on the way, log(1/0.00134) = 6.6 of them;
# that is less than a tenth of the crossing from here on, in units of 1/(1 - beta).
LONG = 66

INPUTS, EXAMPLES = 4, 64
FORMS = ("plain", "weight norm", "batch norm", "log scale")
BEGINNINGS = ("good", "shifted", "large")
FIT_RATES = np.geomspace(0.1, 100, 7)
FIT_STEPS = 2000
HELPED = 1.1  # a form helps if it takes so many times fewer steps; the rates are half a decade apart
GOAL = 0.01  # mean squared error, of a target of mean square 0.4
SEEDS = {"small": 8, "full": 64}


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Cross the plateau of tanh at many rates and momenta, and fit one neuron from good and from saturated starts.

    Arguments:
        key: draws the neuron's data, target and start.
        size: 8 seeds of the neuron or 64.

    Returns:
        Dataset with steps over `rate` and `optimizer`; the losses of one tanh and one ReLU unit from both sides over
        `unit`, `side` and `step`; and steps to fit over `form`, `beginning` and `seed`, each at its best rate.
    """
    import xarray

    with jax.enable_x64(True):
        slope = float(jax.grad(problems.tanh().loss)(jnp.array([START]))[0])
        return xarray.Dataset(
            {
                "slope": slope,
                "steps": (("rate", "optimizer"), _crossings()),
                "unit_loss": (("unit", "side", "step"), _units()),
                "fit_steps": (("form", "beginning", "seed"), _fits(jax.random.split(key, SEEDS[size]))),
            },
            {
                **{"rate": list(RATES), "optimizer": list(METHODS), "unit": ["tanh", "relu"], "side": [-START, START]},
                **{"form": list(FORMS), "beginning": list(BEGINNINGS), "step": np.arange(FIT_STEPS + 1)},
            },
            {"start": START, "fit_limit": FIT_STEPS},
        )


def _crossings() -> np.ndarray:
    """Steps from 4 to 0 on tanh, over rate and method; -1 for never."""
    loss = problems.tanh().loss

    def one(rate: Array, method: Array) -> Array:
        beta, dampening, factor = method
        crossed = lambda x: x[0] <= 0
        optimizer = momentum(factor * rate, beta, dampening)
        return minimize(loss, jnp.array([START]), optimizer, steps=STEPS, metrics=crossed).metrics

    lanes = jnp.asarray(RATES), jnp.asarray(list(METHODS.values()))
    return _first(jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(*lanes))


def _first(reached: Array) -> np.ndarray:
    """The first step at which this holds, -1 where it never does; along the last axis."""
    found = np.asarray(reached)
    return np.where(found.any(-1), found.argmax(-1), -1)


def _until(reached: Array) -> np.ndarray:
    """The same, with the limit where it never holds."""
    first = _first(reached)
    return np.where(first < 0, FIT_STEPS, first)


def _units() -> np.ndarray:
    """The loss (phi(x) - 1/2)^2 / 2 of one unit along descent from -4 and from 4."""

    def loss(x: Array, relu: Array) -> Array:
        output = jnp.where(relu > 0, jax.nn.relu(x), jnp.tanh(x))
        return 0.5 * jnp.sum((output - 0.5) ** 2)

    def one(relu: Array, start: Array) -> Array:
        return minimize(loss, start[None], gradient_descent(0.5), steps=FIT_STEPS, args=(relu,)).loss

    lanes = jnp.arange(2.0), jnp.array([-START, START])
    return np.asarray(jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(*lanes))


class _Neuron(NamedTuple):
    """Parameters of one neuron in any form; a form leaves alone what it does not have."""

    weights: Float[Array, " inputs"]
    bias: Float[Array, ""]
    scale: Float[Array, ""]
    shift: Float[Array, ""]


def _activation(neuron: _Neuron, inputs: Float[Array, "n inputs"], form: Int[Array, ""]) -> Float[Array, " n"]:
    plain = inputs @ neuron.weights + neuron.bias
    direction = neuron.weights / jnp.linalg.norm(neuron.weights)
    normalised = (plain - plain.mean()) / jnp.sqrt(plain.var() + 1e-5)
    scaled = jnp.exp(neuron.scale) * (inputs @ direction) + neuron.bias
    forms = [plain, neuron.scale * (inputs @ direction) + neuron.bias, neuron.scale * normalised + neuron.shift, scaled]
    return jnp.select([form == i for i in range(len(FORMS))], forms)


def _fit_loss(neuron: _Neuron, inputs: Array, targets: Array, form: Array) -> Float[Array, ""]:
    return jnp.mean((jnp.tanh(_activation(neuron, inputs, form)) - targets) ** 2)


def _beginning(direction: Array, form: Array, beginning: Array) -> _Neuron:
    """The same function in every form but batch normalisation, which starts as it is made, with scale 1 and shift 0."""
    size = jnp.where(beginning == BEGINNINGS.index("large"), 10.0, 1.0)
    bias = jnp.where(beginning == BEGINNINGS.index("shifted"), START, 0.0)
    scale = jnp.select([form == 1, form == 2], [size, jnp.ones_like(size)], jnp.log(size))
    return _Neuron(size * direction, bias, scale, jnp.zeros_like(size))


def _fits(keys: Key[Array, " seeds"]) -> np.ndarray:
    """Steps to reach the goal at the best of the rates, over form, beginning and seed; the limit where none does."""

    def one(key: Key[Array, ""], form: Array, beginning: Array, rate: Array) -> Array:
        data_key, target_key, start_key = jax.random.split(key, 3)
        inputs = jax.random.normal(data_key, (EXAMPLES, INPUTS))
        target, direction = (_unit_vector(k) for k in (target_key, start_key))
        targets = jnp.tanh(inputs @ target)
        start = _beginning(direction, form, beginning)
        arguments = (inputs, targets, form)
        return minimize(_fit_loss, start, gradient_descent(rate), steps=FIT_STEPS, args=arguments).loss

    over = jax.vmap(one, (0, None, None, None))
    for place in (2, 1, 3):  # rate innermost of all but the seed
        over = jax.vmap(over, tuple(0 if i == place else None for i in range(4)))
    lanes = keys, jnp.arange(len(FORMS)), jnp.arange(len(BEGINNINGS)), jnp.asarray(FIT_RATES)
    return _until(jax.jit(over)(*lanes) < GOAL).min(0)  # of rate, form, beginning, seed


def _unit_vector(key: Key[Array, ""]) -> Float[Array, " inputs"]:
    drawn = jax.random.normal(key, (INPUTS,))
    return drawn / jnp.linalg.norm(drawn)


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge what the lectures claim about plateaus.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: the slope, crossing time against rate and momentum, ReLU, reparameterisation and initialisation.
    """
    return [*_crossing_claims(dataset), *_relu_claims(dataset), *_cure_claims(dataset)]


def _crossing_claims(dataset: xarray.Dataset) -> list[Claim]:
    rate = dataset.rate.values
    steps = {str(method): dataset.steps.sel(optimizer=method).values for method in dataset.optimizer.values}
    descent = steps["descent"]
    closed_form = (START / 2 + math.sinh(2 * START) / 4) / rate
    heavy = np.concatenate([descent / steps[f"heavy {beta}"] * (1 - beta) for beta in (0.9, 0.99)])
    long = np.concatenate([steps[f"heavy {beta}"] * (1 - beta) >= LONG for beta in (0.9, 0.99)])
    averaged = descent / steps["averaged 0.9"]
    same = abs(steps["averaged 0.9, rate x 10"] - steps["heavy 0.9"]).max()
    return [
        Claim(
            "tanh_slope",
            "At 4 the slope of tanh is 0.00134, close to nothing.",
            float(dataset.slope), 1.335e-3, 1.345e-3,
        ),
        Claim(
            "crossing_time",
            "Crossing the plateau of tanh from 4 takes (a/2 + sinh(2a)/4)/rate steps, about 375/rate.",
            worst_ratio(descent / closed_form), 0.95, 1.05, unit="of the formula, worst rate",
            conditions="So a tenth of the rate is ten times the steps: a tiny rate does not do.",
        ),
        Claim(
            "momentum_helps",
            "Momentum helps: a heavy ball crosses sooner, by a factor of about 1/(1 - beta) on long plateaus.",
            worst_ratio(heavy[long]), 0.9, 1.1, unit="of 1/(1 - beta), worst rate and beta",
            conditions=f"While the crossing takes {LONG}/(1 - beta) steps or more; it lags by 1/(1 - beta) for every "
            "factor e by which the slope grows.",
        ),
        Claim(
            "momentum_less_on_short",
            "On short plateaus it gains less than half of that.",
            float(heavy.min()), high=0.5, unit="of 1/(1 - beta), shortest crossing",
            conditions="The ball is across before it is up to speed, in less than some 1/(1 - beta) steps.",
        ),
        Claim(
            "averaged_momentum_helps",
            "The averaged form, v = beta v + (1 - beta) g, crosses sooner too.",
            float(averaged.max()), low=1.1, unit="times as fast as descent at the same rate, best rate",
            conditions="It replaces the gradient by its average, of the same size, and is late by 1/(1 - beta) steps.",
        ),
        Claim(
            "averaged_at_larger_rate",
            "At the rate/(1 - beta) the averaged form takes the same steps as the heavy ball.",
            int(same), 0, 0, unit="steps of difference, worst rate",
        ),
    ]  # fmt: skip


def _relu_claims(dataset: xarray.Dataset) -> list[Claim]:
    from_above = [_until(dataset.unit_loss.sel(unit=unit, side=START).values < 1e-4) for unit in ("tanh", "relu")]
    dead = dataset.unit_loss.sel(unit="relu", side=-START).values
    return [
        Claim(
            "relu_helps",
            "A ReLU unit in place of a tanh unit leaves the plateau at 4 at once.",
            float(from_above[0] / from_above[1]), low=10.0, unit="times as fast, or more",
            conditions="At one rate, from the side on which ReLU is active.",
        ),
        Claim(
            "relu_has_another_side",
            "On its other side a ReLU unit never moves: its slope there is exactly zero, where tanh crawls.",
            float(dead[0] - dead[-1]), 0, 0, unit=f"fall of the loss in {FIT_STEPS} steps from -4",
        ),
    ]  # fmt: skip


def _cure_claims(dataset: xarray.Dataset) -> list[Claim]:
    by_seed = dataset.fit_steps.transpose("seed", "form", "beginning").values
    fits = dataset.fit_steps.median("seed")
    plain = fits.sel(form="plain")
    gains = (plain / fits).sel(form=list(FORMS[1:]), beginning=list(BEGINNINGS[1:]))
    listed = "; ".join(
        f"{form}, {beginning}: x {float(gains.sel(form=form, beginning=beginning)):.3g}"
        for form in FORMS[1:]
        for beginning in BEGINNINGS[1:]
    )
    return [
        Claim(
            "reparameterisation_helps",
            "Reparameterisation (weight or batch normalisation, log scale) usually helps, by a tenth or more.",
            _share_helped(by_seed), low=0.5, unit="of the saturated starts of each form",
            interval=bootstrap(_share_helped, by_seed),
            conditions=f"95 % over seeds; each form at its own best rate. Much only batch normalisation: {listed}.",
        ),
        Claim(
            "batch_norm_divides_away",
            "Batch normalisation divides a shift of the neuron's inputs away, and so leaves that plateau.",
            float(gains.sel(form="batch norm", beginning="shifted")), low=2.0, unit="times as fast",
            conditions="Large weights it divides away too, though a step then turns them by 1/|w|^2 as much.",
        ),
        Claim(
            "initialisation_helps",
            "A good start, small and centred, avoids the plateau.",
            float((plain.sel(beginning=list(BEGINNINGS[1:])) / plain.sel(beginning="good")).min()), low=2.0,
            unit="times as fast, better saturated start",
        ),
    ]  # fmt: skip


def _share_helped(steps: np.ndarray) -> float:
    """The share of (form, saturated start) faster than the plain form, by medians; axes seed, form, start."""
    middle = np.median(steps, axis=0)
    return float((middle[0, 1:] / middle[1:, 1:] >= HELPED).mean())


def figure(dataset: xarray.Dataset) -> Figure:
    """Crossing times against the rate, one unit of each kind, and the neuron's fits.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, (left, middle, right) = plots.panels(1, 3, size=(5.0, 4.45))
    blue, red, green = (look.color for look in plots.distinct_styles(3))
    looks = {name: plots.style_of(name) for name in ("gradient_descent", "momentum", "averaged_momentum")}
    styles = [looks["gradient_descent"], looks["momentum"], looks["momentum"]._replace(linestyle="--", marker="D")]
    styles.append(looks["averaged_momentum"])
    for method, look in zip(dataset.optimizer.values.tolist()[:4], styles, strict=True):
        left.plot(
            dataset.rate,
            dataset.steps.sel(optimizer=method),
            look.marker + look.linestyle,
            color=look.color,
            label=method,
        )
    left.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="steps from 4 to 0 on tanh")
    plots.legend_below(left)
    plots.set_title(left, "The averaged form crosses no sooner", "a heavy ball does, by up to 1/(1 − β)")
    plots.describe(
        left, "Crossing time falls as 1/rate; a heavy ball divides it by about 1/(1 - beta), an average does not."
    )
    for unit, color in (("tanh", blue), ("relu", red)):
        for side, dash in ((START, "-"), (-START, "--")):
            values = dataset.unit_loss.sel(unit=unit, side=side)
            name = "ReLU" if unit == "relu" else unit
            shown = values.where(values >= 1e-6)
            middle.plot(dataset.step + 1, shown, dash, color=color, label=f"{name} from {side:+g}")
    middle.set(xscale="log", yscale="log", xlabel="step + 1", ylabel="loss of one unit", ylim=(1e-6, 30))
    plots.legend_below(middle)
    plots.set_title(middle, "ReLU: no plateau on one side, stuck on the other", "tanh is slow on both; down to 10⁻⁶")
    plots.describe(
        middle, "ReLU from 4 converges in a few steps, and from -4 it never moves; tanh is slow from both sides."
    )
    for i, form in enumerate(dataset.form.values.tolist()):
        values = dataset.fit_steps.sel(form=form)
        for j, _ in enumerate(dataset.beginning.values):
            place = np.full(values.sizes["seed"], i + 0.22 * (j - 1))
            marker, color = (("o", green), ("s", blue), ("^", red))[j]
            label = dataset.beginning.values[j] if i == 0 else None
            right.plot(place, values.isel(beginning=j), marker, color=color, alpha=0.6, markersize=5, label=label)
    right.axhline(dataset.fit_limit, color="0.7", linewidth=0.8)
    right.set(yscale="log", ylabel="steps to fit, at the best rate")
    right.set_xticks(range(len(FORMS)), list(FORMS))
    plots.legend_below(right, title="start")
    plots.round_ticks(left, middle, right)
    plots.set_title(
        right, "A good start is worth more than a new form", "one mark per seed; on the line: not within the limit"
    )
    plots.describe(
        right, "Steps to fit one neuron by parameterisation and start; saturated starts are slow in most forms."
    )
    return drawn
