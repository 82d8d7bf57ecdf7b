"""The number of cores that this process may use.

`os.cpu_count()` counts all cores of the machine; loky's `cpu_count` reads no control group below
the mount and rounds up.
"""

import os
from collections.abc import Iterator
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """The least of the process's affinity and the quotas of its control groups and their parents.

    Quotas are rounded down, but to 1 at least. root: the root of the file system.
    """
    affine = getattr(os, "sched_getaffinity", None)  # macOS has none
    count = len(affine(0)) if affine is not None else os.cpu_count() or 1
    return max(int(min([count, *_quotas(root)])), 1)


def _quotas(root: Path) -> Iterator[float]:
    """Quotas in cores. Source: cgroups(7); Documentation/admin-guide/cgroup-v2.rst, cpu.max, and
    Documentation/scheduler/sched-bwc.rst of Linux."""
    for folder in groups_of(root, "cpu"):
        yield from _quota(folder)


def groups_of(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control groups and their parents, for `cpu` or `memory`."""
    for mount, group in _groups(root, controller):
        # In a container the mount may be its own group, while the path is the machine's.
        for folder in (mount / group, *(mount / group).parents):
            if folder.is_relative_to(mount):
                yield folder


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, str]]:
    """The mounts of a controller, each with the path of this process's group below it."""
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":  # version 2
            yield mounts, path.lstrip("/")
        elif controller in controllers.split(","):  # version 1
            yield mounts / controllers, path.lstrip("/")
            yield mounts / controller, path.lstrip("/")


def _quota(folder: Path) -> Iterator[float]:
    both = _read(folder / "cpu.max") or " ".join(
        _read(folder / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    )
    quota, _, period = both.partition(" ")
    if quota.strip().isdecimal():  # else "max" or -1: no limit
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
