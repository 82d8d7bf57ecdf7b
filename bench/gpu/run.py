"""What a part is told, and where its rows go: each at once, so that a cut run keeps them."""

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.gpu.timing import release
from bench.measure import add_row
from kptrain.config import TrainConfig
from kptrain.resolve import change, resolve

FULL: dict[str, Any] = {
    "data.root": "embedded",
    "data.image_size": [256, 256],
    "data.limit_train": 512,
    "data.limit_val": 96,
    "heatmap.sigma_px": 2.0,
    "model.trunk": "resnet50",
    "model.deconv_channels": [1024, 512, 256],
    "model.weights": "none",
}
SMALL: dict[str, Any] = FULL | {
    "data.image_size": [64, 64],
    "data.limit_train": 32,
    "data.limit_val": 16,
    "heatmap.sigma_px": 1.0,
    "model.trunk": "resnet18",
    "model.deconv_channels": [16, 16, 16],
}
ROWS = "rows.jsonl"


@dataclass(frozen=True)
class Run:
    """One part of one call of the bench."""

    part: str
    is_small: bool
    is_recorded: bool
    """Whether rows go to RESULTS.md, too."""
    out: Path
    """The folder of the rows, and of what a part leaves beside them."""
    device_name: str
    begun: float
    """Seconds of the clock (`time.time`)."""
    seconds: float = 0.5
    """Of one measurement, of which each has three."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")

    @property
    def settings(self) -> dict[str, Any]:
        """Of all trainings: the full network's, or tiny ones."""
        return SMALL if self.is_small else FULL

    def config(self, size: int, said: dict[str, Any] | None = None) -> TrainConfig:
        """Of trainings with batches of `size`, and with what else is said."""
        config = resolve(self.settings | {"train.batch_size": size}, "bench.gpu")
        return change(config, said or {}, "bench.gpu")

    def row(self, what: str, told: str, **figures: object) -> None:
        """What was measured and what it came to, in words and as figures: shown and written."""
        self.note(what, told, **figures)
        if self.is_recorded:
            small = " --small" if self.is_small else ""
            command = f"python -m bench.gpu {self.part}{small}"
            add_row(f"{what}: {told}".replace("|", "/"), self.device_name, command)

    def note(self, what: str, told: str, **figures: object) -> None:
        """A row that is none of RESULTS.md."""
        print(f"{self.part:<10} {what}: {told}", flush=True)
        at = round(time.time() - self.begun, 1)
        said = {"part": self.part, "at": at, "device": self.device_name, "what": what, "told": told}
        with (self.out / ROWS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(said | figures) + "\n")

    def failed(self, what: str, error: BaseException) -> None:
        """The row of what could not be measured; its traceback is in the file."""
        where = "".join(traceback.format_exception(error))
        first = " ".join(f"{type(error).__name__}: {error}".split())
        self.row(what, f"FAILED: {first[:300]}", failed=True, traceback=where)

    def attempt(self, what: str, measure: Callable[[], None], *, frees: bool = True) -> bool:
        """One of several measurements of a part, and whether it succeeded: the next one runs, on
        a device whose memory is free again unless it is to use the same."""
        try:
            measure()
        except Exception as error:  # of any kind: its row says it
            self.failed(what, error)
            return False
        finally:
            if frees:
                release()
        return True
