"""Spaces: which configurations a sweep visits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _checks

RESERVED = frozenset(
    [
        "seed",
        "step",
        "epoch",
        "examples_seen",
        "loss",
        "grad_norm",
        "update_norm",
        "initial_loss",
        "status",
        "stopped_at",
    ]
)


@dataclass(frozen=True, eq=False)
class Space:
    """The product of named axes; a configuration takes one value of each.

    Attributes:
        axes: name -> values in float64, in the order given; the last axis varies fastest.
    """

    axes: Mapping[str, np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along each axis."""
        return tuple(len(values) for values in self.axes.values())

    def __len__(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    def columns(self) -> dict[str, np.ndarray]:
        """The configurations as columns: name -> values of shape (len(self),)."""
        mesh = np.meshgrid(*self.axes.values(), indexing="ij")
        return {name: values.ravel() for name, values in zip(self.axes, mesh, strict=True)}


def grid(**axes: Any) -> Space:
    """The grid of every combination of the given values.

    Arguments:
        axes: name of a numeric hyperparameter -> its values: a list or an array of shape (n,), or one number.

    Returns:
        A `Space`, for `sweep`.

    Raises:
        TypeError: values that are not numbers. ValueError: no axis, or values that are empty, repeated or not finite.

    Example:
        >>> import jaxopt_notes as jon
        >>> len(jon.grid(learning_rate=[0.01, 0.1, 1.0], beta=[0.0, 0.9]))
        6
    """
    if not axes:
        raise ValueError("grid needs at least one axis, for example grid(learning_rate=[0.01, 0.1, 1.0])")
    return Space({name: _axis(name, values) for name, values in axes.items()})


def _axis(name: str, values: Any) -> np.ndarray:
    array = np.atleast_1d(np.asarray(values))
    if array.ndim != 1:
        raise ValueError(f"axis {name!r} must be a list of numbers, got an array of shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"axis {name!r} is empty; give at least one value")
    if array.dtype == bool or not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise TypeError(
            f"axis {name!r} must hold real numbers, got {array.dtype} ({array[0]!r}, ...); a choice such as True or a "
            f"name makes another program: run one sweep for each"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"axis {name!r} must be finite, got {array[~np.isfinite(array)][0]}")
    if len(np.unique(array)) < array.size:
        raise ValueError(f"axis {name!r} repeats values: {array.tolist()}")
    # Through text, so that the label of float32 0.1 is 0.1 and its value the same bits when cast back.
    return np.array([float(str(value)) for value in array])


def check_space(space: Any, factory: Callable) -> Space:
    """Return `space` if `factory` takes every axis and accepts every value of it.

    Raises:
        TypeError: not a space, not an optimizer factory, or a required hyperparameter has no axis.
        ValueError: an axis that is no hyperparameter, or a value out of its range.
    """
    if not isinstance(space, Space):
        raise TypeError(f"space must come from grid(...), for example grid(learning_rate=[0.01, 0.1]); got {space!r}")
    if not callable(factory):
        raise TypeError(
            f"optimizer must be a function from hyperparameters to an (init, update) pair, such as "
            f"jaxopt_notes.momentum, without calling it; got {factory!r}"
        )
    family, accepted = _checks.name_of(factory), _checks.keyword_names(factory)
    defaults = {name: parameter.default for name, parameter in inspect.signature(factory).parameters.items()}
    for name in space.axes:
        if name in RESERVED or name.startswith(("final_", "test_", "params")):
            raise ValueError(f"axis {name!r} is a name that every table has already; wrap {family} to rename it")
        if isinstance(defaults.get(name), bool):
            raise TypeError(f"{name!r} chooses the program of {family}, it is no number: run one sweep for each choice")
        if name not in accepted:
            raise ValueError(
                f"unknown axis {name!r} for {family}{_checks.nearest(name, accepted)}; "
                f"{family} takes {', '.join(accepted)}"
            )
    for name, parameter in inspect.signature(factory).parameters.items():
        needed = parameter.default is inspect.Parameter.empty and parameter.kind in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        )
        if needed and name not in space.axes:
            raise TypeError(f"{family} needs {name}: give it an axis, for example grid({name}=[0.01, 0.1, 1.0])")
    first = {name: values[0] for name, values in space.axes.items()}
    for name, values in space.axes.items():
        for value in values:
            factory(**{**first, name: value})
    return space
