"""The device of a training, and memory that does not suffice."""

from pathlib import Path

import pytest
import torch
from conftest import changed, run

from kptrain.config import TrainConfig
from kptrain.device import find_device
from kptrain.errors import SettingsError, TrainingError


def test_memory_that_does_not_suffice_is_said_with_the_settings_that_decide(
    config: TrainConfig, tmp_path: Path
) -> None:
    huge = changed(config, "model.deconv_channels", [2_000_000_000] * 3)
    with pytest.raises(TrainingError, match=r"into memory, but with train\.batch_size 3"):
        run(huge, tmp_path)


@pytest.mark.parametrize(
    ("device", "num_devices"),
    [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:128", 2), ("cuda:99999999999", 2)],
)
def test_a_device_that_is_not_there_is_refused(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, device: str, num_devices: int
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: num_devices)
    told = rf"^train.device: .* {device} is not there \({num_devices} CUDA devices found\); use"
    with pytest.raises(SettingsError, match=told):
        find_device(changed(config, "train.device", device))


@pytest.mark.parametrize(
    ("device", "num_devices", "found"),
    [("auto", 0, "cpu"), ("cpu", 2, "cpu"), ("auto", 2, "cuda:0"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_that_is_there_is_found(
    config: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    num_devices: int,
    found: str,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: num_devices)
    monkeypatch.setattr("torch.cuda.is_available", lambda: num_devices > 0)
    assert find_device(changed(config, "train.device", device)) == torch.device(found)
