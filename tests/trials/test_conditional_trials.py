"""Trials that lack an axis: their table, their journal, and earlier searches that have them."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
from own_trainings import BRANCHES, Branches, loss_of_branch
from space_files import one_line

from kptrain.errors import CheckpointError, SettingsError
from search.algorithms.earlier import EarlierSearch
from search.journal.events import Arrival, Begin, Epoch, Start, as_line
from search.journal.journal import JOURNAL, Journal
from search.report.confirmation import save_confirmation
from search.space.reader import read_space
from search.space.space import resolve_space
from search.trials.assembly import (
    ListedSettings,
    confirmation_state,
    search_state,
    searcher_of,
)
from search.trials.confirmation import Confirmation, fresh_seeds
from search.trials.history import read_history
from search.trials.record import Record
from search.trials.run_folder import Search, begin_search, journal_of
from search.trials.warm_start import read_earlier_search

SPACE = """
space:
  name: [plain, heavy]
  lr: {low: 0.1, high: 0.9}
  momentum: {low: 0.0, high: 1.0, when: {name: heavy}}
asha: {grace_epochs: 2}
"""


def begin(folder: Path, text: str = SPACE, rest: str = "trials: 12\n", **given: Any) -> Search:
    path = folder.with_suffix(".yaml")
    path.write_text(text + rest)
    space = read_space(path, BRANCHES)
    return begin_search(folder, space, resolve_space(space, given), [])


def run(search: Search) -> Record:
    """All trials of a search, one at a time."""
    with journal_of(search, {}) as journal:
        record = Record(search.folder, BRANCHES, search.space.metric)
        state = search_state(search, record, searcher_of(search), journal)
        if state.read_back():
            state.resume(search.space)
        train_all(state)
        state.close()
    return record


def train_all(state: Any) -> None:
    while (number := state.next_trial(lambda: "id")) is not None:
        state.start(number, 0.0)
        trial = state.record.trials[number]
        keeps = True
        while keeps and len(trial.curve) < trial.epochs:
            done = len(trial.curve) + 1
            assert isinstance(trial.config, Branches)
            report = {"epoch": done, "loss": loss_of_branch(trial.config, done)}
            keeps = state.report(number, report, "host", "cpu")
    state.record.save()


def write_trials(search: Search, points: list[dict[str, Any]]) -> None:
    """Trials with these settings, each stopped after an epoch, in the journal of a search."""
    journal = Journal(search.folder / JOURNAL)
    for number, point in enumerate(points):
        out = Arrival(rung=1, is_compared=True, goes_on=False, out=[number], trusts=None)
        ended: Any = {"state": "stopped", "reason": None, "promised": 0, "arrival": out}
        report = {"epoch": 1, "loss": 0.5 + number}
        for event in (
            Begin(at=0, trial=number, settings=point, wandb_id="id", promised=2, sampler=None),
            Start(at=0, trial=number, gpu=0),
            Epoch(at=0, trial=number, report=report, host="host", device="cpu", **ended),
        ):
            journal.write(as_line(event))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_trial_has_the_axes_that_hold_and_the_base_s_value_elsewhere(tmp_path: Path) -> None:
    record = run(begin(tmp_path / "a"))
    names = {trial.settings["name"] for trial in record.trials}
    assert names == {"plain", "heavy"}
    for trial in record.trials:
        assert isinstance(trial.config, Branches)
        is_heavy = trial.settings["name"] == "heavy"
        assert list(trial.settings) == ["name", "lr", *(["momentum"] if is_heavy else [])]
        assert (trial.config.momentum == 0.2) != is_heavy
    for row in rows(tmp_path / "a" / "trials.csv"):
        trial = record.trials[int(row["trial"])]
        assert (row["momentum"] == "") == (row["name"] == "plain")
        assert row["momentum"] == str(trial.settings.get("momentum", ""))
        assert row["seed"] == "0"


def test_its_journal_is_read_and_resumed_to_the_same_trials(tmp_path: Path) -> None:
    whole = run(begin(tmp_path / "a"))
    run(begin(tmp_path / "b", rest="trials: 7\n"))
    first = read_history(tmp_path / "b", BRANCHES)
    assert [t.settings for t in first.record.trials] == [t.settings for t in whole.trials[:7]]
    search = first.search
    more = search.space.model_copy(update={"trials": 12})
    again = run(Search(search.folder, more, search.base, (), search.first, {}))
    assert [t.settings for t in again.trials] == [t.settings for t in whole.trials]


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "plain", "lr": 0.5, "momentum": 0.5},
        {"name": "heavy", "lr": 0.5},
        {"lr": 0.5},
    ],
)
def test_a_journal_with_another_axis_than_those_that_hold_is_refused(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    search = begin(tmp_path / "a")
    write_trials(search, [settings])
    with pytest.raises(CheckpointError, match=r"jsonl:2: settings must name .*, but got"):
        read_history(search.folder, BRANCHES)


def test_the_table_of_a_confirmation_has_each_value_below_its_name(tmp_path: Path) -> None:
    search = begin(tmp_path / "a", rest="trials: 12\nconfirm: {top: 2, seeds: 2}\n")
    record = run(search)
    how = search.space.confirm
    assert how is not None
    confirmation = Confirmation(record, how, fresh_seeds(search.space, search.base, 2))
    points = confirmation.points()
    assert {len(point) for point in points} == {3, 4}  # with the seed
    state = confirmation_state(search, confirmation, ListedSettings(points), confirmation.journal())
    train_all(state)
    assert confirmation.is_whole()
    history = read_history(search.folder, BRANCHES)
    assert history.confirmation is not None
    assert [t.settings for t in history.confirmation.trials] == points
    save_confirmation(confirmation, search.folder)
    table = rows(search.folder / "confirm.csv")
    assert len(table) == 3
    for row in table:
        settings = record.trials[int(row["trial"])].settings
        assert row["momentum"] == str(settings.get("momentum", ""))
        assert (row["name"], row["lr"]) == (settings["name"], str(settings["lr"]))
        assert row["metric"] == "loss"


def earlier(
    tmp_path: Path, text: str, points: list[dict[str, Any]], here: str = SPACE, **given: Any
) -> EarlierSearch:
    """What a space takes from a search of another one with these trials."""
    there = begin(tmp_path / "there", text, **given)
    write_trials(there, points)
    (tmp_path / "here.yaml").write_text(here + "trials: 5\n")
    space = read_space(tmp_path / "here.yaml", BRANCHES)
    return read_earlier_search(there.folder, space, resolve_space(space, {}))


def test_trials_of_an_earlier_search_are_taken_with_the_axes_that_hold_here(
    tmp_path: Path,
) -> None:
    points = [
        {"name": "plain", "lr": 0.5},
        {"name": "heavy", "lr": 0.5, "momentum": 0.7},
        {"name": "heavy", "lr": 0.5, "momentum": 1.7},
    ]
    past = earlier(tmp_path, SPACE.replace("high: 1.0", "high: 2.0"), points)
    assert [trial.settings for trial in past.trials] == points[:2]
    assert past.num_outside == 1


def test_one_without_the_choice_is_taken_where_its_settings_hold(tmp_path: Path) -> None:
    text = "space: {lr: [0.3, 0.5], momentum: [0.2, 0.7]}\nasha: {grace_epochs: 2}\n"
    points = [{"lr": 0.3, "momentum": 0.2}, {"lr": 0.5, "momentum": 0.7}]
    past = earlier(tmp_path, text, points, name="heavy")
    assert [trial.settings for trial in past.trials] == [{"name": "heavy"} | p for p in points]


def test_what_the_earlier_search_did_not_vary_is_a_value_on_the_axis(tmp_path: Path) -> None:
    text = "space: {name: [plain, heavy], lr: [0.3, 0.5]}\nasha: {grace_epochs: 2}\n"
    points = [{"name": "plain", "lr": 0.3}, {"name": "heavy", "lr": 0.5}]
    past = earlier(tmp_path, text, points, momentum=0.9)
    assert [trial.settings for trial in past.trials] == [points[0], points[1] | {"momentum": 0.9}]


def test_a_setting_that_is_no_axis_here_may_differ_where_it_has_no_effect(tmp_path: Path) -> None:
    text = "space: {name: [plain, heavy], lr: [0.3, 0.5]}\nasha: {grace_epochs: 2}\n"
    plain, heavy = {"name": "plain", "lr": 0.3}, {"name": "heavy", "lr": 0.5}
    past = earlier(tmp_path, text, [plain], text, momentum=0.9)
    assert [trial.settings for trial in past.trials] == [plain]
    shutil.rmtree(tmp_path / "there")
    with pytest.raises(SettingsError) as error:
        earlier(tmp_path, text, [plain, heavy], text, momentum=0.9)
    assert "trial 1: momentum must be 0.2, as it is in this search, but is 0.9" in one_line(error)


def test_a_setting_with_an_effect_that_this_search_would_not_give_is_outside_of_it(
    tmp_path: Path,
) -> None:
    """Here only heavy trials have another rate than the base's, 0.5."""
    text = "space: {name: [plain, heavy], lr: [0.3, 0.5]}\nasha: {grace_epochs: 2}\n"
    there = begin(tmp_path / "there", text)
    write_trials(there, [{"name": "plain", "lr": 0.3}, {"name": "plain", "lr": 0.5}])
    (tmp_path / "here.yaml").write_text(
        "space: {name: [plain, heavy], lr: {low: 0.1, high: 0.9, when: {name: heavy}}}\ntrials: 5\n"
        "asha: {grace_epochs: 2}\n"
    )
    space = read_space(tmp_path / "here.yaml", BRANCHES)
    past = read_earlier_search(there.folder, space, resolve_space(space, {}))
    assert [trial.settings for trial in past.trials] == [{"name": "plain"}]
    assert past.num_outside == 1


def test_a_setting_with_an_effect_that_is_no_axis_here_must_be_the_same(tmp_path: Path) -> None:
    text = "space: {lr: [0.3, 0.5]}\nasha: {grace_epochs: 2}\n"
    with pytest.raises(SettingsError) as error:
        earlier(tmp_path, text, [{"lr": 0.3}], epochs=3)
    assert "trial 0: epochs must be 4, as it is in this search, but is 3" in one_line(error)
