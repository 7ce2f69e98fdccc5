"""Compiled functions run by V8, the engine of JavaScript in Chromium."""

import functools
import json

import jax
import numpy as np
from py_mini_racer import MiniRacer

from jaxopt_notes.explorer.compile import javascript, runtime

# Numbers as JSON has them, with those that it has not.
_TEXTS = """
const written = (x) => (Object.is(x, -0) ? "-0" : String(typeof x === "boolean" ? Number(x) : x));
const leaves = (results) => JSON.stringify(results.map((x) => (typeof x === "object" ? Array.from(x, written) : written(x))));
const number = (x) => (typeof x === "boolean" || typeof x === "number" ? x : Number(x));
const given = (text) => JSON.parse(text).map((x) => (Array.isArray(x) ? x.map(number) : number(x)));
"""


@functools.cache
def machine():
    racer = MiniRacer()
    racer.eval(runtime() + _TEXTS)
    return racer


def sent(array):
    """An argument as JSON: whole numbers and truth values as they are, other numbers as their digits."""
    value = np.asarray(array)
    items = [item if value.dtype.kind in "biu" else repr(item) for item in value.ravel().tolist()]
    items = [{"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(item, item) for item in items]
    return items if value.ndim else items[0]


def received(results, shapes):
    """Results as arrays of float64."""
    numbers = json.loads(results)
    return [
        np.array([float(x.replace("Infinity", "inf")) for x in (n if isinstance(n, list) else [n])]).reshape(shape)
        for n, shape in zip(numbers, shapes, strict=True)
    ]


class Compiled:
    """A function in JavaScript that takes and returns arrays of numpy."""

    def __init__(self, function, *args):
        script = javascript(function, *args, name="f")
        self.source, self.shapes = script.source, script.shapes
        self.name = f"f{id(self)}"
        machine().eval(f"var {self.name} = (() => {{\n{script.source}\nreturn f;\n}})();0")

    def __call__(self, *args):
        arguments = json.dumps(json.dumps([sent(leaf) for leaf in jax.tree.leaves(args)]))
        return received(machine().eval(f"leaves({self.name}(...given({arguments})))"), self.shapes)


def apart(found, wanted, dtype=np.float64):
    """The largest distance between two arrays in units of the last place; infinite where only one is NaN or infinite."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore", over="ignore"):
        unit = np.spacing(np.maximum(np.abs(wanted), np.finfo(dtype).tiny).astype(dtype)).astype(np.float64)
        distance = np.where(same, 0.0, np.abs(found - wanted) / unit)
    return float(np.max(np.where(np.isnan(distance), np.inf, distance), initial=0.0))
