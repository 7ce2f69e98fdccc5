"""Branch and bound: every zero of a gradient in a box, each alone in a box of its own, and what could not be decided.

Boxes are examined a few thousand at a time, the oldest first, so that what a limit leaves over is small everywhere. A
box is dropped where the gradient cannot vanish: by its enclosure, by the mean-value form, or by Krawczyk's test. Each
is examined a little enlarged: a zero on the side that two boxes share is then inside of both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ._interval import Interval, up
from ._krawczyk import Differentiable, Tested, krawczyk

_AT_ONCE = 4096
_MARGIN = 0.03  # of its width: how far a box is enlarged on either side
_CUT = 0.4903  # not the middle, where zeros of symmetric functions lie
_SHRUNK = 0.6  # of its width: a box that Krawczyk's test makes this narrow is not cut

REASONS: Final = ("gradient", "mean value", "krawczyk", "alone", "undecided", "value")
IN_WORDS: Final = {
    "gradient": "without a point by the gradient",
    "mean value": "without by the mean value",
    "krawczyk": "without by Krawczyk's test",
    "alone": "with exactly one point",
    "undecided": "undecided",
    "value": "by the value",
}


@dataclass
class Boxes:
    """What a search knows so far.

    Attributes:
        alone: boxes that hold exactly one zero, bounds of shape (found, n).
        image: boxes inside of those that hold the zero.
        undecided: boxes smaller than the tolerance that may hold zeros.
        left: boxes not examined yet.
        examined: number of boxes.
        counts: how many boxes ended for which of REASONS.
        history: (reason, lower, upper) of every box that ended, where asked for.
    """

    alone: Interval
    image: Interval
    undecided: Interval
    left: Interval
    examined: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    history: list[tuple[str, np.ndarray, np.ndarray]] | None = None

    def ended(self, reason: str, box: Interval, where: np.ndarray) -> None:
        """Count the boxes that ended."""
        self.counts[reason] += int(where.sum())
        if self.history is not None:
            self.history += [(reason, low, high) for low, high in zip(box.lower[where], box.upper[where], strict=True)]


def start(lower: np.ndarray, upper: np.ndarray, history: bool = False) -> Boxes:
    """Nothing known of the box [lower, upper]."""
    none = Interval(np.zeros((0, len(lower))))
    return Boxes(none, none, none, Interval(lower[None], upper[None]), history=[] if history else None)


def search(
    function: Differentiable,
    known: Boxes,
    *,
    tolerance: np.ndarray,
    boxes: int,
    seconds: float = np.inf,
    report: Callable[[Boxes], None] = lambda known: None,
) -> None:
    """Examine boxes until none is left, or as many as allowed have been; `known` is changed.

    Arguments:
        function: the function.
        known: what is known before, from `start` or an earlier search.
        tolerance: width along each axis below which a box is not cut, of shape (n,).
        boxes: how many to examine at most, in this search.
        seconds: how long to search at most.
        report: called after every batch.
    """
    deadline, most = time.monotonic() + seconds, known.examined + boxes
    scale = np.max(known.left.upper - known.left.lower, axis=0, initial=0.0)
    while len(known.left.lower) and known.examined < most and time.monotonic() < deadline:
        count = min(_AT_ONCE, most - known.examined)
        batch, known.left = known.left[:count], known.left[count:]
        known.examined += len(batch.lower)
        again = _examined(function, known, batch, tolerance, scale)
        known.left = joined(known.left, again)
        report(known)


def _examined(
    function: Differentiable, known: Boxes, batch: Interval, tolerance: np.ndarray, scale: np.ndarray
) -> Interval:
    """The boxes that are left of a batch."""
    slope = function.slope_on(batch)
    keep = holds_zero(slope)
    known.ended("gradient", batch, ~keep)
    batch = batch[keep]
    if not len(batch.lower):
        return batch
    width = batch.upper - batch.lower
    tested = krawczyk(function, Interval(batch.lower - _MARGIN * width, batch.upper + _MARGIN * width))
    keep = holds_zero(_mean_value(tested, batch))
    known.ended("mean value", batch, ~keep)
    lower = np.maximum(batch.lower, tested.image.lower)
    upper = np.minimum(batch.upper, tested.image.upper)
    apart = keep & (lower > upper).any(1)
    known.ended("krawczyk", batch, apart)
    keep &= ~apart
    alone = keep & tested.alone
    known.ended("alone", batch, alone)
    enlarged = Interval(batch.lower - _MARGIN * width, batch.upper + _MARGIN * width)
    known.alone, known.image = joined(known.alone, enlarged[alone]), joined(known.image, tested.image[alone])
    keep &= ~alone
    left, narrow = Interval(lower[keep], upper[keep]), (upper - lower)[keep] <= tolerance
    small = narrow.all(1)
    known.ended("undecided", left, small)
    known.undecided = joined(known.undecided, left[small])
    shrunk = ((upper - lower)[keep].max(1) < _SHRUNK * width[keep].max(1)) & ~small
    sizes = tested.curvature.magnitude()[keep].max(1)
    return joined(left[shrunk], _halves(left, ~small & ~shrunk, sizes, narrow, scale))


def holds_zero(slope: Interval) -> np.ndarray:
    """Where no component excludes zero."""
    return np.all((slope.lower <= 0) & (slope.upper >= 0), axis=-1)


def _mean_value(tested: Tested, box: Interval) -> Interval:
    """g(x) + H(X) (X - x), which holds g on the box."""
    reach = np.maximum(up(box.upper - tested.middle), up(tested.middle - box.lower))
    with np.errstate(invalid="ignore"):
        change = up((tested.curvature.magnitude() @ reach[..., None])[..., 0] * (1 + 2.0**-40))
    return tested.slope + Interval(
        np.where(np.isnan(change), -np.inf, -change), np.where(np.isnan(change), np.inf, change)
    )


def _halves(box: Interval, cut: np.ndarray, sizes: np.ndarray, narrow: np.ndarray, scale: np.ndarray) -> Interval:
    """Both parts of the boxes that are to be cut, along the axis that moves the gradient most (smear)."""
    lower, upper, sizes = box.lower[cut], box.upper[cut], sizes[cut]
    width = upper - lower
    smear = np.where(np.isfinite(sizes).all(1, keepdims=True), sizes * width, width / scale)
    smear = np.where(smear.max(1, keepdims=True) > 0, smear, width / scale)
    # An axis along which the function is flat is cut too, once the box is long in it.
    smear = np.where((width / scale).max(1, keepdims=True) > 64 * (width / scale), 0.0, smear)
    smear = np.where(narrow[cut], -1.0, smear)
    rows, axis = np.arange(len(lower)), smear.argmax(1)
    at = lower[rows, axis] + _CUT * width[rows, axis]
    first, second = upper.copy(), lower.copy()
    first[rows, axis] = second[rows, axis] = at
    return Interval(np.concatenate([lower, second]), np.concatenate([first, upper]))


def joined(first: Interval, second: Interval) -> Interval:
    """Boxes one after the other."""
    if not len(second.lower):
        return first
    return Interval(np.concatenate([first.lower, second.lower]), np.concatenate([first.upper, second.upper]))
