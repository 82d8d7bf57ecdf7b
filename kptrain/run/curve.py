"""A training's curve: one report per epoch, and the two tables that store it.

`metrics.csv` holds the values that a repeated run on a CPU reproduces exactly; `timing.csv` the
rest.
"""

from dataclasses import dataclass
from pathlib import Path

from kptrain.keypoints import COCO_NUMBERS
from kptrain.machine.disk import write_csv

METRICS = ("epoch", "train_loss", "val_loss", "val_oks", *COCO_NUMBERS, "lr")
TIMING = ("epoch", "seconds", "images_per_second", "peak_memory_bytes")


@dataclass(frozen=True)
class EpochReport:
    """The results of one finished epoch."""

    epoch: int
    """From 1."""
    train_loss: float
    """Mean loss of the training samples, during the epoch."""
    val_loss: float
    """Mean loss of the validation samples, after the epoch."""
    val_oks: float
    """Mean object keypoint similarity of the labelled persons, 0 to 1."""
    val_ap: float
    """COCO's AP (ground-truth boxes): mean of the average precision at OKS .50 to .95; 0 to 1."""
    val_ap50: float
    """At an OKS of .50."""
    val_ap75: float
    """At an OKS of .75."""
    val_ap_m: float
    """Of medium persons, 32² to 96² square pixels; -1 if there are none, as in COCO."""
    val_ap_l: float
    """Of large persons, 96² square pixels or more; -1 if there are none."""
    val_ar: float
    """COCO's AR (ground-truth boxes): mean of the average recall at OKS .50 to .95; 0 to 1."""
    val_ar50: float
    """At an OKS of .50."""
    val_ar75: float
    """At an OKS of .75."""
    val_ar_m: float
    """Of medium persons; -1 if there are none."""
    val_ar_l: float
    """Of large persons; -1 if there are none."""
    lr: float
    """Learning rate at the start of the epoch; not the backbone's, if that is another."""
    seconds: float
    """Wall time of training and validation."""
    images_per_second: float
    """Training samples per second."""
    peak_memory_bytes: int
    """Of the GPU in this epoch; on a CPU, of the process so far."""
    is_best: bool
    """Whether `checkpoint.metric` is better than in all earlier epochs."""

    def metrics(self) -> dict[str, int | float]:
        """The values that a repeated run reproduces."""
        return {name: getattr(self, name) for name in METRICS}


def save_curve(curve: list[EpochReport], run_dir: Path) -> None:
    """Replace both tables, each completely or not at all."""
    for name, columns in (("metrics.csv", METRICS), ("timing.csv", TIMING)):
        rows = ([getattr(row, column) for column in columns] for row in curve)
        write_csv(run_dir / name, columns, rows)
