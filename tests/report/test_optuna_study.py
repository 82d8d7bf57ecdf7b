"""The search as an Optuna study: the same trials, live, and after whatever befell the file."""

from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from optuna.visualization.matplotlib import plot_parallel_coordinate, plot_slice
from records import epoch
from search_states import three_trials

from kptrain.config import TrainConfig
from kptrain.resolve import change
from search.report.optuna_study import STUDY, StudyCopy, study_of, trials_off_axes
from search.report.svg import drawing
from search.space.axes import Range
from search.space.budget import Budget
from search.trainings.keypoints import KEYPOINTS
from search.trials.record import Record

AXES = {"optim.lr": Range("float", 2e-4, 1e-2, log=True)}


def load_study(run_dir: Path) -> optuna.Study:
    """As a user would."""
    storage = JournalStorage(JournalFileBackend(str(run_dir / STUDY)))
    return optuna.load_study(study_name=None, storage=storage)


def copied(record: Record) -> list[tuple[TrialState, float, dict[int, float], float | None]]:
    """The study's trials as a reader finds them: state, learning rate, values by epoch, value."""
    return [
        (trial.state, trial.params["optim.lr"], trial.intermediate_values, trial.value)
        for trial in load_study(record.run_dir).trials
    ]


def test_trials_their_epochs_and_their_ends_are_those_of_the_record(tmp_path: Path) -> None:
    state = three_trials(tmp_path, Budget(trials=3), rungs=[1])
    copy = StudyCopy(state.record, AXES)
    copy.sync()
    assert [state for state, *_ in copied(state.record)] == [TrialState.RUNNING] * 3
    state.report(0, epoch(1, 0.5), "host", "cpu")
    state.fail(1, "it broke", "own", gpu=0.5)
    copy.sync()
    state.close()
    copy.sync()
    copy.sync()
    found = copied(state.record)
    assert found[0] == (TrialState.PRUNED, 1e-3, {1: 0.5}, 0.5)
    assert found[1] == (TrialState.FAIL, 1e-2, {}, None)
    assert found[2] == (TrialState.RUNNING, 1e-4, {}, None)  # the axis has room for it
    study = load_study(tmp_path)
    assert study.trials[1].user_attrs["error"] == "it broke"
    assert study.direction == optuna.study.StudyDirection.MINIMIZE


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_torn_study_is_written_anew(tmp_path: Path, cut: int) -> None:
    state = three_trials(tmp_path, Budget(trials=3))
    StudyCopy(state.record, AXES).sync()
    whole = copied(state.record)
    content = (tmp_path / STUDY).read_bytes()
    (tmp_path / STUDY).write_bytes(content[:-cut])
    (tmp_path / f"{STUDY}.lock").write_text("left behind")
    StudyCopy(state.record, AXES).sync()
    assert copied(state.record) == whole
    assert not (tmp_path / f"{STUDY}.lock").exists()


def test_defaults_that_an_axis_has_no_place_for_are_left_out_of_it_alone(tmp_path: Path) -> None:
    """Zero on a log scale, and a limit that is none."""
    axes = {
        "optim.weight_decay": Range("float", 1e-6, 1e-2, log=True),
        "data.limit_train": Range("int", 10, 100),
    }
    record = Record(tmp_path, KEYPOINTS, KEYPOINTS.metrics["val_loss"])
    points: list[tuple[float, int | None]] = [(0.0, None), (1e-4, 20), (1e-3, 90)]
    for number, point in enumerate(points):
        settings = dict(zip(axes, point, strict=True))
        record.add(settings, change(TrainConfig(), settings, "test"))
        record.report(number, epoch(1, 0.5 + number), "host", "cpu")
        record.set_state(number, "completed")
    StudyCopy(record, axes).sync()
    shown = study_of(record, axes, 1, ())
    assert [trial.params for trial in load_study(tmp_path).trials] == [
        {},
        {"optim.weight_decay": 1e-4, "data.limit_train": 20},
        {"optim.weight_decay": 1e-3, "data.limit_train": 90},
    ]
    assert [trial.value for trial in shown.trials] == [1.5, 2.5]
    assert [trial.label for trial in trials_off_axes(record, axes)] == ["0"]
    with drawing():
        plot_slice(shown)
        plot_parallel_coordinate(shown)
