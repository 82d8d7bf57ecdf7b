"""Real searches of `spaces/quick.yaml` on the drawn set, against the defaults and random settings.

Each seed has two searches of the same epochs, one with our sampler and one with random settings,
both with our ASHA; and the defaults trained in full with that training's own seed.

    python -m bench.real_search
"""

import csv
import re
import sys
import tempfile
from pathlib import Path
from statistics import fmean

from bench.command import run_command
from bench.measure import parse_arguments, record, show, spread

SPACE = Path(__file__).parents[1] / "spaces" / "quick.yaml"
EPOCHS = 48
"""Of each search, all trials together."""


def main() -> None:
    arguments = parse_arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        default = defaults(Path(folder))
        found = {
            sampler: [
                searched(Path(folder), sampler, seed) for seed in range(arguments.repetitions)
            ]
            for sampler in ("gp", "random")
        }
    ours, drawn = found["gp"], found["random"]
    beaten = sum(value < default for value in ours)
    show(
        [
            ("the defaults in full", f"{default:.6f}"),
            ("ours, by seed", " ".join(f"{value:.6f}" for value in ours)),
            ("random settings, by seed", " ".join(f"{value:.6f}" for value in drawn)),
        ]
    )
    record(
        arguments,
        f"quick.yaml, {EPOCHS} epochs a search: the best val_loss is below the defaults' "
        f"{default:.6f} in {beaten} of {len(ours)} seeds; mean {fmean(ours):.6f}, with random "
        f"settings {fmean(drawn):.6f}; ours {spread(ours, 6)}, random {spread(drawn, 6)}",
    )


def searched(folder: Path, sampler: str, seed: int) -> float:
    """The value of the trial that a search promotes."""
    space = folder / f"{sampler}-{seed}.yaml"
    text = re.sub(r"^trials: .*$", f"epochs: {EPOCHS}", SPACE.read_text(), flags=re.M)
    space.write_text(f"{text}\nsampler: {sampler}\nseed: {seed}\n")
    out = space.with_suffix("")
    command = ["-m", "search.run", str(space), "--data", "embedded", "--out", str(out)]
    run_command([sys.executable, *command])
    return best_of(out / "best" / "metrics.csv")


def defaults(folder: Path) -> float:
    """The best value of the defaults, trained as trial 0 would be."""
    out = folder / "defaults"
    said = ["data.limit_train=2000", "data.limit_val=500", "train.epochs=4", "train.threads=1"]
    options = [part for one in said for part in ("--set", one)]
    command = ["-m", "kptrain", "--data", "embedded", "--out", str(out), *options]
    run_command([sys.executable, *command])
    return best_of(out / "metrics.csv")


def best_of(table: Path) -> float:
    with table.open(newline="") as file:
        return min(float(row["val_loss"]) for row in csv.DictReader(file))


if __name__ == "__main__":
    main()
