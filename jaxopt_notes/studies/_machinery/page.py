"""Results of studies as HTML: one in a notebook, all of them as a page beside their figures."""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..._files import write_whole
from .claim import Outcome, in_words
from .judgement import answers
from .registry import STUDIES

if TYPE_CHECKING:
    import jinja2

    from .runner import Result


@functools.cache
def _templates() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"answers": answers, "in_words": in_words, "holds": Outcome.HOLDS}
    return environment


def as_html(result: Result) -> str:
    """What holds in words, the figure, and the claims in a folded table, for a notebook; self-contained."""
    image = "data:image/png;base64," + base64.b64encode(result.figure.read_bytes()).decode()
    module = _templates().get_template("result.html.jinja").module
    return str(module.study(result, STUDIES[result.name], image))  # type: ignore[attr-defined]


def write_summary(results: Sequence[Result], path: Path, *, seed: int, size: str) -> Path:
    """Write a page about many results; it shows the figures that lie beside it."""
    text = (
        _templates()
        .get_template("summary.html.jinja")
        .render(
            results=results,
            entries=STUDIES,
            words=in_words([claim for result in results for claim in result.claims]),
            seed=seed,
            size=size,
        )
    )
    return write_whole(path, lambda temporary: temporary.write_text(text.lstrip(), encoding="utf-8"))
