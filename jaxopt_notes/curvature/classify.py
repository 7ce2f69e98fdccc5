"""`classify`: is a point critical, and what is the inertia of the Hessian there?"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from .. import _checks
from .._hoist import Program
from .._numerics import sqrt
from .bounds import checked_probability, spectrum_bounds, zero_level
from .lanczos import Krylov, checked_key, euclidean_norm, lanczos, random_start, ritz, ritz_vector
from .operators import Product, check_dense, flatten, matrix, prepared, second_order
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
) -> CriticalPoint:
    """Say whether a point is critical and prove what can be proved about its curvature.

    The point is critical if the decrease that the quadratic model predicts, with |eigenvalues| at least zero_level z,
    is within what rounding hides:

        g' |H|^-1 g / 2  <=  32 (eps |f| + eps^2 |H| |x|^2)

    A critical point is a `minimum` if every eigenvalue is above z, a `maximum` if every one is below -z, a `saddle` if
    one is below -z and one above z, `degenerate` if one is within z of zero and it is no saddle, and else `undecided`.
    A negative direction is proved by one more product, v'Hv < -z. Up to 1,500 parameters all eigenvalues of the dense
    Hessian decide. Beyond, Lanczos: counts are lower bounds, and bounds on all eigenvalues hold with `probability`.
    Everything is said of the computed derivatives at this point; at a kink, such as a ReLU at 0, they are what JAX
    makes of it.

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
    if method == "dense" or (method == "auto" and size <= _DENSE_LIMIT):
        check_dense(size)
        return _dense(program, constants, params, args, gradient_tolerance)
    return _lanczos(program, constants, params, args, gradient_tolerance, key, probability, matvecs=matvecs)


class _Spectrum(NamedTuple):
    """What either method learns of the Hessian; `finite` is False if it met a non-finite number."""

    eigenvalues: Float[Array, " m"]
    residuals: Float[Array, " m"]
    largest: Float[Array, ""]
    interval: Float[Array, " 2"]  # rounding apart
    norm: Float[Array, ""]
    zero_level: Float[Array, ""]
    decrease: Float[Array, ""]
    direction: Float[Array, " n"]
    finite: Bool[Array, ""]
    probability: Float[Array, ""]
    matvecs: Int[Array, ""]
    exact: Bool[Array, ""]


@functools.partial(jax.jit, static_argnames="program")
def _dense(
    program: Program, constants: list[Any], params: PyTree, args: tuple[Any, ...], gradient_tolerance: Any
) -> CriticalPoint:
    loss, gradient, product, dtype = second_order(program, constants, params, args)
    n = gradient.size
    raw = matrix(product, gradient)
    finite = jnp.all(jnp.isfinite(raw))
    raw = jnp.where(finite, raw, 0)
    hessian = (raw + raw.T) / 2
    eigenvalues, vectors = jnp.linalg.eigh(hessian, symmetrize_input=False)
    residuals = _column_norms(jnp.matmul(hessian, vectors, precision="highest") - vectors * eigenvalues[None, :])
    norm = jnp.maximum(jnp.abs(eigenvalues[0]), jnp.abs(eigenvalues[-1]))
    zero = zero_level(norm, n, dtype, euclidean_norm(raw - hessian))
    components = jnp.matmul(gradient, vectors, precision="highest")
    spectrum = _Spectrum(
        eigenvalues=eigenvalues,
        residuals=residuals,
        largest=eigenvalues[-1],
        interval=jnp.stack([eigenvalues[0], eigenvalues[-1]]),
        norm=norm,
        zero_level=zero,
        decrease=_decrease(eigenvalues, components, zero),
        direction=vectors[:, 0],
        finite=finite,
        probability=jnp.ones((), gradient.dtype),
        matvecs=jnp.int32(n + 1),
        exact=jnp.bool_(True),
    )
    return _judge(spectrum, loss, gradient, product, dtype, params, gradient_tolerance)


@functools.partial(jax.jit, static_argnames=("program", "matvecs"))
def _lanczos(
    program: Program,
    constants: list[Any],
    params: PyTree,
    args: tuple[Any, ...],
    gradient_tolerance: Any,
    key: Any,
    probability: Any,
    *,
    matvecs: int,
) -> CriticalPoint:
    loss, gradient, product, dtype = second_order(program, constants, params, args)
    n = gradient.size
    gradient_steps = min(max(matvecs // 8, 1), n)
    downhill = lanczos(product, gradient, gradient_steps)
    krylov = lanczos(product, random_start(key, gradient), min(matvecs - 1 - gradient_steps, n))
    values = ritz(krylov)
    norm = jnp.maximum(krylov.norm, downhill.norm)
    zero = zero_level(norm, n, dtype, jnp.maximum(krylov.asymmetry, downhill.asymmetry))
    spectrum = _Spectrum(
        eigenvalues=values.values,
        residuals=values.residuals,
        largest=values.largest,
        interval=jnp.stack(spectrum_bounds(krylov, values, probability)),
        norm=norm,
        zero_level=zero,
        decrease=_quadrature(downhill, gradient, zero),
        direction=ritz_vector(krylov, values, 0),
        finite=jnp.isfinite(norm) & jnp.isfinite(values.largest),
        probability=jnp.asarray(probability, gradient.dtype),
        matvecs=downhill.count + krylov.count + 1,
        exact=jnp.bool_(False),
    )
    return _judge(spectrum, loss, gradient, product, dtype, params, gradient_tolerance)


def _decrease(eigenvalues: Float[Array, " m"], components: Float[Array, " m"], zero: Float[Array, ""]) -> Array:
    """g' |H|^-1 g / 2 from the components of g along the eigenvectors."""
    terms = components**2 / jnp.maximum(jnp.abs(eigenvalues), zero)
    return jnp.sum(jnp.where(components == 0, 0, terms)) / 2  # infinite for a slope without any curvature


def _quadrature(downhill: Krylov, gradient: Float[Array, " n"], zero: Float[Array, ""]) -> Float[Array, ""]:
    """The same by Gauss quadrature: T has the spectrum of H as the gradient weighs it (Golub and Meurant, 1994)."""
    values = ritz(downhill)
    components = euclidean_norm(gradient) * values.coefficients[0]
    valid = jnp.isfinite(values.values)
    return _decrease(jnp.where(valid, values.values, 1), jnp.where(valid, components, 0), zero)


def _judge(
    spectrum: _Spectrum,
    loss: Float[Array, ""],
    gradient: Float[Array, " n"],
    product: Product,
    dtype: Any,
    params: PyTree,
    gradient_tolerance: Any,
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
        probability=spectrum.probability,
        matvecs=spectrum.matvecs,
        exact=spectrum.exact,
    )


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


def _column_norms(array: Float[Array, "n m"]) -> Float[Array, " m"]:
    return sqrt(jnp.sum(array**2, axis=0))
