"""Schedules: agreement with optax and keras, and every number traceable and vmappable."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_notes as jon
from jaxopt_notes import schedules

STEPS = np.arange(60)


def keras_inverse_time(initial, decay_steps, decay_rate, staircase):
    """keras 3 `InverseTimeDecay.__call__`, in numpy."""
    share = STEPS / decay_steps
    return initial / (1 + decay_rate * (np.floor(share) if staircase else share))


def keras_exponential(initial, decay_steps, decay_rate, staircase):
    """keras 3 `ExponentialDecay.__call__`, in numpy."""
    share = STEPS / decay_steps
    return initial * decay_rate ** (np.floor(share) if staircase else share)


def keras_cosine(initial, decay_steps, alpha):
    """keras 3 `CosineDecay.__call__` without warm-up, in numpy."""
    share = np.minimum(STEPS, decay_steps) / decay_steps
    return initial * ((1 - alpha) * 0.5 * (1 + np.cos(np.pi * share)) + alpha)


def of(schedule):
    return jax.vmap(schedule)(jnp.asarray(STEPS))


PAIRS = {
    "constant": (schedules.constant(0.3), lambda: of(optax.constant_schedule(0.3))),
    "inverse_time": (schedules.inverse_time(0.3, 0.7, 5), lambda: keras_inverse_time(0.3, 5, 0.7, False)),
    "inverse_time_stairs": (
        schedules.inverse_time(0.3, 0.7, 5, staircase=True),
        lambda: keras_inverse_time(0.3, 5, 0.7, True),
    ),
    "inverse_sqrt": (schedules.inverse_sqrt(0.3, 4), lambda: 0.3 / np.sqrt(1 + STEPS / 4)),
    "exponential": (schedules.exponential(0.3, 0.7, 5), lambda: of(optax.exponential_decay(0.3, 5, 0.7))),
    "exponential_keras": (schedules.exponential(0.3, 0.7, 5), lambda: keras_exponential(0.3, 5, 0.7, False)),
    "exponential_stairs": (
        schedules.exponential(0.3, 0.7, 5, staircase=True),
        lambda: of(optax.exponential_decay(0.3, 5, 0.7, staircase=True)),
    ),
    "step_decay": (schedules.step_decay(0.3, 0.1, 20), lambda: keras_exponential(0.3, 20, 0.1, True)),
    "piecewise": (
        schedules.piecewise([10, 30], [0.3, 0.15, 0.03]),
        lambda: of(optax.piecewise_constant_schedule(0.3, {10: 0.5, 30: 0.2})),
    ),
    "polynomial": (schedules.polynomial(0.3, 0.1, 40, 2.0), lambda: of(optax.polynomial_schedule(0.3, 0.1, 2.0, 40))),
    "cosine": (schedules.cosine(0.3, 40, 0.03), lambda: of(optax.cosine_decay_schedule(0.3, 40, alpha=0.1))),
    "cosine_keras": (schedules.cosine(0.3, 40, 0.03), lambda: keras_cosine(0.3, 40, 0.1)),
    "warmup": (
        schedules.warmup(schedules.cosine(0.3, 40, 0.03), 10, 0.1),
        lambda: of(optax.warmup_cosine_decay_schedule(0.1, 0.3, 10, 50, 0.03)),
    ),
    "join": (
        schedules.join([schedules.polynomial(0.1, 0.2, 15), schedules.exponential(0.2, 0.9), 0.05], [15, 40]),
        lambda: of(
            optax.join_schedules(
                [
                    optax.linear_schedule(0.1, 0.2, 15),
                    optax.exponential_decay(0.2, 1, 0.9),
                    optax.constant_schedule(0.05),
                ],
                [15, 40],
            )
        ),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_agrees_with_optax_or_keras(name, x64):
    ours, theirs = PAIRS[name]
    with jax.numpy_dtype_promotion("standard"):
        expected = theirs()
    np.testing.assert_allclose(of(ours), expected, rtol=1e-12)


# Each is a function of numbers only: two values for each number.
TRACED = {
    "constant": (schedules.constant, [(0.1, 0.2)]),
    "inverse_time": (schedules.inverse_time, [(0.1, 0.2), (0.5, 2.0), (1.0, 7.0)]),
    "inverse_sqrt": (schedules.inverse_sqrt, [(0.1, 0.2), (1.0, 7.0)]),
    "exponential": (schedules.exponential, [(0.1, 0.2), (0.5, 0.9), (1.0, 7.0)]),
    "step_decay": (schedules.step_decay, [(0.1, 0.2), (0.5, 0.9), (3.0, 7.0)]),
    "piecewise": (
        lambda a, b, x, y, z: schedules.piecewise([a, b], [x, y, z]),
        [(5, 9), (10, 30), (0.1, 1.0), (0.5, 2.0), (0.3, 3.0)],
    ),
    "polynomial": (schedules.polynomial, [(0.1, 0.2), (0.0, 0.05), (10.0, 40.0), (1.0, 2.0)]),
    "cosine": (schedules.cosine, [(0.1, 0.2), (10.0, 40.0), (0.0, 0.05)]),
    "warmup": (
        lambda peak, n, start: schedules.warmup(schedules.cosine(peak, 30.0), n, start),
        [(0.1, 0.2), (0.0, 9.0), (0.0, 0.05)],
    ),
    "join": (
        lambda a, r, b: schedules.join([a, schedules.exponential(a, r)], [b]),
        [(0.1, 0.2), (0.5, 0.9), (4.0, 20.0)],
    ),
}


@pytest.mark.parametrize("name", TRACED)
def test_vmap_over_every_number_is_the_python_loop(name):
    build, values = TRACED[name]
    grid = [jnp.asarray(column, jnp.float32) for column in np.array(np.meshgrid(*values)).reshape(len(values), -1)]
    together = jax.jit(jax.vmap(lambda *numbers: of(build(*numbers))))(*grid)
    for lane, numbers in enumerate(zip(*(column.tolist() for column in grid), strict=True)):
        np.testing.assert_allclose(together[lane], of(build(*numbers)), rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("name", TRACED)
def test_a_schedule_is_a_pytree_and_has_derivatives(name):
    build, values = TRACED[name]
    numbers = [jnp.float32(pair[1]) for pair in values]
    assert len(jax.tree.leaves(build(*numbers))) >= 1
    slopes = jax.grad(lambda numbers: jnp.sum(of(build(*numbers))))(numbers)
    assert all(jnp.isfinite(slope) for slope in slopes)


def test_a_new_length_or_peak_compiles_nothing_new():
    traces = []

    @jax.jit
    def first_update(optimizer, grads):
        traces.append(1)
        return optimizer.update(grads, optimizer.init(grads))[0]

    for peak, length in ((0.1, 10.0), (0.3, 25.0)):
        rate = schedules.warmup(schedules.cosine(peak, length), length / 5, initial=0.01)
        np.testing.assert_allclose(first_update(jon.momentum(rate), jnp.ones(2)), -0.01, rtol=1e-6)
    assert len(traces) == 1


def test_an_optimizer_follows_its_schedule():
    rate = schedules.piecewise([2, 4], [0.1, 0.01, 0.0])
    run = jon.minimize(lambda x: jnp.sum(x), jnp.zeros(1), jon.gradient_descent(rate), steps=6)
    np.testing.assert_allclose(run.update_norm, [0, 0.1, 0.1, 0.01, 0.01, 0, 0], rtol=1e-5)


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.constant(0.1),
        schedules.piecewise([2, 5], [0.1, 0.01, 0.001]),
        schedules.join([0.1, schedules.cosine(0.2, 4)], [3]),
        schedules.warmup(schedules.join([0.1, 0.2], [2]), 2),
        schedules.step_decay(0.1, 0.5, 3),
    ],
)
def test_many_steps_at_once_are_the_steps_one_by_one(schedule):
    steps = jnp.arange(8)
    np.testing.assert_array_equal(schedule(steps), jax.vmap(schedule)(steps))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: schedules.constant(jnp.inf), r"value must be in \(-inf, inf\), got inf"),
        (lambda: schedules.cosine(0.1, 0), "steps must be above 0, got 0"),
        (lambda: schedules.cosine(jnp.nan, 10), r"initial must be in \(-inf, inf\), got nan"),
        (lambda: schedules.exponential(0.1, 0.5, decay_steps=-3), r"decay_steps must be in \[0, inf\), got -3"),
        (lambda: schedules.piecewise([10, 5], [1, 2, 3]), r"boundaries must ascend, got \[10.0, 5.0\]"),
        (lambda: schedules.piecewise([10], [1, 2, 3]), "one value more than boundaries, got 3 for 1"),
        (lambda: schedules.join([0.1], [3]), "one schedule more than boundaries, got 1 for 1"),
        (lambda: schedules.piecewise([np.nan], [1, 2]), r"boundaries\[0\] must be in .* got nan"),
        (lambda: schedules.warmup(0.1, -1), r"steps must be in \[0, inf\), got -1"),
    ],
)
def test_bad_numbers_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_values_may_be_negative_as_those_of_optax_may():
    pairs = [
        (schedules.constant(-0.1), optax.constant_schedule(-0.1)),
        (schedules.polynomial(-1.0, 0.5, 10, power=2.0), optax.polynomial_schedule(-1.0, 0.5, 2.0, 10)),
        (schedules.cosine(-1.0, 10), optax.cosine_decay_schedule(-1.0, 10)),
        (schedules.exponential(-1.0, 0.5, 4), optax.exponential_decay(-1.0, 4, 0.5)),
        (schedules.piecewise([3], [-1.0, 0.5]), lambda step: -1.0 if step < 3 else 0.5),
        (schedules.warmup(-1.0, 4, initial=0.2), optax.linear_schedule(0.2, -1.0, 4)),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose([ours(k) for k in range(12)], [theirs(k) for k in range(12)], rtol=1e-6, atol=1e-7)
    climbed = jon.minimize(lambda x: -(x**2), jnp.ones(()), jon.gradient_descent(schedules.constant(-0.1)), steps=20)
    assert abs(float(climbed.params)) < 0.05
    with pytest.raises(ValueError, match=r"learning_rate must be in \[0, inf\), got -0.1; to maximise f minimise -f"):
        jon.gradient_descent(-0.1)
