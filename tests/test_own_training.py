"""A training of one's own: what it may report, what is searched of it, and a search of one."""

import csv
import importlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import Field

from kptrain.config import setting
from kptrain.errors import CheckpointError, KptrainError, SettingsError, TrainingError
from kptrain.locks import held
from search import Metric, OwnTraining, Settings
from search import run as run_command
from search.arguments import build_parser, read_search
from search.domains import Range
from search.history import read_history
from search.keypoints import KEYPOINTS, trainable_named
from search.own_training import Fit, load_own_training
from search.report import main as report
from search.space import read_space, resolve_space
from search.trainable import Report

ROOT = Path(__file__).parents[1]
RIDGE = "examples.ridge:RIDGE"


class Curve(Settings):
    lr: Annotated[float, Field(gt=0)] = 0.1
    """Of nothing."""
    width: int = 4
    sigma: float = setting(1.0, changes="loss")
    data: str | None = None
    seed: int = 0
    epochs: int = 6


METRICS = (Metric("loss", is_loss=True), Metric("accuracy", is_max=True))


def reports(config: Curve, _: Path) -> Iterator[Mapping[str, Any]]:
    for epoch in range(1, config.epochs + 1):
        yield {"epoch": epoch, "loss": 1 / epoch, "accuracy": np.float32(0.5)}


def own(fit: Fit = reports, **named: Any) -> OwnTraining:
    return OwnTraining(Curve, fit, METRICS, **named)


def begun(
    trainable: OwnTraining,
    folder: Path,
    known: int = 0,
    until: int = 6,
    saved: Callable[[], None] = lambda: None,
) -> Generator[Report, None, None]:
    return trainable.stream(
        Curve(),
        folder,
        known=known,
        until=until,
        wait=0.0,
        saved=saved,
        group="search",
        run_id="id",
    )


def test_a_stream_tells_what_is_not_known_up_to_where_it_is_asked_to(tmp_path: Path) -> None:
    saved: list[str] = []
    told = list(begun(own(), tmp_path, 2, 5, lambda: saved.append("epoch")))
    assert [report["epoch"] for report in told] == [3, 4, 5]
    assert len(saved) == 3
    assert json.loads(json.dumps(told[0])) == {"epoch": 3, "loss": 1 / 3, "accuracy": 0.5}


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_training_may_go_on_from_any_epoch_that_is_known(tmp_path: Path, first: int) -> None:
    def fit(config: Curve, folder: Path) -> Iterator[Mapping[str, Any]]:
        return (report for report in reports(config, folder) if report["epoch"] >= first)

    assert [report["epoch"] for report in begun(own(fit), tmp_path, known=2)] == [3, 4, 5, 6]


def test_a_training_that_is_stopped_is_closed_and_lets_go_of_its_folder(tmp_path: Path) -> None:
    closed: list[bool] = []

    def fit(config: Curve, folder: Path) -> Iterator[Mapping[str, Any]]:
        try:
            yield from reports(config, folder)
        finally:
            closed.append(True)

    stream = begun(own(fit), tmp_path)
    next(stream)
    with pytest.raises(CheckpointError, match="must not be in use, but"):
        next(begun(own(), tmp_path))
    stream.close()
    assert closed == [True]
    with held(tmp_path / ".lock"):
        pass


def test_a_list_of_reports_is_a_training(tmp_path: Path) -> None:
    assert (
        len(list(begun(own(lambda config, folder: list(reports(config, folder))), tmp_path))) == 6
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([{"loss": 1, "accuracy": 1}], r"must report epoch, but reports loss, accuracy"),
        ([{"epoch": 1, "loss": 1}], r"must report accuracy, but reports epoch, loss"),
        ([(1, 0.5)], r"must yield mappings, but yields \(1, 0\.5\)"),
        ([{"epoch": 1, "loss": math.nan, "accuracy": 1}], "finite numbers, but loss is nan"),
        ([{"epoch": 1, "loss": "low", "accuracy": 1}], "finite numbers, but loss is 'low'"),
        ([{"epoch": 1, "loss": 1, "accuracy": 1, "lr": 1}], "but reports lr, which is a setting"),
        ([{"epoch": 1, "loss": 1, "accuracy": 1, "state": 1}], "state, which is a column of each"),
        ([{"epoch": 2, "loss": 1, "accuracy": 1}], "every epoch in order, but reports 2 after 0"),
        (
            [{"epoch": 1, "loss": 1, "accuracy": 1}],
            "must report 6 epochs, as epochs says",
        ),
    ],
)
def test_what_no_search_can_use_is_refused(tmp_path: Path, given: list[Any], told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        list(begun(own(lambda *_: given), tmp_path))


def test_epochs_out_of_order_are_refused(tmp_path: Path) -> None:
    given = [{"epoch": epoch, "loss": 1, "accuracy": 1} for epoch in (1, 2, 2)]
    with pytest.raises(TrainingError, match="every epoch in order, but reports 2 after 2"):
        list(begun(own(lambda *_: given), tmp_path))


class Incomplete(Settings):
    lr: float
    epochs: int = 1


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: OwnTraining(Incomplete, reports, METRICS), "Incomplete: must have a default for"),
        (lambda: own(epochs="epoch"), "epochs must name one of its settings, of type int, but got"),
        (
            lambda: own(epochs="lr"),
            "epochs must name one of its settings, of type int, but got 'lr",
        ),
        (lambda: own(seed="data"), "seed must name one of its settings, of type int"),
        (lambda: own(data="seed"), "data must name one of its settings, of type str"),
        (lambda: OwnTraining(Curve, reports, []), "metrics must name one or more, but is empty"),
        (
            lambda: OwnTraining(Curve, reports, [Metric("lr")]),
            "of its own, but lr is a setting",
        ),
        (lambda: OwnTraining(Curve, reports, [Metric("error")]), "error is a column of each table"),
        (lambda: own(best=["a/b.pt"]), "must be names of files in the folder .* got 'a/b.pt'"),
    ],
)
def test_what_cannot_be_searched_is_refused_where_it_is_made(
    make: Callable[[], OwnTraining], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        make()


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with modules in it."""
    (tmp_path / "broken_training.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "another_training.py").write_text("SOMETHING = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ridge", "must be MODULE:NAME, such as examples.ridge:RIDGE"),
        ("no_such_module:X", "no_such_module must be importable from .* No module named"),
        ("broken_training:X", "broken_training must be importable .* 'a_module_that_is_not_there'"),
        ("another_training:X", "must be an OwnTraining .* but X in another_training is not there"),
        ("another_training:SOMETHING", "but SOMETHING in another_training is int"),
    ],
)
@pytest.mark.usefixtures("modules")
def test_a_name_that_names_no_training_is_told_so(name: str, told: str) -> None:
    with pytest.raises(SettingsError, match=f"^--trainable {name}: .*{told}"):
        load_own_training(name)


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
        ("space: {lr: [1, 2]}\ntrials: 4\nconfirm: {}", "needs a training whose seed is a setting"),
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
    path = space_file(tmp_path, "space: {lr: [0.1, 0.2], penalty: [0.0, 0.1]}\ntrials: 2")
    given = build_parser().parse_args([str(path), "--trainable", RIDGE, "--data", "here"])
    with pytest.raises(SettingsError, match="--data: must come with a training that has a setting"):
        read_search(given)
    assert own(data="data").data_of(Curve(data="here")) == "here"


def test_the_example_is_of_twenty_lines_and_the_readme_shows_it() -> None:
    text = (ROOT / "examples" / "ridge.py").read_text()
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 20
    assert f"```python\n{text}```" in (ROOT / "README.md").read_text()


MINE = '''
"""A training that saves its state, goes on from it, and tells which epochs it trains."""
import json
from pathlib import Path
from search import Metric, OwnTraining, Settings

class Config(Settings):
    lr: float = 0.5
    seed: int = 0
    epochs: int = 6

def fit(config, folder):
    state = folder / "state.json"
    done = json.loads(state.read_text()) if state.exists() else []
    for epoch in range(len(done) + 1, config.epochs + 1):
        done.append((config.lr - 0.3) ** 2 + 1 / epoch + 1e-3 * (config.seed % 7))
        state.write_text(json.dumps(done))
        (folder / "best.json").write_text(str(min(done)))
        with open(folder / "trained.txt", "a") as file:
            file.write(f"{epoch}\\n")
        yield {"epoch": epoch, "loss": done[-1]}

FILES = {"best": ["best.json"], "resume": ["state.json"]}
MINE = OwnTraining(Config, fit, [Metric("loss")], seed="seed", **FILES)
'''


@pytest.mark.slow
def test_a_search_of_one_is_confirmed_promoted_reported_gone_on_with_and_told_from_others(
    modules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (modules / "mine.py").write_text(MINE)
    space = space_file(
        modules,
        "space: {lr: {low: 0.1, high: 1.0}}\ntrials: 5\nkeep: 2\nseed: 3\n"
        "asha: {grace_epochs: 2, reduction: 2}\nconfirm: {top: 1, seeds: 2}\n",
    )
    named = ["--trainable", "mine:MINE"]
    assert run_command.main([str(space), "--out", "runs/a", *named]) == 0
    told = capsys.readouterr().out
    assert "Trains    mine:MINE" in told
    assert "Rerun" not in told
    folder = modules / "runs" / "a"
    history = read_history(folder, load_own_training("mine:MINE"))
    for trial in history.record.trials:
        epochs = (trial.run_dir / "trained.txt").read_text().split()
        assert epochs == [str(n + 1) for n in range(len(trial.curve))]  # none of them twice
        assert not (trial.run_dir / "state.json").exists()
    assert sum((t.run_dir / "best.json").exists() for t in history.record.trials) == 2
    promoted = json.loads((folder / "best" / "provenance.json").read_text())
    assert promoted["trainable"] == "mine:MINE"
    assert len(promoted["confirmed"]["values_by_seed"]) == 2
    with (folder / "best" / "metrics.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 6
    assert (folder / "best" / "best.json").read_text() == str(min(losses))

    page = (folder / "report.html").read_text()
    assert "--trainable mine:MINE --trials 80" in page
    assert "What the best model sees" not in page
    assert report([str(folder), *named]) == 0
    assert report([str(folder)]) == 2
    assert "but got no --trainable; give --trainable mine:MINE" in capsys.readouterr().err
    assert run_command.main(["--resume", "runs/a", "--trials", "7", *named]) == 0
    assert "7 of 7" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_the_example_is_searched_by_the_command_that_the_readme_prints(tmp_path: Path) -> None:
    """Where it can be found from; a whole search, from Python."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    code = (
        "from search import run_search\n"
        f"found = run_search('examples/ridge.yaml', 'runs/ridge', trainable='{RIDGE}', trials=6)\n"
        "print(found.record.leader().best(), found.record.trials[0].best())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    best, defaults = map(float, done.stdout.splitlines()[-1].split())
    assert best < defaults
    assert (tmp_path / "runs" / "ridge" / "best" / "config.yaml").exists()


def test_every_name_of_the_package_is_there() -> None:
    search = importlib.import_module("search")
    assert all(getattr(search, name) is not None for name in search.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        search.nothing  # noqa: B018
    assert issubclass(SettingsError, KptrainError)
