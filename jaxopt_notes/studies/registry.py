"""The studies by name, in the order of the book, and how one is loaded."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast

from jaxtyping import Array, Key

from .. import _checks
from .claim import Claim

if TYPE_CHECKING:
    import xarray

    from ..plots import Figure

Size = Literal["small", "full"]


class Entry(NamedTuple):
    """One study in the list.

    Attributes:
        title: what it shows, in one line.
        lectures: the letters of the lectures that show it: T, S (CS 182), A (article), J (lecture), D (notes); empty
            for what goes beyond them.
    """

    title: str
    lectures: str


STUDIES: dict[str, Entry] = {
    "learning_rate_curves": Entry("Loss curves by learning rate, where data can be fitted and where noise limits", "S"),
    "learning_rate_decay": Entry("Schedules against a constant rate, and what a drop of the rate does", "S A"),
    "averages": Entry("Exponentially weighted averages, their memory and their bias correction", "A D"),
    "momentum": Entry("Momentum: rates, limits of stability, and when it oscillates less", "T A J D"),
    "adaptive_steps": Entry("AdaGrad, RMSProp, Adadelta, Adam: what scaling by past gradients evens out", "A J D"),
    "better_directions": Entry("Newton, damped, saddle-free and L-BFGS against gradient methods", "T"),
    "edge_of_stability": Entry("Full-batch training raises the sharpness to the limit of the learning rate", ""),
    "initialisation": Entry("How far the gradient comes back, by initial weights and activation", "D"),
    "saddles_everywhere": Entry("Saddles among critical points, by dimension and in small networks", "T A D"),
}


class Study(Protocol):
    """What every study's file offers, as functions of the module."""

    def run(self, *, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
        """Measure: `small` takes seconds on two cores, `full` is what the book shows."""

    def claims(self, dataset: xarray.Dataset) -> list[Claim]:
        """What the measurements say, from the Dataset alone, so also from a saved one."""

    def figure(self, dataset: xarray.Dataset) -> Figure:
        """The picture, from the Dataset alone."""


def load_study(name: str) -> Study:
    """The module of a study.

    Arguments:
        name: one of `STUDIES`.

    Returns:
        The module, with `run`, `claims` and `figure`.

    Raises:
        ValueError: for an unknown name; the nearest is suggested.

    Example:
        >>> study = load_study("averages")
        >>> callable(study.run)
        True
    """
    if name not in STUDIES:
        raise ValueError(f"unknown study {name!r}{_checks.nearest(name, list(STUDIES))}")
    return cast(Study, importlib.import_module(f".{name}", __package__))
