"""Locks between processes, which say who holds them.

The system frees a lock when its process ends, however it ends; so none is left behind.
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
    """A lock is held; the message says by whom."""


@contextmanager
def held(path: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock `path`, with who holds it beside it; `wait` seconds for another to let go.

    Raises: HeldError.
    """
    holder = path.with_name(f"{path.name}.holder")
    # A generator may be closed by another thread than the one that began it.
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
    """Say in a file who holds a lock; what is there before is of a process that was killed."""
    with contextlib.suppress(OSError):  # of another user: the lock itself is held
        path.unlink(missing_ok=True)
        with path.open("x") as file:  # a new one, so never what a link leads to
            told = {"pid": os.getpid(), "host": platform.node(), "since": _now()}
            file.write(json.dumps(told))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Whether anybody holds a lock; nothing is left there. What cannot be asked counts as held."""
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
    """Who holds the lock, by its file."""
    try:
        told = json.loads(path.read_text())
        return f"process {told['pid']} on {told['host']}, since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
