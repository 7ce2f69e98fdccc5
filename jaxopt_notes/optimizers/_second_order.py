"""Newton's method and the variant that leaves saddles, by the dense Hessian: for up to some thousand numbers.

Both need the loss itself. `minimize` and `sweep` pass it to every optimizer as `value_fn`, as optax does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PyTree

from .. import _checks
from .._derivatives import dense_hessian
from .._numerics import divide, working_dtype
from ._base import Number, Optimizer, Rule, Schedule, rate_or_schedule
from ._facts import BLUE, PURPLE, Interval, Look, Without, rate

__all__ = ["NewtonState", "newton", "saddle_free_newton"]


class NewtonState(NamedTuple):
    """State of `newton` and `saddle_free_newton`: the number of steps done."""

    count: Int[Array, ""]  # type: ignore[assignment]


def newton(
    learning_rate: Number | Schedule = 1.0, damping: Number = 0.0, *, halvings: int = 0
) -> optax.GradientTransformationExtraArgs:
    """Newton's method: the critical point of the quadratic model, whatever its kind.

        x <- x - a (H + m I)^-1 g

    One step solves a quadratic. It is attracted to saddles and maxima as to minima; a singular H gives a non-finite
    step, which `minimize` reports.

    Arguments:
        learning_rate: a >= 0, a number or a schedule; 1 is the full step.
        damping: m >= 0, in units of the Hessian; larger is closer to gradient descent at the rate a/m.
        halvings: halve the step up to this often, until the loss falls; 0 takes it as it is. Static.

    Returns:
        An (init, update) pair with state `NewtonState(count)`; update needs `params` and `value_fn`.

    Raises:
        TypeError, ValueError: a number is out of range, or update gets no parameters or loss.

    Example:
        >>> import jax, jax.numpy as jnp, optax, jaxopt_notes as jon
        >>> valley = jon.problems.quadratic([1.0, 1000.0])
        >>> run = jon.minimize(valley.loss, jnp.ones(2), jon.newton(), steps=1)
        >>> bool(run.final_loss < 1e-10)
        True
        >>> tx, x = jon.newton(), jnp.ones(2)  # a loop of one's own hands the loss over
        >>> updates, state = tx.update(jax.grad(valley.loss)(x), tx.init(x), x, value_fn=valley.loss)
        >>> bool(valley.loss(optax.apply_updates(x, updates)) < 1e-10)
        True

    Source: Newton, 1669; damped Levenberg, 1944.
    """
    return _pair(NEWTON, halvings, learning_rate, damping)


def saddle_free_newton(
    learning_rate: Number | Schedule = 1.0, damping: Number = 0.0, *, halvings: int = 0
) -> optax.GradientTransformationExtraArgs:
    """Newton's method with the absolute values of the eigenvalues: it moves away from saddles.

        x <- x - a (|H| + m I)^-1 g,     |H| = V |Lambda| V'

    Arguments:
        learning_rate: a >= 0, a number or a schedule; 1 is the full step.
        damping: m >= 0, in units of the Hessian. A direction of exactly zero curvature is left alone without it.
        halvings: halve the step up to this often, until the loss falls. Static.

    Returns:
        An (init, update) pair with state `NewtonState(count)`; update needs `params` and `value_fn`.

    Raises:
        TypeError, ValueError: a number is out of range, or update gets no parameters or loss.

    Example:
        >>> import jax.numpy as jnp, jaxopt_notes as jon
        >>> saddle = jon.problems.quadratic([5.0, -1.0])
        >>> run = jon.minimize(saddle.loss, jnp.array([1.0, 0.01]), jon.saddle_free_newton(), steps=5)
        >>> [round(float(x), 4) for x in run.params]
        [0.0, 0.32]

    Source: Dauphin et al., 2014.
    """
    return _pair(SADDLE_FREE_NEWTON, halvings, learning_rate, damping)


@dataclass(frozen=True, kw_only=True)
class NewtonRule(Rule):
    """A method that solves with the whole Hessian.

    Attributes:
        function: `solve(hessian, damping, grad) -> step`.
        halvings: how often a step may be halved until the loss falls.
    """

    halvings: int = 0
    uses_loss: ClassVar[bool] = True

    def __call__(
        self,
        numbers: dict[str, Any],
        grads: PyTree,
        state: NewtonState,
        params: PyTree = None,
        *,
        value_fn: Callable | None = None,
        **unused: Any,
    ) -> tuple[PyTree, NewtonState]:
        """Return the updates and the next state."""
        if params is None or value_fn is None:
            raise ValueError("Newton's method needs the loss: call update(grads, state, params, value_fn=loss)")
        _checks.matching("grads", grads, "params", params)
        flat, unravel = ravel_pytree(jax.tree.map(lambda p: jnp.asarray(p, working_dtype(p)), params))
        grad, _ = ravel_pytree(jax.tree.map(lambda g: jnp.asarray(g, working_dtype(g)), grads))

        def loss(vector: Float[Array, " n"]) -> Float[Array, ""]:
            typed = jax.tree.map(lambda new, old: new.astype(jnp.result_type(old)), unravel(vector), params)
            return value_fn(typed)

        held = numbers["learning_rate"]
        learning_rate = jnp.asarray(held(state.count) if callable(held) else held, flat.dtype)
        damping = jnp.asarray(numbers["damping"], flat.dtype)
        step = -learning_rate * self.function(dense_hessian(loss, flat), damping, grad)
        step = _halved(loss, flat, step, self.halvings) if self.halvings else step
        updates = jax.tree.map(lambda new, old: new.astype(jnp.result_type(old)), unravel(step), grads)
        return updates, NewtonState(optax.safe_increment(state.count))


def _pair(rule: NewtonRule, halvings: int, learning_rate: Any, damping: Any) -> optax.GradientTransformationExtraArgs:
    rule = replace(rule, halvings=_checks.count("halvings", halvings, low=0))
    numbers = {"learning_rate": rate_or_schedule(learning_rate), "damping": rule.checked("damping", damping)}
    return Optimizer(Partial(_init), Partial(rule, numbers))


def _init(params: PyTree) -> NewtonState:
    for leaf in jax.tree.leaves(params, is_leaf=_is_masked):
        if _is_masked(leaf):
            raise TypeError("Newton's method calls the loss, so it cannot be masked to a part of the parameters")
        if jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating):
            raise TypeError("Newton's method needs real parameters: a complex one as its real and imaginary part")
    _checks.inexact("params", params)
    return NewtonState(jnp.zeros((), jnp.int32))


def _is_masked(leaf: Any) -> bool:
    return isinstance(leaf, optax.MaskedNode)


def _solve(hessian: Float[Array, "n n"], damping: Array, grad: Float[Array, " n"]) -> Float[Array, " n"]:
    return jnp.linalg.solve(hessian + damping * jnp.eye(grad.size, dtype=grad.dtype), grad)


@jax.custom_jvp
def _absolute_solve(hessian: Float[Array, "n n"], damping: Array, grad: Float[Array, " n"]) -> Float[Array, " n"]:
    values, vectors = jnp.linalg.eigh(hessian)
    return vectors @ divide(vectors.T @ grad, jnp.abs(values) + damping)


@_absolute_solve.defjvp
def _absolute_solve_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """d s = (|H| + m)^-1 (dg - (d|H| + dm) s), with d|H| = V (F * V'dH V) V', which is finite at equal eigenvalues.

    F_ij = (|l_i| - |l_j|) / (l_i - l_j), and the sign of l_i where they are equal.
    """
    hessian, damping, grad = primals
    turn, more_damping, push = tangents
    values, vectors = jnp.linalg.eigh(hessian)
    step = vectors @ divide(vectors.T @ grad, jnp.abs(values) + damping)
    gaps = values[:, None] - values[None, :]
    slopes = divide(jnp.abs(values)[:, None] - jnp.abs(values)[None, :], gaps)
    slopes = jnp.where(gaps == 0, jnp.sign(values)[:, None], slopes)
    turned = vectors @ ((slopes * (vectors.T @ turn @ vectors)) @ (vectors.T @ step))
    rest = push - turned - more_damping * step
    return step, vectors @ divide(vectors.T @ rest, jnp.abs(values) + damping)


def _halved(loss: Callable, flat: Array, step: Array, halvings: int) -> Float[Array, " n"]:
    """The longest of step, step/2, step/4, ... that lowers the loss; the shortest if none does."""
    scales = jnp.asarray([0.5**j for j in range(halvings + 1)], step.dtype)
    lower = jax.lax.map(lambda scale: loss(flat + scale * step), scales) < loss(flat)
    return jnp.where(jnp.any(lower), scales[jnp.argmax(lower)], scales[-1]) * step


NEWTON = NewtonRule(
    name="newton",
    state_type=NewtonState,
    function=_solve,
    formula=r"x_{t+1} = x_t - \alpha\,(H_t + \mu I)^{-1} g_t",
    hyperparameters={"learning_rate": rate(1.0), "damping": Interval(tried=(0.0, 10.0))},
    divisor=Without("it is not of first order: its step solves with the whole Hessian"),
    inverse_limit=Without("its step already contains the curvature"),
    second_axis="damping",
    look=Look(PURPLE, "--", "H"),
)

SADDLE_FREE_NEWTON = replace(
    NEWTON,
    name="saddle_free_newton",
    function=_absolute_solve,
    formula=(
        r"x_{t+1} = x_t - \alpha\,(\lvert H_t\rvert + \mu I)^{-1} g_t, "
        r"\qquad \lvert H\rvert = V \lvert\Lambda\rvert V^\top"
    ),
    look=Look(BLUE, ":", "x"),
)

RULES = (NEWTON, SADDLE_FREE_NEWTON)
