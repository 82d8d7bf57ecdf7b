"""Searches whose trials fail or are killed."""

import re
from pathlib import Path

import pytest
from in_process import search_here
from search_commands import (
    OWN,
    SMALL,
    rows,
    write_space,
)
from without_ray import search_alone

pytestmark = pytest.mark.slow


def test_a_trial_that_fails_is_recorded_and_does_not_end_the_search(tmp_path: Path) -> None:
    space = write_space(
        tmp_path,
        base={"fails_above": 1.0, "epochs": 3},
        space={"lr": {"low": 0.1, "high": 2.0}},
        start=[{"lr": 1.5}],
        trials=3,
    )
    done = search_alone(space, *OWN, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "out")
    (failed,) = [row for row in table if row["trial"] == "1"]
    assert failed["state"] == "failed"
    assert failed["error"] == "RuntimeError: lr 1.5 and seed 0 cannot be trained"
    assert {row["trial"] for row in table} == {"0", "1", "2"}
    assert "completed" in {row["state"] for row in table}


def test_when_every_trial_fails_the_first_reason_is_reported_with_exit_code_2(
    small_coco: Path, tmp_path: Path
) -> None:
    base = SMALL | {"loss": {"joint_weights": [1e38] * 17}}
    space = write_space(tmp_path, base=base, trials=1)
    done = search_alone(space, "--data", small_coco, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "a trial must complete, but no trial has finished an epoch" in done.stderr
    assert "epoch 1, step 1: the loss must be finite, but is inf" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_trial_whose_process_is_killed_resumes_in_another_from_its_last_epoch(
    ray_address: str, tmp_path: Path
) -> None:
    space = write_space(
        tmp_path,
        base={"killed_in": 3},
        space={"lr": {"low": 0.1, "high": 2.0}},
        trials=2,
        asha={"grace_epochs": 6},
    )
    done = search_here(ray_address, space, *OWN, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    resumed = re.findall(r"to be resumed after epoch 2: the trial's process died", done.stdout)
    assert len(resumed) == 2
    assert "raylet" not in done.stdout
    table = rows(tmp_path / "out")
    assert {row["state"] for row in table} == {"completed"}
    assert [int(row["epoch"]) for row in table] == 2 * list(range(1, 7))
    for trial in (tmp_path / "out" / "trials").iterdir():
        assert (trial / "trained.txt").read_text().split() == [str(n) for n in range(1, 7)]
