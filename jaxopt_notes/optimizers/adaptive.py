"""Methods that scale each coordinate by the history of its own gradients.

Where `eps` stands differs between libraries: outside the root in torch and in Adam's paper, inside in others. Here
`eps` is outside and `eps_root` inside, so each library is a point in our hyperparameters: see the docstrings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Int, PyTree

from .. import _checks
from .._numerics import divide, real_dtype, sqrt, squared_modulus
from .base import Number, Rule, Schedule, decay, pair, scalar

Amsgrad = bool | Literal["corrected"]


class AdagradState(NamedTuple):
    """State of `adagrad`: steps done and the sum of squared gradients (real)."""

    count: Int[Array, ""]  # type: ignore[assignment]
    sum_of_squares: PyTree


class AdadeltaState(NamedTuple):
    """State of `adadelta`: steps done, the average squared gradient `nu` and the average squared update (real)."""

    count: Int[Array, ""]  # type: ignore[assignment]
    nu: PyTree
    squared_update: PyTree


class RMSPropState(NamedTuple):
    """State of `rmsprop`: steps done, average squared gradient `nu`; `mu` if centred, `velocity` with momentum."""

    count: Int[Array, ""]  # type: ignore[assignment]
    nu: PyTree
    mu: PyTree
    velocity: PyTree


class AdamState(NamedTuple):
    """State of `adam`: steps done, average gradient `mu`, average squared gradient `nu` (real); `nu_max` if amsgrad."""

    count: Int[Array, ""]  # type: ignore[assignment]
    mu: PyTree
    nu: PyTree
    nu_max: PyTree = None


def adagrad(
    learning_rate: Number | Schedule, eps: Number = 1e-10, eps_root: Number = 0.0, initial_accumulator: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """AdaGrad: each coordinate's rate falls with the root of the sum of its squared gradients.

        s <- s + |g|^2
        x <- x - a g / (sqrt(s + eps_root) + eps)

    torch is the default; optax and keras are `eps=0, eps_root=1e-7, initial_accumulator=0.1`. torch's `lr_decay` is the
    schedule `inverse_time(a, lr_decay)`.

    Arguments:
        learning_rate: a >= 0, a number or a schedule, in units of the parameters.
        eps: >= 0, added outside the root, in units of the gradient.
        eps_root: >= 0, added inside the root.
        initial_accumulator: >= 0, s before the first step.

    Returns:
        An (init, update) pair over pytrees with state `AdagradState(count, sum_of_squares)`.

    Raises:
        TypeError: a number or what a schedule gives is not one number. ValueError: it is NaN or out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.adagrad(0.1)
        >>> updates, state = tx.update(jnp.array([4.0]), tx.init(jnp.zeros(1)))
        >>> updates, state = tx.update(jnp.array([3.0]), state)
        >>> round(float(updates[0]), 4)
        -0.06

    Source: Duchi, Hazan and Singer, 2011.
    """
    first = scalar("initial_accumulator", initial_accumulator, low=0.0)
    return pair(
        Rule(AdagradState, _adagrad),
        learning_rate,
        initial=Partial(_filled, first),
        eps=scalar("eps", eps, low=0.0),
        eps_root=scalar("eps_root", eps_root, low=0.0),
    )


def adadelta(
    learning_rate: Number | Schedule = 1.0, rho: Number = 0.9, eps: Number = 1e-6
) -> optax.GradientTransformationExtraArgs:
    """Adadelta: the step is measured by the steps before, so that it has the units of the parameters.

        n <- r n + (1 - r) |g|^2
        d = sqrt(D + eps) / sqrt(n + eps) g
        D <- r D + (1 - r) |d|^2
        x <- x - a d

    Arguments:
        learning_rate: a >= 0, a number or a schedule, without units; 1 in the paper.
        rho: r in [0, 1), memory of both averages. 0.9 in torch and optax, 0.95 in the paper and keras.
        eps: >= 0, inside both roots, in units of the squared gradient and of the squared parameter; it starts the
            first step.

    Returns:
        An (init, update) pair over pytrees with state `AdadeltaState(count, nu, squared_update)`.

    Raises:
        TypeError: a number or what a schedule gives is not one number. ValueError: it is NaN or out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.adadelta(rho=0.0, eps=1.0)
        >>> updates, _ = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
        >>> round(float(updates[0]), 4)
        -0.8944

    Source: Zeiler, 2012.
    """
    numbers = {"rho": decay("rho", rho), "eps": scalar("eps", eps, low=0.0)}
    return pair(Rule(AdadeltaState, _adadelta), learning_rate, initial=_two_squares, **numbers)


def rmsprop(
    learning_rate: Number | Schedule,
    decay_rate: Number = 0.9,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    *,
    beta: Number | None = None,
    centered: bool = False,
    debias: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """RMSProp: the gradient over the root of its average square.

        n <- r n + (1 - r) |g|^2                      (centred: m <- r m + (1 - r) g, and n - |m|^2 in place of n)
        d = g / (sqrt(n + eps_root) + eps)
        x <- x - a d                                  (with momentum: v <- b v + d, and v in place of d)

    torch is `decay_rate=0.99`; optax `eps=0, eps_root=1e-8`; keras `eps=0, eps_root=1e-7`. Momentum is torch's form; in
    optax and keras the rate is inside the velocity, which is the same while the rate is constant.

    Arguments:
        learning_rate: a >= 0, a number or a schedule, in units of the parameters.
        decay_rate: r in [0, 1), memory of the averages.
        eps: >= 0, added outside the root, in units of the gradient.
        eps_root: >= 0, added inside the root.
        beta: b in [0, 1), momentum; None is without, and without its memory. None or a number is static.
        centered: divide by the deviation from the average gradient. Static.
        debias: correct the averages for their start at zero, as Adam does; with `centered` the first deviation is then
            0 and the first step a g/eps. Static.

    Returns:
        An (init, update) pair over pytrees with state `RMSPropState(count, nu, mu, velocity)`; slots not used are None.

    Raises:
        TypeError: a number or what a schedule gives is not one number. ValueError: it is NaN or out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.rmsprop(0.1, decay_rate=0.75)
        >>> updates, _ = tx.update(jnp.array([5.0]), tx.init(jnp.zeros(1)))
        >>> round(float(updates[0]), 4)
        -0.2

    Source: Tieleman and Hinton, 2012; centred Graves, 2013.
    """
    numbers = {
        "decay_rate": decay("decay_rate", decay_rate),
        "eps": scalar("eps", eps, low=0.0),
        "eps_root": scalar("eps_root", eps_root, low=0.0),
    }
    if beta is not None:
        numbers["beta"] = decay("beta", beta)
    centered, debias = _checks.boolean("centered", centered), _checks.boolean("debias", debias)
    rule = Rule(RMSPropState, _rmsprop, debias=("decay_rate",) if debias else ())
    return pair(rule, learning_rate, initial=_RMSPropSlots(centered, beta is not None), **numbers)


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
    amsgrad = _checked_amsgrad(amsgrad)
    function = _adam_corrected_maximum if amsgrad == "corrected" else _adam
    return pair(
        Rule(AdamState, function, debias=("b1", "b2")),
        learning_rate,
        initial=_AdamSlots(bool(amsgrad)),
        b1=decay("b1", b1),
        b2=decay("b2", b2),
        eps=scalar("eps", eps, low=0.0),
        eps_root=scalar("eps_root", eps_root, low=0.0),
    )


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
    amsgrad = _checked_amsgrad(amsgrad)
    function = _adamw_corrected_maximum if amsgrad == "corrected" else _adamw
    return pair(
        Rule(AdamState, function, uses_params=True, debias=("b1", "b2")),
        learning_rate,
        initial=_AdamSlots(bool(amsgrad)),
        b1=decay("b1", b1),
        b2=decay("b2", b2),
        eps=scalar("eps", eps, low=0.0),
        eps_root=scalar("eps_root", eps_root, low=0.0),
        weight_decay=scalar("weight_decay", weight_decay, low=0.0),
    )


def _filled(value, param):
    return (jnp.full_like(param, jnp.asarray(value, real_dtype(param.dtype)), real_dtype(param.dtype)),)


def _two_squares(param):
    zeros = jnp.zeros_like(param, real_dtype(param.dtype))
    return zeros, zeros


@dataclass(frozen=True)
class _RMSPropSlots:
    """Makes the slots of one choice; equal choices are equal, and make one program."""

    centered: bool
    moving: bool

    def __call__(self, param):
        nothing = jnp.zeros_like(param)
        return (
            jnp.zeros_like(param, real_dtype(param.dtype)),
            nothing if self.centered else None,
            nothing if self.moving else None,
        )


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


def _adagrad(grad, sum_of_squares, *, learning_rate, eps, eps_root):
    sum_of_squares = sum_of_squares + squared_modulus(grad)
    return -learning_rate * divide(grad, sqrt(sum_of_squares + eps_root) + eps), sum_of_squares


def _adadelta(grad, nu, squared_update, *, learning_rate, rho, eps):
    nu = rho * nu + (1 - rho) * squared_modulus(grad)
    step = divide(sqrt(squared_update + eps), sqrt(nu + eps)) * grad
    # |step|^2 from its factors: XLA would store the step for its second use, and take half as long again.
    squared_step = divide(squared_update + eps, nu + eps) * squared_modulus(grad)
    return -learning_rate * step, nu, rho * squared_update + (1 - rho) * squared_step


def _rmsprop(grad, nu, mu, velocity, *, learning_rate, decay_rate, eps, eps_root, beta=0.0, decay_rate_correction=1):
    nu = decay_rate * nu + (1 - decay_rate) * squared_modulus(grad)
    spread = nu / decay_rate_correction
    if mu is not None:
        mu = decay_rate * mu + (1 - decay_rate) * grad
        spread = jnp.maximum(spread - squared_modulus(mu / decay_rate_correction), 0)  # a variance, but for rounding
    step = divide(grad, sqrt(spread + eps_root) + eps)
    if velocity is not None:
        velocity = step = beta * velocity + step
    return -learning_rate * step, nu, mu, velocity


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
