"""Searches that earlier versions wrote are read, reported and resumed."""

import json
import shutil
from pathlib import Path

import pytest
from keep_journal import known
from pages import Parsed

from kptrain.errors import CheckpointError
from search import watch
from search.journal.events import FIRST_LINES
from search.journal.journal import JOURNAL, Journal, read_events
from search.report.page import page_of
from search.trainings.keypoints import KEYPOINTS
from search.trials.assembly import search_state, searcher_of
from search.trials.history import read_history
from search.trials.record import Record
from search.trials.run_folder import open_search

pytestmark = pytest.mark.slow  # pages are drawn, seconds together

KEPT = sorted(path for path in (Path(__file__).parents[1] / "journals").iterdir() if path.is_dir())
KINDS = ("begin", "promote", "again", "start", "epoch", "fail", "interrupt", "close", "resume")


@pytest.fixture(params=KEPT, ids=lambda path: path.name)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of one, and what must be known of it."""
    shutil.copytree(request.param, tmp_path / "kept")
    return tmp_path / "kept"


def test_all_that_was_recorded_of_it_is_read(kept: Path) -> None:
    expected = json.loads((kept / "expected.json").read_text())
    assert json.loads(json.dumps(known(read_history(kept, KEYPOINTS)))) == expected


def test_after_its_interruption_it_is_interrupted_until_it_resumes(tmp_path: Path) -> None:
    shutil.copytree(KEPT[0], tmp_path / "kept")
    journal = tmp_path / "kept" / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    kinds = [json.loads(line)["event"] for line in lines]
    for kind, is_interrupted in (("interrupt", True), ("resume", False)):
        journal.write_text("".join(lines[: kinds.index(kind) + 1]))
        reason = read_history(tmp_path / "kept", KEYPOINTS).state.interrupted
        assert (reason is not None) == is_interrupted, kind


def test_its_report_shows_each_trial_and_the_winner(kept: Path) -> None:
    expected = json.loads((kept / "expected.json").read_text())
    page = page_of(read_history(kept, KEYPOINTS))
    trials = Parsed(page).sections["trials"]
    for trial in expected["trials"]:
        best = min(trial["values"], default=None)
        assert best is None or f"{best:.6f}" in trials
    if expected["leader"] is not None:
        assert f"trial {expected['leader']}" in Parsed(page).sections["best"]


def test_it_can_be_watched(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert watch.main([str(kept)]) == 0
    assert "trials ended" in capsys.readouterr().out


def test_it_resumes_with_more_trials(kept: Path) -> None:
    search = open_search(kept, KEYPOINTS, None, {"trials": 40, "epochs": 400}, None)
    journal = Journal(kept / JOURNAL)
    num_lines = len(journal.written)
    record = Record(search.folder, KEYPOINTS, search.space.metric)
    state = search_state(search, record, searcher_of(search), journal)
    assert state.read_back()
    assert len(read_events(kept / JOURNAL)) == num_lines  # nothing is written by reading
    state.resume(search.space)
    begun = [state.next_trial(lambda: "id") for _ in range(10)]
    assert len(record.trials) - 1 in begun
    assert len(read_events(kept / JOURNAL)) == num_lines + 11


def test_each_kind_of_event_and_of_first_line_is_kept() -> None:
    paths = [path for folder in KEPT for path in folder.rglob(JOURNAL)]
    events = [event for path in paths for event in read_events(path)]
    assert {event["event"] for event in events} == {*KINDS, *FIRST_LINES}
    epochs = [event for event in events if event["event"] == "epoch"]
    states = {event["state"] for event in epochs}
    assert states == {"running", "paused", "completed", "stopped", "interrupted"}
    reasons = [event["reason"] for event in epochs if event["reason"]]
    assert {reason["code"] for reason in reasons} == {"budget", "signal"}
    assert any(event["arrival"] and event["arrival"]["trusts"] for event in epochs)
    fails = [event for event in events if event["event"] == "fail"]
    assert {event["cause"] for event in fails} == {"memory", "node_memory", "lost", "own"}
    assert any(event["ends"] for event in fails)


@pytest.mark.parametrize(
    ("number", "version", "reader"),
    [
        (1, None, "kptrain 0.1.0"),
        (3, "0.7.0", "kptrain 0.7.0"),
        (3, None, "the version that began it"),
    ],
)
def test_another_format_is_refused_with_the_version_that_reads_it(
    tmp_path: Path, number: int, version: str | None, reader: str
) -> None:
    told = {} if version is None else {"version": version}
    Journal(tmp_path / JOURNAL).write({"at": 0.0, "event": "search", "format": number} | told)
    with pytest.raises(CheckpointError) as refused:
        read_history(tmp_path, KEYPOINTS)
    assert f"{tmp_path / JOURNAL}:1: must be the journal of a search, of format 2" in str(
        refused.value
    )
    assert f"'search' of {number}; " in str(refused.value)
    assert str(refused.value).endswith(reader)


def test_a_first_line_that_lacks_something_is_named(tmp_path: Path) -> None:
    first = read_events(KEPT[0] / JOURNAL)[0]
    del first["rungs"]
    Journal(tmp_path / JOURNAL).write(first)
    with pytest.raises(CheckpointError, match=r"jsonl:1: rungs must be given, but is missing"):
        read_history(tmp_path, KEYPOINTS)
