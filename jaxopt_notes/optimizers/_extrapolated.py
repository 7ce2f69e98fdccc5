"""Methods that add the change of the gradient to it, as Nesterov's momentum does without a second gradient."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from .._numerics import divide, real_dtype, sqrt, squared_modulus
from ._base import ArrayRule, Number, Schedule, pair
from ._facts import HIDDEN, ORANGE, SHARE, Divisor, Look, rate

__all__ = ["AdanState", "adan"]


class AdanState(NamedTuple):
    """State of `adan`: steps done, averages of the gradient, of its change, and of their square; the last gradient."""

    count: Int[Array, ""]  # type: ignore[assignment]
    mu: PyTree
    change: PyTree
    nu: PyTree
    gradient: PyTree


def adan(
    learning_rate: Number | Schedule,
    b1: Number = 0.98,
    b2: Number = 0.92,
    b3: Number = 0.99,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    weight_decay: Number = 0.0,
    *,
    extrapolation: Number | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Adan: Nesterov's momentum, by the change of the gradient, over the root of an average square.

        c = g - g', 0 at the first step           (g' the gradient of the step before)
        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) c
        n <- b3 n + (1 - b3) |g + e c|^2
        d = (m/(1 - b1^t) + e v/(1 - b2^t)) / (sqrt(n/(1 - b3^t) + eps_root) + eps)
        x <- (x - a d) / (1 + a w)

    The memories are one minus the paper's betas, and the averages are corrected for their start, as in the authors'
    code. e = b2 in the paper. optax 0.2.8 is `extrapolation=1 - b2, eps_root=1e-8`; its weight decay is AdamW's.

    Stable below 2/((1-b1)/(1+b1) L + 2e (1-b2)/(1+b2) L - w)
    on a quadratic of sharpness L, seen through the divisor.

    Arguments:
        learning_rate: a >= 0, a number or a schedule, in units of the parameters.
        b1: in [0, 1), memory of the average gradient.
        b2: in [0, 1), memory of the average change of the gradient.
        b3: in [0, 1), memory of the average square.
        eps: >= 0, added outside the root, in units of the gradient.
        eps_root: >= 0, added inside the root.
        weight_decay: w >= 0, per unit of the learning rate.
        extrapolation: e >= 0, how much of the change is added to the gradient; b2 when None, which is static.

    Returns:
        An (init, update) pair over pytrees with state `AdanState(count, mu, change, nu, gradient)`; update needs the
        parameters.

    Raises:
        TypeError: a number or what a schedule gives is not one number. ValueError: it is NaN or out of range, or update
            gets no parameters.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx, x = jon.adan(0.1), jnp.zeros(2)
        >>> updates, state = tx.update(jnp.array([3.0, -0.001]), tx.init(x), x)
        >>> [round(float(u), 4) for u in updates]
        [-0.1, 0.1]

    Source: Xie, Zhou, Li, Lin and Yan, 2022.
    """
    numbers = {"b1": b1, "b2": b2, "b3": b3, "eps": eps, "eps_root": eps_root, "weight_decay": weight_decay}
    if extrapolation is not None:
        numbers["extrapolation"] = extrapolation
    return pair(ADAN, learning_rate, _adan_slots, **numbers)


def _adan_slots(param):
    nothing = jnp.zeros_like(param)
    return nothing, nothing, jnp.zeros_like(param, real_dtype(param.dtype)), nothing


def _adan(
    grad,
    param,
    mu,
    change,
    nu,
    last,
    *,
    learning_rate,
    b1,
    b2,
    b3,
    eps,
    eps_root,
    weight_decay,
    count,
    b1_correction,
    b2_correction,
    b3_correction,
    extrapolation=None,
):
    share = b2 if extrapolation is None else extrapolation
    turn = jnp.where(count > 1, grad - last, 0)
    mu = b1 * mu + (1 - b1) * grad
    change = b2 * change + (1 - b2) * turn
    nu = b3 * nu + (1 - b3) * squared_modulus(grad + share * turn)
    ahead = mu / b1_correction + share * change / b2_correction
    direction = divide(ahead, sqrt(nu / b3_correction + eps_root) + eps)
    decayed = direction + weight_decay * param.astype(direction.dtype)
    return -learning_rate / (1 + learning_rate * weight_decay) * decayed, mu, change, nu, grad


def _adan_divisor(nu, *, b3_correction, eps, eps_root, **others):
    return sqrt(nu / b3_correction + eps_root) + eps


def _adan_limit(sharpness, *, b1, b2, weight_decay, extrapolation=None, **others):
    share = b2 if extrapolation is None else extrapolation
    felt = (1 - b1) / (1 + b1) + 2 * share * (1 - b2) / (1 + b2)
    return (felt * sharpness - weight_decay) / 2


ADAN = ArrayRule(
    name="adan",
    state_type=AdanState,
    function=_adan,
    uses_params=True,
    uses_count=True,
    debias=("b1", "b2", "b3"),
    formula=(
        r"v_t = \beta_2 v_{t-1} + (1-\beta_2)(g_t - g_{t-1}), \quad "
        r"n_t = \beta_3 n_{t-1} + (1-\beta_3)\,(g_t + \beta_2 (g_t - g_{t-1}))^2, \quad "
        r"x_{t+1} = x_t - \alpha\, \frac{\hat m_t + \beta_2 \hat v_t}{\sqrt{\hat n_t} + \varepsilon}"
    ),
    hyperparameters={
        "learning_rate": rate(0.1, scale=("width", 1 / 50)),
        "b1": SHARE,
        "b2": SHARE,
        "b3": SHARE,
        "eps": HIDDEN,
        "eps_root": HIDDEN,
        "weight_decay": HIDDEN,
        "extrapolation": HIDDEN,
    },
    divisor=Divisor(_adan_divisor, ("nu",)),
    inverse_limit=_adan_limit,
    second_axis="b1",
    look=Look(ORANGE, "-", "<"),
)

RULES = (ADAN,)
