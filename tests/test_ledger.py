"""The ledger: no row of the lectures points nowhere, and its pages say what it says."""

import ast
import re
from pathlib import Path

import pytest

from jaxopt_notes.explorer._presets import PRESETS
from jaxopt_notes.optimizers import OPTIMIZERS
from jaxopt_notes.studies import STUDIES, Claim
from jaxopt_notes.studies import __file__ as room
from jaxopt_notes.studies._machinery import judgement, ledger, ledger_pages

BOOK = Path(__file__).parents[1] / "notebooks"
LEDGER = ledger.load()
NAMED = LEDGER.named()


def claim_names(study: str) -> re.Pattern[str]:
    """What a study may call its claims, read from its source and not by running it.

    The first argument of a `Claim(...)` is a text, or an f-string, which stands for a family, or a variable; the value
    of a variable may be any name that the file writes. `test_studies` runs each study and compares with what it made.
    """
    one = Path(room).parent / f"{study}.py"
    families = set()
    for path in [one] if one.is_file() else sorted((Path(room).parent / study).glob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        for call in nodes:
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Claim":
                first = family(call.args[0])
                families |= {first} if first else set(filter(None, map(family, nodes)))
    return re.compile("|".join(sorted(families)))


def family(node: ast.AST) -> str:
    """The pattern of the names that a text or an f-string gives; "" for anything else."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    if not "".join(texts).isidentifier():
        return ""
    return "".join(part.value if isinstance(part, ast.Constant) else r"\w+" for part in parts)


@pytest.mark.parametrize("study", STUDIES)
def test_rows_name_claims_that_the_study_makes(study):
    names = claim_names(study)
    wrong = [(row, claim) for row, claim in NAMED if claim.partition("/")[0] == study]
    wrong = [(row, claim) for row, claim in wrong if not names.fullmatch(claim.partition("/")[2])]
    assert not wrong, f"{study} makes {names.pattern}"


def test_pending_are_exactly_the_studies_that_are_named_and_not_registered():
    named = {claim.partition("/")[0] for _, claim in NAMED}
    assert set(LEDGER.pending) == named - set(STUDIES)


def test_every_study_of_the_lectures_is_named_by_a_row_of_each_of_them():
    for study, entry in STUDIES.items():
        lectures = {row.lecture for row in LEDGER.rows for claim in row.claim if claim.startswith(f"{study}/")}
        assert lectures >= set(entry.lectures.split()), study


def test_what_plays_a_passage_is_there():
    cells = set(re.findall(r"^\(play-(.*)\)=$", (BOOK / "passages.md").read_text(), re.MULTILINE))
    known = {
        "cell": {cell.replace("-", "_") for cell in cells},
        "demonstration": {preset["title"] for preset in PRESETS},
        "study": set(STUDIES),
    }
    used = {kind: set() for kind in known}
    assert [row.id for row in LEDGER.rows if row.claim and not row.play] == []
    for row in LEDGER.rows:
        if row.play:
            kind, _, name = row.play.partition(" ")
            assert name in known[kind], row
            used[kind].add(name)
    assert used["cell"] == known["cell"]
    assert used["demonstration"] == known["demonstration"]


def test_a_row_in_order_of_its_lecture():
    place = re.compile(r"line (\d+)")
    for letter in "TSJD":
        lines = [int(found[1]) for row in ledger.rows(letter) if (found := place.match(row.place))]
        assert lines == sorted(lines)
    assert "".join(dict.fromkeys(row.lecture for row in LEDGER.rows)) == "".join(LEDGER.lectures) == "TSAJD"


GOOD = """
pending = ["later"]
[lectures.X]
title = "a lecture"
by = "someone"
[[row]]
id = "X1"
lecture = "X"
place = "line 1"
said = "It is so."
key = "是"
topic = "truth"
claim = "averages/window"
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('claim = "averages/window"', ""), "X1 points nowhere"),
        (('claim = "averages/window"', 'claim = "averges/window"'), "did you mean 'averages'"),
        (('claim = "averages/window"', 'claim = "averages"'), "study/claim"),
        (('claim = "averages/window"', 'correction = "It is not."'), "source"),
        (('topic = "truth"', 'topic = "truth"\nout_of_scope = "hard"'), "out of scope"),
        (('topic = "truth"', 'topic = "truth"\nplay = "cel one"'), "did you mean 'cell'"),
        (('lecture = "X"', 'lecture = "Y"'), "unknown lecture of row X1"),
        (("[lectures.X]", '[lectures.Y]\ntitle = "t"\nby = "b"\n[lectures.X]'), "lecture Y has no row"),
        (("[[row]]", GOOD[GOOD.index("[[row]]") :] + "[[row]]"), "two rows have the id X1"),
        (
            ("[[row]]", '[[disagreement]]\nname="n"\nquestion="q"\nclaims=[]\nsides=[{says="s",rows=["X9"]}]\n[[row]]'),
            "names the row X9",
        ),
    ],
)
def test_a_ledger_that_points_nowhere_is_refused(change, words):
    assert ledger.read(GOOD).rows[0].claim == ("averages/window",)
    with pytest.raises(ValueError, match=words):
        ledger.read(GOOD.replace(*change, 1))


def test_the_pages_hold_every_row_and_what_was_measured():
    claim = Claim("window", "Nothing | lies behind.", 0.37, high=0.01)
    pages = "\n".join(ledger_pages.statements(letter, {"averages/window": claim}) for letter in LEDGER.lectures)
    assert all(f"* - **{row.id}**\n" in pages for row in LEDGER.rows)
    assert r"**does not hold** Nothing \| lies behind. Measured 0.37; needed: at most 0.01." in pages
    assert pages.count("\n  - ") == 2 * pages.count("\n* - ") == 2 * (len(LEDGER.rows) + len(LEDGER.lectures))
    corrected = ledger_pages.corrections()
    assert corrected.count("\n* - **") == len(ledger.corrections()) > 40
    for said in ("max(\\|x\\|-1, 0) has the whole interval", "1951", "weighted arithmetic mean", "Many others are"):
        assert said in corrected
    sides = ledger_pages.disagreements()
    for name in ("Shuffle once", "two forms of momentum", "0.99", "Adam or tuned SGD", "Large batches"):
        assert name in sides
    slips = ledger_pages.glossary(slips=True)
    for slip in ("原子", "新币", "纪元", "渐变", "哈希"):
        assert slip in slips
    assert "动量" in ledger_pages.glossary()


def test_every_refuted_claim_of_the_pages_states_its_conditions_and_three_answers():
    judged = {claim: ledger.judgements()[claim] for _, claim in NAMED if claim in ledger.judgements()}
    found = {key: Claim(key.partition("/")[2], "So it is.", 2.0, high=1.0, conditions="In a valley.") for key in judged}
    pages = [*(ledger_pages.statements(letter, found) for letter in LEDGER.lectures), ledger_pages.disagreements(found)]
    lines = [line for line in "\n".join(pages).splitlines() if "**does not hold**" in line]
    for key, judged_so in judged.items():
        shown = [line for line in lines if f"`{key}`" in line]
        assert shown
        for part in ("*Conditions:* In a valley.", *map(ledger_pages.plain, judged_so.answers.values())):
            assert all(part in line for line in shown)
    holding = {"averages/window": Claim("window", "So it is.", 0.0, high=1.0)}
    assert "fair chance" not in ledger_pages.statements("A", holding)
    unjudged = {"averages/ten_steps": Claim("ten_steps", "So it is.", 2.0, high=1.0)}
    assert "Not judged" in ledger_pages.statements("A", unjudged)


@pytest.mark.parametrize("study", STUDIES)
def test_judgements_are_of_claims_that_the_study_makes(study):
    judged = {key.partition("/")[2] for key in ledger.judgements() if key.startswith(f"{study}/")}
    assert not {name for name in judged if not claim_names(study).fullmatch(name)}


JUDGED = '["averages/window"]\nchance = "Yes."\nwords = "Yes."\nbudget = "No."\n'


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("averages", "averges"), "did you mean 'averages'"),
        (("/window", ""), "study/claim"),
        (('"No."', '" "'), "budget is empty; it must answer: Does the number move"),
        (('words = "Yes."', ""), "must answer chance, words, budget, got chance, budget"),
        (("budget", "bugdet"), "must answer"),
    ],
)
def test_a_judgement_without_its_answers_is_refused(change, words):
    assert list(judgement.read(JUDGED)["averages/window"].answers.values()) == ["Yes.", "Yes.", "No."]
    with pytest.raises(ValueError, match=words):
        judgement.read(JUDGED.replace(*change, 1))


def test_every_optimizer_has_its_formula_beside_the_code_that_runs():
    assert [formula.method for formula in LEDGER.formulas] == list(OPTIMIZERS)
    assert LEDGER.formulas[0].latex == r"x_{t+1} = x_t - \alpha\, g_t"
    assert LEDGER.formulas[0].lectures.startswith("T line 15")
    sheet = ledger_pages.formula_sheet()
    assert "mu = b1 * mu + (1 - b1) * grad" in sheet
    assert "`jon.momentum(learning_rate, beta=0.9, dampening=0.0)`" in sheet
    for method in OPTIMIZERS:
        code = ledger_pages.code_of(method)
        assert "return" in code
        compile(f"def rule():\n{re.sub('(?m)^', '    ', code)}", method, "exec")


def test_an_unknown_lecture_is_met_with_those_there_are():
    with pytest.raises(ValueError, match="T, S, A, J, D"):
        ledger.rows("Q")


def test_advice_shows_each_claim_once_with_its_sentences_and_its_page():
    claim = Claim("largest_is_best_digits", "The largest rate is best.", 2.0, low=0.5, unit="of the largest")
    rows = ["S54", "S55", "A53", "T29"]
    words = ledger_pages.advice(
        rows, {"learning_rate_curves/largest_is_best_digits": claim}, {"adam_or_momentum": "04.ipynb"}
    )
    assert all(f"- **{row}** " in words for row in rows)
    assert words.count("adam_or_momentum/less_sensitive_digits") == 1
    assert "[`adam_or_momentum/less_sensitive_digits`](04.ipynb) (S54, A53)" in words
    assert "**holds** The largest rate is best." in words
    assert "\nMeasured: The one sentence holds here.\n" in words
    assert "*Rather:* " in words  # a correction
    with pytest.raises(ValueError, match="unknown row 'S555'; did you mean 'S55'"):
        ledger_pages.advice(["S555"])


def test_the_page_of_questions_answers_each_that_a_study_measures():
    page = (BOOK / "questions.md").read_text()
    named = set(re.findall(r"`(\w+/\w+)`", page))
    questions = [row for row in LEDGER.rows if row.topic == "questions" and row.claim]
    assert len(questions) == 6
    assert all(row.id in page and named >= {*row.claim} for row in questions)
    assert named <= {claim for _, claim in NAMED}
