"""How a trial ended, and why."""

from pathlib import Path

import pytest
from records import add

from search.report.wording import outcomes_of
from search.trainings.keypoints import KEYPOINTS
from search.trials.record import Record


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Five trials, of which two went on beyond epoch 1."""
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    add(record, [0.5, 0.4, 0.3], "completed")
    add(record, [0.4, 0.2], "failed")
    add(record, [0.7], "stopped")
    add(record, [0.6], "paused")
    add(record, [0.45], "stopped")
    return record


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "completed"),
        (1, "failed: it broke"),
        (2, "stopped: 5th of 5 at the rung of epoch 1, 2 promoted"),
        (3, "paused: 4th of 5 at the rung of epoch 1, 2 promoted"),
        (4, "stopped: 2nd of 5 at the rung of epoch 1, 2 promoted"),
    ],
)
def test_a_trial_that_was_stopped_has_its_place_among_those_at_its_rung(
    record: Record, number: int, told: str
) -> None:
    assert outcomes_of(record, [1], is_run=True)[number] == told


def test_where_larger_is_better_the_places_are_reversed(tmp_path: Path) -> None:
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_ap"])
    for value in (0.1, 0.3, 0.2):
        add(record, [value], "stopped")
    told = outcomes_of(record, [1], is_run=True).values()
    assert [words.split()[1] for words in told] == ["3rd", "1st", "2nd"]


def test_a_trial_that_seems_to_run_was_cut_off_if_no_command_runs_the_search(
    record: Record,
) -> None:
    trial = record.trials[2]
    record.set_state(2, "waiting")
    assert outcomes_of(record, [1], is_run=True)[2] == "waiting"
    assert outcomes_of(record, [1], is_run=False)[2] == "cut off after epoch 1"
    trial.curve.clear()
    assert outcomes_of(record, [1], is_run=False)[2] == "cut off before its first epoch"
