"""Whole searches that end because their budget is spent."""

import re
from pathlib import Path

import pytest
from search_commands import OWN, rows, write_space
from without_ray import search_alone

from search.trials.record import UNDER_WAY

pytestmark = pytest.mark.slow

LR = {"lr": {"low": 0.1, "high": 1.0}}


def assert_whole_and_promoted(out: Path, said: str) -> None:
    """No trial is left under way, and the winner's checkpoint is of its best epoch."""
    assert "Traceback" not in said
    table = rows(out)
    assert not {row["state"] for row in table} & set(UNDER_WAY)
    winner = re.search(r"^Best      trial (\d+) ", said, re.M)
    assert winner is not None
    losses = [float(row["loss"]) for row in table if row["trial"] == winner[1]]
    assert (out / "best" / "best.json").read_text() == str(min(losses))
    assert len((out / "best" / "metrics.csv").read_text().splitlines()) == 1 + len(losses)


def test_a_budget_of_epochs_is_spent_to_the_last_and_ends_the_search_cleanly(
    tmp_path: Path,
) -> None:
    base = {"epochs": 50}
    space = write_space(tmp_path, base=base, space=LR, epochs=9, asha={"grace_epochs": 4})
    done = search_alone(space, *OWN, "--out", "out", cwd=tmp_path, at_once=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = rows(tmp_path / "out")
    assert len(table) == 9
    assert all(row["epoch"] for row in table)
    ended = {row["error"] for row in table if row["state"] == "interrupted"}
    assert ended == {"the budget of 9 epochs was spent"}
    assert "0 of 9 epochs left" in done.stdout
    assert_whole_and_promoted(tmp_path / "out", done.stdout)


def test_a_budget_of_seconds_stops_running_trials_at_their_next_epoch(tmp_path: Path) -> None:
    base = {"epochs": 5000, "seconds": 0.1}
    space = write_space(tmp_path, base=base, space=LR, trials=3, asha={"grace_epochs": 5000})
    hours = ("--hours", 0.001)
    done = search_alone(space, *OWN, *hours, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = rows(tmp_path / "out")
    assert {row["state"] for row in table} == {"interrupted"}
    assert {row["error"] for row in table} == {"the budget of 0.001 hours was spent"}
    assert len({row["trial"] for row in table}) < 3
    assert " of 0.001 hours left" in done.stdout
    assert_whole_and_promoted(tmp_path / "out", done.stdout)
