"""Searches on a Ray that runs already: their caller's, and a cluster that vanishes."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

RIDGE = ["examples/ridge.yaml", "--trainable", "examples.ridge:RIDGE"]
ROOT = Path(__file__).parents[2]


RAY_ON = """
import os, signal, sys, threading, time
from pathlib import Path
import ray
from kptrain.errors import SettingsError
from ray.util.state import list_actors
from search import run_search

ray.init("local", num_cpus=2, log_to_driver=False)
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
ridge = {"trainable": "examples.ridge:RIDGE", "trials": 2}
try:
    run_search("examples/ridge.yaml", sys.argv[1], address="10.0.0.1:6379", **ridge)
except SettingsError as error:
    print("refused", error)
arguments = ("examples/ridge.yaml", sys.argv[1])
thread = threading.Thread(target=run_search, args=arguments, kwargs=ridge)
thread.start()
thread.join()
assert ray.is_initialized()
assert ray.get(ray.remote(num_cpus=2)(lambda: 3).remote(), timeout=60) == 3  # all is free again
assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

# Ctrl-C, twice, while trials run: nothing of the search is left on the Ray of its caller.
journal = Path(sys.argv[1] + "-cut") / "journal.jsonl"
def twice():
    while not (journal.exists() and '"report"' in journal.read_text()):
        time.sleep(0.1)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
ridge["settings"] = {"epochs": 100_000_000}
threading.Thread(target=twice).start()
cut = run_search("examples/ridge.yaml", sys.argv[1] + "-cut", **ridge)
assert not cut.is_whole
assert ray.get(ray.remote(num_cpus=2)(lambda: 4).remote(), timeout=60) == 4
print("whole")
"""


def test_a_search_uses_the_ray_that_its_caller_has_started_also_in_a_thread_and_leaves_it_on(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RAY_ON, str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is connected to Ray" in done.stdout
    assert "whole" in done.stdout
    assert (tmp_path / "out" / "best").is_dir()


VANISHING = """
import sys
from search.backend import lost_cluster
from search.run import main

lost_cluster.PAUSE, lost_cluster.MOST_SILENT = 0.5, 4  # the rest is Ray's patience
sys.exit(main(sys.argv[1:]))
"""


def kill_gcs(place: str) -> None:
    """Kill what every process of a folder's cluster asks, so that none can continue."""
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = found.read_bytes()
            if b"gcs_server" in words and place.encode() in words:
                os.kill(int(found.parent.name), signal.SIGKILL)


def test_a_search_on_a_cluster_that_vanishes_ends_in_a_line_that_says_how_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # a short name
        monkeypatch.setenv("RAY_TMPDIR", place)
        start = ["start", "--head", "--block", "--port=0", "--num-cpus=1", "--include-dashboard=no"]
        with subprocess.Popen(
            [Path(sys.executable).with_name("ray"), *start],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as cluster:  # fmt: skip
            written = Path(place) / "ray" / "ray_current_cluster"
            while not written.exists():
                assert cluster.poll() is None
                time.sleep(0.2)
            with subprocess.Popen(
                [sys.executable, "-c", VANISHING, *RIDGE, "--address", "auto", "--trials", "1",
                 "--set", "epochs=100000000", "--out", out],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            ) as search:  # fmt: skip
                assert search.stdout is not None
                assert search.stderr is not None
                journal = out / "journal.jsonl"
                while not (journal.exists() and '"report"' in journal.read_text()):
                    assert search.poll() is None, search.stderr.read()
                    time.sleep(0.2)
                kill_gcs(place)
                told = search.stderr.read().splitlines()
                assert search.wait() == 2, told
            cluster.terminate()
    assert [line for line in told if line.startswith("error: ")] == told[-1:]
    assert re.search(rf"cluster .* has vanished; .*--resume {out}", told[-1])
