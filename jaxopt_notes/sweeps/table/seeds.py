"""The seeds of a configuration: which of them choose, and their median.

Both pruners and `best` use these, so they are here and not in `judge`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import _checks

NOT_COMPARED = (
    "status",
    "stopped_at",
    "skipped",
    "best_step",
)  # columns by which no configuration is better than another


def parted(seeds: np.ndarray, report: int | Sequence[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Which seeds choose and which are reported: all of them for both, or two disjoint parts.

    Raises:
        ValueError: report seeds that are not among the seeds, or that leave none to choose by.
    """
    everyone = np.ones(len(seeds), bool)
    if report is None:
        return everyone, everyone
    if np.ndim(report) == 0:
        held = seeds[len(seeds) - min(_checks.count("report_seeds", report), len(seeds)) :].tolist()
    else:
        held = [_checks.count("report_seeds", seed, low=0) for seed in report]  # type: ignore[union-attr]
    unknown = [seed for seed in held if seed not in seeds]
    if unknown or not held:
        raise ValueError(f"report_seeds must be seeds of the table, {seeds.tolist()}, got {report}")
    reporting = np.isin(seeds, held)
    if reporting.all():
        raise ValueError(f"report_seeds must leave a seed to choose by; the table has {len(seeds)}, got {report}")
    return ~reporting, reporting


def middle(row: np.ndarray) -> float:
    """The median; infinite when either of the two middle values is."""
    ordered = np.sort(row)
    middle = ordered[(len(row) - 1) // 2 : len(row) // 2 + 1]
    return float(middle.mean()) if np.isfinite(middle).all() else float(middle[-1])
