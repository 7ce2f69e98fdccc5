"""The winner by held-out seeds, by bootstrap, of lists of points; and what each hyperparameter explains."""

import re

import jax
import numpy as np
import pytest
import scipy.stats
import xarray

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes.sweeps.judge.intervals import _bootstrap

INF = np.inf


def grid_table(values, status=None, **axes):
    """Final losses of shape (axis, ..., seeds)."""
    values = np.asarray(values, float)
    axes = axes or {"learning_rate": np.geomspace(0.01, 1, len(values))}
    dims = (*axes, "seed")
    status = np.zeros(values.shape, int) if status is None else np.asarray(status)
    coordinates = {**axes, "seed": np.arange(values.shape[-1])}
    return xarray.Dataset({"final_loss": (dims, values), "status": (dims, status)}, coordinates)


def points_table(values, status=None, **points):
    """Final losses of shape (configurations, seeds) of a list of points."""
    table = grid_table(values, status, configuration=np.arange(len(values)))
    return table.assign_coords({name: ("configuration", np.asarray(column)) for name, column in points.items()})


def test_a_metric_by_its_short_name_is_met_with_ours():
    table = grid_table([[1.0, 2.0]])
    with pytest.raises(ValueError, match="unknown metric 'val_loss'; did you mean 'validation_loss'"):
        jon.best(table.assign(validation_loss=table.final_loss), "val_loss")


class TestReportSeeds:
    def test_the_winner_is_chosen_by_the_others_and_reported_by_these(self):
        table = grid_table([[1.0, 1.0, 1.0, 9.0, 8.0], [2.0, 2.0, 2.0, 0.0, 0.1]])
        best = jon.best(table, report_seeds=2)
        assert best.config["learning_rate"] == pytest.approx(0.01)
        assert (best.median, best.interval, best.seeds, best.chosen_by) == (8.5, (8.0, 9.0), 2, 3)
        assert "chosen by 3 other seeds" in str(best)
        same = jon.best(table, report_seeds=[4, 3])
        assert (same.config, same.median, same.interval) == (best.config, best.median, best.interval)
        assert not jon.best(table).held_out

    def test_they_cure_the_optimism_of_the_winner(self):
        """Sixty equal configurations: the winner's own median is the lowest of sixty, the held-out one is not."""
        rng, own, held = np.random.default_rng(0), [], []
        for _ in range(200):
            table = grid_table(rng.normal(size=(60, 16)))
            own.append(jon.best(table).median)
            held.append(jon.best(table, report_seeds=8).median)
        assert np.mean(own) < -0.5
        assert abs(np.mean(held)) < 4 * np.std(held) / np.sqrt(200)

    def test_failures_are_counted_among_the_seeds_reported(self):
        status = np.zeros((2, 4), int)
        status[0, 3] = Status.DIVERGED
        best = jon.best(grid_table([[1, 1, 1, 1], [2, 2, 2, 2]], status), report_seeds=2)
        assert (best.failed, best.median) == (0.5, INF)
        assert best.trials_failed == 1 / 8

    @pytest.mark.parametrize(
        ("report", "message"),
        [(4, "leave a seed"), ([7], "must be seeds of the table"), ([], "must be seeds"), (0, "at least 1")],
    )
    def test_wrong_ones_are_named(self, report, message):
        with pytest.raises(ValueError, match=message):
            jon.best(grid_table(np.ones((2, 4))), report_seeds=report)

    def test_a_table_pruned_by_them_is_refused(self):
        table = grid_table([[1.0, 1.0, 1.0, 9.0, 8.0], [2.0, 2.0, 2.0, 0.0, 0.1]])
        pruned = table.assign(pruned_at=("learning_rate", [np.nan, 3.0]))
        everyone = pruned.assign_attrs(prune="Halving(factor=3.0, rungs=3, metric='final_loss')")
        with pytest.raises(ValueError, match=r"here all seeds did; run sweep\(.*report_seeds=\[3, 4\]\)\), or leave"):
            jon.best(everyone, report_seeds=2)
        assert jon.best(everyone).median == 1.0
        others = pruned.assign_attrs(report_seeds="[3, 4]")
        assert jon.best(others, report_seeds=2).median == jon.best(others, report_seeds=[4, 3]).median == 8.5
        assert jon.best(others, report_seeds=[4]).median == 8.0
        with pytest.raises(ValueError, match="must not have decided what was pruned"):
            jon.best(others, report_seeds=[2, 3, 4])
        with pytest.raises(ValueError, match=r"report_seeds \[1, 2\] must not"):
            jon.best(others.sel(seed=[0, 1, 2]), report_seeds=2)  # of another table than the pruner's


class TestFamilies:
    """Of a tree the configurations of all families compete, each in pairs of seeds."""

    NOISE = np.array([0.0, 5, 1, 8, 2, 9, 3, 4])
    SLOW = grid_table([NOISE + 3, NOISE + 2.0])
    FAST = grid_table([NOISE + 1, NOISE + 5, NOISE + 1 + np.array([2, 2, 2, -1, -1, 2, 2, 2]) / 10])
    TREE = xarray.DataTree.from_dict({"slow": SLOW, "fast": FAST})

    def test_the_best_of_all_is_named_with_its_family_and_so_are_its_ties(self):
        best = jon.best(self.TREE)
        alone = jon.best(self.FAST)
        assert best.config == {"family": "fast", **alone.config}
        assert (best.median, best.interval, best.edges) == (alone.median, alone.interval, alone.edges)
        assert best.ties == [{"family": "fast", **tie} for tie in alone.ties]
        assert best.families == {"fast": alone, "slow": jon.best(self.SLOW)}
        assert f"best of slow: {str(jon.best(self.SLOW)).splitlines()[0]}" in str(best)

    def test_a_family_that_was_not_run_is_left_out(self):
        unrun = self.SLOW.assign(status=self.SLOW.status * 0 - 1)
        best = jon.best(xarray.DataTree.from_dict({"slow": unrun, "fast": self.FAST}), report_seeds=4)
        assert (list(best.families), best.held_out, best.trials_failed) == (["fast"], True, 0.0)
        with pytest.raises(ValueError, match="no trial of this sweep was run"):
            jon.best(xarray.DataTree.from_dict({"slow": unrun}))

    def test_what_takes_one_table_says_so(self, tmp_path):
        for use in (jon.importance, jon.diagnose, lambda tree: jon.end_point(tree, None, seed=0)):
            with pytest.raises(TypeError, match=r"table of one family, such as tree\['slow'\].to_dataset\(\)"):
                use(self.TREE)
        with pytest.raises(TypeError, match=r"table must be the xarray.Dataset of a sweep, got NoneType"):
            jon.best(None)
        jon.save(self.TREE, tmp_path / "tree.nc")
        with xarray.open_datatree(tmp_path / "tree.nc", engine="h5netcdf") as read:
            assert jon.best(read) == jon.best(self.TREE)


class TestFailures:
    def test_diverged_is_infinitely_bad_on_any_metric_and_stalled_counts_by_its_metric(self):
        status = [[Status.DIVERGED] * 6, [Status.STALLED] * 6, [Status.COMPLETED] * 6]
        table = grid_table([[0.1] * 6, [0.2] * 6, [0.3] * 6], status).rename(final_loss="test_loss")
        assert jon.best(table, "test_loss").median == 0.2

    def test_pruned_and_unfinished_configurations_do_not_compete(self):
        status = [[Status.PRUNED] * 6, [0, 0, 0, 0, 0, Status.NOT_RUN], [Status.COMPLETED] * 6]
        best = jon.best(grid_table([[0.1] * 6, [0.2] * 6, [0.3] * 6], status))
        assert (best.median, best.ties, best.failed) == (0.3, [], 0.0)

    def test_where_all_diverged_the_lowest_is_the_least_bad(self):
        best = jon.best(grid_table([[9.0] * 6, [5.0] * 6], [[Status.DIVERGED] * 6] * 2))
        assert best.config["learning_rate"] == 1.0
        assert "no configuration succeeded" in str(best)


class TestMeansAndBootstraps:
    def test_the_mean_and_the_median_may_differ(self):
        table = grid_table([[1, 1, 1, 1, 1, 90], [2, 2, 2, 2, 2, 2]])
        assert jon.best(table).median == 1
        best = jon.best(table, by="mean")
        assert (best.median, best.by, best.interval) == (2, "mean", (2, 2))
        assert "mean final_loss 2 over 6 seeds" in str(best)

    def test_pairs_are_told_apart_where_the_seeds_vary_more_than_the_configurations(self):
        noise = np.random.default_rng(2).normal(size=12) * 10
        table = grid_table([noise, noise + 0.1, noise + np.tile([1.0, -0.9], 6)])
        for options in ({"by": "mean"}, {"interval": "bootstrap"}):
            best = jon.best(table, **options)
            assert len(best.ties) <= 1
            assert {"learning_rate": 0.1} not in [{k: round(v, 6) for k, v in tie.items()} for tie in best.ties]

    def test_the_bootstrap_interval_of_a_mean_is_that_of_scipy(self):
        sample = np.random.default_rng(3).exponential(size=30)
        ours = _bootstrap(sample[:, None], "mean")[:, 0]
        theirs = scipy.stats.bootstrap((sample,), np.mean, method="percentile", rng=np.random.default_rng(1))
        np.testing.assert_allclose(ours, theirs.confidence_interval, rtol=0.03)

    def test_three_seeds_tell_nothing_apart_and_infinite_ones_do_no_harm(self):
        best = jon.best(grid_table([[1, 2, 3], [100, 200, 300]]), interval="bootstrap")
        assert (len(best.ties), best.coverage) == (1, 0.75)
        best = jon.best(grid_table([[1, 1, 1, 1, 1, INF], [INF] * 6]), interval="bootstrap")
        assert best.interval == (1, INF)

    def test_an_interval_of_order_statistics_covers_no_mean(self):
        with pytest.raises(ValueError, match="interval='order' covers a median"):
            jon.best(grid_table(np.ones((2, 6))), by="mean", interval="order")
        with pytest.raises(ValueError, match="unknown by 'mode'"):
            jon.best(grid_table(np.ones((2, 6))), by="mode")


def test_a_list_of_points_is_told_by_its_hyperparameters():
    valley = jon.problems.quadratic([1.0, 20.0])
    space = jon.trials({"learning_rate": [0.01, 0.09, 0.05], "beta": [0.0, 0.0, 0.5]})
    table = jon.sweep(valley, jon.momentum, space, seeds=6, steps=40, progress=False)
    best = jon.best(table)
    lowest = int(np.argmin(table.final_loss.median("seed").values))
    assert best.config == {name: float(table[name][lowest]) for name in ("learning_rate", "beta")}
    assert all(set(tie) == {"learning_rate", "beta"} for tie in best.ties)
    partly = points_table([[2.0] * 6, [1.0] * 6], learning_rate=[0.1, 0.2], beta=[0.9, np.nan])
    assert jon.best(partly).config == {"learning_rate": 0.2}
    assert jon.best(partly).edges == ["learning_rate=0.2 is the largest of the points; a larger one may be better"]


class TestImportance:
    def test_a_sum_of_two_functions_on_a_grid_is_explained_exactly(self):
        a, b = np.linspace(0, 1, 5), np.linspace(0, 1, 4)
        values = (3 * a)[:, None] + (b**2)[None, :]
        table = grid_table(np.repeat(values[..., None], 3, axis=-1), learning_rate=a, beta=b)
        found = jon.importance(table, scale="value")
        expected = np.array([np.var(3 * a), np.var(b**2)]) / np.var(values)
        np.testing.assert_allclose(list(found.shares.values()), expected, rtol=1e-12)
        assert found.rest == pytest.approx(0, abs=1e-12)

    def test_each_seed_may_move_the_shares_of_a_grid_within_their_intervals(self):
        a, b = np.linspace(0, 1, 5), np.linspace(0, 1, 4)
        values = (3 * a)[:, None, None] + b[None, :, None]
        truth = {"a": np.var(3 * a) / np.var(values), "b": np.var(b) / np.var(values)}
        alone = jon.importance(grid_table(values, a=a, b=b), scale="value")
        assert alone.intervals == {name: (share, share) for name, share in alone.shares.items()}
        assert str(alone).splitlines()[1:3] == ["a: 89%", "b: 11%"]
        covered = []
        for seed in range(20):
            noise = np.random.default_rng(seed).normal(size=(5, 4, 9)) / 3
            found = jon.importance(grid_table(values + noise, a=a, b=b), scale="value")
            covered.append([low <= truth[name] <= high for name, (low, high) in found.intervals.items()])
            assert all(low <= found.shares[name] <= high for name, (low, high) in found.intervals.items())
        assert np.mean(covered) >= 0.9

    def test_a_pure_interaction_belongs_to_nobody(self):
        sign = np.array([-1.0, 1.0])
        table = grid_table(np.repeat((sign[:, None] * sign)[..., None], 2, axis=-1), learning_rate=sign, beta=sign)
        found = jon.importance(table)
        assert found.shares == {"learning_rate": 0.0, "beta": 0.0}
        assert found.rest == 1.0

    def test_failed_configurations_share_the_worst_rank(self):
        status = np.zeros((3, 2, 2), int)
        status[2] = Status.NON_FINITE  # and their frozen losses are the lowest of all
        values = np.array([[[2.0, 2], [3, 3]], [[4, 4], [5, 5]], [[0, 0], [1, 1]]])
        table = grid_table(values, status, learning_rate=[0.1, 1, 10], beta=[0, 0.9])
        found = jon.importance(table)
        ranks = np.array([[1, 2], [3, 4], [5.5, 5.5]])
        assert found.failed == 2
        np.testing.assert_allclose(found.shares["learning_rate"], ranks.mean(1).var() / ranks.var())
        assert "failed from most seeds: 2, counted as equally bad" in str(found)
        with pytest.raises(ValueError, match="2 configurations failed from most seeds; scale='rank'"):
            jon.importance(table, scale="value")

    def test_sampled_points_are_explained_by_what_made_them(self):
        rng = np.random.default_rng(0)
        rate, beta, nothing = rng.uniform(size=(3, 2048))
        kind = np.where(rng.uniform(size=2048) < 0.5, "a", "b")
        loss = np.sin(3 * rate) * 4 + beta + (kind == "a")
        table = points_table(np.repeat(loss[:, None], 2, axis=1), rate=rate, beta=beta, nothing=nothing, kind=kind)
        found = jon.importance(table, scale="value")
        total = np.var(loss)
        for name, part in (
            ("rate", np.sin(3 * rate) * 4),
            ("beta", beta),
            ("kind", kind == "a"),
            ("nothing", rate * 0),
        ):
            assert abs(found.shares[name] - np.var(part) / total) < 0.03, name
        assert next(iter(found.shares)) == "rate"

    def test_chance_explains_nothing_on_average(self):
        shares = []
        for seed in range(40):
            rng = np.random.default_rng(seed)
            shares.append(jon.importance(points_table(rng.normal(size=(32, 3)), x=rng.uniform(size=32))).shares["x"])
        assert np.mean(shares) < 0.1

    def test_what_cannot_be_explained_is_refused_or_zero(self):
        with pytest.raises(ValueError, match="needs at least 16 that were run from every seed, got 4 of 4"):
            jon.importance(points_table(np.ones((4, 2)), x=np.arange(4.0)))
        with pytest.raises(ValueError, match="a grid needs every configuration run to its end, and 1 of 3 were not"):
            jon.importance(grid_table(np.ones((3, 2)), [[0, 0], [0, Status.NOT_RUN], [0, 0]]))
        same = jon.importance(grid_table(np.ones((3, 2))))
        assert (same.shares, same.rest) == ({"learning_rate": 0.0}, 0.0)

    def test_a_grid_with_a_gap_names_what_is_missing_and_the_part_that_can_be_judged(self):
        """Rates are run in their order: of the fourth two seeds are missing, and of the last all."""
        status = np.zeros((5, 3, 4), int)
        status[3, 1, 2], status[3, 2], status[4] = Status.INTERRUPTED, Status.NOT_RUN, Status.NOT_RUN
        values = np.random.default_rng(0).normal(size=status.shape)
        table = grid_table(values, status, learning_rate=np.arange(5.0), beta=np.arange(3.0))
        words = (
            "and 5 of 15 were not: 1 interrupted, 16 not begun of 60 trials. With a store the same call resumes it. "
            "The part without a gap is table.isel(learning_rate=[0, 1, 2])"
        )
        with pytest.raises(ValueError, match=re.escape(words)):
            jon.importance(table)
        assert jon.importance(table.isel(learning_rate=[0, 1, 2])).unfinished == 0
        status = np.where(np.arange(3)[:, None] == 1, Status.NOT_RUN, 0) * np.ones_like(status)
        with pytest.raises(ValueError, match=re.escape("table.isel(beta=[0, 2])")):
            jon.importance(grid_table(values, status, learning_rate=np.arange(5.0), beta=np.arange(3.0)))

    def test_points_are_judged_without_those_that_did_not_finish(self):
        rng = np.random.default_rng(0)
        rate, status = rng.uniform(size=64), np.zeros((64, 2), int)
        status[60:] = Status.NOT_RUN
        table = points_table(np.repeat(rate[:, None], 2, axis=1), status, rate=rate)
        found, whole = jon.importance(table), jon.importance(table.isel(configuration=slice(60)))
        assert (found.shares, found.configurations, found.unfinished) == (whole.shares, 60, 8)
        assert str(found).endswith("warning: the sweep was interrupted, and 8 of its trials did not finish")
        assert "warning" not in str(whole)

    def test_a_real_sweep(self):
        space = jon.sample(32, jax.random.key(0), "sobol", learning_rate=scipy.stats.loguniform(1e-3, 0.04))
        space = space * jon.grid(beta=[0.0, 0.5])
        table = jon.sweep(jon.problems.quadratic([1.0, 20.0]), jon.momentum, space, steps=30, progress=False)
        assert next(iter(jon.importance(table).shares)) == "learning_rate"


def ishigami(a, b, c):
    return np.sin(a) + 7 * np.sin(b) ** 2 + 0.1 * c**4 * np.sin(a)


def g_function(a, b, c):
    return np.prod([(np.abs(4 * x - 2) + k) / (1 + k) for x, k in ((a, 0), (b, 0.5), (c, 3))], axis=0)


PARTS = 1 / (3 * (1 + np.array([0, 0.5, 3])) ** 2)  # of the variance of the g function
UNIT, ANGLE = scipy.stats.uniform(), scipy.stats.uniform(-np.pi, 2 * np.pi)


def shares_of_samples(n, method, function, repeats=20, seeds=1, noise=0.0, **distributions):
    """Of every sample and hyperparameter (share, low, high), for a function of the columns."""
    found = []
    for repeat in range(repeats):
        columns = jon.sample(n, jax.random.key(repeat), method, **distributions).columns()
        values = function(*columns.values())[:, None]
        values = values + noise * np.random.default_rng(repeat).normal(size=(n, seeds))
        one = jon.importance(points_table(values, **columns), scale="value")
        found.append([(one.shares[name], *one.intervals[name]) for name in distributions])
    return np.array(found)


def assert_right(found, truth, within=0.03):
    share, low, high = np.moveaxis(found, -1, 0)
    np.testing.assert_allclose(share.mean(axis=0), truth, atol=within)
    assert ((low <= np.add(truth, 1e-9)) & (np.subtract(truth, 1e-9) <= high)).mean() >= 0.9
    assert ((low <= share) & (share <= high)).all()


@pytest.mark.parametrize("method", ["random", "sobol", "latin", "halton"])
class TestSharesKnownInClosedForm:
    def test_a_line_on_a_linear_and_a_logarithmic_scale(self, method):
        rate = scipy.stats.loguniform(1e-4, 1)
        found = shares_of_samples(
            64, method, lambda a, b, c: 0.75 * np.log10(a) + b, a=rate, b=UNIT, c=scipy.stats.uniform()
        )
        assert_right(found, [0.9, 0.1, 0.0], within=0.01)
        assert (found[..., 2] - found[..., 1]).mean() < 0.1

    def test_ishigami(self, method):
        assert_right(
            shares_of_samples(64, method, ishigami, a=ANGLE, b=ANGLE, c=ANGLE), [0.3139, 0.4424, 0.0], within=0.03
        )

    def test_the_g_function(self, method):
        found = shares_of_samples(128, method, g_function, repeats=10, a=UNIT, b=UNIT, c=UNIT)
        assert_right(found, PARTS / (np.prod(1 + PARTS) - 1))

    def test_noise_of_the_seeds_is_explained_by_nothing(self, method):
        noise = np.sqrt(10 / 12)  # as much variance as the line has
        found = shares_of_samples(128, method, lambda a, b, c: 3 * a + b, noise=noise, a=UNIT, b=UNIT, c=UNIT)
        assert_right(found, [0.45, 0.05, 0.0])
        assert_right(shares_of_samples(64, method, lambda a, b: 0 * a, noise=1, a=UNIT, b=UNIT), [0, 0])

    def test_texts_booleans_and_integers(self, method):
        def value(kind, nesterov, batch):
            return np.select([kind == "a", kind == "b"], [0.0, 1.0], 3.0) + nesterov.astype(float) + np.log2(batch) / 2

        kinds = {"kind": ["a", "b", "c"], "nesterov": [False, True], "batch": [16, 32, 64, 128]}
        parts = np.array([np.var([0, 1, 3]), 0.25, np.var([0, 1, 2, 3]) / 4])
        assert_right(shares_of_samples(64, method, value, **kinds), parts / parts.sum())

    def test_a_sample_times_a_grid(self, method):
        parts = np.array([9 / 12, 0.25, 4 / 48])
        found = []
        for repeat in range(20):
            space = jon.sample(32, jax.random.key(repeat), method, a=UNIT) * jon.grid(b=[0.0, 1.0])
            columns = space.columns()
            a, b = columns["a"], columns["b"]
            values = 3 * a + b + 2 * (a - 0.5) * (b - 0.5)
            one = jon.importance(points_table(values[:, None], **columns), scale="value")
            found.append([(one.shares[name], *one.intervals[name]) for name in "ab"])
        assert_right(np.array(found), (parts / parts.sum())[:2])


class TestPointsThatDependOnEachOther:
    def test_copies_have_the_same_share(self):
        a, c = np.random.default_rng(0).uniform(size=(2, 64))
        found = jon.importance(points_table(a[:, None], a=a, copy=10 * a, c=c), scale="value")
        assert found.shares["a"] == pytest.approx(1, abs=0.01)
        assert found.shares["copy"] == pytest.approx(1, abs=0.01)
        assert found.shares["c"] == pytest.approx(0, abs=0.01)

    def test_an_effect_through_another_counts(self):
        """Of a + b with unit normal a, b of correlation r, E[f | a] = (1 + r) a."""
        found = []
        for seed in range(20):
            a, other = np.random.default_rng(seed).normal(size=(2, 256))
            b = 0.8 * a + 0.6 * other
            one = jon.importance(points_table((a + b)[:, None], a=a, b=b), scale="value")
            found.append([(one.shares[name], *one.intervals[name]) for name in "ab"])
        assert_right(np.array(found), [1.8**2 / 3.6] * 2)

    def test_an_absent_hyperparameter_is_a_level_of_its_own(self):
        rng = np.random.default_rng(0)
        a, b = rng.uniform(size=(2, 256))
        b[:128] = np.nan
        values = a + np.where(np.isnan(b), 0, 1 + b)
        found = jon.importance(points_table(values[:, None], a=a, b=b), scale="value")
        part = 0.5 / 12 + 0.25 * 1.5**2
        assert found.shares["b"] == pytest.approx(part / (part + 1 / 12), abs=0.03)
        assert found.intervals["b"][0] < part / (part + 1 / 12) < found.intervals["b"][1]


class TestIntervalsOfPoints:
    def test_they_are_printed_and_in_the_order_of_the_shares(self):
        a, b = np.random.default_rng(0).uniform(size=(2, 64))
        found = jon.importance(points_table((a + 3 * b)[:, None], a=a, b=b))
        assert list(found.intervals) == list(found.shares) == ["b", "a"]
        low, high = found.intervals["b"]
        assert f"b: {found.shares['b']:.0%} [{low:.0%}, {high:.0%}]" in str(found)

    def test_a_jump_loses_little_and_is_covered(self):
        """Where a learning rate diverges the rank jumps, which no smooth function follows."""
        for n, lost in ((64, 0.06), (256, 0.03)):
            columns = jon.sample(n, jax.random.key(0), "sobol", a=UNIT, b=UNIT).columns()
            found = jon.importance(points_table((columns["a"] > 0.7).astype(float)[:, None], **columns))
            assert 1 - lost < found.shares["a"] <= 1
            assert found.intervals["a"][1] == 1

    def test_what_says_nothing(self):
        a = np.arange(16.0)
        found = jon.importance(points_table(a[:, None], a=a, same=np.ones(16), text=a.astype(str)), scale="value")
        assert found.shares["a"] > 0.95
        assert found.intervals["same"] == (0, 0)  # it does not vary
        assert (found.shares["text"], found.intervals["text"]) == (0, (0, 1))  # a value of its own at each point

    def test_the_order_of_the_points_does_not_matter(self):
        columns = jon.sample(64, jax.random.key(0), "random", a=ANGLE, b=ANGLE, c=ANGLE).columns()
        values, order = ishigami(*columns.values()), np.random.default_rng(0).permutation(64)
        first = jon.importance(points_table(values[:, None], **columns))
        mixed = {name: column[order] for name, column in columns.items()}
        second = jon.importance(points_table(values[order, None], **mixed))
        for name, share in first.shares.items():
            assert second.shares[name] == pytest.approx(share, abs=1e-6)
            assert second.intervals[name] == pytest.approx(first.intervals[name], abs=1e-6)


def test_the_best_of_an_interrupted_sweep_names_what_is_missing():
    rates = jon.grid(learning_rate=[0.01, 0.05, 0.09])
    valley = jon.problems.quadratic([1.0, 20.0])
    table = jon.sweep(valley, jon.gradient_descent, rates, seeds=2, steps=20, progress=False)
    assert jon.best(table).unfinished == 0
    table.status[{"learning_rate": 2}] = jon.Status.NOT_RUN
    found = jon.best(table)
    assert found.unfinished == 2
    assert "interrupted, and 2 of its trials did not finish" in str(found)
