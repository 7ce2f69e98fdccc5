"""The explorer without a browser: its engine against `minimize`, its requests fuzzed, its server attacked."""

import asyncio
import base64
import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import httpx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from compiled import programs_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as MatplotlibPath
from websockets.sync.client import connect

import jaxopt_notes as jon
from jaxopt_notes import cli
from jaxopt_notes.explorer import _answer as answers
from jaxopt_notes.explorer import _engine as engine
from jaxopt_notes.explorer import _server as server
from jaxopt_notes.explorer._answer import answer, opening, reply_to, sentence, slope
from jaxopt_notes.explorer._bundle import MODULE, STYLE, module
from jaxopt_notes.explorer._controls import CONTROLS, LOOKS
from jaxopt_notes.explorer._engine import Settings, descend
from jaxopt_notes.explorer._formula import lines
from jaxopt_notes.explorer._presets import PRESETS
from jaxopt_notes.explorer._proofs import prove_ends, prove_window
from jaxopt_notes.explorer._request import LARGEST, decoded, parse
from jaxopt_notes.explorer._scenes import catalogue, of_function, of_problem, plain
from jaxopt_notes.explorer._survey import HEIGHT, WIDTH, levels, survey
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


def test_a_diverged_run_rests_on_its_last_finite_point_and_says_so():
    end = descend(SCENES["himmelblau"], {"gradient_descent": {"learning_rate": 5.0}}, [1.0, 1.0])["gradient_descent"]
    assert end.status == jon.Status.NON_FINITE
    assert np.isfinite(end.path).all()
    assert sentence(end).startswith(f"diverged: not finite after step {end.stopped_at}")


def test_verdicts_name_what_the_run_came_to():
    himmelblau = SCENES["himmelblau"]
    for point, _ in himmelblau.minima:
        end = descend(himmelblau, {"gradient_descent": {"learning_rate": 0.01}}, point + 0.1, Settings(200))
        assert end["gradient_descent"].verdict.kind_name == "minimum"
    ridge = descend(SCENES["saddle"], {"gradient_descent": {"learning_rate": 0.1}}, [0.9, 0.0], Settings(100))
    assert ridge["gradient_descent"].verdict.kind_name == "saddle"
    assert "saddle" in sentence(ridge["gradient_descent"])
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


def test_where_a_run_ends_is_proved_and_only_what_is_judged_critical():
    scene = SCENES["himmelblau"]
    runs = {"gradient_descent": {"learning_rate": 0.01}, "adam": {"learning_rate": 1e-4}}
    found = descend(scene, runs, [2.9, 2.1], Settings(100))
    proofs = prove_ends(scene, found)
    assert list(proofs) == ["gradient_descent"]  # Adam has not arrived
    proved, words, certificate = proofs["gradient_descent"]
    assert proved
    assert re.fullmatch(r"proved: exactly one critical point within 0\.\d+ of \(3, 2\), a minimum", words)
    assert certificate.startswith("strict local minimum, proved")
    alone = float(re.search(r"within (\S+) of", words)[1])
    others = [p.point for p in jon.problems.himmelblau().facts.critical_points if np.abs(p.point - [3, 2]).max() > 1e-3]
    assert min(np.abs(np.array(others) - [3, 2]).max(1)) > alone  # by the table there is no other


def test_what_is_not_proved_says_why_and_is_not_called_proved():
    for name, start in (("monkey_saddle", [0.0, 0.0]), ("cubic", [0.0])):
        scene = SCENES[name]
        found = descend(scene, {"gradient_descent": {"learning_rate": 0.01}}, start)
        proved, words, _ = prove_ends(scene, found)["gradient_descent"]
        assert not proved
        assert words.startswith("not proved: degenerate within rounding")
        assert prove_window(scene, scene.domain).summary.endswith("no critical point; 1 place undecided")
    large = SCENES["network_slice"]
    found = descend(large, {"newton": {}}, [0.0, 0.0])
    assert prove_ends(large, found)["newton"].sentence.startswith(
        "not proved: the function has more than 500 operations"
    )
    assert prove_window(large, large.domain).kinds == []
    unknown = of_function(lambda x: jnp.sum(jnp.sort(x) ** 2), ((-1, 1), (-1, 1)))
    found = descend(unknown, {"newton": {}}, [0.5, 0.2])
    assert prove_ends(unknown, found)["newton"].sentence.startswith("not proved: ")


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
    found = [descend(scene, {"newton": {}}, start) for start in ([0.5, 0.5], [-0.5, 0.1])]
    assert prove_ends(scene, found[0])["newton"].proved
    known = prove_window(scene, scene.domain)
    before = len(calls)
    assert prove_ends(scene, found[1])["newton"].proved
    assert prove_window(scene, scene.domain) is known
    assert len(calls) == before


# ------------------------------------------------------------------------------------------------ scenes and pictures


def test_the_catalogue_shows_what_the_issue_asks_for():
    assert {scene.dimension for scene in SCENES.values()} == {1, 2}
    assert {"parabola", "x_cos_pi_x", "tanh", "rosenbrock", "himmelblau", "network_slice"} <= set(SCENES)
    for name, scene in SCENES.items():
        assert scene.start.shape == scene.domain[0].shape
        assert not set(scene.formula) & set("\\${}"), name
    assert json.dumps(opening(SCENES, "bowl"), allow_nan=False)


def test_the_slice_of_a_network_goes_through_its_trained_parameters():
    scene = SCENES["network_slice"]
    value, gradient = slope(scene, np.zeros(2))
    assert value < 0.1 * slope(scene, scene.start)[0]
    assert np.linalg.norm(gradient) < 0.1


def test_contours_lie_on_their_level_and_arrows_point_downhill():
    scene = SCENES["bowl"]
    window = np.array([[-4.0, -3.0], [4.0, 3.0]])
    seen = survey(scene, window)
    assert len(seen.contours) == 16
    for level, line, _ in seen.contours:
        pixels = np.array(re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", line), float)
        x = window[0] + (window[1] - window[0]) * np.stack([pixels[:, 0] / WIDTH, 1 - pixels[:, 1] / HEIGHT], axis=1)
        np.testing.assert_allclose(x[:, 0] ** 2 + 2 * x[:, 1] ** 2, level, rtol=0.02, atol=0.02)
    x, direction = seen.arrows[:, :2], seen.arrows[:, 2:]
    downhill = -np.stack([2 * x[:, 0], 4 * x[:, 1]], axis=1)
    np.testing.assert_allclose(direction, downhill / np.linalg.norm(downhill, axis=1, keepdims=True), atol=1e-5)


def test_the_lines_of_the_gradient_flow_are_those_of_its_differential_equation():
    seen = survey(SCENES["stretched_bowl"], np.array([[-4.0, -3.0], [4.0, 3.0]]))
    assert seen.flow.shape == (80, 80, 2)
    for line in seen.flow.astype(np.float64):
        assert np.linalg.norm(np.diff(line, axis=0), axis=1).max() <= 8 / 160 * (1 + 1e-4)
        # x' = -0.2 x, y' = -4 y: along a line x is proportional to the twentieth root of y.
        x, y = line[np.abs(line[:, 1]) > 0.1].T
        np.testing.assert_allclose(x, x[0] * (y / y[0]) ** (1 / 20), atol=0.04)
        assert abs(line[-1, 1]) < 0.02  # on the floor
    down = survey(SCENES["himmelblau"], SCENES["himmelblau"].domain).flow
    values = jax.vmap(jax.vmap(SCENES["himmelblau"].loss))(down)
    assert (values[:, -1] < values[:, 0]).all()


def test_the_region_that_is_not_convex_is_that_of_the_hessian():
    seen = survey(SCENES["rosenbrock"], np.array([[-2.0, -1.5], [2.0, 1.5]]))
    points = np.random.default_rng(0).uniform([-2, -1.5], [2, 1.5], (2000, 2))
    x, y = points.T
    hessians = np.array([[1200 * x**2 - 400 * y + 2, -400 * x], [-400 * x, np.full_like(x, 200)]]).transpose(2, 0, 1)
    lowest = np.linalg.eigvalsh(hessians)[:, 0]
    drawing = (points - [-2, -1.5]) / [4, 3] * [WIDTH, HEIGHT] * [1, -1] + [0, HEIGHT]
    words = re.findall(r"([MLZ])(?:(-?[\d.]+) (-?[\d.]+))?", seen.nonconvex)
    codes = [{"M": 1, "L": 2, "Z": 79}[letter] for letter, _, _ in words]
    vertices = [(float(a or 0), float(b or 0)) for _, a, b in words]
    inside = MatplotlibPath(vertices, codes).contains_points(drawing)
    sure = np.abs(lowest) > 5
    assert 0.05 < inside.mean() < 0.95
    assert (inside == (lowest < 0))[sure].all()
    curve = survey(SCENES["x_cos_pi_x"], np.array([[-1.0], [2.0]]))
    edges = np.array(re.findall(r"[MH]([\d.]+)", curve.nonconvex), float).reshape(-1, 3)[:, :2] / WIDTH * 3 - 1
    # f'' = -2 pi sin(pi x) - pi^2 x cos(pi x) changes sign where 2 tan(pi x) = -pi x.
    roots = [
        scipy.optimize.brentq(lambda x: 2 * np.sin(np.pi * x) + np.pi * x * np.cos(np.pi * x), *ends)
        for ends in ((-0.9, -0.6), (-0.1, 0.1), (0.6, 0.9), (1.5, 1.8))
    ]
    np.testing.assert_allclose(edges, [[-1, roots[0]], [0, roots[2]], [roots[3], 2]], atol=0.01)
    for flat in ("bowl", "exp", "absolute_value"):
        assert survey(SCENES[flat], SCENES[flat].domain).nonconvex == ""


def test_a_function_with_poles_and_holes_is_drawn_where_it_can_be():
    holes = of_function(lambda x: jnp.sqrt(x[0]) + 1 / jnp.maximum(x[1], 0), bounds=((-1, 1), (-1, 1)))
    seen = survey(holes, holes.domain)
    assert len(seen.contours) > 0
    assert np.isfinite(seen.arrows).all()
    assert levels((1.0, 1.0), "log").size == 0
    json.dumps(answer(parse({"kind": "survey", "function": holes.name}, {holes.name: holes})), allow_nan=False)


@pytest.mark.parametrize("scale", [1e30, 1e-25])
def test_the_picture_of_a_function_has_no_preferred_scale(scale):
    plain_bowl, scaled_bowl = (
        of_function(lambda x, c=c: c * (x[0] ** 2 + 3 * x[1] ** 2), ((-2, 2), (-1, 2))) for c in (1.0, scale)
    )
    plain, scaled = (survey(scene, scene.domain) for scene in (plain_bowl, scaled_bowl))
    np.testing.assert_allclose(scaled.rate * scale, plain.rate, rtol=1e-5)
    np.testing.assert_allclose(scaled.arrows, plain.arrows, atol=1e-5)
    np.testing.assert_allclose(
        [level / scale for level, _, _ in scaled.contours], levels(plain.span, "linear"), rtol=1e-5
    )
    assert [len(line) for _, line, _ in scaled.contours] == [len(line) for _, line, _ in plain.contours]


def test_an_empty_picture_and_a_run_that_cannot_start_are_explained():
    notes, words = [], []
    for loss in (
        lambda x: 0 * x[0] + 5,
        lambda x: jnp.nan * x[0],
        lambda x: 1e30 * jnp.sum(x**2),
        lambda x: 1e-15 * jnp.sum(x**2),
    ):
        scene = of_function(loss, ((-2, 2), (-2, 2)))
        notes.append(reply_to({"kind": "survey", "function": scene.name}, {scene.name: scene})["note"])
        words.append(sentence(descend(scene, {"gradient_descent": {}}, [1.0, 1.0])["gradient_descent"]))
    assert notes == ["constant in this window: 5", "not finite anywhere in this window", "", ""]
    assert words[0].startswith("loss 5 after 60 steps;")
    assert words[1] == "no step taken: the function is nan at the start"
    assert words[2].startswith("no step taken: the gradient at the start is not finite, or its square is too large")
    assert words[3].startswith("loss 2e-15 after 60 steps that did not move the point;")
    # In float64 the width of the window of values is itself too large a number.
    np.testing.assert_allclose(levels((-1.7e308, 1.7e308), "linear")[[0, -1]], [-1.68e308, 1.54e308], rtol=1e-2)


def test_the_learning_rate_to_begin_with_is_stable():
    for name in ("bowl", "rosenbrock", "himmelblau", "parabola"):
        scene = SCENES[name]
        rate = survey(scene, scene.domain).rate
        end = descend(scene, {"gradient_descent": {"learning_rate": rate}}, scene.start, Settings(100))
        assert end["gradient_descent"].loss[-1] < end["gradient_descent"].loss[0]


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


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset["title"])
def test_every_preset_is_a_valid_request(preset):
    fields = {key: value for key, value in preset.items() if key != "title"}
    assert parse(fields | {"kind": "proof"}, SCENES).scene.name == preset["function"]


def run_preset(title):
    preset = next(preset for preset in PRESETS if preset["title"] == title)
    asked = parse({key: value for key, value in preset.items() if key not in ("title", "window")}, SCENES)
    return descend(asked.scene, asked.optimizers, asked.start, asked.settings)


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


@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize("function", ["stretched_bowl", "x_cos_pi_x"])
def test_the_python_to_copy_runs_and_makes_the_same_paths(function, noise, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = ("gradient_descent", "adam")
    asked = {"kind": "python", "function": function, "optimizers": {name: {} for name in names}, "steps": 15}
    asked |= {"noise": noise, "decay": 0.1, "seed": 3}
    request = parse(asked, SCENES)
    cell: dict = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(answer(request)["code"], cell)
    found = descend(request.scene, request.optimizers, request.start, request.settings)
    for name in names:
        np.testing.assert_allclose(found[name].path, cell["runs"][name].params_path, rtol=1e-5, atol=1e-5)
    drawing = io.BytesIO()
    cell["fig"].savefig(drawing, format="svg")
    cell["plt"].close(cell["fig"])
    assert drawing.tell() > 5000


# ---------------------------------------------------------------------------------------------------------- requests

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("kind", "function", "start", "optimizers", "steps", "noise", "decay", "seed", "window", "sequence")
VALUES = ANYTHING | st.sampled_from(["run", "survey", "python", "saddle", [0, 0], {"adam": {"b1": 1}}, 10**400, 1e308])


@given(ANYTHING | st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
@settings(max_examples=300, deadline=None)
def test_whatever_is_asked_is_understood_or_refused(fields):
    with contextlib.suppress(TypeError, ValueError):
        request = parse(fields, SCENES)
        assert np.isfinite(request.start).all()
        assert 1 <= request.settings.steps <= engine.MOST_STEPS


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"function": "himelblau"}, "did you mean 'himmelblau'"),
        ({"start": [1, 2, 3]}, "start must be a list of 2 numbers"),
        ({"start": [1, True]}, "start must be a number"),
        ({"start": [1, float("nan")]}, "got nan"),
        ({"start": [1, 1e30]}, r"start must be in \[-1e\+06, 1e\+06\]"),
        ({"start": [1, 10**400]}, r"start must be in .*, got 10{59}\.\.\."),
        ({"steps": 0}, "steps must be an integer of at least 1 and at most 2048, got 0"),
        ({"steps": 10**9}, "at most 2048"),
        ({"steps": 3.5}, "steps must be an integer"),
        ({"noise": -1}, r"noise must be in \[0, 1000\], got -1"),
        ({"decay": float("inf")}, "decay must be in"),
        ({"optimizers": {"adamm": {}}}, "did you mean 'adam'"),
        ({"optimizers": {"adam": {"beta": 0.9}}}, "unknown number 'beta' of adam"),
        ({"optimizers": {"adam": {"b1": 1}}}, r"adam.b1 must be in \[0, 1\), got 1"),
        ({"optimizers": {"adam": {"learning_rate": -1}}}, "adam.learning_rate must be in"),
        ({"optimizers": ["adam"]}, "optimizers must be an object"),
        ({"optimizers": {"adam": 3}}, "the numbers of adam must be an object"),
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"kind": "eval"}, "unknown kind 'eval'"),
        ({"kind": "survey", "window": [[0, 0], [0, 1]]}, "unknown field 'start'"),
        ({"sequence": -1}, "sequence"),
    ],
)
def test_bad_fields_are_refused_by_name(changed, message):
    with pytest.raises((TypeError, ValueError), match=message):
        parse(ASKED | changed, SCENES)


@pytest.mark.parametrize("window", [[[0, 0], [0, 1]], [[1, 1], [0, 0]], [[1e5, 0], [1e5 + 1, 1]], [[0, 0]], "all"])
def test_bad_windows_are_refused(window):
    with pytest.raises((TypeError, ValueError), match="window"):
        parse({"kind": "survey", "function": "bowl", "window": window}, SCENES)


def test_json_that_is_none_is_refused():
    for body in (b"", b"{", b"[1,", b'{"start": [NaN]}', b'{"start": [-Infinity]}', b"\xff\xfe", b"[" * 9000):
        with pytest.raises(ValueError, match="must be"):
            decoded(body)
    with pytest.raises(ValueError, match="at most"):
        decoded(b" " * (LARGEST + 1))


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


# ------------------------------------------------------------------------------------------------------------ server


class Client:
    """Requests to the application itself, without a socket."""

    def __init__(self, app):
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def request(self, method, path, **given):
        async def once():
            async with httpx.AsyncClient(transport=self._transport, base_url=f"http://{HOST}") as client:
                return await client.request(method, path, **given)

        return asyncio.run(once())

    def get(self, path, **given):
        return self.request("GET", path, **given)

    def converse(self, messages, path="/socket", token=TOKEN, **changed):
        """What the application sends over a socket to a page that says these messages and goes."""
        headers = {"host": HOST, "origin": f"http://{HOST}"} | changed
        given = [(name.encode(), value.encode()) for name, value in headers.items() if value is not None]
        scope = {"type": "websocket", "path": path, "query_string": f"token={token}".encode(), "headers": given}
        incoming = [{"type": "websocket.connect"}]
        incoming += [
            {"type": "websocket.receive", "bytes" if isinstance(message, bytes) else "text": message}
            for message in messages
        ]
        incoming += [{"type": "websocket.disconnect", "code": 1001}]
        sent = []

        async def receive():
            return incoming.pop(0)

        async def send(message):
            sent.append(message)

        asyncio.run(self._transport.app(scope | {"subprotocols": []}, receive, send))
        return sent


@pytest.fixture(scope="module")
def client():
    return Client(server.application(TOKEN, [HOST], SCENES, "bowl"))


def post(client, body, **changed):
    headers = {"origin": f"http://{HOST}", "x-explorer-token": TOKEN, "content-type": "application/json"} | changed
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.request(
        "POST", "/compute", content=content, headers={k: v for k, v in headers.items() if v is not None}
    )


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_a_page_gets_its_files_and_its_answers(client):
    for name, kind in (("", "html"), ("explorer.js", "javascript"), ("page.js", "javascript"), ("explorer.css", "css")):
        reply = client.get(f"/{name}?token={TOKEN}")
        assert reply.status_code == 200
        assert kind in reply.headers["content-type"]
    page = client.get(f"/?token={TOKEN}").text
    assert "<script>" not in page
    assert "style=" not in page
    assert "//" not in page
    assert client.get("/opening", headers={"x-explorer-token": TOKEN}).json()["first"] == "bowl"
    reply = post(client, ASKED | {"sequence": 7, "steps": 10}).json()
    assert reply["sequence"] == 7
    run = reply["runs"]["gradient_descent"]
    path = floats(run["path"]).reshape(-1, 2)
    assert path.shape == (11, 2)
    np.testing.assert_allclose(path[1], [-5 + 0.4 * 1.0, -2 + 0.4 * 8.0], rtol=1e-6)
    assert run["bound"] == pytest.approx(0.5)
    np.testing.assert_allclose(reply["gradient"], [-1.0, -8.0], rtol=1e-6)


def test_the_page_is_one_module_of_all_its_files():
    folder = Path(jon.__file__).parent / "explorer" / "page"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [f"{name}.js" for name in MODULE] + [f"{name}.css" for name in STYLE]
    )
    for path in folder.iterdir():
        assert path.read_text().count("\n") <= 400, path.name
    text = module()
    assert re.findall(r"^(?:import|export).*", text, re.MULTILINE) == ["export default { render };"]
    for forbidden in ("eval(", "new Function", "innerHTML", 'setAttribute("style"', "cssText", "http://", "https://"):
        assert forbidden not in text.replace("http://www.w3.org/", ""), forbidden


REFUSED = [
    {"host": "evil.test"},
    {"host": "localhost:8001"},
    {"origin": "http://evil.test"},
    {"origin": "null"},
    {"origin": "https://127.0.0.1:8000"},
    {"origin": None},
    {"x-explorer-token": None},
    {"x-explorer-token": ""},
    {"x-explorer-token": "a-tokem"},
    {"x-explorer-token": TOKEN + "x"},
]


@pytest.mark.parametrize("changed", REFUSED, ids=str)
def test_a_wrong_host_origin_or_token_is_refused(client, changed):
    reply = post(client, ASKED, **changed)
    assert reply.status_code == 403
    assert reply.json()["error"]


@pytest.mark.parametrize("changed", [{"token": "wrong"}, {"path": "/nothing"}, *REFUSED[:6]], ids=str)
def test_a_socket_is_opened_to_the_page_of_this_server_only(client, changed):
    sent = client.converse([json.dumps(ASKED)], **changed)
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_a_socket_gives_the_answers_of_requests(client):
    asked = [ASKED | {"sequence": k, "start": [k, 1.0]} for k in range(3)]
    accepted, *sent = client.converse([json.dumps(one) for one in asked])
    assert accepted["type"] == "websocket.accept"
    assert [json.loads(message["text"]) for message in sent] == [post(client, one).json() for one in asked]


@given(st.lists(st.text(max_size=300) | st.binary(max_size=300) | VALUES.map(json.dumps), max_size=4))
@example(['{"kind": "run", "sequence": 1e999}', '{"sequence": ' + "[" * 970 + "]" * 970 + "}", b'{"kind": "walk"}', ""])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_over_a_socket_gets_an_answer(client, texts):
    _, *sent, last = client.converse([*texts, json.dumps(ASKED | {"steps": 5})])
    assert len(sent) == len(texts)
    assert all(json.loads(message["text"])["error"] for message in sent)
    assert json.loads(last["text"])["runs"]


@pytest.mark.parametrize("path", ["/", "/explorer.js", "/page.js", "/explorer.css", "/opening", "/compute", "/nothing"])
def test_nothing_at_all_is_served_without_the_token(client, path):
    for attempt in (path, f"{path}?token=wrong", f"{path}?token={TOKEN}&token={TOKEN}"):
        assert client.get(attempt).status_code == 403
    assert client.get(f"{path}?token={TOKEN}", headers={"host": "evil.test"}).status_code == 403
    assert client.get(f"{path}?token={TOKEN}", headers={"origin": "http://evil.test"}).status_code == 403
    assert client.request("OPTIONS", path, headers={"origin": "http://evil.test"}).status_code == 403


def test_every_response_forbids_what_a_page_does_not_need(client):
    for reply in (client.get(f"/?token={TOKEN}"), client.get("/"), client.get(f"/nothing?token={TOKEN}")):
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["cache-control"] == "no-store"


def test_what_is_malformed_gets_a_4xx_and_the_server_lives_on(client):
    assert post(client, b"{").status_code == 400
    assert post(client, b'{"start": [NaN, 0]}').status_code == 400
    assert post(client, b'{"function": "bowl", "start": [1e999, 0]}').status_code == 400
    assert post(client, b'{"function": "bowl", "start": [1, ' + b"9" * 5000 + b"]}").status_code == 400
    assert post(client, b"[" * 10_000).status_code == 400
    assert post(client, b" " * (LARGEST + 1)).status_code == 413
    assert post(client, ASKED, **{"content-type": "text/plain"}).status_code == 415
    assert post(client, ASKED | {"function": "__import__('os')"}).status_code == 400
    assert client.get(f"/compute?token={TOKEN}").status_code == 405
    assert client.get(f"/../../etc/passwd?token={TOKEN}").status_code == 404
    assert client.get(f"/server.py?token={TOKEN}").status_code == 404
    assert post(client, ASKED).status_code == 200


@given(st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_get_an_answer(client, body):
    reply = post(client, body)
    assert reply.status_code in (400, 413)
    assert reply.json()["error"]


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_valid_request_with_any_field_replaced_gets_an_answer(client, changed):
    small = {"function": "stretched_bowl", "optimizers": {"gradient_descent": {}}, "steps": 5}
    reply = post(client, small | changed)
    assert reply.status_code in (200, 400, 413)
    json.loads(reply.content, parse_constant=pytest.fail)


def test_a_failure_inside_is_told_and_does_not_end_the_server(client, monkeypatch):
    def fail(request):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(server, "answer", fail)
    monkeypatch.setattr(answers, "answer", fail)
    reply = post(client, ASKED)
    assert reply.status_code == 500
    assert reply.json() == {"error": "RuntimeError: out of memory"}
    sent = client.converse([json.dumps(ASKED | {"sequence": 5})])[-1]
    assert json.loads(sent["text"]) == {"kind": None, "sequence": 5, "error": "RuntimeError: out of memory"}
    monkeypatch.undo()
    assert post(client, ASKED).status_code == 200


def test_two_pages_do_not_disturb_each_other(client):
    other = ASKED | {"start": [-1, 1], "optimizers": {"gradient_descent": {"learning_rate": 0.01}}}
    alone = [post(client, asked).json() for asked in (ASKED, other)]
    for _ in range(3):
        assert [post(client, asked).json() for asked in (ASKED, other)] == alone


def test_proofs_are_asked_for_by_a_request_of_their_own(client):
    asked = {"kind": "proof", "sequence": 4, "function": "himmelblau", "start": [2.5, 2.5]}
    asked |= {"optimizers": {"gradient_descent": {"learning_rate": 0.01}, "adam": {}}, "window": [[-6, -5], [6, 5]]}
    reply = post(client, asked).json()
    assert (reply["sequence"], reply["function"]) == (4, "himmelblau")
    assert reply["proofs"]["gradient_descent"]["proved"] is True
    assert len(reply["points"]) == 9
    assert {point["kind"] for point in reply["points"]} == {"minimum", "saddle", "maximum"}
    assert reply["summary"] == "Proved of this picture: 4 minima, 4 saddles, 1 maximum, and no other critical point"
    assert "runs" not in reply


def test_extreme_numbers_are_answered_in_legal_json(client):
    for start, rate in (([1e6, -1e6], 1000.0), ([0, 0], 0.0), ([1e-30, 1e-30], 1e-5)):
        for function in ("rosenbrock", "beale", "mueller_brown"):
            asked = {"function": function, "start": start, "optimizers": {"gradient_descent": {"learning_rate": rate}}}
            for kind in ("run", "proof"):
                reply = post(client, asked | {"kind": kind})
                assert reply.status_code == 200
                json.loads(reply.content, parse_constant=pytest.fail)


# ------------------------------------------------------------------------------------------------ widget and command


def test_the_widget_answers_messages_with_the_same_replies(monkeypatch):
    shown = jon.explore(lambda x: jnp.sum(x**4), bounds=((-2, 2), (-2, 2)), start=[1.0, 1.0])
    sent = []
    monkeypatch.setattr(shown, "send", sent.append)
    shown._handle_custom_msg({"kind": "run", "sequence": 3, "function": "f", "optimizers": {"newton": {}}}, [])
    assert sent[0]["sequence"] == 3
    assert sent[0]["start"] == [1.0, 1.0]
    shown._handle_custom_msg({"kind": "run", "sequence": 4, "function": "g"}, [])
    assert "unknown function 'g'" in sent[1]["error"]
    assert sent[1]["sequence"] == 4
    assert shown.opening["first"] == "f"
    assert "export default" in str(shown._esm)
    assert reply_to("nonsense", SCENES)["error"]
    assert reply_to(["nonsense"], SCENES)["error"]
    assert jon.explore("saddle").opening["first"] == "saddle"
    assert jon.explore(jon.problems.quadratic([3.0, 1.0])).opening["first"] == "quadratic"


def test_the_command_serves_this_machine_and_ends_with_ctrl_c(tmp_path):
    command = [sys.executable, "-u", "-m", "jaxopt_notes.cli", "explore", "--no-browser", "--function", "parabola"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            address = process.stdout.readline().split()[-1]
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{20,}", address)
            with urllib.request.urlopen(address) as reply:
                assert b"explorer" in reply.read()
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(address.split("?")[0])
            origin, _, token = address.partition("/?")
            there = f"{origin.replace('http', 'ws')}/socket?{token}"
            with pytest.raises(Exception, match="403"):
                connect(there, origin="http://evil.test")
            with connect(there, origin=origin) as socket:
                socket.send('{"kind": "walk"}')
                assert "unknown kind 'walk'" in socket.recv()
                socket.send(" " * (LARGEST + 1))
                with pytest.raises(Exception, match="1009"):
                    socket.recv()
            with connect(there, origin=origin) as socket:  # and another tab goes away without its answer
                socket.send(json.dumps({"function": "rosenbrock", "optimizers": {"adam": {}}}))
            with connect(there, origin=origin) as socket:  # while a third stays to the end
                socket.send('{"kind": "walk"}')
                assert "unknown kind 'walk'" in socket.recv()
                process.send_signal(signal.SIGINT)
                shown, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 0, errors
        assert "explorer closed" in shown
        assert errors == ""


def test_serving_others_is_warned_about_and_a_link_is_taken_up(monkeypatch, capsys):
    called = {}

    def serve(ready, **given):
        called.update(given)
        ready("http://192.0.2.1:1234/?token=t")

    monkeypatch.setattr(server, "serve", serve)
    link = "http://127.0.0.1:9/?token=old#abc"
    assert cli.main(["explore", "--host", "0.0.0.0", "--no-browser", "--link", link]) == 0
    shown = capsys.readouterr()
    assert "warning: --host 0.0.0.0 lets other machines" in shown.err
    assert "http://192.0.2.1:1234/?token=t#abc" in shown.out
    assert called["host"] == "0.0.0.0"
    assert cli.main(["explore", "--no-browser", "--demonstration", "zig-zag"]) == 0
    text = capsys.readouterr().out.partition("#")[2].split()[0]
    state = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert state.pop("demonstration") == "zig-zag"
    assert PRESETS[0] == state | {"title": "zig-zag"}
    assert cli.main(["explore", "--no-browser"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.undo()
    assert cli.main(["explore", "--function", "sadle", "--no-browser"]) == 2
    assert "did you mean 'saddle'" in capsys.readouterr().err
    assert cli.main(["explore", "--demonstration", "zigzag", "--no-browser"]) == 2
    assert "did you mean 'zig-zag'" in capsys.readouterr().err
    assert cli.main(["explore", "--demonstration", "zig-zag", "--link", "#abc", "--no-browser"]) == 2
    assert "not both" in capsys.readouterr().err
    assert cli.main(["explore", "--port", "99999", "--no-browser"]) == 2
    assert "port must be" in capsys.readouterr().err
