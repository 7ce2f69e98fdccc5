"""Thick-restart Lanczos that verifies itself, as one compiled loop on flat vectors.

The basis is one array with a row per vector. A *phase* starts from one vector and runs until it has settled:

    phase 1 (the search)    the whole space, until the wanted pairs are found
    phase 2, 3, ...         the complement of the pairs found, from a fresh random vector, until a bound shows that none
                            was missed, or until it yields a missed pair: that one takes its place and the next phase
                            begins

Whenever the basis is full, the Ritz vectors of most interest are kept and the rest is dropped. The dropped Ritz values
are remembered, for they are roots of the polynomial that makes the next Lanczos vector,

    q_{m+1} = p(A) q_1,     p(t) = prod (t - dropped) prod (t - theta) / prod beta

so the bounds of `spectrum_bounds` survive restarts. Phase r spends 2^-r of the probability of failure.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from .._numerics import divide, sqrt
from .bounds import lies_within, log_target, outermost_roots, zero_level
from .lanczos import euclidean_norm, orthogonalise
from .operators import Product
from .wanted import rank, rank_wanted, reach

_BLOCK = 8192  # columns of the basis that a restart rotates at a time


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


class Limits(NamedTuple):
    """What decides when to stop; traced.

    Attributes:
        tol: relative accuracy.
        failure: probability that a bound may fail.
    """

    tol: Float[Array, ""]
    failure: Float[Array, ""]


class Ritz(NamedTuple):
    """Eigenpairs of the projected matrix on the rows of one phase, ascending, valid ones first."""

    values: Float[Array, " rows"]
    coefficients: Float[Array, "rows rows"]
    residuals: Float[Array, " rows"]  # |beta s|, of A on the complement of the locked pairs
    leaks: Float[Array, " rows"]  # what the product has along the locked pairs, which are not quite invariant
    valid: Bool[Array, " rows"]


class State(NamedTuple):
    """The carry of all loops."""

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
    products: Int[Array, ""]
    searched: Int[Array, ""]  # products of phase 1
    converged: Bool[Array, " k"]
    interval: Float[Array, " 2"]  # holds the spectrum, rounding apart
    finished: Bool[Array, ""]
    key: Key[Array, ""]


def thick_restart(
    product: Product, start: Float[Array, " n"], key: Key[Array, ""], limits: Limits, plan: Plan
) -> State:
    """Run phases until every pair is proved or the products are spent; the pairs are then the locked ones.

    The search starts from a random vector if `start` is zero.
    """

    def phase(state: State) -> State:
        return _begin_next(_close(_run(state, product, limits, plan), limits, plan), plan)

    return jax.lax.while_loop(lambda state: ~state.finished, phase, _first(start, key, plan))


def _first(start: Float[Array, " n"], key: Key[Array, ""], plan: Plan) -> State:
    rows, k, dtype = plan.rows, plan.k, start.dtype
    zero, none, no = jnp.zeros((), dtype), jnp.int32(0), jnp.bool_(False)
    zeros = lambda *shape: jnp.zeros(shape, dtype)  # noqa: E731
    size = euclidean_norm(start)
    return State(
        basis=zeros(rows + 1, plan.n).at[0].set(divide(start, size)),
        missing=size == 0,
        projected=zeros(rows + 1, rows + 1),
        filled=none,
        locked=none,
        values=zeros(k),
        residuals=zeros(k),
        beta=zero,
        log_betas=zero,
        dropped=zeros(plan.most + rows),
        drops=none,
        ritz=Ritz(zeros(rows), zeros(rows, rows), zeros(rows), zeros(rows), jnp.zeros(rows, jnp.bool_)),
        settled=no,
        norm=zero,
        asymmetry=zero,
        phase=jnp.int32(1),
        products=none,
        searched=none,
        converged=jnp.zeros(k, jnp.bool_),
        interval=jnp.array([-jnp.inf, jnp.inf], dtype),
        finished=no,
        key=key,
    )


def _run(state: State, product: Product, limits: Limits, plan: Plan) -> State:
    """One phase: fill the basis and restart in place, until settled."""

    def fill(state: State) -> State:
        return jax.lax.while_loop(
            lambda state: ~state.settled & (state.filled < plan.rows),
            lambda state: _judge(_step(state, product, plan), limits, plan),
            state,
        )

    def restart(state: State) -> State:  # a loop of at most one turn: `cond` would keep two bases alive
        return jax.lax.while_loop(
            lambda state: ~state.settled & (state.filled == plan.rows), lambda state: _restart(state, plan), state
        )

    return jax.lax.while_loop(lambda state: ~state.settled, lambda state: restart(fill(state)), state)


def _step(state: State, product: Product, plan: Plan) -> State:
    """One product: the next row of the projected matrix, and the next basis vector."""
    state, j = _with_next_row(state), state.filled
    basis = state.basis
    coefficients, rest = _orthogonalise_twice(basis, product(jax.lax.dynamic_index_in_dim(basis, j, keepdims=False)))
    beta = euclidean_norm(rest)
    norm = jnp.maximum(state.norm, jnp.max(jnp.abs(jnp.append(coefficients, beta))))
    # A is symmetric exactly if the coefficients on earlier rows are the couplings known from there.
    index = jnp.arange(plan.rows + 1, dtype=jnp.int32)
    expected = jax.lax.dynamic_index_in_dim(state.projected, j, keepdims=False)
    known = (index >= state.locked) & (index < j)
    asymmetry = jnp.max(jnp.where(known, jnp.abs(coefficients - expected), 0))
    # Below the floor the rest is rounding, and a random vector will take its place: a matrix that differs from A by no
    # more than the floor has that one as its next vector and the floor as its beta. The last dimension has none.
    floor = jnp.where(j + 1 == plan.n, 0, 10 * float(jnp.finfo(basis.dtype).eps) * norm)
    missing = (beta <= floor) | (j + 1 == plan.n)
    beta = jnp.where(missing, floor, beta)
    row, column = index[:, None], index[None, :]
    new = (column == j) & ((row < state.locked) | (row == j))  # along locked pairs, and itself
    projected = jnp.where(new, coefficients[:, None], state.projected)
    next_to = (jnp.maximum(row, column) == j + 1) & (jnp.minimum(row, column) == j)
    vector = jnp.where(missing, 0, divide(rest, beta))
    return state._replace(
        basis=jax.lax.dynamic_update_index_in_dim(basis, vector, j + 1, axis=0),
        missing=missing,
        projected=jnp.where(next_to, beta, projected),
        filled=j + 1,
        beta=beta,
        log_betas=state.log_betas + jnp.log(beta),
        norm=norm,
        asymmetry=jnp.maximum(state.asymmetry, asymmetry),
        products=state.products + 1,
    )


def _orthogonalise_twice(basis: Float[Array, "rows+1 n"], vector: Float[Array, " n"]) -> tuple[Array, Array]:
    def once(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        coefficients, rest = orthogonalise(basis, carry[1])
        return carry[0] + coefficients, rest

    return jax.lax.fori_loop(0, 2, once, (jnp.zeros(basis.shape[0], basis.dtype), vector))


def _with_next_row(state: State) -> State:
    """Draw the next vector if it is missing: random, and orthogonal to the rows before it."""

    def draw(state: State) -> State:
        key, used = jax.random.split(state.key)
        vector = jax.random.normal(used, state.basis.shape[1:], state.basis.dtype)
        vector = _orthogonalise_twice(state.basis, vector)[1]
        vector = divide(vector, euclidean_norm(vector))
        basis = jax.lax.dynamic_update_index_in_dim(state.basis, vector, state.filled, axis=0)
        return state._replace(basis=basis, key=key, missing=jnp.bool_(False))

    # A loop of at most one turn: `cond` would draw at every step under vmap.
    return jax.lax.while_loop(lambda state: state.missing, draw, state)


def _judge(state: State, limits: Limits, plan: Plan) -> State:
    """Ritz pairs after a product, and whether the phase has settled."""
    ritz = _rayleigh_ritz(state, plan)
    state = state._replace(ritz=ritz, norm=jnp.maximum(state.norm, jnp.max(jnp.abs(ritz.values))))
    searching = state.locked == 0
    # In the search every wanted pair must be accurate, in the complement only those that reach beyond the pairs found.
    outside, low, high = _beyond(state, limits, plan)
    wanted = rank_wanted(plan.which, ritz.values, ritz.valid) < plan.k
    relevant = jnp.where(searching, wanted, outside)
    accurate = jnp.all((ritz.residuals <= _aim(state, limits, plan)) | ~relevant)
    enough = ~searching | (state.filled >= plan.k)
    proved = _proves(state, limits, plan, low, high) | (searching & (not plan.random))
    early = accurate & enough & proved & (plan.rows < plan.n)  # the whole space is cheaper than a proof
    spent = state.products == plan.most
    return state._replace(settled=early | (state.filled == plan.n) | spent | ~jnp.isfinite(state.norm))


def _rayleigh_ritz(state: State, plan: Plan) -> Ritz:
    rows = plan.rows
    index = jnp.arange(rows, dtype=jnp.int32)
    active = (index >= state.locked) & (index < state.filled)
    projected = state.projected[:rows, :rows]
    projected = jnp.where(active[:, None] & active[None, :] & jnp.isfinite(state.norm), projected, 0)
    size = jnp.max(jnp.sum(jnp.abs(projected), axis=0))
    # Other rows sit beyond the spectrum, uncoupled, so that sorting puts them last and mixes them with nothing.
    elsewhere = jnp.where(active, 0, jnp.where(size > 0, 4 * size, 1))
    values, coefficients = jnp.linalg.eigh(projected + jnp.diag(elsewhere), symmetrize_input=False)
    valid = index < state.filled - state.locked
    residuals = jnp.abs(state.beta * jax.lax.dynamic_index_in_dim(coefficients, state.filled - 1, keepdims=False))
    leak = jnp.where((index < state.locked)[:, None], state.projected[:rows, :rows], 0)
    leaks = sqrt(jnp.sum(_matmul(leak, coefficients) ** 2, axis=0))
    return Ritz(jnp.where(valid, values, 0), coefficients, jnp.where(valid, residuals, 0), leaks, valid)


def _beyond(state: State, limits: Limits, plan: Plan) -> tuple[Bool[Array, " rows"], Array, Array]:
    """The extreme Ritz values beyond the locked pairs, and the interval to prove of the rest for the phase to settle.

    That interval ends where the locked pairs say, or at the Ritz value where one lies beyond; in the search all do.
    """
    values, valid = state.ritz.values, state.ritz.valid
    low, high = reach(plan.which, state.values, _slack(state.values, state, limits, plan))
    low, high = jnp.max(low), jnp.min(high)
    searching = state.locked == 0
    bottom, top = values[0], jnp.max(jnp.where(valid, values, -jnp.inf))
    ends = jnp.stack([bottom, top])
    slack = _slack(ends, state, limits, plan)
    low_out, high_out = (low > -jnp.inf) & (searching | (bottom < low)), (high < jnp.inf) & (searching | (top > high))
    index = jnp.arange(plan.rows, dtype=jnp.int32)
    outside = ((index == 0) & low_out) | ((index == jnp.sum(valid, dtype=jnp.int32) - 1) & high_out)
    if plan.which == "LM":
        size = jnp.where(low_out | high_out, jnp.max(jnp.abs(ends) + slack), high)
        return outside, -size, size
    return outside, jnp.where(low_out, bottom - slack[0], low), jnp.where(high_out, top + slack[1], high)


def _tolerance(state: State, limits: Limits, plan: Plan) -> Float[Array, ""]:
    return jnp.maximum(limits.tol * state.norm, rounding(state, plan))


def _aim(state: State, limits: Limits, plan: Plan) -> Float[Array, ""]:
    """Half the tolerance, to leave room for the leaks."""
    return _tolerance(state, limits, plan) / 2


def _slack(values: Float[Array, " m"], state: State, limits: Limits, plan: Plan) -> Float[Array, " m"]:
    return jnp.maximum(limits.tol * jnp.abs(values), rounding(state, plan))


def rounding(state: State, plan: Plan) -> Float[Array, ""]:
    """The size below which an eigenvalue of this operator cannot be told from zero."""
    return zero_level(state.norm, plan.n, plan.dtype, state.asymmetry)


def _polynomial(state: State, limits: Limits, plan: Plan) -> tuple[Array, Array, Array]:
    """What the bounds of this phase are made of: roots, which of them are valid, and the target."""
    roots = jnp.append(state.dropped, state.ritz.values)
    valid = jnp.append(jnp.arange(state.dropped.size, dtype=jnp.int32) < state.drops, state.ritz.valid)
    failure = limits.failure * jnp.exp2(-state.phase.astype(limits.failure.dtype))
    return roots, valid, log_target(plan.n, failure, state.log_betas)


def _proves(state: State, limits: Limits, plan: Plan, low: Array, high: Array) -> Bool[Array, ""]:
    """Whether what this phase sees of the spectrum is proved to lie in [low, high]."""
    return lies_within(low, high, *_polynomial(state, limits, plan))


def _matmul(a: Float[Array, "m n"], b: Float[Array, "n *p"]) -> Float[Array, "m *p"]:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _restart(state: State, plan: Plan) -> State:
    """In a full basis keep the locked rows and the most wanted half of the others, as Ritz vectors."""
    rows, ritz = plan.rows, state.ritz
    kept = plan.k + (rows - plan.k) // 2
    position = jnp.arange(rows, dtype=jnp.int32)
    is_locked, is_kept = position < state.locked, position < kept
    # Row i holds the Ritz vector that belongs at position i: locked rows first, then by preference.
    places = state.locked + rank_wanted(plan.which, ritz.values, ritz.valid)
    chosen = ((places[None, :] == position[:, None]) & ~is_locked[:, None]).astype(ritz.values.dtype)
    values = _matmul(chosen, ritz.values)
    columns = jnp.where(is_locked[None, :], jnp.eye(rows, dtype=values.dtype), _matmul(ritz.coefficients, chosen.T))
    columns = jnp.where(is_kept[None, :], columns, 0)
    leak = _matmul(jnp.where(is_locked[:, None], state.projected[:rows, :rows], 0), columns)
    projected = jnp.pad(jnp.diag(jnp.where(is_kept, values, 0)) + leak, ((0, 1), (0, 1)))
    couplings = jnp.append(state.beta * jnp.where(is_locked, 0, columns[-1]), 0)
    index = jnp.arange(rows + 1, dtype=jnp.int32)
    projected = jnp.where(index[None, :] == kept, couplings[:, None], projected)
    projected = jnp.where(index[:, None] == kept, couplings[None, :], projected)
    return state._replace(
        basis=_rotate(state.basis, columns, kept),
        projected=projected,
        filled=jnp.int32(kept),
        dropped=jax.lax.dynamic_update_slice(state.dropped, values[kept:], (state.drops,)),
        drops=state.drops + (rows - kept),
    )


def _rotate(
    basis: Float[Array, "rows+1 n"], columns: Float[Array, "rows rows"], last: int | None
) -> Float[Array, "rows+1 n"]:
    """In place, row i becomes the combination `columns[:, i]` of the rows; the last row moves to row `last` or goes."""
    rows, n = basis.shape
    weights = jnp.zeros((rows, rows), basis.dtype).at[:-1, :-1].set(columns)
    weights = weights if last is None else weights.at[-1, last].set(1)
    width = min(n, _BLOCK)

    def rotate(basis: Array, start: Any, width: int) -> Array:
        block = jax.lax.dynamic_slice_in_dim(basis, start, width, axis=1)
        block = _matmul(weights.T, block)
        return jax.lax.dynamic_update_slice_in_dim(basis, block, start, axis=1)

    basis = jax.lax.fori_loop(0, n // width, lambda i, basis: rotate(basis, i * width, width), basis)
    return rotate(basis, n - n % width, n % width) if n % width else basis


def _close(state: State, limits: Limits, plan: Plan) -> State:
    """After a phase: lock the k most wanted pairs, ascending, and say what is proved of them."""
    ritz, searching = state.ritz, state.locked == 0
    accurate = ritz.residuals <= _aim(state, limits, plan)
    missed = ~searching & jnp.any(_beyond(state, limits, plan)[0] & accurate)
    values = jnp.append(state.values, ritz.values)
    residuals = jnp.append(state.residuals, jnp.hypot(ritz.residuals, ritz.leaks))
    eligible = jnp.append(jnp.broadcast_to(~searching, (plan.k,)), ritz.valid & (searching | (missed & accurate)))
    wanted = rank_wanted(plan.which, values, eligible) < plan.k
    places = rank(jnp.where(wanted, values, jnp.inf))
    chosen = (places[None, :] == jnp.arange(plan.k, dtype=jnp.int32)[:, None]).astype(values.dtype)
    columns = jnp.append(jnp.eye(plan.rows, plan.k, dtype=values.dtype), ritz.coefficients, axis=1)
    columns = jnp.pad(_matmul(columns, chosen.T), ((0, 0), (0, plan.rows - plan.k)))
    values, residuals = _matmul(chosen, values), _matmul(chosen, residuals)
    complete, spent = state.filled == plan.n, state.products == plan.most
    proved = complete | (_proved(state, values, limits, plan) & ~missed)
    over = complete | spent | ~jnp.isfinite(state.norm) | jnp.where(searching, not plan.verify, ~missed)
    return state._replace(
        basis=_rotate(state.basis, columns, None),
        values=values,
        residuals=residuals,
        searched=jnp.where(searching, state.products, state.searched),
        converged=proved & (residuals <= _tolerance(state, limits, plan)),
        interval=_interval(state, limits, plan),
        finished=over,
    )


def _proved(state: State, values: Float[Array, " k"], limits: Limits, plan: Plan) -> Bool[Array, " k"]:
    """Of which of these pairs this phase proves that nothing beyond them was missed.

    A phase in the complement shows how far it reaches. The search shows that its extreme pairs are extreme; if no
    verification is asked for, that, or from a given start the residual alone, has to do for all.
    """
    searching = state.locked == 0
    ends = 2 if plan.which == "BE" and plan.k > 1 else 1
    extreme = rank_wanted(plan.which, values, jnp.ones(plan.k, jnp.bool_)) < ends
    _, search_low, search_high = _beyond(state, limits, plan)
    low, high = reach(plan.which, values, _slack(values, state, limits, plan))
    low, high = jnp.where(searching, search_low, low), jnp.where(searching, search_high, high)
    shown = jax.vmap(lambda low, high: _proves(state, limits, plan, low, high))(low, high)
    by_search = (extreme | (not plan.verify)) & (shown if plan.random else not plan.verify)
    return jnp.where(searching, by_search, shown)


def _interval(state: State, limits: Limits, plan: Plan) -> Float[Array, " 2"]:
    """What holds the spectrum, rounding apart: the bounds of the search, or of the complement and the locked pairs."""
    bounds = jnp.stack(outermost_roots(*_polynomial(state, limits, plan)))
    # With R the residuals, x'Ax of a unit x is between eigenvalues of the matrices [[theta, |R|], [|R|, bound]].
    spill = math.sqrt(plan.k) * jnp.max(state.residuals)
    ends = jnp.stack([state.values[0], state.values[-1]])
    outward = jnp.array([-1, 1], bounds.dtype)
    joint = (ends + bounds) / 2 + outward * jnp.hypot((ends - bounds) / 2, spill)
    searching = state.locked == 0
    unknown = searching & (not plan.random) & (state.filled < plan.n)
    interval = jnp.where(unknown, state.interval, jnp.where(searching, bounds, joint))
    return outward * jnp.minimum(outward * interval, outward * state.interval)


def _begin_next(state: State, plan: Plan) -> State:
    """The state in which a phase in the complement of the locked pairs starts, its first vector still to be drawn."""
    k, zero = jnp.int32(plan.k), jnp.zeros_like(state.beta)
    return state._replace(
        missing=jnp.bool_(True),
        projected=jnp.zeros_like(state.projected),
        filled=k,
        locked=k,
        beta=zero,
        log_betas=zero,
        drops=jnp.int32(0),
        settled=jnp.bool_(False),
        phase=state.phase + 1,
    )
