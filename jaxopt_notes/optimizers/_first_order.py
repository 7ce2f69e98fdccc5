"""Gradient descent, and the two momentum methods."""

from __future__ import annotations

from typing import NamedTuple

import optax
from jaxtyping import Array, Int, PyTree

from ._base import ArrayRule, Number, Schedule, pair
from ._facts import BLACK, BLUE, SHARE, SKY, Interval, Look, rate

__all__ = ["GradientDescentState", "MomentumState", "gradient_descent", "momentum", "nesterov"]


class GradientDescentState(NamedTuple):
    """State of `gradient_descent`: the number of steps done."""

    count: Int[Array, ""]  # type: ignore[assignment]


class MomentumState(NamedTuple):
    """State of `momentum` and `nesterov`: the number of steps done and the velocity v, shaped like the parameters."""

    count: Int[Array, ""]  # type: ignore[assignment]
    velocity: PyTree


def gradient_descent(learning_rate: Number | Schedule) -> optax.GradientTransformationExtraArgs:
    """Gradient descent; stochastic gradient descent when the gradient is of a minibatch.

        x <- x - a g

    Arguments:
        learning_rate: a >= 0, a number or a schedule `step -> a`. On a quadratic of sharpness L, stable below 2/L.

    Returns:
        An (init, update) pair over pytrees with state `GradientDescentState(count)`.

    Raises:
        TypeError: a number or what a schedule gives is not one number. ValueError: it is NaN, infinite or negative.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.gradient_descent(0.5)
        >>> updates, state = tx.update(jnp.array([2.0]), tx.init(jnp.array([1.0])))
        >>> float(updates[0])
        -1.0

    Source: Cauchy, 1847; with sampled gradients Robbins and Monro, 1951.
    """
    return pair(GRADIENT_DESCENT, learning_rate)


def momentum(
    learning_rate: Number | Schedule, beta: Number = 0.9, dampening: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Gradient descent with momentum, the heavy ball.

        v <- b v + (1 - d) g
        x <- x - a v

    `dampening=0` is the heavy ball. `dampening=beta` makes v an exponentially weighted average of the gradients; it is
    the heavy ball at the learning rate a (1 - b).

    Arguments:
        learning_rate: a >= 0, a number or a schedule. On a quadratic of sharpness L the heavy ball is stable below
            2(1+b)/L.
        beta: b in [0, 1), the share of the velocity that a step keeps.
        dampening: d in [0, 1], the share of the gradient left out of the velocity.

    Returns:
        An (init, update) pair over pytrees with state `MomentumState(count, velocity)`.

    Raises:
        TypeError: a number or what a schedule gives is not one number. ValueError: it is NaN or out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.momentum(0.1, beta=0.5)
        >>> grads = jnp.array([1.0])
        >>> _, state = tx.update(grads, tx.init(grads))
        >>> _, state = tx.update(grads, state)
        >>> float(state.velocity[0])
        1.5

    Source: Polyak, 1964.
    """
    return pair(MOMENTUM, learning_rate, beta=beta, dampening=dampening)


def nesterov(learning_rate: Number | Schedule, beta: Number = 0.9) -> optax.GradientTransformationExtraArgs:
    """Nesterov's accelerated gradient, in the form that takes the gradient where the parameters are.

        v <- b v + g
        x <- x - a (g + b v)

    Arguments:
        learning_rate: a >= 0, a number or a schedule. On a quadratic of sharpness L, stable below (2+2b)/((1+2b)L).
        beta: b in [0, 1), the share of the velocity that a step keeps.

    Returns:
        An (init, update) pair over pytrees with state `MomentumState(count, velocity)`.

    Raises:
        TypeError: a number or what a schedule gives is not one number. ValueError: it is NaN or out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.nesterov(1.0, beta=0.5)
        >>> updates, _ = tx.update(jnp.array([1.0]), tx.init(jnp.array([0.0])))
        >>> float(updates[0])
        -1.5

    Source: Nesterov, 1983; this form Sutskever et al., 2013.
    """
    return pair(NESTEROV, learning_rate, beta=beta)


def _gradient_descent(grad, *, learning_rate):
    return (-learning_rate * grad,)


def _momentum(grad, velocity, *, learning_rate, beta, dampening):
    velocity = beta * velocity + (1 - dampening) * grad
    return -learning_rate * velocity, velocity


def _nesterov(grad, velocity, *, learning_rate, beta):
    velocity = beta * velocity + grad
    return -learning_rate * (grad + beta * velocity), velocity


def _gradient_descent_limit(sharpness):
    return sharpness / 2


def _momentum_limit(sharpness, *, beta, dampening):
    return (1 - dampening) * sharpness / (2 * (1 + beta))


def _nesterov_limit(sharpness, *, beta):
    return (1 + 2 * beta) * sharpness / (2 + 2 * beta)


GRADIENT_DESCENT = ArrayRule(
    name="gradient_descent",
    state_type=GradientDescentState,
    function=_gradient_descent,
    formula=r"x_{t+1} = x_t - \alpha\, g_t",
    hyperparameters={"learning_rate": rate(0.1, scale=("descent", 1.0))},
    divisor=None,
    inverse_limit=_gradient_descent_limit,
    second_axis=None,
    look=Look(BLACK, "-", "o"),
)

MOMENTUM = ArrayRule(
    name="momentum",
    state_type=MomentumState,
    function=_momentum,
    formula=r"v_t = \beta v_{t-1} + (1-d)\, g_t, \qquad x_{t+1} = x_t - \alpha\, v_t",
    hyperparameters={
        "learning_rate": rate(0.05, scale=("descent", 1 / 4)),
        "beta": SHARE,
        "dampening": Interval(1.0, tried=(0.0, 1.0)),
    },
    divisor=None,
    inverse_limit=_momentum_limit,
    second_axis="beta",
    look=Look(BLUE, "-", "s"),
)

NESTEROV = ArrayRule(
    name="nesterov",
    state_type=MomentumState,
    function=_nesterov,
    formula=r"v_t = \beta v_{t-1} + g_t, \qquad x_{t+1} = x_t - \alpha\,(g_t + \beta v_t)",
    hyperparameters={"learning_rate": rate(0.05, scale=("descent", 1 / 4)), "beta": SHARE},
    divisor=None,
    inverse_limit=_nesterov_limit,
    second_axis="beta",
    look=Look(SKY, "--", "D"),
)

RULES = (GRADIENT_DESCENT, MOMENTUM, NESTEROV)
