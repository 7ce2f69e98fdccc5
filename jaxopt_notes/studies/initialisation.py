"""Initialisation: how far the gradient comes back through a deep network, by initial weights and activation.

The signal is the gradient of the loss by the pre-activations of a layer. Per layer its square is multiplied by about

    width Var(w) E[phi'(z)^2]

Sources: Glorot and Bengio, 2010; He, Zhang, Ren and Sun, 2015; Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, 2017.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..minimize import Status, minimize
from ..optimizers import momentum
from ..problems import digits
from ._machinery.claim import Claim
from ._machinery.intervals import bootstrap
from ._machinery.registry import Size

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

SCHEMES = {"glorot": 1.0, "he": 2.0, "small": None}  # width times the variance; "small" is a deviation of 0.01
SMALL = 0.01
ACTIVATIONS = ("tanh", "relu")
DEPTHS = np.array([2, 5, 10, 20, 30, 50])
WIDTH = 64
NETWORKS = {"small": 8, "full": 50}
TRAINED, TRAINED_DEPTH, TRAINED_STEPS = 3, 20, 60
RATES = (0.01, 0.1)
FACTOR = 100.0


def run(*, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
    """Send gradients back through networks of up to 50 layers, and train some of 20.

    Arguments:
        key: of the weights.
        size: 16 networks of each kind or 100.

    Returns:
        Dataset over `scheme`, `activation`, `network` and `depth`: `ratio`, the norm of the signal at the first layer
        over that at the last; the `forward` ratio of the activations; the final `loss` of networks in training.
    """
    import xarray

    with jax.enable_x64(True):
        drawn = jax.random.normal(key, (NETWORKS[size], int(DEPTHS[-1]), WIDTH, WIDTH), float)
        backward, forward = _signals(drawn, *_batch(32))
    trained = _trained(jnp.asarray(drawn[:TRAINED, :TRAINED_DEPTH], jnp.float32), _batch(100))
    dims = ("scheme", "activation", "network", "depth")
    return xarray.Dataset(
        {
            "ratio": (dims, backward),
            "forward": (dims, forward),
            "trained_loss": ((*dims[:2], "trained"), trained.astype(float)),
        },
        {"scheme": list(SCHEMES), "activation": list(ACTIVATIONS), "depth": DEPTHS},
        {"width": WIDTH, "trained_depth": TRAINED_DEPTH, "trained_steps": TRAINED_STEPS, "chance_loss": math.log(10)},
    )


def _deviations() -> Float[Array, " schemes"]:
    return jnp.asarray([SMALL if gain is None else (gain / WIDTH) ** 0.5 for gain in SCHEMES.values()])


def _phi(relu: Array, x: Array) -> Array:
    return jnp.where(relu > 0, jax.nn.relu(x), jnp.tanh(x))


def _batch(examples: int) -> tuple[Array, Array]:
    """Standardised digits and their labels."""
    train, _ = digits()
    inputs = (train.inputs[:examples] - jnp.mean(train.inputs)) / jnp.std(train.inputs)
    return inputs, jax.nn.one_hot(train.labels[:examples], 10, dtype=inputs.dtype)


def _layers(weights: Array, relu: Array, depth: Array, offsets: Array, inputs: Array) -> tuple[Array, Array]:
    """The activations of layer `depth`, after which nothing changes, and the size of each layer's.

    Offsets are added to the pre-activations: the gradient by them is the signal that comes back.
    """

    def layer(hidden: Array, both: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        weight, offset, number = both
        hidden = jnp.where(number < depth, _phi(relu, hidden @ weight + offset), hidden)
        return hidden, jnp.sqrt(jnp.mean(hidden**2))

    return jax.lax.scan(layer, inputs, (weights, offsets, jnp.arange(weights.shape[0])))


def _loss(weights: Array, batch: tuple[Array, Array], relu: Array, depth: Array, offsets: Array) -> Float[Array, ""]:
    """Cross-entropy of the first ten units of the last layer."""
    inputs, labels = batch
    outputs = _layers(weights, relu, depth, offsets, inputs)[0][:, :10]
    return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(outputs), axis=-1))


def _signals(drawn: Array, inputs: Array, labels: Array) -> tuple[np.ndarray, np.ndarray]:
    """Norms of the signal at the first layer over the last, and sizes of the last activations over the first."""

    def ratios(weights: Array, deviation: Array, relu: Array, depth: Array, batch: Any) -> tuple[Array, Array]:
        offsets = jnp.zeros((weights.shape[0], *inputs.shape))
        signal = jax.grad(_loss, argnums=4)(deviation * weights, batch, relu, depth, offsets)
        norms = jnp.sqrt(jnp.sum(signal**2, axis=(1, 2)))
        sizes = _layers(deviation * weights, relu, depth, offsets, inputs)[1]
        return norms[0] / norms[depth - 1], sizes[-1] / sizes[0]

    depths = jax.vmap(ratios, (None, None, None, 0, None))
    activations = jax.vmap(depths, (None, None, 0, None, None))
    schemes = jax.vmap(activations, (None, 0, None, None, None))
    numbers = (_deviations(), jnp.array([0.0, 1.0]), jnp.asarray(DEPTHS), (inputs, labels))
    # One network at a time: all of them would be gigabytes.
    every = jax.jit(lambda drawn, *numbers: jax.lax.map(lambda weights: schemes(weights, *numbers), drawn))
    found = [jnp.moveaxis(part, 0, 2) for part in every(drawn, *numbers)]
    return np.asarray(found[0]), np.asarray(found[1])


def _trained(drawn: Array, batch: tuple[Array, Array]) -> np.ndarray:
    """The loss after some steps of momentum, at the best of a few rates."""

    def final(start: Array, deviation: Array, relu: Array, rate: Array, batch: Any) -> Array:
        offsets = jnp.zeros((TRAINED_DEPTH, 1, WIDTH))
        args = (relu, jnp.int32(TRAINED_DEPTH), offsets)
        run = minimize(
            _loss, deviation * start, momentum(rate), steps=TRAINED_STEPS, data=batch, args=args, every=TRAINED_STEPS
        )
        return jnp.where(run.status == Status.NON_FINITE, jnp.inf, run.final_loss)

    networks = jax.vmap(final, (0, None, None, None, None))
    activations = jax.vmap(networks, (None, None, 0, None, None))
    schemes = jax.vmap(activations, (None, 0, None, None, None))
    every = jax.jit(jax.vmap(schemes, (None, None, None, 0, None)))
    found = every(drawn, _deviations(), jnp.array([0.0, 1.0]), jnp.asarray(RATES), batch)
    return np.asarray(jnp.min(found, axis=0))


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge which initial weights let the signal through.

    Arguments:
        dataset: of `run`.

    Returns:
        Claims: each pair of weights and activation at 50 layers, the predicted decay, and what that means for training.
    """
    return [*_signal_claims(dataset), *_relu_claims(dataset), *_training_claims(dataset)]


def _powers(dataset: xarray.Dataset, scheme: str, activation: str) -> Float[np.ndarray, " seeds"]:
    """Powers of ten by which the gradient has grown at the greatest depth."""
    return np.log10(dataset.ratio.isel(depth=-1).sel(scheme=scheme, activation=activation).values)


def _signal_claims(dataset: xarray.Dataset) -> list[Claim]:
    factor = math.log10(FACTOR)

    def pair(name: str, sentence: str, scheme: str, activation: str, low: float, high: float, why: str = "") -> Claim:
        values = _powers(dataset, scheme, activation)
        interval = bootstrap(np.median, values)
        return Claim(name, sentence, float(np.median(values)), low, high, interval, "powers of ten at 50 layers", why)

    predicted = -(int(dataset.depth[-1]) - 1) / 2 * math.log10(2)
    return [
        pair(
            "he_relu",
            "He's weights keep the signal through 50 layers of ReLU within a factor of 100.",
            "he",
            "relu",
            -factor,
            factor,
        ),
        pair(
            "glorot_tanh",
            "Glorot's weights keep it through 50 layers of tanh within a factor of 100.",
            "glorot",
            "tanh",
            -factor,
            factor,
        ),
        pair(
            "he_tanh",
            "So do He's, though it grows.",
            "he",
            "tanh",
            0.0,
            factor,
            "It is still growing at 50 layers.",
        ),
        pair(
            "glorot_relu",
            "Under Glorot's weights ReLU halves the square of the signal in each layer: 2^-24.5, to 10 %.",
            "glorot",
            "relu",
            1.1 * predicted,
            0.9 * predicted,
        ),
        pair(
            "small_weights",
            "Weights of deviation 0.01 lose it: less than 1e-20 comes back through 50 layers of tanh.",
            "small",
            "tanh",
            -np.inf,
            -20.0,
        ),
    ]


def _relu_claims(dataset: xarray.Dataset) -> list[Claim]:
    tanh, relu = (_powers(dataset, "glorot", activation) for activation in ("tanh", "relu"))
    with_he = _powers(dataset, "he", "relu")
    gain = lambda a, b: float(np.median(a - b))
    return [
        Claim(
            "relu_needs_its_weights",
            "With Glorot's weights, which are made for tanh, less comes back through ReLU than through tanh.",
            gain(relu, tanh),
            high=0.0,
            interval=bootstrap(gain, relu, tanh),
            unit="powers of ten more at 50 layers",
            conditions="They do not saturate tanh: there is nothing to relieve. He's make up for what ReLU cuts off.",
        ),
        Claim(
            "relu_relieves_with_he",
            "From Glorot's to He's weights ReLU gains at least 5 powers of ten at 50 layers.",
            gain(with_he, relu),
            low=5.0,
            interval=bootstrap(gain, with_he, relu),
            unit="powers of ten",
        ),
    ]


def _training_claims(dataset: xarray.Dataset) -> list[Claim]:
    loss = dataset.trained_loss.median("trained") / dataset.attrs["chance_loss"]
    trained = f"{TRAINED_DEPTH} layers, {TRAINED_STEPS} steps of momentum, the better of two rates, 3 networks."
    return [
        Claim(
            "good_weights_train",
            "With weights that keep the signal a deep tanh network trains: to less than half of the loss of chance.",
            float(loss.sel(activation="tanh", scheme=["glorot", "he"]).max()),
            high=0.5,
            unit="of the loss of chance",
            conditions=trained,
        ),
        Claim(
            "small_weights_stay",
            "With small weights it does not leave the loss of chance (by 1 %).",
            float(loss.sel(scheme="small").min()),
            low=0.99,
            unit="of the loss of chance",
            conditions=trained,
        ),
    ]


def figure(dataset: xarray.Dataset) -> Figure:
    """The signal that comes back against depth.

    Arguments:
        dataset: of `run`.

    Returns:
        The figure.
    """
    from .. import plots

    drawn, axes = plots.panels(1, 2, size=(5.6, 4.35))
    looks = dict(zip(SCHEMES, plots.ordered_styles(3), strict=True))
    for ax, activation in zip(axes, ACTIVATIONS, strict=True):
        for scheme, look in looks.items():
            ratio = dataset.ratio.sel(scheme=scheme, activation=activation)
            kind = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker}
            power = round(float(np.log10(ratio.median("network")[-1])))
            small = rf"deviation 0.01, at {DEPTHS[-1]} layers $10^{{{power}}}$"
            label = {"glorot": "Glorot", "he": "He", "small": small}[scheme]
            ax.semilogy(dataset.depth, ratio.median("network"), **kind, label=label)
            ax.fill_between(dataset.depth, ratio.min("network"), ratio.max("network"), color=look.color, alpha=0.15)
        ax.axhspan(1 / FACTOR, FACTOR, color="0.9", zorder=0)
        ax.set(xlabel="layers", ylabel="signal at the first layer / at the last", ylim=(1e-14, 1e4))
        plots.legend_below(ax, math=True)
        plots.round_ticks(ax)
        who = "Tanh: Glorot's and He's" if activation == "tanh" else "ReLU: only He's"
        title = f"{who} weights keep the signal"
        plots.set_title(ax, title, "median and range of networks; grey: within a factor of 100")
    plots.describe(axes[0], "Glorot's and He's weights keep the signal through 50 layers of tanh.")
    plots.describe(axes[1], "Only He's weights keep the signal through ReLU; Glorot's lose 7 powers of ten.")
    return drawn
