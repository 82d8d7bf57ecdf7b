"""The disk: room that is taken before it is filled, and what is flushed to it."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kptrain.errors import DataError


def temporary_of(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The file to write within the block; it takes the place of `path` when the block ends, and
    goes if the block fails. So `path` holds all of the new content or all of the old."""
    temporary = temporary_of(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # only where the writing failed


def reserve_images(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A file of zeros whose room on the disk is taken: to fill one with holes may kill us.

    Raises: DataError if there is not room enough.
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
    """Have the disk hold what was written to a file, or which names a folder holds."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
