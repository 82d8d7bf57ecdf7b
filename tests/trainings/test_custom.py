"""A training of one's own: what it may report, what is searched of it, and a search of one."""

import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import pytest
import torch
from own_trainings import Curve, own, reports
from pydantic import Field

from kptrain.errors import CheckpointError, SettingsError, TrainingError
from kptrain.machine.locks import held
from search import Metric, OwnTraining, Settings, setting
from search.space.training import Report, Stretch

ROOT = Path(__file__).parents[2]
RIDGE = "examples.ridge:RIDGE"


def begun(
    trainable: OwnTraining,
    folder: Path,
    reported: int = 0,
    until: int = 6,
    saved: Callable[[], None] = lambda: None,
) -> Generator[Report, None, None]:
    names = {"group": "search", "run_id": "id"}
    stretch = Stretch(reported=reported, until=until, wait=0.0, saved=saved, **names)
    return trainable.stream(Curve(), folder, stretch)


def test_a_stream_yields_the_reports_that_are_not_recorded_up_to_the_last_one_asked_for(
    tmp_path: Path,
) -> None:
    saved: list[str] = []
    told = list(begun(own(), tmp_path, 2, 5, lambda: saved.append("epoch")))
    assert [report["epoch"] for report in told] == [3, 4, 5]
    assert len(saved) == 3
    assert json.loads(json.dumps(told[0])) == {"epoch": 3, "loss": 1 / 3, "accuracy": 0.5}


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_training_may_resume_from_any_recorded_epoch(tmp_path: Path, first: int) -> None:
    def fit(config: Curve, folder: Path) -> Iterator[Mapping[str, Any]]:
        return (report for report in reports(config, folder) if report["epoch"] >= first)

    assert [report["epoch"] for report in begun(own(fit), tmp_path, reported=2)] == [3, 4, 5, 6]


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


ONE = {"epoch": 1, "loss": 1, "accuracy": 1}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([{"loss": 1, "accuracy": 1}], r"must report epoch, but reports loss, accuracy"),
        ([{"epoch": 1, "loss": 1}], r"must report accuracy, but reports epoch, loss"),
        ([(1, 0.5)], r"must report mappings, but reports \(1, 0\.5\)"),
        (None, "must report by yield, or return something to iterate, but reports None"),
        ([ONE | {"loss": math.nan}], "must report finite numbers of .* but reports loss nan"),
        ([ONE | {"loss": torch.tensor(1.0)}], r"by item\(\)\), but reports loss tensor\(1\.\)"),
        ([ONE | {"epoch": 1.0}], r"must report a whole number as epoch, but reports 1\.0"),
        ([ONE | {"lr": 1}], "but reports lr, which is a setting"),
        ([ONE | {"state": 1}], "state, which is a column of each"),
        ([ONE | {"epoch": 2}], "in order, .* state from which .* reports 2 after 0"),
        ([ONE, ONE], "must report every epoch in order, but reports 1 after 1"),
        ([ONE], "must report 6 epochs, as epochs says, but reports none after 1"),
        ([ONE | {"epoch": n} for n in range(1, 8)], "must report 6 epochs, .* but reports more"),
    ],
)
def test_what_no_search_can_use_is_refused(tmp_path: Path, given: Any, told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        list(begun(own(lambda *_: given), tmp_path))


@pytest.mark.parametrize("reported", [2, 5])
def test_a_state_may_be_an_epoch_ahead_of_the_record_and_reports_it_again(
    tmp_path: Path, reported: int
) -> None:
    """As its process was killed between the two."""

    def fit(config: Curve, folder: Path) -> Iterator[Mapping[str, Any]]:
        return (told for told in reports(config, folder) if told["epoch"] >= reported + 1)

    told = [report["epoch"] for report in begun(own(fit), tmp_path, reported)]
    assert told == list(range(reported + 1, 7))


def test_what_a_training_does_after_its_last_report_is_done_before_that_report_is_passed_on(
    tmp_path: Path,
) -> None:
    def fit(config: Curve, folder: Path) -> Iterator[Mapping[str, Any]]:
        yield from reports(config, folder)
        (folder / "model.pt").touch()

    for told in begun(own(fit), tmp_path):
        assert (tmp_path / "model.pt").exists() == (told["epoch"] == 6)


def test_a_file_that_could_not_be_promoted_is_missed_at_the_first_report(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"must write model\.pt before its first report"):
        next(begun(own(best=["model.pt"]), tmp_path))


def test_what_is_iterated_is_closed_be_it_a_generator_or_not(tmp_path: Path) -> None:
    class Reports:
        is_closed = False

        def __iter__(self) -> Iterator[Mapping[str, Any]]:
            return reports(Curve(), tmp_path)

        def close(self) -> None:
            self.is_closed = True

    given = Reports()
    next(stream := begun(own(lambda *_: given), tmp_path))
    assert not given.is_closed
    stream.close()
    assert given.is_closed


class Incomplete(Settings):
    lr: float
    epochs: int = 1


class WithTuple(Settings):
    sizes: tuple[int, ...] = (1, 2)
    epochs: int = 1


class WithState(Settings):
    state: int = 1
    epochs: int = 1


class WithNone(Settings):
    epochs: int | None = 1


class FewSeeds(Settings):
    seed: Annotated[int, Field(le=100)] = 0
    epochs: int = 1


class WithoutChoice(Curve):
    momentum: float = setting(0.9, only_under={"optimizer": ("sgd",)})


LOSS = [Metric("loss")]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: OwnTraining(Incomplete, reports, LOSS), "Incomplete: must have a valid default"),
        (lambda: OwnTraining(WithTuple, reports, LOSS), r"sizes must be a valid tuple.* Field\(st"),
        (lambda: OwnTraining(WithState, reports, LOSS), "no setting must be called trial, state"),
        (lambda: OwnTraining(WithNone, reports, LOSS), "epochs must name a setting that is an int"),
        (lambda: OwnTraining(FewSeeds, reports, LOSS, seed="seed"), "any integer below 1000000"),
        (
            lambda: OwnTraining(WithoutChoice, reports, LOSS),
            "only_under of momentum must name settings, but got 'optimizer'",
        ),
        (lambda: own(epochs="epoch"), "epochs must name a setting .* got 'epoch'"),
        (lambda: own(epochs="lr"), "epochs must name a setting that is an integer, .* got 'lr"),
        (lambda: own(seed="data"), "seed must name a setting that is an integer"),
        (lambda: own(data="seed"), "data must name a setting that is a text"),
        (lambda: OwnTraining(Curve, reports, []), "metrics must be one Metric or more"),
        (lambda: OwnTraining(Curve, reports, LOSS * 2), "Metric or more, of different names"),
        (lambda: OwnTraining(Curve, reports, cast(Any, ["loss"])), r"one Metric or more.*\['loss'"),
        (lambda: OwnTraining(cast(Any, dict), reports, LOSS), "a subclass of search.Settings"),
        (
            lambda: OwnTraining(Curve, reports, [Metric("lr")]),
            "name of a setting or column, .* got 'lr'",
        ),
        (
            lambda: OwnTraining(Curve, reports, [Metric("error")]),
            "name of a setting or column, .* 'error'",
        ),
        (lambda: own(best=["a/b.pt"]), r"best must be a list of names of files.* \['a/b.pt'"),
        (lambda: own(resume="a.pt"), "resume must be a list of names of files.* got 'a.pt'"),
    ],
)
def test_what_cannot_be_searched_is_refused_when_it_is_constructed(
    make: Callable[[], OwnTraining], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        make()
