"""Searches through the command of users, and the clusters that they run on."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from kptrain.machine.cores import usable_cores
from search.journal.journal import JOURNAL, read_events

SMALL: dict[str, Any] = {
    "data": {"image_size": [64, 64], "limit_train": 24, "limit_val": 12},
    "model": {
        "trunk": "shufflenet_v2_x0_5",
        "weights": "none",
        "deconv_channels": [16, 16, 16],
    },
    "heatmap": {"sigma_px": 1.0},
}
OWN = ("--trainable", "own_trainings:STORED")
ONE_AT_A_TIME = {"resources": {"cpu": usable_cores()}}


ONE_RAY = """
import os
os.environ["RAY_memory_monitor_refresh_ms"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_prestart_worker_first_driver"] = "0"
from ray.cluster_utils import Cluster
cluster = Cluster()
cluster.add_node(num_cpus=2, include_dashboard=False)
print("address", cluster.address, flush=True)
input()
cluster.shutdown()
"""
"""A cluster of one node with two cores."""

ONE_GPU = """
import os
os.environ["CUDA_VISIBLE_DEVICES"] = "GPU-none"
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1})
print("address", cluster.address, flush=True)
input()
cluster.shutdown()
"""
"""A cluster whose node says that it has a GPU, by a name that none has: Ray schedules shares of it,
trials run on CPUs."""


def write_space(folder: Path, **content: Any) -> Path:
    """A space file over the learning rate, with small settings, unless said otherwise."""
    whole = {
        "base": SMALL | {"train": {"epochs": 3, "threads": 1}},
        "space": {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
        "trials": 5,
        "asha": {"grace_epochs": 1, "reduction": 2},
    }
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(whole | content))
    return path


@contextmanager
def cluster_of(script: str) -> Iterator[str]:
    """A cluster in a process of its own; yields its address."""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env=finds_own_trainings(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        yield next(line for line in cluster.stdout if line.startswith("address ")).split()[1]
        cluster.communicate("stop\n")


def command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def finds_own_trainings() -> dict[str, str]:
    """The environment of a command that is to find the modules of the tests."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2]))}


def run(module: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(module, *arguments),
        cwd=cwd,
        env=finds_own_trainings(),
        capture_output=True,
        text=True,
        check=False,
    )


def watch(
    space: Path, folder: Path, react: Callable[[int, str], None], *options: str
) -> subprocess.CompletedProcess[str]:
    """A search in `folder`, into `out`, of the synthetic data set unless options say otherwise;
    `react` gets its process and each line that it prints."""
    said = ""
    with subprocess.Popen(
        command("search.run", space, "--out", "out", *(options or ("--data", "embedded"))),
        cwd=folder,
        env=finds_own_trainings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            react(process.pid, line)
    return subprocess.CompletedProcess(process.args, process.returncode, said)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def unread(command: list[str]) -> tuple[int, str]:
    """The exit code and standard error of a command whose standard output is not read."""
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, told = process.communicate("go\n")
    assert "Error" not in told
    return process.returncode, told


TIMES = ("seconds", "images_per_second", "peak_memory_bytes")


def table(out: Path) -> list[dict[str, str]]:
    """All that a search repeats: no times."""
    return [{name: row[name] for name in row if name not in TIMES} for row in rows(out)]


def start(folder: Path, *arguments: object, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """A search in a group of processes of its own, so that all of it can be killed."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*before, *command("search.run", *arguments)],
            cwd=folder,
            env=finds_own_trainings(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for(out: Path, count: int, event: str = "epoch") -> None:
    """Until a search has journaled so many events."""
    for _ in range(2400):  # two minutes, for a busy machine
        path = out / JOURNAL
        if path.exists() and sum(e["event"] == event for e in read_events(path)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError((out.parent / "log").read_text())
