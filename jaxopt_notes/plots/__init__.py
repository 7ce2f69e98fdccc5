"""Figures of sweeps: each takes a Dataset and `ax=`, returns Axes, shows nothing and changes no global setting."""

from matplotlib.axes import Axes as Axes

from .choose import figures as figures
from .choose import plot as plot
from .curves import loss_curves as loss_curves
from .heat import heatmap as heatmap
from .sensitivity import Bound as Bound
from .sensitivity import compare as compare
from .sensitivity import learning_rate_sensitivity as learning_rate_sensitivity
from .style import alt_text as alt_text
from .style import style_of as style_of
