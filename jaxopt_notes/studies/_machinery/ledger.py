"""The ledger: every statement of the lectures, and whether it was measured, corrected, or is out of scope.

The rows are data, in `ledger.toml` beside this file, and the judgements of the claims that do not hold in
`judgements.toml`; `ledger_pages` writes them as pages of the book.
"""

from __future__ import annotations

import functools
import importlib.resources
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import _checks
from ...optimizers import RULES
from ...sweeps.keep.saved import load as load_table
from .claim import Claim
from .judgement import judgements as judgements
from .registry import STUDIES, load_study

__all__ = [
    "Disagreement",
    "Formula",
    "Lecture",
    "Ledger",
    "Row",
    "Side",
    "Word",
    "corrections",
    "disagreements",
    "formulas",
    "glossary",
    "load",
    "measured",
    "read",
    "rows",
]

PLAYS = ("demonstration", "cell", "study")


@dataclass(frozen=True)
class Row:
    """One statement, piece of advice or question of a lecture, and what became of it.

    Attributes:
        id: the lecture's letter and a number in its order, such as "T07".
        lecture: "T", "S", "A", "J" or "D".
        place: where in the transcript.
        said: what was said, in short and in other words.
        key: the Chinese term it turns on.
        topic: such as "momentum".
        claim: what measures it, each as "study/claim"; of a study still to be written "study/? hint".
        correction: what is right instead; may stand beside claims.
        source: of the correction; empty if and only if that is.
        out_of_scope: why nothing can be measured; then there are no claims and no correction.
        play: what shows the passage, "demonstration NAME", "cell NAME" or "study NAME"; empty for none.

    Raises:
        ValueError: the row points nowhere, or both somewhere and out of scope; a correction without a source.

    Example:
        >>> from jaxopt_notes.studies._machinery.ledger import Row
        >>> row = Row("A24", "A", "section 3", "0.9^10 is about 0.35.", "10次幂", "averages", ("averages/ten_steps",))
        >>> row.command
        'jaxopt-notes study averages'
    """

    id: str
    lecture: str
    place: str
    said: str
    key: str
    topic: str
    claim: tuple[str, ...] = ()
    correction: str = ""
    source: str = ""
    out_of_scope: str = ""
    play: str = ""

    def __post_init__(self) -> None:
        if not (self.claim or self.correction or self.out_of_scope):
            raise ValueError(f"row {self.id} points nowhere: give claim, correction with source, or out_of_scope")
        if self.out_of_scope and (self.claim or self.correction):
            raise ValueError(f"row {self.id} is out of scope and has a claim or a correction: one of the two is wrong")
        if bool(self.correction) != bool(self.source):
            raise ValueError(f"row {self.id}: a correction and its source go together")
        for claim in self.claim:
            if not all(claim.partition("/")):
                raise ValueError(f"row {self.id}: a claim is written study/claim, got {claim!r}")
        if self.play:
            _checks.choice(f"first word of play in row {self.id}", self.play.partition(" ")[0], PLAYS)

    @property
    def command(self) -> str:
        """What to type to see the passage: on the command line, or the name of a cell; "" where nothing fits."""
        kind, _, name = self.play.partition(" ")
        if kind == "demonstration":
            return f"jaxopt-notes explore --demonstration '{name}'"
        if kind == "cell":
            return f"cell {name}"
        study = name if kind == "study" else self.claim[0].partition("/")[0] if self.claim else ""
        return f"jaxopt-notes study {study}" if study else ""


@dataclass(frozen=True)
class Lecture:
    """A lecture: its letter, title, and by whom it is."""

    letter: str
    title: str
    by: str


@dataclass(frozen=True)
class Side:
    """One side of a disagreement: its statement, and the ids of its rows."""

    says: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Disagreement:
    """A question that the lectures answer differently, the claims that decide it, and what they gave in words."""

    name: str
    question: str
    sides: tuple[Side, ...]
    claims: tuple[str, ...]
    measured: str = ""


@dataclass(frozen=True)
class Word:
    """A word of the lectures in Chinese and English; `slip` if a transcript wrote it for another word."""

    zh: str
    en: str
    note: str = ""
    slip: bool = False


@dataclass(frozen=True)
class Formula:
    """The formula of one of `OPTIMIZERS` in LaTeX, and where the lectures have it."""

    method: str
    latex: str
    lectures: str


@dataclass(frozen=True)
class Ledger:
    """All of it.

    Attributes:
        lectures: letter -> `Lecture`, in their order.
        rows: in the order of the lectures.
        disagreements: where the lectures contradict each other.
        glossary: words.
        formulas: one for each of `OPTIMIZERS`.
        pending: studies that rows name and that are still to be written.
    """

    lectures: Mapping[str, Lecture]
    rows: tuple[Row, ...]
    disagreements: tuple[Disagreement, ...]
    glossary: tuple[Word, ...]
    formulas: tuple[Formula, ...]
    pending: tuple[str, ...]

    def named(self) -> tuple[tuple[str, str], ...]:
        """Every claim that is named, as (id of the row or name of the disagreement, "study/claim")."""
        rows = [(row.id, claim) for row in self.rows for claim in row.claim]
        return (*rows, *((each.name, claim) for each in self.disagreements for claim in each.claims))


def read(text: str) -> Ledger:
    """The ledger in a TOML text.

    Arguments:
        text: in the form of `ledger.toml`.

    Returns:
        A `Ledger`.

    Raises:
        ValueError: a row points nowhere or to a study that is neither there nor pending, an id occurs twice, a lecture
            is unknown or has no row, a disagreement names a row that is not there.

    Example:
        >>> import importlib.resources
        >>> from jaxopt_notes.studies import ledger
        >>> text = (importlib.resources.files(ledger.__package__) / "ledger.toml").read_text(encoding="utf-8")
        >>> ledger.read(text) == ledger.load()
        True
    """
    tables = tomllib.loads(text)
    lectures = {letter: Lecture(letter, **entry) for letter, entry in tables["lectures"].items()}
    rows = tuple(_row(entry) for entry in tables["row"])
    pending = tuple(tables.get("pending", ()))
    disagreements = tuple(_disagreement(entry) for entry in tables.get("disagreement", ()))
    seen: set[str] = set()
    for row in rows:
        _checks.choice(f"lecture of row {row.id}", row.lecture, lectures)
        if row.id in seen:
            raise ValueError(f"two rows have the id {row.id}")
        seen.add(row.id)
    for letter in lectures:
        if all(row.lecture != letter for row in rows):
            raise ValueError(f"lecture {letter} has no row")
    for each in disagreements:
        for missing in {name for side in each.sides for name in side.rows} - seen:
            raise ValueError(f"the disagreement {each.name!r} names the row {missing}, which is not there")
    words = tuple(Word(**entry) for entry in tables.get("glossary", ()))
    places = tables.get("formulas", {})
    for method in places:
        _checks.choice("optimizer of a formula", method, RULES)
    formulas = tuple(Formula(name, rule.formula, places.get(name, "not there")) for name, rule in RULES.items())
    ledger = Ledger(lectures, rows, disagreements, words, formulas, pending)
    for where, claim in ledger.named():
        _checks.choice(f"study of the claim {claim!r} in {where}", claim.partition("/")[0], [*STUDIES, *pending])
    return ledger


def _row(entry: dict[str, Any]) -> Row:
    claims = entry.get("claim", [])
    return Row(**entry | {"claim": (claims,) if isinstance(claims, str) else tuple(claims)})


def _disagreement(entry: dict[str, Any]) -> Disagreement:
    sides = tuple(Side(side["says"], tuple(side["rows"])) for side in entry["sides"])
    return Disagreement(**entry | {"sides": sides, "claims": tuple(entry["claims"])})


@functools.lru_cache
def load() -> Ledger:
    """The ledger of the five lectures.

    Returns:
        A `Ledger`, read once.

    Example:
        >>> from jaxopt_notes.studies import ledger
        >>> "".join(ledger.load().lectures)
        'TSAJD'
    """
    return read((importlib.resources.files(__package__) / "ledger.toml").read_text(encoding="utf-8"))


def rows(lecture: str) -> tuple[Row, ...]:
    """The rows of one lecture, in its order.

    Arguments:
        lecture: "T", "S", "A", "J" or "D".

    Returns:
        Rows.

    Raises:
        ValueError: there is no such lecture.

    Example:
        >>> from jaxopt_notes.studies import ledger
        >>> ledger.rows("S")[0].said
        'Momentum speeds up gradient descent, and RMSProp improves it by normalising each dimension.'
    """
    _checks.choice("lecture", lecture, load().lectures)
    return tuple(row for row in load().rows if row.lecture == lecture)


def corrections() -> tuple[Row, ...]:
    """The rows that state what is right instead, in the order of the lectures.

    Returns:
        The rows that have a correction.

    Example:
        >>> from jaxopt_notes.studies import ledger
        >>> len(ledger.corrections()) > 0
        True
    """
    return tuple(row for row in load().rows if row.correction)


def disagreements() -> tuple[Disagreement, ...]:
    """Where the lectures contradict each other, with the rows of each side and the claims that decide.

    Returns:
        One `Disagreement` each.

    Example:
        >>> from jaxopt_notes.studies import ledger
        >>> len(ledger.disagreements()) > 0
        True
    """
    return load().disagreements


def glossary() -> tuple[Word, ...]:
    """Words of the lectures, Chinese and English, with the slips of the transcripts.

    Returns:
        One `Word` each.

    Example:
        >>> from jaxopt_notes.studies import ledger
        >>> len(ledger.glossary()) > 0
        True
    """
    return load().glossary


def formulas() -> tuple[Formula, ...]:
    """The formula of every optimizer.

    Returns:
        One `Formula` each, with where the lectures have it.

    Example:
        >>> from jaxopt_notes.studies import ledger
        >>> len(ledger.formulas()) > 0
        True
    """
    return load().formulas


def measured(folder: str | os.PathLike[str]) -> dict[str, Claim]:
    """What the studies found that were run into a folder; nothing is run.

    Arguments:
        folder: as given to `run_studies`, or to `jaxopt-notes study --all --out`.

    Returns:
        "study/claim" -> `Claim`, of every study that has its Dataset there.

    Example:
        >>> import tempfile
        >>> from jaxopt_notes.studies import ledger
        >>> ledger.measured(tempfile.mkdtemp())
        {}
    """
    found: dict[str, Claim] = {}
    for name in STUDIES:
        path = Path(folder) / f"{name}.nc"
        if path.is_file():
            found |= {f"{name}/{claim.name}": claim for claim in load_study(name).claims(load_table(path))}
    return found
