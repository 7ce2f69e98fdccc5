"""What a page offers for each optimizer: its numbers with their sliders, and how its path is drawn."""

from __future__ import annotations

from typing import Any, NamedTuple


class Control(NamedTuple):
    """One number of an optimizer: its default, and the ends and the spacing of its slider.

    A typed number may lie outside of the slider, between 0 and `most`.
    """

    default: float
    low: float
    high: float
    log: bool = False
    most: float = 1000.0
    open_high: bool = False


class Look(NamedTuple):
    """Colour, dash pattern in pixels, and marker of a path; colours and markers are those of the figures."""

    color: str
    dash: str
    marker: str


def _rate(default: float) -> Control:
    return Control(default, 1e-5, 10.0, log=True)


def _share(default: float) -> Control:
    return Control(default, 0.0, 0.999, most=1.0, open_high=True)


_EPS = Control(1e-8, 1e-10, 1.0, log=True)

CONTROLS: dict[str, dict[str, Control]] = {
    "gradient_descent": {"learning_rate": _rate(0.1)},
    "momentum": {
        "learning_rate": _rate(0.05),
        "beta": _share(0.9),
        "dampening": Control(0.0, 0.0, 1.0, most=1.0),
    },
    "nesterov": {"learning_rate": _rate(0.05), "beta": _share(0.9)},
    "adagrad": {"learning_rate": _rate(0.5), "eps": _EPS._replace(default=1e-10)},
    "adadelta": {"learning_rate": _rate(1.0), "rho": _share(0.9), "eps": _EPS._replace(default=1e-6)},
    "rmsprop": {"learning_rate": _rate(0.05), "decay_rate": _share(0.9), "eps": _EPS},
    "adam": {"learning_rate": _rate(0.1), "b1": _share(0.9), "b2": _share(0.999), "eps": _EPS},
    "adamw": {
        "learning_rate": _rate(0.1),
        "b1": _share(0.9),
        "b2": _share(0.999),
        "weight_decay": Control(1e-2, 1e-4, 1.0, log=True),
    },
    "newton": {"learning_rate": _rate(1.0), "damping": Control(0.0, 0.0, 10.0)},
    "saddle_free_newton": {"learning_rate": _rate(1.0), "damping": Control(0.0, 0.0, 10.0)},
}

LOOKS: dict[str, Look] = {
    "gradient_descent": Look("#000000", "", "o"),
    "momentum": Look("#0072B2", "", "s"),
    "nesterov": Look("#56B4E9", "7 4", "D"),
    "adagrad": Look("#009E73", "", "P"),
    "adadelta": Look("#009E73", "7 4", "p"),
    "rmsprop": Look("#CC79A7", "", "d"),
    "adam": Look("#D55E00", "", "^"),
    "adamw": Look("#E69F00", "7 4", "v"),
    "newton": Look("#CC79A7", "7 4", "H"),
    "saddle_free_newton": Look("#0072B2", "2 4", "x"),
}


def described() -> dict[str, Any]:
    """The controls and looks of every optimizer, as JSON."""
    return {
        name: {
            "title": name.replace("_", " "),
            "look": LOOKS[name]._asdict(),
            "controls": {key: control._asdict() for key, control in controls.items()},
        }
        for name, controls in CONTROLS.items()
    }
