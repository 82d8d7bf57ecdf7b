"""The folder of a search at a URL, beside one on the disk of whoever works on it.

Files are sent in the order in which they were written, each whole or not at all; so what is cut in
between looks as if the writing had been cut there. Nothing is at the URL that its writer has not
had on its own disk first.
"""

import os
import re
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from kptrain.errors import CheckpointError, KptrainError, SettingsError
from kptrain.machine.disk import replacing
from search.machine.signals import held_back

T = TypeVar("T")
Skip = Callable[[PurePosixPath], bool]
PAUSES = (1.0, 5.0, 25.0, 60.0, 120.0)
"""Seconds before each further try of what a network or a server refused."""
ATOMIC = ("s3", "gcs")
"""Where a file is there when all of it is; elsewhere it is written beside and renamed."""
PROBE = ".can-be-written"  # hidden, so that nobody fetches it
SECRET = re.compile("secret|password|token|sig|key|credential", re.IGNORECASE)
"""In the name of a part of a URL's query."""


class StorageError(CheckpointError):
    """A URL is out of reach, or another command writes there."""


def is_url(text: str) -> bool:
    return "://" in text


def url_name(url: str) -> str:
    """The last part of its path."""
    return PurePosixPath(urlsplit(url).path).name or urlsplit(url).netloc


def join(url: str, name: str) -> str:
    """The URL of what is below another one, whose query stays."""
    path, mark, query = url.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


class Storage:
    """A folder at a URL, of any file system that pyarrow or fsspec knows."""

    def __init__(self, url: str, files: Any = None) -> None:
        """files: the file system, where it is open already.

        Raises: SettingsError if there is no such file system here, or the URL holds a secret.
        """
        self.url = url
        self._shown = url.partition("?")[0]
        opened, self._path = _open(url)
        self._files = opened if files is None else files
        self._sent: dict[Path, tuple[int, int]] = {}
        self._grown: dict[str, int] = {}

    def below(self, name: str) -> "Storage":
        """A folder in this one."""
        return Storage(join(self.url, name), self._files)

    def check(self) -> None:
        """Write a file twice, read and remove it. Raises: SettingsError if that cannot be done."""
        probe = f"{PROBE}-{uuid4().hex[:8]}"  # another command may be asking, too
        try:
            for content in (b"once", b"again"):
                self._put(probe, content)
            with self._files.open_input_stream(self._at(probe)) as file:
                assert file.read() == content, "what is written there does not come back"
            self._files.delete_file(self._at(probe))
        except Exception as error:  # of whichever client it is
            raise SettingsError(
                f"{self._shown}: must be a URL at which files can be written from here, but "
                f"{_in_short(error)}; correct it, or give the credentials that it wants in the "
                f"environment"
            ) from None

    def read(self, name: str) -> bytes | None:
        """A file; None if there is none. Raises: StorageError."""
        return self._patiently(lambda: self._read(name))

    def send(self, folder: Path, skip: Skip = lambda _: False) -> None:
        """Send all files of a folder that have changed since the last time; none that is hidden, a
        link or to be skipped.

        Raises: StorageError.
        """
        files: list[tuple[tuple[int, int], str, Path]] = []
        for path in folder.rglob("*"):
            name = PurePosixPath(path.relative_to(folder).as_posix())
            is_wanted = path.is_file() and not path.is_symlink() and not _is_hidden(name)
            if is_wanted and not skip(name):
                files.append((_state(path), str(name), path))
        for state, to, path in sorted(files):
            if self._sent.get(path) != state:
                self._patiently(partial(self._put, to, path.read_bytes()))
                self._sent[path] = state

    def grow(self, path: Path) -> None:
        """Send a file that only ever grows, and that one command alone writes.

        Raises: StorageError, also if another command has written there.
        """
        name, content = path.name, path.read_bytes()

        def act() -> None:
            size = self._size(name)
            if size == self._grown.get(name):  # nobody has written since
                self._put(name, content)
                return
            there = self._read(name) or b""
            if not content.startswith(there) or (size and name in self._grown and there != content):
                raise StorageError(
                    f"{self._shown}/{name}: must be written by one command only, but another has "
                    f"gone on with it; end this one, or the other, then go on with --resume "
                    f"{self._shown}"
                )
            self._put(name, content)

        self._patiently(act)
        self._grown[name] = len(content)

    def fetch(self, folder: Path, skip: Skip = lambda _: False) -> None:
        """Write all files that are there into a folder, each whole or not at all.

        Raises: StorageError.
        """
        from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415  (see `_open`)

        selector = FileSelector(self._path, allow_not_found=True, recursive=True)
        for info in self._patiently(lambda: self._files.get_file_info(selector)):
            name = PurePosixPath(info.path).relative_to(PurePosixPath(self._path))
            if info.type == FileType.File and not _is_hidden(name) and not skip(name):
                self.fetch_file(str(name), folder)

    def fetch_file(self, name: str, folder: Path) -> None:
        """Write one file, which is there, into a folder. Raises: StorageError."""
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)

        def act() -> None:
            with self._files.open_input_stream(self._at(name)) as source, hidden.open("wb") as file:
                shutil.copyfileobj(source, file)

        with replacing(path) as hidden:
            self._patiently(act)
        self._sent[path] = _state(path)

    def clear(self) -> None:
        """Remove all that is there. Raises: StorageError."""
        self._patiently(
            lambda: self._files.delete_dir_contents(self._path, missing_dir_ok=True),
        )
        self._sent.clear()
        self._grown.clear()

    def remove(self, name: str) -> None:
        """Remove a file, if it is there. Raises: StorageError."""

        def act() -> None:
            if self._is_there(name):
                self._files.delete_file(self._at(name))

        self._patiently(act)

    def _put(self, name: str, content: bytes) -> None:
        """Write a file. Some stores take what a stream has when an error closes it for
        the whole: so no signal comes in between."""
        with held_back():
            if self._files.type_name in ATOMIC:
                self._write(self._at(name), content)
                return
            folder, _, last = self._at(name).rpartition("/")
            hidden = f"{folder}/.{last}.{uuid4().hex}.tmp"
            self._files.create_dir(folder, recursive=True)
            self._write(hidden, content)
            self._files.move(hidden, self._at(name))

    def _write(self, path: str, content: bytes) -> None:
        with self._files.open_output_stream(path) as file:
            file.write(content)

    def _read(self, name: str) -> bytes | None:
        if not self._is_there(name):
            return None
        with self._files.open_input_stream(self._at(name)) as file:
            return bytes(file.read())

    def _is_there(self, name: str) -> bool:
        from pyarrow.fs import FileType  # noqa: PLC0415  (see `_open`)

        return bool(self._files.get_file_info(self._at(name)).type == FileType.File)

    def _size(self, name: str) -> int:
        """In bytes; 0 if there is no such file."""
        return int(self._files.get_file_info(self._at(name)).size or 0)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _patiently(self, act: Callable[[], T]) -> T:
        """Try again, as networks fail for a while. Raises: StorageError in the end."""
        for pause in (*PAUSES, None):
            try:
                return act()
            except KptrainError:
                raise
            except Exception as error:  # of whichever client it is
                if pause is None or isinstance(error, NotImplementedError | ValueError):
                    raise StorageError(
                        f"{self._shown}: must be a URL that files can be written to and read "
                        f"from, but {_in_short(error)}; when it is, go on with --resume"
                    ) from None
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")


def _open(url: str) -> tuple[Any, str]:
    """The file system and the path in it. Raises: SettingsError."""
    from pyarrow.fs import FileSystem  # noqa: PLC0415  (most searches need none)

    parts = urlsplit(url)
    is_key = parts.username is not None and parts.scheme in ("s3", "gs", "gcs")
    names = [part.partition("=")[0] for part in parts.query.split("&")]
    if is_key or parts.password is not None or any(SECRET.search(name) for name in names):
        raise SettingsError(
            f"{parts.scheme}://…: must not hold a key, a token or a password, as it is kept in "
            f"files; give them in the environment (such as AWS_ACCESS_KEY_ID)"
        )
    try:
        try:
            files, path = FileSystem.from_uri(url)
        except ValueError as error:
            if "Unrecognized filesystem type" not in str(error):
                raise
            files, path = FileSystem.from_uri(f"fsspec+{url}")
    except Exception as error:  # of whichever client it is
        raise SettingsError(
            f"{url.partition('?')[0]}: must be a URL that pyarrow or fsspec can open, but "
            f"{_in_short(error)}; correct it, or install what it needs on every node"
        ) from None
    return files, str(path).rstrip("/")


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file does."""
    known = path.stat()
    return known.st_mtime_ns, known.st_size


def _in_short(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
