"""The ledger as pages of the book: each function returns MyST Markdown, which a cell of `notebooks/ledger.md` shows."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from ... import _checks
from ...optimizers import OPTIMIZERS, RULES
from . import ledger
from .claim import Claim, Outcome, in_words
from .judgement import answers
from .ledger import Row


def statements(lecture: str, measured: Mapping[str, Claim] | None = None) -> str:
    """The statements of a lecture and what was measured, one line per row.

    Arguments:
        lecture: "T", "S", "A", "J" or "D".
        measured: of `ledger.measured`; a claim that is not in it is shown by its name alone.

    Returns:
        MyST Markdown, a table.

    Example:
        >>> from jaxopt_notes.studies import ledger_pages
        >>> print(ledger_pages.statements("S").splitlines()[9])
        * - **S01**
    """
    told = ledger.load().lectures[lecture]
    lines = [f"*{told.title}*: {told.by}."] if told.by else []
    counts = _in_words(ledger.rows(lecture), measured or {})
    lines += ["", f"Measured: {counts}"] if counts else []
    body = [
        (f"**{row.id}**\n\n{row.place}", f"{plain(row.said)} ({plain(row.key)})", _outcome(row, measured or {}))
        for row in ledger.rows(lecture)
    ]
    return "\n".join([*lines, "", *_table({"Where": 14, "They say": 36, "We measured": 50}, body)])


def advice(
    names: Sequence[str], measured: Mapping[str, Claim] | None = None, pages: Mapping[str, str] | None = None
) -> str:
    """The lectures' statements on one matter, followed by what was measured, for a notebook.

    Arguments:
        names: of rows, such as "S47"; in the order to show.
        measured: of `ledger.measured`; a claim that is not in it is shown by its name alone.
        pages: study -> file of the page that runs it, for links.

    Returns:
        Markdown, two lists: the sentences, and each of their claims once, with the rows that it belongs to.

    Raises:
        ValueError: a row that is not in the ledger.

    Example:
        >>> from jaxopt_notes.studies import ledger_pages
        >>> print(ledger_pages.advice(["S55"]).splitlines()[2])
        - **S55** Use the largest learning rate that works.
    """
    known = {row.id: row for row in ledger.load().rows}
    rows = [known[_checks.choice("row", name, known)] for name in names]
    found: dict[str, list[str]] = {}
    for row in rows:
        for part in _outcome(row, measured or {}).split("\n\n"):
            found.setdefault(part, []).append(row.id)
    said = [f"- **{row.id}** {plain(row.said)}" for row in rows]
    shown = [f"- {_linked(part, pages or {})} ({', '.join(ids)})" for part, ids in found.items()]
    words = " ".join(filter(None, ["Measured:", _in_words(rows, measured or {})]))
    return "\n".join(["They say:", "", *said, "", words, "", *shown])


def _in_words(rows: Sequence[Row], measured: Mapping[str, Claim]) -> str:
    """How many of the claims of these rows hold, each counted once; "" where none was measured."""
    names = dict.fromkeys(name for row in rows for name in row.claim if name in measured)
    return in_words([measured[name] for name in names]) if names else ""


def _linked(part: str, pages: Mapping[str, str]) -> str:
    """The same words with the name of a claim linked to the page that measures it."""

    def link(found: re.Match[str]) -> str:
        page = pages.get(found[1])
        return f"[{found[0]}]({page})" if page else found[0]

    return re.sub(r"`(\w+)/\w+`", link, part)


def disagreements(measured: Mapping[str, Claim] | None = None) -> str:
    """Where the lectures contradict each other: the sides, and what decides.

    Arguments:
        measured: of `ledger.measured`.

    Returns:
        MyST Markdown, a section each.
    """
    parts = []
    for each in ledger.disagreements():
        sides = [f"- {plain(side.says)} ({', '.join(side.rows)})" for side in each.sides]
        found = [f"- {_claim(name, measured or {})}" for name in each.claims]
        words = [plain(each.measured), ""] if each.measured else []
        lines = [
            f"### {plain(each.name)}",
            "",
            plain(each.question),
            "",
            *sides,
            "",
            "Measured:",
            "",
            *found,
            "",
            *words,
        ]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def corrections() -> str:
    """What the lectures and their transcripts get wrong, what is right, and the source.

    Returns:
        MyST Markdown, a table.
    """
    body = [
        (f"**{row.id}**\n\n{row.place}", plain(row.said), plain(row.correction), plain(row.source))
        for row in ledger.corrections()
    ]
    return "\n".join(_table({"Where": 14, "They say": 28, "Rather": 34, "Source": 24}, body))


def glossary(slips: bool = False) -> str:
    """The words of the lectures, Chinese and English.

    Arguments:
        slips: what the transcripts wrote for another word, in place of the words themselves.

    Returns:
        MyST Markdown, a table.
    """
    words = [(plain(word.zh), plain(word.en), plain(word.note)) for word in ledger.glossary() if word.slip == slips]
    heads = ("In the transcript", "Meant", "Where") if slips else ("Chinese", "English", "Here")
    return "\n".join(_table(dict.fromkeys(heads, 33), words))


def formula_sheet() -> str:
    """The formula of every optimizer beside the lines of code that compute it.

    The code is read from the package, so it is what runs. g is the gradient, x the parameters, alpha the learning rate.

    Returns:
        MyST Markdown, a section each.
    """
    parts = []
    for formula in ledger.formulas():
        call = f"jon.{formula.method}{inspect.signature(OPTIMIZERS[formula.method], eval_str=False)}"
        parts += [
            f"### {formula.method}",
            "",
            "$$",
            formula.latex,
            "$$",
            "",
            f"In the lectures: {formula.lectures}.",
            "",
        ]
        parts += ["```python", code_of(formula.method), "```", "", f"`{_without_types(call)}`", ""]
    return "\n".join(parts)


def code_of(method: str) -> str:
    """The lines of the package that compute a step of an optimizer.

    Arguments:
        method: one of `OPTIMIZERS`.

    Returns:
        Python, the body of the rule.

    Example:
        >>> from jaxopt_notes.studies._machinery.ledger_pages import code_of
        >>> print(code_of("momentum"))
        velocity = beta * velocity + (1 - dampening) * grad
        return -learning_rate * velocity, velocity
    """
    function = RULES[_checks.choice("method", method, RULES)].function
    lines = inspect.getsource(getattr(function, "fun", function)).splitlines()  # what a custom derivative wraps
    first = next(number for number, line in enumerate(lines) if line.startswith("def "))
    end = next(number for number, line in enumerate(lines[first:], first) if line.rstrip().endswith(":"))
    return textwrap.dedent("\n".join(lines[end + 1 :]))


def passages(lecture: str) -> str:
    """A lecture in its order, with the one command or cell that plays each passage.

    Arguments:
        lecture: "T", "S", "A", "J" or "D".

    Returns:
        MyST Markdown, a table; cells are linked.
    """
    body = [(row.id, row.place, plain(row.said), _play(row)) for row in ledger.rows(lecture)]
    return "\n".join(_table({"Row": 8, "Place": 14, "Passage": 48, "Play it": 30}, body))


def plain(text: str) -> str:
    """Text without markup of its own, for a cell of a table; what is in backticks stays code."""
    parts = re.split(r"(`[^`]+`)", text)
    kept = [part if part.startswith("`") else re.sub(r"([\\*_$<>\[\]|~#])", r"\\\1", part) for part in parts]
    return "".join(kept)


def _outcome(row: Row, measured: Mapping[str, Claim]) -> str:
    parts = [_claim(name, measured) for name in row.claim]
    if row.correction:
        parts.append(f"*Rather:* {plain(row.correction)} ({plain(row.source)})")
    if row.out_of_scope:
        parts.append(f"*Nothing to measure:* {plain(row.out_of_scope)}.")
    return "\n\n".join(parts)


def _claim(name: str, measured: Mapping[str, Claim]) -> str:
    claim = measured.get(name)
    study, _, rest = name.partition("/")
    if claim is None:
        return f"`{study}`: to be measured ({plain(rest[1:].strip())})" if rest.startswith("?") else f"`{name}`"
    found = f"Measured {plain(claim.measured)}; needed: {claim.bound}."
    words = f"**{claim.outcome.value}** {plain(claim.sentence)} {found}"
    under = "*Conditions:* " if claim.outcome is Outcome.DOES_NOT_HOLD and claim.conditions else ""
    judged = " ".join(f"*{question}* {plain(answer)}" for question, answer in answers(study, claim).items())
    return " ".join(filter(None, (words, f"{under}{plain(claim.conditions)}", f"`{name}`", judged)))


def _play(row: Row) -> str:
    kind, _, name = row.play.partition(" ")
    if kind == "cell":
        return f"[{name.replace('_', ' ')}](#play-{name.replace('_', '-')})"
    return f"`{row.command}`" if row.command else ""


def _table(heads: Mapping[str, int], body: Iterable[Sequence[str]]) -> list[str]:
    """A table with the widths of its columns in percent; paragraphs of a cell are separated by blank lines."""
    widths = " ".join(str(width) for width in heads.values())
    lines = ["```{list-table}", ":header-rows: 1", f":widths: {widths}", ""]
    for row in [tuple(heads), *body]:
        cells = [cell.replace("\n\n", "\n\n    ") for cell in row]
        lines += [f"* - {cells[0]}", *(f"  - {cell}".rstrip() for cell in cells[1:])]
    return [*lines, "```"]


def _without_types(call: str) -> str:
    """A signature as one types a call: names and defaults, without annotations."""
    arguments = call[call.index("(") + 1 : call.rindex(")")].split(", ")
    names = [re.sub(r": [^=]+ = |: .+$", lambda found: "=" if "=" in found[0] else "", each) for each in arguments]
    return f"{call[: call.index('(')]}({', '.join(names)})"
