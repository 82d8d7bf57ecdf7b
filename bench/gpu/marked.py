"""The tests that need a GPU, all in one process."""

import re
import subprocess
import sys
from pathlib import Path

from bench.gpu.run import Run

ROOT = Path(__file__).parents[2]


def measure(run: Run) -> None:
    options = ["-m", "gpu", "-p", "no:cacheprovider", "--tb=short", "-q"]
    command = [sys.executable, "-m", "pytest", *options]
    with (run.out / "tests.log").open("w", encoding="utf-8") as log:
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)
    lines = (run.out / "tests.log").read_text(encoding="utf-8").splitlines()
    run.row("tests marked gpu", summary(lines), failed=any(map(is_failure, lines)))


def summary(lines: list[str]) -> str:
    """pytest's last line, and those of the tests that failed."""
    ends = [line.strip("= ") for line in lines if re.search(r"\d+ \w+.* in [\d.]+s", line)]
    text = ends[-1] if ends else f"no end; the last line was: {(lines or ['none'])[-1][:200]}"
    return "; ".join([text, *(line[:200] for line in lines if is_failure(line))])


def is_failure(line: str) -> bool:
    return line.startswith(("FAILED ", "ERROR "))
