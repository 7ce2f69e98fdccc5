"""The parts of a report: the text, figure and table of each. How that becomes HTML is the template's concern."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import plots
from .._version import __version__
from ..plots import _style as style
from ..plots import _svg as svg
from ..sweeps.table.direction import SUPERLATIVES
from ._entries import Entry
from ._grids import Grid, Share, configurations, grid_of
from ._summary import comparable, findings, in_words, interval, lead, standing, summary

if TYPE_CHECKING:
    from ..curvature import CriticalPoint
    from . import Section


class Picture(NamedTuple):
    """A figure: its text alternative, and an SVG element or the address of a PNG with its data."""

    alt: str
    svg: str = ""
    png: str = ""


class Part(NamedTuple):
    """A part of the page."""

    id: str
    title: str
    paragraphs: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    grids: Sequence[Grid] = ()
    lead: str = ""  # the sentence above all others


Drawn = dict[str, str | bytes]  # file name to its content


def of_findings(entries: Sequence[Entry], verdicts: Mapping[str, CriticalPoint]) -> Part:
    """The whole report in a few lines, for a reader who reads no further."""
    sweeps = [entry for entry in entries if entry.sweep]
    said = [*findings(sweeps)]
    if verdicts:
        kinds = (f"{name}: {point.kind_name.replace('_', ' ')}" for name, point in verdicts.items())
        said.append(f"Verdicts at the end points: {', '.join(kinds)}.")
    return Part("found", "What was found", said, lead=lead(sweeps))


def of_entries(entries: Sequence[Entry], bounds: Mapping[str, plots.Bound], drawn: Drawn) -> Iterator[Part]:
    """What the sweeps come to side by side, then each table."""
    sweeps = [entry for entry in entries if entry.sweep]
    if len(sweeps) > 1:
        yield _comparison(sweeps, drawn)
    for entry in entries:
        yield _sweep(entry, bounds.get(entry.name), drawn) if entry.sweep else _other(entry, drawn)


def _comparison(entries: Sequence[Entry], drawn: Drawn) -> Part:
    """The best of each sweep side by side, as a table and as one figure."""
    rows = []
    for entry in entries:
        row: dict[str, object] = {"sweep": entry.name}
        winner = entry.winner
        if winner is None:
            row["best configuration"] = "every trial failed" if (entry.table.status >= 0).any() else "not run"
        else:
            most = f"{SUPERLATIVES[winner.direction]} {winner.by} {winner.metric.replace('_', ' ')}"
            row |= {"best configuration": in_words(winner.config), most: winner.median}
            row |= {"interval (coverage)": interval(winner), "seeds failed": Share(winner.failed)}
            row["ties"] = len(winner.ties)
        rows.append(row)
    rated = {e.name: e.table for e in entries if e.winner and "learning_rate" in e.table.final_loss.dims}
    together = len(rated) > 1 and comparable([entry for entry in entries if entry.name in rated])
    pictures = [_picture(plots.compare(rated, metric=entries[0].metric), "comparison", drawn)] if together else []
    said = list(standing([entry for entry in entries if entry.winner])) if together else []
    return Part("comparison", "The best of each", said, pictures, [grid_of(rows, "The winner of each sweep")])


def _sweep(entry: Entry, bound: plots.Bound | None, drawn: Drawn) -> Part:
    """Everything about one sweep."""
    shown = plots.figures(entry.table, entry.winner.config if entry.winner else None, bound, metric=entry.metric)
    pictures = [_picture(ax, f"{entry.id}-{kind}", drawn) for kind, ax in shown]
    return Part(entry.id, entry.name, list(summary(entry)), pictures, [configurations(entry)])


def _other(entry: Entry, drawn: Drawn) -> Part:
    """A Dataset that is no sweep: the figure that suits it, and the surface of a plane."""
    ax = plots.plot(entry.table)
    pictures = [_picture(ax, entry.id, drawn)]
    if entry.table.get("loss") is not None and set(entry.table.loss.dims) == {"x", "y"}:
        pictures.append(_picture(plots.surface(entry.table), f"{entry.id}-surface", drawn))
    return Part(entry.id, entry.name, (), pictures)


def of_verdicts(verdicts: Mapping[str, CriticalPoint]) -> Part:
    """The verdict of `classify` at each point."""
    rows = [
        {
            "point": name,
            "verdict": point.kind_name.replace("_", " "),
            "loss": float(point.loss),
            "|gradient|": float(point.gradient_norm),
            "negative directions": int(point.index),
            "smallest eigenvalue": float(point.smallest),
            "largest eigenvalue": float(point.largest),
            "probability": Share(point.probability),
        }
        for name, point in verdicts.items()
    ]
    note = "Whether a point is critical, and what the curvature is there, are two separate statements."
    said = [note, *(f"{name}: {point}" for name, point in verdicts.items())]
    return Part("verdicts", "End points", said, (), [grid_of(rows, "Verdict at each end point", sortable=True)])


def of_section(section: Section, name: str) -> Part:
    """A section of the caller."""
    grids = [grid_of(section.rows, section.title, sortable=True)] if section.rows else []
    return Part(name, section.title, section.paragraphs, (), grids)


def provenance(entries: Sequence[Entry], command: str) -> Part:
    """How each table was made: its seeds and every attribute; and who wrote the page."""
    keys = dict.fromkeys(key for entry in entries for key in entry.table.attrs)
    rows: list[dict[str, Any]] = []
    if any(entry.sweep for entry in entries):
        rows.append({"": "seeds", **{entry.name: _seeds(entry) for entry in entries}})
    for key in keys:
        values = {entry.name: str(entry.table.attrs.get(key, "")) for entry in entries}
        rows.append({"": str(key).replace("_", " "), **values})
    said = [f"Command: {command}"] if command else []
    said.append(f"This page was written by jaxopt-notes {__version__}.")
    said.append(
        "The numbers of every trial are in this page as JSON, in the element with id “data”, one entry per table; "
        "xarray.Dataset.from_dict reads an entry back. Histories are left out, as they would make the page large."
    )
    return Part("provenance", "Provenance", said, (), [grid_of(rows, "How each table was made")] if rows else [])


def _seeds(entry: Entry) -> str:
    if not entry.sweep:
        return ""
    values = entry.table["seed"].values
    if len(values) > 2 and np.array_equal(values, np.arange(values[0], values[0] + len(values))):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values.tolist()))


def _picture(ax: plots.Axes, name: str, drawn: Drawn) -> Picture:
    """The figure as an SVG element, or as a PNG if it is three-dimensional, which is far smaller."""
    figure: Any = ax.get_figure(root=True)
    alt = style.alt_text(ax)
    if ax.name == "3d":
        file = io.BytesIO()
        style.write_png(figure, file, dpi=110)
        drawn[f"{name}.png"] = file.getvalue()
        return Picture(alt, png="data:image/png;base64," + base64.b64encode(file.getvalue()).decode())
    document = svg.svg_document(figure)
    drawn[f"{name}.svg"] = document
    return Picture(alt, svg=svg.svg_element(document, prefix=f"{name}-"))
