"""What to minimise: test functions, data sets and networks, each a `Problem`. Flax loads with the first network."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .. import _checks
from ._adapters import DropoutRate as DropoutRate
from ._battery import Task as Task
from ._battery import battery as battery
from ._datasets import Examples as Examples
from ._datasets import digits as digits
from ._facts import Facts as Facts
from ._facts import KnownPoint as KnownPoint
from ._files import cifar10 as cifar10
from ._files import mnist as mnist
from ._from_equinox import from_equinox as from_equinox
from ._functions import CATALOGUE as CATALOGUE
from ._functions import absolute_value as absolute_value
from ._functions import ackley as ackley
from ._functions import beale as beale
from ._functions import bowl as bowl
from ._functions import cubic as cubic
from ._functions import deep_linear_network as deep_linear_network
from ._functions import double_well as double_well
from ._functions import exp as exp
from ._functions import himmelblau as himmelblau
from ._functions import lennard_jones as lennard_jones
from ._functions import monkey_saddle as monkey_saddle
from ._functions import mueller_brown as mueller_brown
from ._functions import parabola as parabola
from ._functions import plateau as plateau
from ._functions import quadratic as quadratic
from ._functions import rastrigin as rastrigin
from ._functions import rosenbrock as rosenbrock
from ._functions import saddle as saddle
from ._functions import six_hump_camel as six_hump_camel
from ._functions import stretched_bowl as stretched_bowl
from ._functions import styblinski_tang as styblinski_tang
from ._functions import tanh as tanh
from ._functions import tilted_canyon as tilted_canyon
from ._functions import trough as trough
from ._functions import x_cos_pi_x as x_cos_pi_x
from ._metric import Metric as Metric
from ._metric import maximize as maximize
from ._problem import Problem as Problem

if TYPE_CHECKING:
    from ._convolution import Conv as Conv
    from ._convolution import convolve as convolve
    from ._from_linen import from_linen as from_linen
    from ._from_nnx import from_nnx as from_nnx
    from ._images import CNN as CNN
    from ._images import ResNet as ResNet
    from ._images import batch_norm_loss as batch_norm_loss
    from ._images import classifier as classifier
    from ._images import digits_cnn as digits_cnn
    from ._images import digits_resnet as digits_resnet
    from ._models import MLP as MLP
    from ._models import digits_mlp as digits_mlp

__all__ = [
    "CATALOGUE",
    "CNN",
    "MLP",
    "Conv",
    "DropoutRate",
    "Examples",
    "Facts",
    "KnownPoint",
    "Metric",
    "Problem",
    "ResNet",
    "Task",
    "absolute_value",
    "ackley",
    "batch_norm_loss",
    "battery",
    "beale",
    "bowl",
    "cifar10",
    "classifier",
    "convolve",
    "cubic",
    "deep_linear_network",
    "digits",
    "digits_cnn",
    "digits_mlp",
    "digits_resnet",
    "double_well",
    "exp",
    "from_equinox",
    "from_linen",
    "from_nnx",
    "himmelblau",
    "lennard_jones",
    "maximize",
    "mnist",
    "monkey_saddle",
    "mueller_brown",
    "parabola",
    "plateau",
    "quadratic",
    "rastrigin",
    "rosenbrock",
    "saddle",
    "six_hump_camel",
    "stretched_bowl",
    "styblinski_tang",
    "tanh",
    "tilted_canyon",
    "trough",
    "x_cos_pi_x",
]

_OF_FLAX = {
    "Conv": "_convolution",
    "convolve": "_convolution",
    "from_linen": "_from_linen",
    "from_nnx": "_from_nnx",
    "CNN": "_images",
    "ResNet": "_images",
    "batch_norm_loss": "_images",
    "classifier": "_images",
    "digits_cnn": "_images",
    "digits_resnet": "_images",
    "MLP": "_models",
    "digits_mlp": "_models",
}


def __getattr__(name: str) -> Any:
    """Load what is made of flax when it is first asked for: importing flax takes longer than importing optax."""
    if name not in _OF_FLAX:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_checks.nearest(name, __all__)}")
    return getattr(importlib.import_module(f".{_OF_FLAX[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
