"""Runs that resume: equal to uninterrupted ones, or refused with the reason."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import torch
from small_trainings import FEW, assert_equal_runs, changed, rows, run

from kptrain.config import BEST, RESUME, TrainConfig
from kptrain.errors import CheckpointError, SettingsError
from kptrain.model.checkpoint import load_checkpoint, save_checkpoint
from kptrain.resolve import change
from kptrain.training import fit as fit_module
from kptrain.training.fit import fit

pytestmark = pytest.mark.slow  # many small trainings and drawings, seconds together

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("epochs_before", [1, 2])
def test_a_run_stopped_after_an_epoch_and_resumed_equals_an_uninterrupted_one(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path, epochs_before: int
) -> None:
    with closing(fit(config, tmp_path)) as reports:
        for _ in range(epochs_before):
            next(reports)
    assert len(rows(tmp_path / "metrics.csv")) == epochs_before
    resumed = run(config, tmp_path, resume=True)
    assert [report.epoch for report in resumed] == [1, 2, 3][epochs_before:]
    assert_equal_runs(tmp_path, uninterrupted)


def test_a_run_up_to_an_epoch_ends_there_and_its_rest_equals_an_uninterrupted_one(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    assert [report.epoch for report in run(config, tmp_path, until=2)] == [1, 2]
    assert [report.epoch for report in run(config, tmp_path, resume=True, until=9)] == [3]
    assert_equal_runs(tmp_path, uninterrupted)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_killed_between_its_two_checkpoints_and_resumed_equals_an_uninterrupted_one(
    config: TrainConfig,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epoch: int,
) -> None:
    def kill(content: dict[str, Any], path: Path) -> None:
        if path.name == RESUME and len(content["curve"]) == epoch:
            raise KeyboardInterrupt
        save_checkpoint(content, path)

    with monkeypatch.context() as patch:
        patch.setattr("kptrain.training.saving.save_checkpoint", kill)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path)
    assert len(rows(tmp_path / "metrics.csv")) == epoch  # one more than the state to resume from
    run(config, tmp_path, resume=True)
    assert_equal_runs(tmp_path, uninterrupted)


@pytest.mark.slow
def test_a_process_killed_within_an_epoch_and_resumed_equals_an_uninterrupted_one(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    script = f"""
import os, signal
from pathlib import Path
from kptrain.training import fit as stream
from kptrain.resolve import resolve

gather, steps = stream.batches, 0

def gather_and_die(*arguments):
    global steps
    for batch in gather(*arguments):
        steps += 1
        if steps == 8:  # two steps of training and two of validation an epoch
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

stream.batches = gather_and_die
config = resolve({FEW | {"data.root": config.data.root}!r}, "test")
list(stream.fit(config, Path({str(tmp_path)!r})))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [row["epoch"] for row in rows(tmp_path / "metrics.csv")] == ["1"]
    run(config, tmp_path, resume=True)
    assert_equal_runs(tmp_path, uninterrupted)


def test_a_run_whose_state_is_saved_rarely_repeats_the_epochs_since_with_the_same_numbers(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    seldom = changed(config, "checkpoint.resume_epochs", 2)
    with closing(fit(change(seldom, {"train.epochs": 4}, "test"), tmp_path)) as reports:
        for _ in range(3):
            next(reports)
    assert len(rows(tmp_path / "metrics.csv")) == 3
    resumed = run(seldom, tmp_path, resume=True)
    assert [report.epoch for report in resumed] == [3]
    assert (tmp_path / "metrics.csv").read_bytes() == (uninterrupted / "metrics.csv").read_bytes()


def test_an_augmented_run_resumed_equals_an_uninterrupted_one(
    config: TrainConfig, tmp_path: Path
) -> None:
    said = {"augment.flip": 0.5, "augment.rotation_deg": 30.0, "augment.colour": 0.2}
    augmented = change(config, said, "test")
    run(augmented, tmp_path / "whole")
    with closing(fit(augmented, tmp_path / "parts")) as reports:
        next(reports)
    run(augmented, tmp_path / "parts", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_resumed_reports_nothing_and_changes_nothing(
    config: TrainConfig, uninterrupted: Path
) -> None:
    before = {path: path.read_bytes() for path in uninterrupted.iterdir()}
    assert run(config, uninterrupted, resume=True) == []
    assert {path: path.read_bytes() for path in uninterrupted.iterdir()} == before


def test_a_run_resumed_with_more_epochs_equals_one_that_had_planned_them(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    run(changed(config, "train.epochs", 2), tmp_path)
    resumed = run(config, tmp_path, resume=True)
    assert [report.epoch for report in resumed] == [3]
    assert (tmp_path / "metrics.csv").read_bytes() == (uninterrupted / "metrics.csv").read_bytes()


def test_a_folder_with_a_run_is_not_overwritten(config: TrainConfig, uninterrupted: Path) -> None:
    before = (uninterrupted / RESUME).read_bytes()
    with pytest.raises(CheckpointError, match=f"^{uninterrupted}: must not hold a run yet"):
        run(config, uninterrupted)
    assert (uninterrupted / RESUME).read_bytes() == before


@pytest.mark.parametrize(
    ("path", "value"), [("optim.lr", 0.5), ("train.seed", 9), ("checkpoint.metric", "val_ap")]
)
def test_resuming_with_another_setting_is_refused_by_its_name(
    config: TrainConfig, uninterrupted: Path, path: str, value: object
) -> None:
    with pytest.raises(SettingsError, match=f": {path} must be .* but got {value!r};"):
        run(changed(config, path, value), uninterrupted, resume=True)


def test_resuming_with_fewer_epochs_than_are_finished_is_refused(
    config: TrainConfig, uninterrupted: Path
) -> None:
    before = (uninterrupted / "config.yaml").read_bytes()
    with pytest.raises(
        SettingsError, match=r"train\.epochs must be at least the 3 that .* but got 2"
    ):
        run(changed(config, "train.epochs", 2), uninterrupted, resume=True)
    assert (uninterrupted / "config.yaml").read_bytes() == before


def test_a_run_that_saved_no_state_yet_is_not_overwritten_but_begun_anew_with_its_settings(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    seldom = changed(config, "checkpoint.resume_epochs", 3)
    with closing(fit(seldom, tmp_path)) as reports:
        next(reports)
    assert not (tmp_path / RESUME).exists()
    before = (tmp_path / BEST).read_bytes()
    with pytest.raises(CheckpointError, match="must not hold a run yet, but does"):
        run(seldom, tmp_path)
    with pytest.raises(SettingsError, match=r"optim\.lr must be 0\.001 as in the run"):
        run(changed(seldom, "optim.lr", 0.5), tmp_path, resume=True)
    assert (tmp_path / BEST).read_bytes() == before
    assert len(run(seldom, tmp_path, resume=True)) == 3
    assert (tmp_path / "metrics.csv").read_bytes() == (uninterrupted / "metrics.csv").read_bytes()


def test_resuming_where_there_is_no_run_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="must hold a run to resume, but holds none"):
        run(config, tmp_path, resume=True)


def test_resuming_from_a_checkpoint_of_another_kind_is_refused(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").touch()
    (tmp_path / RESUME).write_bytes((uninterrupted / BEST).read_bytes())
    with pytest.raises(CheckpointError, match=r"but optimizer, schedule, .* is missing"):
        run(config, tmp_path, resume=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": 7},
        {"weights": {"head.bias": torch.ones(17)}},
        {"optimizer": {}},
        {"schedule": {"last_epoch": 1}, "curve": [{"epoch": 1}]},
        {"curve": [7]},
        {"curve": {"epoch": 1}},
        {"settings": []},
        {"data": None},
    ],
)
def test_a_state_of_another_shape_is_refused_in_one_line(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    path = tmp_path / "run" / RESUME
    save_checkpoint(load_checkpoint(path) | changes, path)
    with pytest.raises(CheckpointError) as error:
        run(config, tmp_path / "run", resume=True)
    assert str(error.value).startswith(f"{path}: must hold")
    assert "\n" not in str(error.value)


def test_resuming_needs_no_file_of_the_first_weights(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first.pth"
    first.write_bytes((uninterrupted / BEST).read_bytes())
    config = changed(config, "model.weights", str(first))
    run(changed(config, "train.epochs", 1), tmp_path / "run")
    first.unlink()
    resumed = run(changed(config, "train.epochs", 2), tmp_path / "run", resume=True)
    assert [report.epoch for report in resumed] == [2]


def test_a_folder_in_which_another_trains_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    with closing(fit(config, tmp_path)) as reports:
        next(reports)
        with pytest.raises(
            CheckpointError, match=f"must not be in use, but process {os.getpid()} on .* uses it"
        ):
            run(config, tmp_path, resume=True)
    assert len(run(config, tmp_path, resume=True)) == 2


def test_a_waiting_run_starts_as_soon_as_the_other_ends(
    config: TrainConfig, tmp_path: Path
) -> None:
    reports = fit(config, tmp_path)
    next(reports)
    other = Timer(0.3, reports.close)
    other.start()
    assert [report.epoch for report in run(config, tmp_path, resume=True, wait=60.0)] == [2, 3]
    other.join()


@pytest.mark.parametrize(
    ("safe", "known", "told"), [(2, 0, [1, 2, 3]), (2, 1, [2, 3]), (3, 1, [2, 3]), (1, 2, [3])]
)
def test_a_reader_that_has_the_first_epochs_gets_each_other_once_saved_or_not(
    config: TrainConfig,
    uninterrupted: Path,
    tmp_path: Path,
    safe: int,
    known: int,
    told: list[int],
) -> None:
    before = run(config, tmp_path, until=safe)
    after = run(config, tmp_path, resume=True, reported=known)
    assert [report.epoch for report in after] == told
    assert after[: safe - known] == before[known:]  # those were saved, times included
    assert_equal_runs(tmp_path, uninterrupted)


def test_resuming_elsewhere_is_allowed(config: TrainConfig, uninterrupted: Path) -> None:
    elsewhere = change(config, {"train.threads": 2, "train.device": "auto"}, "test")
    assert run(elsewhere, uninterrupted, resume=True) == []


def test_resuming_with_other_data_is_refused(
    config: TrainConfig, uninterrupted: Path, other_data: Path
) -> None:
    other = changed(config, "data.root", str(other_data))
    with pytest.raises(CheckpointError, match=f"but {other_data} holds other data; name"):
        run(other, uninterrupted, resume=True)


def test_resuming_with_a_picture_replaced_by_one_as_large_is_refused(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(str(config.data.root), copy)
    of_copy = changed(config, "data.root", str(copy))
    assert run(of_copy, uninterrupted, resume=True) == []
    picture = min((copy / "train2017").iterdir())
    content = bytearray(picture.read_bytes())
    content[-3] ^= 1
    picture.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"but {copy} holds other data"):
        run(of_copy, uninterrupted, resume=True)


def test_resuming_with_the_same_data_in_another_folder_is_allowed(
    config: TrainConfig, uninterrupted: Path, tmp_path: Path
) -> None:
    (tmp_path / "moved").symlink_to(str(config.data.root))
    moved = changed(config, "data.root", str(tmp_path / "moved"))
    assert run(moved, uninterrupted, resume=True) == []


def test_a_folder_with_a_run_is_refused_before_anything_is_packed(
    config: TrainConfig, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "open_pack", lambda *_: pytest.fail("packing began"))
    with pytest.raises(CheckpointError):
        run(config, uninterrupted)
    with pytest.raises(SettingsError):
        run(changed(config, "optim.lr", 0.5), uninterrupted, resume=True)
