"""The report drawn again while a search runs, in a process of its own that the search waits for
never."""

import subprocess
import sys
import time
from pathlib import Path

LEAST = 30.0
"""Seconds between two drawings."""
SHARE = 0.01
"""Of the search's time that drawing may take."""


class Refresh:
    """Called after each event."""

    def __init__(self, folder: Path, trainable: str | None) -> None:
        named = [] if trainable is None else ["--trainable", trainable]
        self._command = [sys.executable, "-m", "search.report", str(folder), *named]
        self._process: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()
        self._next = self._began + LEAST

    def __call__(self) -> None:
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None:
                return
            took = now - self._began  # no less than it took
            self._process, self._next = None, now + max(LEAST, took / SHARE)
        if now >= self._next:
            self._began = now
            quiet = subprocess.DEVNULL
            self._process = subprocess.Popen(  # noqa: S603  (our own command)
                self._command, stdin=quiet, stdout=quiet, stderr=quiet
            )

    def end(self) -> None:
        """What is drawn now would be out of date."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
