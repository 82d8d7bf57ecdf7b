"""A copy of a search's folder at a URL.

Every file is written to the local disk first. Files are then sent in the order in which they were
written, each completely or not at all, so an interrupted transfer leaves the state of an earlier
moment.
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
from search.machine.signals import signals_delayed

T = TypeVar("T")
Skip = Callable[[PurePosixPath], bool]
PAUSES = (1.0, 5.0, 25.0, 60.0, 120.0)
"""Seconds before each retry after an error of the network or the server."""
ATOMIC = ("s3", "gcs")
"""File systems where a file appears only when it is complete; elsewhere it is written under a
hidden name and renamed."""
PROBE = ".can-be-written"  # hidden files are never fetched
SECRET = re.compile("secret|password|token|sig|key|credential", re.IGNORECASE)
"""Names of query parameters that may hold a secret."""


class StorageError(CheckpointError):
    """A URL cannot be reached, or another command writes there."""


def is_url(text: str) -> bool:
    return "://" in text


def url_name(url: str) -> str:
    """The last part of the URL's path."""
    return PurePosixPath(urlsplit(url).path).name or urlsplit(url).netloc


def join(url: str, name: str) -> str:
    """Append a name to the path of a URL; its query stays."""
    path, mark, query = url.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


class Storage:
    """A folder at a URL, on any file system that pyarrow or fsspec supports."""

    def __init__(self, url: str, files: Any = None) -> None:
        """files: the file system, if it is already open.

        Raises: SettingsError if the file system is not supported, or the URL holds a secret.
        """
        self.url = url
        self._shown = url.partition("?")[0]
        opened, self._path = _open(url)
        self._files = opened if files is None else files
        self._sent: dict[Path, tuple[int, int]] = {}
        self._grown: dict[str, int] = {}

    def below(self, name: str) -> "Storage":
        """A subfolder."""
        return Storage(join(self.url, name), self._files)

    def check(self) -> None:
        """Write a file twice, read and remove it. Raises: SettingsError if that fails."""
        probe = f"{PROBE}-{uuid4().hex[:8]}"  # another command may check at the same time
        try:
            for content in (b"once", b"again"):
                self._put(probe, content)
            with self._files.open_input_stream(self._at(probe)) as file:
                assert file.read() == content, "a file that was read differs from what was written"
            self._files.delete_file(self._at(probe))
        except Exception as error:  # each client raises its own kinds
            raise SettingsError(
                f"{self._shown}: must be a URL at which files can be written from here, but "
                f"{_in_short(error)}; correct it, or set its credentials in the environment"
            ) from None

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it does not exist. Raises: StorageError."""
        return self._with_retries(lambda: self._read(name))

    def send(self, folder: Path, skip: Skip = lambda _: False) -> None:
        """Send all files of a folder that have changed since the last call, except hidden files,
        links and those that `skip` selects.

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
                self._with_retries(partial(self._put, to, path.read_bytes()))
                self._sent[path] = state

    def grow(self, path: Path) -> None:
        """Send a file that is only appended to, and only by one command.

        Raises: StorageError, also if another command has written there.
        """
        name, content = path.name, path.read_bytes()

        def act() -> None:
            size = self._size(name)
            if size == self._grown.get(name):  # unchanged since the last call
                self._put(name, content)
                return
            remote = self._read(name) or b""
            is_foreign = size and name in self._grown and remote != content
            if not content.startswith(remote) or is_foreign:
                raise StorageError(
                    f"{self._shown}/{name}: must be written by one command only, but another has "
                    f"resumed the search; end one of the two, then use --resume {self._shown}"
                )
            self._put(name, content)

        self._with_retries(act)
        self._grown[name] = len(content)

    def fetch(self, folder: Path, skip: Skip = lambda _: False) -> None:
        """Copy all files into a folder, each completely or not at all. Raises: StorageError."""
        from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415  (see `_open`)

        selector = FileSelector(self._path, allow_not_found=True, recursive=True)
        for info in self._with_retries(lambda: self._files.get_file_info(selector)):
            name = PurePosixPath(info.path).relative_to(PurePosixPath(self._path))
            if info.type == FileType.File and not _is_hidden(name) and not skip(name):
                self.fetch_file(str(name), folder)

    def fetch_file(self, name: str, folder: Path) -> None:
        """Copy one file, which must exist, into a folder. Raises: StorageError."""
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)

        def act() -> None:
            with self._files.open_input_stream(self._at(name)) as source, hidden.open("wb") as file:
                shutil.copyfileobj(source, file)

        with replacing(path) as hidden:
            self._with_retries(act)
        self._sent[path] = _state(path)

    def clear(self) -> None:
        """Remove all files. Raises: StorageError."""
        self._with_retries(
            lambda: self._files.delete_dir_contents(self._path, missing_dir_ok=True),
        )
        self._sent.clear()
        self._grown.clear()

    def remove(self, name: str) -> None:
        """Remove a file, if it exists. Raises: StorageError."""

        def act() -> None:
            if self._is_there(name):
                self._files.delete_file(self._at(name))

        self._with_retries(act)

    def _put(self, name: str, content: bytes) -> None:
        """Write a file. Signals are delayed: if an exception closes a stream early, some stores
        keep the partial content as the complete file."""
        with signals_delayed():
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
        """In bytes; 0 if the file does not exist."""
        return int(self._files.get_file_info(self._at(name)).size or 0)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _with_retries(self, act: Callable[[], T]) -> T:
        """Retry, as networks fail for a while. Raises: StorageError after the last attempt."""
        for pause in (*PAUSES, None):
            try:
                return act()
            except KptrainError:
                raise
            except Exception as error:  # each client raises its own kinds
                if pause is None or isinstance(error, NotImplementedError | ValueError):
                    raise StorageError(
                        f"{self._shown}: must be a URL that files can be written to and read "
                        f"from, but {_in_short(error)}; when it can, use --resume"
                    ) from None
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


def _open(url: str) -> tuple[Any, str]:
    """The file system and the path in it. Raises: SettingsError."""
    from pyarrow.fs import FileSystem  # noqa: PLC0415  (most searches do not need it)

    parts = urlsplit(url)
    is_key = parts.username is not None and parts.scheme in ("s3", "gs", "gcs")
    names = [part.partition("=")[0] for part in parts.query.split("&")]
    if is_key or parts.password is not None or any(SECRET.search(name) for name in names):
        raise SettingsError(
            f"{parts.scheme}://…: must not hold a key, a token or a password, as the URL is "
            f"written to files; set them in the environment (such as AWS_ACCESS_KEY_ID)"
        )
    try:
        try:
            files, path = FileSystem.from_uri(url)
        except ValueError as error:
            if "Unrecognized filesystem type" not in str(error):
                raise
            files, path = FileSystem.from_uri(f"fsspec+{url}")
    except Exception as error:  # each client raises its own kinds
        raise SettingsError(
            f"{url.partition('?')[0]}: must be a URL that pyarrow or fsspec can open, but "
            f"{_in_short(error)}; correct it, or install its client on every node"
        ) from None
    return files, str(path).rstrip("/")


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _state(path: Path) -> tuple[int, int]:
    """Time of change and size: they differ when the file has changed."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _in_short(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
