"""Square roots, quotients and norms: values as in numpy, derivatives at zero in both modes, NaN that stays NaN."""

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_notes._host_random import normal_on_host
from jaxopt_notes._numerics import divide, reciprocal, sqrt, tree_norm

X = jnp.array([0.0, 0.25, 4.0])


def test_values_are_numpys_and_a_quotient_by_zero_is_zero():
    np.testing.assert_array_equal(sqrt(X), np.sqrt(X))
    np.testing.assert_array_equal(reciprocal(X), [0, 4, 0.25])
    np.testing.assert_array_equal(divide(X, jnp.array([0.0, 0.0, 8.0])), [0, 0, 0.5])
    np.testing.assert_array_equal(divide(X, jnp.float32(0)), 0)


@pytest.mark.parametrize("mode", [jax.jacrev, jax.jacfwd])
def test_derivatives_at_zero_are_zero_and_elsewhere_the_usual_ones(mode):
    np.testing.assert_allclose(jnp.diag(mode(sqrt)(X)), [0, 1, 0.25])
    np.testing.assert_allclose(jnp.diag(mode(reciprocal)(X)), [0, -16, -1 / 16])
    by_numerator, by_denominator = mode(divide, argnums=(0, 1))(X, X)
    np.testing.assert_allclose(jnp.diag(by_numerator), [0, 4, 0.25])
    np.testing.assert_allclose(jnp.diag(by_denominator), [0, -4, -0.25])
    np.testing.assert_allclose(mode(tree_norm)({"a": jnp.zeros(2)})["a"], 0)


@pytest.mark.parametrize("outer", [jax.jacrev, jax.jacfwd])
def test_second_derivatives_exist_too(outer):
    second = jax.vmap(outer(jax.grad(sqrt)))(X)
    np.testing.assert_allclose(second, [0, -0.25 * 0.25**-1.5, -0.25 * 4**-1.5])


def test_a_nan_is_never_hidden():
    broken = jnp.array([1.0, jnp.nan])
    assert jnp.isnan(sqrt(broken)[1])
    assert jnp.isnan(divide(broken, jnp.ones(2))[1])
    assert jnp.isnan(divide(jnp.ones(2), broken)[1])
    assert jnp.isnan(tree_norm({"a": broken}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 1, 2**31])
def test_normal_numbers_on_the_host_are_those_of_jax(dtype, seed):
    with jax.enable_x64(dtype == "float64"):
        expected = np.asarray(jax.random.normal(jax.random.key(seed), (5000,), dtype), np.float64)
    # As probabilities: in the tails, where a number stands for few of them, it is not known to the last digit.
    probability = np.vectorize(NormalDist().cdf)
    found = probability(normal_on_host(5000, np.dtype(dtype), seed))
    np.testing.assert_allclose(found, probability(expected), rtol=0, atol=8 * np.finfo(dtype).eps)
