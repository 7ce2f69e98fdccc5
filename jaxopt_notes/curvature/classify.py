"""`classify`: is a point critical, and what is the inertia of the Hessian there?"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from .. import _checks
from .._hoist import Program
from .._kept import PerProgram
from .bounds import checked_probability
from .kinks import is_smooth
from .lanczos import checked_key, euclidean_norm
from .null_space import NullSpace, checked_null_directions, defect, null_space
from .operators import Product, check_dense, flatten, prepared, second_order
from .polish import polished
from .spectrum import Spectrum, dense_spectrum, lanczos_spectrum
from .verdict import CriticalPoint, Kind

_DENSE_LIMIT = 1500  # parameters; the dense Hessian and its eigenvalues take seconds at most up to here
_ROUNDINGS = 32  # of the loss and of the parameters: the size of predicted decrease that counts as none


def classify(
    loss: Callable[..., Float[Array, ""]],
    params: PyTree,
    *args: Any,
    key: Key[Array, ""] | None = None,
    method: str = "auto",
    matvecs: int = 64,
    probability: float | Float[Array, ""] = 0.99,
    gradient_tolerance: float | Float[Array, ""] | None = None,
    null_directions: PyTree | Callable[[PyTree], PyTree] = None,
    polish: int = 0,
) -> CriticalPoint:
    """Say whether a point is critical and prove what can be proved about its curvature.

    The point is critical if the decrease that the quadratic model predicts, with |eigenvalues| at least zero_level z,
    is within what rounding hides:

        g' |H|^-1 g / 2  <=  32 (eps |f| + eps^2 |H| |x|^2)

    A critical point is a `minimum` if every eigenvalue is above z, a `maximum` if every one is below -z, a `saddle` if
    one is below -z and one above z, `degenerate` if one is within z of zero and it is no saddle, and else `undecided`.
    A point that is not critical, but whose gradient lies in the kernel of the Hessian, is named gradient-flat.
    A negative direction is proved by one more product, v'Hv < -z. Up to 1,500 parameters all eigenvalues of the dense
    Hessian decide. Beyond, Lanczos: counts are lower bounds, and bounds on all eigenvalues hold with `probability`.
    Everything is said of the computed derivatives at this point. At a kink, such as a ReLU at 0, they prove nothing:
    32 evaluations of the loss around the point look for one, and if it is found the point is `undecided`.

    Compiled once per program, also for a fresh lambda: arrays that `loss` closes over become arguments. Works under
    `jit` and `vmap` over points.

    Arguments:
        loss: `loss(params, *args)`, a real scalar, twice differentiable.
        params: the point, a pytree of real floating arrays.
        args: further arguments of `loss`, such as data.
        key: of the random start of Lanczos; `jax.random.key(0)` when None.
        method: "dense", "lanczos", or "auto" by the number of parameters. Static.
        matvecs: Hessian products to spend without the matrix, at least 3: one in eight on the predicted decrease, one
            on the proof, the rest on the spectrum. Static.
        probability: in [0.5, 1), of the bounds without the matrix.
        gradient_tolerance: call the point critical if the gradient norm is at most this, in place of the rule above.
        null_directions: directions along which a symmetry keeps the loss constant (translations, rescalings of a ReLU,
            dead inputs): a pytree like the parameters with one leading axis, or a function from the parameters to it,
            such as `problem.null_directions`. They are projected out, so the verdict is modulo that symmetry. One
            product checks that they are null; if not, a critical point is `undecided`.
        polish: first take up to this many Newton steps towards the critical point nearby, whatever its index; a step
            has to lower the gradient norm. Without the matrix each costs `matvecs // 2` products. Static.

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

    Source: bounds after van Dorsselaer, Hochstenbach and van der Vorst, 1999; predicted decrease with |H| after Dauphin
    et al., 2014.
    """
    _checks.choice("method", method, ("auto", "dense", "lanczos"))
    matvecs = _checks.count("matvecs", matvecs, low=3)
    probability = checked_probability(probability)
    if gradient_tolerance is not None:
        gradient_tolerance = _checks.number("gradient_tolerance", gradient_tolerance, low=0.0)
    key = checked_key(key)
    params, program, constants = prepared(loss, params, args)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    dense = method == "dense" or (method == "auto" and size <= _DENSE_LIMIT)
    if dense:
        check_dense(size)
    polish = _checks.count("polish", polish, low=0)
    if polish:
        products = 0 if dense else min(max(matvecs // 2, 1), size)
        params = polished(program, constants, params, args, steps=polish, products=products)
    directions = null_directions(params) if callable(null_directions) else null_directions
    if directions is not None:
        directions = checked_null_directions(directions, params)
    if dense:
        return dense_verdict(program, constants, params, args, gradient_tolerance, directions)
    return _lanczos_verdict(
        program, constants, params, args, gradient_tolerance, directions, key, probability, matvecs=matvecs
    )


@PerProgram
def dense_verdict(
    program: Program,
    constants: list[Any],
    params: PyTree,
    args: tuple[Any, ...],
    gradient_tolerance: Any = None,
    directions: PyTree = None,
    scale: Any = 0.0,
) -> CriticalPoint:
    """The verdict from all eigenvalues; `scale` as in `dense_spectrum`."""
    loss, gradient, product, dtype = second_order(program, constants, params, args)
    space = None if directions is None else null_space(directions)
    slope = gradient if space is None else space.complement(gradient)
    spectrum = dense_spectrum(product, slope, space, dtype, scale)
    nearby = lambda moved: program(constants, moved, *args)  # noqa: E731
    return _judge(spectrum, nearby, loss, slope, product, dtype, params, gradient_tolerance, space)


@functools.partial(PerProgram, static_argnames=("matvecs",))
def _lanczos_verdict(
    program: Program,
    constants: list[Any],
    params: PyTree,
    args: tuple[Any, ...],
    gradient_tolerance: Any,
    directions: PyTree,
    key: Any,
    probability: Any,
    *,
    matvecs: int,
) -> CriticalPoint:
    loss, gradient, product, dtype = second_order(program, constants, params, args)
    space = None if directions is None else null_space(directions)
    slope = gradient if space is None else space.complement(gradient)
    spectrum = lanczos_spectrum(product, slope, space, dtype, key, probability, matvecs)
    nearby = lambda moved: program(constants, moved, *args)  # noqa: E731
    return _judge(spectrum, nearby, loss, slope, product, dtype, params, gradient_tolerance, space)


def _judge(
    spectrum: Spectrum,
    nearby: Callable[[PyTree], Float[Array, ""]],
    loss: Float[Array, ""],
    gradient: Float[Array, " n"],
    product: Product,
    dtype: Any,
    params: PyTree,
    gradient_tolerance: Any,
    space: NullSpace | None,
) -> CriticalPoint:
    """The verdict from the spectrum: the re-evaluated escape direction, the counts, and criticality."""
    flat, unflatten = flatten(params)
    zero = spectrum.zero_level
    direction = jnp.where(jnp.vdot(gradient, spectrum.direction) > 0, -1, 1) * spectrum.direction
    curvature_below = jnp.vdot(direction, product(direction), precision="highest")
    gradient_norm = euclidean_norm(gradient)
    finite = spectrum.finite & jnp.isfinite(loss) & jnp.isfinite(gradient_norm)
    eps = float(jnp.finfo(dtype).eps)
    hidden = _ROUNDINGS * (eps * jnp.abs(loss) + spectrum.norm * (eps * euclidean_norm(flat)) ** 2)
    if gradient_tolerance is None:
        tolerance = jnp.full_like(gradient_norm, jnp.nan)
        critical = spectrum.decrease <= hidden
    else:
        tolerance = jnp.asarray(gradient_tolerance, gradient_norm.dtype)
        critical = gradient_norm <= tolerance
    negative = _number(spectrum.eigenvalues < -zero) * (curvature_below < -zero).astype(jnp.int32)
    positive = _number(spectrum.eigenvalues > zero)
    interval = spectrum.interval + jnp.stack([-zero, zero])
    null = jnp.any((jnp.abs(spectrum.eigenvalues) <= zero) & (spectrum.residuals <= zero))
    kind = _kind(finite, critical, negative, positive, interval, null)
    lost, rank = jnp.zeros_like(zero), jnp.int32(0)
    if space is not None:
        # A symmetry's generator A gives H A x = -A' g, so near a critical point the defect may be of the size of |g|.
        lost, rank = defect(space, product, jax.random.key(0)), space.rank
        wrong = critical & ~(lost <= zero + 4 * gradient_norm / space.shortest)
        kind = jnp.where(finite & wrong, jnp.int32(Kind.UNDECIDED), kind)
    near = lambda vector: nearby(unflatten(vector)).astype(flat.dtype)  # noqa: E731
    smooth = is_smooth(near, flat, loss, gradient_norm, spectrum.norm, dtype)
    kind = jnp.where(finite & ~smooth, jnp.int32(Kind.UNDECIDED), kind)

    def known(value: Array) -> Array:
        return jnp.where(finite, value, jnp.nan)

    return CriticalPoint(
        kind=kind,
        index=jnp.where(finite, negative, 0),
        positive=jnp.where(finite, positive, 0),
        eigenvalues=known(spectrum.eigenvalues),
        residuals=known(spectrum.residuals),
        smallest=known(spectrum.eigenvalues[0]),
        largest=known(spectrum.largest),
        interval=known(interval),
        loss=loss,
        gradient_norm=gradient_norm,
        decrease=known(spectrum.decrease),
        decrease_tolerance=known(hidden),
        gradient_tolerance=tolerance,
        critical=critical & finite,
        zero_level=known(zero),
        curvature_below=known(curvature_below),
        escape_direction=unflatten(known(direction)),
        flatness=known(_flatness(spectrum, gradient_norm)),
        smooth=smooth,
        null_rank=rank,
        null_defect=known(lost),
        point=params,
        probability=spectrum.probability,
        matvecs=spectrum.matvecs + (0 if space is None else 1),
        exact=spectrum.exact,
    )


def _flatness(spectrum: Spectrum, gradient_norm: Array) -> Float[Array, ""]:
    """|Hg| / (|H| |g|); without curvature nothing is flat in comparison, so a mere slope has 1."""
    steepness = spectrum.norm * gradient_norm
    return jnp.where(steepness > 0, spectrum.image_of_gradient / jnp.where(steepness > 0, steepness, 1), 1)


def _kind(
    finite: Array, critical: Array, negative: Array, positive: Array, interval: Array, null: Array
) -> Int[Array, ""]:
    """The first rule that holds."""
    rules = [
        (~finite, Kind.UNDECIDED),
        (~critical, Kind.NOT_CRITICAL),
        ((negative > 0) & (positive > 0), Kind.SADDLE),
        (null, Kind.DEGENERATE),
        (interval[0] > 0, Kind.MINIMUM),
        (interval[1] < 0, Kind.MAXIMUM),
    ]
    return jnp.select([rule for rule, _ in rules], [jnp.int32(kind) for _, kind in rules], jnp.int32(Kind.UNDECIDED))


def _number(mask: Bool[Array, " m"]) -> Int[Array, ""]:
    return jnp.sum(mask, dtype=jnp.int32)
