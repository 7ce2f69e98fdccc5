"""What the study of local minima measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ... import minibatches, problems
from ...curvature import Kind, classify
from ...minimize import minimize
from ...optimizers import adam, gradient_descent, momentum
from ...projection import project

LOCAL, BARRIER, GLOBAL = -0.2739, 0.2739, 1.0904
LOW, HIGH = -1.0, 2.0
RATE, STEPS = 0.05, 1_000
SMALL_RATE = 0.01
LEVELS = (1.0, 2.0, 4.0, 8.0, 16.0)  # standard deviation of the noise in the gradient
DETERMINISTIC = {"descent": (SMALL_RATE, 0.0), "momentum 0.9": (SMALL_RATE, 0.9), "momentum 0.99": (SMALL_RATE, 0.99)}
ADAM_RATES = (0.01, 0.1, 0.3)
TERMS = 64
DIMENSIONS = 6
WIDTHS = (2, 4, 8, 16)
FEATURES, CLASSES, TRAIN = 10, 10, 200
TRAINING = 400
BOTTOM_RATES = (0.1, 0.25, 0.35, 0.5)


def _wave(x: Float[Array, " 1"], term: Any = 0.0) -> Float[Array, ""]:
    return jnp.sum(x * jnp.cos(jnp.pi * x)) + jnp.mean(jnp.asarray(term)) * jnp.sum(x)


def _boxed(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    return project(optimizer, optax.projections.projection_box, lower=LOW, upper=HIGH)


def leaving(starts: Float[Array, " lanes"], key: Key[Array, ""]) -> dict[str, tuple[Any, Any]]:
    """How many trials from the local basin end in the other one, by what moves them; and of restarts anywhere."""
    data_key, batch_key, inject_key, restart_key = jax.random.split(key, 4)
    terms = jax.random.normal(data_key, (TERMS,))
    terms = (terms - terms.mean()) / terms.std()
    keys = jax.random.split(batch_key, len(starts))

    def end(start: Array, optimizer: optax.GradientTransformation, **how: Any) -> Array:
        return minimize(_wave, start[None], _boxed(optimizer), steps=STEPS, **how).params[0]

    def batches(start: Array, key: Array, level: Array) -> Array:
        return end(start, gradient_descent(RATE), data=level * terms, minibatches=minibatches.random(1), key=key)

    def injected(start: Array, key: Array, level: Array) -> Array:
        return end(start, optax.chain(optax.add_noise(level**2, 0.0, key), gradient_descent(RATE)))

    def still(start: Array, method: Array) -> Array:
        return end(start, momentum(*method))

    def by_adam(start: Array, rate: Array) -> Array:
        return end(start, adam(rate))

    def left(trial: Callable[..., Array], *lanes: Any, values: Any) -> np.ndarray:
        over = jax.vmap(jax.vmap(trial, (*(0 for _ in lanes), None)), (*(None for _ in lanes), 0))
        return np.asarray(jax.jit(over)(*lanes, jnp.asarray(values))) > BARRIER

    anywhere = jax.random.uniform(restart_key, starts.shape, minval=LOW, maxval=HIGH)
    without_noise = left(still, jnp.concatenate([starts, anywhere]), values=list(DETERMINISTIC.values()))
    from_basin, restarts = np.split(without_noise, 2, axis=1)
    injection_keys = jax.random.split(inject_key, len(starts))
    return {
        "left_by_batches": ("level", left(batches, starts, keys, values=LEVELS).sum(1)),
        "left_by_injection": ("level", left(injected, starts, injection_keys, values=LEVELS).sum(1)),
        "left_still": ("method", from_basin.sum(1)),
        "left_by_adam": ("adam_rate", left(by_adam, starts, values=ADAM_RATES).sum(1)),
        "reached_by_restarts": ((), int(restarts[0].sum())),
    }


def from_the_bottom() -> np.ndarray:
    """How far descent moves that starts at the local minimum, to rounding, at rates below and above 2/f''."""
    bottom = problems.x_cos_pi_x()
    assert bottom.facts is not None
    start = jnp.asarray(bottom.facts.minima[1].point)  # the lowest comes first

    def one(rate: Array) -> Array:
        return jnp.max(jnp.abs(minimize(_wave, start, _boxed(gradient_descent(rate)), steps=STEPS).params - start))

    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(BOTTOM_RATES)))


def verdicts() -> tuple[np.ndarray, np.ndarray]:
    """The verdict at the local and at the global minimum, and the values there."""
    wells = problems.x_cos_pi_x()
    points = jnp.array([LOCAL, GLOBAL])[:, None]
    judged = jax.jit(jax.vmap(lambda x: classify(wells.loss, x, polish=4)))(points)
    return np.asarray(judged.kind), np.asarray(judged.loss)


def count_minima(key: Key[Array, ""]) -> tuple[np.ndarray, int]:
    """The distinct ends of descent on Styblinski-Tang in 1 to 6 dimensions, and how many are not minima by verdict."""

    def loss(x: Array, mask: Array) -> Array:
        return 0.5 * jnp.sum(mask * (x**4 - 16 * x**2 + 5 * x)) + 0.5 * jnp.sum((1 - mask) * x**2)

    starts = jax.random.uniform(key, (4_000, DIMENSIONS), minval=-5.0, maxval=5.0)
    masks = jnp.tril(jnp.ones((DIMENSIONS, DIMENSIONS)))

    @jax.jit
    def descend(starts: Array, mask: Array) -> Array:
        return jax.vmap(lambda x: minimize(loss, x, gradient_descent(0.01), steps=400, args=(mask,)).params)(starts)

    judge = jax.jit(jax.vmap(lambda x: classify(loss, x, masks[-1]).kind))
    counts = []
    for mask in masks:
        ends = np.unique(np.round(np.asarray(descend(starts, mask)) * np.asarray(mask), 4), axis=0)
        counts.append(len(ends))
    last = np.asarray(descend(starts, masks[-1]))
    _, first = np.unique(np.sign(last), axis=0, return_index=True)
    return np.array(counts), int(np.sum(np.asarray(judge(jnp.asarray(last[first]))) != Kind.MINIMUM))


class Losses(NamedTuple):
    """What training ends with, over width and seed."""

    train_loss: np.ndarray
    test_loss: np.ndarray
    gradient: np.ndarray


def networks(key: Key[Array, ""], seeds: int) -> Losses:
    """Train networks of one hidden layer on 200 digits; the narrow ones are the widest with units masked away."""
    train, test = problems.digits()
    parts = [(np.asarray(part.inputs), np.asarray(part.labels)) for part in (train, test)]
    middle = parts[0][0].mean(0)
    axes = np.linalg.svd(parts[0][0][:TRAIN] - middle, full_matrices=False)[2][:FEATURES].T
    (inputs, labels), held_out = [(jnp.asarray((x - middle) @ axes), jnp.asarray(y)) for x, y in parts]
    inputs, labels = inputs[:TRAIN], labels[:TRAIN]
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    below = rng.normal(size=(seeds, FEATURES, max(WIDTHS))) / np.sqrt(FEATURES)
    above = rng.normal(size=(seeds, max(WIDTHS), CLASSES))

    def loss(params: Any, inputs: Array, labels: Array, mask: Array) -> Array:
        hidden = jnp.tanh(inputs @ params["in"] + params["bias"]) * mask
        logits = hidden @ params["out"] + params["shift"]
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))

    def one(below: Array, above: Array, mask: Array) -> tuple[Array, Array, Any]:
        params = {
            "in": below,
            "bias": jnp.zeros(max(WIDTHS)),
            "out": above * jax.lax.rsqrt(jnp.sum(mask)),
            "shift": jnp.zeros(CLASSES),
        }
        run = minimize(loss, params, adam(0.02), steps=TRAINING, args=(inputs, labels, mask))
        return run.final_loss, run.grad_norm[-1], run.params

    masks = np.arange(max(WIDTHS)) < np.array(WIDTHS)[:, None]
    lanes = [np.tile(below, (len(WIDTHS), 1, 1)), np.tile(above, (len(WIDTHS), 1, 1)), np.repeat(masks, seeds, axis=0)]
    on_lanes = [jnp.asarray(lane, jnp.float32) for lane in lanes]
    final, gradient, params = jax.jit(jax.vmap(one))(*on_lanes)
    tested = jax.jit(jax.vmap(lambda params, mask: loss(params, *held_out, mask)))(params, on_lanes[-1])
    return Losses(*(np.asarray(part).reshape(len(WIDTHS), seeds) for part in (final, tested, gradient)))
