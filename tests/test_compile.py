"""JAX functions as JavaScript: each operation, whole programs, random bits, and what is refused, against JAX itself."""

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import numpy as np
import pytest

pytest.importorskip("py_mini_racer", reason="compiled functions are not run: no mini-racer")

from javascript import Compiled, apart
from jax import lax

from jaxopt_notes._jaxpr.listing import listed
from jaxopt_notes.explorer.compile import external_loss, javascript, supported


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def check(function, *args, ulp=4, dtype=np.float64, scale=None):
    """Compare a compiled function with JAX, leaf by leaf; with `scale`, in units of it and not of each element."""
    wanted = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(function)(*args))]
    found = Compiled(function, *args)(*args)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        if scale is None:
            assert apart(one, other, dtype) <= ulp, (one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=0, atol=ulp * np.finfo(dtype).eps * scale)


EVERYWHERE = np.array(
    [-np.inf, -37.5, -2.5, -1.0, -0.3, -1e-9, -0.0, 0.0, 1e-300, 0.3, 0.5, 1.0, 1.5, 2.5, 40.0, np.inf, np.nan]
)
INSIDE = np.array([-0.99, -0.7, -0.2, -1e-8, 0.0, 0.1, 0.5, 0.83, 0.999, 1.0])
ABOVE = np.array([1e-12, 0.01, 0.3, 0.5, 0.75, 1.0, 1.7, 4.0, 9.5, 30.25, 200.0])
UNARY = {
    "abs": (jnp.abs, EVERYWHERE),
    "sign": (jnp.sign, EVERYWHERE),
    "floor": (jnp.floor, EVERYWHERE),
    "ceil": (jnp.ceil, EVERYWHERE),
    "round to even": (jnp.round, EVERYWHERE),
    "round away": (lax.round, EVERYWHERE),
    "exp": (jnp.exp, EVERYWHERE),
    "expm1": (jnp.expm1, EVERYWHERE),
    "sin": (jnp.sin, EVERYWHERE),
    "cos": (jnp.cos, EVERYWHERE),
    "tan": (jnp.tan, EVERYWHERE),
    "tanh": (jnp.tanh, EVERYWHERE),
    "asinh": (jnp.arcsinh, EVERYWHERE),
    "atan": (jnp.arctan, EVERYWHERE),
    "logistic": (jax.nn.sigmoid, EVERYWHERE),
    "is_finite": (jnp.isfinite, EVERYWHERE),
    "square": (jnp.square, EVERYWHERE),
    "neg": (jnp.negative, EVERYWHERE),
    "integer_pow": (lambda x: (x**3, x**-2, x**7), EVERYWHERE),
    "log": (jnp.log, ABOVE),
    "log1p": (jnp.log1p, ABOVE),
    "sqrt": (jnp.sqrt, ABOVE),
    "rsqrt": (lax.rsqrt, ABOVE),
    "acosh": (jnp.arccosh, 1 + ABOVE),
    "asin": (jnp.arcsin, INSIDE),
    "acos": (jnp.arccos, INSIDE),
    "atanh": (jnp.arctanh, INSIDE),
    "erf_inv": (special.erfinv, INSIDE),
    "relu": (jax.nn.relu, EVERYWHERE),
    "gelu": (jax.nn.gelu, ABOVE),
    "softplus": (jax.nn.softplus, ABOVE),
    "to integer": (lambda x: x.astype(jnp.int32), EVERYWHERE),
    "to truth": (lambda x: (x.astype(bool), x.astype(bool).astype(float)), EVERYWHERE),
    "clamp": (lambda x: jnp.clip(x, -1.0, 2.0), EVERYWHERE),
    "reduce_precision": (lambda x: lax.reduce_precision(x, 8, 7), EVERYWHERE),
    "bits": (lambda x: lax.bitcast_convert_type(lax.bitcast_convert_type(x, jnp.uint64), jnp.float64), EVERYWHERE),
}


@pytest.mark.parametrize("name", UNARY)
def test_an_operation_on_one_number(name):
    function, numbers = UNARY[name]
    check(function, numbers)


# What XLA computes of these is further from the truth than 4 units in the last place.
@pytest.mark.parametrize("name", ["exp2", "sinh", "cosh", "cbrt"])
def test_operations_that_xla_approximates(name):
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(EVERYWHERE)
    assert apart(Compiled(getattr(jnp, name), EVERYWHERE)(EVERYWHERE)[0], wanted) <= 4


@pytest.mark.parametrize("name", ["erf", "erfc", "gammaln", "digamma"])
def test_special_functions(name):
    from scipy import special as reference

    numbers = np.concatenate([-ABOVE[ABOVE < 6], ABOVE[ABOVE < 27]]) if name in ("erf", "erfc") else ABOVE
    function = getattr(special, name)
    found = Compiled(function, numbers)(numbers)[0]
    wanted = getattr(reference, {"digamma": "psi"}.get(name, name))(numbers)
    np.testing.assert_allclose(found, wanted, rtol=4e-15, atol=4e-15)


PAIRS = np.array(
    [
        (a, b)
        for a in (-3.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.75, np.inf, np.nan)
        for b in (-2.0, -0.5, 0.0, 1.0, 3.0, np.inf)
    ]
)
BINARY = {
    "add": jnp.add,
    "subtract": jnp.subtract,
    "multiply": jnp.multiply,
    "divide": jnp.divide,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "power": lambda a, b: jnp.power(jnp.abs(a), b),
    "atan2": jnp.arctan2,
    "rem": lax.rem,
    "nextafter": jnp.nextafter,
    "compare": lambda a, b: (a == b, a != b, a < b, a <= b, a > b, a >= b),
    "where": lambda a, b: jnp.where(a < b, a, b),
    "switch": lambda a, b: lax.select_n((a > 0).astype(jnp.int32) + (b > 0), a, b, a + b),
    "logic": lambda a, b: ((a > 0) & (b > 0), (a > 0) | (b > 0), (a > 0) ^ (b > 0), ~(a > 0)),
}


@pytest.mark.parametrize("name", BINARY)
def test_an_operation_on_two_numbers(name):
    check(BINARY[name], *PAIRS.T)


INTEGERS = {
    "arithmetic": lambda a, b: (a + b, a - b, a * b, -a, jnp.abs(a), jnp.sign(a), a**3),
    "division": lambda a, b: (lax.div(a, b), lax.rem(a, b), a // b, a % b),
    "bits": lambda a, b: (a & b, a | b, a ^ b, ~a, lax.population_count(a), lax.clz(a)),
    "shifts": lambda a, b: (a << (b & 7), lax.shift_right_arithmetic(a, b & 7), lax.shift_right_logical(a, b & 31)),
    "order": lambda a, b: (jnp.maximum(a, b), jnp.minimum(a, b), a < b, a == b),
    "types": lambda a, b: (a.astype(jnp.uint32), a.astype(jnp.int8), a.astype(float), (a > b).astype(jnp.int32)),
    "single": lambda a, b: (a.astype(jnp.float32), lax.bitcast_convert_type(a, jnp.float32) * 0),
}


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("dtype", ["int32", "uint32"])
def test_whole_numbers(name, dtype):
    low = 0 if dtype == "uint32" else -(2**31)
    drawn = np.random.default_rng(0).integers(low, low + 2**32, (2, 40)).astype(dtype)
    first, second = np.append(drawn[0], [0, 1, 7]).astype(dtype), np.append(drawn[1], [3, 0, 1]).astype(dtype)
    check(INTEGERS[name], first, second, ulp=0)


SMALL, LARGE = np.arange(12.0).reshape(3, 4) - 5.3, np.sin(np.arange(60.0)).reshape(3, 4, 5)
MOVES = {
    "reshape": lambda x: (x.reshape(-1), x.reshape(2, -1), x[None], x.ravel()[:1].squeeze()),
    "transpose": lambda x: (x.T, jnp.moveaxis(x, 0, -1)),
    "broadcast": lambda x: x[None] + jnp.ones((2, *x.shape)),
    "slices": lambda x: (x[1:], x[..., ::2], x[::-1], jnp.flip(x)),
    "split": lambda x: jnp.split(x, [1, 3], axis=-1),
    "unstack": lambda x: [row + 1 for row in x],
    "stack": lambda x: (jnp.stack([x, 2 * x]), jnp.stack([x[0], x[1]], axis=-1)),
    "concatenate": lambda x: jnp.concatenate([x, x[:1], -x], axis=0),
    "tile": lambda x: jnp.tile(x, 2),
    "pad": lambda x: (jnp.pad(x, 1), lax.pad(x, 0.5, [(2, 1, 1)] * x.ndim), lax.pad(x, 9.0, [(-1, 1, 0)] * x.ndim)),
    "roll": lambda x: jnp.roll(x, 1, axis=0),
    "iota": lambda x: x + jnp.arange(float(x.shape[-1])),
    "take": lambda x: (x[jnp.array([2, 0, 1])], jnp.take(x, 1, axis=-1), x[1, jnp.array([0, -1])]),
    "take outside": lambda x: jnp.take(x, jnp.array([0, 7, -9]), axis=0),
    "dynamic slice": lambda x: lax.dynamic_slice_in_dim(x, jnp.int32(x[0].ravel()[0] > -9), 2, axis=0),
    "dynamic update": lambda x: lax.dynamic_update_slice_in_dim(x, 0 * x[:1], jnp.int32(1), axis=0) + x,
    "set": lambda x: (x.at[1].set(7.0), x.at[0].add(x[1]), x.at[jnp.array([1, 1])].add(1.0), x.at[2].multiply(3.0)),
    "least": lambda x: (x.at[0].min(0.1), x.at[0].max(0.1)),
    "repeat": lambda x: jnp.repeat(x, 2, axis=0),
    "diagonal": lambda x: (
        jnp.diag(x.ravel()[:3]),
        jnp.eye(3) * x.ravel()[0],
        jnp.triu(jnp.outer(x.ravel()[:3], x.ravel()[:3])),
    ),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("x", [SMALL, LARGE], ids=["small", "large"])
def test_moving_elements(name, x):
    check(MOVES[name], x)
    check(lambda x: jax.tree.map(lambda y: jnp.sin(y) * 2, MOVES[name](x + 0.5)), x)


SUMS = {
    "sum": lambda x: (x.sum(), x.sum(0), x.sum(-1, keepdims=True), x.mean()),
    "product": lambda x: (x.prod(), x.prod(-1)),
    "extremes": lambda x: (x.max(), x.min(0), x.max(-1), jnp.ptp(x)),
    "positions": lambda x: (jnp.argmax(x, 0), jnp.argmin(x, -1), jnp.argmax(x.ravel()), jnp.nanargmin(x.ravel())),
    "truth": lambda x: (jnp.all(x > -9), jnp.any(x > 5, axis=0), jnp.all(x > 0, axis=-1)),
    "running": lambda x: (jnp.cumsum(x, 0), jnp.cumsum(x, -1), jnp.cumprod(x, 0), lax.cummax(x, 0), lax.cummin(x, 0)),
    "running back": lambda x: lax.cumsum(x, 0, reverse=True),
    "norm": lambda x: (jnp.linalg.norm(x.ravel()), jnp.linalg.norm(x[0].ravel()), jax.nn.logsumexp(x)),
    "softmax": lambda x: jax.nn.softmax(x, axis=-1),
    "sort": lambda x: (jnp.sort(x, axis=-1), jnp.argsort(x.ravel()), lax.top_k(x, 2)),
    "median": lambda x: jnp.median(x.ravel()),
    "parity": lambda x: lax.reduce_xor(x > 0, axes=(0,)),
    "bits": lambda x: [
        reduce(jnp.nan_to_num(30 * jnp.abs(x)).astype(dtype), axes=tuple(range(x.ndim)))
        for reduce in (lax.reduce_xor, lax.reduce_and, lax.reduce_or)
        for dtype in ("int32", "uint32", "uint8")
    ],
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("x", [SMALL, LARGE, np.where(SMALL > 3, np.nan, SMALL)], ids=["small", "large", "nan"])
def test_putting_elements_together(name, x):
    check(SUMS[name], x, ulp=16, scale=1e4 if name in ("product", "running") else np.nanmax(np.abs(x)) * x.size)


def test_sums_of_whole_numbers():
    numbers = np.arange(40, dtype=np.int32) * 123_456_789
    check(
        lambda x: (x.sum(dtype=jnp.int32), jnp.cumsum(x, dtype=jnp.int32), x.prod(dtype=jnp.int32), x.max()),
        numbers,
        ulp=0,
    )
    check(lambda x: jnp.dot(x, x, preferred_element_type=jnp.int32), numbers, ulp=0)


PRODUCTS = {
    "vectors": lambda a, b: a[0] @ b[:, 0],
    "matrix and vector": lambda a, b: (a @ b[:, 0], a[0] @ b),
    "matrices": lambda a, b: a @ b,
    "batches": lambda a, b: jnp.einsum("bij,bjk->bik", jnp.stack([a, 2 * a]), jnp.stack([b, b - 1])),
    "outer": lambda a, b: jnp.einsum("i,j->ij", a[0], b[0]),
    "all axes": lambda a, b: jnp.einsum("ij,ji->", a, b),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("size", [3, 7])
def test_products_of_matrices(name, size):
    a, b = np.random.default_rng(1).normal(size=(2, size, size))
    check(PRODUCTS[name], a, b, ulp=8, scale=4 * size)


CONTROL = {
    "scan": lambda x: lax.scan(lambda c, y: (0.5 * c + y, c * y), x[0], x),
    "scan back": lambda x: lax.scan(lambda c, y: (c + y, c), jnp.zeros_like(x[0]), x, reverse=True),
    "scan of much": lambda x: lax.scan(lambda c, _: (jnp.roll(c, 1, 0) * 1.1, c.sum()), jnp.tile(x, (3, 3)), length=5),
    "nothing": lambda x: lax.scan(lambda c, y: (c + y, y), x[0], x[:0]),
    "for": lambda x: lax.fori_loop(0, 5, lambda i, c: jnp.cos(c) + i, x),
    "for in place": lambda x: lax.fori_loop(
        1, 3, lambda i, c: lax.dynamic_update_index_in_dim(c, c[i - 1] * 2, i, 0), jnp.tile(x, (2, 2))
    ),
    "while": lambda x: lax.while_loop(
        lambda c: c[1] < 30, lambda c: (c[0] * 1.5, c[1] + jnp.abs(c[0]).sum()), (x, 0.0)
    ),
    "exchange": lambda x: lax.fori_loop(0, 3, lambda i, c: (c[1], c[0] + 1), (x[0], x[1])),
    "cond": lambda x: lax.cond(x[0, 0] > -5, lambda x: jnp.sin(x), lambda x: x + 1, x),
    "switch": lambda x: lax.switch(jnp.int32(x[1, 1] > -9) + 1, [jnp.sin, jnp.cos, lambda x: x * 2], x),
    "a loop in a branch": lambda x: lax.cond(
        x[0, 0] > 0, lambda x: x, lambda x: lax.fori_loop(0, 3, lambda i, c: c / 2, x), x
    ),
    "loops in a loop": lambda x: lax.scan(
        lambda c, y: (lax.fori_loop(0, 3, lambda i, c: c * 0.9 + y, c), None), x[0], x
    )[0],
    "lanes of a loop": lambda x: jax.vmap(
        lambda y: lax.while_loop(lambda c: c < 9, lambda c: c + jnp.abs(y[0]) + 1, 0.0)
    )(x),
    "gradient of a loop": lambda x: jax.grad(
        lambda x: lax.scan(lambda c, y: (jnp.tanh(c + y), None), x[0], x)[0].sum()
    )(x),
    "map": lambda x: lax.map(lambda y: y.sum() + y, x),
}


@pytest.mark.parametrize("name", CONTROL)
def test_loops_and_branches(name):
    check(CONTROL[name], SMALL / 7, ulp=16, scale=30)


WAVE = np.sin(np.arange(40.0))
CARRIES = {
    "exchanged": lambda i, c: (c[1], c[0]),
    "one step back": lambda i, c: (c[0] - 0.1 * jnp.sin(c[0]) + 0.5 * (c[0] - c[1]), c[0]),
    "exchanged and reversed": lambda i, c: (c[1][::-1], c[0].reshape(5, 8).reshape(40)),
    "changed in place and kept": lambda i, c: (lax.dynamic_update_index_in_dim(c[0], 0.5 * i, i, 0), c[0]),
    "kept and changed in place": lambda i, c: (c[1], lax.dynamic_update_index_in_dim(c[1], 0.5 * i, i, 0)),
}


@pytest.mark.parametrize("name", CARRIES)
def test_arrays_that_a_loop_hands_on_to_one_another(name):
    check(lambda x: lax.fori_loop(0, 3, CARRIES[name], (x, jnp.cos(x))), WAVE)


def test_a_loop_writes_one_array_into_another_that_it_changes():
    def step(i, carry):
        now, history = carry
        return jnp.cos(now), lax.dynamic_update_slice(history, now.reshape(1, 5, 8), (i, 0, 0))

    check(lambda x: lax.fori_loop(0, 3, step, (x, jnp.zeros((4, 5, 8)))), WAVE)


def test_an_array_that_was_written_is_read_in_another_shape():
    check(lambda x: lax.dynamic_update_slice(jnp.zeros((5, 8)), x[:1, None], (1, 2)).reshape(8, 5)[1, 2], WAVE)


def test_whole_numbers_have_no_negative_zero():
    def zeros(a, x):
        integers = a * 0, -(a + 3), lax.div(a, 5 * jnp.ones_like(a)), lax.rem(a, a), x.astype(a.dtype)
        return [1 / integer.astype(float) for integer in integers]

    check(zeros, jnp.int64(-3), -0.25)
    check(zeros, jnp.int32(-3), -0.25)
    check(lambda x: 1 / (jnp.array([0.0, -0.0] * 10) * x), 2.0)


def test_changed_elements_of_whole_numbers_wrap():
    x, twice = jnp.full(3, 2**30 + 12_345, jnp.int32), jnp.array([0, 0])
    check(lambda x: (x.at[twice].add(x[1]), x.at[twice].multiply(x[1])), x, ulp=0)


def test_the_largest_are_found_in_the_total_order():
    check(lambda x: lax.top_k(x, 5), jnp.array([-0.0, 0.0, jnp.nan, -jnp.inf, -0.0, 0.0]), ulp=0)


def test_tables_are_searched_and_interpolated():
    places, heights = jnp.linspace(-2, 2, 40), jnp.sin(jnp.linspace(-2, 2, 40))
    height = lambda x: jnp.interp(x, places, heights)
    check(
        lambda x: (height(x), jax.vmap(jax.grad(height))(x)), jnp.array([-3.0, -1.23, 0.4, 1.99, 5.0]), ulp=8, scale=1
    )
    numbers = jnp.array([-jnp.inf, -1.0, -0.0, 0.0, 2.5, jnp.inf, jnp.nan])
    check(lambda x: [jnp.searchsorted(numbers, x, side=side) for side in ("left", "right")], numbers, ulp=0)
    check(lambda x: jnp.searchsorted(jnp.array([1, 3, 3, 7]), x), jnp.array([0, 3, 4, 9]), ulp=0)
    check(
        lambda a, b: [lax.eq_to_p.bind(a, b), lax.lt_to_p.bind(a, b), lax.le_to_p.bind(a, b)],
        *map(jnp.ravel, jnp.meshgrid(numbers, numbers)),
        ulp=0,
    )


def test_only_the_branch_that_is_taken_runs():
    endless = lambda x: lax.while_loop(lambda c: c >= 0, lambda c: c + 1, x)
    function = lambda x: lax.cond(x > 0, lambda x: x * 2, endless, x)
    assert Compiled(function, 1.0)(3.0)[0] == 6.0


def spd(size):
    a = np.random.default_rng(size).normal(size=(size, size))
    return a @ a.T + np.eye(size)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_small_matrices(size):
    a, b = spd(size), np.arange(1.0, size + 1)
    turned = a + np.triu(np.ones_like(a)) * 3
    check(lambda a: jnp.linalg.eigvalsh(a), a, ulp=20, scale=np.abs(a).sum())
    values, vectors = Compiled(lambda a: tuple(jnp.linalg.eigh(a)), a)(a)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, a, atol=1e-13 * np.abs(a).sum())
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(size), atol=1e-14 * size)
    check(jnp.linalg.solve, turned, b, ulp=200, scale=1)
    check(lambda a: jnp.linalg.inv(a), turned, ulp=200, scale=1)
    check(jnp.linalg.det, turned, ulp=100, scale=abs(np.linalg.det(turned)) + 1)
    check(jnp.linalg.cholesky, a, ulp=20, scale=np.abs(a).max())
    check(lambda a, b: jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(a), True), b), a, b, ulp=200, scale=1)
    check(jax.vmap(jnp.linalg.cholesky), np.stack([a, 2 * a]), ulp=20, scale=2 * np.abs(a).max())
    for left in (True, False):
        for lower in (True, False):
            for transposed in (True, False):
                flags = {"left_side": left, "lower": lower, "transpose_a": transposed}
                check(
                    lambda a, b, flags=flags: lax.linalg.triangular_solve(a, b, **flags),
                    a,
                    turned,
                    ulp=500,
                    scale=np.abs(turned).max(),
                )


def test_a_factor_is_differentiated():
    check(jax.grad(lambda a: jnp.log(jnp.diag(jnp.linalg.cholesky(a @ a.T))).sum()), spd(5), ulp=2000, scale=1)


def test_a_matrix_that_is_not_positive_definite_has_no_factor():
    assert np.isnan(Compiled(jnp.linalg.cholesky, np.eye(2))(np.diag([1.0, -1.0]))[0]).any()


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, -7])
def test_random_bits_are_the_same(seed):
    def drawn(seed):
        key = jax.random.key(seed)
        first, second = jax.random.split(key)
        words = jax.random.bits(first, (5,), jnp.uint32), jax.random.bits(jax.random.fold_in(second, 9), (), jnp.uint32)
        raw = jax.random.key_data(jax.random.split(second, 3))
        uniform = jax.random.uniform(first, (2, 3)), jax.random.uniform(second, (4,), minval=-1, maxval=2)
        single = jax.random.uniform(first, (3,), jnp.float32)
        return (
            *words,
            raw,
            *uniform,
            single,
            jax.random.bernoulli(first, 0.3, (6,)),
            jax.random.randint(second, (5,), 0, 10, jnp.int32),
        )

    check(drawn, seed, ulp=0)
    check(lambda seed: jax.random.normal(jax.random.key(seed), (40,)), seed, ulp=16, scale=1)
    check(lambda seed: jax.random.permutation(jax.random.key(seed), 9), seed, ulp=0)


def test_single_precision_is_rounded_after_every_operation():
    x = np.linspace(-2, 2, 41, dtype=np.float32)
    check(lambda x: (x * x + 1) / (x - jnp.float32(0.3)) - x**3, x, ulp=0, dtype=np.float32)
    check(lambda x: jnp.sin(x) * jnp.exp(-x) + jnp.tanh(x), x, ulp=8, dtype=np.float32)
    check(lambda x: (x.sum(), x @ x), x, ulp=16, dtype=np.float32, scale=40)


def network(width, points):
    inputs = np.linspace(-1, 1, points)
    weights = np.random.default_rng(0).normal(size=(3, width))

    def loss(x):
        hidden = jnp.tanh(inputs[:, None] * (weights[0] + x[0]) + x[1] * weights[1])
        return jnp.mean((hidden @ weights[2] - jnp.sin(3 * inputs)) ** 2)

    return loss


DERIVED = {
    "rosenbrock": lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2,
    "network": network(8, 40),
    "small network": network(3, 4),
    "norms": lambda x: jnp.linalg.norm(x) * jnp.log1p(x @ x) + jnp.max(x) ** 2,
    "pieces": lambda x: jnp.where(x[0] > 0, x[0] ** 2, -x[0]) + jnp.abs(x[1]) ** 1.5,
}


@pytest.mark.parametrize("name", DERIVED)
def test_values_gradients_and_hessians(name):
    loss = DERIVED[name]
    check(lambda x: (loss(x), jax.grad(loss)(x), jax.hessian(loss)(x)), np.array([0.4, -0.7]), ulp=32, scale=1e3)


def test_loops_of_one_length_are_joined():
    source = javascript(jax.value_and_grad(network(8, 40)), jnp.zeros(2)).source
    assert source.split("=>{", 2)[2].count("for(let") <= 4


def test_short_rows_are_kept_by_name():
    source = javascript(jax.value_and_grad(network(8, 40)), jnp.zeros(2)).source
    assert "Float64Array(320)" not in source


@pytest.mark.parametrize(
    "numbers", [lambda: jnp.arange(50.0), lambda: jnp.concatenate([jnp.arange(30.0), jnp.arange(20.0) ** 2])]
)
def test_what_depends_on_no_argument_is_computed_once(numbers):
    source = javascript(lambda x: x + jnp.sin(numbers()), 1.0).source
    once, call = source.split("return (a0)=>{")
    assert "Math.sin" in once
    assert "Math.sin" not in call


# 200 programs, drawn


def drawn_program(random):
    """A program of a few random operations on a 3 x 4 array, as a function and a list of its steps."""
    steps = []
    unary = [
        jnp.sin,
        jnp.tanh,
        jnp.abs,
        jnp.square,
        lambda x: jnp.exp(-jnp.abs(x)),
        lambda x: x / (1 + x * x),
        jax.nn.relu,
    ]
    mixing = [jnp.add, jnp.subtract, jnp.multiply, jnp.maximum, lambda a, b: jnp.where(a > b, a, 2 * b)]
    moving = [
        lambda x: x[::-1],
        lambda x: jnp.roll(x, 1, 1),
        lambda x: x.T.reshape(x.shape),
        lambda x: jnp.concatenate([x[1:], x[:1]]),
        lambda x: x.at[1].set(x[0]),
        lambda x: x - x.mean(0),
        lambda x: x / (1 + x.max(1, keepdims=True) ** 2),
        lambda x: jnp.cumsum(x, 1) / 4,
        lambda x: (x @ x.T / 8) @ x / 8,
        lambda x: jax.grad(lambda y: jnp.sum(jnp.cos(y) * x))(x),
        lambda x: lax.fori_loop(0, 3, lambda i, c: 0.5 * c + jnp.sin(x), x),
        lambda x: jnp.broadcast_to(x.sum(0), x.shape) / 3,
        lambda x: x[jnp.argsort(x[:, 0])],
        lambda x: jax.vmap(lambda r: r * r.sum() / 4)(x),
    ]
    for _ in range(random.integers(3, 8)):
        which = random.integers(3)
        pool = (unary, mixing, moving)[which]
        steps.append((which, int(random.integers(len(pool))), int(random.integers(1, 4))))

    def program(x):
        values = [x]
        for which, choice, back in steps:
            last, other = values[-1], values[-min(back, len(values))]
            values.append((unary, mixing, moving)[which][choice](*((last, other) if which == 1 else (last,))))
        return values[-1], values[-1].sum()

    return program, 4 * (len(steps) + 12)


@pytest.mark.parametrize("block", range(10))
def test_random_programs(block):
    random = np.random.default_rng(block)
    for _ in range(20):
        program, ulp = drawn_program(random)
        shape = ((3, 4), (5, 8), (4, 12))[random.integers(3)]  # by name, rows written out, loops
        x = jnp.asarray(random.normal(size=shape))
        size = max(float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(program(x)))
        check(program, x, ulp=ulp, scale=max(size, 1.0) * 40)


# What is refused


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: jnp.abs(jnp.fft.fft(x)), "complex"),
        (lambda x: jnp.real(x * 1j), "complex"),
        (lambda x: x.astype(jnp.bfloat16).astype(float), "bfloat16"),
        (lambda x: jax.pure_callback(np.sin, x, x), "callback"),
        (lambda x: jnp.linalg.svd(jnp.outer(x, x))[1], "has no rule"),
        (lambda x: jnp.linalg.eigvalsh(jnp.outer(x, x).astype(jnp.float32)), "use float64"),
        (lambda x: jnp.zeros(20).at[3].set(x[0]).at[3].apply(jnp.sin), "applies a function"),
        (lambda x: jnp.nextafter(x.astype(jnp.float32), jnp.float32(9)), "nextafter"),
        (lambda x: lax.shift_right_logical(x.astype(jnp.int8), jnp.int8(1)), "shift_right_logical"),
        (lambda x: lax.reduce_or(x.astype(jnp.int64), axes=(0,)), "reduce_or"),
    ],
)
def test_what_has_no_rule_is_named(function, words):
    with pytest.raises(NotImplementedError, match=words):
        javascript(function, jnp.ones(3))


def test_what_a_program_prints_is_left_out():
    def function(x):
        jax.debug.print("x = {x}", x=x)
        return lax.scan(lambda c, y: (jax.debug.print("{y}", y=y), (c + y, None))[1], 0.0, x)[0]

    check(jax.value_and_grad(function), SMALL[0])


def test_names_are_identifiers():
    with pytest.raises(ValueError, match="identifier"):
        javascript(jnp.sin, 1.0, name="alert(1);f")


def test_a_loss_of_the_page_is_called_by_name():
    source = javascript(jax.value_and_grad(external_loss(2)), jnp.zeros(2)).source
    assert source.startswith("const f=(F)=>{")
    assert "F.value(" in source
    assert "F.gradient(" in source
    assert "F.hessian(" not in source


def test_every_rule_is_met_by_a_test():
    """The operations of the cases above are all that have a rule, but for names that only other versions of JAX use."""
    x, pairs, a = jnp.asarray(SMALL), PAIRS.T, jnp.eye(2)
    seen = set()

    def note(listing):
        for operation in listing.operations:
            seen.add(operation.name)
            for value in operation.params.values():
                for inner in value if isinstance(value, tuple) else (value,):
                    if hasattr(inner, "operations"):
                        note(inner)

    for name in ("exp2", "sinh", "cosh", "cbrt"):
        note(listed(getattr(jnp, name), x)[0])
    for function, numbers in UNARY.values():
        note(listed(function, numbers)[0])
    for function in BINARY.values():
        note(listed(function, *pairs)[0])
    for function in INTEGERS.values():
        note(listed(function, jnp.arange(3, dtype=jnp.int32), jnp.arange(3, dtype=jnp.int32))[0])
    for function in (*MOVES.values(), *SUMS.values(), *CONTROL.values()):
        note(listed(function, x)[0])
    for function in (*PRODUCTS.values(), jnp.linalg.solve):
        note(listed(function, a, a)[0])
    for function in (jnp.linalg.cholesky, jnp.linalg.eigh, special.erf, special.erfc, special.gammaln, special.digamma):
        note(listed(function, a)[0])
    note(listed(lambda s: jax.random.bits(jax.random.fold_in(jax.random.split(jax.random.key(s))[0], 1), (3,)), 0)[0])
    note(listed(lambda s: jax.random.key_data(jax.random.key(s)), 0)[0])
    note(listed(lambda s: jax.random.permutation(jax.random.key(s), 9), 0)[0])
    note(listed(lambda words: jax.random.key_data(jax.random.wrap_key_data(words)), jnp.zeros(2, jnp.uint32))[0])
    note(listed(lambda pivots: lax.linalg.lu_pivots_to_permutation(pivots, 3), jnp.arange(3, dtype=jnp.int32))[0])
    note(listed(jax.value_and_grad(external_loss(2)), jnp.zeros(2))[0])
    others = {
        "add_any",
        "copy",
        "copy_p",
        "stop_gradient",
        "optimization_barrier",
        "tile",
        "expand_dims",
        "threefry2x32",
        "unstack",
        "platform_index",
        "eq_to",
        "le_to",
        "lt_to",
        "empty",
        "empty2",
    }
    alternatives = {name for name in supported() if name.replace("-", "_") in seen or name.replace("_", "-") in seen}
    assert set(supported()) - seen - alternatives <= others
