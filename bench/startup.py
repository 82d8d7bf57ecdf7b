"""What a trial costs besides its epochs: a process of its own, or one that is used again.

Under Tune, one trial at a time, trainings of a second: the time between the end of a trial's last
epoch and the begin of the next one's first. Fresh processes are ours with `reuse_actors` off.
"""

import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median

import yaml

from bench.command import run_command, table_of
from bench.measure import parse_arguments, ratio, record, show, spread
from kptrain.machine.cores import usable_cores

TRIALS = 6

SEARCH = """
import sys
from ray import tune
if sys.argv.pop(1) == "fresh":
    real = tune.TuneConfig
    tune.TuneConfig = lambda **said: real(**said | {"reuse_actors": False})
from search.run import main
sys.exit(main(sys.argv[1:]))
"""


def main() -> None:
    arguments = parse_arguments(__doc__)
    seconds: dict[str, list[float]] = {"fresh": [], "reused": []}
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "space.yaml"
        content = {
            "base": {"train": {"epochs": 1}, "data": {"limit_train": 64, "limit_val": 16}},
            "space": {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
            "trials": TRIALS,
            "asha": {"grace_epochs": 1},
            "resources": {"cpu": usable_cores()},
            "sampler": "random",
        }
        space.write_text(yaml.safe_dump(content))
        for turn in range(arguments.repetitions):
            for way, found in seconds.items():
                out = Path(folder) / f"{way}-{turn}"
                options = [str(space), "--data", "embedded", "--set", "train.device=cpu"]
                command = [sys.executable, "-c", SEARCH, way, *options, "--out", str(out)]
                said = run_command(command)
                reported = [at for at, line in said.lines if "epoch  1/1" in line]
                trained = [float(row["seconds"]) for row in table_of(out)]
                gaps = [
                    b - a - s for (a, b), s in zip(pairwise(reported), trained[1:], strict=True)
                ]
                found.append(median(gaps))
    times = ratio(seconds["fresh"], seconds["reused"])
    show([*((f"{way}, s a trial", spread(s, 2)) for way, s in seconds.items()), ("ratio", times)])
    record(
        arguments,
        f"start of a trial: {spread(seconds['fresh'], 2)} s in a fresh process, "
        f"{spread(seconds['reused'], 2)} s in one that is used again: {times}",
    )


if __name__ == "__main__":
    main()
