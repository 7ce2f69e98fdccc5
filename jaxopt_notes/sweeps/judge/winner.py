"""`Best`: what `best` found, and the answer in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..._shown import readable
from ...problems._metric import Direction
from ..spec.space import in_words
from ..table.direction import SUPERLATIVES
from .intervals import CONFIDENCE, most_coverage
from .scores import warnings_of

_FAMILIES = 6  # that are shown


@readable
class Tested(NamedTuple):
    """What the winner reaches on data that chose nothing.

    Attributes:
        metric: the column, such as `test_accuracy`.
        median: its median over the seeds, or its mean.
        interval, coverage: as of `Best`.
        looks: how many different choices of this store have been tested so far, this one included; None without one.
    """

    metric: str
    median: float
    interval: tuple[float, float]
    coverage: float
    looks: int | None

    def __str__(self) -> str:
        looks = "" if self.looks is None else f"; look {self.looks} at the test data of this store"
        low, high = self.interval
        interval = "" if low == high else f", {self.coverage:.1%} interval [{low:.4g}, {high:.4g}]"
        return f"{self.metric} there {self.median:.4g}{interval}{looks}"


@readable
@dataclass(frozen=True)
class Best:
    """The winning configuration of a sweep.

    Attributes:
        config: its hyperparameters; of a tree of several families also its `family`.
        metric: what was compared.
        median: median of the metric over the seeds, or the mean if `by` is "mean".
        interval: (low, high) around the median of the seeds' distribution, or around the mean.
        coverage: probability that an interval made this way covers that median; 0.95 or more with six seeds or more,
            and with fewer what the smallest and largest seed reach. Of a bootstrap interval it is approximate.
        seeds: number of seeds that `median`, `interval` and `failed` are of.
        failed: share of these seeds that ended non-finite, diverged or stalled.
        ties: the other configurations that the paired seeds cannot separate from it, best first.
        edges: one sentence per axis on whose end the winner sits.
        trials_failed: share of all trials of the sweep that failed.
        by: "median" or "mean".
        chosen_by: number of seeds that the winner was chosen by.
        held_out: whether the seeds reported are others than those, so that the estimate is not optimistic.
        families: of a tree the best of each family, which competes within it alone, the best family first.
        direction: "min" where the lowest of the metric won, "max" where the highest did.
        test: the same metric of the winner on the test data, if it was chosen by the validation data.
        unfinished: number of trials that were interrupted or did not begin; among them the winner may be missing.
    """

    config: dict[str, Any]
    metric: str
    median: float
    interval: tuple[float, float]
    coverage: float
    seeds: int
    failed: float
    ties: list[dict[str, Any]]
    edges: list[str]
    trials_failed: float
    by: str = "median"
    chosen_by: int = 0
    held_out: bool = False
    families: Mapping[str, Best] = field(default_factory=dict)
    direction: Direction = "min"
    test: Tested | None = None
    unfinished: int = 0

    def __str__(self) -> str:
        lines = []
        if self.failed >= 0.5:
            lines.append("no configuration succeeded from most of its seeds; the least bad:")
        lines.append(self._headline)
        if self.seeds > 1:
            lines.append(f"{self.coverage:.1%} interval: [{self.interval[0]:.4g}, {self.interval[1]:.4g}]")
        if self.held_out:
            lines.append(f"chosen by {self.chosen_by} other seeds, so this {self.by} is not biased by the selection")
        lines.extend([] if self.test is None else [str(self.test)])
        lines.append(f"failed seeds: {self.failed:.0%} of this configuration, {self.trials_failed:.0%} of all trials")
        if self.ties:
            shown = "; ".join(in_words(tie) for tie in self.ties[:3]) + ("; ..." if len(self.ties) > 3 else "")
            others = "1 other configuration" if len(self.ties) == 1 else f"{len(self.ties)} other configurations"
            lines.append(f"these seeds cannot separate it from {others}: {shown}")
        if most_coverage(self.chosen_by or self.seeds) < CONFIDENCE:
            lines.append(
                f"fewer than 6 seeds cannot separate any two configurations at {CONFIDENCE:.0%}: run at least 6"
            )
        lines.extend(f"warning: {edge}" for edge in self.edges)
        lines.extend(warnings_of(self.unfinished))
        lines += [f"best of {name}: {one._headline}" for name, one in [*self.families.items()][:_FAMILIES]]
        if len(self.families) > _FAMILIES:
            lines.append(f"and {len(self.families) - _FAMILIES} more families")
        return "\n".join(lines)

    @property
    def _headline(self) -> str:
        """The configuration and its score."""
        seeds = f"{self.seeds} seeds" if self.seeds > 1 else "1 seed, which gives no interval"
        name = in_words(self.config) or "the only configuration"
        chosen = "" if self.held_out else f", the {SUPERLATIVES[self.direction]}"
        return f"{name}: {self.by} {self.metric} {self.median:.4g} over {seeds}{chosen}"
