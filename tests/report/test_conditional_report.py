"""What is said and shown of settings that only some trials have."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from own_trainings import BRANCHES, Branches

from kptrain.resolve import change
from search.report.importance import describe_importance, importance, save_importance
from search.report.optuna_study import STUDY, StudyCopy, study_of, trials_off_axes
from search.report.setting_figures import _parallel, _slice
from search.report.svg import drawing
from search.space.axes import Axis, Choice, Range
from search.trials.record import Record

HEAVY = {"name": ("heavy",)}
AXES: dict[str, Axis] = {
    "name": Choice(("plain", "heavy")),
    "lr": Range("float", 0.1, 0.9),
    "momentum": Range("float", 0.0, 1.0, when=HEAVY),
}


def searched(
    folder: Path, num: int = 60, share: float = 0.5, heavy: float = 0.0, plain: float = 0.0
) -> Record:
    """Trials at random points: with `heavy` only the momentum matters, with `plain` only the rate.

    share: of the trials with `heavy`; heavy, plain: are added to their losses.
    """
    rng = np.random.default_rng(num)
    record = Record(folder, BRANCHES, BRANCHES.metrics["loss"])
    place = rng.permutation(num)
    for number in range(num):
        momentum, lr = float(rng.uniform(0, 1)), float(rng.uniform(0.1, 0.9))
        noise = 0.02 * float(rng.normal())
        settings: dict[str, Any] = {"name": "plain", "lr": lr}
        value = plain + lr + noise
        if place[number] < share * num:
            settings = {"name": "heavy", "lr": lr, "momentum": momentum}
            value = heavy + abs(momentum - 0.8) + noise
        record.add(settings, change(Branches(), settings, "test"))
        record.report(number, {"epoch": 1, "loss": value}, "host", "cpu")
        record.set_state(number, "completed")
    return record


def test_the_importance_of_an_axis_is_measured_among_the_trials_that_have_it(
    tmp_path: Path,
) -> None:
    """All plain trials are better than all heavy ones, so no heavy one is among the best of all."""
    found = importance(searched(tmp_path, heavy=9.0), AXES)
    shares = {share.path: share for share in found.shares}
    assert found.num_trials == 60
    assert {path: share.num_trials for path, share in shares.items()} == {
        "name": 60,
        "lr": 60,
        "momentum": 30,
    }
    assert shares["momentum"].chance <= 0.05
    assert shares["momentum"].share > 0.15
    assert sum(share.share for share in found.shares) == pytest.approx(1.0)


def test_trials_without_the_axis_do_not_change_what_is_measured_of_it(tmp_path: Path) -> None:
    """Another half of the trials: the measure of the others' own axis is as before."""
    few, many = (
        importance(searched(tmp_path, 60, heavy=9.0, plain=plain), AXES) for plain in (0.0, 0.3)
    )
    one, other = ({s.path: s.share for s in found.shares} for found in (few, many))
    # What is added to all plain values changes no order.
    assert one["momentum"] / one["name"] == pytest.approx(other["momentum"] / other["name"])


def test_it_says_how_many_trials_have_an_axis_and_the_table_holds_it(tmp_path: Path) -> None:
    found = importance(searched(tmp_path, share=0.4), AXES)
    said = describe_importance(found)
    assert said.count("of 24 trials that have it") == 1
    assert "; of 24 trials that have it)" in said[said.index("momentum") :].split(", ")[0]
    assert said.endswith("(loss after epoch 1 of 60 trials)")
    save_importance(found, tmp_path)
    with (tmp_path / "importance.csv").open(newline="") as file:
        counts = {row["setting"]: row["trials"] for row in csv.DictReader(file)}
    assert counts == {"name": "60", "lr": "60", "momentum": "24"}


def test_an_axis_that_too_few_trials_have_has_no_share_and_the_reason_is_given(
    tmp_path: Path,
) -> None:
    found = importance(searched(tmp_path, share=0.1), AXES)
    assert {share.path for share in found.shares} == {"name", "lr"}
    assert found.unmeasured == {"momentum": "10 trials must be comparable, but 6 are"}
    assert "not momentum: 10 trials must be comparable, but 6 are" in describe_importance(found)


def test_where_a_single_axis_can_be_measured_the_reason_names_the_other(tmp_path: Path) -> None:
    axes = {path: AXES[path] for path in ("name", "momentum")}
    found = importance(searched(tmp_path, share=0.1), axes)
    assert found.shares == ()
    assert found.why_not == "momentum: 10 trials must be comparable, but 6 are"


def load_study(folder: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(folder / STUDY)))
    return optuna.load_study(study_name=None, storage=storage)


def test_a_trial_of_the_study_has_the_axes_that_hold(tmp_path: Path) -> None:
    record = searched(tmp_path, 6)
    StudyCopy(record, AXES).sync()
    trials = load_study(tmp_path).trials
    assert [trial.params for trial in trials] == [trial.settings for trial in record.trials]
    assert all(trial.distributions.keys() == trial.params.keys() for trial in trials)
    assert trials_off_axes(record, AXES) == []
    assert len(study_of(record, AXES, 1, ()).trials) == 6


def test_defaults_that_lack_an_axis_do_not_hide_it(tmp_path: Path) -> None:
    record = searched(tmp_path, 6)
    record.trials.sort(key=lambda trial: trial.settings["name"], reverse=True)
    assert "momentum" not in record.trials[0].settings
    shown = study_of(record, AXES, 1, ())
    assert sum("momentum" in trial.params for trial in shown.trials) == 3


def test_a_figure_of_an_axis_shows_the_trials_that_have_it_and_marks_their_best(
    tmp_path: Path,
) -> None:
    study = study_of(searched(tmp_path, 20, heavy=9.0), AXES, 1, ())
    with drawing():
        axes: Any = _slice(study, "momentum", "loss", " with name heavy").axes[0]
    shown, star = axes.collections[0].get_offsets(), axes.collections[-1].get_offsets()
    assert len(shown) == 10
    assert star[0][1] == min(t.values[0] for t in study.trials if "momentum" in t.params)
    assert axes.get_xlabel() == "momentum with name heavy"


def test_parallel_coordinates_are_of_trials_with_the_same_axes(tmp_path: Path) -> None:
    study = study_of(searched(tmp_path, 20), AXES, 1, ())
    with drawing():
        of_heavy = _parallel(study, ("name", "lr", "momentum"), "loss")
        of_plain = _parallel(study, ("name", "lr"), "loss")
    names = [
        [tick.get_text() for tick in f.axes[0].get_xticklabels()] for f in (of_heavy, of_plain)
    ]
    assert names == [["loss", "lr", "momentum", "name"], ["loss", "lr", "name"]]
    collections: list[Any] = [f.axes[0].collections[0] for f in (of_heavy, of_plain)]
    lines = [each.get_segments() for each in collections]
    assert [len(segments) for segments in lines] == [10, 10]
