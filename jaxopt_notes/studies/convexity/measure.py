"""What the study of convexity measures beside the two tests."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ... import problems, schedules
from ...curvature import classify, hessian, zero_level
from ...minimize import Run, minimize
from ...optimizers import adam, gradient_descent
from .models import CLASSES, MLP_SIZE, Digits, linear_loss, mlp_loss, permuted, softmax_loss

Measured = dict[str, Any]
LINE = np.linspace(0, 1, 41)
DRIFT = 4_000  # steps of descent without a minimum
TRAINING, EVERY = 1_000, 100
RIDGE = 0.01
FITTING, FINISHING = 300, 150  # steps of Adam and of L-BFGS to the minimum of a network with a ridge
AROUND = np.array([0.01, 0.03, 0.1, 0.3, 1.0])  # distances from it, in lengths of its parameters
DIRECTIONS = 20
LIPSCHITZ = 1.0  # of linear regression's gradient: the largest variance of the inputs, and of the bias


def without_minimum(digits: Digits) -> Measured:
    """Descent on exp and on softmax regression of separable digits, and on the latter with a ridge."""
    exp = problems.exp()
    falling = minimize(exp.loss, exp.init(jax.random.key(0)), gradient_descent(1.0), steps=DRIFT, record_params=True)
    start = jnp.zeros(digits.inputs.shape[1] * CLASSES)

    def ridged(params: Array, digits: Digits, ridge: Array) -> Array:
        return softmax_loss(params, digits) + 0.5 * ridge * params @ params

    @jax.jit
    @jax.vmap
    def descend(ridge: Array) -> Run:
        norm = lambda params: jnp.linalg.norm(params)
        return minimize(ridged, start, gradient_descent(1.0), steps=DRIFT, args=(digits, ridge), metrics=norm)

    both = descend(jnp.array([0.0, RIDGE]))
    separable, bounded = (jax.tree.map(lambda leaf, i=i: leaf[i], both) for i in range(2))
    guesses = jnp.argmax(digits.inputs @ separable.params.reshape(-1, CLASSES), axis=1)
    return {
        "exp_loss": ("drift_step", np.asarray(falling.loss)),
        "exp_end": float(falling.params[0]),
        "softmax_loss": ("drift_step", np.asarray(separable.loss)),
        "softmax_norm": ("drift_step", np.asarray(separable.metrics)),
        "softmax_accuracy": float(jnp.mean(guesses == digits.labels)),
        "ridge_kind": int(classify(ridged, bounded.params, digits, jnp.asarray(RIDGE)).kind),
    }


def regression(key: Key[Array, ""], digits: Digits) -> Measured:
    """Linear regression with and without a doubled column: where eight starts end, and the bound on the way."""
    optimum = jnp.linalg.lstsq(digits.inputs, digits.labels.astype(float))[0]
    lowest = linear_loss(optimum, digits)
    starts = jax.random.normal(key, (8, digits.inputs.shape[1] + 1))
    doubled = digits._replace(inputs=jnp.column_stack([digits.inputs, digits.inputs[:, 0]]))
    padded = digits._replace(inputs=jnp.column_stack([digits.inputs, jnp.zeros(len(digits.labels))]))

    def one(start: Array, data: Digits) -> Any:
        # The doubled column doubles the largest curvature.
        return minimize(linear_loss, start, gradient_descent(0.5 / LIPSCHITZ), steps=TRAINING, args=(data,))

    descend = jax.jit(jax.vmap(one, (0, None)))
    single, double = descend(starts, padded), descend(starts, doubled)
    count = np.arange(TRAINING + 1)
    gap = np.asarray(single.loss) - float(lowest)
    distance = np.sum((np.asarray(starts)[:, :-1] - np.asarray(optimum)) ** 2, axis=1)
    allowed = distance[:, None] / (2 * (0.5 / LIPSCHITZ) * np.maximum(count, 1))
    ends = np.asarray(single.params)[:, :-1]
    return {
        "bound_ratio": float((gap / allowed)[:, 1:].max()),
        "unique_spread": float(np.ptp(ends, axis=0).max()),
        "doubled_spread": float(np.ptp(np.asarray(double.params), axis=0).max()),
        "doubled_loss_spread": float(np.ptp(np.asarray(double.final_loss))),
    }


def conditioning() -> Measured:
    """Condition numbers of softmax regression at zero, on raw pixels and on standardised ones that vary."""
    train, _ = problems.digits()
    pixels, labels = np.asarray(train.inputs, np.float64)[:400], np.asarray(train.labels)[:400]
    kept = labels < CLASSES
    pixels, labels = pixels[kept], labels[kept]
    pixels = pixels[:, pixels.std(0) > 0]
    standardised = (pixels - pixels.mean(0)) / pixels.std(0)

    @jax.jit
    def spectrum(inputs: Float[Array, "n pixels"]) -> Array:
        digits = Digits(jnp.column_stack([inputs, jnp.ones(len(inputs))]), jnp.asarray(labels))
        zero = jnp.zeros(digits.inputs.shape[1] * CLASSES)
        return jnp.linalg.eigvalsh(hessian(softmax_loss, zero, digits))

    found = {}
    for name, inputs in (("raw", pixels), ("standardised", standardised)):
        eigenvalues = np.asarray(spectrum(jnp.asarray(inputs)))
        level = float(zero_level(eigenvalues[-1], len(eigenvalues), jnp.float64))
        found[f"condition_{name}"] = float(eigenvalues[-1] / eigenvalues[eigenvalues > level].min())
    return found


def networks(keys: Key[Array, " seeds"], digits: Digits) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train networks: the share of negative eigenvalues, its steps, a chord of the first, and the rise on every chord.

    The chord goes to the network with its units permuted; the rise is relative to the loss at its ends.
    """

    def one(key: Key[Array, ""]) -> tuple[Array, Array]:
        start = 0.5 * jax.random.normal(key, (MLP_SIZE,))
        run = minimize(
            mlp_loss, start, gradient_descent(0.5), steps=TRAINING, args=(digits,), every=EVERY, record_params=True
        )
        spectra = jax.vmap(lambda params: jnp.linalg.eigvalsh(hessian(mlp_loss, params, digits)))(run.params_path)
        size = jnp.max(jnp.abs(spectra), axis=1, keepdims=True)
        negative = jnp.mean(spectra < -zero_level(1.0, MLP_SIZE, start.dtype) * size, axis=1)
        other = permuted(run.params)
        mixes = jax.vmap(lambda share: mlp_loss((1 - share) * run.params + share * other, digits))(jnp.asarray(LINE))
        return negative, mixes

    negative, lines = map(np.asarray, jax.jit(jax.vmap(one))(keys))
    return negative, np.arange(0, TRAINING + 1, EVERY), lines[0], lines.max(1) / lines[:, 0]


def near_minima(keys: Key[Array, " seeds"], digits: Digits) -> tuple[np.ndarray, np.ndarray]:
    """Train networks with a ridge to their minima: the verdicts, and the share of convex Hessians by distance.

    A Hessian is called convex if no eigenvalue of it lies below rounding; the share is over random directions.
    """

    def ridged(params: Array, digits: Digits) -> Array:
        return mlp_loss(params, digits) + 0.5 * RIDGE * params @ params

    def one(key: Key[Array, ""]) -> tuple[Array, Array]:
        start_key, direction_key = jax.random.split(key)
        start = 0.5 * jax.random.normal(start_key, (MLP_SIZE,))
        decayed = adam(schedules.cosine(0.05, FITTING))
        near = minimize(ridged, start, decayed, steps=FITTING, every=FITTING, args=(digits,)).params
        minimum = minimize(ridged, near, optax.lbfgs(), steps=FINISHING, every=FINISHING, args=(digits,)).params
        moves = jax.random.normal(direction_key, (DIRECTIONS, MLP_SIZE))
        moves = moves / jnp.linalg.norm(moves, axis=1, keepdims=True) * jnp.linalg.norm(minimum)
        points = minimum + jnp.asarray(AROUND)[:, None, None] * moves
        spectra = jax.vmap(jax.vmap(lambda point: jnp.linalg.eigvalsh(hessian(ridged, point, digits))))(points)
        level = zero_level(1.0, MLP_SIZE, start.dtype) * jnp.max(jnp.abs(spectra), axis=-1)
        return classify(ridged, minimum, digits).kind, jnp.mean(spectra[..., 0] >= -level, axis=-1)

    kinds, shares = jax.jit(jax.vmap(one))(keys)
    return np.asarray(kinds), np.asarray(shares)


def sets(key: Key[Array, ""]) -> Measured:
    """Of a disc, a square, their intersection and their union: midpoints of two points inside that are outside."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    side = np.array([0.6, 0.0])
    disc = lambda p: np.sum((p - side) ** 2, -1) <= 1
    square = lambda p: np.max(abs(p + side), -1) <= 0.7
    shapes = {
        "disc": disc,
        "square": square,
        "intersection": lambda p: disc(p) & square(p),
        "union": lambda p: disc(p) | square(p),
    }
    pairs = rng.uniform(-2, 2, (2, 200_000, 2))
    outside = []
    for inside in shapes.values():
        a, b = pairs[:, inside(pairs[0]) & inside(pairs[1])]
        outside.append(int(np.sum(~inside((a + b) / 2))))
    return {"outside": (("shape",), np.array(outside))}


def flat_bottoms() -> Measured:
    """The width of the set of minima of max(|x - 1|, 0), as the lecture has it, and of max(|x| - 1, 0)."""
    x = np.linspace(-3, 3, 6001)
    kink = np.asarray(jax.vmap(problems.absolute_value().loss)(jnp.asarray(x)[:, None]))
    flat = np.maximum(abs(x) - 1, 0)
    width = lambda f: float(np.ptp(x[np.maximum(f, 0) <= f.min() + 1e-9]))
    return {"kink_width": width(kink), "flat_width": width(flat)}
