"""A training's curve: one report an epoch, and the two tables that it is kept in.

`metrics.csv` holds what a repeated run repeats digit for digit on a CPU; `timing.csv` the rest.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

METRICS = ("epoch", "train_loss", "val_loss", "val_oks", "val_ap", "lr")
TIMING = ("epoch", "seconds", "images_per_second", "peak_memory_bytes")


@dataclass(frozen=True)
class EpochReport:
    """What one finished epoch came to."""

    epoch: int
    """From 1."""
    train_loss: float
    """Mean loss of the training samples, during the epoch."""
    val_loss: float
    """Mean loss of the validation samples, after the epoch."""
    val_oks: float
    """Mean object keypoint similarity of the labelled persons, 0 to 1."""
    val_ap: float
    """COCO's AP at OKS .50:.95 with ground-truth boxes, 0 to 1."""
    lr: float
    """Learning rate during the epoch."""
    seconds: float
    """Wall time of training and validation."""
    images_per_second: float
    """Training samples a second."""
    peak_memory_bytes: int
    """Of the GPU in this epoch; on a CPU, of the process so far."""
    is_best: bool
    """Whether `checkpoint.metric` is better than in every epoch before."""

    def metrics(self) -> dict[str, int | float]:
        """The figures that a repeated run repeats."""
        return {name: getattr(self, name) for name in METRICS}


def save_curve(curve: list[EpochReport], run_dir: Path) -> None:
    """Write both tables anew, each whole or not at all."""
    for name, columns in (("metrics.csv", METRICS), ("timing.csv", TIMING)):
        temporary = run_dir / f".{name}.tmp"
        with temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([getattr(row, column) for column in columns] for row in curve)
        temporary.replace(run_dir / name)
