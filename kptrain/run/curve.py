"""A training's curve: one report an epoch, and the two tables that it is kept in.

`metrics.csv` holds what a repeated run repeats digit for digit on a CPU; `timing.csv` the rest.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from kptrain.keypoints import COCO_NUMBERS
from kptrain.machine.disk import replacing

METRICS = ("epoch", "train_loss", "val_loss", "val_oks", *COCO_NUMBERS, "lr")
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
    """COCO's AP (ground-truth boxes): average precision at OKS .50 to .95, their mean; 0 to 1."""
    val_ap50: float
    """At an OKS of .50."""
    val_ap75: float
    """At an OKS of .75."""
    val_ap_m: float
    """Of medium persons, 32² to 96² square pixels; -1 if there are none, as COCO has it."""
    val_ap_l: float
    """Of large persons, from 96² square pixels on; -1 likewise."""
    val_ar: float
    """COCO's AR (ground-truth boxes): average recall at OKS .50 to .95, their mean; 0 to 1."""
    val_ar50: float
    """At an OKS of .50."""
    val_ar75: float
    """At an OKS of .75."""
    val_ar_m: float
    """Of medium persons; -1 if there are none."""
    val_ar_l: float
    """Of large persons; -1 if there are none."""
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
        with replacing(run_dir / name) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([getattr(row, column) for column in columns] for row in curve)
