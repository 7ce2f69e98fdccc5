"""The trace and the density of the whole spectrum, from products with random vectors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from .. import _checks
from .._numerics import divide, power_of_two
from .._shown import readable
from ._lanczos import checked_key, lanczos, ritz
from ._operators import flat, flat_space
from ._symmetric import PerOperator, SymmetricOperator, as_operator, refuse_asymmetric

if TYPE_CHECKING:
    import xarray as xr


@readable
class Trace(NamedTuple):
    """The trace, or an estimate of it.

    Attributes:
        value: the trace or its estimate.
        standard_error: of the estimate, from leaving out one vector at a time. What is left shares vectors, so it is
            too small where the spectrum does not decay: by 1.6 on an even one. 0 where the trace is exact.
        matvecs: products spent.
    """

    value: Float[Array, ""]
    standard_error: Float[Array, ""]
    matvecs: Int[Array, ""]

    def __str__(self) -> str:
        if self.value.ndim:
            return f"{self.value.size} traces"
        products = f"{int(self.matvecs)} product{'s' * (int(self.matvecs) != 1)}"
        return f"trace {float(self.value):.6g} +- {float(self.standard_error):.2g} ({products})"


@readable
class SpectralDensity(NamedTuple):
    """How the eigenvalues are spread, as one quadrature rule per random vector.

    Attributes:
        nodes: Ritz values, ascending, shape (probes, steps); NaN where there are fewer.
        weights: the share of the eigenvalues that each node stands for; every row sums to 1.
        matvecs: products spent.
    """

    nodes: Float[Array, "probes steps"]
    weights: Float[Array, "probes steps"]
    matvecs: Int[Array, ""]

    def __str__(self) -> str:
        if self.nodes.ndim != 2:
            return f"{math.prod(self.nodes.shape[:-2])} spectral densities"
        nodes = self.nodes[jnp.isfinite(self.nodes)]
        if nodes.size == 0:
            return "nothing is known about this spectrum: a product was not finite, or so small that its sums underflow"
        low, high = float(nodes.min()), float(nodes.max())
        level = (high - low or abs(high)) / 100  # what lies nearer to zero may be zero
        share, error = map(float, self.below(-level))
        probes, products = self.nodes.shape[0], int(self.matvecs)
        spread = f" +- {100 * error:.2g} %" if probes > 1 else ""
        vectors = "1 random vector" if probes == 1 else f"{probes} random vectors"
        below = f"{100 * share:.3g} %{spread} of the eigenvalues are below {0.0 - level:.2g}, a hundredth of that range"
        return f"eigenvalues from {low:.4g} to {high:.4g} by {vectors} and {products} products\n{below}"

    def at(self, points: Float[Array, " points"], width: float | Float[Array, ""]) -> Float[Array, " points"]:
        """The density at `points`, every node a Gaussian of standard deviation `width`; its integral is 1."""
        gaps = (jnp.asarray(points)[:, None, None] - jnp.nan_to_num(self.nodes)[None]) / width
        bumps = jnp.exp(-(gaps**2) / 2) / (width * math.sqrt(2 * math.pi))
        return jnp.mean(jnp.sum(bumps * self.weights[None], axis=2), axis=1)

    def to_dataset(self, points: int = 512, width: float | None = None, extremes: Any = None) -> xr.Dataset:
        """The density as a Dataset over `eigenvalue`, for `plots.spectrum`.

        `width` is that of `at`, a hundredth of the range when None; `extremes` are eigenvalues to mark, such as
        `eigsh(...).values`. `attrs["negative_share"]` is the share of the eigenvalues below -width.
        """
        import numpy as np
        import xarray as xr

        if self.nodes.ndim != 2:
            raise ValueError(
                f"to_dataset takes one density, got {math.prod(self.nodes.shape[:-2])}: choose one of them"
            )
        nodes = np.asarray(self.nodes)[np.isfinite(self.nodes)]
        if not nodes.size:
            raise ValueError(f"there is no density to draw: {self}")
        given = np.empty(0) if extremes is None else np.asarray(extremes, float).ravel()
        low, high = float(nodes.min()), float(nodes.max())
        width = width or (high - low or abs(high) or 1.0) / 100
        grid = np.linspace(low - 4 * width, high + 4 * width, points)
        columns: dict[str, Any] = {"density": ("eigenvalue", np.asarray(self.at(jnp.asarray(grid, float), width)))}
        if given.size:
            columns["extremes"] = ("pair", given)
        # What lies within the width of zero may be zero, smoothed.
        known = {"matvecs": int(self.matvecs), "width": float(width), "negative_share": float(self.below(-width)[0])}
        return xr.Dataset(columns, {"eigenvalue": grid}, known)

    def below(self, threshold: float | Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The share of eigenvalues below a threshold, and its standard error over the random vectors.

        A node on the threshold's other side is counted whole, so near a cluster of eigenvalues the share is coarse.
        One vector does not show the error: it is infinite, or 0 if all eigenvalues are one.
        """
        below = (self.nodes < threshold).astype(self.weights.dtype)
        shares = jnp.sum(below * self.weights, axis=1)  # a product, so that the NaN of an unknown spectrum stays
        probes = shares.size
        if probes > 1:
            return jnp.mean(shares), jnp.std(shares, ddof=1) / math.sqrt(probes)
        one_value = jnp.sum(jnp.isfinite(self.nodes)) == 1
        return jnp.mean(shares), jnp.where(one_value, jnp.zeros_like(shares[0]), jnp.inf)


def trace(
    operator: Any, *, like: PyTree = None, matvecs: int | None = None, key: Key[Array, ""] | None = None
) -> Trace:
    """The trace of a symmetric operator, with its standard error, by products.

    XTrace: half of the products find the directions in which A is large, whose part of the trace is exact; the other
    half measure it, and what is left is averaged over the random vectors, each with the directions that the others
    found. Without bias; where the spectrum decays far more accurate than the plain average of w'Aw. Where the products
    are enough for every column, n of them give the trace itself.

    Arguments:
        operator, like: as in `eigsh`.
        matvecs: products to spend at most, at least 4 and at most 2n; the smaller of 40 and 2n when None. Static.
        key: of the random vectors; `jax.random.key(0)` when None.

    Returns:
        `Trace(value, standard_error, matvecs)`; the error is 0 if the trace is exact, which takes n products.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import trace
        >>> decaying = 0.7 ** jnp.arange(1000.0)
        >>> bool(abs(trace(lambda v: decaying * v, like=decaying).value - 1 / 0.3) < 1e-2)
        True

    Source: Epperly, Tropp and Webber, 2024.
    """
    operator = as_operator(operator, like)
    size = sum(leaf.size for leaf in jax.tree.leaves(operator.like))
    most = max(4, 2 * size)
    budget = min(40, most) if matvecs is None else _checks.count("matvecs", matvecs, low=4, high=most)
    key = checked_key(key)
    refuse_asymmetric(operator, key)
    return _exact_trace(operator) if budget >= size else _trace(operator, key, vectors=budget // 2)


@jax.jit
def _exact_trace(operator: SymmetricOperator) -> Trace:
    product, dtype, size = _flat_product(operator)

    # One column at a time and only its diagonal entry is kept, so the matrix is never there.
    def entry(index: Int[Array, ""]) -> Float[Array, ""]:
        return product((jnp.arange(size) == index).astype(dtype))[index]

    value = jnp.sum(jax.lax.map(entry, jnp.arange(size)))
    return Trace(value, jnp.where(jnp.isfinite(value), jnp.zeros_like(value), jnp.nan), jnp.int32(size))


@functools.partial(PerOperator, static_argnames=("vectors",))
def _trace(operator: SymmetricOperator, key: Any, *, vectors: int) -> Trace:
    product, dtype, size = _flat_product(operator)
    columns = functools.partial(jax.lax.map, product)
    multiply = functools.partial(jnp.matmul, precision="highest")
    tests = jax.random.normal(key, (vectors, size), dtype)
    tests = tests * (math.sqrt(size) / jnp.linalg.norm(tests, axis=1))[:, None]
    images = columns(tests)
    unit = power_of_two(jnp.max(jnp.abs(images)))  # in this unit no square overflows or underflows
    images = divide(images, unit)
    # A random vector in rounding's size: where A has a low rank the basis would be singular.
    floor = jnp.finfo(dtype).eps * jnp.max(jnp.linalg.norm(images, axis=1)) / math.sqrt(size)
    fill = jax.random.normal(jax.random.fold_in(key, 1), images.shape, dtype)
    basis, triangle = jnp.linalg.qr((images + jnp.where(floor > 0, floor, 1) * fill).T)
    seen = multiply(basis.T, images.T)
    inside = divide(multiply(basis.T, columns(basis.T).T), unit)
    # Without vector i the basis loses the direction s_i, the i-th row of R^-1.
    lost = jax.scipy.linalg.solve_triangular(triangle, jnp.eye(vectors, dtype=dtype), trans="T")
    lost = lost / jnp.linalg.norm(lost, axis=0)[None]
    shadows = multiply(basis.T, tests.T)
    shadows = shadows - lost * jnp.sum(lost * shadows, axis=0)[None]
    found = jnp.trace(inside) - jnp.sum(lost * multiply(inside, lost), axis=0)
    rest = jnp.sum(tests * images, axis=1) - 2 * jnp.sum(shadows * seen, axis=0)
    rest = rest + jnp.sum(shadows * multiply(inside, shadows), axis=0)
    left = size - jnp.sum(shadows**2, axis=0)
    scale = (size - vectors + 1) / jnp.where(left > 0, left, 1)
    estimates = found + jnp.where(size > vectors - 1, scale * rest, 0)
    error = jnp.std(estimates, ddof=1) / math.sqrt(vectors)
    unit = jnp.where(_underflows(unit), jnp.nan, unit)
    return Trace(unit * jnp.mean(estimates), unit * error, jnp.int32(2 * vectors))


def spectral_density(
    operator: Any,
    *,
    like: PyTree = None,
    steps: int = 80,
    probes: int = 4,
    key: Key[Array, ""] | None = None,
) -> SpectralDensity:
    """The density of the eigenvalues, by stochastic Lanczos quadrature.

        (1/n) sum_i f(lambda_i)  ~  mean over probes of  sum_j w_j f(theta_j)

    exact for polynomials f up to degree 2 steps - 1, up to the randomness of the probes, which is small where n is
    large. Lanczos reorthogonalises fully, so no node is a copy of another.

    Arguments:
        operator, like: as in `eigsh`.
        steps: products per probe, at least 2; n at most. Static.
        probes: random vectors, at least 1. Static.
        key: of the random vectors; `jax.random.key(0)` when None.

    Returns:
        `SpectralDensity(nodes, weights, matvecs)`, with `.at(points, width)` and `.below(threshold)`.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import spectral_density
        >>> spectrum = jnp.append(jnp.linspace(0.0, 1.0, 900), jnp.full(100, -2.0))
        >>> density = spectral_density(lambda v: spectrum * v, like=spectrum, steps=20, probes=8)
        >>> share, error = density.below(-1.0)
        >>> bool(abs(share - 0.1) < 4 * error + 0.01)
        True

    Source: Golub and Meurant, 1994; for networks Ghorbani, Krishnan and Xiao, 2019.
    """
    operator = as_operator(operator, like)
    steps, probes = _checks.count("steps", steps, low=2), _checks.count("probes", probes)
    key = checked_key(key)
    refuse_asymmetric(operator, key)
    return _spectral_density(operator, key, steps=steps, probes=probes)


@functools.partial(PerOperator, static_argnames=("steps", "probes"))
def _spectral_density(operator: SymmetricOperator, key: Any, *, steps: int, probes: int) -> SpectralDensity:
    product, dtype, size = _flat_product(operator)

    def rule(key: Any) -> tuple[Array, Array, Array]:
        krylov = lanczos(product, jax.random.normal(key, (size,), dtype), steps)
        values = ritz(krylov)
        values = values._replace(values=jnp.where(_underflows(krylov.norm), jnp.nan, values.values))
        weights = jnp.where(jnp.isfinite(values.values), values.coefficients[0] ** 2, 0)
        weights = jnp.where(jnp.isfinite(values.values[0]), weights, jnp.nan)  # no node at all: a product was NaN
        return values.values, weights, krylov.count

    nodes, weights, counts = jax.lax.map(rule, jax.random.split(key, probes))
    return SpectralDensity(nodes, weights, jnp.sum(counts))


def _underflows(size: Float[Array, ""]) -> Bool[Array, ""]:
    """Whether sums in an operator of this size lose more to underflow than to rounding."""
    limits = jnp.finfo(size.dtype)
    return (size > 0) & (size < float(limits.tiny / limits.eps))


def _flat_product(operator: SymmetricOperator) -> tuple[Callable[[Array], Array], Any, int]:
    """The product on flat vectors, their dtype and their length."""
    dtype, unflatten = flat_space(operator.like)
    product = operator.product()
    size = sum(leaf.size for leaf in jax.tree.leaves(operator.like))
    return lambda vector: flat(product(unflatten(vector)), dtype), dtype, size
