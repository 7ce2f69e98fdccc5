"""The callbacks of a traced program in words, so that tracing a function again gives the same text.

JAX prints a callback as the name of a function, and makes a new function at each trace. What decides its behaviour is
its code and what its closure holds: values where these cannot change, and otherwise the identity of the object, such as
the list that it appends to. An identity is valid while the object lives, so a text may only be compared with that of a
program that still exists, which holds the object.
"""

from __future__ import annotations

import functools
import hashlib
import types
import uuid
from collections.abc import Iterable
from typing import Any

import jax

from ._jaxpr import UNKNOWN, Jaxpr, callbacks, wrapped_parts

_VALUES = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), jax.tree_util.PyTreeDef, type)


def callbacks_text(jaxpr: Jaxpr) -> str:
    """What the callbacks of a program do; a text that nothing equals where that is not known."""
    return "".join(uuid.uuid4().hex if each is UNKNOWN else _text(each, ()) for each in callbacks(jaxpr))


def _text(value: Any, inside: tuple[int, ...]) -> str:
    """What decides how a value behaves; `inside` are the functions around it, which a closure may name again."""
    if isinstance(value, _VALUES):
        return f"{type(value).__name__} {value!r};"
    if id(value) in inside:
        return f"again {inside.index(id(value))};"
    inside = (*inside, id(value))
    if isinstance(value, tuple):
        parts: Iterable[Any] = value
    elif isinstance(value, functools.partial):
        parts = (value.func, *value.args, *(part for pair in sorted(value.keywords.items()) for part in pair))
    elif isinstance(value, types.MethodType):
        return f"method {_text(value.__func__, inside)}{_identity(value.__self__)}"
    elif isinstance(value, types.FunctionType):
        return _function_text(value, inside)
    elif isinstance(value, types.BuiltinFunctionType) and isinstance(value.__self__, (types.ModuleType, type(None))):
        return f"{value.__module__}.{value.__qualname__};"
    elif isinstance(value, types.BuiltinFunctionType):
        return f"{value.__qualname__} {_identity(value.__self__)}"
    elif (wrapped := wrapped_parts(value)) is not None:
        parts = wrapped
    elif isinstance(value, dict) and not value:  # the keyword arguments that JAX keeps beside a callback
        parts = ()
    else:
        return _identity(value)
    return f"{type(value).__name__}({''.join(_text(part, inside) for part in parts)})"


def _function_text(function: types.FunctionType, inside: tuple[int, ...]) -> str:
    defaults = (function.__defaults__ or (), tuple(sorted((function.__kwdefaults__ or {}).items())))
    cells = [_cell_text(cell, inside) for cell in function.__closure__ or ()]
    named = f"{function.__module__}.{function.__qualname__} {_code_digest(function.__code__)}"
    return f"{named}({_text(defaults, inside)}{''.join(cells)})"


def _cell_text(cell: types.CellType, inside: tuple[int, ...]) -> str:
    try:
        return _text(cell.cell_contents, inside)
    except ValueError:  # not assigned yet
        return _identity(cell)


def _code_digest(code: types.CodeType) -> str:
    digest = hashlib.sha256(code.co_code)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)).encode())
    for constant in code.co_consts:
        digest.update((_code_digest(constant) if isinstance(constant, types.CodeType) else repr(constant)).encode())
    return digest.hexdigest()[:16]


def _identity(value: Any) -> str:
    return f"{type(value).__name__} at {id(value):#x};"
