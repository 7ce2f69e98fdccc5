"""Spaces: grids, zipped axes, tables, samples, products and sums of them, and what a sweep makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import xarray
from scipy.stats import qmc

import jaxopt_notes as jon

VALLEY = jon.problems.quadratic([1.0, 20.0])
RATES = scipy.stats.loguniform(1e-3, 1e-1)
BETAS = scipy.stats.uniform(0.0, 0.9)


def swept(space, optimizer=jon.momentum, problem=VALLEY, **options):
    return jon.sweep(problem, optimizer, space, **{"steps": 12, "width": 3, "progress": False, **options})


def rows(space):
    return list(space.configurations())


class TestSpaces:
    def test_zipped_axes_go_together(self):
        space = jon.zipped(learning_rate=[0.1, 0.01], beta=[0.0, 0.9])
        assert rows(space) == [{"learning_rate": 0.1, "beta": 0.0}, {"learning_rate": 0.01, "beta": 0.9}]

    def test_a_product_is_every_combination_and_of_grids_a_grid(self):
        grid = jon.grid(learning_rate=[0.1, 0.2]) * jon.grid(beta=[0.0, 0.9])
        assert {name: values.tolist() for name, values in grid.axes.items()} == {
            "learning_rate": [0.1, 0.2],
            "beta": [0.0, 0.9],
        }
        space = jon.zipped(learning_rate=[0.1, 0.01], beta=[0.0, 0.9]) * jon.grid(dampening=[0.0, 0.5])
        assert rows(space) == [
            {"learning_rate": r, "beta": b, "dampening": d} for r, b in [(0.1, 0.0), (0.01, 0.9)] for d in (0.0, 0.5)
        ]

    def test_a_sum_appends_and_leaves_out_what_one_part_does_not_name(self):
        space = jon.grid(learning_rate=[0.1]) + jon.grid(learning_rate=[0.1, 0.2], beta=[0.9])
        assert rows(space) == [
            {"learning_rate": 0.1},
            {"learning_rate": 0.1, "beta": 0.9},
            {"learning_rate": 0.2, "beta": 0.9},
        ]
        np.testing.assert_array_equal(space.columns()["beta"], [np.nan, 0.9, 0.9])

    @pytest.mark.parametrize("kind", ["dict", "pandas", "xarray"])
    def test_a_table_is_a_space(self, kind):
        import pandas

        columns = {"learning_rate": [0.1, 0.2, 0.3], "beta": [0.0, 0.9, np.nan]}
        made = {
            "dict": lambda: columns,
            "pandas": lambda: pandas.DataFrame(columns, index=[7, 8, 9]),
            "xarray": lambda: xarray.Dataset({name: ("configuration", v) for name, v in columns.items()}),
        }[kind]()
        assert rows(jon.trials(made)) == [
            {"learning_rate": 0.1, "beta": 0.0},
            {"learning_rate": 0.2, "beta": 0.9},
            {"learning_rate": 0.3},
        ]

    def test_the_dim_of_a_dataset_may_be_a_hyperparameter(self):
        table = xarray.Dataset({"beta": ("learning_rate", [0.0, 0.9])}, {"learning_rate": [0.1, 0.2]})
        assert set(jon.trials(table).names) == {"learning_rate", "beta"}

    def test_values_keep_their_decimals_and_integers_stay_integers(self):
        space = jon.trials({"learning_rate": jnp.float32([0.1, 0.2]), "batch_size": [16, 32]})
        assert space.columns()["learning_rate"].tolist() == [0.1, 0.2]
        assert space.columns()["batch_size"].dtype.kind == "i"
        listed = jon.grid(learning_rate=[jnp.float32(0.1), np.float32(0.3), 1])
        assert listed.axes["learning_rate"].tolist() == [0.1, 0.3, 1.0]


class TestSample:
    @pytest.mark.parametrize("method", ["random", "sobol", "halton", "latin"])
    def test_points_follow_their_distributions_and_their_key(self, method):
        draw = lambda n, seed: jon.sample(n, jax.random.key(seed), method, learning_rate=RATES, beta=BETAS)
        columns = draw(200, 0).columns()
        for name, distribution in (("learning_rate", RATES), ("beta", BETAS)):
            assert scipy.stats.kstest(columns[name], distribution.cdf).pvalue > 1e-3
        again, other = draw(200, 0).columns(), draw(200, 1).columns()
        np.testing.assert_array_equal(again["beta"], columns["beta"])
        assert (other["beta"] != columns["beta"]).any()

    def test_low_discrepancy_points_are_more_even_than_random_ones(self):
        unit = dict(learning_rate=scipy.stats.uniform(), beta=scipy.stats.uniform())

        def discrepancy(method):
            columns = jon.sample(64, jax.random.key(0), method, **unit).columns()
            return qmc.discrepancy(np.stack(list(columns.values()), axis=1))

        assert max(map(discrepancy, ("sobol", "halton", "latin"))) < discrepancy("random")

    @pytest.mark.parametrize("method", ["sobol", "halton"])
    def test_a_larger_sample_begins_with_the_smaller(self, method):
        small, large = (jon.sample(n, jax.random.key(0), method, learning_rate=RATES).columns() for n in (5, 16))
        np.testing.assert_array_equal(large["learning_rate"][:5], small["learning_rate"])

    def test_the_points_of_sobol_are_those_of_scipy(self):
        rng = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(3))))
        expected = qmc.Sobol(2, rng=rng).random(8)
        space = jon.sample(8, jax.random.key(3), "sobol", a=scipy.stats.uniform(), b=scipy.stats.uniform())
        np.testing.assert_allclose(np.stack(list(space.columns().values()), axis=1), expected)

    def test_lists_and_single_values_are_distributions_too(self):
        space = jon.sample(60, jax.random.key(0), learning_rate=0.1, beta=[0.0, 0.5, 0.9])
        assert set(space.columns()["learning_rate"]) == {0.1}
        values, counts = np.unique(space.columns()["beta"], return_counts=True)
        assert values.tolist() == [0.0, 0.5, 0.9]
        assert counts.min() > 8


class TestTables:
    def test_the_configurations_are_one_dim_with_their_hyperparameters_along_it(self):
        space = jon.zipped(learning_rate=[0.01, 0.05, 0.04], beta=[0.0, 0.9, 0.5])
        table = swept(space, seeds=2, keep_params=True)
        assert table.loss.dims == ("configuration", "seed", "step")
        np.testing.assert_array_equal(table.beta, [0.0, 0.9, 0.5])
        assert table.beta.dims == ("configuration",)
        whole = swept(jon.grid(learning_rate=[0.01, 0.05, 0.04], beta=[0.0, 0.9, 0.5]), seeds=2, keep_params=True)
        for i, (rate, beta) in enumerate([(0.01, 0.0), (0.05, 0.9), (0.04, 0.5)]):
            np.testing.assert_array_equal(
                table.loss.isel(configuration=i), whole.loss.sel(learning_rate=rate, beta=beta)
            )
        by_number = jon.end_point(table, VALLEY, configuration=1, seed=0)
        np.testing.assert_array_equal(by_number, jon.end_point(table, VALLEY, learning_rate=0.05, seed=0))
        np.testing.assert_array_equal(by_number, jon.end_point(whole, VALLEY, learning_rate=0.05, beta=0.9, seed=0))

    def test_the_best_configuration_leads_to_its_end_point(self):
        table = swept(jon.zipped(learning_rate=[0.001, 0.05], beta=[0.0, 0.1]), seeds=2, keep_params=True)
        ended = jon.end_point(table, VALLEY, seed=0, **jon.best(table).config)
        np.testing.assert_array_equal(ended, table.params.isel(configuration=1, seed=0))

    def test_the_table_survives_the_store_and_netcdf(self, tmp_path):
        space = jon.sample(4, jax.random.key(0), "sobol", learning_rate=RATES, beta=BETAS)
        table = swept(space, seeds=2, store=tmp_path / "stored")
        xarray.testing.assert_equal(jon.open_sweep(tmp_path / "stored"), table)
        jon.save(table, tmp_path / "table.nc")
        with xarray.open_dataset(tmp_path / "table.nc") as read:
            xarray.testing.assert_equal(read.load(), table)
        with pytest.raises(jon.StoreError, match="axes"):
            swept(space + jon.zipped(learning_rate=0.5, beta=0.5), seeds=2, store=tmp_path / "stored")

    def test_sampled_axes_say_their_scale(self):
        table = swept(jon.sample(16, jax.random.key(0), "sobol", learning_rate=RATES, beta=BETAS), steps=1)
        assert (table.learning_rate.attrs["scale"], table.beta.attrs["scale"]) == ("log", "linear")

    def test_a_table_of_results_is_a_space_again(self):
        space = jon.zipped(learning_rate=[0.01, 0.05], beta=[0.0, 0.9])
        again = jon.trials(swept(space).drop_dims("seed").drop_dims("step"))
        assert rows(again) == rows(space)

    @pytest.mark.parametrize(
        ("selection", "message"),
        [
            (dict(learning_rate=0.1, seed=0), "fits 2 configurations; give more of learning_rate, beta"),
            (dict(learning_rate=0.7, seed=0), "fits 0 configurations"),
            (dict(learning_rat=0.7, seed=0), "unknown axis 'learning_rat'; did you mean 'learning_rate'"),
            (dict(seed=0), "needs one value for configuration"),
        ],
    )
    def test_end_point_asks_for_one_configuration(self, selection, message):
        table = swept(jon.zipped(learning_rate=[0.1, 0.1], beta=[0.0, 0.9]), keep_params=True, steps=1)
        with pytest.raises(ValueError, match=message):
            jon.end_point(table, VALLEY, **selection)


BAD = [
    (lambda: jon.zipped(), ValueError, "zipped needs at least one axis"),
    (lambda: jon.zipped(a=[1, 2], b=[1]), ValueError, "zipped axes need one length, got a: 2, b: 1"),
    (lambda: jon.zipped(a=[1, 1], b=[2, 2]), ValueError, "configurations 0 and 1 are the same: a=1, b=2"),
    (lambda: jon.zipped(a=[]), ValueError, "axis 'a' is empty"),
    (lambda: jon.zipped(a=[np.inf]), ValueError, "axis 'a' must be finite, got inf"),
    (lambda: jon.grid(a=[0.1, np.nan]), ValueError, "axis 'a' must be finite, got nan"),
    (lambda: jon.grid(a=[1, [2]]), ValueError, "axis 'a' must be a list of numbers"),
    (lambda: jon.grid(a={"b": 1}), TypeError, "axis 'a' must be a list of values, got {'b': 1}"),
    (lambda: jon.grid(a=[True, True]), ValueError, "axis 'a' repeats values"),
    (lambda: jon.grid(a=[1]) * jon.grid(a=[2]), ValueError, "both name a"),
    (lambda: jon.grid(a=[1]) + jon.grid(a=[2, 1]), ValueError, "configurations 0 and 2 are the same: a=1"),
    (lambda: jon.grid(a=[1]) + 3, TypeError, "can only be combined with a space by '[+]', got 3"),
    (lambda: jon.grid(a=[1]) * {}, TypeError, "can only be combined with a space by '[*]'"),
    (lambda: jon.trials({}), ValueError, "at least one column"),
    (lambda: jon.trials([1, 2]), TypeError, "trials needs a dict of columns"),
    (lambda: jon.trials({"a": [1, 2], "b": [1]}), ValueError, "columns of one length, got a: 2, b: 1"),
    (lambda: jon.trials({"a": [1.0, np.inf]}), ValueError, "axis 'a' must be finite, got inf"),
    (lambda: jon.trials({"a": [1, 1]}), ValueError, "configurations 0 and 1 are the same"),
    (lambda: jon.trials(xarray.Dataset({"a": (("x", "y"), np.ones((2, 2)))})), ValueError, "one dim, got x, y"),
    (lambda: jon.sample(3, jax.random.key(0)), ValueError, "at least one distribution"),
    (lambda: jon.sample(0, jax.random.key(0), a=RATES), ValueError, "n must be an integer of at least 1"),
    (lambda: jon.sample(3, 0, a=RATES), TypeError, "key must be one random key"),
    (
        lambda: jon.sample(3, jax.random.key(0), "sobel", a=RATES),
        ValueError,
        "unknown method 'sobel'; did you mean 'sobol'",
    ),
    (lambda: jon.sample(3, jax.random.key(0), a=scipy.stats.norm), TypeError, "a must be a frozen distribution"),
    (lambda: jon.sample(3, jax.random.key(0), a=np.sin), TypeError, "a must be a frozen distribution"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_bad_spaces_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("name", ["seed", "step", "configuration", "status", "params", "final_loss"])
def test_names_that_every_table_has_are_refused(name):
    with pytest.raises(ValueError, match=f"axis '{name}' is a name that every table has already"):
        swept(jon.zipped(learning_rate=[0.1], **{name: [1]}))


def test_every_row_of_a_list_is_checked_before_compiling():
    with pytest.raises(ValueError, match=r"beta must be in \[0, 1\), got 1.5"):
        swept(jon.zipped(learning_rate=[0.1, 0.2, 0.3], beta=[0.0, 0.9, 1.5]))
    with pytest.raises(ValueError, match="unknown axis 'bta' for momentum; did you mean 'beta'"):
        swept(jon.zipped(learning_rate=[0.1], bta=[0.0]))
