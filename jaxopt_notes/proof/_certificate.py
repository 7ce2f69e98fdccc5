"""`Certificate`: what is proved of a point, in words, in a file, and checked again from that file alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_CEILING as CEILING
from decimal import ROUND_FLOOR as FLOOR
from decimal import Context
from os import PathLike
from pathlib import Path
from typing import Final

import jax
import numpy as np
from jaxtyping import Float, PyTree

from .._shown import readable
from ._certify import Proof
from ._function import Function
from ._interval import down
from ._stored import as_json, hexadecimal, write

FORMAT: Final = "jaxopt-notes certificate 1"
FLOAT64: Final = "intervals of doubles, rounded outward (IEEE 754), with elementary functions of proved error"
ARB: Final = "Arb, 128 bits, and intervals of doubles"
FAILED: Final = "nothing"


@readable
@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class Certificate:
    """What is proved of a critical point; `bool` is whether it is. `print` shows it in words.

    The statement is about the real function that the traced loss denotes, with the doubles that it holds: rounding of
    the loss itself plays no part. Derivatives are taken of that function; no rule for a custom derivative is used.

    Attributes:
        proved: whether there is exactly one critical point close to `point` and its index is known.
        kind: "minimum", "maximum", "saddle"; "not critical" where it is proved that no critical point is within
            `radius`; otherwise "undecided".
        index: number of negative eigenvalues of the Hessian at the critical point; None where that is not proved.
        point: the parameters, doubles, close to the critical point.
        radius: the critical point is at most this far from `point` in every parameter.
        alone_within: and there is no other within this distance in every parameter.
        eigenvalues: (lower, upper) of each eigenvalue of the Hessian at the critical point, ascending.
        loss: (lower, upper) of the loss there.
        moved: how far `point` is from the point given, in the largest parameter.
        reason: why it is not proved; empty if it is.
        box: (lower, upper) of the box that stopped the proof, pytrees; None if there is none.
        arithmetic: with what it was computed.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxopt_notes as jon
        >>> certificate = jon.prove(lambda x: x[0] ** 2 - x[1] ** 2, jnp.array([1e-8, 0.0]))
        >>> bool(certificate), certificate.kind, certificate.index
        (True, 'saddle', 1)
    """

    proved: bool
    kind: str
    index: int | None
    point: PyTree
    radius: float
    alone_within: float
    eigenvalues: Float[np.ndarray, "n 2"]
    loss: tuple[float, float]
    moved: float
    reason: str
    box: tuple[PyTree, PyTree] | None
    arithmetic: str
    _function: Function | None = field(repr=False, default=None)
    _region: tuple[np.ndarray, np.ndarray] | None = field(repr=False, default=None)

    def __bool__(self) -> bool:
        return self.proved

    def __str__(self) -> str:
        if not self.proved:
            near = f" within {_shown(self.radius, 1, FLOOR)} of this point" if self.kind == "not critical" else ""
            return f"{self.kind}{near}: {self.reason}."
        near, alone = _shown(self.radius, 1, CEILING), _shown(self.alone_within, 2, FLOOR)
        point = "certificate.point" if self.moved else "this point"
        where = [f"there is exactly one critical point within {alone} of {point}.", f"Its distance: at most {near}."]
        if float(near) > float(alone):
            where = [f"there is a critical point within {near} of {point}, and no other within {alone}."]
        if self.moved:
            where.append(f"certificate.point is {_shown(self.moved, 1, CEILING)} from the point given.")
        return "\n".join(
            [
                f"{self._name()}, proved: {where[0]}",
                *where[1:],
                f"Eigenvalues there: {_ranges(self.eigenvalues)}.",
                f"Loss there: {_range(*self.loss)}.",
                f"Computed with {self.arithmetic}.",
            ]
        )

    def _name(self) -> str:
        return f"saddle of index {self.index}" if self.kind == "saddle" else f"strict local {self.kind}"

    def save(self, path: str | PathLike[str]) -> None:
        """Write the certificate and the function that it is about, as JSON that `check_certificate` proves again.

        Raises:
            ValueError: if nothing was proved.
        """
        if not self.proved or self._function is None or self._region is None:
            raise ValueError(f"only what was proved can be saved: {self}")
        content = {
            "statement": str(self),
            "kind": self.kind,
            "index": self.index,
            "point": hexadecimal(flat_of(self.point)),
            "lower": hexadecimal(self._region[0]),
            "upper": hexadecimal(self._region[1]),
            "radius": self.radius.hex(),
            "eigenvalues": [hexadecimal(pair) for pair in self.eigenvalues],
            "loss": hexadecimal(self.loss),
            "function": as_json(self._function),
        }
        write(Path(path), FORMAT, content)


def _shown(number: float, digits: int, rounding: str) -> str:
    """A number in this many digits, rounded to the side on which the statement stays true."""
    return f"{Context(prec=digits, rounding=rounding).create_decimal(number).normalize():g}"


def _range(lower: float, upper: float) -> str:
    """[a, b], rounded outward, with as many digits as distinguish the two, and no more than a double holds."""
    if not (np.isfinite(lower) and np.isfinite(upper)):
        return "not bounded"
    for digits in range(4, 18):
        low, high = _shown(lower, digits, FLOOR), _shown(upper, digits, CEILING)
        if upper - lower >= 0.2 * (float(high) - float(low)):
            break
    return f"[{low}, {high}]"


def _ranges(bounds: np.ndarray) -> str:
    if len(bounds) <= 6:
        return ", ".join(_range(*pair) for pair in bounds)
    return f"{_range(*bounds[0])}, {_range(*bounds[1])}, ..., {_range(*bounds[-1])}, {len(bounds)} of them"


def flat_of(tree: PyTree) -> np.ndarray:
    """All numbers of a pytree of arrays, one after the other."""
    leaves = [np.asarray(leaf, float).ravel() for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves) if leaves else np.zeros(0)


def certificate_of(
    function: Function, point: PyTree, proof: Proof, row: int, moved: float, arithmetic: str
) -> Certificate:
    """The certificate that row `row` of a proof is worth."""
    middle, lower, upper = proof.point[row], proof.lower[row], proof.upper[row]
    index = int(proof.index[row])
    return Certificate(
        proved=True,
        kind=kind_of(index, function.size),
        index=index,
        point=point,
        radius=float(proof.radius[row]),
        alone_within=max(0.0, float(np.minimum(down(upper - middle), down(middle - lower)).min())),
        eigenvalues=proof.bounds[row],
        loss=(float(proof.loss[row, 0]), float(proof.loss[row, 1])),
        moved=moved,
        reason="",
        box=None,
        arithmetic=arithmetic,
        _function=function,
        _region=(lower, upper),
    )


def kind_of(index: int, size: int) -> str:
    """The name of the kind of a point with that many negative eigenvalues."""
    return {0: "minimum", size: "maximum"}.get(index, "saddle") if index >= 0 else "undecided"
