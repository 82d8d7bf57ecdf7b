"""Searches through the command of users, and the clusters that they run on."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from kptrain.machine.cores import usable_cores

SMALL = {
    "data": {"image_size": [64, 64], "limit_train": 24, "limit_val": 12},
    "model": {"deconv_channels": [16, 16, 16]},
    "heatmap": {"sigma_px": 1.0},
}
ONE_AT_A_TIME = {"resources": {"cpu": usable_cores()}}


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
        "base": SMALL | {"train": {"epochs": 3}},
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


def run(module: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(module, *arguments), cwd=cwd, capture_output=True, text=True, check=False
    )


def watch(
    space: Path, folder: Path, react: Callable[[int, str], None]
) -> subprocess.CompletedProcess[str]:
    """A search in `folder`, into `out`; `react` is told its process and each line that it says."""
    said = ""
    with subprocess.Popen(
        command("search.run", space, "--data", "embedded", "--out", "out"),
        cwd=folder,
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
    """The exit code and standard error of a command whose standard output nobody reads."""
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
