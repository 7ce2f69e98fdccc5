"""Parts -> HTML by a Jinja template; style and script are named by hash in the page's own security policy."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._entries import Entry
from ._parts import Part

if TYPE_CHECKING:
    import jinja2

_FOLDER = Path(__file__).parent
MOST_NUMBERS = 100_000  # of a Dataset that is no sweep


def render(title: str, parts: Sequence[Part], data: Mapping[str, Any]) -> str:
    """The page. Every text is escaped by the template; SVG, style, script and JSON go in as they are."""
    style, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    template = _environment().get_template("page.html.jinja")
    return template.render(title=title, parts=parts, policy=policy, style=style, script=script, data=_json(data))


@functools.cache
def _environment() -> jinja2.Environment:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a report needs Jinja: pip install jaxopt-notes[plots]") from error
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def _hash(text: str) -> str:
    """The name of an inline style or script in a security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def numbers(entry: Entry) -> dict[str, Any]:
    """What is known of every trial, as `xarray.Dataset.to_dict` writes it; without the histories.

    Of a Dataset that is no sweep all variables, unless they are large.
    """
    table = entry.table
    if entry.sweep:
        kept = [name for name in table.data_vars if set(table[name].dims) <= set(table.final_loss.dims)]
        table = table[kept].drop_dims("step", errors="ignore")
    else:
        table = table[[name for name in table.data_vars if table[name].size <= MOST_NUMBERS]]
    found = table.to_dict()
    for name, variable in table.variables.items():
        group = found["coords"] if name in table.coords else found["data_vars"]
        if variable.dtype == np.float32:  # the shortest digits that give the same float32 back
            group[name]["data"] = _shortest(variable.values)
    return found


def _shortest(values: np.ndarray) -> Any:
    digits = [float(str(value)) for value in values.ravel()]
    return np.array(digits).reshape(values.shape).tolist()


def _json(value: Any) -> str:
    """JSON that can stand inside a script element: no NaN, and no end tag."""

    def finite(part: Any) -> Any:
        if isinstance(part, dict):
            return {str(key): finite(inner) for key, inner in part.items()}
        if isinstance(part, list | tuple):
            return [finite(inner) for inner in part]
        part = part.item() if isinstance(part, np.generic) else part
        return None if isinstance(part, float) and not math.isfinite(part) else part

    return json.dumps(finite(value), allow_nan=False, separators=(",", ":"), default=str).replace("<", "\\u003c")
