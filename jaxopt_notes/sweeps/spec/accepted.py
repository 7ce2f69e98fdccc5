"""Whether a function accepts a space: the names of its axes, their kinds, every value.

What a signature declares is in `arguments`; which numbers can be traced is in `shaping`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ... import _checks
from .arguments import Argument, arguments_of, exact, is_number
from .space import RESERVED, Space, is_absent


def check_space(
    space: Any, factory: Callable[..., Any], elsewhere: Sequence[str] = (), others: Sequence[str] = ()
) -> Space:
    """Return `space` if `factory` takes every axis and accepts every value of it.

    Arguments:
        space: the space.
        factory: the optimizer's factory.
        elsewhere: the axes that it does not see.
        others: what an axis may be called, other than the factory's arguments.

    Raises:
        TypeError: not a space, not an optimizer factory, a required hyperparameter has no axis, or a value of another
            kind than the factory declares.
        ValueError: an axis that is no hyperparameter, or a value out of its range.
    """
    if not isinstance(space, Space):
        raise TypeError(f"space must come from grid(...), for example grid(learning_rate=[0.01, 0.1]); got {space!r}")
    if not callable(factory):
        raise TypeError(
            f"optimizer must be a function from hyperparameters to an (init, update) pair, such as "
            f"jaxopt_notes.momentum, without calling it; got {factory!r}"
        )
    family, columns, arguments = _checks.name_of(factory), space.columns(), arguments_of(factory)
    for name in space.names:
        if name in RESERVED or re.fullmatch(r"params_\d+", name):
            raise ValueError(f"axis {name!r} is a name that every table has already; wrap {family} to rename it")
        if name not in elsewhere:
            if name not in arguments and not _checks.takes_any(factory):
                _refuse_unknown(name, family, list(arguments), others)
            check_kinds(arguments.get(name, Argument(name)), columns[name], family)
            if space.points is None:
                _check_different(name, space.axes[name])
    for name, argument in arguments.items():
        if argument.default is not inspect.Parameter.empty:
            continue
        if name not in space.names:
            raise TypeError(f"{family} needs {name}: give it an axis, for example grid({name}=[0.01, 0.1, 1.0])")
        if any(map(is_absent, columns[name])):
            raise TypeError(f"{family} needs {name}, which is absent in some configurations: give it in every part")
    # The factory is called with Python numbers here, long before it is traced: its own checks of ranges pass every
    # traced value, so this is the only time at which they see one.
    for configuration in _telling(space):
        seen = {name: value for name, value in configuration.items() if name not in elsewhere}
        _check_accepted(exact(seen, arguments), factory)
    return space


def check_kinds(argument: Argument, values: Iterable[Any], family: str) -> None:
    """Refuse values that an argument certainly does not take, such as the text "false" for a boolean.

    Raises:
        TypeError: the error names what to write instead.
    """
    for value in values:
        if not is_absent(value) and not argument.takes(value):
            raise TypeError(argument.refusal(family, value))


def _refuse_unknown(name: str, family: str, accepted: list[str], others: Sequence[str]) -> None:
    sweep_takes = f", and the sweep {', '.join(others)}" if others else ""
    known = f"{family} takes {', '.join(accepted) or 'no arguments by name'}{sweep_takes}"
    raise ValueError(f"unknown axis {name!r} for {family}{_checks.nearest(name, [*accepted, *others], known)}")


def _check_different(name: str, values: np.ndarray) -> None:
    """Refuse numbers of a grid that are one number in the precision of the sweep; integers too large are choices."""
    # Integers that the precision of the sweep would round are not traced (`shaping_numbers`), so two of them stay two
    # programs and never become one number.
    if values.dtype.kind == "i":
        return
    dtype = jax.dtypes.canonicalize_dtype(float)
    seen: dict[Any, Any] = {}
    for value in filter(is_number, values.tolist()):
        first = seen.setdefault(dtype.type(value), value)
        if first != value:
            raise ValueError(f"axis {name!r} repeats values: {first} and {value} are one number in {dtype}")


def _check_accepted(configuration: dict[str, Any], factory: Callable[..., Any]) -> None:
    try:
        factory(**configuration)
    except TypeError as error:
        # Names were compared with the signature above, which shows nothing where it ends in **kwargs. There only the
        # function that finally receives them can refuse one.
        if _checks.takes_any(factory) and "unexpected keyword argument" in str(error):
            family = _checks.name_of(factory)
            raise TypeError(f"{family} passes its axes on, and where they arrive one is unknown: {error}") from error
        choices = [name for name, value in configuration.items() if not is_number(value)]
        if not choices:
            raise
        name = next((name for name in choices if name in str(error)), choices[0])
        raise TypeError(
            f"axis {name!r} must hold real numbers, or choices that {_checks.name_of(factory)} takes; got "
            f"{configuration[name]!r}: {error}"
        ) from error


def _telling(space: Space) -> Iterator[dict[str, Any]]:
    """Configurations that show every value: all of a list, and of a grid every value beside the first of the others."""
    if space.points is not None:
        yield from space.configurations()
        return
    first = {name: values[0] for name, values in space.axes.items()}
    for name, values in space.axes.items():
        for value in values:
            yield {**first, name: value}
