"""Real searches that are killed, interrupted or lose a node, and go on."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from search_commands import ONE_AT_A_TIME, SMALL, command, rows, run, write_space

from kptrain.config import BEST
from search.journal.journal import JOURNAL, read_events

pytestmark = pytest.mark.slow

WANDB_KEY = "0123456789abcdef0123" * 2
TIMES = ("seconds", "images_per_second", "peak_memory_bytes")
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


def table(out: Path) -> list[dict[str, str]]:
    """All that a search repeats: no times."""
    return [{name: row[name] for name in row if name not in TIMES} for row in rows(out)]


def start(folder: Path, *arguments: object, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """A search in a group of processes of its own, so that all of it can be killed."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*before, *command("search.run", *arguments)],
            cwd=folder,
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


def resume(out: Path, *arguments: object) -> str:
    done = run("search.run", "--resume", out.name, *arguments, cwd=out.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_twice_it_ends_as_if_it_had_not_been_and_leaves_nothing_behind(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Path(tempfile.mkdtemp(prefix="k", dir="/tmp"))  # as sockets want it
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    monkeypatch.setenv("WANDB_API_KEY", WANDB_KEY)
    ray = short / f"kptrain-{os.getuid()}"
    space, out = write_space(tmp_path, **ONE_AT_A_TIME), tmp_path / "out"
    first = start(tmp_path, space, "--data", "embedded", "--out", "out")
    wait_for(out, 2)
    first.kill()
    first.wait()
    wait_until_gone(ray)
    second = start(tmp_path, "--resume", "out")
    wait_for(out, 3)
    second.send_signal(signal.SIGSTOP)  # it might come to its end meanwhile
    at_once = run("search.run", "--resume", "out", cwd=tmp_path)
    assert at_once.returncode == 2
    assert f"must not be in use, but process {second.pid} on " in at_once.stderr
    os.killpg(second.pid, signal.SIGKILL)  # whatever of Ray is in its group, too
    second.wait()
    wait_until_gone(ray)
    assert list(ray.iterdir())
    written = [path for folder in (short, tmp_path) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in written if WANDB_KEY.encode() in path.read_bytes()] == []
    said = resume(out)
    assert list(ray.iterdir()) == []
    shutil.rmtree(short)
    assert "Traceback" not in (tmp_path / "log").read_text() + said
    assert table(out) == table(whole)
    told = [e for e in read_events(out / JOURNAL) if e["event"] == "epoch"]
    assert len(told) == len(rows(out))
    winner, same = (json.loads((o / "best/provenance.json").read_text()) for o in (out, whole))
    assert [winner[k] for k in ("trial", "value")] == [same[k] for k in ("trial", "value")]


def wait_until_gone(folder: Path) -> None:
    """Until no process of a Ray in the folder is left."""
    for _ in range(100):
        found = subprocess.run(["pgrep", "-f", str(folder)], check=False, capture_output=True)
        if not found.stdout:
            return
        time.sleep(0.2)
    raise AssertionError(f"processes of Ray remain: {found.stdout.decode()}")


def test_a_finished_search_is_told_again_without_ray_and_extended_without_rerunning_any(
    whole: Path, tmp_path: Path
) -> None:
    subprocess.run(["cp", "-r", whole, tmp_path / "out"], check=True)
    out = tmp_path / "out"
    said = resume(out)
    assert "Starting Ray" not in said
    assert "Nothing is left of its budget" in said
    assert "Best      trial" in said
    before = table(out)
    said = resume(out, "--trials", 7)
    assert table(out)[: len(before)] == before
    assert {row["trial"] for row in rows(out)} == set("0123456")
    assert not re.search(r"trial  [01234]  .* epoch ", said)


def test_what_the_search_began_with_is_the_truth(whole: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", whole, tmp_path / "out"], check=True)
    other = yaml.safe_load((whole / "space.yaml").read_text())
    other["space"]["optim.lr"]["high"] = 0.1
    other["seed"] = 4
    space = tmp_path / "other.yaml"
    space.write_text(yaml.safe_dump(other))
    done = run("search.run", space, "--resume", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "space.optim.lr.high was 0.01, now 0.1" in done.stderr
    assert "seed was not given, now 4" in done.stderr
    (tmp_path / "out" / "space.yaml").write_text(space.read_text())
    done = run("search.run", "--resume", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "out/space.yaml: must not change after the search began" in done.stderr


def test_sigterm_lets_the_epoch_end_and_the_search_goes_on_where_it_was(
    whole: Path, tmp_path: Path
) -> None:
    space, out = write_space(tmp_path, **ONE_AT_A_TIME), tmp_path / "out"
    search = start(tmp_path, space, "--data", "embedded", "--out", "out")
    wait_for(out, 1)
    search.send_signal(signal.SIGTERM)
    assert search.wait(60) == 130
    said = (tmp_path / "log").read_text()
    assert "Trials end after their current epoch" in said
    assert "Traceback" not in said
    assert said.endswith(
        "Interrupted after 0 of 5 trials. Go on with python -m search.run --resume out\n"
    )
    assert (out / "best" / BEST).is_file()
    resume(out)
    assert table(out) == table(whole)


def test_a_second_signal_ends_at_once_and_says_how_to_go_on(tmp_path: Path) -> None:
    base = SMALL | {"data": {"image_size": [256, 256]}, "train": {"epochs": 3}}
    space, out = write_space(tmp_path, base=base, trials=1), tmp_path / "out"
    search = start(tmp_path, space, "--data", "embedded", "--out", "out")
    wait_for(out, 1, "start")  # of an epoch of many seconds
    search.send_signal(signal.SIGINT)
    search.send_signal(signal.SIGTERM)  # two of the same may reach it as one
    assert search.wait(30) == 130
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert said.endswith("Interrupted at once. Go on with python -m search.run --resume out\n")


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
        too_large = run("search.run", large, *options, cwd=tmp_path)
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


def test_two_searches_at_once_build_one_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KPTRAIN_CACHE", str(tmp_path / "cache"))
    space = write_space(tmp_path, trials=1)
    both = [start(tmp_path, space, "--data", "embedded", "--out", name) for name in "ab"]
    assert [search.wait(120) for search in both] == [0, 0], (tmp_path / "log").read_text()
    assert table(tmp_path / "a") == table(tmp_path / "b")
