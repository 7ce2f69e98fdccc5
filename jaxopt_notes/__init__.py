"""x"""
from .optimizers import OPTIMIZERS as OPTIMIZERS, adam as adam, gradient_descent as gradient_descent, momentum as momentum, nesterov as nesterov
