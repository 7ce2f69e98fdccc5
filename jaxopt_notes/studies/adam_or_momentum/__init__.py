"""Adam or momentum: who wins after how much tuning, how wide the range of good rates is, and a rule of choice.

Tuned methods are compared by `race`: some seeds choose the configuration and others score it, and the curve over the
trials of tuning takes the place of one number. The width is that of `sensitivity`: the decades of constant rates that
end within a factor of the best loss; it counts as wider only if it is so at both factors.

Sources: Kingma and Ba, 2015; Wilson et al., 2017; Choi et al., 2019 (tuning decides); Sivaprasad et al., 2020 (tuning
as a cost); Schmidt et al., 2021.
"""

from .judge import claims as claims
from .judge import figure as figure
from .measure import run as run
