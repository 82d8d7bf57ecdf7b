"""Full curves of random settings of `spaces/lr_sched.yaml`: what no early stopping has cut.

Each setting is trained for all its epochs on the drawn set, one after the other on one core, and
its validation losses are a row of `early_stopping.csv`. Rows that are there are not trained again,
so an interrupted run resumes where it was (about 45 minutes in total on one core).

    python -m bench.full_curves
"""

import argparse
import csv
import random
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bench.measure import RESULTS
from kptrain.config import Settings, TrainConfig
from kptrain.resolve import change
from kptrain.training.fit import fit
from search.space.reader import read_space
from search.space.space import Space, resolve_space
from search.trainings.keypoints import KEYPOINTS

HERE = RESULTS.parent
TABLE = HERE / "early_stopping.csv"
SPACE = HERE.parent / "spaces" / "lr_sched.yaml"
NUM_SETTINGS = 64
EPOCHS = 16
SEED = 0
AXES = ("optim.lr", "schedule.step_epochs", "schedule.gamma")
SAID = {
    "data.root": "embedded",
    "train.device": "cpu",
    "train.threads": 1,
    "train.epochs": EPOCHS,
    "checkpoint.resume_epochs": EPOCHS,
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    space = read_space(SPACE, KEYPOINTS)
    base = resolve_space(space, SAID)
    for number, row in enumerate(rows(space)):
        if number < len(lines := read_lines()):
            check(lines[number], row)
            continue
        append([*row.values(), *(figure(loss) for loss in trained(base, row))])
        print(f"{number + 1}/{NUM_SETTINGS}  {row}", flush=True)


def rows(space: Space) -> Iterator[dict[str, str]]:
    """The settings as the table spells them, which is also how they are trained."""
    rng = random.Random(SEED)  # noqa: S311 (the same settings each time)
    for _ in range(NUM_SETTINGS):
        yield {name: figure(space.axes[name].draw(rng)) for name in AXES}


def trained(base: Settings, row: dict[str, str]) -> list[float]:
    """The validation loss after each epoch."""
    point = {name: (int if "epochs" in name else float)(value) for name, value in row.items()}
    config = change(base, point, "bench")
    assert isinstance(config, TrainConfig)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(fit(config, Path(folder) / "run")) as reports,
    ):
        return [report.val_loss for report in reports]


def figure(value: float) -> str:
    return f"{value:.6g}"


def read_lines() -> list[list[str]]:
    """The table without its head, which is written first if there is none."""
    if not TABLE.exists():
        append([*(name.partition(".")[2] for name in AXES), *map(str, range(1, EPOCHS + 1))])
    with TABLE.open(newline="") as file:
        return list(csv.reader(file))[1:]


def append(line: list[str]) -> None:
    with TABLE.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(line)


def check(line: list[str], row: dict[str, str]) -> None:
    """Raises: ValueError if the table has another setting there, or its curve is cut."""
    if line[: len(AXES)] != list(row.values()) or len(line) != len(AXES) + EPOCHS:
        raise ValueError(f"{TABLE}: must have {row} and {EPOCHS} losses, but got {line}; remove it")


if __name__ == "__main__":
    main()
