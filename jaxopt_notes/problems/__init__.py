"""What to minimise: test functions, data sets and networks, each a `Problem`."""

from .datasets import Examples as Examples
from .datasets import digits as digits
from .functions import quadratic as quadratic
from .functions import rosenbrock as rosenbrock
from .models import MLP as MLP
from .models import digits_mlp as digits_mlp
from .problem import Problem as Problem
