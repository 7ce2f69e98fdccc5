"""Every study runs, its claims come from the saved Dataset alone, and its figure says in words what it shows."""

import dataclasses
import html
import math
import re
import shutil
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg

import jaxopt_notes
from jaxopt_notes import cli, load, plots, save
from jaxopt_notes.studies import STUDIES, Claim, Outcome, load_study, run_study, tally
from jaxopt_notes.studies._machinery import ledger, sources
from jaxopt_notes.studies._machinery.claim import in_words
from jaxopt_notes.studies._machinery.intervals import best_rate, bootstrap
from jaxopt_notes.studies._machinery.judgement import answers
from jaxopt_notes.studies._machinery.page import write_summary


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_and_its_saved_dataset_gives_the_claims_and_the_figure(name, shared_studies):
    study = load_study(name)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        result = run_study(name, shared_studies)
        saved = xr.load_dataset(result.dataset, engine="h5netcdf")
        claims = study.claims(saved)
        figure = study.figure(saved)
    assert claims
    assert len({claim.name for claim in claims}) == len(claims)
    assert claims == result.claims
    named = {claim for _, claim in ledger.load().named() if claim.startswith(f"{name}/")}
    assert named <= {f"{name}/{claim.name}" for claim in claims}
    # A measurement that has gone wrong is no number; what can't be decided has an interval across its bound.
    assert all(math.isfinite(claim.number) for claim in claims)
    before = dict(mpl.rcParams)
    FigureCanvasAgg(figure).draw()
    assert dict(mpl.rcParams) == before
    assert all(plots.alt_text(ax) for ax in figure.axes)
    refuted = [claim for claim in claims if claim.outcome is Outcome.DOES_NOT_HOLD]
    assert [claim.name for claim in refuted if not claim.conditions] == []
    judged = {key.partition("/")[2] for key in ledger.judgements() if key.startswith(f"{name}/")}
    assert {claim.name for claim in refuted} <= judged <= {claim.name for claim in claims}
    assert all(
        answer in plain_text(result._repr_html_()) for claim in refuted for answer in answers(name, claim).values()
    )


def plain_text(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def test_a_claim_is_decided_by_its_whole_interval():
    assert Claim("a", "s", 0.5, high=1.0, interval=(0.4, 0.6)).outcome is Outcome.HOLDS
    assert Claim("a", "s", 0.9, high=1.0, interval=(0.8, 1.2)).outcome is Outcome.UNDECIDED
    assert Claim("a", "s", 1.9, high=1.0, interval=(1.8, 2.2)).outcome is Outcome.DOES_NOT_HOLD
    assert Claim("a", "s", math.nan, high=1.0).outcome is Outcome.UNDECIDED
    assert Claim("a", "s", 1.0, 1.0, 1.0).outcome is Outcome.HOLDS


def test_a_claim_that_any_number_or_none_would_meet_is_refused():
    with pytest.raises(ValueError, match="would hold for any number"):
        Claim("a", "s", 1.0)
    with pytest.raises(ValueError, match="would hold for no number"):
        Claim("a", "s", 1.0, 2.0, 1.0)


def test_a_bootstrap_interval_is_that_of_the_normal_law_and_keeps_pairs_together():
    sample = np.random.default_rng(0).normal(5.0, 2.0, 1000)
    low, high = bootstrap(np.mean, sample)
    assert high - low == pytest.approx(2 * 1.96 * sample.std() / math.sqrt(1000), rel=0.1)
    assert (low + high) / 2 == pytest.approx(sample.mean(), abs=0.01)
    assert bootstrap(lambda a, b: (a - b).mean(), sample, sample + 1) == pytest.approx((-1, -1))


@pytest.mark.parametrize("per_decade", [2, 3, 8])
def test_the_best_rate_is_finer_than_its_grid(per_decade):
    """Against (log(rate) - 0.2)^2, whose minimum is known."""
    places = np.arange(-3 * per_decade, 2 * per_decade + 1) / per_decade
    rates, away = 10.0**places, np.abs(places - 0.2)
    assert best_rate(rates, np.exp(away**2)) == pytest.approx(10**0.2)
    assert best_rate(rates[:-2], np.exp(-rates[:-2])) == rates[-3]  # at an end
    assert best_rate(rates, np.where(places > 0.3, np.inf, np.exp(away))) <= 10**0.3


def test_the_tally_counts_every_outcome():
    claims = [Claim("a", "s", 1.0, high=2.0), Claim("b", "s", 3.0, high=2.0), Claim("c", "s", math.nan, high=2.0)]
    assert tally(claims) == {"holds": 1, "does not hold": 1, "cannot be decided here": 1}
    assert in_words(claims) == "1 of 3 sentences holds here; 1 does not; 1 cannot be decided."
    assert in_words([*claims[:1] * 2, *claims[1:2] * 2]) == "2 of 4 sentences hold here; 2 do not."
    assert in_words(claims[:1] * 2) == "All 2 sentences hold here."


def test_an_unknown_study_is_met_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'averages'"):
        load_study("average")


def test_a_finished_study_is_not_measured_again(tmp_path):
    first = run_study("averages", tmp_path)
    again = run_study("averages", tmp_path)
    assert (first.reused, again.reused) == (False, True)
    assert again.claims == first.claims
    assert ledger.measured(tmp_path) == {f"averages/{claim.name}": claim for claim in first.claims}
    assert again.figure.read_bytes() == first.figure.read_bytes()
    assert not run_study("averages", tmp_path, seed=1).reused
    save(load(first.dataset).assign_attrs(numpy="1.0"), first.dataset)
    assert not run_study("averages", tmp_path, seed=1).reused  # measured with another numpy
    first.dataset.write_bytes(first.dataset.read_bytes()[:1000])
    mended = run_study("averages", tmp_path)
    assert not mended.reused
    assert mended.claims == first.claims


FOLDER = Path(jaxopt_notes.__file__).parent


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("studies/adam_or_momentum/measure.py", True),  # its own
        ("studies/noisy_softmax.py", True),  # a helper
        ("studies/sparse_factorization.py", True),  # another study, of which it takes the problem
        ("minimize/_step.py", True),  # the core, which `sweeps` imports
        ("studies/averages.py", False),
        ("plots/_lines.py", False),  # only draws
        ("explorer/_page.py", False),
    ],
)
def test_a_study_is_keyed_by_the_files_of_what_it_measures_with(file, counts, tmp_path):
    copy = shutil.copytree(FOLDER, tmp_path / FOLDER.name, ignore=shutil.ignore_patterns("__pycache__"))
    before = sources.digest("adam_or_momentum", copy)
    assert before == sources.digest("adam_or_momentum")
    (copy / file).write_text((copy / file).read_text() + "\nCHANGED = True\n")
    assert (before != sources.digest("adam_or_momentum", copy)) is counts


def test_imports_are_followed_through_functions_packages_and_full_names(tmp_path):
    for file, text in {
        "studies/averages.py": "import jaxopt_notes.a.b as b\ndef run():\n    from ..late import value",
        "studies/__init__.py": "from . import others",
        "studies/others.py": "",
        "a/__init__.py": "from .. import c",
        "a/b.py": "",
        "c.py": "from .late import other\nfrom .plots import draw",
        "late.py": "import numpy",
        "plots/__init__.py": "from .. import style",
        "style.py": "",
    }.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    found = sources.modules("jaxopt_notes.studies.averages", tmp_path)
    assert {name.removeprefix("jaxopt_notes.") for name in found} == {"studies.averages", "a", "a.b", "c", "late"}


def test_results_are_pages_with_every_claim_and_names_escaped(tmp_path):
    result = run_study("averages", tmp_path)
    cell = result._repr_html_()
    assert cell.count("<tr") == 1 + len(result.claims)
    assert cell.index("6 of 7 sentences hold here; 1 does not.") < cell.index("<details>") < cell.index("<table>")
    assert cell.count("<li>Does not hold: ") == 1
    assert repr(result).startswith("averages: 6 of 7 sentences hold here; 1 does not.\n  does not hold: ")
    assert 'src="data:image/png;base64,' in cell
    assert 'alt="Figure of the study averages"' in cell
    assert f"<small>{result.alt}</small></figcaption>" in cell
    foreign = dataclasses.replace(result, claims=[Claim("a", "<b>bold</b> & brave", 1.0, high=2.0)])
    page = write_summary([foreign], tmp_path / "index.html", seed=0, size="small").read_text()
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; brave" in page
    assert "Studies: 1, size small, seed 0. The one sentence holds here." in " ".join(page.split())
    assert 'src="averages.png"' in page


def test_the_command_prints_claims_and_refuses_what_it_cannot_do(tmp_path, capsys):
    assert cli.main(["study", "averages", "--out", str(tmp_path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "0.349 of the newest. Measured 0.3487" in printed
    assert "6 of 7 sentences hold here; 1 does not." in printed
    for answer in ledger.judgements()["averages/window"].answers.values():
        assert answer in printed
    assert cli.main(["study"]) == 0
    assert all(name in capsys.readouterr().out for name in ["averages"])
    (tmp_path / "file").write_text("")
    for arguments, words in (
        (["averges"], "did you mean 'averages'"),
        (["averages", "--all"], "not both"),
        (["averages", "--out", str(tmp_path / "file")], "folder that can be written"),
        (["averages", "--seed", "-1"], "seed"),
    ):
        assert cli.main(["study", *arguments]) == 2
        assert words in capsys.readouterr().err
