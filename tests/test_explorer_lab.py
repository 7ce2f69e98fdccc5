"""The page in a frame of a real JupyterLab, where one is installed: it appears, and follows a drag of the start."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jupyterlab", reason="the test in JupyterLab skipped: pip install jupyterlab")
CHROMIUM = "/usr/bin/chromium"
if not Path(CHROMIUM).exists():
    pytest.skip(f"the test in JupyterLab skipped: no {CHROMIUM} (apt-get install chromium)", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="the test in JupyterLab skipped: no playwright")

CELL = """import jax.numpy as jnp, jaxopt_notes as jon
jon.explore(lambda x: 0.5 * (x[0] ** 2 + 20 * x[1] ** 2), bounds=((-3, 3), (-2, 2)))"""

# A kernel that shows as idle may still be about to begin, when what it is told to run is lost.
RUN_ALL = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await Promise.all([panel.context.ready, panel.sessionContext.ready]);
    await panel.sessionContext.session.kernel.info;
    window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab with one notebook, and its address once it listens."""
    cell = {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": CELL}
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "nb.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    command += ["--IdentityProvider.token=t", "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={tmp_path}"]
    command += ["--LabApp.news_url=None"]
    own = {name: str(tmp_path / "jupyter" / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"} | own
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            found = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stderr)
            yield next(match[0] for match in found if match)
        finally:
            process.terminate()
            process.communicate(timeout=60)


def test_the_page_follows_a_drag(lab):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1300})
        page.goto(f"{lab}/lab/tree/nb.ipynb?token=t&reset")
        idle = page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
        choose = page.get_by_role("button", name="Select Kernel").filter(has_text="Select")
        sync_api.expect(idle.or_(choose).first).to_be_visible(timeout=60_000)
        if choose.count():  # asked when the page is quicker than the list of kernels
            choose.last.click()
        sync_api.expect(idle.first).to_be_visible(timeout=60_000)
        page.evaluate(RUN_ALL)
        frame = page.frame_locator("iframe[title='Explorer of f']")
        sync_api.expect(frame.locator(".verdict").first).to_be_visible(timeout=60_000)
        path = frame.locator('[data-path="gradient_descent"]')
        before = path.get_attribute("d")
        handle = frame.get_by_role("slider", name="Start point")
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 100, y + 30, steps=30)
        page.mouse.up()
        sync_api.expect(path).not_to_have_attribute("d", before)
        sync_api.expect(frame.locator(".verdict").first).to_contain_text("Hessian eigenvalues 1, 20")
        browser.close()
