"""Datasets -> one self-contained HTML file: findings in words, sortable tables, figures, and the numbers as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _checks
from .._files import write_whole

if TYPE_CHECKING:
    import xarray

    from .. import plots
    from ..curvature import CriticalPoint
    from ..problems._metric import Direction

__all__ = [
    "Section",
    "report",
]


class Section(NamedTuple):
    """An extra part of a report: a title, paragraphs, and rows of a table whose columns are the keys."""

    title: str
    paragraphs: Sequence[str] = ()
    rows: Sequence[Mapping[str, object]] = ()


def report(
    tables: xarray.Dataset | xarray.DataTree | Mapping[str, xarray.Dataset | xarray.DataTree],
    path: str | os.PathLike[str],
    *,
    metric: str = "final_loss",
    direction: Direction | None = None,
    title: str = "Sweep report",
    sections: Sequence[Section] = (),
    verdicts: Mapping[str, CriticalPoint] | None = None,
    bounds: Mapping[str, plots.Bound] | None = None,
    figures: str | os.PathLike[str] | None = None,
    command: str = "",
) -> Path:
    """Write one HTML file about one or several sweeps; it needs no network, and the same tables give the same bytes.

    On top stands what was found, in one sentence and a line per sweep. Of every sweep: what ran, what won, with which
    interval and ties, what failed; U curves, heat map, loss curves; a sortable table of configurations. Datasets that
    are no sweep (a slice of the landscape, a spectrum, critical points) get the figure that `plots.plot` picks for
    them, and planes their surface too. All numbers but the histories stand in the page as JSON.

    Arguments:
        tables: a Dataset, a DataTree, or a mapping from names to them. Empty nodes of a tree are passed over.
        path: where to write, for example "runs/report.html"; folders are made, and the file appears whole or not.
        metric: what the winner of a sweep is chosen by, as in `best`.
        direction: "max" or "min", which value of it is the better; as the tables declare when None. Other metrics
            are shown if their tables declare it.
        title: the heading.
        sections: further text and tables, after the sweeps.
        verdicts: a name to the verdict of `classify`, such as of each winner's end point.
        bounds: table name (or optimizer, for a single Dataset) to stability bound(s), drawn as in
            `plots.learning_rate_sensitivity`.
        figures: a folder for the figures as files as well.
        command: the command line to name among the provenance.

    Returns:
        The path written.

    Raises:
        TypeError, ValueError: a Dataset with nothing to draw, an empty one, no table, `path` is a folder, a bound for
            an unknown table, an unknown metric, or one that does not declare its direction.
            ModuleNotFoundError: Jinja or matplotlib is missing.

    Example:
        >>> import tempfile, xarray
        >>> data = {"final_loss": (("learning_rate", "seed"), [[0.3], [0.1]])}
        >>> data["status"] = (("learning_rate", "seed"), [[0], [0]])
        >>> table = xarray.Dataset(data, {"learning_rate": [0.01, 0.1], "seed": [0]}, {"optimizer": "momentum"})
        >>> report(table, tempfile.mkdtemp() + "/report.html").name
        'report.html'
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"path must be a file name, such as {path / 'report.html'}, got the folder {path}")
    from . import _page as page
    from . import _parts as parts
    from ._entries import entries_of

    entries = entries_of(tables, metric, direction)
    bounds = dict(bounds or {})
    for name in bounds:
        _checks.choice("table in bounds", name, [entry.name for entry in entries])
    drawn: dict[str, str | bytes] = {}
    found = [parts.of_findings(entries, verdicts or {})] if any(entry.sweep for entry in entries) else []
    content = [*found, *parts.of_entries(entries, bounds, drawn)]
    content += [parts.of_verdicts(verdicts)] if verdicts else []
    content += [parts.of_section(section, f"section-{i}") for i, section in enumerate(sections, 1)]
    content.append(parts.provenance(entries, command))
    _write(path, page.render(title, content, {entry.name: page.numbers(entry) for entry in entries}))
    for name, picture in drawn.items() if figures is not None else ():
        _write(Path(figures) / name, picture)  # type: ignore[arg-type]
    return path


def _write(path: Path, content: str | bytes) -> None:
    data: Any = content.encode() if isinstance(content, str) else content
    write_whole(path, lambda temporary: temporary.write_bytes(data))
