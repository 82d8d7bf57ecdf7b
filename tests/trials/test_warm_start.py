"""What is taken over from an earlier search, and what makes it no help."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState
from records import epoch
from small_trainings import FEW
from space_files import resolved

from kptrain.config import TrainConfig
from kptrain.errors import CheckpointError, SettingsError
from kptrain.resolve import change, settings_of
from search.algorithms.earlier import EarlierSearch, EarlierTrial
from search.algorithms.searcher import Searcher
from search.journal.events import Arrival, Begin, Epoch, Event, Fail, Start, as_line
from search.journal.journal import JOURNAL, Journal
from search.journal.reasons import Signal
from search.space.reader import read_space
from search.space.space import Space
from search.trainings.keypoints import KEYPOINTS
from search.trials.record import State
from search.trials.run_folder import begin_search
from search.trials.warm_start import read_earlier_search, read_earlier_searches

TWO_AXES = """
space:
  optim.lr: {low: 1e-4, high: 1e-2, log: true}
  train.batch_size: [4, 8]
trials: 9
asha: {grace_epochs: 3}
"""


class Earlier:
    """An earlier search as its journal has it, and the space of the one that asks."""

    def __init__(self, folder: Path, root: str = "embedded", text: str = TWO_AXES) -> None:
        self.folder = folder / "other"
        path = folder / "space.yaml"
        path.write_text(text)
        self.space = read_space(path, KEYPOINTS)
        fixed = {path: value for path, value in FEW.items() if path not in self.space.axes}
        self.base = resolved(self.space, fixed | {"data.root": root})
        self.theirs: dict[str, Any] = {}
        """Settings of the earlier search's base that differ."""
        self.fingerprints: dict[str, str] = {}
        self.trials: list[tuple[list[float], State, dict[str, Any]]] = []

    def add(self, values: list[float], state: State, **settings: Any) -> None:
        """A trial with these settings, underscores for dots, that ended after these values."""
        said = {name.replace("__", "."): value for name, value in settings.items()}
        self.trials.append((values, state, said))

    def write(self) -> None:
        """Its folder; it varied whatever differs between its trials."""
        base = change(self.base, self.theirs, "test")
        varied: dict[str, list[Any]] = {}
        for path in dict.fromkeys(p for *_, said in self.trials for p in said):
            own = settings_of(base)[path]
            values = [own, *(said.get(path, own) for *_, said in self.trials)]
            varied[path] = [v for n, v in enumerate(values) if v not in values[:n]]
        varied = {path: values for path, values in varied.items() if len(values) > 1}
        file = self.folder.with_suffix(".yaml")
        content = {"space": varied or {"optim.lr": [0.001, 0.5]}, "trials": 99, "metric": "val_ap"}
        file.write_text(yaml.safe_dump(content))
        space = read_space(file, KEYPOINTS)
        shutil.rmtree(self.folder, ignore_errors=True)
        begin_search(self.folder, space, base, [])
        journal = Journal(self.folder / JOURNAL)
        if self.fingerprints:
            journal.write({"at": 0.0, "event": "data", "fingerprints": self.fingerprints})
        for number, (values, state, said) in enumerate(self.trials):
            settings = {axis: said.get(axis, settings_of(base)[axis]) for axis in space.axes}
            for event in events_of(number, settings, values, state):
                journal.write(as_line(event))

    def read(self) -> EarlierSearch:
        self.write()
        return read_earlier_search(self.folder, self.space, self.base)


def events_of(
    number: int, settings: dict[str, Any], values: list[float], state: State
) -> Iterator[Event]:
    """All that happens to a trial, from its begin to its end."""
    yield Begin(at=0, trial=number, settings=settings, wandb_id="id", promised=3, sampler=None)
    yield Start(at=0, trial=number, gpu=0)
    ended: Any = {}
    for done, value in enumerate(values, 1):
        if done == len(values) and state == "stopped":
            out = Arrival(rung=done, is_compared=True, goes_on=False, out=[number], trusts=None)
            ended = {"state": state, "arrival": out, "promised": 0}
        elif done == len(values) and state == "interrupted":
            ended = {"state": state, "reason": Signal(name="SIGINT"), "promised": 0}
        elif done == len(values) and state == "completed":
            ended = {"state": state, "promised": 0}
        told = {"state": "running", "reason": None, "arrival": None, "promised": 1} | ended
        report = epoch(done, value)
        yield Epoch(at=0, trial=number, report=report, host="host", device="cpu", **told)
    if state == "failed":
        end: Any = {"onward": None, "ends": None}
        yield Fail(at=0, trial=number, error="it broke", cause="own", gpu=0, **end)


@pytest.fixture
def earlier(tmp_path: Path) -> Earlier:
    return Earlier(tmp_path)


def refused(earlier: Earlier) -> str:
    with pytest.raises(SettingsError) as error:
        earlier.read()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_completed_and_stopped_trials_are_read_with_their_curves(earlier: Earlier) -> None:
    earlier.add([0.5, 0.3, 0.4], "completed", optim__lr=2e-3, train__batch_size=4)
    earlier.add([0.7], "stopped", optim__lr=5e-3)
    assert earlier.read().trials == [
        EarlierTrial(
            {"optim.lr": 2e-3, "train.batch_size": 4}, [(1, 0.5), (2, 0.3), (3, 0.4)], "completed"
        ),
        EarlierTrial({"optim.lr": 5e-3, "train.batch_size": 8}, [(1, 0.7)], "stopped"),
    ]
    assert str(earlier.read()) == f"2 of 2 trials of {earlier.folder}"


def test_trials_outside_of_the_space_or_without_a_proper_end_are_left_out_and_counted(
    earlier: Earlier,
) -> None:
    earlier.add([0.5, 0.3, 0.4], "completed")
    earlier.add([0.5, 0.3, 0.4], "completed", optim__lr=0.02)
    earlier.add([0.5], "stopped", train__batch_size=16)
    earlier.add([0.5, 0.3], "interrupted", optim__lr=3e-3)
    earlier.add([], "failed", optim__lr=4e-3)
    earlier.add([0.4], "running", optim__lr=5e-3)
    past = earlier.read()
    assert [trial.settings["optim.lr"] for trial in past.trials] == [1e-3]
    assert str(past) == (
        f"1 of 6 trials of {earlier.folder}; 2 lie outside of this space, 3 did not finish"
    )


def test_values_are_those_of_the_axis_also_where_a_setting_spells_them_otherwise(
    tmp_path: Path,
) -> None:
    text = """
space:
  data.limit_train: [null, 6]
  data.image_size: [[64, 64], [96, 64]]
  loss.joint_weights: [[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]]
  schedule.step_epochs: {low: 1, high: 9}
metric: val_ap
trials: 9
asha: {grace_epochs: 3}
"""
    earlier = Earlier(tmp_path, text=text)
    settings = {
        "data.limit_train": None,
        "data.image_size": [96, 64],
        "loss.joint_weights": [2] * 17,  # floats, as a setting
        "schedule.step_epochs": 7,
    }
    earlier.add([0.5], "stopped", **{path.replace(".", "__"): v for path, v in settings.items()})
    (trial,) = earlier.read().trials
    assert trial.settings == settings
    assert type(trial.settings["schedule.step_epochs"]) is int


def test_a_setting_that_was_none_lies_outside_of_a_range(tmp_path: Path) -> None:
    text = TWO_AXES.replace("train.batch_size: [4, 8]", "data.limit_train: {low: 2, high: 9}")
    earlier = Earlier(tmp_path, text=text)
    earlier.add([0.5], "stopped", data__limit_train=None)
    earlier.add([0.5], "stopped", data__limit_train=3)
    assert [trial.settings["data.limit_train"] for trial in earlier.read().trials] == [3]


def test_where_and_how_a_trial_ran_does_not_matter(earlier: Earlier) -> None:
    earlier.theirs = {"train.threads": 7, "wandb.mode": "offline"}
    earlier.add([0.5], "stopped")
    assert len(earlier.read().trials) == 1


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("train.epochs", 5, "train.epochs must be 3, as it is in this search, but is 5; vary it"),
        ("schedule.gamma", 0.7, "schedule.gamma must be 0.5, as it is in this search, but is 0.7"),
        ("data.limit_val", None, "data.limit_val must be 4, as it is in this search, but is None"),
        ("data.image_size", [96, 64], "data.image_size must be [64, 64], as it is in this search"),
        ("train.seed", 1, "train.seed must be 0, as it is in this search, but is 1"),
    ],
)
def test_another_value_of_what_is_no_axis_here_is_refused(
    earlier: Earlier, path: str, value: object, said: str
) -> None:
    earlier.theirs = {path: value}
    earlier.add([0.5], "stopped")
    assert refused(earlier).startswith(f"--warm-from {earlier.folder}: trial 0: {said}")


def test_another_value_of_what_the_earlier_search_varied_is_refused_with_its_trial(
    earlier: Earlier,
) -> None:
    earlier.add([0.5, 0.4, 0.3], "completed")
    earlier.add([0.5], "stopped", schedule__gamma=0.7)
    said = "trial 1: schedule.gamma must be 0.5, as it is in this search, but is 0.7; vary it"
    assert f"--warm-from {earlier.folder}: {said}" in refused(earlier)


def test_an_axis_of_the_other_search_that_is_an_axis_here_too_may_differ_in_its_values(
    tmp_path: Path,
) -> None:
    earlier = Earlier(tmp_path, text=TWO_AXES.replace("train.batch_size", "train.epochs"))
    earlier.add([0.5], "stopped", train__epochs=8)
    earlier.add([0.5], "stopped", train__epochs=5)
    assert [trial.settings["train.epochs"] for trial in earlier.read().trials] == [8]


def test_nothing_to_learn_from_is_refused_with_the_counts(earlier: Earlier) -> None:
    earlier.add([0.5], "stopped", optim__lr=0.5)
    earlier.add([], "failed")
    assert "but has 0 of 2 trials of" in refused(earlier)
    assert "1 lie outside of this space, 1 did not finish; leave it out" in refused(earlier)


def test_the_same_data_at_another_place_is_recognised(tmp_path: Path, small_coco: Path) -> None:
    earlier = Earlier(tmp_path, root=str(small_coco))
    earlier.fingerprints = KEYPOINTS.fingerprints(earlier.base)
    earlier.add([0.5, 0.4, 0.3], "completed")
    earlier.theirs = {"data.root": str(small_coco)}
    moved = tmp_path / "moved"
    moved.symlink_to(small_coco)
    earlier.base = change(earlier.base, {"data.root": str(moved)}, "test")
    assert len(earlier.read().trials) == 1


def test_other_data_is_refused_by_its_fingerprint(
    tmp_path: Path, small_coco: Path, other_data: Path
) -> None:
    earlier = Earlier(tmp_path, root=str(small_coco))
    earlier.fingerprints = KEYPOINTS.fingerprints(earlier.base)
    earlier.add([0.5, 0.4, 0.3], "completed")
    earlier.theirs = {"data.root": str(small_coco)}
    earlier.base = change(earlier.base, {"data.root": str(other_data)}, "test")
    assert f"the train data must be that of this search ({other_data})" in refused(earlier)


def test_where_no_fingerprint_is_recorded_the_data_must_lie_at_the_same_place(
    tmp_path: Path, small_coco: Path
) -> None:
    earlier = Earlier(tmp_path, root=str(small_coco))
    earlier.add([0.5], "stopped")
    assert len(earlier.read().trials) == 1
    earlier.theirs = {"data.root": str(small_coco)}
    earlier.base = change(earlier.base, {"data.root": "embedded"}, "test")
    assert "data.root must be embedded" in refused(earlier)


def test_a_value_that_is_not_finite_is_named_with_its_trial_and_epoch(earlier: Earlier) -> None:
    earlier.add([0.5, float("nan")], "stopped")
    told = "trial 0: val_loss must be a finite number after epoch 2, but is nan"
    assert f"--warm-from {earlier.folder}: {told}" in refused(earlier)


def test_a_broken_line_is_named(earlier: Earlier) -> None:
    earlier.add([0.5, 0.25], "stopped")
    earlier.write()
    journal = Journal(earlier.folder / JOURNAL)
    journal.write({"at": 0.0, "event": "start", "trial": 9, "gpu": 0.5})
    with pytest.raises(CheckpointError, match=r"jsonl:6: trial must be one that has begun, below"):
        read_earlier_search(earlier.folder, earlier.space, earlier.base)


def test_a_folder_without_a_search_is_named(earlier: Earlier) -> None:
    with pytest.raises(CheckpointError, match=r"journal.jsonl: must be the journal of a search"):
        read_earlier_search(earlier.folder, earlier.space, earlier.base)


def test_a_search_named_twice_and_a_sampler_that_learns_nothing_are_refused(
    tmp_path: Path, earlier: Earlier
) -> None:
    earlier.add([0.5], "stopped")
    earlier.write()
    twice = [earlier.folder, tmp_path / "x" / ".." / "other"]
    (tmp_path / "x").mkdir()
    with pytest.raises(SettingsError, match=r"must name a search once"):
        read_earlier_searches(twice, earlier.space, earlier.base)
    by_chance = earlier.space.model_copy(update={"sampler": "random"})
    with pytest.raises(SettingsError, match="sampler: random"):
        read_earlier_searches(twice[:1], by_chance, earlier.base)


def learnt(space: Space, base: TrainConfig, best_lr: float) -> list[float]:
    """Learning rates proposed after the defaults, to who knows 30 trials around the best one."""
    searcher = Searcher.of(space, base)
    for n in range(30):
        settings = {"optim.lr": 1e-4 * 10 ** (n / 15), "train.batch_size": 8}
        distance = abs(settings["optim.lr"] / best_lr - 1)
        searcher.learn(settings, [(3, 1 + distance), (4, distance)], "completed")
    assert searcher.propose(0) == {"optim.lr": base.optim.lr, "train.batch_size": 8}
    return [searcher.propose(number)["optim.lr"] for number in range(1, 9)]


def test_what_was_learnt_draws_the_proposals_and_the_defaults_still_come_first(
    earlier: Earlier,
) -> None:
    low = learnt(earlier.space, earlier.base, best_lr=2e-4)
    high = learnt(earlier.space, earlier.base, best_lr=8e-3)
    assert sorted(low)[4] < 1e-3 < sorted(high)[4]


def test_an_earlier_trial_is_reported_to_optuna_as_it_ended(earlier: Earlier) -> None:
    searcher = Searcher.of(earlier.space, earlier.base)
    settings = {"optim.lr": 2e-3, "train.batch_size": 4}
    searcher.learn(settings, [(1, 0.5), (2, 0.3), (3, 0.4)], "completed")
    searcher.learn(settings, [(1, 0.5)], "stopped")
    completed, stopped = searcher.study.trials
    assert (completed.state, completed.value) == (TrialState.COMPLETE, 0.3)
    assert completed.params == settings
    assert (stopped.state, stopped.value) == (TrialState.PRUNED, None)
    assert stopped.intermediate_values == {1: 0.5}
