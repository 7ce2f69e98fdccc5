"""Every first-order method reaches the minimum of optax's own convergence cases, real and complex, in 10,000 steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import OPTIMIZER_CASES

import jaxopt_notes as jon

PARABOLA = (jnp.array([-1.0, 10.0, 1.0]), jnp.array([1.0, -1.0, 1.0]))
ROSENBROCK = (jnp.array([0.0, 0.0]), jnp.array([1.0, 1.0]))

METHODS = {str(case): case.factory(**case.solves) for case in OPTIMIZER_CASES}
METHODS["averaged momentum"] = jon.momentum(1e-2, beta=0.9, dampening=0.9)


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
    with jax.numpy_dtype_promotion("standard"):
        run = jon.minimize(loss, start.astype(dtype), METHODS[name], steps=10_000, every=10_000)
    assert run.params.dtype == dtype
    assert int(run.status) == jon.Status.COMPLETED
    np.testing.assert_allclose(run.params, minimum, rtol=3e-2, atol=3e-2)
