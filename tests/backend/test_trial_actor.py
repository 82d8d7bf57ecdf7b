"""A trial's actor, in this process: one training after the other, and nothing left of the first."""

import importlib
import os
import platform
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trainings import assert_equal_runs, changed, resume_state, rows

from kptrain.config import TrainConfig
from kptrain.errors import (
    CheckpointError,
    DataError,
    OutOfMemoryError,
    TrainingError,
    WeightsError,
)
from kptrain.model.network import KeypointNet, build_model
from search.backend.trial_actor import TrialActor

pytestmark = pytest.mark.slow  # imports Ray


def trial_config(config: TrainConfig, run_dir: Path, title: str) -> dict[str, Any]:
    return {
        "trainable": None,
        "title": title,
        "settings": config.model_dump(mode="json"),
        "run_dir": str(run_dir),
        "epoch": 0,
        "rungs": [],
        "search": "test",
        "wandb_id": "test",
        "storage": None,
        "cache": None,
        "cpu": 1,
        "gpu": 0.5,
    }


def test_a_reset_frees_the_training_before_and_gives_the_next_the_same_curve_as_alone(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[weakref.ref[KeypointNet]] = []

    def noted(*arguments: Any) -> KeypointNet:
        network = build_model(*arguments)
        network.__dict__["around"] = network  # a cycle, as hooks and compilers make
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr("kptrain.training.state.build_model", noted)
    trial = TrialActor(trial_config(changed(config, "optim.lr", 0.1), tmp_path / "0", "first"))
    trial.step()
    assert networks[0]() is not None
    assert trial.reset_config(trial_config(config, tmp_path / "1", "second"))
    assert networks[0]() is None
    results = [trial.step() for _ in range(3)]
    assert [result["done"] for result in results] == [False, False, True]
    curve = (tmp_path / "1" / "metrics.csv").read_bytes()
    assert curve == (uninterrupted / "metrics.csv").read_bytes()
    trial.cleanup()
    assert len(rows(tmp_path / "0" / "metrics.csv")) == 1


@pytest.mark.parametrize(
    ("path", "given", "error"),
    [("data.root", "/nowhere", DataError), ("model.weights", "/no/weights.pth", WeightsError)],
)
def test_a_node_that_lacks_what_others_have_is_named(
    config: TrainConfig, tmp_path: Path, path: str, given: str, error: type[Exception]
) -> None:
    lacking = trial_config(changed(config, path, given), tmp_path / "run", "lacking")
    with pytest.raises(error, match=rf"must .* \(on {platform.node()}\)$"):
        TrialActor(lacking).step()


def test_a_trial_whose_last_files_cannot_be_written_does_not_harm_the_next(
    config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise CheckpointError("the disk is full")

    trial = TrialActor(trial_config(config, tmp_path / "0", "first"))
    with monkeypatch.context() as patch:
        patch.setattr("kptrain.training.saving.save_checkpoint", full)
        trial.step()
        assert trial.reset_config(trial_config(config, tmp_path / "1", "second"))
    assert "the end of first: the disk is full" in capsys.readouterr().out
    assert trial.step()["report"]["epoch"] == 1
    trial.cleanup()


def test_a_trial_paused_at_its_rungs_and_resumed_by_another_process_equals_an_uninterrupted_one(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    asked = trial_config(config, tmp_path, "first") | {"rungs": [1, 2]}
    first = TrialActor(asked)
    assert first.step()["report"]["epoch"] == 1
    # The first still lives, and has let go of the folder.
    second = TrialActor(asked | {"epoch": 1})
    assert [second.step()["report"]["epoch"], second.step()["report"]["epoch"]] == [2, 3]
    assert_equal_runs(tmp_path, uninterrupted)
    first.cleanup()
    second.cleanup()


def test_a_trial_at_a_url_resumes_on_another_node_and_leaves_no_copy_on_the_first(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    there = {"rungs": [1, 2], "storage": (tmp_path / "there").as_uri()}
    nodes = [tmp_path / name / "trial" for name in ("one", "other")]
    first = TrialActor(trial_config(config, nodes[0], "x") | there)
    assert first.step()["report"]["epoch"] == 1
    assert not nodes[0].exists()
    nodes[1].mkdir(parents=True)
    (nodes[1] / "resume.pt").write_text("of a process that was killed here")
    second = TrialActor(trial_config(config, nodes[1], "x") | there | {"epoch": 1})
    assert [second.step()["report"]["epoch"], second.step()["report"]["epoch"]] == [2, 3]
    second.cleanup()
    assert not nodes[1].exists()
    assert_equal_runs(tmp_path / "there", uninterrupted)


def test_a_trial_that_fails_keeps_its_hands_off_the_folder_that_the_next_may_have(
    config: TrainConfig, tmp_path: Path
) -> None:
    there = {"storage": (tmp_path / "there").as_uri()}
    failing = changed(config, "optim.lr", 1e20)
    trial = TrialActor(trial_config(failing, tmp_path / "run", "x") | there)
    with pytest.raises(TrainingError, match="the loss must be finite"):
        list(iter(trial.step, None))
    (tmp_path / "run" / "of-the-next").touch()
    trial.cleanup()
    assert (tmp_path / "run" / "of-the-next").exists()


def test_a_trial_continues_beyond_a_rung_in_the_same_actor(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    trial = TrialActor(trial_config(config, tmp_path, "x") | {"rungs": [2]})
    assert [trial.step()["done"] for _ in range(3)] == [False, False, True]
    assert_equal_runs(tmp_path, uninterrupted)
    trial.cleanup()


def test_a_rung_has_the_state_on_disk_however_rarely_it_is_saved_otherwise(
    config: TrainConfig, tmp_path: Path
) -> None:
    seldom = changed(config, "checkpoint.resume_epochs", 3)
    trial = TrialActor(trial_config(seldom, tmp_path, "x") | {"rungs": [2]})
    trial.step()
    trial.step()
    assert len(resume_state(tmp_path)["curve"]) == 2
    trial.cleanup()


def test_a_trial_asks_for_its_cores_and_its_share_of_a_gpu(config: TrainConfig) -> None:
    asked = TrialActor.default_resource_request(trial_config(config, Path("x"), "x"))
    assert asked.required_resources == {"CPU": 1, "GPU": 0.5}


ASKS = """
import os
from search import Metric, OwnTraining, Settings

SEEN = os.environ["CUDA_VISIBLE_DEVICES"]

class Config(Settings):
    epochs: int = 1

def fit(config, folder):
    yield {"epoch": 1, "loss": 1.0}

ASKS = OwnTraining(Config, fit, [Metric("loss")])
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A trial of a training that notes which GPUs it sees when it is imported."""
    (tmp_path / "asks.py").write_text(ASKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-none")
    asked = {"trainable": "asks:ASKS", "settings": {"epochs": 1}}
    yield trial_config(TrainConfig(), tmp_path / "run", "x") | asked
    sys.modules.pop("asks", None)


@pytest.fixture
def fractions(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The caps that torch is given, as on a GPU of 2 GB."""
    told: list[float] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (0, 2 * 10**9))
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", told.append)
    return told


@pytest.mark.parametrize(("gpu", "caps"), [(0.5, [0.25]), (0.75, [0.5]), (1.0, []), (0.0, [])])
def test_a_trial_may_take_its_share_less_what_cuda_takes_and_a_whole_gpu_as_it_likes(
    own: dict[str, Any], fractions: list[float], gpu: float, caps: list[float]
) -> None:
    trial = TrialActor(own | {"gpu": gpu})
    trial.step()
    trial.cleanup()
    assert fractions == caps


@pytest.mark.usefixtures("fractions")
def test_a_share_without_room_for_a_training_is_reported_by_its_first_step(
    own: dict[str, Any],
) -> None:
    trial = TrialActor(own | {"gpu": 0.25})
    with pytest.raises(OutOfMemoryError, match=r"0\.25 of a GPU of 2\.0 GB is 0\.50 GB; raise it"):
        trial.step()
    trial.cleanup()


@pytest.mark.parametrize(("gpu", "seen"), [(0.0, ""), (0.5, "GPU-none")])
def test_a_trial_without_a_share_sees_no_gpu_from_before_its_training_is_imported(
    own: dict[str, Any], gpu: float, seen: str
) -> None:
    trial = TrialActor(own | {"gpu": gpu})
    assert importlib.import_module("asks").SEEN == os.environ["CUDA_VISIBLE_DEVICES"] == seen
    trial.cleanup()


@pytest.mark.gpu
def test_trials_one_after_the_other_leave_no_memory_of_a_gpu_behind(
    config: TrainConfig, tmp_path: Path
) -> None:
    config = changed(config, "train.device", "cuda")
    trial = TrialActor(trial_config(config, tmp_path / "0", "0"))
    held = []
    for number in range(1, 5):
        trial.step()
        trial.reset_config(trial_config(config, tmp_path / str(number), str(number)))
        held.append(torch.cuda.memory_reserved())
    trial.cleanup()
    assert held[-1] <= held[0]
