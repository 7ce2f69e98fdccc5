"""Adam or momentum: how wide the range of good rates is, who wins when tuned, and a rule of choice by the problem.

A rate is good if the loss falls by at least 90 % of the best fall; the width is that of the unbroken range of good
rates around the best, in decades.

Sources: Kingma and Ba, 2015; Wilson et al., 2017; Choi et al., 2019 (tuning decides); Schmidt et al., 2021.
"""

from .judge import claims as claims
from .judge import figure as figure
from .measure import run as run
