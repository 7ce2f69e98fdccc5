"""`Certificate`: what is proved of a point, in words, in a file, and checked again from that file alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from decimal import ROUND_CEILING as CEILING
from decimal import ROUND_FLOOR as FLOOR
from decimal import Context
from os import PathLike
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
from jaxtyping import Float, PyTree

from .. import _files
from . import _arb
from ._certify import Proof, proofs
from ._function import Function
from ._interval import Interval, down, up
from ._krawczyk import krawczyk
from ._stored import as_json, from_json

FORMAT: Final = "jaxopt-notes certificate 1"
FLOAT64: Final = "intervals of doubles, rounded outward (IEEE 754), with elementary functions of proved error"
ARB: Final = "Arb, 128 bits, and intervals of doubles"
FAILED: Final = "nothing"


@jax.tree_util.register_static
@dataclass(frozen=True, eq=False)
class Certificate:
    """What is proved of a critical point; `bool` is whether it is. `print` says it in words.

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
        where = f"there is exactly one critical point within {alone} of this point, and it lies within {near}"
        if float(near) > float(alone):
            where = f"there is a critical point within {near} of this point, and no other within {alone}"
        return "\n".join(
            [
                f"{self._name()}, proved: {where}.",
                f"Eigenvalues there: {_ranges(self.eigenvalues)}. Loss there: {_range(*self.loss)}.",
                f"Computed with {self.arithmetic}.",
            ]
        )

    def _name(self) -> str:
        return f"saddle of index {self.index}" if self.kind == "saddle" else f"strict local {self.kind}"

    def _repr_html_(self) -> str:
        """The certificate for a notebook: the first line in bold, the others below it."""
        from html import escape

        first, *others = str(self).splitlines()
        return f"<p><b>{escape(first)}</b></p>" + "".join(f"<p>{escape(line)}</p>" for line in others)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the certificate and the function that it is about, as JSON that `check_certificate` proves again.

        Raises:
            ValueError: if nothing was proved.
        """
        if not self.proved or self._function is None or self._region is None:
            raise ValueError(f"only what was proved can be saved: {self}")
        content = {
            "format": FORMAT,
            "statement": str(self),
            "kind": self.kind,
            "index": self.index,
            "point": _hexadecimal(flat_of(self.point)),
            "lower": _hexadecimal(self._region[0]),
            "upper": _hexadecimal(self._region[1]),
            "radius": self.radius.hex(),
            "eigenvalues": [_hexadecimal(pair) for pair in self.eigenvalues],
            "loss": _hexadecimal(self.loss),
            "function": as_json(self._function),
        }
        content["sha256"] = digest(content)
        text = json.dumps(content, indent=1)
        _files.write_whole(Path(path), lambda temporary: temporary.write_text(text))


def _shown(number: float, digits: int, rounding: str) -> str:
    """A number in so many digits, rounded to the side on which what is said of it stays true."""
    return f"{Context(prec=digits, rounding=rounding).create_decimal(number).normalize():g}"


def _range(lower: float, upper: float) -> str:
    """[a, b], rounded outward, with as many digits as tell the two apart, and no more than a double holds."""
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


def _hexadecimal(numbers: Any) -> list[str]:
    return [float(number).hex() for number in np.ravel(numbers)]


def digest(content: dict[str, Any]) -> str:
    """Of everything else in the file."""
    text = json.dumps({name: value for name, value in content.items() if name != "sha256"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check_certificate(path: str | PathLike[str]) -> str:
    """Prove the statement of a saved certificate again, from the file alone.

    The file holds the function as a list of operations. Its derivatives, Krawczyk's test and the signs of the
    eigenvalues are computed anew, and must agree with the ranges that the file states. JAX is not involved.

    Arguments:
        path: of a file that `Certificate.save` wrote.

    Returns:
        The statement, in the words of what is proved now and not of the file.

    Raises:
        ValueError: naming what does not hold, or what in the file was changed.

    Example:
        >>> import tempfile, pathlib
        >>> import jax.numpy as jnp
        >>> import jaxopt_notes as jon
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "bowl.json"
        >>> jon.prove(lambda x: jnp.sum(x**2), jnp.zeros(2)).save(path)
        >>> jon.proof.check_certificate(path).splitlines()[0][:29]
        'strict local minimum, proved:'
    """
    content = _content(Path(path))
    try:
        lower, upper, point, loss = (_doubles(content[name]) for name in ("lower", "upper", "point", "loss"))
        stated = np.array([_doubles(pair) for pair in content["eigenvalues"]])
        radius, function = float.fromhex(content["radius"]), from_json(content["function"])
        sizes = {len(lower), len(upper), len(point), function.size}
        inside = (lower <= point).all() and (point <= upper).all() and np.isfinite([lower, upper]).all()
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{path} is no certificate: {error}") from error
    if len(sizes) > 1 or not function.size or not inside:
        raise ValueError(f"{path}: the point and the box must have the {function.size} parameters of the function")
    with np.errstate(all="ignore"):
        box = Interval(lower[None], upper[None])
        tested = krawczyk(function, box)
        if not tested.alone[0]:
            tested = krawczyk(function, box, point[None])
        if not tested.alone[0]:
            raise ValueError(f"{path}: the box is not shown to hold exactly one critical point")
        proof = proofs(function, box, tested.image)
        arithmetic = ARB if _arb.agrees(function, proof, 0) else FLOAT64
    if not proof.defined[0] or proof.index[0] < 0:
        raise ValueError(f"{path}: the function is not shown to be smooth all over the box, with a known index")
    beyond = up(np.maximum(proof.upper_of_zero - point, point - proof.lower_of_zero)).max(1)
    found = certificate_of(function, point, proof._replace(point=point[None], radius=beyond), 0, 0.0, arithmetic)
    for name, holds in {
        "index": content.get("index") == found.index,
        "kind": content.get("kind") == found.kind,
        "eigenvalues": overlap(stated, found.eigenvalues),
        "loss": overlap(loss[None], np.array([found.loss])),
        "radius": found.radius <= 2 * radius,
    }.items():
        if not holds:
            raise ValueError(f"{path}: what the file states of the {name} is not what is proved")
    return str(found)


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


def overlap(stated: np.ndarray, found: np.ndarray) -> bool:
    """Whether ranges of the same numbers, each proved, have numbers in common."""
    if stated.shape != found.shape:
        return False
    return bool(((stated[:, 0] <= found[:, 1]) & (found[:, 0] <= stated[:, 1])).all())


def kind_of(index: int, size: int) -> str:
    """The name of the kind of a point with that many negative eigenvalues."""
    return {0: "minimum", size: "maximum"}.get(index, "saddle") if index >= 0 else "undecided"


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no certificate: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no certificate of this version ({FORMAT!r})")
    if content.get("sha256") != digest(content):
        raise ValueError(f"{path} was changed after it was written: its digest does not fit")
    return content


def _doubles(numbers: list[str]) -> np.ndarray:
    return np.array([float.fromhex(number) for number in numbers])
