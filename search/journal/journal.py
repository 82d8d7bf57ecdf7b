"""The journal of a search: one JSON object a line, each on the disk before it is acted on.

Each line ends with the checksum of all up to it, so that none can be missing, doubled or moved. The
last line may be torn, as its writer was killed: it was not acted on, and is dropped. What a line
may say is in `search.journal.events`.
"""

import json
import os
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kptrain.errors import CheckpointError

JOURNAL = "journal.jsonl"
Line = dict[str, Any]


class Journal:
    """Open for writing, behind what it holds already."""

    def __init__(self, path: Path, send: Callable[[Path], None] | None = None) -> None:
        """send: called with the path when a line has been added.

        Raises: CheckpointError if what it holds is damaged elsewhere than in its last line.
        """
        self.path = path
        self._send = send
        lines, self._sum = _whole_lines(path) if path.exists() else ([], 0)
        self.written = [_content(line) for line in lines]
        """What it held when it was opened."""
        self._size = sum(map(len, lines))

    def write(self, event: Mapping[str, Any]) -> None:
        """Add a line, on the disk when this returns.

        Raises: CheckpointError if the disk takes no more; what was there stays.
        """
        line, total = _line(event, self._sum)
        try:
            with self.path.open("r+b" if self.path.exists() else "xb") as file:
                file.truncate(self._size)  # of a line that was torn
                file.seek(self._size)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: must be writable, but {error.strerror}; make room, then go on with "
                f"--resume (what was written before is whole)"
            ) from None
        self._size += len(line)
        self._sum = total
        if self._send is not None:
            self._send(self.path)


def read_events(path: Path) -> list[Line]:
    """All that a journal holds.

    Raises: CheckpointError, also if there is none.
    """
    return [_content(line) for line in _whole_lines(path)[0]]


def _whole_lines(path: Path) -> tuple[list[bytes], int]:
    """All lines but a torn one, and the checksum of all of them."""
    try:
        lines = re.findall(rb"[^\n]*\n|[^\n]+", path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{path}: must be the journal of a search, but cannot be read: {error.strerror}; name "
            f"the folder of a search"
        ) from None
    so_far = 0
    for number, line in enumerate(lines, 1):
        known = _sum_behind(line, so_far)
        if known is None and not line.endswith(b"\n"):
            return lines[:-1], so_far  # torn
        if known is None:
            raise CheckpointError(
                f"{path}:{number}: must end with the checksum of all up to there, but does not: a "
                f"line is damaged, missing or doubled; take a copy of the file from before"
            )
        so_far = known
    return lines, so_far


def _line(event: Mapping[str, Any], so_far: int) -> tuple[bytes, int]:
    """A line, and the checksum of all lines up to it, with which it ends."""
    content = json.dumps(event)
    total = zlib.crc32(content.encode(), so_far)
    return f'{content[:-1]}, "crc": "{total:08x}"}}\n'.encode(), total


def _sum_behind(line: bytes, so_far: int) -> int | None:
    """The checksum of all lines up to a line; None if it is not whole, or does not belong there."""
    try:
        written, total = _line(_content(line), so_far)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return total if written == line else None


def _content(line: bytes) -> Line:
    event: Line = json.loads(line)
    del event["crc"]
    return event
