"""The journal of a search: one JSON object per line, on disk before the search acts on it.

Each line ends with a checksum of all lines so far, so a missing, repeated or moved line is
detected. The last line may be incomplete if its writer was killed: the search did not act on it, so
it is dropped. `search.journal.events` defines what a line holds.
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
    """A journal open for appending."""

    def __init__(self, path: Path, send: Callable[[Path], None] | None = None) -> None:
        """send: called with the path after each new line.

        Raises: CheckpointError if a line other than the last one is damaged.
        """
        self.path = path
        self._send = send
        lines, self._sum = _whole_lines(path) if path.exists() else ([], 0)
        self.written = [_content(line) for line in lines]
        """The lines that it held when it was opened."""
        self._size = sum(map(len, lines))

    def write(self, event: Mapping[str, Any]) -> None:
        """Append a line; it is on disk when this returns.

        Raises: CheckpointError if it cannot be written; the earlier lines stay.
        """
        line, total = _line(event, self._sum)
        try:
            with self.path.open("r+b" if self.path.exists() else "xb") as file:
                file.truncate(self._size)  # drops an incomplete line
                file.seek(self._size)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: must be writable, but {error.strerror}; free disk space, then use "
                f"--resume (the lines written before are intact)"
            ) from None
        self._size += len(line)
        self._sum = total
        if self._send is not None:
            self._send(self.path)


def read_events(path: Path) -> list[Line]:
    """All lines of a journal. Raises: CheckpointError if it is damaged or missing."""
    return [_content(line) for line in _whole_lines(path)[0]]


def _whole_lines(path: Path) -> tuple[list[bytes], int]:
    """The complete lines, and their checksum."""
    try:
        lines = re.findall(rb"[^\n]*\n|[^\n]+", path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"{path}: must be the journal of a search, but cannot be read: {error.strerror}; name "
            f"the folder of a search"
        ) from None
    checksum = 0
    for number, line in enumerate(lines, 1):
        following = _checksum_after(line, checksum)
        if following is None and not line.endswith(b"\n"):
            return lines[:-1], checksum  # the last line is incomplete
        if following is None:
            raise CheckpointError(
                f"{path}:{number}: must end with the checksum of all lines so far, but does not: a "
                f"line is damaged, missing or repeated; restore an older copy of the file"
            )
        checksum = following
    return lines, checksum


def _line(event: Mapping[str, Any], checksum: int) -> tuple[bytes, int]:
    """A line and the checksum up to and including it; checksum: of the lines before."""
    content = json.dumps(event)
    total = zlib.crc32(content.encode(), checksum)
    return f'{content[:-1]}, "crc": "{total:08x}"}}\n'.encode(), total


def _checksum_after(line: bytes, checksum: int) -> int | None:
    """The checksum up to and including a line; None if it is damaged or does not belong there."""
    try:
        written, total = _line(_content(line), checksum)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return total if written == line else None


def _content(line: bytes) -> Line:
    event: Line = json.loads(line)
    del event["crc"]
    return event
