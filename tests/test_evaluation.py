"""Methods whose result is not their iterate: averages, schedule-free methods, and a function of the user's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import compiled_programs

import jaxopt_notes as jon
from jaxopt_notes.minibatches import batches, reshuffle
from jaxopt_notes.optimizers import evaluation_params

CURVATURE = np.array([1.0, 20.0])
START = jnp.array([1.0, -1.0])
DATA = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
KEY = jax.random.key(3)


def valley(x):
    return 0.5 * jnp.sum(jnp.asarray(CURVATURE, x.dtype) * x**2)


def regression(w, batch):
    return jnp.mean((batch[:, :2] @ w - batch[:, 2]) ** 2)


def schedule_free(learning_rate):
    return optax.contrib.schedule_free(jon.gradient_descent(learning_rate), learning_rate, b1=0.9)


def averaged(learning_rate):
    return jon.average_params(jon.gradient_descent(learning_rate), 0.7)


def of_schedule_free(rate, steps):
    """x and y of schedule-free gradient descent with a constant rate, by the three sequences of its definition."""
    x = y = z = np.array([1.0, -1.0])
    for t in range(1, steps + 1):
        z = z - rate * CURVATURE * y
        x = (1 - 1 / t) * x + z / t
        y = 0.1 * z + 0.9 * x
    return x, y


def of_averaging(rate, steps):
    """The corrected average of gradient descent's points, and the last of them."""
    path = np.array([(1 - rate * CURVATURE) ** k * np.array([1.0, -1.0]) for k in range(1, steps + 1)])
    weights = 0.7 ** np.arange(steps)[::-1]
    return weights @ path / weights.sum(), path[-1]


METHODS = {"schedule-free": (schedule_free, of_schedule_free), "averaged": (averaged, of_averaging)}
methods = pytest.mark.parametrize(("method", "reference"), METHODS.values(), ids=METHODS)


def exact(x):
    return 0.5 * np.sum(CURVATURE * x**2)


class TestRuns:
    @methods
    def test_what_is_said_of_the_end_is_said_of_the_result(self, method, reference):
        options = dict(metrics=lambda x: {"first": x[0], "loss": valley(x)}, record_params=True)
        run = jon.minimize(valley, START, method(0.03), steps=12, every=4, **options)
        results, iterates = zip(*(reference(0.03, steps) for steps in (4, 8, 12)), strict=True)
        np.testing.assert_allclose(run.params, iterates[-1], rtol=1e-4)
        np.testing.assert_allclose(run.evaluation_params, results[-1], rtol=1e-4)
        np.testing.assert_allclose(run.final_loss, exact(results[-1]), rtol=1e-4)
        assert abs(exact(results[-1]) / exact(iterates[-1]) - 1) > 0.03
        np.testing.assert_allclose(run.metrics["first"][1:], [x[0] for x in results], rtol=1e-4)
        np.testing.assert_allclose(run.metrics["loss"][1:], [exact(x) for x in results], rtol=1e-4)
        # The histories are of the iterate, where the gradients are taken.
        np.testing.assert_allclose(run.loss[1:], [exact(y) for y in iterates], rtol=1e-4)
        np.testing.assert_allclose(run.params_path[1:], iterates, rtol=1e-4)
        until = jon.minimize_until(valley, START, method(0.03), max_steps=12, every=4, **options)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), until, run)

    @methods
    def test_lane_by_lane(self, method, reference):
        rates = jnp.array([0.01, 0.03])
        runs = jax.vmap(lambda rate: jon.minimize(valley, START, method(rate), steps=9))(rates)
        expected = [reference(float(rate), 9)[0] for rate in rates]
        np.testing.assert_allclose(runs.evaluation_params, expected, rtol=1e-4)
        np.testing.assert_allclose(runs.final_loss, list(map(exact, expected)), rtol=1e-4)

    def test_with_minibatches_and_from_a_stream(self):
        options = dict(metrics=jnp.sum)
        run = jon.minimize(
            regression, START, schedule_free(0.1), steps=9, data=DATA, minibatches=reshuffle(8), key=KEY, **options
        )
        x = optax.contrib.schedule_free_eval_params(run.state, run.params)
        np.testing.assert_allclose(run.final_loss, regression(x, DATA), rtol=1e-5)
        np.testing.assert_allclose(run.initial_loss, regression(START, DATA), rtol=1e-5)
        assert abs(float(regression(run.params, DATA) / run.final_loss) - 1) > 1e-3
        source = batches(DATA, reshuffle(8), KEY)
        drawn = [next(source) for _ in range(10)]
        stream = jon.minimize_stream(regression, START, schedule_free(0.1), iter(drawn), **options)
        np.testing.assert_allclose(stream.evaluation_params, x, rtol=1e-5)
        np.testing.assert_allclose(stream.metrics, run.metrics, rtol=1e-5)
        np.testing.assert_allclose(stream.final_loss, regression(x, drawn[-1]), rtol=1e-5)
        np.testing.assert_allclose(stream.initial_loss, regression(START, drawn[0]), rtol=1e-5)

    def test_going_on_begins_at_the_iterate(self):
        whole = jon.minimize(valley, START, schedule_free(0.03), steps=10)
        half = jon.minimize(valley, START, schedule_free(0.03), steps=5)
        rest = jon.minimize(valley, half.params, schedule_free(0.03), steps=5, state=half.state)
        np.testing.assert_allclose(rest.evaluation_params, whole.evaluation_params, rtol=1e-6)
        np.testing.assert_allclose(rest.initial_loss, half.final_loss, rtol=1e-6)

    def test_derivatives_are_those_of_the_result(self):
        def final(rate):
            return jon.minimize(valley, START, averaged(rate), steps=6).final_loss

        step = 1e-5
        expected = (exact(of_averaging(0.03 + step, 6)[0]) - exact(of_averaging(0.03 - step, 6)[0])) / (2 * step)
        np.testing.assert_allclose(jax.grad(final)(0.03), expected, rtol=1e-3)

    def test_other_methods_cost_nothing(self):
        run = jon.minimize(valley, START, jon.adam(0.1), steps=3)
        assert run.evaluation is None
        assert run.evaluation_params is run.params


def test_the_state_is_found_wherever_it_is():
    plain = schedule_free(0.03)
    wrapped = {
        "chain": optax.chain(optax.clip(1e6), plain),
        "finite": optax.apply_if_finite(plain, 3),
        "injected": optax.inject_hyperparams(schedule_free)(0.03),
        "steps": optax.MultiSteps(plain, 1),
        "random": jon.stochastic_rounding(plain, KEY),
        "projected": jon.project(plain, optax.projections.projection_box, lower=-9.0, upper=9.0),
    }
    expected, _ = of_schedule_free(0.03, 7)
    for name, tx in wrapped.items():
        with jax.numpy_dtype_promotion("standard"):  # for which optax writes
            run = jon.minimize(valley, START, tx, steps=7)
        np.testing.assert_allclose(run.evaluation_params, expected, rtol=1e-4, err_msg=name)
        np.testing.assert_allclose(run.final_loss, exact(expected), rtol=1e-4, err_msg=name)


def test_masked_parameters_stay_and_the_outer_of_two_averages_counts():
    params = {"averaged": jnp.ones(2), "plain": {"a": jnp.ones(3)}}
    mask = {"averaged": True, "plain": False}
    tx = optax.chain(optax.masked(jon.average_params(optax.identity()), mask), optax.scale(-0.5))
    updates, state = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    moved = optax.apply_updates(params, updates)
    found = evaluation_params(state, moved)
    assert found["averaged"].tolist() == [2, 2]  # the average of 1 + 1, before the scale
    assert found["plain"]["a"].tolist() == [0.5] * 3
    twice = jon.average_params(jon.average_params(jon.gradient_descent(1.0), 0.5))
    run = jon.minimize(jnp.sum, jnp.zeros(1), twice, steps=3)
    assert run.evaluation_params.tolist() == [-2]


def test_sharpness_aware_steps_are_evaluated_where_they_started():
    """With one ascent between two descents an odd number of steps ends at the ascended point."""
    sam = optax.contrib.sam(optax.sgd(0.03), optax.chain(optax.contrib.normalize(), optax.sgd(0.1)))
    tx = optax.GradientTransformation(sam.init, lambda grads, state, params=None: sam.update(grads, state, params))
    for steps in (4, 5):
        with jax.numpy_dtype_promotion("standard"):
            run = jon.minimize(valley, START, tx, steps=steps)
        x = np.array([1.0, -1.0])
        for _ in range(2):
            slope = CURVATURE * x
            x = x - 0.03 * CURVATURE * (x + 0.1 * slope / np.linalg.norm(slope))
        np.testing.assert_allclose(run.evaluation_params, x, rtol=1e-4)
        np.testing.assert_allclose(run.final_loss, exact(x), rtol=1e-4)


def test_low_precision_keeps_its_type():
    tx = jon.average_params(jon.gradient_descent(0.01))
    run = jon.minimize(lambda x: jnp.sum(x.astype(jnp.float32) ** 2), jnp.ones(2, jnp.bfloat16), tx, steps=5)
    assert run.evaluation_params.dtype == jnp.bfloat16
    np.testing.assert_array_equal(run.evaluation_params, run.state.average.astype(jnp.bfloat16))
    np.testing.assert_allclose(run.final_loss, jnp.sum(run.evaluation_params.astype(jnp.float32) ** 2), rtol=1e-6)


class TestOwnFunction:
    def test_it_decides_and_an_equal_one_is_the_same_program(self):
        def run(factor):
            tx = jon.average_params(jon.gradient_descent(0.03))
            own = lambda state, params: factor * params
            return jon.minimize(valley, START, tx, steps=4, evaluation_params=own, metrics=jnp.sum)

        first = run(jnp.float32(2.0))
        with compiled_programs() as compiled:
            other = run(jnp.float32(3.0))
        assert [name for name in compiled if "_minimize" in name] == []
        np.testing.assert_allclose(first.evaluation_params, 2 * first.params)
        np.testing.assert_allclose(other.metrics, 3 * first.metrics / 2, rtol=1e-6)
        np.testing.assert_allclose(first.final_loss, valley(2 * first.params), rtol=1e-6)
        stream = jon.minimize_stream(
            regression, START, jon.adam(0.1), [DATA] * 3, evaluation_params=lambda state, params: 2 * params
        )
        np.testing.assert_allclose(stream.final_loss, regression(2 * stream.params, DATA), rtol=1e-6)

    @pytest.mark.parametrize(
        ("wrong", "error", "message"),
        [
            (3, TypeError, "evaluation_params must be a function"),
            (lambda params: params, TypeError, r"evaluation_params must be a function \(state, params\)"),
            (lambda state, params: params[:1], ValueError, r"evaluation_params\(state, params\) has shape \(1,\)"),
            (lambda state, params: params.astype(jnp.bfloat16), TypeError, "must return the dtypes of params"),
        ],
    )
    def test_a_wrong_one_is_named(self, wrong, error, message):
        with pytest.raises(error, match=message):
            jon.minimize(valley, START, jon.adam(0.1), steps=2, evaluation_params=wrong)
        problem = jon.Problem(valley, init=START)
        with pytest.raises(error, match=message):
            jon.sweep(problem, jon.adam, jon.grid(learning_rate=[0.1]), steps=2, evaluation_params=wrong)


class TestSweeps:
    problem = jon.Problem(regression, init=START, data=DATA[:30], test_data=DATA[30:])
    rates = (0.01, 0.1)
    space = jon.grid(learning_rate=list(rates))

    def results(self, method, steps):
        """The result of every rate by a plain loop, with the losses at it and at the iterate."""
        for rate in self.rates:
            tx, w = method(rate), START
            state = tx.init(w)
            for _ in range(steps):
                updates, state = tx.update(jax.grad(regression)(w, DATA[:30]), state, w)
                w = optax.apply_updates(w, updates)
            x = state.average if method is averaged else optax.contrib.schedule_free_eval_params(state, w)
            yield x, regression(x, DATA[:30]), regression(w, DATA[:30])

    @methods
    def test_everything_of_the_end_is_of_the_result(self, method, reference, tmp_path):
        options = dict(steps=12, keep_params=True, progress=False)
        table = jon.sweep(self.problem, method, self.space, store=tmp_path / "x", **options)
        points, at_result, at_iterate = zip(*self.results(method, 12), strict=True)
        np.testing.assert_allclose(table.final_loss.values.ravel(), at_result, rtol=1e-5)
        assert np.all(np.abs(np.array(at_result) / np.array(at_iterate) - 1) > 1e-4)
        np.testing.assert_allclose(table.loss.values[..., -1].ravel(), at_iterate, rtol=1e-5)
        for rate, x in zip(self.rates, points, strict=True):
            np.testing.assert_allclose(jon.end_point(table, self.problem, learning_rate=rate, seed=0), x, rtol=1e-5)
        expected = [regression(x, DATA[30:]) for x in points]
        np.testing.assert_allclose(table.test_loss.values.ravel(), expected, rtol=1e-5)
        again = jon.open_sweep(tmp_path / "x")
        np.testing.assert_array_equal(again.final_loss, table.final_loss)

    def test_pruners_decide_by_the_result(self):
        prune = jon.halving(factor=2, rungs=2)
        table = jon.sweep(self.problem, schedule_free, self.space, steps=12, prune=prune, progress=False)
        _, at_result, _ = zip(*self.results(schedule_free, 6), strict=True)
        np.testing.assert_allclose(table.rung_metric.values.ravel(), at_result, rtol=1e-5)

    def test_a_function_of_the_user_is_part_of_the_sweep(self, tmp_path):
        options = dict(steps=4, progress=False, store=tmp_path / "x")
        doubled = jon.sweep(
            self.problem, jon.adam, self.space, evaluation_params=lambda state, params: 2 * params, keep_params=True,
            **options
        )  # fmt: skip
        runs = [jon.minimize(regression, START, jon.adam(rate), steps=4, data=DATA[:30]) for rate in self.rates]
        expected = [regression(2 * run.params, DATA[:30]) for run in runs]
        np.testing.assert_allclose(doubled.final_loss.values.ravel(), expected, rtol=1e-5)
        with pytest.raises(jon.StoreError, match="evaluation_params"):
            jon.sweep(self.problem, jon.adam, self.space, keep_params=True, **options)
