"""`classify`: is a point critical, and what is the inertia of the Hessian there?"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from .. import _checks
from .._hoist import Program
from .._kept import PerProgram
from .._numerics import divide
from ..problems import Problem
from ..proof import prove as certificate_of
from ._around import around, random_unit
from ._bounds import checked_probability
from ._judge import Asked, gather, judge
from ._lanczos import checked_key, euclidean_norm, random_start
from ._null_space import checked_null_directions, null_space
from ._operators import check_dense, flatten, of_problem, prepared
from ._polish import polished
from ._spectrum import dense_spectrum, lanczos_spectrum
from ._verdict import CriticalPoint

_DENSE_LIMIT = 1500  # parameters; the dense Hessian and its eigenvalues take seconds at most up to here
_EVALUATIONS = 100  # of the loss, beside Hessian products
_SMALL = 2**30  # bytes that all evaluations compute: half a second's work of two cores


def classify(
    loss: Problem | Callable[..., Float[Array, ""]],
    params: PyTree,
    *args: Any,
    key: Key[Array, ""] | None = None,
    method: str = "auto",
    matvecs: int = 64,
    probability: float | Float[Array, ""] = 0.99,
    gradient_tolerance: float | Float[Array, ""] | None = None,
    null_directions: PyTree | Callable[[PyTree], PyTree] = None,
    polish: int = 0,
    prove: bool = False,
) -> CriticalPoint:
    """Report whether a point is a minimum, a maximum or a saddle, with the evidence, as far as rounding allows.

    The point is critical if the decrease that the quadratic model predicts, with |eigenvalues| at least zero_level z,
    is within what rounding hides:

        g' |H|^-1 g / 2  <=  32 (eps |f| + eps^2 |H| |x|^2)

    A critical point is a `minimum` if every eigenvalue is above z, a `maximum` if every one is below -z, a `saddle` if
    one is below -z and one above z, `degenerate` if one is within z of zero and it is no saddle, and else `undecided`.
    Signs have to hold as far as the critical point nearby: two products with the Hessian after the Newton step -H^-1 g
    see a change of it, and an eigenvalue that changes by more than a quarter of itself counts for neither sign.
    A point that is not critical, but whose gradient lies in the kernel of the Hessian, is named gradient-flat.
    One more product, v'Hv < -z, confirms a negative direction. Up to 1,500 parameters all eigenvalues of the dense
    Hessian decide. Beyond, Lanczos: counts are lower bounds, and bounds on all eigenvalues hold with `probability`.

    Derivatives describe a loss only where it has them. 32 evaluations around the point look for a jump of the loss, of
    its slope (a kink, such as a ReLU at 0), of its curvature, and for a cusp; if one is found the point is `undecided`.
    Only what lies at the point itself is looked for, along two random lines.

    A smooth f has the same verdict as c f(x) and f(x / s): 43 evaluations choose the units. So a loss
    that is zero at its minimum has no scale there, and a point near it is not critical, however near, until the
    distance is rounding. `polish` moves to the minimum, and `polish_helps` reports where one step suffices. In units
    far from 1 a kink at a point of loss zero may be missed.

    Compiled once per program, also for a fresh lambda: arrays that `loss` closes over become arguments. Works under
    `jit` and `vmap` over points. On the CPU, outside of both, a loss that takes little time is compiled quickly, into a
    slower program: judge many points under `jit` and `vmap`.

    Arguments:
        loss: `loss(params, *args)`, a real scalar, twice differentiable; or a `Problem`, which brings its data and is
            judged by its loss with `train=False`.
        params: the point, a pytree of real floating arrays.
        args: further arguments of `loss`, such as data; they replace the data of a `Problem`.
        key: of the random start of Lanczos; `jax.random.key(0)` when None.
        method: "dense", "lanczos", or "auto" by the number of parameters. Static.
        matvecs: Hessian products to spend without the matrix, at least 5: one in eight on the predicted decrease,
            one on the confirmation, two on the Newton step, the rest on the spectrum. Static.
        probability: in [0.5, 1), of the bounds without the matrix.
        gradient_tolerance: call the point critical if the gradient norm is at most this, in place of the rule above.
        null_directions: directions along which a symmetry keeps the loss constant (translations, rescalings of a ReLU,
            dead inputs): a pytree like the parameters with one leading axis, or a function from the parameters to it,
            such as `problem.null_directions`. They are projected out, so the verdict is modulo that symmetry. One
            product checks that they are null; if not, a critical point is `undecided`. Directions and combinations
            shorter than 8 sqrt(eps) of the longest move nothing, and are left out.
        polish: first take up to this many Newton steps towards the critical point nearby, whatever its index; a step
            has to lower the gradient norm. Without the matrix each costs `matvecs // 2` products. `moved` is the
            distance. Static.
        prove: also prove that exactly one critical point is close by, and its kind. The result holds the proof as
            `certificate`; see `jon.prove`. Not under `jit` or `vmap`.

    Returns:
        A `CriticalPoint`. A loss, gradient or Hessian that is not finite gives `undecided` with NaN.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import classify
        >>> point = classify(lambda x: x[0] ** 2 - x[1] ** 2, jnp.zeros(2))
        >>> point.kind_name, int(point.index), point.eigenvalues.tolist()
        ('saddle', 1, [-2.0, 2.0])
        >>> print(point.meaning)
        saddle: the loss falls in some directions and rises in others; escape_direction leads down.

    Source: bounds after van Dorsselaer, Hochstenbach and van der Vorst, 1999; predicted decrease with |H| after Dauphin
    et al., 2014; the Newton step after Kantorovich, 1948.
    """
    _checks.choice("method", method, ("auto", "dense", "lanczos"))
    matvecs = _checks.count("matvecs", matvecs, low=5)
    probability = checked_probability(probability)
    if gradient_tolerance is not None:
        gradient_tolerance = _checks.number("gradient_tolerance", gradient_tolerance, low=0.0)
    key = None if key is None else checked_key(key)
    loss, args = of_problem(loss, args)
    params, program, constants = prepared(loss, params, args)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    dense = method == "dense" or (method == "auto" and size <= _DENSE_LIMIT)
    if dense:
        check_dense(size)
    polish = _checks.count("polish", polish, low=0)
    if _checks.boolean("prove", prove):
        if any(map(_checks.is_traced, jax.tree.leaves((params, args)))):
            raise ValueError("prove=True needs concrete values: call it outside jit and vmap")
        judged = classify(
            loss,
            params,
            *args,
            key=key,
            method=method,
            matvecs=matvecs,
            probability=probability,
            gradient_tolerance=gradient_tolerance,
            null_directions=null_directions,
            polish=polish,
        )
        return judged._replace(certificate=certificate_of(loss, judged.point, *args))
    run = _runner(program, (1 + polish) * (2 * (size if dense else matvecs) + _EVALUATIONS))
    moved: Any = 0.0
    if polish:
        products = 0 if dense else min(max(matvecs // 2, 1), size)
        params, moved = run(polished)(program, constants, params, args, steps=polish, products=products)
    asked = Asked(gradient_tolerance, moved)
    # After polishing, as the directions of a symmetry depend on the point.
    directions = null_directions(params) if callable(null_directions) else null_directions
    if directions is not None:
        directions = checked_null_directions(directions, params)
    if dense:
        return run(dense_verdict)(program, constants, params, args, asked, directions)
    verdict = run(_lanczos_verdict)
    return verdict(program, constants, params, args, asked, directions, key, probability, matvecs=matvecs)


def _runner(program: Program, evaluations: int) -> Callable[[PerProgram], Callable[..., Any]]:
    """How to call what is compiled for one verdict: a small loss is evaluated in less time than it takes to compile."""
    small = not program.has_loop() and evaluations * program.bytes_computed() <= _SMALL
    return lambda compiled: compiled.at_once if small else compiled


@functools.partial(PerProgram, precise=True)
def dense_verdict(
    program: Program,
    constants: list[Any],
    params: PyTree,
    args: tuple[Any, ...],
    asked: Asked | None = None,
    directions: PyTree = None,
) -> CriticalPoint:
    """The verdict from all eigenvalues."""
    asked = asked or Asked()
    flat = flatten(params)[0]
    units = jnp.stack([random_unit(flat.size, flat.dtype, seed) for seed in range(2)])
    here = around(program, constants, params, args, units[0])
    _, gradient, product = here.derivatives(jnp.zeros_like(flat))
    space = None if directions is None else null_space(directions)
    slope = gradient if space is None else space.complement(gradient)
    spectrum = dense_spectrum(product, slope, space, here.dtype, here.of_curvature(asked.curvature), units)
    return judge(gather(here, gradient, product, spectrum, space), params, asked)


@functools.partial(PerProgram, precise=True, static_argnames=("matvecs",))
def _lanczos_verdict(
    program: Program,
    constants: list[Any],
    params: PyTree,
    args: tuple[Any, ...],
    asked: Asked,
    directions: PyTree,
    key: Any,
    probability: Any,
    *,
    matvecs: int,
) -> CriticalPoint:
    flat = flatten(params)[0]
    space = None if directions is None else null_space(directions)
    start = random_start(key, flat)
    start = start if space is None else space.complement(start)
    here = around(program, constants, params, args, divide(start, euclidean_norm(start)))
    _, gradient, product = here.derivatives(jnp.zeros_like(flat))
    slope = gradient if space is None else space.complement(gradient)
    spectrum = lanczos_spectrum(product, slope, space, here.dtype, start, probability, matvecs)
    return judge(gather(here, gradient, product, spectrum, space), params, asked)
