"""Searching a training of one's own: its name, its space, its data, and whole searches of it."""

import csv
import importlib
import json
import sys
from pathlib import Path

import pytest
from own_trainings import METRICS, Curve, own
from without_ray import search_alone, trials_in_this_process

from kptrain.errors import KptrainError, SettingsError
from kptrain.resolve import change
from search import resume_search, run_search
from search.backend.trial_actor import TrialActor
from search.journal.journal import Journal
from search.machine.signals import handlers_restored
from search.options import build_parser, keywords
from search.report.__main__ import main as report
from search.request import Request, read_search
from search.space.axes import Range
from search.space.reader import read_space
from search.space.space import resolve_space
from search.trainings.keypoints import KEYPOINTS
from search.trainings.loading import trainable_named
from search.trials.assembly import search_state, searcher_of
from search.trials.beginning import first_line
from search.trials.history import read_history
from search.trials.record import Record, TrialRecord
from search.trials.run_folder import begin_search, journal_of
from search.trials.warm_start import read_earlier_search

ROOT = Path(__file__).parents[2]
RIDGE = "examples.ridge:RIDGE"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with modules in it."""
    (tmp_path / "broken_training.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "another_training.py").write_text("SOMETHING = 3\n")
    (tmp_path / "leaving_training.py").write_text("import sys; sys.exit()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ridge", "must be MODULE:NAME, such as examples.ridge:RIDGE"),
        ("no_such_module:X", "no_such_module must be importable from .* No module named"),
        ("broken_training:X", "broken_training must be importable .* 'a_module_that_is_not_there'"),
        ("leaving_training:X", "leaving_training must be importable .* but is not .SystemExit: "),
        ("another_training:X", "must be an OwnTraining .* but X in another_training is missing"),
        ("another_training:SOMETHING", "but SOMETHING in another_training is int"),
    ],
)
@pytest.mark.usefixtures("modules")
def test_a_name_that_names_no_training_is_reported(name: str, told: str) -> None:
    with pytest.raises(SettingsError, match=f"^--trainable {name}: .*{told}"):
        trainable_named(name)


def test_what_is_named_is_found_and_the_package_has_its_own() -> None:
    assert trainable_named(RIDGE).name == RIDGE
    assert trainable_named(None) is KEYPOINTS


def space_file(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text)
    return path


def test_a_space_takes_types_names_and_metrics_from_the_tree(tmp_path: Path) -> None:
    text = "space: {lr: {low: 0.1, high: 1}, width: {low: 1, high: 9}}\ntrials: 4"
    space = read_space(space_file(tmp_path, text), own())
    assert space.axes == {"lr": Range("float", 0.1, 1.0), "width": Range("int", 1, 9)}
    assert space.metric == METRICS[0]
    assert resolve_space(space, {"epochs": 9}) == Curve(epochs=9)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("space: {optim.lr: [1, 2]}\ntrials: 4", "optim.lr is not a setting; did you mean lr"),
        ("space: {lr: [0.0, 1.0]}\ntrials: 4", "lr must be greater than 0, but got 0.0"),
        ("space: {lr: [1, 2]}\ntrials: 4\nmetric: val_loss", "must be 'loss' or 'accuracy', but"),
        ("space: {sigma: [1, 2]}\ntrials: 4", "metric loss would find .* use metric: accuracy"),
        ("space: {epochs: {low: 0, high: 9}}\ntrials: 4", "space: epochs must be 1 or more, .* 0"),
        ("space: {lr: [1, 2]}\ntrials: 4\nbase: {epochs: 0}", "epochs must be 1 or more, but got"),
        ("space: {lr: [1, 2]}\ntrials: 4\nconfirm: {}", "confirm: must come with a training"),
        (
            "space: {lr: [1, 2]}\ntrials: 4\nbase: {epochs: 3}",
            "must be at most epochs .3., but got",
        ),
    ],
)
def test_a_slip_in_its_space_is_refused_with_its_own_names(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        resolve_space(read_space(space_file(tmp_path, text), own()), {})


def test_data_can_be_named_only_where_a_setting_takes_it(tmp_path: Path) -> None:
    path = space_file(tmp_path, "space: {lr: [0.1, 0.2]}\ntrials: 2\nbase: {epochs: 9}")
    given = build_parser().parse_args([str(path), "--trainable", RIDGE, "--data", "here"])
    with pytest.raises(SettingsError, match="--data: must come with a training that has a setting"):
        read_search(Request(**keywords(given)))


def test_data_are_where_they_were_given_though_trials_run_elsewhere(modules: Path) -> None:
    (modules / "here").mkdir()
    assert own(data="data").data_given("here") == str(modules / "here")
    assert own(data="data").data_given("s3://bucket/x") == "s3://bucket/x"
    with pytest.raises(SettingsError, match="--data: must be a file, a folder or a URL, but"):
        own(data="data").data_given("nowhere")


def test_an_earlier_search_of_another_training_is_no_help(modules: Path) -> None:
    space = read_space(space_file(modules, "space: {lr: [0.1, 0.2]}\ntrials: 4"), own(data="data"))
    past = modules / "past"
    past.mkdir()
    base = resolve_space(space, {})
    first = first_line(space, base, [], None)
    Journal(past / "journal.jsonl").write(first | {"trainable": "other:OTHER"})
    with pytest.raises(SettingsError, match="a search of keypoints, but is one of other:OTH"):
        read_earlier_search(past, space, base)


def test_an_earlier_search_without_fingerprints_is_identified_by_the_path_of_its_data(
    modules: Path,
) -> None:
    text = "space: {lr: [0.1, 0.2]}\ntrials: 4\nasha: {grace_epochs: 6}"
    space = read_space(space_file(modules, text), own(data="data"))
    base, past = resolve_space(space, {}), modules / "past"
    search = begin_search(past, space, base, [])
    with journal_of(search, {}) as journal:
        record = Record(past, space.trainable, space.metric)
        state = search_state(search, record, searcher_of(search), journal)
        assert state.next_trial(lambda: "id") == 0
        for epoch in range(1, 7):
            state.report(0, {"epoch": epoch, "loss": 0.5, "accuracy": 0.5}, "host", "cpu")
    assert len(read_earlier_search(past, space, base).trials) == 1
    elsewhere = change(base, {"data": "/other"}, "test")
    with pytest.raises(SettingsError, match=r"data must be /other, .* but is None"):
        read_earlier_search(past, space, elsewhere)


def test_the_example_is_of_twenty_lines_and_the_readme_shows_it() -> None:
    text = (ROOT / "examples" / "ridge.py").read_text()
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 20
    assert f"```python\n{text}```" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_a_search_of_one_is_confirmed_promoted_reported_resumed_and_distinguished_from_others(
    modules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = space_file(
        modules,
        "space: {lr: {low: 0.1, high: 1.0}}\ntrials: 5\nkeep: 2\nseed: 3\n"
        "asha: {grace_epochs: 2, reduction: 2}\nconfirm: {top: 1, seeds: 2}\n",
    )
    named = ["--trainable", "own_trainings:STORED"]
    done = search_alone(space, "--out", "runs/a", *named, cwd=modules, at_once=2)
    assert done.returncode == 0, done.stderr
    told = done.stdout
    assert "Trains    own_trainings:STORED" in told
    assert "Rerun" not in told
    folder = modules / "runs" / "a"
    history = read_history(folder, trainable_named("own_trainings:STORED"))
    for trial in history.record.trials:
        epochs = (trial.run_dir / "trained.txt").read_text().split()
        assert epochs == [str(n + 1) for n in range(len(trial.curve))]  # none of them twice
        assert not (trial.run_dir / "state.json").exists()
    assert sum((t.run_dir / "best.json").exists() for t in history.record.trials) == 2
    promoted = json.loads((folder / "best" / "provenance.json").read_text())
    assert promoted["trainable"] == "own_trainings:STORED"
    assert len(promoted["confirmed"]["values_by_seed"]) == 2
    with (folder / "best" / "metrics.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 6
    assert (folder / "best" / "best.json").read_text() == str(min(losses))

    page = (folder / "report.html").read_text()
    assert "--trainable own_trainings:STORED --trials 10" in page
    assert "What the best model sees" not in page
    assert report([str(folder), *named]) == 0
    assert report([str(folder)]) == 2
    assert (
        "but got no --trainable; give --trainable own_trainings:STORED" in capsys.readouterr().err
    )
    again = search_alone("--resume", "runs/a", *named, cwd=modules)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1] == told.splitlines()[-1]


@pytest.mark.slow
def test_of_trials_that_all_fail_after_an_epoch_the_best_is_promoted_and_the_error_reported(
    modules: Path,
) -> None:
    space = space_file(
        modules,
        "space: {x: {low: 0.0, high: 0.8}}\ntrials: 2\nconfirm: {top: 1, seeds: 2}\n"
        "asha: {grace_epochs: 1, reduction: 2}\n",
    )
    command = (space, "--trainable", "own_trainings:BROKEN", "--out", "out")
    done = search_alone(*command, cwd=modules)
    assert done.returncode == 2
    out, error = done.stdout, done.stderr
    record = read_history(modules / "out", trainable_named("own_trainings:BROKEN")).record
    best = min(record.trials, key=TrialRecord.rank)
    assert [trial.state for trial in record.trials] == ["failed"] * 2
    assert f"Best      trial {best.number} (failed after epoch 1: KeyError: 'boom')" in out
    assert "Confirm   trials" not in out
    assert error.startswith("error: out: a trial must complete, but each failed; out/best ")
    assert f"trial {best.number}, which failed after epoch 1: KeyError: 'boom'\n" in error
    assert error.count("\n") == 1
    assert (modules / "out/best/best.txt").read_text() == str(best.settings["x"])
    promoted = json.loads((modules / "out/best/provenance.json").read_text())
    assert (promoted["state"], promoted["error"]) == ("failed", "KeyError: 'boom'")


AHEAD = '''
"""Whose files are in a folder of its own, and whose end fails."""
from search import Metric, OwnTraining, Settings

class Config(Settings):
    epochs: int = 3

def fit(config, folder):
    (folder / "states").mkdir(exist_ok=True)
    try:
        for epoch in range(1, config.epochs + 1):
            (folder / "states" / "last.txt").write_text(str(epoch))
            yield {"epoch": epoch, "loss": 1.0}
    finally:
        raise RuntimeError("it cannot be ended")

AHEAD = OwnTraining(Config, fit, [Metric("loss")])
'''


@pytest.mark.slow
def test_a_trial_of_one_has_all_of_its_files_at_the_url_and_harms_no_other(
    modules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (modules / "ahead.py").write_text(AHEAD)
    there = modules / "there"
    asked = {
        **{"trainable": "ahead:AHEAD", "title": "first", "settings": {"epochs": 3}, "epoch": 0},
        **{"run_dir": str(modules / "run"), "rungs": [], "search": "test", "wandb_id": "test"},
        **{"storage": there.as_uri(), "cache": None, "cpu": 1, "gpu": 0.0},
    }
    trial = TrialActor(asked)
    assert trial.step()["report"] == {"epoch": 1, "loss": 1.0}
    assert (there / "states" / "last.txt").read_text() == "1"
    assert trial.reset_config(asked | {"title": "second", "run_dir": str(modules / "other")})
    assert "the end of first: it cannot be ended" in capsys.readouterr().out
    wrong = asked | {"title": "third", "settings": {"epochs": "many"}}
    with pytest.raises(
        SettingsError, match="third: epochs must be a valid integer, but got 'many'"
    ):
        trial.reset_config(wrong)


@pytest.mark.slow
def test_the_example_is_searched_from_python_and_resumed_with_a_larger_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    with handlers_restored(), trials_in_this_process():
        result = run_search("examples/ridge.yaml", "runs/ridge", trainable=RIDGE, trials=4)
        assert result.is_whole
        assert len(result.history.record.trials) == 4
        result = resume_search("runs/ridge", trainable=RIDGE, trials=5)
    assert result.is_whole
    record = result.history.record
    assert len(record.trials) == 5
    leader, defaults = record.leader(), record.trials[0].best()
    assert leader is not None
    best = leader.best()
    assert best is not None
    assert defaults is not None
    assert best < defaults
    assert (tmp_path / "runs" / "ridge" / "best" / "config.yaml").exists()


def test_every_name_of_the_package_is_there() -> None:
    search = importlib.import_module("search")
    assert all(getattr(search, name) is not None for name in search.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        search.nothing  # noqa: B018  (to be asked for is its use)
    assert issubclass(SettingsError, KptrainError)
