"""Projected methods against scipy and the conditions of optimality, on boxes, simplices and balls."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from optax import projections

import jaxopt_notes as jon

RNG = np.random.default_rng(0)
FACTOR = RNG.standard_normal((8, 5))
HESSIAN, LINEAR = FACTOR.T @ FACTOR, FACTOR.T @ RNG.standard_normal(8)
RATE = 1 / np.linalg.eigvalsh(HESSIAN)[-1]


def quadratic(x):
    return 0.5 * x @ jnp.asarray(HESSIAN, x.dtype) @ x - jnp.asarray(LINEAR, x.dtype) @ x


def on_the_ball(radius):
    """The minimum in the ball: (H + m I) x = b, with the multiplier m >= 0 that puts x on the sphere."""

    def solution(multiplier):
        return np.linalg.solve(HESSIAN + multiplier * np.eye(5), LINEAR)

    if np.linalg.norm(solution(0.0)) <= radius:
        return solution(0.0)
    return solution(
        scipy.optimize.brentq(lambda m: np.linalg.norm(solution(m)) - radius, 0, 1e3, xtol=1e-14, rtol=1e-14)
    )


METHODS = {
    "gradient_descent": jon.gradient_descent(RATE),
    "momentum": jon.momentum(RATE / 4, beta=0.5),
    "adam": jon.adam(jon.schedules.inverse_time(0.02, 0.01)),
    "optax": optax.sgd(RATE),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_box_gives_the_solution_of_scipy(name, x64):
    low, high = np.array([-0.1, -0.2, 0.0, -1.0, 0.05]), np.array([0.1, 0.3, 0.2, 1.0, 0.4])
    target = np.linalg.lstsq(FACTOR.T, LINEAR, rcond=None)[0]
    exact = scipy.optimize.lsq_linear(FACTOR, target, (low, high), tol=1e-14)
    assert 0 < np.sum(exact.active_mask != 0) < 5
    optimizer = jon.project(METHODS[name], projections.projection_box, lower=low, upper=high)
    run = jon.minimize(quadratic, jnp.full(5, 3.0), optimizer, steps=3000, every=3000, record_params=True)
    np.testing.assert_allclose(run.params, exact.x, atol=1e-3 if name == "adam" else 1e-8)


def test_the_ball_is_swept_over_its_radius_in_one_program(x64):
    def minimum(radius):
        optimizer = jon.project(jon.gradient_descent(RATE), projections.projection_l2_ball, scale=radius)
        return jon.minimize(quadratic, jnp.zeros(5), optimizer, steps=3000, every=3000).params

    radii = jnp.array([0.05, 0.2, 0.4, 10.0])
    for x, radius in zip(jax.vmap(minimum)(radii), radii.tolist(), strict=True):
        np.testing.assert_allclose(x, on_the_ball(radius), atol=1e-8)
    closed_over = jax.vmap(
        lambda radius: (
            jon.minimize(
                quadratic,
                jnp.zeros(5),
                jon.project(jon.gradient_descent(RATE), lambda x: projections.projection_l2_ball(x, radius)),
                steps=3000,
                every=3000,
            ).params
        )
    )(radii)
    np.testing.assert_allclose(closed_over, jax.vmap(minimum)(radii), atol=1e-12)


def test_a_weighted_distance_on_the_simplex_has_its_closed_form(x64):
    weights, target = np.array([1.0, 2.0, 4.0, 0.5]), np.array([0.9, -0.3, 0.5, 0.8])
    gap = lambda level: np.sum(np.maximum(target - level / weights, 0)) - 1
    exact = np.maximum(target - scipy.optimize.brentq(gap, -10, 10, xtol=1e-15) / weights, 0)
    assert (exact == 0).any()
    params = {"a": jnp.full(2, 5.0), "b": jnp.zeros(2)}  # starts outside
    loss = lambda p: 0.5 * jnp.sum(weights * (jnp.concatenate([p["a"], p["b"]]) - target) ** 2)
    optimizer = jon.project(jon.gradient_descent(0.25), projections.projection_simplex)
    with jax.numpy_dtype_promotion("standard"):  # optax adds an integer
        run = jon.minimize(loss, params, optimizer, steps=200, every=200)
    np.testing.assert_allclose(np.concatenate([run.params["a"], run.params["b"]]), exact, atol=1e-9)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_every_point_is_feasible_up_to_the_stated_rounding(dtype):
    start = jnp.asarray(RNG.standard_normal(4000) * np.exp(RNG.uniform(-5, 5, 4000)), dtype)
    steps = jnp.asarray(RNG.standard_normal(4000) * np.exp(RNG.uniform(-5, 5, 4000)), dtype)
    low, high = jnp.float32(-0.37), jnp.float32(0.81)
    optimizer = jon.project(jon.gradient_descent(1.0), lambda x, low, high: jnp.clip(x, low, high), low=low, high=high)
    updates, _ = optimizer.update(-steps, optimizer.init(start), start)
    assert updates.dtype == dtype
    end = np.asarray(optax.apply_updates(start, updates)).astype(np.float64)
    before, step = np.asarray(start).astype(np.float64), np.asarray(steps).astype(np.float64)
    exact = np.clip((before + step).astype(np.float32), low, high)
    eps = float(jnp.finfo(dtype).eps)
    assert np.all(np.abs(end - exact) <= 1.01 * eps / 2 * (np.abs(exact) + np.abs(exact - before)))
    inside = (before > -0.3) & (before < 0.7) & (before + step > -0.3) & (before + step < 0.7)
    plain = np.asarray(optax.apply_updates(start, steps)).astype(np.float64)
    assert np.all(np.abs(end - plain)[inside] <= eps)  # nothing is cut there


def test_another_radius_is_no_new_program_and_the_rate_stays_readable():
    traces = []

    def projection(x, radius):
        traces.append(1)
        return projections.projection_l2_ball(x, radius)

    def run(radius):
        optimizer = jon.project(jon.gradient_descent(0.1), projection, radius=radius)
        return jon.minimize(lambda x: jnp.sum((x - 1) ** 2), jnp.zeros(2), optimizer, steps=100, every=100)

    first, once = run(0.5), len(traces)
    second = run(0.25)
    assert len(traces) == once
    for result, radius in ((first, 0.5), (second, 0.25)):
        np.testing.assert_allclose(jnp.linalg.norm(result.params), radius, rtol=1e-6)
    tx = jon.project(jon.stochastic_rounding(jon.adam(0.125), jax.random.key(0)), projection, radius=1.0)
    assert float(jon.optimizers.current_learning_rate(tx, tx.init(jnp.ones(2)))) == 0.125


def test_derivatives_pass_the_projection():
    def final(radius):
        optimizer = jon.project(jon.gradient_descent(0.25), projections.projection_l2_ball, scale=radius)
        return jon.minimize(lambda x: jnp.sum((x - 1) ** 2), jnp.zeros(4), optimizer, steps=50).final_loss

    # (2 - r)^2 on the sphere of radius r < 2
    np.testing.assert_allclose(jax.grad(final)(0.5), -2 * (2 - 0.5), rtol=1e-5)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: jon.project(jon.adam, jnp.abs), TypeError, "call it first, as in adam"),
        (
            lambda: jon.project(jon.adam(0.1), 1.0),
            TypeError,
            "projection must be a function of the parameters, got 1.0",
        ),
        (
            lambda: jon.project(jon.adam(0.1), projections.projection_l2_ball, scle=1.0),
            TypeError,
            r"projection_l2_ball takes \(tree, scale\), called with \(params, scle\): got an unexpected keyword",
        ),
        (
            lambda: jon.project(jon.adam(0.1), projections.projection_box),
            TypeError,
            r"projection_box takes \(tree, lower, upper\), called with \(params\): missing a required argument",
        ),
    ],
)
def test_bad_input_is_named(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_update_checks_the_parameters_and_what_the_projection_gives():
    optimizer = jon.project(jon.gradient_descent(0.1), jnp.sum)
    state = optimizer.init(jnp.ones(2))
    with pytest.raises(ValueError, match="project needs the parameters"):
        optimizer.update(jnp.ones(2), state)
    with pytest.raises(ValueError, match=r"projection\(params\) has shape \(\) and params has shape \(2,\)"):
        optimizer.update(jnp.ones(2), state, jnp.ones(2))
