"""Sharpness, and the largest learning rate each optimizer stands on a quadratic of that sharpness."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from .. import _checks
from .._hoist import Program
from .._kept import PerProgram
from ..optimizers import OPTIMIZERS, RULES, Rule
from ..optimizers._facts import Without
from ._lanczos import checked_key, lanczos, random_start, ritz
from ._operators import like_params, preconditioned, prepared, second_order

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


@functools.partial(PerProgram, precise=True, static_argnames=("matvecs",))
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

    Each optimizer's docstring has its own. Where it divides by the history of its gradients, L is that of
    P^-1/2 H P^-1/2 with that divisor P held fixed; `stability` takes it from a run.

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
        ValueError: the optimizer or a hyperparameter is unknown, a number is out of range, or the method has no such
            limit.

    Example:
        >>> from jaxopt_notes.curvature import stability_bound
        >>> round(float(stability_bound("momentum", 10.0, beta=0.5)), 6)
        0.3

    Source: Polyak, 1964; Adam: Cohen et al., 2022.
    """
    rule = RULES[_checks.choice("optimizer", optimizer, RULES)]
    accepted = [name for name in rule.hyperparameters if name != "learning_rate"]
    for name, value in numbers.items():
        if name not in accepted:
            known = f"accepted: {', '.join(accepted) or 'none'}"
            raise ValueError(f"unknown hyperparameter {name!r} for {optimizer}{_checks.nearest(name, accepted, known)}")
        _checks.number(name, value, low=0.0, high=rule.hyperparameters[name].most)
    if not _checks.is_traced(sharpness):
        _checks.number("sharpness", sharpness)
    given = inspect.signature(OPTIMIZERS[optimizer]).parameters
    defaults = {name: given[name].default for name in accepted}
    return largest_stable_rate(rule, sharpness, defaults | numbers)


def largest_stable_rate(rule: Rule, sharpness: Number, numbers: Mapping[str, Any]) -> Float[Array, " *shape"]:
    """The largest stable learning rate of a rule; of its numbers those that are None are left out.

    Raises:
        ValueError: the rule has no such limit.
    """
    if isinstance(rule.inverse_limit, Without):
        raise ValueError(f"{rule.name} has no stability limit: {rule.inverse_limit.reason}")
    given = jnp.asarray(sharpness)
    wide = jnp.issubdtype(given.dtype, jnp.inexact) and not isinstance(sharpness, float)
    largest = given if wide else given.astype(float)
    typed = {name: jnp.asarray(value, largest.dtype) for name, value in numbers.items() if value is not None}
    inverse = jnp.asarray(rule.inverse_limit(largest, **typed), largest.dtype)
    positive = inverse > 0
    return jnp.where(positive, 1 / jnp.where(positive, inverse, 1), jnp.inf)
