"""How quickly the explorer's page answers a hand: a saved file in a real browser, four optimizers x 256 steps.

From a pointer move to its path in the document ("path") and to the frame after it ("frame"), for single moves and for
240 moves at 60 a second, for functions of the catalogue and for the slice of a network. Then the size of a file, and
the time from opening it to the first path.

    python scripts/bench/explorer.py [--firefox | --framed] [--json FILE]

With --framed the page stands in a frame, as a notebook and its exported HTML have it. With --firefox an installed
Firefox loads the page without a driver, which would slow it down, and the page reports its own times.
"""

import argparse
import contextlib
import functools
import http.server
import json
import queue
import re
import statistics
import subprocess
import tempfile
import threading
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


# For a browser without a driver: what `measured` does from outside, in the page.
ITSELF = f"""<script type="module">
    await new Promise((done) => setTimeout(done, 3000));
    const opened = performance.getEntriesByType("navigation")[0].loadEventEnd;
    const named = [...document.querySelectorAll("label")].find((one) => one.textContent.trim() === "nesterov");
    if (named) (named.control ?? named.querySelector("input")).click();
    const steps = document.querySelector('[aria-label="steps, exact"]');
    steps.value = "256";
    for (const event of ["input", "change"]) steps.dispatchEvent(new Event(event, {{ bubbles: true }}));
    await ({SETTLE})();
    await ({DRAG})(60);
    const timings = await ({DRAG})(240);
    fetch("/times", {{ method: "POST", body: JSON.stringify({{ timings, opened }}) }});
</script>"""


def spread(times):
    """Median and 95th percentile, milliseconds."""
    ordered = sorted(times)
    return round(statistics.median(ordered), 2), round(ordered[int(0.95 * (len(ordered) - 1))], 2)


def chromium(stack):
    """The system's Chromium, open as long as the stack."""
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    playwright = stack.enter_context(sync_playwright())
    return stack.enter_context(playwright.chromium.launch(args=arguments, executable_path="/usr/bin/chromium"))


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
    return summary(timings, opened)


def summary(timings, opened):
    """The figures of a row."""
    drawn, frames = ([one[name] for one in timings] for name in ("drawn", "frame"))
    return {"moves": 240, "updates": len(timings), "path": spread(drawn), "frame": spread(frames), "opened": opened}


class Reported(http.server.SimpleHTTPRequestHandler):
    """Serves the pages, and takes the times that they report."""

    times = queue.Queue()

    def do_POST(self):
        """Keep what a page reports."""
        self.times.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        """Print nothing."""


def measured_by_itself(path):
    """The times of one page in Firefox. Its policy for scripts goes, since it allows only the page's own."""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text(encoding="utf-8"))
    path.write_text(page + ITSELF, encoding="utf-8")
    handler = functools.partial(Reported, directory=path.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, tempfile.TemporaryDirectory() as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{path.name}"
        command = ["firefox", "--headless", "--no-remote", "--profile", profile, address]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as firefox:
            try:
                reported = Reported.times.get(timeout=120)
            finally:
                firefox.kill()
        server.shutdown()
    return summary(**reported)


def main():
    """Measure, and print a line for each function."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--firefox", action="store_true")
    place.add_argument("--framed", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        measure = measured_by_itself if asked.firefox else functools.partial(measured, chromium(stack))
        for name in FUNCTIONS:
            path = Path(folder) / f"{name}.html"
            made = jon.explore(name)
            path.write_text(made._repr_html_() if asked.framed else made.html(), encoding="utf-8")
            size = {"kilobytes": round(path.stat().st_size / 1000)}
            found[name] = measure(path) | size
            print(name, json.dumps(found[name]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
