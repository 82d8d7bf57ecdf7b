"""The README's pictures of a search, taken of one that runs: Ray's dashboard, Optuna's, the report.

Needs Chromium, its driver, and `pip install selenium optuna-dashboard`.

    python docs/screenshots.py
"""

import io
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
PYTHON = sys.executable
SEARCH = [PYTHON, "-m", "search.run", "spaces/lr_sched.yaml", "--data", "embedded"]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)
PORT = 8099
MOST_BYTES = 200_000


def main() -> None:
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as folder, webdriver.Chrome(options=options) as browser:
        out = Path(folder) / "lr_sched"
        with subprocess.Popen(
            [*SEARCH, "--out", str(out)], cwd=DOCS.parent, stdout=subprocess.PIPE, text=True
        ) as search:
            address = _wait_for(search, r"Dashboard (http://\S+)")
            _wait_for(search, r"(waits after epoch)")
            _shoot_ray(browser, address)
            _shoot_optuna(browser, out)
            search.communicate()
        browser.set_window_size(1000, 1480)
        browser.get((out / "report.html").as_uri())
        _save(browser, "report.png")


def _wait_for(search: "subprocess.Popen[str]", pattern: str) -> str:
    assert search.stdout is not None
    for line in search.stdout:
        if found := re.search(pattern, line):
            return found[1]
    raise SystemExit(f"the search ended without a line with {pattern}")


def _shoot_ray(browser: webdriver.Chrome, address: str) -> None:
    """The actors; the dashboard wants its token first."""
    token = subprocess.check_output(["ray", "get-auth-token"], text=True).split()[-1]
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
    _save(browser, "ray_dashboard.png")


def _shoot_optuna(browser: webdriver.Chrome, out: Path) -> None:
    command = ["optuna-dashboard", str(out / "study.log"), "--port", str(PORT)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as dashboard:
        time.sleep(4)
        browser.set_window_size(1300, 900)
        browser.get(f"http://127.0.0.1:{PORT}/dashboard/studies/0/trials")
        _wait_until_shown(browser, "Intermediate Values")
        _save(browser, "optuna_dashboard.png")
        dashboard.terminate()


def _wait_until_shown(browser: webdriver.Chrome, text: str) -> None:
    for _ in range(60):
        if text in browser.find_element(By.TAG_NAME, "body").text:
            time.sleep(1)  # until it is drawn
            return
        time.sleep(0.5)
    raise SystemExit(f"{browser.current_url} does not show {text!r}")


def _save(browser: webdriver.Chrome, name: str) -> None:
    """In as few colours as it takes."""
    image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    for colours in (256, 128, 64, 32):
        image.quantize(colours).save(DOCS / name, optimize=True)
        if (DOCS / name).stat().st_size < MOST_BYTES:
            break
    print(DOCS / name, (DOCS / name).stat().st_size)


if __name__ == "__main__":
    main()
