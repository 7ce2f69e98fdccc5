"""`Facts`: what is known of a test function, its critical points first of all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, PyTree

from .. import _checks

_LISTED = 1000  # points; a product of one-dimensional tables with more of them is counted, not listed


class KnownPoint(NamedTuple):
    """A tabulated critical point, in float64.

    Attributes:
        point: the parameters there: an array of shape (n,), or whatever pytree the problem has.
        value: f there.
        eigenvalues: of the Hessian there, ascending, of shape (n,); None at a kink, and where they are not tabulated.
        index: how many eigenvalues are negative; 0 at a kink that is a minimum.
        kind: "minimum", "maximum" or "saddle", which a degenerate Hessian leaves open and the table does not.
    """

    point: PyTree
    value: float
    eigenvalues: Float[np.ndarray, " n"] | None
    index: int  # type: ignore[assignment]
    kind: str


@dataclass(frozen=True, eq=False, repr=False)
class Facts:
    """What is known about a function inside a box, the source, and how to draw it.

    Attributes:
        domain: the box, lower and upper bounds of shape (2, n), in the order of the flattened parameters.
        critical_points: those tabulated.
        complete: whether they are all the critical points in the box.
        index_sum: the degree of the gradient on the boundary of the box. By Poincare and Hopf it is the sum of
            (-1)^index over the critical points inside when none is degenerate: 1 for a smooth function that grows in
            all directions, another number for others. None where critical points are not isolated or it is not known.
        per_axis: (minima, maxima) along each axis, for a function that is a sum over the axes; or None.
        smooth: whether f has derivatives of every order everywhere it is finite.
        formula: f in mathtext, for the title of a figure.
        labels: of the first two axes.
        starts: from where the literature or the lectures run.
        levels: the spacing of contour levels that shows the function: "linear", or "log" above the lowest in view.
        source: author and year.

    Example:
        >>> import jaxopt_notes as jon
        >>> facts = jon.problems.himmelblau().facts
        >>> facts.index_counts, facts.index_sum, len(facts.minima)
        ((4, 4, 1), 1, 4)
    """

    domain: Float[np.ndarray, "2 n"]
    critical_points: tuple[KnownPoint, ...] = ()
    complete: bool = True
    index_sum: int | None = None
    per_axis: tuple[int, int] | None = None
    smooth: bool = True
    formula: str = ""
    labels: tuple[str, str] = ("x", "y")
    starts: tuple[Float[np.ndarray, " n"], ...] = ()
    levels: str = "linear"
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("complete", "smooth"):
            _checks.boolean(name, getattr(self, name))

    def __repr__(self) -> str:
        extent = "all" if self.complete else "not all"
        return f"Facts({len(self.critical_points)} critical points, {extent} in the box; {self.source})"

    @property
    def dimension(self) -> int:
        """n, the number of parameters."""
        return self.domain.shape[1]

    @property
    def minima(self) -> tuple[KnownPoint, ...]:
        """The tabulated minima, the lowest first."""
        return tuple(sorted((p for p in self.critical_points if p.kind == "minimum"), key=lambda p: p.value))

    @property
    def index_counts(self) -> tuple[int, ...] | None:
        """How many critical points of index 0, 1, ..., n the box holds; exact in any dimension, None if not known.

        A function that is a sum over n axes, each with m minima and M maxima, has C(n, k) m^(n-k) M^k of index k.
        """
        n = self.dimension
        if self.per_axis is not None:
            low, high = self.per_axis
            return tuple(math.comb(n, k) * low ** (n - k) * high**k for k in range(n + 1))
        if not self.complete:
            return None
        indices = [p.index for p in self.critical_points]
        return tuple(indices.count(k) for k in range(n + 1))


Row = tuple[tuple[float, ...], float, tuple[float, ...]]


def known_point(
    point: PyTree, value: float, eigenvalues: Sequence[float] | Float[np.ndarray, " n"], kind: str | None = None
) -> KnownPoint:
    """A `KnownPoint` from a row of a table; the kind follows from the index unless it is given."""
    spectrum = np.sort(np.asarray(eigenvalues, np.float64))
    index = int(np.sum(spectrum < 0))
    if kind is None:
        kind = "minimum" if index == 0 else "saddle" if np.any(spectrum > 0) else "maximum"
    return KnownPoint(point, float(value), spectrum, index, kind)


def known_points(rows: Iterable[Row], symmetries: Iterable[Float[np.ndarray, "n n"]] = ()) -> tuple[KnownPoint, ...]:
    """Every row as a `KnownPoint`, with its images under the symmetries of f, signed permutations."""
    images: dict[tuple[float, ...], KnownPoint] = {}
    for point, value, eigenvalues in rows:
        for symmetry in (np.eye(len(point)), *symmetries):
            image = symmetry @ np.asarray(point) + 0.0  # 0.0 also for -0.0
            images.setdefault(tuple(image), known_point(image, value, eigenvalues))
    return tuple(images.values())


def axis_product(rows: Sequence[Row], dimension: int) -> tuple[tuple[KnownPoint, ...], bool]:
    """The critical points of a sum over axes from those of one axis, and whether they are all.

    Beyond 1,000 of them only the one made of the lowest row.
    """
    complete = len(rows) ** dimension <= _LISTED
    chosen = (
        itertools.product(rows, repeat=dimension) if complete else [(min(rows, key=lambda row: row[1]),) * dimension]
    )
    points = []
    for parts in chosen:
        point, value, eigenvalues = zip(*parts, strict=True)
        points.append(known_point(np.concatenate(point), math.fsum(value), np.concatenate(eigenvalues)))
    return tuple(points), complete


def box(low: float | Sequence[float], high: float | Sequence[float], dimension: int) -> Float[np.ndarray, "2 n"]:
    """The bounds of a box as `Facts.domain`; one number stands for every axis."""
    return np.stack([np.broadcast_to(np.asarray(edge, np.float64), (dimension,)) for edge in (low, high)])
