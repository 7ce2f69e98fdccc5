"""The page without a browser: its engine in V8 against the engine in JAX; its pictures, words, files and policy."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from matplotlib.path import Path as MatplotlibPath

pytest.importorskip("py_mini_racer", reason="the page's engine is not run: no mini-racer")

from engines import Comparison, drawn, passes
from javascript import PageEngine
from py_mini_racer import MiniRacer

import jaxopt_notes as jon
from jaxopt_notes import cli
from jaxopt_notes.explorer import _bundle, _page, _programs
from jaxopt_notes.explorer._controls import CONTROLS
from jaxopt_notes.explorer._engine import Settings, descend
from jaxopt_notes.explorer._page import page
from jaxopt_notes.explorer._presets import PRESETS, fragment
from jaxopt_notes.explorer._scenes import catalogue, of_function
from jaxopt_notes.explorer._survey import HEIGHT, WIDTH

SCENES = catalogue()


@pytest.mark.parametrize(
    ("ends", "values"),
    [
        ((-4.5, 2.0), [1e-4, 1e-2, 1, 100]),
        ((-0.4, 0.6), [0.5, 1, 2]),
        ((0.1, 0.65), [2, 3, 4]),
        ((2.31, 2.52), [250, 300]),
    ],
)
def test_a_logarithmic_axis_has_at_least_two_labels(ends, values):
    racer = MiniRacer()
    racer.eval("class Explorer {}; const extend = (part) => { globalThis.Curves = part; };")
    folder = Path(_bundle.__file__).parent / "page"
    elements = (folder / "elements.js").read_text()
    racer.eval(elements[elements.index("function ticks") : elements.index("// The part of a segment")])
    racer.eval((folder / "curves.js").read_text())
    marks = json.loads(racer.eval(f"JSON.stringify(new Curves().decades({list(ends)}))"))
    assert [round(10**mark, 4) for mark in marks] == values


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def engine():
    return PageEngine(SCENES)


def surveyed(engine, name, window):
    return engine.survey({"function": name, "window": np.asarray(window).tolist()})


def one(function, bounds):
    """The engine of a function of one's own, its name and its window."""
    scene = of_function(function, bounds)
    return PageEngine({scene.name: scene}), scene.name, scene.domain


# ------------------------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize("block", range(4))
def test_paths_verdicts_and_words_are_those_of_jax(block):
    names = ("himmelblau", "parabola", "rosenbrock", "x_cos_pi_x", "saddle", "stretched_bowl", "ackley", "bowl")
    scenes = {name: SCENES[name] for name in names[2 * block : 2 * block + 2]}
    both, random = Comparison(scenes), np.random.default_rng(block)
    rows = [both.case(*drawn(random, scenes)) for _ in range(12)]
    assert [row for row in rows if not passes(row)] == []
    assert all(row["words"] for row in rows)
    assert sum(row["difference"] <= 1e-9 for row in rows) >= 10  # rounding decides few of them


@pytest.mark.parametrize("method", CONTROLS)
def test_every_method_walks_as_in_jax(engine, method):
    scene, settings = SCENES["tilted_canyon"], Settings(40)
    request = {"function": scene.name, "start": scene.start.tolist(), "optimizers": {method: {}}, **settings._asdict()}
    found, wanted = engine.path(method, request), descend(scene, {method: {}}, scene.start, settings)[method]
    path = np.reshape(np.array(found["path"], float), (-1, 2))
    np.testing.assert_allclose(path, wanted.path, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.array(found["loss"], float), wanted.loss, rtol=1e-9, atol=1e-12)
    assert (found["kind"], found["status"]) == (wanted.verdict.kind_name, wanted.status.name.lower())
    np.testing.assert_allclose(found["bound"], wanted.bound, rtol=1e-9)
    np.testing.assert_allclose(np.abs(found["directions"][0]), np.abs(wanted.verdict.escape_direction), rtol=1e-7)


def test_the_same_noise_is_added(engine):
    settings = Settings(50, noise=2.0, decay=0.1, seed=7)
    request = {"function": "bowl", "start": [1.0, 1.0], "optimizers": {"momentum": {}}, **settings._asdict()}
    wanted = descend(SCENES["bowl"], {"momentum": {}}, [1.0, 1.0], settings)["momentum"].path
    found = np.reshape(engine.path("momentum", request)["path"], (-1, 2))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11)


def test_how_runs_end_is_said():
    words = []
    for loss in (
        lambda x: 0 * x[0] + 5,
        lambda x: jnp.nan * x[0],
        lambda x: 1e200 * jnp.sum(x**2),
        lambda x: 1e-30 * jnp.sum(x**2),
        lambda x: x[0] ** 2 + x[1] ** 2,
    ):
        page_engine, name, _ = one(loss, ((-2, 2), (-2, 2)))
        asked = {"function": name, "start": [1.0, 1.0], "optimizers": {"gradient_descent": {"learning_rate": 1.5}}}
        words.append(page_engine.path("gradient_descent", asked | Settings(60)._asdict())["sentence"])
    assert words[0].startswith("loss 5 after 60 steps;")
    assert words[1] == "no step taken: the function is nan at the start"
    assert words[2].startswith("no step taken: the gradient at the start is not finite, or its square is too large")
    assert words[3].startswith("loss 2e-30 after 60 steps that did not move the point;")
    assert words[4] == "diverged: the loss rose from 2 to 2.66e+36 in 60 steps"


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset["title"])
def test_every_demonstration_is_answered(engine, preset):
    asked = {"steps": 60, "noise": 0.0, "decay": 0.0, "seed": 0}
    found = engine.run(asked | {key: value for key, value in preset.items() if key not in ("title", "note")})
    assert found["runs"].keys() == preset["optimizers"].keys()
    assert np.isfinite(found["value"])


def test_what_was_proved_of_the_picture_is_shown_inside_the_window(engine):
    request = {"function": "himmelblau", "start": [2.9, 2.1], **Settings(100)._asdict()}
    request |= {"optimizers": {"gradient_descent": {"learning_rate": 0.01}, "adam": {"learning_rate": 1e-4}}}
    whole = engine.proof(request | {"window": [[-6, -6], [6, 6]]})
    kinds = [point["kind"] for point in whole["points"]]
    assert [kinds.count(kind) for kind in ("minimum", "saddle", "maximum")] == [4, 4, 1]
    assert list(whole["proofs"]) == ["gradient_descent"]  # Adam has not arrived
    assert whole["proofs"]["gradient_descent"]["sentence"].startswith("proved: exactly one critical point within")
    assert whole["summary"].endswith("and no other critical point")
    assert len(engine.proof(request | {"window": [[2, 1], [4, 3]]})["points"]) == 1


@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize("function", ["stretched_bowl", "x_cos_pi_x"])
def test_the_python_to_copy_runs_and_makes_the_same_paths(engine, function, noise, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    scene, names = SCENES[function], ("gradient_descent", "adam")
    settings = Settings(15, noise, 0.1, 3)
    asked = {"function": function, "start": scene.start.tolist()}
    asked |= {"window": scene.domain.tolist(), "optimizers": {name: {} for name in names}, **settings._asdict()}
    cell: dict = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(engine.code(asked), cell)
    for name in names:
        path = np.reshape(engine.path(name, asked)["path"], (-1, scene.dimension))
        np.testing.assert_allclose(path, cell["runs"][name].params_path, rtol=1e-5, atol=1e-5)
    drawing = io.BytesIO()
    cell["fig"].savefig(drawing, format="svg")
    cell["plt"].close(cell["fig"])
    assert drawing.tell() > 5000


# ---------------------------------------------------------------------------------------------------------- pictures


def test_contours_lie_on_their_level_and_arrows_point_downhill(engine):
    window = np.array([[-4.0, -3.0], [4.0, 3.0]])
    seen = surveyed(engine, "bowl", window)
    assert len(seen["contours"]) == 16
    for contour in seen["contours"]:
        pixels = np.array(re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", contour["line"]), float)
        inner = ((pixels > 1) & (pixels < [WIDTH - 1, HEIGHT - 1])).all(axis=1)  # regions end at the frame
        pixels = pixels[inner]
        x = window[0] + (window[1] - window[0]) * np.stack([pixels[:, 0] / WIDTH, 1 - pixels[:, 1] / HEIGHT], axis=1)
        np.testing.assert_allclose(x[:, 0] ** 2 + 2 * x[:, 1] ** 2, contour["level"], rtol=0.02, atol=0.02)
    arrows = np.reshape(seen["arrows"], (-1, 4))
    downhill = -np.stack([2 * arrows[:, 0], 4 * arrows[:, 1]], axis=1)
    np.testing.assert_allclose(arrows[:, 2:], downhill / np.linalg.norm(downhill, axis=1, keepdims=True), atol=1e-12)


def test_the_lines_of_the_gradient_flow_are_those_of_its_differential_equation(engine):
    seen = surveyed(engine, "stretched_bowl", [[-4.0, -3.0], [4.0, 3.0]])
    flow = np.reshape(seen["flow"]["values"], (80, seen["flow"]["points"], 2))
    for line in flow:
        assert np.linalg.norm(np.diff(line, axis=0), axis=1).max() <= 8 / 160 * (1 + 1e-4)
        # x' = -0.2 x, y' = -4 y: along a line x is proportional to the twentieth root of y.
        x, y = line[np.abs(line[:, 1]) > 0.1].T
        np.testing.assert_allclose(x, x[0] * (y / y[0]) ** (1 / 20), atol=0.04)
        assert abs(line[-1, 1]) < 0.02  # on the floor
    down = np.reshape(surveyed(engine, "himmelblau", SCENES["himmelblau"].domain)["flow"]["values"], (80, -1, 2))
    values = jax.vmap(jax.vmap(SCENES["himmelblau"].loss))(down)
    assert (values[:, -1] < values[:, 0]).all()


def test_the_region_that_is_not_convex_is_that_of_the_hessian(engine):
    seen = surveyed(engine, "rosenbrock", [[-2.0, -1.5], [2.0, 1.5]])
    points = np.random.default_rng(0).uniform([-2, -1.5], [2, 1.5], (2000, 2))
    x, y = points.T
    hessians = np.array([[1200 * x**2 - 400 * y + 2, -400 * x], [-400 * x, np.full_like(x, 200)]]).transpose(2, 0, 1)
    lowest = np.linalg.eigvalsh(hessians)[:, 0]
    drawing = (points - [-2, -1.5]) / [4, 3] * [WIDTH, HEIGHT] * [1, -1] + [0, HEIGHT]
    words = re.findall(r"([MLZ])(?:(-?[\d.]+) (-?[\d.]+))?", seen["nonconvex"])
    codes = [{"M": 1, "L": 2, "Z": 79}[letter] for letter, _, _ in words]
    vertices = [(float(a or 0), float(b or 0)) for _, a, b in words]
    inside = MatplotlibPath(vertices, codes).contains_points(drawing)
    sure = np.abs(lowest) > 5
    assert 0.05 < inside.mean() < 0.95
    assert (inside == (lowest < 0))[sure].all()
    curve = surveyed(engine, "x_cos_pi_x", [[-1.0], [2.0]])
    edges = np.array(re.findall(r"[MH]([\d.]+)", curve["nonconvex"]), float).reshape(-1, 3)[:, :2] / WIDTH * 3 - 1
    # f'' = -2 pi sin(pi x) - pi^2 x cos(pi x) changes sign where 2 tan(pi x) = -pi x.
    roots = [
        scipy.optimize.brentq(lambda x: 2 * np.sin(np.pi * x) + np.pi * x * np.cos(np.pi * x), *ends)
        for ends in ((-0.9, -0.6), (-0.1, 0.1), (0.6, 0.9), (1.5, 1.8))
    ]
    np.testing.assert_allclose(edges, [[-1, roots[0]], [0, roots[2]], [roots[3], 2]], atol=0.01)
    for flat in ("bowl", "exp", "absolute_value"):
        assert surveyed(engine, flat, SCENES[flat].domain)["nonconvex"] == ""


def test_a_function_with_poles_and_holes_is_drawn_where_it_can_be():
    seen = surveyed(*one(lambda x: jnp.sqrt(x[0]) + 1 / jnp.maximum(x[1], 0), ((-1, 1), (-1, 1))))
    assert len(seen["contours"]) > 0
    assert np.isfinite(seen["arrows"]).all()


@pytest.mark.parametrize("scale", [1e100, 1e-100])
def test_the_picture_of_a_function_has_no_preferred_scale(scale):
    plain, scaled = (
        surveyed(*one(lambda x, c=c: c * (x[0] ** 2 + 3 * x[1] ** 2), ((-2, 2), (-1, 2)))) for c in (1.0, scale)
    )
    np.testing.assert_allclose(scaled["rate"] * scale, plain["rate"], rtol=1e-12)
    np.testing.assert_allclose(scaled["arrows"], plain["arrows"], atol=1e-12)
    heights = [[contour["level"] for contour in seen["contours"]] for seen in (plain, scaled)]
    np.testing.assert_allclose(np.array(heights[1]) / scale, heights[0], rtol=1e-12)
    assert [c["line"] for c in scaled["contours"]] == [c["line"] for c in plain["contours"]]


def test_an_empty_picture_is_explained():
    notes = [
        surveyed(*one(loss, ((-2, 2), (-2, 2))))["note"]
        for loss in (lambda x: 0 * x[0] + 5, lambda x: jnp.nan * x[0], lambda x: 1e300 * jnp.sum(x**2))
    ]
    assert notes == ["constant in this window: 5", "not finite anywhere in this window", ""]


def test_the_learning_rate_to_begin_with_is_stable(engine):
    for name in ("bowl", "rosenbrock", "himmelblau", "parabola"):
        rate = surveyed(engine, name, SCENES[name].domain)["rate"]
        end = descend(SCENES[name], {"gradient_descent": {"learning_rate": rate}}, SCENES[name].start, Settings(100))
        assert end["gradient_descent"].loss[-1] < end["gradient_descent"].loss[0]


# ------------------------------------------------------------------------------------------------------------- words


def test_numbers_are_written_as_by_python(engine):
    random = np.random.default_rng(0)
    numbers = (random.normal(size=200) * 10.0 ** random.integers(-30, 30, 200)).tolist()
    numbers += [0.0, -0.0, 0.5, 2.5, 0.125, 1e5, 99999.5, 123456.0, 0.00012345, 1e-5, 9.995, 5e-324, 1.7e308, 1000.0]
    numbers += [float("inf"), float("nan"), -2.5]
    for digits in (1, 2, 3, 6):
        texts = json.dumps([f"#{number!r}".replace("inf", "Infinity").replace("nan", "NaN") for number in numbers])
        call = f"JSON.stringify({texts}.map((x) => general(Number(x.slice(1)), {digits})))"
        assert json.loads(engine.racer.eval(call)) == [f"{number:.{digits}g}" for number in numbers]


# ------------------------------------------------------------------------------------------------------------- files


class Parts(HTMLParser):
    """The scripts, styles and policy of a page."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.policy, self.inside, self.tags = {}, "", None, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        self.inside = f"{tag} {given.get('type', '')}".strip()

    def handle_data(self, data):
        self.texts[self.inside] = self.texts.get(self.inside, "") + data

    def handle_endtag(self, tag):
        self.inside = None


def digest(text):
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def test_the_page_allows_its_own_script_and_nothing_else():
    parts = Parts(page({"bowl": SCENES["bowl"]}, "bowl"))
    policy = dict(part.strip().split(" ", 1) for part in parts.policy.split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'{digest(parts.texts['script module'])}'"
    assert policy["style-src"] == f"'{digest(parts.texts['style'])}'"
    assert "connect-src" not in policy
    links = [given.get(name) for _, given in parts.tags for name in ("src", "href") if given.get(name)]
    assert links == ["data:,"]
    text = parts.texts["script module"]
    for forbidden in ("eval(", "new Function", "innerHTML", 'setAttribute("style"', "cssText", "fetch(", "import("):
        assert forbidden not in text, forbidden


def test_no_name_or_text_of_a_function_becomes_markup():
    scene = of_function(lambda x: jnp.sum(x**2), ((-1, 1), (-1, 1)))
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    object.__setattr__(scene, "formula", evil)
    object.__setattr__(scene, "code", evil)
    parts = Parts(page({"f": scene}, "f", fragment=evil))
    assert [tag for tag, _ in parts.tags].count("script") == 2
    assert all(tag != "img" for tag, _ in parts.tags)
    held = json.loads(parts.texts["script application/json"])
    assert held["functions"]["f"]["formula"] == evil


def test_the_page_is_made_of_all_its_files():
    folder = Path(_bundle.__file__).parent / "page"
    scripts = [*_bundle.COMPUTING, *_bundle.MODULE, *(path.stem for path in _programs.PROGRAMS.values())]
    wanted = [f"{name}.js" for name in scripts] + [f"{name}.css" for name in _bundle.STYLE]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*wanted, "catalogue.json", "vendor"])
    for name in (*_bundle.COMPUTING, *_bundle.MODULE):
        assert (folder / f"{name}.js").read_text().count("\n") <= 400, name


@pytest.mark.skipif(jax.__version__ != "0.10.2", reason="another JAX traces other operations")
def test_compiled_files_are_those_of_this_code():
    again = "run scripts/compile_explorer.py"
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert _programs.engine(1) == _programs.PROGRAMS[1].read_text(), again
        stored = json.loads(_page.CATALOGUE_FILE.read_text())
        assert stored.keys() == SCENES.keys(), again
        for name in set(SCENES) - {"network_slice", "rastrigin"}:
            assert stored[name]["source"] == _programs.function_source(SCENES[name]), again
        assert stored["himmelblau"]["described"] == _page.describe(SCENES["himmelblau"]), again


def test_files_are_small(tmp_path):
    own = jon.explore(lambda x: x[0] ** 2 + jnp.sin(x[1]), bounds=((-2, 2), (-2, 2))).save(tmp_path / "own.html")
    assert own.stat().st_size < 500_000
    assert jon.explore().save(tmp_path / "all.html").stat().st_size < 1_500_000


def test_what_cannot_be_compiled_is_named():
    shown = jon.explore(lambda x: jnp.abs(jnp.fft.fft(x)).sum(), bounds=((-1, 1), (-1, 1)))
    with pytest.raises(NotImplementedError, match="have no rule in JavaScript"):
        shown.save("never.html")
    assert not Path("never.html").exists()


def test_a_notebook_shows_the_page_in_a_frame():
    frame = Parts(jon.explore("saddle")._repr_html_())
    [(tag, given)] = frame.tags
    assert tag == "iframe"
    assert given["sandbox"] == "allow-scripts allow-downloads"
    assert json.loads(Parts(given["srcdoc"]).texts["script application/json"])["host"] == "notebook"
    assert "shown by a notebook" in repr(jon.explore("saddle"))
    quadratic = jon.explore(jon.problems.quadratic([3.0, 1.0]))
    assert '"first": "quadratic"' in quadratic.html()
    lesson = jon.explore(demonstration="zig-zag").html()
    assert f'"fragment": "{fragment("zig-zag")}"' in lesson
    with pytest.raises(ValueError, match="give it alone"):
        jon.explore("saddle", demonstration="zig-zag")


# ------------------------------------------------------------------------------------------------------- the command


def test_the_command_writes_one_file(tmp_path):
    (tmp_path / "mine.py").write_text("def f(x):\n    return x[0] ** 2 + 3 * x[1] ** 2\n\nNOT_ONE = 3\n")
    command = [shutil.which("jaxopt-notes") or "", "explore"]
    command = command if command[0] else [sys.executable, "-m", "jaxopt_notes.cli", "explore"]
    own = [*command, "mine.py:f", "--bounds", "-2", "2", "-1", "1", "--start", "1", "0.5", "--save", "f.html"]
    shown = subprocess.run(own, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert shown.stdout.startswith("explorer in f.html, ")
    held = json.loads(Parts((tmp_path / "f.html").read_text()).texts["script application/json"])
    assert held["functions"]["f"]["domain"] == [[-2.0, -1.0], [2.0, 1.0]]
    assert held["functions"]["f"]["start"] == [1.0, 0.5]


def test_the_command_takes_a_demonstration_and_a_link(tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["explore", "--demonstration", "zig-zag"]) == 0
    path = Path(opened[0].removeprefix("file://"))
    held = json.loads(Parts(path.read_text()).texts["script application/json"])
    assert held["fragment"] == fragment("zig-zag")
    assert len(held["functions"]) == len(SCENES)
    assert cli.main(["explore", "--link", "file:///old.html#abc", "--save", "linked.html"]) == 0
    assert '"fragment": "abc"' in Path("linked.html").read_text()
    assert len(opened) == 1
    assert cli.main(["explore", "himmelblau", "--no-browser"]) == 0
    assert set(capsys.readouterr().err.splitlines()) == {"writing the page ..."}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sadle"], "did you mean 'saddle'"),
        (["--demonstration", "zigzag"], "did you mean 'zig-zag'"),
        (["--demonstration", "zig-zag", "--link", "#abc"], "not both"),
        (["saddle", "--bounds", "0", "1"], "go with your own function"),
        (["nothere.py:f"], "no file nothere.py"),
        (["mine.py:g", "--bounds", "0", "1"], "has nothing of that name"),
        (["mine.py:f", "--bounds", "0", "1", "2"], "two numbers for each"),
        (["mine.py:f"], "needs bounds"),
        (["mine.py:complex", "--bounds", "0", "1", "--save", "x.html"], "complex"),
        (["saddle", "--save", "mine.py/x.html"], "mine.py"),
    ],
)
def test_the_command_refuses_by_name(arguments, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text("def f(x):\n    return x[0] ** 2\ndef complex(x):\n    return abs(x[0] + 1j)\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["explore", *arguments]) == 2
    assert words in capsys.readouterr().err
