"""`find_critical_points`: Newton's method on the gradient from many starts at once, and an account of every start."""

from __future__ import annotations

import collections
import enum
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .. import _checks
from .._hoist import Program
from .._kept import PerProgram
from .._numerics import divide
from .classify import dense_verdict
from .judge import Asked
from .operators import check_dense, flatten, matrix, prepared, second_order
from .polish import halved
from .verdict import CriticalPoint, Kind

if TYPE_CHECKING:
    import xarray as xr


class Outcome(enum.IntEnum):
    """How one start ended."""

    FOUND = 0
    GRADIENT_FLAT = 1
    LEFT_BOX = 2
    NOT_CONVERGED = 3
    NON_FINITE = 4


class Search(NamedTuple):
    """Where every start ended, before anything is merged; leading axis: the starts."""

    points: Float[Array, "starts n"]
    gradient_norm: Float[Array, " starts"]
    steps: Int[Array, " starts"]
    outcome: Int[Array, " starts"]


@dataclass(frozen=True)
class CriticalPoints:
    """The distinct critical points that a search found, sorted by loss, and what became of the starts.

    Attributes:
        points: the points, a pytree like one start with a leading axis.
        verdicts: the `CriticalPoint` of each, batched along the same axis: `verdicts.kind_name`, `verdicts.index`, ...
        loss: the loss at each.
        reached_by: number of starts that ended at each.
        outcomes: `Outcome` name in lower case to number of starts; the sum is the number of starts.
        search: where every start ended.
        index_sum: sum of (-1)^index over the points; None if one of them is degenerate or undecided.
        expected_index_sum: what it should be, if given.
    """

    points: PyTree
    verdicts: CriticalPoint
    loss: Float[Array, " points"]
    reached_by: Int[np.ndarray, " points"]
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
        lines.append(f"{sum(self.outcomes.values())} starts: {fates}")
        if self.expected_index_sum is not None:
            lines.append(
                f"sum of (-1)^index {self.index_sum}, expected {self.expected_index_sum}: {self._completeness()}"
            )
        lines.append("conditional on the starts: a point that none of them leads to is not in the list")
        return "\n".join(lines)

    def to_dataset(self) -> xr.Dataset:
        """The points as a Dataset over `point`, for `plots.index_against_loss`, `jon.save` and reports.

        `loss`, `index`, `positive`, `kind`, `gradient_norm`, `zero_level`, `reached_by` of every point, its
        `eigenvalues` over `mode`, ascending, and where it is, `position` over `parameter`, named by their paths.
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
        numbers = {"loss": self.loss, "reached_by": self.reached_by}
        numbers |= {name: getattr(verdicts, name) for name in ("index", "positive", "gradient_norm", "zero_level")}
        rows = [np.asarray(leaf).reshape(count, math.prod(leaf.shape[1:])) for leaf in jax.tree.leaves(self.points)]
        names = [
            f"{jax.tree_util.keystr(path)}{list(index) if index else ''}"
            for path, leaf in jax.tree_util.tree_leaves_with_path(self.points)
            for index in np.ndindex(leaf.shape[1:])
        ]
        variables: dict[str, Any] = {name: ("point", np.asarray(values)) for name, values in numbers.items()}
        variables["kind"] = ("point", np.asarray(verdicts.kind_name, str))
        variables["eigenvalues"] = (("point", "mode"), np.asarray(verdicts.eigenvalues))
        variables["position"] = (("point", "parameter"), np.concatenate(rows, axis=1))
        attributes = {"parameters": len(names), "starts": sum(self.outcomes.values())}
        attributes |= {f"starts_{name}": number for name, number in self.outcomes.items()}
        sums = {"index_sum": self.index_sum, "expected_index_sum": self.expected_index_sum}
        attributes |= {name: number for name, number in sums.items() if number is not None}
        return xr.Dataset(variables, {"parameter": names}, attributes)

    def _completeness(self) -> str:
        if self.index_sum is None:
            return "not decidable, as a point is degenerate"
        if self.index_sum == self.expected_index_sum:
            return "consistent with a complete list"
        return "the list misses at least one point"


def find_critical_points(
    loss: Callable[..., Float[Array, ""]],
    starts: PyTree,
    *args: Any,
    box: tuple[Any, Any] | None = None,
    steps: int = 60,
    max_step: float | None = None,
    merge: float | None = None,
    expected_index_sum: int | None = None,
) -> CriticalPoints:
    """Find critical points of every index by Newton's method on the gradient, from many starts at once.

        x <- x - t H^-1 g,   |t H^-1 g| <= max_step,   t the longest of 1, 1/2, ..., 1/64 that lowers |g|

    Newton's direction has no preference for minima: it is attracted to saddles and maxima as well. |g| measures the
    steps but is never minimised alone, so a place where it has a minimum without being zero does not count as found:
    it is reported as `gradient_flat` (g in the kernel of H). What is found is what `classify` calls critical; points
    are merged when they are closer than `merge`.

    Arguments:
        loss: `loss(params, *args)`, a real scalar, twice differentiable.
        starts: a pytree like the parameters, every leaf with one leading axis of starts.
        args: further arguments of `loss`.
        box: (lower, upper), numbers or pytrees like one start: points outside count as `left_box`. None is everywhere.
        steps: the most Newton steps of one start, at least 1. Static.
        max_step: > 0, the longest step; a tenth of the diagonal of the box, or of the starts' spread, when None.
        merge: > 0, in units of the parameters; 1e-4 (float32) or 1e-7 (float64) of that diagonal when None.
        expected_index_sum: the sum of (-1)^index over all points in the box (Poincare and Hopf): 1 for a smooth
            function that grows to infinity in all directions and has no degenerate point.

    Returns:
        `CriticalPoints`; print it.

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

    Source: index-blind search Doye and Wales, 2002; gradient-flat points Frye et al., 2021.
    """
    starts = jax.tree.map(jnp.asarray, _checks.params("starts", starts))
    count = _checks.examples("starts", starts, low=0)
    if not count:
        raise ValueError("starts must hold at least one start, got a leading axis of length 0")
    one = jax.tree.map(lambda leaf: leaf[0], starts)
    one, program, constants = prepared(loss, one, args)
    check_dense(sum(leaf.size for leaf in jax.tree.leaves(one)))
    flat = jax.vmap(lambda start: flatten(start)[0])(starts)
    lower, upper = _limits(box, one, flat)
    span = jnp.where(jnp.isfinite(upper - lower), upper - lower, jnp.ptp(flat, axis=0))
    # Starts at one point show no scale: then that of the point itself.
    spread = jnp.linalg.norm(span)
    diagonal = jnp.where(spread > 0, spread, jnp.maximum(1, jnp.max(jnp.linalg.norm(flat, axis=1))))
    steps = _checks.count("steps", steps)
    relative = 1e-7 if flat.dtype == jnp.float64 else 1e-4
    radius = relative * float(diagonal) if merge is None else float(_positive("merge", merge))
    longest = 0.1 * diagonal if max_step is None else _positive("max_step", max_step)
    ends, taken, scale = _search(program, constants, one, args, flat, lower, upper, longest, steps=steps)
    points = jax.vmap(flatten(one)[1])(ends)
    verdicts = _verdicts(program, constants, points, args, Asked(length=diagonal, curvature=scale))
    outcome = _outcomes(ends, verdicts, lower, upper)
    search = Search(ends, verdicts.gradient_norm, taken, outcome)
    found = np.flatnonzero(np.asarray(outcome) == Outcome.FOUND)
    chosen, reached_by = _merged(np.asarray(ends, np.float64)[found], radius)
    order = np.argsort(np.asarray(verdicts.loss)[found[chosen]], kind="stable")
    rows = found[chosen][order]
    points, verdicts = jax.tree.map(lambda leaf: leaf[rows], (points, verdicts))
    return CriticalPoints(
        points=points,
        verdicts=verdicts,
        loss=verdicts.loss,
        reached_by=reached_by[order],
        outcomes={kind.name.lower(): int(np.sum(np.asarray(outcome) == kind)) for kind in Outcome},
        search=search,
        index_sum=_index_sum(verdicts),
        expected_index_sum=expected_index_sum,
    )


def _limits(box: tuple[Any, Any] | None, one: PyTree, flat: Array) -> tuple[Array, Array]:
    """The two corners as flat vectors."""
    if box is None:
        return jnp.full(flat.shape[1], -jnp.inf, flat.dtype), jnp.full(flat.shape[1], jnp.inf, flat.dtype)
    if not (isinstance(box, tuple | list) and len(box) == 2):
        raise TypeError(f"box must be (lower, upper), got {box!r}")

    def corner(side: PyTree) -> Array:
        like = jax.tree.map(lambda s, leaf: jnp.broadcast_to(jnp.asarray(s, leaf.dtype), leaf.shape), side, one)
        return flatten(like)[0]

    lower, upper = (corner(jax.tree.broadcast(side, one)) for side in box)
    if not bool(jnp.all(lower < upper)):
        raise ValueError(f"box needs lower < upper everywhere, got {box!r}")
    return lower, upper


class _Newton(NamedTuple):
    """One search in progress."""

    point: Float[Array, " n"]
    gradient: Float[Array, " n"]
    steps: Int[Array, ""]
    active: Array


@functools.partial(PerProgram, static_argnames=("steps",))
def _search(
    program: Program,
    constants: list[Any],
    one: PyTree,
    args: tuple[Any, ...],
    flat: Float[Array, "starts n"],
    lower: Array,
    upper: Array,
    longest: Array,
    *,
    steps: int,
) -> tuple[Array, Array, Array]:
    """Where every start ends, in how many steps, and the size of curvature in the region: the median |H| at a start."""
    unflatten = flatten(one)[1]
    eps = float(jnp.finfo(flat.dtype).eps)

    def gradient_at(point: Array) -> Array:
        return jax.grad(lambda x: program(constants, unflatten(x), *args).astype(x.dtype))(point)

    def hessian_at(point: Array) -> Array:
        _, gradient, product, _ = second_order(program, constants, unflatten(point), args)
        return matrix(product, gradient)

    def step(state: _Newton) -> _Newton:
        move = -_solve(hessian_at(state.point), state.gradient)
        length = jnp.linalg.norm(move)
        move = move * jnp.minimum(1, longest / jnp.where(length > 0, length, 1))
        point, gradient, _ = halved(gradient_at, state.point, state.gradient, move)
        norm = jnp.linalg.norm(gradient)
        resting = jnp.linalg.norm(point - state.point) <= 2 * eps * jnp.linalg.norm(point)
        inside = jnp.all((point >= lower) & (point <= upper))
        active = inside & ~resting & jnp.isfinite(norm) & (norm > 0)
        new = _Newton(point, gradient, state.steps + 1, active)
        return jax.tree.map(lambda new, old: jnp.where(state.active, new, old), new, state)

    def run(start: Array) -> _Newton:
        gradient = gradient_at(start)
        return _Newton(start, gradient, jnp.int32(0), jnp.all(jnp.isfinite(gradient)) & jnp.any(gradient != 0))

    def going(loop: tuple[Array, _Newton]) -> Array:
        return (loop[0] < steps) & jnp.any(loop[1].active)

    first = (jnp.int32(0), jax.vmap(run)(flat))
    _, last = jax.lax.while_loop(going, lambda loop: (loop[0] + 1, jax.vmap(step)(loop[1])), first)
    norms = jax.vmap(lambda start: jnp.linalg.norm(hessian_at(start)))(flat)
    return last.point, last.steps, jnp.nanmedian(norms)


@PerProgram
def _verdicts(
    program: Program, constants: list[Any], points: PyTree, args: tuple[Any, ...], asked: Asked
) -> CriticalPoint:
    """The verdict at every end."""
    return jax.vmap(lambda point: dense_verdict(program, constants, point, args, asked))(points)


def _outcomes(points: Array, verdicts: CriticalPoint, lower: Array, upper: Array) -> Array:
    """The first rule that holds for every start."""
    inside = jnp.all((points >= lower[None]) & (points <= upper[None]), axis=1)
    rules = [
        (~jnp.isfinite(verdicts.smallest) | ~jnp.all(jnp.isfinite(points), axis=1), Outcome.NON_FINITE),
        (~inside, Outcome.LEFT_BOX),
        (verdicts.critical, Outcome.FOUND),
        (verdicts.gradient_flat, Outcome.GRADIENT_FLAT),
    ]
    codes = [jnp.int32(outcome) for _, outcome in rules]
    return jnp.select([rule for rule, _ in rules], codes, jnp.int32(Outcome.NOT_CONVERGED))


def _merged(points: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """One row of every cluster of points that are linked by distances of at most `radius`, and the cluster's size."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    if not len(points):
        return np.zeros(0, int), np.zeros(0, int)
    # Converged starts land within rounding of each other: thin them on a grid first, as pairs grow with the square.
    _, first, cell, size = np.unique(
        np.round(points / radius), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    del cell
    pairs = cKDTree(points[first]).query_pairs(2 * radius, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(first), len(first)))
    count, label = connected_components(links, directed=False)
    _, representative = np.unique(label, return_index=True)
    return first[representative], np.bincount(label, weights=size, minlength=count).astype(int)


def _index_sum(verdicts: CriticalPoint) -> int | None:
    proved = _proved(verdicts)
    return int(np.sum((-1) ** np.asarray(verdicts.index))) if proved.all() else None


def _proved(verdicts: CriticalPoint) -> np.ndarray:
    """Which points are decided and non-degenerate: no eigenvalue within rounding of zero, and no kink."""
    counted = np.asarray(verdicts.index + verdicts.positive) == np.asarray(verdicts.eigenvalues).shape[-1]
    return counted & (np.asarray(verdicts.kind) != Kind.UNDECIDED)


def _positive(name: str, value: Any) -> Any:
    value = _checks.scalar(name, value, low=0.0)
    if not _checks.is_traced(value) and float(value) == 0:
        raise ValueError(f"{name} must be above 0, got {value}")
    return value


def _solve(hessian: Float[Array, "n n"], gradient: Float[Array, " n"]) -> Float[Array, " n"]:
    """H^-1 g; written out for two parameters, where a million calls of LAPACK cost more than the sums."""
    if gradient.size == 1:
        return divide(gradient, hessian[0])
    if gradient.size == 2:
        (a, b), (c, d) = hessian
        determinant = a * d - b * c
        return divide(jnp.stack([d * gradient[0] - b * gradient[1], a * gradient[1] - c * gradient[0]]), determinant)
    return jnp.linalg.solve(hessian, gradient)
