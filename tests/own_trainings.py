"""Trainings of one's own that compute nothing."""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

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


class Stored(Settings):
    lr: Annotated[float, Field(gt=0)] = 0.5
    fails_above: float = 10.0
    """Of `lr`: what is above fails before its first epoch."""
    odd_seeds_fail: bool = False
    seconds: float = 0.0
    """Of an epoch."""
    killed_in: int = 0
    """The epoch in which the process of each trial is killed, once."""
    seed: int = 0
    epochs: int = 6


def stored(config: Stored, folder: Path) -> Iterator[Mapping[str, Any]]:
    """Resumes from its state, and keeps a list of the epochs that it trains."""
    if config.lr > config.fails_above or (config.odd_seeds_fail and config.seed % 2):
        raise RuntimeError(f"lr {config.lr:.3g} and seed {config.seed} cannot be trained")
    state = folder / "state.json"
    done = json.loads(state.read_text()) if state.exists() else []
    yield from ({"epoch": epoch, "loss": loss} for epoch, loss in enumerate(done, 1))
    for epoch in range(len(done) + 1, config.epochs + 1):
        time.sleep(config.seconds)
        if epoch == config.killed_in and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        done.append((config.lr - 0.3) ** 2 + 1 / epoch + 1e-3 * (config.seed % 7))
        state.write_text(json.dumps(done))
        (folder / "best.json").write_text(str(min(done)))
        with (folder / "trained.txt").open("a") as file:
            file.write(f"{epoch}\n")
        yield {"epoch": epoch, "loss": done[-1]}


STORED = OwnTraining(
    Stored, stored, [Metric("loss")], seed="seed", best=["best.json"], resume=["state.json"]
)
"""To be named `own_trainings:STORED`."""


class Broken(Settings):
    x: float = 0.9
    seed: int = 0
    epochs: int = 3


def broken(config: Broken, folder: Path) -> Iterator[Mapping[str, Any]]:
    """Fails after its first epoch."""
    (folder / "best.txt").write_text(str(config.x))
    yield {"epoch": 1, "loss": config.x}
    raise KeyError("boom")


BROKEN = OwnTraining(Broken, broken, [Metric("loss")], seed="seed", best=["best.txt"])


class Branches(Settings):
    name: Literal["plain", "heavy"] = "plain"
    lr: Annotated[float, Field(gt=0)] = 0.5
    momentum: Annotated[float, Field(ge=0)] = setting(0.2, only_under={"name": ("heavy",)})
    seed: int = 0
    epochs: int = 4


def loss_of_branch(config: Branches, epoch: int) -> float:
    """Best with `heavy` and a momentum of 0.8."""
    far = 0.3 if config.name == "plain" else abs(config.momentum - 0.8)
    return far + (config.lr - 0.3) ** 2 + 1e-3 * (config.seed % 7) + 1 / epoch


def branches(config: Branches, folder: Path) -> Iterator[Mapping[str, Any]]:
    for epoch in range(1, config.epochs + 1):
        (folder / "best.json").write_text(config.model_dump_json())
        yield {"epoch": epoch, "loss": loss_of_branch(config, epoch)}


BRANCHES = OwnTraining(Branches, branches, [Metric("loss")], seed="seed", best=["best.json"])
"""Of which one setting belongs to a choice; to be named `own_trainings:BRANCHES`."""
