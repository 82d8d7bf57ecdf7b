"""A training of one's own that computes nothing."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from kptrain.config import setting
from search import Metric, OwnTraining, Settings
from search.trainings.custom import Fit


class Curve(Settings):
    lr: Annotated[float, Field(gt=0)] = 0.1
    """Of nothing."""
    width: int = 4
    sigma: float = setting(1.0, changes="loss")
    data: str | None = None
    seed: int = 0
    epochs: int = 6


METRICS = (Metric("loss", is_loss=True), Metric("accuracy", is_max=True))


def reports(config: Curve, _: Path) -> Iterator[Mapping[str, Any]]:
    for epoch in range(1, config.epochs + 1):
        yield {"epoch": epoch, "loss": 1 / epoch, "accuracy": np.float32(0.5)}


def own(fit: Fit = reports, **named: Any) -> OwnTraining:
    return OwnTraining(Curve, fit, METRICS, **named)
