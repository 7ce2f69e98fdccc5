"""Comparisons of methods: closed forms, known widths, and the published results of a public track."""

import itertools
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import xarray

import jaxopt_notes as jon
from jaxopt_notes import Status
from jaxopt_notes.race import expected_best, holm, reaches, sign_flip_test

TRACK = json.loads((Path(__file__).parent / "golden/nanogpt_track_3.json").read_text())


def table_of(values, rates=None, **coordinates):
    """A table with these final losses, one row per configuration and a column per seed."""
    values = np.asarray(values, float)
    rates = np.arange(1, len(values) + 1) / 10 if rates is None else rates
    status = np.where(np.isfinite(values), Status.COMPLETED, Status.DIVERGED).astype(np.int32)
    variables = {
        "final_loss": (("learning_rate", "seed"), values),
        "accuracy": (("learning_rate", "seed"), 1 / (1 + values), {"direction": "max", "direction_of": "accuracy"}),
        "status": (("learning_rate", "seed"), status),
    }
    return xarray.Dataset(variables, {"learning_rate": rates, "seed": np.arange(values.shape[1]), **coordinates})


def test_the_expected_best_is_the_mean_over_all_subsets():
    values = np.random.default_rng(0).exponential(size=9)
    curve = expected_best(values)
    for budget in range(1, 10):
        subsets = itertools.combinations(values, budget)
        assert curve[budget - 1] == pytest.approx(np.mean([min(subset) for subset in subsets]), rel=1e-12)


@pytest.mark.parametrize(
    ("draw", "exact"),
    [
        (lambda random, n: random.uniform(size=n), lambda k: 1 / (k + 1)),
        (lambda random, n: random.exponential(size=n), lambda k: 1 / k),
        (lambda random, n: random.weibull(2.0, size=n), lambda k: 0.886226925452758 / np.sqrt(k)),
    ],
)
def test_the_curve_of_a_known_distribution(draw, exact):
    random, budgets = np.random.default_rng(1), np.arange(1, 65)
    curves = [expected_best(draw(random, 2000), 64) for _ in range(40)]
    np.testing.assert_allclose(np.mean(curves, axis=0), exact(budgets), rtol=0.03)
    np.testing.assert_allclose(np.mean(curves, axis=0)[:8], exact(budgets)[:8], rtol=0.01)


def test_the_band_covers_the_curve_of_other_configurations():
    random, covered = np.random.default_rng(2), []
    for _ in range(60):
        curve = jon.budget_curve(table_of(random.exponential(size=(64, 1))), most=8)
        covered.append((curve.lower.values <= 1 / np.arange(1, 9)) & (1 / np.arange(1, 9) <= curve.upper.values))
    assert np.mean(covered, axis=0)[:4].min() > 0.85


def test_curves_of_metrics_of_failures_and_of_families():
    losses = np.array([[1.0, 3.0], [2.0, 2.0], [np.inf, np.inf], [4.0, 4.0]])
    curve = jon.budget_curve(table_of(losses))
    np.testing.assert_allclose(curve.expected, expected_best([2.0, 2.0, 4.0, 4.0]))  # a failure counts as the worst
    np.testing.assert_allclose(jon.budget_curve(table_of(losses), failed=10.0).expected[0], (2 + 2 + 10 + 4) / 4)
    higher = jon.budget_curve(table_of(losses), "accuracy")
    assert (np.diff(higher.expected) >= 0).all()
    assert (higher.lower <= higher.expected).all()
    assert (higher.expected <= higher.upper).all()
    tree = xarray.DataTree.from_dict({"momentum": table_of(losses), "adam": table_of(losses[:2] / 2)})
    both = jon.budget_curve(tree)
    assert both.optimizer.values.tolist() == ["momentum", "adam"]
    assert np.isnan(both.expected.sel(optimizer="adam")[2:]).all()
    np.testing.assert_allclose(both.expected.sel(optimizer="adam")[:2], [1.0, 1.0])
    with pytest.raises(ValueError, match="no configuration has a finite final_loss"):
        jon.budget_curve(table_of(np.full((3, 2), np.inf)))


@pytest.mark.parametrize("name", TRACK["results"])
def test_the_rule_of_the_public_track_accepts_and_rejects_as_published(name):
    result = TRACK["results"][name]
    losses = np.array(result["losses"]).T
    accepted = reaches(losses, TRACK["target"], sigma=TRACK["sigma"])
    published = (TRACK["target"] - losses.mean(axis=1)) * np.sqrt(losses.shape[1]) >= 0.004
    assert accepted.tolist() == published.tolist()
    assert result["steps"][int(np.argmax(accepted))] == result["reported_step"]


def test_a_target_is_reached_by_chance_as_often_as_stated():
    random = np.random.default_rng(3)
    draws = random.normal(1.0, 0.2, (100_000, 5))  # the mean is at the target
    for level in (0.05, 0.001):
        for sigma in (None, 0.2):
            rate = reaches(draws, 1.0, level=level, sigma=sigma).mean()
            assert scipy.stats.binomtest(int(rate * 100_000), 100_000, level).pvalue > 1e-3
    assert reaches(draws - 0.5, 1.0, sigma=0.2).mean() > 0.9
    assert not reaches([0.1, 0.1, np.nan], 1.0, sigma=0.1)


def test_all_seeds_stop_at_one_step():
    steps = np.arange(0, 100, 10)
    mean = 1.0 - 0.01 * steps
    noise = np.random.default_rng(4).normal(0, 0.01, (8, 1))
    curve = (mean[None] + noise - noise.mean())[None]
    table = table_of([[0.1] * 8]).assign_coords(step=steps)
    table["loss"] = (("learning_rate", "seed", "step"), curve)
    found = jon.time_to_target(table, 0.55, sigma=0.01)
    expected = next(s for s, m in zip(steps, mean, strict=True) if (0.55 - m) * np.sqrt(8) >= 3.0902 * 0.01)
    assert found.step.values.tolist() == [expected]
    never = jon.time_to_target(table, -1.0, sigma=0.01)
    assert np.isnan(never.step.values).all()
    assert not never.reached.values.any()
    assert never["mean"].values == pytest.approx([mean[-1]])
    with pytest.raises(ValueError, match="one seed shows no spread"):
        jon.time_to_target(table.isel(seed=[0]), 0.5)
    with pytest.raises(ValueError, match="unknown metric 'final_loss'; accepted: loss"):
        jon.time_to_target(table, 0.5, "final_loss")


@pytest.mark.parametrize("per_decade", [4, 8, 24])
def test_the_width_of_a_known_valley(per_decade):
    """log v = a (log10 x)^2: within a factor f of the best for 2 sqrt(log f / a) decades."""
    rates = 10.0 ** np.arange(-3, 3 + 1e-9, 1 / per_decade)
    curvature = 2.5
    losses = np.exp(curvature * np.log10(rates) ** 2)[:, None] * np.ones(4)
    found = jon.sensitivity(table_of(losses, rates), factor=3.0)
    exact = 2 * np.sqrt(np.log(3.0) / curvature)
    assert found.decades == pytest.approx(exact, abs=0.05 if per_decade >= 8 else 0.1)
    assert found.clipped == ()
    assert found.interval == pytest.approx((found.decades, found.decades))
    assert found.best == pytest.approx(1.0)


def test_the_width_on_a_quadratic_is_that_of_its_formula():
    """Gradient descent on x^2 / 2 for T steps ends at (1 - rate)^2T / 2, which is 0 at rate 1."""
    space = jon.grid(learning_rate=jnp.geomspace(0.05, 0.6, 40))
    table = jon.sweep(jon.problems.quadratic([1.0]), jon.gradient_descent, space, steps=4, progress=False)
    found = jon.sensitivity(table, factor=100.0)
    low = 1 - 0.4 * 100.0 ** (1 / 8)  # the best is at the largest rate, 0.6
    assert found.clipped == ("high",)
    assert found.decades == pytest.approx(np.log10(0.6 / low), abs=0.05)
    assert "at least" in str(found)


def test_the_interval_of_a_width_shows_the_noise_of_the_seeds():
    random = np.random.default_rng(5)
    rates = 10.0 ** np.arange(-2, 2 + 1e-9, 1 / 8)
    true = 2 * np.sqrt(np.log(2.0) / 1.5)
    covered = 0
    for _ in range(40):
        noise = np.exp(random.normal(0, 0.1, (len(rates), 16)))
        found = jon.sensitivity(table_of(np.exp(1.5 * np.log10(rates) ** 2)[:, None] * noise, rates))
        covered += found.interval[0] - 0.1 <= true <= found.interval[1] + 0.1
    assert covered >= 34


def test_the_width_of_a_sweep_that_was_interrupted():
    """What did not finish is left out and named; with too little to judge the error names why."""
    rates = 10.0 ** np.arange(-2, 2 + 1e-9, 1 / 8)
    table = table_of(np.exp(2.5 * np.log10(rates) ** 2)[:, None] * np.ones(4), rates)
    table.status[20:], table.final_loss[20:] = Status.NOT_RUN, np.nan
    both = xarray.concat([table + 0, table.assign(final_loss=table.final_loss * 2)], "beta")
    both = both.assign_coords(beta=[0.0, 0.9]).transpose("learning_rate", "beta", "seed")
    both.status[18:, 0] = Status.NOT_RUN  # at these only the worse one was run
    assert jon.sensitivity(both).profile == jon.sensitivity(table.isel(learning_rate=slice(18))).profile
    found, part = jon.sensitivity(table), jon.sensitivity(table.isel(learning_rate=slice(20)))
    assert (found.decades, found.clipped, found.unfinished) == (part.decades, part.clipped, 52)
    assert "warning: the sweep was interrupted, and 52 of its trials did not finish" in str(found)
    table.status[2:20, 1] = Status.INTERRUPTED
    with pytest.raises(ValueError, match="learning_rate has 2: 18 interrupted, 52 not begun of 132 trials"):
        jon.sensitivity(table)


def test_wrong_arguments_of_a_comparison():
    table = table_of(np.ones((4, 2)))
    for message, call in [
        ("factor must be above 1", lambda: jon.sensitivity(table, factor=1.0)),
        ("unknown axis 'beta'; accepted: learning_rate", lambda: jon.sensitivity(table, "beta")),
        ("at least three positive values", lambda: jon.sensitivity(table.isel(learning_rate=[0, 1]))),
        ("is not everywhere", lambda: jon.sensitivity(table_of(-2 * np.ones((4, 2))))),
        ("most must be", lambda: expected_best([1.0, 2.0], 3)),
        ("level must be above 0", lambda: reaches([1.0, 2.0], 3.0, level=0.0)),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_the_test_by_signs_is_that_of_scipy():
    random = np.random.default_rng(6)
    for count in (2, 5, 8):
        differences = random.normal(0.3, 1.0, count)
        exact = scipy.stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        assert sign_flip_test(differences) == pytest.approx(exact.pvalue)


def test_the_test_by_signs_is_calibrated_and_has_power():
    random = np.random.default_rng(7)
    for count in (8, 12, 30):
        null = sign_flip_test(random.standard_t(3, (2000, count)))  # any symmetric noise
        for level in (0.05, 0.01):
            assert scipy.stats.binomtest(int((null <= level).sum()), 2000, level, alternative="greater").pvalue > 1e-3
        assert (null <= 0.05).mean() > 0.03
        assert (sign_flip_test(random.normal(2.0, 1.0, (500, count))) <= 0.05).mean() > 0.95


def test_holms_correction():
    """By hand: 4 x 0.001, 3 x 0.01, 2 x 0.02, 1 x 0.8."""
    np.testing.assert_allclose(holm([0.8, 0.01, 0.001, 0.02]), [0.8, 0.03, 0.004, 0.04])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    random = np.random.default_rng(8)
    wrong = [(holm(random.uniform(size=6)) <= 0.05).any() for _ in range(4000)]
    assert scipy.stats.binomtest(sum(wrong), 4000, 0.05, alternative="greater").pvalue > 1e-3


def test_families_are_compared_on_seeds_that_did_not_choose():
    random = np.random.default_rng(9)
    common = random.normal(0, 0.5, 16)  # of the seed: paired differences do not see it
    level = {"good": 1.0, "same": 1.0, "bad": 1.3}
    tables = {}
    for name, mean in level.items():
        losses = mean + common + random.normal(0, 0.01, (3, 16)) + np.array([[0.0], [0.2], [0.4]])
        losses[1, :8] = 0.0  # the second is best in the seeds that choose
        tables[name] = table_of(losses)
    found = jon.compare(tables, report_seeds=8)
    assert found.attrs == {"metric": "final_loss", "direction": "min", "seeds": 8}
    by_pair = {pair: i for i, pair in enumerate(zip(found["first"].values, found["second"].values, strict=True))}
    bad = by_pair["good", "bad"]
    expected = (tables["good"].final_loss - tables["bad"].final_loss)[1, 8:].mean()
    assert found.difference[bad] == pytest.approx(float(expected))
    assert found.p[bad] == 2 / 2**8
    assert found.p_adjusted[bad] == pytest.approx(3 * 2 / 2**8)
    assert found.better.values[bad] == "good"
    assert found.effect[bad] < -5
    assert found.p_adjusted[by_pair["good", "same"]] > 0.05
    higher = jon.compare(tables, "accuracy", report_seeds=8)
    assert higher.better.values[bad] == "good"
    tables["bad"].final_loss[1, 12] = np.inf
    for message, trees in [
        ("at least two families", {"good": tables["good"]}),
        ("at least two families to compare, got none", {}),
        ("the same seeds", {"good": tables["good"], "same": tables["same"].assign_coords(seed=np.arange(1, 17))}),
        ("failed from a seed that compares", {"good": tables["good"], "bad": tables["bad"]}),
        ("at least 4 entries", {name: table.isel(seed=[0, 1]) for name, table in tables.items()}),
    ]:
        with pytest.raises(ValueError, match=message):
            jon.compare(trees)
    with pytest.raises(TypeError, match="tree must be of a sweep of several families"):
        jon.compare(tables["good"].final_loss)
