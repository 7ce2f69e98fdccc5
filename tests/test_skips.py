"""Steps that are not finite: skipped and counted on request, and left to the transformations made for them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import compiled_programs

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes.minibatches import batches, reshuffle
from jaxopt_notes.sweeps.keep import shelf
from jaxopt_notes.sweeps.keep.store import Store

BAD = 99.0
KEY = jax.random.key(0)
DATA = np.random.default_rng(0).normal(1.0, 0.5, 30).astype(np.float32)
DATA[[4, 11]] = BAD
STEPS = 70  # two epochs and a third


def loss(w, batch):
    """Infinite, with an infinite gradient, where the batch begins with a bad example."""
    return jnp.mean((w - batch) ** 2) / jnp.where(batch[0] == BAD, 0.0, 1.0)


def drawn(steps=STEPS, data=DATA):
    source = batches(data, reshuffle(1), KEY)
    return [next(source) for _ in range(steps + 1)]


def without_the_bad(tx, steps=STEPS, data=DATA):
    """The points of a plain loop over the good batches; a point for every one of them."""
    good = [batch for batch in drawn(steps, data) if batch[0] != BAD]
    w, state, path = jnp.zeros(()), tx.init(jnp.zeros(())), [jnp.zeros(())]
    for batch in good[:-1]:
        updates, state = tx.update(jax.grad(loss)(w, batch), state, w)
        w = optax.apply_updates(w, updates)
        path.append(w)
    return np.array(path), np.array([loss(w, batch) for w, batch in zip(path, good, strict=True)])


def batches_of(places, steps=20):
    """A stream whose batches at these places are bad."""
    return [np.full(1, BAD if k in places else 1.0 + k / 10, np.float32) for k in range(steps + 1)]


def stream(tx, source, **options):
    return jon.minimize_stream(loss, jnp.zeros(()), tx, iter(source), record_params=True, **options)


OF_RUNS = dict(data=DATA, minibatches=reshuffle(1), key=KEY, record_params=True, skip_non_finite=2)
OF_SWEEPS = dict(steps=STEPS, batch_size=1, seeds=2, progress=False)


class TestSkipping:
    @pytest.mark.parametrize("tx", [jon.gradient_descent(0.1), jon.adam(0.1)], ids=["descent", "adam"])
    def test_a_bad_batch_leaves_no_trace(self, tx):
        bad = np.array([batch[0] == BAD for batch in drawn()])
        assert 4 <= bad.sum() <= 6
        assert not bad[0]
        runs = {
            "minimize": jon.minimize(loss, jnp.zeros(()), tx, steps=STEPS, **OF_RUNS),
            "until": jon.minimize_until(loss, jnp.zeros(()), tx, max_steps=STEPS, **OF_RUNS),
            "stream": stream(tx, drawn(), skip_non_finite=2),
        }
        path, values = without_the_bad(tx)
        for name, run in runs.items():
            assert Status(int(run.status)) is Status.COMPLETED, name
            assert int(run.skipped) == bad.sum()
            assert int(run.stopped_at) == STEPS
            assert f"{STEPS} steps, {bad.sum()} skipped" in str(run)
            np.testing.assert_allclose(run.params_path[~bad], path, rtol=1e-5, err_msg=name)
            np.testing.assert_allclose(run.loss[~bad], values, rtol=1e-4)
            np.testing.assert_array_equal(run.loss[bad], np.asarray(run.loss)[np.flatnonzero(bad) - 1])
            assert (run.update_norm[bad] == 0).all()

    def test_so_many_in_a_row_and_no_more(self):
        tx = jon.gradient_descent(0.1)
        passed = stream(tx, batches_of({5, 6, 9, 10}), skip_non_finite=2)
        assert Status(int(passed.status)) is Status.COMPLETED
        assert int(passed.skipped) == 4
        ended = stream(tx, batches_of({5, 6, 9, 10, 11}), skip_non_finite=2)
        assert Status(int(ended.status)) is Status.NON_FINITE
        assert (int(ended.skipped), int(ended.stopped_at)) == (4, 10)
        np.testing.assert_array_equal(ended.params, passed.params_path[8])
        assert np.isfinite(ended.final_loss)

    @pytest.mark.parametrize("places", [{0}, {0, 1}])
    def test_a_bad_first_batch(self, places):
        run = stream(jon.adam(0.1), batches_of(places), skip_non_finite=2)
        good = [batch for k, batch in enumerate(batches_of(places)) if k not in places]
        alone = stream(jon.adam(0.1), good)
        assert Status(int(run.status)) is Status.COMPLETED
        assert int(run.skipped) == len(places)
        assert not np.isfinite(run.loss[0])
        np.testing.assert_allclose(run.params_path[len(places) :], alone.params_path, rtol=1e-5)
        np.testing.assert_allclose(run.loss[len(places) :], alone.loss, rtol=1e-4)
        assert Status(int(stream(jon.adam(0.1), batches_of({0, 1, 2}), skip_non_finite=2).status)) is Status.NON_FINITE

    def test_a_divergence_rests_where_it_did_without(self):
        quartic, start, tx = lambda x: jnp.sum(x**4), jnp.ones(2), jon.gradient_descent(1.0)
        plain = jon.minimize(quartic, start, tx, steps=40)
        run = jon.minimize(quartic, start, tx, steps=40, skip_non_finite=3)
        assert Status(int(run.status)) is Status(int(plain.status)) is Status.NON_FINITE
        assert (int(run.skipped), int(run.stopped_at)) == (3, int(plain.stopped_at) + 3)
        np.testing.assert_array_equal(run.params, plain.params)
        np.testing.assert_array_equal(run.final_loss, plain.final_loss)

    def test_the_state_of_the_loss_does_not_see_them(self):
        def counted(w, seen, batch):
            return loss(w, batch), seen + 1

        run = jon.minimize_stream(
            counted, jnp.zeros(()), jon.adam(0.1), iter(batches_of({3, 7})), aux=jnp.int32(0), skip_non_finite=1
        )
        assert int(run.aux) == 21 - 2

    def test_derivatives_are_those_of_the_steps_taken(self):
        def final(rate, data=DATA, **options):
            tx = jon.gradient_descent(rate)
            run = jon.minimize(
                loss, jnp.zeros(()), tx, steps=8, data=data, minibatches=reshuffle(1), key=key, **options
            )
            return run.params

        first = lambda key: next(batches(DATA, reshuffle(1), key))
        key = next(key for key in map(jax.random.key, range(200)) if first(key)[0] == BAD)
        slope = jax.grad(lambda rate: final(rate, skip_non_finite=1))(0.1)
        step = 1e-2
        central = (final(0.1 + step, skip_non_finite=1) - final(0.1 - step, skip_non_finite=1)) / (2 * step)
        np.testing.assert_allclose(slope, central, rtol=0.05)

    def test_another_limit_is_no_other_program_and_none_costs_nothing(self):
        def run(limit):
            options = dict(steps=3, data=DATA, minibatches=reshuffle(1), key=KEY)
            return jon.minimize(loss, jnp.zeros(()), jon.adam(0.1), skip_non_finite=limit, **options)

        assert run(0).skipped is None
        assert run(1).to_dataset().skipped.values.tolist() == [0]
        with compiled_programs() as compiled:
            run(4)
        assert [name for name in compiled if "_minimize" in name] == []

    @pytest.mark.parametrize("wrong", [-1, 0.5, True, None])
    def test_a_wrong_number_is_named(self, wrong):
        problem = jon.Problem(loss, init=jnp.zeros(()), data=DATA)
        for call in (
            lambda: jon.minimize(loss, jnp.zeros(()), jon.adam(0.1), steps=2, data=DATA, skip_non_finite=wrong),
            lambda: stream(jon.adam(0.1), batches_of({}), skip_non_finite=wrong),
            lambda: jon.sweep(problem, jon.adam, jon.grid(learning_rate=[0.1]), steps=2, skip_non_finite=wrong),
        ):
            with pytest.raises((TypeError, ValueError), match="skip_non_finite must be an integer of at least 0"):
                call()

    def test_patience_and_the_relative_tolerance_begin_at_the_first_good_batch(self):
        """Batches of one example: the first of this key is bad."""
        first = lambda key: next(batches(DATA, reshuffle(1), key))
        key = next(key for key in map(jax.random.key, range(200)) if first(key)[0] == BAD)
        run = jon.minimize_until(
            loss, jnp.zeros(()), jon.gradient_descent(0.1), max_steps=25, data=DATA, minibatches=reshuffle(1), key=key,
            skip_non_finite=2, patience=24, rtol=1e-9,
        )  # fmt: skip
        assert int(run.stopped_at) == 25


class TestSweeps:
    problem = jon.Problem(loss, init=jnp.zeros(()), data=DATA)
    space = jon.grid(learning_rate=[0.05, 0.1, 0.2])

    def expected(self):
        table = np.zeros((3, 2), int)
        for seed in range(2):
            _, order = jon.seed_keys(jax.random.key(0), seed)
            source = batches(DATA, reshuffle(1), order)
            table[:, seed] = sum(next(source)[0] == BAD for _ in range(STEPS + 1))
        return table

    def test_the_table_counts_them(self):
        table = jon.sweep(self.problem, jon.gradient_descent, self.space, skip_non_finite=2, **OF_SWEEPS)
        np.testing.assert_array_equal(table.skipped, self.expected())
        assert (table.status == Status.COMPLETED).all()
        assert np.isfinite(table.loss).all()
        ended = jon.sweep(self.problem, jon.gradient_descent, self.space, **OF_SWEEPS)
        assert (ended.status == Status.NON_FINITE).all()
        assert "skipped" not in ended
        assert jon.best(table).config["learning_rate"] in (0.05, 0.1, 0.2)

    def test_an_interrupted_chunk_goes_on_with_its_counts(self, tmp_path, monkeypatch):
        """After every segment a carry is written; the process ends at the second one."""

        def run(**others):
            return jon.sweep(
                self.problem, jon.gradient_descent, self.space, skip_non_finite=2, width=3, **OF_SWEEPS, **others
            )

        whole = run()
        write, written = Store.write_carry, []

        def interrupted(self, *arguments):
            write(self, *arguments)
            written.append(arguments)
            if len(written) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(shelf, "SECONDS_PER_CHECKPOINT", 0.0)
        with monkeypatch.context() as patched:
            patched.setattr(Store, "write_carry", interrupted)
            with pytest.warns(UserWarning, match="interrupted"):
                run(store=tmp_path / "x", devices=jax.devices()[:1])
        resumed = run(store=tmp_path / "x")
        for name in whole.data_vars:
            np.testing.assert_array_equal(resumed[name], whole[name], err_msg=name)
        np.testing.assert_array_equal(jon.open_sweep(tmp_path / "x").skipped, whole.skipped)
        with pytest.raises(jon.StoreError, match="skip_non_finite"):
            jon.sweep(
                self.problem, jon.gradient_descent, self.space, skip_non_finite=1, width=3, store=tmp_path / "x",
                **OF_SWEEPS,
            )  # fmt: skip

    def test_survivors_of_pruning_have_theirs(self):
        options = {**OF_SWEEPS, "skip_non_finite": 2}
        pruned = jon.sweep(
            self.problem, jon.gradient_descent, self.space, prune=jon.halving(factor=3, rungs=2), **options
        )
        last = pruned.status == Status.COMPLETED
        assert last.sum() == 2
        np.testing.assert_array_equal(pruned.skipped.values[last.values], self.expected()[last.values])
        assert (pruned.skipped.values[~last.values] < self.expected()[~last.values]).all()


class TestTransformationsMadeForThem:
    @staticmethod
    def plain_loop(tx, source):
        """What optax's users write."""
        w = jnp.zeros(())
        state, path = tx.init(w), [w]
        for batch in source[:-1]:
            updates, state = tx.update(jax.grad(loss)(w, batch), state, w)
            w = optax.apply_updates(w, updates)
            path.append(w)
        return np.array(path), state

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda tx: optax.apply_if_finite(tx, 3),
            lambda tx: optax.chain(optax.clip(5.0), optax.apply_if_finite(tx, 3)),
            lambda tx: jon.average_params(optax.apply_if_finite(tx, 3)),
            lambda tx: optax.MultiSteps(tx, 1, should_skip_update_fn=optax.skip_not_finite),
        ],
        ids=["alone", "chained", "wrapped", "multi-steps"],
    )
    def test_they_see_every_gradient(self, wrap):
        tx, source = wrap(jon.gradient_descent(0.1)), batches_of({0, 5, 6, 12})
        with jax.numpy_dtype_promotion("standard"):
            run = stream(tx, source)
            path, state = self.plain_loop(tx, source)
        assert Status(int(run.status)) is Status.COMPLETED
        np.testing.assert_allclose(run.params_path, path, rtol=1e-5)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5), run.state, state)
        expected = [loss(w, batch) for w, batch in zip(path, source, strict=True)]
        np.testing.assert_allclose(run.loss, expected, rtol=1e-4)  # infinite where the batch is

    def test_what_they_let_through_ends_the_run(self):
        tx = optax.apply_if_finite(jon.gradient_descent(0.1), 2)
        run = stream(tx, batches_of({5, 6, 7}))
        assert Status(int(run.status)) is Status.NON_FINITE
        assert int(run.stopped_at) == 7
        assert np.isfinite(run.params)
        assert int(run.state.notfinite_count) == 2

    def test_zero_nans_is_one(self):
        tx = optax.chain(optax.zero_nans(), jon.gradient_descent(0.1))
        nan_loss = lambda w, batch: jnp.mean((w - batch) ** 2) * jnp.where(batch[0] == BAD, jnp.nan, 1.0)
        run = jon.minimize_stream(nan_loss, jnp.zeros(()), tx, iter(batches_of({3, 8})))
        assert Status(int(run.status)) is Status.COMPLETED
        assert np.isnan(run.loss).tolist() == [k in (3, 8) for k in range(21)]

    def test_in_a_sweep(self):
        problem = jon.Problem(loss, init=jnp.zeros(()), data=DATA)
        guarded = lambda learning_rate: optax.apply_if_finite(jon.gradient_descent(learning_rate), 3)
        table = jon.sweep(
            problem, guarded, jon.grid(learning_rate=[0.05, 0.1]), steps=STEPS, batch_size=1, progress=False
        )
        assert (table.status == Status.COMPLETED).all()
        assert (table.stopped_at == STEPS).all()
