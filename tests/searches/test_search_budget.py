"""Whole searches under a real Ray that end because their budget is spent."""

import re
from pathlib import Path

import pytest
from search_commands import SMALL, rows, run, write_space

from kptrain.config import BEST
from kptrain.model.checkpoint import load_checkpoint
from search.trials.record import UNDER_WAY

pytestmark = pytest.mark.slow


def assert_whole_and_promoted(out: Path, said: str) -> None:
    """No trial is left under way, and the winner's checkpoint is of its best epoch."""
    assert "Traceback" not in said
    table = rows(out)
    assert not {row["state"] for row in table} & set(UNDER_WAY)
    winner = re.search(r"^Best      trial (\d+) ", said, re.M)
    assert winner is not None
    losses = [float(row["val_loss"]) for row in table if row["trial"] == winner[1]]
    assert load_checkpoint(out / "best" / BEST)["metrics"]["val_loss"] == min(losses)
    assert len((out / "best" / "metrics.csv").read_text().splitlines()) == 1 + len(losses)


def test_a_budget_of_epochs_is_spent_to_the_last_and_ends_the_search_cleanly(
    tmp_path: Path,
) -> None:
    base = SMALL | {"train": {"epochs": 50}}
    space = write_space(tmp_path, base=base, epochs=9, asha={"grace_epochs": 4})
    done = run("search.run", space, "--data", "embedded", "--out", "out", cwd=tmp_path)
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
    base = SMALL | {"train": {"epochs": 5000}}
    space = write_space(tmp_path, base=base, trials=3, asha={"grace_epochs": 5000})
    done = run(
        "search.run", space, "--data", "embedded", "--hours", 0.001, "--out", "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = rows(tmp_path / "out")
    assert {row["state"] for row in table} == {"interrupted"}
    assert {row["error"] for row in table} == {"the budget of 0.001 hours was spent"}
    assert len({row["trial"] for row in table}) < 3
    assert " of 0.001 hours left" in done.stdout
    assert_whole_and_promoted(tmp_path / "out", done.stdout)
