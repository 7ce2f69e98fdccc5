"""Sweeps -> one self-contained HTML file: findings in words, a sortable table, figures, and the numbers as JSON."""

from __future__ import annotations

import html
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import _checks
from ._files import write_whole
from .sweeps.select import Best, best

if TYPE_CHECKING:
    import xarray

    from . import plots

BEST = "★ best"
MOST_ROWS = 500  # a longer table is slow to read and to sort; all numbers are in the JSON


class Section(NamedTuple):
    """An extra part of a report: a title, paragraphs, and rows of a table whose columns are the keys."""

    title: str
    paragraphs: Sequence[str] = ()
    rows: Sequence[Mapping[str, object]] = ()


class Markup(str):
    """Text that is HTML already; any other text is escaped."""


class Median(float):
    """A number over seeds: infinite where failure reaches, NaN where nothing ran."""


class Share(float):
    """A number that a table shows in per cent."""


class Entry(NamedTuple):
    """One sweep: its name, its table, the id of its part of the page, and its winner if any trial succeeded."""

    name: str
    table: xarray.Dataset
    id: str
    winner: Best | None


def report(
    tables: xarray.Dataset | Mapping[str, xarray.Dataset],
    path: str | os.PathLike[str],
    *,
    title: str = "Sweep report",
    sections: Sequence[Section] = (),
    bounds: Mapping[str, plots.Bound] | None = None,
    figures: str | os.PathLike[str] | None = None,
) -> Path:
    """Write one HTML file about one or several sweeps; it needs no network, and the same tables give the same bytes.

    Arguments:
        tables: the Dataset of a sweep, or a mapping from names to Datasets.
        path: where to write, for example "runs/report.html"; folders are made, and the file appears whole or not.
        title: the heading.
        sections: further text and tables, after the sweeps.
        bounds: table name (or optimizer, for a single Dataset) to stability bound(s), drawn as in
            `plots.learning_rate_sensitivity`.
        figures: a folder for the figures as SVG files as well.

    Returns:
        The path written.

    Raises:
        TypeError, ValueError: not the Dataset of a sweep, no table, `path` is a folder, a bound for an unknown table.

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
    entries = _entries(tables)
    bounds = dict(bounds or {})
    for name in bounds:
        _checks.choice("table in bounds", name, [entry.name for entry in entries])
    drawn: dict[str, str] = {}
    parts = [_comparison(entries, drawn)] if len(entries) > 1 else []
    parts += [_sweep(entry, bounds.get(entry.name), drawn) for entry in entries]
    parts += [_extra(section, f"section-{i}") for i, section in enumerate(sections, 1)]
    parts.append(_run_details(entries))
    page = _page(title, entries, sections, parts)
    _write(path, page)
    for name, document in drawn.items() if figures is not None else ():
        file = Path(figures) / f"{name}.svg"  # type: ignore[arg-type]
        _write(file, document)
    return path


def _entries(tables: Any) -> list[Entry]:
    """Check the tables and find each one's winner."""
    from .plots.tables import check_table, failed

    if hasattr(tables, "data_vars") or not isinstance(tables, Mapping):  # a Dataset is a Mapping too
        tables = {str(check_table(tables).attrs.get("optimizer", "sweep")): tables}
    if not tables:
        raise ValueError("tables must hold at least one Dataset, got none")
    entries = []
    for i, (name, table) in enumerate(tables.items(), 1):
        succeeded = (check_table(table).status >= 0) & ~failed(table)
        slug = re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-") or "sweep"
        entries.append(Entry(str(name), table, f"{i}-{slug}", best(table) if succeeded.any() else None))
    return entries


# The parts of the page


def _comparison(entries: Sequence[Entry], drawn: dict[str, str]) -> Markup:
    """The best of each sweep side by side, as a table and as one figure."""
    from . import plots

    rows = []
    for name, table, _, winner in entries:
        row: dict[str, object] = {"sweep": name}
        if winner is None:
            row["best configuration"] = "every trial failed" if (table.status >= 0).any() else "not run"
        else:
            row |= {"best configuration": _words(winner.config), "median final loss": winner.median}
            row |= {"interval (coverage)": _interval(winner), "seeds failed": Share(winner.failed)}
            row["ties"] = len(winner.ties)
        rows.append(row)
    children: list[Markup] = [_element("h2", "The best of each"), _rows_table(rows, "The winner of each sweep")]
    rated = {entry.name: entry.table for entry in entries if entry.winner and "learning_rate" in entry.winner.config}
    if len(rated) > 1 and len({table.attrs.get("problem") for table in rated.values()}) == 1:
        children.append(_figure(plots.compare(rated), "comparison", drawn))
    return _element("section", *children, id="comparison")


def _sweep(entry: Entry, bound: plots.Bound | None, drawn: dict[str, str]) -> Markup:
    """Everything about one sweep."""
    from . import plots

    shown = plots.figures(entry.table, entry.winner.config if entry.winner else None, bound)
    children = [_element("h2", entry.name), *(_element("p", sentence) for sentence in _summary(entry))]
    children += [_figure(ax, f"{entry.id}-{kind}", drawn) for kind, ax in shown]
    return _element("section", *children, _configurations(entry), id=entry.id)


def _summary(entry: Entry) -> Iterator[str]:
    """What was run, what won, what failed and what is missing, one paragraph each."""
    from .plots.style import names
    from .plots.tables import axis_names, failed, heading, status_counts

    table = entry.table
    axes = " × ".join(f"{table.sizes[axis]} values of {axis}" for axis in axis_names(table)) or "one configuration"
    trials, failures = table.status.size, int(failed(table).sum())
    steps = f", {int(table.attrs['steps']):,} steps each" if "steps" in table.attrs else ""
    yield f"{heading(table, {})}: {axes} × {table.sizes['seed']} seeds = {trials:,} trials{steps}."
    if entry.winner is not None:
        yield from _verdict(entry.winner)
    counts = status_counts(table)
    missing = counts.pop("not run", 0)
    how = names(f"{number:,} {text}" for text, number in counts.items() if text not in ("completed", "converged"))
    if missing == trials:
        yield "No trial has run."
        return
    if failures == trials - missing:
        yield f"Every trial failed: {how}."
    else:
        yield f"Failed: {failures:,} of {trials - missing:,} trials, {how}." if failures else "No trial failed."
    if missing:
        yield f"Unfinished: {missing:,} of {trials:,} trials were not run."


def _verdict(winner: Best) -> Iterator[str]:
    """The winner, how sure it is, and what that leaves open."""
    lead = "No configuration succeeded from most of its seeds; the least bad" if winner.failed >= 0.5 else "Best"
    seeds = f"{winner.seeds} seeds, interval" if winner.seeds > 1 else "1 seed, interval"
    what = f"median {winner.metric.replace('_', ' ')} of {winner.median:.4g}"
    yield f"{lead}: {_words(winner.config)}, with a {what} over {seeds} {_interval(winner)}."
    if winner.failed:
        yield f"Of the seeds of this configuration {winner.failed:.0%} failed."
    others = "1 other configuration" if len(winner.ties) == 1 else f"{len(winner.ties)} other configurations"
    yield f"These seeds cannot tell it from {others}." if winner.ties else "No other configuration ties with it."
    yield from (f"Edge of the grid: {edge}." for edge in winner.edges)


def _configurations(entry: Entry) -> Markup:
    """A sortable table of configurations: the winner, then by median, then those that failed, then those not run."""
    from .plots.tables import axis_names, metrics, quartiles

    table, winner = entry.table, entry.winner
    axes = axis_names(table)
    summary = {name: quartiles(table, name).transpose(*axes) for name in metrics(table)}
    loss = summary.pop("final_loss")
    further = {
        name: one.middle for name, one in summary.items() if name.startswith("test") or name.endswith("accuracy")
    }
    rows: list[dict[str, Any]] = []
    for index in np.ndindex(loss.middle.shape):
        config = {axis: float(table[axis].values[i]) for axis, i in zip(axes, index, strict=True)}
        mark = BEST if winner and config == winner.config else "tied" if winner and config in winner.ties else ""
        row: dict[str, Any] = {"": mark, **config, "median final loss": Median(loss.middle[index])}
        row |= {"lower quartile": Median(loss.lower[index]), "upper quartile": Median(loss.upper[index])}
        row |= {"seeds failed": Share(loss.failed[index])}
        rows.append(row | {f"median {name.replace('_', ' ')}": Median(one[index]) for name, one in further.items()})
    rows.sort(key=lambda row: (row[""] != BEST, math.isnan(row["median final loss"]), row["median final loss"]))
    note = "A failed seed counts as worse than any number, so “failed” stands where at least half of the seeds failed."
    if len(rows) > MOST_ROWS:
        note += f" The first {MOST_ROWS} of {len(rows):,} are shown; the JSON in this page has all."
    shown = _rows_table(rows[:MOST_ROWS], f"Configurations of {entry.name}", sortable=True)
    return Markup(_element("h3", "Configurations") + _element("p", note, class_="note") + shown)


def _extra(section: Section, name: str) -> Markup:
    """A section of the caller."""
    children = [_element("h2", section.title), *(_element("p", text) for text in section.paragraphs)]
    if section.rows:
        children.append(_rows_table(section.rows, section.title, sortable=True))
    return _element("section", *children, id=name)


def _run_details(entries: Sequence[Entry]) -> Markup:
    """How each sweep was run: every attribute of its table."""
    keys = dict.fromkeys(key for entry in entries for key in entry.table.attrs)
    rows = [
        {"": str(key).replace("_", " "), **{e.name: str(e.table.attrs.get(key, "")) for e in entries}} for key in keys
    ]
    note = (
        "The numbers of every trial are in this page as JSON, in the element with id “data”, one entry per sweep; "
        "xarray.Dataset.from_dict reads an entry back."
    )
    children = [_rows_table(rows, "Run details"), _element("p", note, class_="note")]
    return _element("section", _element("h2", "Run details"), *children, id="details")


def _figure(ax: plots.Axes, name: str, drawn: dict[str, str]) -> Markup:
    """An inline SVG with its text alternative, which is also the caption."""
    from .plots import style

    text = style.alt_text(ax)
    figure = ax.get_figure(root=True)
    assert figure is not None
    drawn[name] = style.svg_document(figure)
    picture = Markup(style.svg_element(drawn[name], prefix=f"{name}-"))
    box = _element("div", picture, class_="card", role="img", aria_label=text, tabindex="0")
    return _element("figure", box, _element("figcaption", text, aria_hidden="true"))


def _words(config: Mapping[str, float]) -> str:
    from .plots.tables import configuration

    return configuration(config) or "the only configuration"


def _interval(winner: Best) -> str:
    low, high = winner.interval
    return f"{low:.4g} to {high:.4g} ({winner.coverage:.1%})" if winner.seeds > 1 else "unknown from 1 seed"


def _element(tag: str, *children: str, **attributes: str) -> Markup:
    """An HTML element; text and attribute values are escaped unless they are Markup."""
    text = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items())
    inside = "".join(child if isinstance(child, Markup) else html.escape(child) for child in children)
    return Markup(f"<{tag}{text}>{inside}</{tag}>")


def _rows_table(rows: Sequence[Mapping[str, object]], caption: str, *, sortable: bool = False) -> Markup:
    """A table whose columns are the keys of the rows, in a box of its own that scrolls."""
    columns = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    button = [_element("button", column, type="button") if sortable and column else column for column in columns]
    head = _element("thead", _element("tr", *(_element("th", inside, scope="col") for inside in button)))
    body = []
    for row in rows:
        cells = [_cell(row.get(column, "")) for column in columns]
        body.append(_element("tr", *cells, **({"class_": "best"} if row.get("") == BEST else {})))
    kind = {"class_": "sortable"} if sortable else {}
    table = _element("table", _element("caption", caption), head, _element("tbody", *body), **kind)
    return _element("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _cell(value: Any) -> Markup:
    """A cell; numbers carry their full value for sorting."""
    if np.ndim(value) == 0 and hasattr(value, "item"):  # a number of NumPy or JAX
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _element("td", str(value))
    form = ".1%" if isinstance(value, Share) else ".4g" if isinstance(value, float) else ","
    text = format(value, form).replace(".0%", "%")
    if isinstance(value, Median):
        text = {"inf": "failed", "-inf": "failed", "nan": "not run"}.get(text, text)
    return _element("td", text, class_="number", data_value=str(float(value)) if math.isfinite(value) else "")


def _page(title: str, entries: Sequence[Entry], sections: Sequence[Section], parts: Iterable[str]) -> str:
    links = [("comparison", "The best of each")] if len(entries) > 1 else []
    links += [(entry.id, entry.name) for entry in entries]
    links += [(f"section-{i}", section.title) for i, section in enumerate(sections, 1)] + [("details", "Run details")]
    contents = _element("nav", *(_element("a", text, href=f"#{name}") for name, text in links), aria_label="Contents")
    data = Markup(_json({entry.name: _numbers(entry.table) for entry in entries}))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = _element("head", Markup(head), _element("title", title), _element("style", Markup(STYLE)))
    body = [
        _element("header", _element("h1", title), contents),
        _element("main", *(Markup(part + "\n") for part in parts)),
        _element("script", data, type="application/json", id="data"),
        _element("script", Markup(SCRIPT)),
    ]
    page = _element("html", head, _element("body", *(Markup(part + "\n") for part in body)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _numbers(table: xarray.Dataset) -> dict[str, Any]:
    """What is known of every trial, as `xarray.Dataset.to_dict` writes it; the histories are left out."""
    kept = [name for name in table.data_vars if set(table[name].dims) <= set(table.final_loss.dims)]
    return table[kept].drop_dims("step", errors="ignore").to_dict()


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


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #595959; --paper: #fff; --line: #d4d4d4; --link: #005a9c;
  --mark: #fff3c4 }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --soft: #b4b4b4; --paper: #17181a; --line: #43464a;
  --link: #8ec5ff; --mark: #4a4016 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, sans-serif }
h1 { margin: .5rem 0 }
h2 { margin: 3rem 0 .5rem; padding-top: .75rem; border-top: 1px solid var(--line) }
p, figcaption { max-width: 46rem; margin: .4rem 0; overflow-wrap: anywhere }
.note, figcaption { color: var(--soft); font-size: .9rem }
a { color: var(--link) } nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem }
figure { margin: 1.5rem 0 }
.card { overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: .5rem; padding: .75rem }
.card svg { display: block; width: 100%; min-width: 32rem; max-width: 46rem; height: auto; margin: auto }
.scroll { overflow: auto; max-height: 38rem; margin: .75rem 0; border: 1px solid var(--line); border-radius: .5rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums }
caption { text-align: left; padding: .5rem .75rem; color: var(--soft) }
th, td { padding: .35rem .75rem; text-align: left; border-top: 1px solid var(--line); white-space: nowrap }
th { position: sticky; top: 0; background: var(--paper) }
.number { text-align: right } tr.best td { background: var(--mark); font-weight: 600 }
th button { all: unset; cursor: pointer; font-weight: 600 } th button::after { content: " \\2195"; opacity: .7 }
th[aria-sort=ascending] button::after { content: " \\2191" }
th[aria-sort=descending] button::after { content: " \\2193" }
:focus-visible, th button:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    // What failed or did not run stays last in both directions.
    const compare = (a, b) => (a === "") - (b === "") || sign * (a - b || (isNaN(a - b) ? a.localeCompare(b) : 0));
    body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  }));
}
"""
