"""`eigsh`: a few eigenpairs of a symmetric operator on pytrees, with a check that none was missed."""

from __future__ import annotations

import difflib
import enum
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from .. import _checks
from .._shown import readable
from ._bounds import checked_probability
from ._evidence import Plan, rounding
from ._lanczos import checked_key
from ._operators import flat, flat_space
from ._restart import thick_restart
from ._symmetric import PerOperator, SymmetricOperator, as_operator, crooked_level, refuse_asymmetric
from ._wanted import WHICH


class EigshStatus(enum.IntEnum):
    """How `eigsh` ended."""

    CONVERGED = 0
    BUDGET_SPENT = 1
    NON_FINITE = 2
    NOT_SYMMETRIC = 3


_ADVICE = {
    EigshStatus.CONVERGED: "every pair converged",
    EigshStatus.BUDGET_SPENT: "the products were spent before every pair was verified: raise maxiter, ncv or tol, or "
    "go on from these vectors (v0=pairs.vectors)",
    EigshStatus.NON_FINITE: "a product was not finite: look at the loss and its gradient at these parameters",
    EigshStatus.NOT_SYMMETRIC: "the operator is not symmetric, or not the same at every call (dropout without a fixed "
    "key, an unordered sum): nothing here can be relied on",
}


@readable
class Eigenpairs(NamedTuple):
    """What `eigsh` returns: a pytree of arrays, with a leading axis under `vmap`. `print` shows it in words.

    Attributes:
        values: eigenvalues, ascending, shape (k,). NaN if a product was not finite.
        vectors: unit eigenvectors, a pytree like the operator's vectors with a leading axis of k.
        residuals: at least |A v - value v|, so an eigenvalue lies within this of the value: the recurrence's
            |beta s| and the rounding of the product (`zero_level`). Shape (k,).
        converged: per pair, whether its residual is within tolerance and it is verified, with `probability`, that no
            eigenvalue beyond it was missed. Shape (k,).
        interval: (lower, upper), which hold every eigenvalue with `probability`, rounding included.
        norm: the largest |A v| met, at most |A| and close to it.
        zero_level: the size below which an eigenvalue is rounding, measured from this operator.
        matvecs: products spent to find the pairs.
        verification_matvecs: products spent after that on what else there is.
        probability: of `interval` and of `converged`, over the random starts.
        status: an `EigshStatus` code; `status_text` is advice.
    """

    values: Float[Array, " k"]
    vectors: PyTree
    residuals: Float[Array, " k"]
    converged: Bool[Array, " k"]
    interval: Float[Array, " 2"]
    norm: Float[Array, ""]
    zero_level: Float[Array, ""]
    matvecs: Int[Array, ""]
    verification_matvecs: Int[Array, ""]
    probability: Float[Array, ""]
    status: Int[Array, ""]

    @property
    def status_text(self) -> Any:
        """The status and what to do about it; an array of texts for a batch."""
        texts = np.array([_ADVICE[code] for code in EigshStatus])[np.asarray(self.status)]
        return str(texts) if np.ndim(texts) == 0 else texts

    def __str__(self) -> str:
        """What is verified of each pair and of the whole spectrum, and the cost; counts of endings for a batch."""
        if np.ndim(self.status):
            codes, counts = np.unique(np.asarray(self.status), return_counts=True)
            ends = (f"{count} {EigshStatus(code).name.lower()}" for code, count in zip(codes, counts, strict=True))
            return f"{np.size(self.status)} operators: " + ", ".join(ends)
        if self.status >= EigshStatus.NON_FINITE:
            return f"nothing is verified; {self.status_text}."
        chance = f"with probability {float(self.probability):.6g}"
        lower, upper = np.asarray(self.interval)
        lines = [f"{int(np.sum(self.converged))} of {np.size(self.values)} verified; {self.status_text}."]
        for value, radius, shown in zip(self.values, self.residuals, self.converged, strict=True):
            claim = f"none further out was missed, {chance}" if shown else "one further out may have been missed"
            lines.append(f"{value:.6g}: an eigenvalue lies within {radius:.1g}; {claim}.")
        lines.append(f"All eigenvalues lie between {lower:.4g} and {upper:.4g}, {chance}.")
        lines.append(f"{int(self.matvecs)} products to find, {int(self.verification_matvecs)} to verify.")
        return "\n".join(lines)


def eigsh(
    operator: Any,
    k: int = 6,
    *,
    which: str = "LA",
    like: PyTree = None,
    tol: float | Float[Array, ""] | None = None,
    maxiter: int = 1000,
    ncv: int | None = None,
    v0: PyTree = None,
    key: Key[Array, ""] | None = None,
    probability: float | Float[Array, ""] = 0.99,
    verify: bool = True,
) -> Eigenpairs:
    """A few eigenvalues and eigenvectors of a symmetric operator on pytrees, verified to be the extreme ones.

        A v_i = theta_i v_i

    Thick-restart Lanczos with full reorthogonalisation, one compiled program. A small residual shows *an* eigenvalue,
    not the extreme one, and Lanczos sees one vector of a repeated eigenvalue. So the search goes on until the bound of
    `spectrum_bounds` meets the extreme value, and then a second run, from a fresh random vector orthogonal to what was
    found, goes on until its bound shows that no eigenvalue beyond the found ones was missed; one that was missed is
    taken in.

    Needs memory for ncv + 4 vectors beyond that of a product, and for the k results. Compiled once per program: new
    parameters or data are new values. Works under `jit` and `vmap`.

    Arguments:
        operator: a `HessianOperator`, a `GaussNewtonOperator`, a function v -> A v with `like`, or a symmetric matrix,
            also a sparse one of scipy or JAX.
        k: number of pairs, at least 1 and less than the dimension n. Static.
        which: "LA" largest, "SA" smallest, "BE" both ends (one more at the high end for odd k), "LM" largest modulus.
            Static.
        like: an example of v, a pytree of real floating arrays, if `operator` is a function.
        tol: >= 0. A residual is small at tol |A|, and an eigenvalue further out by more than tol |theta_i| and the
            residuals counts as missed; neither below the level of rounding. The square root of eps when None, at which
            values are right to rounding, as their error is quadratic in the residual.
        maxiter: products to spend at most, verification included; at least k. Static.
        ncv: number of basis vectors, at least k + 4, or n if that is less; max(2k + 1, 20) when None. Static.
        v0: where to start: one vector, or a stack such as `vectors` of an earlier result. Random when None.
        key: of random vectors; `jax.random.key(0)` when None.
        probability: in [0.5, 1), of what is verified.
        verify: False leaves out the second run: repeated eigenvalues may be missed, and with `v0` nothing is verified
            to be extreme. Static.

    Returns:
        `Eigenpairs`, ascending.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted; also for an
            operator that is not symmetric or not the same at every call.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import eigsh
        >>> spectrum = jnp.append(jnp.linspace(-1.0, 1.0, 500), jnp.array([5.0, 5.0, 4.0]))
        >>> pairs = eigsh(lambda v: spectrum * v, k=3, like=spectrum)
        >>> [round(float(value), 4) for value in pairs.values], pairs.converged.tolist()
        ([4.0, 5.0, 5.0], [True, True, True])

    Source: Wu and Simon, 2000; the bound after van Dorsselaer, Hochstenbach and van der Vorst, 1999.
    """
    if which not in WHICH:
        raise ValueError(_unknown_which(which))
    operator = as_operator(operator, like)
    size = sum(leaf.size for leaf in jax.tree.leaves(operator.like))
    k, ncv = _checked_sizes(size, k, ncv)
    maxiter, verify = _checks.count("maxiter", maxiter, low=k), _checks.boolean("verify", verify)
    probability = checked_probability(probability)
    key = checked_key(key)
    dtype, _ = flat_space(operator.like)
    if tol is None:
        tol = float(jnp.finfo(dtype).eps) ** 0.5
    tol = _checks.scalar("tol", tol, low=0.0)
    start = None if v0 is None else _checked_start(v0, operator, dtype)
    refuse_asymmetric(operator, key)
    return _eigsh(operator, start, key, tol, probability, k=k, which=which, ncv=ncv, maxiter=maxiter, verify=verify)


def _unknown_which(which: Any) -> str:
    upper = str(which).upper()
    accepted = "accepted: LA (largest), SA (smallest), BE (both ends), LM (largest modulus)"
    if upper == "SM":
        return (
            f"which='SM', the smallest modulus, is not accepted: products alone do not find what lies inside a "
            f"spectrum; use jnp.linalg.eigh(hessian(loss, params)), or LM of a function that solves A x = v; {accepted}"
        )
    named = {"LR": "LA", "SR": "SA"}  # of the real part, as for matrices that are not symmetric
    near = named.get(upper) or difflib.get_close_matches(upper, WHICH, n=1, cutoff=0)[0]
    return f"unknown which {which!r}; did you mean {near!r}? {accepted}"


@functools.partial(PerOperator, static_argnames=("k", "which", "ncv", "maxiter", "verify"))
def _eigsh(
    operator: SymmetricOperator,
    start: Any,
    key: Any,
    tol: Any,
    probability: Any,
    *,
    k: int,
    which: str,
    ncv: int,
    maxiter: int,
    verify: bool,
) -> Eigenpairs:
    dtype, unflatten = flat_space(operator.like)
    size = sum(leaf.size for leaf in jax.tree.leaves(operator.like))
    product = operator.product()
    plan = Plan(size, k, which, ncv, maxiter, verify, start is None, operator.dtype)
    # Zeros stand for a random start, which is drawn inside: with and without `v0` the loop has one form.
    start = jnp.zeros(size, dtype) if start is None else start
    probability = jnp.asarray(probability, dtype)
    state = thick_restart(
        lambda v: flat(product(unflatten(v)), dtype), start, key, jnp.asarray(tol, dtype), 1 - probability, plan
    )
    # Rounding, and where the operator is nearly as small as its type allows, the spacing of its smallest numbers.
    smallest = jnp.where(state.norm > 0, float(jnp.finfo(operator.dtype).tiny), 0)
    finite, zero = jnp.isfinite(state.norm), jnp.maximum(rounding(state, plan), smallest)
    crooked = state.asymmetry > crooked_level(operator) * state.norm
    converged = state.converged & finite & ~crooked

    def known(array: Array) -> Array:
        return jnp.where(finite, array, jnp.nan)

    status = jnp.select(
        [~finite, crooked, jnp.all(converged)],
        [jnp.int32(code) for code in (EigshStatus.NON_FINITE, EigshStatus.NOT_SYMMETRIC, EigshStatus.CONVERGED)],
        jnp.int32(EigshStatus.BUDGET_SPENT),
    )
    return Eigenpairs(
        values=known(state.values),
        vectors=jax.vmap(unflatten)(known(state.basis[:k])),
        residuals=known(state.residuals + zero),
        converged=converged,
        interval=known(state.interval + jnp.stack([-zero, zero])),
        norm=state.norm,
        zero_level=zero,
        matvecs=state.searched,
        verification_matvecs=state.products - state.searched,
        probability=probability,
        status=status,
    )


def _checked_sizes(size: int, k: Any, ncv: Any) -> tuple[int, int]:
    if size < 2:
        raise ValueError("the operator has dimension 1, so its product with 1 is its eigenvalue")
    k = _checks.count("k", k)
    if k >= size:
        raise ValueError(
            f"k must be less than the dimension {size}, got {k}; the nearest valid choice is {size - 1}, and for all "
            f"eigenvalues use jnp.linalg.eigh(hessian(loss, params))"
        )
    if ncv is None:
        return k, min(max(2 * k + 1, 20), size)
    return k, _checks.count("ncv", ncv, low=min(k + 4, size), high=size)


def _checked_start(v0: PyTree, operator: SymmetricOperator, dtype: Any) -> Float[Array, " n"]:
    """The start as one flat vector; of a stack the sum, whose Krylov space holds them all."""
    like = operator.like
    expected: Any = jax.tree.structure(like)
    if jax.tree.structure(v0) != expected:
        raise TypeError(
            f"v0 must have the structure of the operator's vectors, {expected}, got {jax.tree.structure(v0)}"
        )
    pairs = list(zip(jax.tree.leaves(v0), jax.tree.leaves(like), strict=True))
    if all(np.shape(leaf) == one.shape for leaf, one in pairs):
        stack = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], v0)
    elif (
        all(np.shape(leaf)[1:] == one.shape for leaf, one in pairs)
        and len({np.shape(leaf)[0] for leaf, _ in pairs}) == 1
    ):
        stack = jax.tree.map(jnp.asarray, v0)
    else:
        raise ValueError(
            f"v0 must have the shapes of the operator's vectors, {[one.shape for _, one in pairs]}, or one more "
            f"leading axis; got {[np.shape(leaf) for leaf, _ in pairs]}"
        )
    return jnp.sum(jax.vmap(lambda tree: flat(tree, dtype))(stack), axis=0)
