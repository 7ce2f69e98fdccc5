"""What is learnt of the Hessian at a point, from all its eigenvalues or from a few products, before it is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._numerics import reciprocal
from ._ahead import Probes, mixing, probe_weights
from ._around import random_unit
from ._bounds import spectrum_bounds, zero_level
from ._eigenpairs import eigenpairs
from ._lanczos import Ritz, euclidean_norm, lanczos, orthogonalise, ritz, ritz_vector
from ._null_space import NullSpace
from ._operators import Product, matrix
from ._polish import krylov_step, newton_move

_NORM_STEPS = 8  # of the power iteration that sizes the shift of known null directions


class Spectrum(NamedTuple):
    """What either method learns; `finite` is False if it met a non-finite number. Rounding is `zero_level`."""

    eigenvalues: Float[Array, " m"]
    residuals: Float[Array, " m"]
    largest: Float[Array, ""]
    interval: Float[Array, " 2"]  # rounding apart
    norm: Float[Array, ""]
    zero_level: Float[Array, ""]
    decrease: Float[Array, ""]
    image_of_gradient: Float[Array, ""]  # |Hg|
    direction: Float[Array, " n"]  # an eigenvector of the smallest eigenvalue
    below: Float[Array, ""]  # its curvature by one more product: negative curvature is claimed only if that confirms it
    step: Float[Array, " n"]  # Newton's, nothing along eigenvalues that are rounding
    probes: Probes
    along: Callable[[Float[Array, " n"]], Float[Array, " m"]]  # components along the eigenvectors
    units: Float[Array, "directions n"]  # unit vectors, and their u'Hu
    curvatures: Float[Array, " directions"]
    finite: Bool[Array, ""]
    probability: Float[Array, ""]
    matvecs: Int[Array, ""]
    exact: Bool[Array, ""]


def dense_spectrum(
    product: Product,
    gradient: Float[Array, " n"],
    space: NullSpace | None,
    dtype: Any,
    scale: Any,
    units: Float[Array, "directions n"],
) -> Spectrum:
    """All eigenvalues, those along known null directions left out (NaN, at the end).

    `scale` is a size of curvature whose rounding counts as zero, beyond |H| here: terms that cancel at the point leave
    rounding that |H| does not show.
    """
    n = gradient.size
    raw = matrix(product, gradient)
    finite = jnp.all(jnp.isfinite(raw))
    raw = jnp.where(finite, raw, 0)
    hessian = (raw + raw.T) / 2
    # What symmetrising removes is rounding, and a measure of it.
    asymmetry = euclidean_norm(raw - hessian)
    kept: Any = np.ones(n, bool)
    count: Any = n
    if space is None:
        eigenvalues, vectors = eigenpairs(hessian)
    else:
        hessian = space.complement(space.complement(hessian).T)
        eigenvalues, vectors, kept = _without(hessian, space)
        count = jnp.sum(kept)
    residuals = _column_norms(jnp.matmul(hessian, vectors, precision="highest") - vectors * eigenvalues[None, :])
    known = jnp.where(kept, eigenvalues, jnp.nan)
    smallest, largest = known[0], known[count - 1]  # NaN if none is kept
    norm = jnp.maximum(jnp.abs(smallest), jnp.abs(largest))
    zero = zero_level(jnp.maximum(norm, jnp.asarray(scale, norm.dtype)), n, dtype, asymmetry)

    def along(vector: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.where(kept, jnp.matmul(vector, vectors, precision="highest"), 0)

    components = along(gradient)
    weights = probe_weights(known, zero, norm)
    probes = jnp.matmul(mixing(n, n, 2).astype(weights.dtype) * weights[None], vectors.T, precision="highest")
    return Spectrum(
        eigenvalues=known,
        residuals=jnp.where(kept, residuals, jnp.nan),
        largest=largest,
        interval=jnp.stack([smallest, largest]),
        norm=norm,
        zero_level=zero,
        decrease=_decrease(eigenvalues, components, zero),
        image_of_gradient=euclidean_norm(eigenvalues * components),
        direction=vectors[:, 0],
        below=jnp.vdot(vectors[:, 0], product(vectors[:, 0]), precision="highest"),
        step=jnp.matmul(vectors, newton_move(eigenvalues, components, zero), precision="highest"),
        probes=Probes(weights, probes, jnp.matmul(probes, raw.T, precision="highest")),
        along=along,
        units=units,
        curvatures=jnp.sum(units * jnp.matmul(units, raw, precision="highest"), axis=1),
        finite=finite,
        probability=jnp.ones((), gradient.dtype),
        matvecs=jnp.int32(n + 1 + len(probes)),
        exact=jnp.bool_(True),
    )


def _without(hessian: Float[Array, "n n"], space: NullSpace) -> tuple[Array, Array, Array]:
    """Eigenvalues and vectors with those of the null space last, and which are to be kept.

    The null space is shifted beyond the spectrum, so that it cannot mix with eigenvalues that are small themselves.
    """
    # A fixed vector, so that one Hessian always has one verdict. The size of the shift need only be right within a
    # factor: 4 times a lower bound of |H| that a few powers bring close to it.
    vector = space.complement(jnp.sin(jnp.arange(1, hessian.shape[0] + 1, dtype=hessian.dtype)))
    for _ in range(_NORM_STEPS):
        norm = euclidean_norm(vector)
        vector = hessian @ (vector / jnp.where(norm > 0, norm, 1))
    size = euclidean_norm(vector)
    shift = jnp.where(size > 0, 4 * size, 1)
    values, vectors = jnp.linalg.eigh(hessian + shift * space.basis @ space.basis.T, symmetrize_input=False)
    inside = jnp.sum((space.basis.T @ vectors) ** 2, axis=0) > 0.5
    order = jnp.argsort(jnp.where(inside, jnp.inf, values))
    return values[order], vectors[:, order], ~inside[order]


def lanczos_spectrum(
    product: Product,
    gradient: Float[Array, " n"],
    space: NullSpace | None,
    dtype: Any,
    start: Float[Array, " n"],
    probability: Any,
    matvecs: int,
) -> Spectrum:
    """Ritz values from a few products; `matvecs` of them at most, less one to confirm and one ahead of the point."""
    n = gradient.size
    whole = product
    if space is not None:
        product = space.restricted(product)
    # Two Krylov spaces: from the gradient, as the predicted decrease needs the curvature that the gradient meets, and
    # from a random start, as only that allows bounds on the whole spectrum.
    gradient_steps = min(max(matvecs // 8, 1), n)
    downhill = lanczos(product, gradient, gradient_steps)
    krylov = lanczos(product, start, min(matvecs - 3 - gradient_steps, n))
    values, slopes = ritz(krylov), ritz(downhill)
    norm = jnp.maximum(krylov.norm, downhill.norm)
    zero = zero_level(norm, n, dtype, jnp.maximum(krylov.asymmetry, downhill.asymmetry))

    def along(vector: Float[Array, " n"]) -> Float[Array, " m"]:
        inside = jnp.matmul(krylov.basis, vector, precision="highest")
        return jnp.matmul(inside, values.coefficients, precision="highest")

    weights = probe_weights(values.values, zero, norm)
    mixed = mixing(weights.size, n, 1).astype(weights.dtype) * weights[None]
    inside = jnp.matmul(
        jnp.matmul(mixed, values.coefficients.T, precision="highest"), krylov.basis, precision="highest"
    )
    # Something of what the Krylov space does not reach: where H is a multiple of 1, that is all but one direction.
    other = random_unit(n, start.dtype, seed=1)
    other = other if space is None else space.complement(other)
    probes = inside + orthogonalise(krylov.basis, other)[1][None]
    direction = ritz_vector(krylov, values, 0)
    images = jax.vmap(whole)(jnp.concatenate([probes, direction[None]]))
    below, images = jnp.vdot(direction, images[-1], precision="highest"), images[:-1]
    shrink = reciprocal(jax.vmap(euclidean_norm)(probes))[:, None]
    unit, image = shrink * probes, shrink * images
    return Spectrum(
        eigenvalues=values.values,
        residuals=values.residuals,
        largest=values.largest,
        interval=jnp.stack(spectrum_bounds(krylov, values, probability)),
        norm=norm,
        zero_level=zero,
        decrease=_quadrature(slopes, gradient, zero),
        image_of_gradient=euclidean_norm(gradient) * jnp.hypot(downhill.alphas[0], downhill.betas[0]),
        direction=direction,
        below=below,
        step=krylov_step(downhill, slopes, gradient, zero),
        probes=Probes(weights, probes, images),
        along=along,
        units=jnp.concatenate([krylov.basis[:1], unit]),
        curvatures=jnp.concatenate([krylov.alphas[:1], jnp.sum(unit * image, axis=1)]),
        finite=jnp.isfinite(norm) & jnp.isfinite(values.largest),
        probability=jnp.asarray(probability, gradient.dtype),
        matvecs=downhill.count + krylov.count + 1 + 2 * len(probes),
        exact=jnp.bool_(False),
    )


def _decrease(eigenvalues: Float[Array, " m"], components: Float[Array, " m"], zero: Float[Array, ""]) -> Array:
    """g' |H|^-1 g / 2 from the components of g along the eigenvectors."""
    terms = (components / jnp.sqrt(jnp.maximum(jnp.abs(eigenvalues), zero))) ** 2
    return jnp.sum(jnp.where(components == 0, 0, terms)) / 2  # infinite for a slope without any curvature


def _quadrature(slopes: Ritz, gradient: Float[Array, " n"], zero: Float[Array, ""]) -> Float[Array, ""]:
    """The same by Gauss quadrature: T has the spectrum of H as the gradient weighs it (Golub and Meurant, 1994)."""
    components = euclidean_norm(gradient) * slopes.coefficients[0]
    valid = jnp.isfinite(slopes.values)
    return _decrease(jnp.where(valid, slopes.values, 1), jnp.where(valid, components, 0), zero)


def _column_norms(array: Float[Array, "n m"]) -> Float[Array, " m"]:
    return jax.vmap(euclidean_norm, in_axes=1)(array)
