"""Searches that are killed at random moments and resumed, against one that is not.

One trial at a time a search is determined, so each must end with the table of the one that nothing
stopped. In turn are killed: the search itself, a process of Ray's that trains, and all of it. With
`--url` each search is kept at a URL, and the folder where it is worked on is lost with each kill.

    python -m bench.chaos
"""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from bench.measure import parse_arguments, record, show
from kptrain.machine.cores import usable_cores
from search.journal.journal import JOURNAL, read_events

SPACE = """\
base:
  data: {{image_size: [64, 64], limit_train: 24, limit_val: 12}}
  model: {{deconv_channels: [16, 16, 16]}}
  heatmap: {{sigma_px: 1.0}}
  train: {{epochs: 3}}
space: {{optim.lr: {{low: 1.0e-4, high: 1.0e-2, log: true}}}}
trials: 5
asha: {{grace_epochs: 1, reduction: 2}}
resources: {{cpu: {cpus}}}
"""
VICTIMS = ("driver", "worker", "cluster")
MOST_KILLS = 3
TIMES = ("seconds", "images_per_second", "peak_memory_bytes")


@dataclass
class Outcome:
    """What became of one search."""

    kills: list[str]
    is_equal: bool
    """Whether its table is the uninterrupted one's, number for number."""
    num_repeated: int
    """Epochs that the journal counts twice, or trials that were begun again after their end."""
    errors: list[str]
    left: list[str]
    """Processes, folders of Ray and shared memory that are still there after its end."""


def main() -> None:
    arguments = parse_arguments(__doc__, takes_url=True)
    # Searches at a URL are worked on in the working directory.
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        root = Path(folder)
        os.environ["RAY_TMPDIR"] = str(root)
        space = root / "space.yaml"
        space.write_text(SPACE.format(cpus=usable_cores()))
        first = [str(space), "--data", "embedded", "--out"]
        seconds = time.monotonic()
        _run([*first, str(root / "whole")])
        seconds = time.monotonic() - seconds
        outcomes = []
        for number in range(arguments.repetitions):
            out = root / f"{number:02d}"
            where = out.as_uri() if arguments.url else str(out)
            outcomes.append(_chaos([*first, where], out, root / "whole", number, seconds))
            show([(f"search {number}", _told(outcomes[-1]))])
    kills = [kill for outcome in outcomes for kill in outcome.kills]
    counts = ", ".join(f"{kills.count(victim)} of a {victim}" for victim in VICTIMS)
    equal = sum(outcome.is_equal for outcome in outcomes)
    repeated = sum(outcome.num_repeated for outcome in outcomes)
    left = sum(len(outcome.left) for outcome in outcomes)
    errors = sum(len(outcome.errors) for outcome in outcomes)
    record(
        arguments,
        f"{len(outcomes)} searches, killed {len(kills)} times ({counts}): {equal} tables equal the "
        f"uninterrupted one, {repeated} trials or epochs repeated, {errors} errors, {left} "
        f"processes, folders of Ray and files in shared memory left",
    )


def _chaos(first: list[str], out: Path, whole: Path, seed: int, seconds: float) -> Outcome:
    draw = random.Random(seed)  # noqa: S311  (to be drawn again, not to be secret)
    outcome = Outcome([], False, 0, [], [])
    shared_before = _shared_memory()
    for number in range(draw.randint(1, MOST_KILLS)):
        victim = VICTIMS[(seed + number) % len(VICTIMS)]
        if _kill_within(_next(first, out), victim, draw.uniform(2, seconds)):
            outcome.kills.append(victim)
    done = _run(_next(first, out))
    outcome.left = [*_left(out.parent), *sorted(_shared_memory() - shared_before)]
    if done.returncode:
        outcome.errors.append(done.stdout + done.stderr)
        return outcome
    outcome.is_equal = _table(out) == _table(whole)
    ended: set[int] = set()
    seen: set[tuple[int, int]] = set()
    for event in read_events(out / JOURNAL):
        if event["event"] in ("start", "begin"):
            outcome.num_repeated += event["trial"] in ended
        if event["event"] == "epoch":
            epoch = (event["trial"], event["report"]["epoch"])
            outcome.num_repeated += epoch in seen
            seen.add(epoch)
            if event["state"] in ("completed", "stopped"):
                ended.add(event["trial"])
    return outcome


def _next(first: list[str], out: Path) -> list[str]:
    """The command that begins a search, or resumes it if it exists."""
    shutil.rmtree(Path("runs", out.name), ignore_errors=True)  # of one that is at a URL
    return ["--resume", first[-1]] if (out / JOURNAL).exists() else first


def _command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "search.run", *arguments]


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(arguments), capture_output=True, text=True, check=False)


def _kill_within(arguments: list[str], victim: str, seconds: float) -> bool:
    """Start a search and kill a victim after so many seconds; whether it still ran then."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(_command(arguments), **quiet) as search:  # type: ignore[call-overload]  # (as named)
        time.sleep(seconds)
        is_running = search.poll() is None
        below = _below(search.pid)
        trial = [pid for pid, title in below.items() if "TrialActor" in title]
        victims = {"driver": [search.pid], "worker": trial, "cluster": [*below, search.pid]}[victim]
        for pid in victims:
            _kill(pid)
        search.wait()
    return is_running and bool(victims)


def _below(parent: int) -> dict[int, str]:
    """The processes below a process, with their titles."""
    found: dict[int, str] = {}
    listed = subprocess.check_output(["ps", "-eo", "pid=,ppid=,args="], text=True).splitlines()
    rows = [line.split(maxsplit=2) for line in listed]
    above = {parent}
    while above:
        above = {int(pid) for pid, ppid, *_ in rows if int(ppid) in above}
        found |= {int(pid): " ".join(title) for pid, _, *title in rows if int(pid) in above}
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # it ended with another
        return


def _left(root: Path) -> list[str]:
    """Processes and folders of Ray's."""
    folder = root / f"kptrain-{os.getuid()}"
    for _ in range(50):  # processes take a moment to end
        found = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, check=False)
        if not found.stdout:
            break
        time.sleep(0.1)
    return [*found.stdout.decode().split(), *(path.name for path in folder.iterdir())]


def _shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}  # noqa: S108  (Ray's and torch's)


def _table(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def _told(outcome: Outcome) -> str:
    killed = ", ".join(outcome.kills) or "nothing"
    end = "equal" if outcome.is_equal else "OTHER"
    left = f"left {outcome.left}" if outcome.left else "nothing left"
    return (
        f"killed: {killed}; table {end}; repeated {outcome.num_repeated}; {left} {outcome.errors}"
    )


if __name__ == "__main__":
    main()
