"""Real searches that are killed, interrupted or lose a node, and resume."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from in_process import run_here
from search_commands import ONE_AT_A_TIME, OWN, rows, start, table, wait_for, write_space
from without_ray import search_alone

from kptrain.config import BEST
from search.backend.ray_session import RayOnDemand
from search.journal.journal import JOURNAL, read_events
from search.run import main

pytestmark = pytest.mark.slow

WANDB_KEY = "0123456789abcdef0123" * 2


def resume(out: Path, *arguments: object) -> str:
    """In this process."""
    done = search_alone("--resume", out.name, *arguments, cwd=out.parent)
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
    at_once = run_here(main, "--resume", "out", cwd=tmp_path)
    assert at_once.returncode == 2
    assert f"must not be in use, but process {second.pid} on " in at_once.stderr
    os.killpg(second.pid, signal.SIGKILL)  # whatever of Ray is in its group, too
    second.wait()
    wait_until_gone(ray)
    assert list(ray.iterdir())
    written = [path for folder in (short, tmp_path) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in written if WANDB_KEY.encode() in path.read_bytes()] == []
    with RayOnDemand(None, uses_gpus=False):  # as every search does that needs no Ray any more
        pass
    assert list(ray.iterdir()) == []
    said = resume(out)
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


def test_a_finished_search_is_reported_again_without_ray_and_extended_without_rerunning_any(
    whole: Path, tmp_path: Path
) -> None:
    subprocess.run(["cp", "-r", whole, tmp_path / "out"], check=True)
    out = tmp_path / "out"
    said = resume(out)
    assert "Nothing is left of its budget" in said
    assert "--trials" in said
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
    done = run_here(main, space, "--resume", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "space.optim.lr.high was 0.01, now 0.1" in done.stderr
    assert "seed was not given, now 4" in done.stderr
    (tmp_path / "out" / "space.yaml").write_text(space.read_text())
    done = run_here(main, "--resume", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "out/space.yaml: must not change after the search began" in done.stderr


def test_sigterm_lets_the_epoch_end_and_the_search_resumes_where_it_was(
    ray_address: str, whole: Path, tmp_path: Path
) -> None:
    space, out = write_space(tmp_path, **ONE_AT_A_TIME), tmp_path / "out"
    given = (space, "--data", "embedded", "--address", ray_address)
    search = start(tmp_path, *given, "--out", "out")
    wait_for(out, 1)
    search.send_signal(signal.SIGTERM)
    assert search.wait(60) == 130
    said = (tmp_path / "log").read_text()
    assert "Trials end after their current epoch" in said
    assert "Traceback" not in said
    assert "Interrupted after 0 of 5 trials. " in said
    assert said.endswith(" python -m search.run --resume out\n")
    assert (out / "best" / BEST).is_file()
    resume(out)
    assert table(out) == table(whole)


def test_a_second_signal_ends_at_once_and_says_how_to_resume(
    ray_address: str, tmp_path: Path
) -> None:
    own = {"base": {"seconds": 60.0}, "space": {"lr": {"low": 0.1, "high": 2.0}}}
    space, out = write_space(tmp_path, trials=1, **own), tmp_path / "out"
    search = start(tmp_path, space, *OWN, "--address", ray_address, "--out", "out")
    wait_for(out, 1, "start")
    search.send_signal(signal.SIGINT)
    search.send_signal(signal.SIGTERM)  # two of the same may reach it as one
    assert search.wait(30) == 130
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "\nInterrupted at once. " in said
    assert said.endswith(f" python -m search.run --resume out {' '.join(OWN)}\n")
