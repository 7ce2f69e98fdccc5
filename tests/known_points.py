"""Functions whose critical points are known, and what `proof` says of them, judged."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flint import fmpq, fmpq_mat

from jaxopt_notes import proof


@dataclass(frozen=True)
class Case:
    """A function, its box, and every critical point in the box as (position, number of negative eigenvalues)."""

    name: str
    loss: Any
    box: tuple[Any, Any]
    points: list[tuple[np.ndarray, int]]
    close: float  # how exactly the positions are known


def _polynomial(rng, roots):
    """(coefficients of the integral of the product of (t - root), of the lowest power first); exact in doubles."""
    slope = np.array([1], object)
    for root in roots:
        slope = np.convolve(slope, np.array([1, -int(root)], object))
    degree = len(slope)
    scale = math.lcm(*range(1, degree + 1))
    return [int(c) * scale // (degree - i) for i, c in enumerate(slope)][::-1]


def _unimodular(rng, size):
    """A matrix of small integers with determinant 1, and its inverse, which has integers too."""
    matrix, inverse = np.eye(size, dtype=int), np.eye(size, dtype=int)
    for _ in range(size if size > 1 else 0):
        i, j = rng.choice(size, 2, replace=False)
        sign = int(rng.choice([-1, 1]))
        matrix[i] += sign * matrix[j]
        inverse[:, j] -= sign * inverse[:, i]
    return matrix, inverse


def separable(rng):
    """sum_i p_i((A x)_i): every p_i' is a product of linear factors with whole roots, A is unimodular."""
    size = int(rng.integers(1, 4))
    matrix, inverse = _unimodular(rng, size)
    most = {1: 6, 2: 4, 3: 3}[size]
    roots = [np.sort(rng.choice(np.arange(-4, 5), rng.integers(1, most), replace=False)) for _ in range(size)]
    signs = rng.choice([-1.0, 1.0], size)
    coefficients = [np.array(_polynomial(rng, each), float) for each in roots]

    def loss(x):
        turned = [sum(float(matrix[i, j]) * x[j] for j in range(size)) for i in range(size)]
        values = [
            sum(c * t ** (k + 1) for k, c in enumerate(each)) for t, each in zip(turned, coefficients, strict=True)
        ]
        return sum(s * v for s, v in zip(signs, values, strict=True))

    points = []
    for where in itertools.product(*(range(len(each)) for each in roots)):
        at = np.array([roots[i][k] for i, k in enumerate(where)])
        curvature = [signs[i] * np.prod([at[i] - r for r in roots[i] if r != at[i]]) for i in range(size)]
        points.append((inverse @ at, int(np.sum(np.array(curvature) < 0))))
    corners = np.array([point for point, _ in points])
    # Whole numbers on the side of a box now and then.
    margin = rng.choice([0.0, 0.37, 1.0], size)
    return Case("separable", loss, (corners.min(0) - margin, corners.max(0) + 0.3 + margin), points, 0.0)


def _index(matrix):
    """How many eigenvalues of a matrix of whole numbers are negative, exactly; None if it is singular."""
    size = len(matrix)
    polynomial = fmpq_mat(size, size, [fmpq(int(entry)) for entry in np.ravel(matrix)]).charpoly()
    if polynomial[0] == 0:
        return None
    # All roots are real, so Descartes' rule of signs is exact; of -t it counts the negative roots.
    signs = [value for k in range(size + 1) if (value := polynomial[k] * (-1) ** k) != 0]
    return sum(bool((first < 0) != (second < 0)) for first, second in itertools.pairwise(signs))


def quadratic(rng):
    """x'Ax / 2 around a dyadic point, with whole A: up to six parameters."""
    size = int(rng.integers(1, 7))
    while True:
        half = rng.integers(-3, 4, (size, size))
        matrix = half + half.T
        if (index := _index(matrix)) is not None:
            break
    centre = rng.integers(-64, 65, size) / 32
    scale = 2.0 ** int(rng.integers(-60, 60))
    rows = matrix.astype(float) * scale

    def loss(x):
        y = x - jnp.asarray(centre)
        return 0.5 * y @ (jnp.asarray(rows) @ y)

    margin = rng.choice([0.0, 0.25, 3.0])
    return Case("quadratic", loss, (centre - 2 * margin - 0.5, centre + margin), [(centre, index)], 0.0)


def waves(rng):
    """sum_i a_i cos(k_i x_i + b_i), in up to three parameters."""
    size = int(rng.integers(1, 4))
    most = {1: 6, 2: 3, 3: 2}[size]
    factor, phase = rng.integers(1, most + 1, size).astype(float), rng.uniform(-3, 3, size)
    height = rng.choice([-1.0, 1.0], size) * rng.uniform(0.5, 2, size)
    lower, upper = np.full(size, -1.1), np.full(size, 1.7)
    axes = []
    for k, b in zip(factor, phase, strict=True):
        turns = range(math.ceil((k * -1.1 + b) / math.pi), math.floor((k * 1.7 + b) / math.pi) + 1)
        axes.append([((n * math.pi - b) / k, n % 2) for n in turns])
    points = []
    for chosen in itertools.product(*axes):
        bent = [-h * (1 if even == 0 else -1) for h, (_, even) in zip(height, chosen, strict=True)]
        points.append((np.array([at for at, _ in chosen]), int(np.sum(np.array(bent) < 0))))

    def loss(x):
        return jnp.sum(jnp.asarray(height) * jnp.cos(jnp.asarray(factor) * x + jnp.asarray(phase)))

    return Case("waves", loss, (lower, upper), points, 1e-13)


def hidden(rng):
    """A separable or quadratic function behind a function that grows, exp or tanh, and of a small or large unit."""
    case = (quadratic if rng.random() < 0.5 else separable)(rng)
    lower, upper = (np.asarray(side, float) for side in case.box)
    with np.errstate(all="ignore"):
        size = max(abs(float(case.loss(np.asarray(x)))) for x in (lower, upper, *(p for p, _ in case.points))) or 1.0
    scale, unit = 2.0 ** -math.ceil(math.log2(size)), 2.0 ** int(rng.integers(-40, 40))
    outer = [jnp.exp, jnp.tanh, lambda v: v + v**3, lambda v: jnp.log(4 + v)][rng.integers(0, 4)]
    points = [(point * unit, index) for point, index in case.points]
    return Case(
        "hidden", lambda x: outer(0.25 * scale * case.loss(x / unit)), (lower * unit, upper * unit), points, 0.0
    )


KINDS = (separable, quadratic, waves, hidden)


def random_case(seed):
    """One of the kinds, in turn."""
    return KINDS[seed % len(KINDS)](np.random.default_rng([7, seed]))


def judged(case, boxes=3_000):
    """(what is wrong in what `all_critical_points` and `prove` say, whether the list was complete)."""
    reasons = []
    found = proof.all_critical_points(case.loss, case.box, boxes=boxes, progress=False)
    lower, upper = (np.asarray(side, float) for side in case.box)
    unit = np.abs([lower, upper]).max()
    seen = [0] * len(case.points)
    for certificate in found:
        reach = certificate.radius + case.close * unit
        matches = [
            i
            for i, (point, _) in enumerate(case.points)
            if (np.abs(certificate.point - point) <= reach * (1 + 1e-15)).all()
        ]
        if len(matches) != 1:
            reasons.append(f"{len(matches)} points known where one is proved, {certificate.point}")
            continue
        seen[matches[0]] += 1
        if certificate.index != case.points[matches[0]][1]:
            reasons.append(f"index {certificate.index} at {certificate.point}")
        others = [
            point
            for i, (point, _) in enumerate(case.points)
            if i != matches[0]
            and np.abs(point - certificate.point).max() <= certificate.alone_within - case.close * unit
        ]
        if others:
            reasons.append(f"{others} within {certificate.alone_within} of {certificate.point}")
    if max(seen, default=0) > 1:
        reasons.append(f"a point was listed twice: {seen}")
    if found.complete and min(seen, default=1) == 0:
        reasons.append(f"complete without {[p for (p, _), n in zip(case.points, seen, strict=True) if not n]}")
    reasons += _by_prove(case)
    return reasons, found.complete


def _by_prove(case):
    """`prove` at a known point, and between points."""
    if not case.points:
        return []
    point, index = case.points[0]
    unit = np.abs(case.box).max()
    at = proof.prove(case.loss, np.asarray(point, float))
    aside = proof.prove(case.loss, np.asarray(point, float) + 0.01 * unit, within=1e-6 * unit)
    reasons = []
    if at and (at.index != index or np.abs(at.point - point).max() > at.radius + case.close * unit):
        reasons.append(f"prove: {at} at {point}")
    if at.kind == "not critical":
        reasons.append(f"prove: not critical at {point}")
    near = [p for p, _ in case.points if np.abs(p - (point + 0.01 * unit)).max() <= aside.radius * (1 - 1e-9)]
    if aside.kind == "not critical" and near:
        reasons.append(f"prove: not critical within {aside.radius} of {point + 0.01 * unit}, where {near} are")
    return reasons
