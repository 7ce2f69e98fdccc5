"""Why a claim that does not hold refutes its sentence: the answers to three questions, kept in `judgements.toml`."""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass

from ... import _checks
from .claim import Claim, Outcome
from .registry import STUDIES

QUESTIONS = {
    "chance": "Did the set-up give the sentence a fair chance?",
    "words": "Is it the sentence's own words and conditions?",
    "budget": "Does the number move with the budget or the grid?",
}


@dataclass(frozen=True)
class Judgement:
    """The answers to three questions about a claim that does not hold, a line each.

    Attributes:
        chance: did the set-up give the sentence a fair chance?
        words: is it the sentence's own words and conditions?
        budget: does the number move with the budget or the grid? What only these decide cannot be decided here.

    Raises:
        ValueError: an answer is empty.

    Example:
        >>> from jaxopt_notes.studies._machinery.judgement import Judgement
        >>> list(Judgement("Yes: rates from 0.1 to 2.", "Yes.", "No: an identity.").answers)[1]
        "Is it the sentence's own words and conditions?"
    """

    chance: str
    words: str
    budget: str

    def __post_init__(self) -> None:
        for name, question in QUESTIONS.items():
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty; it must answer: {question}")

    @property
    def answers(self) -> dict[str, str]:
        """Question in words -> answer."""
        return {question: getattr(self, name) for name, question in QUESTIONS.items()}


def read(text: str) -> dict[str, Judgement]:
    """The judgements in a TOML text.

    Arguments:
        text: in the form of `judgements.toml`.

    Returns:
        "study/claim" -> `Judgement`.

    Raises:
        ValueError: a key names no study, or the answers are not those to the three questions.

    Example:
        >>> from jaxopt_notes.studies import judgement
        >>> judgement.read('["averages/window"]\\nchance = "a"\\nwords = "b"\\nbudget = "c"')["averages/window"].words
        'b'
    """
    found = {}
    for key, answers in tomllib.loads(text).items():
        study, _, claim = key.partition("/")
        _checks.choice(f"study of the judgement {key!r}", study, STUDIES)
        if not claim:
            raise ValueError(f"a judgement is of a claim, written study/claim, got {key!r}")
        if set(answers) != set(QUESTIONS):
            raise ValueError(f"the judgement {key!r} must answer {', '.join(QUESTIONS)}, got {', '.join(answers)}")
        try:
            found[key] = Judgement(**answers)
        except ValueError as error:
            raise ValueError(f"in the judgement {key!r} {error}") from None
    return found


@functools.cache
def judgements() -> Mapping[str, Judgement]:
    """The judgements of all claims that need not hold.

    Returns:
        "study/claim" -> `Judgement`, read once.

    Example:
        >>> from jaxopt_notes.studies import judgement
        >>> print(judgement.judgements()["averages/window"].budget)
        No: it is 0.99^50.
    """
    text = (importlib.resources.files(__package__) / "judgements.toml").read_text(encoding="utf-8")
    return types.MappingProxyType(read(text))


def answers(study: str, claim: Claim) -> dict[str, str]:
    """Why a claim refutes its sentence, to be shown under it.

    Arguments:
        study: that measured it.
        claim: one of its claims.

    Returns:
        Question -> answer where the claim does not hold, else nothing. A claim that does not hold for another seed or
        size than the book's may have no judgement; the answer then reports that.

    Example:
        >>> from jaxopt_notes.studies import Claim, judgement
        >>> list(judgement.answers("averages", Claim("window", "Nothing lies behind.", 0.37, high=0.01)))[1]
        "Is it the sentence's own words and conditions?"
    """
    if claim.outcome is not Outcome.DOES_NOT_HOLD:
        return {}
    found = judgements().get(f"{study}/{claim.name}")
    return found.answers if found else {"Is it a refutation?": "Not judged: the runs of the book do not refute it."}
