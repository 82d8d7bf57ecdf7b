"""What a journal is read to, at each of its lines: what the search was, bit for bit."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from search_states import AXES, BASE, Workers, trained

from kptrain.errors import CheckpointError
from kptrain.resolve import change
from search.algorithms.asha import Asha
from search.algorithms.searcher import Searcher
from search.journal.events import Event
from search.journal.journal import Journal, read_events
from search.space.axes import Choice, Range
from search.space.budget import Budget, Clock, Spending
from search.trainings.keypoints import KEYPOINTS
from search.trials.controller import SearchState
from search.trials.fold import Parts
from search.trials.record import Record

MORE: dict[str, Choice | Range] = AXES | {
    "schedule.step_epochs": Range("int", 1, 8),
    "train.batch_size": Choice((2, 4, 8)),
}
DEFAULTS = {"optim.lr": 1e-3, "schedule.step_epochs": 3, "train.batch_size": 4}


def opened(folder: Path) -> SearchState:
    """A search with an early rung, as its journal has it."""
    folder.mkdir(exist_ok=True)
    parts = Parts(
        Record(folder, KEYPOINTS, KEYPOINTS.metrics["val_loss"]),
        Searcher(MORE, [DEFAULTS], [1, 2, 4, 6], seed=3),
        Asha([2, 4], 2, early=1),
        Spending(Budget(trials=26, epochs=110), 2, Clock()),
        lambda _, settings: change(BASE, settings, "test"),
    )
    state = SearchState(parts, Journal(folder / "journal"))
    state.read_back()
    return state


def told(state: SearchState) -> list[str]:
    """All that decides what it does next."""
    searcher: Any = state._source
    spending, asha = state.spending, state.asha
    return [
        repr([(t.settings, t.state, t.curve, t.reason, t.host) for t in state.record.trials]),
        repr([vars(rung) for rung in asha._rungs]),
        repr([asha._passed, asha._best, sorted(state.running), state._to_resume]),
        repr(state.interrupted),
        repr([state._shares, state._rooms, state._not_before, state._num_lost, state._too_small]),
        repr([state._is_closed, state.has_work(), state.wandb_ids, state.clock.now]),
        repr({name: value for name, value in vars(spending).items() if name != "clock"}),
        repr(searcher.memory()),
        repr([(t.params, t.state, t.value, t.intermediate_values) for t in searcher.study.trials]),
    ]


def run(state: SearchState, seed: int, each: Callable[[], None]) -> None:
    """Three trials at once that fail, are lost and interrupted, to the end of the budget."""
    draw, running = random.Random(seed), list[int]()
    happen = state._happen

    def noted(event: Event) -> None:
        happen(event)
        each()

    state._happen = noted  # type: ignore[method-assign]
    state.clock.tick = lambda: state.clock.set(state.clock.now + 1.5)  # type: ignore[method-assign]
    while True:
        if len(running) < 3 and (number := state.next_trial(lambda: "id")) is not None:
            state.start(number, state.share(number, 0.25))
            running.append(number)
            continue
        if not running and state.interrupted:
            state.resume(state.spending.budget)
            continue
        if not running and state.ended:
            state.close()
            return
        if not running:  # a node was full a moment ago
            state.clock.set(state.clock.now + 60)
            continue
        number, dice = draw.choice(running), draw.random()
        if dice < 0.06:
            running.remove(number)
            cause: Any = draw.choice(["lost", "memory", "node_memory", "own"])
            state.fail(number, "it died", cause, state.share(number, 0.25))
            continue
        if dice > 0.97:
            state.interrupt("SIGINT")
        if not state.report(number, trained(state.record.trials[number]), "host", "cpu"):
            running.remove(number)


@pytest.mark.parametrize("seed", range(4))
def test_at_each_line_it_is_what_the_search_was_bit_for_bit(tmp_path: Path, seed: int) -> None:
    state, seen = opened(tmp_path / "live"), list[list[str]]()
    run(state, seed, lambda: seen.append(told(state)))
    lines = (tmp_path / "live" / "journal").read_bytes().splitlines(keepends=True)
    kinds = {event["event"] for event in read_events(tmp_path / "live" / "journal")}
    assert len(lines) == len(seen) > 140
    assert kinds >= {"begin", "start", "epoch", "promote", "again", "fail", "close"}
    assert state.asha._rungs[0].is_trusted is not None  # it was judged
    (tmp_path / "read").mkdir()
    for count in range(1, len(lines) + 1, 3 if seed == 0 else 17):
        (tmp_path / "read" / "journal").write_bytes(b"".join(lines[:count]))
        assert told(opened(tmp_path / "read")) == seen[count - 1], count


def test_resuming_from_any_line_with_the_same_results_writes_the_same_lines(
    tmp_path: Path,
) -> None:
    Workers(opened(tmp_path / "whole")).to_the_end()
    whole = [without_time(e) for e in read_events(tmp_path / "whole" / "journal")]
    lines = (tmp_path / "whole" / "journal").read_bytes().splitlines(keepends=True)
    for count in range(0, len(lines), 11):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "journal").write_bytes(b"".join(lines[:count]))
        state = opened(folder)
        workers = Workers(state)
        if state.running:  # its process is still there
            (number,) = state.running
            if state.record.trials[number].state == "waiting":
                state.start(number, 0.5)
            workers._running.append(number)
        workers.to_the_end()
        assert [without_time(e) for e in read_events(folder / "journal")] == whole, count


def without_time(event: dict[str, Any]) -> dict[str, Any]:
    return event | {"at": 0}


@pytest.mark.parametrize(
    ("at", "change", "said"),
    [
        (0, {"event": "start"}, "must be given, but is missing"),
        (0, {"event": "birth"}, "event must be a known one, but got 'birth'"),
        (0, {"event": None}, "event must be a known one, but got None"),
        (0, {"trial": 3}, "trial must be 0, but got 3"),
        (0, {"trial": -1}, "trial must be greater than or equal to 0, but got -1"),
        (0, {"trial": "0"}, "trial must be a valid integer, but got '0'"),
        (0, {"promised": 0}, "promised must be greater than or equal to 1, but got 0"),
        (0, {"sampler": None}, "sampler must hold the state of a generator and logs"),
        (
            0,
            {"settings": {}},
            "settings must name optim.lr, schedule.step_epochs, ",
        ),
        (0, {"more": 1}, "more must be"),
        (1, {"trial": 1}, "trial must be one that has begun, below 1, but got 1"),
        (1, {"gpu": -0.5}, "gpu must be greater than or equal to 0, but got -0.5"),
        (1, {"at": float("nan")}, "at must be a finite number, but got nan"),
        (2, {"report": {"epoch": 2}}, "report.epoch must be 1, the next of trial 0, but got 2"),
        (2, {"report": {"epoch": 1}}, "report.val_loss must be a number, but got None"),
        (2, {"state": "begun"}, "state must be 'running', 'paused', "),
        (2, {"state": "interrupted"}, "promised 0"),
        (2, {"promised": 0}, "promised 0"),
        (2, {"reason": {"code": "budget", "part": "days", "value": 1}}, "part must be 'hours', "),
    ],
)
def test_a_line_that_cannot_be_is_named_with_what_must_hold_and_what_was_given(
    tmp_path: Path, at: int, change: dict[str, Any], said: str
) -> None:
    workers = Workers(opened(tmp_path / "whole"))
    for _ in range(3):
        workers.step()
    events = read_events(tmp_path / "whole" / "journal")
    (tmp_path / "other").mkdir()
    journal = Journal(tmp_path / "other" / "journal")
    for event in [*events[:at], events[at] | change]:
        journal.write(event)
    with pytest.raises(CheckpointError) as refused:
        opened(tmp_path / "other")
    assert str(refused.value).startswith(f"{journal.path}:{at + 1}: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            {"event": "promote", "trial": 0, "rung": 2, "promised": 1},
            "must be paused at the rung of",
        ),
        (
            {"event": "again", "trial": 0, "promised": 1},
            "trial must be one to resume",
        ),
    ],
)
def test_a_trial_that_is_not_paused_cannot_be_promoted(
    tmp_path: Path, event: dict[str, Any], said: str
) -> None:
    Workers(opened(tmp_path)).step()
    Journal(tmp_path / "journal").write({"at": 1.0} | event)
    with pytest.raises(CheckpointError, match=rf"journal:3: .*{said}"):
        opened(tmp_path)


def test_an_event_that_cannot_be_is_not_written(tmp_path: Path) -> None:
    state = opened(tmp_path)
    with pytest.raises(ValueError, match="trial must be one that has begun, below 0, but got 0"):
        state.start(0, 0.5)
    assert not (tmp_path / "journal").exists()
