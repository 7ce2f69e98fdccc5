"""Verdicts on points that are near critical points of another kind, on losses that are not smooth, and in any units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import jaxopt_notes as jon
from jaxopt_notes import classify

METHODS = ["dense", "lanczos"]


class TestInflections:
    """1 + x^3 + y^2 has no minimum: its only critical point is degenerate."""

    @staticmethod
    def inflection(x):
        return 1 + x[0] ** 3 + x[1] ** 2

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("x", [1e-2, 1e-3, -1e-2])
    def test_a_point_beside_one_is_undecided(self, x, method):
        point = classify(self.inflection, jnp.array([x, 0.0]), method=method)
        assert point.critical
        assert (point.kind_name, bool(point.settled), int(point.positive)) == ("undecided", False, 1)
        assert float(point.hessian_change) == pytest.approx(0.5, rel=1e-2)
        assert float(point.newton_step) == pytest.approx(abs(x) / 2, rel=1e-3)
        assert "the Hessian changes by 50 % over the Newton step" in str(point)

    def test_the_end_of_descent_is_undecided(self):
        run = jon.minimize(self.inflection, jnp.array([0.5, 0.5]), jon.momentum(0.1, beta=0.0), steps=2000)
        assert classify(self.inflection, run.params).kind_name == "undecided"

    @pytest.mark.parametrize("power", [3, 4, 5, 6])
    def test_roots_of_every_order_of_the_gradient(self, power, x64):
        """Between x and its Newton step x / (p - 1) the curvature of x^p falls by 1 - ((p - 2) / (p - 1))^(p - 2)."""
        x = 10 ** (-16 / power)
        point = classify(lambda x: 1 + x**power, x)
        expected = 1 - ((power - 2) / (power - 1)) ** (power - 2)
        assert point.critical
        assert point.kind_name in ("undecided", "degenerate")
        assert float(point.hessian_change) == pytest.approx(expected, rel=1e-6)

    def test_a_saddle_keeps_the_signs_that_hold(self):
        point = classify(lambda x: 1 + x[0] ** 3 + x[1] ** 2 - x[2] ** 2, jnp.array([1e-3, 0.0, 0.0]))
        assert (point.kind_name, int(point.index), int(point.positive), bool(point.settled)) == ("saddle", 1, 1, False)

    def test_curvature_that_turns_across_the_step(self):
        """The step runs along x, the sign that changes is that of y: 1 + x^2 + (x - 0.001) y^2 at x = 0.0015."""
        loss = lambda x: 1 + x[0] ** 2 + (x[0] - 1e-3) * x[1] ** 2
        assert classify(loss, jnp.zeros(2)).kind_name == "saddle"
        point = classify(loss, jnp.array([1.5e-3, 0.0]))
        assert point.critical
        assert point.kind_name == "undecided"

    def test_minima_hidden_by_rounding_stay_minima(self):
        """Where the Hessian hardly changes, however far the Newton step is."""
        well = lambda x: 5 + jnp.sum((x**2 - 1) ** 2)
        points = classify_each(well, 1 + jnp.array([[0.0, 0.0, 0.0], [1e-4, -1e-4, 0.0], [3e-4, 3e-4, -3e-4]]))
        assert points.kind_name.tolist() == ["minimum"] * 3
        assert float(jnp.max(points.hessian_change)) < 0.02

    def test_two_products_more(self):
        bowl = lambda x: jnp.sum(x**2)
        assert [int(classify(bowl, jnp.ones(n)).matvecs) for n in (1, 2, 5)] == [3, 5, 8]


def classify_each(loss, points):
    return jax.jit(jax.vmap(lambda x: classify(loss, x)))(points)


def ring(x):
    """|x|, whose slope at 0 is that of one side."""
    return jax.nn.relu(x) + jax.nn.relu(-x)


# At the origin each has a gradient and a Hessian by JAX's rules, and they do not describe it.
JUMPS = {
    "of the curvature, odd": lambda x: x[0] * jnp.abs(x[0]) + x[1] ** 2,
    "of the curvature, one side": lambda x: x[0] ** 2 - 3 * jax.nn.relu(-x[0]) ** 2 + x[1] ** 2,
    "of the curvature, with a loss": lambda x: 1 + x[0] ** 2 - 3 * jax.nn.relu(-x[0]) ** 2 + x[1] ** 2,
    "both ways": lambda x: jnp.sign(x[0]) + jnp.sum(x**2),
    "floor": lambda x: jnp.floor(x[0]) + jnp.sum(x**2),
    "down on one side": lambda x: jnp.where(x[0] >= 0, 0.0, -1.0) + jnp.sum(x**2),
    "small": lambda x: jnp.where(x[0] >= 0, 0.0, -1e-3) + 1 + jnp.sum(x**2),
    "of the slope": lambda x: jnp.sum(x**2) - 0.1 * ring(x[0]),
    "of the slope between terms that cancel": lambda x: (20 + ring(x[0])) - (20 - jnp.sum(x**2)),
}


class TestJumps:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("name", JUMPS)
    def test_of_the_loss_and_its_derivatives_are_seen(self, name, method):
        point = classify(JUMPS[name], jnp.zeros(2), method=method)
        assert not point.smooth
        assert point.kind_name == "undecided"

    def test_cusps_are_undecided(self, x64):
        """sum |x - 1|^1/2 at 200 points within six roundings of its only minimum; it has no maximum anywhere."""
        eps = np.finfo(float).eps
        near = 1 + eps * np.random.default_rng(0).integers(-6, 7, size=(200, 3))
        points = classify_each(lambda x: jnp.sum(jnp.sqrt(jnp.abs(x - 1))), jnp.asarray(near))
        assert set(points.kind_name) == {"undecided"}

    def test_a_cusp_in_float32(self):
        loss = lambda x: jnp.sum(jnp.sqrt(jnp.abs(x - 1)))
        assert classify(loss, jnp.array([1 + 2.0**-23])).kind_name == "undecided"

    def test_bukin_at_its_published_minimiser(self, x64):
        """Bukin's sixth function (Jamil and Yang, 2013)."""
        loss = lambda x: 100 * jnp.sqrt(jnp.abs(x[1] - 0.01 * x[0] ** 2)) + 0.01 * jnp.abs(x[0] + 10)
        assert classify(loss, jnp.array([-10.0, 1.0])).kind_name == "undecided"

    @pytest.mark.parametrize("power", [3, 4])
    def test_higher_jumps_do_not_matter(self, power):
        """|x|^3 has a continuous second derivative."""
        loss = lambda x: ring(x[0]) ** power + jnp.sum(x**2)
        assert classify(loss, jnp.zeros(2)).kind_name == "minimum"

    def test_terms_that_cancel_are_no_kink(self):
        """1 - cos is all rounding near 0, and x^2 is not."""
        loss = lambda x: jnp.sum(x**2 + 10 * (1 - jnp.cos(2 * jnp.pi * x)))
        assert classify(loss, jnp.zeros(2)).kind_name == "minimum"


class TestUnits:
    @pytest.mark.parametrize("name", ["himmelblau", "six_hump_camel", "styblinski_tang", "mueller_brown", "rosenbrock"])
    def test_no_verdict_depends_on_them(self, name):
        """c f(x / s) at s x, in float32, whose numbers end at 1e-38 and 3e38."""
        problem = getattr(jon.problems, name)()
        known = jnp.stack([jnp.asarray(each.point, jnp.float32) for each in problem.facts.critical_points])
        points = jnp.concatenate([known, known + 0.05])
        c, s = (jnp.asarray(grid.ravel()) for grid in np.meshgrid(SCALES, SCALES))

        @jax.jit
        @jax.vmap
        def verdicts(point):
            return jax.vmap(lambda c, s: classify(lambda x: c * problem.loss(x / s), s * point))(c, s).kind

        kinds = np.asarray(verdicts(points))
        base = np.asarray(classify_each(problem.loss, points).kind)
        np.testing.assert_array_equal(kinds, np.broadcast_to(base[:, None], kinds.shape))

    @pytest.mark.parametrize("scale", [1.0, 1e-18, 1e-20, 1e-22, 1e-30, 1e30])
    def test_a_slope_stays_one(self, scale):
        """The predicted decrease of scale ((x - 1)^2 + 3 (y - 2)^2) at (1.1, 2) is 0.01 scale."""
        loss = lambda x, s: s * ((x[0] - 1) ** 2 + 3 * (x[1] - 2) ** 2)
        for method in METHODS:
            point = classify(loss, jnp.array([1.1, 2.0]), jnp.float32(scale), method=method)
            assert point.kind_name == "not_critical"
            assert float(point.decrease) == pytest.approx(0.01 * scale, rel=1e-5)

    def test_energies_in_joules(self):
        """Argon: bonds of a trimer stretched by 5 %, a well 1.65e-21 J deep."""
        problem = jon.problems.lennard_jones(3)
        bond = 1.05 * 2 ** (1 / 6)
        corners = bond * jnp.array([[0, 0, 0], [1, 0, 0], [0.5, 3**0.5 / 2, 0]], jnp.float32)
        loss = lambda x: 1.65e-21 * problem.loss(x)
        assert classify(loss, corners, null_directions=problem.null_directions).kind_name == "not_critical"


SCALES = np.array([1e-30, 1e-12, 1.0, 1e12, 1e30], np.float32)


class TestNullDirectionsOfNoLength:
    """Three atoms on a line have five motions that change nothing, not six: turning about the line moves no atom."""

    @staticmethod
    def line():
        problem = jon.problems.lennard_jones(3)
        on_line = lambda d: jnp.array([[-d, 0, 0], [0, 0, 0], [d, 0, 0.0]])
        distance = brentq(lambda d: float(jax.grad(lambda t: problem.loss(on_line(t)))(d)), 1.0, 1.3, xtol=1e-15)
        return problem, on_line(distance)

    @pytest.mark.parametrize("bend", [0.0, 1e-30, 1e-17, 1e-10])
    def test_a_bent_line_is_a_saddle_of_index_two(self, bend, x64):
        problem, atoms = self.line()
        values = np.linalg.eigvalsh(jon.curvature.hessian(problem.loss, atoms))
        assert (np.sum(values < -1e-6), np.sum(np.abs(values) < 1e-6)) == (2, 5)
        point = classify(problem.loss, atoms.at[1, 1].set(bend), null_directions=problem.null_directions)
        assert (point.kind_name, int(point.index), int(point.null_rank)) == ("saddle", 2, 5)

    def test_turned_in_space(self, x64):
        """No single direction is short then, but a combination of three is."""
        problem, atoms = self.line()
        turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
        point = classify(problem.loss, atoms @ jnp.asarray(turn), null_directions=problem.null_directions)
        assert (point.kind_name, int(point.index), int(point.null_rank)) == ("saddle", 2, 5)

    def test_what_is_not_finite_is_refused(self):
        with pytest.raises(ValueError, match="null_directions must be finite"):
            classify(lambda x: jnp.sum(x**2), jnp.zeros(2), null_directions=jnp.full((1, 2), jnp.nan))

    def test_the_whole_space_leaves_nothing_to_judge(self):
        point = classify(lambda x: 0 * x[0], jnp.zeros(2), null_directions=jnp.eye(2))
        assert point.kind_name == "undecided"
        assert "span the whole space" in str(point)


class TestPolishing:
    @staticmethod
    def bowl(x):
        return x[0] ** 2 + 10 * x[1] ** 2

    def test_helps_where_the_loss_ends_at_zero(self, x64):
        """0 has no rounding to hide in, so no distance from the minimum is small; the same bowl with 1 added has."""
        run = jon.minimize(self.bowl, jnp.array([1.0, 1.0]), jon.momentum(0.02), steps=1000)
        point = classify(self.bowl, run.params)
        assert (point.kind_name, bool(point.polish_helps)) == ("not_critical", True)
        assert "leads to a critical point, which polish=1 judges" in str(point)
        polished = classify(self.bowl, run.params, polish=1)
        assert polished.kind_name == "minimum"
        assert float(polished.moved) == pytest.approx(float(point.newton_step), rel=1e-6)
        assert classify(lambda x: 1 + self.bowl(x), run.params).kind_name == "minimum"

    def test_does_not_help_on_a_slope_or_beside_an_inflection(self):
        assert not classify(lambda x: x[0] + x[1] ** 2, jnp.ones(2)).polish_helps
        assert not classify(lambda x: x[0] ** 3 + x[1] ** 2, jnp.array([0.5, 0.0])).polish_helps

    def test_reports_how_far_it_went(self):
        point = classify(self.bowl, jnp.array([3.0, 4.0]), polish=1)
        assert float(point.moved) == pytest.approx(5.0)
        assert "Judged 5 from the point given" in str(point)
