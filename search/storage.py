"""The folder of a search at a URL, beside one on the disk of whoever works on it.

Files are sent in the order in which they were written, each whole or not at all; so what is cut in
between looks as if the writing had been cut there. Nothing is at the URL that its writer has not
had on its own disk first.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from kptrain.errors import CheckpointError, SettingsError

T = TypeVar("T")
PAUSES = (1.0, 5.0, 25.0)
"""Seconds before each further try of what a network or a server refused."""
ATOMIC = ("s3", "gcs")
"""Where a file is there when all of it is; elsewhere it is written beside and renamed."""

PROBE = "can-be-written"


def is_url(text: str) -> bool:
    return "://" in text


def url_name(url: str) -> str:
    """The last part of its path."""
    return PurePosixPath(urlsplit(url).path).name or urlsplit(url).netloc


class Storage:
    """A folder at a URL, of any file system that pyarrow or fsspec knows."""

    def __init__(self, url: str, files: Any = None) -> None:
        """files: the file system, where it is open already.

        Raises: SettingsError if there is no such file system here, or the URL holds a password.
        """
        self.url = url
        self._files, self._path = _open(url)
        if files is not None:
            self._files = files
        self._sent: dict[Path, tuple[int, int]] = {}
        self._sizes: dict[str, int] = {}

    def below(self, name: str) -> "Storage":
        """A folder in this one."""
        return Storage(join(self.url, name), self._files)

    def check(self) -> None:
        """Write a file and remove it. Raises: SettingsError if that cannot be done."""
        try:
            if self._files.type_name not in ATOMIC:
                self._files.create_dir(self._path, recursive=True)
            with self._files.open_output_stream(self._at(PROBE)):
                pass
            self._files.delete_file(self._at(PROBE))
        except Exception as error:  # of whichever client it is
            raise SettingsError(
                f"{self.url}: must be a URL at which files can be written from here, but "
                f"{_in_short(error)}; correct it, or give the credentials that it wants in the "
                f"environment"
            ) from None

    def read(self, name: str) -> bytes | None:
        """A file; None if there is none. Raises: CheckpointError."""

        def act() -> bytes | None:
            if not self._size(name):
                return None
            with self._files.open_input_stream(self._at(name)) as file:
                return bytes(file.read())

        return self._patiently(act)

    def send(self, folder: Path, skip: Callable[[PurePosixPath], bool] = lambda _: False) -> None:
        """Send all files of a folder that have changed since the last time; none that is hidden, a
        link or to be skipped.

        Raises: CheckpointError.
        """
        files = []
        for path in folder.rglob("*"):
            name = PurePosixPath(path.relative_to(folder).as_posix())
            is_hidden = any(part.startswith(".") for part in name.parts)
            if path.is_file() and not path.is_symlink() and not is_hidden and not skip(name):
                files.append((_state(path), str(name), path))
        for state, to, path in sorted(files):
            if self._sent.get(path) != state:
                self._write(to, path)
                self._sent[path] = state

    def grow(self, path: Path) -> None:
        """Send a file that only ever grows, and that one process alone writes.

        Raises: CheckpointError, also if another process has written there.
        """
        name = path.name
        if name not in self._sizes:
            is_ours = path.read_bytes().startswith(self.read(name) or b"")
        else:
            is_ours = self._patiently(lambda: self._size(name)) == self._sizes[name]
        if not is_ours:
            raise CheckpointError(
                f"{join(self.url, name)}: must be written by one command only, but another has "
                f"gone on with it; end this one, or the other, then go on with --resume "
                f"{self.url}"
            )
        self._write(name, path)
        self._sizes[name] = path.stat().st_size

    def fetch(self, folder: Path, skip: Callable[[PurePosixPath], bool] = lambda _: False) -> None:
        """Write all files that are there into a folder. Raises: CheckpointError."""
        from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415  (see `_open`)

        selector = FileSelector(self._path, allow_not_found=True, recursive=True)
        for info in self._patiently(lambda: self._files.get_file_info(selector)):
            name = PurePosixPath(info.path).relative_to(PurePosixPath(self._path))
            if info.type == FileType.File and not skip(name):
                self._fetch(str(name), folder / name)

    def clear(self) -> None:
        """Remove all that is there. Raises: CheckpointError."""
        self._patiently(
            lambda: self._files.delete_dir_contents(self._path, missing_dir_ok=True),
        )
        self._sent.clear()
        self._sizes.clear()

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. Raises: CheckpointError."""

        def act() -> None:
            if self._is_there(name):
                self._files.delete_file(self._at(name))

        self._patiently(act)

    def _fetch(self, name: str, into: Path) -> None:
        into.parent.mkdir(parents=True, exist_ok=True)

        def act() -> None:
            with self._files.open_input_stream(self._at(name)) as source, into.open("wb") as file:
                shutil.copyfileobj(source, file)

        self._patiently(act)
        self._sent[into] = _state(into)

    def _write(self, name: str, source: Path) -> None:
        path = self._at(name)

        def act() -> None:
            is_atomic = self._files.type_name in ATOMIC
            if not is_atomic:
                self._files.create_dir(path.rpartition("/")[0], recursive=True)
            written = path if is_atomic else f"{path}.tmp"
            with source.open("rb") as content, self._files.open_output_stream(written) as file:
                shutil.copyfileobj(content, file)
            if written != path:
                self._files.move(written, path)

        self._patiently(act)

    def _is_there(self, name: str) -> bool:
        from pyarrow.fs import FileType  # noqa: PLC0415  (see `_open`)

        return bool(self._files.get_file_info(self._at(name)).type == FileType.File)

    def _size(self, name: str) -> int:
        """In bytes; 0 if there is no such file."""
        return int(self._files.get_file_info(self._at(name)).size or 0)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _patiently(self, act: Callable[[], T]) -> T:
        """Try again, as networks fail for a while. Raises: CheckpointError in the end."""
        for pause in PAUSES:
            try:
                return act()
            except OSError:
                time.sleep(pause)
        try:
            return act()
        except OSError as error:
            raise CheckpointError(
                f"{self.url}: must be a URL that files can be written to and read from, but "
                f"{_in_short(error)} ({len(PAUSES) + 1} tries); when it is, go on with --resume"
            ) from None


def join(url: str, name: str) -> str:
    """The URL of what is below another one, whose query stays."""
    path, mark, query = url.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def _open(url: str) -> tuple[Any, str]:
    """The file system and the path in it. Raises: SettingsError."""
    from pyarrow.fs import FileSystem  # noqa: PLC0415  (most searches need none)

    if "@" in urlsplit(url).netloc:
        raise SettingsError(
            f"{url.partition('://')[0]}://…@…: must not hold a key or a password, as it is kept in "
            f"files; give them in the environment (such as AWS_ACCESS_KEY_ID)"
        )
    try:
        try:
            files, path = FileSystem.from_uri(url)
        except ValueError:  # not pyarrow's own
            files, path = FileSystem.from_uri(f"fsspec+{url}")
    except Exception as error:  # of whichever client it is
        raise SettingsError(
            f"{url}: must be a URL that pyarrow or fsspec can open, but {_in_short(error)}; "
            f"correct it, or install what it needs on every node"
        ) from None
    return files, str(path).rstrip("/")


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file does."""
    known = path.stat()
    return known.st_mtime_ns, known.st_size


def _in_short(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
