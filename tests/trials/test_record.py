"""The record of a search: its table, its leader, its disk."""

import csv
from pathlib import Path

import pytest
from records import NOTHING, add, epoch

from kptrain.config import BEST, RESUME, Metric
from kptrain.errors import CheckpointError
from kptrain.model.checkpoint import save_checkpoint
from kptrain.resolve import settings_of
from search.journal.reasons import Spent
from search.promote import up_to_checkpoint
from search.report.wording import describe_result, headline
from search.trainings.keypoints import KEYPOINTS
from search.trials.record import Record, State


def test_the_table_has_every_trial_setting_epoch_state_and_error(tmp_path: Path) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    first = add(record, [0.5, 0.4, 0.3], "completed")
    add(record, [0.9], "stopped", lr=0.1)
    add(record, [], "failed", lr=9.0)
    record.save()
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["epoch"], row["state"]) for row in rows] == [
        ("0", "1", "completed"),
        ("0", "2", "completed"),
        ("0", "3", "completed"),
        ("1", "1", "stopped"),
        ("2", "", "failed"),
    ]
    assert settings_of(first.config).keys() <= rows[0].keys()
    assert [row["optim.lr"] for row in rows] == ["0.001"] * 3 + ["0.1", "9.0"]
    assert [float(row["val_loss"]) for row in rows[:4]] == [0.5, 0.4, 0.3, 0.9]
    assert rows[4]["error"] == "it broke"
    assert not list(tmp_path.glob(".*"))


def test_the_table_is_written_no_more_often_than_asked_for(tmp_path: Path) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    record.save()  # before the first trial there is nothing to tell
    assert list(tmp_path.iterdir()) == []
    add(record, [0.5], "stopped")
    record.save(at_most_every=3600)
    add(record, [0.4], "stopped")
    record.save(at_most_every=3600)
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 2
    record.save()
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(("metric", "best"), [("val_loss", 1), ("val_ap", 2)])
def test_the_leader_is_the_completed_trial_with_the_best_epoch(
    tmp_path: Path, metric: Metric, best: int
) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics[metric])
    assert record.leader() is None
    for values in ([0.5, 0.4, 0.45], [0.3, 0.2, 0.6], [0.5, 0.5, 0.7]):
        add(record, values, "completed")
    add(record, [0.01 if metric == "val_loss" else 0.99], "stopped")
    add(record, [0.01 if metric == "val_loss" else 0.99], "failed")
    leader = record.leader()
    assert leader is not None
    assert leader.number == best


def test_while_none_has_completed_the_best_stopped_trial_leads(tmp_path: Path) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    add(record, [0.5], "stopped")
    add(record, [0.4], "stopped")
    assert record.leader() is record.trials[1]
    add(record, [0.9, 0.9, 0.9], "completed")
    assert record.leader() is record.trials[2]


def test_where_all_have_failed_the_best_that_left_a_checkpoint_leads_and_keeps_it(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"], keep=2)
    add(record, [], "failed")
    assert record.leader() is None
    assert headline(record) == "no trial has finished an epoch"
    died_early = add(record, [0.1], "failed")
    (died_early.run_dir / BEST).unlink()
    assert record.leader() is None
    assert headline(record) == "no trial has ended or left a checkpoint"
    add(record, [0.5, 0.4], "failed")
    leader = add(record, [0.3], "failed")
    assert record.leader() is record.front_runner() is leader
    assert headline(record) == "trial 3, val_loss 0.300000, failed after epoch 1"
    said = describe_result(leader, record, NOTHING, tmp_path)
    assert "trial 3 (failed after epoch 1: it broke), val_loss 0.300000" in said
    record.sweep()
    assert [t.number for t in record.trials if (t.run_dir / BEST).exists()] == [3]
    stopped = add(record, [0.9], "stopped")
    assert record.leader() is record.front_runner() is stopped
    record.sweep()
    assert [t.number for t in record.trials if (t.run_dir / BEST).exists()] == [4]


def test_only_the_leaders_checkpoint_stays_on_the_disk(tmp_path: Path) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    for values in ([0.5, 0.4, 0.3], [0.2, 0.2, 0.2], [0.9, 0.9, 0.9]):
        add(record, values, "completed")
    add(record, [0.1], "failed")
    record.sweep()
    kept = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(map(str, kept)) == [f"trials/001/{BEST}"]


@pytest.mark.parametrize(
    ("keep", "kept"), [(1, [1]), (2, [1, 0]), (3, [1, 0, 3]), (9, [1, 0, 3, 2])]
)
def test_the_best_ones_that_are_to_be_kept_stay_completed_ones_before_stopped_ones(
    tmp_path: Path, keep: int, kept: list[int]
) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"], keep)
    for values in ([0.5, 0.4, 0.3], [0.2, 0.2, 0.2]):
        add(record, values, "completed")
    for values in ([0.15], [0.1]):
        add(record, values, "stopped")
    add(record, [0.01], "failed")
    record.sweep()
    left = [trial.number for trial in record.trials if (trial.run_dir / BEST).exists()]
    assert left == sorted(kept)
    assert not list(tmp_path.rglob(RESUME))


def test_what_a_stopped_trial_still_wrote_is_removed_at_the_next_sweep(tmp_path: Path) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    add(record, [0.2, 0.2, 0.2], "completed")
    late = add(record, [0.5], "stopped")
    record.sweep()
    assert list(late.run_dir.iterdir()) == []
    for name in (BEST, RESUME, f".{BEST}.tmp", f".{RESUME}.tmp"):  # killed while it wrote
        (late.run_dir / name).write_bytes(b"x")
    record.sweep()
    assert list(late.run_dir.iterdir()) == []


def test_a_trial_that_will_resume_keeps_its_curve_and_its_files(tmp_path: Path) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    trial = add(record, [0.5], "interrupted")
    trial.reason = Spent(part="epochs", value=1)
    record.set_state(0, "waiting")
    assert (trial.state, trial.error, trial.values()) == ("waiting", "", [0.5])
    record.sweep()
    assert (trial.run_dir / RESUME).exists()


@pytest.mark.parametrize("state", ["waiting", "running", "paused", "interrupted"])
def test_a_trial_that_may_resume_keeps_all_its_files(tmp_path: Path, state: State) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    add(record, [0.5, 0.4, 0.3], "completed")
    open_end = add(record, [0.9], state)
    record.sweep()
    assert {path.name for path in open_end.run_dir.iterdir()} == {BEST, RESUME}


def test_a_trial_paused_at_a_rung_takes_no_ended_ones_place_on_the_disk(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    stopped, paused = add(record, [0.5], "stopped"), add(record, [0.4], "paused")
    record.sweep()
    assert [path.name for path in stopped.run_dir.iterdir()] == [BEST]
    assert record.leader() is paused


def test_the_result_says_what_won_by_how_much_and_how_to_rerun_it(tmp_path: Path) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    add(record, [0.5, 0.4, 0.3], "completed")
    winner = add(record, [0.5, 0.3, 0.24], "completed", lr=0.002)
    said = describe_result(winner, record, NOTHING, Path("runs/x"))
    assert "trial 1 (completed), val_loss 0.240000, lr=0.002" in said
    assert "val_loss 0.300000 (trial 0, completed after epoch 3)" in said
    assert "; the best had 0.240000, 20.0% better" in said
    assert "\nMattered  cannot be measured: too few\n" in said
    assert said.endswith("python -m kptrain runs/x/best/config.yaml")


def test_defaults_that_were_stopped_are_compared_at_the_same_epoch(tmp_path: Path) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    add(record, [0.5], "stopped")
    winner = add(record, [0.6, 0.3, 0.2], "completed", lr=0.1)
    said = describe_result(winner, record, NOTHING, tmp_path)
    assert "trial 0, stopped after epoch 1); the best had 0.600000 by then, 20.0% worse" in said


def test_the_result_is_plain_where_the_defaults_won_or_failed(tmp_path: Path) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_ap"])
    defaults = add(record, [0.5, 0.6, 0.7], "completed")
    add(record, [0.1, 0.1, 0.1], "completed")
    assert "no trial is better" in describe_result(defaults, record, NOTHING, Path("x"))
    record = Record(tmp_path / "other", KEYPOINTS, KEYPOINTS.metrics["val_ap"])
    record.run_dir.mkdir()
    add(record, [], "failed")
    winner = add(record, [0.5, 0.6, 0.7], "completed")
    assert "failed: it broke" in describe_result(winner, record, NOTHING, Path("x"))


def test_defaults_that_won_as_they_alone_completed_name_what_was_ahead_with_its_boxes(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_ap"])
    defaults = add(record, [0.5, 0.6, 0.7], "completed")
    add(record, [0.9], "stopped", lr=0.1)
    said = describe_result(defaults, record, NOTHING, Path("x"))
    assert "trial 1 had val_ap (ground-truth boxes) 0.900000 (stopped after epoch 1)" in said


def test_an_interrupted_winner_counts_up_to_the_epoch_that_its_checkpoint_has(
    tmp_path: Path,
) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    winner = add(record, [0.5, 0.4, 0.3], "interrupted")
    whole = {"metrics": epoch(3, 0.3)}
    save_checkpoint(whole, winner.run_dir / BEST)
    assert up_to_checkpoint(winner, KEYPOINTS) is winner
    save_checkpoint({"metrics": epoch(2, 0.4)}, winner.run_dir / BEST)
    assert up_to_checkpoint(winner, KEYPOINTS).values() == [0.5, 0.4]
    (winner.run_dir / BEST).unlink()
    with pytest.raises(CheckpointError, match="must be readable here, but is not"):
        up_to_checkpoint(winner, KEYPOINTS)
