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

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .._numerics import divide, power_of_two, sqrt
from ._evidence import (
    Plan,
    Ritz,
    State,
    accurate,
    beyond,
    confines,
    interval,
    rounding,
    spectrum_ends,
    tolerance,
    verified,
)
from ._lanczos import euclidean_norm, orthogonalise
from ._operators import Product
from ._wanted import rank, rank_wanted

_BLOCK = 8192  # columns of the basis that a restart rotates at a time


def thick_restart(
    product: Product,
    start: Float[Array, " n"],
    key: Key[Array, ""],
    tol: Float[Array, ""],
    failure: Float[Array, ""],
    plan: Plan,
) -> State:
    """Run phases until every pair is verified or the products are spent; the pairs are then the locked ones.

    The search starts from a random vector if `start` is zero.
    """

    def phase(state: State) -> State:
        return _begin_next(_close(_run(state, product, plan), plan), plan)

    state = jax.lax.while_loop(lambda state: ~state.finished, phase, _first(start, key, tol, failure, plan))
    # If every product was zero there is no scale, and zeros need none.
    unit = jnp.where(state.scale == 0, 1, state.scale)
    sizes = ("values", "residuals", "norm", "asymmetry", "interval")
    return state._replace(**{name: getattr(state, name) * unit for name in sizes})


def _first(
    start: Float[Array, " n"], key: Key[Array, ""], tol: Float[Array, ""], failure: Float[Array, ""], plan: Plan
) -> State:
    rows, k, dtype = plan.rows, plan.k, start.dtype
    zero, none, no = jnp.zeros((), dtype), jnp.int32(0), jnp.bool_(False)
    zeros: Callable[..., Array] = lambda *shape: jnp.zeros(shape, dtype)
    size = euclidean_norm(start)
    return State(
        scale=zero,
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
        restarts=none,
        products=none,
        searched=none,
        converged=jnp.zeros(k, jnp.bool_),
        interval=jnp.array([-jnp.inf, jnp.inf], dtype),
        finished=no,
        key=key,
        tol=tol,
        failure=failure,
    )


def _run(state: State, product: Product, plan: Plan) -> State:
    """One phase: fill the basis and restart in place, until settled."""

    def fill(state: State) -> State:
        return jax.lax.while_loop(
            lambda state: ~state.settled & (state.filled < plan.rows),
            lambda state: _judge(_step(state, product, plan), plan),
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
    # Squares and sums over a matrix of norm 1e30 or 1e-30 would leave the range of float32; a power of two is exact.
    # Half of it is taken from the vector, so that no product of a tiny entry and a component underflows either.
    half = jnp.where(state.scale > 0, power_of_two(sqrt(state.scale)), 1)
    image = product(jax.lax.dynamic_index_in_dim(basis, j, keepdims=False) / half)
    scale = jnp.where(state.scale > 0, state.scale, power_of_two(jnp.max(jnp.abs(image))))
    limits = jnp.finfo(basis.dtype)
    again = (state.scale == 0) & (scale > 0) & (scale < float(limits.tiny / limits.eps))  # much of it has underflowed
    coefficients, rest = _orthogonalise_twice(basis, divide(image, scale / half))
    beta = sqrt(jnp.sum(rest**2))
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
    vector = jnp.where(missing | again, 0, divide(rest, beta))
    return state._replace(
        scale=scale,
        basis=jax.lax.dynamic_update_index_in_dim(basis, vector, j + 1, axis=0),
        missing=missing & ~again,
        projected=jnp.where(next_to, beta, projected),
        filled=jnp.where(again, j, j + 1),
        beta=beta,
        log_betas=jnp.where(again, state.log_betas, state.log_betas + jnp.log(beta)),
        norm=norm,
        asymmetry=jnp.maximum(state.asymmetry, asymmetry),
        products=state.products + 1,
    )


def _orthogonalise_twice(basis: Float[Array, "rows n"], vector: Float[Array, " n"]) -> tuple[Array, Array]:
    # Twice, as one pass leaves what cancellation made of the earlier rows; twice is enough (Giraud and others, 2005). A
    # loop, so that the passes over the basis are compiled once.
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
        vector = divide(vector, sqrt(jnp.sum(vector**2)))
        basis = jax.lax.dynamic_update_index_in_dim(state.basis, vector, state.filled, axis=0)
        return state._replace(basis=basis, key=key, missing=jnp.bool_(False))

    # A loop of at most one turn: `cond` would draw at every step under vmap.
    return jax.lax.while_loop(lambda state: state.missing, draw, state)


def _judge(state: State, plan: Plan) -> State:
    """Ritz pairs after a product, and whether the phase has settled."""
    ritz = _rayleigh_ritz(state, plan)
    state = state._replace(ritz=ritz, norm=jnp.maximum(state.norm, jnp.max(jnp.abs(ritz.values))))
    searching = state.locked == 0
    # In the search every wanted pair must be accurate, in the complement only those that reach beyond the pairs found.
    outside, low, high = beyond(state, plan)
    wanted = rank_wanted(plan.which, ritz.values, ritz.valid) < plan.k
    relevant = jnp.where(searching, wanted, outside)
    exact = jnp.all(accurate(state, plan) | ~relevant)
    enough = ~searching | (state.filled >= plan.k)
    shown = confines(state, plan, low, high) | (searching & (not plan.random))
    early = exact & enough & shown & (plan.rows < plan.n)  # the whole space is cheaper than verifying
    spent = state.products >= plan.most
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


def _matmul(a: Float[Array, "m n"], b: Float[Array, "n *p"]) -> Float[Array, "m *p"]:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _restart(state: State, plan: Plan) -> State:
    """In a full basis keep the locked rows and the most wanted half of the others, as Ritz vectors.

    Those that no longer couple to the rest and are not asked for go first: they would take the room of those that move.
    """
    rows, ritz = plan.rows, state.ritz
    position = jnp.arange(rows, dtype=jnp.int32)
    kept = plan.k + (rows - plan.k) // 2
    order = rank_wanted(plan.which, ritz.values, ritz.valid)
    idle = (ritz.residuals <= rounding(state, plan) / 2) & ((order >= plan.k) | (state.locked > 0))
    order = rank(order + jnp.where(idle, rows, 0))
    is_locked, is_kept = position < state.locked, position < kept
    # Row i of `chosen` holds the Ritz vector that comes to row i: locked rows first, then by preference.
    chosen = ((state.locked + order[None, :] == position[:, None]) & ~is_locked[:, None]).astype(ritz.values.dtype)
    values = _matmul(chosen, ritz.values)
    columns = jnp.where(is_locked[None, :], jnp.eye(rows, dtype=values.dtype), _matmul(ritz.coefficients, chosen.T))
    columns = jnp.where(is_kept[None, :], columns, 0)
    leak = _matmul(jnp.where(is_locked[:, None], state.projected[:rows, :rows], 0), columns)
    projected = jnp.pad(jnp.diag(jnp.where(is_kept, values, 0)) + leak, ((0, 1), (0, 1)))
    couplings = jnp.append(state.beta * jnp.where(is_locked, 0, columns[-1]), 0)
    index = jnp.arange(rows + 1, dtype=jnp.int32)
    projected = jnp.where(index[None, :] == kept, couplings[:, None], projected)
    projected = jnp.where(index[:, None] == kept, couplings[None, :], projected)
    last = (index[:, None] == rows) & (index[None, :] == kept)
    return state._replace(
        basis=_rotate(state.basis, jnp.where(last, 1, jnp.pad(columns, ((0, 1), (0, 1))))),
        projected=projected,
        filled=jnp.int32(kept),
        dropped=jax.lax.dynamic_update_slice(state.dropped, values[kept:], (state.drops,)),
        drops=state.drops + (rows - kept),
        restarts=state.restarts + 1,
    )


def _rotate(basis: Float[Array, "rows n"], weights: Float[Array, "rows rows"]) -> Float[Array, "rows n"]:
    """Row i becomes the combination `weights[:, i]` of the rows, in place."""
    n = basis.shape[1]
    width = min(n, _BLOCK)

    def block(basis: Array, i: Any) -> Array:
        return jax.lax.dynamic_slice_in_dim(basis, i * width, width, axis=1)

    def gram(part: Array) -> Array:
        return _matmul(part, part.T)

    rest = basis[:, n - n % width :]
    overlaps = jax.lax.fori_loop(0, n // width, lambda i, total: total + gram(block(basis, i)), gram(rest))
    # Hundreds of restarts would let rounding add up, so the rows are made orthonormal anew: a step of Newton's method.
    overlaps = _matmul(weights.T, _matmul(overlaps, weights))
    weights = 1.5 * weights - 0.5 * _matmul(weights, overlaps)

    def rotate(i: Any, basis: Array) -> Array:
        part = _matmul(weights.T, block(basis, i))
        return jax.lax.dynamic_update_slice_in_dim(basis, part, i * width, axis=1)

    basis = jax.lax.fori_loop(0, n // width, rotate, basis)
    return basis.at[:, n - n % width :].set(_matmul(weights.T, rest))


def _close(state: State, plan: Plan) -> State:
    """After a phase: lock the k most wanted pairs, ascending, and report what is verified of them."""
    ritz, searching, bounds = state.ritz, state.locked == 0, spectrum_ends(state, plan)
    exact = accurate(state, plan)
    missed = ~searching & jnp.any(beyond(state, plan)[0] & exact)
    values = jnp.append(state.values, ritz.values)
    residuals = jnp.append(state.residuals, sqrt(ritz.residuals**2 + ritz.leaks**2))
    eligible = jnp.append(jnp.broadcast_to(~searching, (plan.k,)), ritz.valid & (searching | (missed & exact)))
    wanted = rank_wanted(plan.which, values, eligible) < plan.k
    places = rank(jnp.where(wanted, values, jnp.inf))
    chosen = (places[None, :] == jnp.arange(plan.k, dtype=jnp.int32)[:, None]).astype(values.dtype)
    columns = jnp.append(jnp.eye(plan.rows, plan.k, dtype=values.dtype), ritz.coefficients, axis=1)
    weights = jnp.pad(_matmul(columns, chosen.T), ((0, 1), (0, plan.rows + 1 - plan.k)))
    values, residuals = _matmul(chosen, values), _matmul(chosen, residuals)
    complete, spent = state.filled == plan.n, state.products >= plan.most
    shown = complete | (verified(state, values, bounds, plan) & ~missed)
    over = complete | spent | ~jnp.isfinite(state.norm) | jnp.where(searching, not plan.verify, ~missed)
    return state._replace(
        basis=_rotate(state.basis, weights),
        values=values,
        residuals=residuals,
        searched=jnp.where(searching, state.products, state.searched),
        converged=shown & (residuals <= tolerance(state, plan)),
        interval=interval(state, bounds, plan),
        finished=over,
    )


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
        settled=state.finished,  # under vmap the inner loops go on for the lanes that have not finished
        phase=state.phase + 1,
    )
