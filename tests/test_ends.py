"""Ends of a sweep: kept states, `resume`, and Orbax checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from stateful import normalised

import jaxopt_notes as jon

VALLEY = jon.problems.quadratic([1.0, 20.0])
RATES = jon.grid(learning_rate=[0.01, 0.05])


def chained(learning_rate):
    """One of optax's chains, with states inside states."""
    return optax.chain(optax.clip_by_global_norm(0.5), optax.trace(0.9, nesterov=True), optax.scale(-learning_rate))


@pytest.mark.parametrize("factory", [jon.momentum, jon.adam, chained])
def test_a_resumed_run_takes_the_steps_of_a_longer_sweep(factory):
    problem = normalised()
    options = dict(seeds=2, keep="params+state", progress=False)
    short = jon.sweep(problem, factory, RATES, steps=20, **options)
    long = jon.sweep(problem, factory, RATES, steps=40, **options)
    run = jon.resume(short, problem, factory if factory is chained else None, learning_rate=0.05, seed=1)
    np.testing.assert_array_equal(run.loss, short.loss.sel(learning_rate=0.05, seed=1))
    assert int(run.stopped_at) == 20
    more = jon.minimize(
        problem.loss, run.params, factory(learning_rate=0.05), steps=20, state=run.state, aux=run.aux, data=problem.data
    )
    end = jon.resume(long, problem, factory, learning_rate=0.05, seed=1)
    for one, other in zip(
        jax.tree.leaves((more.params, more.state, more.aux)),
        jax.tree.leaves((end.params, end.state, end.aux)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6)
    np.testing.assert_allclose(more.loss, end.loss[20:], rtol=1e-5)
    np.testing.assert_allclose(more.final_loss, end.final_loss, rtol=1e-5)


def test_resume_follows_best_and_takes_the_first_seed():
    table = jon.sweep(VALLEY, jon.momentum, RATES, seeds=[3, 5], steps=5, keep="params+state", progress=False)
    run = jon.resume(table, VALLEY, **jon.best(table).config)
    np.testing.assert_array_equal(run.params, jon.end_point(table, VALLEY, seed=3, **jon.best(table).config))
    tree = jon.sweep(VALLEY, {"m": (jon.momentum, RATES)}, steps=5, keep="params+state", progress=False)
    found = jon.resume(tree, VALLEY, **jon.best(tree).config)
    np.testing.assert_array_equal(found.state.velocity, run.state.velocity)


def test_states_of_every_type_come_back():
    """Integers, typed keys and bfloat16, as they were in a loop of their own."""

    def noisy(learning_rate):
        def init(params):
            return {"key": jax.random.key(1), "raw": jax.random.PRNGKey(2), "count": jnp.int32(0), "mean": params}

        def update(grads, state, params=None):
            key, now = jax.random.split(state["key"])
            step = grads + jax.random.normal(now, grads.shape, grads.dtype)
            mean = (state["mean"] + step).astype(state["mean"].dtype)
            new = {"key": key, "raw": jax.random.split(state["raw"])[0], "count": state["count"] + 1, "mean": mean}
            return -jnp.asarray(learning_rate, grads.dtype) * step, new

        return optax.GradientTransformation(init, update)

    problem = jon.Problem(lambda x: jnp.sum(x.astype(jnp.float32) ** 2), init=jnp.ones(3, jnp.bfloat16))
    table = jon.sweep(problem, noisy, RATES, steps=4, keep="params+state", progress=False)
    run = jon.resume(table, problem, noisy, learning_rate=0.05)
    alone = jon.minimize(problem.loss, jnp.ones(3, jnp.bfloat16), noisy(0.05), steps=4)
    assert run.params.dtype == run.state["mean"].dtype == jnp.bfloat16
    assert run.state["count"] == 4
    for name in ("key", "raw"):
        one, other = (jax.random.key_data(each.state[name]) for each in (run, alone))
        np.testing.assert_array_equal(one, other)
    more = jon.minimize(problem.loss, run.params, noisy(0.05), state=run.state, steps=1)
    assert more.state["count"] == 5


def test_the_iterate_is_kept_where_the_result_is_an_average():
    averaged = lambda learning_rate: jon.average_params(jon.gradient_descent(learning_rate))
    table = jon.sweep(VALLEY, averaged, RATES, steps=6, keep="params+state", progress=False)
    run = jon.resume(table, VALLEY, averaged, learning_rate=0.05)
    alone = jon.minimize(VALLEY.loss, VALLEY.start(None)[0], averaged(0.05), steps=6)
    np.testing.assert_allclose(run.params, alone.params, rtol=1e-6)
    np.testing.assert_allclose(run.evaluation, alone.evaluation_params, rtol=1e-6)
    assert not np.allclose(run.params, run.evaluation)


def test_choices_keep_the_states_that_they_have():
    space = RATES * jon.grid(nesterov=[False, True], momentum=[None, 0.9])
    table = jon.sweep(VALLEY, optax.sgd, space, steps=5, keep="params+state", progress=False)
    plain = jon.resume(table, VALLEY, optax.sgd, learning_rate=0.05, nesterov=False, momentum="None")
    assert jax.tree.leaves(plain.state) == []
    heavy = jon.resume(table, VALLEY, optax.sgd, learning_rate=0.05, nesterov=True, momentum="0.9")
    alone = jon.minimize(VALLEY.loss, VALLEY.start(None)[0], optax.sgd(0.05, 0.9, True), steps=5)
    np.testing.assert_allclose(heavy.state[0].trace, alone.state[0].trace, rtol=1e-6)


class TestRefusals:
    def test_what_a_table_does_not_hold(self):
        plain = jon.sweep(VALLEY, jon.momentum, RATES, steps=5, progress=False)
        with pytest.raises(ValueError, match=r"no end points to resume from: run sweep\(..., keep='params\+state'\)"):
            jon.resume(plain, VALLEY, learning_rate=0.05)
        params = jon.sweep(VALLEY, jon.momentum, RATES, steps=5, keep="params", progress=False)
        with pytest.raises(ValueError, match="holds no state of momentum"):
            jon.resume(params, VALLEY, learning_rate=0.05)
        mine = lambda learning_rate: jon.momentum(learning_rate)
        table = jon.sweep(VALLEY, mine, RATES, steps=5, keep="params+state", progress=False)
        with pytest.raises(ValueError, match=r"'<lambda>', which is not one of ours: pass optimizer="):
            jon.resume(table, VALLEY, learning_rate=0.05)
        with pytest.raises(ValueError, match="resume needs one value for learning_rate"):
            jon.resume(table, VALLEY, mine)
        with pytest.raises(ValueError, match=r"seed must be one of \[0\], got 7"):
            jon.resume(table, VALLEY, mine, learning_rate=0.05, seed=7)
        with pytest.raises(ValueError, match="was not run"):
            jon.resume(table.assign(status=table.status * 0 - 1), VALLEY, mine, learning_rate=0.05)

    def test_keep_has_one_value(self):
        with pytest.raises(TypeError, match="another name of keep"):
            jon.sweep(VALLEY, jon.momentum, RATES, steps=5, keep="params", keep_params=True)
        with pytest.raises(ValueError, match="unknown keep 'state'; accepted: params"):
            jon.plan(VALLEY, jon.momentum, RATES, steps=5, keep="state")


class TestOrbax:
    def test_an_end_point_comes_back_as_it_was(self, tmp_path):
        problem = normalised()
        table = jon.sweep(problem, jon.adam, RATES, steps=3, keep="params", progress=False)
        jon.save_end_point(tmp_path / "end", table, problem, learning_rate=0.05, seed=0)
        found, expected = (
            jon.load_end_point(tmp_path / "end", problem),
            jon.end_point(table, problem, learning_rate=0.05, seed=0),
        )
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        with pytest.raises(FileExistsError, match="give a new folder"):
            jon.save_end_point(tmp_path / "end", table, problem, learning_rate=0.05, seed=0)

    def test_keys_and_narrow_floats(self, tmp_path):
        def loss(x, *, aux):
            return jnp.sum(x.astype(jnp.float32) ** 2), {"key": jax.random.split(aux["key"])[0], "n": aux["n"] + 1}

        start = (jnp.ones(3, jnp.bfloat16), {"key": jax.random.key(3), "n": jnp.int32(0)})
        problem = jon.Problem(loss, init=lambda key: start)
        table = jon.sweep(problem, jon.gradient_descent, RATES, steps=3, keep="params+state", progress=False)
        jon.save_end_point(tmp_path / "end", table, problem, learning_rate=0.05, seed=0)
        params, aux = jon.load_end_point(tmp_path / "end", problem)
        assert params.dtype == jnp.bfloat16
        assert aux["n"] == 4  # three steps and the start
        run = jon.resume(table, problem, learning_rate=0.05)
        np.testing.assert_array_equal(jax.random.key_data(aux["key"]), jax.random.key_data(run.aux["key"]))

    def test_what_does_not_fit_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="is no folder"):
            jon.load_end_point(tmp_path / "none", VALLEY)
        table = jon.sweep(VALLEY, jon.momentum, RATES, steps=3, keep="params", progress=False)
        jon.save_end_point(tmp_path / "end", table, VALLEY, learning_rate=0.05, seed=0)
        for problem in (jon.problems.quadratic([1.0, 2.0, 3.0]), normalised()):
            with pytest.raises(jon.StoreError, match="cannot be read as the end point of"):
                jon.load_end_point(tmp_path / "end", problem)
        (tmp_path / "empty").mkdir()
        with pytest.raises(jon.StoreError, match="cannot be read as the end point of"):
            jon.load_end_point(tmp_path / "empty", VALLEY)
