"""Trainings of a second, and what two runs of one have in common."""

import csv
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from kptrain.config import BEST, RESUME, TrainConfig
from kptrain.model.checkpoint import load_checkpoint
from kptrain.resolve import change
from kptrain.run.curve import METRICS, EpochReport
from kptrain.training.fit import fit

FEW: dict[str, Any] = {
    "data.image_size": [64, 64],
    "data.limit_train": 6,
    "data.limit_val": 4,
    "heatmap.sigma_px": 1.0,
    "model.trunk": "shufflenet_v2_x0_5",
    "model.deconv_channels": [16, 16, 16],
    "model.weights": "none",
    "schedule.step_epochs": 1,
    "train.batch_size": 3,
    "train.epochs": 3,
    "train.threads": 1,
    "train.device": "cpu",
    "checkpoint.resume_epochs": 1,
}
"""Settings of a training of a second."""


def run(config: TrainConfig, run_dir: Path, **options: Any) -> list[EpochReport]:
    with closing(fit(config, run_dir, **options)) as reports:
        return list(reports)


def changed(config: TrainConfig, path: str, value: object) -> TrainConfig:
    return change(config, {path: value}, "test")


def resume_state(run_dir: Path) -> dict[str, Any]:
    """All that is kept to resume, less the times, which no two runs share."""
    state = load_checkpoint(run_dir / RESUME)
    return state | {"curve": [{name: row[name] for name in METRICS} for row in state["curve"]]}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two nests of dicts, lists and tensors differ by as little as a bit."""
    if isinstance(one, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [path]
    if isinstance(one, list | tuple):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if not isinstance(one, dict):
        return [] if type(one) is type(other) and one == other else [path]
    if one.keys() != other.keys():
        return [path]
    return [found for key in one for found in differences(one[key], other[key], f"{path}/{key}")]


def assert_equal_runs(one: Path, other: Path) -> None:
    assert differences(resume_state(one), resume_state(other)) == []
    assert differences(load_checkpoint(one / BEST), load_checkpoint(other / BEST)) == []
    assert (one / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a `metrics.csv`."""
    return [{name: float(value) for name, value in row.items()} for row in rows(path)]
