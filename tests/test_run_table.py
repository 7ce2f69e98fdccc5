"""One run, or runs under the user's own `vmap`, as the table that figures, reports and `best` read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jaxopt_notes as jon
from jaxopt_notes import curvature

VALLEY = jon.problems.quadratic([1.0, 20.0])
RATES = np.geomspace(0.003, 0.3, 5)


def run_at(rate, steps=40):
    return jon.minimize(VALLEY.loss, VALLEY.init(jax.random.key(0)), jon.gradient_descent(rate), steps=steps)


def test_runs_under_vmap_give_the_table_of_a_sweep():
    table = jax.vmap(run_at)(jnp.asarray(RATES)).to_dataset(learning_rate=RATES)
    swept = jon.sweep(VALLEY, jon.gradient_descent, jon.grid(learning_rate=RATES), steps=40, seeds=1, progress=False)
    assert set(table.coords) <= set(swept.coords)
    assert set(table) - set(swept) == {"current_learning_rate"}
    for name in set(table) & set(swept):
        assert table[name].dims == swept[name].dims
        np.testing.assert_allclose(table[name], swept[name], rtol=1e-5, atol=1e-30)
    assert (table.current_learning_rate == table.learning_rate.astype(np.float32)).all()
    assert table.step.attrs == swept.step.attrs
    assert table.learning_rate.attrs["scale"] == swept.learning_rate.attrs["scale"] == "log"
    assert jon.best(table).config == jon.best(swept).config
    assert jon.plot(table).get_xscale() == "log"


def test_several_axes_with_seeds_are_labelled_in_their_order():
    def noisy(rate, key):
        return jon.minimize(VALLEY.loss, jax.random.normal(key, (2,)), jon.gradient_descent(rate), steps=20, every=5)

    keys = jax.random.split(jax.random.key(1), 3)
    runs = jax.vmap(lambda rate: jax.vmap(lambda key: noisy(rate, key))(keys))(jnp.asarray(RATES))
    table = runs.to_dataset(learning_rate=RATES, seed=[7, 8, 9])
    assert dict(table.sizes) == {"learning_rate": 5, "seed": 3, "step": 5}
    assert table.step.values.tolist() == [0, 5, 10, 15, 20]
    one = noisy(RATES[2], keys[1])
    np.testing.assert_allclose(table.loss.sel(seed=8).isel(learning_rate=2), one.loss, rtol=1e-5)


def test_one_run_is_drawn_reported_and_chosen(tmp_path):
    run = run_at(0.01)
    (line,) = jon.plot(run).get_lines()[:1]
    np.testing.assert_allclose(line.get_ydata(), run.loss, rtol=1e-6)
    assert "one run" in jon.plot(run).get_title(loc="left")
    assert "the only configuration" in str(jon.best(run.to_dataset()))
    assert jon.report(run.to_dataset(), tmp_path / "run.html").exists()
    path = jon.save(run.to_dataset(), tmp_path / "run.nc")
    with xr.open_dataset(path) as kept:
        np.testing.assert_array_equal(kept.loss.values[0], run.loss)
    for use in (jon.best, lambda run: jon.save(run, tmp_path / "run.nc")):
        with pytest.raises(TypeError, match=r"got Run: pass its to_dataset\(\)"):
            use(run)
    coarse = jon.minimize(VALLEY.loss, jnp.ones(2, jnp.bfloat16), jon.adam(0.1), steps=3)
    assert jon.save(coarse.to_dataset(), tmp_path / "coarse.nc").exists()


@pytest.mark.parametrize(("steps", "every", "dotted"), [(10, 1, True), (100, 1, False), (1000, 50, True)])
def test_one_run_is_a_solid_line_over_its_steps(steps, every, dotted):
    run = jon.minimize(VALLEY.loss, jnp.ones(2), jon.gradient_descent(0.01), steps=steps, every=every)
    ax = jon.plot(run)
    (line,) = ax.get_lines()
    assert line.get_linestyle() == "-"
    assert (line.get_marker() == "o") == dotted
    np.testing.assert_array_equal(line.get_xdata(), np.arange(0, steps + 1, every))
    assert ax.get_legend() is None
    assert [text.get_text() for text in ax.texts] == [f"completed after {steps:,} steps"]
    assert all(tick == int(tick) for tick in ax.get_xticks())


def test_one_run_is_drawn_until_it_stopped():
    run = jon.minimize_until(VALLEY.loss, jnp.ones(2), jon.gradient_descent(0.05), max_steps=900, every=3, rtol=1e-2)
    ax = jon.plot(run)
    (line,) = ax.get_lines()
    assert int(run.stopped_at) < 900
    assert 0 <= line.get_xdata()[-1] - int(run.stopped_at) < 3
    assert [text.get_text() for text in ax.texts] == [f"converged after {int(run.stopped_at)} steps"]
    batches = [np.zeros(2, np.float32)] * 13
    streamed = jon.minimize_stream(
        lambda w, batch: VALLEY.loss(w - batch), jnp.ones(2), jon.adam(0.1), batches, every=4
    )
    assert streamed.to_dataset().step.values.tolist() == [0, 4, 8, 12]


def test_everything_that_a_run_records_is_a_column(tmp_path):
    def metrics(w):
        inner = {"top": jnp.max(w), "at": w * 1j}
        return {
            "test_accuracy": inner,
            "count": jnp.sum(w > 0),
            "loss": w.sum(),
            "key": jax.random.key(0),
            "beta": w[0],
        }

    def run(rate, beta):
        decayed = jon.momentum(jon.schedules.exponential(rate, 0.9), beta)
        start = jnp.ones(2, jnp.bfloat16)
        options = dict(steps=4, every=2, metrics=metrics, record_params=True)
        with jax.numpy_dtype_promotion("standard"):
            return jon.minimize(lambda w: jnp.sum(w.astype(float) ** 2), start, decayed, **options)

    rates, betas = jnp.array([0.1, 0.2, 0.3]), jnp.array([0.0, 0.9])
    runs = jax.vmap(lambda rate: jax.vmap(lambda beta: run(rate, beta))(betas))(rates)
    table = runs.to_dataset(learning_rate=rates, beta=betas)
    dims = ("learning_rate", "beta", "seed", "step")
    recorded = {
        "current_learning_rate": runs.learning_rate,
        "unmoved_share": runs.unmoved_share,
        "test_accuracy.top": runs.metrics["test_accuracy"]["top"],
        "test_accuracy.at": runs.metrics["test_accuracy"]["at"],
        "count": runs.metrics["count"],
        "metrics.loss": runs.metrics["loss"],  # the names alone are those of other columns
        "metrics.beta": runs.metrics["beta"],
        "key": jax.random.key_data(runs.metrics["key"]),
        "params_path": runs.params_path,
    }
    assert set(recorded) == set(table) - {
        "loss", "grad_norm", "update_norm", "initial_loss", "final_loss", "status", "stopped_at"
    }  # fmt: skip
    for name, values in recorded.items():
        assert table[name].dims[:4] == dims, name
        np.testing.assert_array_equal(table[name].values[:, :, 0], np.asarray(values), err_msg=name)
    assert table["test_accuracy.at"].dims == (*dims, "test_accuracy.at_0")
    assert table["test_accuracy.at"].dtype == np.complex64
    assert table.params_path.attrs == {"original_dtype": "bfloat16"}
    assert table.key.attrs == {"original_dtype": "key<fry>", "key_impl": "threefry2x32"}
    np.testing.assert_allclose(table.current_learning_rate[:, 0, 0], np.outer(rates, [1, 0.9**2, 0.9**4]), rtol=1e-6)
    assert jon.load(jon.save(table, tmp_path / "runs.nc")).identical(table)
    assert jon.report(table, tmp_path / "runs.html").exists()


@pytest.mark.parametrize(
    ("metrics", "columns"),
    [
        (jnp.sum, ["metrics"]),
        (lambda w: (w[0], {"a/b": w}), ["metrics.0", "metrics.1.a_b"]),
        (lambda w: {"status": w[0], "seed": w[1]}, ["metrics.seed", "metrics.status"]),
    ],
)
def test_metrics_without_names_of_their_own_have_their_path(metrics, columns):
    run = jon.minimize(VALLEY.loss, jnp.ones(2), jon.gradient_descent(0.01), steps=2, metrics=metrics)
    table = run.to_dataset()
    assert [name for name in sorted(table) if name.startswith("metrics")] == columns
    assert run.to_dataset().status.values.tolist() == [0]


def test_a_slice_of_a_sweep_has_a_best():
    table = jon.sweep(VALLEY, jon.gradient_descent, jon.grid(learning_rate=RATES), steps=9, seeds=6, progress=False)
    assert jon.best(table.isel(learning_rate=0)).config == {}


def test_results_with_a_table_are_drawn_by_it():
    found = jon.find_critical_points(lambda x: jnp.sum(x**4 - x**2), jnp.linspace(-1, 1, 5)[:, None])
    assert jon.plot(found).get_xlabel() == jon.plot(found.to_dataset()).get_xlabel()
    density = curvature.spectral_density(lambda v: jnp.arange(1.0, 31) * v, like=jnp.ones(30), steps=10)
    assert jon.plot(density).get_xlabel() == jon.plot(density.to_dataset()).get_xlabel()


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, r"runs of shape \(5,\) need name and values of every axis.*got none"),
        ({"learning_rate": RATES[:2]}, "got learning_rate of 2"),
        ({"loss": RATES}, "axis loss must be a list of values under another name than initial_loss"),
        ({"learning_rate": RATES[:, None]}, "axis learning_rate must be a list of values"),
        ({"learning_rate": RATES, "beta": [0.9]}, "got learning_rate of 5, beta of 1"),
        ({"every": 0, "learning_rate": RATES}, "every"),
    ],
)
def test_axes_that_do_not_fit_are_refused(axes, message):
    runs = jax.vmap(run_at)(jnp.asarray(RATES))
    with pytest.raises(ValueError, match=message):
        runs.to_dataset(**axes)
    with pytest.raises(ValueError, match="this is one run, which has no axes; got learning_rate"):
        run_at(0.1).to_dataset(learning_rate=[0.1])
    with pytest.raises(ValueError, match="every axis"):
        jon.plot(runs)
    with pytest.raises(TypeError, match=r"table must be an xarray\.Dataset or DataTree, got Run"):
        jon.save(runs, "runs.nc")
