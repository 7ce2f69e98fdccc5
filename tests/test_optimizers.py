"""Every first-order method reaches the minimum of optax's own convergence cases, real and complex, in 10,000 steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_notes as jon

PARABOLA = (jnp.array([-1.0, 10.0, 1.0]), jnp.array([1.0, -1.0, 1.0]))
ROSENBROCK = (jnp.array([0.0, 0.0]), jnp.array([1.0, 1.0]))

METHODS = {
    "gradient_descent": dict(learning_rate=1e-3),
    "momentum": dict(learning_rate=1e-3, beta=0.9),
    "averaged-momentum": dict(learning_rate=1e-2, beta=0.9, dampening=0.9),
    "nesterov": dict(learning_rate=1e-3, beta=0.9),
    "adagrad": dict(learning_rate=1.0),
    "adadelta": dict(learning_rate=0.1),
    "rmsprop": dict(learning_rate=5e-3),
    "rmsprop-momentum": dict(learning_rate=5e-4, beta=0.9),
    "rmsprop-centered": dict(learning_rate=5e-3, eps_root=1e-8, centered=True),
    "adam": dict(learning_rate=0.1),
    "adamw": dict(learning_rate=0.1, weight_decay=1e-4),
}


def squared(x):
    return jnp.real(x * jnp.conj(x))


def parabola(x):
    return jnp.sum(squared(x - PARABOLA[1].astype(x.dtype)))


def rosenbrock(x):
    return squared(1 - x[0]) + 100 * squared(x[1] - x[0] ** 2)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.complex64])
@pytest.mark.parametrize(
    ("loss", "ends"), [(parabola, PARABOLA), (rosenbrock, ROSENBROCK)], ids=["parabola", "rosenbrock"]
)
def test_the_minimum_is_reached(name, dtype, loss, ends):
    start, minimum = ends
    optimizer = jon.OPTIMIZERS[name.split("-")[-1] if name.startswith("averaged") else name.split("-")[0]](
        **METHODS[name]
    )
    with jax.numpy_dtype_promotion("standard"):
        run = jon.minimize(loss, start.astype(dtype), optimizer, steps=10_000, every=10_000)
    assert run.params.dtype == dtype
    assert int(run.status) == jon.Status.COMPLETED
    np.testing.assert_allclose(run.params, minimum, rtol=3e-2, atol=3e-2)
