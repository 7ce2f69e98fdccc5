"""Learning-rate schedules: functions `step -> value` whose numbers may all be traced.

A schedule is a `jax.tree_util.Partial`, hence a pytree with its numbers as leaves: lengths, boundaries and peaks can be
swept and vmapped like any other number. `step` counts the updates done, so the first update uses `schedule(0)`. Values
may be negative, as optax's may: a negative learning rate climbs. Numbers outside their range raise when they are
concrete; traced ones are used as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from . import _checks
from ._partials import as_partial

__all__ = [
    "constant",
    "cosine",
    "exponential",
    "inverse_sqrt",
    "inverse_time",
    "join",
    "piecewise",
    "polynomial",
    "step_decay",
    "warmup",
]

Number = float | Float[Array, ""]
Schedule = Callable[[Int[Array, ""] | int], Float[Array, ""]]


def constant(value: Number) -> Schedule:
    """The same value at every step.

    Arguments:
        value: the value; one below 0 climbs.

    Returns:
        A schedule.

    Example:
        >>> import jaxopt_notes as jon
        >>> float(jon.schedules.constant(0.1)(7)) == float(jon.schedules.constant(0.1)(0))
        True
    """
    return _schedule(_constant, value=_height("value", value))


def inverse_time(
    initial: Number, decay_rate: Number, decay_steps: Number = 1.0, *, staircase: bool = False
) -> Schedule:
    """Decay as 1/t:  initial / (1 + decay_rate step / decay_steps).

    Arguments:
        initial: the value at step 0.
        decay_rate: >= 0.
        decay_steps: > 0, steps in which the denominator grows by `decay_rate`.
        staircase: round step / decay_steps down, so that the value changes every `decay_steps`. Static.

    Returns:
        A schedule. Robbins-Monro conditions hold for any decay_rate > 0.

    Example:
        >>> import jaxopt_notes as jon
        >>> float(jon.schedules.inverse_time(1.0, 0.5)(2))
        0.5

    Source: Robbins and Monro, 1951; keras `InverseTimeDecay`.
    """
    numbers = _decay(initial, decay_steps) | {"decay_rate": _checks.number("decay_rate", decay_rate, low=0.0)}
    return _schedule(_inverse_time_stairs if _checks.boolean("staircase", staircase) else _inverse_time, **numbers)


def inverse_sqrt(initial: Number, decay_steps: Number = 1.0) -> Schedule:
    """Decay as 1/sqrt(t):  initial / sqrt(1 + step / decay_steps).

    Arguments:
        initial: the value at step 0.
        decay_steps: > 0, steps after which the value has fallen to initial / sqrt(2).

    Returns:
        A schedule.

    Example:
        >>> import jaxopt_notes as jon
        >>> float(jon.schedules.inverse_sqrt(1.0)(3))
        0.5

    Source: Zinkevich, 2003.
    """
    return _schedule(_inverse_sqrt, **_decay(initial, decay_steps))


def exponential(initial: Number, decay_rate: Number, decay_steps: Number = 1.0, *, staircase: bool = False) -> Schedule:
    """Exponential decay:  initial * decay_rate^(step / decay_steps).

    Arguments:
        initial: the value at step 0.
        decay_rate: > 0, the factor per `decay_steps`.
        decay_steps: > 0.
        staircase: round the exponent down. Static.

    Returns:
        A schedule.

    Example:
        >>> import jaxopt_notes as jon
        >>> float(jon.schedules.exponential(1.0, 0.25, decay_steps=10)(5))
        0.5

    Source: optax `exponential_decay`, keras `ExponentialDecay`.
    """
    numbers = _decay(initial, decay_steps) | {"decay_rate": _checks.number("decay_rate", decay_rate, low=0.0)}
    return _schedule(_exponential_stairs if _checks.boolean("staircase", staircase) else _exponential, **numbers)


def step_decay(initial: Number, factor: Number, every: Number) -> Schedule:
    """Staircase:  initial * factor^floor(step / every).

    Arguments:
        initial: the value of the first `every` steps.
        factor: > 0, multiplies the value at each drop, such as 0.1.
        every: > 0, steps between drops.

    Returns:
        A schedule.

    Example:
        >>> import jaxopt_notes as jon
        >>> drops = jon.schedules.step_decay(1.0, 0.5, every=10)
        >>> float(drops(9)), float(drops(10))
        (1.0, 0.5)
    """
    return exponential(initial, factor, every, staircase=True)


def piecewise(
    boundaries: Sequence[Number] | Float[Array, " n"], values: Sequence[Number] | Float[Array, " m"]
) -> Schedule:
    """Constant pieces:  values[i] while boundaries[i-1] <= step < boundaries[i].

    Arguments:
        boundaries: n ascending steps at which the value changes.
        values: n + 1 values.

    Returns:
        A schedule.

    Raises:
        ValueError: lengths do not match, boundaries do not ascend, or a value is out of range.

    Example:
        >>> import jaxopt_notes as jon
        >>> pieces = jon.schedules.piecewise([10, 20], [1.0, 0.1, 0.01])
        >>> [round(float(pieces(step)), 3) for step in (9, 10, 20)]
        [1.0, 0.1, 0.01]

    Source: optax `piecewise_constant_schedule`; keras `PiecewiseConstantDecay` changes one step later.
    """
    edges, levels = _vector("boundaries", boundaries), _vector("values", values)
    if levels.shape[0] != edges.shape[0] + 1:
        raise ValueError(f"piecewise needs one value more than boundaries, got {levels.shape[0]} for {edges.shape[0]}")
    _ascending("boundaries", edges)
    _checks.number("values", levels)
    return _schedule(_piecewise, boundaries=edges, values=levels)


def polynomial(initial: Number, final: Number, steps: Number, power: Number = 1.0) -> Schedule:
    """Polynomial from one value to another:  final + (initial - final) (1 - step/steps)^power, then final.

    Arguments:
        initial: the value at step 0.
        final: the value from `steps` on.
        steps: > 0, length.
        power: > 0; 1 is linear.

    Returns:
        A schedule.

    Example:
        >>> import jaxopt_notes as jon
        >>> float(jon.schedules.polynomial(1.0, 0.0, steps=10)(5))
        0.5

    Source: optax `polynomial_schedule`, keras `PolynomialDecay`.
    """
    numbers = {
        "initial": _height("initial", initial),
        "final": _height("final", final),
        "steps": _length("steps", steps),
    }
    return _schedule(_polynomial, **numbers, power=_length("power", power))


def cosine(initial: Number, steps: Number, final: Number = 0.0) -> Schedule:
    """Half a cosine from one value to another:  final + (initial - final) (1 + cos(pi step/steps)) / 2, then final.

    Arguments:
        initial: the value at step 0.
        steps: > 0, length.
        final: the value from `steps` on.

    Returns:
        A schedule.

    Example:
        >>> import jaxopt_notes as jon
        >>> round(float(jon.schedules.cosine(1.0, steps=10)(5)), 6)
        0.5

    Source: Loshchilov and Hutter, 2017.
    """
    numbers = {
        "initial": _height("initial", initial),
        "final": _height("final", final),
        "steps": _length("steps", steps),
    }
    return _schedule(_cosine, **numbers)


def warmup(schedule: Schedule | Number, steps: Number, initial: Number = 0.0) -> Schedule:
    """Rise linearly from `initial` to the schedule's first value in `steps` steps, then follow the schedule.

    Arguments:
        schedule: what follows, started at its step 0; or a number, held from then on.
        steps: >= 0, length of the rise; 0 is none.
        initial: the value at step 0.

    Returns:
        A schedule.

    Example:
        >>> import jaxopt_notes as jon
        >>> rising = jon.schedules.warmup(jon.schedules.cosine(1.0, steps=100), steps=10)
        >>> float(rising(5)), float(rising(10)), round(float(rising(60)), 6)
        (0.5, 1.0, 0.5)

    Source: Goyal et al., 2017.
    """
    after = _checks.schedule("schedule", schedule) if callable(schedule) else constant(schedule)
    numbers = {"steps": _checks.number("steps", steps, low=0.0), "initial": _height("initial", initial)}
    return Partial(_evaluate, Partial(_warmup), numbers, as_partial(after))


def join(schedules: Sequence[Schedule | Number], boundaries: Sequence[Number] | Float[Array, " n"]) -> Schedule:
    """One schedule after another, each counting from its own start:  schedules[i](step - boundaries[i-1]).

    Arguments:
        schedules: n + 1 schedules or numbers.
        boundaries: n ascending steps at which the next one takes over.

    Returns:
        A schedule. All pieces are evaluated at every step; give each a value for any step.

    Raises:
        ValueError: lengths do not match, or boundaries do not ascend.

    Example:
        >>> import jaxopt_notes as jon
        >>> two = jon.schedules.join([1.0, jon.schedules.inverse_time(0.5, 1.0)], [10])
        >>> float(two(9)), float(two(10)), float(two(11))
        (1.0, 0.5, 0.25)

    Source: optax `join_schedules`.
    """
    edges = _vector("boundaries", boundaries)
    if len(schedules) != edges.shape[0] + 1:
        raise ValueError(f"join needs one schedule more than boundaries, got {len(schedules)} for {edges.shape[0]}")
    _ascending("boundaries", edges)
    pieces = tuple(
        as_partial(_checks.schedule(f"schedules[{i}]", piece) if callable(piece) else constant(piece))
        for i, piece in enumerate(schedules)
    )
    return Partial(_evaluate, Partial(_join), {"boundaries": edges}, *pieces)


def end_of(schedule: Any) -> float | None:
    """The step from which a schedule keeps its last value; None where it has no end, or that is not known.

    Polynomials and cosines have one, and so has a schedule that ends with one. A warmup to a constant has none, as
    holding that value is what it is for.
    """
    if not isinstance(schedule, Partial) or schedule.func is not _evaluate:
        return None
    rule, numbers, *inner = schedule.args
    if rule.func in (_polynomial, _cosine):
        return _concrete(numbers["steps"], 0.0)
    if rule.func is _warmup:
        return _concrete(numbers["steps"], end_of(inner[0]))
    if rule.func is _join:
        return _concrete(numbers["boundaries"][-1], end_of(inner[-1]))
    return None


def _concrete(steps: Any, more: float | None) -> float | None:
    return None if more is None or _checks.is_traced(steps) or np.ndim(steps) else float(steps) + more


def _schedule(rule: Callable[..., Any], **numbers: Any) -> Schedule:
    return Partial(_evaluate, Partial(rule), numbers)


def _evaluate(rule: Callable[..., Any], numbers: dict[str, Any], *inner_then_step: Any) -> Float[Array, "*steps"]:
    """Call the rule with every number, and the step, in the default floating dtype."""
    *inner, step = inner_then_step
    return rule(
        *inner, jnp.asarray(step, float), **{name: jnp.asarray(value, float) for name, value in numbers.items()}
    )


def _height(name: str, value: Any) -> Any:
    return _checks.number(name, value)


def _length(name: str, value: Any) -> Any:
    if not _checks.is_traced(_checks.number(name, value, low=0.0)) and (np.asarray(value) <= 0).any():
        raise ValueError(f"{name} must be above 0, got {value}")
    return value


def _decay(initial: Any, decay_steps: Any) -> dict[str, Any]:
    return {"initial": _height("initial", initial), "decay_steps": _length("decay_steps", decay_steps)}


def _vector(name: str, values: Any) -> Any:
    """A sequence of numbers as one array: a host array if all are concrete, so that it can be checked under jit too."""
    if isinstance(values, str) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) != 1:
        raise TypeError(f"{name} must be a list of numbers, got {values!r}")
    for i, value in enumerate(values):
        _checks.scalar(f"{name}[{i}]", value)
    if _checks.is_traced(values) or any(_checks.is_traced(value) for value in values):
        return jnp.stack([jnp.asarray(value, float) for value in values])
    return np.array([float(value) for value in values])


def _ascending(name: str, values: Any) -> None:
    if not _checks.is_traced(values) and (np.diff(values) <= 0).any():
        raise ValueError(f"{name} must ascend, got {values.tolist()}")


def _constant(step: Array, *, value: Array) -> Array:
    return value + jnp.zeros_like(step)


def _inverse_time(step: Array, *, initial: Array, decay_rate: Array, decay_steps: Array) -> Array:
    return initial / (1 + decay_rate * step / decay_steps)


def _inverse_time_stairs(step: Array, *, initial: Array, decay_rate: Array, decay_steps: Array) -> Array:
    return initial / (1 + decay_rate * jnp.floor(step / decay_steps))


def _inverse_sqrt(step: Array, *, initial: Array, decay_steps: Array) -> Array:
    return initial / jnp.sqrt(1 + step / decay_steps)


def _exponential(step: Array, *, initial: Array, decay_rate: Array, decay_steps: Array) -> Array:
    return initial * decay_rate ** (step / decay_steps)


def _exponential_stairs(step: Array, *, initial: Array, decay_rate: Array, decay_steps: Array) -> Array:
    return initial * decay_rate ** jnp.floor(step / decay_steps)


def _piecewise(step: Array, *, boundaries: Array, values: Array) -> Array:
    return values[_reached(step, boundaries)]


def _polynomial(step: Array, *, initial: Array, final: Array, steps: Array, power: Array) -> Array:
    left = 1 - jnp.minimum(step / steps, 1)
    # Zero to a power has no derivative in the power; masked, as it is 0 whatever the power.
    return final + (initial - final) * jnp.where(left > 0, jnp.where(left > 0, left, 1) ** power, 0)


def _cosine(step: Array, *, initial: Array, final: Array, steps: Array) -> Array:
    return final + (initial - final) * (1 + jnp.cos(jnp.pi * jnp.minimum(step / steps, 1))) / 2


def _warmup(after: Callable[..., Any], step: Array, *, steps: Array, initial: Array) -> Array:
    share = step / jnp.where(steps > 0, steps, 1)
    rising = initial + (jnp.asarray(after(jnp.zeros_like(step)), float) - initial) * share
    return jnp.where(step < steps, rising, jnp.asarray(after(jnp.maximum(step - steps, 0)), float))


def _join(*pieces_then_step: Any, boundaries: Array) -> Array:
    *pieces, step = pieces_then_step
    starts = jnp.concatenate([jnp.zeros(1, boundaries.dtype), boundaries])
    values = jnp.stack(
        [
            jnp.broadcast_to(jnp.asarray(piece(jnp.maximum(step - s, 0)), float), step.shape)
            for piece, s in zip(pieces, starts, strict=True)
        ]
    )
    return jnp.take_along_axis(values, _reached(step, boundaries)[None], axis=0)[0]


def _reached(step: Array, boundaries: Array) -> Int[Array, "..."]:
    """How many boundaries each step has reached."""
    edges = jnp.expand_dims(boundaries, range(step.ndim))
    return jnp.sum(step[..., None] >= edges, axis=-1, dtype=jnp.int32)
