"""The lectures' demonstrations by name, each as the state of a page."""

from __future__ import annotations

import base64
import json
from typing import Any

from .. import _checks


def _preset(
    title: str, note: str, function: str, start: list[float], optimizers: dict[str, Any], **rest: Any
) -> dict[str, Any]:
    return {"title": title, "note": note, "function": function, "start": start, "optimizers": optimizers, **rest}


PRESETS: list[dict[str, Any]] = [
    _preset(
        "zig-zag",
        "A step size between half the stability bound and the bound: each step crosses the floor of the valley.",
        "stretched_bowl",
        [-5.0, -2.0],
        {"gradient_descent": {"learning_rate": 0.45}},
        steps=40,
    ),
    _preset(
        "overshoot",
        "On x², every step above 1/f'' = 1/2 jumps over the minimum; below 1 the jumps shrink.",
        "parabola",
        [10.0],
        {"gradient_descent": {"learning_rate": 0.95}},
        steps=40,
    ),
    _preset(
        "diverge",
        "The step size is above 2/L = 1/2, the stability bound of the steep direction: every step lands farther away.",
        "stretched_bowl",
        [-5.0, -0.2],
        {"gradient_descent": {"learning_rate": 0.52}},
        steps=100,
    ),
    _preset(
        "steepest is not straight",
        "In a narrow canyon the steepest way down crosses it: compare the arrows at the start. Newton goes straight.",
        "tilted_canyon",
        [-4.0, 0.5],
        {"gradient_descent": {"learning_rate": 0.018}, "newton": {"learning_rate": 1.0}},
        steps=60,
    ),
    _preset(
        "momentum crosses the valley",
        "At a step size at which gradient descent diverges, momentum averages the jumps away and follows the floor.",
        "stretched_bowl",
        [-5.0, -2.0],
        {"gradient_descent": {"learning_rate": 0.6}, "momentum": {"learning_rate": 0.6, "beta": 0.5}},
        steps=20,
    ),
    _preset(
        "stuck at a saddle",
        "Exactly on the ridge the way down is never seen. Move the start off it by a hair and run again.",
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
        "From a hair beside the ridge: the distance grows by a factor per step, so escape takes a logarithm of steps.",
        "saddle",
        [0.9, 0.001],
        {
            "gradient_descent": {"learning_rate": 0.1},
            "momentum": {"learning_rate": 0.02, "beta": 0.9},
            "saddle_free_newton": {"learning_rate": 0.2},
        },
        steps=40,
    ),
    _preset(
        "plateau",
        "At 4 the slope of tanh is 0.0013: gradient descent hardly moves; Adam divides by the slope and walks.",
        "tanh",
        [4.0],
        {"gradient_descent": {"learning_rate": 1.0}, "adam": {"learning_rate": 0.05}},
        steps=100,
    ),
    _preset(
        "local minimum",
        "x cos(πx) has two minima: from the left one, small steps do not find the deeper right one.",
        "x_cos_pi_x",
        [-0.8],
        {"gradient_descent": {"learning_rate": 0.05}, "momentum": {"learning_rate": 0.05, "beta": 0.95}},
        steps=100,
    ),
    _preset(
        "noise jumps out",
        "The same function with noise in the gradient, as of minibatches: some seeds leave the shallow minimum.",
        "x_cos_pi_x",
        [-0.8],
        {"gradient_descent": {"learning_rate": 0.05}},
        steps=200,
        noise=5.0,
        decay=0.01,
        seed=1,
    ),
    _preset(
        "noise and decay",
        "With noise, a constant step size ends in a cloud around the minimum; a decaying one settles.",
        "bowl",
        [-5.0, -2.0],
        {"gradient_descent": {"learning_rate": 0.1}},
        steps=200,
        noise=3.0,
        decay=0.05,
        seed=0,
    ),
    _preset(
        "the banana valley",
        "Rosenbrock's valley bends: the wall is found at once, the way along the floor takes long.",
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
    state = {"demonstration": title} | {name: value for name, value in preset.items() if name not in ("title", "note")}
    return base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")
