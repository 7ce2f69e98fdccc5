"""Methods that average the gradient, and divide by the root of an average of its square or take the sign.

Where `eps` stands differs between libraries: outside the root in torch and in Adam's paper, inside in others. Here
`eps` is outside and `eps_root` inside, so each library is a point in our hyperparameters: see the docstrings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree

from .._numerics import divide, real_dtype, sqrt, squared_modulus
from ._base import ArrayRule, Number, Schedule, pair
from ._facts import HIDDEN, ORANGE, SHARE, SKY, SMALL, VERMILLION, Divisor, Interval, Look, Without, rate

__all__ = ["AdamState", "LionState", "adam", "adamw", "lion"]

Amsgrad = bool | Literal["corrected"]


class AdamState(NamedTuple):
    """State of `adam`: steps done, average gradient `mu`, average squared gradient `nu` (real); `nu_max` if amsgrad."""

    count: Int[Array, ""]  # type: ignore[assignment]
    mu: PyTree
    nu: PyTree
    nu_max: PyTree = None


class LionState(NamedTuple):
    """State of `lion`: steps done and the average gradient `mu`."""

    count: Int[Array, ""]  # type: ignore[assignment]
    mu: PyTree


def adam(
    learning_rate: Number | Schedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    *,
    amsgrad: Amsgrad = False,
) -> optax.GradientTransformationExtraArgs:
    """Adam: momentum over the root of the average squared gradient, both corrected for their start at zero.

        m <- b1 m + (1 - b1) g
        n <- b2 n + (1 - b2) |g|^2
        x <- x - a m/(1 - b1^t) / (sqrt(n/(1 - b2^t) + eps_root) + eps)
        amsgrad=True             N <- max(N, n), and N/(1 - b2^t) in place of n/(1 - b2^t)
        amsgrad="corrected"      N <- max(N, n/(1 - b2^t)), and N in its place

    A coordinate whose gradients were all exactly zero does not move, and derivatives through it exist.

    Stable below (2+2b1)/((1-b1)L) on a quadratic of sharpness L, seen through the divisor.

    Arguments:
        learning_rate: a >= 0, a number or a schedule, in units of the parameters: about the largest move per step.
        b1: in [0, 1), memory of the average gradient.
        b2: in [0, 1), memory of the average squared gradient.
        eps: >= 0, added outside the root, in units of the gradient.
        eps_root: >= 0, added inside the root.
        amsgrad: divide by the largest average so far, so that no coordinate's rate grows: True takes it before the
            correction, as torch and keras do, "corrected" after it, as `optax.amsgrad` does. The second one holds the
            first steps' averages, which are of few gradients. Static.

    Returns:
        An (init, update) pair over pytrees with state `AdamState(count, mu, nu, nu_max)`; a slot not used is None.

    Raises:
        TypeError: a number or what a schedule gives is not one number. ValueError: it is NaN or out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.adam(0.1)
        >>> updates, _ = tx.update(jnp.array([3.0, -0.001]), tx.init(jnp.zeros(2)))
        >>> [round(float(u), 4) for u in updates]
        [-0.1, 0.1]

    Source: Kingma and Ba, 2015; amsgrad Reddi, Kale and Kumar, 2018.
    """
    amsgrad, rule = _checked_amsgrad(amsgrad), ADAM
    if amsgrad == "corrected":
        rule = replace(ADAM, function=_adam_corrected_maximum, divisor=_CORRECTED)
    return pair(rule, learning_rate, _AdamSlots(bool(amsgrad)), b1=b1, b2=b2, eps=eps, eps_root=eps_root)


def adamw(
    learning_rate: Number | Schedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    weight_decay: Number = 1e-4,
    *,
    amsgrad: Amsgrad = False,
) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled weight decay: the pull to zero is not scaled by the gradients' history.

        x <- x - a (adam's direction + w x)

    torch's default is `weight_decay=1e-2`, optax's 1e-4.

    Stable below (2+2b1)/((1-b1)L + (1+b1)w) on a quadratic of sharpness L, seen through the divisor.

    Arguments:
        learning_rate: a >= 0, a number or a schedule.
        b1, b2, eps, eps_root, amsgrad: as in `adam`.
        weight_decay: w >= 0, per unit of the learning rate.

    Returns:
        An (init, update) pair over pytrees with state `AdamState(count, mu, nu, nu_max)`; update needs the parameters.

    Raises:
        TypeError: a number or what a schedule gives is not one number. ValueError: it is NaN or out of range, or update
            gets no parameters.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx, x = jon.adamw(0.1, weight_decay=0.5), jnp.array([2.0])
        >>> updates, _ = tx.update(jnp.array([0.0]), tx.init(x), x)
        >>> round(float(updates[0]), 4)
        -0.1

    Source: Loshchilov and Hutter, 2019.
    """
    amsgrad, rule = _checked_amsgrad(amsgrad), ADAMW
    if amsgrad == "corrected":
        rule = replace(ADAMW, function=_adamw_corrected_maximum, divisor=_CORRECTED)
    numbers = {"b1": b1, "b2": b2, "eps": eps, "eps_root": eps_root, "weight_decay": weight_decay}
    return pair(rule, learning_rate, _AdamSlots(bool(amsgrad)), **numbers)


def lion(
    learning_rate: Number | Schedule, b1: Number = 0.9, b2: Number = 0.99, weight_decay: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Lion: the sign of an average gradient, so that every coordinate moves by the learning rate.

        x <- x - a (sign(b1 m + (1 - b1) g) + w x)
        m <- b2 m + (1 - b2) g

    The paper uses a learning rate 3 to 10 times smaller than AdamW's, and a weight decay as much larger. keras is the
    default; optax is `weight_decay=1e-3`. A coordinate whose gradients were all exactly zero does not move. The sign of
    a complex coordinate is its direction, of modulus 1.

    The length of a step does not shrink with the gradient, so that a constant rate ends in steps around the minimum: no
    rate is stable on a quadratic. Give a schedule that decays to zero.

    Arguments:
        learning_rate: a >= 0, a number or a schedule, in units of the parameters: the move of every coordinate.
        b1: in [0, 1), share of the average gradient in the direction.
        b2: in [0, 1), memory of the average gradient.
        weight_decay: w >= 0, per unit of the learning rate.

    Returns:
        An (init, update) pair over pytrees with state `LionState(count, mu)`; update needs the parameters.

    Raises:
        TypeError: a number or what a schedule gives is not one number. ValueError: it is NaN or out of range, or update
            gets no parameters.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx, x = jon.lion(0.1), jnp.zeros(2)
        >>> updates, _ = tx.update(jnp.array([3.0, -0.001]), tx.init(x), x)
        >>> [round(float(u), 4) for u in updates]
        [-0.1, 0.1]

    Source: Chen et al., 2023.
    """
    return pair(LION, learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)


@dataclass(frozen=True)
class _AdamSlots:
    """Makes the slots of Adam, with one for the largest average if that is needed."""

    maximum: bool

    def __call__(self, param):
        square = jnp.zeros_like(param, real_dtype(param.dtype))
        return jnp.zeros_like(param), square, square if self.maximum else None


def _checked_amsgrad(amsgrad: Any) -> Amsgrad:
    if isinstance(amsgrad, (bool, np.bool_)):
        return bool(amsgrad)
    if isinstance(amsgrad, str) and amsgrad == "corrected":
        return "corrected"
    raise ValueError(
        f"amsgrad must be False, True (the largest average before its correction, as in torch and keras) or "
        f"'corrected' (after it, as in optax.amsgrad), got {amsgrad!r}"
    )


def _adam(grad, mu, nu, nu_max, *, learning_rate, b1, b2, eps, eps_root, b1_correction, b2_correction):
    mu = b1 * mu + (1 - b1) * grad
    nu = b2 * nu + (1 - b2) * squared_modulus(grad)
    nu_max = None if nu_max is None else jnp.maximum(nu_max, nu)
    mu_hat = mu / b1_correction
    nu_hat = (nu if nu_max is None else nu_max) / b2_correction
    return -learning_rate * divide(mu_hat, sqrt(nu_hat + eps_root) + eps), mu, nu, nu_max


def _adam_corrected_maximum(
    grad, mu, nu, nu_max, *, learning_rate, b1, b2, eps, eps_root, b1_correction, b2_correction
):
    mu = b1 * mu + (1 - b1) * grad
    nu = b2 * nu + (1 - b2) * squared_modulus(grad)
    nu_max = jnp.maximum(nu_max, nu / b2_correction)
    mu_hat = mu / b1_correction
    return -learning_rate * divide(mu_hat, sqrt(nu_max + eps_root) + eps), mu, nu, nu_max


def _adamw(grad, param, *slots, weight_decay, **numbers):
    update, *slots = _adam(grad, *slots, **numbers)
    return update - numbers["learning_rate"] * weight_decay * param.astype(update.dtype), *slots


def _adamw_corrected_maximum(grad, param, *slots, weight_decay, **numbers):
    update, *slots = _adam_corrected_maximum(grad, *slots, **numbers)
    return update - numbers["learning_rate"] * weight_decay * param.astype(update.dtype), *slots


def _lion(grad, param, mu, *, learning_rate, b1, b2, weight_decay):
    direction = jnp.sign(b1 * mu + (1 - b1) * grad)
    decayed = direction + weight_decay * param.astype(direction.dtype)
    return -learning_rate * decayed, b2 * mu + (1 - b2) * grad


def _adam_divisor(nu, nu_max, *, b2_correction, eps, eps_root, **others):
    return sqrt((nu if nu_max is None else nu_max) / b2_correction + eps_root) + eps


def _corrected_maximum_divisor(nu_max, *, eps, eps_root, **others):
    return sqrt(nu_max + eps_root) + eps


def _adam_limit(sharpness, *, b1, **others):
    return (1 - b1) * sharpness / (2 + 2 * b1)


def _adamw_limit(sharpness, *, b1, weight_decay, **others):
    # The decay pulls as a curvature does that no momentum averages.
    return ((1 - b1) * sharpness + (1 + b1) * weight_decay) / (2 + 2 * b1)


ADAM = ArrayRule(
    name="adam",
    state_type=AdamState,
    function=_adam,
    debias=("b1", "b2"),
    formula=(
        r"m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \quad n_t = \beta_2 n_{t-1} + (1-\beta_2) g_t^2, \quad "
        r"x_{t+1} = x_t - \alpha\, \frac{m_t/(1-\beta_1^t)}{\sqrt{n_t/(1-\beta_2^t)} + \varepsilon}"
    ),
    hyperparameters={
        "learning_rate": rate(0.1, scale=("width", 1 / 50)),
        "b1": SHARE,
        "b2": SHARE,
        "eps": SMALL,
        "eps_root": HIDDEN,
    },
    divisor=Divisor(_adam_divisor, ("nu", "nu_max")),
    inverse_limit=_adam_limit,
    second_axis="b1",
    look=Look(VERMILLION, "-", "^"),
)

ADAMW = replace(
    ADAM,
    name="adamw",
    function=_adamw,
    uses_params=True,
    formula=r"x_{t+1} = x_t - \alpha\,\Bigl(\frac{\hat m_t}{\sqrt{\hat n_t} + \varepsilon} + w\, x_t\Bigr)",
    hyperparameters={
        **ADAM.hyperparameters,
        "eps": HIDDEN,
        "weight_decay": Interval(tried=(1e-4, 1.0), log=True, start=1e-2),
    },
    inverse_limit=_adamw_limit,
    look=Look(ORANGE, "--", "v"),
)

LION = ArrayRule(
    name="lion",
    state_type=LionState,
    function=_lion,
    uses_params=True,
    formula=(
        r"x_{t+1} = x_t - \alpha\,\bigl(\mathrm{sign}(\beta_1 m_{t-1} + (1-\beta_1) g_t) + w\, x_t\bigr), \quad "
        r"m_t = \beta_2 m_{t-1} + (1-\beta_2) g_t"
    ),
    hyperparameters={
        "learning_rate": rate(0.02, tried=(1e-6, 1.0), scale=("width", 1 / 200)),
        "b1": SHARE,
        "b2": SHARE,
        "weight_decay": HIDDEN,
    },
    divisor=Without("it takes the sign of an average, whose length it drops"),
    inverse_limit=Without("its steps have one length whatever the gradient, so that they settle at no constant rate"),
    second_axis="b1",
    look=Look(SKY, "-", ">"),
)

RULES = (ADAM, ADAMW, LION)
_CORRECTED = Divisor(_corrected_maximum_divisor, ("nu_max",))
