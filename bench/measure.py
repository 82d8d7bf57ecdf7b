"""What the scripts share: timing in turns, a table of medians, and a row of RESULTS.md.

Absolute times vary from minute to minute on most machines, so things that are compared are timed
in turns, and what counts is the ratio of neighbours: its median, least and greatest.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import torch

RESULTS = Path(__file__).parent / "RESULTS.md"
REPETITIONS = 5


def parse_arguments(
    description: str | None,
    takes_data: bool = False,
    takes_commit: bool = False,
    takes_url: bool = False,
) -> argparse.Namespace:
    """The options of every script."""
    parser = argparse.ArgumentParser(prog=f"python -m {_module()}", description=description)
    if takes_commit:
        parser.add_argument("commit", metavar="COMMIT", help="the earlier one")
    if takes_data:
        parser.add_argument("--data", default="embedded", metavar="P", help="folder with COCO")
    if takes_url:
        parser.add_argument("--url", action="store_true", help="keep searches at a URL")
    parser.add_argument("--record", action="store_true", help="add the figure to bench/RESULTS.md")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, metavar="N")
    return parser.parse_args()


def in_turns(
    things: Mapping[str, Callable[[], object]], repetitions: int, amount: float = 1.0
) -> dict[str, list[float]]:
    """Seconds each thing takes for one of `amount`, by name; each runs once before, unmeasured."""
    for thing in things.values():
        thing()
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(repetitions):
        for name, thing in things.items():
            started = time.perf_counter()
            thing()
            seconds[name].append((time.perf_counter() - started) / amount)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> str:
    """How many times as long the first takes, turn by turn."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)], 2) + " x"


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The median, and least to greatest."""
    low, middle, high = (f"{f(values):,.{digits}f}" for f in (min, median, max))
    return f"{middle} ({low} to {high})"


def rates(seconds: Sequence[float]) -> list[float]:
    return [1 / value for value in seconds]


def show(rows: Sequence[tuple[str, str]]) -> None:
    """A small table: what, and its figure."""
    width = max(len(name) for name, _ in rows)
    for name, figure in rows:
        print(f"{name:<{width}}  {figure}", flush=True)


def record(arguments: argparse.Namespace, figure: str) -> None:
    """Add a row to RESULTS.md, if that was asked for."""
    if arguments.record:
        add_row(figure, cpu_name())


def add_row(figure: str, device: str, command: str | None = None) -> None:
    """Add a row with today's date, the commit and the command, None being the one that runs."""
    if command is None:
        options = [option for option in sys.argv[1:] if option != "--record"]
        command = " ".join(["python -m", _module(), *options])
    date = time.strftime("%Y-%m-%d", time.gmtime())
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(f"| {date} | {_commit()} | {device} | `{command}` | {figure} |\n")


def cpu_name() -> str:
    """The processor, how many of its cores are ours, and the torch that used them."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores of {name}, torch {torch.__version__}"


def _module() -> str:
    return f"bench.{Path(sys.argv[0]).stem}"


def _commit() -> str:
    """The commit, with a + if anything but the results has changed since."""
    try:
        changed = _git("status", "--porcelain", "--", ":/", f":!{RESULTS.name}")
        return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):  # a copy without .git, or no git at all
        return "no commit"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=RESULTS.parent)
    return done.stdout.strip()
