"""Pruned sweeps: what survives is the sweep's own, what decides is recorded, a kill changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes.sweeps.compute import engine, programs
from jaxopt_notes.sweeps.compute.engine import Engine
from jaxopt_notes.sweeps.run import ladder, pruners, rungs
from jaxopt_notes.sweeps.table.seeds import parted

SPACE = jon.grid(learning_rate=[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 30.0], beta=[0.0, 0.9])
OPTIONS = dict(seeds=3, steps=36, batch_size=64, width=5, progress=False)


@pytest.fixture(scope="module")
def digits():
    return jon.problems.digits_mlp(hidden=4)


@pytest.fixture(scope="module")
def whole(digits):
    return jon.sweep(digits, jon.momentum, SPACE, **OPTIONS, keep_params=True, devices=jax.devices()[:2])


@pytest.fixture(scope="module")
def halved(digits):
    return jon.sweep(
        digits, jon.momentum, SPACE, **OPTIONS, keep_params=True, devices=jax.devices()[:2], prune=jon.halving()
    )


def assert_same_tables(actual, expected):
    assert set(actual.variables) == set(expected.variables)
    for name in expected.variables:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def test_survivors_are_the_same_bits_as_without_pruning(whole, halved):
    """Packed into other lanes beside other trials, at the same width."""
    survive = np.isnan(halved.pruned_at.values)
    assert survive.sum() == 2  # of 14: 5, then 2
    for name in whole.data_vars:
        np.testing.assert_array_equal(halved[name].values[survive], whole[name].values[survive], err_msg=name)
    assert (halved.stopped_at.values[survive] == 36).all()


def test_pruned_trials_keep_what_they_had(whole, halved):
    pruned_at = halved.pruned_at.values
    assert {4.0, 12.0} == set(pruned_at[~np.isnan(pruned_at)])
    for step in (4, 12):
        there = pruned_at == step
        np.testing.assert_array_equal(
            halved.loss.values[there][..., : step + 1], whole.loss.values[there][..., : step + 1]
        )
        assert np.isnan(halved.loss.values[there][..., step + 1 :]).all()
        status = halved.status.values[there]
        assert set(status.ravel()) <= {Status.PRUNED, Status.DIVERGED, Status.NON_FINITE}
        assert (status == Status.PRUNED).any()
        ended = halved.stopped_at.values[there][status == Status.PRUNED]
        assert (ended == step).all()


def test_a_pruned_configuration_is_no_failure_and_cannot_win(halved):
    best = jon.best(halved)
    assert np.isnan(halved.pruned_at.sel(best.config))
    assert best.trials_failed == (halved.status >= Status.NON_FINITE).values.mean()
    assert len(best.ties) == 1  # three seeds tell the two that survived not apart
    assert "pruned" in Status.PRUNED.advice
    assert not Status.PRUNED.failed


def test_decisions_are_replayed_from_the_table(halved, tmp_path):
    with xarray.open_dataset(jon.save(halved, tmp_path / "halved.nc")) as read:
        measured = read.rung_metric.transpose("rung", ...).values.reshape(2, -1)
        again = pruners.replay(jon.halving(), read.rung.values.tolist(), measured)
        np.testing.assert_array_equal(again, read.pruned_at.values.ravel())
        np.testing.assert_array_equal(read.rung, [4, 12])
        assert read.attrs["prune"] == "Halving(factor=3.0, rungs=3, metric='final_loss')"


def test_the_rung_metric_is_the_median_of_a_shorter_sweep(digits, halved):
    short = jon.sweep(digits, jon.momentum, SPACE, **OPTIONS | {"steps": 4}, devices=jax.devices()[:2])
    fine = (short.status < Status.NON_FINITE).all("seed").values
    np.testing.assert_array_equal(
        halved.rung_metric.values[..., 0][fine], np.median(short.final_loss.values, axis=-1)[fine]
    )


def test_pruning_does_the_work_of_the_survivors_only(digits, monkeypatch, capsys):
    lanes, waiting = [], []
    original, release = Engine._pass, ladder.Waiting.release

    def released(self, stay):
        release(self, stay)
        waiting.append(len(self))

    def counted(self, width, parts, begun, leg, hooks):
        lanes.append(len(parts) * width * (leg.until - (begun.step if begun else 0)))
        return original(self, width, parts, begun, leg, hooks)

    monkeypatch.setattr(Engine, "_pass", counted)
    space = jon.grid(learning_rate=np.geomspace(0.001, 1, 27))
    monkeypatch.setattr(ladder.Waiting, "release", released)
    options = OPTIONS | {"width": 3, "progress": True, "devices": jax.devices()[:1]}
    table = jon.sweep(digits, jon.gradient_descent, space, **options, prune=jon.halving(report_seeds=1))
    work = 81 * 4 + 27 * 8 + 9 * 24  # 26 % of 81 * 36
    assert sum(lanes) == work
    assert f" {work}/{work} " in capsys.readouterr().err.splitlines()[-1]
    assert table.attrs["segment_programs"] == 1
    assert max(waiting) <= 27  # those that go on, and not all 81: the others are released while the rung is run
    # Whatever seeds a table is cut to, it knows which one decided nothing.
    assert jon.best(table.sel(seed=[2, 0]), report_seeds=[2]).chosen_by == 1
    with pytest.raises(ValueError, match=r"report_seeds \[1\] must not have .*, or give report_seeds=\[2\]"):
        jon.best(table.sel(seed=[0, 1]), report_seeds=1)


def test_an_interrupted_pruned_sweep_goes_on_to_the_same_bits(digits, halved, tmp_path, monkeypatch):
    options = dict(**OPTIONS, keep_params=True, devices=jax.devices()[:2], prune=jon.halving(), store=tmp_path)
    original, calls = Engine.run, []

    def stop_at(call):
        def run(*arguments, **others):
            calls.append(arguments[2])
            if len(calls) == call:
                raise KeyboardInterrupt
            return original(*arguments, **others)

        return run

    for call in (3, 4, 3):  # in the first rung, in the second, in the last
        calls.clear()
        monkeypatch.setattr(Engine, "run", stop_at(call))
        with pytest.warns(UserWarning, match="interrupted: 0 of 42"):
            jon.sweep(digits, jon.momentum, SPACE, **options)
        assert (jon.open_sweep(tmp_path).status == Status.NOT_RUN).all()
    calls.clear()
    monkeypatch.setattr(Engine, "run", stop_at(99))
    assert_same_tables(jon.sweep(digits, jon.momentum, SPACE, **options), halved)
    assert len(calls) == 1  # everything else was on disk
    assert not list(tmp_path.glob("rung-*"))
    assert_same_tables(jon.open_sweep(tmp_path), halved)
    calls.clear()
    (tmp_path / "rung-00-00000.npz").touch()  # as a kill at the very end leaves it
    assert_same_tables(jon.sweep(digits, jon.momentum, SPACE, **options), halved)
    assert calls == []
    assert not list(tmp_path.glob("rung-*"))
    with pytest.raises(jon.StoreError, match="prune: Halving"):
        jon.sweep(digits, jon.momentum, SPACE, **options | {"prune": None})


def test_the_best_accuracy_survives_and_failures_do_not(digits):
    prune = jon.halving(factor=2, rungs=2, metric="test_accuracy")
    table = jon.sweep(
        digits, jon.gradient_descent, jon.grid(learning_rate=[1e30, 0.3, 0.001, 1e-6]), **OPTIONS, prune=prune
    )
    np.testing.assert_array_equal(np.isnan(table.pruned_at), [False, True, True, False])


def test_bfloat16_and_random_keys_wait_at_a_rung_too(tmp_path):
    problem = jon.Problem(lambda x: jnp.sum(x.astype(jnp.float32) ** 2), init=jnp.ones(3, jnp.bfloat16))
    space, options = jon.grid(learning_rate=[0.001, 0.01, 0.1]), dict(steps=20, width=1, progress=False)
    optimizer = lambda learning_rate: jon.stochastic_rounding(jon.momentum(learning_rate), key=jax.random.key(0))
    expected = jon.sweep(problem, optimizer, space, **options)
    table = jon.sweep(problem, optimizer, space, **options, prune=jon.halving(factor=2, rungs=2), store=tmp_path)
    survive = np.isnan(table.pruned_at.values)
    assert survive.sum() == 2
    np.testing.assert_array_equal(table.loss.values[survive], expected.loss.values[survive])


def test_median_stopping_stops_the_worse_half_and_those_that_fall_behind():
    pruner = jon.median_stopping(checks=3, start=0.2)
    assert pruner.decide_at(100) == [20, 46, 73]
    measured = np.array([[1.0, 2, 3, 4, np.inf], [1.0, 9, 0.5, 4, np.inf], [10.0, 9, 0.5, 4, np.inf]])
    np.testing.assert_array_equal(pruners.replay(pruner, [20, 46, 73], measured), [73, 46, np.nan, 20, 20])
    everything_failed = np.full((1, 3), np.inf)
    np.testing.assert_array_equal(pruners.replay(pruner, [20], everything_failed), [np.nan] * 3)


@pytest.mark.parametrize(
    ("pruner", "steps", "message"),
    [
        (jon.halving(3, 4), 5, r"rungs=4, metric='final_loss'\) would decide after \[0, 0, 1\] of 5 steps"),
        (jon.halving(40, 2), 36, r"Halving\(factor=40.0, .* would decide after \[0\] of 36 steps"),
        (jon.halving(1.01, 3), 10, r"after \[9, 9\] of 10 steps"),
        (jon.median_stopping(), 5, r"MedianStopping\(checks=4, start=0.1, .* after \[0, 1, 2, 3\] of 5 steps"),
    ],
)
def test_rungs_that_do_not_fit_the_steps_are_named(pruner, steps, message):
    with pytest.raises(ValueError, match=message):
        pruner.decide_at(steps)
    assert jon.halving().decide_at(90) == [10, 30]


@pytest.mark.parametrize(
    ("pruner", "error"),
    [
        (jon.halving(metric="final_los"), "unknown metric 'final_los'; did you mean 'final_loss'"),
        (jon.halving(metric="status"), "unknown metric 'status'"),
        (jon.halving(factor=40, rungs=2), "would decide after"),
        (jon.halving(report_seeds=3), "must leave a seed to choose by"),
        (jon.median_stopping(report_seeds=[5]), "must be seeds of the table"),
    ],
)
def test_a_pruner_that_does_not_fit_is_refused_before_anything_runs(digits, monkeypatch, pruner, error):
    monkeypatch.setattr(Engine, "run", lambda *_, **__: pytest.fail("a trial ran"))
    with pytest.raises(ValueError, match=error):
        jon.sweep(digits, jon.momentum, SPACE, **OPTIONS, prune=pruner)


class TestReportSeeds:
    @pytest.mark.parametrize("make", [jon.halving, jon.median_stopping])
    def test_they_decide_nothing(self, digits, whole, make, tmp_path):
        options = OPTIONS | {"store": tmp_path, "devices": jax.devices()[:2]}
        table = jon.sweep(digits, jon.momentum, SPACE, **options, prune=make(report_seeds=[1]))
        others = jon.sweep(digits, jon.momentum, SPACE, **OPTIONS | {"seeds": [0, 2]}, prune=make())
        np.testing.assert_array_equal(table.pruned_at, others.pruned_at)
        np.testing.assert_array_equal(table.rung_metric, others.rung_metric)
        survive = np.isnan(table.pruned_at.values)
        np.testing.assert_array_equal(table.loss.values[survive], whole.loss.values[survive])
        for one in (table, jon.open_sweep(tmp_path)):
            best = jon.best(one, report_seeds=[1])
            assert (best.chosen_by, best.seeds) == (2, 1)
            with pytest.raises(ValueError, match=r"report_seeds \[2\] must not have .* or give report_seeds=\[1\]"):
                jon.best(one, report_seeds=1)
        jon.best(table)

    def test_they_are_no_lowest_of_many_where_all_configurations_are_equal(self):
        """Pure noise: 81 equal configurations from 8 seeds, of which 4 report; the three best of a rung go on."""
        noise = jax.random.normal(jax.random.key(1), (8, 81))

        def pruned(**options):
            pruner = jon.halving(40, 2, **options)
            deciding = parted(np.arange(8), pruner.report_seeds)[0]
            errors = []
            for trial in range(60):
                values = np.asarray(jax.random.permutation(jax.random.key(trial), noise.ravel())).reshape(81, 8)
                columns = {"final_loss": values.ravel(), "status": np.zeros(values.size, int)}
                medians = rungs._medians(columns, pruners.Rule(pruner, "min", deciding))
                survive = pruner.survivors(medians, np.ones(81, bool))
                winner = np.flatnonzero(survive)[np.argmin(np.median(values[survive, :4], axis=1))]
                errors.append(np.median(values[winner, 4:]))
            return np.mean(errors), np.std(errors) / np.sqrt(60)

        leaked, _ = pruned()
        held, deviation = pruned(report_seeds=4)
        assert leaked < -0.3
        assert abs(held - float(np.median(noise))) < 3 * deviation

    def test_wrong_ones_are_named(self):
        with pytest.raises(ValueError, match="report_seeds must be an integer of at least 1, got 0"):
            jon.halving(report_seeds=0)
        with pytest.raises(ValueError, match="report_seeds must be a number of seeds or the seeds themselves"):
            jon.median_stopping(report_seeds=[])


@pytest.mark.parametrize("devices", [1, 2])
def test_where_memory_runs_out_the_width_halves_and_the_rungs_go_on(digits, monkeypatch, devices, tmp_path):
    options = OPTIONS | {"prune": jon.halving(), "keep_params": True, "devices": jax.devices()[:devices]}
    expected = jon.sweep(digits, jon.momentum, SPACE, **options | {"width": 2})
    tried = []

    def limited(static):
        real = programs.programs(static)

        def segment(lanes, *others):
            tried.append(lanes.histories["loss"].shape[1] // static.mesh.size)
            if tried[-1] > 2:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 137438953472 bytes.")
            return real.segment(lanes, *others)

        return programs.Programs(real.begin, segment, real.kinds)

    monkeypatch.setattr(engine, "programs", limited)
    with pytest.warns(UserWarning, match="out of memory with 5 lanes per device; continuing with 2"):
        table = jon.sweep(digits, jon.momentum, SPACE, **options, store=tmp_path)
    assert tried[0] == 5
    assert set(tried[1:]) == {2}  # also of the rungs after the first
    assert (table.attrs["narrowed_to"], table.attrs["width"]) == (2, 5)
    assert_same_tables(table, expected)
    assert_same_tables(jon.open_sweep(tmp_path), expected)


def test_where_one_lane_does_not_fit_either_the_error_is_raised(digits, monkeypatch):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(Engine, "_pass", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE"):
        jon.sweep(digits, jon.momentum, SPACE, **OPTIONS | {"width": 1}, prune=jon.halving())


def test_wrong_use_is_named(digits):
    with pytest.raises(ValueError, match="factor must be above 1, got 1"):
        jon.halving(factor=1)
    with pytest.raises(ValueError, match="rungs must be an integer of at least 2, got 1"):
        jon.halving(rungs=1)
    with pytest.raises(ValueError, match="start must be between 0 and 1, got 1"):
        jon.median_stopping(start=1)
    with pytest.raises(TypeError, match=r"prune must come from jon.halving"):
        jon.sweep(digits, jon.momentum, SPACE, **OPTIONS, prune=3)
    with pytest.raises(ValueError, match="unknown metric 'final_los'; did you mean 'final_loss'"):
        jon.sweep(digits, jon.momentum, SPACE, **OPTIONS, prune=jon.halving(metric="final_los"))
    with pytest.raises(ValueError, match="one process must run them, on all of its devices; leave executor= out"):
        jon.sweep(digits, jon.momentum, SPACE, **OPTIONS, prune=jon.halving(), executor=object())


def test_figures_and_diagnoses_take_pruned_histories(halved, tmp_path):
    jon.report(halved, tmp_path / "halved.html")
    found = jon.diagnose(halved)
    pruned = halved.status.values == Status.PRUNED
    assert np.isfinite(found.fall.values[pruned]).all()
    assert set(found.diagnosis.values[pruned].ravel()) == {"pruned"}
