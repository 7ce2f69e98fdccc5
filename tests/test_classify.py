"""Verdicts modulo symmetry, after polishing, and at impostors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_notes as jon
from jaxopt_notes import Kind, classify
from jaxopt_notes.curvature._verdict import CriticalPoint

METHODS = ["dense", "lanczos"]


def pair_energy(positions):
    """Springs of length 1 between all pairs: translations and rotations change nothing."""
    i, j = np.triu_indices(len(positions), 1)
    gaps = jnp.linalg.norm(positions[i] - positions[j], axis=1)
    return jnp.sum((gaps - 1) ** 2)


TRIANGLE = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])


def rigid_motions(positions):
    """Two translations and the rotation of points in the plane."""
    ones, zeros = jnp.ones(len(positions)), jnp.zeros(len(positions))
    return jnp.stack(
        [
            jnp.stack([ones, zeros], 1),
            jnp.stack([zeros, ones], 1),
            jnp.stack([-positions[:, 1], positions[:, 0]], 1),
        ]
    )


class TestNullDirections:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_minimum_modulo_symmetry(self, method, x64):
        triangle = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
        plain = classify(pair_energy, triangle, method=method)
        assert plain.kind == Kind.DEGENERATE
        point = classify(pair_energy, triangle, method=method, null_directions=rigid_motions)
        assert point.kind == Kind.MINIMUM
        assert int(point.null_rank) == 3
        values = np.asarray(point.eigenvalues)
        np.testing.assert_allclose(values[np.isfinite(values)][[0, -1]], [3, 6], rtol=1e-9)
        assert "3 known null directions apart" in str(point)

    def test_dependent_directions_count_once(self, x64):
        triangle = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
        twice = jnp.concatenate([rigid_motions(triangle), 7 * rigid_motions(triangle), jnp.zeros((1, 3, 2))])
        point = classify(pair_energy, triangle, null_directions=twice)
        assert (int(point.null_rank), point.kind_name) == (3, "minimum")
        assert np.isfinite(point.eigenvalues).sum() == 3

    def test_float32_agrees(self):
        assert classify(pair_energy, TRIANGLE, null_directions=rigid_motions).kind == Kind.MINIMUM

    @pytest.mark.parametrize("method", METHODS)
    def test_a_direction_that_is_not_null_never_makes_a_minimum(self, method):
        """Projecting the descent out of a saddle would leave a bowl."""

        def saddle(x):
            return jnp.sum(jnp.array([1.0, 2.0, -3.0]) * x**2)

        point = classify(saddle, jnp.zeros(3), method=method, null_directions=jnp.array([[0.0, 0.0, 1.0]]))
        assert point.kind == Kind.UNDECIDED
        assert "|H u| = 6 along the null directions given, which is not zero" in str(point)

    @pytest.mark.parametrize(("sizes", "inside"), [((1e-3, 1.0, 5.0), "small"), ((3.0, 3.0, 3.0), "equal")])
    def test_what_is_left_is_the_spectrum_of_the_complement(self, sizes, inside, x64):
        """Against numpy, in a random basis, with curvature close to and far from that of the null space."""
        rng = np.random.default_rng(len(inside))
        basis = np.linalg.qr(rng.standard_normal((8, 8)))[0]
        values = np.array([0, 0, 0, *sizes, -2.0, 1e3])
        matrix = jnp.asarray(basis @ np.diag(values) @ basis.T)
        directions = jnp.asarray(rng.standard_normal((3, 3)) @ basis[:, :3].T)
        point = classify(lambda x: x @ matrix @ x / 2, jnp.zeros(8), null_directions=directions)
        np.testing.assert_allclose(np.asarray(point.eigenvalues)[:5], np.sort(values[3:]), rtol=1e-9, atol=1e-12)
        assert (point.kind_name, int(point.index), int(point.positive)) == ("saddle", 1, 4)

    def test_under_vmap_and_jit(self):
        points = jnp.stack([TRIANGLE, 1.5 * TRIANGLE])
        many = jax.jit(jax.vmap(lambda p: classify(pair_energy, p, null_directions=rigid_motions)))(points)
        assert many.kind_name.tolist() == ["minimum", "not_critical"]

    @pytest.mark.parametrize(
        ("directions", "error", "message"),
        [
            (jnp.zeros((2, 3, 3)), ValueError, "shape"),
            (jnp.zeros((0, 3, 2)), ValueError, "no direction"),
            (jnp.float32(1.0), ValueError, "leading axis"),
            ({"a": jnp.zeros((1, 3, 2))}, TypeError, "structure"),
        ],
    )
    def test_bad_directions_are_named(self, directions, error, message):
        with pytest.raises(error, match=message):
            classify(pair_energy, TRIANGLE, null_directions=directions)


def wells(x):
    return jnp.sum((x**2 - 1) ** 2) + 0.1 * jnp.sum(x[:-1] * x[1:])


class TestPolish:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(
        ("near", "kind"),
        [([0.9, -1.1, 1.05], "minimum"), ([0.1, -0.1, 0.05], "maximum"), ([1.1, 0.1, -0.9], "saddle")],
    )
    def test_the_point_nearby_is_reached_whatever_its_index(self, method, near, kind, x64):
        near = jnp.array(near)
        assert classify(wells, near, method=method).kind == Kind.NOT_CRITICAL
        point = classify(wells, near, method=method, polish=8)
        assert point.critical
        assert float(jnp.linalg.norm(point.point - near)) < 0.3
        np.testing.assert_allclose(jax.grad(wells)(point.point), 0, atol=1e-12)
        if method == "dense":
            assert point.kind_name == kind

    def test_flat_directions_are_not_walked(self, x64):
        """Moving along the exactly flat second coordinate would go for miles on a gradient of rounding."""
        point = classify(lambda x: (x[0] - 1) ** 2 + 0 * x[1], jnp.array([3.0, 5.0]), polish=3)
        np.testing.assert_allclose(point.point, [1, 5], rtol=1e-12)
        assert point.kind == Kind.DEGENERATE

    def test_the_end_of_a_run_on_digits_comes_closer(self):
        problem = jon.problems.digits_mlp(hidden=8)
        start = problem.init(jax.random.key(0))
        run = jon.minimize(problem.loss, start, jon.momentum(0.1), steps=100, data=problem.data)
        before = classify(problem.loss, run.params, problem.data)
        after = classify(problem.loss, run.params, problem.data, polish=2)
        assert after.gradient_norm < before.gradient_norm
        assert jax.tree.structure(after.point) == jax.tree.structure(run.params)

    def test_without_it_the_point_is_the_one_given(self):
        np.testing.assert_array_equal(classify(wells, jnp.ones(3)).point, jnp.ones(3))
        with pytest.raises(ValueError, match="polish"):
            classify(wells, jnp.ones(3), polish=-1)


class TestHiddenSteps:
    """In float32 a loss of 1e6 shows no difference over a distance of 1, so the words add where the minimum is."""

    @staticmethod
    def offset(x):
        return jnp.float32(1e6) + jnp.sum((x - 1) ** 2)

    @pytest.mark.parametrize(("x", "step"), [(2.0, 1.0), (1.5, 0.5)])
    def test_a_long_newton_step_is_named(self, x, step):
        point = classify(self.offset, jnp.float32([x]))
        assert point.kind == Kind.MINIMUM
        assert f"within the rounding of the loss, which hides a Newton step of {step:.2g}." in str(point)

    @pytest.mark.parametrize("x", [1.0, 1.001])
    def test_a_short_one_is_not(self, x):
        assert "Newton step" not in str(classify(self.offset, jnp.float32([x])))

    def test_nor_is_one_that_the_loss_shows(self):
        point = classify(lambda x: 1 + jnp.sum((x - 1) ** 2), jnp.float32([2.0]))
        assert point.kind == Kind.NOT_CRITICAL
        assert "hides" not in str(point)


class TestImpostors:
    @staticmethod
    def impostor(x):
        """|grad|^2 is stationary along the x-axis, where the slope never vanishes: f = x + y^2 (1 + x^2)."""
        return x[0] + x[1] ** 2 * (1 + x[0] ** 2)

    @pytest.mark.parametrize("method", METHODS)
    def test_a_gradient_in_the_kernel_is_named(self, method):
        point = classify(self.impostor, jnp.array([0.5, 0.0]), method=method)
        assert point.kind == Kind.NOT_CRITICAL
        assert point.gradient_flat
        assert "the gradient lies in the kernel of the Hessian (gradient-flat)" in str(point)

    def test_a_plain_slope_is_not(self):
        point = classify(wells, jnp.array([0.5, 0.3, 0.2]))
        assert not point.gradient_flat
        assert 0.01 < float(point.flatness) <= 1.0

    def test_neither_is_a_critical_point(self):
        assert not classify(wells, jnp.zeros(3)).gradient_flat


def test_the_verdict_is_a_pytree_of_arrays():
    point = classify(wells, jnp.zeros(3), null_directions=None)
    assert isinstance(point, CriticalPoint)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(point))


def random_spectrum(rng, n):
    """Eigenvalues of a random inertia: spread, clustered, repeated, of wide range, or of low rank."""
    signs = rng.choice([-1.0, 1.0], n) if rng.random() < 0.6 else np.full(n, rng.choice([-1.0, 1.0]))
    sizes = {
        "spread": lambda: rng.uniform(0.1, 10, n),
        "clustered": lambda: 1 + 1e-4 * rng.random(n) + 3 * (rng.random(n) < 0.5),
        "repeated": lambda: rng.choice([1.0, 2.0, 5.0], n),
        "wide": lambda: 10 ** rng.uniform(-5, 3, n),
        "low rank": lambda: rng.uniform(0.1, 10, n) * (rng.random(n) < 0.3),
    }
    return signs * sizes[rng.choice(list(sizes))]()


@pytest.fixture(scope="module")
def matrices():
    rng, n = np.random.default_rng(11), 20
    bases = np.linalg.qr(rng.standard_normal((500, n, n)))[0]
    values = np.stack([random_spectrum(rng, n) for _ in range(500)])
    whole = (bases * values[:, None, :]) @ bases.transpose(0, 2, 1)
    return (whole + whole.transpose(0, 2, 1)) / 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("method", "most_undecided"), [("dense", 0), ("lanczos", 50)])
def test_five_hundred_random_matrices_get_no_wrong_verdict(matrices, dtype, method, most_undecided, record_property):
    """Against LAPACK in float64 on the very matrices that were judged; what is not known has to be `undecided`."""
    with jax.enable_x64(dtype == np.float64):
        given = jnp.asarray(matrices, dtype)
        judge = jax.vmap(lambda a: classify(lambda x, a: x @ (a @ x) / 2, jnp.zeros(20, dtype), a, method=method))
        points = jax.device_get(jax.jit(judge)(given))
    exact = np.linalg.eigvalsh(np.asarray(given, np.float64))
    lowest, highest = exact[:, 0], exact[:, -1]
    right = {
        Kind.MINIMUM: lowest > 0,
        Kind.MAXIMUM: highest < 0,
        Kind.SADDLE: (lowest < 0) & (highest > 0),
        Kind.DEGENERATE: np.abs(exact).min(axis=1) <= 2 * points.zero_level,
        Kind.UNDECIDED: np.full(500, True),
    }
    wrong = [i for i, kind in enumerate(points.kind) if not right[Kind(int(kind))][i]]
    assert wrong == []
    undecided = int(np.sum(points.kind == Kind.UNDECIDED))
    record_property("undecided", undecided)
    assert undecided <= most_undecided
    assert (points.index <= np.sum(exact < 0, axis=1)).all()
    assert (points.positive <= np.sum(exact > 0, axis=1)).all()
    inside = (points.interval[:, 0] <= lowest) & (highest <= points.interval[:, 1])
    assert inside.mean() >= 0.99
