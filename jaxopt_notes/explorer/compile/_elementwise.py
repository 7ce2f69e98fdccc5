"""One element of an operation that acts on every element alike: the table of expressions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from ..._jaxpr.listing import Operation
from ._emit import Atom, text
from ._values import Refused, Value, Writer, is_paired, kind

# {0}, {1}, {2} are the operands. What a table of "b" holds needs no rounding.
_FLOAT: Final = {
    **{
        name: f"Math.{name}({{0}})"
        for name in (
            *("exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
            *("asinh", "acosh", "atanh", "sqrt", "cbrt", "floor", "ceil", "sign", "abs"),
        )
    },
    "add": "{0}+{1}",
    "add_any": "{0}+{1}",
    "sub": "{0}-{1}",
    "mul": "{0}*{1}",
    "div": "{0}/{1}",
    "neg": "-{0}",
    "max": "Math.max({0},{1})",
    "min": "Math.min({0},{1})",
    "pow": "R.pow({0},{1})",
    "square": "{0}*{0}",
    "rsqrt": "1/Math.sqrt({0})",
    "exp2": "Math.pow(2,{0})",
    "logistic": "1/(1+Math.exp(-{0}))",
    "erf": "R.erf({0})",
    "erfc": "R.erfc({0})",
    "erf_inv": "R.erfInv({0})",
    "lgamma": "R.lgamma({0})",
    "digamma": "R.digamma({0})",
    "atan2": "Math.atan2({0},{1})",
    "rem": "{0}%{1}",
    "nextafter": "R.nextAfter({0},{1})",
}
_INTEGER: Final = {
    "add": "{0}+{1}",
    "add_any": "{0}+{1}",
    "sub": "{0}-{1}",
    "mul": "{0}*{1}",
    "div": "R.quotient({0},{1})",
    "rem": "R.remainder({0},{1})",
    "neg": "0-{0}",
    "max": "Math.max({0},{1})",
    "min": "Math.min({0},{1})",
    "square": "{0}*{0}",
    "abs": "Math.abs({0})",
    "sign": "Math.sign({0})",
}
_BITS: Final = {
    "and": "{0}&{1}",
    "or": "{0}|{1}",
    "xor": "{0}^{1}",
    "not": "~{0}",
    "shift_left": "{1}>>>0>31?0:{0}<<{1}",
    "shift_right_logical": "{1}>>>0>31?0:{0}>>>{1}",
    "shift_right_arithmetic": "{0}>>Math.min({1}>>>0,31)",
    "clz": "Math.clz32({0})",
    "population_count": "R.ones({0})",
}
_BOOLEAN: Final = {
    "and": "{0}&&{1}",
    "or": "{0}||{1}",
    "xor": "{0}!=={1}",
    "not": "!{0}",
    "max": "{0}||{1}",
    "min": "{0}&&{1}",
    "mul": "{0}&&{1}",
    "add": "{0}||{1}",
}
_COMPARED: Final = {
    "eq": "{0}==={1}",
    "ne": "{0}!=={1}",
    "lt": "{0}<{1}",
    "le": "{0}<={1}",
    "gt": "{0}>{1}",
    "ge": "{0}>={1}",
    "is_finite": "Number.isFinite({0})",
    "eq_to": "Object.is({0},{1})",
    "lt_to": "R.before({0},{1})",
    "le_to": "!R.before({1},{0})",
}
_NARROW: Final = ("shift_right_logical", "clz", "population_count")  # what the bits before the first one change
_WORDS: Final = ("i4", "u4")  # whose products a double does not hold
_UNCHANGED: Final = ("copy", "copy_p", "stop_gradient")
_ROUNDED: Final = {"f4": "Math.fround({0})", "i4": "{0}|0", "u4": "{0}>>>0", "i1": "{0}<<24>>24", "u1": "{0}&255"}


def elementwise(writer: Writer, operation: Operation, values: Sequence[Value]) -> list[Value]:
    """The result of an operation of `NAMES`; its elements are computed where they are asked for."""
    shape, dtype = operation.shapes[0], operation.dtypes[0]
    rule = _rule(writer, operation)

    def get(at: Sequence[Any]) -> Atom:
        # Since JAX 0.10 operands may have axes of length 1 beside longer ones, and scalars stand beside arrays.
        return rule([writer.at(value, tuple(at)) if value.shape else value.get(()) for value in values])

    kind(dtype)
    return [Value(shape, dtype, get, cheap=False)]


def _rule(writer: Writer, operation: Operation) -> Callable[[list[Atom]], Atom]:
    """How the atom of a result is made from the atoms of the operands."""
    name, to = operation.name, operation.dtypes[0]
    taken = operation.takes[0]
    special = _SPECIAL.get(name)
    if special is not None:
        return lambda atoms: special(writer, operation, atoms)
    if name in _UNCHANGED:
        return lambda atoms: atoms[0]
    if kind(taken) == "wide":
        return lambda atoms: _wide(writer, operation, atoms)
    held = kind(taken)
    if name in _COMPARED:
        compared = _COMPARED[name if held == "f" else name.removesuffix("_to")]
        return lambda atoms: writer.local(compared, *atoms)
    table = {"f": _FLOAT, "b": _BOOLEAN}.get(held, _INTEGER)
    template = table.get(name)
    if template is None and held in "iu":
        template = _BITS.get(name)
        size = np.dtype(taken).itemsize
        if template is not None and (size == 8 or (size == 1 and name in _NARROW)):
            raise Refused(f"{name!r} of {np.dtype(taken).name} has no rule in JavaScript, whose bits are 32")
    if template is None or (name == "nextafter" and taken == np.float32):
        raise Refused(f"{name!r} of {np.dtype(taken).name} has no rule in JavaScript")
    if name in ("mul", "square") and held in "iu":
        template = product_of(to) if name == "mul" else product_of(to).replace("{1}", "{0}")

    def rule(atoms: list[Atom]) -> Atom:
        found = unit_factor(atoms[0], atoms[1], to) if name == "mul" else None
        return rounded(writer, to, template, *atoms) if found is None else found

    return rule


def product_of(dtype: Any) -> str:
    """The product of two numbers, before it is rounded or wrapped."""
    if _width(dtype) in _WORDS:
        return "Math.imul({0},{1})"
    return "{0}*{1}+0" if kind(dtype) == "i" else "{0}*{1}"  # whole numbers have no -0


def unit_factor(a: Atom, b: Atom, dtype: Any) -> Atom | None:
    """The other factor where one is 1, which changes nothing; None elsewhere."""
    if kind(dtype) != "f":
        return None
    return b if isinstance(a, float) and a == 1.0 else a if isinstance(b, float) and b == 1.0 else None


def rounded(writer: Writer, dtype: Any, template: Any, *atoms: Atom) -> Atom:
    """An expression, or an atom, rounded or wrapped to a type."""
    if not isinstance(template, str):
        template, atoms = "{0}", (template,)
        if _width(dtype) not in _ROUNDED:
            return atoms[0]
    return writer.local(wrapped(dtype, template), *atoms)


def wrapped(dtype: Any, template: str) -> str:
    """An expression whose value is rounded or wrapped to a type."""
    around = _ROUNDED.get(_width(dtype))
    if around is None:
        return template
    return around.replace("{0}", template if "fround" in around else f"({template})")


def _width(dtype: Any) -> str:
    found = np.dtype(dtype)
    return f"{found.kind}{found.itemsize}"


# ---------------------------------------------------------------------------------------------------- words of 64 bits


def _wide(writer: Writer, operation: Operation, atoms: list[Atom]) -> Atom:
    """Unsigned integers of 64 bits, as pairs: what the random numbers of JAX do with their bits."""
    name, (high, low) = operation.name, atoms[0]
    if name in ("and", "or", "xor"):
        other = atoms[1]
        return tuple(writer.local(f"({_BITS[name]})>>>0", *pair) for pair in zip(atoms[0], other, strict=True))
    if name == "not":
        return tuple(writer.local("~{0}>>>0", word) for word in atoms[0])
    if name in ("shift_right_logical", "shift_left"):
        return _shifted(writer, name, high, low, atoms[1])
    if name in ("eq", "ne"):
        joined = "{0}==={2}&&{1}==={3}" if name == "eq" else "{0}!=={2}||{1}!=={3}"
        return writer.local(joined, high, low, *atoms[1])
    raise Refused(f"{name!r} of uint64 has no rule in JavaScript")


def _shifted(writer: Writer, name: str, high: Atom, low: Atom, by: Atom) -> Atom:
    count = by[1]
    if not isinstance(count, int) or not 0 < count < 64:
        if count == 0 and isinstance(count, int):
            return high, low
        raise Refused(f"{name!r} of uint64 by a number that is not constant has no rule in JavaScript")
    if name == "shift_right_logical":
        if count >= 32:
            return 0, writer.local("{0}>>>{1}", high, count - 32)
        return writer.local("{0}>>>{1}", high, count), writer.local(
            "({1}>>>{2}|{0}<<{3})>>>0", high, low, count, 32 - count
        )
    if count >= 32:
        return writer.local("({0}<<{1})>>>0", low, count - 32), 0
    return writer.local("({0}<<{2}|{1}>>>{3})>>>0", high, low, count, 32 - count), writer.local(
        "({0}<<{1})>>>0", low, count
    )


# ------------------------------------------------------------------------------------------------------------ by itself


def _integer_pow(writer: Writer, operation: Operation, atoms: list[Atom]) -> Atom:
    """By squaring, in the order in which JAX multiplies."""
    power, dtype = operation.params["y"], operation.dtypes[0]
    left, base, product = abs(power), atoms[0], None
    times = product_of(dtype)
    while left:
        if left & 1:
            product = base if product is None else rounded(writer, dtype, times, product, base)
        left >>= 1
        base = rounded(writer, dtype, times, base, base) if left else base
    if product is None:
        return 1.0 if kind(dtype) == "f" else 1
    return product if power > 0 else rounded(writer, dtype, "1/{0}", product)


def _select(writer: Writer, operation: Operation, atoms: list[Atom]) -> Atom:
    which, cases = atoms[0], atoms[1:]
    if is_paired(operation.dtypes[0]):
        return tuple(_chosen(writer, operation, which, [case[word] for case in cases]) for word in (0, 1))
    return _chosen(writer, operation, which, cases)


def _chosen(writer: Writer, operation: Operation, which: Atom, cases: list[Atom]) -> Atom:
    if all(text(case) == text(cases[0]) for case in cases):
        return cases[0]
    if kind(operation.takes[0]) == "b":
        if len(cases) == 1:
            return cases[0]
        return cases[bool(which)] if isinstance(which, bool) else writer.local("{0}?{2}:{1}", which, *cases)
    tests = "".join(f"{{0}}==={i}?{{{i + 1}}}:" for i in range(len(cases) - 1))
    return writer.local(f"{tests}{{{len(cases)}}}", which, *cases)


def _clamp(writer: Writer, operation: Operation, atoms: list[Atom]) -> Atom:
    return writer.local("Math.min(Math.max({1},{0}),{2})", *atoms)


def _round(writer: Writer, operation: Operation, atoms: list[Atom]) -> Atom:
    to_even = str(operation.params["rounding_method"]).rsplit(".", 1)[-1] in ("TO_NEAREST_EVEN", "1")
    return writer.local("R.roundEven({0})" if to_even else "R.roundAway({0})", atoms[0])


def _converted(writer: Writer, operation: Operation, atoms: list[Atom]) -> Atom:
    source, to = operation.takes[0], operation.dtypes[0]
    atom, before, after = atoms[0], kind(source), kind(to)
    if after == "wide":
        if before == "wide":
            return atom
        whole = writer.local("+{0}", atom) if before == "b" else atom
        if isinstance(whole, int):
            return divmod(whole % 2**64, 2**32)
        return writer.local("Math.floor({0}/4294967296)>>>0", whole), writer.local("{0}>>>0", whole)
    if before == "wide":
        if after in "iu" and np.dtype(to).itemsize == 4:
            return rounded(writer, to, atom[1])
        return rounded(writer, to, "{0}*4294967296+{1}", *atom)
    if after == "b":
        return atom if before == "b" else writer.local("{0}!==0", atom)
    if isinstance(atom, (bool, int)) and after == "f":
        return float(atom)
    if before == "b":
        return writer.local("+{0}", atom)
    if after == "f" or before in "iu":
        narrower = np.dtype(to).itemsize < np.dtype(source).itemsize or (after, before) in (("u", "i"), ("i", "u"))
        single = to == np.float32 and source != np.float32
        return rounded(writer, to, atom) if single or (after in "iu" and narrower) else atom
    bounds = np.iinfo(to)
    return writer.local("R.whole({0},{1},{2})", atom, int(bounds.min), int(bounds.max))


def _reduced(writer: Writer, operation: Operation, atoms: list[Atom]) -> Atom:
    exponent, fraction = operation.params["exponent_bits"], operation.params["mantissa_bits"]
    own = jnp.finfo(operation.takes[0])
    if exponent >= own.nexp and fraction >= own.nmant:
        return atoms[0]
    return writer.local("R.precision({0},{1},{2})", atoms[0], exponent, fraction)


def _bitcast(writer: Writer, operation: Operation, atoms: list[Atom]) -> Atom:
    source, to = operation.takes[0], operation.dtypes[0]
    if source == np.uint64 and to == np.float64:
        return writer.local("R.fromBits64({0},{1})", *atoms[0])
    if source == np.float64 and to == np.uint64:
        return tuple(writer.local(f"R.{word}64({{0}})", atoms[0]) for word in ("high", "low"))
    if _width(source) in ("u4", "i4") and to == np.float32:
        return writer.local("R.fromBits32({0})", atoms[0])
    if source == np.float32 and _width(to) in ("u4", "i4"):
        return writer.local("R.bits32({0})" if to == np.uint32 else "R.bits32({0})|0", atoms[0])
    if {_width(source), _width(to)} == {"u4", "i4"}:
        return rounded(writer, to, atoms[0])
    raise Refused(f"the bits of {np.dtype(source).name} as {np.dtype(to).name} have no rule in JavaScript")


_SPECIAL: Final[dict[str, Callable[[Writer, Operation, list[Atom]], Atom]]] = {
    "integer_pow": _integer_pow,
    "select_n": _select,
    "clamp": _clamp,
    "round": _round,
    "convert_element_type": _converted,
    "reduce_precision": _reduced,
    "bitcast_convert_type": _bitcast,
}
NAMES: Final = frozenset({*_FLOAT, *_INTEGER, *_BITS, *_BOOLEAN, *_COMPARED, *_UNCHANGED, *_SPECIAL})
