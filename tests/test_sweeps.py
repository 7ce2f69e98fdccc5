"""The invariance contract, the table, the winner, faults, and bad input of sweeps."""

import concurrent.futures
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes._jaxpr import collectives_in
from jaxopt_notes.minibatches import indices, reshuffle
from jaxopt_notes.sweeps.compute import engine, group_plan
from jaxopt_notes.sweeps.compute.engine import Engine
from jaxopt_notes.sweeps.compute.memory import segment_compiled
from jaxopt_notes.sweeps.compute.placed import Placed
from jaxopt_notes.sweeps.judge.intervals import median_interval

SPACE = jon.grid(learning_rate=[0.01, 0.1, 0.5], beta=[0.0, 0.9])
RUN = dict(seeds=3, steps=24, batch_size=64, progress=False, keep_params=True)


@pytest.fixture(scope="module")
def digits():
    return jon.problems.digits_mlp(hidden=8)


@pytest.fixture(scope="module")
def reference(digits):
    return jon.sweep(digits, jon.momentum, SPACE, **RUN, width=5, devices=jax.devices()[:1])


def assert_same_values(actual, expected):
    assert set(actual.variables) == set(expected.variables)
    for name in expected.variables:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


@pytest.mark.parametrize("devices", [2, 4])
def test_floats_are_the_same_bits_on_any_number_of_devices_at_one_width(digits, reference, devices):
    table = jon.sweep(digits, jon.momentum, SPACE, **RUN, width=5, devices=jax.devices()[:devices])
    assert table.attrs["devices"] == devices
    assert_same_values(table, reference)


@pytest.mark.parametrize("width", [1, 3, 18])
def test_across_widths_the_first_steps_agree(digits, reference, width):
    table = jon.sweep(digits, jon.momentum, SPACE, **RUN, width=width, devices=jax.devices()[:1])
    np.testing.assert_allclose(table.loss[..., :21], reference.loss[..., :21], rtol=3e-5, atol=1e-6)
    np.testing.assert_array_equal(table.initial_loss, reference.initial_loss)


@pytest.mark.parametrize(("width", "devices"), [(1, 1), (3, 1), (18, 1), (3, 2), (2, 4)])
def test_keys_data_order_and_starts_do_not_depend_on_the_chunks(digits, width, devices):
    """What a trial is given is computed per seed: every plan of the same seeds holds the same bits."""
    made = [
        jon.plan(
            digits,
            jon.momentum,
            space,
            seeds=seeds,
            steps=24,
            batch_size=64,
            width=w,
            devices=jax.devices()[:d],
        ).groups[0]
        for space, seeds, w, d in [
            (SPACE, 3, 1, 1),
            (SPACE, 3, width, devices),
            (jon.grid(learning_rate=[7.0]), [2, 0, 1], width, devices),
        ]
    ]
    rows = [Placed(one).first_rows for one in made]
    for one, drawn in zip(made, rows, strict=True):
        order = np.argsort(one.seeds)
        np.testing.assert_array_equal(jax.random.key_data(one.keys)[order], jax.random.key_data(made[0].keys))
        np.testing.assert_array_equal(drawn[order], rows[0])
        jax.tree.map(
            lambda a, b, order=order: np.testing.assert_array_equal(a[order], b), one.initial[0], made[0].initial[0]
        )
    for seed in range(3):
        init, order = jax.random.split(jax.random.fold_in(jax.random.key(0), seed))
        np.testing.assert_array_equal(rows[0][seed], indices(reshuffle(64), order, 0, 25, digits.examples))
        jax.tree.map(
            lambda a, b, seed=seed: np.testing.assert_allclose(a[seed], b, rtol=1e-6),
            made[0].initial[0],
            digits.init(init),
        )


def test_a_trial_does_not_change_when_the_space_is_reordered_or_cut(digits, reference):
    other = jon.grid(learning_rate=[0.5, 0.01], beta=[0.9])
    table = jon.sweep(digits, jon.momentum, other, **RUN | {"seeds": [2, 0, 1]}, width=5, devices=jax.devices()[:1])
    assert_same_values(table, reference.sel(learning_rate=[0.5, 0.01], beta=[0.9], seed=[2, 0, 1]))


def test_every_trial_is_the_run_that_minimize_makes(digits, reference):
    for config in ({"learning_rate": 0.1, "beta": 0.9}, {"learning_rate": 0.01, "beta": 0.0}):
        init, order = jax.random.split(jax.random.fold_in(jax.random.key(0), 2))
        run = jon.minimize(
            digits.loss,
            digits.init(init),
            jon.momentum(**config),
            steps=24,
            data=digits.data,
            minibatches=reshuffle(64),
            key=order,
            baseline=digits.baseline,
        )
        trial = reference.sel(seed=2, **config)
        np.testing.assert_allclose(trial.loss, run.loss, rtol=3e-5)
        np.testing.assert_allclose(trial.grad_norm, run.grad_norm, rtol=1e-4)
        np.testing.assert_allclose(trial.update_norm, run.update_norm, rtol=1e-4)
        np.testing.assert_allclose(trial.final_loss, run.final_loss, rtol=1e-4)
        assert int(trial.status) == int(run.status)
        ended = jon.end_point(reference, digits, seed=2, **config)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), ended, run.params)
        np.testing.assert_allclose(digits.full_loss(ended), trial.final_loss, rtol=1e-5)
        np.testing.assert_allclose(digits.metrics["accuracy"](ended, digits.test_data), trial.test_accuracy, rtol=1e-6)


def test_cutting_a_run_into_segments_changes_no_bit(digits, reference, monkeypatch):
    monkeypatch.setattr(engine, "FIRST_SEGMENT", 7)
    monkeypatch.setattr(engine, "SECONDS_PER_SEGMENT", 0.0)  # then one step at a time
    monkeypatch.setattr(group_plan, "WINDOW_BYTES", 4 * 3 * 64 * 10)  # and ten steps of indices at a time
    table = jon.sweep(digits, jon.momentum, SPACE, **RUN, width=5, devices=jax.devices()[:1])
    assert_same_values(table, reference)


def test_one_program_serves_every_chunk_and_holds_no_collectives(digits):
    space = jon.grid(learning_rate=np.geomspace(0.001, 0.1, 7), b1=[0.0, 0.8])
    arguments = dict(seeds=3, steps=12, batch_size=32, width=3, progress=False, devices=jax.devices()[:2])
    first = jon.sweep(digits, jon.adam, space, **arguments)  # 42 trials in 7 chunks of 6
    again = jon.sweep(jon.problems.digits_mlp(hidden=8), jon.adam, space, **arguments)
    assert (first.attrs["segment_programs"], again.attrs["segment_programs"]) == (1, 0)
    options = dict(seeds=3, steps=12, batch_size=32, width=3, devices=jax.devices()[:2])
    (made,) = jon.plan(digits, jon.adam, space, **options).groups
    assert collectives_in(segment_compiled(made.shapes, made.width)) == []


def test_optax_factories_and_problems_without_data_sweep_too():
    bowl = jon.Problem(lambda x: jnp.sum(x**2), init=jnp.array([1.0, -2.0]))
    with jax.numpy_dtype_promotion("standard"):
        table = jon.sweep(bowl, optax.sgd, jon.grid(learning_rate=[0.1, 0.4], momentum=0.5), steps=200, progress=False)
    assert table.final_loss.dims == ("learning_rate", "momentum", "seed")
    assert (table.final_loss < 1e-8).all()
    assert "epoch" not in table.coords


def test_the_table_survives_netcdf_and_describes_itself(reference, tmp_path):
    path = tmp_path / "table.nc"
    reference.to_netcdf(path, engine="h5netcdf")
    with xarray.open_dataset(path) as read:
        xarray.testing.assert_identical(read.load(), reference)
    assert reference.sizes["step"] == 25
    assert reference.attrs["examples_left_out_per_epoch"] == 1438 % 64
    np.testing.assert_allclose(reference.epoch[22], 1.0)
    assert reference.examples_seen[-1] == 24 * 64
    table = jon.grid(learning_rate=jnp.geomspace(1e-3, 10, 13))
    assert table.axes["learning_rate"][0] == 0.001  # the label of a float32 is its decimal, not its 17 digits


def test_every_thins_the_histories(digits, reference):
    table = jon.sweep(digits, jon.momentum, SPACE, **RUN, every=6, width=5, devices=jax.devices()[:1])
    np.testing.assert_array_equal(table.step, [0, 6, 12, 18, 24])
    np.testing.assert_allclose(table.loss, reference.loss[..., ::6], rtol=1e-5)


def valley_table(**axes):
    valley = jon.problems.quadratic([1.0, 20.0])
    return jon.sweep(valley, jon.gradient_descent, jon.grid(**axes), seeds=2, steps=60, progress=False)


def test_failures_are_data_and_never_win():
    table = valley_table(learning_rate=[0.01, 0.09, 0.11, 5.0, 1e30])
    completed, diverged, non_finite = Status.COMPLETED, Status.DIVERGED, Status.NON_FINITE
    assert table.status.sel(seed=0).values.tolist() == [completed, completed, diverged, non_finite, non_finite]
    assert np.isfinite(table.final_loss).all()
    assert np.isfinite(table.loss).all()
    best = jon.best(table)
    assert best.config == {"learning_rate": 0.09}
    assert best.trials_failed == pytest.approx(0.6)
    assert "failed seeds: 0% of this configuration, 60% of all trials" in str(best)


def test_a_sweep_whose_every_trial_fails_returns_its_table_and_says_so():
    table = valley_table(learning_rate=[5.0, 10.0, 1e30])
    assert (table.status == Status.NON_FINITE).all()
    best = jon.best(table)
    assert best.failed == 1
    assert "no configuration succeeded" in str(best)


def made_up(values, status=None):
    """A table of final losses of shape (configurations, seeds)."""
    values = np.asarray(values, float)
    status = np.zeros(values.shape, int) if status is None else status
    rates = np.geomspace(0.01, 1, len(values))
    return xarray.Dataset(
        {"final_loss": (("learning_rate", "seed"), values), "status": (("learning_rate", "seed"), status)},
        {"learning_rate": rates, "seed": np.arange(values.shape[1])},
    )


def test_best_is_the_lowest_median_and_nan_neither_wins_nor_hides_a_configuration():
    nan, inf = np.nan, np.inf
    table = made_up([[1, 1, 1, 9, 9, 1], [0.5, 0.6, 0.7, nan, 0.4, 0.5], [nan] * 6, [-inf, 2, 2, 2, 2, 2]])
    best = jon.best(table)
    assert best.config["learning_rate"] == pytest.approx(table.learning_rate.values[1])
    assert best.median == pytest.approx(0.55)
    assert best.interval == (0.4, inf)
    froze = np.array([[Status.NON_FINITE] * 6, [Status.COMPLETED] * 6])
    frozen = made_up([[0.1] * 6, [0.2] * 6], froze)  # at a low loss, which is no success
    assert jon.best(frozen).median == 0.2


def test_best_pairs_the_seeds_to_tell_configurations_apart():
    noise = np.array([0.0, 5, 1, 8, 2, 9, 3, 4])  # between seeds far more than between configurations
    table = made_up([noise + 1.0, noise + 1.1, noise + 1 + np.array([2, 2, 2, -1, -1, 2, 2, 2]) / 10])
    best = jon.best(table)
    assert best.config["learning_rate"] == pytest.approx(0.01)
    assert [round(tie["learning_rate"], 6) for tie in best.ties] == [1.0]
    assert best.edges == ["learning_rate=0.01 is the smallest of the grid; a smaller one may be better"]
    assert "these seeds cannot separate it from 1 other configuration" in str(best)


def test_three_seeds_cannot_tell_anything_apart():
    best = jon.best(made_up([[1, 2, 3], [100, 200, 300]]))
    assert len(best.ties) == 1
    assert best.coverage == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("n", "low", "high", "coverage"), [(6, 0, 5, 1 - 2 / 64), (8, 0, 7, 1 - 2 / 256), (20, 5, 14, 0.958610535)]
)
def test_the_interval_of_a_median_is_the_binomial_one(n, low, high, coverage):
    interval = median_interval(np.random.default_rng(0).permutation(n).astype(float))
    np.testing.assert_allclose(interval, (low, high, coverage), rtol=1e-6)


def test_the_interval_covers_the_median_as_often_as_it_says():
    draws = np.random.default_rng(1).exponential(size=(4000, 8))
    covered = [low <= np.log(2) <= high for low, high, _ in map(median_interval, draws)]
    assert abs(np.mean(covered) - (1 - 2 / 256)) < 4 * np.sqrt(2 / 256 / 4000)


def test_ctrl_c_leaves_what_is_finished(digits, reference, monkeypatch):
    """A real SIGINT, sent while the third chunk runs."""
    original, calls = Engine.run, []

    def interrupt_in_the_third(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
            for _ in range(500):  # a chunk that takes far longer than the signal; it ends at a segment after it
                original(*arguments)
        return original(*arguments)

    monkeypatch.setattr(Engine, "run", interrupt_in_the_third)
    with pytest.warns(UserWarning, match="interrupted: 10 of 18 trials finished; 5 stopped on the way"):
        table = jon.sweep(digits, jon.momentum, SPACE, **RUN, width=5, devices=jax.devices()[:1])
    status = table.status.values.ravel()
    assert (status[:10] != Status.NOT_RUN).all()
    assert (status[10:15] == Status.INTERRUPTED).all()
    assert (status[15:] == Status.NOT_RUN).all()
    for name in ("loss", "final_loss", "params.params.Dense_0.kernel"):
        whole, part = reference[name].values.reshape(18, -1), table[name].values.reshape(18, -1)
        np.testing.assert_array_equal(part[:10], whole[:10])
        assert np.isnan(part[15:]).all()
    assert jon.best(table).seeds == 3


def test_progress_in_a_log_is_lines(capsys):
    jon.sweep(jon.problems.quadratic([1.0, 2.0]), jon.momentum, jon.grid(learning_rate=[0.1, 0.2]), steps=5)
    shown = capsys.readouterr().err
    assert "\r" not in shown
    assert shown.rstrip().splitlines()[-1].startswith("momentum: 100%")


def test_what_a_logger_raises_stops_an_executor():
    began = []

    class One(concurrent.futures.ThreadPoolExecutor):
        def submit(self, function, *arguments):
            return super().submit(lambda: (began.append(1), function(*arguments))[1])

    def stop(table):
        raise RuntimeError("the logger is full")

    problem, space = jon.problems.quadratic([1.0, 2.0]), jon.grid(learning_rate=np.linspace(0.01, 0.02, 40))
    with One(1) as pool, pytest.raises(RuntimeError, match="the logger is full"):
        jon.sweep(problem, jon.momentum, space, steps=5, width=1, executor=pool, on_chunk=stop)
    assert len(began) < 20


def test_the_progress_bar_counts_trials(digits, capsys):
    jon.sweep(digits, jon.momentum, jon.grid(learning_rate=[0.1, 1e30]), steps=8, seeds=2, batch_size=64, width=1)
    shown = capsys.readouterr().err
    assert "momentum: 100%" in shown
    assert "done 4/4" in shown
    assert "failed 2" in shown


def quadratic(x):
    return jnp.sum(x**2)


BAD = [
    (
        dict(space=lambda: jon.grid(learning_rte=[0.1])),
        ValueError,
        r"unknown axis 'learning_rte' for momentum; did you mean 'learning_rate'\? momentum takes learning_rate",
    ),
    (dict(space=lambda: jon.grid(beta=[0.1])), TypeError, "momentum needs learning_rate: give it an axis"),
    (dict(space=lambda: jon.grid()), ValueError, "at least one axis"),
    (dict(space=lambda: jon.grid(learning_rate=[])), ValueError, "axis 'learning_rate' is empty"),
    (
        dict(space=lambda: jon.grid(learning_rate=[0.1, np.nan])),
        ValueError,
        "axis 'learning_rate' must be finite, got nan",
    ),
    (dict(space=lambda: jon.grid(learning_rate=[0.1, 0.1])), ValueError, "axis 'learning_rate' repeats values"),
    (dict(space=lambda: jon.grid(learning_rate=[True])), TypeError, "axis 'learning_rate' must hold real numbers"),
    (dict(space=lambda: jon.grid(learning_rate=["a"])), TypeError, "axis 'learning_rate' must hold real numbers"),
    (dict(space=lambda: jon.grid(learning_rate=[[0.1]])), ValueError, "axis 'learning_rate' must be a list of numbers"),
    (
        dict(space=lambda: jon.grid(learning_rate=[0.1, -0.1])),
        ValueError,
        r"learning_rate must be in \[0, inf\), got -0.1",
    ),
    (dict(space=lambda: jon.grid(learning_rate=[0.1], beta=[1.0])), ValueError, r"beta must be in \[0, 1\), got 1.0"),
    (dict(space=lambda: {"learning_rate": [0.1]}), TypeError, r"space must come from grid\(...\)"),
    (dict(optimizer=jon.momentum(0.1)), TypeError, "optimizer must be a function from hyperparameters"),
    (dict(problem=lambda: quadratic), TypeError, "problem must be a jaxopt_notes.Problem"),
    (dict(key=0), TypeError, "key must be one random key, for example jax.random.key"),
    (dict(devices=[]), ValueError, "devices must hold at least one device"),
    (dict(seeds=[2**33]), ValueError, r"seeds must be below 2\*\*32"),
    (
        dict(optimizer=optax.sgd, space=lambda: jon.grid(learning_rate=[0.1], nesterov=[0, 1])),
        TypeError,
        "'nesterov' chooses the",
    ),
    (
        dict(problem=lambda: jon.Problem(quadratic, jnp.ones(2), metrics={"loss": quadratic})),
        ValueError,
        "other than 'loss'",
    ),
    (
        dict(problem=lambda: jon.Problem(quadratic, jnp.ones(2), test_data=jnp.ones(2))),
        ValueError,
        "test_data needs data",
    ),
    (
        dict(problem=lambda: jon.Problem(quadratic, jnp.ones(2), metrics={"norms": jnp.abs}), batch_size=None),
        TypeError,
        r"the metric behind 'final_norms' must return a scalar, got shape \(2,\)",
    ),
    (dict(seeds=0), ValueError, "seeds must be an integer of at least 1, got 0"),
    (dict(seeds=[0, 0]), ValueError, "seeds repeats values"),
    (dict(seeds=[-1]), ValueError, "seeds must be a positive count or a list of non-negative integers"),
    (dict(steps=0), ValueError, "steps must be an integer of at least 1, got 0"),
    (dict(every=7), ValueError, "every must divide steps=10, got 7; the nearest that does is 5"),
    (dict(batch_size=2000), ValueError, "batch_size must be at most the number of examples, 1438; got 2000"),
    (dict(batch_size=0), ValueError, "batch_size must be an integer of at least 1, got 0"),
    (dict(width=0), ValueError, "width must be an integer of at least 1, got 0"),
    (dict(space=lambda: jon.grid(lr=[0.1])), ValueError, r"axis 'lr' for momentum; did you mean 'learning_rate'\?"),
    (
        dict(space=lambda: jon.grid(learning_rate=[0.1, 0.1 + 1e-12])),
        ValueError,
        r"repeats values: 0.1 and 0\.10000000000100001 are one number in float32",
    ),
    (dict(store=""), TypeError, "store must be the path of a folder, such as 'runs/x', got ''"),
    (dict(on_chunk=3), TypeError, "on_chunk must be a function of a table, got 3"),
    (
        dict(
            space=lambda: jon.grid(learning_rate=[0.1], rung=[1]),
            optimizer=lambda learning_rate, rung: jon.momentum(learning_rate),
        ),
        ValueError,
        "axis 'rung' is a name that every table has already",
    ),
    (
        dict(problem=lambda: jon.Problem(lambda x: x, init=jnp.ones(2)), batch_size=None),
        TypeError,
        r"must return a scalar, got shape \(2,\)",
    ),
    (
        dict(problem=lambda: jon.Problem(quadratic, init=lambda key: jnp.arange(2)), batch_size=None),
        TypeError,
        r"init\(key\) has dtype int32",
    ),
    (
        dict(problem=lambda: jon.Problem(quadratic, init=jnp.ones(2))),
        ValueError,
        "batch_size=8 needs a problem with data",
    ),
    (dict(problem=lambda: jon.Problem(quadratic, init=jnp.arange(2))), TypeError, "init has dtype int32"),
    (
        dict(problem=lambda: jon.Problem(quadratic, init=jnp.ones(2), data=jnp.array([1.0, jnp.nan]))),
        ValueError,
        "data holds 1 non-finite",
    ),
    (dict(problem=lambda: jon.Problem(3, init=jnp.ones(2))), TypeError, "loss must be a function"),
]


@pytest.mark.parametrize(
    ("change", "error", "message"), BAD, ids=[f"{next(iter(bad[0]))}{i}" for i, bad in enumerate(BAD)]
)
def test_bad_input_is_named_before_compiling(digits, change, error, message):
    def call():
        arguments = (
            dict(space=lambda: jon.grid(learning_rate=[0.1]), seeds=1, steps=10, batch_size=8, progress=False) | change
        )
        problem, space = arguments.pop("problem", lambda: digits), arguments.pop("space")
        return jon.sweep(problem(), arguments.pop("optimizer", jon.momentum), space(), **arguments)

    with pytest.raises(error, match=message):
        call()


def test_parameters_of_any_structure_and_type_come_back(tmp_path):
    def init(key):
        return [{"a.b": jnp.zeros(2), "a": {"b": jnp.ones(2)}}, {"w/x": 2 * jnp.ones((1, 2), jnp.bfloat16)}]

    def loss(params):
        return sum(jnp.sum(leaf.astype(jnp.float32) ** 2) for leaf in jax.tree.leaves(params))

    problem = jon.Problem(loss, init)
    table = jon.sweep(
        problem, jon.momentum, jon.grid(learning_rate=[0.0, 0.1]), steps=1, keep_params=True, progress=False
    )
    with jax.numpy_dtype_promotion("standard"):
        theirs = jon.sweep(
            problem, optax.adam, jon.grid(learning_rate=[0.1]), steps=2, keep_params=True, progress=False
        )
    assert (theirs.status == Status.COMPLETED).all()
    with xarray.open_dataset(jon.save(table, tmp_path / "table.nc")) as read:
        ended = jon.end_point(read, problem, learning_rate=0.0, seed=0)
    assert jax.tree.map(jnp.result_type, ended) == jax.tree.map(jnp.result_type, init(None))
    jax.tree.map(np.testing.assert_array_equal, ended, init(None))


def test_float64_problems_sweep_in_float64(x64):
    problem = jon.problems.digits_mlp(hidden=4)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(problem.init(jax.random.key(0)))} == {"float64"}
    for optimizer in (jon.adam, optax.adam):
        with jax.numpy_dtype_promotion("standard"):
            table = jon.sweep(problem, optimizer, jon.grid(learning_rate=[0.1]), steps=2, batch_size=64, progress=False)
        assert table.loss.dtype == np.float64
        assert table.attrs["precision"] == "float64"


def test_the_table_tells_which_sweep_made_it(digits, reference):
    again = jon.sweep(digits, jon.momentum, SPACE, **RUN, width=2)
    other = jon.sweep(digits, jon.momentum, SPACE, **RUN, width=2, key=jax.random.key(1))
    assert again.attrs["fingerprint"] == reference.attrs["fingerprint"] != other.attrs["fingerprint"]
    assert other.attrs["key"] != again.attrs["key"]
    assert reference.attrs["precision"] == "float32"


def test_the_highest_accuracy_is_the_best():
    accuracies = made_up([[0.1] * 8, [0.9] * 8, [0.8] * 8]).rename(final_loss="test_accuracy")
    best = jon.best(accuracies, "test_accuracy", direction="max")
    assert best.median == 0.9
    assert best.interval == (0.9, 0.9)
    assert best.ties == []


def test_end_point_asks_for_what_is_missing(digits, reference):
    with pytest.raises(ValueError, match="needs one value for beta; the axes are learning_rate, beta, seed"):
        jon.end_point(reference, digits, learning_rate=0.1, seed=0)
    with pytest.raises(ValueError, match="unknown axis 'bta'; did you mean 'beta'"):
        jon.end_point(reference, digits, learning_rate=0.1, bta=0.9, seed=0)
    with pytest.raises(ValueError, match=r"seed must be one of \[0, 1, 2\], got 7"):
        jon.end_point(reference, digits, learning_rate=0.1, beta=0.9, seed=7)
    with pytest.raises(ValueError, match="holds no parameters"):
        jon.end_point(reference.drop_vars("params.params.Dense_0.kernel"), digits, learning_rate=0.1, beta=0.9, seed=0)


def test_best_refuses_what_it_cannot_compare(reference):
    with pytest.raises(ValueError, match=r"unknown metric 'final_los'; did you mean 'final_loss'\? accepted: "):
        jon.best(reference, "final_los")
    with pytest.raises(ValueError, match="unknown metric 'loss'"):
        jon.best(reference, "loss")
    with pytest.raises(ValueError, match="no trial of this sweep was run"):
        jon.best(reference.assign(status=reference.status * 0 - 1))
