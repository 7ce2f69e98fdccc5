"""What a phase of `thick_restart` shows: which pairs are accurate, and where the rest of the spectrum must lie."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ._bounds import lies_within, log_target, outermost_roots, zero_level
from ._wanted import rank_wanted, reach


class Plan(NamedTuple):
    """What chooses the program; all static.

    Attributes:
        n: dimension.
        k: number of pairs.
        which: one of `WHICH`.
        rows: number of basis vectors, `ncv`; n when the whole space fits.
        most: products to spend at most.
        verify: whether to search the complement of what was found.
        random: whether the first start is random, so that bounds from it hold.
        dtype: the coarsest dtype in the product.
    """

    n: int
    k: int
    which: str
    rows: int
    most: int
    verify: bool
    random: bool
    dtype: Any


class Ritz(NamedTuple):
    """Eigenpairs of the projected matrix on the rows of one phase, ascending, valid ones first."""

    values: Float[Array, " rows"]
    coefficients: Float[Array, "rows rows"]
    residuals: Float[Array, " rows"]  # |beta s|, of A on the complement of the locked pairs
    leaks: Float[Array, " rows"]  # what the product has along the locked pairs, which are not quite invariant
    valid: Bool[Array, " rows"]


class State(NamedTuple):
    """What all loops carry; everything of the size of A is in units of `scale`."""

    scale: Float[Array, ""]  # a power of two near the first product that is not zero; 0 until then
    basis: Float[Array, "rows+1 n"]  # orthonormal rows; row `filled` is the next vector, those beyond are zero
    missing: Bool[Array, ""]  # whether the next vector is still to be drawn; its row is zero
    projected: Float[Array, "rows+1 rows+1"]  # Q A Q', known on the rows of this phase
    filled: Int[Array, ""]
    locked: Int[Array, ""]  # leading rows that hold pairs already found: 0 in the search, then k
    values: Float[Array, " k"]  # of the locked pairs, ascending
    residuals: Float[Array, " k"]
    beta: Float[Array, ""]  # norm of what the last product left outside the basis
    log_betas: Float[Array, ""]  # their sum over this phase
    dropped: Float[Array, " most+rows"]  # Ritz values dropped in this phase, `drops` of them
    drops: Int[Array, ""]
    ritz: Ritz
    settled: Bool[Array, ""]  # this phase is over
    norm: Float[Array, ""]  # at most |A|
    asymmetry: Float[Array, ""]
    phase: Int[Array, ""]
    restarts: Int[Array, ""]
    products: Int[Array, ""]
    searched: Int[Array, ""]  # products of phase 1
    converged: Bool[Array, " k"]
    interval: Float[Array, " 2"]  # holds the spectrum, rounding apart
    finished: Bool[Array, ""]
    key: Key[Array, ""]
    tol: Float[Array, ""]  # as it was given: relative accuracy
    failure: Float[Array, ""]  # and the probability that a bound may fail


def rounding(state: State, plan: Plan) -> Float[Array, ""]:
    """The size below which an eigenvalue of this operator is indistinguishable from zero."""
    restarts = state.restarts.astype(state.norm.dtype)  # each adds one to the error of the kept rows
    drift = float(jnp.finfo(state.norm.dtype).eps) * restarts * state.norm
    return zero_level(state.norm, plan.n, plan.dtype, state.asymmetry) + drift


def tolerance(state: State, plan: Plan) -> Float[Array, ""]:
    """The size at which a residual is small."""
    return jnp.maximum(state.tol * state.norm, rounding(state, plan))


def _slack(values: Float[Array, " m"], state: State, plan: Plan) -> Float[Array, " m"]:
    """How far beyond each value another does not count as missed."""
    return jnp.maximum(state.tol * jnp.abs(values), rounding(state, plan))


def accurate(state: State, plan: Plan) -> Bool[Array, " rows"]:
    """Whether the residual is within half the tolerance, as leaks come on top, and the value right within its slack.

    The error of a value is at most the residual, and residual^2 / gap if the nearest other eigenvalue is a gap away.
    """
    values, residuals, valid = state.ritz.values, state.ritz.residuals, state.ritz.valid
    steps = jnp.where(valid[1:], jnp.diff(values), jnp.inf)
    gaps = jnp.minimum(jnp.append(steps, jnp.inf), jnp.append(jnp.inf, steps))
    slack = _slack(values, state, plan)
    right = (residuals <= slack) | (residuals <= jnp.sqrt(slack) * jnp.sqrt(gaps))
    return valid & right & (residuals <= tolerance(state, plan) / 2)


def _polynomial(state: State, plan: Plan) -> tuple[Array, Array, Array]:
    """What the bounds of this phase are made of: roots, which of them are valid, and the target."""
    roots = jnp.append(state.dropped, state.ritz.values)
    valid = jnp.append(jnp.arange(state.dropped.size, dtype=jnp.int32) < state.drops, state.ritz.valid)
    failure = state.failure * jnp.exp2(-state.phase.astype(state.failure.dtype))
    return roots, valid, log_target(plan.n, failure, state.log_betas)


def confines(state: State, plan: Plan, low: Array, high: Array) -> Bool[Array, ""]:
    """Whether what this phase sees of the spectrum lies, with the probability, in [low, high]."""
    return lies_within(low, high, *_polynomial(state, plan))


def beyond(state: State, plan: Plan) -> tuple[Bool[Array, " rows"], Array, Array]:
    """The extreme Ritz values beyond the locked pairs, and the interval to verify of the rest for the phase to settle.

    That interval ends where the locked pairs say, or at the Ritz value where one lies beyond; in the search all do.
    """
    values, valid = state.ritz.values, state.ritz.valid
    low, high = reach(plan.which, state.values, _slack(state.values, state, plan))
    low, high = jnp.max(low), jnp.min(high)
    searching = state.locked == 0
    bottom, top = values[0], jnp.max(jnp.where(valid, values, -jnp.inf))
    ends = jnp.stack([bottom, top])
    slack = _slack(ends, state, plan)
    low_out, high_out = (low > -jnp.inf) & (searching | (bottom < low)), (high < jnp.inf) & (searching | (top > high))
    index = jnp.arange(plan.rows, dtype=jnp.int32)
    outside = ((index == 0) & low_out) | ((index == jnp.sum(valid, dtype=jnp.int32) - 1) & high_out)
    if plan.which == "LM":
        size = jnp.where(low_out | high_out, jnp.max(jnp.abs(ends) + slack), high)
        return outside, -size, size
    return outside, jnp.where(low_out, bottom - slack[0], low), jnp.where(high_out, top + slack[1], high)


def verified(state: State, values: Float[Array, " k"], bounds: Float[Array, " 2"], plan: Plan) -> Bool[Array, " k"]:
    """For each of these pairs, whether this phase, with its `spectrum_ends`, shows that nothing beyond it was missed.

    A phase in the complement shows how far it reaches. The search from a random start shows that its extreme pairs are
    extreme; if no verification is asked for, that has to do for all. From a given start it shows nothing.
    """
    searching = state.locked == 0
    ends = 2 if plan.which == "BE" and plan.k > 1 else 1
    extreme = rank_wanted(plan.which, values, jnp.ones(plan.k, jnp.bool_)) < ends
    _, search_low, search_high = beyond(state, plan)
    low, high = reach(plan.which, values, _slack(values, state, plan))
    low, high = jnp.where(searching, search_low, low), jnp.where(searching, search_high, high)
    shown = (low <= bounds[0]) & (bounds[1] <= high)
    by_search = (extreme | (not plan.verify)) & shown & plan.random
    return jnp.where(searching, by_search, shown)


def spectrum_ends(state: State, plan: Plan) -> Float[Array, " 2"]:
    """The bounds of this phase on the part of the spectrum that it sees, rounding apart."""
    return jnp.stack(outermost_roots(*_polynomial(state, plan)))


def interval(state: State, bounds: Float[Array, " 2"], plan: Plan) -> Float[Array, " 2"]:
    """What holds the spectrum, rounding apart: the bounds of the search, or of the complement and the locked pairs."""
    # With R the residuals, x'Ax of a unit x is between eigenvalues of the matrices [[theta, |R|], [|R|, bound]].
    spill = math.sqrt(plan.k) * jnp.max(state.residuals)
    ends = jnp.stack([state.values[0], state.values[-1]])
    outward = jnp.array([-1, 1], bounds.dtype)
    joint = (ends + bounds) / 2 + outward * jnp.sqrt((ends - bounds) ** 2 / 4 + spill**2)
    searching = state.locked == 0
    unknown = searching & (not plan.random) & (state.filled < plan.n)
    interval = jnp.where(unknown, state.interval, jnp.where(searching, bounds, joint))
    return outward * jnp.minimum(outward * interval, outward * state.interval)
