"""The lectures' demonstrations by name, each as the state of a page."""

from __future__ import annotations

import base64
import json
from typing import Any

from .. import _checks
from ._survey import HEIGHT, WIDTH


def framed(low: list[float], high: list[float]) -> list[list[float]]:
    """The smallest window of the drawing's shape around a box; the box itself for one variable.

    Arguments:
        low, high: corners of the box, in the units of the function.

    Returns:
        Lower and upper corner of the window.

    Example:
        >>> framed([-4.0, 0.0], [4.0, 1.0])
        [[-4.0, -2.5], [4.0, 3.5]]
    """
    if len(low) == 1:
        return [low, high]
    scale = max((high[0] - low[0]) / WIDTH, (high[1] - low[1]) / HEIGHT)
    half = (scale * WIDTH / 2, scale * HEIGHT / 2)
    middle = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2)
    return [[m - h for m, h in zip(middle, half, strict=True)], [m + h for m, h in zip(middle, half, strict=True)]]


def _preset(title: str, function: str, start: list[float], optimizers: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"title": title, "function": function, "start": start, "optimizers": optimizers, **rest}


PRESETS: list[dict[str, Any]] = [
    _preset(
        "zig-zag",
        "stretched_bowl",
        [-5.0, -2.0],
        {"gradient_descent": {"learning_rate": 0.45}},
        steps=40,
        window=framed([-5.6, -2.4], [1.2, 2.2]),
    ),
    _preset(
        "overshoot",
        "parabola",
        [10.0],
        {"gradient_descent": {"learning_rate": 0.95}},
        steps=40,
    ),
    _preset(
        "diverge",
        "stretched_bowl",
        [-5.0, -0.2],
        {"gradient_descent": {"learning_rate": 0.55}},
        steps=100,
        window=framed([-5.6, -2.4], [1.2, 2.4]),
    ),
    _preset(
        "steepest is not straight",
        "tilted_canyon",
        [-4.0, 0.5],
        {"gradient_descent": {"learning_rate": 0.018}, "newton": {"learning_rate": 1.0}},
        steps=60,
        window=framed([-5.0, -3.7], [3.0, 2.3]),
    ),
    _preset(
        "momentum crosses the valley",
        "stretched_bowl",
        [-5.0, -1.0],
        {"gradient_descent": {"learning_rate": 0.6}, "momentum": {"learning_rate": 0.6, "beta": 0.5}},
        steps=20,
        window=framed([-5.6, -2.6], [1.4, 2.6]),
    ),
    _preset(
        "stuck at a saddle",
        "saddle",
        [0.9, 0.0],
        {
            "gradient_descent": {"learning_rate": 0.1},
            "newton": {"learning_rate": 1.0},
            "adam": {"learning_rate": 0.05},
        },
        steps=100,
    ),
    _preset(
        "leaving a saddle",
        "saddle",
        [0.9, 0.001],
        {
            "gradient_descent": {"learning_rate": 0.1},
            "momentum": {"learning_rate": 0.02, "beta": 0.9},
            "saddle_free_newton": {"learning_rate": 0.2},
        },
        steps=37,
    ),
    _preset(
        "plateau",
        "tanh",
        [4.0],
        {"gradient_descent": {"learning_rate": 1.0}, "adam": {"learning_rate": 0.05}},
        steps=100,
        window=framed([-3.0], [5.0]),
    ),
    _preset(
        "local minimum",
        "x_cos_pi_x",
        [-0.8],
        {"gradient_descent": {"learning_rate": 0.05}, "momentum": {"learning_rate": 0.05, "beta": 0.95}},
        steps=100,
    ),
    _preset(
        "noise jumps out",
        "x_cos_pi_x",
        [-0.8],
        {"gradient_descent": {"learning_rate": 0.05}},
        steps=200,
        noise=4.0,
        decay=0.01,
        seed=1,
        window=framed([-1.4], [2.2]),
    ),
    _preset(
        "noise and decay",
        "bowl",
        [-5.0, -2.0],
        {"gradient_descent": {"learning_rate": 0.1}},
        steps=200,
        noise=3.0,
        decay=0.05,
        seed=0,
        window=framed([-5.6, -2.6], [1.8, 2.4]),
    ),
    _preset(
        "the banana valley",
        "rosenbrock",
        [-1.2, 1.0],
        {
            "gradient_descent": {"learning_rate": 0.001},
            "momentum": {"learning_rate": 0.0005, "beta": 0.9},
            "adam": {"learning_rate": 0.05},
        },
        steps=250,
    ),
]


def fragment(title: str) -> str:
    """What follows # in the link to a demonstration, as the page writes it.

    Arguments:
        title: of one of `PRESETS`.

    Returns:
        Letters that a URL may hold.

    Raises:
        ValueError: there is none of that title; the nearest is suggested.
    """
    titles = {preset["title"]: preset for preset in PRESETS}
    preset = titles[_checks.choice("demonstration", title, titles)]
    state = {"demonstration": title} | {name: value for name, value in preset.items() if name != "title"}
    return base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")
