"""The memory that this process may use for pixels that it reads again and again."""

from pathlib import Path

from kptrain.machine.cores import groups_of


def usable_memory(root: Path = Path("/")) -> int | None:
    """Bytes: the least of the machine's memory and the limits of its control groups and their
    parents; None if the system does not say. root: the root of the file system.

    Source: proc(5), MemTotal; cgroups(7); Documentation/admin-guide/cgroup-v2.rst, memory.max, and
    cgroup-v1/memory.rst, memory.limit_in_bytes, of Linux.
    """
    limits = [_read(folder / name) for folder in groups_of(root, "memory") for name in LIMITS]
    lines = _read(root / "proc/meminfo").splitlines()
    total = [line.split()[1] for line in lines if line.startswith("MemTotal:")]
    sizes = [int(limit) for limit in limits if limit.strip().isdecimal()]
    sizes += [1024 * int(number) for number in total]
    return min(sizes, default=None)


LIMITS = ("memory.max", "memory.limit_in_bytes")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
