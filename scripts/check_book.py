"""Open the pages of the built book in Chromium without a network: none may ask another host, and axe may find nothing.

    python scripts/check_book.py [--folder build/book] [pages ...]

Each page is opened in light and in dark colours, on a screen and on a phone.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
LOOKS = (("light", 1280), ("dark", 1280), ("dark", 390), ("light", 390))


def faults(browser: Browser, page: Path, *, scheme: str, width: int) -> Iterator[str]:
    """What is wrong with one page: requests, errors of scripts, a page that scrolls sideways, and what axe finds."""
    asked: list[str] = []
    with browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, offline=True) as context:
        tab = context.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: asked.append(f"error:{error}"))
        tab.goto(page.resolve().as_uri())
        tab.wait_for_function("() => !window.MathJax || (MathJax.startup && MathJax.startup.promise.then(() => true))")
        for url in asked:
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                yield f"asks for {url}"
        if (wide := tab.evaluate("() => document.documentElement.scrollWidth")) > width:
            yield f"is {wide} pixels wide"
        for rule in Axe().run(tab).response["violations"]:
            shown = json.dumps([node["html"][:160] for node in rule["nodes"][:3]])
            yield f"axe, {rule['impact']}: {rule['id']} ({len(rule['nodes'])} times): {shown}"


def main(pages: Annotated[tuple[str, ...], tyro.conf.Positional] = (), folder: Path = Path("build/book")) -> None:
    """Print what is wrong, and exit with 1 if anything is.

    Args:
        pages: paths in the folder, without .html; all when empty.
        folder: of the built book.
    """
    paths = [folder / f"{name}.html" for name in pages]
    paths = paths or [path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts]
    found = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for path in paths:
            for scheme, width in LOOKS:
                for fault in faults(browser, path, scheme=scheme, width=width):
                    print(f"{path.relative_to(folder)}, {scheme}, {width}: {fault}", flush=True)
                    found += 1
    print(f"{len(paths)} pages, {found} faults")
    sys.exit(found > 0)


if __name__ == "__main__":
    tyro.cli(main)
