"""The search on the terminal: a table where there is one, plain lines elsewhere."""

import json
import math
import sys
from pathlib import Path

import pytest
from records import epoch
from rich.ansi import AnsiDecoder
from search_commands import unread
from search_states import three_trials

from search.console.live_table import sparkline, summary
from search.console.output import Output
from search.console.progress import ProgressLog, Terminal
from search.space.budget import Budget
from search.space.pace import Seconds

CLEAR_LINE = "\x1b[2K"
"""What a live table sends before it is drawn anew."""


def show_a_search(
    run_dir: Path, budget: Budget, output: Output | None = None, metric: str = "val_loss"
) -> None:
    """One trial fails early, the next has reported once, the third waits."""
    state = three_trials(run_dir, budget, metric=metric)
    output = output or Output()
    with output.as_progress(), Terminal(state, 3, output) as terminal:
        for number, loss in ((0, 0.5), (1, 0.25)):
            state.report(number, epoch(1, loss), "host", "cpu")
            terminal.show(state.pop_news())
        state.fail(0, "it broke", "own", gpu=0.5)
        terminal.show(state.pop_news())


def test_a_log_file_has_a_line_an_event_without_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_a_search(tmp_path, Budget(trials=4))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert "trial  1  lr=0.01  epoch  1/3  val_loss 0.250000" in lines[1]
    assert "0/4 trials ended, best val_loss 0.250000" in lines[1]
    assert "trial  0  lr=0.001  failed after epoch 1  best val_loss 0.500000  it broke" in lines[2]


def test_the_boxes_of_an_average_precision_are_named_wherever_its_value_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_a_search(tmp_path, Budget(trials=4), metric="val_ap")
    lines = capsys.readouterr().out.splitlines()
    assert "epoch  1/3  val_ap (ground-truth boxes) 0." in lines[1]
    assert "failed after epoch 1  best val_ap (ground-truth boxes) 0." in lines[2]
    assert all("ended, best val_ap (ground-truth boxes) 0." in line for line in lines)


def test_a_trial_that_pauses_at_a_rung_or_resumes_in_another_process_is_reported_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = three_trials(tmp_path, Budget(trials=4), rungs=[1])
    with Terminal(state, max_epochs=3) as terminal:
        state.report(0, epoch(1, 0.5), "host", "cpu")
        state.fail(1, "its process died", "lost", gpu=0.5)
        terminal.show(state.pop_news())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "trial  0  lr=0.001  epoch  1/3  val_loss 0.500000  | 0/4 trials ended" in lines[0]
    assert "trial  0  lr=0.001  paused after epoch 1  | 0/4 trials ended" in lines[1]
    assert "trial  1  lr=0.01  to be resumed after epoch 0: its process died  |" in lines[2]


def on_a_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> list[str]:
    """The last picture, line by line."""
    shown = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns)}
    for name, value in shown.items():
        monkeypatch.setenv(name, value)
    show_a_search(folder, Budget(trials=4))
    last = capsys.readouterr().out.split(CLEAR_LINE)[-1]
    return [line.plain.rstrip() for line in AnsiDecoder().decode(last)]


def test_a_terminal_has_the_summary_and_a_bar_above_a_row_a_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [" ".join(row.split()) for row in on_a_terminal(80, monkeypatch, capsys, tmp_path)]
    # Two epochs took 100 seconds; of the twelve that four trials have, the failed one left out two.
    assert rows[0] == "1/4 trials ended, best val_loss 0.250000, at most 0:06:40 left"
    assert set(rows[1]) <= set("━╸╺ ")
    assert rows[2:6] == [
        "trial settings epoch curve val_loss state",
        "1 lr=0.01 1/3 ▁ 0.250000 running",
        "2 lr=0.0001 0/3 waiting",
        "0 lr=0.001 1/3 ▁ 0.500000 failed: it broke",
    ]


def test_a_wide_terminal_has_memory_and_place_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [" ".join(row.split()) for row in on_a_terminal(140, monkeypatch, capsys, tmp_path)]
    assert rows[2] == "trial settings epoch curve val_loss GPU memory where state"
    assert rows[3] == "1 lr=0.01 1/3 ▁ 0.250000 0.5 0.00 GB host cpu running"


@pytest.mark.parametrize("columns", [80, 140])
def test_no_line_is_wider_than_the_terminal(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    assert max(map(len, on_a_terminal(columns, monkeypatch, capsys, tmp_path))) <= columns


def test_a_small_curve_goes_from_its_least_to_its_greatest_and_shows_the_latest() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.5]) == "▁"
    assert sparkline([3.0, 2.0, math.nan, 1.0]) == "█▅▁"
    assert sparkline([9.0, *range(10)]) == "▁▂▃▃▄▅▆▆▇█"


def test_json_is_an_object_a_line_on_standard_output_and_the_rest_on_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_a_search(tmp_path, Budget(trials=4), Output("json"))
    said = capsys.readouterr()
    told = [json.loads(line) for line in said.out.splitlines()]
    assert [one["event"] for one in told] == ["started", "started", "epoch", "epoch", "ended"]
    first, last = told[2], told[-1]
    assert (first["event"], first["trial"], first["epoch"], first["value"]) == (
        "epoch",
        "0",
        1,
        0.5,
    )
    failed = {"code": "failed", "error": "it broke", "cause": "own", "shares": [], "num_lost": 0}
    assert (last["state"], last["reason"]) == ("failed", failed)
    assert first["reason"] is None
    assert last["best_of_all"] == 0.25
    assert len(said.err.splitlines()) == 3


def test_quiet_prints_no_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_a_search(tmp_path, Budget(trials=4), Output("quiet"))
    assert capsys.readouterr() == ("", "")


def test_what_remains_of_each_part_of_the_budget_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_a_search(tmp_path, Budget(trials=40, hours=2, gpu_hours=1, epochs=900))
    last = capsys.readouterr().out.splitlines()[-1]
    assert "1/40 trials ended, best val_loss 0.250000, 2:00:00 of 2 hours left, " in last
    assert "1:00:00 of 1 GPU hour left, 898 of 900 epochs left, at most 1:36:40 left" in last


def test_without_a_bound_on_epochs_only_the_hours_left_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_a_search(tmp_path, Budget(hours=0.5))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("| 1 trial ended, best val_loss 0.250000, 0:30:00 of 0.5 hours left")


def test_before_any_epoch_what_was_estimated_is_left_and_then_the_pace_of_real_epochs(
    tmp_path: Path,
) -> None:
    state = three_trials(tmp_path, Budget(trials=4))  # which has run for 100 seconds
    assert summary(state, 3) == "0/4 trials ended, no result yet, at most ? left"
    state.expected = Seconds(90.0, 160.0, 700.0)
    assert (
        summary(state, 3)
        == "0/4 trials ended, no result yet, about 60 s (under 1 s to 10 min) left"
    )
    state.clock.set(160.0)
    assert summary(state, 3) == "0/4 trials ended, no result yet, at most ? left"
    state.clock.set(100.0)
    state.report(1, epoch(1, 0.25), "host", "cpu")
    assert summary(state, 3).endswith("best val_loss 0.250000, at most 0:18:20 left")


def test_a_duration_of_months_is_shown_in_months(tmp_path: Path) -> None:
    state = three_trials(tmp_path, Budget(trials=4))
    state.clock.set(50 * 86400.0)
    state.report(1, epoch(1, 0.25), "host", "cpu")
    assert summary(state, 3).endswith("at most 1.5 years left")  # 11 epochs of 50 days


def test_the_log_of_the_progress_has_a_line_at_each_change(tmp_path: Path) -> None:
    state = three_trials(tmp_path, Budget(trials=3))
    told = ProgressLog(tmp_path / "search.log", state, 3)
    told()
    told()
    state.report(0, epoch(1, 0.5), "host", "cpu")
    told()
    lines = (tmp_path / "search.log").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("0:01:40  0/3 trials ended, no result yet")
    assert lines[1].startswith("0:01:40  0/3 trials ended, best val_loss 0.500000")


@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_search_continues_when_its_output_is_closed(tmp_path: Path, kind: str) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from search.space.budget import Budget\n"
        "from search.console.output import Output\n"
        "from test_progress_lines import show_a_search\n"
        "sys.stdin.readline()\n"
        f"show_a_search(Path(sys.argv[1]), Budget(trials=4), Output({kind!r}))\n"
        "print('not lost', file=sys.stderr)\n"
    )
    assert unread([sys.executable, "-c", code, str(tmp_path)])[1].endswith("not lost\n")
