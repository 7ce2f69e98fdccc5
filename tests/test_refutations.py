"""What the studies refute and what they do not: fair set-ups, checked against numpy and closed forms."""

import math

import jax
import numpy as np
import pytest
import xarray as xr

from jaxopt_notes.curvature import Kind
from jaxopt_notes.studies import Outcome, run_study
from jaxopt_notes.studies._machinery import ledger
from jaxopt_notes.studies.local_minima.measure import BARRIER, LEFT, LOCAL
from jaxopt_notes.studies.loss_landscapes import lowest_points

pytestmark = pytest.mark.usefixtures("promoting")


@pytest.fixture
def promoting():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def study(shared_studies):
    """The Dataset and the claims by name of a study at its small size, measured once for all tests."""

    def read(name):
        result = run_study(name, shared_studies)
        return xr.load_dataset(result.dataset, engine="h5netcdf"), {claim.name: claim for claim in result.claims}

    return read


def heavy_ball(start, beta, rate, steps=1000):
    """Where heavy balls end on x cos(pi x) in the box [-1, 2], by a loop in numpy."""
    x, velocity = start.copy(), np.zeros_like(start)
    for _ in range(steps):
        velocity = beta * velocity + np.cos(np.pi * x) - np.pi * x * np.sin(np.pi * x)
        x = np.clip(x - rate * velocity, -1, 2)
    return x


def test_a_heavy_ball_rolls_past_a_minimum_and_not_out_of_one(study):
    table, claims = study("local_minima")
    below, above = np.linspace(LEFT + 1e-3, BARRIER - 1e-3, 201), np.linspace(-1, LEFT - 1e-3, 201)
    beside = LOCAL + 1e-3 * np.linspace(-3, 3, 201)
    left = {name: np.mean(heavy_ball(start, 0.99, 0.03) > BARRIER) for name, start in
            (("rest", beside), ("below", below), ("above", above))}  # fmt: skip
    measured = table.left.sel(optimizer="heavy ball 0.99", rate=0.03).mean("lane")
    assert left["rest"] == left["below"] == measured.sel(case="rest") == measured.sel(case="below") == 0
    assert float(measured.sel(case="above")) == pytest.approx(left["above"], abs=0.15)
    assert claims["small_steps_stay"].outcome is Outcome.HOLDS
    # By the energy of a start: f(-0.596) = f(0.274), the height of the barrier.
    height = lambda x: x * math.cos(math.pi * x)
    assert height(LEFT) == pytest.approx(height(BARRIER), abs=1e-3)
    # The long steps that do lead out without noise are those beyond the bound 2/f'' of descent.
    second = -2 * math.pi * math.sin(math.pi * LOCAL) - math.pi**2 * LOCAL * math.cos(math.pi * LOCAL)
    out = table.left.sel(optimizer="descent", case="rest").mean("lane")
    assert (out.where(out.rate < 2 / second, drop=True) == 0).all()
    assert out.max() > 0.2


def test_networks_are_trained_to_minima_before_their_losses_are_compared(study):
    table, claims = study("local_minima")
    assert (table.network_kind == Kind.MINIMUM).mean() > 0.9
    assert float(table.gradient.median()) < 1e-9
    assert claims["training_spread_shrinks"].number == pytest.approx(
        float(table.train_loss[-1].std() - table.train_loss[0].std())
    )
    table, claims = study("convexity")
    assert (table.ended == Kind.MINIMUM).all()
    share = table.convex_around.mean("seed")
    assert float(share[0]) == 1  # a minimum with a ridge: positive definite, and so is its neighbourhood
    assert float(share[-1]) < 0.5
    assert claims["convex_near_minima"].outcome is Outcome.HOLDS


def test_descent_rests_where_the_gradient_is_exactly_zero_and_only_there_at_any_rate(study):
    table, claims = study("local_minima")
    second = -2 * math.pi * math.sin(math.pi * LOCAL) - math.pi**2 * LOCAL * math.cos(math.pi * LOCAL)
    moved = table.moved.sel(bottom="beside")
    assert (table.moved.sel(bottom="exact") == 0).all()
    assert ((moved > 1e-3) == (moved.bottom_rate > 2 / second)).all()
    assert claims["no_rate_moves_it"].outcome is Outcome.HOLDS


def test_what_only_a_threshold_or_the_accuracy_decides_is_not_decided(study):
    table, claims = study("saddles_everywhere")
    gap = (table.cost.sel(where="saddle") - table.cost.sel(where="plateau")).mean("trial").isel(width=-1, scale=0)
    assert gap.min() < 0 < gap.max()
    assert claims["saddles_worst"].outcome is Outcome.UNDECIDED
    table, claims = study("stochastic_convergence")
    closed_form = [math.ceil(math.log(target) / (2 * math.log(0.9))) for target in table.target.values]
    assert table.first_step.sel(descent="full").values.tolist() == closed_form
    assert claims["as_fast_as_descent"].outcome is Outcome.UNDECIDED


def test_low_points_of_deep_networks_without_skip_connections_are_minima_of_their_slices(study):
    table, claims = study("loss_landscapes")
    deepest = table.slices.isel(depth=-1, kind=0)
    for values in deepest.values:
        around = np.lib.stride_tricks.sliding_window_view(values, (3, 3)).reshape(-1, 9)
        centre = around[:, 4]
        assert lowest_points(values) == np.sum(centre < np.delete(around, 4, axis=1).min(axis=1))
    assert claims["fewer_low_points"].number > 0.5


ELSEWHERE = {  # rows whose sentences were shown beside a refutation of another sentence -> what decides them
    "D020": "local_minima/small_steps_stay",
    "A68": "local_minima/momentum_helps",
    "T64": "saddles/none_in_one_dimension",
    "A66": "saddles/strict_verdict",
    "D021": "saddles/tiny_steps",
    "T79": "critical_points/eigenvalues_are_enough",
    "T81": "saddles_everywhere/two_dimensions",
    "D085": "stochastic_convergence/converges_for_many_rates",
    "S57": "learning_rate_curves/largest_is_best_noisy_network",
}


def test_a_row_is_decided_by_a_claim_of_what_it_says():
    rows = {row.id: row for row in ledger.load().rows}
    assert all(claim in rows[name].claim for name, claim in ELSEWHERE.items())
    exempt = {row.id for row in rows.values() if "learning_rate_curves/low_with_steps_noisy" in row.claim}
    assert exempt == {"S29", "S56"}  # the convex model, for which the lecture says that low rates are fine
    assert not any(f"learning_rate_curves/{name}_noisy" in row.claim for row in rows.values()
                   for name in ("low_ends_worse", "largest_is_best"))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "true"),
    [
        ("local_minima", ["momentum_helps", "rmsprop_helps", "adam_helps", "no_rate_moves_it", "large_rates_leave"]),
        ("saddles", ["none_in_one_dimension", "one_by_the_other_definition", "tiny_steps"]),
        ("plateaus", ["momentum_less_on_short", "relu_has_another_side"]),
        ("saddles_everywhere", ["two_dimensions", "optima_least_bad"]),
        ("stochastic_convergence", ["converges_for_many_rates"]),
        ("initialisation", ["relu_needs_its_weights"]),
    ],
)
def test_sentences_that_hold_under_their_own_conditions_pass(study, name, true):
    _, claims = study(name)
    assert [claims[each].outcome for each in true] == [Outcome.HOLDS] * len(true)
