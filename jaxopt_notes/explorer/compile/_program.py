"""A JAX function as the text of a JavaScript function."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import jax
import numpy as np

from ..._jaxpr.listing import Listing, Operation, listed
from ._algebra import ALGEBRA
from ._blocks import Local
from ._elementwise import NAMES, elementwise
from ._emit import Atom, text
from ._external import external_call
from ._loops import CONTROL
from ._moves import MOVES, Rule
from ._random import RANDOM
from ._reductions import REDUCTIONS
from ._values import SMALL, Refused, Value, Writer, is_paired

RULES: Final[dict[str, Rule]] = {**MOVES, **REDUCTIONS, **RANDOM, **ALGEBRA, "pure_callback": external_call}


class Script(NamedTuple):
    """A function in JavaScript.

    Attributes:
        source: `const NAME = (() => { ... })();`. It takes one argument for every leaf of the arguments, a number for a
            scalar and an array in row-major order for an array, and returns an array of the leaves of the result, as
            numbers and `Float64Array`s. Truth values are `true` and `false`, or 1 and 0 inside an array. Of a program
            that calls an `external` function it is `const NAME = (F) => { ... };`, to be called with the object F that
            has these functions.
        shapes: of the leaves of the result.
        structure: of the result, for `jax.tree.unflatten`.
    """

    source: str
    shapes: tuple[tuple[int, ...], ...]
    structure: Any


def javascript(function: Callable[..., Any], *args: Any, name: str = "f") -> Script:
    """Write a JAX function in JavaScript, for arguments of the shapes and types of those given.

    The program is traced, as by `jax.jit`, and every operation is written out for numbers of the size that it has:
    a float64 is a number, a float32 is rounded by `Math.fround` after every operation, random bits are bit-identical.
    An int64 is a number as well: it is exact up to 2^53, and does not wrap.
    Sums add in the order of their elements, and exp, log, sin and their relatives are those of the browser, which
    differ from XLA's in the last digit. The source needs `runtime()` before it.

    Arguments:
        function: of arrays, traceable.
        *args: examples, pytrees of arrays or `jax.ShapeDtypeStruct`.
        name: of the JavaScript constant that holds the function.

    Returns:
        A `Script`.

    Raises:
        NotImplementedError: an operation has no rule; it is named.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.explorer.compile import javascript
        >>> print(javascript(lambda x: 2 * x[0] + x[1], jnp.zeros(2, jnp.float32)).source)
        const f=(()=>{
        return (a0)=>{
        const v1=a0[0];
        const v2=Math.fround(2*v1);
        const v3=a0[1];
        const v4=Math.fround(v2+v3);
        return [v4];
        };
        })();
    """
    if not name.isidentifier():
        raise ValueError(f"name must be an identifier, got {name!r}")
    listing, structure = listed(function, *args)
    leaves = [jax.ShapeDtypeStruct(np.shape(leaf), _dtype(leaf)) for leaf in jax.tree.leaves(args)]
    writer = Writer()
    inputs = [_argument(writer, place, leaf) for place, leaf in enumerate(leaves)]
    outputs = _run(writer, listing, inputs)
    results = [_result(writer, value) for value in outputs]
    needed = [atom for _, atoms in results for atom in atoms]
    once, statements = writer.printed(needed)
    returned = ",".join(template.format(*map(text, atoms)) for template, atoms in results)
    arguments = ",".join(f"a{place}" for place in range(len(leaves)))
    takes, ends = ("(F)", "};") if writer.calls_out else ("(()", "})();")
    head = [f"const {name}={takes}=>{{", *writer.module, *writer.arrays(), *once, f"return ({arguments})=>{{"]
    return Script("\n".join([*head, *statements, f"return [{returned}];", "};", ends]), listing.shapes, structure)


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else jax.dtypes.canonicalize_dtype(np.result_type(leaf))


def _argument(writer: Writer, place: int, leaf: jax.ShapeDtypeStruct) -> Value:
    if is_paired(leaf.dtype):
        raise Refused(f"an argument of type {leaf.dtype} has no rule in JavaScript; pass the seed as an integer")
    name = Local(f"a{place}", writer.top)
    if not leaf.shape:
        return Value((), leaf.dtype, lambda at: name)
    truth = leaf.dtype == np.bool_

    def get(at: Sequence[Any]) -> Atom:
        read = writer.local("{0}[{1}]", name, writer.flat(tuple(at), leaf.shape))
        return writer.local("!!{0}", read) if truth else read

    return Value(leaf.shape, leaf.dtype, get)


def _result(writer: Writer, value: Value) -> tuple[str, list[Atom]]:
    """How a result is returned: as a number, or as a new array."""
    if is_paired(value.dtype):
        raise Refused(f"a result of type {value.dtype} has no rule in JavaScript; return its words")
    if not value.shape:
        return "{0}", [value.get(())]
    if value.size <= SMALL:
        atoms = [value.get(at) for at in np.ndindex(*value.shape)]
        return "Float64Array.of(" + ",".join(f"{{{k}}}" for k in range(len(atoms))) + ")", atoms
    return "{0}.slice()", [writer.stored(value).store]


def _run(writer: Writer, listing: Listing, inputs: Sequence[Value]) -> list[Value]:
    """The outputs of a program, written where the writer stands."""
    slots: dict[int, Value] = dict(zip(listing.inputs, inputs, strict=True))
    uses, known = _uses(listing), set[int]()

    def read(item: Any) -> Value:
        return slots[item] if isinstance(item, int) else writer.constant(item)

    for operation in listing.operations:
        fixed = all(not isinstance(item, int) or item in known for item in operation.inputs)
        known.update(operation.outputs if fixed else ())
        # What depends on no argument is computed once, and not where it is read.
        with writer.outside() if fixed else contextlib.nullcontext():
            values = _outputs(writer, operation, list(map(read, operation.inputs)))
            for slot, value in zip(operation.outputs, values, strict=True):
                settled = fixed and not value.cheap
                slots[slot] = writer.settled(value) if settled else _kept(writer, value, uses.get(slot, 0))
    return [read(item) for item in listing.outputs]


_RESULT = 1000


def _kept(writer: Writer, value: Value, uses: int) -> Value:
    """An array as its readers will find it: a large one with one reader is computed where it is read."""
    if value.update is not None:
        return value if uses == _RESULT else writer.settled(value)
    if value.store is not None or not uses or (value.size > SMALL and (value.cheap or uses == 1)):
        return value
    return writer.settled(value)


def _uses(listing: Listing) -> dict[int, int]:
    """How often each value is read; a result of the program counts as often, since its readers are not known."""
    found: dict[int, int] = {}
    for operation in listing.operations:
        for item in operation.inputs:
            if isinstance(item, int):
                found[item] = found.get(item, 0) + 1
    for item in listing.outputs:
        if isinstance(item, int):
            found[item] = found.get(item, 0) + _RESULT
    return found


def _outputs(writer: Writer, operation: Operation, values: list[Value]) -> list[Value]:
    name = operation.name
    if name in CONTROL:
        return CONTROL[name](writer, operation, lambda listing, inputs: _run(writer, listing, inputs), *values)
    if name in RULES:
        return RULES[name](writer, operation, *values)
    if name in NAMES:
        return elementwise(writer, operation, values)
    raise Refused(
        f"the operation {name!r}, of the function or of its derivatives, has no rule in JavaScript; "
        "jaxopt_notes.explorer.compile.supported() lists those that have one"
    )


def supported() -> list[str]:
    """The operations of JAX that can be written in JavaScript, by their names in a traced program.

    Returns:
        The names, in order.

    Example:
        >>> "tanh" in supported(), "fft" in supported()
        (True, False)
    """
    return sorted({*RULES, *NAMES, *CONTROL})
