"""The journal of a search: one JSON object a line, each on the disk before it is acted on.

A search is rebuilt by doing again what the journal says, through the same calls; while that lasts,
a line is not written but compared with the one that is there. So what is rebuilt is what was. Each
line ends with its own checksum. The last line may be torn, as its writer was killed: it was not
acted on, and is dropped.
"""

import json
import os
import zlib
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kptrain.errors import CheckpointError

JOURNAL = "journal.jsonl"
Event = dict[str, Any]


class Journal:
    """Open for writing, after what it holds already."""

    def __init__(self, path: Path) -> None:
        """Raises: CheckpointError if what it holds is damaged elsewhere than in its last line."""
        self.path = path
        lines, self._size = _whole_lines(path) if path.exists() else ([], 0)
        self._written = deque(enumerate(lines, 1))

    def next_written(self) -> Event | None:
        """What comes next of what is there; None once all of it has been done again."""
        return _content(self._written[0][1]) if self._written else None

    def write(self, event: Mapping[str, Any]) -> None:
        """Add a line, on the disk when this returns; or check that it is the one that is there.

        Raises: CheckpointError if it is another, or the disk takes no more; what was there stays.
        """
        line = _line(event)
        if self._written:
            number, written = self._written.popleft()
            if written != line:
                raise CheckpointError(
                    f"{self.path}:{number}: must come out again as it was written, but "
                    f"{_difference(_content(written), _content(line))}; go on with the versions "
                    f"that began the search"
                )
            return
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


def read_events(path: Path) -> list[Event]:
    """All that a journal holds.

    Raises: CheckpointError, also if there is none.
    """
    return [_content(line) for line in _whole_lines(path)[0]]


def _whole_lines(path: Path) -> tuple[list[bytes], int]:
    """The lines, and their bytes together."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise CheckpointError(
            f"{path}: must be the journal of a search, but cannot be read: {error.strerror}; name "
            f"the folder of a search"
        ) from None
    if lines and not _is_whole(lines[-1]):
        lines.pop()
    for number, line in enumerate(lines, 1):
        if not _is_whole(line):
            raise CheckpointError(
                f"{path}:{number}: must end with the checksum of its content, but does not: the "
                f"file is damaged; take a copy of it from before"
            )
    return lines, sum(map(len, lines))


def _line(event: Mapping[str, Any]) -> bytes:
    content = json.dumps(event)
    return f'{content[:-1]}, "crc": "{zlib.crc32(content.encode()):08x}"}}\n'.encode()


def _is_whole(line: bytes) -> bool:
    try:
        return _line(_content(line)) == line
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _content(line: bytes) -> Event:
    event: Event = json.loads(line)
    del event["crc"]
    return event


def _difference(written: Event, new: Event) -> str:
    """The first thing in which two lines differ."""
    for name in [*written, *(name for name in new if name not in written)]:
        if json.dumps(written.get(name)) != json.dumps(new.get(name)):
            return f"{name} was {written.get(name)!r} and now is {new.get(name)!r}"
    return "its spelling differs"
