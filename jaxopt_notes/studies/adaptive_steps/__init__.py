"""Methods that scale each coordinate by its own past gradients: what that evens out, and what it does not.

    x_j <- x_j - a g_j / sqrt(v_j),     v_j a sum (AdaGrad) or an average (RMSProp, Adam) of g_j^2

Sources: Duchi, Hazan and Singer, 2011; Zeiler, 2012; Tieleman and Hinton, 2012; Kingma and Ba, 2015.
"""

from .judge import claims as claims
from .judge import figure as figure
from .measure import run as run
