"""The cores that this process may use: what a machine has may be another's.

`os.cpu_count()` counts all of a machine's; loky's reads no group below the mount and rounds up.
"""

import os
from collections.abc import Iterator
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """By the affinity of this process, and by the quotas of its control groups and those above.

    A quota of 1.5 cores is 1, and of half a core too. root: of the system's files.
    """
    affine = getattr(os, "sched_getaffinity", None)  # macOS has none
    count = len(affine(0)) if affine is not None else os.cpu_count() or 1
    return max(int(min([count, *_quotas(root)])), 1)


def _quotas(root: Path) -> Iterator[float]:
    """In cores. Source: cgroups(7); Documentation/admin-guide/cgroup-v2.rst, cpu.max, and
    Documentation/scheduler/sched-bwc.rst of Linux."""
    for mount, group in _groups(root):
        # A container may see its own group as the mount, while the path is the machine's.
        for folder in (mount / group, *(mount / group).parents):
            if folder.is_relative_to(mount):
                yield from _quota(folder)


def _groups(root: Path) -> Iterator[tuple[Path, str]]:
    """The mounts that limit time on cores, each with the path of our group below it."""
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":  # version 2
            yield mounts, path.lstrip("/")
        elif "cpu" in controllers.split(","):  # version 1
            yield mounts / controllers, path.lstrip("/")
            yield mounts / "cpu", path.lstrip("/")


def _quota(folder: Path) -> Iterator[float]:
    both = _read(folder / "cpu.max") or " ".join(
        _read(folder / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    )
    quota, _, period = both.partition(" ")
    if quota.strip().isdecimal():  # else "max" or -1: none
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
