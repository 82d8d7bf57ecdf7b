"""Which tests see a GPU: those marked `gpu` alone, in one process."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tiers import has_gpu_for_itself

TESTS = """
import os, subprocess, sys
from pathlib import Path
import pytest

SHOW = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
Path(__file__).with_name("seen").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
started = subprocess.check_output([sys.executable, "-c", SHOW], text=True)
Path(__file__).with_name("started").write_text(started.strip())

def test_plain():
    pass

@pytest.mark.gpu
def test_gpu():
    pass
"""


@pytest.mark.slow  # a process of pytest, which imports torch
@pytest.mark.parametrize(
    ("asked", "seen", "skipped"),
    [
        (["-m", "gpu"], "none-such", "no CUDA device on this machine"),
        (["-m", "gpu or slow"], "", "-m pytest -m gpu"),
    ],
)
def test_a_gpu_is_seen_where_its_own_tests_run_alone_and_nowhere_else(
    tmp_path: Path, asked: list[str], seen: str, skipped: str
) -> None:
    (tmp_path / "test_tiny.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: x\n    slow: x\n")
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-rs", *asked],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "none-such"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(tmp_path / name).read_text() for name in ("seen", "started")] == [seen, seen]
    assert skipped in done.stdout


@pytest.mark.parametrize(
    ("expression", "others", "is_alone"),
    [
        ("gpu", {}, True),
        ("", {}, False),
        ("gpu or slow", {}, False),
        ("gpu", {"numprocesses": 1}, False),
        ("gpu", {"workerinput": {}}, False),
    ],
)
def test_tests_of_a_gpu_are_alone_with_their_mark_in_one_process(
    expression: str, others: dict[str, Any], is_alone: bool
) -> None:
    options = {"markexpr": expression, "numprocesses": others.get("numprocesses")}
    config = SimpleNamespace(getoption=lambda name, default=None: options.get(name, default))
    if "workerinput" in others:  # as xdist gives it to its processes
        config.workerinput = others["workerinput"]
    assert has_gpu_for_itself(cast(pytest.Config, config)) == is_alone
