"""`check_certificate`: what a file states, proved again from the file alone."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from . import _arb
from ._certificate import ARB, FLOAT64, FORMAT, certificate_of
from ._certify import proofs
from ._complete import LIST, searched_again
from ._interval import Interval, up
from ._krawczyk import krawczyk
from ._stored import doubles, from_json, read

_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


def check_certificate(path: str | PathLike[str]) -> str:
    """Prove the statement of a saved certificate again, from the file alone.

    The file holds the function as a list of operations. Its derivatives, Krawczyk's test and the signs of the
    eigenvalues are computed anew, and must agree with the ranges that the file states. For a list of all critical
    points in a box, the whole search is done anew. JAX is not involved.

    Arguments:
        path: of a file that `Certificate.save` or `AllCriticalPoints.save` wrote.

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
    content = read(Path(path), (FORMAT, LIST))
    return _point(Path(path), content) if content["format"] == FORMAT else _list(Path(path), content)


def _point(path: Path, content: dict[str, Any]) -> str:
    try:
        lower, upper, point, loss = (doubles(content[name]) for name in ("lower", "upper", "point", "loss"))
        stated = np.array([doubles(pair) for pair in content["eigenvalues"]])
        radius, function = float.fromhex(content["radius"]), from_json(content["function"])
        sizes = {len(lower), len(upper), len(point), function.size}
        inside = (lower <= point).all() and (point <= upper).all() and np.isfinite([lower, upper]).all()
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not a certificate: {error}") from error
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
            raise ValueError(f"{path}: what the file states about the {name} is not what is proved")
    return str(found)


def _list(path: Path, content: dict[str, Any]) -> str:
    """The same for a list of all critical points."""
    try:
        function = from_json(content["function"])
        lower, upper, periods = (doubles(content[name]) for name in ("lower", "upper", "periods"))
        points = np.array([doubles(point) for point in content["points"]]).reshape(-1, function.size)
        radius, index = doubles(content["radius"]), np.array(content["index"], int)
        finest, boxes, complete = float.fromhex(content["finest"]), int(content["boxes"]), content["complete"]
        known = len(points) == len(radius) == len(index) and len(lower) == len(upper) == len(periods) == function.size
    except _UNREADABLE as error:
        raise ValueError(f"{path} is not a certificate: {error}") from error
    if not known or not np.isfinite([lower, upper]).all() or not (lower <= upper).all():
        raise ValueError(f"{path}: the points and the box must have the {function.size} parameters of the function")
    found = searched_again(function, lower, upper, periods, finest, boxes)
    if found.complete != complete or len(found) != len(points):
        raise ValueError(f"{path} states something other than what is proved: {found}")
    again = np.reshape(found.points, points.shape)
    for point, reach, number in zip(points, radius, index, strict=True):
        same = (np.abs(again - point).max(1) <= reach + found.radius) & (found.index == number)
        if not same.any():
            raise ValueError(f"{path}: no critical point of index {number} is at {point.tolist()}")
    return str(found)


def overlap(stated: np.ndarray, found: np.ndarray) -> bool:
    """Whether ranges of the same numbers, each proved, have numbers in common."""
    if stated.shape != found.shape:
        return False
    return bool(((stated[:, 0] <= found[:, 1]) & (found[:, 0] <= stated[:, 1])).all())
