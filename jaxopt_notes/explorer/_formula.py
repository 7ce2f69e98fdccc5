"""Update rules as MathML: the LaTeX of an optimizer's formula as a tree from which a page builds elements."""

from __future__ import annotations

import re
from typing import Any

# What the letters of a formula stand for; a hyperparameter that a formula does not show has none.
_LETTERS = {
    "learning_rate": r"\alpha",
    "beta": r"\beta",
    "dampening": "d",
    "eps": r"\varepsilon",
    "rho": r"\rho",
    "decay_rate": r"\rho",
    "b1": r"\beta_1",
    "b2": r"\beta_2",
    "b3": r"\beta_3",
    "weight_decay": "w",
    "damping": r"\mu",
}
_SIGNS = {
    r"\alpha": "α",
    r"\beta": "β",
    r"\varepsilon": "ε",
    r"\rho": "ρ",
    r"\mu": "μ",
    r"\Lambda": "Λ",
    r"\top": "⊤",
    r"\lvert": "|",
    r"\rvert": "|",
}
_SPACES = (r"\,", r"\quad", r"\qquad", r"\Bigl", r"\Bigr", r"\bigl", r"\bigr")
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\,|\d+|[^\s]")
Node = Any  # ["tag", child, ...], or a text


def lines(formula: str, hyperparameters: tuple[str, ...]) -> list[Node]:
    """The steps of an update rule as MathML, one for each assignment.

    Arguments:
        formula: LaTeX of an `ArrayRule`, assignments separated by commas and quads.
        hyperparameters: names whose letters are to be marked, so that a page can put their values there.

    Returns:
        Trees of lists, ["mrow", ["mi", "x"], ...]. The letter of a hyperparameter is ["number", name, letter].

    Raises:
        ValueError: a command that is not known.

    Example:
        >>> lines(r"x_{t+1} = x_t - \\alpha\\, g_t", ("learning_rate",))[0][-2:]
        [['number', 'learning_rate', ['mi', 'α']], ['msub', ['mi', 'g'], ['mi', 't']]]
    """
    letters = {_LETTERS[name]: name for name in hyperparameters if name in _LETTERS}
    return [_Reader(text, letters).row() for text in re.split(r",\s*\\q?quad", formula)]


class _Reader:
    """Reads the LaTeX that formulas are written in, from left to right."""

    def __init__(self, text: str, letters: dict[str, str]) -> None:
        self.tokens = _TOKEN.findall(text)
        self.letters = letters

    def row(self, end: str = "") -> Node:
        found: list[Node] = ["mrow"]
        while self.tokens and self.tokens[0] != end:
            if self.tokens[0] in _SPACES:
                self.tokens.pop(0)
                continue
            found.append(self.scripted())
        if end:
            self.tokens.pop(0)
        return found

    def scripted(self) -> Node:
        """One part with what stands below and above it."""
        token, base = self.tokens[0], self.part()
        below = above = None
        while self.tokens and self.tokens[0] in "_^":
            if self.tokens.pop(0) == "_":
                if f"{token}_{self.tokens[0]}" in self.letters:
                    token = f"{token}_{self.tokens[0]}"
                below = self.part()
            else:
                above = self.part()
        if below is not None:
            base = ["msub", base, below]
        if token in self.letters:
            base = ["number", self.letters[token], base]
        if above is not None:
            base = ["msup", base, above] if below is None or base[0] == "number" else ["msubsup", *base[1:], above]
        return base

    def part(self) -> Node:
        token = self.tokens.pop(0)
        if token == "{":
            row = self.row("}")
            return row[1] if len(row) == 2 else row
        if token == r"\frac":
            return ["mfrac", self.part(), self.part()]
        if token == r"\sqrt":
            return ["msqrt", self.part()]
        if token == r"\hat":
            return ["mover", self.part(), ["mo", "^"]]
        if token == r"\mathrm":
            return ["mi", "".join(part[1] for part in self.part()[1:])]
        if token.startswith("\\"):
            if token not in _SIGNS:
                raise ValueError(f"unknown command {token} in a formula; known: {', '.join(_SIGNS)}")
            return ["mo" if _SIGNS[token] == "|" else "mi", _SIGNS[token]]
        if token.isdigit():
            return ["mn", token]
        return ["mi", token] if token.isalpha() else ["mo", "−" if token == "-" else token]
