"""Products of matrices: full float32 in curvature, JAX's default in training, the user's choice in both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_notes as jon
from jaxopt_notes._jaxpr import equations
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
