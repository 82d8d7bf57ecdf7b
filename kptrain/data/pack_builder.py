"""Builds a pack: decodes every image of a split, once.

A pack is written under a temporary name, under a lock, and renamed when it is complete.
`progress.json` in an unfinished pack records the progress, so that the next process resumes there.
"""

import json
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image
from pydantic import BaseModel, ConfigDict

from kptrain.annotations.reader import CocoImage, Ignored, Person, Split, describe
from kptrain.annotations.reasons import ADVICE, OTHER_SIZE
from kptrain.annotations.skipped import Skipped
from kptrain.config import DataSettings
from kptrain.data.decode import UnreadableImageError, decode_image
from kptrain.data.pack_format import IMAGES, Table, Written, write_pack
from kptrain.data.views import PEAK_MARGIN, Frame, ignore_mask, image_frame, person_frame
from kptrain.errors import DataError
from kptrain.files.layout import SplitName
from kptrain.files.values import printable
from kptrain.keypoints import NUM_JOINTS
from kptrain.machine.cores import usable_cores
from kptrain.machine.disk import flush, replacing, reserve_images
from kptrain.machine.progress import track

PROGRESS = "progress.json"
PART = 1024
"""Image files between two writes of `progress.json`."""


@dataclass(frozen=True)
class Sample:
    """A future input of the network: a frame of an image and the persons to find in it."""

    image: CocoImage
    frame: Frame
    persons: tuple[Person, ...]
    peak_margin: float | None
    """None: peaks are searched in the whole input."""


def build_pack(split: Split, settings: DataSettings, folder: Path, progress: bool) -> None:
    """Write the pack of a split. The caller holds a lock on its name.

    Raises: DataError if no image can be decoded, or with `data.strict`, if one cannot; OSError.
    """
    samples = _samples(split, settings)
    num_samples = len(samples)
    samples = samples[: limit_of(settings, split.name)]
    temporary = folder.with_suffix(".tmp")
    images, state = _begin(temporary, (len(samples), *settings.image_size, 3))
    _decode_all(samples, images, state, f"Packing {split.name}", progress)
    skipped = split.skipped
    _count_failures(state.failures, samples, skipped)
    skipped.count(f"samples beyond data.limit_{split.name}", num_samples - len(samples))
    kept = [row for row in range(len(samples)) if row not in state.failures]
    if not kept:
        shutil.rmtree(temporary)
        ((cause, _),) = Counter(state.failures.values()).most_common(1)
        fault = skipped.with_example(cause, skipped.counts[cause])
        raise DataError(
            f"{split.images[0].path.parent}: must hold images that can be decoded, but of "
            f"{len({sample.image.id for sample in samples})} tried none can: {fault}; "
            f"{ADVICE.get(cause, 'convert them')} (in all: {skipped})"
        )
    chosen = [samples[row] for row in kept]
    num_persons = sum(len(sample.persons) for sample in chosen)
    num_images = len({sample.image.id for sample in chosen})
    summary = describe(split.name, num_images, num_persons, skipped)
    table = _table(chosen, kept, settings)
    masks = _masks(chosen, settings, f"Masks of {split.name}", progress)
    names = split.category_id, _written(split, chosen)
    write_pack(temporary, masks, table, summary, skipped.fault, *names, progress)
    temporary.replace(folder)
    flush(folder.parent)
    (folder / PROGRESS).unlink()


def _written(split: Split, samples: list[Sample]) -> Written:
    """How the file spells the ids, and its order of joints."""
    images = [sample.image for sample in samples]
    others = {one.id: _stored(one.written_id) for one in images if one.written_id != one.id}
    category = _stored(split.written_category_id)
    return Written(category_id=category, image_ids=others, joint_order=split.joint_order)


def _stored(written_id: Any) -> Any:
    return printable(written_id) if isinstance(written_id, str) else written_id


def limit_of(settings: DataSettings, name: SplitName) -> int | None:
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


class _Progress(BaseModel):
    """The progress of an unfinished pack; stored in it."""

    model_config = ConfigDict(extra="forbid")

    num_images: int = 0
    """Image files that are decoded, from the first on, with their pixels on the disk."""
    failures: dict[int, str] = {}
    """Rows that could not be filled, with the reason."""
    pillow: str = PIL.__version__
    """Another version might decode to other pixels."""
    folder: Path

    def save(self) -> None:
        with replacing(self.folder / PROGRESS) as temporary:
            temporary.write_text(self.model_dump_json(exclude={"folder"}))


def _begin(temporary: Path, shape: tuple[int, ...]) -> tuple[np.memmap[Any, Any], _Progress]:
    """Resume the pack of a process that was killed, or reserve room for a new one.

    This process holds the lock, and the folder's name identifies the pack's content.
    """
    if unfinished := _unfinished(temporary, shape):
        return unfinished
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        images = reserve_images(temporary / IMAGES, shape)
    except DataError:
        shutil.rmtree(temporary)
        raise
    progress = _Progress(folder=temporary)
    progress.save()
    return images, progress


def _unfinished(
    temporary: Path, shape: tuple[int, ...]
) -> tuple[np.memmap[Any, Any], _Progress] | None:
    """An unfinished pack to resume; None if there is none, or it is damaged (by a power cut)."""
    try:
        content = json.loads((temporary / PROGRESS).read_bytes())
        progress = _Progress.model_validate(content | {"folder": temporary})
        size = (temporary / IMAGES).stat().st_size
        images = np.lib.format.open_memmap(temporary / IMAGES, "r+")
    except (FileNotFoundError, ValueError, TypeError):
        return None
    is_whole = size == images.offset + images.nbytes  # numpy lengthens a file that is too short
    is_ours = progress.pillow == PIL.__version__ and images.shape == shape
    return (images, progress) if is_whole and is_ours else None


def _decode_all(
    samples: list[Sample],
    images: np.memmap[Any, Any],
    state: _Progress,
    title: str,
    progress: bool,
) -> None:
    """Fill the rows; record the progress and the rows that could not be filled."""
    by_image: dict[int, list[int]] = {}
    for row, sample in enumerate(samples):
        by_image.setdefault(sample.image.id, []).append(row)
    left = list(by_image.values())[state.num_images :]

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
        # Pillow releases the GIL.
        with ThreadPoolExecutor(usable_cores()) as pool:
            for start in range(0, len(left), PART):
                part = left[start : start + PART]
                for failed in pool.map(fill, part):
                    state.failures |= failed
                    yield
                images.flush()
                state.num_images += len(part)
                state.save()

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # unsound files are counted
        for _ in track(parts(), title, len(left), shown=progress):
            pass


def _count_failures(failures: dict[int, str], samples: list[Sample], skipped: Skipped) -> None:
    """Count an image once, whatever the number of its samples."""
    rows = {samples[row].image.id: row for row in sorted(failures)}
    for row in rows.values():
        image, reason = samples[row].image, failures[row]
        which = image.path.name
        if reason == OTHER_SIZE and reason not in skipped.first:
            which += f", {_sizes(image)}"
        skipped.add(reason, which, image.path.parent)


def _sizes(image: CocoImage) -> str:
    """The annotated size and, if it can be read, the stored one."""
    height, width = image.size
    annotated = f"annotated as {width} x {height} (width x height)"
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(image.path) as stored:
            return f"{annotated}, but is {stored.width} x {stored.height}"
    except OSError:
        return annotated


def _masks(samples: list[Sample], settings: DataSettings, title: str, progress: bool) -> np.ndarray:
    """`Pack.ignore` of all samples."""
    if settings.view == "image":
        shown = track(samples, title, len(samples), shown=progress)
        return np.array([ignore_mask(sample.image, settings.image_size) for sample in shown])
    return np.zeros((len(samples), 1, 1), dtype=bool)


def _table(samples: list[Sample], rows: list[int], settings: DataSettings) -> Table:
    height, width = settings.image_size
    whole = np.array([0, 0, width, height], dtype=np.float32)
    pairs = [(sample, person) for sample in samples for person in sample.persons]
    return Table(
        row=np.array(rows),
        first=np.cumsum([0, *(len(sample.persons) for sample in samples)]),
        scale=np.array([sample.frame.scale for sample in samples]),
        shift=np.array([sample.frame.shift for sample in samples]),
        inside=np.array([s.frame.inside(s.image.size) for s in samples], dtype=np.float32),
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
        place=np.array([p.place for _, p in pairs]),
        **_ignored(samples),
    )


def _ignored(samples: list[Sample]) -> dict[str, np.ndarray]:
    """The columns of `Table` for ignored regions: once per image, however many samples it has.

    Includes the persons of the last image that are beyond a limit of samples: they are not searched
    for, but a detection there does not count as false.
    """
    images = {sample.image.id: sample.image for sample in samples}.values()
    wanted = {person.id for sample in samples for person in sample.persons}
    beyond = [(i.id, one) for i in images for one in i.persons if one.id not in wanted]
    pairs: list[tuple[int, Ignored | Person]] = [(i.id, one) for i in images for one in i.ignored]
    pairs += beyond
    keypoints = np.array([one.keypoints for _, one in pairs], dtype=np.float64)
    return {
        "ignored_keypoints": keypoints.reshape(-1, NUM_JOINTS, 3),
        "ignored_box": np.array([one.box_xywh for _, one in pairs], np.float64).reshape(-1, 4),
        "ignored_area": np.array([one.area for _, one in pairs], np.float64),
        "ignored_is_crowd": np.array(
            [isinstance(one, Ignored) and one.is_crowd for _, one in pairs], bool
        ),
        "ignored_image_id": np.array([image_id for image_id, _ in pairs], np.int64),
        "ignored_place": np.array([one.place for _, one in pairs], np.int64),
    }
