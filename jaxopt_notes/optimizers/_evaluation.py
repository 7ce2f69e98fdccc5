"""Where a method is evaluated: its averages, or another point that its state holds, in place of the iterate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree
from optax.contrib import SAMState, ScheduleFreeState

from .._numerics import rounded, working_dtype
from ..wrappers.averaging import AverageParamsState

EvaluationParams = Callable[[PyTree, PyTree], PyTree]


def evaluation_params(state: PyTree, params: PyTree) -> PyTree:
    """The parameters that a method returns, which may differ from those at which it takes its gradients.

        average_params, also around another method       the average
        optax.contrib.schedule_free, schedule_free_*     x = (y - (1 - b1) z) / b1, of the iterate y
        optax.contrib.sam, between two synchronisations  the point that the adversarial steps left
        any other                                        the iterate

    Found anywhere in the state: inside `optax.chain`, `MultiSteps`, `inject_hyperparams`, `masked` and our wrappers;
    of one average inside another the outer one. `minimize`, `minimize_until`, `minimize_stream` and `sweep` take a
    function of the same arguments in its place, for methods that are not known here.

    Arguments:
        state: the optimizer's state.
        params: the iterate of the same step.

    Returns:
        A pytree like `params`, in its dtypes; `params` itself where the state holds no other point.

    Raises:
        ValueError: the state holds a point of another structure than the parameters.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> run = jon.minimize(jnp.sum, jnp.zeros(1), jon.average_params(jon.gradient_descent(1.0)), steps=3)
        >>> run.params.tolist(), jon.optimizers.evaluation_params(run.state, run.params).tolist()
        ([-3.0], [-2.0])

    Source: Defazio et al., 2024, for schedule-free methods; Polyak and Juditsky, 1992, for averages.
    """
    for held in _other_points(state):
        params = _point_of(held, params)
    return params


def returns_its_iterate(state: PyTree) -> bool:
    """Whether the method of this state is evaluated at its iterate."""
    return not _other_points(state)


def _other_points(state: PyTree) -> list[Any]:
    return [held for held in jax.tree.leaves(state, is_leaf=_holds_another_point) if _holds_another_point(held)]


def _holds_another_point(node: Any) -> bool:
    return isinstance(node, (AverageParamsState, ScheduleFreeState)) or (
        isinstance(node, SAMState) and node.cache is not None
    )


def _point_of(held: Any, params: PyTree) -> PyTree:
    if isinstance(held, AverageParamsState):
        return _mapped(lambda average, param: average, held, held.average, params)
    if isinstance(held, SAMState):
        return _mapped(
            lambda cache, param: jnp.where(held.steps_since_sync == 0, param, cache), held, held.cache, params
        )

    def x(z: Array, y: Array) -> Array:
        b1 = jnp.asarray(held.b1, y.dtype)
        return (y - (1 - b1) * z) / b1

    return _mapped(x, held, held.z, params)


def _mapped(function: Callable[[Array, Array], Array], held: Any, kept: PyTree, params: PyTree) -> PyTree:
    """`function(kept, param)` in the working precision, in the type of the parameter; a masked parameter stays."""

    def leaf(kept: Any, param: Any) -> Any:
        if isinstance(kept, optax.MaskedNode):
            return param
        dtype = working_dtype(param)
        found = function(jnp.asarray(kept, dtype), jnp.asarray(param, dtype))
        return rounded(found.astype(jnp.result_type(param)))

    try:
        return jax.tree.map(leaf, kept, params, is_leaf=lambda node: isinstance(node, optax.MaskedNode))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{type(held).__name__} holds a point of the structure {jax.tree.structure(kept)}, and the parameters have "
            f"{jax.tree.structure(params)}: give evaluation_params=, a function (state, params) -> params"
        ) from error
