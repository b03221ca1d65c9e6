"""The first walkthrough as a person meets it: JupyterLab in a real browser, run all cells, move the threshold, see the picture change.

Run by ``make test-browser``. The log of the browser and the screenshots stay in the folder that EHANET_BROWSER_OUT names, else in pytest's.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ehanet.data.cache import cache_root

ROOT = Path(__file__).resolve().parents[2]
BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
CACHE = cache_root()  # the user's own, read before the tests get one of theirs: a network trained there is not trained again
PATIENCE = float(os.environ.get("EHANET_BROWSER_PATIENCE", 240))  # seconds for all cells; a training on phantoms may be among them
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-dev-shm-usage", "--window-size=1300,3200"]

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with chromedriver here: apt-get install chromium chromium-driver")


@pytest.fixture
def out(tmp_path) -> Path:
    folder = Path(os.environ.get("EHANET_BROWSER_OUT") or tmp_path / "out")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def lab(tmp_path, out):
    """JupyterLab on a free port of the loopback, over a copy of the notebooks: the stored ones are not saved over."""
    work = tmp_path / "notebooks"
    shutil.copytree(ROOT / "notebooks", work, ignore=shutil.ignore_patterns("steps", ".ipynb_checkpoints"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = tmp_path / "settings"
    news = settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false"}')
    home = {"JUPYTER_CONFIG_DIR": tmp_path / "config", "JUPYTERLAB_SETTINGS_DIR": settings, "JUPYTERLAB_WORKSPACES_DIR": tmp_path / "workspaces",
            "IPYTHONDIR": tmp_path / "ipython", "PYTHONPATH": ROOT, "EHANET_CACHE": CACHE}
    with open(out / "jupyterlab.log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
                                   "--IdentityProvider.token=", f"--ServerApp.root_dir={work}", "--LabApp.expose_app_in_browser=True", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
                                  stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **{name: str(value) for name, value in home.items()}})
        try:
            wait(lambda: answer(f"http://127.0.0.1:{port}/api/status"), 120, "JupyterLab does not answer; see jupyterlab.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture
def browser(tmp_path, out):
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = BROWSER
    for flag in [*FLAGS, f"--user-data-dir={tmp_path / 'chromium'}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER, log_output=str(out / "chromedriver.log")))
    try:
        yield driver
    finally:
        driver.save_screenshot(str(out / "last.png"))
        (out / "browser.log").write_text("".join(f"{entry['level']} {entry['message']}\n" for entry in driver.get_log("browser")))
        driver.quit()


def test_run_all_and_move_the_threshold(lab, browser, out):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    def pictures():
        """Width and content of every picture of a widget."""
        found = browser.find_elements(By.CSS_SELECTOR, ".jp-OutputArea-output img.widget-image")
        return [(browser.execute_script("return arguments[0].naturalWidth", image), content(browser, image)) for image in found]

    started = time.monotonic()
    browser.get(f"{lab}/lab/tree/1_start_here.ipynb")
    wait(lambda: browser.find_elements(By.CSS_SELECTOR, ".jp-Notebook .jp-CodeCell"), 120, "the notebook does not open")
    wait(lambda: answer(f"{lab}/api/kernels")[0]["execution_state"] == "idle", 120, "the kernel does not start")
    command(browser, "notebook:clear-all-cell-outputs")
    wait(lambda: set(prompts(browser)) == {""}, 30, "the stored outputs stay")
    command(browser, "notebook:run-all-cells")
    wait(lambda: prompts(browser)[1].isdigit(), PATIENCE, "the second cell has not run")
    print(f"first prediction after {time.monotonic() - started:.0f} s")
    wait(lambda: all(text.isdigit() for text in prompts(browser)) and len(pictures()) == 2, PATIENCE, "not every cell has run")
    assert not browser.find_elements(By.CSS_SELECTOR, ".jp-RenderedText[data-mime-type='application/vnd.jupyter.error'], .jp-mod-error"), "a cell failed"
    browser.save_screenshot(str(out / "1_all_cells_run.png"))

    before = pictures()
    assert all(width > 300 for width, _ in before), "a picture is not shown"
    handle = next(row for row in browser.find_elements(By.CSS_SELECTOR, ".widget-slider") if "threshold" in row.text).find_element(By.CSS_SELECTOR, ".noUi-handle")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", handle)
    for _ in range(4):
        handle.send_keys(Keys.ARROW_RIGHT)
    wait(lambda: pictures()[0] != before[0], 60, "the picture does not follow the threshold")
    time.sleep(2)
    browser.save_screenshot(str(out / "2_threshold_moved.png"))
    assert pictures()[1] == before[1], "another widget's picture has changed"
    assert not [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE" and "widget" in entry["message"].lower()]


def wait(condition, seconds: float, complaint: str):
    """Poll until the condition holds; a condition that raises, as on a page that is being built, does not hold yet."""
    from selenium.common.exceptions import WebDriverException

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (WebDriverException, OSError, IndexError):
            pass
        time.sleep(1)
    pytest.fail(f"{complaint} (waited {seconds:.0f} s)")


def answer(address: str):
    """What the server says, from JSON."""
    with urllib.request.urlopen(address, timeout=5) as reply:
        return json.load(reply)


def prompts(browser) -> list[str]:
    """What stands in the brackets of every code cell: a number when it has run, * while it runs."""
    return browser.execute_script("return [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.textContent.replace(/[\\[\\]:]/g, '').trim())")


def command(browser, name: str) -> None:
    """Run a command of JupyterLab, as its menu does."""
    browser.execute_script("window.jupyterapp.commands.execute(arguments[0])", name)


def content(browser, image) -> str:
    """Digest of the bytes that a picture shows; its address changes with them, but may change without them."""
    text = browser.execute_async_script("const done = arguments[1]; fetch(arguments[0].src).then(r => r.arrayBuffer()).then(b => done(Array.from(new Uint8Array(b)).join()))", image)
    return hashlib.sha256(text.encode()).hexdigest()
