"""What the loop records, carries and stops at, and its form over an iterator."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes.minibatches import batches, full, prefetch, reshuffle, shuffle_once

START = jnp.array([1.0, 1.0])


def valley(x):
    return 0.5 * (x[0] ** 2 + 20 * x[1] ** 2)


def assert_same_runs(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


class TestLearningRate:
    falling = jon.schedules.inverse_time(0.04, 0.5)

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda tx: tx,
            lambda tx: jon.average_params(tx),
            lambda tx: jon.average_params(jon.average_params(tx), 0.9),
        ],
        ids=["plain", "averaged", "averaged-twice"],
    )
    @pytest.mark.parametrize("name", jon.OPTIMIZERS)
    def test_the_rate_in_force_is_recorded(self, name, wrap):
        run = jon.minimize(valley, START, wrap(jon.OPTIMIZERS[name](self.falling)), steps=6, every=2)
        expected = [self.falling(step) for step in (0, 2, 4, 6)]
        np.testing.assert_allclose(run.learning_rate, expected, rtol=1e-6)

    def test_it_is_the_ratio_of_update_and_gradient(self):
        run = jon.minimize(valley, START, jon.gradient_descent(self.falling), steps=9)
        np.testing.assert_allclose(run.learning_rate[:-1], run.update_norm[1:] / run.grad_norm[:-1], rtol=1e-5)

    def test_of_optax_when_injected_and_nan_when_hidden(self):
        falling = optax.exponential_decay(0.05, 1, 0.5)
        with jax.numpy_dtype_promotion("standard"):
            told = jon.minimize(valley, START, optax.inject_hyperparams(optax.adam)(falling), steps=3)
            hidden = jon.minimize(valley, START, optax.adam(falling), steps=3)
        # optax writes the rate into its state when it uses it, so entry k holds that of the step before.
        np.testing.assert_allclose(told.learning_rate, [0.05, 0.05, 0.025, 0.0125], rtol=1e-6)
        assert np.isnan(hidden.learning_rate).all()

    def test_vmapped_rates_are_told_lane_by_lane(self):
        rates = jnp.array([0.01, 0.02])
        runs = jax.vmap(lambda rate: jon.minimize(valley, START, jon.adam(rate), steps=2))(rates)
        np.testing.assert_array_equal(runs.learning_rate, jnp.broadcast_to(rates[:, None], (2, 3)))


class TestMetrics:
    def test_they_are_those_of_every_entry(self):
        held_out = jnp.linspace(0, 1, 5)

        def metrics(x):
            return {"distance": jnp.linalg.norm(x), "predictions": held_out * x[0]}

        run = jon.minimize(valley, START, jon.adam(0.1), steps=12, every=3, metrics=metrics, record_params=True)
        assert run.metrics["predictions"].shape == (5, 5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), run.metrics, jax.vmap(metrics)(run.params_path)
        )

    def test_what_they_hold_is_an_argument(self):
        """Other held-out data, another lambda: the same compiled loop."""
        calls = []

        def run(held_out):
            def metrics(x):
                calls.append(1)
                return jnp.mean(held_out) * x[0]

            return jon.minimize(valley, START, jon.adam(0.1), steps=3, metrics=metrics).metrics

        first, per_run = run(jnp.ones(4)), len(calls)
        np.testing.assert_allclose(run(jnp.full(4, 3.0)), 3 * first, rtol=1e-6)
        assert len(calls) == 2 * per_run  # hoisted once more; a compilation would trace no more than that

    def test_no_function_is_refused(self):
        with pytest.raises(TypeError, match="metrics must be a function"):
            jon.minimize(valley, START, jon.adam(0.1), steps=3, metrics={"distance": 1})


class TestAux:
    data = np.random.default_rng(0).normal(3.0, 2.0, (40, 2)).astype(np.float32)

    @staticmethod
    def normalised(params, statistics, batch):
        """Regression on features normalised by running statistics, as batch normalisation keeps them."""
        mean = jax.lax.stop_gradient(batch.mean(0))
        running = 0.9 * statistics["mean"] + 0.1 * mean
        value = jnp.mean(((batch - mean[None]) @ params - 1) ** 2)
        return value, {"mean": running, "count": statistics["count"] + 1}

    def test_the_state_follows_a_plain_loop(self):
        first = {"mean": jnp.zeros(2), "count": jnp.int32(0)}
        optimizer, key, params = jon.momentum(0.01), jax.random.key(1), jnp.array([0.5, -0.5])
        run = jon.minimize(
            self.normalised, params, optimizer, steps=8, data=self.data, minibatches=reshuffle(10), key=key, aux=first
        )
        state, aux, stream = optimizer.init(params), first, batches(self.data, reshuffle(10), key)
        grad = jax.value_and_grad(self.normalised, has_aux=True)
        (value, aux), slope = grad(params, aux, next(stream))
        for _ in range(8):
            updates, state = optimizer.update(slope, state, params)
            params = params + updates
            (value, aux), slope = grad(params, aux, next(stream))
        np.testing.assert_allclose(run.params, params, rtol=1e-5)
        np.testing.assert_allclose(run.loss[-1], value, rtol=1e-5)
        np.testing.assert_allclose(run.aux["mean"], aux["mean"], rtol=1e-5)
        assert int(run.aux["count"]) == 9
        np.testing.assert_allclose(run.final_loss, self.normalised(run.params, run.aux, self.data)[0], rtol=1e-6)

    def test_a_key_is_carried_for_dropout(self):
        def noisy(x, key, scale):
            key, now = jax.random.split(key)
            return jnp.sum((x * jax.random.bernoulli(now, 0.5, x.shape).astype(x.dtype)) ** 2) * scale, key

        run = jon.minimize(noisy, START, jon.gradient_descent(0.1), steps=5, args=(2.0,), aux=jax.random.key(3))
        assert jnp.issubdtype(run.aux.dtype, jax.dtypes.prng_key)
        assert len(set(np.asarray(run.grad_norm).tolist())) > 2
        again = jon.minimize(noisy, START, jon.gradient_descent(0.1), steps=5, args=(2.0,), aux=jax.random.key(3))
        np.testing.assert_array_equal(run.loss, again.loss)

    def test_a_rejected_step_leaves_the_state_alone(self):
        run = jon.minimize(
            lambda x, n: (jnp.sum(x**4), n + 1), START, jon.gradient_descent(1.0), steps=50, aux=jnp.int32(0)
        )
        assert Status(int(run.status)) is Status.NON_FINITE
        assert int(run.aux) == int(run.stopped_at) + 1 < 50

    def test_metrics_see_it(self):
        run = jon.minimize(
            lambda x, n: (jnp.sum(x**2), n + 1),
            START,
            jon.adam(0.1),
            steps=4,
            aux=jnp.int32(0),
            metrics=lambda x, n: 10 * n,
        )
        assert run.metrics.tolist() == [10, 20, 30, 40, 50]

    @pytest.mark.parametrize(
        ("loss", "message"),
        [
            (lambda x, n: jnp.sum(x**2), r"must return \(value, new_aux\)"),
            (lambda x, n: (jnp.sum(x**2), jnp.zeros(3)), "structure, shapes and dtypes of aux"),
            (lambda x, n: (x**2, n), "scalar"),
        ],
    )
    def test_a_wrong_return_is_named(self, loss, message):
        with pytest.raises(TypeError, match=message):
            jon.minimize(loss, START, jon.adam(0.1), steps=2, aux=jnp.int32(0))


def test_donated_parameters_become_the_runs():
    start = jnp.ones(1000)
    run = jon.minimize(lambda x: jnp.sum(x**2), start, jon.gradient_descent(0.1), steps=2, donate=True)
    assert start.is_deleted()
    np.testing.assert_allclose(run.params, 0.64, rtol=1e-6)
    kept = jnp.ones(1000)
    jon.minimize(lambda x: jnp.sum(x**2), kept, jon.gradient_descent(0.1), steps=2)
    assert not kept.is_deleted()


class TestUntil:
    @pytest.mark.parametrize("every", [1, 7])
    @pytest.mark.parametrize(
        ("rate", "status"), [(0.08, Status.CONVERGED), (1.0, Status.NON_FINITE), (1e-4, Status.COMPLETED)]
    )
    def test_it_is_minimize_without_the_steps_after_the_stop(self, every, rate, status):
        options = dict(tol=1e-3, every=every, record_params=True, metrics=jnp.sum)
        whole = jon.minimize(valley, START, jon.gradient_descent(rate), steps=350, **options)
        stopped = jon.minimize_until(valley, START, jon.gradient_descent(rate), max_steps=350, **options)
        assert Status(int(stopped.status)) is status
        assert_same_runs(stopped, whole)

    def test_no_step_is_computed_after_the_stop(self):
        calls = []

        def counted(x):
            jax.debug.callback(lambda: calls.append(1))
            return valley(x)

        run = jon.minimize_until(counted, START, jon.gradient_descent(0.08), max_steps=100_000, tol=1e-3)
        jax.effects_barrier()
        assert len(calls) == int(run.stopped_at) + 1 < 200

    def test_the_relative_rule(self):
        run = jon.minimize_until(valley, START, jon.gradient_descent(0.08), max_steps=1000, rtol=1e-2)
        stop = int(run.stopped_at)
        assert run.grad_norm[stop] <= 1e-2 * run.grad_norm[0] < run.grad_norm[stop - 1]
        assert Status(int(run.status)) is Status.CONVERGED
        at_once = jon.minimize_until(valley, START, jon.gradient_descent(0.08), max_steps=1000, rtol=1.0)
        assert int(at_once.stopped_at) == 0

    def test_patience(self):
        """At 2/L the steep direction is mirrored for ever; the loss falls until the flat one is done."""
        run = jon.minimize_until(valley, START, jon.gradient_descent(0.1), max_steps=5000, patience=50)
        stop = int(run.stopped_at)
        assert Status(int(run.status)) is Status.PLATEAUED
        assert not Status(int(run.status)).failed
        loss = np.asarray(run.loss)
        assert stop - int(np.argmin(loss)) == 50
        assert (loss[stop:] == loss[stop]).all()
        assert (run.update_norm[stop + 1 :] == 0).all()

    def test_bad_numbers_are_named(self):
        for wrong, error in (
            (dict(tol=-1.0), ValueError),
            (dict(rtol=np.nan), ValueError),
            (dict(patience=0), ValueError),
        ):
            with pytest.raises(error, match=next(iter(wrong))):
                jon.minimize_until(valley, START, jon.adam(0.1), max_steps=5, **wrong)


class TestLowPrecision:
    def test_parameters_that_cannot_move_are_said(self):
        loss, start = lambda x: jnp.mean((x.astype(jnp.float32) - 2) ** 2), jnp.ones(4, jnp.bfloat16)
        stuck = jon.minimize(loss, start, jon.gradient_descent(1e-3), steps=5)
        assert Status(int(stuck.status)) is Status.STUCK
        assert "stochastic_rounding" in stuck.status_text
        assert stuck.unmoved_share.tolist() == [0, 1, 1, 1, 1, 1]
        moving = jon.minimize(loss, start, jon.gradient_descent(0.2), steps=5)
        assert Status(int(moving.status)) is Status.COMPLETED
        assert moving.unmoved_share.tolist() == [0] * 6

    def test_float32_is_not_looked_at(self):
        assert jon.minimize(valley, START, jon.gradient_descent(1e-12), steps=2).unmoved_share is None


DATA = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)


def regression(w, batch):
    return jnp.mean((batch[:, :2] @ w - batch[:, 2]) ** 2)


class TestStream:
    @pytest.mark.parametrize("stream", [reshuffle(8), shuffle_once(8), full()], ids=["reshuffle", "once", "full"])
    def test_it_takes_the_steps_of_minimize(self, stream, tmp_path):
        """From a file that is read row by row, through a thread, in the order of the stream in memory."""
        DATA.tofile(tmp_path / "rows")
        on_disk = np.memmap(tmp_path / "rows", np.float32, "r", shape=DATA.shape)
        key, optimizer = jax.random.key(5), jon.adam(jon.schedules.inverse_sqrt(0.1))
        options = dict(every=3, metrics=jnp.sum, record_params=True)
        inside = jon.minimize(regression, START, optimizer, steps=21, data=DATA, minibatches=stream, key=key, **options)
        outside = jon.minimize_stream(regression, START, optimizer, batches(on_disk, stream, key), steps=21, **options)
        for name in ("loss", "grad_norm", "update_norm", "learning_rate", "metrics", "params_path", "params"):
            np.testing.assert_allclose(getattr(outside, name), getattr(inside, name), rtol=2e-5, atol=1e-6)
        assert int(outside.stopped_at) == 21

    def test_a_stream_goes_on_where_it_stopped(self):
        whole = batches(DATA, reshuffle(8), jax.random.key(0))
        skipped = [next(whole) for _ in range(9)]
        later = batches(DATA, reshuffle(8), jax.random.key(0), first_step=8)
        np.testing.assert_array_equal(next(later), skipped[8])
        np.testing.assert_array_equal(next(later), next(whole))

    def test_a_shorter_last_batch_and_the_end_of_the_source(self):
        parts = [DATA[:16], DATA[16:32], DATA[32:48], DATA[48:]]
        run = jon.minimize_stream(regression, START, jon.gradient_descent(0.1), iter(parts), record_params=True)
        assert run.loss.shape == (4,)
        expected = [regression(w, part) for w, part in zip(run.params_path, parts, strict=True)]
        np.testing.assert_allclose(run.loss, expected, rtol=1e-5)

    def test_batches_that_end_before_the_steps_are_its_status(self):
        optimizer, batch = jon.gradient_descent(0.1), DATA[:8]
        short = jon.minimize_stream(regression, START, optimizer, [batch] * 5, steps=10)
        assert (Status(int(short.status)), int(short.stopped_at)) == (Status.EXHAUSTED, 4)
        assert not Status(int(short.status)).failed
        for enough in (dict(steps=4), dict(), dict(steps=9, epochs=2), dict(epochs=3)):
            run = jon.minimize_stream(regression, START, optimizer, [batch] * 5, **enough)
            assert Status(int(run.status)) is Status.COMPLETED
            assert int(run.stopped_at) == enough.get("steps", 5 * enough.get("epochs", 1) - 1)

    def test_epochs_read_the_batches_again(self):
        parts = [DATA[i : i + 8] for i in range(0, 40, 8)]
        again = jon.minimize_stream(regression, START, jon.adam(0.1), parts, epochs=3)
        whole = jon.minimize_stream(regression, START, jon.adam(0.1), parts * 3)
        jax.tree.map(np.testing.assert_array_equal, again, whole)

    def test_an_iterator_cannot_be_read_again(self):
        """Also not one that looks as if it could."""
        with pytest.raises(ValueError, match=r"epochs=2 needs batches that can be read again, .* got the iterator"):
            jon.minimize_stream(regression, START, jon.adam(0.1), iter([DATA] * 5), epochs=2)

        class Disguised:
            def __init__(self):
                self.source = iter([DATA] * 5)

            def __iter__(self):
                return self.source

        run = jon.minimize_stream(regression, START, jon.adam(0.1), Disguised(), epochs=2)
        assert (Status(int(run.status)), int(run.stopped_at)) == (Status.EXHAUSTED, 4)

    def test_a_stream_at_a_rate_of_zero_is_stuck(self):
        run = jon.minimize_stream(regression, START, optax.sgd(0.0), [DATA] * 5)
        assert Status(int(run.status)) is Status.STUCK

    def test_it_stops_when_the_run_does(self):
        taken = []

        def source():
            while True:
                taken.append(1)
                yield DATA

        run = jon.minimize_stream(lambda w, b: jnp.sum(w**4), START, jon.gradient_descent(1.0), source())
        assert Status(int(run.status)) is Status.NON_FINITE
        assert len(taken) < 30
        assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]

    def test_the_callers_parameters_stay(self):
        start = jnp.ones(2)
        jon.minimize_stream(regression, start, jon.gradient_descent(0.1), iter([DATA, DATA]))
        assert start.tolist() == [1, 1]

    def test_errors_of_the_source_and_of_the_call(self):
        def broken():
            yield DATA
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            jon.minimize_stream(regression, START, jon.gradient_descent(0.1), broken())
        with pytest.raises(ValueError, match="at least two batches"):
            jon.minimize_stream(regression, START, jon.gradient_descent(0.1), iter([DATA]))
        with pytest.raises(TypeError, match="iterable"):
            prefetch(3)
        with pytest.raises(ValueError, match="depth"):
            prefetch([1], depth=0)
        assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]

    def test_it_takes_no_more_batches_than_it_needs(self):
        source = iter([np.full(3, i, np.float32) for i in range(20)])
        jon.minimize_stream(lambda w, b: jnp.sum((w - b) ** 2), jnp.zeros(3), jon.adam(0.1), source, steps=5)
        assert float(next(source)[0]) == 6

    def test_it_goes_on_from_a_state(self):
        batches, tx = [DATA] * 9, jon.adam(0.1)
        whole = jon.minimize_stream(regression, START, tx, batches)
        half = jon.minimize_stream(regression, START, tx, batches[:5])
        rest = jon.minimize_stream(regression, half.params, tx, batches[4:], state=half.state)
        np.testing.assert_array_equal(rest.loss, whole.loss[4:])

    def test_inside_a_program_it_says_what_to_use(self):
        with pytest.raises(TypeError, match="use minimize"):
            jax.vmap(lambda w: jon.minimize_stream(regression, w, jon.adam(0.1), [DATA] * 3))(START[None])

    def test_aux_is_carried(self):
        run = jon.minimize_stream(
            lambda w, n, b: (regression(w, b), n + 1), START, jon.adam(0.1), iter([DATA] * 4), aux=jnp.int32(0)
        )
        assert int(run.aux) == 4


def test_a_full_stream_is_no_stream():
    options = dict(steps=5, data=DATA)
    plain = jon.minimize(regression, START, jon.adam(0.1), **options)
    assert_same_runs(jon.minimize(regression, START, jon.adam(0.1), minibatches=full(), **options), plain)
