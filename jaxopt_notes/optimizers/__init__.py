"""Optimizers as pure (init, update) pairs over pytrees; `OPTIMIZERS` maps each name to its factory.

Wrong use raises before anything is compiled: a number out of range when the optimizer is built, integer parameters in
`init`, gradients that do not fit the state or the parameters in `update`. Of a traced number only type and shape are
known: one out of range is used as it is. A decay that is 1, or that becomes 1 in the precision of the parameters (which
is checked for the default precision only), makes Adam's first step NaN; `minimize` reports it as non_finite.
"""

from collections.abc import Callable

import optax

from .adaptive import AdadeltaState as AdadeltaState
from .adaptive import AdagradState as AdagradState
from .adaptive import AdamState as AdamState
from .adaptive import RMSPropState as RMSPropState
from .adaptive import adadelta as adadelta
from .adaptive import adagrad as adagrad
from .adaptive import adam as adam
from .adaptive import adamw as adamw
from .adaptive import rmsprop as rmsprop
from .evaluation import evaluation_params as evaluation_params
from .first_order import GradientDescentState as GradientDescentState
from .first_order import MomentumState as MomentumState
from .first_order import gradient_descent as gradient_descent
from .first_order import momentum as momentum
from .first_order import nesterov as nesterov
from .rate import current_learning_rate as current_learning_rate
from .second_order import NewtonState as NewtonState
from .second_order import newton as newton
from .second_order import saddle_free_newton as saddle_free_newton

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    factory.__name__: factory
    for factory in (
        *(gradient_descent, momentum, nesterov),
        *(adagrad, adadelta, rmsprop, adam, adamw),
        *(newton, saddle_free_newton),
    )
}
