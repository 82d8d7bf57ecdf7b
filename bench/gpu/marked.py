"""The tests that need a GPU, all in one process."""

import re
import subprocess
import sys
from pathlib import Path

from bench.gpu.run import Run

FAILURES = ("FAILED ", "ERROR ")
ROOT = Path(__file__).parents[2]


def measure(run: Run) -> None:
    """Also of tests that are cut, as their time is over, it is said which passed until then."""
    options = ["-m", "gpu", "-p", "no:cacheprovider", "--tb=short", "-v"]
    command = [sys.executable, "-u", "-m", "pytest", *options]
    path = run.out / "tests.log"
    try:
        with path.open("w", encoding="utf-8") as log:
            subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)
    finally:
        lines = path.read_text(encoding="utf-8").splitlines()
        run.row("tests marked gpu", summary(lines), failed=any(map(is_failure, lines)))


def summary(lines: list[str]) -> str:
    """pytest's last line, and those of the tests that failed; without one, how many passed."""
    ends = [line.strip("= ") for line in lines if re.search(r"\d+ \w+.* in [\d.]+s", line)]
    if ends:
        return "; ".join([ends[-1], *(line[:200] for line in lines if line.startswith(FAILURES))])
    passed = sum(bool(re.search(r"::.* PASSED\b", line)) for line in lines)
    last = f"no end; the last line was: {(lines or ['none'])[-1][:200]}"
    return "; ".join([last, f"{passed} passed", *(n[:200] for n in lines if is_failure(n))])


def is_failure(line: str) -> bool:
    """Of pytest's summary, or told when the test was over."""
    return line.startswith(FAILURES) or bool(re.search(r"::.* (FAILED|ERROR)\b", line))
