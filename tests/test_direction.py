"""Metrics of either direction: declared once, kept by every table, and never guessed from a name."""

import functools
import inspect
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import optuna
import pytest
import xarray

import jaxopt_notes as jon
from jaxopt_notes import Status, cli, plots
from jaxopt_notes._digests import read_json, write_json
from jaxopt_notes.plots import _tables as tables
from jaxopt_notes.report import report
from jaxopt_notes.sweeps import replay

mpl.use("agg")

RATES = [0.001, 0.01, 0.1, 0.3]
INPUTS = jax.random.normal(jax.random.key(0), (16, 2))
DATA = (INPUTS, INPUTS @ jnp.array([1.0, -2.0]))
UNKNOWN = "'{}' does not declare whether higher or lower is better"
DECLARE = r"metrics=\{{'{0}': jon.maximize\({0}\)\}} or jon.Metric\({0}, direction='min'\), or pass direction='max'"


def squares(w, batch):
    return jnp.mean((batch[0] @ w - batch[1]) ** 2)


def r2(w, batch):
    return 1 - squares(w, batch) / jnp.var(batch[1])


def inaccuracy(w, batch):
    return jnp.mean((jnp.abs(batch[0] @ w - batch[1]) > 0.1).astype(jnp.float32))


METRICS = {"r2": jon.maximize(r2), "inaccuracy": jon.Metric(inaccuracy, direction="min"), "undeclared_accuracy": r2}


def problem(metrics=METRICS):
    init = lambda key: jax.random.normal(key, (2,))
    return jon.Problem(squares, init, DATA, test_data=DATA, metrics=metrics)


PROBLEM = problem()
OPTIONS = dict(seeds=3, steps=12, width=4, progress=False)


def sweep(made=PROBLEM, optimizer=jon.gradient_descent, space=None, **options):
    one = {} if "executor" in options else {"devices": jax.devices()[:1]}
    space = None if isinstance(optimizer, dict) else space or jon.grid(learning_rate=RATES)
    return jon.sweep(made, optimizer, space, **OPTIONS | one | options)


@pytest.fixture(scope="module")
def table():
    return sweep()


def drawn(values, status=None, name="final_score", direction=None, dims=("learning_rate", "beta")):
    """A table of one metric, shape (learning rates, betas, seeds), and of losses that say the opposite."""
    values = np.asarray(values, float)
    dims = (*dims, "seed")[-values.ndim :]
    status = np.zeros(values.shape, int) if status is None else np.asarray(status)
    variables = {name: (dims, values), "final_loss": (dims, 9 + values), "status": (dims, status)}
    coords = {dim: np.geomspace(0.01, 1, size) for dim, size in zip(dims, values.shape, strict=True)}
    made = xarray.Dataset(variables, coords | {"seed": np.arange(values.shape[-1])}, {"optimizer": "momentum"})
    if direction:
        made[name].attrs["direction"] = direction
    return made


def highest(values):
    """The place of the highest median over the last axis, by numpy."""
    return np.unravel_index(np.argmax(np.median(values, axis=-1)), values.shape[:-1])


class TestMetric:
    def test_it_behaves_as_its_function(self):
        compiled = jax.jit(r2)
        for function in (r2, compiled, functools.partial(r2), lambda w, batch: r2(w, batch)):
            metric = cloudpickle.loads(cloudpickle.dumps(jon.maximize(function)))
            assert float(metric(jnp.ones(2), DATA)) == float(function(jnp.ones(2), DATA))
            assert metric.direction == "max"
        assert jon.maximize(r2) == jon.Metric(r2, "max") != jon.Metric(r2, "min")
        assert hash(jon.maximize(r2)) == hash(jon.Metric(r2, direction="max"))
        assert jon.maximize(r2).__name__ == "r2"
        assert jon.maximize(functools.partial(r2)).__name__ == "r2"
        assert inspect.signature(jon.maximize(r2)) == inspect.signature(r2)

    def test_it_decorates(self):
        @jon.maximize
        def score(w, batch):
            return r2(w, batch)

        assert score == jon.Metric(score.function, "max")

    def test_a_declared_metric_is_the_same_program(self):
        plain = problem({"r2": r2})
        plans = [
            jon.plan(made, jon.momentum, jon.grid(learning_rate=[0.1]), steps=2, devices=jax.devices()[:1])
            for made in (plain, problem({"r2": jon.maximize(r2)}))
        ]
        first, second = (plan.groups[0] for plan in plans)
        assert first.evaluate == second.evaluate
        assert first.fingerprint == second.fingerprint

    def test_wrong_use_is_named(self):
        with pytest.raises(TypeError, match="function must be a function of the parameters, got 3"):
            jon.maximize(3)
        with pytest.raises(TypeError, match="without a direction"):
            jon.Metric(jon.maximize(r2), direction="min")
        with pytest.raises(ValueError, match=r"unknown direction 'maximum'; did you mean 'max'.*accepted: max, min"):
            jon.Metric(r2, direction="maximum")


class TestBest:
    def test_the_direction_decides_and_not_the_name(self, table):
        assert jon.best(table, "final_r2").config["learning_rate"] == RATES[highest(table.final_r2.values)[0]]
        assert jon.best(table, "test_r2").config["learning_rate"] == RATES[highest(table.test_r2.values)[0]]
        lowest = highest(-table.final_inaccuracy.values)[0]
        assert jon.best(table, "final_inaccuracy").config["learning_rate"] == RATES[lowest]
        assert str(jon.best(table, "final_r2")).splitlines()[0].endswith(", the highest")
        assert str(jon.best(table, "test_loss")).splitlines()[0].endswith(", the lowest")
        held = str(jon.best(table, "final_r2", report_seeds=1))
        assert "so this median is not biased by the selection" in held

    def test_an_unknown_direction_is_refused_and_can_be_given(self, table):
        name = "undeclared_accuracy"
        with pytest.raises(ValueError, match=UNKNOWN.format(f"final_{name}") + ".*" + DECLARE.format(name)):
            jon.best(table, f"final_{name}")
        best = jon.best(table, f"final_{name}", direction="max")
        assert best.config == jon.best(table, "final_r2").config
        assert (best.direction, best.median) == ("max", jon.best(table, "final_r2").median)
        worst = highest(-table.final_r2.values)[0]
        assert jon.best(table, "final_r2", direction="min").config["learning_rate"] == RATES[worst]
        with pytest.raises(ValueError, match="unknown direction 'up'; accepted: max, min"):
            jon.best(table, "final_r2", direction="up")
        with pytest.raises(ValueError, match=r"score.attrs\['direction'\] must be one of max, min, got 'higher'"):
            jon.best(drawn([[1.0]], direction="higher"), "final_score")

    @pytest.mark.parametrize("name", ["accuracy", "auc", "f1", "hinge_loss", "neg_loss", "error", "rmse"])
    def test_no_name_says_it(self, name):
        with pytest.raises(ValueError, match=UNKNOWN.format(f"final_{name}")):
            jon.best(drawn([[1.0], [2.0]], name=f"final_{name}"), f"final_{name}")
        with pytest.raises(ValueError, match=UNKNOWN.format(name) + ": pass direction='max' or direction='min'"):
            jon.best(drawn([[1.0], [2.0]], name=name), name)

    def test_what_is_made_of_a_metric_has_no_direction_of_its_own(self, table):
        with xarray.set_options(keep_attrs=True):  # which is xarray's habit now
            made = table.assign(final_error=1 - table.final_r2, gain=-table.final_loss)
        for name in ("final_error", "gain"):
            with pytest.raises(ValueError, match=UNKNOWN.format(name)):
                jon.best(made, name)
        assert jon.best(made, "final_error", direction="min").config == jon.best(table, "final_r2").config

    def test_failures_are_the_worst_of_either_direction(self):
        status = [[Status.COMPLETED] * 3, [Status.DIVERGED] * 3]
        for direction, values in (("max", [[0.1] * 3, [0.9] * 3]), ("min", [[0.9] * 3, [0.1] * 3])):
            best = jon.best(drawn(values, status), "final_score", direction=direction)
            assert best.config == {"beta": 0.01}
            assert best.interval == (best.median, best.median) == (values[0][0],) * 2

    def test_families_are_ranked_by_the_direction_and_must_agree_on_it(self):
        low, high = drawn([[0.1] * 3, [0.2] * 3], direction="max"), drawn([[0.7] * 3, [0.6] * 3], direction="max")
        best = jon.best(xarray.DataTree.from_dict({"low": low, "high": high}), "final_score")
        assert best.config == {"family": "high", "beta": 0.01}
        assert list(best.families) == ["high", "low"]
        other = high.copy(deep=True)
        other.final_score.attrs["direction"] = "min"
        tree = xarray.DataTree.from_dict({"low": low, "high": other})
        with pytest.raises(ValueError, match="low 'max', high 'min'; pass direction="):
            jon.best(tree, "final_score")
        assert jon.best(tree, "final_score", direction="min").config == {"family": "low", "beta": 0.01}


def said(table):
    return {str(name): one.attrs["direction"] for name, one in table.data_vars.items() if "direction" in one.attrs}


EXPECTED = {f"{part}_{name}": d for part in ("final", "test") for name, d in (("r2", "max"), ("inaccuracy", "min"))}
EXPECTED |= dict.fromkeys(["loss", "initial_loss", "final_loss", "test_loss"], "min")


class TestTables:
    def test_every_way_to_a_table_keeps_the_directions(self, table, tmp_path):
        assert said(table) == EXPECTED
        with xarray.open_dataset(jon.save(table, tmp_path / "table.nc")) as read:
            assert said(read) == EXPECTED
        chunks = []
        stored = sweep(store=tmp_path / "store", on_chunk=chunks.append)
        assert said(stored) == said(jon.open_sweep(tmp_path / "store")) == said(chunks[0]) == EXPECTED
        with ThreadPoolExecutor(1) as executor:
            assert said(sweep(executor=executor)) == EXPECTED
        groups = sweep(
            space=jon.grid(learning_rate=[0.1], nesterov=[False, True]), optimizer=either, store=tmp_path / "g"
        )
        assert said(groups) == said(jon.open_sweep(tmp_path / "g")) == EXPECTED
        pruned = sweep(prune=jon.halving(2, 2, metric="final_r2"), store=tmp_path / "pruned")
        assert said(pruned) == said(jon.open_sweep(tmp_path / "pruned")) == EXPECTED | {"rung_metric": "max"}
        tree = sweep(optimizer={"slow": (jon.gradient_descent, jon.grid(learning_rate=[0.01]))}, store=tmp_path / "f")
        with xarray.open_datatree(jon.save(tree, tmp_path / "tree.nc")) as read:
            assert said(read["slow"].to_dataset()) == said(jon.open_sweep(tmp_path / "f")["slow"]) == EXPECTED
        run = jon.minimize(squares, jnp.ones(2), jon.momentum(0.1), steps=3, data=DATA)
        assert said(run.to_dataset()) == dict.fromkeys(["loss", "initial_loss", "final_loss"], "min")

    def test_a_store_that_says_no_directions_opens_and_guesses_none(self, table, tmp_path):
        sweep(store=tmp_path)
        manifest = read_json(tmp_path / "manifest.json", "")
        assert manifest["layout"].pop("described")
        write_json(tmp_path / "manifest.json", manifest)
        old = jon.open_sweep(tmp_path)
        assert said(old) == {}
        assert jon.best(old) == jon.best(table)
        with pytest.raises(ValueError, match=UNKNOWN.format("test_r2") + ".*" + DECLARE.format("r2")):
            jon.best(old, "test_r2")
        assert jon.best(old, "test_r2", direction="max") == jon.best(table, "test_r2")
        assert said(sweep(store=tmp_path)) == EXPECTED  # the same sweep, whose problem says it

    def test_problems_of_one_table_must_agree(self):
        def made(lower):
            return problem({"r2": jon.Metric(r2, "min" if lower else "max")})

        space = jon.grid(learning_rate=[0.1], lower=[True, False])
        with pytest.raises(
            ValueError, match=r"'r2' must have one direction .* 'min' with lower=True, 'max' with lower=F"
        ):
            jon.sweep(made, jon.momentum, space, steps=2, progress=False)

    def test_our_own_problems_declare_theirs(self):
        small = jon.problems.digits_mlp(hidden=2)
        assert (
            small.metrics["accuracy"].direction == jon.problems.digits_cnn((2,)).metrics["accuracy"].direction == "max"
        )


def either(learning_rate, *, nesterov):
    return (jon.nesterov if nesterov else jon.momentum)(learning_rate, beta=0.5)


class TestPruning:
    @pytest.mark.parametrize("make", [lambda **o: jon.halving(2, 3, **o), lambda **o: jon.median_stopping(2, 0.3, **o)])
    def test_the_better_ones_go_on(self, make):
        seen = {}
        for metric, options in (("final_r2", {}), ("final_undeclared_accuracy", {"direction": "max"})):
            seen[metric] = sweep(prune=make(metric=metric, **options))
            measured = seen[metric].rung_metric.values.T  # (rungs, configurations)
            alive = np.ones(len(RATES), bool)
            for rung, row in zip(seen[metric].rung.values, measured, strict=True):
                gone = seen[metric].pruned_at.values == rung
                if gone.any():
                    assert row[alive & gone].max() <= row[alive & ~gone].min()
                alive &= ~gone
            assert not alive.all()
            pruned = replay(make(metric=metric), seen[metric].rung.values.tolist(), measured, direction="max")
            np.testing.assert_array_equal(pruned, seen[metric].pruned_at)
            assert jon.best(seen[metric], metric, direction="max").config == {"learning_rate": 0.3}
            assert seen[metric].attrs["prune_direction"] == "max"
        np.testing.assert_array_equal(*(one.pruned_at for one in seen.values()))
        worst = sweep(prune=make(metric="final_r2", direction="min"))
        assert np.isnan(worst.pruned_at.values[0])
        with pytest.raises(ValueError, match=UNKNOWN.format("final_r2")):
            replay(make(metric="final_r2"), [3], np.ones((1, 4)))

    def test_an_unknown_direction_is_refused_before_anything_is_written(self, tmp_path):
        for prune in (
            jon.halving(metric="test_undeclared_accuracy"),
            jon.median_stopping(metric="test_undeclared_accuracy"),
        ):
            with pytest.raises(ValueError, match=UNKNOWN.format("test_undeclared_accuracy")):
                sweep(prune=prune, store=tmp_path / "store")
        assert not (tmp_path / "store").exists()
        for make in (jon.halving, jon.median_stopping):
            with pytest.raises(ValueError, match="unknown direction 'highest'; accepted: max, min"):
                make(direction="highest")

    def test_another_direction_is_another_sweep(self, tmp_path):
        prune = jon.halving(2, 2, metric="final_r2")
        sweep(prune=prune, store=tmp_path)
        with pytest.raises(jon.StoreError, match="prune_direction: max there, min now"):
            sweep(problem({**METRICS, "r2": jon.Metric(r2, "min")}), prune=prune, store=tmp_path)

    def test_a_pruner_of_ones_own_needs_no_direction_if_the_metric_has_one(self):
        class KeepOne:
            metric = "final_r2"

            def decide_at(self, steps):
                return [steps // 2]

            def survivors(self, medians, alive):
                return alive & (medians == medians[alive].min())

        table = sweep(prune=KeepOne())
        assert np.flatnonzero(np.isnan(table.pruned_at)).tolist() == [highest(table.rung_metric.values)[0]]


class TestOptuna:
    DISTRIBUTIONS = {"learning_rate": optuna.distributions.FloatDistribution(1e-3, 0.3, log=True)}  # noqa: RUF012

    def optimize(self, study, metric, **options):
        settings = dict(trials=4, batch=4, steps=4, metric=metric, progress=False) | options
        jon.optuna.optimize(study, PROBLEM, jon.gradient_descent, self.DISTRIBUTIONS, **settings)
        return study

    @pytest.fixture(autouse=True)
    def quiet(self):
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    def study(self, direction=None):
        return optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))

    def test_studies_of_either_direction_work(self):
        rates = lambda study: [trial.params["learning_rate"] for trial in study.trials]
        for metric in ("final_r2", "test_undeclared_accuracy"):  # the study says it of the second
            study = self.optimize(self.study("maximize"), metric)
            assert study.best_params["learning_rate"] == max(rates(study))
        for metric, options in (
            ("test_inaccuracy", {}), ("final_loss", {}), ("final_undeclared_accuracy", {"direction": "min"}),
        ):  # fmt: skip
            study = self.optimize(self.study("minimize"), metric, **options)
            assert study.best_value == min(trial.value for trial in study.trials)

    @pytest.mark.parametrize(
        ("direction", "metric", "options", "message"),
        [
            (
                "minimize",
                "final_r2",
                {},
                r"must maximize 'final_r2', got .* minimize; .*create_study\(direction='maximize",
            ),
            ("maximize", "final_loss", {}, r"must minimize 'final_loss', .* or pass direction='max'"),
            ("maximize", "final_inaccuracy", {}, "must minimize 'final_inaccuracy'"),
            (None, "final_undeclared_accuracy", {}, UNKNOWN.format("final_undeclared_accuracy")),
            ("minimize", "final_undeclared_accuracy", {"direction": "max"}, "must maximize"),
            ("maximize", "final_r2", {"direction": "min"}, "must minimize 'final_r2'"),
            ("maximize", "final_r2", {"direction": "up"}, "unknown direction 'up'"),
        ],
    )
    def test_a_study_of_another_direction_is_refused_before_a_trial_is_asked_for(
        self, direction, metric, options, message
    ):
        study = self.study(direction)
        with pytest.raises(ValueError, match=message):
            self.optimize(study, metric, **options)
        assert study.trials == []


class TestImportance:
    def test_failures_are_the_worst_of_either_direction(self):
        """A column of failures where the metric is to be high is as bad as where its negative is to be low."""
        values = np.arange(12.0).reshape(4, 3, 1)
        status = np.zeros(values.shape, int)
        status[:2, 0] = Status.DIVERGED
        high = jon.importance(drawn(values, status, direction="max"), "final_score")
        low = jon.importance(drawn(-values, status), "final_score", direction="min")
        assert high == low
        assert high != jon.importance(drawn(values, status), "final_score", direction="min")
        with pytest.raises(ValueError, match=UNKNOWN.format("final_score")):
            jon.importance(drawn(values, status), "final_score")


def lines(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


class TestFigures:
    VALUES = np.array(
        [[[-3.0, -2.0, -1.0], [0.2, 0.3, 0.4]], [[0.7, 0.8, 0.9], [0.5, 0.5, 0.5]], [[0.0, 0.1, 0.2]] * 2]
    )

    def test_the_star_is_at_the_better_end(self):
        table, score = drawn(self.VALUES, direction="max"), {"metric": "final_score"}
        at, best = highest(self.VALUES), 0.8
        rate, beta = (table[name].values[place] for name, place in zip(("learning_rate", "beta"), at, strict=True))
        ax = plots.learning_rate_sensitivity(table, **score)
        assert lines(ax, "best")[0].get_xydata().tolist() == [[rate, best]]
        assert "highest median" in [text.get_text() for text in ax.get_legend().get_texts()]
        assert "The highest median is 0.8" in plots.alt_text(ax)
        ax = plots.heatmap(table, **score)
        assert "The highest median is 0.8, at learning_rate=0.1, beta=0.01." in plots.alt_text(ax)
        assert "highest median" in [text.get_text() for text in ax.get_legend().get_texts()]
        deep = table.expand_dims(eps=[1.0, 2.0]).assign_attrs(table.attrs)
        deep["final_score"] = deep.final_score * xarray.DataArray([0.5, 1.0], dims="eps")
        ax = plots.heatmap(deep, x="learning_rate", y="beta", **score, direction="max")
        assert "The highest median is 0.8, at learning_rate=0.1, beta=0.01." in plots.alt_text(ax)
        points = table.isel(beta=0, drop=True).rename(learning_rate="configuration")
        points = points.assign_coords(eps=("configuration", [1.0, 2.0, 3.0]))
        ax = plots.samples(points, **score)
        assert lines(ax, "best")[0].get_xydata().tolist() == [[2.0, best]]
        assert "The highest median is 0.8, at eps=2" in plots.alt_text(ax)
        ax = plots.compare({"one": table, "other": drawn(self.VALUES - 1, direction="max")}, **score)
        assert "Highest medians: one, beta=0.01: 0.8, at learning rate 0.1" in plots.alt_text(ax)
        assert beta == 0.01

    def test_an_unknown_direction_is_refused_and_can_be_given(self):
        table = drawn(self.VALUES)
        points = table.isel(beta=0, drop=True).rename(learning_rate="configuration")
        points = points.assign_coords(eps=("configuration", [1.0, 2.0, 3.0]))
        calls = [
            functools.partial(plots.learning_rate_sensitivity, table),
            functools.partial(plots.heatmap, table),
            functools.partial(plots.samples, points),
            functools.partial(plots.compare, {"one": table}),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=UNKNOWN.format("final_score")):
                call(metric="final_score")
            assert "ighest median" in plots.alt_text(call(metric="final_score", direction="max"))
            assert "owest median" in plots.alt_text(call(metric="final_score", direction="min"))
        with pytest.raises(ValueError, match="some tables have 'max', others 'min'"):
            plots.compare(
                {"one": drawn(self.VALUES, direction="max"), "other": drawn(self.VALUES, direction="min")},
                metric="final_score",
            )

    @pytest.mark.parametrize(("direction", "sign"), [("max", 1.0), ("min", -1.0)])
    def test_a_band_that_failure_reaches_leaves_at_the_worse_edge_whatever_the_sign(self, direction, sign):
        """An R^2 may be far below 0, and a log-likelihood to be minimised negative throughout."""
        values = sign * np.array([[-50.0, -49.0, -48.0], [-20.0, -19.0, -18.0]])
        values = values if direction == "max" else values - 100.0
        status = np.array([[0, 0, 0], [0, 0, Status.DIVERGED]])
        ax = plots.learning_rate_sensitivity(
            drawn(values, status, dims=("learning_rate",)), metric="final_score", direction=direction
        )
        (band,) = ax.collections
        reached, (low, high) = band.get_paths()[0].vertices[:, 1], ax.get_ylim()
        assert (reached.min() < low and reached.max() <= high) if direction == "max" else (reached.max() > high)

    def test_only_our_own_losses_have_references(self):
        table = drawn(self.VALUES + 9, name="final_hinge_loss", direction="min").assign_attrs(baseline_loss=2.3)
        assert not lines(plots.learning_rate_sensitivity(table, metric="final_hinge_loss"), "reference")
        assert lines(plots.learning_rate_sensitivity(table), "reference")


class TestReport:
    def test_the_winner_is_chosen_by_the_metric_in_its_direction(self, table, tmp_path):
        kept = table.drop_vars("loss").assign_attrs(optimizer="adam")
        worse = kept.copy(deep=True).assign_attrs(optimizer="momentum")
        worse["final_r2"] = worse.final_r2 - 5
        path = report({"adam": kept, "momentum": worse}, tmp_path / "report.html", metric="final_r2")
        page = path.read_text()
        best = jon.best(table, "final_r2")
        assert f"Best: learning_rate=0.3, with a median final r2 of {best.median:.4g} over 3 seeds" in page
        assert f"Highest: adam, with a median final r2 of {best.median:.4g}." in page
        assert "highest median final r2" in page
        assert "Left out, as the table does not declare whether higher or lower is better" in page
        assert "median test inaccuracy" in page
        assert "median test undeclared" not in page
        with pytest.raises(ValueError, match="adam: " + UNKNOWN.format("test_undeclared_accuracy")):
            report({"adam": kept}, path, metric="test_undeclared_accuracy")
        report({"adam": kept}, path, metric="test_undeclared_accuracy", direction="max")
        assert ", the highest." in path.read_text()

    def test_a_pruned_sweep_says_which_went_on(self, tmp_path):
        pruned = sweep(prune=jon.halving(2, 2, metric="final_r2"))
        page = report(pruned, tmp_path / "report.html").read_text()
        assert "; the highest went on." in page


MINE = """
import jax.numpy as jnp
import jaxopt_notes as jon
near = lambda x: 1 / (1 + jnp.sum(x**2))
bowl = jon.Problem(lambda x: jnp.sum(x**2), init=jnp.ones(2), metrics={"near": jon.maximize(near), "raw": near})
"""


def test_the_command_line_takes_declares_and_refuses_directions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    (tmp_path / "mine.py").write_text(MINE)
    command = ["sweep", "mine.py:bowl", "gradient_descent", "learning_rate=0.01,0.1", "--steps", "5", "--keep-params"]
    command += ["--store", "runs/sweep"]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert cli.main([*command, "--metric", "final_raw"]) == 2
        assert UNKNOWN.format("final_raw") in capsys.readouterr().err
        assert not (tmp_path / "runs").exists()
        assert cli.main([*command, "--metric", "final_near"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("learning_rate=0.1: median final_near")
        assert ", the highest" in out
        assert cli.main([*command, "--metric", "final_raw", "--direction", "max"]) == 0
        assert capsys.readouterr().out.startswith("learning_rate=0.1: median final_raw")
        judge = ["classify", "mine.py:bowl", "--sweep", "runs/sweep", "--metric", "final_raw"]
        assert cli.main(judge) == 2
        assert UNKNOWN.format("final_raw") in capsys.readouterr().err
        assert cli.main([*judge, "--direction", "max"]) == 0
        assert capsys.readouterr().out.startswith("learning_rate=0.1, seed 0")
        assert cli.main(["report", "runs/sweep", "--metric", "final_near"]) == 0
    assert "the highest" in (tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def kept():
    """Of two axes, with end points that are matrices that no transposition leaves alone, and equal winners."""
    start = {"w": jnp.arange(4.0).reshape(2, 2)}
    one = jon.Problem(
        lambda p: jnp.sum(p["w"] ** 2), init=start, metrics={"size": jon.maximize(lambda p: p["w"][0, 1])}
    )
    space = jon.grid(learning_rate=[0.0, 0.01, 0.02], beta=[0.0, 0.5])
    return one, sweep(one, jon.momentum, space, keep_params=True)


class TestTransposed:
    """A table is the same whatever the order of its dims."""

    def orders(self, table):
        yield table.transpose()
        yield table.transpose("seed", "beta", "learning_rate", ...)
        yield table.transpose("step", "beta", "seed", "learning_rate", ...)
        yield table.assign(final_loss=table.final_loss.transpose(), status=table.status.transpose("beta", ...))

    def test_best_and_importance(self, kept):
        _, table = kept
        for metric in ("final_loss", "final_size"):
            expected = jon.best(table, metric)
            for other in self.orders(table):
                assert jon.best(other, metric) == expected
                assert str(jon.best(other, metric)) == str(expected)
                assert jon.importance(other, metric) == jon.importance(table, metric)
        assert jon.best(table, "final_size").ties  # whose order is the same as well

    def test_end_points(self, kept):
        one, table = kept
        for other in self.orders(table):
            found = jon.end_point(other, one, learning_rate=0.0, beta=0.5, seed=1)
            np.testing.assert_array_equal(found["w"], np.arange(4.0).reshape(2, 2))

    def test_figures_and_reports(self, kept, tmp_path):
        _, table = kept
        winner = jon.best(table).config
        words = lambda one: [(kind, plots.alt_text(ax)) for kind, ax in plots.figures(one, winner)]
        page = lambda one: report(one, tmp_path / "page.html").read_text()
        expected = words(table), page(table).split("<script")[0]
        for other in self.orders(table):
            assert (words(other), page(other).split("<script")[0]) == expected
            assert tables.axis_names(other) == ["learning_rate", "beta"]
            named = jon.diagnose(table), jon.diagnose(other)
            assert named[0].diagnosis.equals(named[1].diagnosis.transpose(*named[0].diagnosis.dims))

    def test_lists_of_points_and_pruned_tables(self):
        points = jon.zipped(learning_rate=RATES, beta=[0.0, 0.1, 0.2, 0.3])
        table = sweep(optimizer=jon.momentum, space=points, prune=jon.halving(2, 2, metric="final_r2"))
        for other in (table.transpose(), table.transpose("step", "seed", ...)):
            for metric in ("final_loss", "final_r2"):
                assert jon.best(other, metric) == jon.best(table, metric)
            words = [[plots.alt_text(ax) for _, ax in plots.figures(one)] for one in (table, other)]
            assert words[0] == words[1]

    def test_trees(self, kept):
        _, table = kept
        tree, other = (xarray.DataTree.from_dict({"a": one, "b": table}) for one in (table, table.transpose()))
        assert jon.best(tree, "final_size") == jon.best(other, "final_size")
