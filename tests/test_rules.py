"""What a proof makes of JAX's operations: values against JAX, derivatives against jax.grad, refusals by name."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.scipy.special import logsumexp

from jaxopt_notes import proof
from jaxopt_notes.proof._function import traced
from jaxopt_notes.proof._interval import Interval
from jaxopt_notes.proof._levels import Levels
from jaxopt_notes.proof._point import Point

KNOWN = np.random.default_rng(0).standard_normal((3, 4))
INDEX = np.array([2, 0, 3, 3])


def by_jax(fun, x):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(np.asarray, jax.jit(fun)(jnp.asarray(np.asarray(x))))


def assert_holds(fun, lower, upper, seed=0, rounding=1e-12, width=1e-10):
    """A wide box holds JAX's values at numbers inside of it, and a box of one number is close around its value."""
    rng = np.random.default_rng(seed)
    lower, upper = np.asarray(lower, float), np.asarray(upper, float)
    wide = proof.enclose(fun, (lower, upper))
    points = [lower, upper, rng.uniform(lower, upper)]
    for x in points:
        thin = proof.enclose(fun, (x, x))
        value = np.asarray(by_jax(fun, x), float)
        slack = rounding * (1 + np.abs(value))
        for each in (wide, thin):
            assert np.all(each.lower <= value + slack), (x, value, each)
            assert np.all(value - slack <= each.upper), (x, value, each)
        assert np.all(thin.upper - thin.lower <= width * (1 + np.abs(value))), (x, thin)


ELEMENTWISE = {
    "add": (lambda x: x + 0.1, -2, 2),
    "sub": (lambda x: 0.1 - x - 3, -2, 2),
    "mul": (lambda x: 0.3 * x * (x - 1), -2, 2),
    "div": (lambda x: (x - 1) / (x + 3), -2, 2),
    "neg": (lambda x: -x, -2, 2),
    "square": (lambda x: lax.square(x - 0.5), -2, 2),
    "third_power": (lambda x: x**3, -2, 2),
    "tenth_power": (lambda x: x**10, -2, 2),
    "inverse_power": (lambda x: x**-3, 0.5, 2),
    "pow_half": (lambda x: x**0.5 + x**-1.5 + x**2.5, 0.5, 2),
    "pow_real": (lambda x: x**0.3 + x**-1.2, 0.5, 2),
    "pow_variable": (lambda x: x**x + 2.0**x, 0.5, 2),
    "sqrt": (jnp.sqrt, 0.1, 2),
    "rsqrt": (lax.rsqrt, 0.1, 2),
    "exp": (jnp.exp, -2, 2),
    "exp2": (jnp.exp2, -2, 2),
    "expm1": (jnp.expm1, -2, 2),
    "log": (jnp.log, 0.1, 2),
    "log1p": (jnp.log1p, -0.5, 2),
    "logistic": (jax.nn.sigmoid, -3, 3),
    "sin": (jnp.sin, -5, 5),
    "cos": (jnp.cos, -5, 5),
    "tan": (jnp.tan, -1.5, 1.5),
    "tanh": (jnp.tanh, -5, 5),
    "sinh": (jnp.sinh, -2, 2),
    "cosh": (jnp.cosh, -2, 2),
    "asin": (jnp.arcsin, -0.99, 0.99),
    "acos": (jnp.arccos, -0.99, 0.99),
    "atan": (jnp.arctan, -3, 3),
    "erf": (lax.erf, -3, 3),
    "erfc": (lax.erfc, -3, 3),
    "abs": (jnp.abs, -2, 3),
    "sign": (jnp.sign, 0.5, 3),
    "max": (lambda x: jnp.maximum(x, 0.3) + jnp.maximum(-x, x * x), -2, 2),
    "min": (lambda x: jnp.minimum(x, 0.3), -2, 2),
    "clamp": (lambda x: lax.clamp(-0.5, x, 1.0), -2, 2),
    "comparisons": (lambda x: (x > 5) + 2.0 * (x >= 5) + 4.0 * (x < 5) + 8.0 * (x <= 5) + 16.0 * (x == 9), -2, 2),
    "logic": (lambda x: 1.0 * ((x > 5) & (x < 9)) + 2.0 * ((x < 5) | (x > 9)) + 4.0 * ~(x > 5) + (x != 7), -2, 2),
    "select": (lambda x: jnp.where(x > 0.2, x * x, 1 - x), -2, 2),
    "truth": (lambda x: x.astype(bool) * 1.0 + jnp.where(x.astype(bool), 3.0, 5.0), 0.5, 2),
    "is_finite": (lambda x: jnp.where(jnp.isfinite(x), x, 0.0), -2, 2),
    "is_nan": (lambda x: jnp.where(jnp.isnan(x), 0.0, x), -2, 2),
    "stop_gradient": (lambda x: lax.stop_gradient(x) * x, -2, 2),
    "single_precision": (lambda x: x * jnp.float32(0.1) + jnp.bfloat16(0.3), -2, 2),
    "softplus": (jax.nn.softplus, -40, 40),
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False) + jax.nn.gelu(x), -3, 3),
    "silu": (jax.nn.silu, -3, 3),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_functions_of_a_number(name):
    fun, lower, upper = ELEMENTWISE[name]
    assert_holds(fun, lower, upper)


def _loop(x):
    return lax.while_loop(lambda carry: carry[0] < 5, lambda carry: (carry[0] + 1, jnp.sin(carry[1]) + x), (0, x))[1]


def _scan(x):
    last, seen = lax.scan(lambda carry, row: (carry * 0.5 + row, carry - row), x[0], x, reverse=True)
    return jnp.concatenate([last[None], seen])


def _scan_known(x):
    return lax.scan(lambda carry, row: (carry + row, (carry, row)), 0.0, jnp.arange(3.0))[1][0] * x[0, :3]


ARRAYS = {
    "sums": lambda x: [x.sum(), x.sum(0), x.sum(1), x.mean(), x.var(0)],
    "folds": lambda x: [x.max(), x.min(1), x.prod(0), jnp.cumsum(x, 1), jnp.cumprod(x, 0), lax.cumsum(x, 0, True)],
    "dot": lambda x: [x @ KNOWN.T, x[0] @ x[1], jnp.outer(x[0], x[1]), jnp.einsum("ij,kj->ki", x, KNOWN)],
    "batched_dot": lambda x: jnp.einsum("bij,bkj->bki", x.reshape(3, 2, 2), KNOWN.reshape(3, 2, 2)),
    "dot_of_nothing": lambda x: x[:, :0] @ KNOWN[:0],
    "norm": lambda x: [jnp.linalg.norm(x), jnp.linalg.norm(x, axis=1)],
    "logsumexp": lambda x: [logsumexp(x), logsumexp(x, axis=0), jax.nn.softmax(x), jax.nn.log_softmax(x, axis=0)],
    "logaddexp": lambda x: jnp.logaddexp(x[0], x[1]),
    "scan": _scan,
    "scan_of_what_is_known": _scan_known,
    "while": _loop,
    "cond": lambda x: lax.cond(x[0, 0] > 100, lambda y: y * 2, lambda y: y * 3 + 1, x),
    "cond_known": lambda x: (
        lax.cond(KNOWN[0, 0] > 0, jnp.sin, jnp.cos, x) + lax.switch(2, [jnp.sin, jnp.cos, jnp.exp], x)
    ),
    "fori": lambda x: lax.fori_loop(0, 3, lambda i, y: y * x[i, 1], x),
    "remat": lambda x: jax.checkpoint(jnp.sin)(x) + jax.jit(jnp.cos)(x),
    "vmap": lambda x: jax.vmap(lambda row, i: row[i])(x, INDEX[:3]),
    "gradient": lambda x: jax.grad(lambda y: jnp.sum(jnp.tanh(y @ KNOWN.T) ** 2))(x),
    "random": lambda x: x + jax.random.uniform(jax.random.key(3), x.shape),
    "integers": lambda x: x * (jnp.arange(3)[:, None] * 10**10 % 7) + (jnp.arange(4) ** 20)[-1],
    "long_constants": lambda x: x * jnp.asarray(KNOWN)[jnp.asarray([2, 0, 1])] - jnp.where(KNOWN > 0, KNOWN, 0.1),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_functions_of_an_array(name):
    def fun(x):
        return jnp.concatenate([jnp.ravel(part) for part in jax.tree.leaves(ARRAYS[name](x))])

    middle = np.random.default_rng(1).uniform(-1, 1, (3, 4))
    assert_holds(fun, middle - 0.05, middle + 0.05, width=1e-9)


PADS = [[(1, 2, 0), (0, 0, 3)], [(-1, 0, 0), (-2, 3, 1)], [(-2, -2, 2), (1, -3, 0)], [(0, 0, 1), (-4, -4, 2)]]
MOVES = {
    **{f"pad {config}": lambda x, config=config: lax.pad(x, x[0, 0] * 2, config) for config in PADS},
    "reshape": lambda x: x.reshape(2, 6),
    "transpose": lambda x: x.reshape(3, 2, 2).transpose(2, 0, 1),
    "rev": lambda x: lax.rev(x, (0, 1)),
    "slices": lambda x: x[::-2, 1:4:2],
    "squeeze": lambda x: x[None, :, None].squeeze((0, 2)),
    "broadcast": lambda x: lax.broadcast_in_dim(x, (3, 2, 4), (0, 2)),
    "concatenate": lambda x: jnp.concatenate([x, jnp.asarray(KNOWN), x[:, :1] * jnp.ones((1, 4))]),
    "split": lambda x: jnp.concatenate(jnp.split(x, [1, 3], axis=1)[::-1], axis=1),
    "gather": lambda x: x[jnp.asarray([[0, 2], [1, 1]]), jnp.asarray([3, 0])],
    "gather_rows": lambda x: x[:, jnp.asarray(INDEX)],
    "gather_clipped": lambda x: x.at[jnp.asarray([7, 1])].get(mode="clip"),
    "take_along": lambda x: jnp.take_along_axis(x, jnp.asarray([[0], [3], [1]]), axis=1),
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (1, 1), (2, 3)),
    "dynamic_update": lambda x: lax.dynamic_update_slice(x, x[:1, :2] * 2, (1, 1)),
    "scatter": lambda x: x.at[jnp.asarray([0, 2]), jnp.asarray([1, 3])].set(x[1, :2]),
    "scatter_of_constants": lambda x: jnp.asarray(KNOWN).at[1].set(x[0]),
    "scatter_outside": lambda x: x.at[jnp.asarray([9, 1])].set(5.0, mode="drop"),
    "triangle": lambda x: jnp.tril(x) + jnp.roll(x, 1, 0) * 0,
    "repeat": lambda x: jnp.tile(jnp.repeat(x, 2, axis=0), (1, 2)),
    "scan": lambda x: lax.scan(lambda carry, row: (row, carry), x[2], x, reverse=True)[1],
    "cond": lambda x: lax.cond(INDEX[0] == 2, lambda y: y[::-1], lambda y: y, x),
    "while": lambda x: lax.while_loop(lambda c: c[0] < 4, lambda c: (c[0] + 1, jnp.roll(c[1], 1, 1)), (0, x))[1],
    "select": lambda x: jnp.where(jnp.asarray(KNOWN) > 0, x, -x),
    "barrier": lambda x: lax.optimization_barrier((x, x[0]))[0],
    "kept_in_lower_precision": lambda x: x.astype(jnp.float32).astype(jnp.float64),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_only_moves_is_exact(name):
    x = np.random.default_rng(2).integers(-50, 50, (3, 4)) / 8
    found, expected = proof.enclose(MOVES[name], (x, x)), by_jax(MOVES[name], x)
    assert found.lower.shape == expected.shape
    # Products with 2, and sums with 0, are rounded outward by less than 1e-300.
    np.testing.assert_allclose(found.lower, expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(found.upper, expected, rtol=0, atol=1e-14)
    assert (found.lower <= expected).all()
    assert (expected <= found.upper).all()


REFUSED = {
    "floor": jnp.floor,
    "round": jnp.round,
    "rem": lambda x: x % 2.0,
    "sort": lambda x: jnp.sort(x)[0] * x,
    "argmax": lambda x: x[jnp.argmax(x)],
    "top_k": lambda x: lax.top_k(x, 2)[0],
    "erf_inv": lax.erf_inv,
    "lgamma": lax.lgamma,
    "cbrt": jnp.cbrt,
    "atan2": lambda x: jnp.arctan2(x, 1.0),
    "cholesky": lambda x: jnp.linalg.cholesky(jnp.diag(x)),
    "conv_general_dilated": lambda x: jnp.convolve(x, x),
    "convert_element_type": lambda x: x.astype(int) * 1.0,
    "that depend on the parameters": lambda x: lax.dynamic_index_in_dim(x, jnp.where(x[0] > 0, 1, 0)),
    "while": lambda x: lax.while_loop(lambda y: y[0] < 9, lambda y: y + 1, x),
    "fill_value": lambda x: x.at[jnp.asarray([7])].get(mode="fill", fill_value=2.0),
    "reads outside": lambda x: x.at[jnp.asarray([7])].get(mode="fill"),
    "complex": lambda x: jnp.abs(x * 1j),
    "'and' of int": lambda x: jnp.where(x > 0, 3, 1) & 1,
    "'div' of int": lambda x: lax.div(jnp.where(x > 0, 3, 1), 2),
    "'mul' of int8": lambda x: (jnp.where(x > 0, jnp.int8(3), jnp.int8(1)) * jnp.int8(100)).astype(float),
    "rounding to an integer": lambda x: jnp.where(x > 0, 300, 1).astype(jnp.uint8),
    "'int4'|rounding": lambda x: x.astype(jnp.int4),
    "beyond 2": lambda x: x * jnp.arange(2**53 + 1, 2**53 + 3)[0],
    "more than two": lambda x: lax.select_n(jnp.where(x > 0, 2, 0), x, x, x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_name(name):
    with pytest.raises(NotImplementedError, match=name):
        proof.enclose(REFUSED[name], (np.array([0.5, 0.6]), np.array([0.5, 0.7])))


def test_supported_names_are_those_with_a_rule():
    assert {"add", "dot_general", "scan", "gather", "pad", "iota", "tanh"} <= set(proof.supported())
    assert not {"floor", "sort", "erf_inv"} & set(proof.supported())


def test_constants_are_not_rounded():
    with jax.numpy_dtype_promotion("standard"):
        low, high = proof.enclose(lambda x: x + (jnp.asarray(0.1) * jnp.asarray(0.3) - 0.03), (0.0, 0.0))
        half = jnp.bfloat16(1.0078125)
        square = proof.enclose(lambda x: x + (half * half).astype(float), (0.0, 0.0))
    true = Fraction(0.1) * Fraction(0.3) - Fraction(0.03)
    assert Fraction(float(low)) <= true <= Fraction(float(high))
    assert true > Fraction(float(low)) - Fraction(1, 10**17)
    assert square.lower <= 1.0078125**2 <= square.upper  # which bfloat16 rounds to 1.015625


def test_comparisons_of_constants_below_the_normal_numbers():
    tiny = np.float64(1e-310)
    low, high = proof.enclose(lambda x: x + jnp.where(jnp.asarray(tiny) > 0, 1.0, 2.0), (0.0, 0.0))
    assert 0.9 < low <= 1 <= high < 1.1, "XLA takes 1e-310 for zero"


# Derivatives


@jax.custom_jvp
def _wrong_jvp(x):
    return jnp.sum((x - 1) ** 2)


_wrong_jvp.defjvp(lambda primals, tangents: (_wrong_jvp(*primals), jnp.sum(2 * (primals[0] - 2) * tangents[0])))


@jax.custom_vjp
def _wrong_vjp(x):
    return jnp.sum((x - 1) ** 2)


_wrong_vjp.defvjp(lambda x: (_wrong_vjp(x), x), lambda x, g: (g * 2 * (x - 2),))


@pytest.mark.parametrize("loss", [_wrong_jvp, _wrong_vjp], ids=["jvp", "vjp"])
def test_a_wrong_rule_for_a_derivative_does_not_spoil_a_proof(loss):
    assert proof.prove(loss, np.array([1.0, 1.0])).kind == "minimum"
    assert proof.prove(loss, np.array([2.0, 2.0])).kind == "not critical"
    assert proof.prove(lambda x: jnp.sum(lax.stop_gradient(x) * x), np.array([0.0])).kind == "minimum"


def _network(x):
    hidden = jnp.tanh(jnp.asarray(KNOWN) @ jnp.stack([x[:4], x[1:5]], axis=1) + x[5])
    return jnp.mean((hidden @ x[:2] - jnp.asarray([0.3, -0.2, 0.9])) ** 2) + 0.01 * jnp.sum(x**2)


SMOOTH = {
    "network": _network,
    "logsumexp": lambda x: logsumexp(3 * x) - x[0] * logsumexp(x[:3] * x[1]),
    "softmax": lambda x: jnp.sum(jax.nn.softmax(x) ** 2),
    "log_softmax": lambda x: -jax.nn.log_softmax(x * x)[1],
    "cross_entropy": lambda x: -jnp.mean(jax.nn.log_softmax(jnp.asarray(KNOWN)[:, :3] * x[None, :3] + x[3])[:, 1]),
    "softplus": lambda x: jnp.sum(jax.nn.softplus(x * 3)),
    "logaddexp": lambda x: jnp.logaddexp(x[0], x[1]) * jnp.logaddexp(x[2], 2 * x[3]),
    "gelu": lambda x: jnp.prod(jax.nn.gelu(x) + 2) + jnp.sum(jax.nn.gelu(x, approximate=False) ** 2),
    "sigmoid": lambda x: jnp.prod(jax.nn.sigmoid(x)) + jnp.sum(jax.nn.silu(x) * x[0]),
    "relu": lambda x: jnp.sum(jax.nn.relu(x) * x * x[::-1]),
    "norm": lambda x: jnp.linalg.norm(x) * jnp.linalg.norm(x[:2]),
    "where": lambda x: jnp.sum(jnp.where(x > 0, x**3, x**2 * x[0])),
    "max_abs": lambda x: jnp.max(x * x[0]) + jnp.sum(jnp.abs(x) ** 3) * jnp.min(x),
    "quotient": lambda x: (x[0] ** 2 + 1) / (jnp.cosh(x[1]) + x[2] ** 2) / jnp.sqrt(1 + x[3] ** 2),
    "arcs": lambda x: jnp.arcsin(x[0] / 3) * jnp.arctan(x[1]) + jnp.arccos(x[2] / 3) ** 2 * lax.erf(x[3]),
    "powers": lambda x: jnp.sum(jnp.abs(x) ** 1.3) + (x[0] ** 2 + 1) ** x[1] + jnp.exp2(x[2]) * jnp.tan(x[3] / 3),
    "scan": lambda x: lax.scan(lambda c, row: (jnp.sin(c * row) + c, None), x[0], x)[0],
    "held": lambda x: lax.stop_gradient(0 * x[0]) + jnp.log1p(x[0] ** 2) + jnp.expm1(x[1] * x[2]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_are_those_of_jax(name):
    loss, rng = SMOOTH[name], np.random.default_rng(5)
    point = rng.uniform(-1, 1, 6)
    function = traced(loss, Point("point", point), ())
    slope = by_jax(jax.grad(loss), point)
    hessian = by_jax(jax.hessian(loss), point)
    levels = Levels(function.tape, function.slope, function.size, derivatives=True)
    with np.errstate(all="ignore"):
        for radius, close in ((0.0, 1e-10), (1e-3, np.inf)):
            box = Interval(point[None] - radius, point[None] + radius)
            variables = [Interval(low, high) for low, high in zip(box.lower[0], box.upper[0], strict=True)]
            found = [(function.slope_on(box)[0], slope), (function.curvature_on(box)[0], hessian)]
            found += [(levels.values(variables), slope)]
            lower = levels.derivatives(variables)
            found += [(Interval(np.tril(lower.lower), np.tril(lower.upper)), np.tril(hessian))]
            for each, expected in found:
                slack = 1e-11 * (1 + np.abs(expected))
                assert (each.lower <= expected + slack).all()
                assert (expected - slack <= each.upper).all()
                assert (each.upper - each.lower <= close * (1 + np.abs(expected))).all()


def test_many_parameters_have_the_same_derivatives_as_few():
    """Up to ten parameters the Hessian has a tape of its own; beyond, derivatives are pushed forwards."""
    rng = np.random.default_rng(6)
    few = rng.uniform(-1, 1, 6)
    many = np.concatenate([few, rng.uniform(-1, 1, 8)])
    small = traced(_network, Point("point", few), ())
    large = traced(lambda x: _network(x[:6]) + jnp.sum(x[6:] ** 2), Point("point", many), ())
    with np.errstate(all="ignore"):
        first = small.curvature_on(Interval(few[None] - 0.01, few[None] + 0.01))
        second = large.curvature_on(Interval(many[None] - 0.01, many[None] + 0.01))[:, :6, :6]
    assert (first.lower <= second.upper).all()
    assert (second.lower <= first.upper).all()
    np.testing.assert_allclose(second.upper - second.lower, first.upper - first.lower, rtol=0.8, atol=1e-9)
