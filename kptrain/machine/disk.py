"""The disk: replacing files atomically, reserving space, flushing."""

import csv
import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kptrain.errors import DataError


def temporary_of(path: Path) -> Path:
    """The temporary name under which a file is written before it is renamed."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write. It replaces `path` when the block ends, or is deleted if the
    block fails. So `path` holds either all of the new content or all of the old."""
    temporary = temporary_of(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # exists only if the block failed


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Replace a table, completely or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def reserve_images(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A file of zeros with its disk space reserved: on a full disk, writing to a memory-mapped
    sparse file would kill the process.

    Raises: DataError if there is not enough space.
    """
    images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    num_bytes = path.stat().st_size
    try:
        _allocate(path, num_bytes)
    except OSError as error:
        free = shutil.disk_usage(path).free
        raise DataError(
            f"{path.parent.parent}: must have room for {shape[0]:,} decoded samples "
            f"({num_bytes / 1e9:.3g} GB), but {error.strerror} ({free / 1e9:.3g} GB are free); "
            f"make room, or name a folder on another disk with KPTRAIN_CACHE"
        ) from None
    return images


def _allocate(path: Path, num_bytes: int) -> None:
    """Raises: OSError if the disk is too small."""
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
    except (AttributeError, OSError) as error:  # macOS and some file systems have no such call
        if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        if shutil.disk_usage(path).free < num_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None


def flush(path: Path) -> None:
    """Write a file's content, or a folder's entries, through to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
