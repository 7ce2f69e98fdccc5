"""Products of matrices: full float32 in curvature, JAX's default in training, the user's choice in both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_notes as jon
from jaxopt_notes._jaxpr import equations, products_are_rounded
from jaxopt_notes.curvature import GaussNewtonOperator, HessianOperator

HIGHEST = jax.lax.Precision.HIGHEST
PRODUCTS = ("dot_general", "conv_general_dilated")
IMAGES = np.random.default_rng(0).standard_normal((6, 8, 8, 1)).astype(np.float32)
KERNEL = {"conv": jnp.ones((3, 3, 1, 2)), "dense": jnp.ones((72, 3))}


def outputs(params, images):
    first = jax.lax.conv_general_dilated(
        images, params["conv"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.tanh(first).reshape(len(images), -1) @ params["dense"]


def loss(params, images):
    return jnp.mean(outputs(params, images) ** 2)


def precisions(function, *arguments):
    """By name of the operation the precisions of all its factors."""
    found = {}
    for equation in equations(jax.make_jaxpr(function)(*arguments).jaxpr):
        if equation.primitive.name in PRODUCTS:
            given = equation.params["precision"]
            found.setdefault(equation.primitive.name, set()).update(given if isinstance(given, tuple) else [given])
    return found


WAYS = {
    "hvp": lambda params: jon.hvp(loss, params, params, jnp.asarray(IMAGES)),
    "hessian operator": lambda params: HessianOperator(loss, params, IMAGES)(params),
    "gauss newton": lambda params: GaussNewtonOperator(outputs, lambda out, images: jnp.mean(out**2), params, IMAGES)(
        params
    ),
    "classify": lambda params: jon.classify(loss, params, jnp.asarray(IMAGES)).gradient_norm,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_product_behind_a_curvature_is_in_full_precision(way):
    found = precisions(WAYS[way], KERNEL)
    assert set(found) == set(PRODUCTS)
    assert set.union(*found.values()) == {HIGHEST}


def test_the_precision_that_a_user_chose_stays():
    with jax.default_matmul_precision("bfloat16"):
        found = precisions(WAYS["hvp"], KERNEL)
    assert HIGHEST not in found["conv_general_dilated"]


def test_training_keeps_the_default_and_the_table_names_it():
    problem = jon.Problem(lambda params: loss(params, IMAGES), init=KERNEL)
    plan = jon.plan(problem, jon.momentum, jon.grid(learning_rate=[0.01]), steps=2)
    found = precisions(lambda params: plan.groups[0].static.loss(plan.groups[0].constants, params, None, {}), KERNEL)
    assert set.union(*found.values()) == {None}
    assert jon.sweep(plan, progress=False).attrs["matmul_precision"] == "default"
    with jax.default_matmul_precision("highest"):
        table = jon.sweep(problem, jon.momentum, jon.grid(learning_rate=[0.01]), steps=2, progress=False)
    assert table.attrs["matmul_precision"] == "highest"
    assert table.attrs["fingerprint"] != plan.groups[0].fingerprint


def rounded_to(bits):
    """float32 numbers rounded to so many bits, as a device rounds the factors of a product."""
    exponent_bits = 8
    return lambda x: jax.lax.reduce_precision(x, exponent_bits, bits)


def quadratics(count):
    """Symmetric matrices of 6 rows with eigenvalues over six decades, and how many of them are negative."""
    random = np.random.default_rng(5)
    turns = np.linalg.qr(random.standard_normal((count, 6, 6)))[0]
    values = random.choice([-1.0, 1.0], (count, 6)) * 10.0 ** random.uniform(-6, 0, (count, 6))
    return ((turns * values[:, None, :]) @ turns.transpose(0, 2, 1)).astype(np.float32)


def wrong(verdicts, matrices):
    """How many verdicts claim more eigenvalues of a sign than the exact matrix has."""
    exact = np.linalg.eigvalsh(matrices.astype(np.float64))
    noise = 6 * np.finfo(np.float32).eps
    too_many = (np.asarray(verdicts.index) > (exact < noise).sum(1)) | (
        np.asarray(verdicts.positive) > (exact > -noise).sum(1)
    )
    return int(too_many.sum())


@pytest.mark.parametrize(("precision", "bits"), [("bfloat16", 7), ("tensorfloat32", 10)])
def test_no_sign_is_wrong_where_the_user_lets_products_be_rounded(precision, bits):
    matrices, reduced = quadratics(1000), rounded_to(bits)

    def quadratic(x, matrix):
        return jnp.vdot(x, reduced(matrix) @ reduced(x)) / 2

    judge = jax.vmap(lambda matrix: jon.classify(quadratic, jnp.zeros(6), matrix))
    assert wrong(judge(jnp.asarray(matrices)), matrices) > 0  # as if nothing were rounded: signs of rounding count
    with jax.default_matmul_precision(precision):
        verdicts = judge(jnp.asarray(matrices))
    assert wrong(verdicts, matrices) == 0
    assert np.sum(np.asarray(verdicts.index) + np.asarray(verdicts.positive)) > 1000  # and signs are still found


def test_the_name_of_a_precision_decides_whether_products_are_rounded():
    for name, rounded in (("highest", False), ("float32", False), ("bfloat16", True), ("tensorfloat32", True)):
        with jax.default_matmul_precision(name):
            assert products_are_rounded() == rounded
    assert not products_are_rounded()
