"""How quickly the explorer's page answers a hand: a saved file in a real browser, four optimizers x 256 steps.

From a pointer move to its path in the document ("path") and to the frame after it ("frame"), for single moves and for
240 moves at 60 a second, for functions of the catalogue and for the slice of a network. Then the size of a file, and
the time from opening it to the first path.

    python scripts/bench/explorer.py [--browser chromium|firefox] [--framed] [--json FILE]

With --framed the page stands in a frame, as a notebook and its exported HTML have it.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import jaxopt_notes as jon

FUNCTIONS = ("stretched_bowl", "rosenbrock", "himmelblau", "mueller_brown", "x_cos_pi_x", "network_slice")
EXPLORER = "document.getElementById('explorer').explorer"
SETTLE = f"""async () => {{
    const e = {EXPLORER};
    do await new Promise(requestAnimationFrame); while (e.frame);
    await new Promise(requestAnimationFrame);
}}"""
# Moves at the pace of a screen, sent from inside the page, since a driver outside is slower than that.
DRAG = f"""async (moves) => {{
    const e = {EXPLORER};
    const handle = e.parts.handle;
    const box = handle.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    const sent = (name, i) => handle.dispatchEvent(new PointerEvent(name, {{
        pointerId: 1, button: 0, buttons: 1, bubbles: true,
        clientX: x + 40 * Math.sin(i / 20), clientY: y + 30 * Math.cos(i / 20),
    }}));
    handle.setPointerCapture = () => {{}};
    sent("pointerdown", 0);
    e.timings = [];
    for (let i = 1; i <= moves; i += 1) {{
        await new Promise((done) => setTimeout(done, 1000 / 60));
        sent("pointermove", i);
    }}
    sent("pointerup", moves);
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return e.timings.filter((one) => one.frame);
}}"""


def spread(times):
    """Median and 95th percentile, milliseconds."""
    ordered = sorted(times)
    return round(statistics.median(ordered), 2), round(ordered[int(0.95 * (len(ordered) - 1))], 2)


def measured(browser, path):
    """The times of one page, or of the frame in it."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    frame = page.query_selector("iframe")
    shown = frame.content_frame() if frame else page
    shown.wait_for_selector(".verdict")
    opened = shown.evaluate("() => performance.now()")
    if shown.get_by_role("checkbox", name="nesterov").count():
        shown.get_by_role("checkbox", name="nesterov").check()
    shown.get_by_label("steps, exact").fill("256")
    shown.evaluate(SETTLE)
    shown.evaluate(DRAG, 60)  # the compiler of the browser takes its time for what runs often
    timings = shown.evaluate(DRAG, 240)
    page.close()
    drawn, frames = ([one[name] for one in timings] for name in ("drawn", "frame"))
    return {"moves": 240, "updates": len(timings), "path": spread(drawn), "frame": spread(frames), "opened": opened}


def main():
    """Measure, and print a line for each function."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--framed", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        own = {"executable_path": "/usr/bin/chromium"} if asked.browser == "chromium" else {}
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] if own else []
        browser = getattr(playwright, asked.browser).launch(args=arguments, **own)
        for name in FUNCTIONS:
            path = Path(folder) / f"{name}.html"
            made = jon.explore(name)
            path.write_text(made._repr_html_() if asked.framed else made.html(), encoding="utf-8")
            found[name] = measured(browser, path) | {"kilobytes": round(path.stat().st_size / 1000)}
            print(name, json.dumps(found[name]), flush=True)
        browser.close()
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
