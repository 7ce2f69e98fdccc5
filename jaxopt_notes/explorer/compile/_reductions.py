"""Operations that put many elements together: sums, products of matrices, positions, sorting, scattering."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ..._jaxpr.listing import Operation
from ._elementwise import product_of, rounded, unit_factor, wrapped
from ._emit import Atom, Index
from ._moves import Rule
from ._values import SMALL, UNROLLED, Refused, Value, Writer, kind


def _least(dtype: Any) -> Atom:
    return False if kind(dtype) == "b" else -math.inf if kind(dtype) == "f" else int(np.iinfo(dtype).min)


def _greatest(dtype: Any) -> Atom:
    return True if kind(dtype) == "b" else math.inf if kind(dtype) == "f" else int(np.iinfo(dtype).max)


def _reduction(template: str, start: Callable[[Any], Atom], bits: str = "") -> Rule:
    def rule(writer: Writer, operation: Operation, x: Value, *_: Value) -> list[Value]:
        axes, dtype = operation.params["axes"], operation.dtypes[0]
        merged = product_of(dtype) if template == "{0}*{1}" else template
        if bits and kind(dtype) != "b":
            if np.dtype(dtype).itemsize == 8:
                raise Refused(f"{operation.name!r} of {np.dtype(dtype).name} has no rule in JavaScript")
            merged = bits

        def get(at: Index) -> Atom:
            def step(total: Atom | None, inner: Index) -> Atom:
                outer, reduced = iter(at), iter(inner)
                item = x.get(tuple(next(reduced) if d in axes else next(outer) for d in range(len(x.shape))))
                return item if total is None else rounded(writer, dtype, merged, total, item)

            first = start(dtype) if merged != bits else rounded(writer, dtype, -int(start(dtype)))
            return writer.fold(first, [x.shape[d] for d in axes], step)

        return [Value(operation.shapes[0], dtype, get, cheap=False)]

    return rule


def _dot(writer: Writer, operation: Operation, a: Value, b: Value) -> list[Value]:
    (summed_a, summed_b), (batch_a, batch_b) = operation.params["dimension_numbers"]
    free_a = [d for d in range(len(a.shape)) if d not in (*summed_a, *batch_a)]
    free_b = [d for d in range(len(b.shape)) if d not in (*summed_b, *batch_b)]
    dtype = operation.dtypes[0]
    # What takes part in several sums is computed once.
    a = a if a.cheap or all(b.shape[d] == 1 for d in free_b) else writer.settled(a)
    b = b if b.cheap or all(a.shape[d] == 1 for d in free_a) else writer.settled(b)
    product = product_of(dtype)

    def get(at: Index) -> Atom:
        batch, left = at[: len(batch_a)], at[len(batch_a) : len(batch_a) + len(free_a)]
        right = at[len(batch_a) + len(free_a) :]

        def step(total: Atom | None, inner: Index) -> Atom:
            first = dict(zip((*batch_a, *summed_a, *free_a), (*batch, *inner, *left), strict=True))
            second = dict(zip((*batch_b, *summed_b, *free_b), (*batch, *inner, *right), strict=True))
            p, q = (
                a.get(tuple(first[d] for d in range(len(a.shape)))),
                b.get(tuple(second[d] for d in range(len(b.shape)))),
            )
            term = unit_factor(p, q, dtype)
            term = rounded(writer, dtype, product, p, q) if term is None else term
            return term if total is None else rounded(writer, dtype, "{0}+{1}", total, term)

        return writer.fold(0.0 if kind(dtype) == "f" else 0, [a.shape[d] for d in summed_a], step)

    return [Value(operation.shapes[0], dtype, get, cheap=False)]


def _position(sign: str) -> Rule:
    """The place of the smallest or largest; of equal ones the first, and of a NaN before all."""

    def rule(writer: Writer, operation: Operation, x: Value) -> list[Value]:
        axis, x = operation.params["axes"][0], writer.settled(x)
        better = "{0}" + sign + "{1}||{0}!=={0}&&{1}==={1}"

        def get(at: Index) -> Atom:
            def item(i: Any) -> Atom:
                return x.get((*at[:axis], i, *at[axis:]))

            def next_of(i: Any, best: Atom, place: Atom) -> tuple[Atom, Atom]:
                new = writer.local(better, item(i), best)
                return writer.local("{0}?{1}:{2}", new, item(i), best), writer.local("{0}?{1}:{2}", new, i, place)

            if x.shape[axis] <= UNROLLED:
                found: tuple[Atom, Atom] = (item(0), 0)
                for i in range(1, x.shape[axis]):
                    found = next_of(i, *found)
                return found[1]
            best, place = writer.variable(item(0)), writer.variable(0)
            with writer.loop(x.shape[axis]) as counter:
                found = next_of(counter, writer.read(best), writer.read(place))
                writer.assign(best, found[0])
                writer.assign(place, found[1])
            return writer.read(place)

        return [Value(operation.shapes[0], operation.dtypes[0], get, cheap=False)]

    return rule


def _running(template: str) -> Rule:
    def rule(writer: Writer, operation: Operation, x: Value) -> list[Value]:
        axis, backwards, dtype = operation.params["axis"], operation.params["reverse"], operation.dtypes[0]
        count = x.shape[axis]
        x = writer.settled(x)
        if x.size <= SMALL:
            atoms = np.empty(x.shape, object)
            order = range(count - 1, -1, -1) if backwards else range(count)
            for rest in np.ndindex(*x.shape[:axis], *x.shape[axis + 1 :]):
                total: Atom = None
                for i in order:
                    at = (*rest[:axis], i, *rest[axis:])
                    total = x.get(at) if total is None else rounded(writer, dtype, template, total, x.get(at))
                    atoms[at] = total
            return [writer.scalars(atoms, dtype)]
        store = writer.buffer(x.size)

        def along(rest: Index) -> None:
            def at(i: Any) -> Index:
                place = writer.minus(count - 1, i) if backwards else i
                return (*rest[:axis], place, *rest[axis:])

            total = writer.variable(x.get(at(0)))
            writer.save(store, at(0), x.shape, writer.read(total))
            with writer.loop(count - 1) as i:
                here = at(writer.plus(i, 1))
                writer.assign(total, rounded(writer, dtype, template, writer.read(total), x.get(here)))
                writer.save(store, here, x.shape, writer.read(total))

        writer.loops((*x.shape[:axis], *x.shape[axis + 1 :]), along)
        return [writer.held(store, x.shape, dtype)]

    return rule


def _sort(writer: Writer, operation: Operation, *values: Value) -> list[Value]:
    """Rows sorted by the first operands; the sort is stable, and NaN comes last."""
    axis, keys = operation.params["dimension"], operation.params["num_keys"]
    if axis != len(values[0].shape) - 1:
        raise Refused("'sort' along another axis than the last has no rule in JavaScript")
    whole = [writer.stored(value) for value in values]
    count, rows = values[0].shape[axis], math.prod(values[0].shape[:axis])
    stores = [writer.buffer(value.size) for value in values]
    sources = ",".join(f"{{{k}}}" for k in range(len(values)))
    targets = ",".join(f"{{{len(values) + k}}}" for k in range(len(values)))
    template = f"R.sort({rows},{count},{keys},[{sources}],[{targets}])"
    writer.do(template, *(value.store for value in whole), *stores, writes=stores)
    return [writer.held(s, v.shape, v.dtype) for s, v in zip(stores, values, strict=True)]


def _top_k(writer: Writer, operation: Operation, x: Value) -> list[Value]:
    count, rows = x.shape[-1], math.prod(x.shape[:-1])
    k = operation.params["k"]
    whole, values, places = writer.stored(x), writer.buffer(rows * k), writer.buffer(rows * k)
    writer.do(f"R.topK({rows},{count},{k},{{0}},{{1}},{{2}})", whole.store, values, places, writes=(values, places))
    return [
        writer.held(s, shape, d)
        for s, shape, d in zip((values, places), operation.shapes, operation.dtypes, strict=True)
    ]


_SCATTERED: Final = {
    "scatter": "{3}",
    "scatter-add": "{2}+{3}",
    "scatter_add": "{2}+{3}",
    "scatter-mul": "",  # depends on the type
    "scatter_mul": "",
    "scatter-min": "Math.min({2},{3})",
    "scatter_min": "Math.min({2},{3})",
    "scatter-max": "Math.max({2},{3})",
    "scatter_max": "Math.max({2},{3})",
}


def _scatter(writer: Writer, operation: Operation, x: Value, where: Value, updates: Value) -> list[Value]:
    """A copy in which some elements are changed, one after the other; updates that lie outside are left out."""
    dims = operation.params["dimension_numbers"]
    dtype, shape = operation.dtypes[0], x.shape
    store = writer.buffer(max(x.size, 1))
    writer.fill(store, x)
    where, updates = (value if value.cheap else writer.settled(value) for value in (where, updates))
    skipped = (*dims.inserted_window_dims, *dims.operand_batching_dims)
    window = [d for d in range(len(shape)) if d not in skipped]
    if operation.name == "scatter" and operation.params.get("update_jaxpr") is not None:
        raise Refused("'scatter' that applies a function has no rule in JavaScript; set what the function yields")
    combined = wrapped(dtype, _SCATTERED[operation.name])
    if operation.name.endswith("mul"):
        combined = wrapped(dtype, product_of(dtype).replace("{1}", "{3}").replace("{0}", "{2}"))

    def put(at: Index) -> None:
        batch = [i for d, i in enumerate(at) if d not in dims.update_window_dims]
        inner = dict(zip(window, [at[d] for d in dims.update_window_dims], strict=True))
        index: list[Any] = [inner.get(d, 0) for d in range(len(shape))]
        for d, b in zip(dims.operand_batching_dims, dims.scatter_indices_batching_dims, strict=True):
            index[d] = batch[b]
        sizes = dict(zip(window, [updates.shape[d] for d in dims.update_window_dims], strict=True))
        inside: list[Atom] = []
        for k, d in enumerate(dims.scatter_dims_to_operand_dims):
            start = where.get((*batch, k))
            if str(operation.params.get("mode")).endswith("CLIP"):
                start = writer.clamped(start, shape[d] - sizes.get(d, 1))
            else:
                inside.append(writer.local("{0}>=0&&{0}<={1}", start, shape[d] - sizes.get(d, 1)))
            index[d] = writer.plus(start, index[d])
        place = writer.flat(tuple(index), shape)
        tests = "".join(f"{{{k + 4}}}&&" for k in range(len(inside)))
        old = combined.replace("{2}", "{0}[{1}]")
        writer.do(
            f"if({tests}true){{{{{{0}}[{{1}}]={old};}}}}", store, place, 0, updates.get(at), *inside, writes=store
        )

    if updates.size <= SMALL:
        for at in np.ndindex(*updates.shape):
            put(at)
    else:
        writer.loops(updates.shape, put)
    return [writer.held(store, shape, dtype)]


def _sum_start(dtype: Any) -> Atom:
    return 0.0 if kind(dtype) == "f" else 0


def _product_start(dtype: Any) -> Atom:
    return 1.0 if kind(dtype) == "f" else 1


def _rules() -> dict[str, Rule]:
    rules: dict[str, Rule] = {
        "reduce_sum": _reduction("{0}+{1}", _sum_start),
        "reduce_prod": _reduction("{0}*{1}", _product_start),
        "reduce_max": _reduction("Math.max({0},{1})", _least),
        "reduce_min": _reduction("Math.min({0},{1})", _greatest),
        "reduce_and": _reduction("{0}&&{1}", lambda _: True, "{0}&{1}"),
        "reduce_or": _reduction("{0}||{1}", lambda _: False, "{0}|{1}"),
        "reduce_xor": _reduction("{0}!=={1}", lambda _: False, "{0}^{1}"),
        "dot_general": _dot,
        "argmin": _position("<"),
        "argmax": _position(">"),
        "cumsum": _running("{0}+{1}"),
        "cumprod": _running("{0}*{1}"),
        "cummax": _running("Math.max({0},{1})"),
        "cummin": _running("Math.min({0},{1})"),
        "sort": _sort,
        "top_k": _top_k,
    }
    return rules | dict.fromkeys(_SCATTERED, _scatter)


REDUCTIONS: Final[dict[str, Rule]] = _rules()
