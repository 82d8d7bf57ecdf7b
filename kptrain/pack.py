"""Images decoded once into one memory-mapped file that all trainings of a machine share.

Shapes: S samples, M persons with a labelled keypoint (in the order of their samples), K joints,
H x W input pixels. A pack is a folder, named by a fingerprint of all that shapes it:
`images.npy`, `ignore.npy`, `table.npz` with the arrays of `Table`, and `about.json`. It is
written under a temporary name, under a lock, and renamed when it is whole. `progress.json` in an
unfinished one says how far it got, so that who comes next goes on from there.
"""

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from filelock import FileLock
from rich.progress import track

from kptrain.coco import CocoImage, Person, Split, counts, describe, read_split
from kptrain.config import DataSettings
from kptrain.decode import UnreadableImageError, decode_image
from kptrain.embedded import embedded_root
from kptrain.errors import DataError
from kptrain.layout import SplitName, fingerprint
from kptrain.resolve import EMBEDDED
from kptrain.views import PEAK_MARGIN, Frame, ignore_mask, image_frame, person_frame

PACK_VERSION = 1
"""To be raised whenever a pack would come out differently."""
PART = 1024
"""Image files between two notes of how far a pack got."""


@dataclass(frozen=True)
class Table:
    """All of a pack but its pixels. Samples are rows; persons of sample s are rows
    `first[s]` to `first[s + 1]`."""

    row: np.ndarray
    """(S,) int64: where the sample's pixels are in `images`."""
    first: np.ndarray
    """(S + 1,) int64."""
    scale: np.ndarray
    """(S, 2) float64: input pixels per original pixel, along x and y."""
    shift: np.ndarray
    """(S, 2) float64: `input = (original + 0.5) * scale + shift`."""
    joints: np.ndarray
    """(M, K, 2) float32: x, y in the input."""
    peak_box: np.ndarray
    """(M, 4) float32: x0, y0, x1, y1 in the input; where the person's peaks are looked for."""
    keypoints: np.ndarray
    """(M, K, 3) float64: x, y, v in the original image."""
    area: np.ndarray
    """(M,) float64: the annotation's, in original pixels."""
    person_id: np.ndarray
    """(M,) int64: the annotation's id."""
    image_id: np.ndarray
    """(M,) int64."""


@dataclass(frozen=True)
class Pack:
    """One split, ready to be gathered into batches."""

    images: np.ndarray
    """(S or more, H, W, 3) uint8, memory-mapped, read-only."""
    ignore: np.ndarray
    """(S, H/4, W/4) bool, likewise: heatmap pixels in which nothing is learnt; in the person view
    (S, 1, 1), as all is learnt."""
    table: Table
    fingerprint: str
    summary: str
    """One line: what was found and what was left out, and why."""

    def __len__(self) -> int:
        return len(self.table.row)


@dataclass(frozen=True)
class Sample:
    """One input to be: a frame of an image and the persons to find in it."""

    image: CocoImage
    frame: Frame
    persons: tuple[Person, ...]
    peak_margin: float | None
    """None: peaks are looked for in the whole input."""


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


def data_folder(settings: DataSettings) -> Path:
    """The folder with COCO; the embedded set is drawn on first use."""
    if settings.root is None:
        raise DataError("data.root: must be resolved first, but got None; use kptrain.resolve")
    return embedded_root(cache_dir()) if settings.root == EMBEDDED else Path(settings.root)


def open_pack(settings: DataSettings, name: SplitName, progress: bool = False) -> Pack:
    """Open the pack of a split, building it first if no one has.

    Raises: DataError if there is nothing sound to pack.
    """
    root = data_folder(settings)
    digest = pack_fingerprint(settings, name)
    folder = cache_dir() / "packs" / digest[:32]
    if not folder.is_dir():  # else it is whole, and the cache may be read-only by now
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _build(read_split(root, name), settings, folder, progress)
    about = json.loads((folder / "about.json").read_text())
    with np.load(folder / "table.npz") as arrays:
        table = Table(**{column.name: arrays[column.name] for column in fields(Table)})
    images, ignore = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("images", "ignore"))
    return Pack(images, ignore, table, digest, about["summary"])


def pack_fingerprint(settings: DataSettings, name: SplitName) -> str:
    """What names the pack of a split, without building it: a hash of all that shapes it.

    Raises: DataError if the data is not there.
    """
    source = fingerprint(data_folder(settings), name)
    shaping = [PACK_VERSION, name, source, settings.view, settings.image_size]
    limit = _limit(settings, name)
    return hashlib.sha256(json.dumps([*shaping, limit]).encode()).hexdigest()


def _limit(settings: DataSettings, name: SplitName) -> int | None:
    return settings.limit_train if name == "train" else settings.limit_val


def _samples(split: Split, settings: DataSettings) -> list[Sample]:
    size = settings.image_size
    samples: list[Sample] = []
    for image in split.images:
        if settings.view == "image":
            samples.append(Sample(image, image_frame(image, size), image.persons, PEAK_MARGIN))
        else:
            for person in image.persons:
                samples.append(Sample(image, person_frame(person, size), (person,), None))
    return samples


def _build(split: Split, settings: DataSettings, folder: Path, progress: bool) -> None:
    samples = _samples(split, settings)
    num_samples = len(samples)
    samples = samples[: _limit(settings, split.name)]
    masks = _masks(samples, settings)  # first: what is wrong with them shows before the long work
    temporary = folder.with_suffix(".tmp")
    images, progress_made = _begin(temporary, (len(samples), *settings.image_size, 3))
    failures = _decode_all(samples, images, progress_made, f"Packing {split.name}", progress)
    kept = [row for row in range(len(samples)) if row not in failures]
    left_out = Counter(split.left_out) + Counter(_failed_images(failures, samples).values())
    left_out[f"samples beyond data.limit_{split.name}"] = num_samples - len(samples)
    if not kept:
        shutil.rmtree(temporary)
        raise DataError(
            f"{split.images[0].path.parent}: must hold images that can be decoded, but of "
            f"{len({sample.image.id for sample in samples})} tried none can "
            f"({counts(+left_out)}); fetch them again"
        )
    np.save(temporary / "ignore.npy", masks[kept])
    np.savez(temporary / "table.npz", **_table(samples, kept, settings))
    num_images = len({samples[row].image.id for row in kept})
    num_persons = sum(len(samples[row].persons) for row in kept)
    summary = describe(split.name, num_images, num_persons, +left_out)
    (temporary / "about.json").write_text(json.dumps({"summary": summary}))
    temporary.replace(folder)
    (folder / progress_made.path.name).unlink()


@dataclass
class _Progress:
    """How far an unfinished pack got; kept beside it."""

    path: Path
    num_images: int = 0
    """The first so many image files are done, and their pixels on the disk."""
    failures: dict[int, str] = field(default_factory=dict)
    """Rows that could not be filled, with the reason."""

    def save(self) -> None:
        told = {
            "num_images": self.num_images,
            "failures": self.failures,
            "pillow": PIL.__version__,
        }
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(told))
        temporary.replace(self.path)


def _begin(temporary: Path, shape: tuple[int, ...]) -> tuple[np.memmap[Any, Any], _Progress]:
    """Go on with what a process left that was killed, or make room for a new pack.

    We hold the lock, and the folder's name stands for all that decides its content.
    """
    progress = _Progress(temporary / "progress.json")
    told = _read_progress(progress.path)
    if told.get("pillow") == PIL.__version__:  # another one might decode to other pixels
        progress.num_images = told["num_images"]
        progress.failures = {int(row): reason for row, reason in told["failures"].items()}
        return np.lib.format.open_memmap(temporary / "images.npy", "r+"), progress
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        images = _reserve(temporary / "images.npy", shape)
    except DataError:
        shutil.rmtree(temporary)
        raise
    progress.save()
    return images, progress


def _read_progress(path: Path) -> dict[str, Any]:
    """What was noted; as much as nothing if it is not there, or torn by a power cut."""
    try:
        told: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return told


def _reserve(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
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


def _decode_all(
    samples: list[Sample],
    images: np.memmap[Any, Any],
    done: _Progress,
    title: str,
    progress: bool,
) -> dict[int, str]:
    """Fill the rows; return those that could not be filled, with the reason."""
    by_image: dict[int, list[int]] = {}
    for row, sample in enumerate(samples):
        by_image.setdefault(sample.image.id, []).append(row)
    left = list(by_image.values())[done.num_images :]

    def fill(rows: list[int]) -> dict[int, str]:
        image = samples[rows[0]].image
        try:
            pixels = decode_image(image.path, image.size)
        except UnreadableImageError as error:
            return dict.fromkeys(rows, str(error))
        for row in rows:
            images[row] = samples[row].frame.cut(pixels)
        return {}

    def parts() -> Iterator[None]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without holding the GIL
            for start in range(0, len(left), PART):
                part = left[start : start + PART]
                for failed in pool.map(fill, part):
                    done.failures |= failed
                    yield
                images.flush()
                done.num_images += len(part)
                done.save()

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # what is unsound is counted
        for _ in track(parts(), description=title, total=len(left)) if progress else parts():
            pass
    return done.failures


def _failed_images(failures: dict[int, str], samples: list[Sample]) -> dict[int, str]:
    return {samples[row].image.id: reason for row, reason in failures.items()}


def _masks(samples: list[Sample], settings: DataSettings) -> np.ndarray:
    """`Pack.ignore` of all samples."""
    if settings.view == "image":
        return np.array([ignore_mask(sample.image, settings.image_size) for sample in samples])
    return np.zeros((len(samples), 1, 1), dtype=bool)


def _table(samples: list[Sample], kept: list[int], settings: DataSettings) -> dict[str, Any]:
    height, width = settings.image_size
    whole = np.array([0, 0, width, height], dtype=np.float32)
    chosen = [samples[row] for row in kept]
    pairs = [(sample, person) for sample in chosen for person in sample.persons]
    table = Table(
        row=np.array(kept),
        first=np.cumsum([0, *(len(sample.persons) for sample in chosen)]),
        scale=np.array([sample.frame.scale for sample in chosen]),
        shift=np.array([sample.frame.shift for sample in chosen]),
        joints=np.array([s.frame.keypoints_in(p.keypoints) for s, p in pairs], dtype=np.float32),
        peak_box=np.array(
            [
                whole if s.peak_margin is None else s.frame.box_in(p.box_xywh, s.peak_margin)
                for s, p in pairs
            ],
            dtype=np.float32,
        ),
        keypoints=np.array([p.keypoints for _, p in pairs]),
        area=np.array([p.area for _, p in pairs]),
        person_id=np.array([p.id for _, p in pairs]),
        image_id=np.array([s.image.id for s, _ in pairs]),
    )
    return vars(table)
