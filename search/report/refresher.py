"""Draws the report again while a search runs, in a separate process without delaying the search."""

import subprocess
import sys
import time
from pathlib import Path

LEAST = 30.0
"""Seconds between two drawings."""
SHARE = 0.01
"""The share of the search's time that drawing may take."""


class Refresh:
    """An observer of a search: called after each event, it starts a drawing when one is due."""

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
            seconds = now - self._began  # an upper bound
            self._process, self._next = None, now + max(LEAST, seconds / SHARE)
        if now >= self._next:
            self._began = now
            quiet = subprocess.DEVNULL
            self._process = subprocess.Popen(  # noqa: S603  (our own command)
                self._command, stdin=quiet, stdout=quiet, stderr=quiet
            )

    def end(self) -> None:
        """Stop a drawing that is under way, as it would be out of date."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
