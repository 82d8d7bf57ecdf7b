"""What the driver makes of Ray's errors."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray import cloudpickle
from ray.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    NodeDiedError,
    RayTaskError,
    RuntimeEnvSetupError,
)
from ray.exceptions import OutOfMemoryError as NodeIsFullError
from ray.tune.error import TuneError
from records import epoch
from space_files import resolved

from kptrain.errors import CheckpointError, DataError, OutOfMemoryError, TrainingError
from search.backend.failures import LostError, _cause_of_death, in_one_line, kind_of
from search.backend.tune_driver import _Proposer, _run_tune
from search.backend.tune_run import MOST_DEATHS, TuneRun
from search.console.progress import Terminal
from search.journal.journal import Journal
from search.journal.reasons import Cause
from search.space.budget import Budget
from search.space.reader import read_space
from search.trainings.keypoints import KEYPOINTS
from search.trials.assembly import search_state, searcher_of
from search.trials.beginning import first_line
from search.trials.controller import PAUSES
from search.trials.record import Record
from search.trials.run_folder import Search

FULL = OutOfMemoryError("the GPU: must have memory for a batch, but has not; lower the batch size")


def test_the_cause_of_an_actor_that_did_not_start_is_its_last_line() -> None:
    text = (
        "The actor died because of an error raised in its creation task, "
        "\x1b[36mray::TrialActor.__init__()\x1b[39m (pid=1)\n"
        '  File "x.py", line 1\nRuntimeError: CUDA is not there\n'
    )
    assert _cause_of_death(text) == "RuntimeError: CUDA is not there"


def test_a_process_that_is_gone_is_reported() -> None:
    text = "The actor died unexpectedly before finishing this task.\n\tclass_name: X"
    assert _cause_of_death(text).startswith("the trial's process died")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FULL, "memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory"),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors"), "memory"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), "own"),
        (ActorDiedError(), "lost"),
        (NodeDiedError("the node is gone"), "lost"),
        (NodeIsFullError("the node is full"), "node_memory"),
        (LostError(NodeIsFullError("the node is full")).cause, "node_memory"),
        (RuntimeEnvSetupError("no room on the node"), "lost"),
        (ActorUnschedulableError("the node has left"), "lost"),
        (ActorDiedError(RayTaskError("x", "x.py\nRuntimeError: no CUDA", RuntimeError())), "own"),
        (DataError("no such file"), "own"),
        (ZeroDivisionError(), "own"),
    ],
)
def test_another_try_helps_with_more_memory_or_where_a_process_died(
    error: BaseException, kind: Cause
) -> None:
    assert kind_of(error) == kind


class Tune:
    """What Tune does to a search, which resumes if there is one in the folder."""

    def __init__(self, folder: Path, budget: str = "trials: 1") -> None:
        self._folder = folder
        path = folder / "space.yaml"
        path.write_text(
            f"space: {{optim.lr: {{low: 1e-4, high: 1e-2}}}}\n{budget}\nbase: {{train.epochs: 8}}\n"
        )
        space = read_space(path, KEYPOINTS)
        base = resolved(space, {"data.root": "embedded"})
        first_budget = folder / "first"
        if not first_budget.exists():
            first_budget.write_text(space.model_dump_json(include=set(Budget.model_fields)))
        first = first_line(space, base, [], None)
        first["budget"] = json.loads(first_budget.read_text())
        search = Search(folder, space, base, (), first)
        journal, record = (
            Journal(folder / "journal.jsonl"),
            Record(folder, KEYPOINTS, KEYPOINTS.metrics["val_loss"]),
        )
        self.state = search_state(search, record, searcher_of(search), journal)
        if self.state.read_back():
            self.state.resume(space)
        self.run = TuneRun(self.state, Terminal(self.state, 8), lambda: "", 1, 0.25)
        self._num_asked = 0
        self._trial = SimpleNamespace(trial_id="", config={}, pickled_error_file="")

    def ask(self) -> dict[str, Any] | str | None:
        """What runs next."""
        self._num_asked += 1
        return self.run.propose(str(self._num_asked))

    def start(self) -> dict[str, Any]:
        """The next trial, running; its config."""
        config = self.ask()
        assert isinstance(config, dict)
        self._trial.trial_id, self._trial.config = str(self._num_asked), config
        self.run.start(self._trial)
        return config

    def report(self, *epochs: int) -> bool:
        """Report epochs of the trial that was started last; returns whether it keeps running."""
        goes_on = True
        for number in epochs:
            told = {"report": epoch(number, 0.5), "node_host": "host", "device": "cpu"}
            goes_on = self.run.report(self._trial.trial_id, told)
        return goes_on

    def fail(self, error: BaseException) -> None:
        """The trial, as Tune tells it."""
        path = self._folder / "error.pkl"  # where Ray keeps it
        path.write_bytes(cloudpickle.dumps(error))
        self._trial.pickled_error_file = str(path)
        self.run.fail(self._trial)

    def wait(self, seconds: float) -> None:
        clock = self.state.clock
        clock.set(clock.now + seconds)

    def dies(self, times: int) -> bool:
        """Tune's own loop; whether it is begun again."""
        return self.run.restart(RuntimeError("the node is full"), times)

    def end(self) -> None:
        self.run.end()


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tune:
    monkeypatch.setattr("search.backend.tune_run.capacity", lambda *_: 1)
    return Tune(tmp_path)


def test_a_trial_out_of_memory_resumes_with_twice_the_share_once(
    tune: Tune, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tune.start()
    assert tune.report(1)
    tune.fail(FULL)
    again = tune.start()
    assert again == first | {"epoch": 1, "gpu": 0.5}
    assert "to be resumed after epoch 1: the GPU: must have memory" in capsys.readouterr().out
    assert tune.report(2)
    tune.fail(FULL)
    [trial] = tune.state.record.trials
    assert (trial.state, trial.values()) == ("failed", [0.5, 0.5])
    assert trial.error == f"{FULL} (tried with 0.25 and 0.5 of a GPU)"


def test_none_is_asked_for_in_the_room_that_a_larger_share_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}
    monkeypatch.setattr("ray.nodes", lambda: [node])
    tune = Tune(tmp_path, "trials: 9")
    assert [tune.start()["number"] for _ in range(4)] == [0, 1, 2, 3]
    assert tune.ask() is None
    tune.fail(FULL)
    again = tune.start()
    assert (again["number"], again["gpu"]) == (3, 0.5)  # it waits for another to end
    tune.state.fail(0, "a bug", "own", 0.25)
    assert tune.ask() is None
    tune.state.fail(1, "another", "own", 0.25)
    assert tune.start()["number"] == 4  # a half, and two quarters
    assert tune.ask() is None


def test_a_trial_on_a_full_node_resumes_with_twice_as_much_of_a_node_each_time(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = {"Alive": True, "Resources": {"CPU": 3.0, "GPU": 1.0}}
    monkeypatch.setattr("ray.nodes", lambda: [node])
    first = tune.start()
    held = []
    for _ in range(3):
        tune.fail(LostError(NodeIsFullError("Memory on the node (IP: 10.0.0.7, ID: 1) was 9GB")))
        assert tune.ask() is None  # others may fill the node for a while
        tune.wait(PAUSES[-1])
        again = tune.start()
        held.append((again["cpu"], again["gpu"]))
    assert (first["cpu"], first["gpu"]) == (1, 0.25)
    assert held == [(2, 0.5), (3, 1.0), (3, 1.0)]  # as much as the node has
    assert "the memory of its node 10.0.0.7 was full" in capsys.readouterr().out
    tune.fail(LostError(NodeIsFullError("full")))
    [trial] = tune.state.record.trials
    assert trial.state == "failed"
    assert str(trial.error).endswith("(4 times)")


def test_a_loop_of_tunes_that_dies_is_begun_again_until_it_dies_three_times_before_an_epoch(
    tune: Tune,
) -> None:
    tune.start()
    assert tune.report(1, 2)
    for deaths in range(1, MOST_DEATHS + 1):
        assert tune.dies(deaths)
        assert tune.start()["epoch"] == 2
    with pytest.raises(TrainingError, match=r"died 4 times .*the node is full.*--resume"):
        tune.dies(MOST_DEATHS + 1)


def test_a_loop_of_tunes_that_dies_after_ctrl_c_is_not_begun_again(tune: Tune) -> None:
    tune.start()
    tune.state.interrupt("SIGINT")
    assert not tune.dies(1)


def wrapped(raiser: Callable[[], object]) -> TuneError:
    """As Tune does: what is raised is only the context of its own error."""
    try:
        try:
            raiser()
        except Exception:
            raise TuneError("Traceback ...")  # noqa: B904  (as it does)
    except TuneError as error:
        return error
    raise AssertionError("nothing is raised")


@pytest.mark.parametrize(
    "fault",
    [
        CheckpointError("journal.jsonl: must be writable, but the disk is full"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_what_our_own_hooks_raise_ends_the_search_whatever_tune_makes_of_it(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def save(**_: Any) -> None:
        raise fault

    def fit() -> None:
        raise wrapped(lambda: _Proposer(tune.run).suggest("1"))

    monkeypatch.setattr(tune.state.record, "save", save)
    monkeypatch.setattr("search.backend.tune_driver._tuner", lambda _: SimpleNamespace(fit=fit))
    with pytest.raises(type(fault)) as caught:
        _run_tune(tune.run)
    assert caught.value is fault


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_a_loop_of_tunes_that_dies_of_a_connection_is_begun_again(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, is_wrapped: bool
) -> None:
    deaths = iter([True, False])

    def connect() -> None:
        raise ConnectionResetError("the head of the cluster is gone")

    def fit() -> None:
        if next(deaths):
            raise wrapped(connect) if is_wrapped else ConnectionResetError("gone")

    monkeypatch.setattr("search.backend.tune_driver._tuner", lambda _: SimpleNamespace(fit=fit))
    _run_tune(tune.run)
    assert list(deaths) == []


def test_a_trial_whose_process_died_resumes_with_the_share_that_it_had(tune: Tune) -> None:
    first = tune.start()
    assert tune.report(1)
    tune.fail(ActorDiedError())
    assert tune.start() == first | {"epoch": 1}


def test_trials_that_a_spent_budget_interrupted_resume_with_a_larger_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.backend.tune_run.capacity", lambda *_: 1)
    tune = Tune(tmp_path, "epochs: 5\nasha: {grace_epochs: 4}")
    tune.start()
    assert not tune.report(1, 2, 3, 4)  # it is paused at a rung
    tune.start()
    assert not tune.report(5)
    assert tune.state.record.trials[0].error == "the budget of 5 epochs was spent"
    tune = Tune(tmp_path, "epochs: 9\nasha: {grace_epochs: 4}")
    assert tune.start()["epoch"] == 5
    assert not tune.report(6, 7, 8)
    assert tune.state.record.trials[0].state == "completed"


def test_a_trial_out_of_memory_still_has_the_epochs_that_it_was_promised_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.backend.tune_run.capacity", lambda *_: 1)
    tune = Tune(tmp_path, "epochs: 4")  # as many as each trial is promised
    tune.start()
    assert tune.report(1)
    tune.fail(FULL)
    assert not tune.state.spending.may_begin()
    tune.start()
    assert tune.report(2, 3)
    assert not tune.report(4)
    assert not tune.state.spending.may_resume()


def test_a_trials_own_error_ends_it_in_one_line(tune: Tune) -> None:
    tune.start()
    tune.fail(ValueError("no\nnumber"))
    [trial] = tune.state.record.trials
    assert (trial.state, trial.error) == ("failed", "ValueError: no number")
    assert in_one_line(FULL) == str(FULL)


def test_a_trial_paused_at_a_rung_is_work_also_for_a_search_that_had_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.backend.tune_run.capacity", lambda *_: 1)
    first = Tune(tmp_path, "trials: 1")
    first.start()
    assert not first.report(1, 2, 3, 4)  # it waits, until nothing else is left
    first.start()
    assert not first.report(5, 6, 7, 8)
    assert first.ask() == "FINISHED"
    first.end()
    assert not Tune(tmp_path, "trials: 1").state.has_work()
    more = Tune(tmp_path, "trials: 2")
    more.start()
    assert more.report(1, 2, 3)
    more.state.interrupt("SIGINT")
    assert not more.report(4)
    assert more.ask() == "FINISHED"
    last = Tune(tmp_path, "trials: 2")
    assert [trial.state for trial in last.state.record.trials] == ["completed", "paused"]
    assert last.state.has_work()
    assert last.ask() == "FINISHED"
    last.end()
    assert [trial.state for trial in last.state.record.trials] == ["completed", "stopped"]


def test_a_trial_that_was_interrupted_resumes_once_another_leaves_it_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.backend.tune_run.capacity", lambda *_: 2)
    before = Tune(tmp_path, "epochs: 8")
    numbers = [before.start()["number"] for _ in range(2)]
    before.state.interrupt("SIGINT")
    assert not before.report(1)  # the second; the first was under way when all was killed
    after = Tune(tmp_path, "epochs: 5")
    assert [after.start()["number"], after.ask()] == [numbers[0], None]
    after.fail(ValueError("no number"))
    assert after.start()["number"] == numbers[1]
