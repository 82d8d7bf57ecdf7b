"""What tells one data set from another: its annotations, and the content of its image files.

The files are read for that once on a machine. What came of it is kept in the cache under a stamp of
their names, sizes and times, so that a trial has it without reading them, a copy of a data set is
the same data, and one in which a picture was replaced is not.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from kptrain.annotations.reader import CocoImage, Split, read_split
from kptrain.errors import DataError
from kptrain.files.layout import SplitName, locate, stamp
from kptrain.machine.cores import usable_cores
from kptrain.machine.progress import track

PART = 256
"""Files that are read between two looks at how far it got."""


@dataclass
class Source:
    """The files of a split that a pack is made of, looked at once."""

    root: Path
    name: SplitName
    limit: int | None
    """Images beyond it are not read, as no pack of so many samples needs more."""
    strict: bool
    kept_in: Path
    """The folder that keeps what reading the files came to."""
    progress: bool = False

    @cached_property
    def split(self) -> Split:
        """Raises: DataError as `read_split` does."""
        return read_split(self.root, self.name, self.strict)

    @cached_property
    def digest(self) -> str:
        """A hash of the annotations and of all image files, the same for every copy of them.

        Raises: DataError if there is nothing sound, or an image file cannot be read.
        """
        note = self._note
        known = _read(note)
        if known is None:
            with suppress(OSError):  # a cache that may only be read
                note.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(note.with_suffix(".lock")):
                    known = _read(note) or self._hash_files()
                    _write(note, known)
        return known or self._hash_files()

    def is_known(self) -> bool:
        """Whether the files were read before, so that `digest` is at hand."""
        return _read(self._note) is not None

    def has_changed(self) -> bool:
        """Whether the files are others than when they were read."""
        return _stamp_of(self) != self._stamp and self._hash_files() != self.digest

    @cached_property
    def _stamp(self) -> str:
        return _stamp_of(self)

    @property
    def _note(self) -> Path:
        return self.kept_in / f"{self._stamp[:32]}.files"

    def _hash_files(self) -> str:
        annotation_file, _ = locate(self.root, self.name)
        digest = hashlib.sha256(annotation_file.read_bytes())
        images = self.split.images[: self.limit]
        title = f"Reading the files of {self.name}"
        hashes = track(_hashes(images), title, len(images), shown=self.progress)
        for image, content in zip(images, hashes, strict=True):
            digest.update(b"%d " % image.id + content)
        return digest.hexdigest()


def _stamp_of(source: Source) -> str:
    whole = f"{stamp(source.root, source.name)} {source.name} {source.limit}"
    return hashlib.sha256(whole.encode()).hexdigest()


def _hashes(images: tuple[CocoImage, ...]) -> Iterator[bytes]:
    with ThreadPoolExecutor(usable_cores()) as pool:  # a large hash is made without the GIL
        for start in range(0, len(images), PART):
            yield from pool.map(_hash, images[start : start + PART])


def _hash(image: CocoImage) -> bytes:
    try:
        return hashlib.sha256(image.path.read_bytes()).digest()
    except OSError as error:
        said = error.strerror or error
        raise DataError(f"{image.path}: must be readable, but {said}; try again") from None


def _read(note: Path) -> str | None:
    """What was kept, if it is whole."""
    with suppress(OSError, UnicodeDecodeError):
        text = note.read_text(encoding="utf-8")
        if len(text) == 64 and set(text) <= set("0123456789abcdef"):
            return text
    return None


def _write(note: Path, digest: str) -> None:
    temporary = note.with_suffix(".files.tmp")
    temporary.write_text(digest, encoding="utf-8")
    temporary.replace(note)
