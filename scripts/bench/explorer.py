"""How quickly the explorer answers a hand: the real command, a real Chromium, four optimizers x 256 steps.

Three figures that need no browser come first: one answer of the engine, one message over the page's socket, and one
request over HTTP, which the page falls back to. Then, in the page:
from a pointer move to its path in the document ("path") and to the frame after it ("frame"), for single moves and for
60 moves at the pace of a screen, during which moves are never queued. Last, seconds from the command to the address
and to the first picture, over several starts; a first start ever compiles, and later ones read the compiled programs.

    python scripts/bench/explorer.py [--starts 3]
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import urlparse

from jaxopt_notes.explorer._answer import answer
from jaxopt_notes.explorer._request import parse
from playwright.sync_api import sync_playwright
from websockets.sync.client import connect

from jaxopt_notes.explorer._scenes import catalogue

FUNCTION, STEPS = "stretched_bowl", 256
OPTIMIZERS = ("gradient_descent", "momentum", "nesterov", "adam")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
EXPLORER = "document.getElementById('explorer').explorer"
SETTLE = f"""async () => {{
    const e = {EXPLORER};
    do await new Promise(requestAnimationFrame); while (e.inFlight || Object.values(e.wanted).some(Boolean));
    await new Promise(requestAnimationFrame);
}}"""


def asked(i):
    optimizers = {name: {} for name in OPTIMIZERS}
    return {"function": FUNCTION, "start": [-4 - i / 1000, -2], "optimizers": optimizers, "steps": STEPS}


def milliseconds(action, repeats):
    taken = []
    for i in range(repeats):
        began = time.perf_counter()
        action(i)
        taken.append(1e3 * (time.perf_counter() - began))
    return taken


def line(name, taken):
    ordered = sorted(taken)
    median, tail = statistics.median(ordered), ordered[int(0.9 * (len(ordered) - 1))]
    print(f"{name:34s} median {median:6.1f} ms, p90 {tail:6.1f} ms, n {len(taken)}")


@contextmanager
def explorer():
    """A running command: its address, and the clock when it was started."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "jaxopt_notes.cli", "explore", "--no-browser", "--function", FUNCTION]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            yield process.stdout.readline().split()[-1], began
        finally:
            process.terminate()


def over_http(address):
    where = urlparse(address)
    connection = http.client.HTTPConnection(where.hostname, where.port)
    headers = {"Origin": f"http://{where.netloc}", "X-Explorer-Token": where.query.removeprefix("token=")}

    def post(i):
        connection.request("POST", "/compute", json.dumps(asked(i)), headers | {"Content-Type": "application/json"})
        assert connection.getresponse().read()[:8] == b'{"kind":'

    post(0)
    line("one request over HTTP", milliseconds(post, 200))


def over_socket(address):
    where = urlparse(address)
    there = f"ws://{where.netloc}/socket?{where.query}"
    with connect(there, origin=f"http://{where.netloc}", compression=None) as socket:

        def say(i):
            socket.send(json.dumps(asked(i)))
            assert socket.recv()[:8] == '{"kind":'

        say(0)
        line("one message over the socket", milliseconds(say, 200))


def dragged(page, moves, pause):
    """Move the start with the button down; the times of all updates, and how many there were."""
    page.evaluate(f"() => {{ {EXPLORER}.timings = []; {EXPLORER}.draws = 0; }}")
    box = page.get_by_role("slider", name="Start point").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    began = time.perf_counter()
    for i in range(moves):
        page.mouse.move(x + 3 * (i + 1), y - (i + 1) / 2)
        time.sleep(max(0.0, began + (i + 1) * pause - time.perf_counter()))
    page.mouse.up()
    page.evaluate(SETTLE)
    return page.evaluate(f"() => [{EXPLORER}.timings, {EXPLORER}.draws]")


def in_page(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 960})
    page.goto(address)
    page.wait_for_selector(".verdict")
    page.get_by_role("checkbox", name="nesterov").check()
    page.get_by_label("steps, exact").fill(str(STEPS))
    page.evaluate(SETTLE)
    for name, moves, pause in (("single moves", 40, 0.1), ("60 moves at 60 Hz", 60, 1 / 60)):
        timings, draws = dragged(page, moves, pause)
        line(f"{name}, to the path", [timing["drawn"] for timing in timings])
        line(f"{name}, to the frame", [timing["frame"] for timing in timings])
        print(f"{name}: {draws} updates from {moves} moves")
        dragged(page, moves, 0.02)  # back is not needed: the next drag begins where this one ends
        page.get_by_label("Start x", exact=True).fill("-5")
        page.get_by_label("Start y", exact=True).fill("-2")
        page.get_by_label("Start y", exact=True).blur()
        page.evaluate(SETTLE)
    page.close()


def main(starts):
    scenes = catalogue()
    answer(parse(asked(0), scenes))
    line("one answer of the engine", milliseconds(lambda i: answer(parse(asked(i), scenes)), 200))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=QUIET)
        with explorer() as (address, _):
            over_socket(address)
            over_http(address)
            in_page(browser, address)
        for _ in range(starts):
            with explorer() as (address, began):
                printed = time.perf_counter() - began
                page = browser.new_page()
                page.goto(address)
                page.wait_for_selector(".verdict")
                shown = time.perf_counter() - began
                page.close()
            print(f"from the command: address after {printed:.2f} s, first picture after {shown:.2f} s")
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=3)
    main(parser.parse_args().starts)
