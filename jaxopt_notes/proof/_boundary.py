"""The degree of a gradient on the boundary of a box: what the indices of the critical points inside add up to."""

from __future__ import annotations

import numpy as np

from ._interval import Interval
from ._krawczyk import Differentiable

_PIECES = 1 << 16  # of the boundary, at most
_ROUNDS = 40


def boundary_index_sum(function: Differentiable, lower: np.ndarray, upper: np.ndarray) -> int | None:
    """The degree of the gradient on the boundary of the box; None where it is not proved.

    Where the function is smooth inside, it is the sum of (-1)^index over the critical points, if none is degenerate.

    With one parameter the signs of the slope at both ends decide. With two, the boundary is cut until on every piece
    one component of the gradient has a sign. Those signs say to which of four half-planes the gradient points, so it
    turns by less than a full turn from piece to piece, and the number of turns is counted exactly.
    """
    if len(lower) == 1:
        signs = _signs(function, np.array([lower, upper]), np.array([lower, upper]))[:, 0]
        return int(signs[1] - signs[0]) // 2 if (signs != 0).all() else None
    return _turns(function, lower, upper) if len(lower) == 2 else None


def _signs(function: Differentiable, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The proved signs of the gradient's components on boxes; 0 where none is."""
    slope = function.slope_on(Interval(lower, upper))
    return np.where(slope.lower > 0, 1, np.where(slope.upper < 0, -1, 0))


def _turns(function: Differentiable, lower: np.ndarray, upper: np.ndarray) -> int | None:
    corners = np.array([lower, [upper[0], lower[1]], upper, [lower[0], upper[1]], lower])
    ends = np.linspace(0.0, 4.0, 65)  # positions along the boundary, one unit for each side
    signs = np.zeros((64, 2), int)
    settled = np.zeros(64, bool)
    for _ in range(_ROUNDS):
        fresh = ~settled
        first, last = _at(ends[:-1][fresh], corners), _at(ends[1:][fresh], corners, end=True)
        signs[fresh] = _signs(function, np.minimum(first, last), np.maximum(first, last))
        settled[fresh] = (signs[fresh] != 0).any(1)
        if settled.all():
            return _winding(signs)
        if len(settled) > _PIECES:
            return None
        cut = np.flatnonzero(~settled)
        ends = np.insert(ends, cut + 1, 0.5 * (ends[cut] + ends[cut + 1]))
        signs = np.insert(signs, cut + 1, 0, axis=0)
        settled = np.insert(settled, cut + 1, False)
    return None


def _at(position: np.ndarray, corners: np.ndarray, end: bool = False) -> np.ndarray:
    """Points of the boundary; the end of a side belongs to that side, not to the next."""
    side = np.clip(np.ceil(position).astype(int) - 1 if end else np.floor(position).astype(int), 0, 3)
    share = (position - side)[:, None]
    exact = np.where(share == 0, corners[side], corners[side + 1])
    return np.where((share == 0) | (share == 1), exact, corners[side] + share * (corners[side + 1] - corners[side]))


def _winding(signs: np.ndarray) -> int | None:
    """How often a closed curve goes around 0, from the half-planes that its pieces lie in.

    A piece with sign s in component k lies in the half-plane around the angle of s e_k. Two pieces that follow each
    other share a point, so their half-planes cannot be opposite, and the turn between them is 0 or a quarter.
    """
    first = signs[:, 0] != 0
    quarter = np.where(first, np.where(signs[:, 0] > 0, 0, 2), np.where(signs[:, 1] > 0, 1, 3))
    turn = (np.roll(quarter, -1) - quarter + 1) % 4 - 1
    total = int(turn.sum())
    return None if (turn == 2).any() or total % 4 else total // 4
