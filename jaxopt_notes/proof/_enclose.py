"""`enclose`: a range that holds every value of a function over a box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from .._jaxpr import is_known, run_on
from ._box import checked_box
from ._function import listed_with
from ._interval import Interval
from ._lanes import Lanes
from ._symbols import OnTape, Symbols
from ._tape import Tape

_MOST = 2_000_000


class Enclosure(NamedTuple):
    """Bounds of every number that a function returns: pytrees of doubles, of its structure.

    Attributes:
        lower, upper: no value in the box lies outside; infinite where no bound was found.
    """

    lower: PyTree
    upper: PyTree


def enclose(fun: Callable[..., PyTree], box: tuple[PyTree, PyTree], *args: Any) -> Enclosure:
    """A guaranteed range of `fun(x, *args)` over all real x in a box, rounding included.

    Every operation is done on intervals, whose bounds are rounded outward. An interval forgets that two numbers in it
    are one, so the range of x - x^2 over [0, 1] is [-1, 1]; over smaller boxes it is closer to the values. It holds the
    values of the real function wherever that is defined; also jax.grad(fun) and jax.hessian(fun) can be enclosed.

    Arguments:
        fun: a function of operations that have a rule, see `supported`; returns a pytree of real arrays.
        box: (lower, upper), pytrees like the argument of `fun`; or numbers, for a function of a number.
        args: further arguments of `fun`, which are taken as exactly the numbers that they are.

    Returns:
        `Enclosure`.

    Raises:
        TypeError, ValueError: naming the argument, its value and what is accepted.
        NotImplementedError: naming an operation that has no rule.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxopt_notes as jon
        >>> lower, upper = jon.proof.enclose(lambda x: jnp.exp(x) - x, (0.0, 0.5))
        >>> float(lower) <= 1.0 <= float(upper) < 1.65
        True

    Source: Moore, 1966.
    """
    lower, upper = checked_box(box)
    listing, structure, known = listed_with(fun, lower, args)
    tape = Tape()
    arithmetic = OnTape(tape, _MOST)
    nodes = lower.tree(np.array([tape.variable(i) for i in range(lower.size)]))
    outputs = run_on(listing, [*map(Symbols, jax.tree.leaves(nodes)), *known], arithmetic)
    outputs = [arithmetic.wrap(output) if is_known(output) else output for output in outputs]
    flat = [int(node) for output in outputs for node in output.nodes.ravel()]
    with np.errstate(all="ignore"):
        variables = [Interval(low, high) for low, high in zip(lower.vector, upper.vector, strict=True)]
        values = iter(Lanes(tape, flat)(variables))
    sides: tuple[list[Any], list[Any]] = ([], [])
    for output in outputs:
        each = [next(values) for _ in range(output.nodes.size)]
        for side, name in zip(sides, ("lower", "upper"), strict=True):
            side.append(np.reshape([float(getattr(value, name)) for value in each], output.shape))
    return Enclosure(*(jax.tree.unflatten(structure, side) for side in sides))
