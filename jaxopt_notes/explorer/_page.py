"""The explorer as one file of HTML, which computes in the browser and asks nobody for anything."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .. import _checks
from .._derivatives import dense_hessian
from ..curvature import Kind
from ..curvature._lanczos import euclidean_norm
from ..minimize import Status
from ._bundle import module, style
from ._code import TEMPLATES, styles
from ._controls import described
from ._engine import MOST_STEPS, REACH
from ._lessons import described as lessons
from ._presets import PRESETS, framed
from ._programs import PROGRAMS, VERDICT, function_source
from ._proofs import CLOSE, Proved, prove_points, prove_window
from ._scenes import FARTHEST, Scene, Scenes, catalogue
from ._survey import COLUMNS, CURVE, EVERY, HEIGHT, LEVELS, ROWS, SPACING, WIDTH
from .compile import runtime

CATALOGUE_FILE = Path(__file__).parent / "page" / "catalogue.json"
_MANY = 25  # points beyond which their certificates are left out


def page(scenes: Scenes, first: str, fragment: str = "", framed: bool = False) -> str:
    """The explorer as a page that is complete in itself.

    Arguments:
        scenes: the functions to offer.
        first: the one to begin with.
        fragment: the state to begin with, as it follows # in a link; the function's own when empty.
        framed: whether the page stands in a frame of a notebook, without an address of its own.

    Returns:
        HTML. A Content-Security-Policy allows this script, this style sheet and pictures that the page makes, and
        nothing else.

    Raises:
        NotImplementedError: a function has an operation without a rule in JavaScript; it is named.

    Example:
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> "connect-src" in page({"bowl": catalogue()["bowl"]}, "bowl")
        False
    """
    known = opening(scenes, first) | {"fragment": fragment, "host": "notebook" if framed else "page"}
    # No "<" means no end of the element that holds it.
    data = json.dumps(known, allow_nan=False).replace("<", "\\u003c")
    functions = ",\n".join(f"{json.dumps(name)}: () => {_source(scene)}" for name, scene in scenes.items())
    compiled = f"{engines(scenes)}\nconst FUNCTIONS = {{\n{functions}\n}};"
    script = f"\n{compiled}\n{module()}\n".replace("</script", "<\\/script")
    look = f"\n{style()}\n"
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(look)}'; img-src data: blob:; "
        "media-src blob:; base-uri 'none'; form-action 'none'"
    )
    title = html.escape(f"{known['functions'][first]['title']}: jaxopt-notes explorer")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{look}</style>
</head>
<body class="explorer-page">
<main id="explorer"><noscript>The explorer needs JavaScript.</noscript></main>
<script type="application/json" id="opening">{data}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def engines(scenes: Scenes) -> str:
    """The compiled engines that functions need: `ENGINE[dimension]`."""
    dimensions = sorted({scene.dimension for scene in scenes.values()})
    texts = [PROGRAMS[n].read_text(encoding="utf-8") for n in dimensions]
    held = ", ".join(f"{n}: ENGINE{n}" for n in dimensions)
    return "\n".join([runtime(), *texts, f"const ENGINE = {{ {held} }};"])


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def opening(scenes: Scenes, first: str) -> dict[str, Any]:
    """What a page knows of its functions and optimizers, as JSON."""
    drawn = styles()
    return {
        "functions": {name: _described(scene) for name, scene in scenes.items()},
        "optimizers": {name: one | {"style": drawn[name]} for name, one in described().items()},
        "presets": [preset for preset in PRESETS if preset["function"] in scenes],
        "lessons": lessons(),
        "first": _checks.choice("function", first, scenes),
        "most_steps": MOST_STEPS,
        "drawing": [WIDTH, HEIGHT],
        "survey": {
            "grid": [COLUMNS, ROWS],
            "curve": CURVE,
            "spacing": SPACING,
            "every": EVERY,
            "shares": {spacing: shares.tolist() for spacing, shares in LEVELS.items()},
        },
        "statuses": {int(status): status.name.lower() for status in Status},
        "kinds": [kind.name.lower() for kind in Kind],
        "verdict": VERDICT,
        "reach": REACH,
        "farthest": FARTHEST,
        "close": CLOSE,
        "templates": TEMPLATES,
    }


def _source(scene: Scene) -> str:
    stored = _stored(scene)
    return function_source(scene) if stored is None else stored["source"]


def _described(scene: Scene) -> dict[str, Any]:
    stored = _stored(scene)
    return describe(scene) if stored is None else stored["described"]


def _stored(scene: Scene) -> Any:
    """What `scripts/compile_explorer.py` computed of a function of the catalogue; None of any other."""
    return _catalogue_file().get(scene.name) if catalogue().get(scene.name) is scene else None


@functools.cache
def _catalogue_file() -> dict[str, Any]:
    return json.loads(CATALOGUE_FILE.read_text(encoding="utf-8")) if CATALOGUE_FILE.exists() else {}


def describe(scene: Scene) -> dict[str, Any]:
    """A function, its rate to begin with, and what is proved of its first picture, as JSON.

    Example:
        >>> from jaxopt_notes.explorer._scenes import catalogue
        >>> describe(catalogue()["parabola"])["proved"]["summary"]
        'Proved of this picture: 1 minimum, and no other critical point'
    """
    window = _first_window(scene)
    known = prove_window(scene, window)
    points = [
        {"point": point.tolist(), "kind": kind, "value": float(value)} | _words(proof, len(known.points))
        for point, kind, value, proof in zip(
            known.points, known.kinds, known.values, prove_points(scene, known.points), strict=True
        )
    ]
    return scene.described() | {
        "levels": scene.levels,
        "code": scene.code,
        "rate": _rate(scene),
        "proved": {
            "window": window.tolist(),
            "points": points,
            "complete": known.complete,
            "summary": known.summary,
        },
    }


def _first_window(scene: Scene) -> Float[np.ndarray, "2 n"]:
    """What a page shows at first: the domain, with a margin in a plane; `fitted` in `page/state.js` is the same."""
    if scene.dimension == 1:
        return scene.domain
    low, high = np.array(framed(*scene.domain.tolist()))
    margin = 0.03 * (high - low)
    return np.stack([low - margin, high + margin])


def _words(proof: Proved, count: int) -> dict[str, Any]:
    """The words of a proof; of many points only those that are shown first."""
    return proof._asdict() if count <= _MANY else proof._replace(certificate="")._asdict()


def _rate(scene: Scene) -> float:
    """A learning rate of gradient descent to begin with: 0.4 times what the curvature at the known points allows."""
    points = np.stack([scene.start, *(point for point, _ in scene.minima)])
    with jax.enable_x64(True):
        program, constants = scene.traced
        sizes = jax.vmap(lambda x: euclidean_norm(dense_hessian(lambda x: program(constants, x), x)))(
            jnp.asarray(points)
        )
    largest = float(np.max(np.where(np.isfinite(sizes), sizes, 0)))
    return min(0.8 / largest, 1e300) if largest > 0 else 0.1
