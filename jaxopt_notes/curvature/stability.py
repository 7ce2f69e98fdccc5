"""Sharpness, and the largest learning rate each optimizer stands on a quadratic of that sharpness."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from .. import _checks
from .._hoist import Program
from .._kept import PerProgram
from .lanczos import checked_key, lanczos, random_start, ritz
from .operators import like_params, preconditioned, prepared, second_order

Number = float | Float[Array, " *shape"]


def sharpness(
    loss: Callable[..., Float[Array, ""]],
    params: PyTree,
    *args: Any,
    preconditioner: PyTree = None,
    key: Key[Array, ""] | None = None,
    matvecs: int = 64,
) -> Float[Array, ""]:
    """The largest eigenvalue of the Hessian, or of the Hessian as a preconditioned method sees it.

        L = lambda_max(H),     or     lambda_max(P^-1/2 H P^-1/2)

    By Lanczos from a random start, so from below; exact up to rounding when `matvecs` is at least the number of
    parameters. Algebraic: negative at a maximum. Compiled once per program, also for a fresh lambda; works under `jit`
    and `vmap`.

    Arguments:
        loss: `loss(params, *args)`, a real scalar, twice differentiable.
        params: a pytree of real floating arrays.
        args: further arguments of `loss`.
        preconditioner: the diagonal P > 0, a pytree like `params`; sqrt(nu/(1 - b2^t) + eps_root) + eps for Adam. Ones
            when None.
        key: of the random start; `jax.random.key(0)` when None.
        matvecs: Hessian products to spend, at least 1. Static.

    Returns:
        L, in units of the loss over the squared unit of the parameters; NaN if the Hessian is not finite.

    Raises:
        TypeError, ValueError: before compiling, naming the argument, its value and what is accepted.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_notes.curvature import sharpness
        >>> round(float(sharpness(lambda x: x[0] ** 2 + 10 * x[1] ** 2, jnp.ones(2))), 3)
        20.0

    Source: Lanczos, 1950; as a limit on training Cohen et al., 2021 and 2022.
    """
    matvecs = _checks.count("matvecs", matvecs)
    key = checked_key(key)
    params, program, constants = prepared(loss, params, args)
    if preconditioner is not None:
        preconditioner = _positive(like_params("preconditioner", preconditioner, params))
    return _sharpness(program, constants, params, args, preconditioner, key, matvecs=matvecs)


@functools.partial(PerProgram, static_argnames=("matvecs",))
def _sharpness(
    program: Program,
    constants: list[Any],
    params: PyTree,
    args: tuple[Any, ...],
    preconditioner: PyTree,
    key: Any,
    *,
    matvecs: int,
) -> Float[Array, ""]:
    _, gradient, product, _ = second_order(program, constants, params, args)
    if preconditioner is not None:
        product = preconditioned(product, preconditioner)
    return ritz(lanczos(product, random_start(key, gradient), matvecs)).largest


def _positive(preconditioner: PyTree) -> PyTree:
    for path, leaf in jax.tree_util.tree_leaves_with_path(preconditioner):
        if not _checks.is_traced(leaf) and not np.all(np.asarray(leaf) > 0):
            where = f"preconditioner{jax.tree_util.keystr(path)}"
            raise ValueError(f"{where} must be positive everywhere, got {np.min(np.asarray(leaf))}")
    return preconditioner


def stability_bound(optimizer: str, sharpness: Number, **numbers: Number) -> Float[Array, " *shape"]:
    """The largest learning rate for which an optimizer is stable on a quadratic of the given sharpness.

        gradient_descent   2/L
        momentum           2 (1 + b) / ((1 - d) L)
        nesterov           (2 + 2b) / ((1 + 2b) L)
        adam               (2 + 2 b1) / ((1 - b1) L)
        adamw              (2 + 2 b1) / ((1 - b1) L + (1 + b1) w),  w its weight decay
        rmsprop            2 (1 + b) / L
        adagrad, adadelta  2/L

    For the last four lines L is that of P^-1/2 H P^-1/2 with the method's preconditioner P held fixed; `stability`
    takes it from a run.

    A fact about quadratics with exact gradients. A network may train beyond it (its curvature changes as it moves) or,
    with small batches, fail below it.

    Arguments:
        optimizer: the name of a first-order method in `OPTIMIZERS`.
        sharpness: L, the largest eigenvalue; any shape.
        numbers: hyperparameters of that optimizer by name, defaults as in its factory; those that do not matter are
            accepted and ignored. They broadcast with `sharpness`.

    Returns:
        The learning rate, of the shape of `sharpness`; infinity where L <= 0, where no direction curves upward.

    Raises:
        ValueError: the optimizer or a hyperparameter is unknown, or a number is out of range.

    Example:
        >>> from jaxopt_notes.curvature import stability_bound
        >>> round(float(stability_bound("momentum", 10.0, beta=0.5)), 6)
        0.3

    Source: Polyak, 1964; Adam: Cohen et al., 2022.
    """
    rule = _RULES[_checks.choice("optimizer", optimizer, _RULES)]
    accepted = _checks.keyword_names(rule)
    for name, value in numbers.items():
        if name not in accepted:
            known = f"accepted: {', '.join(accepted) or 'none'}"
            raise ValueError(f"unknown hyperparameter {name!r} for {optimizer}{_checks.nearest(name, accepted, known)}")
        _checks.number(name, value, low=0.0, high=1.0 if name in _SHARES else np.inf)
    if not _checks.is_traced(sharpness):
        _checks.number("sharpness", sharpness)
    given = jnp.asarray(sharpness)
    largest = (
        given if jnp.issubdtype(given.dtype, jnp.inexact) and not isinstance(sharpness, float) else given.astype(float)
    )
    limit = jnp.asarray(
        rule(**{name: jnp.asarray(value, largest.dtype) for name, value in numbers.items()}), largest.dtype
    )
    if optimizer == "adamw":  # the decay pulls as a curvature does that no momentum averages
        b1, decay = (jnp.asarray(numbers.get(name, default), largest.dtype) for name, default in _OF_ADAMW)
        largest = largest + decay * (1 + b1) / (1 - b1)
    positive = largest > 0
    return jnp.where(positive, limit / jnp.where(positive, largest, 1), jnp.inf)


def _gradient_descent() -> Any:
    return 2.0


def _momentum(*, beta: Any = 0.9, dampening: Any = 0.0) -> Any:
    return 2 * (1 + beta) / (1 - dampening)


def _nesterov(*, beta: Any = 0.9) -> Any:
    return (2 + 2 * beta) / (1 + 2 * beta)


def _adam(*, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0) -> Any:
    del b2, eps, eps_root  # they shape the preconditioner, which the sharpness already contains
    return (2 + 2 * b1) / (1 - b1)


def _adamw(*, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, weight_decay: Any = 1e-4) -> Any:
    del weight_decay
    return _adam(b1=b1, b2=b2, eps=eps, eps_root=eps_root)


_OF_ADAMW = (("b1", 0.9), ("weight_decay", 1e-4))


def _rmsprop(*, beta: Any = 0.0) -> Any:
    return 2 * (1 + beta)


_RULES: dict[str, Callable[..., Any]] = {
    "gradient_descent": _gradient_descent,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adam": _adam,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
    "adagrad": _gradient_descent,
    "adadelta": _gradient_descent,
}
_SHARES = ("beta", "dampening", "b1", "b2")
