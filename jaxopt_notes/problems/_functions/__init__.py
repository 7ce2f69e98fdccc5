"""Test functions with known critical points: each factory returns a `Problem` with its `Facts`."""

from collections.abc import Callable

from .._problem import Problem
from .clusters import lennard_jones as lennard_jones
from .curves import absolute_value as absolute_value
from .curves import cubic as cubic
from .curves import double_well as double_well
from .curves import exp as exp
from .curves import parabola as parabola
from .curves import plateau as plateau
from .curves import tanh as tanh
from .curves import x_cos_pi_x as x_cos_pi_x
from .multimodal import ackley as ackley
from .multimodal import himmelblau as himmelblau
from .multimodal import mueller_brown as mueller_brown
from .multimodal import rastrigin as rastrigin
from .multimodal import six_hump_camel as six_hump_camel
from .multimodal import styblinski_tang as styblinski_tang
from .saddles import deep_linear_network as deep_linear_network
from .saddles import monkey_saddle as monkey_saddle
from .saddles import saddle as saddle
from .valleys import beale as beale
from .valleys import bowl as bowl
from .valleys import quadratic as quadratic
from .valleys import rosenbrock as rosenbrock
from .valleys import stretched_bowl as stretched_bowl
from .valleys import tilted_canyon as tilted_canyon
from .valleys import trough as trough

CATALOGUE: dict[str, Callable[..., Problem]] = {
    factory.__name__: factory
    for factory in (
        parabola,
        double_well,
        plateau,
        x_cos_pi_x,
        cubic,
        absolute_value,
        tanh,
        exp,
        bowl,
        stretched_bowl,
        tilted_canyon,
        trough,
        quadratic,
        saddle,
        monkey_saddle,
        rosenbrock,
        beale,
        himmelblau,
        six_hump_camel,
        mueller_brown,
        styblinski_tang,
        rastrigin,
        ackley,
        lennard_jones,
        deep_linear_network,
    )
}
"""Every function by its name: `CATALOGUE[name]()` is the `Problem` with its default arguments."""
