"""Figures in notebooks: what the plots return shows itself as the last line of a cell.

pyplot does so only for the figures it keeps, and ours it does not know.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import _style as style


def show_in_notebooks() -> None:
    """Teach the running notebook, if there is one, to show our figures and Axes as pictures."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    formatters = getattr(getattr(shell, "display_formatter", None), "formatters", {})
    if "image/png" in formatters:
        formatters["image/png"].for_type(Axes, as_png)
        if Figure not in formatters["image/png"].type_printers:
            formatters["image/png"].for_type(Figure, as_png)


def as_png(drawn: Axes | Figure) -> tuple[bytes, dict[str, Any]] | None:
    """The picture and its alternative text; nothing for what pyplot keeps, which shows that itself."""
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    if figure is None or hasattr(figure, "number"):
        return None
    file = io.BytesIO()
    style.write_png(figure, file)
    texts = [style.alt_text(ax) for ax in figure.axes if ax.get_label() != "<colorbar>"]
    return file.getvalue(), {"alt": " ".join(texts)}
