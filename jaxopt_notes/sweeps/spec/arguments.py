"""Arguments: what a signature declares for each name, by annotation or default. What cannot be judged passes.

Only signatures are read here. Whether the function accepts a value is tried in `accepted`.
"""

from __future__ import annotations

import collections.abc
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import AbstractArray

from ... import _checks

_ARRAY = np.ndarray  # stands for every kind of array
_FUNCTION: Any = collections.abc.Callable
_WORDS = {bool: "True or False", str: "texts", type(None): "None", _FUNCTION: "functions"}


@dataclass(frozen=True)
class Argument:
    """One argument of a function.

    Attributes:
        name: its name.
        kinds: what it takes: bool, int, float, str, NoneType, arrays, `Callable`, `Literal`s; None if it cannot be
            judged.
        default: its default; `inspect.Parameter.empty` of an argument that must be given.
    """

    name: str
    kinds: tuple[Any, ...] | None = None
    default: Any = None

    @property
    def is_whole(self) -> bool:
        """Whether a number for it must be an integer."""
        return int in (self.kinds or ()) and not {float, _ARRAY} & set(self.kinds or ())

    def takes(self, value: Any) -> bool:
        """False only if a value certainly is of another kind than declared."""
        value = plain(value)
        # A default holds even where the annotation contradicts it, as in `rate: int = 0.1`. Only plain values are
        # compared with it, as `==` of arrays is an array.
        if self.kinds is None or (type(value) in (bool, int, float, str) and _same(value, self.default)):
            return True
        return any(_takes(kind, value) for kind in self.kinds)

    def refusal(self, family: str, value: Any) -> str:
        """What to give instead of a value that it does not take."""
        kinds, value = self.kinds or (), plain(value)
        numbers = [kind for kind in kinds if kind in (int, float, _ARRAY)]
        words = [f"one of {', '.join(map(repr, typing.get_args(k)))}" for k in kinds if typing.get_origin(k) is Literal]
        words += [_WORDS[kind] for kind in kinds if kind in _WORDS]
        got = f"got {value!r}{_meant(kinds, value)}"
        if bool in kinds and not numbers:
            return f"{self.name!r} chooses the program of {family}: give it {' or '.join(words)}; {got}"
        if not numbers:
            return f"axis {self.name!r} must be {' or '.join(words)} for {family}; {got}"
        if words:
            return (
                f"axis {self.name!r} must hold real numbers, or choices that {family} takes ({', '.join(words)}); {got}"
            )
        return f"axis {self.name!r} must hold {'integers' if self.is_whole else 'real numbers'} for {family}; {got}"


def arguments_of(function: Callable[..., Any]) -> dict[str, Argument]:
    """The arguments that a function takes by keyword. An annotation decides; without one the default does."""
    parameters = inspect.signature(function).parameters
    found = {}
    for name in _checks.keyword_names(function):
        default = parameters[name].default
        kinds = _kinds(_resolved(parameters[name].annotation, function))
        if kinds is None and (isinstance(default, bool) or is_number(default)):
            kinds = (type(plain(default)),)
        elif kinds is not None and default is None:
            kinds = (*kinds, type(None))
        elif is_number(default) and _ARRAY in (kinds or ()):  # array-likes may be booleans, but not where 0.9 stands
            kinds = (*(kind for kind in kinds or () if kind not in (bool, _ARRAY)), float)
        found[name] = Argument(name, kinds and tuple(dict.fromkeys(kinds)), default)
    return found


def is_number(value: Any) -> bool:
    """Whether the value is a real number, and no boolean."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def exact(configuration: Mapping[str, Any], arguments: Mapping[str, Argument]) -> dict[str, Any]:
    """A configuration as a function can build shapes from it: integers as Python's, also those that a table, which
    marks what is absent by NaN, holds as floats.
    """
    return {name: _exact(plain(value), arguments.get(name)) for name, value in configuration.items()}


def _exact(value: Any, argument: Argument | None) -> Any:
    whole = argument is not None and argument.is_whole and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def plain(value: Any) -> Any:
    """NumPy's scalars as Python's, which shapes and names are made of."""
    return value.item() if isinstance(value, np.generic) else value


def _takes(kind: Any, value: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return any(_same(value, each) for each in typing.get_args(kind))
    if isinstance(value, bool):
        return kind in (bool, _ARRAY)
    if is_number(value):
        return kind in (int, float, _ARRAY)
    if isinstance(value, str):
        return kind is str
    if value is None:
        return kind is type(None)
    return not callable(value) or kind not in (bool, str, type(None))  # a number may be a schedule


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and value == other


def _meant(kinds: Any, value: Any) -> str:
    """Such as ", a text: write 0.1"."""
    if isinstance(value, str):
        if bool in kinds and value.lower() in _checks.TRUTH:
            return f", a text: write {_checks.TRUTH[value.lower()]}"
        for kind in (int, float):
            if {int, float, _ARRAY} & set(kinds):
                try:
                    return f", a text: write {kind(value)}"
                except ValueError:
                    continue
        choices = [each for kind in kinds for each in typing.get_args(kind) if isinstance(each, str)]
        return _checks.nearest(value, choices) if choices else ""
    if set(kinds) <= {bool, type(None)} and is_number(value) and value in (0, 1):
        return f", a number: write {bool(value)}"
    return ""


def _resolved(annotation: Any, function: Callable[..., Any]) -> Any:
    """The annotation itself where it was written as a text, as all are under `from __future__ import annotations`."""
    if not isinstance(annotation, str):
        return annotation
    function = inspect.unwrap(getattr(function, "func", function))
    scope = getattr(getattr(function, "__func__", function), "__globals__", None)
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    try:
        return eval(annotation, scope or vars(module))  # as `typing.get_type_hints` does
    except Exception:  # a name that only type checkers know, say: nothing can be judged then
        return inspect.Parameter.empty


def _kinds(annotation: Any) -> tuple[Any, ...] | None:
    """What an annotation allows, unions taken apart; None where any part of it cannot be judged."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        parts = [_kinds(each) for each in inner]
        return None if None in parts else tuple(kind for part in parts for kind in part or ())
    if origin is typing.Annotated:
        return _kinds(inner[0])
    if origin is Literal:
        return (annotation,)
    if _FUNCTION in (annotation, origin):
        return (_FUNCTION,)
    if annotation is None:
        return (type(None),)
    renamed = getattr(annotation, "__value__", None) or getattr(annotation, "__supertype__", None)
    if renamed is not None:  # `type Number = float`, or a NewType
        return _kinds(renamed)
    return _kind_of_class(annotation) if isinstance(annotation, type) else None


def _kind_of_class(annotation: type) -> tuple[Any, ...] | None:
    if annotation in (bool, int, float, str, type(None)):
        return (annotation,)
    if annotation is complex:
        return (float,)
    for scalars, kind in ((np.bool_, bool), (np.integer, int), (np.number, float)):
        if issubclass(annotation, scalars):
            return (kind,)
    if issubclass(annotation, (np.ndarray, jax.Array, AbstractArray)) or {"dtype", "shape"} <= {*dir(annotation)}:
        return (_ARRAY,)
    return None
