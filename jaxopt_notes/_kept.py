"""What is compiled for a traced program, kept as long as the program is of use.

`jax.jit` keeps what it compiles as long as the function given to it, so a function of this package with the program as
static argument would keep every program that it ever met. Here what is compiled for a program is kept as long as the
function that the program was traced from, its owner, and the last few programs are kept without: a fresh lambda in a
loop neither recompiles nor fills the memory.

A program must not hold what is compiled for it. JAX's cache of traces holds the structures of arguments, and those of
an operator hold its program: the cache would keep its own key, the compiled function, alive.
"""

from __future__ import annotations

import functools
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import jax

from . import _jaxpr

T = TypeVar("T")

RECENT = 16  # programs kept whose owner is gone
MOST_PER_OWNER = 64  # programs kept of one living function: other shapes, other numbers in its closure
MOST_PER_PROGRAM = 32  # functions compiled for one program, such as for several numbers of steps


class Last(Generic[T]):
    """Up to `most` values by key, those used last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made if it is not there."""
        with self._lock:
            return self.put(key, self._values[key] if key in self._values else make())

    def put(self, key: Hashable, value: T) -> T:
        """Set the value of a key, as the one used last; return it."""
        with self._lock:
            self._values.pop(key, None)
            self._values[key] = value
            if len(self._values) > self._most:
                self._values.popitem(last=False)
            return value


_recent: Last[Last[Any]] = Last(RECENT)
_owned: weakref.WeakKeyDictionary[Any, Last[Last[Any]]] = weakref.WeakKeyDictionary()


def keep(program: Any, owner: Any) -> None:
    """Keep a program and what is compiled for it as long as its owner lives, and a while longer."""
    made, by = made_for(program), _owner(owner)
    if by is not None:
        _owned.setdefault(by, Last(MOST_PER_OWNER)).put(program, made)


def made_for(program: Any) -> Last[Any]:
    """What is compiled for a program; the program has a weak reference to it, `made`."""
    made = None if program.made is None else program.made()
    if made is None:
        made = Last(MOST_PER_PROGRAM)
        program.made = weakref.ref(made)
    return _recent.put(program, made)


def _owner(function: Any) -> Any:
    """What lives as long as a function and is known by its identity; None if there is nothing like it."""
    if isinstance(function, types.MethodType):  # a method is a new object at each access
        return _owner(function.__self__)
    kind = type(function)
    return function if getattr(kind, "__hash__", None) is object.__hash__ and kind.__weakrefoffset__ else None


def kept_with(program_of: Callable[..., Any]) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Decorate a function so that each result is made once and kept with the program of its arguments.

    Arguments:
        program_of: returns the program, given the arguments. Every argument must be hashable.
    """

    def decorate(make: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(make)
        def kept(*arguments: Any) -> T:
            return made_for(program_of(*arguments)).get((make, arguments), lambda: make(*arguments))

        return kept

    return decorate


class PerProgram:
    """`jax.jit` of a function whose first argument is a program, or has one; what it compiles is kept with the program.

    Arguments:
        function: the function; every argument is dynamic but the first and those named.
        static_argnames: names of static arguments, passed by keyword.
        donate_argnames: names of the arguments whose memory it may use.
        program_of: the program, from the first argument. None of an argument that has none.
        leading: whether the first argument is static. An operator, a pytree that has its program, is not.
        precise: whether matrices are multiplied in full precision, where the user chose no other.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        static_argnames: tuple[str, ...] = (),
        donate_argnames: tuple[str, ...] = (),
        program_of: Callable[[Any], Any] = lambda program: program,
        leading: bool = True,
        precise: bool = False,
    ) -> None:
        functools.update_wrapper(self, function)
        self._function, self._program_of, self._leading = function, program_of, leading
        self._static, self._donated, self._precise = static_argnames, donate_argnames, precise
        self._made: Last[Any] = Last(MOST_PER_PROGRAM)  # of arguments without a program

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the compiled function."""
        jitted, arguments, keywords = self._parted(arguments, keywords)
        return jitted(*arguments, **keywords)

    def at_once(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the function, compiled quickly into a slower program: for one that takes longer to compile than to run.

        Inside another program it becomes a part of that one, which is compiled as its own caller asks.
        """
        leaves = jax.tree.leaves((arguments[self._leading :], keywords))
        quick = not (_jaxpr.is_tracing() or any(map(_jaxpr.is_traced, leaves)))
        jitted, arguments, keywords = self._parted(arguments, keywords, quick)
        return jitted(*arguments, **keywords)

    def lower(self, *arguments: Any, **keywords: Any) -> Any:
        """What `lower` of a jitted function returns."""
        jitted, arguments, keywords = self._parted(arguments, keywords)
        return jitted.lower(*arguments, **keywords)

    def _parted(
        self, arguments: tuple[Any, ...], keywords: dict[str, Any], quick: bool = False
    ) -> tuple[Any, tuple[Any, ...], Any]:
        """The jitted function of the static arguments, and the dynamic ones."""
        program = self._program_of(arguments[0])
        static = {name: value for name, value in keywords.items() if name in self._static}
        bound, dynamic = (arguments[:1], arguments[1:]) if self._leading else ((), arguments)
        made = self._made if program is None else made_for(program)
        jitted = made.get((self, bound, quick, *static.items()), lambda: self._jitted(bound, static, quick))
        return jitted, dynamic, {name: value for name, value in keywords.items() if name not in static}

    def _jitted(self, bound: tuple[Any, ...], static: dict[str, Any], quick: bool) -> Any:
        options = _jaxpr.quick_options() if quick else None
        function = _jaxpr.precise(self._function) if self._precise else self._function
        function = functools.partial(function, *bound, **static)
        return jax.jit(function, donate_argnames=self._donated, compiler_options=options)
