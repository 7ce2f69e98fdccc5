"""Products and eigenvalues of matrices of intervals, in BLAS: midpoint and radius, with a bound on all rounding.

A product of n terms added in any order, with or without fused multiply-add, is off by at most gamma |A| |B| with
gamma = n u / (1 - n u), u = 2^-53 (Higham, 2002, section 3.5). numpy's `matmul` is of that kind: no BLAS that numpy
uses multiplies by Strassen's method. Here gamma is taken twice, which also covers the rounding of the radii, and what
may be flushed to zero is added (Rump, 1999).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._interval import FLUSHED, Interval, down, up

_U = 2.0**-53


class Ball(NamedTuple):
    """Arrays of middle +- radius."""

    middle: np.ndarray
    radius: np.ndarray

    def magnitude(self) -> np.ndarray:
        """The largest |x|."""
        return up(np.abs(self.middle) + self.radius)

    def interval(self) -> Interval:
        """Its two sides."""
        return Interval(down(self.middle - self.radius), up(self.middle + self.radius))


def ball(x: Interval) -> Ball:
    """The ball around an interval; NaN where that is not bounded."""
    with np.errstate(invalid="ignore"):
        middle = 0.5 * x.lower + 0.5 * x.upper
        radius = np.maximum(up(x.upper - middle), up(middle - x.lower))
    bounded = np.isfinite(x.lower) & np.isfinite(x.upper)
    return Ball(np.where(bounded, middle, np.nan), np.where(bounded, radius, np.nan))


def product(known: np.ndarray, x: Ball) -> Ball:
    """A known matrix times a matrix, or several, of balls."""
    gamma, lost = 2 * (known.shape[-1] + 3) * _U, (known.shape[-1] + 1) * FLUSHED
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = np.abs(known)
        radius = sizes @ (x.radius + gamma * np.abs(x.middle) + FLUSHED)
        return Ball(known @ x.middle, up(radius * (1 + 2 * gamma) + lost))


def eigenvalues(matrices: Interval) -> Interval:
    """Bounds of the eigenvalues, ascending, of every symmetric matrix in `matrices` of shape (m, n, n); (m, n).

    With approximate eigenvectors V and values d, H = V D V' + E and V'V = I + F. By Ostrowski the k-th eigenvalue of
    V D V' is d_k times a number within |F| of 1, and by Weyl that of H is within |E| of it. Norms are those of rows.
    """
    each = ball(matrices)
    known = np.isfinite(each.middle).all((1, 2))
    size = matrices.shape[-1]
    middle = np.where(known[:, None, None], each.middle, np.eye(size))
    values, vectors = np.linalg.eigh(middle)
    turned = np.swapaxes(vectors, 1, 2)
    skew = product(turned, Ball(vectors, np.zeros_like(vectors)))
    skew = Ball(skew.middle - np.eye(size), up(skew.radius + 2 * _U * (1 + np.abs(skew.middle))))
    scaled = vectors * values[:, None, :]  # the rounding of this product is u |V| |D|
    model = product(vectors, Ball(np.swapaxes(scaled, 1, 2), up(2 * _U * np.abs(np.swapaxes(scaled, 1, 2)))))
    left = Ball(
        middle - model.middle, up(each.radius + model.radius + 4 * _U * (np.abs(middle) + np.abs(model.middle)))
    )
    skewness, rest = (_row_norm(part) for part in (skew, left))
    around = up(np.abs(values) * skewness[:, None] + rest[:, None])
    known &= skewness < 0.5
    bounds = Interval(down(values - around), up(values + around))
    unknown = ~known[:, None] | ~np.isfinite(around)
    return Interval(np.where(unknown, -np.inf, bounds.lower), np.where(unknown, np.inf, bounds.upper))


def _row_norm(x: Ball) -> np.ndarray:
    """The largest sum of a row, a bound of the spectral norm of a symmetric matrix."""
    count = x.middle.shape[-1]
    return up(x.magnitude().sum(-1) * (1 + 2 * count * _U)).max(-1)
