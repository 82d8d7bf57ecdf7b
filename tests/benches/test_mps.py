"""NVIDIA's MPS around trainings of the bench, with a program of its name in its place."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bench.gpu.at_once import PROMPT, mps_daemon

CONTROL = """#!/bin/sh
echo "$@ in $CUDA_MPS_PIPE_DIRECTORY: $(cat)" >> {log}
if [ -n "{refusal}" ]; then echo "{refusal}" >&2; exit 1; fi
"""


def put_control(folder: Path, monkeypatch: pytest.MonkeyPatch, refusal: str = "") -> Path:
    """A control program that logs its commands; returns the path of the log."""
    program, log = folder / "nvidia-cuda-mps-control", folder / "log"
    program.write_text(CONTROL.format(log=log, refusal=refusal))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return log


def test_the_daemon_runs_while_the_block_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = put_control(tmp_path, monkeypatch)
    with mps_daemon() as why_not:
        folder = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert why_not == ""
        assert log.read_text() == f"-d in {folder}: \n"
    assert log.read_text() == f"-d in {folder}: \n in {folder}: quit\n"
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ


def test_a_daemon_that_does_not_start_is_reported_and_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = put_control(tmp_path, monkeypatch, refusal="not permitted")
    with mps_daemon() as why_not:
        assert why_not == "not permitted"
    assert log.read_text().startswith("-d in ")
    assert log.read_text().count("\n") == 1


def test_a_daemon_that_holds_on_to_what_it_inherits_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_control(tmp_path, monkeypatch)
    program = tmp_path / "nvidia-cuda-mps-control"
    program.write_text(program.read_text() + f"sleep 60 & echo $! > {tmp_path / 'daemon'}\n")
    began = time.monotonic()
    with mps_daemon() as why_not:
        os.kill(int((tmp_path / "daemon").read_text()), signal.SIGKILL)
        assert why_not == ""
    os.kill(int((tmp_path / "daemon").read_text()), signal.SIGKILL)  # of the call to quit
    assert time.monotonic() - began < PROMPT


def test_a_daemon_that_does_not_answer_is_sent_quit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = put_control(tmp_path, monkeypatch)
    program = tmp_path / "nvidia-cuda-mps-control"
    program.write_text(program.read_text() + '[ "$1" = -d ] && exec sleep 60\n')
    monkeypatch.setattr("bench.gpu.at_once.PROMPT", 0.5)
    with pytest.raises(subprocess.TimeoutExpired), mps_daemon():
        pass
    assert log.read_text().endswith(": quit\n")


def test_a_machine_without_the_daemon_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with mps_daemon() as why_not:
        assert why_not == "no nvidia-cuda-mps-control on this machine"
