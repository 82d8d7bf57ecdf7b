"""How often a state to resume from is saved."""

import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trainings import changed, run

from kptrain.config import RESUME, TrainConfig
from kptrain.model.checkpoint import on_host, save_checkpoint
from kptrain.training.saving import MOST_TIME, Files, Schedule, copy_files


def test_states_take_at_most_their_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    schedule = Schedule(None)
    assert schedule.is_due(1)
    assert not schedule.is_due(2), "the first is still written"
    now = 103.0
    schedule.finished(3.0)
    now = 100.0 + 0.999 * 3.0 / MOST_TIME
    assert not schedule.is_due(3)
    now = 100.0 + 1.001 * 3.0 / MOST_TIME
    assert schedule.is_due(4)


def test_a_given_interval_is_kept_however_long_saving_takes() -> None:
    schedule = Schedule(2)
    schedule.finished(1e9)
    assert [schedule.is_due(epoch) for epoch in range(1, 5)] == [False, True, False, True]


def test_a_training_whose_states_take_long_saves_the_first_and_the_last(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = []

    def slowly(content: dict[str, Any], path: Path) -> None:
        if path.name == RESUME:
            epochs.append(len(content["curve"]))
            time.sleep(0.5)
        save_checkpoint(content, path)

    monkeypatch.setattr("kptrain.training.saving.save_checkpoint", slowly)
    run(changed(config, "checkpoint.resume_epochs", None), tmp_path)
    assert epochs == [1, 3]
    assert (tmp_path / "metrics.csv").read_bytes() == (uninterrupted / "metrics.csv").read_bytes()


@pytest.mark.slow
def test_of_what_is_copied_one_epoch_s_is_held_at_a_time(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Files]] = []

    def copied(*arguments: Any, **options: Any) -> Files:
        assert not any(files() for files in held)
        files = copy_files(*arguments, **options)
        held.append(weakref.ref(files))
        return files

    def slowly(content: dict[str, Any], path: Path) -> None:
        time.sleep(0.3)
        save_checkpoint(content, path)

    monkeypatch.setattr("kptrain.training.fit.copy_files", copied)
    monkeypatch.setattr("kptrain.training.saving.save_checkpoint", slowly)
    run(config, tmp_path)
    assert len(held) == 3


@pytest.mark.gpu
def test_a_state_on_a_gpu_is_copied_though_training_continues_at_once() -> None:
    tensors = [torch.full((2**20,), float(n), device="cuda") for n in range(8)]
    copied = on_host({"a": tensors, "b": 3})
    for tensor in tensors:
        tensor.zero_()
    assert copied["b"] == 3
    for number, tensor in enumerate(copied["a"]):
        assert tensor.device.type == "cpu"
        assert bool((tensor == number).all())
