"""Ray's memory monitor, on a cluster that has it on: it ends processes, and no search by that."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from in_process import search_here
from search_commands import cluster_of

pytestmark = pytest.mark.slow

GB = 10**9
ROOM = 4 * GB
"""What the cluster and its trials may take beyond what is taken before it starts."""

CLUSTER = """
import os
os.environ["RAY_memory_monitor_refresh_ms"] = "250"
os.environ["RAY_memory_usage_threshold"] = "{threshold}"
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={{"num_cpus": 2}})
print("address", cluster.address, flush=True)
input()
cluster.shutdown()
"""

HUNGRY = '''
"""Takes more memory than its node has: once when its process starts, and once in an epoch."""
import sys
import time
from pathlib import Path

from search import Metric, OwnTraining, Settings

HERE = Path(__file__).parent

def eat(what):
    if "default_worker" not in sys.argv[0] or not (HERE / what).exists():
        return
    (HERE / what).unlink()
    kept = [b"x" * 10**8 for _ in range(80)]
    time.sleep(60)

eat("start")

class Config(Settings):
    lr: float = 0.1
    epochs: int = 3

def fit(config, folder):
    for epoch in range(1, config.epochs + 1):
        if epoch == 2:
            eat("epoch")
        yield {"epoch": epoch, "loss": config.lr / epoch}

HUNGRY = OwnTraining(Config, fit, [Metric("loss")])
'''

UNPATCHED = """
import contextlib, sys, threading
from search.backend import tune_driver
from search import run_search

tune_driver.our_actors = contextlib.nullcontext  # Tune as it is dies of such a kill
found = []
def work():
    found.append(run_search("space.yaml", "out", trainable="hungry:HUNGRY", address=sys.argv[1]))
thread = threading.Thread(target=work)
thread.start()
thread.join()
sys.exit(0 if found else 1)
"""


def in_meminfo(name: str) -> int:
    """Bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    total, available = in_meminfo("MemTotal"), in_meminfo("MemAvailable")
    if available < 2.5 * ROOM:
        pytest.skip(f"needs {2.5 * ROOM / GB:g} GB of free memory, to fill a part of it")
    share = (total - available + ROOM) / total
    with cluster_of(CLUSTER.format(threshold=round(share, 3))) as there:
        yield there


def hungry(folder: Path, *when: str) -> None:
    """A search of one trial that fills its node once at each of these."""
    (folder / "hungry.py").write_text(HUNGRY)
    (folder / "space.yaml").write_text(
        "space: {lr: {low: 0.1, high: 1}}\ntrials: 1\nasha: {grace_epochs: 3}\n"
    )
    for name in when:
        (folder / name).touch()


def events(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (folder / "out" / "journal.jsonl").read_text().splitlines()
    ]


def test_a_trial_that_ray_ends_at_its_start_and_in_an_epoch_resumes_with_more_of_a_node(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hungry(tmp_path, "start", "epoch")
    monkeypatch.setattr(sys, "path", list(sys.path))
    named = ("--trainable", "hungry:HUNGRY")
    done = search_here(address, "space.yaml", *named, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    failed = [event for event in events(tmp_path) if event["event"] == "fail"]
    assert [event["cause"] for event in failed] == ["node_memory", "node_memory"]
    assert "Traceback" not in done.stderr
    assert "restarting it" not in done.stdout
    assert [e["report"]["epoch"] for e in events(tmp_path) if e["event"] == "epoch"] == [1, 2, 3]


def test_a_loop_of_tunes_that_dies_of_it_is_begun_again_and_a_thread_may_search(
    address: str, tmp_path: Path
) -> None:
    hungry(tmp_path, "epoch")
    done = subprocess.run(
        [sys.executable, "-c", UNPATCHED, address],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the memory of its node" in done.stdout
    kinds = [event["event"] for event in events(tmp_path)]
    assert kinds.count("resume") == 1
    assert [e["report"]["epoch"] for e in events(tmp_path) if e["event"] == "epoch"][-1] == 3
