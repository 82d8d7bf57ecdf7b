"""What a user's terminal shows, at two widths, and what a file gets."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from simulated import simulate

pytestmark = pytest.mark.slow  # processes that import torch

ROWS = 50


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that was killed while two trials ran."""
    folder = tmp_path_factory.mktemp("pty") / "lr"
    simulate(folder, killed_after=30)
    return folder


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "search.watch", str(folder)]


def on_terminal(arguments: list[str], columns: int) -> list[str]:
    """The lines that a command leaves on a terminal, without colours."""
    reader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (ROWS, columns))
    size = {"COLUMNS", "LINES", "NO_COLOR"}
    environment = {k: v for k, v in os.environ.items() if k not in size} | {
        "TERM": "xterm-256color"
    }
    with subprocess.Popen(
        arguments, stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    ):
        os.close(terminal)
        shown = b""
        while part := _read(reader):
            shown += part
    os.close(reader)
    assert b"\x1b[" in shown  # colours, and a cursor that goes back
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    return [line.rpartition("\r")[2] for line in plain.replace("\r\n", "\n").splitlines()]


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 65536)
    except OSError:  # the other end is closed
        return b""


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_of_any_usual_width_shows_all_that_runs(killed: Path, columns: int) -> None:
    lines = on_terminal(command(killed), columns)
    assert max(map(len, lines)) <= columns
    assert max(map(len, lines)) > columns / 2
    drawn = [n for n, line in enumerate(lines) if "/16 trials ended, best val_loss" in line]
    lines = lines[drawn[-1] :]  # each drawing is over the one before
    running = [line for line in lines if line.rstrip().endswith("running")]
    assert len(running) == 2
    assert all(re.search(r"\d/8 +[▁▂▃▄▅▆▇█]+ +0\.\d{6}", line) for line in running)
    assert any("memory" in line for line in lines) == (columns == 140)


def test_a_file_gets_a_plain_line(killed: Path) -> None:
    done = subprocess.run(command(killed), capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.isprintable()
    assert "best val_loss" in line
