"""A loss as a function of real numbers: traced once in double precision, its derivatives taken here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _checks
from .._jaxpr import Listing, is_known, listed, run_on
from ._interval import Interval, stacked
from ._lanes import Lanes
from ._levels import Levels
from ._point import Point
from ._slopes import gradient, hessian
from ._symbols import OnTape, Symbols
from ._tape import Node, Tape

_LONGEST = 2_000_000  # operations of a function
_SYMBOLIC = 10  # parameters up to which the Hessian has a tape of its own


class Function:
    """A scalar function on a tape, with its derivatives where they are asked for.

    Attributes:
        size: number of variables.
        tape: the operations.
        output: the node of the value.
        demands: what must be above 0 (of logarithms and roots) or not 0 (of quotients) where the function is defined.
    """

    def __init__(self, tape: Tape, output: Node, size: int) -> None:
        self.tape, self.output, self.size = tape, output, size
        self.demands = tuple(tape.demands)

    @functools.cached_property
    def slope(self) -> list[Node]:
        """The nodes of the gradient."""
        return gradient(self.tape, self.output, self.size)

    @functools.cached_property
    def curvature(self) -> list[list[Node]]:
        """The nodes of the Hessian, on and below the diagonal."""
        return hessian(self.tape, self.slope)

    @functools.cached_property
    def value_lanes(self) -> Lanes:
        """The value on boxes, and then all that is demanded."""
        return Lanes(self.tape, [self.output, *(node for _, node in self.demands)])

    @functools.cached_property
    def demand_lanes(self) -> Lanes:
        """All that is demanded, on boxes."""
        return Lanes(self.tape, [node for _, node in self.demands])

    @functools.cached_property
    def branches(self) -> bool:
        """Whether a condition chooses between two results anywhere."""
        return any(operation[0] == "select" for operation in self.tape.nodes)

    @functools.cached_property
    def slope_lanes(self) -> Lanes:
        """The gradient on boxes."""
        return Lanes(self.tape, self.slope)

    @functools.cached_property
    def curvature_lanes(self) -> Lanes:
        """The lower half of the Hessian on boxes, row after row."""
        return Lanes(self.tape, [node for row in self.curvature for node in row])

    @functools.cached_property
    def slope_levels(self) -> Levels:
        """The gradient and its derivatives on one box, for functions of many parameters."""
        return Levels(self.tape, self.slope, self.size, derivatives=True)

    def slope_on(self, box: Interval) -> Interval:
        """The gradient over boxes of shape (boxes, n)."""
        if self.size > _SYMBOLIC:
            rows = [self.slope_levels.values(self._variables(box[i : i + 1])) for i in range(len(box.lower))]
            return stacked(rows)
        count = box.shape[:1]
        return stacked(self.slope_lanes(self._variables(box)), axis=-1, shape=count)

    def curvature_on(self, box: Interval) -> Interval:
        """The Hessian over boxes, (boxes, n, n)."""
        if self.size > _SYMBOLIC:
            rows = [self.slope_levels.derivatives(self._variables(box[i : i + 1])) for i in range(len(box.lower))]
            return Interval(*(_mirrored(np.stack([getattr(row, side) for row in rows])) for side in ("lower", "upper")))
        half = iter(self.curvature_lanes(self._variables(box)))
        lower, upper = np.empty((2, *box.shape[:1], self.size, self.size))
        for i in range(self.size):
            for j in range(i + 1):
                entry = next(half)
                lower[:, i, j] = lower[:, j, i] = entry.lower
                upper[:, i, j] = upper[:, j, i] = entry.upper
        return Interval(lower, upper)

    def value_on(self, box: Interval) -> tuple[Interval, np.ndarray]:
        """The value over boxes, and where all that is demanded holds."""
        value, *demanded = self.value_lanes(self._variables(box))
        count = box.shape[:1]
        defined = np.isfinite(np.broadcast_to(value.lower, count)) & np.isfinite(np.broadcast_to(value.upper, count))
        for (kind, _), argument in zip(self.demands, demanded, strict=True):
            defined = defined & ((argument.lower > 0) | ((kind == "inverse") & (argument.upper < 0)))
        return Interval(np.broadcast_to(value.lower, count), np.broadcast_to(value.upper, count)), defined

    def domain_on(self, box: Interval) -> tuple[np.ndarray, np.ndarray]:
        """Whether the function is defined in all of each box, and whether in no point of it.

        The second is known of functions without branches alone: what is demanded may be of the branch not taken.
        """
        everywhere, nowhere = np.ones(box.shape[:1], bool), np.zeros(box.shape[:1], bool)
        for (kind, _), argument in zip(self.demands, self.demand_lanes(self._variables(box)), strict=True):
            everywhere &= (argument.lower > 0) | ((kind == "inverse") & (argument.upper < 0))
            nowhere |= (kind != "inverse") & (argument.upper < 0) & (not self.branches)
        return everywhere, nowhere

    def _variables(self, box: Interval) -> list[Interval]:
        lower, upper = (np.ascontiguousarray(side.T) for side in (box.lower, box.upper))
        return [Interval(low, high) for low, high in zip(lower, upper, strict=True)]


def _mirrored(matrices: np.ndarray) -> np.ndarray:
    """The lower halves on both sides: a Hessian is symmetric, so each half holds the other."""
    lower = np.tril(matrices)
    return lower + np.swapaxes(np.tril(matrices, -1), -1, -2)


def listed_with(fun: Callable[..., Any], point: Point, args: tuple[Any, ...]) -> tuple[Listing, Any, list[np.ndarray]]:
    """The program of fun(tree, *args), the structure of what it returns, and the inputs that follow those of the tree.

    The real numbers among `args` are inputs: what a program makes of them is in the program too. Numpy or Python would
    compute with them, and round, while it is traced.
    """
    structure: Any
    leaves, structure = jax.tree.flatten(args)
    real = [
        isinstance(leaf, float)
        or (isinstance(leaf, (np.ndarray, np.generic, jax.Array)) and jnp.issubdtype(leaf.dtype, jnp.inexact))
        for leaf in leaves
    ]

    def called(tree: Any, numbers: list[Any]) -> Any:
        rest = iter(numbers)
        filled = [next(rest) if is_real else leaf for leaf, is_real in zip(leaves, real, strict=True)]
        return fun(tree, *jax.tree.unflatten(structure, filled))

    known = [leaf for leaf, is_real in zip(leaves, real, strict=True) if is_real]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        start = jax.tree.map(jnp.asarray, point.tree(point.vector))
        listing, returned = listed(called, start, known)
    return listing, returned, list(map(np.asarray, known))


def _takes_two(loss: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether the loss takes a vector of two numbers."""
    try:
        _checks.scalar_loss(loss, jnp.zeros(2), *args)
    except Exception:
        return False
    return True


def traced(loss: Callable[..., Any], point: Point, args: tuple[Any, ...], most: int = _LONGEST) -> Function:
    """The loss as a function of the numbers of the point, with `args` as constants.

    It is traced for doubles, so numbers written in the program are the doubles nearest to them. What the program holds
    in lower precision, such as data, is taken as exactly what it is.

    Raises:
        TypeError: if it returns no real scalar.
        ValueError: if it takes an array and is given a number.
        Unsupported, TooLong: see there.
    """
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        try:
            _checks.scalar_loss(loss, jax.tree.map(jnp.asarray, point.tree(point.vector)), *args)
        except Exception as error:
            if point.shapes != [()] or not (isinstance(error, IndexError) or _takes_two(loss, args)):
                raise
            raise ValueError(
                "loss takes an array, but its point or box is a single number; the box of two numbers is written "
                "([-5.0, -5.0], [5.0, 5.0])"
            ) from error
    listing, _, known = listed_with(loss, point, args)
    tape = Tape()
    variables = Symbols(np.array([tape.variable(i) for i in range(point.size)], int))
    offsets = np.cumsum([0, *(int(np.prod(shape, dtype=int)) for shape in point.shapes)])
    inputs = [
        Symbols(variables.nodes[first:last].reshape(shape))
        for first, last, shape in zip(offsets[:-1], offsets[1:], point.shapes, strict=True)
    ]
    arithmetic = OnTape(tape, most)
    output = run_on(listing, [*inputs, *known], arithmetic)[0]
    if is_known(output):
        output = arithmetic.wrap(output)
    return Function(tape, int(output.nodes.reshape(-1)[0]), point.size)
