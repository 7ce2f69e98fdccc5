"""The null directions of the digits network: its symmetries, and Hessian products along them in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxopt_notes import problems

DEAD, SHIFTS, RESCALINGS = np.s_[:15], np.s_[15:20], np.s_[20:]  # 3 pixels x 5 units; 1 + 4; 5 + 4


@pytest.fixture(scope="module")
def digits():
    """A network with two hidden layers: its losses, gradient, null directions and Hessian products along them."""
    with jax.enable_x64(True):
        problem = problems.digits_mlp([5, 4])
        like = jax.eval_shape(problem.init, jax.random.key(0))
        random = np.random.default_rng(0)
        params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape) / 2, like)
        flat, unflatten = ravel_pytree(params)

        def loss(x, data):
            return problem.loss(unflatten(x), data)

        def rows(tree):
            return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(tree)], axis=1)

        @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
        def measure(x, scales, shifts, data):
            gradient = jax.grad(loss)
            directions = rows(problem.null_directions(unflatten(x)))
            products = jax.vmap(lambda v: jax.jvp(lambda y: gradient(y, data), (x,), (v,))[1])(directions)
            losses = jax.lax.map(lambda y: loss(y, data), jnp.concatenate([x[None] * scales, x[None] + shifts]))
            return losses, gradient(x, data), directions, products

        signs = np.zeros((4, flat.size))
        index = jax.tree.map(lambda leaf: np.asarray(leaf, int), unflatten(np.arange(flat.size, dtype=float))["params"])
        for row, (below, above, unit) in enumerate([("Dense_0", "Dense_1", 1), ("Dense_1", "Dense_2", 3)], start=1):
            signs[row, index[below]["kernel"][:, unit]] = 1
            signs[row, index[below]["bias"][unit]] = 1
            signs[row, index[above]["kernel"][unit]] = -1
        shifts = np.zeros((3, flat.size))
        shifts[0, index["Dense_0"]["kernel"][[0, 32, 39]]] = 3
        shifts[1, index["Dense_2"]["bias"]] = -2
        shifts[2, index["Dense_2"]["kernel"][2]] = 5
        measured = measure(flat, np.exp(0.7 * signs), shifts, problem.data)
        return np.asarray(flat), signs, shifts, *map(np.asarray, measured)


def test_digits_symmetries_keep_the_loss(digits):
    losses = digits[3]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-13)


def test_digits_null_directions_are_those_symmetries(digits):
    flat, signs, shifts, _, gradient, directions, _ = digits
    assert directions.shape == (29, flat.size)
    assert np.linalg.matrix_rank(directions) == 29
    np.testing.assert_allclose(directions @ gradient, 0, atol=1e-14)
    np.testing.assert_array_equal(directions[DEAD].sum(0) * 3, shifts[0])
    np.testing.assert_array_equal(directions[[15, 18]] * [[-2], [5]], shifts[1:])
    np.testing.assert_allclose(directions[[21, 28]], flat * signs[[1, 2]])
    wide = problems.digits_mlp()
    shapes = jax.eval_shape(wide.null_directions, jax.eval_shape(wide.init, jax.random.key(0)))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(shapes)} == {3 * 64 + 1 + 64 + 64}


def test_digits_hessian_vanishes_along_dead_pixels_and_shifts_everywhere(digits):
    *_, products = digits
    assert not products[DEAD].any()
    assert np.abs(products[SHIFTS]).max() < 1e-14 * np.abs(products).max()


def test_digits_hessian_along_a_rescaling_is_minus_the_signed_gradient(digits):
    """The loss is constant along exp(t D) p with v = D p, so g.v = 0 for every p, whose derivative is H v + D g = 0."""
    flat, _, _, _, gradient, directions, products = digits
    signs = np.rint(directions[RESCALINGS] / flat)
    assert set(np.unique(signs)) == {-1, 0, 1}
    np.testing.assert_allclose(products[RESCALINGS], -signs * gradient, atol=1e-14)
    assert np.abs(products[RESCALINGS]).max() > 1e-3  # no null direction here: the gradient is not zero
