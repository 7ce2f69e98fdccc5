"""The studies by name, in the order of the book, and how one is loaded."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast, runtime_checkable

from jaxtyping import Array, Key

from ... import _checks
from .claim import Claim

if TYPE_CHECKING:
    import xarray

    from ...plots import Figure

Size = Literal["small", "full"]
DEMONSTRATIONS = __name__.rpartition("._machinery")[0]  # the package whose modules they are


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
    "step_size": Entry("Step size in narrow valleys: too small, good, large, and what sets the bounds", "T D J"),
    "steepest_is_not_straight": Entry("Steepest descent is square to the level set, not aimed at the minimum", "T"),
    "convexity": Entry("Convexity: which models have it, what it promises, how much of it a network has", "T D"),
    "local_minima": Entry("Local minima: who leaves one, how many there are, and whether wide networks care", "T D"),
    "loss_landscapes": Entry("Loss landscapes with and without skip connections, against depth", "T"),
    "plateaus": Entry(
        "Plateaus: crossing times, and what momentum, ReLU, new parameters and a good start change", "T D"
    ),
    "saddles": Entry("Saddles: how long it takes to leave one, and which kinds there are", "T D"),
    "saddles_everywhere": Entry("Saddles among critical points, by dimension and in small networks", "T A D"),
    "critical_points": Entry("Critical points: all found, judged, and what a diagonal does not show", "T D"),
    "better_directions": Entry("Newton, damped, saddle-free and L-BFGS against gradient methods", "T"),
    "minibatch_gradient": Entry("The gradient of a minibatch: unbiased, with noise that falls as 1/B", "S J D"),
    "sampling_order": Entry("In which order to see the examples, and what reading them costs", "S J"),
    "gd_sgd_minibatch": Entry("Batches of one, some and all: the cost in examples and in seconds", "S A D J"),
    "batch_size": Entry("Throughput, powers of two, and what a larger batch costs", "S A"),
    "learning_rate_curves": Entry("Loss curves by learning rate, where data can be fitted and where noise limits", "S"),
    "learning_rate_decay": Entry("Schedules against a constant rate, and what a drop of the rate does", "S A"),
    "stochastic_convergence": Entry("The floor of a constant rate, and which decay of the rate converges", "J D"),
    "averages": Entry("Exponentially weighted averages, their memory and their bias correction", "A D"),
    "momentum": Entry("Momentum: rates, limits of stability, and when it oscillates less", "T A J D"),
    "adaptive_steps": Entry("AdaGrad, RMSProp, Adadelta, Adam: what scaling by past gradients evens out", "A J D"),
    "adam_or_momentum": Entry(
        "Adam or momentum: by the effort of tuning, the width of good rates, a rule of choice", "S D J"
    ),
    "training_or_validation": Entry("Least training loss against least risk, and which should tune the rate", "S D"),
    "sgd_regularises": Entry("Whether the noise of minibatches regularises, and what their disagreement shows", "S"),
    "edge_of_stability": Entry("Full-batch training raises the sharpness to the limit of the learning rate", ""),
    "initialisation": Entry("How far the gradient comes back, by initial weights and activation", "D"),
    "sparse_factorization": Entry("Where examples touch few parameters: batch size, and Adam against SGD", "D"),
    "comparing_networks": Entry("Two networks from different data: accuracy, disagreement, the line between", "D"),
}


@runtime_checkable
class Study(Protocol):
    """What every study's file offers, as functions of the module."""

    def run(self, *, key: Key[Array, ""], size: Size = "small") -> xarray.Dataset:
        """Measure: `small` takes seconds on two cores, `full` is what the book shows."""

    def claims(self, dataset: xarray.Dataset) -> list[Claim]:
        """The claims that the measurements decide, from the Dataset alone, which may be a saved one."""

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
    return cast(Study, importlib.import_module(f"{DEMONSTRATIONS}.{name}"))
