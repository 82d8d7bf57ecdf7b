"""A search whose results go to a URL, on a cluster that loses a node."""

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from in_process import run_here
from search_commands import (
    SMALL,
    rows,
    start,
    wait_for,
    write_space,
)

from search.run import main

pytestmark = pytest.mark.slow


THREE_NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
lost = cluster.add_node(num_cpus=1)
cluster.add_node(num_cpus=1)
print("address", cluster.address, flush=True)
for order in sys.stdin:
    if order == "kill\\n":
        cluster.remove_node(lost, allow_graceful=False)
    elif order == "add\\n":
        cluster.add_node(num_cpus=1)
    else:
        break
cluster.shutdown()
"""


@contextmanager
def three_nodes() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Two workers and a head; yields the address, and the process that kills and adds nodes."""
    with subprocess.Popen(
        [sys.executable, "-c", THREE_NODES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        line = next(line for line in cluster.stdout if line.startswith("address "))
        yield line.split()[1], cluster
        cluster.communicate("stop\n")


OWN_DISK = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none runs && exec "$@"', "sh")
"""Before a command: its folder `runs` is empty, and no other process sees it."""


def test_neither_a_node_nor_the_disk_of_the_command_is_missed_where_results_go_to_a_url(
    tmp_path: Path,
) -> None:
    (tmp_path / "runs").mkdir()
    if subprocess.run([*OWN_DISK, "true"], check=False, cwd=tmp_path).returncode:
        pytest.skip("no disk can be mounted for one process alone here")
    base = SMALL | {"train": {"epochs": 12}, "checkpoint": {"resume_epochs": 1}}
    space = write_space(tmp_path, base=base, trials=3, asha={"grace_epochs": 12})
    out = tmp_path / "lr"
    with three_nodes() as (address, cluster):
        there = ["--address", address]
        begin = [space, "--data", "embedded", *there, "--out", out.as_uri()]
        search = start(tmp_path, *begin, before=OWN_DISK)
        wait_for(out, 4)
        assert cluster.stdin is not None
        for order in ("kill\n", "add\n"):
            cluster.stdin.write(order)
            cluster.stdin.flush()
        wait_for(out, 1, "again")
        wait_for(out, 12)
        search.kill()
        search.wait()
        large = write_space(tmp_path, trials=2, resources={"cpu": 2})
        options = ["--data", "embedded", *there, "--out", "large"]
        too_large = run_here(main, large, *options, cwd=tmp_path)
        search = start(tmp_path, "--resume", out.as_uri(), *there, before=OWN_DISK)
        assert search.wait(150) == 0, (tmp_path / "log").read_text()
    assert too_large.returncode == 2
    assert "must fit into one node of the cluster, but none has 2 CPU" in too_large.stderr
    said = (tmp_path / "log").read_text()
    assert len(re.findall(r"to be resumed after epoch \d+: the trial's process died", said)) == 1
    assert [int(row["epoch"]) for row in rows(out)] == 3 * list(range(1, 13))
    assert {row["state"] for row in rows(out)} == {"completed"}
    # What was safe was not trained again: of each trial that was hit at most the epoch before.
    told = {(row["trial"], row["epoch"]): row["seconds"] for row in rows(out)}
    safe = {(trial, epoch): seconds for trial, epoch, seconds in timings(out / "trials")}
    assert safe.keys() == told.keys()
    assert len([key for key in told if safe[key] != told[key]]) <= 3
    (winner,) = out.glob("trials/*/*.pth")
    assert winner.read_bytes() == (out / "best" / winner.name).read_bytes()
    assert list(out.rglob("resume.pt")) == []
    assert {path.name for path in out.iterdir()} >= {"space.yaml", "report.html", "importance.csv"}
    # On the nodes' disk; of a trial whose process Ray ends while it tidies up, a copy may stay.
    assert len(list((tmp_path / "runs" / "lr" / "trials").iterdir())) <= 1


def timings(trials: Path) -> Iterator[tuple[str, str, str]]:
    """Trial, epoch and seconds, of all that the trials themselves have kept."""
    for path in trials.glob("*/timing.csv"):
        with path.open() as file:
            for row in csv.DictReader(file):
                yield str(int(path.parent.name)), row["epoch"], row["seconds"]
