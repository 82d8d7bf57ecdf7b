"""Searches whose trials fail or are killed."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from search_commands import (
    OWN,
    SMALL,
    rows,
    watch,
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


def test_when_every_trial_fails_the_first_reason_is_said_with_exit_code_2(
    small_coco: Path, tmp_path: Path
) -> None:
    base = SMALL | {"loss": {"joint_weights": [1e38] * 17}}
    space = write_space(tmp_path, base=base, trials=1)
    done = search_alone(space, "--data", small_coco, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "a trial must complete, but no trial has finished an epoch" in done.stderr
    assert "epoch 1, step 1: the loss must be finite, but is inf" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_trial_whose_process_is_killed_goes_on_in_another_from_its_last_epoch(
    tmp_path: Path,
) -> None:
    base = SMALL | {"train": {"epochs": 8}}
    space = write_space(tmp_path, base=base, trials=2, asha={"grace_epochs": 8})
    killed: list[int] = []

    def kill_one(search: int, line: str) -> None:
        if not killed and "epoch  2/8" in line:
            killed.append(trial_process(search))
            os.kill(killed[0], signal.SIGKILL)

    done = watch(space, tmp_path, kill_one)
    assert done.returncode == 0, done.stdout
    assert (
        len(re.findall(r"to be resumed after epoch \d: the trial's process died", done.stdout)) == 1
    )
    assert "raylet" not in done.stdout
    told = rows(tmp_path / "out")
    assert {row["state"] for row in told} == {"completed"}
    assert [int(row["epoch"]) for row in told] == 2 * list(range(1, 9))


def trial_process(driver: int) -> int:
    """A process, of those below the driver, in which a trial trains."""
    parents: dict[int, int] = {}
    titles: dict[int, str] = {}
    for line in subprocess.check_output(["ps", "-eo", "pid=,ppid=,args="], text=True).splitlines():
        number, parent, title = line.split(maxsplit=2)
        parents[int(number)], titles[int(number)] = int(parent), title
    for pid, title in titles.items():
        above = pid
        while above in parents and above != driver:
            above = parents[above]
        if above == driver and re.match(r"ray::(TrialActor|ResourceTrainable)", title):
            return pid
    raise AssertionError(f"no trial below {driver} in {titles}")
