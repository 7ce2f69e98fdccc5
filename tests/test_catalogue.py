"""Every tabulated number of the catalogue, recomputed in float64; completeness by searches that use no table."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxopt_notes import Problem, problems
from jaxopt_notes.explorer._scenes import catalogue, levels_of, of_function
from jaxopt_notes.problems import CATALOGUE

SPECTRUM = [3.0, 0.5, -2.0, 0.0, 0.0]
CASES = [(name, {}) for name in CATALOGUE if name not in ("rosenbrock", "lennard_jones")]
CASES += [("rosenbrock", {"dimension": n}) for n in range(2, 8)]
CASES += [("lennard_jones", {"atoms": n}) for n in (2, 3, 4, 5, 6, 7, 13)]
CASES += [("styblinski_tang", {"dimension": n}) for n in (1, 4)]
CASES += [("quadratic", {"eigenvalues": SPECTRUM, "key": 7})]
CASES += [("deep_linear_network", {"singular_values": (3.0, 2.0, 0.5)}), ("deep_linear_network", {"depth": 3})]
WITHOUT_CRITICAL_POINTS = ("tanh", "exp", "trough")
LOW_DIMENSIONAL = [name for name in CATALOGUE if CATALOGUE[name]().facts.dimension <= 2]
CHUNK = 8192
FAST = {"xla_backend_optimization_level": 0}  # to compile: every program here runs for milliseconds

every_case = pytest.mark.parametrize(
    ("name", "arguments"), CASES, ids=[f"{name}-{'-'.join(map(str, arguments.values()))}" for name, arguments in CASES]
)
pytestmark = pytest.mark.usefixtures("x64")


class Compiled:
    """A problem and one program for its values, gradients and Hessians at many points, in flattened parameters.

    With the default arguments the same program also takes values and gradients in float32.
    """

    def __init__(self, name, arguments):
        key = {"key": jax.random.key(arguments["key"])} if "key" in arguments else {}
        self.problem = CATALOGUE[name](**arguments | key)
        self.facts, self.default = self.problem.facts, not arguments
        points = self.facts.critical_points
        like = points[0].point if points else np.zeros(self.facts.dimension)
        self.unflatten = ravel_pytree(like)[1]
        self.chunk = CHUNK if self.facts.dimension <= 2 else max(1, len(points))
        self._program = jax.jit(jax.vmap(self._evaluate), compiler_options=FAST)

    def _loss(self, x):
        params = self.unflatten(x.astype(float))
        return self.problem.loss(jax.tree.map(lambda leaf: leaf.astype(x.dtype), params))

    def _evaluate(self, x):
        def gradient_and_value(x):
            value, gradient = jax.value_and_grad(self._loss)(x)
            return gradient, (value, gradient)

        hessian, (value, gradient) = jax.jacfwd(gradient_and_value, has_aux=True)(x)
        narrow = jax.value_and_grad(self._loss)(x.astype(jnp.float32)) if self.default else None
        return value, gradient, hessian, narrow

    def __call__(self, points):
        """Values, gradients, Hessians at the rows of `points`, and (values, gradients) in float32, as NumPy arrays."""
        points = np.asarray(points, float).reshape(-1, self.facts.dimension)
        padded = np.concatenate([points, np.repeat(points[-1:], -len(points) % self.chunk, axis=0)])
        parts = [self._program(part) for part in padded.reshape(-1, self.chunk, self.facts.dimension)]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(points)], *parts)


def compiled(name, **arguments):
    return _compiled(name, tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in arguments.items()))


@functools.cache
def _compiled(name, arguments):
    return Compiled(name, dict(arguments))


def flattened(point):
    return np.asarray(ravel_pytree(point.point)[0])


# The tables


@every_case
def test_tabulated_points_values_and_eigenvalues(name, arguments):
    case = compiled(name, **arguments)
    points = case.facts.critical_points
    assert bool(points) == (name not in WITHOUT_CRITICAL_POINTS)
    if not points:
        return
    flat = np.stack([flattened(point) for point in points])
    low, high = case.facts.domain
    assert flat.shape == (len(points), case.facts.dimension)
    assert np.all((low < flat) & (flat < high))
    values, gradients, hessians, _ = case(flat)
    np.testing.assert_allclose(values, [point.value for point in points], rtol=1e-14, atol=1e-13)
    for point, x, gradient, hessian in zip(points, flat, gradients, hessians, strict=True):
        spectrum = np.linalg.eigvalsh(hessian)
        scale = np.abs(spectrum).max() + 1
        assert np.linalg.norm(gradient) <= 1e-14 * scale * max(1, np.linalg.norm(x))
        if point.eigenvalues is None:
            assert not case.facts.smooth
            continue
        np.testing.assert_allclose(point.eigenvalues, spectrum, rtol=0, atol=1e-14 * scale)
        assert point.index == np.sum(spectrum < -1e-10 * scale)
        if np.all(np.abs(spectrum) > 1e-10 * scale):
            assert point.kind == {0: "minimum", len(spectrum): "maximum"}.get(point.index, "saddle")


@pytest.mark.parametrize(
    ("name", "arguments", "published", "rounding"),
    [
        ("himmelblau", {}, [0, 0, 0, 0], 0),
        ("six_hump_camel", {}, [-1.031628453] * 2 + [-0.2154638244] * 2 + [2.10425031] * 2, 1e-8),
        ("mueller_brown", {}, [-146.6995, -108.1667, -80.7678], 1e-4),
        ("beale", {}, [0], 0),
        ("styblinski_tang", {"dimension": 1}, [-39.16616570, -25.0294467], 1e-7),
        ("rosenbrock", {"dimension": 4}, [0, 3.70142861], 1e-8),
        ("rosenbrock", {"dimension": 7}, [0, 3.98360054], 1e-8),
        ("lennard_jones", {"atoms": 5}, [-9.103852], 1e-6),
        ("lennard_jones", {"atoms": 6}, [-12.712062], 1e-6),
        ("lennard_jones", {"atoms": 7}, [-16.505384], 1e-6),
        ("lennard_jones", {"atoms": 13}, [-44.326801], 1e-6),
    ],
)
def test_published_minima(name, arguments, published, rounding):
    minima = CATALOGUE[name](**arguments).facts.minima
    np.testing.assert_allclose([point.value for point in minima], published, rtol=0, atol=0.6 * rounding)


# Completeness


def sign_change_search(case, cells=401):
    """Critical points by a grid: Newton's method from each cell where every component of the gradient changes sign."""
    low, high = case.facts.domain
    axes = [np.linspace(a, b, cells + 1) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    slopes = case(grid)[1].reshape(grid.shape)
    ends = itertools.product([0, 1], repeat=low.size)
    corners = np.stack([slopes[tuple(np.s_[i : i + cells] for i in end)] for end in ends])
    crossed = np.all((corners.min(0) <= 0) & (corners.max(0) >= 0), axis=-1)
    starts = x = grid[(np.s_[:-1],) * low.size][crossed] + (high - low) / (2 * cells)
    for _ in range(12):
        if not len(x):
            return x
        _, gradients, hessians, _ = case(x)
        x = x - (np.linalg.pinv(hessians, hermitian=True) @ gradients[..., None])[..., 0]
        near = np.all((np.abs(x - starts) < 0.2) & (low <= x) & (x <= high), axis=-1)
        x, starts = x[near], starts[near]
    distinct = []
    for point in x[np.linalg.norm(case(x)[1], axis=-1) < 1e-8]:
        if all(np.linalg.norm(point - other) > 1e-5 for other in distinct):
            distinct.append(point)
    return np.reshape(distinct, (-1, low.size))


@pytest.mark.parametrize("name", [name for name in LOW_DIMENSIONAL if name not in ("cubic", "monkey_saddle")])
def test_a_search_of_the_box_finds_what_is_tabulated_and_no_more(name):
    case = compiled(name)
    assert case.facts.complete
    listed = [point.point for point in case.facts.critical_points if point.eigenvalues is not None]
    kinks = [point.point for point in case.facts.critical_points if point.eigenvalues is None]
    found = [x for x in sign_change_search(case) if all(np.linalg.norm(x - kink) > 1e-3 for kink in kinks)]
    assert len(found) == len(listed)
    assert all(np.linalg.norm(np.array(found) - point, axis=-1).min() < 1e-9 for point in listed)


def degree(case):
    """How often the gradient turns while its point goes around the box, from samples between which it turns little."""
    low, high = case.facts.domain
    if low.size == 1:
        left, right = np.sign(case(np.stack([low, high]))[1])[:, 0]
        return (right - left) / 2
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
    t = np.linspace(0, 4, 4001)
    for _ in range(40):
        around = np.stack([np.interp(t, range(5), corner) for corner in corners.T], axis=-1)
        slopes = case(low + around * (high - low))[1]
        angles = np.unwrap(np.arctan2(slopes[:, 1], slopes[:, 0]))
        turns = np.abs(np.diff(angles)) > 0.5
        if not turns.any():
            return (angles[-1] - angles[0]) / (2 * np.pi)
        t = np.sort(np.concatenate([t, ((t[1:] + t[:-1]) / 2)[turns]]))
    raise AssertionError("the gradient turns faster than the boundary is sampled")


@pytest.mark.parametrize("name", LOW_DIMENSIONAL)
def test_index_sum_is_the_degree_of_the_gradient_on_the_boundary(name):
    case = compiled(name)
    facts = case.facts
    np.testing.assert_allclose(degree(case), facts.index_sum, atol=1e-6)
    if all(point.eigenvalues is None or np.all(point.eigenvalues != 0) for point in facts.critical_points):
        assert sum((-1) ** point.index for point in facts.critical_points) == facts.index_sum
        assert sum((-1) ** k * count for k, count in enumerate(facts.index_counts)) == facts.index_sum


@pytest.mark.parametrize("dimension", range(3, 8))
def test_rosenbrock_has_no_further_critical_point(dimension):
    """A vanishing gradient gives x_{i+1} from x_i and x_{i-1}, so all points are roots of one function of x_1."""

    def last(first):
        before, x = first, first**2 - (1 - first) / (200 * first)
        inside = np.abs(x) <= 2.048
        for _ in range(dimension - 2):
            before, x = x, x**2 - (1 - x) / (200 * x) + (x - before**2) / (2 * x)
            inside &= np.abs(x) <= 2.048
        return x - before**2, inside

    grid = np.linspace(-2.048, 2.048, 1_000_002)  # without 0, where there is none
    with np.errstate(all="ignore"):
        residual, inside = last(grid)
        bracket = np.flatnonzero((np.sign(residual[1:]) != np.sign(residual[:-1])) & (inside[1:] | inside[:-1]))
        low, high = grid[bracket], grid[bracket + 1]
        for _ in range(60):
            middle = (low + high) / 2
            same = np.sign(last(middle)[0]) == np.sign(last(low)[0])
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        residual, inside = last(low)
    roots = np.sort(low[(np.abs(residual) < 1e-6) & inside])  # where it is larger the sign changes through a pole
    listed = np.sort([point.point[0] for point in problems.rosenbrock(dimension).facts.critical_points])
    np.testing.assert_allclose(roots, listed, atol=1e-12)


def test_rosenbrock_in_many_dimensions_lists_its_global_minimum():
    case = compiled("rosenbrock", dimension=10)
    (point,) = case.facts.critical_points
    assert (point.value, point.kind, point.eigenvalues) == (0.0, "minimum", None)
    assert case.facts.index_counts is None
    values, gradients, hessians, _ = case(point.point)
    assert not values.any()
    assert not gradients.any()
    assert np.linalg.eigvalsh(hessians[0])[0] > 0.4


@pytest.mark.parametrize("dimension", range(1, 5))
def test_styblinski_tang_has_the_index_histogram_of_a_product(dimension):
    facts = problems.styblinski_tang(dimension).facts
    indices = [point.index for point in facts.critical_points]
    histogram = tuple(indices.count(k) for k in range(dimension + 1))
    assert histogram == facts.index_counts
    assert histogram == tuple(math.comb(dimension, k) * 2 ** (dimension - k) for k in range(dimension + 1))
    assert len(indices) == len({tuple(point.point) for point in facts.critical_points}) == 3**dimension


def test_beyond_a_thousand_points_they_are_counted_exactly_and_not_listed():
    facts = problems.styblinski_tang(100).facts
    assert sum(facts.index_counts) == 3**100
    assert facts.index_counts[0] == 2**100
    assert not facts.complete
    assert [point.kind for point in facts.critical_points] == ["minimum"]
    np.testing.assert_allclose(facts.minima[0].value, -3916.6165704, rtol=1e-9)
    assert sum(problems.rastrigin(3).facts.index_counts) == 21**3


@pytest.mark.parametrize(("name", "slope"), [("ackley", 4 / 2**0.5), ("absolute_value", 1.0)])
def test_at_a_kink_the_function_rises_with_the_same_slope_in_every_direction(name, slope):
    case = compiled(name)
    (kink,) = (point for point in case.facts.critical_points if point.eigenvalues is None)
    directions = np.random.default_rng(0).normal(size=(50, kink.point.size))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rises = case(kink.point + 1e-7 * directions)[0] - kink.value
    np.testing.assert_allclose(rises / 1e-7, slope, rtol=1e-5)
    assert not case(kink.point)[1].any()


# The functions


FORMULAS = {
    "parabola": lambda x: x[0] ** 2,
    "cubic": lambda x: x[0] ** 3,
    "x_cos_pi_x": lambda x: x[0] * np.cos(np.pi * x[0]),
    "tanh": lambda x: (np.exp(x[0]) - np.exp(-x[0])) / (np.exp(x[0]) + np.exp(-x[0])),
    "exp": lambda x: np.exp(x[0]),
    "absolute_value": lambda x: max(abs(x[0] - 1), 0),
    "double_well": lambda x: x[0] ** 4 / 4 - x[0] ** 2 / 2 + 0.1 * x[0],
    "plateau": lambda x: 1 - 1 / (1 + x[0] ** 2),
    "bowl": lambda x: x[0] ** 2 + 2 * x[1] ** 2,
    "stretched_bowl": lambda x: 0.1 * x[0] ** 2 + 2 * x[1] ** 2,
    "trough": lambda x: 10 * x[1] ** 2 - x[0],
    "saddle": lambda x: x[0] ** 2 - x[1] ** 2,
    "monkey_saddle": lambda x: ((x[0] + 1j * x[1]) ** 3).real,
    "rosenbrock": lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2,
    "beale": lambda x: sum((c - x[0] * (1 - x[1] ** i)) ** 2 for i, c in [(1, 1.5), (2, 2.25), (3, 2.625)]),
    "rastrigin": lambda x: 20 + sum(x**2 - 10 * np.cos(2 * np.pi * x)),
    "six_hump_camel": lambda x: np.polyval([1 / 3, 0, -2.1, 0, 4, x[1], 4 * x[1] ** 4 - 4 * x[1] ** 2], x[0]),
    "ackley": lambda x: (
        -20 * np.exp(-0.2 * np.sqrt(np.mean(x**2))) - np.exp(np.mean(np.cos(2 * np.pi * x))) + 20 + np.e
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_values_follow_the_formulas(name):
    case = compiled(name)
    points = np.random.default_rng(0).uniform(*case.facts.domain, (20, case.facts.dimension))
    np.testing.assert_allclose(case(points)[0], [FORMULAS[name](x) for x in points], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", CATALOGUE)
def test_single_precision_stays_single_and_close(name):
    case = compiled(name)
    x = case.facts.starts[0] if case.facts.starts else 1.1 * flattened(case.facts.minima[0]) + 0.01
    values, gradients, _, narrow = case(np.stack([x, 0.9 * x]))
    assert [leaf.dtype for leaf in narrow] == [np.float32, np.float32]
    np.testing.assert_allclose(narrow[0], values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(narrow[1], gradients, rtol=1e-3, atol=1e-5 * np.abs(gradients).max())


def test_what_the_lectures_say_of_their_functions():
    (slope,) = compiled("tanh")([[4.0]])[1]
    np.testing.assert_allclose(slope, 1 - np.tanh(4) ** 2)
    np.testing.assert_array_equal(problems.stretched_bowl().init(None), [-5, -2])
    (hessian,) = compiled("tilted_canyon")([[0.0, 0.0]])[2]
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), [1, 100], rtol=1e-12)
    assert abs(hessian[0, 1]) > 40  # askew to the axes
    assert [point.kind for point in problems.double_well().facts.minima] == ["minimum", "minimum"]
    curvatures = compiled("plateau")([[0.5], [0.6], [5.0]])[2]
    np.testing.assert_array_equal(np.sign(curvatures.ravel()), [1, -1, -1])  # one optimum, and not convex


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_a_figure_needs(name):
    from matplotlib.mathtext import MathTextParser

    problem = CATALOGUE[name]()
    facts = problem.facts
    low, high = facts.domain
    assert problem.name == name
    assert np.all(low < high)
    assert all(np.all((low <= start) & (start <= high)) for start in facts.starts)
    assert facts.starts or facts.dimension > 2
    assert facts.levels in ("linear", "log")
    MathTextParser("path").parse(facts.formula)
    assert repr(facts).startswith(f"Facts({len(facts.critical_points)} critical points, ")


def test_contours_are_spaced_as_was_chosen_by_eye():
    """The rule for the function of a user, on every function that the explorer shows as a map."""
    scenes = {name: scene for name, scene in catalogue().items() if scene.dimension == 2}
    assert len(scenes) >= 15
    assert {name: levels_of(scene) for name, scene in scenes.items()} == {n: s.levels for n, s in scenes.items()}
    assert of_function(scenes["rosenbrock"].loss, ((-2, 2), (-2, 2))).levels == "log"
    assert of_function(lambda x: jnp.sum(x**2) / 0.0, ((-2, 2), (-2, 2))).levels == "linear"  # nowhere finite
    assert of_function(lambda x: 0.0 * jnp.sum(x), ((-2, 2), (-2, 2))).levels == "linear"


def test_a_rotated_quadratic_keeps_its_spectrum():
    case = compiled("quadratic", eigenvalues=SPECTRUM, key=7)
    (hessian,) = case(np.ones(5))[2]
    np.testing.assert_allclose(np.linalg.eigvalsh(hessian), sorted(SPECTRUM), atol=1e-14)
    assert np.abs(hessian - np.diag(np.diag(hessian))).max() > 0.1
    flat = np.asarray(case.problem.null_directions(jnp.ones(5)))
    np.testing.assert_allclose(flat @ flat.T, np.eye(2), atol=1e-14)
    np.testing.assert_allclose(hessian @ flat.T, 0, atol=1e-14)
    assert problems.quadratic([1.0, 2.0]).null_directions is None


def test_numbers_of_the_factories_may_be_traced():
    x = jnp.array([1.0, 2.0])
    spectra = jnp.array([[1.0, 3.0], [2.0, -1.0]])
    conditions = jnp.array([1.0, 10.0])

    @jax.jit
    @jax.vmap
    def values(spectrum, number):
        made = problems.quadratic(spectrum), problems.tilted_canyon(number), problems.trough(number)
        return [problem.loss(x) for problem in made]

    along, across = np.cos(np.pi / 6) + 1, 2 * np.cos(np.pi / 6) - 0.5
    expected = [6.5, -1], (along**2 + conditions * across**2) / 2, 2 * conditions - 1
    for found, value in zip(values(spectra, conditions), expected, strict=True):
        np.testing.assert_allclose(found, value)


# Null directions


@pytest.mark.parametrize(
    ("name", "arguments", "zeros"),
    [("lennard_jones", {"atoms": n}, 5 if n == 2 else 6) for n in (2, 5, 13)]
    + [("deep_linear_network", {"singular_values": (3.0, 2.0, 0.5)}, 9), ("deep_linear_network", {"depth": 3}, 8)],
)
def test_null_directions_span_the_null_space_at_the_minimum(name, arguments, zeros):
    case = compiled(name, **arguments)
    minimum = case.facts.minima[0]
    params = jax.tree.map(jnp.asarray, minimum.point)
    directions = jax.jit(case.problem.null_directions, compiler_options=FAST)(params)
    assert jax.tree.map(lambda leaf: leaf.shape[1:], directions) == jax.tree.map(lambda leaf: leaf.shape, params)
    leaves = [np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(directions)]
    flat = np.concatenate(leaves, axis=1)
    assert np.linalg.matrix_rank(flat) == np.sum(minimum.eigenvalues == 0) == zeros
    points = np.stack([flattened(point) for point in case.facts.critical_points])
    for hessian, point in zip(case(points)[2], case.facts.critical_points, strict=True):
        if point is minimum:
            assert np.abs(hessian @ flat.T).max() <= 1e-13 * np.abs(hessian).max() * np.abs(flat).max()


def test_three_atoms_on_a_line_have_five_null_directions_and_two_ways_down():
    problem = problems.lennard_jones(3)
    line = problem.facts.critical_points[1]
    flat = np.asarray(jax.jit(problem.null_directions, compiler_options=FAST)(line.point)).reshape(6, 9)
    assert (line.kind, line.index) == ("saddle", 2)
    assert np.linalg.matrix_rank(flat) == np.sum(line.eigenvalues == 0) == 5


def test_a_cluster_may_move_and_turn_and_starts_unbroken():
    case = compiled("lennard_jones", atoms=7)
    x = np.asarray(case.problem.init(jax.random.key(2)))
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    (value, slope), (moved, _) = (tuple(part[0] for part in case(y)[:2]) for y in (x, x @ turn + 1))
    assert -16.5 < value < 0
    np.testing.assert_allclose(moved, value, rtol=1e-12)
    directions = np.asarray(jax.jit(case.problem.null_directions, compiler_options=FAST)(x)).reshape(6, -1)
    assert np.abs(directions @ slope).max() <= 1e-12 * np.linalg.norm(slope)


# Errors


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: problems.himmelblau([1.0]), ValueError, r"start must have shape \(2,\), got \(1,\)"),
        (lambda: problems.styblinski_tang(0), ValueError, "dimension must be an integer of at least 1, got 0"),
        (lambda: problems.ackley(2.0), TypeError, "dimension must be an integer"),
        (lambda: problems.lennard_jones(1), ValueError, "atoms must be an integer of at least 2, got 1"),
        (lambda: problems.tilted_canyon(0.0), ValueError, "condition must be in"),
        (lambda: problems.trough(-1.0), ValueError, "steepness must be in"),
        (lambda: problems.quadratic([1.0], key=3), TypeError, "key must be one random key"),
        (lambda: problems.deep_linear_network([0.0, 1.0]), ValueError, "singular_values must be in"),
        (lambda: problems.deep_linear_network([]), ValueError, "at least one number"),
        (lambda: problems.deep_linear_network(depth=1), ValueError, "depth must be an integer of at least 2"),
        (lambda: Problem(jnp.sum, jnp.ones(2), facts={}), TypeError, "facts must be a jaxopt_notes.problems.Facts"),
        (lambda: Problem(jnp.sum, jnp.ones(2), null_directions=[]), TypeError, "null_directions must be a function"),
    ],
)
def test_wrong_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
