"""A search as its users run it, with the time of every line that it says."""

import csv
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Said:
    """The lines of a command, each with the seconds since its start."""

    lines: list[tuple[float, str]]
    total: float

    def at(self, text: str) -> float:
        """When a line with this text came first."""
        return next(seconds for seconds, line in self.lines if text in line)

    def last(self, text: str) -> float:
        """When a line with this text came last."""
        return [seconds for seconds, line in self.lines if text in line][-1]


def run_search(space: Path, out: Path, *options: str) -> Said:
    """Run `python -m search.run` on this machine's CPUs."""
    command = [sys.executable, "-m", "search.run", str(space)]
    command += ["--out", str(out), "--set", "train.device=cpu", *options]
    return run_command(command)


def run_command(command: list[str], log: Path | None = None) -> Said:
    """Run a command, with its lines also in `log` as they come.

    Raises: RuntimeError if it fails, with its whole output, or its last lines if there is a log.
    """
    started = time.perf_counter()
    lines: list[tuple[float, str]] = []
    with (
        log.open("w", encoding="utf-8") if log else nullcontext() as copy,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            lines.append((time.perf_counter() - started, line))
            if copy is not None:
                copy.write(line)
                copy.flush()
    if process.returncode:
        said = [line for _, line in lines]
        raise RuntimeError("".join(said[-3:] if log else said))
    return Said(lines, time.perf_counter() - started)


def table_of(out: Path) -> list[dict[str, str]]:
    """The rows of a search's `trials.csv`."""
    with (out / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))
