"""Tables that drive the tests: a new row is tested everywhere."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxopt_notes as jon


def papers_adan(learning_rate, b1, b2, b3, eps, weight_decay=0.0):
    """Algorithm 1 of Xie et al., 2022, in its own notation, with the averages corrected for their start."""
    beta1, beta2, beta3 = 1 - b1, 1 - b2, 1 - b3

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros, zeros, zeros, zeros, 0

    def update(grads, state, params):
        *slots, k = state
        share = [1 - (1 - beta) ** (k + 1.0) for beta in (beta1, beta2, beta3)]

        def leaf(g, theta, m, v, n, previous):
            difference = jnp.where(k == 0, 0, g - previous)
            m, v = (1 - beta1) * m + beta1 * g, (1 - beta2) * v + beta2 * difference
            n = (1 - beta3) * n + beta3 * jnp.abs(g + (1 - beta2) * difference) ** 2
            eta = jnp.where(n == 0, 0, learning_rate / (jnp.sqrt(n / share[2]) + eps))
            back = eta * (m / share[0] + (1 - beta2) * v / share[1]) + learning_rate * weight_decay * theta
            return -back / (1 + learning_rate * weight_decay), m, v, n, g

        moved = jax.tree.map(leaf, grads, params, *slots)
        updates, *slots = (jax.tree.map(lambda _, each, i=i: each[i], grads, moved) for i in range(5))
        return updates, (*slots, k + 1)

    return optax.GradientTransformation(init, update)


class Case(NamedTuple):
    """An optimizer as the tests try it.

    `numbers` are two values of each number, `reference` the optax optimizer it must agree with. With `solves` it
    reaches the minima of tests/test_optimizers.py. With `held` a step hardly changes what it divides by. `complex` is
    whether the reference takes complex gradients as we do.
    """

    name: str
    numbers: dict[str, tuple[float, float]]
    reference: Any
    solves: dict[str, float]
    held: dict[str, float] = {}  # noqa: RUF012
    fixed: dict[str, Any] = {}  # noqa: RUF012
    label: str = ""
    complex: bool = True

    def __str__(self):
        return "-".join(filter(None, (self.name, self.label)))

    def factory(self, **numbers):
        return jon.OPTIMIZERS[self.name](**{**self.fixed, **numbers})

    def first(self):
        return {name: values[0] for name, values in self.numbers.items()}


RATES = (0.1, 0.02)
RMSPROP = {"learning_rate": RATES, "decay_rate": (0.9, 0.99)}
ADAM = {"learning_rate": RATES, "b1": (0.9, 0.0), "b2": (0.999, 0.9), "eps": (1e-8, 1e-3), "eps_root": (0.0, 1e-6)}
ADAN = {"learning_rate": RATES, "b1": (0.98, 0.9), "b3": (0.99, 0.9)}
LASTING = {"decay_rate": 0.9999}
OPTIMIZER_CASES = [
    Case(
        "gradient_descent",
        {"learning_rate": RATES},
        lambda learning_rate: optax.sgd(learning_rate),
        solves={"learning_rate": 1e-3},
    ),
    Case(
        "momentum",
        {"learning_rate": RATES, "beta": (0.9, 0.0), "dampening": (0.0, 0.3)},
        lambda learning_rate, beta, dampening: optax.chain(
            optax.scale(1 - dampening), optax.trace(beta), optax.scale(-learning_rate)
        ),
        solves={"learning_rate": 1e-3, "beta": 0.9},
    ),
    Case(
        "nesterov",
        {"learning_rate": RATES, "beta": (0.9, 0.0)},
        lambda learning_rate, beta: optax.sgd(learning_rate, momentum=beta, nesterov=True),
        solves={"learning_rate": 1e-3, "beta": 0.9},
    ),
    Case(
        "adagrad",
        {"learning_rate": RATES, "eps_root": (1e-7, 1e-3), "initial_accumulator": (0.1, 0.0)},
        lambda learning_rate, eps_root, initial_accumulator: optax.adagrad(
            learning_rate, initial_accumulator, eps_root
        ),
        solves={"learning_rate": 1.0},
        fixed={"eps": 0.0},
    ),
    Case(
        "adadelta",
        {"learning_rate": (1.0, 0.1), "rho": (0.9, 0.95), "eps": (1e-6, 1e-3)},
        lambda **numbers: optax.adadelta(**numbers),
        solves={"learning_rate": 0.1},
        held={"rho": 0.9999},
        complex=False,  # optax's squares complex gradients in place of their modulus
    ),
    Case(
        "rmsprop",
        {**RMSPROP, "eps": (1e-8, 1e-3)},
        lambda learning_rate, decay_rate, eps: optax.rmsprop(learning_rate, decay_rate, eps, eps_in_sqrt=False),
        solves={"learning_rate": 5e-3},
        held=LASTING,
    ),
    Case(
        "rmsprop",
        {**RMSPROP, "eps_root": (1e-8, 1e-3)},
        lambda learning_rate, decay_rate, eps_root: optax.rmsprop(learning_rate, decay_rate, eps_root),
        solves={"learning_rate": 5e-3, "eps_root": 1e-8},
        held=LASTING,
        fixed={"eps": 0.0},
        label="eps-inside",
    ),
    Case(
        "rmsprop",
        {**RMSPROP, "eps": (1e-8, 1e-3), "beta": (0.9, 0.0)},
        lambda learning_rate, decay_rate, eps, beta: optax.rmsprop(
            learning_rate, decay_rate, eps, eps_in_sqrt=False, momentum=beta
        ),
        solves={"learning_rate": 5e-4, "beta": 0.9},
        held=LASTING,
        label="momentum",
    ),
    Case(
        "rmsprop",
        {**RMSPROP, "eps": (1e-3, 1e-8)},
        lambda learning_rate, decay_rate, eps: optax.rmsprop(
            learning_rate, decay_rate, eps, eps_in_sqrt=False, centered=True
        ),
        solves={"learning_rate": 5e-3, "eps_root": 1e-8},
        held=LASTING,
        fixed={"centered": True},
        label="centered",
    ),
    Case(
        "rmsprop",
        {**RMSPROP, "eps": (1e-8, 1e-3)},
        lambda learning_rate, decay_rate, eps: optax.rmsprop(
            learning_rate, decay_rate, eps, eps_in_sqrt=False, bias_correction=True
        ),
        solves={"learning_rate": 5e-3},
        held=LASTING,
        fixed={"debias": True},
        label="debiased",
    ),
    Case("adam", ADAM, lambda **numbers: optax.adam(**numbers), solves={"learning_rate": 0.1}, held={"b2": 0.9999}),
    Case(
        "adam",
        ADAM,
        lambda **numbers: optax.amsgrad(**numbers),
        solves={"learning_rate": 0.1},
        held={"b2": 0.9999},
        fixed={"amsgrad": "corrected"},
        label="amsgrad-optax",
    ),
    Case(
        "adamw",
        {**ADAM, "weight_decay": (1e-2, 0.0)},
        lambda **numbers: optax.adamw(**numbers),
        solves={"learning_rate": 0.1, "weight_decay": 1e-4},
        held={"b2": 0.9999},
    ),
    Case(
        "adan",
        {**ADAN, "eps": (1e-8, 1e-3), "b2": (0.92, 0.5)},
        papers_adan,
        solves={"learning_rate": 0.1},
        held={"b3": 0.9999},
    ),
    Case(
        "adan",
        {**ADAN, "eps_root": (1e-8, 1e-4)},
        lambda **numbers: optax.adan(**numbers),
        solves={"learning_rate": 0.1},
        held={"b3": 0.9999},
        fixed={"extrapolation": 1 - 0.92},  # optax 0.2.8 adds this share of the change, and the paper b2
        label="optax",
    ),
    Case(
        "lion",
        {"learning_rate": RATES, "b1": (0.9, 0.0), "b2": (0.99, 0.9), "weight_decay": (1e-2, 0.0)},
        lambda **numbers: optax.lion(**numbers),
        solves={"learning_rate": 1e-2, "weight_decay": 1e-4},
    ),
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
