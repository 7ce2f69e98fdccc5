"""Methods that divide each coordinate by the history of its own gradients.

Where `eps` stands differs between libraries: outside the root in torch and in Adam's paper, inside in others. Here
`eps` is outside and `eps_root` inside, so each library is a point in our hyperparameters: see the docstrings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Int, PyTree

from .. import _checks
from .._numerics import divide, real_dtype, sqrt, squared_modulus
from ._base import ArrayRule, Number, Schedule, pair
from ._facts import GREEN, HIDDEN, PURPLE, SHARE, SMALL, Divisor, Look, rate

__all__ = ["AdadeltaState", "AdagradState", "RMSPropState", "adadelta", "adagrad", "rmsprop"]


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


def adagrad(
    learning_rate: Number | Schedule, eps: Number = 1e-10, eps_root: Number = 0.0, initial_accumulator: Number = 0.0
) -> optax.GradientTransformationExtraArgs:
    """AdaGrad: each coordinate's rate falls with the root of the sum of its squared gradients.

        s <- s + |g|^2
        x <- x - a g / (sqrt(s + eps_root) + eps)

    torch is the default; optax and keras are `eps=0, eps_root=1e-7, initial_accumulator=0.1`. torch's `lr_decay` is the
    schedule `inverse_time(a, lr_decay)`.

    Stable below 2/L on a quadratic of sharpness L, seen through the divisor.

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
    first = ADAGRAD.checked("initial_accumulator", initial_accumulator)
    return pair(ADAGRAD, learning_rate, initial=Partial(_filled, first), eps=eps, eps_root=eps_root)


def adadelta(
    learning_rate: Number | Schedule = 1.0, rho: Number = 0.9, eps: Number = 1e-6
) -> optax.GradientTransformationExtraArgs:
    """Adadelta: the step is measured by the steps before, so that it has the units of the parameters.

        n <- r n + (1 - r) |g|^2
        d = sqrt(D + eps) / sqrt(n + eps) g
        D <- r D + (1 - r) |d|^2
        x <- x - a d

    Stable below 2/L on a quadratic of sharpness L, seen through the divisor.

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
    return pair(ADADELTA, learning_rate, initial=_two_squares, rho=rho, eps=eps)


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

    Stable below 2(1+b)/L on a quadratic of sharpness L, seen through the divisor.

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
    moving = {} if beta is None else {"beta": beta}
    centered, debias = _checks.boolean("centered", centered), _checks.boolean("debias", debias)
    return pair(
        replace(RMSPROP, debias=("decay_rate",)) if debias else RMSPROP,
        learning_rate,
        initial=_RMSPropSlots(centered, beta is not None),
        decay_rate=decay_rate,
        eps=eps,
        eps_root=eps_root,
        **moving,
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


def _sum_divisor(sum_of_squares, *, eps, eps_root):
    return sqrt(sum_of_squares + eps_root) + eps


def _ratio_divisor(nu, squared_update, *, eps, **others):
    return sqrt(nu + eps) / sqrt(squared_update + eps)


def _average_divisor(nu, mu, *, eps, eps_root, decay_rate_correction=1, **others):
    spread = nu / decay_rate_correction
    if mu is not None:
        spread = jnp.maximum(spread - squared_modulus(mu / decay_rate_correction), 0)
    return sqrt(spread + eps_root) + eps


def _plain_limit(sharpness, **numbers):
    return sharpness / 2


def _velocity_limit(sharpness, *, beta=0.0, **others):
    return sharpness / (2 * (1 + beta))


ADAGRAD = ArrayRule(
    name="adagrad",
    state_type=AdagradState,
    function=_adagrad,
    formula=r"s_t = s_{t-1} + g_t^2, \qquad x_{t+1} = x_t - \alpha\, \frac{g_t}{\sqrt{s_t} + \varepsilon}",
    hyperparameters={
        "learning_rate": rate(0.5, scale=("width", 1 / 10)),
        "eps": SMALL,
        "eps_root": HIDDEN,
        "initial_accumulator": HIDDEN,
    },
    divisor=Divisor(_sum_divisor, ("sum_of_squares",)),
    inverse_limit=_plain_limit,
    second_axis=None,
    look=Look(GREEN, "-", "P"),
)

ADADELTA = ArrayRule(
    name="adadelta",
    state_type=AdadeltaState,
    function=_adadelta,
    formula=(
        r"n_t = \rho n_{t-1} + (1-\rho) g_t^2, \quad d_t = \sqrt{\frac{D_{t-1}+\varepsilon}{n_t+\varepsilon}}\, g_t, "
        r"\quad D_t = \rho D_{t-1} + (1-\rho) d_t^2, \quad x_{t+1} = x_t - \alpha\, d_t"
    ),
    hyperparameters={"learning_rate": rate(1.0), "rho": SHARE, "eps": SMALL},
    divisor=Divisor(_ratio_divisor, ("nu", "squared_update")),
    inverse_limit=_plain_limit,
    second_axis="rho",
    look=Look(GREEN, "--", "p"),
)

RMSPROP = ArrayRule(
    name="rmsprop",
    state_type=RMSPropState,
    function=_rmsprop,
    formula=(
        r"n_t = \rho n_{t-1} + (1-\rho) g_t^2, \qquad x_{t+1} = x_t - \alpha\, \frac{g_t}{\sqrt{n_t} + \varepsilon}"
    ),
    hyperparameters={
        "learning_rate": rate(0.05, scale=("width", 1 / 200)),
        "decay_rate": SHARE,
        "eps": SMALL,
        "eps_root": HIDDEN,
        "beta": SHARE._replace(tried=None),
    },
    divisor=Divisor(_average_divisor, ("nu", "mu")),
    inverse_limit=_velocity_limit,
    second_axis="decay_rate",
    look=Look(PURPLE, "-", "d"),
)

RULES = (ADAGRAD, ADADELTA, RMSPROP)
