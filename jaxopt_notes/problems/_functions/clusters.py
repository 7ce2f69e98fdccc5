"""Clusters of atoms that attract and repel each other."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ... import _checks
from .._facts import Facts, KnownPoint, box, known_point
from .._problem import Problem
from . import tables


def lennard_jones(atoms: int = 7) -> Problem:
    """A cluster of atoms with the Lennard-Jones energy, in units of the well depth and diameter of a pair.

        f(x) = 4 sum_{i<j} r_ij^-12 - r_ij^-6,     r_ij = |x_i - x_j|

    Tabulated for 2 to 7 and 13 atoms: the global minimum, centred at 0, with its energy and spectrum, and for 3 atoms
    the linear saddle. The energy is infinite where two atoms meet and tends to 0 as they part, so it is not coercive;
    it stays the same when the cluster moves or turns, so the Hessian at a critical point has six zero eigenvalues,
    five if all atoms lie on a line. `null_directions` are these three shifts and three turns.

    Runs begin at the points of a cubic lattice of spacing 1.2, jittered by 0.1 with the key.

    Arguments:
        atoms: n, at least 2. Parameters have shape (n, 3).

    Returns:
        A `Problem` over arrays of shape (atoms, 3), with its `Facts`.

    Raises:
        TypeError, ValueError: `atoms` is not an integer of at least 2.

    Example:
        >>> import jaxopt_notes as jon
        >>> round(jon.problems.lennard_jones(atoms=13).facts.minima[0].value, 6)
        -44.326801

    Source: Lennard-Jones, 1924; energies in the Cambridge Cluster Database, Wales et al.
    """
    atoms = _checks.count("atoms", atoms, low=2)

    def loss(x: Array) -> Array:
        apart = x[:, None] - x[None, :]
        # An atom is at distance 1 from itself, where the energy is 0.
        inverse = 1 / (jnp.sum(apart**2, axis=-1) + jnp.eye(atoms, dtype=x.dtype))
        return 2 * jnp.sum(inverse**6 - inverse**3)

    side = math.ceil(atoms ** (1 / 3))

    def init(key: Array) -> Array:
        lattice = np.indices((side,) * 3).reshape(3, -1).T[:atoms] - (side - 1) / 2
        return 1.2 * jnp.asarray(lattice, float) + 0.1 * jax.random.normal(key, (atoms, 3))

    facts = Facts(
        domain=box(-0.6 * side - 0.6, 0.6 * side + 0.6, 3 * atoms),
        critical_points=_known(atoms),
        complete=False,
        formula=r"$4 \sum_{i<j} r_{ij}^{-12} - r_{ij}^{-6}$",
        levels="log",
        source="Cambridge Cluster Database, Wales et al.",
    )
    return Problem(loss, init, name="lennard_jones", facts=facts, null_directions=_rigid_motions)


def _rigid_motions(x: Float[Array, "n 3"]) -> Float[Array, "6 n 3"]:
    """The three shifts, and the three turns about the centre."""
    axes = jnp.eye(3, dtype=x.dtype)
    shifts = jnp.broadcast_to(axes[:, None], (3, *x.shape))
    turns = jnp.cross(shifts, jnp.broadcast_to((x - jnp.mean(x, axis=0, keepdims=True))[None], (3, *x.shape)))
    return jnp.concatenate([shifts, turns])


def _known(atoms: int) -> tuple[KnownPoint, ...]:
    """The global minimum, and for three atoms also the linear saddle, if tabulated."""
    rows = [(_SHAPES[atoms], tables.LENNARD_JONES[atoms], "minimum")] if atoms in _SHAPES else []
    if atoms == 3:
        rows.append((np.array([[-1.0, 0, 0], [0, 0, 0], [1, 0, 0]]), tables.LENNARD_JONES_LINE, "saddle"))
    points = []
    for shape, (value, spectrum), kind in rows:
        eigenvalues = [number for number, times in spectrum for _ in range(times)]
        zeros = [0.0] * (3 * atoms - len(eigenvalues))
        points.append(known_point(_scaled(shape), value, eigenvalues + zeros, kind))
    return tuple(points)


def _scaled(shape: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """The shape, scaled to the lowest energy: of 4 (A t^-12 - B t^-6) that is at t^6 = 2 A/B."""
    first, second = np.triu_indices(len(shape), 1)
    squared = np.sum((shape[first] - shape[second]) ** 2, axis=1)
    return shape * (2 * np.sum(squared**-6) / np.sum(squared**-3)) ** (1 / 6)


def _bipyramid(sides: int, height: float) -> Float[np.ndarray, "n 3"]:
    """A regular polygon of radius 1, and an apex at this height on either side."""
    angles = 2 * np.pi * np.arange(sides) / sides
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(sides)], axis=1)
    return np.concatenate([ring, [[0, 0, height], [0, 0, -height]]])


def _icosahedron() -> Float[np.ndarray, "13 3"]:
    """The twelve corners around an atom at the centre."""
    golden = (1 + 5**0.5) / 2
    corners = np.array([[0, a, b * golden] for a in (-1, 1) for b in (-1, 1)])
    return np.concatenate([np.zeros((1, 3)), *(np.roll(corners, k, axis=1) for k in range(3))])


_SHAPES = {
    2: np.array([[-1.0, 0, 0], [1, 0, 0]]),
    3: _bipyramid(3, 0)[:3],
    4: np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
    5: _bipyramid(3, tables.LENNARD_JONES_HEIGHTS[5]),
    6: _bipyramid(4, 1),
    7: _bipyramid(5, tables.LENNARD_JONES_HEIGHTS[7]),
    13: _icosahedron(),
}
