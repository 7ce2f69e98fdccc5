"""Losses that change during a run: moving and jumping targets, changing scales, late and flipped gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from .._problem import Problem
from .task import DESCENT, HEAVYBALL, Task, moved, near

_STEPS = 400


def _in_time(loss: Callable[[Array, Array], Array], at_end: Callable[[Array], Array], *start: float) -> Problem:
    """A problem whose loss depends on the number of the step, which its aux counts."""

    def counted(x: Array, *, aux: Int[Array, ""]) -> tuple[Array, Int[Array, ""]]:
        return loss(x, aux.astype(x.dtype)), aux + 1

    begin = near(*start)
    return Problem(counted, lambda key: (begin(key), jnp.int32(0)), evaluate=at_end)


def moving_target() -> Task:
    """A minimum that moves by 0.05 a step."""

    def loss(x: Float[Array, " 2"], step: Array) -> Float[Array, ""]:
        return 0.5 * jnp.sum((x - 0.05 * step) ** 2)

    return Task(
        name="moving_target",
        difficulty="a minimum that moves at a constant speed, to be followed to the end",
        source="Sutton and Barto, 2018 (constant step sizes in non-stationary problems)",
        problem=_in_time(loss, lambda x: 0.5 * jnp.sum((x - 0.05 * _STEPS) ** 2), 0.0, 0.0),
        steps=_STEPS,
        threshold=0.1,
        reason="six steps of the target behind in each direction; without moving it is 400",
        reference=("momentum", {"learning_rate": 0.2, "beta": 0.5}),
    )


def jumping_target() -> Task:
    """A minimum that jumps once, from 100 to -50, in the middle."""

    def loss(x: Float[Array, " 2"], step: Array) -> Float[Array, ""]:
        target = jnp.where(step < _STEPS // 2, 100.0, -50.0).astype(x.dtype)
        return jnp.sum(jnp.sqrt(1 + (x - target) ** 2))

    def at_end(x: Float[Array, " 2"]) -> Float[Array, ""]:
        return jnp.sum(jnp.sqrt(1 + (x + 50) ** 2) - 1)

    return Task(
        name="jumping_target",
        difficulty="a minimum that jumps by 150 units after half of the steps",
        source="Dohare et al., 2024, on continual learning",
        problem=_in_time(loss, at_end, 0.0, 0.0),
        steps=_STEPS,
        threshold=0.01,
        reason="within 0.1 of the new minimum, less than a thousandth of the jump",
        reference=("momentum", {"learning_rate": 0.2, "beta": 0.9}),
    )


def fading_gradient() -> Task:
    """A bowl whose loss is divided by 1e6 after a hundred steps, and jumps away."""

    def loss(x: Float[Array, " 2"], step: Array) -> Float[Array, ""]:
        early = step < 100
        target = jnp.where(early, 10.0, -10.0).astype(x.dtype)
        return jnp.where(early, 1.0, 1e-6).astype(x.dtype) * 0.5 * jnp.sum((x - target) ** 2)

    return Task(
        name="fading_gradient",
        difficulty="gradients that become 1e6 times smaller, so that what was accumulated is stale",
        source="Hinton, 2012 (RMSProp), on the decaying rates of AdaGrad; Zeiler, 2012",
        problem=_in_time(loss, lambda x: 0.5 * jnp.sum((x + 10) ** 2), 0.0, 0.0),
        steps=_STEPS,
        threshold=0.5,
        reason="a two-hundredth of the loss of 100 of the start, after the change",
        reference=("rmsprop", {"learning_rate": 0.2, "decay_rate": 0.8}),
        naive=("adagrad", {}),
    )


def late_gradients() -> Task:
    """Every gradient is that of ten steps before."""

    def loss(x: Float[Array, " 2"], *, aux: Float[Array, "10 2"]) -> tuple[Float[Array, ""], Array]:
        late = jax.lax.stop_gradient(jnp.asarray([1.0, 0.1], x.dtype) * aux[0])
        return jnp.sum(late * x), jnp.concatenate([aux[1:], jax.lax.stop_gradient(x)[None]])

    start = near(1.0, 1.0)

    def init(key: Key[Array, ""]) -> Any:
        begin = start(key)
        return begin, jnp.broadcast_to(begin, (10, 2))

    return Task(
        name="late_gradients",
        difficulty="gradients that are ten steps old, as of asynchronous workers",
        source="Recht et al., 2011; Lian et al., 2015",
        problem=moved(Problem(loss, init, evaluate=lambda x: 0.5 * jnp.sum(jnp.asarray([1.0, 0.1], x.dtype) * x**2))),
        steps=_STEPS,
        threshold=1e-3,
        reason="a fiftieth of what the flat direction holds at the start",
        reference=("gradient_descent", {"learning_rate": 0.07}),
    )


def flipping_gradient() -> Task:
    """One gradient in three points the wrong way, with its full size."""

    def loss(x: Float[Array, " 2"], step: Array) -> Float[Array, ""]:
        sign = jnp.where(step % 3 == 2, -1.0, 1.0).astype(x.dtype)
        return sign * 0.5 * jnp.sum(jnp.asarray([1.0, 0.1], x.dtype) * x**2)

    return Task(
        name="sign_flips",
        difficulty="one gradient in three has the wrong sign throughout, in a fixed rhythm",
        source=HEAVYBALL,
        problem=moved(_in_time(loss, lambda x: 0.5 * jnp.sum(jnp.asarray([1.0, 0.1], x.dtype) * x**2), 3.0, 3.0)),
        steps=_STEPS,
        threshold=1e-3,
        reason="a four-hundredth of what the flat direction holds at the start",
        reference=("momentum", {"learning_rate": 0.1, "beta": 0.9}),
    )


def stale_start() -> Task:
    """A run that begins at the minimum of another loss, which is sharp where this one is flat."""

    def loss(x: Float[Array, " 4"], step: Array) -> Float[Array, ""]:
        old = step < 100
        sharp, flat = jnp.asarray([100.0, 100.0, 1.0, 1.0], x.dtype), jnp.asarray([0.01, 0.01, 1.0, 1.0], x.dtype)
        target = jnp.where(old, 0.0, 5.0).astype(x.dtype)
        return 0.5 * jnp.sum(jnp.where(old, sharp, flat) * (x - target) ** 2)

    def at_end(x: Float[Array, " 4"]) -> Float[Array, ""]:
        return 0.5 * jnp.sum(jnp.asarray([0.01, 0.01, 1.0, 1.0], x.dtype) * (x - 5) ** 2)

    return Task(
        name="stale_start",
        difficulty="a start that another loss has left, with averages of its gradients: flat is now what was sharp",
        source="Ash and Adams, 2020, on warm starts",
        problem=_in_time(loss, at_end, 1.0, 1.0, 1.0, 1.0),
        steps=_STEPS,
        threshold=0.01,
        reason="a twenty-fifth of what the two flat directions hold after the change",
        reference=("adam", {"learning_rate": 0.1, "b2": 0.9}),
        naive=DESCENT,
    )


def tasks() -> list[Task]:
    """All of this file."""
    return [
        moving_target(),
        jumping_target(),
        fading_gradient(),
        late_gradients(),
        flipping_gradient(),
        stale_start(),
    ]
