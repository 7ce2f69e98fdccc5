"""Compiled functions run by V8, the engine of JavaScript in Chromium."""

import functools
import json

import jax
import numpy as np
from py_mini_racer import MiniRacer

from jaxopt_notes.explorer import _bundle
from jaxopt_notes.explorer._page import engines, opening
from jaxopt_notes.explorer._programs import VERDICT, function_source
from jaxopt_notes.explorer.compile import javascript, runtime

# Numbers as JSON has them, with those that it has not.
_TEXTS = """
const written = (x) => (Object.is(x, -0) ? "-0" : String(typeof x === "boolean" ? Number(x) : x));
const all = (x) => (typeof x === "object" ? Array.from(x, written) : written(x));
const leaves = (results) => JSON.stringify(results.map(all));
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
    """The largest distance of two arrays in units of the last place; infinite where only one is NaN or infinite."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore", over="ignore"):
        unit = np.spacing(np.maximum(np.abs(wanted), np.finfo(dtype).tiny).astype(dtype)).astype(np.float64)
        distance = np.where(same, 0.0, np.abs(found - wanted) / unit)
    return float(np.max(np.where(np.isnan(distance), np.inf, distance), initial=0.0))


class PageEngine:
    """The engine of a page, as the page runs it, without the page."""

    def __init__(self, scenes):
        functions = ",".join(f"{json.dumps(name)}: () => {function_source(scene)}" for name, scene in scenes.items())
        parts = ["const tenth = (value) => Math.round(value * 10) / 10;", engines(scenes)]
        parts += [_bundle._joined((*_bundle.LIBRARIES, *_bundle.COMPUTING), "js")]
        data = json.dumps(json.dumps(opening(scenes, next(iter(scenes)))))
        self.racer = MiniRacer()
        start = f"var page = new Engine(JSON.parse({data}), {{{functions}}});"
        texts = """
        const fields = (x) => Object.fromEntries(Object.entries(x).map(([name, y]) => [name, sent(y)]));
        const sent = (x) => ArrayBuffer.isView(x) ? Array.from(x, sent) : Array.isArray(x) ? x.map(sent)
            : typeof x === "object" && x !== null ? fields(x)
            : typeof x === "number" && !Number.isFinite(x) ? `#${x}` : x;
        const number = (x) => Number(x.slice(1).replace("nan", "NaN").replace("inf", "Infinity"));
        const restored = (fields) => Object.fromEntries(Object.entries(fields).map(([name, x]) =>
            [name, Array.isArray(x) ? x.map((y) => (typeof y === "string" ? number(y) : y))
                : typeof x === "string" && x.startsWith("#") ? number(x) : x]));
        """
        self.racer.eval("\n".join([*parts, start, texts, "0"]))

    def path(self, method, request):
        """What the page knows of one method's path; numbers that JSON has not are restored."""
        call = (
            f"((run) => ({{...run, ...page.judged(ASKED.function, run)}}))(page.descend({json.dumps(method)}, ASKED))"
        )
        return self._asked(call, request)

    def words(self, descent):
        """The page's words for what JAX found."""
        fields = {name: np.asarray(getattr(descent.verdict, name)) for name in VERDICT}
        verdict = {name: sent(field) if field.dtype.kind != "f" else _marked(field) for name, field in fields.items()}
        verdict["kind"] = descent.verdict.kind_name
        call = "((x) => evidence({...x, verdict: restored(x.verdict)}))(ASKED)"
        return self._asked(call, {"gap": descent.gap, "verdict": verdict})

    def run(self, request):
        """The paths of a request."""
        return self._asked("page.run(ASKED)", request)

    def survey(self, request):
        """The ground of a window."""
        return self._asked("page.survey(ASKED)", request)

    def proof(self, request):
        """What is proved where the paths of a request end, and of its window."""
        ends = "Object.entries(page.run(ASKED).runs).map(([name, run]) => [name, page.judged(ASKED.function, run)])"
        return self._asked(f"page.proof(ASKED, Object.fromEntries({ends}))", request)

    def code(self, request):
        """The Python that draws what a request shows."""
        return self._asked("[pythonCell(page.opening, ASKED)]", request)[0]

    def _asked(self, call, request):
        asked = f"JSON.parse({json.dumps(json.dumps(request))})"
        return _restored(json.loads(self.racer.eval(f"JSON.stringify(sent({call.replace('ASKED', asked)}))")))


def _marked(field):
    """Numbers as texts, which JSON keeps."""
    return [f"#{item!r}" for item in field.ravel().tolist()] if field.ndim else f"#{field.item()!r}"


def _restored(value):
    if isinstance(value, list):
        return [_restored(item) for item in value]
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("#"):
        return float(value[1:].replace("Infinity", "inf"))
    return value
