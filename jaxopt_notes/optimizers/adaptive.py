"""Methods that scale each coordinate by the history of its own gradients."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from .._numerics import divide, real_dtype, sqrt, squared_modulus
from .base import Number, Schedule, bias_correction, pair, scalar


class AdamState(NamedTuple):
    """State of `adam`: steps done, the average gradient `mu` and the average squared gradient `nu` (real)."""

    count: Int[Array, ""]  # type: ignore[assignment]
    mu: PyTree
    nu: PyTree


def adam(
    learning_rate: Number | Schedule, b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8, eps_root: Number = 0.0
) -> optax.GradientTransformation:
    """Adam: momentum over the root of the average squared gradient, both corrected for their start at zero.

        m <- b1 m + (1 - b1) g
        n <- b2 n + (1 - b2) |g|^2
        x <- x - a m/(1 - b1^t) / (sqrt(n/(1 - b2^t) + eps_root) + eps)

    A coordinate whose gradients were all exactly zero does not move, and derivatives through it exist.

    Arguments:
        learning_rate: a >= 0, a number or a schedule, in units of the parameters: about the largest move per step.
        b1: in [0, 1), memory of the average gradient.
        b2: in [0, 1), memory of the average squared gradient.
        eps: >= 0, added outside the root, in units of the gradient.
        eps_root: >= 0, added inside the root.

    Returns:
        An (init, update) pair over pytrees with state `AdamState(count, mu, nu)`.

    Raises:
        TypeError: a number is not one number. ValueError: it is NaN or out of range.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> tx = jon.adam(0.1)
        >>> updates, _ = tx.update(jnp.array([3.0, -0.001]), tx.init(jnp.zeros(2)))
        >>> [round(float(u), 4) for u in updates]
        [-0.1, 0.1]

    Source: Kingma and Ba, 2015.
    """
    return pair(
        AdamState,
        _adam,
        learning_rate,
        initial=_first_and_second_moment,
        b1=scalar("b1", b1, low=0.0, high=1.0, open_high=True),
        b2=scalar("b2", b2, low=0.0, high=1.0, open_high=True),
        eps=scalar("eps", eps, low=0.0),
        eps_root=scalar("eps_root", eps_root, low=0.0),
    )


def _first_and_second_moment(param):
    return jnp.zeros_like(param), jnp.zeros_like(param, real_dtype(param.dtype))


def _adam(grad, mu, nu, *, count, learning_rate, b1, b2, eps, eps_root):
    mu = b1 * mu + (1 - b1) * grad
    nu = b2 * nu + (1 - b2) * squared_modulus(grad)
    mu_hat = mu / bias_correction(b1, count)
    nu_hat = nu / bias_correction(b2, count)
    return -learning_rate * divide(mu_hat, sqrt(nu_hat + eps_root) + eps), mu, nu
