"""Second derivatives of functions with a `custom_vjp`, against the same functions without one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.ode import odeint

from jaxopt_notes import classify, find_critical_points, minimize, newton
from jaxopt_notes.curvature import GaussNewtonOperator, HessianOperator, eigsh, hessian, hvp
from jaxopt_notes.explorer._engine import Settings, descend
from jaxopt_notes.explorer._page import describe
from jaxopt_notes.explorer._programs import function_source
from jaxopt_notes.explorer._scenes import of_function


@jax.custom_vjp
def exp(x):
    return jnp.exp(x)


def _exp_forward(x):
    y = exp(x)  # the function itself, as in the tutorial of JAX
    return y, y


exp.defvjp(_exp_forward, lambda y, cotangent: (y * cotangent,))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def power(exponent, x):
    return x**exponent


power.defvjp(
    lambda exponent, x: (power(exponent, x), (power(exponent, x), x)),
    lambda exponent, kept, cotangent: (exponent * kept[0] / kept[1] * cotangent,),
)


def scanned(f, x):
    return jax.lax.scan(lambda c, _: (f(c / 2) - x[1] ** 2, None), x[0], None, length=3)[0]


def root(f, x):
    """The solution y of y^3 + f(x_0) = 4 x_1."""

    def solve(residual, y):
        return jax.lax.fori_loop(0, 20, lambda _, y: y - residual(y) / (3 * y**2), y)

    return jax.lax.custom_root(lambda y: y**3 + f(x[0]) - 4 * x[1], x[1], solve, lambda g, b: b / g(jnp.ones_like(b)))


def solved(f, x):
    """The sum of x / (2 + f(x_0))."""
    scale = 2 + f(x[0])
    return jnp.sum(jax.lax.custom_linear_solve(lambda v: scale * v, x, lambda _, b: b / scale, lambda _, b: b / scale))


PLACES = {
    "plain": lambda f, x: jnp.sum(f(x)) * x[1],
    "jit": lambda f, x: jax.jit(lambda x: jnp.sum(f(x)) * x[1])(x),
    "vmap": lambda f, x: jnp.sum(jax.vmap(lambda a: f(a) * a)(x)),
    "checkpoint": lambda f, x: jax.checkpoint(lambda x: f(x[0]) * x[1] ** 2)(x),
    "cond": lambda f, x: jax.lax.cond(x[0] > 0, lambda x: f(x[0]) * x[1], lambda x: f(x[1]), x),
    "scan": scanned,
    "custom_root": root,
    "custom_linear_solve": solved,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_forward_rule_that_calls_the_function(place):
    x = jnp.array([0.5, 2.0])
    loss = partial(PLACES[place], exp)
    expected = jax.hessian(partial(PLACES[place], jnp.exp))(x)
    np.testing.assert_allclose(hessian(loss, x), expected, rtol=2e-5, atol=1e-5)
    across = jax.jit(jax.vmap(lambda vector: hvp(loss, x, vector)))(jnp.eye(2))
    np.testing.assert_allclose(across, expected, rtol=2e-5, atol=1e-5)


def test_arguments_that_are_not_differentiated():
    np.testing.assert_allclose(
        hessian(lambda x: jnp.sum(power(3, x)), jnp.array([1.0, 2.0])), np.diag([6, 12]), rtol=1e-6
    )


def test_what_a_gradient_does_not_need_leaves_forward_mode_alone():
    """The backward rule has a while loop, which only forward mode passes; the tangent of the value is not needed."""

    @jax.custom_vjp
    def cube(x):
        return x**3

    def backward(x, cotangent):
        return (jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, 3 * cotangent / x))[1],)

    cube.defvjp(lambda x: (cube(x), x), backward)
    np.testing.assert_allclose(hessian(lambda x: cube(x[0]), jnp.array([2.0])), [[12.0]], rtol=1e-6)


def test_a_function_that_neither_mode_differentiates_twice():
    @jax.custom_vjp
    def f(x):
        return jnp.exp(x)

    def backward(y, cotangent):
        return (jax.lax.while_loop(lambda s: s < 1, lambda s: s + y, y * cotangent),)

    f.defvjp(lambda x: (f(x), f(x)), backward)
    with pytest.raises(TypeError, match="forward mode stops at a custom_vjp function in it, and reverse mode fails"):
        hessian(lambda x: f(x[0]), jnp.ones(1))


def test_an_ordinary_differential_equation():
    """y' = -a y from 1 is exp(-a) at time 1; the backward rule solves an equation too. JAX's solver needs promotion."""
    with jax.numpy_dtype_promotion("standard"):

        def final(a):
            return odeint(lambda y, _, a: -a * y, jnp.array(1.0), jnp.array([0.0, 1.0]), a[0])[-1:]

        np.testing.assert_allclose(hessian(lambda a: final(a)[0], jnp.ones(1)), [[np.exp(-1)]], rtol=1e-4)
        operator = GaussNewtonOperator(final, lambda y: jnp.sum(y**2) / 2, jnp.ones(1))
        np.testing.assert_allclose(operator(jnp.ones(1)), [np.exp(-2)], rtol=1e-4)


def test_operators():
    x = jnp.linspace(0.1, 1.5, 40)
    pairs = eigsh(HessianOperator(lambda x: jnp.sum(exp(x)), x), 2)
    np.testing.assert_allclose(pairs.values, np.exp(x[-2:]), rtol=1e-5)
    outputs = jnp.array([2.0, 3.0])
    operator = GaussNewtonOperator(lambda x: outputs * exp(x), lambda y: jnp.sum(y**2), jnp.ones(2))
    np.testing.assert_allclose(operator(jnp.ones(2)), 2 * outputs**2 * np.exp(2), rtol=1e-6)


def bowl(x):
    """exp(x) - x + y^2, whose minimum is at 0."""
    return exp(x[0]) - x[0] + x[1] ** 2


def test_verdicts_searches_and_newtons_method():
    start = jnp.array([0.4, 1.0])
    point = classify(bowl, jnp.zeros(2))
    assert point.kind_name == "minimum"
    np.testing.assert_allclose(point.eigenvalues, [1.0, 2.0], rtol=1e-5)
    found = find_critical_points(bowl, start[None])
    np.testing.assert_allclose(found.points, np.zeros((1, 2)), atol=1e-4)
    run = minimize(bowl, start, newton(), steps=5)
    assert np.linalg.norm(run.params) < 1e-3
    # How the result of Newton's method depends on its learning rate needs third derivatives.
    slope = jax.grad(lambda rate: minimize(bowl, start, newton(rate), steps=2).final_loss)(0.5)
    plain = jax.grad(
        lambda rate: minimize(lambda x: jnp.exp(x[0]) - x[0] + x[1] ** 2, start, newton(rate), steps=2).final_loss
    )(0.5)
    np.testing.assert_allclose(slope, plain, rtol=1e-4)


def test_the_explorer():
    scene = of_function(bowl, ((-2, 2), (-2, 2)))
    np.testing.assert_allclose(describe(scene)["rate"], 0.8 / np.hypot(np.exp(scene.start[0]), 2), rtol=1e-5)
    assert "const hessian=" in function_source(scene)
    verdict = descend(scene, {"newton": {}}, scene.start, Settings(6))["newton"].verdict
    assert verdict.kind_name == "minimum"
    np.testing.assert_allclose(verdict.eigenvalues, [1.0, 2.0], rtol=1e-5)
