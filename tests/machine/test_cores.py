"""The cores that one may use, by affinity and by quota."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from kptrain.machine.cores import usable_cores
from kptrain.machine.device import num_threads

MANY = 1000
V1 = "4:memory:/\n3:cpuset:/job\n2:cpu,cpuacct:/slurm/job\n0::/\n"
V2 = "0::/user.slice/job\n"
COUNT = "from kptrain.machine.cores import usable_cores; print(usable_cores())"
GROUP = Path(f"/sys/fs/cgroup/cpu/kptrain-test-{os.getpid()}")


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MANY)))


def system(root: Path, groups: str, files: Mapping[str, str]) -> Path:
    """A root with the groups of a process, and files below `/sys/fs/cgroup`."""
    written = {"proc/self/cgroup": groups} | {
        f"sys/fs/cgroup/{name}": text for name, text in files.items()
    }
    for name, text in written.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("", {}, MANY),
        (V2, {}, MANY),
        (V2, {"user.slice/job/cpu.max": "max 100000\n"}, MANY),
        (V2, {"user.slice/job/cpu.max": "800000 100000\n"}, 8),
        (V2, {"user.slice/job/cpu.max": "150000 100000\n"}, 1),
        (V2, {"user.slice/job/cpu.max": "50000 100000\n"}, 1),
        (V2, {"user.slice/cpu.max": "300000 100000\n"}, 3),  # of the group above
        (V2, {"cpu.max": "40000 10000\n", "user.slice/job/cpu.max": "max 10000\n"}, 4),
        ("0::/../other\n", {"cpu.max": "200000 100000\n"}, 2),  # a container's own namespace
    ],
)
def test_a_quota_of_version_2_bounds_the_cores_and_is_rounded_down_to_1_or_more(
    tmp_path: Path, groups: str, files: Mapping[str, str], cores: int
) -> None:
    assert usable_cores(system(tmp_path, groups, files)) == cores


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("group", ["", "slurm/", "slurm/job/"])
@pytest.mark.parametrize(("quota", "cores"), [(-1, MANY), (800_000, 8), (250_000, 2), (1000, 1)])
def test_a_quota_of_version_1_does_so_too(
    tmp_path: Path, mount: str, group: str, quota: int, cores: int
) -> None:
    folder = f"{mount}/{group}"
    files = {f"{folder}cpu.cfs_quota_us": f"{quota}\n", f"{folder}cpu.cfs_period_us": "100000\n"}
    assert usable_cores(system(tmp_path, V1, files)) == cores


def counted(*before: str) -> int:
    command = [*before, sys.executable, "-c", COUNT]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_an_affinity_bounds_the_cores() -> None:
    assert counted() <= len(os.sched_getaffinity(0))
    assert counted("taskset", "-c", str(min(os.sched_getaffinity(0)))) == 1


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of the machine's, where we may make one of version 1."""
    try:
        GROUP.mkdir()
    except OSError as error:
        pytest.skip(f"no control group of version 1 can be made here: {error}")
    yield GROUP
    GROUP.rmdir()


@pytest.mark.parametrize("quota", [50_000, 150_000])
def test_the_system_s_own_quota_is_found(group: Path, quota: int) -> None:
    (group / "cpu.cfs_period_us").write_text("100000")
    (group / "cpu.cfs_quota_us").write_text(str(quota))
    assert counted("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh") == 1


def test_torch_gets_no_more_threads_than_that_unless_a_number_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(4)
    monkeypatch.setattr("kptrain.machine.device.usable_cores", lambda: 3)
    assert (num_threads(), num_threads(5)) == (3, 5)
    monkeypatch.setattr("kptrain.machine.device.usable_cores", lambda: MANY)
    assert num_threads() == 4
