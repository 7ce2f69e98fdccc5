"""A surface that turns under the mouse, in a browser or a notebook, by the optional plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from .. import _checks
from . import _surfaces as surfaces
from ._ticks import log_ticks

if TYPE_CHECKING:
    import plotly.graph_objects


def rotating_surface(
    table: xr.Dataset,
    *,
    variable: str = "loss",
    scale: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
) -> plotly.graph_objects.Figure:
    """Draw a plane as a surface that can be turned, as a figure of plotly: `pip install jaxopt-notes[plotly]`.

    `figure.show()` opens it, `figure.write_html("surface.html", include_plotlyjs=True)` writes a page that needs no
    network. On a log scale the heights are logarithms; labels and the text under the mouse are in units of the loss.

    Arguments:
        table, variable, scale, vmin, vmax: as in `contour`.

    Returns:
        A `plotly.graph_objects.Figure`.

    Raises:
        TypeError, ValueError: as `contour`. ModuleNotFoundError: plotly is missing.

    Example:
        >>> x = np.linspace(-1, 1, 5)
        >>> table = xr.Dataset({"loss": (("y", "x"), x[:, None] ** 2 - x**2)}, {"x": x, "y": x})
        >>> rotating_surface(table).data[0].z.shape
        (5, 5)
    """
    try:
        import plotly.graph_objects as go
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("a rotating surface needs plotly: pip install jaxopt-notes[plotly]") from error
    values, scale = surfaces.checked_plane(table, variable, scale, vmax)
    if vmin is not None:
        values = np.maximum(values, float(_checks.scalar("vmin", vmin)))
    finite = values[np.isfinite(values)]
    log = scale == "log" and finite.size > 0 and bool(finite.min() > 0)
    heights = np.log10(values) if log else values
    name = surfaces.LABELS.get(variable, variable.replace("_", " "))
    bar: dict[str, Any] = {"title": {"text": name}}
    if log:
        ticks = log_ticks(finite.min(), finite.max())
        bar |= {"tickvals": np.log10(ticks), "ticktext": [f"{tick:g}" for tick in ticks]}
    labels = [surfaces.axis_label(table, axis) for axis in ("x", "y")]
    drawn = go.Surface(
        x=table.x.values, y=table.y.values, z=np.where(np.isfinite(heights), heights, np.nan), customdata=values,
        colorscale="Viridis", colorbar=bar,
        hovertemplate=f"{labels[0]} %{{x:.3g}}<br>{labels[1]} %{{y:.3g}}<br>{name} %{{customdata:.4g}}<extra></extra>",
    )  # fmt: skip
    axes = {f"{axis}axis": {"title": {"text": label}} for axis, label in zip("xy", labels, strict=True)}
    axes |= {"zaxis": bar}
    title = "; ".join(filter(None, [surfaces.heading(table), surfaces.how_made(table)]))
    alt = surfaces._alt(table, variable, values, {})
    # From farther away than plotly's own view, which cuts the names of the axes at the lower edge.
    scene = axes | {"camera": {"eye": {"x": 1.45, "y": -1.75, "z": 1.0}, "center": {"z": -0.15}}}
    room = {"margin": {"l": 0, "r": 0, "t": 45, "b": 0}, "height": 520}
    return go.Figure(drawn, {"title": {"text": title}, "scene": scene, "meta": {"alt": alt}, **room})
