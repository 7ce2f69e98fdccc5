"""Figures of sweeps and landscapes: from a Dataset to Axes, with no window and no global setting."""

from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure

from .choose import figures as figures
from .choose import plot as plot
from .curves import hidden_labels as hidden_labels
from .curves import loss_curves as loss_curves
from .flow import quiver as quiver
from .flow import streamlines as streamlines
from .heat import heatmap as heatmap
from .lines import convex_set as convex_set
from .lines import curve as curve
from .lines import series as series
from .moving import animate as animate
from .notebook import show_in_notebooks as _show_in_notebooks
from .rotating import rotating_surface as rotating_surface
from .samples import samples as samples
from .sensitivity import Bound as Bound
from .sensitivity import compare as compare
from .sensitivity import learning_rate_sensitivity as learning_rate_sensitivity
from .spreads import histogram as histogram
from .spreads import index_against_loss as index_against_loss
from .spreads import spectrum as spectrum
from .style import alt_text as alt_text
from .style import describe as describe
from .style import new_axes as new_axes
from .style import ordered_styles as ordered_styles
from .style import panels as panels
from .style import set_title as set_title
from .style import style_of as style_of
from .style import write_png as write_png
from .surfaces import contour as contour
from .surfaces import surface as surface

__all__ = [
    "Axes",
    "Bound",
    "Figure",
    "alt_text",
    "animate",
    "compare",
    "contour",
    "convex_set",
    "curve",
    "describe",
    "figures",
    "heatmap",
    "hidden_labels",
    "histogram",
    "index_against_loss",
    "learning_rate_sensitivity",
    "loss_curves",
    "new_axes",
    "ordered_styles",
    "panels",
    "plot",
    "quiver",
    "rotating_surface",
    "samples",
    "series",
    "set_title",
    "spectrum",
    "streamlines",
    "style_of",
    "surface",
    "write_png",
]

_show_in_notebooks()
