"""The report: one file, whole, safe, the same bytes twice, and plain about failure."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from test_plots import BETAS, RATES, sweep

from jaxopt_notes import classify, plots
from jaxopt_notes.minimize import Status
from jaxopt_notes.report import Section, report

VOID = {"meta", "br", "img", "link", "input", "hr"}
EVIL = "</script><script>alert(1)</script>$\\frac$--><b>"
CHROMIUM = "/usr/bin/chromium"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]


class Page(HTMLParser):
    """Collects elements, texts and attributes, and checks that every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.scripts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        (self.scripts if inside == "script" else self.text if inside != "style" else []).append(data)

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self):
        return " ".join("".join(self.text).split())

    @property
    def data(self):
        return json.loads(self.scripts[0])


def small(**options) -> xr.Dataset:
    """A sweep with one figure, for the tests of words: drawing is what takes the time."""
    return sweep(**options).isel(learning_rate=slice(3, 6), beta=[1]).drop_vars(["loss", "test_accuracy"])


@pytest.fixture
def write(tmp_path):
    def write(tables, **options) -> Page:
        return Page(report(tables, tmp_path / "report.html", **options).read_text(encoding="utf-8"))

    return write


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    path = report(sweep(), tmp_path_factory.mktemp("one") / "report.html")
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Page:
    tables = {"momentum": sweep(), "adam": sweep(optimizer="adam")}
    return Page(report(tables, tmp_path_factory.mktemp("two") / "report.html").read_text(encoding="utf-8"))


def test_the_summary_names_the_winner_its_interval_and_the_failures(page):
    assert (
        "momentum on digits_mlp: 9 values of learning_rate × 3 values of beta × 5 seeds = 135 trials, 60 steps"
        in page.words
    )
    assert (
        "Best: learning_rate=0.1, beta=0.9, with a median final loss of 0.012 over 5 seeds, interval 0.01 to 0.014"
        in page.words
    )
    assert "Failed: 45 of 135 trials, 15 non-finite and 30 diverged." in page.words
    assert "Edge of the grid" not in page.words


def test_a_winner_on_the_edge_is_said(write):
    page = write(sweep().isel(learning_rate=slice(0, 5)))
    assert "Edge of the grid: learning_rate=0.1 is the largest of the grid" in page.words
    assert "No trial failed." in page.words


def test_the_table_of_configurations_leads_with_the_marked_winner(page):
    assert sum(attrs.get("class") == "best" for attrs in page.all("tr")) == 1
    body = page.words.split("Configurations of momentum")[1]
    assert body.index("★ best") < body.index("tied" if "tied" in body else "failed")
    values = [attrs["data-value"] for attrs in page.all("td") if "data-value" in attrs]
    assert values[:2] == [str(RATES[4]), str(BETAS[1])]
    buttons = [attrs for attrs in page.all("button")]
    assert len(buttons) == 7  # learning_rate, beta, three quartiles, seeds failed, test accuracy
    assert all(attrs["type"] == "button" for attrs in buttons)


def test_every_trial_failed_is_said_plainly(write):
    table = sweep()
    table["status"] = xr.full_like(table.status, Status.STALLED)
    page = write({"momentum": table, "adam": small(optimizer="adam")})
    assert "Every trial failed: 135 stalled." in page.words
    assert "every trial failed" in page.words.split("The winner of each sweep")[1].split("adam")[0]
    assert "Every configuration failed" in page.words


def test_unfinished_and_not_started_sweeps_are_said(write):
    table = sweep()
    table.status[0] = Status.NOT_RUN
    table["final_loss"] = table.final_loss.where(table.status != Status.NOT_RUN)
    table["loss"] = table.loss.where(table.status != Status.NOT_RUN)
    assert "Unfinished: 15 of 135 trials were not run." in write(table).words
    table["status"] = xr.full_like(table.status, Status.NOT_RUN)
    assert "No trial has run." in write(table).words


def test_several_sweeps_are_compared(two, write):
    assert "Lowest: momentum, with a median final loss of 0.012." in two.words
    assert "Fewer than 6 seeds cannot rank any two optimizers" in two.words
    worse = small(seeds=6, optimizer="adam").assign(final_loss=10 * small(seeds=6).final_loss)
    page = write({"momentum": small(seeds=6), "nesterov": small(seeds=6), "adam": worse})
    assert "Its interval overlaps with that of nesterov: these seeds do not rank them." in page.words
    assert "; its interval overlaps with that of nesterov, so these seeds do not rank them." in page.words
    assert "The winner of each sweep" in two.words
    links = [attrs["href"] for attrs in two.all("a")]
    assert links == ["#found", "#comparison", "#1-momentum", "#2-adam", "#provenance"]
    assert {link[1:] for link in links} <= set(two.attributes("id"))


def test_sweeps_of_different_problems_share_no_axes(write):
    page = write({"momentum": sweep(), "other": sweep().assign_attrs(problem="quadratic").drop_vars("loss")})
    assert "The winner of each sweep" in page.words
    assert len(page.all("svg")) == 7


def test_figures_are_inline_with_text_alternatives_and_unique_ids(two):
    cards = [attrs for _, attrs in two.tags if attrs.get("class") == "card"]
    assert len(cards) == len(two.all("svg")) == 9  # four each, and the comparison
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 40 for attrs in cards)
    ids = two.attributes("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in two.attributes("href") if link.startswith("#")} <= set(ids)


def test_the_page_needs_no_network(page):
    values = [value for _, attrs in page.tags for value in attrs.values() if value]
    assert not [text for text in [*values, *page.scripts] if "http:" in text or "https:" in text]
    assert not page.all("link")
    assert not page.all("img")
    assert not page.attributes("src")
    (policy,) = [attrs["content"] for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not page.attributes("style")


def test_the_same_tables_give_the_same_bytes(tmp_path):
    first = report({"a": small()}, tmp_path / "new" / "folder" / "one.html")
    second = report({"a": small()}, tmp_path / "two.html")
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_hostile_names_are_text(write, tmp_path):
    evil = EVIL
    table = sweep(optimizer=evil).assign_attrs(problem='"><img src=x onerror=alert(1)>', note="<!--")
    extra = Section(evil, [evil], [{evil: evil}])
    page = write({evil: table, "adam": small(optimizer="adam")}, title=evil, sections=[extra])
    assert len(page.all("script")) == 2
    assert not page.all("img")
    assert not page.all("b")
    assert page.words.count("alert(1)") > 5
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_the_numbers_can_be_read_back_from_the_page(write):
    table = sweep().isel(learning_rate=slice(3, 6), beta=[1]).drop_vars("test_accuracy")
    table.final_loss[0, 0, 0] = np.nan
    entry = write({"first": table}).data["first"]
    assert "loss" not in entry["data_vars"]  # histories would make the page large
    assert entry["data_vars"]["final_loss"]["data"][0][0][0] is None
    back = xr.Dataset.from_dict(entry)
    np.testing.assert_allclose(back.final_loss.astype(float), table.final_loss)
    np.testing.assert_array_equal(back.status, table.status)
    assert back.attrs == table.attrs


def test_sections_follow_with_their_tables(write):
    rows = [
        {"optimizer": "adam", "smallest eigenvalue": np.float32(-0.41), "proved": True},
        {"optimizer": "momentum", "smallest eigenvalue": float("nan"), "note": "x"},
    ]
    page = write(small(), sections=[Section("Verdicts", ["Not critical."], rows), Section("Remarks")])
    part = page.words.split("Verdicts", 2)[2].split("Provenance")[0]
    assert "Not critical." in part
    assert re.search(r"optimizer ?smallest eigenvalue ?proved ?note ?adam ?-0.41 ?True ?momentum ?nan ?x", part)
    assert "section-2" in page.attributes("id")


def test_the_provenance_lists_every_attribute_the_seeds_and_the_command(write):
    page = write(small().assign_attrs(jax_version="0.10.1", wall_seconds=12.5), command="jaxopt-notes report <x>")
    details = page.words.split("Provenance")[-1]
    assert "jax version 0.10.1" in details
    assert "seeds 0 to 4" in details
    assert "Command: jaxopt-notes report <x>" in details
    assert "12.5" in details


def test_bounds_are_drawn_and_unknown_names_refused(write, tmp_path):
    write(small(), bounds={"momentum": 0.19}, figures=tmp_path)
    # Beside the outlines of a text matplotlib writes it as a comment.
    assert "quadratic theory" in (tmp_path / "1-momentum-learning-rate.svg").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="did you mean 'momentum'"):
        write(sweep(), bounds={"momentun": 0.1})


def test_figures_are_also_written_as_files_when_asked(tmp_path):
    report(sweep(), tmp_path / "report.html", figures=tmp_path / "figures")
    files = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert files == [f"1-momentum-{kind}.svg" for kind in ("heat-map", "learning-rate", "loss", "test-accuracy")]
    for name in files:
        assert ElementTree.parse(tmp_path / "figures" / name).getroot().tag.endswith("svg")


def test_tables_of_a_single_configuration_or_without_curves_are_reported(write):
    page = write(sweep().isel(learning_rate=[4], beta=[1]))
    assert len(page.all("svg")) == 1
    page = write(sweep().drop_vars("loss").isel(learning_rate=4, seed=[0]))
    assert "over 1 seed, interval unknown from 1 seed" in page.words


def test_one_failed_trial_on_axes_of_length_one_is_said(write):
    page = write(sweep().isel(learning_rate=[8], beta=[2], seed=[0]))
    assert "one value of learning_rate × one value of beta × 1 seed = 1 trials" not in page.words
    assert "one value of learning_rate × one value of beta × 1 seed = 1 trial, 60 steps" in page.words
    assert "Every trial failed: 1 non-finite. There is no winner" in page.words
    assert "failed failed failed 100%" in page.words


def test_importing_the_package_loads_neither_matplotlib_nor_xarray():
    code = "import sys, jaxopt_notes.report; print([name for name in ('matplotlib', 'xarray') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_long_table_is_cut_and_said(write):
    base = sweep(seeds=1, steps=1).drop_vars(["loss", "test_accuracy"])
    many = xr.concat([base.assign_coords(eps=i) for i in range(20)], "eps").transpose(
        "learning_rate", "beta", "eps", ...
    )
    assert "The first 500 of 540 are shown" in write(many.assign_attrs(base.attrs)).words


def plane() -> xr.Dataset:
    x = np.linspace(-1, 1, 7)
    return xr.Dataset({"loss": (("y", "x"), x**2 + x[:, None] ** 2)}, {"x": x, "y": x}, {"loss_name": "bowl"})


def spectrum() -> xr.Dataset:
    grid = np.linspace(-1, 2, 31)
    return xr.Dataset({"density": ("eigenvalue", np.exp(-(grid**2)))}, {"eigenvalue": grid})


def test_a_tree_of_sweeps_planes_and_spectra_is_reported_node_by_node(write):
    tables = {"adam": small(optimizer="adam"), "adam/spectrum": spectrum(), "adam/around the end": plane()}
    page = write(xr.DataTree.from_dict(tables))
    assert [entry for entry in page.data] == ["adam", "adam/spectrum", "adam/around the end"]
    assert len(page.all("svg")) == 3
    (picture,) = page.all("img")  # the surface, as a PNG
    assert picture["src"].startswith("data:image/png;base64,")
    assert "bowl on a plane" in picture["alt"]
    np.testing.assert_allclose(xr.Dataset.from_dict(page.data["adam/around the end"]).loss, plane().loss)


def test_verdicts_are_listed_in_words_and_numbers(write):
    point = classify(lambda x: x[0] ** 2 - x[1] ** 2, jnp.zeros(2))
    part = write(small(), verdicts={"origin": point}).words.split("End points")[2].split("Provenance")[0]
    assert "origin: saddle" in part
    assert "origin saddle 0 0 1 -2 2 100%" in part


def test_choices_and_lists_of_points_have_their_hyperparameters_as_columns(write):
    table = sweep().isel(beta=[0, 1]).assign_coords(beta=["plain", EVIL]).rename(beta="method")
    page = write(table.assign_attrs(sweep().attrs))
    assert f"Best: learning_rate=0.1, method={EVIL}, with" in page.words
    assert len(page.all("svg")) == 4
    points = sweep().isel(beta=1, drop=True).rename(learning_rate="configuration")
    points = points.assign_coords(configuration=np.arange(9), eps=("configuration", RATES))
    page = write(points)
    assert "momentum on digits_mlp: 9 configurations × 5 seeds = 45 trials" in page.words
    assert "Best: eps=0.1, with" in page.words
    assert "eps median final loss" in page.words


def test_float32_numbers_stand_in_their_shortest_digits(write):
    table = small().assign(final_loss=small().final_loss.astype(np.float32))
    entry = write(table).data["momentum"]["data_vars"]["final_loss"]["data"]
    assert entry[1][0][1] == 0.011  # not 0.010999999940395355
    np.testing.assert_array_equal(np.float32(entry), table.final_loss)


@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no {CHROMIUM} (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Path:
    """One page with every kind of part, under hostile names."""
    tables = {EVIL: sweep(optimizer=EVIL), "adam": small(optimizer="adam"), "plane": plane(), "spectrum": spectrum()}
    verdicts = {EVIL: classify(lambda x: x[0] ** 2 - x[1] ** 2, jnp.zeros(2))}
    path = tmp_path_factory.mktemp("everything") / "report.html"
    return report(tables, path, title=EVIL, sections=[Section(EVIL, [EVIL], [{EVIL: EVIL}])], verdicts=verdicts)


@pytest.fixture
def open_page(browser, everything):
    """Opens the page; its console has to stay empty, and nothing may be asked for but the file itself."""
    contexts, complaints, asked = [], [], []

    def opened(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(everything.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert {url for url in asked if not url.startswith("data:")} == {everything.as_uri()}


def test_a_click_and_a_key_sort_the_table_in_a_browser(open_page):
    page = open_page()
    table = page.locator("table.sortable").first
    head = table.get_by_role("columnheader", name="median final loss")

    def column():
        return table.locator("tbody td:nth-child(4)").all_inner_texts()

    assert column()[0] == "0.012"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    numbers = [float(text) for text in column() if text != "failed"]
    assert numbers == sorted(numbers)
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(text) for text in column() if text != "failed"] == numbers[::-1]
    assert column()[-1] == "failed"
    assert page.get_by_role("status").inner_text() == "sorted by median final loss, descending"
    rates = table.get_by_role("columnheader", name="learning_rate")
    rates.get_by_role("button").focus()
    page.keyboard.press("Space")
    assert rates.get_attribute("aria-sort") == "ascending"
    assert head.get_attribute("aria-sort") is None
    assert table.locator("tbody td:nth-child(2)").first.inner_text() == "0.001"


def test_the_figures_keep_their_colours_under_the_policy_of_the_page(open_page):
    page = open_page()
    colours = page.evaluate(
        """() => [...document.querySelectorAll("svg path")].map(path => getComputedStyle(path).stroke)"""
    )
    rgb = tuple(int(plots.style_of("adam").color[i : i + 2], 16) for i in (1, 3, 5))
    assert f"rgb{rgb}" in colours
    assert page.locator(".card").first.evaluate("card => getComputedStyle(card).borderRadius") == "8px"
    assert page.locator("img").evaluate("image => image.naturalWidth") > 300
    names = page.evaluate("() => Object.keys(JSON.parse(document.getElementById('data').textContent))")
    assert names == [EVIL, "adam", "plane", "spectrum"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_problem(open_page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(color_scheme=scheme)
    paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 24, 26)"}[scheme]
    found = axe.Axe().run(page).response["violations"]
    grave = {one["id"]: one["nodes"][0]["html"] for one in found if one["impact"] in ("serious", "critical")}
    assert grave == {}


@pytest.mark.parametrize(
    ("tables", "name", "error", "message"),
    [
        ({}, "r.html", ValueError, "at least one Dataset"),
        ([1], "r.html", TypeError, "xarray.Dataset or DataTree of a sweep, a Race, .* got list"),
        ({"a": xr.Dataset()}, "r.html", ValueError, "a: table must be the Dataset of a sweep .* it has none"),
        ({"a": sweep().isel(beta=[])}, "r.html", ValueError, "a: table has no entry along beta"),
        (xr.DataTree(), "r.html", ValueError, "at least one Dataset, got none"),
        (sweep(), "", ValueError, "path must be a file name"),
    ],
)
def test_bad_input_is_named(tmp_path, tables, name, error, message):
    with pytest.raises(error, match=message):
        report(tables, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
