"""Races: closed forms, calibration, what is unfair, what is printed, and a race that was killed."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
import xarray

import jaxopt_notes as jon
from jaxopt_notes import Status, cli, plots
from jaxopt_notes.race import sign_flip_test, tuned_test


def valley():
    """A ravine with a start of its own for every seed."""
    return jon.Problem(lambda x: x[0] ** 2 + 10 * x[1] ** 2, lambda key: jax.random.normal(key, (2,)))


def rates(count, low=1e-3, high=0.09, key=0):
    return jon.sample(count, jax.random.key(key), learning_rate=scipy.stats.loguniform(low, high))


METHODS = {"descent": (jon.gradient_descent, rates(16)), "adam": (jon.adam, rates(16, key=1))}
OPTIONS = {"tuning_seeds": 3, "scoring_seeds": 5, "steps": 40, "progress": False}


@pytest.fixture(scope="module")
def raced():
    return jon.race(valley(), METHODS, **OPTIONS)


def table_of(losses, first=9.0, **attributes):
    """A table with these final losses, one row per configuration and a column per seed."""
    losses = np.asarray(losses, float)
    names, status = ("learning_rate", "seed"), np.where(np.isfinite(losses), Status.COMPLETED, Status.DIVERGED)
    variables = {
        "final_loss": (names, losses),
        "initial_loss": (names, np.full(losses.shape, first)),
        "test_accuracy": (names, 1 / (1 + losses), {"direction": "max", "direction_of": "test_accuracy"}),
        "score": (names, losses),
        "status": (names, status.astype(np.int32)),
    }
    coordinates = {"learning_rate": np.arange(1.0, len(losses) + 1), "seed": np.arange(losses.shape[1])}
    return xarray.Dataset(variables, coordinates, attributes)


def noise(seed, configurations=16, seeds=8):
    """A few good configurations among bad ones in random places, and the noise of the seeds."""
    random = np.random.default_rng(seed)
    quality = random.permutation(np.linspace(0, 1, configurations))[:, None] ** 2
    return 1 + quality + 0.02 * random.normal(size=(configurations, seeds))


def drawn(random, count=24, effect=0.0, interaction=0.0):
    """(tuning, scoring) of a method whose configurations differ, with an effect and a luck of seeds of its own."""
    quality = np.exp(random.uniform(-1, 1, count) ** 2)[:, None] - effect
    values = quality + interaction * random.normal(size=16) + 0.03 * random.normal(size=(count, 16))
    return np.median(values[:, :8], axis=1), values[:, 8:]


def test_the_curve_is_the_mean_over_all_subsets_of_the_score_of_the_one_that_is_tuned_best():
    losses = {name: noise(seed, 7, 6) for seed, name in enumerate(("one", "other"))}
    found = jon.race({name: table_of(values) for name, values in losses.items()}, scale="linear")
    for name, values in losses.items():
        tuning, scores = np.median(values[:, :3], axis=1), values[:, 3:].mean(axis=1)
        for budget in range(1, 8):
            picked = [scores[min(some, key=tuning.__getitem__)] for some in itertools.combinations(range(7), budget)]
            curve = found.curves.expected.sel(optimizer=name, budget=budget)
            assert float(curve) == pytest.approx(np.mean(picked), rel=1e-12)


@pytest.mark.parametrize("budget", [5, 3])
def test_without_noise_p_is_that_of_all_deals(budget):
    random = np.random.default_rng(3)
    values = np.concatenate([random.normal(0, 1, 5), random.normal(1, 1, 5)])
    ranks = np.arange(1, 6)
    shares = scipy.special.comb(5 - ranks, budget - 1) / scipy.special.comb(5, budget)

    def gap(mine):
        rest = [i for i in range(10) if i not in mine]
        return shares @ np.sort(values[list(mine)]) - shares @ np.sort(values[rest])

    gaps = np.abs([gap(mine) for mine in itertools.combinations(range(10), 5)])
    exact = (gaps >= abs(gap(range(5))) - 1e-12).mean()
    one, other = ((part, np.stack([part, part], axis=1)) for part in (values[:5], values[5:]))
    assert tuned_test(one, other, budget) == pytest.approx(exact, abs=1e-12 if budget == 5 else 0.03)


def test_p_is_at_least_that_of_the_seeds_alone_and_does_not_depend_on_the_order_or_the_units():
    random = np.random.default_rng(4)
    for _ in range(20):
        one, other = drawn(random), drawn(random, effect=0.1)
        p = tuned_test(one, other)
        seeds = [scores[np.argmin(tuning)] for tuning, scores in (one, other)]
        assert p >= scipy.stats.ttest_rel(*seeds).pvalue - 1e-12
        assert tuned_test(other, one) == pytest.approx(p)
        shuffled = random.permutation(24)
        moved = [(1000 * (tuning + 3)[shuffled], 1000 * (scores + 3)[shuffled]) for tuning, scores in (one, other)]
        assert tuned_test(*moved) == pytest.approx(p)


@pytest.mark.parametrize("interaction", [0.0, 0.1])
def test_one_method_under_two_names_rarely_wins_and_a_better_one_does(interaction):
    """Also where each name has a luck of seeds of its own, which is no merit."""
    random, races = np.random.default_rng(5), 1000
    null = np.array([tuned_test(*(drawn(random, interaction=interaction) for _ in range(2))) for _ in range(races)])
    for level in (0.05, 0.001):
        wrong = int((null <= level).sum())
        assert scipy.stats.binomtest(wrong, races, level, alternative="greater").pvalue > 1e-3
    effect = 0.4 if interaction else 0.15
    won = [
        tuned_test(drawn(random, effect=effect, interaction=interaction), drawn(random, interaction=interaction))
        for _ in range(200)
    ]
    assert np.mean(np.array(won) <= 0.05) > 0.8


def test_the_seeds_alone_would_name_false_winners():
    """Two tuned configurations of one method do differ: one was tuned with more luck."""
    random, p = np.random.default_rng(6), []
    for _ in range(400):
        tuned = [scores[np.argmin(tuning)] for tuning, scores in (drawn(random), drawn(random))]
        p.append(float(sign_flip_test(tuned[0] - tuned[1])))
    assert np.mean(np.array(p) <= 0.05) > 0.05


def test_a_race_is_a_sweep_tuned_by_some_seeds_and_scored_by_the_others(raced):
    assert raced.budget == 16
    assert (raced.tuning_seeds, raced.scoring_seeds) == ((0, 1, 2), (3, 4, 5, 6, 7))
    assert {*raced.tree.children} == {"descent", "adam"}
    for name in METHODS:
        table = raced.tree[name].to_dataset()
        assert dict(table.final_loss.sizes) == {"configuration": 16, "seed": 8}
        chosen = int(np.argmin(np.median(table.final_loss.values[:, :3], axis=1)))
        assert raced.configs[name] == {"learning_rate": table.learning_rate.values[chosen]}
        score = scipy.stats.gmean(table.final_loss.values[chosen, 3:].astype(float))
        assert float(raced.curves.expected.sel(optimizer=name, budget=16)) == pytest.approx(score)
    assert raced.winner == raced.leader == "descent"
    assert raced.ranking == ["descent", "adam"]
    assert (raced.beaten, raced.ties, raced.unjudged) == (["adam"], [], [])
    pair = raced.pairs.isel(pair=0)
    assert float(pair.p[-1]) <= 0.05
    assert pair.lower <= pair.difference[-1] <= pair.upper < 0
    again = jon.race(raced.tree, tuning_seeds=3, scoring_seeds=5)
    xarray.testing.assert_identical(again.pairs, raced.pairs)
    xarray.testing.assert_identical(again.curves, raced.curves)
    assert jon.race(raced.tree, tuning_seeds=[5, 1]).scoring_seeds == (0, 2, 3, 4, 6, 7)
    assert jon.race(raced.tree, scoring_seeds=[5, 1]).tuning_seeds == (0, 2, 3, 4, 6, 7)
    assert jon.race(raced.tree, scoring_seeds=2).tuning_seeds == (0, 1, 2, 3, 4, 5)
    assert jon.race(raced.tree).tuning_seeds == (0, 1, 2, 3)
    smaller = jon.race(raced.tree, budget=4, tuning_seeds=[0, 1, 2], scoring_seeds=[3, 4, 5, 6, 7])
    xarray.testing.assert_allclose(smaller.curves.expected, raced.curves.expected[:, :4])
    assert smaller.pairs.p[0, -1] == raced.pairs.p.sel(budget=4)[0]


def test_the_interval_holds_the_differences_that_the_test_does_not_exclude(raced):
    pair, entries = raced.pairs.isel(pair=0), []
    for name in ("descent", "adam"):
        values = raced.tree[name].final_loss.values.astype(float)
        values = np.log(np.minimum(values, raced.tree[name].initial_loss.values))
        entries.append((np.median(values[:, :3], axis=1), values[:, 3:]))
    (tuning, scores), other = entries
    width = float(pair.upper - pair.lower)
    for end, way in ((pair.lower, -1), (pair.upper, 1)):
        for beyond, excluded in ((0.02 * width, True), (-0.02 * width, False)):
            shift = float(end) + way * beyond
            assert (tuned_test((tuning - shift, scores - shift), other) <= 0.05) == excluded


def test_the_verdict_is_short_and_says_it_first(raced):
    text = str(raced)
    lines = text.splitlines()
    assert lines[0].startswith("descent wins after 16 trials of tuning: final loss ")
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 100
    for words in (
        "Tuned by seeds 0 to 2, scored by seeds 3 to 7.",
        "The final loss of descent is ",
        " of that of adam",
        "95% interval",
    ):
        assert words in text
    page = raced._repr_html_()
    assert page.startswith("<p><strong>descent wins")
    assert "scored by seeds 3 to 7" in page


def test_one_method_under_two_names_is_a_tie():
    space = rates(32, 1e-3, 0.04)
    twice = {"one": (jon.gradient_descent, space), "two": (jon.gradient_descent, space)}
    found = jon.race(valley(), twice, budget=8, **OPTIONS)
    assert found.winner is None
    assert str(found).startswith("A tie after 8 trials of tuning: ")
    assert "do not differ significantly" in str(found).partition("\n\n")[0].replace("\n", " ")
    columns = [set(found.tree[name].learning_rate.values) for name in ("one", "two")]
    assert columns[0] != columns[1]  # drawn for each by itself
    assert all(len(one) == 8 and one <= set(space.columns()["learning_rate"]) for one in columns)
    same = jon.race(valley(), {"one": twice["one"], "three": twice["two"]}, budget=8, **OPTIONS)
    assert set(same.tree["one"].learning_rate.values) == columns[0]


def test_a_race_in_which_nobody_could_have_won_says_so():
    space = rates(2, 1e-3, 0.04)
    methods = {"slow": (jon.gradient_descent, space), "fast": (jon.adam, rates(2, 0.1, 0.2))}
    few = {**OPTIONS, "tuning_seeds": 2, "scoring_seeds": 2}
    words = " ".join(str(jon.race(valley(), methods, budget=2, **few)).split())
    assert "(95% interval 0 to infinity)" in words
    assert "No difference could have been significant: 2 trials of tuning and 2 scoring seeds are too few" in words


def test_a_method_at_the_edge_of_its_space_has_not_lost_and_may_win():
    random = np.random.default_rng(7)
    inside = 1 + 0.1 * np.abs(np.arange(24) - 12)[:, None] + 0.01 * random.normal(size=(24, 8))
    falling = 3 - 0.03 * np.arange(24)[:, None] + 0.01 * random.normal(size=(24, 8))
    found = jon.race({"good": table_of(inside), "narrow": table_of(falling)})
    assert found.winner is None
    assert found.unjudged == ["narrow"]
    assert not found.pairs.fair.item()
    assert found.pairs.p.values[0, -1] <= 0.05
    headline = str(found).partition("\n\n")[0].replace("\n", " ")
    assert (
        headline == "No winner after 24 trials of tuning: good leads with final loss 1, but the space of narrow is "
        "too narrow for a fair verdict."
    )
    assert "narrow learning_rate=24 (widen it above 24)" in str(found)
    won = jon.race({"good": table_of(inside), "narrow": table_of(falling - 2.5)})
    assert won.winner == "narrow"
    assert "widen it above 24" in str(won)
    # One of many points is always the largest: by itself that is chance.
    lucky = inside.copy()
    lucky[23] = 0.5
    assert jon.race({"good": table_of(inside), "lucky": table_of(lucky)}).edges == {}


def test_a_failed_run_counts_as_one_that_stayed_where_it_began():
    losses = noise(8, 8, 6)
    failed = losses.copy()
    failed[3] = np.inf
    failed[2] = 1e9
    found = jon.race({"one": table_of(losses), "other": table_of(failed, first=5.0)}, scale="linear")
    values = np.where(failed > 5, 5, failed)
    assert float(found.curves.expected.sel(optimizer="other")[0]) == pytest.approx(values[:, 3:].mean())
    higher = jon.race({"one": table_of(losses), "other": table_of(failed)}, metric="test_accuracy")
    assert higher.direction == "max"
    assert float(higher.curves.expected.sel(optimizer="other")[0]) < float(
        higher.curves.expected.sel(optimizer="one")[0]
    )
    assert (higher.curves.lower <= higher.curves.upper).all()


def test_ten_methods_are_told_in_25_lines():
    tables = {f"method_{i}": table_of(noise(i, 64, 16) + 0.02 * i + (i == 9)) for i in range(10)}
    found = jon.race(tables)
    lines = str(found).splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 100
    assert "adjusted, like the interval, for 45 pairs" in str(found).replace("\n", " ")
    assert "method_9" in found.beaten


def test_a_target_has_one_step_for_all_seeds():
    found = jon.race(valley(), METHODS, **OPTIONS, target=0.05)
    steps = found.target_steps
    assert steps["descent"] < 40
    assert np.isnan(steps["adam"])
    table = found.tree["descent"].to_dataset()
    tuned = table.loss[:, :3].mean("seed") <= 0.05
    chosen = int(
        np.lexsort((table.loss[:, :3].mean("seed").min("step"), np.where(tuned.any("step"), tuned.argmax("step"), 99)))[
            0
        ]
    )
    one = jon.time_to_target(table.isel(configuration=[chosen], seed=[3, 4, 5, 6, 7]), 0.05, level=0.05)
    assert steps["descent"] == float(one.step[0])
    assert f"descent at step {steps['descent']:.0f}; adam never" in str(found)


def test_a_target_that_no_method_reaches_is_said_first_and_the_runs_are_kept(raced):
    found = jon.race(valley(), METHODS, **OPTIONS, target=1e-30)
    assert str(found).startswith("No method reached the target 1e-30. descent wins after 16 trials of tuning: ")
    assert all(np.isnan(step) for step in found.target_steps.values())
    xarray.testing.assert_identical(found.pairs, raced.pairs)
    table = found.tree["descent"].to_dataset()
    chosen = int(np.argmin(table.loss[:, :3].mean("seed").min("step").values))
    nearest = float(table.loss[chosen, 3:].astype(float).mean("seed").min())
    assert found.target_nearest["descent"] == pytest.approx(nearest)
    assert f"descent comes nearest: {nearest:.4g}, the mean of the scoring seeds." in str(found)


def pruned():
    space = jon.grid(learning_rate=np.geomspace(0.001, 0.04, 9))
    return {"descent": (jon.gradient_descent, space), "sgd": (optax.sgd, space)}


def test_a_pruned_race_scores_by_seeds_that_pruned_nothing():
    prune = jon.halving(3)
    found = jon.race(valley(), pruned(), **{**OPTIONS, "steps": 45}, prune=prune)
    table = found.tree["descent"].to_dataset()
    chosen = table.sel(learning_rate=found.configs["descent"]["learning_rate"])
    assert np.isnan(chosen.pruned_at)
    assert table.attrs["report_seeds"] == "[3, 4, 5, 6, 7]"
    with pytest.raises(ValueError, match="must not have decided what was pruned"):
        jon.race(found.tree, tuning_seeds=2, scoring_seeds=6)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("scoring_seeds must be at least 2, as one seed shows no spread; got 1", {"scoring_seeds": 1}),
        ("budget=17 is more than the 16 configurations in the space of 'descent'", {"budget": 17}),
        ("would do both", {"tuning_seeds": [0, 1], "scoring_seeds": [1, 2]}),
        ("does not say which direction|direction", {"metric": "final_size"}),
        ("level must be above 0", {"level": 0.0}),
        ("unexpected keyword argument 'stepz'", {"stepz": 3}),
    ],
)
def test_what_cannot_be_raced_is_said_before_a_step_is_taken(message, changes):
    problem = jon.Problem(lambda x: jnp.sum(x**2), jnp.ones(2), metrics={"size": lambda x: jnp.sum(jnp.abs(x))})
    with pytest.raises((ValueError, TypeError), match=message):
        jon.race(problem, METHODS, **{**OPTIONS, "on_chunk": lambda chunk: pytest.fail("it ran"), **changes})


def test_wrong_methods_are_refused():
    for message, methods in [
        ("at least two methods", {"adam": METHODS["adam"]}),
        ("must be a pair", {"adam": METHODS["adam"], "momentum": jon.momentum}),
        ("the spaces differ: descent 16, adam 5; give budget=5", {**METHODS, "adam": (jon.adam, rates(5))}),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            jon.race(valley(), methods, **OPTIONS)
    with pytest.raises(TypeError, match="race takes tuning_seeds and scoring_seeds in place of seeds"):
        jon.race(valley(), METHODS, seeds=4, steps=3)
    with pytest.raises(TypeError, match="got Problem alone"):
        jon.race(valley())


def test_unfair_tables_are_refused():
    good = table_of(noise(0), steps=10, problem="a")
    left = good.assign(status=good.status.where(good.seed < 7, int(Status.NOT_RUN)))
    for message, other, options in [
        ("configurations: one 16, other 15", good.isel(learning_rate=slice(15)), {}),
        ("steps, or examples: one 10, other 20", good.assign_attrs(steps=20), {}),
        ("differ in their problem: one a, other b", good.assign_attrs(problem="b"), {}),
        ("need the same seeds", good.assign_coords(seed=np.arange(1, 9)), {}),
        (r"must not score.*\[3, 4\] would do both", good, {"tuning_seeds": 5, "scoring_seeds": 5}),
        ("scoring_seeds must be seeds of the tables", good, {"tuning_seeds": [0], "scoring_seeds": [7, 8]}),
        ("budget=17 is more than the 16 configurations", good, {"budget": 17}),
        ("score.*direction", good, {"metric": "score"}),
        ("scale='log' compares positive values", good, {"metric": "test_accuracy", "scale": "log"}),
        ("some of other did not finish: 16 not begun of 128 trials. With a store", left, {}),
    ]:
        with pytest.raises(ValueError, match=message):
            jon.race({"one": good, "other": other}, **options)
    one_seed = good.isel(seed=[0])
    with pytest.raises(ValueError, match="needs seeds to tune and at least two others to score, and the tables have 1"):
        jon.race({"one": one_seed, "other": one_seed})
    with pytest.raises(ValueError, match="at least two methods, and the tree holds one"):
        jon.race({"one": good})
    with pytest.raises(TypeError, match="steps needs methods"):
        jon.race({"one": good, "other": good}, steps=4)


def test_an_interrupted_race_keeps_what_was_run():
    """Ctrl-C in the first method: the second did not begin, and the tree of the error has the first."""
    with pytest.warns(UserWarning, match="interrupted"), pytest.raises(ValueError, match="was interrupted") as raised:
        jon.race(valley(), METHODS, **OPTIONS, width=16, on_chunk=lambda _: signal.raise_signal(signal.SIGINT))
    assert jon.best(raised.value.tree).unfinished > 0
    with pytest.raises(
        ValueError, match=r"two methods, and the tree holds descent: \d+ not begun of 128 trials\. With"
    ):
        jon.race(raised.value.tree)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import jaxopt_notes as jon
from test_races import METHODS, OPTIONS, valley
chunks = []
def kill(chunk):
    chunks.append(chunk)
    if len(chunks) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
jon.race(valley(), METHODS, **OPTIONS, store=sys.argv[2], width=16, on_chunk=kill)
"""


def test_a_killed_race_goes_on_from_its_store(tmp_path):
    store, here = tmp_path / "race", Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here.parent)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(here), str(store)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    kept = len(list(store.rglob("*.npz"))) or len([path for path in store.rglob("*") if path.is_file()])
    assert kept
    begun = []
    resumed = jon.race(valley(), METHODS, **OPTIONS, store=store, width=16, on_chunk=begun.append)
    whole = jon.race(valley(), METHODS, **OPTIONS, width=16)
    assert 0 < len(begun) < 16  # of 16 chunks of 16 trials, those before the kill are not run again
    xarray.testing.assert_identical(resumed.pairs, whole.pairs)
    for name in METHODS:
        np.testing.assert_array_equal(resumed.tree[name].final_loss, whole.tree[name].final_loss)


def test_figures_show_the_curves_and_the_range(raced):
    ax = jon.plot(raced)
    lines = {line.get_label(): line for line in ax.lines if line.get_gid() == "expected"}
    assert [*lines] == ["descent", "adam"]
    np.testing.assert_allclose(lines["adam"].get_ydata(), raced.curves.expected.sel(optimizer="adam"))
    assert ax.get_title("left") == "descent wins after 16 trials of tuning"
    assert "descent from" in plots.alt_text(ax)
    table = raced.tree["descent"].to_dataset()
    assert len(jon.plot(jon.budget_curve(table)).lines) == 1
    found = jon.sensitivity(table, factor=10.0)
    ax = jon.plot(found)
    bar = next(line for line in ax.lines if line.get_gid() == "range")
    assert bar.get_xdata().tolist() == [found.low, found.high]
    assert bar.get_ydata()[0] == pytest.approx(10 * min(value for _, value in found.profile))
    with pytest.raises(ValueError, match="one hyperparameter, metric and factor"):
        plots.sensitivity_ranges({"a": found, "b": jon.sensitivity(table, factor=3.0)})
    with pytest.raises(TypeError, match="must be those of budget_curve"):
        plots.budget_curves(table)


def test_the_command_prints_the_verdict_and_draws_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["race", "quadratic", "momentum", "adam", "beta=0:0.9", "--budget", "6", "--steps", "20"]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert cli.main([*arguments, "--tuning-seeds", "2", "--scoring-seeds", "2", "--figure", "race.png"]) == 0
        shown = capsys.readouterr().out
        assert "after 6 trials of tuning" in shown
        assert "beta=" in shown
        assert (tmp_path / "race.png").stat().st_size > 1000
        for wrong, words in [
            (["momentum"], "at least two methods"),
            (["momentum", "adam", "gamma=0:1"], "'gamma=0:1' is an argument of no method here"),
            (["momentum", "adam", "beta=1:0"], "two numbers in ascending order"),
            (["momentum", "adam", "adam"], "named twice"),
        ]:
            assert cli.main(["race", "quadratic", *wrong]) == 2
            assert words in capsys.readouterr().err


def test_an_error_after_the_runs_keeps_them():
    space = jon.grid(learning_rate=[0.01, 0.02, 0.03])
    below = jon.Problem(lambda x: jnp.sum(x**2) - 5.0, jnp.ones(2))
    methods = {"descent": (jon.gradient_descent, space), "momentum": (jon.momentum, space)}
    with pytest.raises(ValueError, match="log") as raised:
        jon.race(below, methods, tuning_seeds=2, scoring_seeds=2, steps=5, scale="log", progress=False)
    assert "jon.race(error.tree" in raised.value.__notes__[0]
    kept = jon.race(raised.value.tree, tuning_seeds=2, scoring_seeds=2, scale="linear")
    assert kept.budget == 3


def test_a_race_is_reported_by_its_tables(tmp_path):
    space = jon.grid(learning_rate=[0.01, 0.02, 0.03])
    bowl = jon.Problem(lambda x: jnp.sum(x**2), jnp.ones(2))
    methods = {"descent": (jon.gradient_descent, space), "momentum": (jon.momentum, space)}
    result = jon.race(bowl, methods, tuning_seeds=2, scoring_seeds=2, steps=5, progress=False)
    jon.report(result, tmp_path / "race.html")
    assert "momentum" in (tmp_path / "race.html").read_text()
