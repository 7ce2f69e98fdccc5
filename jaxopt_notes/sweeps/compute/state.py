"""The state of unfinished trials on the host: what a checkpoint saves, and what waits at a rung.

Only the arrays are here. `engine` takes them from lanes and puts them back, `keep` writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class State(NamedTuple):
    """Some trials at a step.

    Attributes:
        step: the steps done.
        leaves: those of `Lanes`, in their order; the leading axis is the trial.
        position: of the stream at the window of this step, where the step is not enough to know.
    """

    step: int
    leaves: list[np.ndarray]
    position: bytes = b""

    def of(self, trials: np.ndarray | slice) -> State:
        """Some of the trials, by their positions."""
        return self._replace(leaves=[leaf[trials] for leaf in self.leaves])

    def parts(self, lengths: Sequence[int]) -> list[State]:
        """The trials in pieces of these lengths."""
        ends = np.cumsum(lengths)
        return [self.of(slice(end - length, end)) for length, end in zip(lengths, ends, strict=True)]

    @staticmethod
    def joined(states: Sequence[State]) -> State:
        """Trials that are at one step, in one piece."""
        leaves = zip(*(one.leaves for one in states), strict=True)
        return states[0]._replace(leaves=[np.concatenate(parts) for parts in leaves])
