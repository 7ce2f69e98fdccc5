"""What a page may ask for, checked field by field: anything else is a ValueError or a TypeError with a message.

A request is a JSON object. Its `kind` is "run" (the paths), "survey" (what lies under them), "proof" (what is proved of
where runs end and of the window) or "python" (a cell that draws the same picture). All state is in the request, so one
server can answer any number of pages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from .. import _checks
from ._controls import CONTROLS
from ._engine import MOST_STEPS, Settings
from ._scenes import FARTHEST, Scene, Scenes, checked_window

LARGEST = 16_384  # bytes of a request; a page's own are below 2,000
_KINDS = {
    "run": ("function", "start", "optimizers", "steps", "noise", "decay", "seed"),
    "survey": ("function", "window"),
    "proof": ("function", "start", "optimizers", "steps", "noise", "decay", "seed", "window"),
    "python": ("function", "start", "optimizers", "steps", "noise", "decay", "seed", "window"),
}


class Request(NamedTuple):
    """A request that was found to be in order; of `window` and the rest only what its kind needs."""

    kind: str
    sequence: int
    scene: Scene
    start: Float[np.ndarray, " n"]
    optimizers: dict[str, dict[str, float]]
    settings: Settings
    window: Float[np.ndarray, "2 n"]


def decoded(body: bytes) -> Any:
    """JSON from bytes, NaN and Infinity refused, of at most `LARGEST` bytes."""
    if len(body) > LARGEST:
        raise ValueError(f"a request has at most {LARGEST} bytes, got {len(body)}")

    def refuse(constant: str) -> Any:
        raise ValueError(f"numbers must be finite, got {constant}")

    try:
        return json.loads(body, parse_constant=refuse)
    except (UnicodeDecodeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"a request must be a JSON object: {type(error).__name__}") from None


def parse(fields: Any, scenes: Scenes) -> Request:
    """Check a decoded request.

    Arguments:
        fields: what the page sent, as `decoded` gives it.
        scenes: the functions that may be asked for.

    Returns:
        A `Request`.

    Raises:
        TypeError, ValueError: naming the field, its value and what is accepted.

    Example:
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> parse({"kind": "run", "function": "saddle", "start": [0.9, 0], "steps": 5}, catalogue()).settings.steps
        5
    """
    if not isinstance(fields, dict):
        raise TypeError(f"a request must be a JSON object, got {_short(fields)}")
    kind = _checks.choice("kind", _text("kind", fields.get("kind", "run")), _KINDS)
    accepted = ("kind", "sequence", *_KINDS[kind])
    for name in fields:
        if name not in accepted:
            known = f"accepted: {', '.join(accepted)}"
            raise ValueError(f"unknown field {_short(name)}{_checks.nearest(name[:99], accepted, known)}")
    name = _checks.choice("function", _text("function", fields.get("function")), scenes)
    scene = scenes[name]
    start = _vector("start", fields.get("start", scene.start.tolist()), scene.dimension)
    settings = Settings(
        _whole("steps", fields.get("steps", Settings().steps), low=1, high=MOST_STEPS),
        _number("noise", fields.get("noise", 0.0), high=1000.0),
        _number("decay", fields.get("decay", 0.0), high=1000.0),
        _whole("seed", fields.get("seed", 0), low=0, high=2**31 - 1),
    )
    window = _window(fields.get("window", scene.domain.tolist()), scene.dimension)
    return Request(
        kind,
        _whole("sequence", fields.get("sequence", 0), low=0, high=2**53),
        scene,
        start,
        _optimizers(fields.get("optimizers", {})),
        settings,
        window,
    )


def _optimizers(given: Any) -> dict[str, dict[str, float]]:
    if not isinstance(given, dict):
        raise TypeError(f"optimizers must be an object from names to numbers, got {_short(given)}")
    checked: dict[str, dict[str, float]] = {}
    for name, numbers in given.items():
        controls = CONTROLS[_checks.choice("optimizer", _text("optimizer", name), CONTROLS)]
        if not isinstance(numbers, dict):
            raise TypeError(f"the numbers of {name} must be an object, got {_short(numbers)}")
        checked[name] = {}
        for key, value in numbers.items():
            if key not in controls:
                known = f"accepted: {', '.join(controls)}"
                raise ValueError(f"unknown number {_short(key)} of {name}{_checks.nearest(key[:99], controls, known)}")
            control = controls[key]
            checked[name][key] = _number(f"{name}.{key}", value, high=control.most, open_high=control.open_high)
    return checked


def _window(given: Any, dimension: int) -> Float[np.ndarray, "2 n"]:
    if not isinstance(given, list) or len(given) != 2:
        raise TypeError(f"window must be a list of two corners, got {_short(given)}")
    return checked_window("window", np.stack([_vector("window", corner, dimension) for corner in given]))


def _vector(name: str, given: Any, dimension: int) -> Float[np.ndarray, " n"]:
    if not isinstance(given, list) or len(given) != dimension:
        raise TypeError(f"{name} must be a list of {dimension} number{'s' * (dimension > 1)}, got {_short(given)}")
    return np.array([_number(name, entry, low=-FARTHEST, high=FARTHEST) for entry in given], np.float64)


def _number(name: str, given: Any, *, low: float = 0.0, high: float, open_high: bool = False) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise TypeError(f"{name} must be a number, got {_short(given)}")
    if isinstance(given, int) and abs(given) > FARTHEST:
        raise ValueError(f"{name} must be in [{low:g}, {high:g}], got {_short(given)}")
    return float(_checks.scalar(name, float(given), low=low, high=high, open_high=open_high))


def _whole(name: str, given: Any, *, low: int, high: int) -> int:
    if not isinstance(given, int):
        raise TypeError(f"{name} must be an integer from {low} to {high}, got {_short(given)}")
    return _checks.count(name, given, low=low, high=high)


def _text(name: str, given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a text, got {_short(given)}")
    return given[:99]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def as_fields(request: Request) -> Mapping[str, Any]:
    """The state of a request as a page keeps it: what `parse` takes, without kind and sequence."""
    return {
        "function": request.scene.name,
        "start": request.start.tolist(),
        "optimizers": request.optimizers,
        **request.settings._asdict(),
    }
