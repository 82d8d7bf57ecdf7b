"""The averaged network: against plain arithmetic and torch's own class; what a training saves."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from small_trainings import differences, run
from tiny_network import in_place_of_resnet18
from torch.optim.swa_utils import AveragedModel as Torchs
from torch.optim.swa_utils import get_ema_multi_avg_fn

from kptrain.config import BEST, RESUME, Metric, TrainConfig
from kptrain.data.pack import open_pack
from kptrain.model.checkpoint import load_checkpoint
from kptrain.model.network import build_model
from kptrain.needs.memory import random_batch
from kptrain.resolve import change
from kptrain.training.fit import validate
from kptrain.training.state import start_training, take_step

CPU = torch.device("cpu")
SMALL = {"model.trunk": "resnet18", "train.ema_decay": 0.75}


@pytest.fixture
def averaged(config: TrainConfig) -> TrainConfig:
    return change(config, SMALL, "test")


def test_the_average_is_that_of_plain_arithmetic_and_of_torch_begun_with_the_first_weights(
    averaged: TrainConfig,
) -> None:
    torch.manual_seed(0)
    with in_place_of_resnet18():
        training = start_training(averaged, CPU, afresh=True)
    ema = get_ema_multi_avg_fn(0.75)  # type: ignore[no-untyped-call]  # torch
    torch_s = Torchs(training.model, multi_avg_fn=ema, use_buffers=True)
    torch_s.update_parameters(training.model)
    plain = {key: value.clone() for key, value in training.model.state_dict().items()}
    training.model.train()
    for _ in range(5):
        take_step(training, random_batch(averaged, CPU), averaged)
        torch_s.update_parameters(training.model)
        for key, value in training.model.state_dict().items():
            is_count = not value.is_floating_point()
            plain[key] = value.clone() if is_count else 0.75 * plain[key] + 0.25 * value
    found, theirs = training.evaluated.state_dict(), torch_s.module.state_dict()
    for key, value in found.items():
        torch.testing.assert_close(value, plain[key], rtol=1e-5, atol=1e-8)
        if value.is_floating_point():
            assert torch.equal(value, theirs[key])
    assert differences(found, training.model.state_dict()) != []
    assert int(found["trunk.bn1.num_batches_tracked"]) == 5
    assert not torch.equal(found["trunk.bn1.running_var"], torch.ones(8))


def test_the_averaged_network_is_validated_and_saved_as_the_best_and_the_other_one_resumed(
    averaged: TrainConfig, tmp_path: Path
) -> None:
    with in_place_of_resnet18():
        reports = run(averaged, tmp_path)
        best, state = load_checkpoint(tmp_path / BEST), load_checkpoint(tmp_path / RESUME)
        assert reports[-1].is_best
        assert differences(best["weights"], state["averaged"]) == []
        assert differences(best["weights"], state["weights"]) != []
        settings = averaged.model.model_copy(update={"weights": str(tmp_path / BEST)})
        model = build_model(settings, 0)
    again = validate(model, averaged, open_pack(averaged.data, "val"), CPU)
    assert again == {name: getattr(reports[-1], name) for name in get_args(Metric)}


def test_an_average_changes_nothing_of_the_training_itself(
    averaged: TrainConfig, tmp_path: Path
) -> None:
    plain = change(averaged, {"train.ema_decay": None}, "test")
    with in_place_of_resnet18():
        curves = [run(one, tmp_path / str(n)) for n, one in enumerate((averaged, plain))]
    losses: list[Any] = [[report.train_loss for report in curve] for curve in curves]
    assert losses[0] == losses[1]
    states = [load_checkpoint(tmp_path / str(number) / RESUME)["weights"] for number in range(2)]
    assert differences(*states) == []


def test_a_decay_of_zero_is_the_network_itself(averaged: TrainConfig, tmp_path: Path) -> None:
    with in_place_of_resnet18():
        run(change(averaged, {"train.ema_decay": 0.0}, "test"), tmp_path)
    state = load_checkpoint(tmp_path / RESUME)
    assert differences(state["averaged"], state["weights"]) == []
