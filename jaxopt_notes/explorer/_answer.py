"""From a request to a reply: what the engine found, as JSON with arrays in base64, and in words."""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from .. import _checks
from .._hoist import Program
from ..curvature import Kind
from ..minimize import Status
from ._code import as_python
from ._controls import described
from ._engine import ROOMS, Descent, descend
from ._lessons import described as lessons
from ._presets import PRESETS
from ._proofs import prove_ends, prove_window
from ._request import Request, decoded, parse
from ._scenes import Scene, Scenes
from ._survey import HEIGHT, WIDTH, survey


def answer(request: Request) -> dict[str, Any]:
    """Do what a request asks for.

    Arguments:
        request: from `parse`.

    Returns:
        A reply that `json.dumps(..., allow_nan=False)` takes; it repeats kind and sequence of the request.

    Example:
        >>> from jaxopt_notes.explorer._request import parse
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> asked = {"function": "parabola", "start": [1.0], "optimizers": {"newton": {}}, "steps": 1}
        >>> answer(parse(asked, catalogue()))["runs"]["newton"]["kind"]
        'minimum'
    """
    head = {"kind": request.kind, "sequence": request.sequence, "function": request.scene.name}
    if request.kind == "survey":
        return head | _surveyed(request)
    if request.kind == "python":
        return head | {"code": as_python(request)}
    found = descend(request.scene, request.optimizers, request.start, request.settings)
    if request.kind == "proof":
        return head | _proved(request, found)
    value, gradient = slope(request.scene, request.start)
    return head | {
        "start": request.start.tolist(),
        "value": _finite(value),
        "gradient": [_finite(entry) for entry in gradient],
        "runs": {name: _described(descent) for name, descent in found.items()},
    }


def reply_to(message: Any, scenes: Scenes) -> dict[str, Any]:
    """The reply to a message of a page: what is wrong with it, or with the function, becomes its `error`.

    Arguments:
        message: an object as the page makes it, or the bytes of its JSON.
        scenes: the functions that may be asked for.

    Returns:
        What `answer` returns, or kind, sequence and error; nothing is raised, since in a kernel nobody would see it.

    Example:
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> reply_to(b'{"kind": "walk", "sequence": 3}', catalogue())["error"]
        "unknown kind 'walk'; accepted: run, survey, proof, python"
    """
    fields = message
    try:
        fields = decoded(message) if isinstance(message, bytes) else message
        return answer(parse(fields, scenes))
    except (TypeError, ValueError) as error:
        return _failed(fields, str(error))
    except Exception as error:
        return _failed(fields, f"{type(error).__name__}: {error}")


def _failed(fields: Any, error: str) -> dict[str, Any]:
    kind, sequence = (fields.get(name) if isinstance(fields, dict) else None for name in ("kind", "sequence"))
    # Whatever else was sent in their place may have no JSON of its own, like the infinity that 1e999 is read as.
    return {
        "kind": kind if isinstance(kind, str) else None,
        "sequence": sequence if isinstance(sequence, int) else None,
        "error": error[:500],
    }


def opening(scenes: Scenes, first: str) -> dict[str, Any]:
    """What a page needs to know to build its controls: functions, optimizers, presets and limits, as JSON."""
    return {
        "functions": {name: scene.described() for name, scene in scenes.items()},
        "optimizers": described(),
        "presets": [preset for preset in PRESETS if preset["function"] in scenes],
        "lessons": lessons(),
        "first": _checks.choice("function", first, scenes),
        "most_steps": ROOMS[-1],
        "drawing": [WIDTH, HEIGHT],
    }


def slope(scene: Scene, x: Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, ""], Float[np.ndarray, " n"]]:
    """Value and gradient at a point."""
    program, constants = scene.traced
    return jax.tree.map(np.asarray, _slope(program, constants, np.asarray(x, jax.dtypes.canonicalize_dtype(float))))


@functools.partial(jax.jit, static_argnums=0)
def _slope(program: Program, constants: list[Any], x: Float[Array, " n"]) -> tuple[Array, Array]:
    return jax.value_and_grad(lambda x: program(constants, x))(x)


def sentence(descent: Descent) -> str:
    """How a run ended and what its last point is, in one line.

    Example:
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> parabola = catalogue()["parabola"]
        >>> print(sentence(descend(parabola, {"gradient_descent": {"learning_rate": 1.5}}, [1.0])["gradient_descent"]))
        diverged: the loss rose from 1 to 1.33e+36 in 60 steps
    """
    first, last = float(descent.loss[0]), float(descent.loss[-1])
    if descent.status == Status.NON_FINITE and not np.isfinite([first, descent.grad_norm[0]]).all():
        return f"no step taken: {_unusable_start(descent)}"
    if descent.status == Status.NON_FINITE:
        return f"diverged: not finite after step {descent.stopped_at}, where the loss was {last:.3g}"
    if descent.status == Status.DIVERGED:
        return f"diverged: the loss rose from {first:.3g} to {last:.3g} in {descent.stopped_at} steps"
    verdict = descent.verdict
    eigenvalues = ", ".join(f"{value:.3g}" for value in verdict.eigenvalues)
    kind = verdict.kind_name.replace("_", " ")
    why = f", |gradient| {float(descent.grad_norm[-1]):.2g}" if verdict.kind == Kind.NOT_CRITICAL else ""
    why += f" ({descent.gap:.1g} away)" if verdict.kind != Kind.NOT_CRITICAL and descent.gap else ""
    plural = "s" * (len(verdict.eigenvalues) > 1)
    stuck = " that did not move the point" if descent.status == Status.STUCK else ""
    taken = f"{descent.stopped_at} steps{stuck}"
    return f"loss {last:.3g} after {taken}; {kind}{why}, Hessian eigenvalue{plural} {eigenvalues}"


def _unusable_start(descent: Descent) -> str:
    """Why no optimizer can start there."""
    if not np.isfinite(descent.loss[0]):
        return f"the function is {float(descent.loss[0]):.3g} at the start"
    return f"the gradient at the start is not finite, or its square is too large for {descent.loss.dtype}"


def _described(descent: Descent) -> dict[str, Any]:
    verdict = descent.verdict
    down = np.asarray(verdict.escape_direction, np.float64)  # of the smallest eigenvalue; any other is orthogonal to it
    directions = [down, np.array([-down[1], down[0]])] if len(down) == 2 else [down]
    return {
        "path": _encoded(descent.path),
        "loss": _encoded(descent.loss),
        "status": descent.status.name.lower(),
        "diverged": descent.status in (Status.NON_FINITE, Status.DIVERGED),
        "stopped_at": descent.stopped_at,
        "kind": verdict.kind_name,
        "eigenvalues": [_finite(value) for value in verdict.eigenvalues],
        "directions": [[_finite(entry) for entry in direction] for direction in directions],
        "bound": _finite(descent.bound),
        "sentence": sentence(descent),
        "evidence": f"{_place(descent)}: {verdict}",
    }


def _place(descent: Descent) -> str:
    """The point that the verdict is of."""
    point = ", ".join(f"{value:.6g}" for value in np.asarray(descent.verdict.point))
    return f"At ({point}), {descent.gap:.1g} from the last point" if descent.gap else f"At the last point, ({point})"


def _surveyed(request: Request) -> dict[str, Any]:
    seen = survey(request.scene, request.window)
    return {
        "window": request.window.tolist(),
        "contours": [{"level": level, "line": line, "region": region} for level, line, region in seen.contours],
        "curve": _encoded(seen.curve),
        "arrows": _encoded(seen.arrows),
        "flow": {"points": seen.flow.shape[1], "values": _encoded(seen.flow)},
        "rate": seen.rate,
        "span": list(seen.span),
        "grid": {"columns": seen.grid.shape[1], "rows": seen.grid.shape[0], "values": _encoded(seen.grid)},
        "nonconvex": seen.nonconvex,
        "spacing": seen.spacing,
        "note": seen.note,
    }


def _proved(request: Request, found: Mapping[str, Descent]) -> dict[str, Any]:
    """The proofs of where runs end, and the critical points of the window."""
    known = prove_window(request.scene, request.window)
    return {
        "window": request.window.tolist(),
        "proofs": {name: proved._asdict() for name, proved in prove_ends(request.scene, found).items()},
        "points": [
            {"point": point, "kind": kind, "value": value}
            for point, kind, value in zip(known.points.tolist(), known.kinds, known.values.tolist(), strict=True)
        ],
        "summary": known.summary,
    }


def _encoded(values: Any) -> str:
    """Numbers as little-endian float32 in base64: NaN and infinity pass, which JSON has not."""
    with np.errstate(over="ignore"):
        return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
