"""`find_critical_points`: Newton's method on the gradient from many starts at once, and an account of every start."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .. import _checks
from .._kept import PerProgram
from .._shown import readable
from ..proof import AllCriticalPoints, all_critical_points
from ..proof._point import named_columns
from ._classify import dense_verdict
from ._judge import Asked
from ._merging import Ends, Families, families
from ._region import EDGE, checked_field, checked_limits, checked_periods, within_period
from ._search import Field, Outcome, Search, newton, outcomes
from ._verdict import CriticalPoint, Kind

if TYPE_CHECKING:
    import xarray as xr

_AT_ONCE = 1024  # ends that are judged together, which keeps them in cache


@readable
@dataclass(frozen=True)
class CriticalPoints:
    """The distinct critical points that a search found, sorted by loss, and what became of the starts.

    Attributes:
        points: the points, a pytree like one start with a leading axis.
        verdicts: the `CriticalPoint` of each, batched along the same axis: `verdicts.kind_name`, `verdicts.index`, ...
        loss: the loss at each.
        reached_by: number of starts that ended at each, or on its continuum.
        dimension: of the continuum of critical points that each stands for, such as 1 for a circle; 0 for a point.
        outcomes: `Outcome` name in lower case to number of starts; the sum is the number of starts.
        search: where every start ended.
        index_sum: sum of (-1)^index over the points; None if one of them is degenerate or undecided.
        expected_index_sum: what it should be, if given.
    """

    points: PyTree
    verdicts: CriticalPoint
    loss: Float[Array, " points"]
    reached_by: Int[np.ndarray, " points"]
    dimension: Int[np.ndarray, " points"]
    outcomes: dict[str, int]
    search: Search
    index_sum: int | None
    expected_index_sum: int | None

    def __len__(self) -> int:
        return len(self.reached_by)

    @property
    def index_counts(self) -> dict[int, int]:
        """Index to number of non-degenerate points."""
        index = np.asarray(self.verdicts.index)[_proved(self.verdicts)]
        return {int(i): int(n) for i, n in zip(*np.unique(index, return_counts=True), strict=True)}

    def __str__(self) -> str:
        kinds = collections.Counter(np.atleast_1d(self.verdicts.kind_name).tolist())
        words = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in kinds.items())
        fates = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in self.outcomes.items() if n)
        lines = [f"{len(self)} critical points" + (f": {words}" if words else "")]
        continua = collections.Counter(self.dimension[self.dimension > 0].tolist())
        lines += [
            f"{number} of these {'stands' if number == 1 else 'stand'} for a whole continuum of critical points, "
            f"of dimension {size}; reached_by counts every start that ended on it"
            for size, number in sorted(continua.items())
        ]
        lines.append(f"{sum(self.outcomes.values())} starts: {fates}")
        if escaped := self.outcomes["escaped"]:
            starts = "1 start" if escaped == 1 else f"{escaped} starts"
            lines.append(f"{starts} escaped: the gradient only fades on the way to infinity, where no point is listed")
        if self.expected_index_sum is not None:
            lines.append(
                f"sum of (-1)^index {self.index_sum}, expected {self.expected_index_sum}: {self._completeness()}"
            )
        lines.append("conditional on the starts: a point that none of them leads to is not in the list")
        return "\n".join(lines)

    def to_dataset(self) -> xr.Dataset:
        """The points as a Dataset over `point`, for `plots.index_against_loss`, `jon.save` and reports.

        `loss`, `index`, `positive`, `kind`, `gradient_norm`, `zero_level`, `reached_by`, `dimension` of every point,
        its `eigenvalues` over `mode`, ascending, and where it is, `position` over `parameter`, named by their paths.
        `attrs` count the parameters, the starts, and how these ended.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from jaxopt_notes.curvature import find_critical_points
            >>> starts = jnp.linspace(-2.0, 2.0, 9)
            >>> table = find_critical_points(lambda x: (x**2 - 1) ** 2, starts).to_dataset()
            >>> table["index"].values.tolist(), table["kind"].values.tolist()
            ([0, 0, 1], ['minimum', 'minimum', 'maximum'])
        """
        import xarray as xr

        verdicts, count = self.verdicts, len(self)
        numbers = {"loss": self.loss, "reached_by": self.reached_by, "dimension": self.dimension}
        numbers |= {name: getattr(verdicts, name) for name in ("index", "positive", "gradient_norm", "zero_level")}
        names, position = named_columns(self.points, count)
        variables: dict[str, Any] = {name: ("point", np.asarray(values)) for name, values in numbers.items()}
        variables["kind"] = ("point", np.asarray(verdicts.kind_name, str))
        variables["eigenvalues"] = (("point", "mode"), np.asarray(verdicts.eigenvalues))
        variables["position"] = (("point", "parameter"), position)
        attributes = {"parameters": len(names), "starts": sum(self.outcomes.values())}
        attributes |= {f"starts_{name}": number for name, number in self.outcomes.items()}
        sums = {"index_sum": self.index_sum, "expected_index_sum": self.expected_index_sum}
        attributes |= {name: number for name, number in sums.items() if number is not None}
        return xr.Dataset(variables, {"parameter": names}, attributes)

    def _completeness(self) -> str:
        if self.index_sum is None:
            return "not decidable, as a point is degenerate, undecided or given up to a symmetry"
        if self.index_sum == self.expected_index_sum:
            return "consistent with a complete list"
        return "the list misses at least one point"


@overload
def find_critical_points(
    loss: Callable[..., Float[Array, ""]],
    starts: PyTree,
    *args: Any,
    box: tuple[Any, Any] | None = None,
    steps: int = 60,
    max_step: float | None = None,
    merge: float | None = None,
    expected_index_sum: int | None = None,
    null_directions: PyTree | Callable[[PyTree], PyTree] = None,
    period: Any = None,
    complete: Literal[False] = False,
) -> CriticalPoints: ...


@overload
def find_critical_points(
    loss: Callable[..., Float[Array, ""]],
    starts: None = None,
    *args: Any,
    box: tuple[Any, Any],
    period: Any = None,
    complete: Literal[True],
    boxes: int = 1_000_000,
    seconds: float | None = None,
) -> AllCriticalPoints: ...


def find_critical_points(
    loss: Callable[..., Float[Array, ""]],
    starts: PyTree = None,
    *args: Any,
    box: tuple[Any, Any] | None = None,
    steps: int = 60,
    max_step: float | None = None,
    merge: float | None = None,
    expected_index_sum: int | None = None,
    null_directions: PyTree | Callable[[PyTree], PyTree] = None,
    period: Any = None,
    complete: bool = False,
    boxes: int = 1_000_000,
    seconds: float | None = None,
) -> CriticalPoints | AllCriticalPoints:
    """Find critical points of every index: from many starts at once, or all that are in a box, with proof.

        x <- x - t H^-1 g,   |t H^-1 g| <= max_step,   t the longest of 1, 1/2, ..., 1/64 that lowers |g|

    Newton's direction has no preference for minima: it is attracted to saddles and maxima as well. Directions in which
    the curvature is rounding are left alone. Where steps shrink by (m - 1) / m, as at a root of multiplicity m, they
    are taken m times as long. |g| measures the steps but is never minimised alone, so a place where it has a minimum
    without being zero does not count as found: it is reported as `gradient_flat` (g in the kernel of H). A start whose
    steps do not shrink while |g| fades, as on exp(x) or 1/x, is reported as `escaped`.

    What is found is what `classify` calls critical. Ends that rounding cannot separate are one point. It is
    `degenerate` if they differ in the signs or the size of their curvature: a multiple root, or several close ones.
    Ends connected by a walk over critical points are one continuum. One of its points is listed, with its `dimension`.

    With `complete=True` there are no starts. The box is divided until every part of it is shown to hold no critical
    point, or exactly one, by intervals that hold the gradient and the Hessian for every real number in the part:

        K(X) = x - Y g(x) + (I - Y H(X)) (X - x);   K(X) outside X: no point in X;   K(X) inside X: exactly one

    Every point comes with a `Certificate`, and the list is proved complete, or lists the places that are undecided: a
    degenerate point, a kink or a curve of points stays undecided. It takes milliseconds for most functions of two
    parameters and grows fast with their number: six are many. The loss is traced for doubles.

    Arguments:
        loss: `loss(params, *args)`, a real scalar, twice differentiable.
        starts: a pytree like the parameters, every leaf with one leading axis of starts; None if `complete`.
        args: further arguments of `loss`.
        box: (lower, upper), numbers or pytrees like one start: points outside count as `left_box`. None is everywhere.
            If `complete`, pytrees like the parameters: ([-5, -5], [5, 5]) for two.
        steps: the most Newton steps of one start, at least 1. Static.
        max_step: > 0, the longest step; a tenth of the diagonal of the box, or of the starts' spread, when None.
        merge: > 0, in units of the parameters: points of one kind and index that are closer are one point. When None,
            those that rounding cannot separate.
        expected_index_sum: the sum of (-1)^index over all points in the box (Poincare and Hopf): 1 for a smooth
            function that grows to infinity in all directions and has no degenerate point. For a function that is
            periodic in all parameters it is the Euler characteristic of the torus, 0.
        null_directions: directions along which a symmetry keeps the loss constant, as in `classify`. Points are those
            modulo the symmetry, one for all its images.
        period: > 0, number or pytree like one start: the loss repeats after it, as in an angle; infinite along what
            does not repeat. Points are compared modulo the period, and listed within one period above the lower side
            of the box, or above 0.
        complete: whether to prove which critical points the box holds, and that there is no other.
        boxes: parts of the box to examine at most, if `complete`; the result can `resume`.
        seconds: how long to search at most, if `complete`; no limit when None.

    Returns:
        `CriticalPoints`, or `AllCriticalPoints` if `complete`; print it.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_notes.curvature import find_critical_points
        >>> double_well = lambda x: (x[0] ** 2 - 1) ** 2 + x[1] ** 2
        >>> starts = jax.random.uniform(jax.random.key(0), (50, 2), minval=-2.0, maxval=2.0)
        >>> found = find_critical_points(double_well, starts, expected_index_sum=1)
        >>> found.index_counts, found.index_sum
        ({0: 2, 1: 1}, 1)
        >>> found = find_critical_points(double_well, box=([-2.0, -2.0], [2.0, 2.0]), complete=True)
        >>> found.complete, found.index_counts, found[0].kind
        (True, {0: 2, 1: 1}, 'minimum')

    Source: index-blind search Doye and Wales, 2002; gradient-flat points Frye et al., 2021; multiple roots
    Schroeder, 1870; branch and bound with Krawczyk's test Moore and Jones, 1977.
    """
    _checks.not_compiled("find_critical_points", starts, args, box)
    if _checks.boolean("complete", complete):
        given = {"starts": starts, "max_step": max_step, "merge": merge, "null_directions": null_directions}
        _refuse_unused(given | {"steps": None if steps == 60 else steps, "expected_index_sum": expected_index_sum})
        if box is None:
            raise ValueError("box must be (lower, upper) with complete=True: a proof needs a bounded box")
        return all_critical_points(loss, box, *args, period=period, boxes=boxes, seconds=seconds)
    if starts is None:
        raise ValueError("starts must be points to search from; for all points in a box pass box=... and complete=True")
    field, flat = checked_field(loss, starts, args, null_directions)
    lower, upper = checked_limits(box, field.like, flat)
    periods = checked_periods(period, field, flat)
    repeats = jnp.isfinite(periods)
    span = jnp.where(jnp.isfinite(upper - lower), upper - lower, jnp.where(repeats, periods, jnp.ptp(flat, axis=0)))
    # Starts at one point show no scale: then that of the point itself.
    spread = jnp.linalg.norm(span)
    diagonal = jnp.where(spread > 0, spread, jnp.maximum(1, jnp.max(jnp.linalg.norm(flat, axis=1))))
    steps = _checks.count("steps", steps)
    radius = None if merge is None else float(_positive("merge", merge))
    longest = 0.1 * diagonal if max_step is None else jnp.asarray(_positive("max_step", max_step), flat.dtype)
    # What repeats cannot leave the box while it is followed.
    inside = jnp.where(repeats, -jnp.inf, lower), jnp.where(repeats, jnp.inf, upper)
    ends, taken, escaped, scale = newton(field, flat, *inside, longest, diagonal, steps=steps)
    ends = within_period(ends, lower, periods)
    verdicts = _verdicts(field, ends, Asked(length=diagonal, curvature=scale))
    edge = jnp.where(repeats, 2 * EDGE * periods, 0)
    search = Search(
        ends, jnp.asarray(verdicts.gradient_norm), taken, outcomes(ends, verdicts, escaped, lower - edge, upper + edge)
    )
    together, found = _found(field, search, verdicts, float(diagonal), periods, radius)
    outcome = np.asarray(search.outcome).copy()
    outcome[found[together.escaped[together.label]]] = Outcome.ESCAPED
    listed = np.flatnonzero(~together.escaped)
    chosen = found[together.chosen]
    order = listed[np.argsort(np.asarray(verdicts.loss)[chosen[listed]], kind="stable")]
    of_families = _blurred(jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], verdicts), together, verdicts, found)
    kept = jax.tree.map(lambda leaf: jnp.asarray(leaf[order]), of_families)
    beyond = np.maximum(together.dimension[order] - np.asarray(kept.null_rank), 0)
    return CriticalPoints(
        points=jax.vmap(field.unflatten)(ends[chosen[order]]),
        verdicts=kept,
        loss=kept.loss,
        reached_by=np.bincount(together.label, minlength=len(chosen))[order],
        dimension=beyond,
        outcomes={kind.name.lower(): int(np.sum(outcome == kind)) for kind in Outcome},
        search=search._replace(outcome=jnp.asarray(outcome)),
        index_sum=_index_sum(kept),
        expected_index_sum=expected_index_sum,
    )


def _refuse_unused(given: dict[str, Any]) -> None:
    """Refuse what only a search from starts uses."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} applies only to a search from starts; leave it out with complete=True")


def _verdicts(field: Field, ends: Float[Array, "starts n"], asked: Asked) -> CriticalPoint:
    """The verdict at every end; many starts end at the same numbers, which are judged once."""
    points = np.array(ends)
    first, label = _distinct(points)
    points[: len(first)] = points[first]
    judged = _first_verdicts(field, jnp.asarray(points), jnp.int32(len(first)), asked)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[label], judged)


def _distinct(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of every point, bit by bit, and the number of each row's point."""
    rows, length, numbers = points.tobytes(), points[0].nbytes, dict[bytes, int]()
    names = (rows[start : start + length] for start in range(0, len(rows), length))
    label = np.array([numbers.setdefault(name, len(numbers)) for name in names])
    return np.unique(label, return_index=True)[1], label


@functools.partial(PerProgram, precise=True, program_of=lambda field: field.program, leading=False)
def _first_verdicts(field: Field, ends: Float[Array, "starts n"], count: Int[Array, ""], asked: Asked) -> CriticalPoint:
    """The verdicts at the first `count` ends; what stands in the later rows is of no meaning."""

    def one(end: Array) -> CriticalPoint:
        params = field.unflatten(end)
        directions = field.null_directions(params)
        return dense_verdict(field.program, field.constants, params, field.args, asked, directions)

    width = min(len(ends), _AT_ONCE)

    def some(i: Array, verdicts: CriticalPoint) -> CriticalPoint:
        new = jax.vmap(one)(jax.lax.dynamic_slice_in_dim(ends, i * width, width))
        return jax.tree.map(
            lambda old, part: jax.lax.dynamic_update_slice_in_dim(old, part, i * width, 0), verdicts, new
        )

    shapes = jax.eval_shape(jax.vmap(one), ends)
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return jax.lax.fori_loop(0, (count + width - 1) // width, some, empty)


def _found(
    field: Field, search: Search, verdicts: CriticalPoint, diagonal: float, periods: Array, merge: float | None
) -> tuple[Families, np.ndarray]:
    """The families of the ends that are critical, and the rows of these."""
    outcome, points = np.asarray(search.outcome), np.asarray(search.points)
    rows = np.flatnonzero(outcome == Outcome.FOUND)

    def at(name: str) -> np.ndarray:
        return np.asarray(getattr(verdicts, name))[rows]

    sizes = np.abs(at("eigenvalues"))
    ends = Ends(
        points=points[rows],
        loss=at("loss"),
        gradient_norm=at("gradient_norm"),
        smallest=np.nanmin(sizes, axis=1),
        largest=np.nanmax(sizes, axis=1),
        signature=np.column_stack([at("kind"), at("index"), at("positive")]),
        sure=_proved(verdicts)[rows],
    )
    return families(field, ends, points[outcome == Outcome.ESCAPED], diagonal, np.asarray(periods), merge), rows


def _blurred(verdicts: CriticalPoint, together: Families, every: CriticalPoint, found: np.ndarray) -> CriticalPoint:
    """Where rounding cannot separate ends of different signs, only what all of them show counts."""

    def least(field: str) -> np.ndarray:
        values = np.full(len(together.chosen), np.iinfo(np.int32).max, np.int32)
        np.minimum.at(values, together.label, np.asarray(getattr(every, field))[found].astype(np.int32))
        return values

    index, positive, smooth = least("index"), least("positive"), least("smooth")
    kind = np.where((index > 0) & (positive > 0), Kind.SADDLE, Kind.DEGENERATE)
    kind = np.where(smooth == 1, kind, Kind.UNDECIDED)

    def replaced(field: str, values: np.ndarray) -> Any:
        return np.where(together.blurred, values, getattr(verdicts, field)).astype(np.int32)

    return verdicts._replace(
        kind=replaced("kind", kind), index=replaced("index", index), positive=replaced("positive", positive)
    )


def _index_sum(verdicts: CriticalPoint) -> int | None:
    isolated = _proved(verdicts) & (np.asarray(verdicts.null_rank) == 0)
    return int(np.sum((-1) ** np.asarray(verdicts.index))) if isolated.all() else None


def _proved(verdicts: CriticalPoint) -> np.ndarray:
    """Which points are decided and non-degenerate, symmetries apart: no eigenvalue within rounding of zero, no kink."""
    counted = np.asarray(verdicts.index + verdicts.positive + verdicts.null_rank)
    size = np.asarray(verdicts.eigenvalues).shape[-1]
    return (counted == size) & ~np.isin(np.asarray(verdicts.kind), (Kind.UNDECIDED, Kind.DEGENERATE))


def _positive(name: str, value: Any) -> Any:
    value = _checks.scalar(name, value, low=0.0)
    if not _checks.is_traced(value) and float(value) == 0:
        raise ValueError(f"{name} must be above 0, got {value}")
    return value
