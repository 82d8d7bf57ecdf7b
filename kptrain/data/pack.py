"""Opens the pack of a split: finds and checks it, or builds it first.

A pack is named by a fingerprint of everything that determines its content, including the content of
the image files. All trainings of a machine share it.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from kptrain.annotations.skipped import check_strict
from kptrain.config import DataSettings
from kptrain.data.fingerprint import Source
from kptrain.data.pack_builder import build_pack
from kptrain.data.pack_format import Pack, damage_of, read_pack
from kptrain.data.samples import is_jpeg, limit_of
from kptrain.errors import DataError
from kptrain.files.layout import SplitName
from kptrain.resolve import EMBEDDED
from kptrain.synthetic.data_set import embedded_root

PACKS = "packs"
"""The folder of the packs, in the cache."""

_log = logging.getLogger(__name__)

PACK_VERSION = 6
"""Must be raised whenever the content of a pack changes."""


def cache_dir() -> Path:
    """`KPTRAIN_CACHE`, else `kptrain` in the user's cache folder.

    Raises: DataError if KPTRAIN_CACHE is a file.
    """
    given = os.environ.get("KPTRAIN_CACHE")
    if given:
        folder = Path(given).expanduser().absolute()
        if folder.is_file():
            raise DataError(
                f"KPTRAIN_CACHE: must be a folder, but {given!r} is a file; name another"
            )
        return folder
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home.absolute() / "kptrain"


def data_folder(settings: DataSettings, progress: bool = False) -> Path:
    """The folder with COCO; the synthetic data set is drawn on first use.

    Raises: DataError if `data.root` is not resolved, or the cache cannot be used.
    """
    if settings.root is None:
        raise DataError("data.root: must be resolved first, but got None; use kptrain.resolve")
    if settings.root == EMBEDDED:
        with _in_cache(cache_dir()):
            return embedded_root(cache_dir(), progress)
    return Path(settings.root)


def open_pack(
    settings: DataSettings, name: SplitName, progress: bool = False, *, verify: bool = False
) -> Pack:
    """Open the pack of a split; build it first if it does not exist or is damaged.

    verify: read all of it and compare the checksums, even if no file seems to have changed.
    Raises: DataError if no sample is sound or the disk is full; with `data.strict`, if anything is
    unsound.
    """
    source = _source(settings, name, progress)
    digest = _fingerprint(settings, source)
    folder = _folder_of(digest)
    with _in_cache(folder.parent):
        if not folder.is_dir() or damage_of(folder, verify, progress):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                _build_if_needed(source, settings, folder, progress, verify)
        pack, fault = read_pack(folder, digest)
    check_strict(settings.strict, fault)
    return pack


@contextmanager
def _in_cache(folder: Path) -> Iterator[None]:
    """Raises: DataError if a folder of the cache cannot be used."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise DataError(
            f"{folder}: must be a folder to read and write, with room for the decoded images, but "
            f"{error.strerror or error}{where}; grant the right or make room, or name another "
            f"folder with KPTRAIN_CACHE"
        ) from None


def is_packed(settings: DataSettings, name: SplitName) -> bool:
    """Whether the pack of a split exists, damaged or not; False if the files are not hashed yet.

    Raises: DataError if the data does not exist.
    """
    source = _source(settings, name)
    return source.is_hashed() and _folder_of(_fingerprint(settings, source)).is_dir()


def _folder_of(digest: str) -> Path:
    return cache_dir() / PACKS / digest[:32]


def _build_if_needed(
    source: Source, settings: DataSettings, folder: Path, progress: bool, verify: bool
) -> None:
    """Build a pack, unless another process has built it meanwhile. The caller holds the lock."""
    if folder.is_dir():
        damage = damage_of(folder, verify, progress)
        if damage is None:
            return
        _log.warning("%s: %s; it is built again", folder, damage)
        shutil.rmtree(folder)
    build_pack(source.split, settings, folder, progress)
    if source.has_changed():
        shutil.rmtree(folder)
        raise DataError(
            f"{source.root}: must not change while its images are decoded, but the files of the "
            f"{source.name} split have; run it again when they are whole"
        )


def pack_fingerprint(settings: DataSettings, name: SplitName) -> str:
    """The name of a split's pack: a hash of everything that determines its content. Builds nothing.

    Raises: DataError if the data does not exist, or nothing in it is sound.
    """
    return _fingerprint(settings, _source(settings, name))


def _source(settings: DataSettings, name: SplitName, progress: bool = False) -> Source:
    limit = limit_of(settings, name)
    packs = cache_dir() / PACKS
    return Source(data_folder(settings), name, limit, settings.strict, packs, progress)


def _fingerprint(settings: DataSettings, source: Source) -> str:
    shaping = [PACK_VERSION, source.name, source.digest, settings.view, settings.image_size]
    shaping.append(is_jpeg(settings, source.name))
    return hashlib.sha256(json.dumps([*shaping, source.limit]).encode()).hexdigest()
