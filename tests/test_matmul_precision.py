"""Products of matrices: full float32 in curvature, JAX's default in training, the user's choice in both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled_programs

import jaxopt_notes as jon
from jaxopt_notes._jaxpr import equations, products_are_rounded
from jaxopt_notes.curvature import GaussNewtonOperator, HessianOperator, eigsh

HIGHEST = jax.lax.Precision.HIGHEST
PRODUCTS = ("dot_general", "conv_general_dilated")
IMAGES = jnp.asarray(np.random.default_rng(0).standard_normal((6, 8, 8, 1)), jnp.float32)
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


def square(out, images):
    return jnp.mean(out**2)


WAYS = {
    "hvp": lambda loss, params: jon.hvp(loss, params, params, IMAGES),
    "hessian operator": lambda loss, params: HessianOperator(loss, params, IMAGES)(params),
    "classify": lambda loss, params: jon.classify(loss, params, IMAGES).gradient_norm,
    "gauss newton": lambda _, params: GaussNewtonOperator(outputs, square, params, IMAGES)(params),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_product_behind_a_curvature_is_in_full_precision(way):
    found = precisions(lambda params: WAYS[way](loss, params), KERNEL)
    assert set(found) == set(PRODUCTS)
    assert set.union(*found.values()) == {HIGHEST}


@jax.custom_vjp
def layer(matrix, images):
    return images.reshape(len(images), -1) @ matrix


def layer_backward(saved, slopes):
    matrix, images = saved
    return images.reshape(len(images), -1).T @ slopes, (slopes @ matrix.T).reshape(images.shape)


layer.defvjp(lambda matrix, images: (layer(matrix, images), (matrix, images)), layer_backward)


@pytest.mark.parametrize("way", ["hvp", "hessian operator", "classify"])
def test_so_is_every_product_in_a_rule_of_the_users(way):
    own = lambda matrix, images: jnp.mean(jnp.tanh(layer(matrix, images)) ** 2)
    found = precisions(lambda matrix: WAYS[way](own, matrix), jnp.ones((64, 3)))
    assert found == {"dot_general": {HIGHEST}}


MATRIX = 0.1 * jnp.ones((4, 2))
DIRECTIONS = [jax.random.normal(jax.random.key(seed), MATRIX.shape) for seed in (1, 2)]
SEARCHES = {
    "critical points": lambda loss: jon.find_critical_points(loss, jnp.stack([MATRIX, 2 * MATRIX])),
    "curvature map": lambda loss: jon.landscape.curvature_map(loss, MATRIX, DIRECTIONS, points=3),
    "eigenvalues of a function": lambda loss: eigsh(
        lambda v: jax.grad(lambda matrix: jnp.vdot(jax.grad(loss)(matrix), v))(MATRIX), k=1, like=MATRIX
    ),
    "polished verdict": lambda loss: jon.classify(loss, MATRIX, polish=2),
}


@pytest.mark.parametrize("search", SEARCHES)
def test_so_is_every_product_of_a_search(search):
    own = lambda matrix: jnp.mean(jnp.tanh(layer(matrix, IMAGES[:, :2, :2])) ** 2)
    with compiled_programs(str) as compiled:
        SEARCHES[search](own)
    products = [line for text in compiled for line in text.splitlines() if "dot_general" in line]
    assert products
    assert [line for line in products if "HIGHEST" not in line] == []


def test_the_precision_that_a_user_chose_stays():
    with jax.default_matmul_precision("bfloat16"):
        found = precisions(lambda params: WAYS["hvp"](loss, params), KERNEL)
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
