"""The learning rate of each epoch and step, against torch's schedulers and by arithmetic."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trainings import run
from tiny_network import in_place_of_resnet18
from torch import nn
from torch.optim import lr_scheduler as torchs

from kptrain.config import TrainConfig
from kptrain.errors import SettingsError
from kptrain.optim.schedules import build_schedule
from kptrain.resolve import change

STEPS = 4
EPOCHS = 12

Torchs = Callable[[torch.optim.Optimizer], torchs.LRScheduler]


def settings(**given: Any) -> TrainConfig:
    paths = {f"schedule.{name}": value for name, value in given.items()}
    return change(TrainConfig(), {"optim.lr": 0.1, "train.epochs": EPOCHS} | paths, "test")


def optimizer_of(*rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups)


def rates_of(
    optimizer: torch.optim.Optimizer, schedule: torchs.LRScheduler, number: int
) -> list[list[float]]:
    """The rates of all groups, before each of `number` units."""
    rates = []
    for _ in range(number):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return rates


def warmed(optimizer: torch.optim.Optimizer, units: int, after: Torchs) -> torchs.LRScheduler:
    rise = torchs.LinearLR(optimizer, start_factor=0.1, end_factor=1.0, total_iters=units)
    return torchs.SequentialLR(optimizer, [rise, after(optimizer)], [units])


CURVES: dict[str, tuple[dict[str, Any], Torchs]] = {
    "step": (
        {"name": "step", "step_epochs": 3, "gamma": 0.2},
        lambda o: torchs.StepLR(o, 3, 0.2),
    ),
    "multistep": (
        {"name": "multistep", "milestones": [2, 5, 9], "gamma": 0.3},
        lambda o: torchs.MultiStepLR(o, [2, 5, 9], 0.3),
    ),
    "cosine": (
        {"name": "cosine", "min_lr": 1e-3},
        lambda o: torchs.CosineAnnealingLR(o, EPOCHS, 1e-3),
    ),
    "constant": ({"name": "constant"}, lambda o: torchs.ConstantLR(o, 1.0)),
    "step, by step": (
        {"name": "step", "step_epochs": 3, "gamma": 0.2, "interval": "step"},
        lambda o: torchs.StepLR(o, 3 * STEPS, 0.2),
    ),
    "cosine, by step": (
        {"name": "cosine", "min_lr": 1e-3, "interval": "step"},
        lambda o: torchs.CosineAnnealingLR(o, EPOCHS * STEPS, 1e-3),
    ),
    "warm-up, step": (
        {"name": "step", "step_epochs": 3, "gamma": 0.2, "warmup_epochs": 2},
        lambda o: warmed(o, 2, lambda o: torchs.StepLR(o, 3, 0.2)),
    ),
    "warm-up, multistep": (
        {"name": "multistep", "milestones": [4, 7], "gamma": 0.3, "warmup_epochs": 3},
        lambda o: warmed(o, 3, lambda o: torchs.MultiStepLR(o, [1, 4], 0.3)),
    ),
    "warm-up, multistep, by step": (
        {
            **{"name": "multistep", "milestones": [4, 7], "gamma": 0.3},
            **{"interval": "step", "warmup_steps": 5},
        },
        lambda o: warmed(
            o, 5, lambda o: torchs.MultiStepLR(o, [4 * STEPS - 5, 7 * STEPS - 5], 0.3)
        ),
    ),
    "warm-up, cosine, by step": (
        {"name": "cosine", "interval": "step", "warmup_steps": 7},
        lambda o: warmed(o, 7, lambda o: torchs.CosineAnnealingLR(o, EPOCHS * STEPS - 7)),
    ),
    "warm-up, constant": (
        {"name": "constant", "warmup_epochs": 4},
        lambda o: warmed(o, 4, lambda o: torchs.ConstantLR(o, 1.0)),
    ),
}


@pytest.mark.parametrize("name", CURVES)
def test_the_rate_is_that_of_torch_s_schedulers_for_each_group(name: str) -> None:
    given, torch_s = CURVES[name]
    number = EPOCHS * (STEPS if given.get("interval") == "step" else 1)
    ours, theirs = optimizer_of(0.1, 0.01), optimizer_of(0.1, 0.01)
    found = rates_of(ours, build_schedule(ours, settings(**given), STEPS), number)
    assert found == rates_of(theirs, torch_s(theirs), number)


def one_rate(given: dict[str, Any], number: int) -> list[float]:
    optimizer = optimizer_of(0.1)
    rates = rates_of(optimizer, build_schedule(optimizer, settings(**given), STEPS), number)
    return [rate for (rate,) in rates]


def test_milestones_are_finished_epochs_of_the_training_warm_up_included() -> None:
    given = {"name": "multistep", "milestones": [4, 7], "gamma": 0.5, "warmup_epochs": 2}
    expected = [0.01, 0.055, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025]
    assert one_rate(given, 9) == pytest.approx(expected)
    by_step = given | {"interval": "step", "warmup_steps": 0}
    assert one_rate(by_step, 9 * STEPS)[::STEPS][2:] == pytest.approx(expected[2:])


def test_a_cosine_falls_from_the_rate_at_the_end_of_the_warm_up_to_the_least() -> None:
    given = {"name": "cosine", "min_lr": 0.02, "warmup_epochs": 2}
    falling = [
        0.02 + 0.08 * (1 + math.cos(math.pi * n / (EPOCHS - 2))) / 2 for n in range(EPOCHS - 1)
    ]
    assert one_rate(given, EPOCHS + 1) == pytest.approx([0.01, 0.055, *falling])


def test_the_first_factor_of_the_warm_up_is_as_given() -> None:
    given = {"name": "constant", "warmup_epochs": 5, "warmup_factor": 0.5}
    assert one_rate(given, 7) == pytest.approx([0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.1])


@pytest.mark.parametrize(
    ("given", "most"),
    [({}, EPOCHS * STEPS), ({"name": "multistep", "milestones": [2]}, 2 * STEPS)],
)
def test_a_warm_up_of_as_many_steps_as_there_are_is_refused(
    given: dict[str, Any], most: int
) -> None:
    warmup = {"interval": "step", "warmup_steps": most}
    with pytest.raises(SettingsError, match=rf"warmup_steps: must be below {most}, .* got {most}"):
        build_schedule(optimizer_of(0.1), settings(**given | warmup), STEPS)
    build_schedule(
        optimizer_of(0.1), settings(**given | warmup | {"warmup_steps": most - 1}), STEPS
    )


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ("epoch", [0.1 * (1 + math.cos(math.pi * epoch / 3)) / 2 for epoch in range(3)]),
        # Three steps an epoch: two full batches and a partial one.
        ("step", [0.1 * (1 + math.cos(math.pi * epoch * 3 / 9)) / 2 for epoch in range(3)]),
    ],
)
def test_a_training_reports_the_rate_at_the_start_of_each_epoch(
    config: TrainConfig, tmp_path: Path, interval: str, expected: list[float]
) -> None:
    given = {"schedule.name": "cosine", "schedule.interval": interval, "optim.lr": 0.1}
    small = {"model.trunk": "resnet18", "data.limit_train": 7}
    with in_place_of_resnet18():
        reports = run(change(config, given | small, "test"), tmp_path)
    assert [report.lr for report in reports] == pytest.approx(expected)


def test_each_step_of_a_training_has_the_rate_of_its_number(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "schedule.name": "constant",
        "schedule.interval": "step",
        "schedule.warmup_steps": 4,
        "optim.name": "sgd",
        "optim.lr": 0.1,
        "data.limit_train": 7,
        "model.trunk": "resnet18",
    }
    rates: list[float] = []
    real = torch.optim.SGD.step

    def noted(self: torch.optim.SGD, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    with in_place_of_resnet18():
        run(change(config, given, "test"), tmp_path)
    assert rates == pytest.approx([0.01, 0.0325, 0.055, 0.0775, *[0.1] * 5])
