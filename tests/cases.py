"""Tables that drive the tests: a new row is tested everywhere."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxopt_notes as jon


class Case(NamedTuple):
    """An optimizer, numbers to try it with (two values each), and the optax optimizer it must agree with."""

    name: str
    numbers: dict[str, tuple[float, float]]
    reference: Any
    fixed: dict[str, Any] = {}  # noqa: RUF012
    label: str = ""

    def factory(self, **numbers):
        return jon.OPTIMIZERS[self.name](**{**self.fixed, **numbers})

    def first(self):
        return {name: values[0] for name, values in self.numbers.items()}


RATES = (0.1, 0.02)
RMSPROP = {"learning_rate": RATES, "decay_rate": (0.9, 0.99)}
ADAM = {"learning_rate": RATES, "b1": (0.9, 0.0), "b2": (0.999, 0.9), "eps": (1e-8, 1e-3), "eps_root": (0.0, 1e-6)}

OPTIMIZER_CASES = [
    Case("gradient_descent", {"learning_rate": RATES}, lambda learning_rate: optax.sgd(learning_rate)),
    Case(
        "momentum",
        {"learning_rate": RATES, "beta": (0.9, 0.0), "dampening": (0.0, 0.3)},
        lambda learning_rate, beta, dampening: optax.chain(
            optax.scale(1 - dampening), optax.trace(beta), optax.scale(-learning_rate)
        ),
    ),
    Case(
        "nesterov",
        {"learning_rate": RATES, "beta": (0.9, 0.0)},
        lambda learning_rate, beta: optax.sgd(learning_rate, momentum=beta, nesterov=True),
    ),
    Case(
        "adagrad",
        {"learning_rate": RATES, "eps_root": (1e-7, 1e-3), "initial_accumulator": (0.1, 0.0)},
        lambda learning_rate, eps_root, initial_accumulator: optax.adagrad(
            learning_rate, initial_accumulator, eps_root
        ),
        fixed={"eps": 0.0},
    ),
    Case(
        "adadelta",
        {"learning_rate": (1.0, 0.1), "rho": (0.9, 0.95), "eps": (1e-6, 1e-3)},
        lambda **numbers: optax.adadelta(**numbers),
    ),
    Case(
        "rmsprop",
        {**RMSPROP, "eps": (1e-8, 1e-3)},
        lambda learning_rate, decay_rate, eps: optax.rmsprop(learning_rate, decay_rate, eps, eps_in_sqrt=False),
    ),
    Case(
        "rmsprop",
        {**RMSPROP, "eps_root": (1e-8, 1e-3)},
        lambda learning_rate, decay_rate, eps_root: optax.rmsprop(learning_rate, decay_rate, eps_root),
        fixed={"eps": 0.0},
        label="eps-inside",
    ),
    Case(
        "rmsprop",
        {**RMSPROP, "eps": (1e-8, 1e-3), "beta": (0.9, 0.0)},
        lambda learning_rate, decay_rate, eps, beta: optax.rmsprop(
            learning_rate, decay_rate, eps, eps_in_sqrt=False, momentum=beta
        ),
        label="momentum",
    ),
    Case(
        "rmsprop",
        {**RMSPROP, "eps": (1e-3, 1e-8)},
        lambda learning_rate, decay_rate, eps: optax.rmsprop(
            learning_rate, decay_rate, eps, eps_in_sqrt=False, centered=True
        ),
        fixed={"centered": True},
        label="centered",
    ),
    Case(
        "rmsprop",
        {**RMSPROP, "eps": (1e-8, 1e-3)},
        lambda learning_rate, decay_rate, eps: optax.rmsprop(
            learning_rate, decay_rate, eps, eps_in_sqrt=False, bias_correction=True
        ),
        fixed={"debias": True},
        label="debiased",
    ),
    Case("adam", ADAM, lambda **numbers: optax.adam(**numbers)),
    Case(
        "adam", ADAM, lambda **numbers: optax.amsgrad(**numbers), fixed={"amsgrad": "corrected"}, label="amsgrad-optax"
    ),
    Case("adamw", {**ADAM, "weight_decay": (1e-2, 0.0)}, lambda **numbers: optax.adamw(**numbers)),
]


def params(dtype=jnp.float32):
    """A pytree of mixed shapes, a scalar included."""
    return {
        "kernel": jnp.linspace(-1, 1, 12, dtype=dtype).reshape(3, 4),
        "bias": (jnp.zeros(4, dtype), jnp.asarray(0.5, dtype)),
    }


def recorded_gradients(steps, dtype=jnp.float32, seed=0):
    """Gradients shaped like `params`, some entries always exactly zero, stacked along a leading axis of steps."""
    rng = np.random.default_rng(seed)

    def leaf(like):
        values = rng.standard_normal((steps, *like.shape)) * np.exp(rng.uniform(-6, 3, like.shape))
        values[(slice(None), *(0 for _ in like.shape))] *= 0 if like.ndim else 1
        return jnp.asarray(values, dtype)

    return jax.tree.map(leaf, params(dtype))


def follow(optimizer, gradients, start):
    """The updates of every step when `optimizer` is fed recorded gradients."""

    def step(state, grads):
        updates, state = optimizer.update(grads, state, start)
        return state, updates

    return jax.lax.scan(step, optimizer.init(start), gradients)[1]
