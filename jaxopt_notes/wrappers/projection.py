"""Constraints: the steps of any optimizer, cut so that the parameters stay in a set."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import PyTree

from .. import _checks
from .._numerics import working
from .._partials import as_pytree

__all__ = [
    "ProjectState",
    "project",
]


class ProjectState(NamedTuple):
    """State of `project`: the optimizer's own."""

    inner: Any


def project(
    optimizer: optax.GradientTransformation, projection: Callable[..., PyTree], **numbers: Any
) -> optax.GradientTransformationExtraArgs:
    """Keep the parameters in a set: each step goes to the point of the set that is nearest to where it led.

        x <- P(x + u)

    With gradient descent this is the projected gradient method; on a convex loss and set it converges at the rates
    below 2/L. Other methods keep their memory as it is: a velocity that points out of the set is not shortened, and
    a step scaled per coordinate is projected in the plain norm.

    Arguments:
        optimizer: any (init, update) pair; u is its update.
        projection: `projection(params, **numbers) -> params`, such as `optax.projections.projection_box`,
            `projection_simplex` or `projection_l2_ball`.
        numbers: further arguments of the projection, such as the radius `scale`; arrays or pytrees of arrays, which
            may be traced, so that another radius is no new program.

    Returns:
        A pair with state `ProjectState(inner)`; update needs the parameters. They may start outside of the set. After
        `optax.apply_updates` an entry x differs from its projection by at most eps/2 (|x| + |x - x_before|), with eps
        the spacing of their type at 1, since the update and the sum are rounded.

    Raises:
        TypeError, ValueError: no pair, no function, an argument that the projection does not take, update gets no
            parameters, or the projection changes their structure or shapes.

    Example:
        >>> import jax.numpy as jnp, optax, jaxopt_notes as jon
        >>> tx = jon.project(jon.gradient_descent(0.5), optax.projections.projection_l2_ball, scale=1.0)
        >>> run = jon.minimize(lambda x: jnp.sum((x - jnp.array([3.0, 4.0])) ** 2), jnp.zeros(2), tx, steps=10)
        >>> [round(float(x), 4) for x in run.params]
        [0.6, 0.8]

    Source: Goldstein, 1964; Levitin and Polyak, 1966.
    """
    inner = as_pytree(optimizer)
    _check_projection(projection, numbers)
    return optax.GradientTransformationExtraArgs(
        Partial(_init, inner), Partial(_update, inner, Partial(projection, **numbers))
    )


def _check_projection(projection: Any, numbers: dict[str, Any]) -> None:
    if not callable(projection):
        raise TypeError(f"projection must be a function of the parameters, got {projection!r}")
    try:
        signature = inspect.signature(projection)
    except (TypeError, ValueError):  # some functions written in C tell nothing
        return
    try:
        signature.bind(None, **numbers)
    except TypeError as error:
        taken, given = ", ".join(signature.parameters), ", ".join(["params", *numbers])
        raise TypeError(f"{_checks.name_of(projection)} takes ({taken}), called with ({given}): {error}") from None


def _init(inner: optax.GradientTransformation, params: PyTree) -> ProjectState:
    return ProjectState(inner.init(params))


def _update(
    inner: optax.GradientTransformation,
    nearest: Callable[[PyTree], PyTree],
    grads: PyTree,
    state: ProjectState,
    params: PyTree = None,
    **extra: Any,
) -> tuple[PyTree, ProjectState]:
    if params is None:
        raise ValueError("project needs the parameters: call update(grads, state, params)")
    updates, inner_state = optax.with_extra_args_support(inner).update(grads, state.inner, params, **extra)
    wide, steps = jax.tree.map(working, params), jax.tree.map(working, updates)
    ends = nearest(jax.tree.map(jnp.add, wide, steps))
    _checks.matching("projection(params)", ends, "params", params)
    cut = jax.tree.map(lambda end, start, u: (end - start).astype(jnp.result_type(u)), ends, wide, updates)
    return cut, ProjectState(inner_state)
