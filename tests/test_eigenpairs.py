"""Eigenpairs of small symmetric matrices beside LAPACK in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_notes.curvature._eigenpairs import eigenpairs

_RNG = np.random.default_rng(0)


def symmetric(n):
    """Random, of rank 1, diagonal, with eigenvalues that differ by rounding, and zero."""
    random = _RNG.standard_normal((400, n, n))
    vectors = _RNG.standard_normal((400, n))
    diagonal = np.eye(n) * _RNG.standard_normal((400, 1, n))
    near = np.eye(n) + 2.0**-23 * _RNG.integers(-2, 3, (400, n, n))
    scales = 10.0 ** _RNG.uniform(-12, 12, (1600, 1, 1))
    kinds = [random, vectors[:, :, None] * vectors[:, None, :], diagonal, near]
    all_kinds = np.concatenate([scales * np.concatenate(kinds), np.zeros((1, n, n))])
    return np.float32(all_kinds + all_kinds.transpose(0, 2, 1))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_values_and_vectors_are_right_to_rounding(n):
    matrices = symmetric(n)
    values, vectors = jax.tree.map(np.asarray, jax.jit(jax.vmap(eigenpairs))(jnp.asarray(matrices)))
    wide = matrices.astype(float)
    expected = np.linalg.eigvalsh(wide)
    rounding = 8 * np.finfo(np.float32).eps
    size = np.abs(expected).max(axis=1)
    assert np.all(np.diff(values, axis=1) >= 0)
    assert np.all(np.abs(values - expected) <= rounding * size[:, None])
    products = np.einsum("kij,kil->kjl", vectors.astype(float), vectors.astype(float))
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(n), products.shape), atol=rounding)
    residuals = np.linalg.norm(wide @ vectors - vectors * values[:, None, :].astype(float), axis=1)
    assert np.all(residuals <= rounding * size[:, None])
