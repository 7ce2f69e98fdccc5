"""What each primitive of JAX means for real numbers: one table, for every arithmetic.

A program is run on values that are known exactly (integers, booleans, constants: numpy arrays) and on values of an
arithmetic: nodes of a tape, or arrays of intervals. Integers and booleans are computed as JAX computes them. Real
numbers never are: also what only constants decide, such as 0.1 * 0.3, is computed by the arithmetic.

Not promised: the names of the primitives and of their parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np

from .listing import Listing, Operation
from .moves import MOVES

Value = Any


class Unsupported(NotImplementedError):
    """A primitive, or a use of one, that has no rule."""


@runtime_checkable
class Arithmetic(Protocol):
    """What a program is run on. Values have a `shape`; `wrap` makes one of a known array."""

    def wrap(self, known: np.ndarray) -> Value:
        """Exact doubles, or 0 and 1 for booleans."""

    def moved(self, move: Callable[..., Any], *values: Value) -> Value:
        """Values rearranged by a function of arrays that computes nothing."""

    def elementwise(self, name: str, *values: Value, **static: Any) -> Value:
        """An operation of `Tape`, number by number; shapes broadcast."""

    def dot(self, x: Value, y: Value, dimensions: Any) -> Value:
        """A contraction as `dot_general` describes it."""

    def total(self, x: Value, axes: Sequence[int]) -> Value:
        """A sum along axes."""


def run_on(listing: Listing, inputs: Sequence[Value], arithmetic: Arithmetic) -> list[Value]:
    """The outputs of a program, known arrays or values."""
    slots: dict[int, Value] = dict(zip(listing.inputs, inputs, strict=True))

    def read(item: Any) -> Value:
        return slots[item] if isinstance(item, int) else item

    for operation in listing.operations:
        slots.update(
            zip(operation.outputs, _outputs(operation, list(map(read, operation.inputs)), arithmetic), strict=True)
        )
    return [read(item) for item in listing.outputs]


def is_known(value: Value) -> bool:
    """Whether a value is an array of numpy, or what numpy does not know, such as a key, and not of an arithmetic."""
    return isinstance(value, np.ndarray) or not hasattr(value, "of_arithmetic")


def _outputs(operation: Operation, inputs: list[Value], arithmetic: Arithmetic) -> list[Value]:
    name = operation.name
    if name in _PROGRAMS:
        return _PROGRAMS[name](operation, inputs, arithmetic)
    if any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in (*operation.dtypes, *operation.takes)):
        raise Unsupported(f"complex numbers, in {name!r}, have no rule")
    if all(map(is_known, inputs)) and (name in _EXACT or not any(map(_is_real, operation.dtypes))):
        return _exactly(operation, inputs)
    _refuse_integers(operation)
    if name == "convert_element_type" and operation.dtypes[0].kind == "b" and operation.takes[0].kind != "b":
        return [_differ(operation, arithmetic, inputs[0], arithmetic.wrap(np.array(0.0)))]
    if name in MOVES:
        move = MOVES[name](operation)
        first = [value if not is_known(value) else arithmetic.wrap(value) for value in inputs]
        moved = arithmetic.moved(move, *first)
        return list(moved) if isinstance(moved, (list, tuple)) else [moved]
    if name in _RULES:
        values = [arithmetic.wrap(value) if is_known(value) else value for value in inputs]
        return [_RULES[name](operation, arithmetic, *values)]
    if name in _POSITIONS:
        return [_by_position(operation, inputs, arithmetic)]
    raise Unsupported(
        f"the operation {name!r} has no rule for real numbers; those that have one: {', '.join(supported())}"
    )


def _is_real(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.inexact)


def _refuse_integers(operation: Operation) -> None:
    """Integers wrap around and their quotients are cut off, and an `and` of them acts on bits: no rule of ours does."""
    name, to = operation.name, operation.dtypes[0]
    if name == "convert_element_type":
        taken = operation.takes[0]
        whole = taken.kind == "b" or (not _is_real(taken) and np.can_cast(taken, to))
        if jnp.issubdtype(to, jnp.integer) and not whole:
            raise Unsupported(f"rounding to an integer, in {name!r}, has no derivative")
    elif name in _RULES and not _is_real(to) and name not in (_OF_BOOLEANS if to.kind == "b" else ("select_n",)):
        raise Unsupported(f"{name!r} of {to} that depend on the parameters has no rule")


_OF_BOOLEANS: Final = ("gt", "ge", "lt", "le", "eq", "ne", "and", "or", "not", "select_n", "is_finite", "max", "min")


def supported() -> list[str]:
    """The operations of JAX that a proof understands, by their names in a traced program.

    Returns:
        The names, in order.

    Example:
        >>> import jaxopt_notes as jon
        >>> "tanh" in jon.proof.supported(), "sort" in jon.proof.supported()
        (True, False)
    """
    return sorted({*_RULES, *MOVES, *_POSITIONS, *_PROGRAMS, "iota"})


_EXACT: Final = {
    *("iota", "convert_element_type", "bitcast_convert_type", "copy", "stop_gradient", "select_n", "neg"),
    *("reshape", "squeeze", "expand_dims", "transpose", "broadcast_in_dim", "slice", "rev", "concatenate", "split"),
    *("stack", "tile", "pad", "gather", "scatter", "dynamic_slice", "dynamic_update_slice"),
}


# A compiled program compares numbers below 2^-1022 as if they were zero.
_COMPARED: Final[dict[str, Callable[..., Any]]] = {
    **{"gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal},
    **{"eq": np.equal, "ne": np.not_equal},
}


def _exactly(operation: Operation, inputs: list[Any]) -> list[np.ndarray]:
    """What no rounding touches; what only moves, in numpy, which compiles nothing."""
    if operation.name == "convert_element_type":
        to = operation.dtypes[0]
        return [doubles(inputs[0]) if _is_real(to) else np.asarray(inputs[0]).astype(to)]
    if operation.name in ("copy", "stop_gradient"):
        return inputs
    if operation.name == "iota":
        shape, axis = operation.shapes[0], operation.params["dimension"]
        along = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        return [
            np.broadcast_to(along, shape).astype(np.float64 if _is_real(operation.dtypes[0]) else operation.dtypes[0])
        ]
    if operation.name in _COMPARED:
        return [_COMPARED[operation.name](*inputs)]
    if operation.name in MOVES:
        moved = MOVES[operation.name](operation)(*map(np.asarray, inputs))
        return list(moved) if isinstance(moved, (list, tuple)) else [moved]
    return operation.run(*inputs)


def doubles(known: Any) -> np.ndarray:
    """Known numbers as doubles, exactly: real numbers are doubles here, whatever a program keeps them in.

    Raises:
        Unsupported: for integers that no double is equal to.
    """
    known = np.asarray(known)
    if known.dtype.kind in "iu" and known.size and max(int(known.max()), -int(known.min())) > 2**53:
        raise Unsupported("integers beyond 2^53 as real numbers have no rule")
    return known.astype(np.float64)


_POSITIONS: Final = ("gather", "dynamic_slice", "dynamic_update_slice", "scatter")


def _by_position(operation: Operation, inputs: list[Value], arithmetic: Arithmetic) -> Value:
    """Moves by known indices: JAX moves the positions of the numbers, and the numbers follow."""
    moving = {"gather": 1, "dynamic_slice": 1, "dynamic_update_slice": 2, "scatter": 3}[operation.name]
    places: list[Any] = list(inputs)
    fill = operation.params.get("fill_value")
    if fill is not None and not np.isnan(fill):
        raise Unsupported(f"{operation.name!r} with a fill_value has no rule")
    sources, count = [], 1  # position 0 stands for what a gather fills in, out of bounds
    for i in [0, *([1] if moving == 2 else [2] if moving == 3 else [])]:
        value = arithmetic.wrap(inputs[i]) if is_known(inputs[i]) else inputs[i]
        size = int(np.prod(value.shape, dtype=int))
        places[i] = np.arange(count, count + size, dtype=float).reshape(value.shape)
        sources.append(arithmetic.moved(np.ravel, value))
        count += size
    if not all(map(is_known, places)):
        raise Unsupported(f"{operation.name!r} with indices that depend on the parameters has no derivative")
    moved = operation.run(*places)[0]
    if not np.isfinite(moved).all() or (moved < 1).any() or _reads_outside(operation, places):
        raise Unsupported(f"{operation.name!r} reads outside of its array: an index is too large")
    where = moved.astype(np.int64) - 1
    return arithmetic.moved(lambda *parts: np.concatenate(parts)[where], *sources)


def _reads_outside(operation: Operation, places: list[np.ndarray]) -> bool:
    """Whether an index is out of range, which JAX moves into the array without a word."""
    shape = places[0].shape
    if "CLIP" in str(operation.params.get("mode")) or operation.name == "scatter":
        return False  # asked for, and what `at[...].set` leaves out
    if operation.name == "gather":
        sizes, indices = operation.params["slice_sizes"], places[1]
        axes = operation.params["dimension_numbers"].start_index_map
        starts = [(axis, indices[..., column]) for column, axis in enumerate(axes)]
    else:
        given = places[2:] if operation.name == "dynamic_update_slice" else places[1:]
        sizes = places[1].shape if operation.name == "dynamic_update_slice" else operation.params["slice_sizes"]
        starts = list(enumerate(given))
    return any((start < 0).any() or (start > shape[axis] - sizes[axis]).any() for axis, start in starts)


Rule = Callable[..., Value]


def _plain(name: str) -> Rule:
    return lambda operation, arithmetic, *values: arithmetic.elementwise(name, *values)


def _composed(*names: str) -> Rule:
    """Functions one after the other, the first one first."""

    def rule(operation: Operation, arithmetic: Arithmetic, x: Value) -> Value:
        for name in names:
            x = arithmetic.elementwise(name, x)
        return x

    return rule


def _with(number: float, *names: str) -> Rule:
    """The first operation acts on a constant and the value, the others on what comes of it."""

    def rule(operation: Operation, arithmetic: Arithmetic, x: Value) -> Value:
        first, *others = names
        x = arithmetic.elementwise(first, arithmetic.wrap(np.array(number)), x)
        return _composed(*others)(operation, arithmetic, x)

    return rule


def _div(operation: Operation, arithmetic: Arithmetic, x: Value, y: Value) -> Value:
    return arithmetic.elementwise("multiply", x, arithmetic.elementwise("inverse", y))


def _hyperbolic(sign: float) -> Rule:
    def rule(operation: Operation, arithmetic: Arithmetic, x: Value) -> Value:
        grows = arithmetic.elementwise("exp", x)
        falls = arithmetic.elementwise("exp", arithmetic.elementwise("negative", x))
        both = arithmetic.elementwise("add" if sign > 0 else "subtract", grows, falls)
        return arithmetic.elementwise("multiply", arithmetic.wrap(np.array(0.5)), both)

    return rule


def _tan(operation: Operation, arithmetic: Arithmetic, x: Value) -> Value:
    return _div(operation, arithmetic, arithmetic.elementwise("sin", x), arithmetic.elementwise("cos", x))


def _exp2(operation: Operation, arithmetic: Arithmetic, x: Value) -> Value:
    log2 = arithmetic.elementwise("log", arithmetic.wrap(np.array(2.0)))
    return arithmetic.elementwise("exp", arithmetic.elementwise("multiply", log2, x))


def _compare(swap: bool, at_equality: bool) -> Rule:
    def rule(operation: Operation, arithmetic: Arithmetic, x: Value, y: Value) -> Value:
        return arithmetic.elementwise("above", *((y, x) if swap else (x, y)), at_equality=at_equality)

    return rule


def _differ(operation: Operation, arithmetic: Arithmetic, x: Value, y: Value) -> Value:
    return arithmetic.elementwise("negation", arithmetic.elementwise("equal", x, y))


def _select(operation: Operation, arithmetic: Arithmetic, where: Value, *cases: Value) -> Value:
    if len(cases) != 2:
        raise Unsupported("'select_n' between more than two cases has no rule")
    return arithmetic.elementwise("select", where, cases[1], cases[0])


def _clamp(operation: Operation, arithmetic: Arithmetic, low: Value, x: Value, high: Value) -> Value:
    return arithmetic.elementwise("minimum", arithmetic.elementwise("maximum", low, x), high)


def _fold(name: str) -> Rule:
    """A reduction, number after number along each axis."""

    def rule(operation: Operation, arithmetic: Arithmetic, x: Value) -> Value:
        for axis in sorted(operation.params["axes"], reverse=True):
            if x.shape[axis] == 0:
                raise Unsupported(f"{operation.name!r} of nothing has no rule")
            parts = [_taken(arithmetic, x, i, axis) for i in range(x.shape[axis])]
            x = parts[0]
            for part in parts[1:]:
                x = arithmetic.elementwise(name, x, part)
        return x

    return rule


def _taken(arithmetic: Arithmetic, x: Value, where: int | list[int], axis: int) -> Value:
    return arithmetic.moved(lambda a: np.take(a, where, axis), x)


def _cumulative(name: str) -> Rule:
    def rule(operation: Operation, arithmetic: Arithmetic, x: Value) -> Value:
        axis, reverse = operation.params["axis"], operation.params["reverse"]
        order = range(x.shape[axis])[:: -1 if reverse else 1]
        parts: list[Value] = []
        for i in order:
            part = _taken(arithmetic, x, [i], axis)
            parts.append(arithmetic.elementwise(name, parts[-1], part) if parts else part)
        return arithmetic.moved(lambda *each: np.concatenate(each, axis), *parts[:: -1 if reverse else 1])

    return rule


def _true(operation: Operation, arithmetic: Arithmetic, x: Value) -> Value:
    return np.ones(operation.shapes[0], bool)


_RULES: Final[dict[str, Rule]] = {
    "add": _plain("add"),
    "add_any": _plain("add"),
    "sub": _plain("subtract"),
    "mul": _plain("multiply"),
    "div": _div,
    "neg": _plain("negative"),
    "square": _plain("square"),
    "integer_pow": lambda operation, arithmetic, x: arithmetic.elementwise("power", x, exponent=operation.params["y"]),
    "pow": _plain("real_power"),
    "sqrt": _plain("sqrt"),
    "rsqrt": _composed("sqrt", "inverse"),
    "exp": _plain("exp"),
    "exp2": _exp2,
    "expm1": lambda operation, arithmetic, x: _with(-1.0, "add")(
        operation, arithmetic, arithmetic.elementwise("exp", x)
    ),
    "log": _plain("log"),
    "log1p": _with(1.0, "add", "log"),
    "logistic": _plain("logistic"),
    "sin": _plain("sin"),
    "cos": _plain("cos"),
    "tan": _tan,
    "tanh": _plain("tanh"),
    "sinh": _hyperbolic(-1.0),
    "cosh": _hyperbolic(1.0),
    "asin": _plain("asin"),
    "acos": _plain("acos"),
    "atan": _plain("atan"),
    "erf": _plain("erf"),
    "erfc": lambda operation, arithmetic, x: _composed("negation")(
        operation, arithmetic, arithmetic.elementwise("erf", x)
    ),
    "abs": _plain("absolute"),
    "sign": _plain("sign"),
    "max": _plain("maximum"),
    "min": _plain("minimum"),
    "clamp": _clamp,
    "gt": _compare(swap=False, at_equality=False),
    "ge": _compare(swap=False, at_equality=True),
    "lt": _compare(swap=True, at_equality=False),
    "le": _compare(swap=True, at_equality=True),
    "eq": _plain("equal"),
    "ne": _differ,
    "and": _plain("multiply"),
    "or": _plain("maximum"),
    "not": _plain("negation"),
    "select_n": _select,
    "is_finite": _true,
    "stop_gradient": _plain("held"),
    "reduce_sum": lambda operation, arithmetic, x: arithmetic.total(x, operation.params["axes"]),
    "reduce_max": _fold("maximum"),
    "reduce_min": _fold("minimum"),
    "reduce_prod": _fold("multiply"),
    "cumsum": _cumulative("add"),
    "cumprod": _cumulative("multiply"),
    "dot_general": lambda operation, arithmetic, x, y: arithmetic.dot(x, y, operation.params["dimension_numbers"]),
}


def _scan(operation: Operation, inputs: list[Value], arithmetic: Arithmetic) -> list[Value]:
    params = operation.params
    constants, carried = params["num_consts"], params["num_carry"]
    fixed, carry, rows = inputs[:constants], inputs[constants : constants + carried], inputs[constants + carried :]
    collected: list[list[Value]] = []
    for i in range(params["length"])[:: -1 if params["reverse"] else 1]:
        row = [_move(arithmetic, lambda a, i=i: a[i], value) for value in rows]
        outputs = run_on(params["jaxpr"], [*fixed, *carry, *row], arithmetic)
        carry = outputs[:carried]
        collected.append(outputs[carried:])
    if params["reverse"]:
        collected.reverse()
    stacks = []
    for place, shape in enumerate(operation.shapes[carried:]):
        column = [outputs[place] for outputs in collected]
        if not column:
            stacks.append(np.zeros(shape))
        elif all(map(is_known, column)):
            stacks.append(np.stack(column))
        else:
            column = [arithmetic.wrap(value) if is_known(value) else value for value in column]
            stacks.append(arithmetic.moved(lambda *each: np.stack(each), *column))
    return [*carry, *stacks]


def _while(operation: Operation, inputs: list[Value], arithmetic: Arithmetic) -> list[Value]:
    params = operation.params
    of_test, of_body = params["cond_nconsts"], params["body_nconsts"]
    test, body, carry = inputs[:of_test], inputs[of_test : of_test + of_body], inputs[of_test + of_body :]
    while True:
        goes_on = run_on(params["cond_jaxpr"], [*test, *carry], arithmetic)[0]
        if not is_known(goes_on):
            raise Unsupported("a 'while' whose number of steps depends on the parameters has no rule")
        if not goes_on:
            return carry
        carry = run_on(params["body_jaxpr"], [*body, *carry], arithmetic)


def _cond(operation: Operation, inputs: list[Value], arithmetic: Arithmetic) -> list[Value]:
    which, *arguments = inputs
    branches = operation.params["branches"]
    if is_known(which):
        return run_on(branches[int(np.clip(which, 0, len(branches) - 1))], arguments, arithmetic)
    if len(branches) != 2:
        raise Unsupported("'cond' between more than two branches has no rule")
    outputs = []
    for no, yes in zip(*(run_on(branch, arguments, arithmetic) for branch in branches), strict=True):
        no, yes = (arithmetic.wrap(value) if is_known(value) else value for value in (no, yes))
        outputs.append(arithmetic.elementwise("select", which, yes, no))
    return outputs


def _move(arithmetic: Arithmetic, move: Callable[..., Any], value: Value) -> Value:
    return move(value) if is_known(value) else arithmetic.moved(move, value)


_PROGRAMS: Final = {"scan": _scan, "while": _while, "cond": _cond}
