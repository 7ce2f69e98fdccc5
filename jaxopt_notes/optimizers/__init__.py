"""Optimizers as pure (init, update) pairs over pytrees: `OPTIMIZERS` has the factory of each name, `RULES` its facts.

Wrong use raises before anything is compiled: a number out of range when the optimizer is built, integer parameters in
`init`, gradients that do not fit the state or the parameters in `update`. Of a traced number only type and shape are
known: one out of range is used as it is. A decay that is 1, or that becomes 1 in the precision of the parameters (which
is checked for the default precision only), makes Adam's first step NaN; `minimize` reports it as non_finite.
"""

from collections.abc import Callable

import optax

from . import _adaptive as adaptive
from . import _extrapolated as extrapolated
from . import _first_order as first_order
from . import _moments as moments
from . import _second_order as second_order
from ._adaptive import *  # noqa: F403
from ._base import ArrayRule as ArrayRule
from ._base import Rule as Rule
from ._evaluation import evaluation_params as evaluation_params
from ._extrapolated import *  # noqa: F403
from ._first_order import *  # noqa: F403
from ._moments import *  # noqa: F403
from ._rate import current_learning_rate as current_learning_rate
from ._second_order import *  # noqa: F403

__all__ = ["OPTIMIZERS", "RULES", "ArrayRule", "Rule", "current_learning_rate", "evaluation_params"]
__all__ += adaptive.__all__
__all__ += extrapolated.__all__
__all__ += first_order.__all__
__all__ += moments.__all__
__all__ += second_order.__all__

FAMILIES = (first_order, adaptive, moments, extrapolated, second_order)
RULES: dict[str, Rule] = {rule.name: rule for family in FAMILIES for rule in family.RULES}
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    rule.name: getattr(family, rule.name) for family in FAMILIES for rule in family.RULES
}
