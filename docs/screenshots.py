"""The README's pictures of a search, taken of one that runs: Ray's dashboard, Optuna's, the report.

Needs Chromium, its driver, and `pip install selenium optuna-dashboard`.

    python docs/screenshots.py
    python docs/screenshots.py --folder elsewhere --trials 4    # the last ones are the search's
"""

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

DOCS = Path(__file__).parent
BIN = Path(sys.executable).parent
SEARCH = [sys.executable, "-m", "search.run", "spaces/lr_sched.yaml", "--data", "embedded"]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)
PORT = 8099
MOST_BYTES = 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=DOCS, help="for the pictures")
    parsed, of_the_search = parser.parse_known_args()
    os.environ.update(SE_OFFLINE="true", SE_AVOID_STATS="true")  # the driver that is here
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as folder, webdriver.Chrome(options=options) as browser:
        out = Path(folder) / "lr_sched"
        with subprocess.Popen(
            [*SEARCH, "--out", str(out), *of_the_search],
            cwd=DOCS.parent,
            stdout=subprocess.PIPE,
            text=True,
        ) as search:
            address = _wait_for(search, r"Dashboard (http://\S+)")
            _wait_for(search, r"(paused after epoch)")
            _show_ray(browser, address)
            _save(browser, parsed.folder / "ray_dashboard.png")
            _show_optuna(browser, out, parsed.folder / "optuna_dashboard.png")
            search.communicate()
        browser.get((out / "report.html").as_uri())
        _show_until(browser, "curves")
        _save(browser, parsed.folder / "report.png")


def _wait_for(search: "subprocess.Popen[str]", pattern: str) -> str:
    assert search.stdout is not None
    for line in search.stdout:
        if found := re.search(pattern, line):
            return found[1]
    raise SystemExit(f"the search ended without a line with {pattern}")


def _show_ray(browser: webdriver.Chrome, address: str) -> None:
    """The actors; the dashboard wants its token first."""
    token = subprocess.check_output([BIN / "ray", "get-auth-token"], text=True).split()[-1]
    browser.set_window_size(1400, 700)
    browser.get(address)
    browser.implicitly_wait(20)
    browser.find_element(By.CSS_SELECTOR, "input[type=password]").send_keys(token)
    browser.find_element(
        By.XPATH, "//button[contains(translate(., 'SUBMIT', 'submit'), 'submit')]"
    ).click()
    time.sleep(3)
    browser.get(f"{address}/#/actors")
    _wait_until_shown(browser, "trial 0")


def _show_optuna(browser: webdriver.Chrome, out: Path, picture: Path) -> None:
    """A trial paused at a rung, which Optuna shows as running, with its values by epoch."""
    command = [str(BIN / "optuna-dashboard"), str(out / "study.log"), "--port", str(PORT)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as dashboard:
        time.sleep(4)
        browser.set_window_size(1300, 900)
        browser.get(f"http://127.0.0.1:{PORT}/dashboard/studies/0/trials")
        _wait_until_shown(browser, "Running", "Intermediate Values\n1 0.", "optim.lr 0.001")
        _save(browser, picture)
        dashboard.terminate()


def _show_until(browser: webdriver.Chrome, section: str) -> None:
    """The page down to the end of a section."""
    size = {"width": 1000, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    end = f"return document.getElementById('{section}').getBoundingClientRect().bottom"
    size["height"] = int(browser.execute_script(end)) + 16
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def _wait_until_shown(browser: webdriver.Chrome, *texts: str) -> None:
    for _ in range(60):
        shown = browser.find_element(By.TAG_NAME, "body").text
        if all(text in shown for text in texts):
            time.sleep(1)  # until it is drawn
            return
        time.sleep(0.5)
    raise SystemExit(f"{browser.current_url} does not show {texts}, but {shown!r}")


def _save(browser: webdriver.Chrome, path: Path) -> None:
    """In as few colours as it takes."""
    image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    for colours in (256, 128, 64, 32):
        image.quantize(colours).save(path, optimize=True)
        if path.stat().st_size < MOST_BYTES:
            break
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
