"""The battery: every reference passes, every naive method fails; counts of passes and profiles by enumeration."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import xarray

import jaxopt_notes as jon
from jaxopt_notes import plots
from jaxopt_notes.race import chance_of_pass, passed, performance_profile, run_battery, trials_to_pass

TASKS = jon.problems.battery()
RATES = np.geomspace(1e-6, 1e3, 37)


def swept(task, method, columns, seeds):
    return jon.sweep(
        task.problem,
        jon.optimizers.OPTIMIZERS[method],
        jon.trials(columns),
        seeds=seeds,
        steps=task.steps,
        every=task.steps,
        record=["loss"],
        batch_size=task.batch_size,
        devices=jax.devices()[:1],
        progress=False,
    )


def test_forty_tasks_each_say_what_they_isolate():
    assert len(TASKS) >= 40
    for name, task in TASKS.items():
        assert task.name == task.problem.name == name
        assert min(len(task.difficulty), len(task.reason), len(task.source)) > 5
        assert name in repr(task)
    assert {task.group for task in jon.problems.battery("noise", "scales").values()} == {"noise", "scales"}
    with pytest.raises(ValueError, match="did you mean 'noise'"):
        jon.problems.battery("noize")


@pytest.mark.parametrize("name", TASKS)
def test_a_run_that_stays_at_its_start_fails_and_the_reference_passes(name):
    task = TASKS[name]
    method, numbers = task.reference
    table = swept(task, method, {number: [value] for number, value in numbers.items()}, seeds=[11, 12, 13, 14, 15])
    assert (table.initial_loss > task.threshold).all()
    assert passed(table, task).all(), table[task.metric].values


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.naive])
def test_the_naive_method_fails_at_every_rate(name):
    task = TASKS[name]
    method, numbers = task.naive
    columns = {"learning_rate": RATES, **{number: np.full(len(RATES), value) for number, value in numbers.items()}}
    assert not passed(swept(task, method, columns, seeds=[11, 12, 13, 14, 15]), task).any()


def bowl_task(**changes):
    """x^2/2 from 1: a step of gradient descent multiplies x by 1 - rate."""
    given = {
        "name": "bowl",
        "difficulty": "none",
        "source": "none",
        "problem": jon.Problem(lambda x: 0.5 * jnp.sum(x**2), jnp.ones(1)),
        "steps": 10,
        "threshold": 0.5 * 0.1**2,
        "reason": "x <= 0.1",
        "reference": ("gradient_descent", {"learning_rate": 1.0}),
    }
    return jon.problems.Task(**(given | changes))


def test_the_count_of_passes_of_a_closed_form():
    rates = np.linspace(0.05, 2.2, 40)
    expected = np.abs(1 - rates) ** 10 <= 0.1
    methods = {"descent": (jon.gradient_descent, jon.grid(learning_rate=rates))}
    table = run_battery(methods, {"bowl": bowl_task(), "never": bowl_task(threshold=-1.0)}, seeds=2, progress=False)
    assert table.passes.values.tolist() == [[expected.sum()], [0]]
    assert table.trials_half[0, 0] == trials_to_pass(int(expected.sum()), 40)
    assert np.isinf(table.trials_most[1, 0])
    assert table.best[0, 0] < 1e-6
    with pytest.raises(ValueError, match="methods must hold"):
        run_battery({}, progress=False)


def test_a_run_that_ended_non_finite_has_not_passed():
    problem = jon.Problem(lambda x: jnp.sum(jnp.where(x < 0, jnp.nan, x)), jnp.ones(1))
    task = bowl_task(problem=problem, threshold=0.5)
    table = swept(task, "gradient_descent", {"learning_rate": [0.06, 0.3]}, seeds=1)
    assert (table.final_loss.values <= 0.5).all()  # the second rests at its last finite point
    assert passed(table, task).tolist() == [True, False]


def test_a_pass_is_one_from_every_seed():
    problem = jon.Problem(lambda x: jnp.sum(x), lambda key: jax.random.uniform(key, (1,)))
    starts = [float(problem.init(jon.seed_keys(jax.random.key(0), seed)[0])[0]) for seed in range(4)]
    task = bowl_task(problem=problem, threshold=(min(starts) + max(starts)) / 2 - 10e-6)
    table = swept(task, "gradient_descent", {"learning_rate": [1e-6, 0.1]}, seeds=4)
    assert (table.final_loss.isel(configuration=0) <= task.threshold).any()
    assert passed(table, task).tolist() == [False, True]


def test_the_chance_of_a_pass_is_that_over_all_subsets():
    for passes, budget in itertools.product(range(8), range(1, 8)):
        subsets = list(itertools.combinations(range(7), budget))
        share = np.mean([min(subset) < passes for subset in subsets])
        assert chance_of_pass(passes, 7, budget) == pytest.approx(share, abs=1e-12)
    large = chance_of_pass(np.array([1, 30, 999]), 1000, 20)
    np.testing.assert_allclose(large, 1 - scipy.stats.hypergeom.pmf(0, 1000, [1, 30, 999], 20), rtol=1e-9)


@pytest.mark.parametrize("chance", [0.5, 0.9, 1.0])
def test_the_trials_to_a_pass_are_the_fewest_with_the_chance(chance):
    for trials, passes in [(1, 1), (10, 1), (10, 4), (1000, 3), (1000, 1000)]:
        found = trials_to_pass(passes, trials, chance)
        curve = [chance_of_pass(passes, trials, budget) for budget in range(1, trials + 1)]
        assert found == 1 + np.flatnonzero(np.array(curve) >= chance - 1e-9)[0]
    assert math.isinf(trials_to_pass(0, 10, chance))


def test_wrong_counts_are_refused():
    with pytest.raises(ValueError, match="between 0 and trials"):
        trials_to_pass(11, 10)
    with pytest.raises(TypeError, match="passes must be integers"):
        chance_of_pass(0.5, 10, 1)
    with pytest.raises(ValueError, match="budget"):
        chance_of_pass(1, 10, 11)
    with pytest.raises(ValueError, match="chance must be above 0"):
        trials_to_pass(1, 10, 0.0)


def times_of(values):
    names = [f"method_{i}" for i in range(len(values[0]))]
    return xarray.DataArray(values, dims=("problem", "optimizer"), coords={"optimizer": names})


def test_a_profile_counts_problems_within_a_factor():
    random = np.random.default_rng(0)
    times = random.exponential(size=(30, 4)) + 0.1
    times[random.random(times.shape) < 0.2] = np.nan
    times[7] = np.inf  # nobody solves this one
    profile = performance_profile(times_of(times).T, most=3.0)
    for factor, method in itertools.product(profile.factor.values, range(4)):
        within = [row[method] <= factor * (1 + 1e-12) * np.nanmin(row) for row in times if np.isfinite(row).any()]
        assert profile.share.sel(factor=factor)[method] == pytest.approx(sum(within) / 30)
    grid = np.linspace(1, 3, 200_001)
    shares = [
        np.mean([row[0] <= factor * (1 + 1e-12) * np.nanmin(row) for row in times if np.isfinite(row).any()]) * 29 / 30
        for factor in grid[::1000]
    ]
    assert profile.area[0] == pytest.approx(np.trapezoid(shares, grid[::1000]) / 2, abs=5e-3)
    assert profile.solved.values == pytest.approx(np.isfinite(times).mean(axis=0))
    assert float(profile.fastest.sum()) == pytest.approx(29 / 30)
    assert profile.factor[0] == 1


def test_times_that_no_profile_can_be_made_of_are_refused():
    with pytest.raises(TypeError, match="DataArray"):
        performance_profile(np.ones((2, 2)))
    with pytest.raises(ValueError, match="must have the dims 'optimizer'"):
        performance_profile(xarray.DataArray(np.ones((2, 2)), dims=("a", "b")))
    with pytest.raises(ValueError, match="above 0, got 0"):
        performance_profile(times_of([[0.0, 1.0]]))
    with pytest.raises(ValueError, match="no method solves"):
        performance_profile(times_of([[np.nan, np.inf]]))


def test_the_matrix_of_passes_and_the_profile_show_their_tables():
    cells, counts = ("task", "optimizer"), np.array([[0, 20], [500, 1], [1000, 0]])
    variables = {
        "passes": (cells, counts),
        "trials_half": (cells, trials_to_pass(counts, 1000)),
        "group": ("task", ["noise", "noise", "scales"]),
        "trials": ("optimizer", [1000, 1000]),
    }
    table = xarray.Dataset(variables, {"task": ["a", "b_c", "d"], "optimizer": ["lion", "adam"]})
    ax = plots.plot(table)
    texts = [text.get_text() for text in ax.texts]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b c", "d"]
    assert texts[:4] == ["34", "1", "500", "1"]
    assert {"noise", "scales"} <= set(texts)
    assert "lion 2, adam 2" in plots.alt_text(ax)
    lines = plots.plot(performance_profile(table.trials_half)).get_lines()
    assert [line.get_label() for line in lines] == ["lion", "adam"]
    np.testing.assert_allclose(lines[0].get_ydata()[[0, -1]], [2 / 3, 2 / 3])
    for draw in (plots.passes, plots.profile):
        with pytest.raises(ValueError, match="unknown variable"):
            draw(xarray.Dataset())
        with pytest.raises(TypeError, match="table must be"):
            draw({})
