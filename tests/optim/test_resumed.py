"""A run with each optimizer, schedule and kind of step, stopped and resumed."""

from pathlib import Path
from typing import Any

import pytest
from small_trainings import assert_equal_runs, changed, run
from tiny_network import in_place_of_resnet18

from kptrain.config import RESUME, TrainConfig
from kptrain.errors import CheckpointError, SettingsError
from kptrain.model.checkpoint import load_checkpoint, save_checkpoint
from kptrain.resolve import change
from kptrain.strict_yaml import read_yaml

COSINE = {"schedule.name": "cosine"}
BY_STEP = {"schedule.interval": "step"}
RESUMED: dict[str, dict[str, Any]] = {
    "adamw, two decays": {
        "optim.name": "adamw",
        "optim.weight_decay": 0.1,
        "optim.decay_norms": False,
    },
    "sgd, two rates": {"optim.name": "sgd", "optim.lr": 1.0, "optim.backbone_lr_factor": 0.5},
    "sgd by Nesterov, clipped": {
        "optim.name": "sgd",
        "optim.nesterov": True,
        "optim.lr": 1.0,
        "optim.clip_norm": 1e-3,
    },
    "step, by step": BY_STEP,
    "multistep": {"schedule.name": "multistep", "schedule.milestones": [1, 3]},
    "cosine": COSINE,
    "cosine, by step": COSINE | BY_STEP,
    "constant": {"schedule.name": "constant"},
    "warm-up to the epoch of the stop": {"schedule.warmup_epochs": 1},
    "warm-up beyond it": {"schedule.warmup_epochs": 2},
    "warm-up, multistep, by step": {
        "schedule.name": "multistep",
        "schedule.milestones": [2],
        "schedule.warmup_steps": 4,
    }
    | BY_STEP,
    "warm-up, cosine, by step": COSINE | BY_STEP | {"schedule.warmup_steps": 2},
    "averaged": {"train.ema_decay": 0.8},
    "in parts": {"train.accumulate": 2},
    "frozen": {"model.freeze": 2},
    "float16": {"train.precision": "float16"},
    "all together": {
        "optim.name": "sgd",
        "optim.weight_decay": 0.01,
        "optim.decay_norms": False,
        "optim.clip_norm": 0.1,
        "optim.backbone_lr_factor": 0.5,
        "schedule.warmup_steps": 2,
        "train.ema_decay": 0.8,
        "train.accumulate": 2,
        "train.precision": "float16",
        "model.freeze": 1,
    }
    | COSINE
    | BY_STEP,
}


@pytest.fixture
def small(config: TrainConfig) -> TrainConfig:
    """Two full batches and a partial one in each of three epochs."""
    return change(config, {"model.trunk": "resnet18", "data.limit_train": 7}, "test")


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_equals_an_uninterrupted_one(
    small: TrainConfig, tmp_path: Path, name: str
) -> None:
    chosen = change(small, RESUMED[name], "test")
    with in_place_of_resnet18():
        run(chosen, tmp_path / "whole")
        run(chosen, tmp_path / "parts", until=1)
        assert [report.epoch for report in run(chosen, tmp_path / "parts", resume=True)] == [2, 3]
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_a_cosine_which_ends_with_the_training_is_resumed_with_the_same_epochs_only(
    small: TrainConfig, tmp_path: Path
) -> None:
    with in_place_of_resnet18():
        for name, chosen in (("cosine", change(small, COSINE, "test")), ("step", small)):
            run(chosen, tmp_path / name, until=2)
            longer = changed(chosen, "train.epochs", 4)
            if name == "step":
                assert len(run(longer, tmp_path / name, resume=True)) == 2
                continue
            with pytest.raises(SettingsError, match=r"train\.epochs must be 3 as in the run .* 4"):
                run(longer, tmp_path / name, resume=True)


def test_a_run_may_be_resumed_in_another_precision(small: TrainConfig, tmp_path: Path) -> None:
    half = changed(small, "train.precision", "float16")
    with in_place_of_resnet18():
        for name, first, second in (("one", half, small), ("other", small, half)):
            run(first, tmp_path / name, until=2)
            assert len(run(second, tmp_path / name, resume=True)) == 1
    scalers = [load_checkpoint(tmp_path / name / RESUME)["scaler"] for name in ("one", "other")]
    assert scalers[0] == {}
    assert scalers[1]["scale"] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"scaler": [7]},
        {"averaged": {}},
        {"optimizer": {"state": {}, "param_groups": []}},
        {"schedule": {"last_epoch": 2}},
        {"schedule": {"_schedulers": [{}, {}, {}]}},
    ],
)
def test_a_state_that_does_not_fit_these_settings_is_refused_in_one_line(
    small: TrainConfig, tmp_path: Path, changes: dict[str, Any]
) -> None:
    chosen = change(small, RESUMED["all together"], "test")
    with in_place_of_resnet18():
        run(chosen, tmp_path, until=2)
        path = tmp_path / RESUME
        save_checkpoint(load_checkpoint(path) | changes, path)
        with pytest.raises(CheckpointError) as error:
            run(chosen, tmp_path, resume=True)
    assert str(error.value).startswith(f"{path}: must hold the state of this training, but ")
    assert "\n" not in str(error.value)


NEWER = ("optim.name", "schedule.name", "schedule.interval", "train.accumulate", "train.ema_decay")


def test_a_run_of_before_these_settings_is_resumed_with_their_defaults(
    small: TrainConfig, tmp_path: Path
) -> None:
    with in_place_of_resnet18():
        run(small, tmp_path, until=2)
        state = load_checkpoint(tmp_path / RESUME)
        for path in NEWER:
            del state["settings"][path]
        for part in ("scaler", "averaged"):
            del state[part]
        save_checkpoint(state, tmp_path / RESUME)
        with pytest.raises(SettingsError, match=r"optim\.name must be 'adam' as in the run"):
            run(changed(small, "optim.name", "sgd"), tmp_path, resume=True)
        assert len(run(small, tmp_path, resume=True)) == 1


def test_the_settings_of_a_run_leave_out_what_has_no_effect_and_are_read_back(
    small: TrainConfig, tmp_path: Path
) -> None:
    chosen = change(small, {"schedule.step_epochs": 5} | COSINE, "test")
    with in_place_of_resnet18():
        run(chosen, tmp_path, until=1)
        saved = read_yaml(tmp_path / "config.yaml")
        assert saved["schedule"].keys() == {
            *("name", "min_lr", "interval", "warmup_epochs", "warmup_factor")
        }
        assert saved["optim"].keys().isdisjoint({"momentum", "nesterov"})
        assert len(run(chosen, tmp_path, resume=True)) == 2
