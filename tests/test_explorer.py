"""The explorer's engine against `minimize` and `classify`, its functions, its proofs and its formulas."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import programs_of
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxopt_notes as jon
from jaxopt_notes.explorer import _engine as engine
from jaxopt_notes.explorer._controls import CONTROLS, LOOKS
from jaxopt_notes.explorer._engine import Settings, descend
from jaxopt_notes.explorer._formula import lines
from jaxopt_notes.explorer._presets import PRESETS
from jaxopt_notes.explorer._proofs import prove_points, prove_window
from jaxopt_notes.explorer._scenes import catalogue, of_function, of_problem, plain
from jaxopt_notes.optimizers import RULES
from jaxopt_notes.plots._style import STYLES

SCENES = catalogue()
BOWL = SCENES["stretched_bowl"]
TOKEN, HOST = "a-token", "127.0.0.1:8000"
ASKED = {"function": "stretched_bowl", "start": [-5, -2], "optimizers": {"gradient_descent": {"learning_rate": 0.4}}}


def numbers_of(name, **changed):
    return {key: control.default for key, control in CONTROLS[name].items()} | changed


# ------------------------------------------------------------------------------------------------------------ engine


@pytest.mark.parametrize("name", CONTROLS)
def test_paths_are_those_of_minimize(name):
    start = jnp.array([-5.0, -2.0])
    found = descend(BOWL, {name: {}}, start, Settings(steps=20))[name]
    run = jon.minimize(BOWL.loss, start, jon.OPTIMIZERS[name](**numbers_of(name)), steps=20, record_params=True)
    np.testing.assert_allclose(found.path, run.params_path, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.loss, run.loss, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.grad_norm, run.grad_norm, rtol=1e-4, atol=1e-5)
    assert found.status == int(run.status)
    assert found.stopped_at == int(run.stopped_at)


def test_every_optimizer_of_the_registry_can_be_explored():
    assert set(CONTROLS) == set(LOOKS) == set(jon.OPTIMIZERS)


def test_fewer_steps_are_the_beginning_of_more():
    both = {"gradient_descent": {"learning_rate": 0.3}, "adam": {"learning_rate": 0.3}}
    long, short = (descend(BOWL, both, [-4.0, 1.0], Settings(steps)) for steps in (60, 7))
    for name in both:
        np.testing.assert_array_equal(short[name].path, long[name].path[:8])
        assert short[name].stopped_at == 7


def test_moving_any_slider_compiles_nothing():
    both = ("momentum", "adam")
    descend(BOWL, {name: {} for name in both}, [-5.0, -2.0])
    held = lambda: [programs_of(each) for each in (engine._descend, engine._look, engine._judge)]
    programs = held()
    for rate, steps, decay in ((0.01, 3, 0.0), (3.0, 256, 0.5), (1e-6, 100, 7.0)):
        numbers = {"momentum": {"learning_rate": rate, "beta": 0.5}, "adam": {"learning_rate": rate, "b1": 0.1}}
        descend(BOWL, numbers, [rate, -rate], Settings(steps, decay=decay))
    descend(BOWL, {"adam": {}}, [1.0, 1.0])  # neither does unticking a box
    assert programs == held()


@pytest.mark.parametrize("name", ["gradient_descent", "momentum", "nesterov"])
def test_the_bound_marked_on_the_slider_is_where_runs_begin_to_diverge(name):
    bound = descend(BOWL, {name: {"learning_rate": 0.01}}, [-5.0, -2.0])[name].bound
    for factor, diverges in ((0.98, False), (1.02, True)):
        numbers = {"learning_rate": factor * bound} | ({"beta": 0.5} if name != "gradient_descent" else {})
        if name != "gradient_descent":
            numbers["learning_rate"] *= float(jon.stability_bound(name, 4.0, beta=0.5)) / bound
        end = descend(BOWL, {name: numbers}, [-5.0, -2.0], Settings(2000))[name]
        assert (end.status in (jon.Status.DIVERGED, jon.Status.NON_FINITE)) == diverges


@pytest.mark.parametrize("name", ["adagrad", "adadelta", "rmsprop", "adam", "adamw"])
def test_the_bound_of_a_method_that_divides_is_that_of_its_state(name):
    numbers = numbers_of(name, learning_rate=1e-3)
    run = jon.minimize(BOWL.loss, jnp.array([-5.0, -2.0]), jon.OPTIMIZERS[name](**numbers), steps=10)
    known = jon.curvature.stability(jon.OPTIMIZERS[name](**numbers), run.state, BOWL.loss, run.params)
    found = descend(BOWL, {name: {"learning_rate": 1e-3}}, [-5.0, -2.0], Settings(10))[name]
    assert found.bound == pytest.approx(float(known.bound), rel=1e-3)


def test_a_diverged_run_rests_on_its_last_finite_point():
    end = descend(SCENES["himmelblau"], {"gradient_descent": {"learning_rate": 5.0}}, [1.0, 1.0])["gradient_descent"]
    assert end.status == jon.Status.NON_FINITE
    assert np.isfinite(end.path).all()
    assert end.stopped_at < 60


def test_verdicts_name_what_the_run_came_to():
    himmelblau = SCENES["himmelblau"]
    for point, _ in himmelblau.minima:
        end = descend(himmelblau, {"gradient_descent": {"learning_rate": 0.01}}, point + 0.1, Settings(200))
        assert end["gradient_descent"].verdict.kind_name == "minimum"
    ridge = descend(SCENES["saddle"], {"gradient_descent": {"learning_rate": 0.1}}, [0.9, 0.0], Settings(100))
    assert ridge["gradient_descent"].verdict.kind_name == "saddle"
    on_the_way = descend(BOWL, {"gradient_descent": {"learning_rate": 0.01}}, [-5.0, -2.0], Settings(5))
    assert on_the_way["gradient_descent"].verdict.kind_name == "not_critical"
    # x^3 flattens without a minimum, and |x - 1| has one without a derivative: neither is called what it is not.
    for name, start in (("cubic", [1.0]), ("absolute_value", [-1.0])):
        flat = descend(SCENES[name], {"gradient_descent": {"learning_rate": 0.3}}, start, Settings(2000))
        assert flat["gradient_descent"].verdict.kind_name != "minimum"


def test_a_verdict_is_that_of_classify():
    for scene, start in ((BOWL, [-5.0, -2.0]), (SCENES["rosenbrock"], [-1.2, 1.0]), (SCENES["tanh"], [4.0])):
        end = descend(scene, {"gradient_descent": {"learning_rate": 1e-3}}, start, Settings(5))["gradient_descent"]
        expected = jon.classify(scene.loss, jnp.asarray(end.verdict.point))
        assert end.verdict.kind_name == expected.kind_name
        # The second derivative of tanh at 4 is a thousandth, from 1 - tanh^2: programs differ there by roundings of 1.
        rounding = 8 * float(jnp.finfo(jnp.float32).eps)
        np.testing.assert_allclose(end.verdict.eigenvalues, expected.eigenvalues, rtol=1e-4, atol=rounding)
        np.testing.assert_allclose(end.verdict.decrease, expected.decrease, rtol=1e-3)


@given(st.lists(st.floats(-10, 10, width=32), min_size=5, max_size=5))
@settings(max_examples=40, deadline=None)
def test_the_closed_forms_are_those_of_lapack(entries):
    a, b, d, *vector = entries
    matrix = np.array([[a, b], [b, d]], np.float32)
    expected = np.linalg.eigvalsh(matrix)[-1]
    np.testing.assert_allclose(engine._largest_eigenvalue(jnp.asarray(matrix)), expected, rtol=1e-5, atol=1e-5)
    if abs(np.linalg.det(matrix)) > 0.1:
        solved = engine._solved(jnp.asarray(matrix), jnp.asarray(vector, jnp.float32))
        np.testing.assert_allclose(solved, np.linalg.solve(matrix, vector), rtol=2e-2, atol=1e-2)


def test_it_works_in_either_precision(x64):
    both = {"gradient_descent": {"learning_rate": 0.4}, "adam": {}}
    double = descend(BOWL, both, [-5.0, -2.0])
    assert double["adam"].path.dtype == np.float64
    assert double["gradient_descent"].path[1].tolist() == pytest.approx([-4.6, 1.2], rel=1e-15)
    with jax.enable_x64(False):
        single = descend(BOWL, both, [-5.0, -2.0])
    assert single["adam"].path.dtype == np.float32
    np.testing.assert_allclose(single["adam"].path, double["adam"].path, atol=1e-4)


def test_noise_has_the_size_asked_for_and_its_seed_repeats_it():
    flat = of_function(lambda x: jnp.sum(0.0 * x), bounds=((-1, 1), (-1, 1)))
    runs = [
        descend(flat, {"gradient_descent": {"learning_rate": 1.0}}, [0.0, 0.0], Settings(2000, noise=3.0, seed=seed))
        for seed in (0, 0, 1)
    ]
    paths = [run["gradient_descent"].path for run in runs]
    np.testing.assert_array_equal(paths[0], paths[1])
    assert not np.array_equal(paths[0], paths[2])
    assert np.std(np.diff(paths[0], axis=0)) == pytest.approx(3.0, rel=0.05)


def test_the_rate_decays_as_the_schedule_says():
    decayed = descend(SCENES["parabola"], {"gradient_descent": {"learning_rate": 0.1}}, [1.0], Settings(3, decay=1.0))
    expected = np.cumprod([1.0, 1 - 0.2, 1 - 0.2 / 2, 1 - 0.2 / 3])
    np.testing.assert_allclose(decayed["gradient_descent"].path[:, 0], expected, rtol=1e-6)


# ------------------------------------------------------------------------------------------------------------ proofs


def test_points_are_proved_with_the_distance_to_the_next():
    scene = SCENES["himmelblau"]
    proved, words, certificate = prove_points(scene, np.array([[3.0, 2.0]]))[0]
    assert proved
    assert re.fullmatch(r"proved: exactly one critical point within 0\.\d+ of \(3, 2\), a minimum", words)
    assert certificate.startswith("strict local minimum, proved")
    alone = float(re.search(r"within (\S+) of", words)[1])
    others = [p.point for p in jon.problems.himmelblau().facts.critical_points if np.abs(p.point - [3, 2]).max() > 1e-3]
    assert min(np.abs(np.array(others) - [3, 2]).max(1)) > alone  # by the table there is no other


def test_what_is_not_proved_says_why_and_is_not_called_proved():
    for name, point in (("monkey_saddle", [0.0, 0.0]), ("cubic", [0.0])):
        scene = SCENES[name]
        proved, words, _ = prove_points(scene, np.array([point]))[0]
        assert not proved
        assert words.startswith("not proved: degenerate within rounding")
        assert prove_window(scene, scene.domain).summary.endswith("no critical point; 1 place undecided")
    large = SCENES["network_slice"]
    assert prove_points(large, np.zeros((1, 2)))[0].sentence.startswith(
        "not proved: the function has more than 500 operations"
    )
    assert prove_window(large, large.domain).kinds == []
    unknown = of_function(lambda x: jnp.sum(jnp.sort(x) ** 2), ((-1, 1), (-1, 1)))
    assert prove_points(unknown, np.zeros((1, 2)))[0].sentence.startswith("not proved: ")


def test_the_proved_points_of_a_window_are_those_of_the_table():
    for name in ("x_cos_pi_x", "double_well", "himmelblau", "six_hump_camel", "mueller_brown", "rosenbrock"):
        facts = jon.problems.CATALOGUE[name]().facts
        known = prove_window(SCENES[name], np.asarray(facts.domain, np.float64))
        table = np.array([point.point for point in facts.critical_points])
        distance = np.linalg.norm(known.points[:, None] - table, axis=-1)
        assert known.points.shape == table.shape
        assert distance.min(0).max() < 1e-5
        for row, place in enumerate(distance.argmin(1)):
            negative = int(np.sum(np.asarray(facts.critical_points[place].eigenvalues) < 0))
            assert known.kinds[row] == {0: "minimum", facts.dimension: "maximum"}.get(negative, "saddle")
            assert known.values[row] == pytest.approx(facts.critical_points[place].value, abs=1e-5)
        assert known.summary.endswith("and no other critical point")


def test_a_function_is_traced_once_for_all_its_proofs(monkeypatch):
    calls = []

    def counted(x):
        calls.append(x)
        return jnp.sum((x - 0.3) ** 2)

    scene = of_function(counted, ((-1, 1), (-1, 1)))
    assert prove_points(scene, np.array([[0.3, 0.3]]))[0].proved
    known = prove_window(scene, scene.domain)
    before = len(calls)
    assert prove_points(scene, np.array([[0.3, 0.3]]))[0].proved
    assert prove_window(scene, scene.domain) is known
    assert len(calls) == before


# ------------------------------------------------------------------------------------------------ scenes and pictures


def test_the_catalogue_shows_what_the_issue_asks_for():
    assert {scene.dimension for scene in SCENES.values()} == {1, 2}
    assert {"parabola", "x_cos_pi_x", "tanh", "rosenbrock", "himmelblau", "network_slice"} <= set(SCENES)
    for name, scene in SCENES.items():
        assert scene.start.shape == scene.domain[0].shape
        assert not set(scene.formula) & set("\\${}"), name


def test_the_slice_of_a_network_goes_through_its_trained_parameters():
    scene = SCENES["network_slice"]
    value, gradient = jax.value_and_grad(scene.loss)(jnp.zeros(2))
    assert value < 0.1 * scene.loss(jnp.asarray(scene.start, float))
    assert np.linalg.norm(gradient) < 0.1


def test_formulas_are_readable_as_plain_text():
    assert plain(r"$\sum_i 100 (x_{i+1} - x_i^2)^2$") == "Σᵢ 100 (xᵢ₊₁ - xᵢ²)²"


def leaves(tree):
    """The symbols of a tree of MathML from left to right."""
    if tree[0] == "number":
        return leaves(tree[2])
    return [symbol for child in tree[1:] for symbol in ([child] if isinstance(child, str) else leaves(child))]


def numbers_in(tree):
    own = [tree[1]] if tree[0] == "number" else []
    return own + [name for child in tree[1:] if isinstance(child, list) for name in numbers_in(child)]


@pytest.mark.parametrize("name", CONTROLS)
def test_a_rule_is_typeset_whole_with_a_place_for_every_number(name):
    formula, trees = RULES[name].formula, lines(RULES[name].formula, tuple(CONTROLS[name]))
    greek = {"alpha": "α", "beta": "β", "varepsilon": "ε", "rho": "ρ", "mu": "μ", "Lambda": "Λ", "top": "⊤"}
    text = re.sub(r",\s*\\q?quad", " ", formula)
    text = re.sub(r"\\(frac|sqrt|hat|mathrm|[bB]ig[lr]|,)", " ", text)
    text = re.sub(r"\\[lr]vert", "|", text)
    text = re.sub(r"\\([a-zA-Z]+)", lambda found: greek[found[1]], text)
    wanted = re.sub(r"[\s{}_^]", "", text).replace("-", "−")
    found = "".join(symbol for tree in trees for symbol in leaves(tree) if symbol != "^")
    assert sorted(found) == sorted(wanted)
    shown = {number for tree in trees for number in numbers_in(tree)}
    assert "learning_rate" in shown
    absent = {"adamw": {"b1", "b2"}, "adan": {"b1"}}.get(name, set())  # in the averages, which their formula only names
    assert shown == set(CONTROLS[name]) - absent
    with pytest.raises(ValueError, match="unknown command"):
        lines(r"x = \gamma", ())


def test_the_looks_are_those_of_the_figures():
    for name, look in LOOKS.items():
        assert (look.color, look.marker) == (STYLES[name].color, STYLES[name].marker), name
    assert len(set(LOOKS.values())) == len(LOOKS)


def run_preset(title):
    preset = next(preset for preset in PRESETS if preset["title"] == title)
    settings = Settings(*(preset.get(name, default) for name, default in Settings()._asdict().items()))
    return descend(SCENES[preset["function"]], preset["optimizers"], preset["start"], settings)


def test_the_presets_show_what_their_names_say():
    crossing = run_preset("zig-zag")["gradient_descent"].path[:20, 1]
    assert (crossing[1:] * crossing[:-1] < 0).all()
    jumps = run_preset("overshoot")["gradient_descent"].path[:, 0]
    assert (jumps[1:] * jumps[:-1] < 0).all()
    assert abs(jumps[-1]) < abs(jumps[0])
    assert run_preset("diverge")["gradient_descent"].status == jon.Status.DIVERGED
    stuck = run_preset("stuck at a saddle")
    assert {end.verdict.kind_name for end in stuck.values()} == {"saddle"}
    left = run_preset("leaving a saddle")
    assert all(abs(end.path[-1, 1]) > 0.1 for end in left.values())
    plateau = run_preset("plateau")
    assert plateau["gradient_descent"].path[-1, 0] > 3.5
    assert plateau["adam"].path[-1, 0] < 1.0
    valley = run_preset("momentum crosses the valley")
    assert valley["gradient_descent"].status == jon.Status.DIVERGED
    assert valley["momentum"].loss[-1] < 0.1 * valley["momentum"].loss[0]
    shallow = run_preset("local minimum")
    assert shallow["gradient_descent"].loss[-1] > -0.5
    jumped = run_preset("noise jumps out")["gradient_descent"].path[:, 0]
    assert abs(jumped[-1] - 1.09) < 0.3  # in the deep minimum
    assert -1 < jumped.min() < jumped.max() < 2  # and never out of the picture


def test_a_users_function_is_checked_before_anything_is_shown():
    bowl = lambda x: jnp.sum(x**2)
    with pytest.raises(ValueError, match="needs bounds"):
        jon.explore(bowl)
    with pytest.raises(ValueError, match="bounds must be"):
        jon.explore(bowl, bounds=((0, 1), (1, 0)))
    for bounds in (((0, 1e7), (0, 1)), ((0, 1e-30), (0, 1)), ((1e5, 1e5 + 1), (0, 1)), ((0, np.inf), (0, 1))):
        with pytest.raises(ValueError, match="bounds must"):
            jon.explore(bowl, bounds=bounds)
    with pytest.raises(ValueError, match="start must lie within"):
        jon.explore(bowl, bounds=((0, 1), (0, 1)), start=[1e8, 0])
    with pytest.raises(TypeError, match="must return a scalar"):
        jon.explore(lambda x: x, bounds=((0, 1), (0, 1)))
    with pytest.raises(ValueError, match="start must have shape"):
        jon.explore(bowl, bounds=((0, 1), (0, 1)), start=[0.0])
    with pytest.raises(ValueError, match="did you mean 'saddle'"):
        jon.explore("sadle")
    with pytest.raises(ValueError, match="1 or 2 parameters"):
        of_problem(jon.problems.rosenbrock(dimension=3))
    with pytest.raises(ValueError, match="go with your own function"):
        jon.explore("saddle", bounds=((0, 1), (0, 1)))
    assert of_function(bowl, bounds=(-1, 1)).dimension == 1

    def of_two(x):
        a, b = x
        return a**2 + b**2

    for two in (of_two, lambda x: x[0] ** 2 + x[1] ** 2):
        with pytest.raises(ValueError, match="a function of two variables needs"):
            jon.explore(two, bounds=(-2, 2))
