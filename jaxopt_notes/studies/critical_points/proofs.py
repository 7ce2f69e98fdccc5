"""Functions of one or two variables in their boxes: the tabulated critical points proved, and that they are all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ... import problems
from ...problems import Facts
from ...proof import AllCriticalPoints, all_critical_points
from .._machinery.claim import Claim

if TYPE_CHECKING:
    import xarray

MATCH = 1e-6


def variables() -> dict[str, Any]:
    """Search the boxes of the catalogue by branch and bound, and compare with the tables.

    Returns:
        Variables of a Dataset over `proved_function`, and that coordinate.
    """
    counts = {
        name: _compared(all_critical_points(problem.loss, tuple(facts.domain), progress=False), facts)
        for name, problem in ((name, factory()) for name, factory in problems.CATALOGUE.items())
        if (facts := problem.facts) is not None and facts.dimension <= 2
    }
    fields = next(iter(counts.values()))
    measured = {field: ("proved_function", [one[field] for one in counts.values()]) for field in fields}
    return {**measured, "proved_function": list(counts)}


def _compared(found: AllCriticalPoints, facts: Facts) -> dict[str, int]:
    """What was proved beside the table; a degenerate point or a kink of the table may stay undecided."""
    places = [_ends(found, i) for i in range(len(jax.tree.leaves(found.undecided[0])[0]))]
    free, used = set(range(len(found))), set()
    missing, open_points = 0, 0
    for known in facts.critical_points:
        point = np.asarray(known.point, float)
        near = [i for i in free if np.abs(found.points[i] - point).max() < MATCH]
        if near and found.index[near[0]] == known.index and found.kind[near[0]] == known.kind:
            free.remove(near[0])
            continue
        around = [i for i, (lower, upper) in enumerate(places) if ((lower <= point) & (point <= upper)).all()]
        singular = known.eigenvalues is None or bool(np.any(known.eigenvalues == 0))
        if singular and around:
            used.add(around[0])
            open_points += 1
        else:
            missing += 1
    return {
        "proved": len(found),
        "proved_smooth": int(facts.smooth),
        "proved_complete": int(found.complete),
        "proved_boxes": found.boxes,
        "not_proved": missing + math.ceil(found.left),
        "not_tabulated": len(free) + len(places) - len(used),
        "undecided": open_points,
    }


def _ends(found: AllCriticalPoints, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner of an undecided place, and what rounding of the table may add."""
    lower, upper = (np.asarray(side)[number] for side in found.undecided)
    return lower - MATCH, upper + MATCH


def claims(dataset: xarray.Dataset) -> list[Claim]:
    """Judge whether the tables are complete, by proof.

    Arguments:
        dataset: with what `variables` gives.

    Returns:
        One claim for the smooth functions, one for the others.
    """
    smooth = dataset.proved_smooth.values == 1
    return [
        _claim(
            dataset.isel(proved_function=np.flatnonzero(smooth)),
            "all_proved",
            "The tabulated critical points of a smooth function are all that its box holds: this is proved.",
        ),
        _claim(
            dataset.isel(proved_function=np.flatnonzero(~smooth)),
            "kinks_stay_undecided",
            "Of a function with kinks everything but the kinks is proved.",
        ),
    ]


def _claim(part: xarray.Dataset, name: str, statement: str) -> Claim:
    complete = part.proved_complete.values == 1
    unlike = int(part.not_proved.sum() + part.not_tabulated.sum())
    lists = f"{complete.sum()} of {len(complete)} lists are proved complete"
    where = " and ".join(str(one).replace("_", " ") for one in part.proved_function.values[~complete])
    stay = f"; undecided stay {int(part.undecided.sum())} points, of {where}" if where else ""
    return Claim(
        name, statement, unlike, 0, 0, unit=f"unlike the table, of {int(part.proved.sum())} proved",
        conditions=f"{lists}, from {int(part.proved_boxes.sum()):,} boxes{stay}.",
    )  # fmt: skip
