"""The files of a pack: images decoded once, memory-mapped and shared by all trainings of a machine.

Shapes: S samples, M persons with a labelled keypoint (in the order of their samples), N crowds,
persons without one and persons beyond a limit of samples in the samples' images, K joints, H x W
input pixels. The frames (original, input, stored) are those of `kptrain.data.parts`.

A pack is a folder of `images.npy`, `ignore.npy`, `table.npz` with the arrays of `Table`, and
`about.json`, its header: a summary, and the size, the time and the checksums of each of the other
files.
"""

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from kptrain.machine.cores import usable_cores
from kptrain.machine.disk import flush
from kptrain.machine.memory import usable_memory
from kptrain.machine.progress import track

IMAGES, IGNORE, TABLE, ABOUT = "images.npy", "ignore.npy", "table.npz", "about.json"
FILES = (IMAGES, IGNORE, TABLE)
JPEG_SHARE = "an eighth"
"""Of the bytes of raw pixels: `python -m bench.packs` on photographs."""
BLOCK = 2**26
"""Bytes for each checksum."""


@dataclass(frozen=True)
class Table:
    """Everything in a pack except the pixels. Samples are rows; the persons of sample s are rows
    `first[s]` up to `first[s + 1]`, exclusive."""

    row: np.ndarray
    """(S,) int64: the row of the sample's pixels in `images`, if that has rows."""
    start: np.ndarray
    """(S,) int64: where the sample's bytes begin in `images`, if that has no rows."""
    num_bytes: np.ndarray
    """(S,) int64: the number of these bytes."""
    stored: np.ndarray
    """(S, 2) int64: height and width of the stored pixels."""
    zoom: np.ndarray
    """(S, 2) float64: stored pixels per input pixel, along x and y."""
    origin: np.ndarray
    """(S, 2) float64: `stored = input * zoom + origin`."""
    first: np.ndarray
    """(S + 1,) int64."""
    scale: np.ndarray
    """(S, 2) float64: input pixels per original pixel, along x and y."""
    shift: np.ndarray
    """(S, 2) float64: `input = (original + 0.5) * scale + shift`."""
    inside: np.ndarray
    """(S, 4) float32: x0, y0, x1, y1 of the whole image in the frame of the input, also outside of
    the input; it is black around the image."""
    joints: np.ndarray
    """(M, K, 2) float32: x, y in the input."""
    peak_box: np.ndarray
    """(M, 4) float32: x0, y0, x1, y1 in the input, within which the person's peaks are searched."""
    keypoints: np.ndarray
    """(M, K, 3) float64: x, y, v in the original image."""
    area: np.ndarray
    """(M,) float64: the annotation's, in original pixels."""
    person_id: np.ndarray
    """(M,) int64: the annotation's id."""
    image_id: np.ndarray
    """(M,) int64."""
    place: np.ndarray
    """(M,) int64: index of the annotation in its file."""
    ignored_keypoints: np.ndarray
    """(N, K, 3) float64, as `keypoints`; all 0 if there are none."""
    ignored_box: np.ndarray
    """(N, 4) float64: x, y, width, height in the original image."""
    ignored_area: np.ndarray
    """(N,) float64, as `area`."""
    ignored_is_crowd: np.ndarray
    """(N,) bool."""
    ignored_image_id: np.ndarray
    """(N,) int64, as `image_id`."""
    ignored_place: np.ndarray
    """(N,) int64, as `place`."""


@dataclass(frozen=True)
class Pack:
    """One split, ready to be gathered into batches."""

    images: np.ndarray
    """uint8, memory-mapped, read-only: (S or more, H, W, 3) inputs, or with surroundings or as JPEG
    the bytes of all samples, one after another."""
    ignore: np.ndarray
    """(S, H/4, W/4) bool, memory-mapped, read-only: True at heatmap pixels that are masked in the
    loss; in the person view (S, 1, 1), all False."""
    table: Table
    fingerprint: str
    summary: str
    """One line: the numbers of images and persons, and what was skipped, and why."""
    category_id: int | str
    """Of persons, in the annotation file."""
    written: "Written"
    shape: "Shape"

    def __len__(self) -> int:
        return len(self.table.row)

    def pixels(self, sample: int) -> np.ndarray:
        """(h, w, 3) uint8: what is stored for a sample."""
        height, width = self.table.stored[sample].tolist()
        return self.window(sample, 0, 0, width, height)

    def window(self, sample: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """(height, width, 3) uint8: a rectangle of what is stored for a sample."""
        table = self.table
        if self.shape.has_rows:
            row: np.ndarray = self.images[table.row[sample]]
            return row[y : y + height, x : x + width]
        start = table.start[sample]
        content = self.images[start : start + table.num_bytes[sample]]
        if self.shape.is_jpeg:
            with Image.open(BytesIO(content.data)) as image:
                return np.asarray(image.crop((x, y, x + width, y + height)))
        return content.reshape(*table.stored[sample], 3)[y : y + height, x : x + width]

    @property
    def cost(self) -> str | None:
        """One line: what a pack takes that holds more than inputs, or more than the memory; None
        for others."""
        memory = usable_memory()
        size, each = self.images.nbytes, self.images.nbytes / len(self)
        is_large = memory is not None and size > memory
        if self.shape.has_rows and not is_large:
            return None
        kind = "as JPEG" if self.shape.is_jpeg else "raw"
        what = ", with their surroundings" if self.shape.has_surroundings else ""
        text = f"pack: {size / 1e9:.2g} GB {kind}, {each / 1e3:.0f} kB a sample{what}"
        if memory is None or not is_large:
            return text
        text += f"; the memory has {memory / 1e9:.2g} GB, so each epoch reads from the disk"
        return text if self.shape.is_jpeg else f"{text}: data.pack=jpeg takes about {JPEG_SHARE}"

    @property
    def most_persons(self) -> int:
        """The most persons of one sample."""
        return int(np.diff(self.table.first).max())


class Written(BaseModel):
    """The annotation file's own ids and order of joints: results are written with these."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    category_id: int | float | str
    image_ids: dict[int, int | float | str] = {}
    """By our ids; only ids that differ."""
    joint_order: tuple[int, ...] | None = None
    """For each of COCO's joints its index among the file's; None: the same order."""


class Shape(BaseModel):
    """How the pixels are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    input_size: tuple[int, int]
    """(height, width) of the network's input in pixels."""
    has_surroundings: bool
    """Whether more than the input is stored, in the sizes of `Table.stored`."""
    is_jpeg: bool

    @property
    def has_rows(self) -> bool:
        """Whether the stored pixels are inputs, in rows of one size."""
        return not (self.has_surroundings or self.is_jpeg)


class About(BaseModel):
    """The header."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    summary: str
    """One line: the numbers of images and persons, and what was skipped, and why."""
    fault: str | None
    """The error that `data.strict` raises for the first unsound item."""
    category_id: int | str
    """Of persons, in the annotation file."""
    written: Written
    shape: Shape
    sizes: dict[str, int]
    """By file: bytes."""
    times: dict[str, int]
    """By file: modification time in nanoseconds since 1970."""
    checksums: dict[str, list[int]]
    """By file: CRC-32 of each block."""


def write_pack(
    folder: Path,
    ignore: np.ndarray,
    table: Table,
    summary: str,
    fault: str | None,
    category_id: int | str,
    written: Written,
    shape: Shape,
    progress: bool = False,
) -> None:
    """Write everything except the images, which exist already, and flush all to the disk."""
    np.save(folder / IGNORE, ignore)
    np.savez(folder / TABLE, **vars(table))
    paths = [folder / name for name in FILES]
    for path in paths:
        flush(path)  # writing the last page of a memory map changes the time
    about = About(
        summary=summary,
        fault=fault,
        category_id=category_id,
        written=written,
        shape=shape,
        sizes={path.name: path.stat().st_size for path in paths},
        times={path.name: path.stat().st_mtime_ns for path in paths},
        checksums={path.name: _checksums(path, progress) for path in paths},
    )
    (folder / ABOUT).write_text(about.model_dump_json())
    for path in (folder / ABOUT, folder):
        flush(path)


def damage_of(folder: Path, verify: bool, progress: bool = False) -> str | None:
    """Which file of a pack is not as it was written; None if all are.

    Checks the size and the time of each file. Reading the images takes minutes, so checksums are
    compared only if a file's time has changed, as in a copy (if they agree, the time is restored),
    or for all files with `verify`.
    """
    try:
        about = About.model_validate_json((folder / ABOUT).read_bytes())
        damaged = [name for name in FILES if not _is_sound(folder / name, about, verify, progress)]
    except (ValidationError, FileNotFoundError, NotADirectoryError, KeyError):
        return f"{ABOUT} does not fit the other files"
    return f"{damaged[0]} is not as it was written" if damaged else None


def _is_sound(path: Path, about: About, verify: bool, progress: bool) -> bool:
    status, time = path.stat(), about.times[path.name]
    if status.st_size != about.sizes[path.name]:
        return False
    is_untouched = status.st_mtime_ns == time
    if is_untouched and not verify:
        return True
    if _checksums(path, progress) != about.checksums[path.name]:
        return False
    if not is_untouched:
        with suppress(OSError):  # a file of another user: the next process reads it again
            os.utime(path, ns=(status.st_atime_ns, time))
    return True


def read_pack(folder: Path, fingerprint: str) -> tuple[Pack, str | None]:
    """Open a pack that is not damaged; also the error that `data.strict` raises for it."""
    about = About.model_validate_json((folder / ABOUT).read_bytes())
    with np.load(folder / TABLE) as arrays:
        table = Table(**{column.name: arrays[column.name] for column in fields(Table)})
    images, ignore = (np.load(folder / name, mmap_mode="r") for name in (IMAGES, IGNORE))
    named = about.category_id, about.written, about.shape
    pack = Pack(images, ignore, table, fingerprint, about.summary, *named)
    return pack, about.fault


def _checksums(path: Path, progress: bool) -> list[int]:
    """CRC-32 of each block of a file."""
    starts = range(0, path.stat().st_size, BLOCK)

    def checksum(start: int) -> int:
        with path.open("rb") as file:
            file.seek(start)
            return zlib.crc32(file.read(BLOCK))  # releases the GIL

    with ThreadPoolExecutor(usable_cores()) as pool:
        sums = track(
            pool.map(checksum, starts), f"Checksums of {path.name}", len(starts), shown=progress
        )
        return list(sums)
