"""Averages against their closed forms, and averaged parameters against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_notes as jon

VALUES = np.random.default_rng(0).standard_normal((60, 3))


def follow(pair, values):
    def step(state, value):
        average, state = pair.update(value, state)
        return state, average

    return jax.lax.scan(step, pair.init(values[0]), jnp.asarray(values))[1]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("debias", [True, False])
def test_ewma_is_the_weighted_sum_it_says(decay, debias, x64):
    averages = follow(jon.ewma(decay, debias=debias), VALUES)
    for t in range(1, 61):
        weights = (1 - decay) * decay ** np.arange(t)[::-1]
        expected = weights @ VALUES[:t] / (weights.sum() if debias else 1)
        np.testing.assert_allclose(averages[t - 1], expected, rtol=1e-11)
    reference = optax.ema(decay, debias=debias)
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(averages, follow(reference, VALUES), rtol=1e-9)


def test_the_corrected_average_of_a_constant_is_the_constant():
    averages = follow(jon.ewma(0.98), np.full((200, 3), 7.0, np.float32))
    np.testing.assert_allclose(averages, 7.0, rtol=1e-6)


def test_ewma_vmaps_over_its_decay_and_takes_any_tree():
    decays = jnp.array([0.0, 0.5, 0.9])
    together = jax.vmap(lambda decay: follow(jon.ewma(decay), VALUES.astype(np.float32)))(decays)
    for lane, decay in enumerate(decays.tolist()):
        np.testing.assert_allclose(
            together[lane], follow(jon.ewma(decay), VALUES.astype(np.float32)), rtol=2e-6, atol=1e-6
        )
    pair = jon.ewma(0.5)
    average, _ = pair.update(
        {"a": jnp.ones(2), "b": (jnp.float32(2.0),)}, pair.init({"a": jnp.ones(2), "b": (jnp.float32(0),)})
    )
    assert float(average["b"][0]) == 2.0


def test_polyak_averaging_is_the_mean_of_the_path_and_leaves_the_steps_alone(x64):
    problem = jon.problems.rosenbrock()
    start = problem.init(None)
    plain = jon.minimize(problem.loss, start, jon.momentum(1e-4), steps=40, record_params=True)
    for first in (0, 10):
        run = jon.minimize(problem.loss, start, jon.average_params(jon.momentum(1e-4), start=first), steps=40)
        np.testing.assert_array_equal(run.params, plain.params)
        np.testing.assert_allclose(run.state.average, plain.params_path[first + 1 :].mean(axis=0), rtol=1e-12)


def test_averaged_parameters_with_a_decay_are_the_corrected_ewma(x64):
    problem = jon.problems.rosenbrock()
    start = problem.init(None)
    plain = jon.minimize(problem.loss, start, jon.adam(0.01), steps=40, record_params=True)
    run = jon.minimize(problem.loss, start, jon.average_params(jon.adam(0.01), decay=0.9), steps=40)
    np.testing.assert_allclose(run.state.average, follow(jon.ewma(0.9), plain.params_path[1:])[-1], rtol=1e-11)


def test_optax_optimizers_can_be_averaged_too_and_the_decay_swept():
    def final(decay):
        optimizer = jon.average_params(optax.lbfgs(), decay=decay)
        return jon.minimize(lambda x: jnp.sum((x - 1) ** 2), jnp.zeros(2), optimizer, steps=10).state.average

    with jax.numpy_dtype_promotion("standard"):
        averages = jax.vmap(final)(jnp.array([0.0, 0.5]))
    np.testing.assert_allclose(averages[0], 1, atol=1e-5)
    assert (averages[1] < 1).all()


def test_averaging_beats_the_last_point_where_the_gradients_are_noisy():
    noise = jax.random.normal(jax.random.key(0), (512, 2))
    problem = jon.Problem(
        lambda x, batch: 0.5 * jnp.mean(jnp.sum((x[None] - batch) ** 2, axis=-1)), jnp.zeros(2), data=noise
    )
    run = jon.minimize(
        problem.loss,
        jnp.ones(2),
        jon.average_params(jon.gradient_descent(0.5), start=100),
        steps=2000,
        data=noise,
        minibatches=jon.minibatches.random(4),
        key=jax.random.key(1),
    )
    best = jnp.mean(noise, axis=0)
    assert jnp.sum((run.state.average - best) ** 2) < 0.05 * jnp.sum((run.params - best) ** 2)


@pytest.mark.parametrize("build", [jon.ewma, lambda decay: jon.average_params(jon.momentum(0.1), decay=decay)])
@pytest.mark.parametrize(
    ("decay", "error"), [(1.0, ValueError), (-0.1, ValueError), (np.nan, ValueError), ([0.1, 0.2], TypeError)]
)
def test_a_bad_decay_is_named(build, decay, error):
    with pytest.raises(error, match="decay must be"):
        build(decay)


def test_averaging_says_that_it_needs_the_parameters():
    pair = jon.average_params(jon.momentum(0.1))
    with pytest.raises(ValueError, match="needs the parameters"):
        pair.update(jnp.ones(2), pair.init(jnp.ones(2)))
