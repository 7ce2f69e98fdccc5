"""Every study runs, its claims come from the saved Dataset alone, and its figure says in words what it shows."""

import math

import jax
import matplotlib as mpl
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jaxopt_notes import plots
from jaxopt_notes.studies import STUDIES, Claim, Outcome, load_study, tally


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_and_its_saved_dataset_gives_the_claims_and_the_figure(name, tmp_path):
    study = load_study(name)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        measured = study.run(key=jax.random.key(0), size="small")
        measured.to_netcdf(tmp_path / "study.nc", engine="h5netcdf")
        saved = xr.load_dataset(tmp_path / "study.nc", engine="h5netcdf")
        claims = study.claims(saved)
        figure = study.figure(saved)
    assert claims
    assert len({claim.name for claim in claims}) == len(claims)
    assert [claim.outcome for claim in claims] == [claim.outcome for claim in study.claims(measured)]
    # A measurement that has gone wrong is no number; what can't be decided has an interval across its bound.
    assert all(math.isfinite(claim.number) for claim in claims)
    before = dict(mpl.rcParams)
    FigureCanvasAgg(figure).draw()
    assert dict(mpl.rcParams) == before
    assert all(plots.alt_text(ax) for ax in figure.axes)
    expected = EXPECTED_FALSE.get(name, set())
    assert {claim.name for claim in claims if claim.outcome is Outcome.FAILED} <= expected


# What the lectures say and measuring refutes; the conditions say why, and the corrected claim stands beside it.
EXPECTED_FALSE = {
    "batch_size": {"powers_of_two", "never_worse_equal_examples"},
    "gd_sgd_minibatch": {
        "single_slower_than_full",
        "minibatch_fastest",
        "minibatch_fastest_near_the_floor",  # a comparison of times, within a factor of two of each other
        "small_data_full_batch",
    },
    "sampling_order": {"random_reads_slow_for_images"},
    "stochastic_convergence": {"converges_for_many_rates", "as_fast_as_descent"},
    "training_or_validation": {
        "training_loss_suffices_clean",
        "training_loss_suffices_noisy",
        "training_loss_suffices_for_accuracy_noisy",
    },
    "averages": {"window"},
}


def test_a_claim_is_decided_by_its_whole_interval():
    assert Claim("a", "s", 0.5, high=1.0, interval=(0.4, 0.6)).outcome is Outcome.PASSED
    assert Claim("a", "s", 0.9, high=1.0, interval=(0.8, 1.2)).outcome is Outcome.NOT_DECIDABLE
    assert Claim("a", "s", 1.9, high=1.0, interval=(1.8, 2.2)).outcome is Outcome.FAILED
    assert Claim("a", "s", math.nan, high=1.0).outcome is Outcome.NOT_DECIDABLE
    assert Claim("a", "s", 1.0, 1.0, 1.0).outcome is Outcome.PASSED


def test_a_claim_that_cannot_fail_or_pass_is_refused():
    with pytest.raises(ValueError, match="can't fail"):
        Claim("a", "s", 1.0)
    with pytest.raises(ValueError, match="can't pass"):
        Claim("a", "s", 1.0, 2.0, 1.0)


def test_the_tally_counts_every_outcome():
    claims = [Claim("a", "s", 1.0, high=2.0), Claim("b", "s", 3.0, high=2.0), Claim("c", "s", math.nan, high=2.0)]
    assert tally(claims) == {"passed": 1, "failed": 1, "not decidable": 1}


def test_an_unknown_study_is_met_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'averages'"):
        load_study("average")
