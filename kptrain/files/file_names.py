"""Finds the file that an annotation's `file_name` means, below an image folder.

Tools write paths of other folders and machines, backslashes, percent escapes and letters of another
case. Path parts are compared from the end, and the file with the most equal parts is taken; it is
never outside the folder.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from kptrain.errors import unreadable

Match = Literal["as written", "by its end", "several", "missing"]

_SEPARATORS = re.compile(r"[\\/]|\?d=")
"""Label Studio writes /data/local-files/?d=PATH."""


def files_below(folder: Path) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """The files below a folder with their relative paths, in no order.

    Links to folders are followed, except to a folder that contains this one. Subfolders that cannot
    be read, such as `lost+found` of a mount, are skipped.
    Raises: DataError if the folder itself cannot be read.
    """
    top = folder.resolve()
    seen = {top}
    pending = [(str(folder), "")]
    while pending:
        path, prefix = pending.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if _is(entry.is_file):
                        yield prefix + entry.name, entry
                    elif _is(entry.is_dir) and _is_new(entry, top, seen):
                        pending.append((entry.path, f"{prefix}{entry.name}/"))
        except OSError as error:
            if prefix:
                continue
            raise unreadable(path, error, "grant the right to read it") from None


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link that leads to itself
        return False


def _is_new(entry: "os.DirEntry[str]", top: Path, seen: set[Path]) -> bool:
    """Whether a folder was not visited before."""
    if not entry.is_symlink():
        return True
    target = Path(entry.path).resolve()
    is_new = target not in seen and target not in top.parents
    seen.add(target)
    return is_new


class FileNames:
    """Finds files below a folder by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = _parts(str(folder.absolute()))
        self._names = {name for name, _ in files_below(folder)}
        self._by_end: dict[str, list[tuple[list[str], str]]] | None = None

    def find(self, file_name: str) -> tuple[str | None, Match]:
        """The path relative to the folder, and how it was found."""
        if file_name in self._names:
            return file_name, "as written"
        wanted = _parts(file_name)
        candidates = self._candidates(wanted)
        if not candidates:
            return None, "missing"
        longest = max(shared for shared, _ in candidates)
        names = [name for shared, name in candidates if shared == longest]
        if len(names) > 1:
            return None, "several"
        path = _parts(names[0])
        is_whole = len(wanted) >= len(path) and (self._folder + path)[-len(wanted) :] == wanted
        return names[0], "as written" if is_whole else "by its end"

    def _candidates(self, wanted: list[str]) -> list[tuple[int, str]]:
        """Files whose path ends with the wanted one, or the reverse; each with its equal parts."""
        if self._by_end is None:
            self._by_end = {}
            for name in self._names:
                parts = _parts(name)
                self._by_end.setdefault(parts[-1], []).append((parts, name))
        candidates = []
        for parts, name in self._by_end.get(wanted[-1], []) if wanted else []:
            shared = min(len(parts), len(wanted))
            if parts[-shared:] == wanted[-shared:]:
                candidates.append((shared, name))
        return candidates


def _parts(name: str) -> list[str]:
    """The parts of a path, in one spelling."""
    plain = unicodedata.normalize("NFC", unquote(name)).casefold()
    return [part for part in _SEPARATORS.split(plain) if part not in ("", ".")]
