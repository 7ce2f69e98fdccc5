"""Every critical point in a box, each with its proof, and the proof that there is no other."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from .. import _checks
from .._shown import readable
from . import _search
from ._boundary import boundary_index_sum
from ._box import checked_box
from ._certificate import FLOAT64, Certificate, certificate_of, kind_of
from ._certify import Proof, proofs
from ._function import Function, traced
from ._interval import Interval
from ._point import Point, named_columns
from ._prove import certified
from ._search import Boxes, search
from ._stored import as_json, hexadecimal, write
from ._task import Task, distinct, inside, periods_of, places, rows

if TYPE_CHECKING:
    import xarray as xr

LIST: Final = "jaxopt-notes list of critical points 1"
BOXES = 1_000_000
_FINEST = 1e-10  # of the box: parts that are smaller in every parameter are not divided any more


@readable
@dataclass(frozen=True)
class AllCriticalPoints:
    """The critical points in a box, sorted by loss, each proved; `complete` if it is proved that there is no other.

    `found[i]` is the `Certificate` of point i. `print` it for a summary.

    Attributes:
        complete: whether every part of the box is decided.
        points: close to the points, a pytree of doubles with a leading axis.
        radius: a point is at most this far from `points` in every parameter.
        index: number of negative eigenvalues of the Hessian.
        kind: "minimum", "maximum" or "saddle".
        loss: (lower, upper) of the loss at each.
        eigenvalues: (lower, upper) of the eigenvalues of the Hessian at each, ascending.
        on_boundary: which of the points lie on the boundary of the box, as far as doubles show.
        undecided: (lower, upper) of the places that could not be decided, pytrees with a leading axis: degenerate
            points, kinks, poles, or whole curves of critical points.
        left: share of the box that was not examined, because a limit was reached.
        boxes: number of boxes examined.
        ended: for each reason how many boxes were dropped, or decided.
        index_sum: sum of (-1)^index over the points, which must be that of the boundary if the list is complete.
        boundary_index_sum: the degree of the gradient on the boundary, proved by itself (Poincare and Hopf). None for
            more than two parameters, and where a point lies too close to the boundary.
        history: (reason, lower, upper) of every box that ended, where `history=True` asked for it.
    """

    complete: bool
    points: PyTree
    radius: Float[np.ndarray, " points"]
    index: Int[np.ndarray, " points"]
    kind: list[str]
    loss: Float[np.ndarray, "points 2"]
    eigenvalues: Float[np.ndarray, "points n 2"]
    on_boundary: Bool[np.ndarray, " points"]
    undecided: tuple[PyTree, PyTree]
    left: float
    boxes: int
    ended: dict[str, int]
    index_sum: int
    boundary_index_sum: int | None
    history: list[tuple[str, np.ndarray, np.ndarray]] | None
    _task: Task = field(repr=False)
    _known: Boxes = field(repr=False)
    _proof: Proof = field(repr=False)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Certificate:
        point = self._task.lower.tree(self._proof.point[number])
        # The parts of the box in which a point was found alone are narrow; `prove` looks for the widest around it.
        with np.errstate(all="ignore"):
            wide = certified(self._task.function, Point("point", point), np.inf)
        if wide and wide.index == self.index[number] and wide.moved <= self.radius[number]:
            return wide
        return certificate_of(self._task.function, point, self._proof, number, 0.0, FLOAT64)

    def __iter__(self) -> Iterator[Certificate]:
        return (self[i] for i in range(len(self)))

    @property
    def certificates(self) -> list[Certificate]:
        """The certificate of every point."""
        return list(self)

    @property
    def index_counts(self) -> dict[int, int]:
        """Index to number of points."""
        return {int(i): int(n) for i, n in zip(*np.unique(self.index, return_counts=True), strict=True)}

    def resume(self, boxes: int = BOXES, seconds: float | None = None, progress: bool = True) -> AllCriticalPoints:
        """Go on with what a limit left over.

        Arguments:
            boxes: how many more to examine at most.
            seconds: how long at most; no limit when None.
            progress: whether a terminal shows how much of the box is decided.
        """
        known = self._known
        fresh = Boxes(known.alone, known.image, known.undecided, known.left, known.examined, dict(known.counts))
        fresh.history = None if known.history is None else list(known.history)
        return _searched(self._task, fresh, boxes, seconds, progress)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the list and the function that it is about, as JSON that `check_certificate` proves again.

        Arguments:
            path: of the file.
        """
        task = self._task
        content = {
            "statement": str(self),
            "complete": self.complete,
            "lower": hexadecimal(task.lower.vector),
            "upper": hexadecimal(task.upper.vector),
            "periods": hexadecimal(task.periods),
            "finest": task.finest.hex(),
            "boxes": self.boxes,
            "points": [hexadecimal(point) for point in self._proof.point],
            "radius": hexadecimal(self.radius),
            "index": self.index.tolist(),
            "function": as_json(task.function),
        }
        write(Path(path), LIST, content)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {_plural(kind, count)}" for kind, count in collections.Counter(self.kind).items())
        number = f"{len(self)} critical point{'' if len(self) == 1 else 's'}"
        box = f"the box {_sides(self._task.lower.vector, self._task.upper.vector)}"
        lines = [f"{number} in {box}, each proved: {kinds}" if kinds else f"no critical point was found in {box}"]
        if self.on_boundary.any():
            lines.append(f"{int(self.on_boundary.sum())} of these on the boundary of the box, within rounding")
        lines.append(self._completeness())
        if self.boundary_index_sum is not None and self.complete:
            lines.append(f"sum of (-1)^index {self.index_sum}, as the gradient on the boundary requires")
        ended = ", ".join(f"{n:,} {_search.IN_WORDS[name]}" for name, n in self.ended.items() if n)
        lines.append(f"{self.boxes:,} box{'' if self.boxes == 1 else 'es'} examined: {ended}")
        return "\n".join(lines)

    def _completeness(self) -> str:
        places = len(jax.tree.leaves(self.undecided[0])[0])
        if self.complete:
            return "complete: it is proved that there is no other"
        parts = []
        if places:
            where = ", ".join(_place(*self._place(i)) for i in range(min(places, 3)))
            more = f" and {places - 3} more" if places > 3 else ""
            parts.append(f"{places} {'place is' if places == 1 else 'places are'} undecided: {where}{more}")
        if self.left:
            parts.append(f"{100 * self.left:.3g} % of the box was not examined; continue with .resume(boxes=...)")
        return "not complete: " + "; ".join(parts)

    def _place(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        lower, upper = (
            np.concatenate([np.asarray(leaf)[number].ravel() for leaf in jax.tree.leaves(side)])
            for side in self.undecided
        )
        return lower, upper

    def to_dataset(self) -> xr.Dataset:
        """The points as a Dataset over `point`, for `plots.index_against_loss`, `jon.save` and reports.

        `loss`, `index`, `kind`, `radius` of every point, its `eigenvalues` over `mode`, ascending, and where it is,
        `position` over `parameter`, named by their paths. Losses and eigenvalues are the middles of their ranges.

        Example:
            >>> import jaxopt_notes as jon
            >>> found = jon.find_critical_points(lambda x: (x**2 - 1) ** 2, box=(-2.0, 2.0), complete=True)
            >>> found.to_dataset()["kind"].values.tolist()
            ['minimum', 'minimum', 'maximum']
        """
        import xarray as xr

        count = len(self)
        names, position = named_columns(self.points, count)
        variables: dict[str, Any] = {
            "loss": ("point", self.loss.mean(1)),
            "index": ("point", self.index),
            "kind": ("point", np.array(self.kind, str)),
            "radius": ("point", self.radius),
            "eigenvalues": (("point", "mode"), self.eigenvalues.mean(2)),
            "position": (("point", "parameter"), position),
        }
        attributes = {"parameters": len(names), "complete": int(self.complete), "boxes": self.boxes}
        return xr.Dataset(variables, {"parameter": names}, attributes | {"index_sum": self.index_sum})


def all_critical_points(
    loss: Callable[..., Float[Array, ""]],
    box: tuple[PyTree, PyTree],
    *args: Any,
    period: Any = None,
    boxes: int = BOXES,
    seconds: float | None = None,
    finest: float = _FINEST,
    progress: bool = True,
    history: bool = False,
) -> AllCriticalPoints:
    """All critical points in a box, as `find_critical_points(..., complete=True)`, whose page explains the method.

    Arguments:
        loss: `loss(params, *args)`, a real scalar of operations that have a rule; see `jon.proof.supported`.
        box: (lower, upper), pytrees like the parameters.
        args: further arguments of `loss`, which are taken as exactly the numbers that they are.
        period: > 0, number or pytree like one side of the box: the loss repeats after it.
        boxes: how many parts of the box to examine at most.
        seconds: how long at most; no limit when None.
        finest: of the box: parts that are smaller in every parameter are not divided any more.
        progress: whether a terminal shows how much of the box is decided.
        history: whether to keep every part that ended, and why, for `plots.boxes`.

    Returns:
        `AllCriticalPoints`; print it.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.
        NotImplementedError: naming an operation that has no rule.

    Example:
        >>> import jaxopt_notes as jon
        >>> loss = lambda x: x[0] ** 3 - 3 * x[0] + x[1] ** 2
        >>> found = jon.proof.all_critical_points(loss, ([-2.0, -1.0], [2.0, 1.0]))
        >>> found.complete, found.index_counts
        (True, {0: 1, 1: 1})
    """
    lower, upper = checked_box(box)
    boxes = _checks.count("boxes", boxes)
    finest = float(_checks.number("finest", finest, low=0.0, high=1.0))
    if seconds is not None:
        seconds = float(_checks.number("seconds", seconds, low=0.0))
    function = traced(loss, lower, args)
    task = Task(function, lower, upper, periods_of(period, lower), finest, history)
    return _searched(task, _search.start(lower.vector, upper.vector, history), boxes, seconds, progress)


def searched_again(
    function: Function, lower: np.ndarray, upper: np.ndarray, periods: np.ndarray, finest: float, boxes: int
) -> AllCriticalPoints:
    """The search for all critical points of a function that was read from a file."""
    task = Task(function, Point("lower", lower), Point("upper", upper), periods, finest, False)
    return _searched(task, _search.start(lower, upper), boxes, None, progress=False)


def _searched(task: Task, known: Boxes, boxes: int, seconds: float | None, progress: bool) -> AllCriticalPoints:
    """Search, and then prove what was found."""
    lower, upper = task.lower.vector, task.upper.vector
    total = max(float(np.prod(upper - lower)), 5e-324)
    with np.errstate(all="ignore"), _bar(progress) as bar:

        def report(known: Boxes) -> None:
            decided = 100 * (1 - _volume(known.left) / total)
            bar.n = round(decided, 2)
            bar.set_postfix_str(f"{len(known.alone.lower)} found, {known.examined:,} boxes", refresh=False)
            bar.refresh()

        search(
            task.function,
            known,
            tolerance=np.maximum(task.finest * (upper - lower), 4 * np.spacing(np.abs([lower, upper]).max(0))),
            boxes=boxes,
            seconds=math.inf if seconds is None else seconds,
            report=report,
        )
        return _result(task, known, total)


def _bar(progress: bool) -> Any:
    """A bar in a terminal, for searches that take more than two seconds."""
    import tqdm

    options: dict[str, Any] = {"total": 100, "unit": "%", "delay": 2, "leave": False}
    return tqdm.tqdm(disable=None if progress else True, bar_format="{l_bar}{bar}| {elapsed} {postfix}", **options)


def _volume(box: Interval) -> float:
    return float(np.prod(box.upper - box.lower, axis=-1).sum())


def _result(task: Task, known: Boxes, total: float) -> AllCriticalPoints:
    proof = proofs(task.function, known.alone, known.image)
    sure = proof.defined & (proof.index >= 0)
    open_places = _search.joined(known.undecided, Interval(proof.lower[~sure], proof.upper[~sure]))
    proof, twice = distinct(inside(rows(proof, sure), task), task)
    open_places = places(_search.joined(open_places, twice), task)
    edge = _on_boundary(proof, task)
    order = np.argsort(proof.loss.mean(1), kind="stable")
    proof, edge = rows(proof, order), edge[order]
    index_sum = int(np.sum((-1) ** proof.index))
    left = _volume(known.left) / total if len(known.left.lower) else 0.0
    complete = not len(open_places.lower) and not len(known.left.lower)
    periodic = np.isfinite(task.periods).any()
    degree = None
    if not periodic and not edge.any():
        degree = boundary_index_sum(task.function, task.lower.vector, task.upper.vector)
    if complete and degree is not None and degree != index_sum:  # two proofs that contradict each other
        raise AssertionError(f"the points have index sum {index_sum}, the boundary {degree}: please report this")
    return AllCriticalPoints(
        complete=complete,
        points=task.lower.tree(proof.point),
        radius=proof.radius,
        index=proof.index,
        kind=[kind_of(int(i), task.function.size) for i in proof.index],
        loss=proof.loss,
        eigenvalues=proof.bounds,
        on_boundary=edge,
        undecided=(task.lower.tree(open_places.lower), task.lower.tree(open_places.upper)),
        left=left,
        boxes=known.examined,
        ended=dict(known.counts),
        index_sum=index_sum,
        boundary_index_sum=degree,
        history=known.history,
        _task=task,
        _known=known,
        _proof=proof,
    )


def _on_boundary(proof: Proof, task: Task) -> np.ndarray:
    """Which points may lie on the boundary; what repeats has none."""
    across = (proof.lower_of_zero <= task.lower.vector) | (proof.upper_of_zero >= task.upper.vector)
    return (across & ~np.isfinite(task.periods)).any(1)


def _place(lower: np.ndarray, upper: np.ndarray) -> str:
    """A small box in words."""
    middle, half = 0.5 * (lower + upper), float((upper - lower).max(initial=0.0)) / 2
    numbers = ", ".join(f"{x:.6g}" for x in middle[:6]) + (", ..." if len(middle) > 6 else "")
    return f"({numbers}) +- {half:.1g}"


def _sides(lower: np.ndarray, upper: np.ndarray) -> str:
    """A box by its sides; of many, the first four."""
    sides = [f"[{low:.6g}, {high:.6g}]" for low, high in zip(lower[:4], upper[:4], strict=True)]
    return " x ".join(sides) + (" x ..." if len(lower) > 4 else "")


def _plural(kind: str, count: int) -> str:
    return kind if count == 1 else {"minimum": "minima", "maximum": "maxima"}.get(kind, f"{kind}s")
