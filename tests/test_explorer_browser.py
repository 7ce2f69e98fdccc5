"""The explorer as a person meets it: the real command, a real Chromium, a real mouse; under its own security policy."""

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_notes as jon
from jaxopt_notes.explorer._lessons import LESSONS, states
from jaxopt_notes.explorer._presets import PRESETS, fragment

CHROMIUM = "/usr/bin/chromium"
if not Path(CHROMIUM).exists():
    pytest.skip(f"browser tests skipped: no {CHROMIUM} (apt-get install chromium)", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="browser tests skipped: no playwright")
expect = sync_api.expect
expect.set_options(timeout=60_000)  # a first picture of a function compiles, on a machine with other work to do

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of the whole catalogue, as the command writes it."""
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    command = [sys.executable, "-m", "jaxopt_notes.cli", "explore", "stretched_bowl", "--save", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Opens pages whose console has to stay empty."""
    contexts, complaints = [], []

    def heard(text):
        if "GPU stall due to ReadPixels" not in text:  # of a surface drawn by software, whose picture is taken
            complaints.append(text)

    def opened(fragment="", *, address=address, before="", **options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 960}} | options))
        page = contexts[-1].new_page()
        page.add_init_script(before)
        page.on("console", lambda message: heard(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{address}{fragment}")
        expect(page.locator(".verdict").first).to_be_visible()
        return page

    opened.complaints = complaints
    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def handle(page):
    return page.get_by_role("slider", name=re.compile("Start point"))


def centre(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def path_of(page, name="gradient_descent"):
    return page.locator(f'[data-path="{name}"]').get_attribute("d")


def start_of(page, axis="x"):
    return float(page.get_by_label(f"Start {axis}", exact=True).input_value())


def at_rest(page):
    """Wait until the path on screen belongs to the start on screen."""
    page.evaluate(
        """async () => {
            const { explorer } = document.getElementById("explorer");
            do await new Promise(requestAnimationFrame); while (explorer.frame);
        }"""
    )


def drag(page, across, up, moves=10):
    x, y = centre(handle(page))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + across, y - up, steps=moves)
    page.mouse.up()
    at_rest(page)


def test_a_mouse_drag_moves_the_start_and_every_path(open_page):
    page = open_page()
    names = ("gradient_descent", "momentum", "adam")
    before = {name: path_of(page, name) for name in names}
    x, y = start_of(page, "x"), start_of(page, "y")
    drag(page, 160, 80)
    after = {name: path_of(page, name) for name in names}
    assert all(before[name] != after[name] for name in names)
    assert start_of(page, "x") > x + 0.5
    assert start_of(page, "y") > y + 0.2
    # Each path begins where the handle is.
    at = re.match(r"translate\((\S+) (\S+)\)", handle(page).get_attribute("transform")).groups()
    for path in after.values():
        begin = re.match(r"M(\S+) (\S+?)L", path).groups()
        assert [float(p) for p in begin] == pytest.approx([float(p) for p in at], abs=0.2)


def test_the_path_changes_while_the_button_is_still_down(open_page):
    page = open_page()
    x, y = centre(handle(page))
    page.mouse.move(x, y)
    page.mouse.down()
    seen = set()
    for i in range(5):
        page.mouse.move(x + 20 * (i + 1), y)
        at_rest(page)
        seen.add(path_of(page))
    page.mouse.up()
    assert len(seen) == 5


def test_a_click_on_the_plane_takes_the_point_there(open_page):
    page = open_page()
    box = page.locator(".overlay").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25)
    at_rest(page)
    assert centre(handle(page)) == pytest.approx(
        (box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25), abs=2
    )


def test_a_finger_drags_the_point_on_a_small_screen(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2)
    before, (x, y) = path_of(page), centre(handle(page))
    fingers = page.context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        *(("touchMove", [{"x": x + 10 * i, "y": y - 5 * i}]) for i in range(1, 6)),
        ("touchEnd", []),
    ):
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    at_rest(page)
    assert path_of(page) != before
    assert centre(handle(page))[0] == pytest.approx(x + 50, abs=4)


def test_a_slider_makes_it_diverge_and_the_page_says_so(open_page):
    page = open_page()
    slider = page.get_by_role("slider", name="learning rate, gradient descent")
    row = page.locator(".optimizer", has=slider)
    expect(row.locator(".hint").first).to_contain_text("below the stability bound 0.5")
    expect(row.locator(".mark").first).to_be_visible()
    expect(page.locator(".verdict").first).not_to_contain_text("diverged")
    slider.fill("0")  # in the logarithm: a rate of 1, twice the bound
    verdict = page.locator(".verdict").first
    expect(verdict).to_contain_text("diverged")
    expect(row.locator(".hint").first).to_contain_text("above the stability bound 0.5")
    expect(page.locator(".path-label").first).to_contain_text("gradient descent diverged, leaves at step")
    expect(page.locator(".spoken")).to_contain_text("gradient descent: diverged")
    page.get_by_label("learning rate, gradient descent, exact").fill("0.1")
    expect(verdict).not_to_contain_text("diverged")
    assert slider.input_value() == "-1"


def test_the_keyboard_moves_the_point(open_page):
    page = open_page()
    handle(page).focus()
    before, x = path_of(page), start_of(page)
    page.keyboard.press("ArrowRight")
    at_rest(page)
    small = start_of(page) - x
    assert path_of(page) != before
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowUp")
    at_rest(page)
    assert start_of(page) - x - small == pytest.approx(10 * small, rel=1e-2)
    assert "x = " in handle(page).get_attribute("aria-valuetext")


def proved(page):
    """Wait until what is proved is of the picture on screen."""
    page.wait_for_function("() => document.getElementById('explorer').explorer.known !== null")


def test_what_is_proved_comes_once_the_picture_rests(open_page):
    page = open_page()
    page.get_by_label("Function").select_option("himmelblau")
    at_rest(page)
    page.get_by_label("learning rate, gradient descent, exact").fill("0.01")
    page.get_by_label("steps, exact").fill("200")
    words = page.locator(".verdict .proved")
    expect(words.first).to_contain_text(
        re.compile(r"proved: exactly one critical point within 0\.\d+ of \(3, 2\), a minimum")
    )
    expect(page.locator(".known")).to_have_text(
        "Proved of this picture: 4 minima, 4 saddles, 1 maximum, and no other critical point."
    )
    for kind, count in (("minimum", 4), ("saddle", 4), ("maximum", 1)):
        expect(page.locator(f".terrain .{kind}")).to_have_count(count)
        expect(page.locator(".marks")).to_contain_text(kind)
    page.get_by_label("evidence for gradient descent").click()
    expect(page.locator(".certificate").first).to_contain_text("Eigenvalues there:")
    expect(page.locator(".spoken")).to_contain_text("exactly one critical point within")
    page.get_by_role("button", name="Zoom in on the start").click()
    expect(page.locator(".known")).to_contain_text("1 maximum")  # which alone is near the start
    expect(page.locator(".known")).not_to_contain_text("4 minima")


def test_nothing_is_proved_while_the_button_is_down(open_page):
    page = open_page()
    proved(page)
    x, y = centre(handle(page))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y)
    at_rest(page)
    # Held: what waits for the picture to rest looks, and leaves it.
    page.evaluate(
        """() => {
            const { explorer } = document.getElementById("explorer");
            const held = explorer.held.bind(explorer);
            const proved = explorer.proved.bind(explorer);
            window.looks = window.shown = 0;
            explorer.held = () => { window.looks += 1; return held(); };
            explorer.proved = (found) => { window.shown += 1; proved(found); };
            explorer.rest();
        }"""
    )
    page.wait_for_function("() => window.looks > 0")
    assert page.evaluate("() => window.shown") == 0
    expect(page.locator(".verdict .proved").first).to_be_empty()
    page.mouse.up()
    page.wait_for_function("() => window.shown > 0")


def test_every_control_is_reached_by_tab_and_has_a_name(open_page):
    page = open_page()
    named = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, summary, textarea, [tabindex]")]
            .filter((one) => one.checkVisibility())
            .map((one) => [one.getAttribute("aria-label") || one.closest("label")?.textContent || one.textContent,
                           one.tabIndex])"""
    )
    assert len(named) > 30
    assert all(name.strip() and index >= 0 for name, index in named), named


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem(open_page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(color_scheme=scheme)
    page.get_by_role("checkbox", name="gradient flow").check()
    page.get_by_role("checkbox", name="not convex here").check()
    page.get_by_label("Demonstration").select_option(label="steepest is not straight")
    page.get_by_role("button", name="surface", exact=True).click()
    at_rest(page)
    page.get_by_role("button", name="Copy as Python").click()
    expect(page.get_by_label("Python that draws this picture")).to_be_visible()
    found = axe.Axe().run(page).response["violations"]
    serious = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps([[rule["id"], [node["html"] for node in rule["nodes"]]] for rule in serious])


@pytest.mark.parametrize("size", [(320, 256), (390, 844), (844, 390)])
def test_it_is_usable_at_400_percent_and_on_a_phone(open_page, size):
    page = open_page(viewport={"width": size[0], "height": size[1]})
    wide = page.evaluate("() => [document.documentElement.scrollWidth, window.innerWidth]")
    assert wide[0] <= wide[1], "the page scrolls sideways"
    plane = page.locator(".plane").bounding_box()
    assert plane["width"] >= 0.7 * min(size[0], 400)
    handle(page).focus()
    page.keyboard.press("ArrowLeft")
    at_rest(page)


def test_a_demonstration_shows_its_function_optimizers_and_note(open_page):
    page = open_page()
    page.get_by_label("Demonstration").select_option(label="momentum crosses the valley")
    expect(page.locator(".note")).to_contain_text("Momentum crosses the valley a few times")
    expect(page.locator(".verdict")).to_have_count(2)
    expect(page.locator(".verdict").first).to_contain_text("diverged")
    expect(page.locator(".verdict").nth(1)).not_to_contain_text("diverged")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset["title"])
def test_a_lesson_moves_the_controls_and_comes_back(open_page, preset):
    page = open_page(fragment=f"#{fragment(preset['title'])}")
    at_rest(page)
    first = page.locator("[data-path]").evaluate_all("(paths) => paths.map((path) => path.getAttribute('d'))")
    steps = LESSONS[preset["title"]]
    expect(page.get_by_role("button", name="Back", exact=True)).to_be_disabled()
    for step, state in zip(steps[1:], states(preset["title"])[1:], strict=True):
        page.get_by_role("button", name="Next", exact=True).click()
        expect(page.locator(".note")).to_have_text(step.text)
        at_rest(page)
        expect(page.locator("[data-path]")).to_have_count(len(state["optimizers"]))
        for name, numbers in state["optimizers"].items():
            box = page.get_by_label(f"learning rate, {name.replace('_', ' ')}, exact", exact=True)
            assert float(box.input_value()) == pytest.approx(numbers["learning_rate"])
        assert start_of(page) == pytest.approx(state["start"][0])
        assert page.get_by_label("steps, exact").input_value() == str(state["steps"])
    expect(page.get_by_role("button", name="Next", exact=True)).to_be_disabled()
    for _ in steps[1:]:
        page.get_by_role("button", name="Back", exact=True).click()
    at_rest(page)
    assert page.locator("[data-path]").evaluate_all("(paths) => paths.map((path) => path.getAttribute('d'))") == first


def test_a_function_of_one_variable_moves_along_its_curve(open_page):
    page = open_page()
    page.get_by_label("Demonstration").select_option(label="overshoot")
    expect(page.locator(".curve")).to_be_visible()
    expect(page.locator(".verdict")).to_have_count(1)
    expect(page.get_by_label("Start y", exact=True)).to_be_hidden()
    at_rest(page)
    before = path_of(page)
    drag(page, -150, 0)
    assert path_of(page) != before
    assert start_of(page) < 8


def test_the_player_steps_through_the_path(open_page):
    page = open_page()
    whole = path_of(page)
    page.get_by_role("button", name="One step back").click()
    assert whole.startswith(path_of(page)[:-8])
    expect(page.locator(".step-text")).to_have_text("step 59 of 60")
    page.get_by_role("slider", name="Step shown").fill("0")
    assert path_of(page) == ""
    page.get_by_role("button", name="play").click()
    expect(page.locator(".step-text")).to_have_text("step 60 of 60")
    assert path_of(page) == whole


def test_noise_changes_with_its_seed(open_page):
    page = open_page()
    page.get_by_label("gradient noise, exact").fill("2")
    at_rest(page)
    noisy = path_of(page)
    page.get_by_label("seed of the noise, exact").fill("5")
    at_rest(page)
    assert path_of(page) != noisy


def test_a_copied_link_opens_the_same_picture(open_page, address):
    page = open_page()
    drag(page, 90, -30)
    page.get_by_label("learning rate, adam, exact").fill("0.33")
    page.get_by_role("checkbox", name="momentum", exact=True).uncheck()
    at_rest(page)
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".said")).not_to_be_empty()
    again = open_page(fragment=f"#{page.url.partition('#')[2]}")
    at_rest(again)
    for name in ("gradient_descent", "adam"):
        assert path_of(again, name) == path_of(page, name)
    expect(again.locator('[data-path="momentum"]')).to_have_count(0)
    broken = open_page(fragment="#nonsense")
    expect(broken.locator(".note")).to_contain_text("could not be read")


def test_a_demonstration_opens_by_its_link_as_by_the_list(open_page):
    listed = open_page()
    listed.get_by_label("Demonstration").select_option(label="noise jumps out")
    at_rest(listed)
    linked = open_page(fragment=f"#{fragment('noise jumps out')}")
    at_rest(linked)
    assert path_of(linked) == path_of(listed)
    expect(linked.locator('[data-path="adam"]')).to_have_count(0)
    for page in (listed, linked):
        expect(page.locator(".note")).to_contain_text("thrown over the hill")
        assert page.get_by_label("Demonstration").locator("option:checked").inner_text() == "noise jumps out"
    linked.evaluate("() => { window.location.hash = 'garbage'; }")
    expect(linked.locator(".note")).to_contain_text("could not be read")
    linked.evaluate(f"() => {{ window.location.hash = '{fragment('zig-zag')}'; }}")
    expect(linked.locator(".place")).to_contain_text("zig-zag, 1 of 4")
    at_rest(linked)
    assert start_of(linked) == pytest.approx(next(one["start"][0] for one in PRESETS if one["title"] == "zig-zag"))


def test_a_page_loaded_again_shows_the_same(open_page):
    page = open_page()
    drag(page, 90, -30)
    before = path_of(page)
    page.wait_for_function("() => window.location.hash.length > 1")
    page.reload()
    expect(page.locator(".verdict").first).to_be_visible()
    at_rest(page)
    assert path_of(page) == before


def test_a_start_at_zero_is_written_and_one_out_of_sight_comes_back(open_page):
    page = open_page(fragment=f"#{fragment('stuck at a saddle')}")
    assert page.get_by_label("Start y", exact=True).input_value() == "0"
    page.get_by_label("Start x", exact=True).fill("50")
    page.get_by_label("Start x", exact=True).blur()
    at_rest(page)
    page.get_by_role("button", name="Show all of it again").click()
    at_rest(page)
    assert abs(start_of(page)) < 10


def test_a_number_that_cannot_be_is_refused_in_words_and_open_evidence_stays_open(open_page):
    page = open_page()
    for label, text in (("steps, exact", "5000"), ("beta, momentum, exact", "5"), ("seed of the noise, exact", "2.5")):
        page.get_by_label(label).fill(text)
        expect(page.get_by_role("alert")).to_contain_text(f"{label.removesuffix(', exact')} must be a")
    page.get_by_label("steps, exact").fill("50")
    expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_label("evidence for gradient descent").click()
    page.get_by_role("checkbox", name="nesterov").check()
    at_rest(page)
    expect(page.locator(".verdict details").first).to_have_attribute("open", "")


def test_pictures_and_python_can_be_taken_away(open_page, tmp_path):
    page = open_page()
    page.get_by_label("learning rate, gradient descent, exact").fill("0.19")
    at_rest(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save SVG").click()
    saved.value.save_as(tmp_path / "picture.svg")
    drawing = ElementTree.parse(tmp_path / "picture.svg").getroot()
    strokes = {path.get("stroke") for path in drawing.iter("{http://www.w3.org/2000/svg}path")}
    assert "rgb(213, 94, 0)" in strokes or "#D55E00" in strokes
    words = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "stretched bowl, f = 0.1 x₁² + 2 x₂²" in words
    assert any(re.match(r"gradient descent: learning rate 0\.19; loss \S+ after 60 steps", word) for word in words)
    assert any(word.startswith("momentum: learning rate") for word in words)
    assert "start (-5, -2)" in words
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save PNG").click()
    saved.value.save_as(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
    page.get_by_label("steps, exact").fill("12")
    at_rest(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save WebM").click()
    saved.value.save_as(tmp_path / "film.webm")
    film = (tmp_path / "film.webm").read_bytes()
    assert film[:4] == b"\x1aE\xdf\xa3"  # EBML
    assert len(film) > 5_000
    expect(page.locator(".step-text")).to_have_text("step 12 of 12")
    page.get_by_role("button", name="Copy as Python").click()
    code = page.get_by_label("Python that draws this picture")
    expect(code).to_be_visible()
    assert "loss = jon.problems.stretched_bowl().loss" in code.input_value()
    compile(code.input_value(), "cell", "exec")


def test_a_refusal_is_shown_and_the_page_goes_on(open_page):
    page = open_page()
    before = start_of(page)
    page.get_by_label("Start x", exact=True).fill("1e30")
    page.get_by_label("Start x", exact=True).blur()
    expect(page.get_by_role("alert")).to_contain_text("start must be")
    # The picture is still that of the start before.
    assert start_of(page) == before
    page.get_by_role("button", name="Zoom out").click()
    at_rest(page)
    at = re.match(r"translate\((\S+) ", handle(page).get_attribute("transform"))[1]
    assert float(re.match(r"M(\S+) ", path_of(page))[1]) == pytest.approx(float(at), abs=0.2)
    page.get_by_label("Start x", exact=True).fill("1e30")
    page.get_by_label("Start x", exact=True).blur()
    page.get_by_label("Start x", exact=True).fill("-3")
    page.get_by_label("Start x", exact=True).blur()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_the_latency_of_a_drag_is_recorded(open_page, record_property):
    """Sixty moves at the pace of a screen: at the end the path is that of the last one, and the times are on record."""
    page = open_page()
    page.get_by_role("checkbox", name="nesterov").check()
    page.get_by_label("steps, exact").fill("256")
    at_rest(page)
    page.evaluate("() => { document.getElementById('explorer').explorer.timings = []; }")
    x, y = centre(handle(page))
    page.mouse.move(x, y)
    page.mouse.down()
    for i in range(60):
        page.mouse.move(x + 3 * i, y - i)
    page.mouse.up()
    at_rest(page)
    explorer = "document.getElementById('explorer').explorer"
    asked, shown, timings = page.evaluate(
        f"() => [{explorer}.state.start, [...{explorer}.found.start], {explorer}.timings]"
    )
    assert shown == pytest.approx(asked)
    drawn = statistics.median(timing["drawn"] for timing in timings)
    record_property("median milliseconds from pointer move to path", drawn)
    print(f"pointer move to path: median {drawn:.1f} ms over {len(timings)} updates of 60 moves")


@pytest.mark.parametrize("bounds", [((-1, 1), (-1, 1)), (-1, 1)])
def test_a_start_where_the_function_is_not_finite_draws_nothing(open_page, tmp_path, bounds):
    begin = [-0.5, 0.3][: np.ndim(bounds)]
    shown = jon.explore(lambda x: jnp.log(x[0]) + jnp.sum(x[1:] ** 2), bounds=bounds, start=begin)
    page = open_page(address=shown.save(tmp_path / "log.html").as_uri())
    at_rest(page)
    expect(page.locator(".verdict").first).to_contain_text("no step taken: the function is nan at the start")
    assert "NaN" not in page.locator(".plane").inner_html()


def test_the_frame_of_a_notebook_computes_in_a_page_of_any_encoding(browser, tmp_path):
    """Read in another encoding the script would be another, which the policy of the page refuses."""
    shown = jon.explore(lambda x: x[0] ** 2 + 3 * x[1] ** 2, bounds=((-2, 2), (-1, 1)))._repr_html_()
    (tmp_path / "exported.html").write_text(shown, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 960})
    page.goto((tmp_path / "exported.html").as_uri())
    frame = page.frame_locator("iframe")
    expect(frame.locator(".verdict").first).to_contain_text("minimum")
    before = frame.locator('[data-path="adam"]').get_attribute("d")
    frame.get_by_role("slider", name=re.compile("Start point")).press("ArrowLeft")
    expect(frame.locator('[data-path="adam"]')).not_to_have_attribute("d", before)
    page.close()


def test_the_surface_is_drawn_turns_and_shows_the_paths(open_page):
    page = open_page(fragment=f"#{fragment('zig-zag')}")
    at_rest(page)
    page.get_by_role("button", name="surface", exact=True).click()
    surface = page.locator(".surface")
    expect(surface).to_be_visible()

    def seen():
        """How many pixels have each of two colours: the path's and the paper's."""
        return page.evaluate(
            """() => {
                const { explorer } = document.getElementById("explorer");
                explorer.drawSurface();
                const { gl } = explorer;
                const [wide, high] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
                const pixels = new Uint8Array(4 * wide * high);
                gl.readPixels(0, 0, wide, high, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
                const count = (colour) => {
                    let found = 0;
                    for (let k = 0; k < pixels.length; k += 4) {
                        found += colour.every((part, i) => Math.abs(pixels[k + i] - part) < 3);
                    }
                    return found;
                };
                return [count(channels(explorer)), count([255, 255, 255]), gl.getError()];
                function channels({ colours: { ink } }) {
                    return [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16));
                }
            }"""
        )

    path, paper, error = seen()
    assert error == 0
    assert path > 300
    assert paper > 10_000  # around the ground
    surface.focus()
    for _ in range(20):
        page.keyboard.press("ArrowUp")  # to straight above
    assert seen()[1] != paper
    page.get_by_role("slider", name="Step shown").fill("0")
    assert seen()[0] < path / 3
    page.get_by_role("button", name="surface", exact=True).click()
    expect(surface).to_be_hidden()
    page.get_by_label("Demonstration").select_option(label="overshoot")
    expect(page.get_by_role("button", name="surface", exact=True)).to_be_hidden()


def test_without_webgl_a_sentence_says_so(open_page):
    page = open_page(before="HTMLCanvasElement.prototype.getContext = () => null;")
    page.get_by_role("button", name="surface", exact=True).click()
    expect(page.locator(".surface-words")).to_contain_text("has no WebGL 2")
    expect(page.locator(".surface")).to_be_hidden()
    drag(page, 40, 10)


def test_a_run_that_leaves_ends_in_an_arrow_at_the_frame(open_page):
    page = open_page(fragment=f"#{fragment('diverge')}")
    at_rest(page)
    expect(page.locator(".path-label")).to_have_text(
        re.compile(r"diverged, leaves at step 14, .*e\+?7 away at step 100")
    )
    out = page.locator(".leaving").get_attribute("d")
    first, tip = re.match(r"M(\S+) (\S+)L(\S+) ([\d.]+)", out).groups()[:2], re.match(r"M\S+ \S+L(\S+) ([\d.]+)", out)
    assert min(float(tip[2]), 600 - float(tip[2])) < 20  # at the frame
    assert path_of(page).endswith(f"L{first[0]} {first[1]}")  # and the path itself ends where it is last seen
    assert path_of(page).count("L") == 13


@pytest.mark.parametrize("size", [(390, 844), (412, 732)])
def test_on_a_phone_the_picture_stays_in_sight(open_page, size):
    page = open_page(viewport={"width": size[0], "height": size[1]}, has_touch=True, is_mobile=True)
    slider = page.get_by_role("slider", name="gradient noise")
    slider.scroll_into_view_if_needed()
    plane, control = page.locator(".plane").bounding_box(), slider.bounding_box()
    assert plane["y"] == pytest.approx(0, abs=1)
    assert plane["y"] + plane["height"] < control["y"] < size[1]


def test_the_curves_stand_beside_the_picture(open_page):
    page = open_page(viewport={"width": 1280, "height": 800})
    plane, curves = page.locator(".plane").bounding_box(), page.locator(".curves").bounding_box()
    assert curves["x"] >= plane["x"] + plane["width"]
    assert curves["y"] + curves["height"] < 800
    assert page.locator(".levels text").count() >= 6


def test_what_is_not_convex_is_hatched(open_page):
    page = open_page()
    page.get_by_label("Function").select_option("himmelblau")
    expect(page.locator(".nonconvex")).to_have_count(0)
    page.get_by_role("checkbox", name="not convex here").check()
    expect(page.locator(".nonconvex")).to_have_count(1)
    assert "Hessian" in page.locator(".nonconvex title").text_content()


def test_another_seed_draws_other_noise(open_page):
    page = open_page()
    another = page.get_by_role("button", name="another seed")
    expect(another).to_be_disabled()
    page.get_by_label("gradient noise, exact").fill("2")
    at_rest(page)
    before = path_of(page)
    another.click()
    at_rest(page)
    assert path_of(page) != before
    assert page.get_by_label("seed of the noise, exact").input_value() == "1"


def test_the_rule_stands_with_the_numbers_that_are_set(open_page):
    page = open_page()
    momentum = page.locator(".optimizer", has=page.get_by_label("learning rate, momentum, exact", exact=True))
    page.get_by_label("learning rate, momentum, exact").fill("0.03")
    page.get_by_label("beta, momentum, exact").fill("0.8")
    page.get_by_label("dampening, momentum, exact").fill("0.25")
    lines = momentum.locator("math")
    expect(lines.nth(0)).to_have_text("vt=0.8vt−1+(1−0.25)gt")
    expect(lines.nth(1)).to_have_text("xt+1=xt−0.03vt")
    page.get_by_label("learning rate, momentum, exact").fill("0.00002")
    expect(lines.nth(1)).to_have_text("xt+1=xt−2·10−5vt")
    page.get_by_label("learning rate, momentum, exact").fill("0.1")
    page.get_by_label("learning-rate decay, exact").fill("0.25")
    page.get_by_role("slider", name="Step shown").fill("5")  # whose rate is 0.1 / (1 + 0.25 * 4)
    expect(lines.nth(1)).to_have_text("xt+1=xt−0.05vt")
    width = lines.nth(0).bounding_box()["width"]
    assert width > 100  # typeset, not hidden
