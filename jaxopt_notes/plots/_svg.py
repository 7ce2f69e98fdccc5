"""Figures as SVG: the same figure gives the same text, as a file or as an element of a page."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure


def svg_document(figure: Figure) -> str:
    """The figure as an SVG file: the same figure gives the same text, with no date.

    Arguments:
        figure: what to draw.

    Returns:
        The text of an .svg file.

    Example:
        >>> svg_document(Figure()).startswith("<?xml")
        True
    """
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "jaxopt_notes", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    # Only what the file refers to needs an id; the others repeat (several artists of one kind) and an id must not.
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)


def svg_element(document: str, *, prefix: str = "") -> str:
    """An SVG file as one `<svg>` element to put into an HTML page; it names no address and brings no style of its own.

    A page whose security policy forbids inline styles would otherwise show it black: what matplotlib writes as style
    stands in plain attributes instead.

    Arguments:
        document: the text of an .svg file, from `svg_document`.
        prefix: goes before every id, so that several figures can share a page.

    Returns:
        SVG text without namespaces, which HTML implies.

    Example:
        >>> svg_element(svg_document(Figure())).startswith("<svg")
        True
    """
    root = ElementTree.fromstring(document)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("style", "metadata"):
                parent.remove(child)
        parent.tag = parent.tag.rpartition("}")[2]
        for name, value in list(parent.attrib.items()):
            del parent.attrib[name]
            for key, text in _attributes(name.rpartition("}")[2], value):
                parent.set(key, _renamed(key, text, prefix))
        parent.text, parent.tail = (part and part.strip() for part in (parent.text, parent.tail))
    # What matplotlib says of all elements in a style sheet, as inherited attributes.
    root.set("stroke-linejoin", "round")
    root.set("stroke-linecap", "butt")
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _renamed(key: str, text: str, prefix: str) -> str:
    """The value of an attribute, in which what names an id has the prefix."""
    if key == "id":
        return prefix + text
    if key == "href" and text.startswith("#"):
        return f"#{prefix}{text[1:]}"
    return text.replace("url(#", f"url(#{prefix}")


def _attributes(name: str, value: str) -> list[tuple[str, str]]:
    """An attribute, or of a style its declarations."""
    if name != "style":
        return [(name, value)] if name != "version" else []
    pairs = [part.split(":", 1) for part in value.split(";") if ":" in part]
    return [(key.strip(), text.strip()) for key, text in pairs]
