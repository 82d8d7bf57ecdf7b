"""The search on the terminal: a table where there is one, plain lines elsewhere."""

from pathlib import Path

import pytest
from rich.ansi import AnsiDecoder

from kptrain.config import TrainConfig
from kptrain.curve import EpochReport
from kptrain.resolve import change
from search.budget import Budget, Spending
from search.record import Record
from search.terminal import Terminal

CLEAR_LINE = "\x1b[2K"
"""What a live table sends before it is drawn anew."""


def show_a_search(run_dir: Path, budget: Budget) -> None:
    """One trial ends early, the next has reported once, the third waits."""
    record = Record(run_dir, "val_loss")
    base = change(TrainConfig(), {"train.epochs": 3}, "test")
    spending = Spending(budget, grace_epochs=1, clock=lambda: 100.0)
    spending.start(0, gpu=0.5)
    with Terminal(record, spending, max_epochs=3) as terminal:
        first, second, _ = (record.add({"optim.lr": lr}, base) for lr in (1e-3, 1e-2, 1e-4))
        for trial, loss in ((first, 0.5), (second, 0.25)):
            report = EpochReport(1, loss, loss, loss, loss, 0.001, 1.5, 20.0, 1000, True)
            record.report(trial.number, report, "host", "cpu")
            spending.begin(trial.number)
            spending.may_go_on(trial.number)
            terminal.reported(trial, report)
        record.end(first.number, "stopped")
        terminal.ended(first)


def test_a_log_file_has_a_line_an_event_without_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_a_search(tmp_path, Budget(trials=4))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert "trial  1  lr=0.01  epoch  1/3  val_loss 0.250000" in lines[1]
    assert "0/4 trials ended, best val_loss 0.250000" in lines[1]
    assert "trial  0  lr=0.001  stopped after epoch 1  best val_loss 0.500000" in lines[2]


def test_a_terminal_has_the_summary_on_one_line_above_a_row_a_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TTY_COMPATIBLE", "1"), ("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)
    show_a_search(tmp_path, Budget(trials=4))
    last = capsys.readouterr().out.split(CLEAR_LINE)[-1]
    rows = [" ".join(line.plain.split()) for line in AnsiDecoder().decode(last)]
    assert rows[0].startswith("1/4 trials ended, best val_loss 0.250000, at most ")
    assert rows[0].endswith(" left")
    assert rows[1:5] == [
        "trial settings epoch val_loss state",
        "1 lr=0.01 1/3 0.250000 running",
        "2 lr=0.0001 0/3 waiting",
        "0 lr=0.001 1/3 0.500000 stopped",
    ]


def test_what_remains_of_each_part_of_the_budget_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_a_search(tmp_path, Budget(trials=40, hours=2, gpu_hours=1, epochs=900))
    last = capsys.readouterr().out.splitlines()[-1]
    assert "1/40 trials ended, best val_loss 0.250000, 2:00:00 of 2 hours left, " in last
    assert "1:00:00 of 1 GPU hour left, 898 of 900 epochs left, at most 0:" in last


def test_without_a_bound_on_epochs_only_the_hours_left_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_a_search(tmp_path, Budget(hours=0.5))
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("| 1 trial ended, best val_loss 0.250000, 0:30:00 of 0.5 hours left")
