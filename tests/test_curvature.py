"""Curvature against LAPACK, closed forms and tabulated critical points."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from compiled import compiled_programs

from jaxopt_notes import _jaxpr
from jaxopt_notes.curvature import (
    Kind,
    classify,
    hessian,
    hvp,
    lanczos,
    ritz,
    sharpness,
    spectrum_bounds,
    stability_bound,
    zero_level,
)

DTYPES = [np.float32, np.float64]


@pytest.fixture(params=DTYPES, ids=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param is np.float64):
        yield request.param


def symmetric(eigenvalues, seed=0):
    """A dense float64 matrix with the given eigenvalues."""
    n = len(eigenvalues)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    matrix = basis * np.asarray(eigenvalues, float) @ basis.T
    return (matrix + matrix.T) / 2


def quadratic(x, matrix):
    return 0.5 * jnp.dot(x, matrix @ x)


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


# Critical points of Himmelblau's function: x, y, eigenvalues, index (by Newton's method in float64).
HIMMELBLAU = [
    (3, 2, 25.71572875, 82.28427125, 0),
    (-2.805118087, 3.131312518, 64.84037277, 80.55007178, 0),
    (-3.779310253, -3.283185991, 70.71435474, 133.78561521, 0),
    (3.584428340, -1.848126527, 28.69067716, 105.41890834, 0),
    (-0.2708445907, -0.9230385565, -45.60522929, -16.06601967, 2),
    (-0.1279613467, -1.953714980, -50.61023932, 20.28404998, 1),
    (0.0866775046, 2.884254701, -31.70662236, 75.50760924, 1),
    (3.385154184, 0.0738518798, -14.13517849, 97.5478781, 1),
    (-3.073025751, -0.0813530443, -39.65149626, 72.43524807, 1),
]


def polished(x):
    """The critical point of Himmelblau's function next to x, by three Newton steps in float64."""
    x = np.array(x, float)
    for _ in range(3):
        a, b = x[0] ** 2 + x[1] - 11, x[0] + x[1] ** 2 - 7
        gradient = np.array([4 * x[0] * a + 2 * b, 2 * a + 4 * x[1] * b])
        mixed = 4 * (x[0] + x[1])
        second = [[4 * a + 8 * x[0] ** 2 + 2, mixed], [mixed, 4 * b + 8 * x[1] ** 2 + 2]]
        x -= np.linalg.solve(second, gradient)
    return x


@partial(jax.jit, static_argnums=2)
def solve(matrix, start, steps):
    """Lanczos on a matrix, or on a diagonal given as a vector: its output, Ritz values, bounds and zero level."""
    product = (lambda v: matrix * v) if matrix.ndim == 1 else (lambda v: matrix @ v)
    krylov = lanczos(product, start, steps)
    values = ritz(krylov)
    zero = zero_level(krylov.norm, start.size, start.dtype, krylov.asymmetry)
    return krylov, values, spectrum_bounds(krylov, values), zero


# Products


def test_hvp_and_hessian_match_numpy_on_a_quadratic(dtype):
    matrix = symmetric(np.linspace(-3, 5, 12)).astype(dtype)
    x, v = np.random.default_rng(1).normal(size=(2, 12)).astype(dtype)
    tolerance = 50 * np.finfo(dtype).eps
    np.testing.assert_allclose(hvp(quadratic, x, v, matrix), matrix @ v, atol=tolerance)
    np.testing.assert_allclose(hessian(quadratic, x, matrix), matrix, atol=tolerance)


def test_hessian_of_a_pytree_follows_the_flattened_order():
    params = {"b": jnp.arange(3.0) + 1, "a": jnp.float32(2.0)}
    found = hessian(lambda p: p["a"] ** 2 * jnp.sum(p["b"] ** 3), params)
    a, b = 2.0, np.array([1.0, 2.0, 3.0])
    expected = np.zeros((4, 4))  # a comes first
    expected[0, 0] = 2 * np.sum(b**3)
    expected[0, 1:] = expected[1:, 0] = 2 * a * 3 * b**2
    expected[1:, 1:] = np.diag(a**2 * 6 * b)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_leaves_of_different_precision(x64):
    params = {"half": jnp.ones(2, jnp.bfloat16), "single": jnp.ones(2, jnp.float32)}

    def loss(p):
        return jnp.sum(p["half"].astype(jnp.float32) ** 2) - jnp.sum(p["single"] ** 2)

    assert hessian(loss, params).dtype == jnp.float32
    point = classify(loss, params)
    np.testing.assert_array_equal(point.eigenvalues, [-2, -2, 2, 2])
    assert point.zero_level > 1e-2  # of bfloat16
    assert point.escape_direction["half"].dtype == jnp.bfloat16


def test_custom_vjp_falls_back_to_reverse_mode():
    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, cotangent: (3 * x**2 * cotangent,))
    x = jnp.array([1.0, -2.0])

    def loss(x):
        return jnp.sum(cube(x))

    np.testing.assert_allclose(hessian(loss, x), np.diag([6.0, -12.0]))
    np.testing.assert_allclose(hvp(loss, x, jnp.ones(2)), [6.0, -12.0])
    assert classify(loss, x, method="lanczos").index == 1


# Lanczos


@pytest.mark.parametrize(("n", "steps"), [(1, 1), (2, 5), (40, 40), (300, 120)])
def test_lanczos_against_lapack(dtype, n, steps):
    eigenvalues = np.sort(np.random.default_rng(n).normal(size=n) ** 3 * 10)
    matrix = symmetric(eigenvalues)
    krylov, values, _, _ = solve(jnp.asarray(matrix, dtype), jax.random.normal(jax.random.key(n), (n,), dtype), steps)
    scale = np.abs(eigenvalues).max() * np.finfo(dtype).eps
    count = int(krylov.count)
    assert count == min(n, steps)
    overlap = np.asarray(krylov.basis) @ np.asarray(krylov.basis).T
    np.testing.assert_allclose(overlap, np.eye(count), atol=40 * np.finfo(dtype).eps)
    np.testing.assert_allclose([values.values[0], values.largest], eigenvalues[[0, -1]], atol=20 * scale)
    vectors = np.asarray(values.coefficients).T.astype(float) @ np.asarray(krylov.basis, float)
    true_residuals = np.linalg.norm(vectors @ matrix - np.asarray(values.values, float)[:, None] * vectors, axis=1)
    np.testing.assert_allclose(values.residuals, true_residuals, atol=40 * scale)
    distance = np.abs(np.asarray(values.values, float)[:, None] - eigenvalues).min(1)
    assert np.all(distance <= np.asarray(values.residuals) + 40 * scale)


@pytest.mark.parametrize(
    ("name", "diagonal", "distinct"),
    [
        ("identity", np.ones(50), [1]),
        ("zero", np.zeros(50), [0]),
        ("low rank", np.r_[np.zeros(46), -2, 1, 3, 3], [-2, 0, 1, 3]),
        ("projector", np.r_[np.ones(20), np.zeros(30)], [0, 1]),
        ("tiny", 1e-30 * np.r_[np.ones(20), -np.ones(30)], [-1e-30, 1e-30]),
    ],
)
def test_invariant_subspace_stops_lanczos_without_nan(dtype, name, diagonal, distinct):
    start = jax.random.normal(jax.random.key(1), (50,), dtype)
    krylov, values, (lower, upper), _ = solve(jnp.asarray(diagonal, dtype), start, 30)
    count = int(values.count)
    scale = 40 * np.finfo(dtype).eps * np.abs(diagonal).max()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(krylov))
    assert len(distinct) <= count <= len(distinct) + 1
    found = np.asarray(values.values)[:count]
    assert all(np.abs(found - x).min() <= scale for x in distinct), name
    assert np.isnan(values.values[count:]).all()
    assert lower <= min(distinct)
    assert upper >= max(distinct)
    np.testing.assert_allclose([lower, upper], [min(distinct), max(distinct)], atol=50 * scale)


def test_residuals_after_a_stop_are_not_zero_for_unconverged_vectors():
    diagonal = jnp.linspace(-1.0, 1.0, 50)
    _, values, _, _ = solve(diagonal, jnp.ones(50), 6)
    assert values.residuals.min() > 1e-3
    empty, values, _, _ = solve(diagonal, jnp.zeros(50), 6)
    assert int(empty.count) == 0
    assert np.isnan(values.values).all()


def test_lanczos_vmaps_over_operators():
    diagonals = jnp.stack([jnp.linspace(-1.0, 2.0, 30), jnp.ones(30), jnp.zeros(30)])
    start = jax.random.normal(jax.random.key(0), (30,))

    _, values, _, _ = jax.vmap(solve, in_axes=(0, None, None))(diagonals, start, 30)
    low, high, count = values.values[:, 0], jax.vmap(lambda v: v.largest)(values), values.count
    np.testing.assert_allclose(low, [-1, 1, 0], atol=2e-6)
    np.testing.assert_allclose(high, [2, 1, 0], atol=2e-6)
    np.testing.assert_array_equal(count[1:], [1, 1])


# Bounds


SPECTRA = {
    "bulk and outliers": np.r_[-0.02, np.linspace(0, 1, 1996) ** 3, 3, 10, 30],
    "uniform": np.linspace(-1, 1, 2000),
    "semidefinite": np.r_[np.zeros(1500), np.geomspace(1e-6, 1, 500)],
}


@pytest.mark.parametrize("steps", [10, 30, 60])
@pytest.mark.parametrize("name", SPECTRA)
def test_probabilistic_bounds_hold_and_are_not_vacuous(name, steps):
    spectrum = jnp.asarray(SPECTRA[name], jnp.float32)

    starts = jax.vmap(lambda key: jax.random.normal(key, spectrum.shape))(jax.random.split(jax.random.key(steps), 200))
    _, _, (lower, upper), zero = jax.vmap(solve, in_axes=(None, 0, None))(spectrum, starts, steps)
    width = SPECTRA[name].max() - SPECTRA[name].min()
    slack = lower - zero > SPECTRA[name].min()
    assert np.sum(slack | (upper + zero < SPECTRA[name].max())) == 0
    loosest = max((SPECTRA[name].min() - lower).max(), (upper - SPECTRA[name].max()).max())
    assert loosest <= {10: 0.8, 30: 0.05, 60: 0.012}[steps] * width


def test_probabilistic_bounds_fail_no_more_often_than_stated():
    spectrum = jnp.asarray(np.linspace(-1, 1, 2000), jnp.float32)

    @jax.jit
    @jax.vmap
    def run(key):
        krylov = lanczos(lambda v: spectrum * v, jax.random.normal(key, spectrum.shape), 12)
        return spectrum_bounds(krylov, ritz(krylov), 0.5)

    lower, upper = run(jax.random.split(jax.random.key(5), 1000))
    assert np.mean((np.asarray(lower) > -1) | (np.asarray(upper) < 1)) <= 0.5
    assert np.median(upper) < 1.5  # a bound that says something
    assert np.median(lower) > -1.5


@pytest.mark.parametrize("n", [2, 3, 10, 1000, 10**6])
@pytest.mark.parametrize("failure", [0.25, 0.1, 0.005, 1e-6])
def test_the_quantile_of_one_component_is_conservative(n, failure):
    component = failure / np.sqrt(2 * (n - 1) / np.pi)
    assert scipy.stats.beta.cdf(component**2, 0.5, (n - 1) / 2) <= failure * (1 + 1e-9)


def test_zero_level_counts_rounding_and_asymmetry(dtype):
    level = zero_level(2.0, 4, dtype, 0.5)
    np.testing.assert_allclose(level, 2 * 24 * np.finfo(dtype).eps + 0.5, rtol=1e-6)


# Verdicts


INERTIA = [(3, 0, 0), (0, 0, 3), (1, 0, 2), (1, 1, 1), (0, 1, 2)]
INERTIA += [(10, 20, 30), (0, 20, 40), (59, 0, 1), (30, 30, 0)]
INERTIA += [(0, 299, 1), (200, 0, 100), (0, 150, 150), (1, 299, 0)]


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize("inertia", INERTIA, ids=str)
def test_verdict_on_matrices_of_given_inertia(dtype, inertia, method):
    negative, zero, positive = inertia
    rng = np.random.default_rng(sum(inertia))
    eigenvalues = np.r_[-rng.uniform(0.1, 9, negative), np.zeros(zero), rng.uniform(0.1, 9, positive)]
    matrix = symmetric(eigenvalues)
    point = classify(quadratic, jnp.zeros(len(eigenvalues), dtype), jnp.asarray(matrix, dtype), method=method)
    reference = np.linalg.eigvalsh(matrix)
    names = {(True, True): "saddle", (True, False): "maximum", (False, True): "minimum"}
    saddle = negative and positive
    expected = "degenerate" if zero and not saddle else names[negative > 0, positive > 0]
    assert point.kind_name in ([expected] if method == "dense" else [expected, "undecided"])
    zero_level = float(point.zero_level)
    lower, upper = np.asarray(point.interval, float)
    assert lower <= reference[0]
    assert upper >= reference[-1]
    if method == "dense":
        assert (int(point.index), int(point.positive)) == (negative, positive)
        np.testing.assert_allclose(point.eigenvalues, reference, atol=zero_level)
    else:
        assert point.index <= negative
        assert point.positive <= positive
        assert (point.index > 0) == (negative > 0)
        assert (point.positive > 0) == (positive > 0)
    if negative:
        v = np.asarray(point.escape_direction, float)
        np.testing.assert_allclose(v @ matrix @ v, float(point.curvature_below), atol=zero_level)
        assert point.curvature_below < -zero_level


def test_semidefinite_float32_is_never_a_saddle():
    n = 700
    factor = np.random.default_rng(n).normal(size=(n // 10, n)).astype(np.float32)

    def loss(x, factor):
        return jnp.sum((factor @ x) ** 2)

    for method in ("dense", "lanczos"):
        for seed in range(3):
            point = classify(loss, jnp.zeros(n), factor * 10.0**seed, method=method, key=jax.random.key(seed))
            assert int(point.index) == 0
            assert point.kind_name in ("degenerate", "undecided")


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize(("name", "signs"), [("saddle", (1, -1)), ("minimum", (1, 1)), ("maximum", (-1, -1))])
def test_the_three_kinds(name, signs, method, dtype):
    point = classify(lambda x, s: jnp.sum(s * x**2), jnp.zeros(2, dtype), np.array(signs, dtype), method=method)
    assert point.kind_name == name
    assert Kind(int(point.kind)).name.lower() == name
    assert point.critical
    assert str(point).startswith(name)
    if method == "dense":
        assert int(point.index) == signs.count(-1)
        assert bool(point.exact)
        assert point.probability == 1


@pytest.mark.parametrize("method", ["dense", "lanczos"])
@pytest.mark.parametrize(
    "loss", [lambda x: jnp.sum(x**3), lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2, lambda x: x[0] ** 2 + x[1] ** 4]
)
def test_second_derivatives_that_do_not_decide_are_degenerate(loss, method):
    point = classify(loss, jnp.zeros(2), method=method)
    assert point.kind_name == "degenerate"
    assert int(point.index) == 0


@pytest.mark.parametrize("row", HIMMELBLAU, ids=lambda row: f"{row[0]:.3g},{row[1]:.3g}")
def test_himmelblau(row, dtype):
    *start, low, high, index = row
    exact = polished(start)
    np.testing.assert_allclose(exact, start, atol=1e-8)
    point = classify(himmelblau, jnp.asarray(exact, dtype))
    assert point.kind_name == ["minimum", "saddle", "maximum"][index]
    assert int(point.index) == index
    np.testing.assert_allclose(point.eigenvalues, [low, high], rtol=1e-7 if dtype == np.float64 else 1e-5)


def test_a_point_beside_a_critical_one_is_not_critical(dtype):
    step = 1e-2 if dtype == np.float32 else 1e-5
    point = classify(himmelblau, jnp.asarray(polished([0.0867, 2.884]) + step, dtype))
    assert point.kind_name == "not_critical"
    assert int(point.index) == 1


def test_not_critical_with_negative_curvature_says_both():
    def loss(x):
        return x[0] ** 2 - 0.5 * x[1] ** 2

    x = jnp.array([0.3, 0.1])
    point = classify(loss, x)
    assert point.kind_name == "not_critical"
    assert not point.critical
    assert int(point.index) == 1
    np.testing.assert_allclose(point.decrease, (0.6**2 / 2 + 0.1**2) / 2, rtol=1e-5)
    np.testing.assert_allclose(point.curvature_below, -1, rtol=1e-6)
    slope = np.dot(jax.grad(loss)(x), point.escape_direction)
    assert slope < 0  # the escape direction also goes down
    text = str(point)
    assert text.startswith("not critical: |grad| 0.61, predicted decrease 0.095")
    assert "Curvature here (although the point is not critical): 1 direction of negative curvature" in text
    assert "the steepest -1 (" in text
    sparse = classify(loss, x, method="lanczos")
    np.testing.assert_allclose(sparse.decrease, point.decrease, rtol=1e-5)
    assert "counts are lower bounds" in str(sparse)


def test_a_slope_without_curvature_is_not_critical():
    for method in ("dense", "lanczos"):
        point = classify(jnp.sum, jnp.zeros(3), method=method)
        assert point.kind_name == "not_critical"
        assert np.isposinf(point.decrease)
        assert "inf x the rounding" in str(point)


def test_gradient_tolerance_decides_when_given():
    def bowl(x):
        return jnp.sum(x**2)

    x = jnp.array([1e-2, 0.0])
    assert classify(bowl, x).kind_name == "not_critical"
    assert classify(bowl, x, gradient_tolerance=0.1).kind_name == "minimum"
    point = classify(bowl, x, gradient_tolerance=jnp.float32(1e-3))
    assert point.kind_name == "not_critical"
    assert "above the 0.001 asked for" in str(point)


def test_quadrature_predicts_the_decrease_of_a_large_problem():
    spectrum = np.geomspace(0.1, 10, 2000)
    x = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    point = classify(lambda x, d: 0.5 * jnp.sum(d * x**2), x, jnp.asarray(spectrum, jnp.float32))
    assert not bool(point.exact)
    np.testing.assert_allclose(point.decrease, 0.5 * np.sum(spectrum * x**2), rtol=0.02)
    assert point.kind_name == "not_critical"
    assert point.interval[0] > 0  # every eigenvalue is positive nevertheless
    assert "every eigenvalue is positive" in str(point)


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_non_finite_is_undecided(method):
    for loss in (lambda x: jnp.sum(jnp.sqrt(jnp.abs(x))), lambda x: jnp.sum(x) / 0 * 0):
        point = classify(loss, jnp.zeros(3), method=method)
        assert point.kind_name == "undecided"
        assert np.isnan(point.eigenvalues).all()
        assert np.isnan(point.smallest)
        assert int(point.index) == 0
        assert not point.critical
        assert "not finite" in str(point)


def test_a_million_parameters_get_a_proved_saddle():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(16, 1000)).astype(np.float32)
    targets = rng.normal(size=(16, 1000)).astype(np.float32)
    params = {"first": jnp.zeros((1000, 500)), "second": jnp.zeros((500, 1000))}

    def loss(p):  # a deep linear network at zero: the eigenvalues are plus and minus the singular values of X'Y
        return 0.5 * jnp.sum((inputs @ p["first"] @ p["second"] - targets) ** 2)

    point = classify(loss, params, matvecs=24)
    steepest = np.linalg.norm(inputs.T @ targets, 2)
    assert point.kind_name == "saddle"
    np.testing.assert_allclose([point.smallest, point.largest], [-steepest, steepest], rtol=1e-4)
    np.testing.assert_allclose(point.curvature_below, -steepest, rtol=1e-4)
    assert point.interval[0] <= -steepest
    assert point.escape_direction["second"].shape == (500, 1000)
    assert int(point.matvecs) <= 24


# Programs


COMPILED = {"dense": "dense_verdict", "lanczos": "_lanczos_verdict"}


@pytest.mark.parametrize("method", COMPILED)
def test_a_fresh_lambda_with_fresh_data_does_not_recompile(method):
    def verdict(diagonal):  # the factor makes it a program that no other test has compiled
        weights = jnp.asarray(diagonal)
        return classify(lambda x: 0.815 * jnp.sum(weights * x**2), jnp.zeros(3), method=method)

    with compiled_programs() as names:
        first = verdict([1.0, 2.0, 3.0])
        assert any(COMPILED[method] in name for name in names)
        names.clear()
        second = verdict([-1.0, 2.0, 3.0])
    assert not any(COMPILED[method] in name for name in names)
    assert (first.kind_name, second.kind_name) == ("minimum", "saddle")
    np.testing.assert_allclose(second.smallest, -1.63, rtol=1e-5)


@pytest.mark.parametrize("method", COMPILED)
def test_a_first_verdict_and_its_words_are_one_program(method):
    weights, x = jnp.asarray([1.0, -2.0, 3.0]), jnp.zeros(3)
    jax.clear_caches()  # the caches of single operations too, as each operation would count as a program
    with compiled_programs() as names:
        assert "saddle" in str(classify(lambda x: jnp.sum(weights * x**2), x, method=method))
    assert names == [f"jit_{COMPILED[method]}"]


def test_only_programs_that_take_longer_to_compile_than_to_run_are_compiled_quickly(monkeypatch):
    quick = []
    monkeypatch.setattr(_jaxpr, "quick_options", lambda: quick.append(1))
    small = lambda x: 0.823 * jnp.sum(x**2)
    assert classify(small, jnp.zeros(3)).kind_name == classify(small, jnp.ones(3), polish=1).kind_name == "minimum"
    assert len(quick) == 2  # the verdict and the polish
    many = jnp.ones(2**20)
    others = {
        "large": lambda x: jnp.mean(many[:, None] * x[None] ** 2),
        "of many steps": lambda x: jax.lax.fori_loop(0, 9, lambda _, sum: sum + jnp.sum(x**2), 0.0),
    }
    for name, loss in others.items():
        assert classify(loss, jnp.zeros(3)).kind_name == "minimum", name
    assert int(jax.jit(lambda x: classify(small, x).kind)(jnp.zeros(4))) == Kind.MINIMUM
    assert np.asarray(jax.vmap(lambda x: classify(small, x).kind)(jnp.zeros((2, 4)))).tolist() == [Kind.MINIMUM] * 2
    assert len(quick) == 2


@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_vmap_over_points_equals_a_loop(method):
    points = jnp.asarray([row[:2] for row in HIMMELBLAU] + [(1.0, 1.0), (np.nan, 0.0)], jnp.float32)
    find = partial(classify, himmelblau, method=method)
    batch = jax.vmap(find)(points)
    for i, x in enumerate(points):
        one = find(x)
        assert int(one.kind) == int(batch.kind[i])
        assert int(one.index) == int(batch.index[i])
        for name in ("eigenvalues", "interval", "loss", "gradient_norm", "curvature_below"):
            np.testing.assert_allclose(getattr(batch, name)[i], getattr(one, name), rtol=2e-5, atol=2e-4, err_msg=name)
    assert list(batch.kind_name[:2]) == ["minimum", "minimum"]
    assert list(batch.kind_name[-2:]) == ["not_critical", "undecided"]
    if method == "dense":
        assert str(batch) == "11 points: 1 maximum, 4 minimum, 1 not_critical, 4 saddle, 1 undecided"


def test_classify_and_sharpness_inside_jit():
    @jax.jit
    def inside(x, scale):
        return classify(lambda x: scale * jnp.sum(x**2), x).kind, sharpness(lambda x: scale * jnp.sum(x**2), x)

    kind, largest = inside(jnp.zeros(2), 3.0)
    assert int(kind) == Kind.MINIMUM
    np.testing.assert_allclose(largest, 6, rtol=1e-6)
    kind, largest = inside(jnp.zeros(2), -3.0)
    assert int(kind) == Kind.MAXIMUM
    np.testing.assert_allclose(largest, -6, rtol=1e-6)


# Stability


def test_sharpness_with_and_without_preconditioner(dtype):
    matrix = symmetric(np.r_[np.linspace(-20, 2, 199), 8.0])
    diagonal = np.random.default_rng(2).uniform(0.1, 2, 200)
    x = jnp.zeros(200, dtype)
    np.testing.assert_allclose(sharpness(quadratic, x, jnp.asarray(matrix, dtype)), 8, rtol=1e-5)
    scaled = np.linalg.eigvals(matrix / diagonal[:, None]).real.max()  # of P^-1 H
    found = sharpness(
        quadratic, x, jnp.asarray(matrix, dtype), preconditioner=jnp.asarray(diagonal, dtype), matvecs=150
    )
    np.testing.assert_allclose(found, scaled, rtol=1e-4)


def spectral_radius(optimizer, rate, sharpness, beta=0.0, dampening=0.0):
    """Of one step on (x, v) for the loss L x^2/2."""
    gain = {"gradient_descent": 1, "momentum": 1 - dampening, "nesterov": 1, "adam": 1 - beta}[optimizer] * sharpness
    velocity = np.array([gain, beta])  # the new velocity from (x, v)
    step = np.array([sharpness, 0]) + beta * velocity if optimizer == "nesterov" else velocity
    return np.abs(np.linalg.eigvals([np.array([1, 0]) - rate * step, velocity])).max()


@pytest.mark.parametrize(
    ("optimizer", "numbers"),
    [
        ("gradient_descent", {}),
        ("momentum", {"beta": 0.9}),
        ("momentum", {"beta": 0.5, "dampening": 0.3}),
        ("nesterov", {"beta": 0.9}),
        ("nesterov", {"beta": 0.2}),
        ("adam", {"b1": 0.9}),
        ("adam", {"b1": 0.3}),
    ],
)
def test_stability_bound_is_where_the_spectral_radius_passes_one(optimizer, numbers):
    largest = 7.0
    bound = float(stability_bound(optimizer, largest, **numbers))
    shape = {"beta" if name == "b1" else name: value for name, value in numbers.items()}
    assert spectral_radius(optimizer, bound * (1 - 1e-3), largest, **shape) < 1 + 1e-9
    assert spectral_radius(optimizer, bound * (1 + 1e-3), largest, **shape) > 1 + 1e-6


def test_stability_bound_broadcasts_and_traces():
    bounds = stability_bound("momentum", jnp.array([1.0, 2.0, 0.0, -1.0]), beta=0.5)
    np.testing.assert_allclose(bounds, [3, 1.5, np.inf, np.inf])
    betas = jnp.array([0.0, 0.5])
    np.testing.assert_allclose(jax.vmap(lambda b: stability_bound("momentum", 1.0, beta=b))(betas), [2, 3])
    np.testing.assert_allclose(stability_bound("adam", 1.0, b1=0.9, b2=0.99, eps=1e-8), 38, rtol=1e-5)


# Wrong use


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: classify(jnp.sum, jnp.arange(3)), TypeError, "params has dtype int32"),
        (lambda: classify(jnp.sum, {}), TypeError, "params must hold at least one array"),
        (
            lambda: classify(jnp.sum, jnp.zeros(0)),
            ValueError,
            r"params must hold at least one number, got shapes \[\(0,",
        ),
        (
            lambda: classify(lambda z: jnp.abs(z) ** 2, jnp.complex64(1)),
            TypeError,
            "params has dtype complex64; curvature",
        ),
        (lambda: classify(lambda x: x, jnp.zeros(3)), TypeError, r"must return a scalar, got shape \(3,\)"),
        (lambda: classify(3, jnp.zeros(3)), TypeError, "loss must be a function"),
        (lambda: classify(jnp.sum, jnp.zeros(3), method="lancsoz"), ValueError, "'lancsoz'; did you mean 'lanczos'"),
        (
            lambda: classify(jnp.sum, jnp.zeros(3), matvecs=2),
            ValueError,
            "matvecs must be an integer of at least 5, got 2",
        ),
        (
            lambda: classify(jnp.sum, jnp.zeros(3), probability=1.0),
            ValueError,
            r"probability must be in \[0.5, 1\), got 1",
        ),
        (lambda: classify(jnp.sum, jnp.zeros(3), gradient_tolerance=-1.0), ValueError, "gradient_tolerance must be in"),
        (lambda: classify(jnp.sum, jnp.zeros(3), key=7), TypeError, "key must be one random key"),
        (
            lambda: hvp(jnp.sum, jnp.zeros(3), jnp.zeros(2)),
            ValueError,
            r"vector must have the shape of params there, \(3,\)",
        ),
        (lambda: hvp(jnp.sum, jnp.zeros(3), [jnp.zeros(3)]), TypeError, "vector must have the structure of params"),
        (lambda: lanczos(lambda v: v, jnp.zeros((2, 2)), 3), TypeError, "v0 must be a vector"),
        (lambda: lanczos(lambda v: v, jnp.zeros(2), 0), ValueError, "steps must be an integer of at least 1, got 0"),
        (
            lambda: sharpness(jnp.sum, jnp.zeros(2), preconditioner=jnp.array([1.0, 0.0])),
            ValueError,
            "must be positive",
        ),
        (lambda: stability_bound("adm", 1.0), ValueError, "unknown optimizer 'adm'; did you mean 'adam'"),
        (lambda: stability_bound("momentum", 1.0, betta=0.9), ValueError, "'betta' for momentum; did you mean 'beta'"),
        (lambda: stability_bound("momentum", 1.0, beta=1.5), ValueError, r"beta must be in \[0, 1\], got 1.5"),
        (lambda: stability_bound("momentum", np.nan), ValueError, "sharpness must be in"),
    ],
)
def test_wrong_use_names_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()
