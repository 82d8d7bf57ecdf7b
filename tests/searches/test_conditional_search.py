"""Whole searches of a space in which some trials lack an axis."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from own_trainings import BRANCHES
from pages import Parsed
from search_commands import rows
from without_ray import search_alone

from search.report.__main__ import main as report
from search.trials.history import read_history
from search.trials.record import TrialRecord

pytestmark = pytest.mark.slow  # commands and drawings, seconds together

OWN = ("--trainable", "own_trainings:BRANCHES")
SPACE = """\
space:
  name: [plain, heavy]
  lr: {low: 0.1, high: 0.9}
  momentum: {low: 0.0, high: 1.0, when: {name: heavy}}
trials: 36
start: [{name: heavy, momentum: 0.4}]
asha: {grace_epochs: 2, reduction: 2}
confirm: {top: 2, seeds: 2}
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished search in `out`, made by two commands."""
    folder = tmp_path_factory.mktemp("conditional")
    (folder / "space.yaml").write_text(SPACE)
    for command in (["space.yaml", "--trials", 20, "--out", "out"],
                    ["--resume", "out", "--trials", 36]):  # fmt: skip
        done = search_alone(*command, *OWN, cwd=folder, at_once=2)
        assert done.returncode == 0, done.stderr
    return folder


def trials_of(folder: Path) -> list[TrialRecord]:
    return read_history(folder / "out", BRANCHES).record.trials


def test_every_trial_of_a_resumed_search_has_the_axes_that_hold(searched: Path) -> None:
    trials = trials_of(searched)
    assert len(trials) == 36
    assert trials[0].settings == {"name": "plain", "lr": 0.5}
    assert trials[1].settings == {"name": "heavy", "lr": 0.5, "momentum": 0.4}
    for trial in trials:
        assert ("momentum" in trial.settings) == (trial.settings["name"] == "heavy")
    for row in rows(searched / "out"):
        assert (row["momentum"] == "") == (row["name"] == "plain")


def test_it_finds_the_branch_that_is_better_and_promotes_its_settings(searched: Path) -> None:
    best = json.loads((searched / "out/best/provenance.json").read_text())["settings"]
    assert best["name"] == "heavy"
    assert best["momentum"] == pytest.approx(0.8, abs=0.15)
    trained = json.loads((searched / "out/best/best.json").read_text())
    assert {path: trained[path] for path in best} == best


def test_the_confirmation_trains_trials_with_and_without_the_axis(searched: Path) -> None:
    with (searched / "out" / "confirm.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["name"] for row in table} == {"plain", "heavy"}
    for row in table:
        assert (row["momentum"] == "") == (row["name"] == "plain")


def test_its_report_measures_the_axis_among_the_trials_that_have_it(
    searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (searched / "out" / "importance.csv").open(newline="") as file:
        table = {row["setting"]: row for row in csv.DictReader(file)}
    trials = trials_of(searched)
    heavy = sum(trial.settings["name"] == "heavy" for trial in trials)
    assert 10 <= heavy < len(trials)
    assert int(table["momentum"]["trials"]) == heavy
    assert int(table["name"]["trials"]) == len(trials)
    assert report([str(searched / "out"), *OWN]) == 0
    capsys.readouterr()
    page = (searched / "out" / "report.html").read_text()
    sections: Any = Parsed(page).sections
    assert f"of {heavy} trials that have it" in sections["importance"]
    assert "One figure for all trials that have the same settings." in sections["parallel"]
    assert "momentum with name heavy" in page
    assert re.search(r"name=plain lr=[\d.]+(?! momentum)", sections["trials"])


def test_another_search_learns_from_it(searched: Path) -> None:
    (searched / "narrow.yaml").write_text(SPACE.replace("high: 1.0", "high: 0.7"))
    done = search_alone(
        "narrow.yaml", "--trials", 3, *OWN, "--warm-from", "out", "--out", "warm", cwd=searched
    )
    assert done.returncode == 0, done.stderr
    momenta = [trial.settings.get("momentum", 0.0) for trial in trials_of(searched)]
    outside = sum(momentum > 0.7 for momentum in momenta)
    assert f"{36 - outside} of 36 trials of out; {outside} lie outside of this space" in done.stdout


def test_a_search_whose_file_forgets_the_condition_is_refused_with_the_line_to_write(
    tmp_path: Path,
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE.replace(", when: {name: heavy}", ""))
    done = search_alone("space.yaml", *OWN, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: space.yaml: space: momentum must be varied only with name heavy, but name is "
        "varied over ['plain', 'heavy']; add when: {name: heavy}\n"
    )


def test_the_keypoint_training_is_searched_over_optimizers_with_settings_of_their_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "space.yaml").write_text(
        "base: {data: {limit_train: 8, limit_val: 4}, train: {epochs: 2, batch_size: 4}}\n"
        "space:\n  optim.name: [adam, sgd]\n  optim.momentum: {low: 0.5, high: 0.95, when: "
        "{optim.name: sgd}}\n"
        "trials: 4\nasha: {grace_epochs: 1}\nsampler: random\nstart: [{optim.name: sgd}]\n"
    )
    done = search_alone("space.yaml", "--data", "embedded", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = {row["trial"]: row for row in rows(tmp_path / "out")}
    assert [table[n]["optim.name"] for n in ("0", "1")] == ["adam", "sgd"]
    assert [table[n]["optim.momentum"] for n in ("0", "1")] == ["", "0.9"]
    for row in table.values():
        assert (row["optim.momentum"] == "") == (row["optim.name"] == "adam")
