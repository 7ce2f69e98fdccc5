"""What to minimise: test functions, data sets and networks, each a `Problem`."""

from .convolution import Conv as Conv
from .convolution import convolve as convolve
from .datasets import Examples as Examples
from .datasets import digits as digits
from .facts import Facts as Facts
from .facts import KnownPoint as KnownPoint
from .files import cifar10 as cifar10
from .files import mnist as mnist
from .functions import CATALOGUE as CATALOGUE
from .functions import absolute_value as absolute_value
from .functions import ackley as ackley
from .functions import beale as beale
from .functions import bowl as bowl
from .functions import cubic as cubic
from .functions import deep_linear_network as deep_linear_network
from .functions import double_well as double_well
from .functions import exp as exp
from .functions import himmelblau as himmelblau
from .functions import lennard_jones as lennard_jones
from .functions import monkey_saddle as monkey_saddle
from .functions import mueller_brown as mueller_brown
from .functions import parabola as parabola
from .functions import plateau as plateau
from .functions import quadratic as quadratic
from .functions import rastrigin as rastrigin
from .functions import rosenbrock as rosenbrock
from .functions import saddle as saddle
from .functions import six_hump_camel as six_hump_camel
from .functions import stretched_bowl as stretched_bowl
from .functions import styblinski_tang as styblinski_tang
from .functions import tanh as tanh
from .functions import tilted_canyon as tilted_canyon
from .functions import trough as trough
from .functions import x_cos_pi_x as x_cos_pi_x
from .images import CNN as CNN
from .images import ResNet as ResNet
from .images import batch_norm_loss as batch_norm_loss
from .images import classifier as classifier
from .images import digits_cnn as digits_cnn
from .images import digits_resnet as digits_resnet
from .metric import Metric as Metric
from .metric import maximize as maximize
from .models import MLP as MLP
from .models import digits_mlp as digits_mlp
from .problem import Problem as Problem

__all__ = [
    "CATALOGUE",
    "CNN",
    "MLP",
    "Conv",
    "Examples",
    "Facts",
    "KnownPoint",
    "Metric",
    "Problem",
    "ResNet",
    "absolute_value",
    "ackley",
    "batch_norm_loss",
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
