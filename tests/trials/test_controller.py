"""A whole search without processes: killed anywhere, it resumes as if nothing had happened."""

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_states import AXES, BASE, Workers, trained

from kptrain.errors import KptrainError
from kptrain.resolve import change
from search.algorithms.asha import Asha
from search.algorithms.rung_sampler import RungSampler
from search.algorithms.searcher import Searcher
from search.journal.journal import Journal, read_events
from search.journal.reasons import Cause, SameFailure
from search.space.budget import Budget, Clock, Spending
from search.trainings.keypoints import KEYPOINTS
from search.trials.controller import SearchState
from search.trials.fold import Parts
from search.trials.record import Record

TRIALS = Budget(trials=12)


def opened(folder: Path, budget: Budget = TRIALS) -> SearchState:
    """The search in a folder, as far as it has come."""
    folder.mkdir(exist_ok=True)
    parts = Parts(
        Record(folder, KEYPOINTS, KEYPOINTS.metrics["val_loss"]),
        Searcher(AXES, [{"optim.lr": 1e-3}], [2, 4, 6], seed=3),
        Asha([2, 4], 2),
        Spending(budget, 2, Clock()),
        lambda _, settings: change(BASE, settings, "test"),
    )
    state = SearchState(parts, Journal(folder / "journal"))
    if state.read_back():
        state.resume(budget)
    return state


def table(state: SearchState) -> list[Any]:
    return [
        (t.settings, t.state, [r["val_loss"] for r in t.curve], t.error)
        for t in state.record.trials
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], bytes]:
    """The table and the journal of a search that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    state = Workers(opened(folder)).to_the_end()
    assert {trial.state for trial in state.record.trials} == {"completed", "stopped"}
    return table(state), (folder / "journal").read_bytes()


@pytest.mark.slow
def test_a_search_killed_after_any_line_ends_as_one_that_was_not(
    whole: tuple[list[Any], bytes], tmp_path: Path
) -> None:
    lines = whole[1].splitlines(keepends=True)
    for count in range(len(lines) + 1):
        (tmp_path / "journal").write_bytes(b"".join(lines[:count]) + lines[0][: count % 7])
        assert table(Workers(opened(tmp_path)).to_the_end()) == whole[0], count


def test_a_search_of_several_at_once_killed_again_and_again_loses_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    for seed in range(12):
        folder, draw = tmp_path / str(seed), random.Random(seed)
        seen: dict[int, list[float]] = {}
        for _ in range(3):
            workers = Workers(opened(folder), at_once=3, seed=seed)
            for number, trial in enumerate(workers.state.record.trials):
                assert trial.values() == seen[number]
            ended = {t.number for t in workers.state.record.trials if t.state == "completed"}
            for _ in range(draw.randrange(1, 40)):
                workers.step()
            assert not ended & set(workers.begun)
            seen = {t.number: t.values() for t in workers.state.record.trials}
        state = Workers(opened(folder), at_once=3, seed=seed).to_the_end()
        assert len(state.record.trials) == 12
        assert {trial.state for trial in state.record.trials} == {"completed", "stopped"}
        told = [e for e in read_events(folder / "journal") if e["event"] == "epoch"]
        assert len(told) == len({(e["trial"], e["report"]["epoch"]) for e in told})
        assert len(told) == state.record.num_epochs()


@pytest.mark.parametrize("why", ["SIGINT", "SIGTERM"])
def test_an_interrupted_search_resumes_as_if_it_had_not_been(
    whole: tuple[list[Any], bytes], tmp_path: Path, why: str
) -> None:
    for steps in range(1, 60, 4):
        folder = tmp_path / str(steps)
        workers = Workers(opened(folder))
        for _ in range(steps):
            workers.step()
        workers.state.interrupt(why)
        stopped = workers.to_the_end()
        assert not {t.state for t in stopped.record.trials} & {"running"}
        assert table(Workers(opened(folder)).to_the_end()) == whole[0]


def test_a_finished_search_resumes_with_more_trials_and_runs_none_again(
    whole: tuple[list[Any], bytes], tmp_path: Path
) -> None:
    (tmp_path / "journal").write_bytes(whole[1])
    assert not opened(tmp_path).has_work()
    state = opened(tmp_path, Budget(trials=15))
    assert state.has_work()
    workers = Workers(state)
    workers.to_the_end()
    assert table(state)[:12] == whole[0]
    assert len(state.record.trials) == 15
    assert min(workers.begun) == 12


def test_a_budget_of_epochs_continues_and_what_it_interrupted_resumes_first(
    tmp_path: Path,
) -> None:
    num_cut = 0
    for epochs in range(10, 20):
        folder, budget = tmp_path / str(epochs), Budget(epochs=epochs)
        workers = Workers(opened(folder, budget))
        for _ in range(9):
            workers.step()
        state = Workers(opened(folder, budget)).to_the_end()
        assert epochs - 1 <= state.record.num_epochs() <= epochs  # a trial begins with two
        cut = [trial for trial in state.record.trials if trial.state == "interrupted"]
        assert not opened(folder, budget).has_work()
        more = Workers(opened(folder, Budget(epochs=40)))
        more.to_the_end()
        assert more.begun[: len(cut)] == [trial.number for trial in cut]
        assert 39 <= more.state.record.num_epochs() <= 40
        assert {trial.error for trial in cut} <= {f"the budget of {epochs} epochs was spent"}
        num_cut += len(cut)
    assert num_cut


def test_hours_are_those_in_which_the_search_ran(tmp_path: Path) -> None:
    state = opened(tmp_path)
    number = state.next_trial(lambda: "id")
    assert number is not None
    state.start(number, 0.5)
    state.clock.set(3000.0)
    state.report(number, trained(state.record.trials[number]), "host", "cpu")
    again = opened(tmp_path, Budget(hours=1, trials=12))
    assert 590 < again.spending.seconds_left() < 600.1
    assert 1499 < again.spending.gpu_seconds() < 1510  # half a GPU, and nothing is held now


def test_a_trial_whose_process_dies_resumes_and_has_failed_after_the_fourth_death(
    tmp_path: Path,
) -> None:
    workers = Workers(opened(tmp_path))
    for _ in range(6):
        workers.step()
    while not workers._running:
        workers.step()
    number = workers.lose()
    workers.step()
    assert workers.begun[-1] == number
    assert table(opened(tmp_path))[number][1] == "waiting"
    for _ in range(2):
        workers.lose()
        workers.step()
    assert workers.begun[-3:] == [number] * 3
    workers.lose()
    trial = workers.state.record.trials[number]
    assert (trial.state, trial.error) == ("failed", "it died (4 times)")
    assert len(workers.to_the_end().record.trials) == 12


def test_a_trial_out_of_memory_resumes_with_twice_the_share_once(tmp_path: Path) -> None:
    workers = Workers(opened(tmp_path))
    workers.step()
    workers.step()
    workers.lose("memory")
    assert workers.state.share(0, 0.5) == 1.0
    assert opened(tmp_path).share(0, 0.5) == 1.0
    assert workers.state.share(0, 0.25) == 1.0
    assert workers.state.share(1, 0.25) == 0.25
    workers.step()
    assert workers.begun == [0, 0]
    assert len(workers.state.record.trials[0].curve) == 1
    workers.state.fail(0, "too large", "memory", 1.0)
    assert table(workers.state)[0][1:] == (
        "failed",
        table(workers.state)[0][2],
        "too large (tried with 0.5 and 1 of a GPU)",
    )


def test_a_trial_of_a_larger_share_has_at_least_what_all_have_when_another_command_gives_more(
    tmp_path: Path,
) -> None:
    workers = Workers(opened(tmp_path))
    workers.step()
    workers.state.fail(0, "too large", "memory", 0.1)
    again = opened(tmp_path)
    assert [again.share(0, share) for share in (0.1, 0.2, 0.5)] == [0.2, 0.2, 0.5]
    assert again.share(0, 0.0) == 0.0  # on a machine without a GPU


@pytest.mark.parametrize("cause", ["own", "memory"])
def test_a_failure_that_another_process_would_repeat_is_final(tmp_path: Path, cause: Cause) -> None:
    workers = Workers(opened(tmp_path))
    workers.step()
    workers.state.fail(0, "a bug", cause, 0.0)
    assert workers.state.record.trials[0].state == "failed"


def fail_first(folder: Path, errors: list[str]) -> SearchState:
    state = opened(folder)
    for error in errors:
        number = state.next_trial(lambda: "id")
        assert number is not None
        state.start(number, 0.0)
        state.fail(number, error, "own", 0.0)
    return state


def test_when_the_first_trials_fail_alike_the_search_ends_and_can_be_resumed(
    tmp_path: Path,
) -> None:
    state = fail_first(tmp_path, [f"no room for {size} bytes" for size in (1, 20, 300)])
    assert state.interrupted == SameFailure(count=3, error="no room for 300 bytes")
    assert state.next_trial(lambda: "id") is None
    assert state.ended
    again = opened(tmp_path)
    assert not again.interrupted
    assert again.next_trial(lambda: "id") == 3


def test_trainings_of_a_confirmation_may_fail_alike(tmp_path: Path) -> None:
    state = opened(tmp_path)
    state._ends_on_same_failure = False
    for number in range(4):
        assert state.next_trial(lambda: "id") == number
        state.fail(number, "the same", "own", 0.0)
    assert not state.interrupted


def test_first_trials_that_fail_each_in_its_own_way_do_not_end_the_search(tmp_path: Path) -> None:
    assert not fail_first(tmp_path, ["one thing", "one thing", "another"]).interrupted


def test_trials_that_fail_alike_after_one_was_trained_do_not_end_the_search(
    tmp_path: Path,
) -> None:
    workers = Workers(opened(tmp_path))
    for _ in range(4):
        workers.step()
    state = workers.state
    for _ in range(4):
        number = state.next_trial(lambda: "id")
        assert number is not None
        state.fail(number, "the same", "own", 0.0)
    assert not state.interrupted


def test_no_sampler_and_no_rule_is_asked_while_a_journal_is_read(
    whole: tuple[list[Any], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "journal").write_bytes(whole[1])
    with monkeypatch.context() as patch:
        for owner, name in (
            (Searcher, "propose"),
            (RungSampler, "sample_relative"),
            (Asha, "decide"),
            (Asha, "next"),
            (Spending, "decide_epoch"),
            (Spending, "may_begin"),
        ):
            patch.setattr(owner, name, None)
        assert table(opened(tmp_path)) == whole[0]


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_lines_that_no_search_wrote_are_refused_and_raise_nothing_else(
    whole: tuple[list[Any], bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "whole").write_bytes(whole[1])
    events = read_events(folder / "whole")
    at = data.draw(st.integers(0, len(events) - 1))
    name = data.draw(st.sampled_from(sorted(events[at])))
    value = data.draw(
        st.none() | st.integers(-2, 20) | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
    )
    journal = Journal(folder / "journal")
    for event in [*events[:at], events[at] | {name: value}]:
        journal.write(event)
    with suppress(KptrainError):
        opened(folder)
