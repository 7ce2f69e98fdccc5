"""Figures of sweeps and landscapes: from a Dataset to Axes, with no window and no global setting."""

from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure

from ._boxes import boxes as boxes
from ._budgets import budget_curves as budget_curves
from ._budgets import sensitivity_ranges as sensitivity_ranges
from ._choose import figures as figures
from ._choose import plot as plot
from ._curves import hidden_labels as hidden_labels
from ._curves import loss_curves as loss_curves
from ._flow import quiver as quiver
from ._flow import streamlines as streamlines
from ._heat import heatmap as heatmap
from ._importances import importance_bars as importance_bars
from ._lines import convex_set as convex_set
from ._lines import curve as curve
from ._lines import series as series
from ._moving import animate as animate
from ._notebook import show_in_notebooks as _show_in_notebooks
from ._passes import passes as passes
from ._passes import profile as profile
from ._rotating import rotating_surface as rotating_surface
from ._samples import samples as samples
from ._sensitivity import Bound as Bound
from ._sensitivity import compare as compare
from ._sensitivity import learning_rate_sensitivity as learning_rate_sensitivity
from ._spreads import histogram as histogram
from ._spreads import index_against_loss as index_against_loss
from ._spreads import spectrum as spectrum
from ._style import alt_text as alt_text
from ._style import describe as describe
from ._style import distinct_styles as distinct_styles
from ._style import legend_below as legend_below
from ._style import new_axes as new_axes
from ._style import ordered_styles as ordered_styles
from ._style import panels as panels
from ._style import set_title as set_title
from ._style import style_of as style_of
from ._style import write_png as write_png
from ._surfaces import contour as contour
from ._surfaces import surface as surface
from ._ticks import round_ticks as round_ticks

__all__ = [
    "Axes",
    "Bound",
    "Figure",
    "alt_text",
    "animate",
    "boxes",
    "budget_curves",
    "compare",
    "contour",
    "convex_set",
    "curve",
    "describe",
    "distinct_styles",
    "figures",
    "heatmap",
    "hidden_labels",
    "histogram",
    "importance_bars",
    "index_against_loss",
    "learning_rate_sensitivity",
    "legend_below",
    "loss_curves",
    "new_axes",
    "ordered_styles",
    "panels",
    "passes",
    "plot",
    "profile",
    "quiver",
    "rotating_surface",
    "round_ticks",
    "samples",
    "sensitivity_ranges",
    "series",
    "set_title",
    "spectrum",
    "streamlines",
    "style_of",
    "surface",
    "write_png",
]

_show_in_notebooks()
