"""The digest of a data set: a hash of its annotations and of the content of its image files.

The files are hashed once per machine. The digest is stored in the cache under a stamp of their
names, sizes and times. So a trial needs not read them, a copy of a data set has the same digest,
and a data set in which a picture was replaced has another.
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
from kptrain.errors import unreadable
from kptrain.files.layout import SplitName, locate, stamp
from kptrain.machine.cores import usable_cores
from kptrain.machine.disk import replacing
from kptrain.machine.progress import track

PART = 256
"""Files between two updates of the progress."""


@dataclass
class Source:
    """The files of a split that a pack is built from; each property is computed once."""

    root: Path
    name: SplitName
    limit: int | None
    """Images beyond it are not read: a pack of this many samples needs no more."""
    strict: bool
    digest_folder: Path
    """Where digests are stored."""
    progress: bool = False

    @cached_property
    def split(self) -> Split:
        """Raises: DataError as `read_split` does."""
        return read_split(self.root, self.name, self.strict)

    @cached_property
    def digest(self) -> str:
        """A hash of the annotations and of all image files, equal for every copy of them.

        Raises: DataError if there is nothing sound, or an image file cannot be read.
        """
        file = self._digest_file
        digest = _read(file)
        if digest is None:
            with suppress(OSError):  # the cache may be read-only
                file.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(file.with_suffix(".lock")):
                    digest = _read(file) or self._hash_files()
                    with replacing(file) as temporary:
                        temporary.write_text(digest, encoding="utf-8")
        return digest or self._hash_files()

    def is_hashed(self) -> bool:
        """Whether the digest is stored, so that no file has to be read."""
        return _read(self._digest_file) is not None

    def has_changed(self) -> bool:
        """Whether the files have changed since they were hashed."""
        return _stamp_of(self) != self._stamp and self._hash_files() != self.digest

    @cached_property
    def _stamp(self) -> str:
        return _stamp_of(self)

    @property
    def _digest_file(self) -> Path:
        return self.digest_folder / f"{self._stamp[:32]}.files"

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
    with ThreadPoolExecutor(usable_cores()) as pool:  # hashing releases the GIL
        for start in range(0, len(images), PART):
            yield from pool.map(_hash, images[start : start + PART])


def _hash(image: CocoImage) -> bytes:
    try:
        return hashlib.sha256(image.path.read_bytes()).digest()
    except OSError as error:
        raise unreadable(image.path, error) from None


def _read(file: Path) -> str | None:
    """The stored digest, if it is complete."""
    with suppress(OSError, UnicodeDecodeError):
        text = file.read_text(encoding="utf-8")
        if len(text) == 64 and set(text) <= set("0123456789abcdef"):
            return text
    return None
