"""Newton's method and its saddle-free variant against numpy, and what each does at saddles."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_notes as jon

both = pytest.mark.parametrize("factory", [jon.newton, jon.saddle_free_newton])


def bumpy(params):
    """A loss on a tree of mixed shapes, with a Hessian of both signs."""
    x = jnp.concatenate([params["a"].ravel(), params["b"][None]])
    return jnp.sum(jnp.cos(x)) + 0.5 * jnp.sum(x[1:] * x[:-1]) + 0.1 * jnp.sum(x**4)


def point(dtype=jnp.float64):
    return {"a": jnp.asarray([[0.3, -0.7], [1.1, 0.2]], dtype), "b": jnp.asarray(-0.4, dtype)}


@both
@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_one_step_is_the_formula(factory, damping, x64):
    params = point()
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    hessian = np.asarray(jax.hessian(lambda v: bumpy(unravel(v)))(flat))
    grad = np.asarray(jax.grad(lambda v: bumpy(unravel(v)))(flat))
    if factory is jon.newton:
        step = np.linalg.solve(hessian + damping * np.eye(5), grad)
    else:
        values, vectors = np.linalg.eigh(hessian)
        assert values[0] < 0 < values[-1]
        step = vectors @ (vectors.T @ grad / (np.abs(values) + damping))
    run = jon.minimize(bumpy, params, factory(0.7, damping), steps=1)
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(run.params)[0], flat - 0.7 * step, rtol=1e-10)


@both
def test_vmap_over_the_numbers_is_the_python_loop_and_compiles_once(factory):
    params, rates, dampings = point(jnp.float32), jnp.array([1.0, 0.5]), jnp.array([0.1, 2.0])
    runs = jax.vmap(lambda r, d: jon.minimize(bumpy, params, factory(r, d), steps=3).final_loss)(rates, dampings)
    for lane in range(2):
        alone = jon.minimize(bumpy, params, factory(float(rates[lane]), float(dampings[lane])), steps=3)
        np.testing.assert_allclose(runs[lane], alone.final_loss, rtol=1e-5)
    assert jax.tree.structure(factory(1.0)) == jax.tree.structure(factory(0.5, 0.1))


def test_newton_solves_any_quadratic_in_one_step_and_is_attracted_to_its_saddle():
    run = jon.minimize(jon.problems.quadratic([1.0, 1e4]).loss, jnp.array([3.0, -2.0]), jon.newton(), steps=1)
    np.testing.assert_allclose(run.params, 0, atol=1e-5)
    saddle, near = jon.problems.quadratic([5.0, -1.0]), jnp.array([1.0, 0.01])
    assert jnp.all(jnp.abs(jon.minimize(saddle.loss, near, jon.newton(), steps=1).params) < 1e-6)
    left = jon.minimize(saddle.loss, near, jon.saddle_free_newton(), steps=10).params
    np.testing.assert_allclose(left, [0.0, 0.01 * 2**10], rtol=1e-4, atol=1e-5)


def test_newton_converges_quadratically_on_rosenbrock(x64):
    problem = jon.problems.rosenbrock()
    run = jon.minimize(problem.loss, problem.init(None), jon.newton(), steps=7)
    assert run.final_loss < 1e-20


def test_halving_makes_every_step_descend_where_the_full_step_overshoots():
    problem = jon.problems.rosenbrock()
    start = problem.init(None)
    assert (jnp.diff(jon.minimize(problem.loss, start, jon.newton(), steps=20).loss) > 1).any()
    halved = jon.minimize(problem.loss, start, jon.newton(halvings=10), steps=20)
    assert (jnp.diff(halved.loss) <= 1e-6).all()
    assert halved.final_loss < 1e-8


def test_a_singular_hessian_is_reported_not_raised():
    run = jon.minimize(lambda x: jnp.sum(x), jnp.ones(2), jon.newton(), steps=3)
    assert int(run.status) == jon.Status.NON_FINITE
    still = jon.minimize(lambda x: jnp.sum(x), jnp.ones(2), jon.saddle_free_newton(), steps=3)
    np.testing.assert_array_equal(still.params, 1.0)


def test_newton_sweeps_over_damping_like_any_other_number():
    problem = jon.problems.rosenbrock()
    table = jon.sweep(
        problem, jon.newton, jon.grid(learning_rate=[0.5, 1.0], damping=[0.0, 1.0]), steps=15, progress=False
    )
    assert jon.best(table).config == {"learning_rate": 1.0, "damping": 0.0}
    assert float(table.final_loss.min()) < 1e-9


@both
def test_a_schedule_a_chain_and_narrow_parameters_work(factory):
    rate = jon.schedules.piecewise([1], [1.0, 0.0])
    run = jon.minimize(bumpy, point(jnp.float32), factory(rate, 1.0), steps=3)
    assert run.update_norm[1] > 0
    np.testing.assert_array_equal(run.update_norm[2:], 0)
    narrow = jon.minimize(lambda x: jnp.sum(x.astype(jnp.float32) ** 2), jnp.ones(2, jnp.bfloat16), factory(), steps=1)
    assert narrow.params.dtype == jnp.bfloat16
    assert float(narrow.final_loss) == 0
    chained = jon.minimize(bumpy, point(jnp.float32), optax.chain(factory(1.0, 1.0), optax.scale(0.5)), steps=1)
    half = jon.minimize(bumpy, point(jnp.float32), factory(0.5, 1.0), steps=1)
    np.testing.assert_allclose(chained.final_loss, half.final_loss, rtol=1e-5)


@both
def test_bad_input_is_named(factory):
    with pytest.raises(ValueError, match=r"damping must be in \[0, inf\), got -1"):
        factory(damping=-1.0)
    with pytest.raises(ValueError, match="halvings must be an integer of at least 0, got -1"):
        factory(halvings=-1)
    with pytest.raises(ValueError, match="needs the loss"):
        factory().update(jnp.ones(2), factory().init(jnp.ones(2)), jnp.ones(2))
