"""What the study of local minima measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ... import minibatches, problems, schedules
from ...curvature import Kind, classify
from ...minimize import minimize
from ...optimizers import adam, gradient_descent, momentum, rmsprop
from ...wrappers.projection import project

LOCAL, BARRIER, GLOBAL = -0.2739, 0.2739, 1.0904
LOW, HIGH = -1.0, 2.0
LEFT = -0.5968  # here f is as high as at the barrier: what starts further left has the height to pass it
ASIDE = 1e-3  # deviation of the starts at rest, as training leaves the parameters beside a minimum
STEPS = 1_000
RATE = 0.05  # at which the level of the noise is varied
LEVELS = (1.0, 2.0, 4.0, 8.0, 16.0)  # standard deviation of the noise in the gradient
RATES = (0.001, 0.003, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 1.0)
SMALL = 0.03  # the largest of the rates that are called small
RESTARTS = 2_000
NOISE = 1.0  # level of the minibatch noise at which the methods are compared: by more, descent leaves as well
BALLS = {"descent": 0.0, "heavy ball 0.9": 0.9, "heavy ball 0.99": 0.99}
METHODS = (*BALLS, "rmsprop", "adam")
COMPARED = {"heavy ball 0.9": ("momentum", "Momentum"), "rmsprop": ("rmsprop", "RMSProp"), "adam": ("adam", "Adam")}
CASES = ("rest", "below", "above", "noise")  # where trials start, without noise; the last at rest with noise
TERMS = 64
DIMENSIONS = 6
WIDTHS = (2, 4, 8)
FEATURES, CLASSES, TRAIN = 6, 10, 200
TRAINING, FINISHING = 400, 400  # steps of Adam and of L-BFGS
RIDGE = 3e-3
HAIR = 1e-12
BOTTOM_RATES = (0.1, 0.25, 0.35, 0.5, 2.0)


def _wave(x: Float[Array, " 1"], term: Any = 0.0) -> Float[Array, ""]:
    return jnp.sum(x * jnp.cos(jnp.pi * x)) + jnp.mean(jnp.asarray(term)) * jnp.sum(x)


def _boxed(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    return project(optimizer, optax.projections.projection_box, lower=LOW, upper=HIGH)


def leaving(lanes: int, key: Key[Array, ""]) -> dict[str, tuple[Any, Any]]:
    """Which trials from the local basin end in the other one, by what moves them; and of restarts anywhere."""
    data_key, batch_key, inject_key, start_key = jax.random.split(key, 4)
    terms = jax.random.normal(data_key, (TERMS,))
    terms = (terms - terms.mean()) / terms.std()
    starts = _starts(lanes, start_key)
    keys = jax.random.split(batch_key, lanes)

    def end(start: Array, optimizer: optax.GradientTransformation, **how: Any) -> Array:
        return minimize(_wave, start[None], _boxed(optimizer), steps=STEPS, **how).params[0]

    def batches(optimizer: optax.GradientTransformation, start: Array, key: Array, level: Array) -> Array:
        return end(start, optimizer, data=level * terms, minibatches=minibatches.random(1), key=key)

    def injected(start: Array, key: Array, level: Array) -> Array:
        return end(start, optax.chain(optax.add_noise(level**2, 0.0, key), gradient_descent(RATE)))

    # Every method over (rate, case, lane); the level of the noise is 0 in all cases but the last.
    begin = jnp.stack([starts["rest"], starts["below"], starts["above"], starts["rest"]])
    levels = jnp.array([0.0, 0.0, 0.0, NOISE])

    def over_rates(make: Callable[..., optax.GradientTransformation], *numbers: Any) -> Array:
        trial = lambda rate, start, key, level: batches(make(rate, *numbers), start, key, level)
        by_case = jax.vmap(jax.vmap(trial, (None, 0, 0, None)), (None, 0, None, 0))
        return jax.vmap(by_case, (0, None, None, None))(jnp.asarray(RATES), begin, keys, levels)

    balls = jax.jit(jax.vmap(lambda beta: over_rates(momentum, beta)))(jnp.array(list(BALLS.values())))
    ends = jnp.concatenate(
        [balls, jax.jit(lambda: over_rates(rmsprop))()[None], jax.jit(lambda: over_rates(adam))()[None]]
    )
    by_level = lambda trial, keys: jax.jit(jax.vmap(jax.vmap(trial, (0, 0, None)), (None, None, 0)))(
        starts["rest"], keys, jnp.asarray(LEVELS)
    )
    noisy = by_level(lambda start, key, level: batches(gradient_descent(RATE), start, key, level), keys)
    added = by_level(injected, jax.random.split(inject_key, lanes))
    restarts = jax.jit(jax.vmap(lambda start: end(start, gradient_descent(SMALL))))(starts["anywhere"])
    return {
        "left": (("optimizer", "rate", "case", "lane"), (np.asarray(ends) > BARRIER).astype(np.int8)),
        "left_by_batches": ("level", (np.asarray(noisy) > BARRIER).sum(1)),
        "left_by_injection": ("level", (np.asarray(added) > BARRIER).sum(1)),
        "reached_by_restarts": ((), int((np.asarray(restarts) > BARRIER).sum())),
    }


def _starts(lanes: int, key: Key[Array, ""]) -> dict[str, Float[Array, " starts"]]:
    """At rest beside the local minimum, in its basin below and above the height of the barrier, and anywhere."""
    rest, below, above, anywhere = jax.random.split(key, 4)

    def between(key: Key[Array, ""], low: float, high: float, count: int = lanes) -> Float[Array, " count"]:
        return jax.random.uniform(key, (count,), minval=low, maxval=high)

    return {
        "rest": LOCAL + ASIDE * jax.random.normal(rest, (lanes,)),
        "below": between(below, LEFT + ASIDE, BARRIER - ASIDE),
        "above": between(above, LOW, LEFT - ASIDE),
        "anywhere": between(anywhere, LOW, HIGH, RESTARTS),
    }


def from_the_bottom() -> np.ndarray:
    """How far descent moves at rates below and above 2/f'', from two local minima.

    At the first, 0 of x^2 - x^3 + x^4/5, the computed gradient is exactly zero; the second, of x cos(pi x), is missed
    by `HAIR`.
    """
    bottom = problems.x_cos_pi_x()
    assert bottom.facts is not None
    beside = jnp.asarray(bottom.facts.minima[1].point) + HAIR  # the lowest comes first

    def loss(x: Float[Array, " 1"], exact: Array) -> Float[Array, ""]:
        return jnp.where(exact, jnp.sum(x**2 - x**3 + x**4 / 5), _wave(x))

    def one(start: Array, exact: Array, rate: Array) -> Array:
        run = minimize(loss, start, _boxed(gradient_descent(rate)), steps=STEPS, args=(exact,))
        return jnp.max(jnp.abs(run.params - start))

    trials = jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None))
    return np.asarray(
        jax.jit(trials)(jnp.stack([0 * beside, beside]), jnp.array([True, False]), jnp.asarray(BOTTOM_RATES))
    )


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


class Minima(NamedTuple):
    """The ends of training, over width and seed."""

    train_loss: np.ndarray  # with its ridge
    test_loss: np.ndarray  # cross-entropy
    gradient: np.ndarray
    network_kind: np.ndarray  # the verdict


def _network_loss(
    params: Any, examples: tuple[Array, Array], mask: Float[Array, " width"], ridge: Float[Array, ""]
) -> Float[Array, ""]:
    """Cross-entropy of a network of one hidden layer, some of its units masked away, and ridge |params|^2.

    The ridge gives the loss minima: without it the parameters of a network that fits its data grow for ever.
    """
    inputs, labels = examples
    hidden = jnp.tanh(inputs @ params["in"] + params["bias"]) * mask
    logits = hidden @ params["out"] + params["shift"]
    squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)) + ridge * squares


def networks(key: Key[Array, ""], seeds: int) -> Minima:
    """Train networks on 200 digits until they rest at minima; the narrow ones are the widest with units masked away."""
    train, test = problems.digits()
    parts = [(np.asarray(part.inputs, float), np.asarray(part.labels)) for part in (train, test)]
    middle = parts[0][0].mean(0)
    axes = np.linalg.svd(parts[0][0][:TRAIN] - middle, full_matrices=False)[2][:FEATURES].T
    (inputs, labels), held_out = [(jnp.asarray((x - middle) @ axes), jnp.asarray(y)) for x, y in parts]
    examples, ridge = (inputs[:TRAIN], labels[:TRAIN]), jnp.asarray(RIDGE, float)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    below = rng.normal(size=(seeds, FEATURES, max(WIDTHS))) / np.sqrt(FEATURES)
    above = rng.normal(size=(seeds, max(WIDTHS), CLASSES))

    def one(below: Array, above: Array, mask: Array) -> tuple[Any, Array]:
        start = {
            "in": below * mask,
            "bias": jnp.zeros(max(WIDTHS)),
            "out": above * mask[:, None] * jax.lax.rsqrt(jnp.sum(mask)),
            "shift": jnp.zeros(CLASSES),
        }
        args = (examples, mask, ridge)
        decayed = adam(schedules.cosine(0.05, TRAINING))
        near = minimize(_network_loss, start, decayed, steps=TRAINING, every=TRAINING, args=args).params
        ended = minimize(_network_loss, near, optax.lbfgs(), steps=FINISHING, every=FINISHING, args=args).params
        return ended, _network_loss(ended, held_out, mask, 0 * ridge)

    masks = (np.arange(max(WIDTHS)) < np.array(WIDTHS)[:, None]).astype(float)
    lanes = [np.tile(below, (len(WIDTHS), 1, 1)), np.tile(above, (len(WIDTHS), 1, 1)), np.repeat(masks, seeds, axis=0)]
    on_lanes = [jnp.asarray(lane) for lane in lanes]
    params, tested = jax.jit(jax.vmap(one))(*on_lanes)
    # One after the other: an eigendecomposition each.
    judge = jax.jit(
        lambda *ends: jax.lax.map(lambda end: classify(_network_loss, end[0], examples, end[1], ridge), ends)
    )
    verdict = judge(params, on_lanes[-1])
    found = (verdict.loss, tested, verdict.gradient_norm, verdict.kind)
    return Minima(*(np.asarray(part).reshape(len(WIDTHS), seeds) for part in found))
