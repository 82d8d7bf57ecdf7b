"""Checks of output paths before long work starts, and errors that name the path."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kptrain.errors import SettingsError


def check_folder(folder: Path, where: str) -> None:
    """Raises: SettingsError naming `where` if a folder, which need not exist, cannot be written."""
    if why := _why_no_folder(folder):
        raise SettingsError(
            f"{where}: must be a folder that can be written, but {why}; name another"
        )


def check_file(file: Path, where: str) -> None:
    """Raises: SettingsError naming `where` if a file or its folder cannot be written."""
    if file.is_dir():
        why: str | None = f"{file} is a folder"
    elif not file.parent.is_dir():
        why = f"there is no folder {file.parent}"
    elif not file.exists():
        why = _why_no_folder(file.parent)
    else:
        why = None if os.access(file, os.W_OK) else f"{file} may not be written"
    if why:
        raise SettingsError(f"{where}: must be a file that can be written, but {why}; name another")


def _why_no_folder(folder: Path) -> str | None:
    """Why nothing can be written there. It tries to write: permissions are no evidence in /proc."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        return f"{there} is a file"
    try:
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as error:
        return f"{there} cannot be written ({error.strerror})"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Wrap writing to a file or a folder.

    Raises: SettingsError that names `path` and the system's reason if writing fails.
    """
    try:
        yield
    except ConnectionError:  # of a pipe or a server
        raise
    except OSError as error:
        inside = error.filename and Path(error.filename) != path
        raise SettingsError(
            f"{path}: must be writable, but {error.strerror or error}"
            f"{f' ({error.filename})' if inside else ''}; make room, or name another place"
        ) from None
