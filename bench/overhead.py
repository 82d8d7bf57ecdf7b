"""Figure 4: twelve trials in a search, against the same trainings back to back in one process.

No trial is stopped early. Both have the whole machine: the search first with one trial at a time on
all cores, which gives the same trainings bit for bit, then with one on each core; the process with
all cores. Ray's start is not counted but shown, as is the time from it to the first trial's first
step. The process's own start, its imports and the reading of the packs are not counted either.
"""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

import yaml

from bench.command import Said, run_command, run_search, table_of
from bench.measure import parse_arguments, ratio, record, show, spread
from kptrain.resolve import EMBEDDED

TRIALS, EPOCHS = 12, 3

BACK_TO_BACK = """
import json, sys, time
from contextlib import closing
from pathlib import Path
from kptrain.config import TrainConfig
from kptrain.training.fit import fit
from kptrain.data.pack import open_pack
configs = [TrainConfig.model_validate(tree) for tree in json.loads(Path(sys.argv[1]).read_text())]
for name in ("train", "val"):
    open_pack(configs[0].data, name)
print("begins", flush=True)
for number, config in enumerate(configs):
    with closing(fit(config, Path(sys.argv[2]) / str(number))) as reports:
        for report in reports:
            pass
print("ended", flush=True)
"""


def main() -> None:
    arguments = parse_arguments(__doc__)
    cores = len(os.sched_getaffinity(0))
    ways = {f"one at a time on {cores} cores": cores, f"{cores} at once on one core each": 1}
    searched: dict[str, list[float]] = {way: [] for way in ways}
    alone: list[float] = []
    starts: list[float] = []
    first_steps: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(arguments.repetitions):
            for way, cpu in ways.items():
                out = Path(folder) / f"{turn}-{cpu}"
                said = run_search(_space(Path(folder), cpu), out, "--data", EMBEDDED)
                ready = said.at("Dashboard")
                searched[way].append(said.last(f"{TRIALS}/{TRIALS} trials ended") - ready)
                starts.append(ready - said.at("Starting Ray"))
                first_steps.append(first_step(said, out) - said.at("Starting Ray"))
                if cpu == cores:
                    alone.append(_back_to_back(out, Path(folder) / f"alone-{turn}"))
    rows = [(f"search, {way}, s", spread(seconds, 1)) for way, seconds in searched.items()]
    ratios = {way: ratio(seconds, alone) for way, seconds in searched.items()}
    rows += [("back to back in one process, s", spread(alone, 1))]
    rows += [(f"search, {way} / back to back", times) for way, times in ratios.items()]
    rows += [("Ray's start, s", spread(starts, 1))]
    rows += [("Ray's start to the first step, s", spread(first_steps, 1))]
    show(rows)
    told = "; ".join(f"{way}: {times}" for way, times in ratios.items())
    record(
        arguments,
        f"{TRIALS} trials of {EPOCHS} epochs as a search / back to back: {told}; Ray's start "
        f"{spread(starts, 1)} s, not counted; from it to the first step {spread(first_steps, 1)} s",
    )


def _space(folder: Path, cpu: int) -> Path:
    path = folder / f"space-{cpu}.yaml"
    content = {
        "base": {"train": {"epochs": EPOCHS}},
        "space": {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
        "trials": TRIALS,
        "asha": {"grace_epochs": EPOCHS},
        "resources": {"cpu": cpu},
        "sampler": "random",
    }
    path.write_text(yaml.safe_dump(content))
    return path


def first_step(said: Said, out: Path) -> float:
    """When the epoch began whose report came first; its length is in the table."""
    told = (re.search(r"trial +(\d+) .*epoch +1/", line) for _, line in said.lines)
    number = next(match[1] for match in told if match)
    rows = (row for row in table_of(out) if row["trial"] == number and row["epoch"] == "1")
    return said.at("epoch  1/") - float(next(rows)["seconds"])


def _back_to_back(out: Path, run_dir: Path) -> float:
    """Train what a search trained again; both curves must be the same."""
    trials = [out / "trials" / f"{number:03d}" for number in range(TRIALS)]
    configs = [yaml.safe_load((trial / "config.yaml").read_text()) for trial in trials]
    listed = run_dir.with_suffix(".json")
    listed.write_text(json.dumps(configs))
    said = run_command([sys.executable, "-c", BACK_TO_BACK, str(listed), str(run_dir)])
    for number, trial in enumerate(trials):
        again = (run_dir / str(number) / "metrics.csv").read_bytes()
        assert again == (trial / "metrics.csv").read_bytes(), f"trial {number} differs"
    return said.at("ended") - said.at("begins")


if __name__ == "__main__":
    main()
