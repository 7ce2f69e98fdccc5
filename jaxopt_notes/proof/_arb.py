"""Krawczyk's test and the signs of eigenvalues in Arb's balls: other arithmetic, other elementary functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ._certify import Proof
from ._function import Function
from ._interval import Interval
from ._krawczyk import approximate_inverse
from ._matrices import ball
from ._special import ball_of, evaluate, flint, has_flint, precision

BITS = 128
MOST = 40  # parameters for which this is tried


class Confirmed(NamedTuple):
    """What Arb proves: one zero in the box, and how many eigenvalues are negative; None where signs are not proved."""

    alone: bool
    index: int | None  # type: ignore[assignment]


def agrees(function: Function, proof: Proof, row: int) -> bool:
    """Whether Arb is installed, the function is small, and Arb proves the same of row `row` of a proof.

    On a box of the size of rounding: over a wide one, balls bound less closely than intervals do.
    """
    if function.size > MOST or not has_flint():
        return False
    point, reach = proof.point[row], 16 * (proof.upper_of_zero[row] - proof.lower_of_zero[row])
    near = np.maximum(proof.lower[row], point - reach), np.minimum(proof.upper[row], point + reach)
    again = confirmed(function, *near, point)
    return again.alone and again.index == int(proof.index[row])


def confirmed(function: Function, lower: np.ndarray, upper: np.ndarray, point: np.ndarray) -> Confirmed:
    """Krawczyk's test on [lower, upper] around `point`, and the inertia of the Hessian over the box.

    V'HV has as many negative eigenvalues as H for every invertible V (Sylvester). With approximate eigenvectors it is
    nearly diagonal, and Gershgorin's discs show the signs.
    """
    size = function.size
    middle = ball(function.curvature_on(Interval(point[None]))).middle
    if not np.isfinite(middle).all():
        return Confirmed(False, None)
    inverse, vectors = approximate_inverse(middle)[0], np.linalg.eigh(middle[0])[1]
    with precision(BITS):
        matrix, arb = flint().arb_mat, flint().arb
        box = [ball_of(low, high) for low, high in zip(lower, upper, strict=True)]
        centre = [arb(x) for x in point]
        slope = evaluate(function.tape, function.slope, centre)
        half = iter(evaluate(function.tape, [node for row in function.curvature for node in row], box))
        rows: list[list[Any]] = [[None] * size for _ in range(size)]
        for i in range(size):
            for j in range(i + 1):
                rows[i][j] = rows[j][i] = next(half)
        hessian, known = matrix(rows), matrix(inverse.tolist())
        unit = matrix(np.eye(size).tolist())
        reach = matrix([[x - c] for x, c in zip(box, centre, strict=True)])
        step = known * matrix([[g] for g in slope])
        image = matrix([[c] for c in centre]) - step + (unit - known * hessian) * reach
        alone = all(image[i, 0].lower() > arb(lower[i]) and image[i, 0].upper() < arb(upper[i]) for i in range(size))
        basis = matrix(vectors.tolist())
        signs = _signs(basis.transpose() * hessian * basis)
        invertible = all(sign > 0 for sign in _signs(basis.transpose() * basis))
    index = sum(sign < 0 for sign in signs) if invertible and all(signs) else None
    return Confirmed(bool(alone), index)


def _signs(matrix: Any) -> Sequence[int]:
    """The signs of Gershgorin's discs; 0 for one that holds 0."""
    size, signs = matrix.nrows(), []
    for i in range(size):
        others = sum((abs(matrix[i, j]).upper() for j in range(size) if j != i), flint().arb(0))
        middle = matrix[i, i]
        signs.append(1 if middle > others else -1 if -middle > others else 0)
    return signs
