"""The book in a real Chromium: a few of its pages are built, and `scripts/check_book.py` finds no fault with them."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "notebooks"
# A page of code, one of wide tables, a run page with a figure, and a lesson with formulas, exercises and the explorer.
PAGES = ("guide.md", "benchmarks.md", "glossary.md", "03_momentum.ipynb")
LINKED = "figures", "_static"

pytest.importorskip("sphinx", reason="the book is not built: no sphinx")
pytest.importorskip("axe_playwright_python", reason="browser tests skipped: no axe-playwright-python")


@pytest.fixture(scope="module")
def checks():
    spec = importlib.util.spec_from_file_location("check_book", ROOT / "scripts" / "check_book.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not Path(module.CHROMIUM).exists():
        pytest.skip(f"browser tests skipped: no {module.CHROMIUM} (apt-get install chromium)")
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory, checks):
    """A book of a few pages, without the reference, as `make docs` builds the whole."""
    source, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("book")
    for name in ("conf.py", *PAGES):
        shutil.copy(BOOK / name, source)
    for name in LINKED:
        shutil.copytree(BOOK / name, source / name)
    index = (BOOK / "index.md").read_text().split("```{toctree}")[0]
    contents = "\n".join(Path(name).stem for name in PAGES)
    (source / "index.md").write_text(f"{index}```{{toctree}}\n\n{contents}\n```\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-D", "exclude_patterns=reference,_build"]
    done = subprocess.run([*command, str(source), str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def browser(checks):
    with checks.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=checks.CHROMIUM, args=checks.QUIET)
        yield browser
        browser.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
@pytest.mark.parametrize("page", ["index", *(Path(name).stem for name in PAGES)])
def test_a_page_asks_no_other_host_and_is_accessible(checks, browser, built, page, scheme, width):
    assert list(checks.faults(browser, built / f"{page}.html", scheme=scheme, width=width)) == []


def test_faults_are_found(checks, browser, tmp_path):
    """The control: a page that has all of them."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><html lang=en><title>x</title><main><h1>x</h1><script>undefined_name()</script>"
        "<img src='https://example.org/x.png'><p style='width: 2000px'>wide</p></main></html>"
    )
    found = " ".join(checks.faults(browser, page, scheme="light", width=1280))
    assert all(word in found for word in ("https://example.org/x.png", "error:", "pixels wide", "image-alt")), found
