"""What a page offers for each optimizer: its numbers with their sliders, and how its path is drawn."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from ..optimizers import OPTIMIZERS, RULES
from ._formula import lines

_MOST = 1000.0  # of a number that an optimizer does not bound
_DASHES = {"-": "", "--": "7 4", ":": "2 4", "-.": "7 4 2 4"}  # as matplotlib writes them, and in pixels


class Control(NamedTuple):
    """One number of an optimizer: its default, and the ends and the spacing of its slider.

    A typed number may lie outside of the slider, between 0 and `most`.
    """

    default: float
    low: float
    high: float
    log: bool = False
    most: float = _MOST
    open_high: bool = False


class Look(NamedTuple):
    """Colour, dash pattern in pixels, and marker of a path; colours and markers are those of the figures."""

    color: str
    dash: str
    marker: str


def _controls(name: str) -> dict[str, Control]:
    """A slider for every hyperparameter that is worth trying, from the default of the factory or its own start."""
    arguments = inspect.signature(OPTIMIZERS[name]).parameters
    found = {}
    for key, interval in RULES[name].hyperparameters.items():
        if interval.tried is not None:
            default = arguments[key].default if interval.start is None else interval.start
            most = min(interval.most, _MOST)
            found[key] = Control(default, *interval.tried, interval.log, most, interval.open_high)
    return found


CONTROLS: dict[str, dict[str, Control]] = {name: _controls(name) for name in OPTIMIZERS}
LOOKS: dict[str, Look] = {
    name: Look(rule.look.color, _DASHES[rule.look.dash], rule.look.marker) for name, rule in RULES.items()
}


def described() -> dict[str, Any]:
    """The controls, looks and rules of every optimizer, and where its learning rate may begin, as JSON."""
    return {
        name: {
            "title": name.replace("_", " "),
            "scale": RULES[name].hyperparameters["learning_rate"].scale,
            "look": LOOKS[name]._asdict(),
            "rule": lines(RULES[name].formula, tuple(controls)),
            "controls": {key: control._asdict() for key, control in controls.items()},
        }
        for name, controls in CONTROLS.items()
    }
