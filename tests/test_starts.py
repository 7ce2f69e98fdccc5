"""The start of a trial: evaluated by the program of the steps, before an optimizer sees anything."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_notes as jon

ONE = dict(devices=jax.devices()[:1], progress=False)
VALLEY = jon.problems.quadratic([1.0, 20.0])
RATES = jon.grid(learning_rate=[0.1])


def backtracking(start):
    """Gradient descent that halves its step until the loss has fallen enough; on a gradient of zero it never has."""

    def update(grads, state, params, *, value, value_fn, **_):
        slope = optax.tree.vdot(grads, grads)
        at = lambda step: value_fn(jax.tree.map(lambda p, g: p - step * g, params, grads))
        step = jax.lax.while_loop(lambda step: at(step) > value - 0.1 * step * slope, lambda step: step / 2, start)
        return jax.tree.map(lambda g: -step * g, grads), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def test_a_line_search_begins_with_the_gradient_of_the_start():
    table = jon.sweep(VALLEY, backtracking, jon.grid(start=[1.0, 0.5]), steps=10, **ONE)
    run = jon.minimize(VALLEY.loss, VALLEY.start(jax.random.key(0))[0], backtracking(jnp.float32(1.0)), steps=10)
    np.testing.assert_allclose(table.final_loss.sel(start=1.0).item(), run.final_loss, rtol=1e-5)


@pytest.mark.parametrize("skip", [0, 2])
def test_an_optimizer_that_calls_back_sees_the_steps_alone(skip):
    seen = []

    def reporting(learning_rate):
        inner = optax.sgd(learning_rate)

        def update(grads, state, params=None):
            jax.debug.callback(lambda norm: seen.append(float(norm)), optax.tree.norm(grads))
            return inner.update(grads, state, params)

        return optax.GradientTransformation(inner.init, update)

    table = jon.sweep(VALLEY, reporting, RATES, steps=4, skip_non_finite=skip, **ONE)
    jax.effects_barrier()
    np.testing.assert_allclose(sorted(seen), sorted(table.grad_norm.values.ravel()[:4]), rtol=1e-6)


def test_a_sweep_runs_where_jax_reports_nan():
    with jax.debug_nans(True):
        table = jon.sweep(VALLEY, jon.momentum, RATES, steps=3, **ONE)
    assert np.isfinite(table.loss.values).all()


@pytest.mark.parametrize("record", [None, "loss"])
def test_a_start_with_an_infinite_gradient_ends_a_trial(record):
    root = jon.Problem(lambda x: jnp.sqrt(jnp.abs(x)).sum(), init=jnp.zeros(2))
    table = jon.sweep(root, jon.gradient_descent, RATES, steps=5, record=record, **ONE)
    assert (table.status.item(), table.stopped_at.item()) == (jon.Status.NON_FINITE, 0)


@pytest.mark.parametrize("record", [None, "loss"])
def test_histories_are_of_the_first_evaluation_on(record):
    table = jon.sweep(VALLEY, jon.gradient_descent, RATES, steps=3, record=record, **ONE)
    np.testing.assert_allclose(table.loss.values.ravel()[0], table.initial_loss.item(), rtol=1e-6)
    assert (np.diff(table.loss.values.ravel()) < 0).all()
