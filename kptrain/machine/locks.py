"""Locks between processes that record their holder.

The system releases a lock when its process ends for any reason, so there are no stale locks.
"""

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class HeldError(Exception):
    """A lock is held; the message names the holder."""


@contextmanager
def held(path: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock `path` and record the holder beside it; wait up to `wait` seconds for it.

    Raises: HeldError if another process holds it after that time.
    """
    holder = path.with_name(f"{path.name}.holder")
    # A generator may be closed by another thread than the one that started it.
    lock = FileLock(path, timeout=wait, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise HeldError(holder_in(holder)) from None
    try:
        with tell_holder(holder):
            yield
    finally:
        lock.release()


@contextmanager
def tell_holder(path: Path) -> Iterator[None]:
    """Record in a file that this process holds a lock; replaces the record of a killed process."""
    with contextlib.suppress(OSError):  # another user's file: the lock itself is held
        path.unlink(missing_ok=True)
        with path.open("x") as file:  # a new one, so never what a link leads to
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            holder = {"pid": os.getpid(), "host": platform.node(), "since": now}
            file.write(json.dumps(holder))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Whether a process holds a lock; creates no file. A lock without access counts as held."""
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except (Timeout, PermissionError):
        return True
    lock.release()
    return False


def holder_in(path: Path) -> str:
    """The holder that a file records."""
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
