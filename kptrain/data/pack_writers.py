"""Writes the pixels of an unfinished pack, raw or as JPEG, and resumes one that is unfinished.

`progress.json` in an unfinished pack records the progress. The caller of `begin_raw` and
`begin_jpeg` holds the lock on the pack, and the folder's name identifies its content.
"""

import json
import os
import shutil
from abc import ABC, abstractmethod
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from PIL import Image
from pydantic import BaseModel, ConfigDict

from kptrain.data.pack_format import IMAGES
from kptrain.errors import DataError
from kptrain.machine.disk import replacing, reserve_images

PROGRESS = "progress.json"
QUALITY = 90
"""Of JPEG files, as Pillow counts it."""
HEADER = 128
"""Bytes before the content of an .npy file of bytes, whatever their number."""


class Progress(BaseModel):
    """The progress of an unfinished pack; stored in it."""

    model_config = ConfigDict(extra="forbid")

    num_images: int = 0
    """Image files that are decoded, from the first on, with their pixels on the disk."""
    failures: dict[int, str] = {}
    """Rows that could not be filled, with the reason."""
    lengths: dict[int, int] | None = None
    """By row the bytes of its JPEG file, in the order in which they lie; None for raw pixels."""
    pillow: str = PIL.__version__
    """Another version might decode to other pixels."""
    folder: Path

    def save(self) -> None:
        with replacing(self.folder / PROGRESS) as temporary:
            temporary.write_text(self.model_dump_json(exclude={"folder"}, exclude_none=True))


class Writer(ABC):
    """Writes the pixels of samples; `prepare` runs in many threads, `keep` in one and in order."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    @abstractmethod
    def prepare(self, row: int, pixels: np.ndarray) -> Any:
        """Do what can be done with a row's (h, w, 3) pixels at once with other rows."""

    @abstractmethod
    def keep(self, prepared: dict[int, Any]) -> None:
        """Write what was prepared, by row."""

    @abstractmethod
    def flush(self) -> None:
        """Write everything so far through to the disk."""


class RawWriter(Writer):
    """Writes into a memory map whose space is reserved."""

    def __init__(self, images: np.memmap[Any, Any], starts: np.ndarray, progress: Progress) -> None:
        super().__init__(progress)
        self._images = images
        self._flat = images.reshape(-1)
        self._starts = starts

    def prepare(self, row: int, pixels: np.ndarray) -> None:
        self._flat[self._starts[row] : self._starts[row + 1]] = pixels.reshape(-1)

    def keep(self, prepared: dict[int, Any]) -> None:
        """All is written already."""

    def flush(self) -> None:
        self._images.flush()


class JpegWriter(Writer):
    """Appends JPEG files to an .npy file of bytes."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        super().__init__(progress)
        self._file = file

    def prepare(self, row: int, pixels: np.ndarray) -> bytes:  # noqa: ARG002  (as all writers)
        content = BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=QUALITY)
        return content.getvalue()

    def keep(self, prepared: dict[int, Any]) -> None:
        assert self.progress.lengths is not None
        for row, content in prepared.items():
            self._file.write(content)
            self.progress.lengths[row] = len(content)

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Complete the file; (S,) where each row's bytes begin, and (S,) how many there are."""
        assert self.progress.lengths is not None
        rows = np.fromiter(self.progress.lengths, np.int64)
        lengths = np.fromiter(self.progress.lengths.values(), np.int64)
        starts, num_bytes = np.zeros((2, num_rows), np.int64)
        starts[rows], num_bytes[rows] = np.cumsum(lengths) - lengths, lengths
        _write_header(self._file, int(lengths.sum()))
        self._file.close()
        return starts, num_bytes


def begin_raw(folder: Path, shape: tuple[int, ...], starts: np.ndarray) -> RawWriter:
    """Resume the pack of a process that was killed, or reserve room for a new one.

    shape: of the array of pixels; starts: (S + 1,) where each row's bytes begin.
    Raises: DataError if there is not enough space.
    """
    state = _saved(folder)
    if state is not None and (images := _whole(folder / IMAGES, shape)) is not None:
        return RawWriter(images, starts, state)
    _empty(folder)
    try:
        images = reserve_images(folder / IMAGES, shape)
    except DataError:
        shutil.rmtree(folder)
        raise
    progress = Progress(folder=folder)
    progress.save()
    return RawWriter(images, starts, progress)


def begin_jpeg(folder: Path) -> JpegWriter:
    """Resume the pack of a process that was killed, or begin a new one."""
    state = _saved(folder)
    if state is not None and state.lengths is not None and (folder / IMAGES).exists():
        file = (folder / IMAGES).open("r+b")
        end = HEADER + sum(state.lengths.values())
        if file.seek(0, os.SEEK_END) >= end:
            file.truncate(end)
            file.seek(end)
            return JpegWriter(file, state)
        file.close()
    _empty(folder)
    file = (folder / IMAGES).open("w+b")
    _write_header(file, 0)
    progress = Progress(folder=folder, lengths={})
    progress.save()
    return JpegWriter(file, progress)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _saved(folder: Path) -> Progress | None:
    """The progress of an unfinished pack; None if there is none, or another Pillow made it."""
    try:
        content = json.loads((folder / PROGRESS).read_bytes())
        progress = Progress.model_validate(content | {"folder": folder})
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return progress if progress.pillow == PIL.__version__ else None


def _whole(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any] | None:
    """The array of pixels; None if it is damaged (by a power cut)."""
    try:
        size = path.stat().st_size
        images = np.lib.format.open_memmap(path, "r+")
    except (FileNotFoundError, ValueError):
        return None
    is_whole = size == images.offset + images.nbytes  # numpy lengthens a file that is too short
    return images if is_whole and images.shape == shape else None


def _write_header(file: BinaryIO, num_bytes: int) -> None:
    """Write the header of an .npy file; the position is then at the end of it."""
    file.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (num_bytes,)}
    np.lib.format.write_array_header_1_0(file, header)
    assert file.tell() == HEADER
