"""Loss curves get the names of the lecture picture, and a range test finds the stable range."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import jaxopt_notes as jon

VALLEY = jon.problems.quadratic([1.0, 20.0])
STEEP = jnp.array([0.0, 1.0])


def run_at(rate, steps=200, **options):
    return jon.minimize(VALLEY.loss, jnp.ones(2), jon.gradient_descent(rate), steps=steps, **options)


def test_gradient_descent_on_a_valley_by_its_rate():
    """Low, good and diverging by the curve; just below the stable limit the curve of the steep direction looks low."""
    names = [jon.diagnose(run_at(rate)).name for rate in (1e-6, 1e-4, 0.01, 0.05, 0.11)]
    assert names == ["low", "low", "good", "good", "diverging"]
    curve_alone = jon.diagnose(run_at(0.0999))
    assert curve_alone.name == "low"
    with_limit = jon.diagnose(run_at(0.0999), stable_below=jon.stability_bound("gradient_descent", 20.0))
    assert with_limit.name == "high"
    assert "100% of the predicted stable limit 0.1" in str(with_limit)
    along = jon.diagnose(run_at(0.0999, record_params=True), top_eigenvector=STEEP)
    assert (along.name, along.oscillation) == ("high", 1.0)


@pytest.mark.parametrize(("rate", "flips"), [(0.04, 0.0), (0.06, 1.0)])
def test_signs_flip_above_one_over_the_curvature(rate, flips):
    run = run_at(rate, steps=20, record_params=True)
    assert jon.diagnose(run, top_eigenvector=STEEP).oscillation == flips


def curve(loss, status=jon.Status.COMPLETED, ends=None):
    """A run of which only the curve matters, and the losses on all data where the curve is that of batches."""
    loss = jnp.asarray(loss, jnp.float32)
    zeros = jnp.zeros_like(loss)
    first, last = (loss[0], loss[-1]) if ends is None else map(jnp.float32, ends)
    return jon.Run(None, None, loss, zeros, zeros, zeros, first, last, jnp.int32(status), jnp.int32(loss.size))


STEPS = np.arange(400)
NOISE = np.random.default_rng(0).standard_normal(400)


@pytest.mark.parametrize(
    ("loss", "options", "name"),
    [
        (2.3 - 0.002 * STEPS, {}, "low"),
        (2.3 * np.exp(-STEPS / 40), {}, "good"),
        (0.6 + 1.7 * np.exp(-STEPS / 20), {}, "good"),  # level, and nothing says that less exists
        (0.6 + 1.7 * np.exp(-STEPS / 20), {"reference": 0.1}, "high"),
        (0.6 + 1.7 * np.exp(-STEPS / 20), {"reference": 0.58}, "good"),
        (0.6 + 1.7 * np.exp(-STEPS / 20) + 0.2 * np.abs(NOISE), {}, "high"),
        (2.3 - 1e-4 * NOISE, {}, "plateau"),
        (2.3 - 1e-6 * STEPS, {}, "low"),
        (-5 + 2 * np.exp(-STEPS / 30), {"floor": -5.0}, "good"),
        (2.3 + 0.01 * STEPS, {}, "diverging"),
    ],
)
def test_curves_by_their_shape(loss, options, name):
    assert jon.diagnose(curve(loss), **options).name == name


@pytest.mark.parametrize(
    ("loss", "options", "name"),
    [
        (1 + 1.3 * np.exp(-STEPS / 20), {}, "good"),  # level: the bounce is that of the batches
        (1 + 1.3 * np.exp(-STEPS / 20), {"reference": 0.98}, "good"),
        (1 + 1.3 * np.exp(-STEPS / 20), {"reference": 0.5}, "high"),
        (2.3 - 0.003 * STEPS, {}, "low"),
        (2.3 + 0.003 * STEPS, {}, "diverging"),
    ],
)
def test_the_noise_of_batches_is_no_sign_of_a_high_rate(loss, options, name):
    names = []
    for seed in range(20):
        noise = 0.4 * np.random.default_rng(seed).standard_normal(400)
        names.append(jon.diagnose(curve(loss + noise, ends=(loss[0], loss[-1])), **options).name)
    assert names.count(name) >= 19


def test_the_noise_of_the_late_fall_is_its_standard_error():
    falls = []
    for seed in range(200):
        noise = 0.1 * np.random.default_rng(seed).standard_normal(400)
        falls.append(jon.diagnose(curve(2.3 - 0.003 * STEPS + noise, ends=(2.3, 1.1))))
    assert np.mean([found.noise for found in falls]) == pytest.approx(np.std([found.late for found in falls]), rel=0.15)
    assert jon.diagnose(curve(2.3 - 0.003 * STEPS)).noise == 0


def test_in_a_noisy_sweep_the_rates_beside_a_curve_name_it():
    """Ends that miss the best by a fifth of the fall, in curves whose noise is as large: below it low, above high."""
    rates, ends = [0.01, 0.1, 1.0, 10.0], np.array([1.25, 1.0, 1.25, 4.0])
    level = ends[:, None] + (2.3 - ends[:, None]) * np.exp(-STEPS / 20)
    noise = 0.4 * np.random.default_rng(0).standard_normal((4, 8, 400))
    over = {"learning_rate": rates, "seed": range(8)}
    final = xarray.DataArray(np.repeat(ends[:, None], 8, 1), over, ("learning_rate", "seed"))
    loss = (("learning_rate", "seed", "step"), level[:, None] + noise)
    table = xarray.Dataset({"loss": loss, "final_loss": final, "initial_loss": 0 * final + 2.3})
    table["status"] = (0 * final).astype(int) + int(jon.Status.COMPLETED)
    for turned in (table, table.transpose("step", "seed", "learning_rate")):
        named = jon.diagnose(turned).diagnosis.transpose("learning_rate", "seed")
        for row, name in zip(named.values, ["low", "good", "high", "diverging"], strict=True):
            assert set(row) == {name}


def test_what_the_run_knows_of_its_failure_decides():
    falling = 2.3 * np.exp(-STEPS / 40)
    assert jon.diagnose(curve(falling, jon.Status.NON_FINITE)).name == "diverging"
    assert jon.diagnose(curve(falling, jon.Status.STALLED)).name == "plateau"


def test_the_numbers_are_those_of_the_curve():
    found = jon.diagnose(curve(10 - 0.02 * STEPS))
    assert found.fall == pytest.approx(0.02 * 389.5 / 10, rel=1e-5)  # to the middle of the last twentieth
    assert found.late == pytest.approx(100 / 389.5, rel=1e-5)
    assert found.slope == pytest.approx(-0.02 / (10 - 0.02 * 249.5), rel=1e-4)
    assert (found.increases, found.advice) == (
        0,
        "it still falls at the end: raise the learning rate, or take more steps.",
    )


@pytest.fixture(scope="module")
def digits():
    problem = jon.problems.digits_mlp(hidden=16)
    rates = jon.grid(learning_rate=[1e-5, 1e-3, 0.03, 0.3, 3.0, 30.0])
    return jon.sweep(problem, jon.momentum, rates, seeds=3, steps=300, batch_size=64, progress=False)


def test_shares_are_shown_as_a_reader_writes_them():
    found = dataclasses.replace(
        jon.diagnose(jon.minimize(VALLEY.loss, jnp.ones(2), jon.gradient_descent(0.01), steps=20)),
        fall=1.0, early=0.9999, late=-0.0, slope=-0.0, closing=0.0, bounce=1e-9, noise=0.0123,
        learning_rate=5.0, stable_below=0.1,
    )  # fmt: skip
    assert "100% of the start, 100% of it in the first quarter, 0% +- 1.2% in the last" in str(found)
    assert "slope 0 a step, bounce 0%" in str(found)
    assert "5,000% of the predicted" in str(found)


def test_a_sweep_is_named_trial_by_trial_in_the_order_of_the_rates(digits):
    named = jon.diagnose(digits)
    assert named.diagnosis.dims == digits.status.dims
    order = {"low": 0, "good": 1, "plateau": 2, "high": 2, "diverging": 2}  # too high a rate ends in one of three ways
    ranks = np.vectorize(order.get)(named.diagnosis.values)
    assert (np.diff(ranks, axis=0) >= 0).all()
    assert (ranks[0] == 0).all()
    assert (ranks[-1] == 2).all()
    assert named.attrs["reference"] == digits.final_loss.median("seed").min()
    best = digits.final_loss.median("seed").argmin("learning_rate")
    assert "good" in named.diagnosis[int(best)]


def test_trials_that_did_not_run_are_said(digits):
    table = digits.copy(deep=True)
    table.status[2, 1] = jon.Status.NOT_RUN
    table.loss[2, 1] = np.nan
    assert jon.diagnose(table).diagnosis[2, 1] == "not run"


def test_the_named_sweep_can_be_saved(digits, tmp_path):
    named = jon.diagnose(digits)
    named.to_netcdf(tmp_path / "named.nc", engine="h5netcdf")


RATES = dict(low=1e-3, high=1.0, rates=61)


class TestSuggestion:
    @pytest.mark.parametrize("beta", [0.0, 0.5])
    def test_the_first_failure_is_at_the_stability_bound(self, beta):
        found = jon.suggest_learning_rate(VALLEY, jon.momentum, beta=beta, steps=400, **RATES)
        assert found.sharpness == pytest.approx(20, rel=1e-4)
        assert found.stable_below == pytest.approx(2 * (1 + beta) / 20, rel=1e-4)
        grid_step = (1.0 / 1e-3) ** (1 / 60)
        assert found.stable_below / grid_step < found.first_failure < found.stable_below * grid_step
        low, high = found.interval
        assert low <= found.best <= high < found.first_failure
        assert f"stable below {found.stable_below:.2g}" in str(found)
        drawn = {line.get_gid(): line for line in jon.plot(found).lines}
        np.testing.assert_allclose(drawn["median"].get_xdata(), found.curve.learning_rate)
        assert drawn["bound"].get_xdata()[0] == found.stable_below

    def test_the_curve_is_that_of_minimize(self):
        found = jon.suggest_learning_rate(VALLEY, jon.gradient_descent, steps=30, **RATES)
        start = VALLEY.init(jon.seed_keys(jax.random.key(0), 0)[0])
        alone = jon.minimize(VALLEY.loss, start, jon.gradient_descent(float(found.best)), steps=30).final_loss
        assert float(found.curve.final_loss.sel(learning_rate=found.best)[0]) == pytest.approx(float(alone), rel=1e-4)

    def test_methods_that_rescale_have_no_bound_from_the_start(self):
        found = jon.suggest_learning_rate(VALLEY, jon.adam, steps=30, **RATES)
        assert np.isnan(found.stable_below)
        assert found.interval is not None

    def test_a_range_that_is_all_too_high_is_said(self):
        found = jon.suggest_learning_rate(VALLEY, jon.gradient_descent, low=1.0, high=10.0, rates=5, steps=50)
        assert found.best is None
        assert "no rate lowered the loss" in str(found)

    def test_an_interval_of_one_rate_is_that_rate(self):
        found = jon.suggest_learning_rate(VALLEY, jon.gradient_descent, low=1e-3, high=1.0, rates=3, steps=30)
        one = dataclasses.replace(found, interval=(found.best, found.best))
        assert f"{found.best:.2g} to" not in str(one)
        assert "no other rate reaches 90% of its fall" in str(one)

    def test_a_best_rate_at_the_end_is_said(self):
        found = jon.suggest_learning_rate(VALLEY, jon.gradient_descent, low=1e-5, high=1e-3, rates=5, steps=50)
        assert "the best is the largest that was tested" in str(found)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: jon.diagnose([1.0, 2.0]), TypeError, "must be a Run"),
        (lambda: jon.diagnose(curve(np.ones((2, 9)))), ValueError, "one curve"),
        (lambda: jon.diagnose(curve(np.ones(5))), ValueError, "at least 8 entries"),
        (lambda: jon.diagnose(run_at(0.01, steps=10), top_eigenvector=STEEP), ValueError, "record_params"),
        (
            lambda: jon.diagnose(run_at(0.01, steps=10, record_params=True), top_eigenvector=jnp.ones(3)),
            ValueError,
            "same shapes",
        ),
        (lambda: jon.suggest_learning_rate(VALLEY, jon.adam, low=1.0, high=0.1), ValueError, "low < high"),
        (lambda: jon.suggest_learning_rate(VALLEY.loss, jon.adam), TypeError, "Problem"),
        (lambda: jon.suggest_learning_rate(VALLEY, jon.adam, betta=0.1), ValueError, "unknown axis 'betta' for adam"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
