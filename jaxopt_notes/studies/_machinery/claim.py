"""A claim of a study: one sentence, the number it measured, the bound it was held to, and what came out."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


class Outcome(enum.Enum):
    """What measuring a claim gave, in the words that every page and table shows.

    A claim that does not hold is a result about a sentence of a lecture, not an error of the program.
    """

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    UNDECIDED = "cannot be decided here"


@dataclass(frozen=True)
class Claim:
    """One statement of a lecture, or the corrected one, and what was measured.

    A claim is decided by its whole interval where it has one: it holds if every number of the interval is inside the
    bound, does not hold if none is, and cannot be decided with this much data otherwise. A number that is not finite
    decides nothing either.

    Attributes:
        name: short and unique in its study, as in `threshold`; the ledger names it `step_size/threshold`.
        sentence: what is claimed, complete in itself.
        number: what was measured.
        low: the least value at which the claim holds, inclusive; -inf for none.
        high: the largest, inclusive; inf for none.
        interval: a confidence interval of the number where chance is in it, with its coverage said in the sentence or
            the conditions; None where there is none.
        unit: of the number.
        conditions: when this holds, or why it does not hold or could not be decided.

    Example:
        >>> from jaxopt_notes.studies import Claim
        >>> claim = Claim("threshold", "Descent diverges above 2/L, to 1 %.", 1.004, 0.99, 1.01, unit="of 2/L")
        >>> claim.outcome.value
        'holds'
        >>> print(claim)
        holds: Descent diverges above 2/L, to 1 %. Measured 1.004 of 2/L; needed: from 0.99 to 1.01.
    """

    name: str
    sentence: str
    number: float
    low: float = -math.inf
    high: float = math.inf
    interval: tuple[float, float] | None = None
    unit: str = ""
    conditions: str = ""

    def __post_init__(self) -> None:
        if math.isinf(self.low) and math.isinf(self.high):
            raise ValueError(f"claim {self.name!r} would hold for any number: give low, high or both")
        if self.low > self.high:
            raise ValueError(
                f"claim {self.name!r} would hold for no number: low {self.low:g} is above high {self.high:g}"
            )

    @property
    def outcome(self) -> Outcome:
        """`HOLDS`, `DOES_NOT_HOLD`, or `UNDECIDED` where the interval crosses the bound."""
        ends = self.interval or (self.number, self.number)
        if not all(math.isfinite(value) for value in (*ends, self.number)):
            return Outcome.UNDECIDED
        if self.low <= min(ends) and max(ends) <= self.high:
            return Outcome.HOLDS
        if max(ends) < self.low or min(ends) > self.high:
            return Outcome.DOES_NOT_HOLD
        return Outcome.UNDECIDED

    @property
    def bound(self) -> str:
        """The bound in words."""
        if math.isinf(self.low):
            return f"at most {self.high:.4g}"
        if math.isinf(self.high):
            return f"at least {self.low:.4g}"
        return f"exactly {self.low:.4g}" if self.low == self.high else f"from {self.low:.4g} to {self.high:.4g}"

    @property
    def measured(self) -> str:
        """The number with its interval and unit."""
        spread = f" ({self.interval[0]:.4g} to {self.interval[1]:.4g})" if self.interval else ""
        return f"{self.number:.4g}{spread}{f' {self.unit}' if self.unit else ''}"

    def __str__(self) -> str:
        condition = f" {self.conditions}" if self.conditions else ""
        return f"{self.outcome.value}: {self.sentence} Measured {self.measured}; needed: {self.bound}.{condition}"


def worst_ratio(ratios: Sequence[float] | np.ndarray) -> float:
    """The ratio of measured to predicted that is farthest from 1, which a claim about all of them is held to.

    Arguments:
        ratios: any number of them, of any shape.

    Returns:
        One of them.

    Example:
        >>> worst_ratio([1.01, 0.97, 1.0])
        0.97
    """
    flat = np.ravel(np.asarray(ratios, float))
    return float(flat[np.argmax(np.abs(flat - 1))])


def tally(claims: Sequence[Claim]) -> dict[str, int]:
    """How many claims hold, do not hold and cannot be decided.

    Arguments:
        claims: of one study or of many.

    Returns:
        Outcome in words -> count, all three outcomes always there.

    Example:
        >>> tally([Claim("a", "Half is below one.", 0.5, high=1.0)])
        {'holds': 1, 'does not hold': 0, 'cannot be decided here': 0}
    """
    return {outcome.value: sum(claim.outcome is outcome for claim in claims) for outcome in Outcome}


def in_words(claims: Sequence[Claim]) -> str:
    """What measuring gave, as one sentence.

    Arguments:
        claims: of one study or of many, at least one.

    Returns:
        How many sentences hold, followed by how many do not and how many cannot be decided, if any.

    Example:
        >>> print(in_words([Claim("a", "Half is below one.", 0.5, high=1.0), Claim("b", "So is two.", 2.0, high=1.0)]))
        1 of 2 sentences holds here; 1 does not.
        >>> print(in_words([Claim("a", "Half is below one.", 0.5, high=1.0)]))
        The one sentence holds here.
    """
    if not claims:
        raise ValueError("claims must have at least one claim, got none")
    holds, not_holding, undecided = tally(claims).values()
    if holds == len(claims):
        return f"All {holds} sentences hold here." if holds > 1 else "The one sentence holds here."
    parts = [f"{holds} of {len(claims)} sentences {'holds' if holds == 1 else 'hold'} here"]
    parts += [f"{not_holding} {'does' if not_holding == 1 else 'do'} not"] * bool(not_holding)
    parts += [f"{undecided} cannot be decided"] * bool(undecided)
    return f"{'; '.join(parts)}."
