"""The kinds of facts that a rule states: what its numbers may be, what it divides by, how its line is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

# The palette of Okabe and Ito, which colour-blind readers tell apart, without its yellow, too faint on white.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"


RATES = (1e-5, 10.0)  # of learning rates that are worth trying


class Look(NamedTuple):
    """How the line of an optimizer is drawn, as matplotlib writes it: colour, dash pattern and marker."""

    color: str
    dash: Literal["-", "--", "-.", ":"]
    marker: str


class Interval(NamedTuple):
    """The values that a hyperparameter accepts, from 0, and those that are worth trying.

    Attributes:
        most: the largest value.
        open_high: whether `most` itself is refused.
        tried: the ends of a slider or of a range test; None for a number that is set once and has no slider.
        log: whether values between these ends are spaced evenly in the logarithm.
        start: where a slider begins; None for the default of the factory.
        scale: of a learning rate, where it may begin on a function that is known: a share of the rate of gradient
            descent, or of the width of the domain. None where `start` serves every function.
    """

    most: float = np.inf
    open_high: bool = False
    tried: tuple[float, float] | None = None
    log: bool = False
    start: float | None = None
    scale: tuple[Literal["descent", "width"], float] | None = None


def rate(
    start: float,
    *,
    tried: tuple[float, float] = RATES,
    scale: tuple[Literal["descent", "width"], float] | None = None,
) -> Interval:
    """The interval of a learning rate."""
    return Interval(tried=tried, log=True, start=start, scale=scale)


SHARE = Interval(1.0, open_high=True, tried=(0.0, 0.999))  # that an average keeps
SMALL = Interval(tried=(1e-10, 1.0), log=True)
HIDDEN = Interval()


class Divisor(NamedTuple):
    """What a method divides its gradient by, of one array.

    Attributes:
        function: `divisor(*slots, **numbers) -> array`, with the numbers and corrections that the rule is given.
        slots: names of the fields of the state that it takes, in order.
    """

    function: Callable[..., Any]
    slots: tuple[str, ...]


@dataclass(frozen=True)
class Without:
    """Stands for a fact that a method does not have.

    Attributes:
        reason: why, as the end of the sentence "lion has no stability limit: ...".
    """

    reason: str
