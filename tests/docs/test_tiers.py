"""Which tests see a GPU: those marked `gpu` alone, in one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # processes of pytest, each of which imports torch

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


@pytest.mark.parametrize(
    ("asked", "seen", "skipped"),
    [
        (["-m", "gpu"], "none-such", "no CUDA device on this machine"),
        (["-m", "gpu", "--numprocesses", "1"], "", "-m pytest -m gpu"),
        (["-m", "gpu or slow"], "", "-m pytest -m gpu"),
        ([], "", "-m pytest -m gpu"),
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
